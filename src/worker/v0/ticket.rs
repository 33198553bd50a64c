//! What /v0 calls a job, and how the machine sees it.
//!
//! Names in /v0 are any text. Inside the worker a job has an id of its own, derived from that text,
//! so that every life finds the same one; the text itself is kept beside it, and two texts that came
//! to the same id would be noticed.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::protocol::v0::{self, BotId, Moment};
use crate::protocol::{Job, JobId, OfferId, PublicKey, Status};

/// How buyers' clients begin the names of their jobs; none of ours begins so.
pub const NAME_PREFIX: &str = "job_";

/// What only /v0 says of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Its name, which the buyer made.
    pub job_id: v0::JobId,
    /// The offer's name, which the relay made.
    pub offer_id: v0::OfferId,
    /// Who pays.
    pub buyer_bot_id: BotId,
    /// What the charge has to be over, in raw.
    pub price_raw: String,
    /// When it is over at the latest.
    pub job_expires_at: Moment,
    /// Until when the charge that was seen last may be paid.
    #[serde(default)]
    pub charge_expires_at: Option<Moment>,
    /// Whether the buyer asked for another charge while the last one still stood.
    #[serde(default)]
    pub revival_wanted: bool,
    /// Whether nobody here has ever read the request: there is nothing that could be done then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unread: bool,
}

/// A job as the relay showed it.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// As the machine sees it.
    pub job: Job,
    /// What it is called.
    pub ticket: Ticket,
    /// Why its request cannot be served, for the buyer to read.
    pub refusal: Option<String>,
}

impl Ticket {
    /// Whether another sighting is of the same job: what a buyer has asked of us, for a price, never
    /// changes, and a relay that changes it would have the result sealed for somebody else.
    #[must_use]
    pub fn is_same_deal(&self, other: &Self) -> bool {
        (&self.job_id, &self.offer_id, self.buyer_bot_id, &self.price_raw)
            == (&other.job_id, &other.offer_id, other.buyer_bot_id, &other.price_raw)
    }

    fn of(job: &v0::Job) -> Self {
        Self {
            job_id: job.job_id.clone(),
            offer_id: job.offer_id.clone(),
            buyer_bot_id: job.buyer_bot_id,
            price_raw: job.price_raw.clone(),
            job_expires_at: job.job_expires_at,
            charge_expires_at: job.charge.as_ref().and_then(v0::Charge::expires_at),
            revival_wanted: false,
            unread: false,
        }
    }

    /// After which moment the relay may have let it expire without saying so.
    #[must_use]
    pub fn stands_until(&self) -> Moment {
        self.charge_expires_at.map_or(self.job_expires_at, |charge| charge.min(self.job_expires_at))
    }
}

impl Shown {
    /// A job, with its request if that was read. `holder` is this state, which the relay knows only
    /// by its key: nobody else can have marked a job as paid.
    #[must_use]
    pub fn of(job: &v0::Job, request: Option<Value>, holder: &str) -> Self {
        let paid = job.status == v0::Status::Paid;
        let charge = job.charge.as_ref();
        let core = Job {
            job_id: job_id(&job.job_id),
            offer_id: offer_id(&job.offer_id),
            seller_pubkey: party(&job.seller_bot_id),
            buyer_pubkey: party(&job.buyer_bot_id),
            status: status(job.status),
            request_payload: request.unwrap_or_default(),
            quote_amount_raw: charge.map(|charge| charge.amount_raw.clone()),
            quote_invoice_address: charge.map(|charge| charge.address.clone()),
            quote_expires_at: charge.and_then(v0::Charge::expires_at).map(Into::into),
            payment_tx_hash: None,
            lock_owner: None,
            lock_expires_at: None,
            lock_holder: paid.then(|| holder.to_owned()),
            lock_token: 0,
            result_payload: Value::Null,
            result_url: None,
            error: Value::Null,
            cancel_reason: None,
            created_at: job.created_at.into(),
            updated_at: job.created_at.into(),
        };
        Self { job: core, ticket: Ticket::of(job), refusal: None }
    }
}

