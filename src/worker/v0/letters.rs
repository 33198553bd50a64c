//! Sealed texts: fetched and believed only after every check, or written and sealed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::bazaar::Bazaar;
use super::flaws::{can_name_payload, is_gone, tolerant};
use super::result::{Letter, request};
use super::ticket::{Ticket, job_id};
use crate::client::CallError;
use crate::points::crash_point;
use crate::protocol::v0::payload::{Address, Kind, read, write};
use crate::protocol::v0::sealing::SealError;
use crate::protocol::v0::{Bot, BotId, Job, Moment, Payload, PayloadId, Sealed, SealingPublicKey};
use crate::worker::ingest::RoundError;

/// Bots whose keys are remembered; keys never change, and a seller has fewer buyers at a time.
const BOTS_MAX: usize = 1_000;

/// Keys by bot.
#[derive(Debug, Default)]
pub(super) struct Bots(Mutex<HashMap<BotId, Bot>>);

/// A request that was looked for: what it says, or why it cannot be served.
pub(super) type Request = Result<serde_json::Value, String>;

impl Bots {
    /// The keys of a bot. Its name is the hash of the key that signs, so that no relay can make one up.
    pub(super) async fn get(&self, bazaar: &Bazaar, id: &BotId) -> Result<Bot, CallError> {
        if let Some(bot) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            return Ok(bot.clone());
        }
        let bot = bazaar.client.bot(id).await?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= BOTS_MAX {
            known.clear();
        }
        known.insert(*id, bot.clone());
        Ok(bot)
    }
}

impl Bazaar {
    /// The request of a job. What cannot be read, or is not the buyer's own word for this job, is
    /// answered with a reason; an error is a relay that gave no answer.
    pub(super) async fn request_of(&self, job: &Job, pause: Duration) -> Result<Request, RoundError> {
        let id = match tolerant(&self.client, pause, || self.request_id(job)).await? {
            Ok(Some(id)) => id,
            Ok(None) => return Ok(Err("there is no request with the job".to_owned())),
            Err(flaw) => return Ok(Err(unread(job, "the request cannot be found", &flaw))),
        };
        if !can_name_payload(&id) {
            return Ok(Err("the request has a name that cannot be asked for".to_owned()));
        }
        let payload = match tolerant(&self.client, pause, || self.client.payload(&id)).await? {
            Ok(payload) => payload,
            Err(flaw) if is_gone(&flaw) => {
                return Ok(Err("the request is not there any more".to_owned()));
            }
            Err(flaw) => return Ok(Err(unread(job, "the request cannot be fetched", &flaw))),
        };
        let sender = match tolerant(&self.client, pause, || self.bots.get(self, &job.buyer_bot_id)).await? {
            Ok(bot) => bot,
            Err(flaw) => return Ok(Err(unread(job, "the buyer is not known", &flaw))),
        };
        let opened = open(self, job, &payload, &sender);
        if opened.is_ok() {
            self.pin(job_id(&job.job_id), &sender)?;
        }
        crash_point!("worker/bazaar/opened");
        Ok(opened)
    }

    /// The name of the request's payload; a relay that does not say it lists it.
    async fn request_id(&self, job: &Job) -> Result<Option<PayloadId>, CallError> {
        if job.request_payload_id.is_some() {
            return Ok(job.request_payload_id.clone());
        }
        let query = crate::client::v0::PayloadsQuery {
            status: crate::protocol::v0::lists::Fetched::All,
            job_id: Some(job.job_id.clone()),
            limit: None,
            cursor: None,
        };
        let (page, _) = self.client.payloads(&query).await?;
        let requests = page.payloads.into_iter().filter(|head| head.payload_kind == Kind::Request);
        Ok(requests.map(|head| head.payload_id).next_back())
    }

    /// Seals a text for the buyer. The same text at the same moment is sealed into the same bytes, so
    /// that a later life repeats a request and does not make another one.
    pub(super) fn sealed(
        &self,
        ticket: &Ticket,
        key: &SealingPublicKey,
        kind: Kind,
        letter: &Letter,
        at: Moment,
    ) -> Result<Sealed, SealError> {
        let hash = hex::encode(Sha256::digest(&letter.body));
        let label = format!("{}|{}|{}|{kind}|{at}|{hash}", letter.id, ticket.job_id, ticket.buyer_bot_id);
        let address = Address {
            payload_id: &letter.id,
            job_id: &ticket.job_id,
            kind,
            recipient: ticket.buyer_bot_id,
            recipient_key: key,
        };
        let keys = self.client.keys();
        write(keys, address, &letter.body, at, &keys.ephemeral(&label))
    }
}

/// A reason for the buyer, and the whole of it for whoever reads the log.
fn unread(job: &Job, reason: &str, flaw: &CallError) -> String {
    tracing::error!(job = ?job.job_id, reason, error = %flaw, "the job cannot be served");
    reason.to_owned()
}

/// Outside against inside, name against key, signature: all before a word of it is used.
fn open(bazaar: &Bazaar, job: &Job, payload: &Payload, sender: &Bot) -> Request {
    let is_request = payload.job_id == job.job_id
        && payload.sender_bot_id == job.buyer_bot_id
        && payload.payload_kind == Kind::Request;
    if !is_request {
        return Err("the request is not the buyer's for this job".to_owned());
    }
    match read(bazaar.client.keys(), payload, &sender.signing_pubkey_ed25519) {
        Ok(letter) => Ok(request(&letter.body)),
        Err(fault) => Err(fault.to_string()),
    }
}
