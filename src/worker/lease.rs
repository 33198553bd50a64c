//! When to renew a lock, and when to believe that it is lost. Pure: time is an argument.
//!
//! The relay's clock may differ from ours, so a lease is counted from the moment *before* the
//! request that won it, on a clock that never jumps: we always believe it shorter than it is.

use std::time::Duration;

/// A lock as its holder counts it; times are since some fixed moment of a monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// When the request that last won it was sent.
    pub since: Duration,
    /// For how long the relay granted it.
    pub ttl: Duration,
}

/// What is left of a lease, in parts of it, when work on it must stop: a handler takes a moment to
/// die, and clocks drift.
const MARGIN_DIVISOR: u32 = 10;

/// A lease is renewed at this part of its life, so that two tries may fail.
const RENEWAL_DIVISOR: u32 = 3;

/// Retries of a failed renewal come this often over a lease's life.
const RETRY_DIVISOR: u32 = 30;

impl Lease {
    /// When to renew it: a third of its life after it was won.
    #[must_use]
    pub fn renew_at(&self) -> Duration {
        self.since + self.ttl / RENEWAL_DIVISOR
    }

    /// When it must be taken for lost: a tenth of its life before the relay would say so.
    #[must_use]
    pub fn lost_at(&self) -> Duration {
        self.since + self.ttl - self.ttl / MARGIN_DIVISOR
    }

    /// Whether it is lost.
    #[must_use]
    pub fn is_lost(&self, now: Duration) -> bool {
        now >= self.lost_at()
    }

    /// When to try again after a renewal that got no answer.
    #[must_use]
    pub fn retry_at(&self, now: Duration) -> Duration {
        now + self.ttl / RETRY_DIVISOR
    }

    /// How long a renewal that is sent now may take before it counts as unanswered: several fit into a
    /// lease, and none is waited for when the lease must be taken for lost.
    #[must_use]
    pub fn call_timeout(&self, now: Duration) -> Duration {
        (self.ttl / (MARGIN_DIVISOR / 2)).min(self.lost_at().saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_moments_of_a_lease_are_pinned() {
        let seconds = Duration::from_secs;
        let lease = Lease { since: seconds(1_000), ttl: seconds(300) };
        assert_eq!((lease.renew_at(), lease.lost_at()), (seconds(1_100), seconds(1_270)));
        assert!(
            !lease.is_lost(seconds(1_269)) && lease.is_lost(seconds(1_270)) && lease.is_lost(seconds(9_999))
        );
        assert_eq!(lease.retry_at(seconds(1_100)), seconds(1_110));
        assert_eq!(lease.call_timeout(seconds(1_100)), seconds(60));
        assert_eq!(lease.call_timeout(seconds(1_210)), seconds(60));
        assert_eq!(lease.call_timeout(seconds(1_211)), seconds(59));
        assert_eq!(lease.call_timeout(seconds(1_270)), seconds(0));
        assert_eq!(lease.call_timeout(seconds(9_999)), seconds(0));
    }

    proptest! {
        #[test]
        fn a_lease_is_renewed_long_before_it_is_lost_and_lost_before_it_ends(
            since in 0u64..1 << 40, ttl in 10_000u64..600_000, part in 0u32..1_000,
        ) {
            let lease = Lease { since: Duration::from_millis(since), ttl: Duration::from_millis(ttl) };
            prop_assert!(lease.renew_at() < lease.lost_at());
            prop_assert!(lease.lost_at() < lease.since + lease.ttl);
            // Two renewals that hang until their timeout still leave time for a third.
            let hangs = |at: Duration| at + lease.call_timeout(at);
            let third = lease.retry_at(hangs(lease.retry_at(hangs(lease.renew_at()))));
            prop_assert!(third < lease.lost_at());
            // Whenever one is sent, it is not waited for beyond the lease.
            let sent = lease.since + (lease.lost_at() - lease.since) * part / 1_000;
            prop_assert!(hangs(sent) <= lease.lost_at());
            prop_assert!(!lease.is_lost(lease.renew_at()));
            prop_assert!(lease.is_lost(lease.lost_at()));
        }
    }
}