/// Where a job is, as the machine names it. A charge needs no agreement, so that it is accepted as
/// soon as it stands.
const fn status(status: v0::Status) -> Status {
    match status {
        v0::Status::Requested => Status::Requested,
        v0::Status::ChargeCreated => Status::Accepted,
        v0::Status::Paid => Status::Running,
        v0::Status::Delivered => Status::Delivered,
        v0::Status::Cancelled => Status::Canceled,
        v0::Status::Expired => Status::Expired,
    }
}

/// The worker's own id of a job of /v0.
#[must_use]
pub fn job_id(name: &v0::JobId) -> JobId {
    JobId::from_random(derived("job", name.as_str()))
}

/// The worker's own id of an offer of /v0.
pub(super) fn offer_id(name: &v0::OfferId) -> OfferId {
    OfferId::from_random(derived("offer", name.as_str()))
}

/// A bot as a party: by its name, which is no key of /v1.
const fn party(bot: &BotId) -> PublicKey {
    PublicKey::from_bytes(*bot.as_bytes())
}

fn derived(kind: &str, name: &str) -> [u8; 16] {
    let hash = Sha256::new().chain_update(kind).chain_update(b"\0").chain_update(name).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These are in the stores of sellers.
    #[test]
    fn ids_are_pinned() {
        let id = job_id(&v0::JobId::new("job_01HXJOB123"));
        assert_eq!(id.to_string(), "5e6fa8df-2f73-4d7f-ae8d-883f287d49c4");
        let offer = offer_id(&v0::OfferId::new("offer_01HXOFF123"));
        assert_eq!(offer.to_string(), "04c1b21f-3ee6-42e7-af3a-cb3c446d8c9b");
        assert_ne!(job_id(&v0::JobId::new("x")).as_bytes(), offer_id(&v0::OfferId::new("x")).as_bytes());
    }

    #[test]
    fn every_status_has_its_counterpart() {
        for (text, expected) in [
            ("REQUESTED", Status::Requested),
            ("CHARGE_CREATED", Status::Accepted),
            ("PAID", Status::Running),
            ("DELIVERED", Status::Delivered),
            ("CANCELLED", Status::Canceled),
            ("EXPIRED", Status::Expired),
        ] {
            assert_eq!(status(v0::Status::parse(text).unwrap()), expected);
        }
    }

    #[test]
    fn a_charge_is_a_quote_and_paid_is_our_lock() {
        let job: v0::Job = serde_json::from_str(concat!(
            r#"{"job_id":"job_1","offer_id":"offer_1","#,
            r#""buyer_bot_id":"beaqseizeeutcokbjfivsyljof4ydcmrtgq2tmnzyhe5dwpb5hy7q","#,
            r#""seller_bot_id":"baaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq","#,
            r#""status":"PAID","price_raw":"1000000","turnaround_seconds":3600,"#,
            r#""created_at":"2026-02-01T12:00:00Z","job_expires_at":"2026-02-08T12:00:00.5Z","#,
            r#""charge":{"charge_id":"chg_1","address":"nano_1","amount_raw":"1000000","#,
            r#""charge_expires_at":"2026-02-01T14:00:00Z","charge_sig_ed25519":"c2ln"}}"#
        ))
        .unwrap();
        let Shown { job: core, ticket, refusal } = Shown::of(&job, None, "me");
        assert_eq!((core.quote_invoice_address.as_deref(), core.status), (Some("nano_1"), Status::Running));
        assert_eq!((core.lock_holder.as_deref(), refusal), (Some("me"), None));
        assert_eq!(core.buyer_pubkey.as_bytes(), job.buyer_bot_id.as_bytes());
        assert_eq!(ticket.stands_until().to_string(), "2026-02-01T14:00:00Z");
        let open = v0::Job { charge: None, status: v0::Status::Requested, ..job };
        assert_eq!(Shown::of(&open, None, "me").ticket.stands_until(), open.job_expires_at);
    }
}
