//! Token buckets, pure: the moment is an argument.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::config::{BazaarRates, Rates};
use super::http::RETRY_DETAIL;
use crate::protocol::{Code, PublicKey, Refusal, Timestamp};

/// Sources that are remembered in one window; more are an attack, and the oldest are forgotten.
const SOURCES_MAX: usize = 100_000;
/// Parts of a token, so that a bucket fills in whole numbers.
const PARTS: u64 = 1_000_000;

/// Who makes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Anybody at this address.
    Ip(IpAddr),
    /// The holder of this key.
    Key(PublicKey),
    /// The same, making offers and jobs.
    Strict(PublicKey),
    /// A bot, for one kind of its requests.
    Bot(Bucket, PublicKey),
    /// Anybody at this address, for one kind of unsigned requests.
    Visitor(Bucket, IpAddr),
}

/// The kinds of requests that /v0 counts apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Bucket {
    /// Polls, acknowledgements and wake streams.
    Poll,
    /// Searches.
    Offer,
    /// Everything that changes something.
    Writes,
    /// Payloads.
    Payload,
}

/// What is left of somebody's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    /// How many requests in one go.
    pub(super) burst: u32,
    /// How many of them are left.
    pub(super) left: u32,
    /// When all of them will be again, in UNIX seconds.
    pub(super) full_at_seconds: i64,
    /// How long until the next one, in seconds; 0 if there is one.
    pub(super) wait_seconds: u64,
}

/// Counts requests; without rates it lets everything pass.
#[derive(Debug)]
pub(super) struct Limiter {
    rates: Option<Rates>,
    bazaar: BazaarRates,
    buckets: Mutex<Generations<Kind, Level>>,
}

#[derive(Debug, Clone, Copy)]
struct Level {
    parts: u64,
    at: Timestamp,
}

/// Entries of this window and the last. A bucket untouched for a whole window is full again, so that
/// it can be forgotten.
#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    since: Timestamp,
}

impl Limiter {
    pub(super) fn new(rates: Option<Rates>, bazaar: BazaarRates) -> Self {
        let buckets = Generations { young: HashMap::new(), old: HashMap::new(), since: Timestamp::default() };
        Self { rates, bazaar, buckets: Mutex::new(buckets) }
    }

    /// Takes a token.
    pub(super) fn check(&self, kind: Kind, now: Timestamp) -> Result<(), Refusal> {
        self.count(kind, now).map(drop).map_err(|allowance| {
            let (max, window) = self.rate(kind).unwrap_or_default();
            Refusal::new(
                Code::RateLimited,
                format!("too many requests: at most {max} in {} s", window.as_secs_f64()),
            )
            .with_details(json!({ RETRY_DETAIL: allowance.wait_seconds }))
        })
    }

    /// How many requests in which time; nothing without rates.
    fn rate(&self, kind: Kind) -> Option<(u32, Duration)> {
        let rates = self.rates.as_ref()?;
        Some(match kind {
            Kind::Ip(_) => (rates.ip_max, rates.window),
            Kind::Key(_) => (rates.pubkey_max, rates.window),
            Kind::Strict(_) => (rates.strict_max, rates.window),
            Kind::Bot(bucket, _) | Kind::Visitor(bucket, _) => {
                let rate = self.bazaar.of(bucket);
                (rate.burst, rate.window)
            }
        })
    }

