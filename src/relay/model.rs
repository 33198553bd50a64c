//! What is asked of a storage, and what it answers: the words that everything in this folder shares.

use std::collections::HashSet;

use super::v0::model::party;
use crate::protocol::apply::{Rules, Unique};
use crate::protocol::offer::PricingMode;
use crate::protocol::v0::{BotId, News};
use crate::protocol::{
    Change, Epoch, EventId, EventType, Job, JobId, Offer, PublicKey, Refusal, Status, Timestamp,
};

/// A decided move, or a new job.
#[derive(Debug)]
pub struct JobCommit<'a> {
    /// What was decided. The storage sets `updated_at` (and `created_at` of a new job).
    pub change: &'a Change,
    /// The `updated_at` of the job it was decided on; `None` for a new job.
    pub expected: Option<Timestamp>,
    /// The answer to keep with it.
    pub receipt: Option<&'a Receipt>,
    /// What tells when the job expires.
    pub rules: &'a Rules,
    /// The moment of the decision.
    pub now: Timestamp,
}

/// What became of a commit.
#[derive(Debug, Clone, PartialEq)]
pub enum Committed {
    /// It is written: the job as it is now.
    Done(Box<Job>),
    /// Somebody else moved the job since it was loaded.
    Lost,
    /// Another job has what must be unique.
    Taken(Unique),
}

/// An offer to write.
#[derive(Debug)]
pub struct OfferSave<'a> {
    /// The offer.
    pub offer: &'a Offer,
    /// What it was decided on; `None` for a new one.
    pub expected: Option<&'a Offer>,
    /// The answer to keep with it.
    pub receipt: Option<&'a Receipt>,
}

/// The name under which an answer is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Whose key it is.
    pub party: PublicKey,
    /// The idempotency key.
    pub key: String,
    /// A hash of method, path and body.
    pub request_hash: String,
}

/// How to keep an answer.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// Under which name.
    pub claim: Claim,
    /// Until when.
    pub expires_at: Timestamp,
    /// The HTTP status of the answer.
    pub status: u16,
}

/// What is known about an idempotency key.
#[derive(Debug, Clone, PartialEq)]
pub enum Claimed {
    /// Nothing: go on, and release the claim afterwards.
    Fresh,
    /// The same request was answered.
    Answered(Reply),
    /// The same request is running.
    Running,
    /// The key belongs to another request.
    Conflict,
}

/// An answer that was kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Its HTTP status.
    pub status: u16,
    /// What it says.
    pub body: ReplyBody,
}

/// The kinds of answers to mutations.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyBody {
    /// The job as it was then.
    Job(Box<Job>),
    /// The offer as it was then.
    Offer(Box<Offer>),
    /// The cursor as it was then.
    Acked(EventId),
    /// A refusal that no retry would change.
    Refused(Refusal),
    /// A body of JSON as it was sent: all answers of /v0.
    Text(String),
}

/// Which side of a job a party is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Works.
    Seller,
    /// Pays.
    Buyer,
}

/// In which order jobs are listed, and from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobOrder {
    /// Newest created first.
    Newest,
    /// Ascending by `updated_at`, after this one.
    UpdatedAfter(Timestamp),
}

/// Which of a party's jobs are wanted.
#[derive(Debug, Clone)]
pub struct JobQuery {
    /// Whose.
    pub party: PublicKey,
    /// On which side; `None` for both.
    pub role: Option<Role>,
    /// In which states; empty for all.
    pub statuses: Vec<Status>,
    /// In which order.
    pub order: JobOrder,
    /// How many to skip.
    pub offset: usize,
    /// How many at most.
    pub limit: usize,
}

/// A page of jobs.
#[derive(Debug, Clone, PartialEq)]
pub struct JobPage {
    /// With their payloads.
    pub jobs: Vec<Job>,
    /// How many there are on all pages, skipped ones included.
    pub total: u64,
}

