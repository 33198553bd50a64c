//! What stands before a mutation: nonces, and answers for idempotency keys.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Embedded;
use super::keys::{ANSWERS, ANSWERS_BY_END, AnswerBody, AnswerRecord, NONCES};
use crate::points::crash_point;
use crate::protocol::{PublicKey, Refusal, Timestamp};
use crate::relay::model::{Claim, Claimed, Receipt, Reply, ReplyBody};
use crate::store::{Batch, StoreError};

/// Nonces are kept by the five minutes of their use: three windows are looked through for the usual
/// ten minutes, and the name of a window does not depend on a setting.
const WINDOW_SECONDS: u64 = 300;

/// Requests that are running now. They die with the process, and so may their claims.
#[derive(Debug, Default)]
pub(super) struct Running(Mutex<HashMap<(PublicKey, String), Run>>);

#[derive(Debug)]
struct Run {
    request_hash: String,
    until: Timestamp,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, HashMap<(PublicKey, String), Run>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn release(&self, claim: &Claim) {
        self.lock().remove(&(claim.party, claim.key.clone()));
    }
}

impl Embedded {
    pub(super) fn use_nonce(
        &self,
        party: PublicKey,
        nonce: &str,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let _turn = self.store.writer();
        let horizon = now.minus(ttl);
        let mut key = (window(now), party, nonce.to_owned());
        // One window more: the clock may have been set back since.
        for past in window(horizon)..=window(now) + 1 {
            key.0 = past;
            if NONCES.get(&self.store, &key)?.is_some_and(|used| used > horizon) {
                return Ok(false);
            }
        }
        key.0 = window(now);
        let mut batch = Batch::default();
        NONCES.put(&mut batch, &key, &now)?;
        crash_point!("relay/nonce/decided");
        self.store.commit(batch)?;
        crash_point!("relay/nonce/committed");
        Ok(true)
    }

    pub(super) fn claim_key(
        &self,
        claim: &Claim,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Claimed, StoreError> {
        // Held while the store is read, so that an answer cannot appear between the two looks.
        let mut running = self.running.lock();
        let key = (claim.party, claim.key.clone());
        if let Some(run) = running.get(&key).filter(|run| now < run.until) {
            let same = run.request_hash == claim.request_hash;
            return Ok(if same { Claimed::Running } else { Claimed::Conflict });
        }
        match ANSWERS.get(&self.store, &key)?.filter(|answer| now < answer.expires_at) {
            Some(answer) if answer.request_hash != claim.request_hash => Ok(Claimed::Conflict),
            Some(answer) => self.reply(answer).map(Claimed::Answered),
            None => {
                running.insert(key, Run { request_hash: claim.request_hash.clone(), until: now.plus(lease) });
                crash_point!("relay/claim/made");
                Ok(Claimed::Fresh)
            }
        }
    }

    fn reply(&self, answer: AnswerRecord) -> Result<Reply, StoreError> {
        let body = match answer.body {
            AnswerBody::Job(record) => ReplyBody::Job(Box::new(self.with_payloads(*record)?)),
            AnswerBody::Offer(offer) => ReplyBody::Offer(Box::new(offer)),
            AnswerBody::Acked(id) => ReplyBody::Acked(id),
            AnswerBody::Refused(refusal) => ReplyBody::Refused(refusal),
            AnswerBody::Text(text) => ReplyBody::Text(text),
        };
        Ok(Reply { status: answer.status, body })
    }

    pub(super) fn record_refusal(&self, receipt: &Receipt, refusal: &Refusal) -> Result<(), StoreError> {
        let _turn = self.store.writer();
        let mut batch = Batch::default();
        put_answer(&mut batch, receipt, AnswerBody::Refused(refusal.clone()))?;
        crash_point!("relay/refusal/decided");
        self.store.commit(batch)?;
        crash_point!("relay/refusal/committed");
        Ok(())
    }

    pub(super) fn forget_nonces(&self, horizon: Timestamp, limit: usize) -> Result<bool, StoreError> {
        let mut batch = Batch::default();
        let mut removed = 0;
        for entry in NONCES.all(&self.store).take(limit) {
            let (key, _) = entry?;
            if key.0 >= window(horizon) {
                break;
            }
            NONCES.remove(&mut batch, &key);
            removed += 1;
        }
        self.store.commit(batch)?;
        Ok(removed == limit)
    }

    pub(super) fn forget_answers(&self, horizon: Timestamp, limit: usize) -> Result<bool, StoreError> {
        let _turn = self.store.writer();
        let mut batch = Batch::default();
        let mut removed = 0;
        for entry in ANSWERS_BY_END.all(&self.store).take(limit) {
            let ((end, party, key), ()) = entry?;
            if end >= horizon {
                break;
            }
            ANSWERS_BY_END.remove(&mut batch, &(end, party, key.clone()));
            let key = (party, key);
            // The key may have been used again since; its new answer has its own end.
            if ANSWERS.get(&self.store, &key)?.is_some_and(|answer| answer.expires_at <= end) {
                ANSWERS.remove(&mut batch, &key);
            }
            removed += 1;
        }
        self.store.commit(batch)?;
        Ok(removed == limit)
    }
}

pub(super) fn put_answer(batch: &mut Batch, receipt: &Receipt, body: AnswerBody) -> Result<(), StoreError> {
    let Receipt { claim, expires_at, status } = receipt;
    let record = AnswerRecord {
        request_hash: claim.request_hash.clone(),
        expires_at: *expires_at,
        status: *status,
        body,
    };
    ANSWERS.put(batch, &(claim.party, claim.key.clone()), &record)?;
    ANSWERS_BY_END.put(batch, &(*expires_at, claim.party, claim.key.clone()), &())
}

fn window(at: Timestamp) -> u64 {
    at.seconds().unsigned_abs() / WINDOW_SECONDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::Entropy;
    use crate::store::{Disk, reads};

    /// Known in others: a table of nonces without an index is looked through for every request, which
    /// makes each slower than the last.
    #[test]
    fn a_nonce_costs_as_much_after_a_hundred_thousand_as_after_ten() {
        let disk = Disk::default();
        let storage = Embedded::in_memory(&disk, &Entropy::system()).unwrap();
        let (ttl, start) = (Duration::from_secs(600), 1_700_000_000);
        let spend = |nonce: u32, at: i64| {
            let party = PublicKey::from_bytes([u8::try_from(nonce % 3).unwrap(); 32]);
            let mut first = None;
            let at = Timestamp::from_seconds(start + at);
            let reads =
                reads::during(|| first = storage.use_nonce(party, &format!("{nonce:032x}"), at, ttl).ok());
            (first.unwrap(), reads)
        };
        let (mut few, mut many) = (0, 0);
        for nonce in 0..100_000u32 {
            // Most within the same five minutes, as on a busy relay.
            let (first, reads) = spend(nonce, i64::from(nonce / 1_000));
            assert!(first);
            if nonce == 10 { few = reads } else { many = many.max(reads) }
        }
        // One for each window that a nonce may lie in.
        assert!((1..=4).contains(&few), "{few}");
        assert_eq!(many, few);
        for nonce in [0, 50_000, 99_999] {
            let (first, reads) = spend(nonce, 100);
            assert!(!first && reads <= few, "{nonce} is fresh, after {reads} reads");
        }
    }

    #[test]
    fn a_window_is_five_minutes_for_ever() {
        for (seconds, number) in [(0, 0), (299, 0), (300, 1), (899, 2), (1_700_000_000, 5_666_666)] {
            assert_eq!(window(Timestamp::from_seconds(seconds)), number);
        }
    }
}
