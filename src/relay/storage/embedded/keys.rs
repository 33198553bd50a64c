//! The embedded storage's keyspaces, in one list, numbered for ever.

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::bazaar::PayloadMark;
use super::market::Sums;
use crate::protocol::v0;
use crate::protocol::{EventId, Job, JobId, Offer, OfferId, PublicKey, Refusal, Timestamp};
use crate::relay::model::LogRecord;
use crate::store::{Blobs, Keyspace};

/// One party's jobs on one side (see [`side`]) in one status: where lists are read from.
pub(super) type Shelf = (PublicKey, u8, u8);

/// The sides of a [`Shelf`].
pub(super) mod side {
    pub(in super::super) const SELLER: u8 = 0;
    pub(in super::super) const BUYER: u8 = 1;
    /// Who buys from himself is on both sides, and must not be listed twice.
    pub(in super::super) const BOTH: u8 = 2;
}

pub(super) const NOTES: Keyspace<String, String> = Keyspace::new(1, "notes", 1);
pub(super) const COUNTERS: Keyspace<(), Counters> = Keyspace::new(2, "counters", 1);
pub(super) const JOBS: Keyspace<JobId, JobRecord> = Keyspace::new(3, "jobs", 1);
pub(super) const REQUESTS: Blobs<JobId> = Blobs::new(4, "requests");
pub(super) const RESULTS: Blobs<JobId> = Blobs::new(5, "results");
pub(super) const JOBS_BY_CREATION: Keyspace<(Shelf, Timestamp), JobId> =
    Keyspace::new(6, "jobs by creation", 1);
pub(super) const JOBS_BY_UPDATE: Keyspace<(Shelf, Timestamp), JobId> = Keyspace::new(7, "jobs by update", 1);
pub(super) const JOB_COUNTS: Keyspace<Shelf, u64> = Keyspace::new(8, "job counts", 1);
pub(super) const DUE: Keyspace<(Timestamp, JobId), ()> = Keyspace::new(9, "due", 1);
pub(super) const PAYMENTS: Keyspace<String, JobId> = Keyspace::new(10, "payments", 1);
pub(super) const INVOICES: Keyspace<(PublicKey, String), JobId> = Keyspace::new(11, "invoices", 1);
pub(super) const OFFERS: Keyspace<OfferId, Offer> = Keyspace::new(12, "offers", 1);
pub(super) const OFFERS_BY_CREATION: Keyspace<(Timestamp, OfferId), ()> =
    Keyspace::new(13, "offers by creation", 1);
pub(super) const OFFERS_OF_SELLER: Keyspace<(PublicKey, Timestamp, OfferId), ()> =
    Keyspace::new(14, "offers of a seller", 1);
pub(super) const EVENTS: Keyspace<EventId, LogRecord> = Keyspace::new(15, "events", 2);
pub(super) const EVENTS_OF_PARTY: Keyspace<(PublicKey, EventId), LogRecord> =
    Keyspace::new(16, "events of a party", 2);
pub(super) const ACKED: Keyspace<PublicKey, EventId> = Keyspace::new(17, "acknowledged", 1);
pub(super) const FORGOTTEN: Keyspace<PublicKey, EventId> = Keyspace::new(18, "forgotten", 1);
/// By the window of their use, so that whole windows can be forgotten from the front.
pub(super) const NONCES: Keyspace<(u64, PublicKey, String), Timestamp> = Keyspace::new(19, "nonces", 1);
pub(super) const ANSWERS: Keyspace<(PublicKey, String), AnswerRecord> = Keyspace::new(20, "answers", 2);
pub(super) const ANSWERS_BY_END: Keyspace<(Timestamp, PublicKey, String), ()> =
    Keyspace::new(21, "answers by end", 1);

/// The keyspaces of /v0. Bots, and whatever belongs to one, are found by the bytes of its name.
pub(super) const BOTS: Keyspace<[u8; 32], v0::Bot> = Keyspace::new(22, "bots", 1);
pub(super) const BAZAAR_OFFERS: Keyspace<String, v0::Listing> = Keyspace::new(23, "bazaar offers", 1);
pub(super) const BAZAAR_OFFERS_OF: Keyspace<([u8; 32], String), ()> =
    Keyspace::new(24, "bazaar offers of a seller", 1);
pub(super) const BAZAAR_JOBS: Keyspace<String, v0::Docket> = Keyspace::new(25, "bazaar jobs", 1);
/// A bot on one side of its jobs (see [`side`]).
type BotSide = ([u8; 32], u8);
/// Then by the nanosecond of their making.
pub(super) const BAZAAR_JOBS_OF: Keyspace<(BotSide, u64, String), ()> =
    Keyspace::new(26, "bazaar jobs of a bot", 1);
/// By the nanosecond until which they stand.
pub(super) const OVERDUE: Keyspace<(u64, String), ()> = Keyspace::new(27, "overdue", 1);
/// Addresses of live charges, by seller.
pub(super) const CHARGE_ADDRESSES: Keyspace<([u8; 32], String), v0::JobId> =
    Keyspace::new(28, "charge addresses", 1);
pub(super) const PURCHASES: Keyspace<String, u64> = Keyspace::new(29, "purchases", 1);
pub(super) const PAYLOADS: Keyspace<([u8; 32], String), v0::Payload> = Keyspace::new(30, "payloads", 1);
pub(super) const PAYLOADS_OF: Keyspace<([u8; 32], u64, String), PayloadMark> =
    Keyspace::new(31, "payloads of a bot", 1);
/// Names that some recipient has: whoever asks for another's payload learns that it is another's.
pub(super) const PAYLOAD_NAMES: Keyspace<String, ()> = Keyspace::new(32, "payload names", 1);

/// Their sealed texts, which are larger than a record may be; under a hash, because no key of pieces
/// may be the beginning of another.
pub(super) const SEALED: Blobs<[u8; 32]> = Blobs::new(34, "sealed texts");
pub(super) const SUMS: Keyspace<(), Sums> = Keyspace::new(33, "sums", 1);

/// What was last given out.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Counters {
    pub(super) head: EventId,
    pub(super) updated_at: Timestamp,
}

/// A job without its payloads, which are written once and read apart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct JobRecord {
    pub(super) job: Job,
    pub(super) has_result: bool,
    pub(super) due: Option<Timestamp>,
}

/// An answer for an idempotency key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AnswerRecord {
    pub(super) request_hash: String,
    pub(super) expires_at: Timestamp,
    pub(super) status: u16,
    pub(super) body: AnswerBody,
}

/// What it said; a job's payloads are found with the job, they never change.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AnswerBody {
    Job(Box<JobRecord>),
    Offer(Offer),
    Acked(EventId),
    Refused(Refusal),
    Text(String),
}

/// Where the sealed text of a recipient's payload is.
pub(super) fn sealed_key((bot, id): &([u8; 32], String)) -> [u8; 32] {
    sha2::Sha256::new().chain_update(bot).chain_update(id).finalize().into()
}
