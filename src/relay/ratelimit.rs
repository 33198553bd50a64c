//! Token buckets, pure: the moment is an argument.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use serde_json::json;

use super::config::Rates;
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
}

/// Counts requests; without rates it lets everything pass.
#[derive(Debug)]
pub(super) struct Limiter {
    rates: Option<Rates>,
    buckets: Mutex<Generations<Kind, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
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
    pub(super) fn new(rates: Option<Rates>) -> Self {
        let buckets = Generations { young: HashMap::new(), old: HashMap::new(), since: Timestamp::default() };
        Self { rates, buckets: Mutex::new(buckets) }
    }

    /// Takes a token.
    pub(super) fn check(&self, kind: Kind, now: Timestamp) -> Result<(), Refusal> {
        let Some(rates) = &self.rates else { return Ok(()) };
        let (kind, max) = match kind {
            Kind::Ip(ip) => (Kind::Ip(network(ip)), rates.ip_max),
            Kind::Key(_) => (kind, rates.pubkey_max),
            Kind::Strict(_) => (kind, rates.strict_max),
        };
        let window = u64::try_from(rates.window.as_micros()).unwrap_or(u64::MAX).max(1);
        let full = u64::from(max) * PARTS;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.turn(now, rates.window);
        let bucket = buckets.entry(kind, Bucket { parts: full, at: now });
        let passed = u64::try_from(now.since(bucket.at).as_micros()).unwrap_or(u64::MAX).min(window);
        let refill = u128::from(full) * u128::from(passed) / u128::from(window);
        bucket.parts = bucket.parts.saturating_add(u64::try_from(refill).unwrap_or(full)).min(full);
        bucket.at = now.max(bucket.at);
        if bucket.parts >= PARTS {
            bucket.parts -= PARTS;
            return Ok(());
        }
        let missing = u128::from(PARTS - bucket.parts) * u128::from(window);
        let seconds = missing.div_ceil(u128::from(full) * 1_000_000).max(1);
        Err(Refusal::new(
            Code::RateLimited,
            format!("too many requests: at most {max} in {} s", rates.window.as_secs_f64()),
        )
        .with_details(json!({ RETRY_DETAIL: u64::try_from(seconds).unwrap_or(u64::MAX) })))
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
    use std::time::Duration;

    use super::*;

    const RATES: Rates =
        Rates { window: Duration::from_secs(60), ip_max: 120, pubkey_max: 60, strict_max: 30 };

    #[test]
    fn a_bucket_empties_and_fills_again() {
        let limiter = Limiter::new(Some(RATES));
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
        let limiter = Limiter::new(Some(Rates { ip_max: 1, ..RATES }));
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
