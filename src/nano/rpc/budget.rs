//! How often a node may be asked, whoever asks.
//!
//! Pure: `now` is an argument, the time that has passed since some fixed moment.

use std::time::Duration;

/// Calls that may come at once after a quiet second: a round of questions is a handful.
const BURST_SECONDS: u32 = 1;

/// A call waits at most this long for its turn; a caller with several nodes is better served by
/// the next one, and one with a single node by trying again.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Requests per second to one node. Turns are given out in order, each its own moment.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    interval: Duration,
    burst: Duration,
    /// When the turn after the last one given out would come if there were no burst.
    next: Duration,
}

impl Budget {
    /// At most so many requests per second on average; `None` for zero, which would be never.
    #[must_use]
    pub fn per_second(requests: u32) -> Option<Self> {
        let interval = Duration::from_secs(1).checked_div(requests)?;
        let burst = interval.saturating_mul(requests.saturating_mul(BURST_SECONDS).saturating_sub(1));
        Some(Self { interval, burst, next: Duration::ZERO })
    }

    /// Takes a turn: how long to wait for it.
    ///
    /// # Errors
    /// The wait, if it is longer than `patience`; no turn is taken then.
    pub fn take(&mut self, now: Duration, patience: Duration) -> Result<Duration, Duration> {
        let due = self.next.max(now);
        let wait = due.saturating_sub(now + self.burst);
        if wait > patience {
            return Err(wait);
        }
        self.next = due + self.interval;
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_is_free_and_then_turns_come_evenly() {
        let mut budget = Budget::per_second(4).expect("not zero");
        let waits: Vec<_> = (0..8).map(|_| budget.take(ms(0), ms(10_000))).collect();
        let expected = [0, 0, 0, 0, 250, 500, 750, 1_000].map(|wait| Ok(ms(wait)));
        assert_eq!(waits, expected);
    }

    #[test]
    fn who_would_wait_too_long_takes_no_turn() {
        let mut budget = Budget::per_second(1).expect("not zero");
        assert_eq!(budget.take(ms(0), ms(0)), Ok(ms(0)));
        for _ in 0..100 {
            assert_eq!(budget.take(ms(0), ms(500)), Err(ms(1_000)));
        }
        assert_eq!(budget.take(ms(1_000), ms(500)), Ok(ms(0)));
    }

    #[test]
    fn quiet_hours_are_not_saved_up() {
        let mut budget = Budget::per_second(2).expect("not zero");
        let free = (0..100).take_while(|_| budget.take(ms(3_600_000), ms(0)).is_ok()).count();
        assert_eq!(free, 2);
        assert!(Budget::per_second(0).is_none());
    }
}
