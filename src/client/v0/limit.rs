//! How often a relay is asked: slots that are taken before a request is signed, so that the relay's
//! own limits are never met.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::error::CallError;
use crate::edge::monotonic;

/// Whoever would wait longer than this for a slot is told so instead: the line has a bound, and a
/// signature made a minute late would be about a minute ago.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A bucket of requests: so many in one go, and then one in each interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many in one go.
    pub burst: u32,
    /// How long until the next.
    pub interval: Duration,
}

/// What a relay allows a bot, by kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Polls, acknowledgements and wake streams.
    pub poll: Option<Rate>,
    /// Searches of offers.
    pub offers: Option<Rate>,
    /// Everything that changes something.
    pub writes: Option<Rate>,
    /// Payloads.
    pub payloads: Option<Rate>,
}

const FAST: Option<Rate> = Some(Rate { burst: 10, interval: Duration::from_millis(200) });
const SLOW: Option<Rate> = Some(Rate { burst: 5, interval: Duration::from_millis(500) });

impl Rates {
    /// What the deployed relays allow.
    pub const DEPLOYED: Self = Self { poll: FAST, offers: SLOW, writes: SLOW, payloads: FAST };
    /// No limits: for a relay of one's own that has none.
    pub const UNLIMITED: Self = Self { poll: None, offers: None, writes: None, payloads: None };
}

/// The kinds of requests that are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bucket {
    Poll,
    Offers,
    Writes,
    Payloads,
}

/// The slots of all kinds; one for all clones of a client.
pub(super) struct Limiter {
    rates: Rates,
    lines: Mutex<[Line; 4]>,
}

/// A line in front of one bucket: when the bucket would be full again if nobody came any more.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    full_at: Option<Instant>,
}

impl Limiter {
    pub(super) fn new(rates: Rates) -> Self {
        Self { rates, lines: Mutex::default() }
    }

    /// Waits until one more request of this kind may go out.
    pub(super) async fn slot(&self, bucket: Bucket) -> Result<(), CallError> {
        match self.take(bucket, monotonic()) {
            Ok(Duration::ZERO) => Ok(()),
            Ok(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            Err(wait) => Err(CallError::RateLimited { retry_after: Some(wait) }),
        }
    }

    /// What the relay says is left; another process of the same bot may have used the rest.
    pub(super) fn told(&self, bucket: Bucket, left: u32) {
        let Some(rate) = self.rate(bucket) else { return };
        let used = rate.burst.saturating_sub(left);
        self.move_line(bucket, monotonic() + rate.interval * used);
    }

    /// The relay has refused: nothing before `after`, and then one by one.
    pub(super) fn refused(&self, bucket: Bucket, after: Duration) {
        let Some(rate) = self.rate(bucket) else { return };
        self.move_line(bucket, monotonic() + after.min(WAIT_MAX) + rate.interval * (rate.burst - 1));
    }

    /// Takes a slot: how long to wait for it, or how long one would have to and may not.
    fn take(&self, bucket: Bucket, now: Instant) -> Result<Duration, Duration> {
        let Some(rate) = self.rate(bucket) else { return Ok(Duration::ZERO) };
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = &mut lines[bucket as usize];
        let spare = rate.interval * (rate.burst - 1);
        // A process that has just begun may be the next life of one that has used the burst up.
        let full_at = line.full_at.unwrap_or(now + spare).max(now);
        let wait = full_at.saturating_duration_since(now).saturating_sub(spare);
        if wait > WAIT_MAX {
            return Err(wait);
        }
        line.full_at = Some(full_at + rate.interval);
        Ok(wait)
    }

    fn move_line(&self, bucket: Bucket, full_at: Instant) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = &mut lines[bucket as usize];
        line.full_at = Some(line.full_at.map_or(full_at, |before| before.max(full_at)));
    }

    /// A tenth slower than allowed and one less in a go: requests that were sent apart can arrive
    /// together.
    fn rate(&self, bucket: Bucket) -> Option<Rate> {
        let Rates { poll, offers, writes, payloads } = self.rates;
        let rate = match bucket {
            Bucket::Poll => poll,
            Bucket::Offers => offers,
            Bucket::Writes => writes,
            Bucket::Payloads => payloads,
        };
        rate.map(|Rate { burst, interval }| Rate {
            burst: burst.saturating_sub(1).max(1),
            interval: interval + interval / 10,
        })
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Limiter({:?})", self.rates)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn limiter() -> Limiter {
        Limiter::new(Rates::DEPLOYED)
    }

    #[test]
    fn a_new_process_has_one_and_a_rested_one_its_burst() {
        let (limiter, start) = (limiter(), monotonic());
        let take = |at: Duration| limiter.take(Bucket::Writes, start + at).unwrap();
        assert_eq!([take(Duration::ZERO), take(Duration::ZERO)], [Duration::ZERO, MS * 550]);
        let rested = MS * 60_000;
        let waits: Vec<Duration> = (0..6).map(|_| take(rested)).collect();
        assert_eq!(
            waits,
            [Duration::ZERO, Duration::ZERO, Duration::ZERO, Duration::ZERO, MS * 550, MS * 1_100]
        );
        assert_eq!(limiter.take(Bucket::Poll, start), Ok(Duration::ZERO), "each kind has its own line");
    }

    #[test]
    fn the_line_has_an_end() {
        let (limiter, start) = (limiter(), monotonic());
        let refused = (0..1_000).filter(|_| limiter.take(Bucket::Writes, start).is_err()).count();
        assert_eq!(1_000 - refused, 1 + 60_000 / 550);
    }

    #[test]
    fn what_the_relay_says_counts() {
        let limiter = limiter();
        limiter.refused(Bucket::Writes, MS * 3_000);
        let wait = limiter.take(Bucket::Writes, monotonic()).unwrap();
        assert!((MS * 2_900..=MS * 3_000).contains(&wait), "{wait:?}");
        limiter.told(Bucket::Poll, 0);
        let wait = limiter.take(Bucket::Poll, monotonic()).unwrap();
        assert!((MS * 120..=MS * 220).contains(&wait), "{wait:?}");
        let free = Limiter::new(Rates::UNLIMITED);
        free.refused(Bucket::Poll, MS * 3_000);
        assert_eq!(free.take(Bucket::Poll, monotonic()), Ok(Duration::ZERO));
    }

    proptest! {
        /// The relay's bucket, with requests as they would arrive: it is never empty.
        #[test]
        fn the_relay_never_has_to_refuse(pauses in prop::collection::vec(0u64..2_000, 1..80), lags in prop::collection::vec(0u64..200, 80)) {
            let (limiter, start) = (limiter(), monotonic());
            let mut now = Duration::ZERO;
            let mut arrivals: Vec<u64> = Vec::new();
            for (pause, lag) in pauses.iter().zip(&lags) {
                now += MS * u32::try_from(*pause).unwrap();
                if let Ok(wait) = limiter.take(Bucket::Writes, start + now) {
                    arrivals.push(u64::try_from((now + wait).as_millis()).unwrap() + lag);
                }
            }
            arrivals.sort_unstable();
            // In thousandths of a token; two tokens a second.
            let (mut tokens, mut last) = (5_000u64, 0u64);
            for arrival in arrivals {
                tokens = (tokens + (arrival - last) * 2).min(5_000);
                last = arrival;
                prop_assert!(tokens >= 1_000, "refused at {arrival} ms");
                tokens -= 1_000;
            }
        }
    }
}