    /// Takes a token and says what is left; `Err` if there was none.
    pub(super) fn count(&self, kind: Kind, now: Timestamp) -> Result<Option<Allowance>, Allowance> {
        let (Some(rates), Some((max, window))) = (&self.rates, self.rate(kind)) else { return Ok(None) };
        let kind = match kind {
            Kind::Ip(ip) => Kind::Ip(network(ip)),
            Kind::Visitor(bucket, ip) => Kind::Visitor(bucket, network(ip)),
            Kind::Key(_) | Kind::Strict(_) | Kind::Bot(..) => kind,
        };
        let longest = rates.window.max(self.bazaar.longest());
        let window = u64::try_from(window.as_micros()).unwrap_or(u64::MAX).max(1);
        let full = u64::from(max) * PARTS;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.turn(now, longest);
        let bucket = buckets.entry(kind, Level { parts: full, at: now });
        let passed = u64::try_from(now.since(bucket.at).as_micros()).unwrap_or(u64::MAX).min(window);
        let refill = u128::from(full) * u128::from(passed) / u128::from(window);
        bucket.parts = bucket.parts.saturating_add(u64::try_from(refill).unwrap_or(full)).min(full);
        bucket.at = now.max(bucket.at);
        let taken = bucket.parts >= PARTS;
        bucket.parts -= if taken { PARTS } else { 0 };
        let seconds_for = |parts: u64| {
            let micros = u128::from(parts) * u128::from(window);
            u64::try_from(micros.div_ceil(u128::from(full) * 1_000_000)).unwrap_or(u64::MAX)
        };
        let allowance = Allowance {
            burst: max,
            left: u32::try_from(bucket.parts / PARTS).unwrap_or(u32::MAX),
            full_at_seconds: now.seconds().saturating_add_unsigned(seconds_for(full - bucket.parts)),
            wait_seconds: if taken { 0 } else { seconds_for(PARTS - bucket.parts).max(1) },
        };
        if taken { Ok(Some(allowance)) } else { Err(allowance) }
    }
}

impl<K: Copy + Eq + Hash, V: Copy> Generations<K, V> {
    fn turn(&mut self, now: Timestamp, window: std::time::Duration) {
        if now.since(self.since) >= window || self.young.len() >= SOURCES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.since = now;
        }
    }

    fn entry(&mut self, key: K, fresh: V) -> &mut V {
        let known = self.old.remove(&key);
        self.young.entry(key).or_insert_with(|| known.unwrap_or(fresh))
    }
}

/// An IPv6 customer has a whole /64, and would have as many buckets otherwise.
pub(super) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        ip @ IpAddr::V4(_) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates =
        Rates { window: Duration::from_secs(60), ip_max: 120, pubkey_max: 60, strict_max: 30 };

    #[test]
    fn a_bucket_empties_and_fills_again() {
        let limiter = Limiter::new(Some(RATES), BazaarRates::default());
        let key = Kind::Strict(PublicKey::from_bytes([1; 32]));
        let start = Timestamp::from_seconds(1_000);
        for _ in 0..30 {
            limiter.check(key, start).unwrap();
        }
        let refusal = limiter.check(key, start).unwrap_err();
        assert_eq!(refusal.code, Code::RateLimited);
        assert_eq!(refusal.details[RETRY_DETAIL], 2);
        limiter.check(key, start.plus(Duration::from_secs(2))).unwrap();
        limiter.check(key, start.plus(Duration::from_secs(2))).unwrap_err();
        limiter.check(Kind::Key(PublicKey::from_bytes([1; 32])), start).unwrap();
    }

    #[test]
    fn neighbours_in_one_network_share_and_memory_is_bounded() {
        let limiter = Limiter::new(Some(Rates { ip_max: 1, ..RATES }), BazaarRates::default());
        let start = Timestamp::from_seconds(1_000);
        limiter.check(Kind::Ip("2001:db8::1".parse().unwrap()), start).unwrap();
        limiter.check(Kind::Ip("2001:db8::2".parse().unwrap()), start).unwrap_err();
        limiter.check(Kind::Ip("::ffff:10.0.0.1".parse().unwrap()), start).unwrap();
        limiter.check(Kind::Ip("10.0.0.1".parse().unwrap()), start).unwrap_err();
        for number in 0..250_000u32 {
            drop(limiter.check(Kind::Ip(IpAddr::from(number.to_be_bytes())), start));
        }
        let buckets = limiter.buckets.lock().unwrap();
        assert!(buckets.young.len() + buckets.old.len() <= 2 * SOURCES_MAX + 1);
    }
}
