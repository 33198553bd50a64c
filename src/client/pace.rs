//! How long to wait before the next try: exponential, with full jitter.
//!
//! The only module that names the crate `backoff`, so that replacing it is this file. The crate
//! keeps the schedule; the jitter is drawn here, because the crate would draw it from the thread's
//! own randomness, which no test can choose.

use std::fmt;
use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

use crate::edge::Entropy;

/// A server's wish to be left alone is honoured up to here: one that names a day is mistaken or
/// hostile, and a job may not wait for it.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Delays that double from `min` to `max`, each drawn evenly between nothing and that.
///
/// Full jitter spreads those who lost the same server at the same moment over the whole delay.
pub struct Pace {
    schedule: ExponentialBackoff,
    entropy: Entropy,
    tries: u32,
}

impl Pace {
    /// Begins at `min` and never waits longer than `max`.
    #[must_use]
    pub fn new(min: Duration, max: Duration, entropy: Entropy) -> Self {
        let mut schedule = ExponentialBackoff {
            initial_interval: min,
            randomization_factor: 0.0,
            multiplier: 2.0,
            max_interval: max.max(min),
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        schedule.reset();
        Self { schedule, entropy, tries: 0 }
    }

    /// How long to wait now.
    pub fn next_delay(&mut self) -> Duration {
        let max = self.schedule.max_interval;
        let span = self.schedule.next_backoff().unwrap_or(max).min(max);
        self.tries = self.tries.saturating_add(1);
        self.jitter(span)
    }

    /// How long to wait when the server asked for `retry_after`: that at least, up to
    /// [`RETRY_AFTER_MAX`], and the jitter on top, so that not all come back in the same instant.
    pub fn next_delay_after(&mut self, retry_after: Option<Duration>) -> Duration {
        let jitter = self.next_delay();
        retry_after.map_or(jitter, |asked| asked.min(RETRY_AFTER_MAX).saturating_add(jitter))
    }

    /// How often there was a delay since the beginning or the last [`Pace::reset`].
    #[must_use]
    pub const fn tries(&self) -> u32 {
        self.tries
    }

    /// Begins again at the shortest delay: something went well.
    pub fn reset(&mut self) {
        self.schedule.reset();
        self.tries = 0;
    }

    fn jitter(&self, span: Duration) -> Duration {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        // The bias of the remainder is below one in 2^20 for every span under a day.
        Duration::from_nanos(self.entropy.number() % nanos.saturating_add(1).max(1))
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pace(try {})", self.tries)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace(min_ms: u64, max_ms: u64, number: u64) -> Pace {
        let entropy = Entropy::from_fn(move |bytes| bytes.copy_from_slice(&number.to_le_bytes()));
        Pace::new(Duration::from_millis(min_ms), Duration::from_millis(max_ms), entropy)
    }

    /// The largest draw shows the schedule itself.
    fn longest(min_ms: u64, max_ms: u64, tries: usize) -> Vec<u128> {
        let spans = [min_ms, min_ms * 2, min_ms * 4, min_ms * 8].map(|span| span.min(max_ms));
        (0..tries)
            .map(|index| {
                let mut pace = pace(min_ms, max_ms, spans[index] * 1_000_000);
                (0..=index).map(|_| pace.next_delay()).last().unwrap().as_millis()
            })
            .collect()
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        assert_eq!(longest(100, 500, 4), [100, 200, 400, 500]);
    }

    #[test]
    fn success_begins_again() {
        let mut pace = pace(100, 500, 100_000_000);
        assert!((0..10).map(|_| pace.next_delay()).all(|delay| delay > Duration::ZERO));
        pace.reset();
        assert_eq!((pace.tries(), pace.next_delay()), (0, Duration::from_millis(100)));
    }

    #[test]
    fn a_server_is_obeyed_within_reason() {
        let asked = |seconds| pace(100, 500, 0).next_delay_after(Some(Duration::from_secs(seconds)));
        assert_eq!(asked(7), Duration::from_secs(7));
        assert_eq!(asked(86_400), RETRY_AFTER_MAX);
    }

    proptest! {
        #[test]
        fn no_delay_is_longer_than_the_longest(min in 0..10_000u64, max in 0..100_000u64, number: u64) {
            let mut pace = pace(min, max, number);
            for _ in 0..40 {
                prop_assert!(pace.next_delay() <= Duration::from_millis(max.max(min)));
            }
        }
    }
}
