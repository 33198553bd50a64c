//! For whom a job's letters are sealed: the key that the buyer had when the job was first heard of.
//!
//! A bot's name is the hash of the key that it signs with, but of the key that is sealed for only the
//! relay tells. Who could swap it later could read the result, so the first one is kept with the job,
//! durable before anything is charged for, and no other is used for it, whatever the relay shows.

use super::bazaar::{Bazaar, Stop};
use super::ticket::Ticket;
use crate::points::crash_point;
use crate::protocol::JobId;
use crate::protocol::v0::{Bot, SealingPublicKey};
use crate::store::{Batch, StoreError};
use crate::worker::memory::PINS;

/// What is logged when the relay shows another key than the one that is kept.
#[derive(Debug, thiserror::Error)]
#[error("the buyer's sealing key is not the one of this job's first day: {shown} is refused, {kept} is used")]
struct OtherKey {
    kept: String,
    shown: String,
}

impl Bazaar {
    /// Keeps the key of a job that is new, or the one that was kept before. It is durable with the page
    /// that the job is heard in, before which nothing is done for the job.
    pub(super) fn pin(&self, job: JobId, buyer: &Bot) -> Result<SealingPublicKey, StoreError> {
        let shown = buyer.encryption_pubkey_x25519;
        let Some(kept) = PINS.get(&self.store, &job)? else {
            let mut batch = Batch::default();
            PINS.put(&mut batch, &job, &shown)?;
            self.store.commit(batch)?;
            crash_point!("worker/bazaar/pinned");
            return Ok(shown);
        };
        if kept != shown {
            let error = OtherKey { kept: kept.kid(), shown: shown.kid() };
            tracing::error!(job_id = %job, buyer = %buyer.bot_id, %error, "refused");
        }
        Ok(kept)
    }

    /// Before a charge: a job that was taken on before keys were kept gets its own now.
    pub(super) async fn be_pinned(&self, job: JobId, ticket: &Ticket) -> Result<(), Stop> {
        if PINS.contains(&self.store, &job)? {
            return Ok(());
        }
        self.key_for(job, ticket).await.map(drop)
    }

    /// What a letter of this job is sealed for; durable. A relay that has lost the buyer changes nothing
    /// about a key that is kept.
    pub(super) async fn key_for(&self, job: JobId, ticket: &Ticket) -> Result<SealingPublicKey, Stop> {
        let kept = PINS.get(&self.store, &job)?;
        let shown = self.repeat(job, async |_| self.bots.get(self, &ticket.buyer_bot_id).await).await;
        match (kept, shown) {
            (_, Ok(buyer)) => {
                let key = self.pin(job, &buyer)?;
                self.store.durable().await?;
                Ok(key)
            }
            (Some(kept), Err(_)) => Ok(kept),
            (None, Err(error)) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::super::fixture::{Scripted, bazaar, bot, buyer, job, kept};
    use super::super::result;
    use super::*;
    use crate::protocol::v0::identity::decode_base64;
    use crate::protocol::v0::{self, BotKeys, sealing};
    use crate::worker::engine::Heard;
    use crate::worker::input::{Call, Input};
    use crate::worker::memory;
    use crate::worker::stage::Stage;

    /// The same signing key, and so the same name, with another key to seal for.
    fn swapped() -> BotKeys {
        BotKeys::from_seeds(&[2; 32], &[66; 32])
    }

    fn honest(target: &str) -> (u16, Value) {
        assert!(target.starts_with("/v0/bots/"), "{target}");
        (200, bot(&buyer()))
    }

    fn dishonest(_: &str) -> (u16, Value) {
        (200, bot(&swapped()))
    }

    fn forgetful(target: &str) -> (u16, Value) {
        if target.starts_with("/v0/poll") {
            return (200, json!({ "events": [], "last_acked_event_id": 0, "min_event_id_retained": 0 }));
        }
        (404, json!({ "error": "bot not found" }))
    }

    #[tokio::test]
    async fn the_first_key_counts_whatever_the_relay_shows_later() {
        let dir = tempfile::tempdir().unwrap();
        let shown = |bazaar: &Bazaar, name| {
            bazaar.shown(&serde_json::from_value(job(name, "REQUESTED", "pay_1")).unwrap())
        };
        for says in [honest, dishonest, forgetful] {
            let bazaar = bazaar(Scripted::new(says), Arc::new(memory::open(dir.path()).unwrap()));
            let asked = shown(&bazaar, "job_1");
            let key = bazaar.key_for(asked.job.job_id, &asked.ticket).await;
            assert_eq!(key.ok(), Some(buyer().sealing_key()));
        }
        // Another job has its own first day; and where there is none, nothing is sealed.
        for (says, expected) in
            [(forgetful as fn(&str) -> _, None), (dishonest, Some(swapped().sealing_key()))]
        {
            let bazaar = bazaar(Scripted::new(says), Arc::new(memory::open(dir.path()).unwrap()));
            let asked = shown(&bazaar, "job_2");
            let pinned = bazaar.be_pinned(asked.job.job_id, &asked.ticket).await;
            assert_eq!(pinned.is_ok(), expected.is_some());
            assert_eq!(PINS.get(&bazaar.store, &asked.job.job_id).unwrap(), expected);
        }
    }

    /// A letter is for whoever asked, though the relay names somebody else's key by now.
    #[tokio::test]
    async fn a_letter_is_sealed_for_the_first_key() {
        fn taken(target: &str) -> (u16, Value) {
            if target.ends_with("/deliver") {
                return (200, json!({ "payload_id": result::refusal(&v0::JobId::new("job_1"), "no").id }));
            }
            dishonest(target)
        }
        let dir = tempfile::tempdir().unwrap();
        let life = |says| {
            let relay = Scripted::new(says);
            let store = Arc::new(memory::open(dir.path()).unwrap());
            (Arc::clone(&relay), bazaar(relay, store))
        };
        let (_, first) = life(honest);
        let job = kept(&first, "job_1", Stage::Refusing { reason: "no".to_owned() });
        first.be_pinned(job, &first.ticket(job).ok().unwrap()).await.ok().unwrap();
        drop(first);
        let (relay, second) = life(taken);
        let told = second.refuse(job, "no".to_owned()).await;
        assert!(matches!(told, Heard::Input(_, Input::Done(Call::Refuse))), "{told:?}");
        let payload = relay.sent("/v0/jobs/job_1/deliver")["payload"].clone();
        assert_eq!(payload["recipient_kid"], json!(buyer().sealing_key().kid()));
        let sealed = decode_base64(payload["ciphertext_b64"].as_str().unwrap()).unwrap();
        assert!(sealing::open(&buyer(), &sealed).is_ok() && sealing::open(&swapped(), &sealed).is_err());
    }
}