/// Which offers are wanted.
#[derive(Debug, Clone, Default)]
pub struct OfferQuery {
    /// A part of title or description, in lower case.
    pub text: Option<String>,
    /// All of these.
    pub tags: Vec<String>,
    /// Whose.
    pub seller: Option<PublicKey>,
    /// Only those of these sellers.
    pub among: Option<HashSet<PublicKey>>,
    /// How priced.
    pub pricing_mode: Option<PricingMode>,
    /// Whether active.
    pub active: Option<bool>,
    /// How many to skip.
    pub offset: usize,
    /// How many at most.
    pub limit: usize,
}

impl OfferQuery {
    /// Whether an offer is wanted.
    #[must_use]
    pub fn matches(&self, offer: &Offer) -> bool {
        let terms = &offer.terms;
        self.active.is_none_or(|active| active == terms.active)
            && self.seller.is_none_or(|seller| seller == offer.seller_pubkey)
            && self.pricing_mode.is_none_or(|mode| mode == terms.pricing_mode)
            && self.among.as_ref().is_none_or(|sellers| sellers.contains(&offer.seller_pubkey))
            && self.tags.iter().all(|tag| terms.tags.contains(tag))
            && self.text.as_ref().is_none_or(|text| {
                terms.title.to_lowercase().contains(text) || terms.description.to_lowercase().contains(text)
            })
    }
}

/// A page of offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferPage {
    /// Newest first.
    pub offers: Vec<Offer>,
    /// How many there are on all pages.
    pub total: u64,
}

/// Where the log begins and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogState {
    /// The first event that is kept; one more than the head if none is.
    pub min_retained: EventId,
    /// The last event.
    pub head: EventId,
    /// Which life of the storage.
    pub epoch: Epoch,
}

/// A party's place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// What it has acknowledged.
    pub acked: EventId,
    /// The newest of its events that retention has removed.
    pub forgotten: EventId,
}

/// Which of a party's events are wanted.
#[derive(Debug, Clone)]
pub struct EventQuery {
    /// Whose.
    pub party: PublicKey,
    /// After which.
    pub after: EventId,
    /// Of which kinds; empty for all.
    pub kinds: Vec<EventType>,
    /// How many at most.
    pub limit: usize,
}

/// One event, as the log keeps it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LogEntry {
    /// Its place.
    pub event_id: EventId,
    /// The job it is about.
    pub job_id: JobId,
    /// What happened.
    pub kind: EventType,
    /// When: the job's `updated_at` of that change.
    pub created_at: Timestamp,
    /// The job's seller.
    pub seller: PublicKey,
    /// The job's buyer.
    pub buyer: PublicKey,
}

impl LogEntry {
    /// Whose stream it is in: both parties', except that nobody needs an echo of the own request.
    pub fn readers(&self) -> impl Iterator<Item = PublicKey> + use<> {
        let buyer = (self.kind != EventType::Requested && self.buyer != self.seller).then_some(self.buyer);
        std::iter::once(self.seller).chain(buyer)
    }
}

/// One entry of the log, which both dialects share.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum LogRecord {
    /// News about a /v1 job, for its parties.
    Job(LogEntry),
    /// News for one bot.
    Notice(NoticeEntry),
}

/// Something that one bot is told.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NoticeEntry {
    /// Its place.
    pub event_id: EventId,
    /// Who is told.
    pub to: BotId,
    /// What.
    pub news: News,
    /// When.
    pub created_at: Timestamp,
}

impl LogRecord {
    /// Its place.
    #[must_use]
    pub const fn event_id(&self) -> EventId {
        match self {
            Self::Job(entry) => entry.event_id,
            Self::Notice(entry) => entry.event_id,
        }
    }

    /// When it happened.
    #[must_use]
    pub const fn created_at(&self) -> Timestamp {
        match self {
            Self::Job(entry) => entry.created_at,
            Self::Notice(entry) => entry.created_at,
        }
    }

    /// Whose stream it is in.
    #[must_use]
    pub fn readers(&self) -> Vec<PublicKey> {
        match self {
            Self::Job(entry) => entry.readers().collect(),
            Self::Notice(entry) => vec![party(&entry.to)],
        }
    }
}

/// What may be forgotten: everything that ended before these moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    /// Nonces used before this.
    pub nonces: Timestamp,
    /// Answers kept until before this.
    pub answers: Timestamp,
    /// Events before this.
    pub events: Timestamp,
}
