//! What the relay keeps, in the domain's words; any storage that passes the contract suite will do.
//!
//! Architecture invariant: several processes may share one storage. So a commit names the state it
//! was decided on and is refused when that is no longer the latest; what must be unique or in commit
//! order is decided inside the commit; and news of a commit comes from the storage, not from whoever
//! made it.

pub mod embedded;

#[cfg(test)]
mod contract;

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::model::{
    Claim, Claimed, Committed, Cursor, EventQuery, Horizon, JobCommit, JobPage, JobQuery, LogEntry,
    LogRecord, LogState, OfferPage, OfferQuery, OfferSave, Receipt,
};
use super::v0::model::Bazaar;
use crate::protocol::apply::Rules;
use crate::protocol::{EventId, Job, JobId, Offer, OfferId, PublicKey, Refusal, Timestamp};
use crate::store::StoreError;

/// Why a storage could not answer. A stranger learns only that it could not.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The embedded store.
    #[error("the embedded store failed")]
    Embedded(#[from] StoreError),
}

impl StorageError {
    /// Whether the disk refused, so that another process can go on once it is well.
    #[must_use]
    pub fn is_disk(&self) -> bool {
        match self {
            Self::Embedded(error) => error.is_disk(),
        }
    }
}

/// An answer that takes a while.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StorageError>>;

/// Everything a relay keeps.
///
/// What is written is visible at once, and durable once a later [`Storage::durable`] has returned.
pub trait Storage: Bazaar + fmt::Debug + Send + Sync {
    /// A job with its payloads.
    fn job(&self, id: JobId) -> Answer<'_, Option<Job>>;
    /// Writes a decided move: the job, its event and the answer for its idempotency key together.
    fn commit<'a>(&'a self, commit: JobCommit<'a>) -> Answer<'a, Committed>;
    /// One page of a party's jobs.
    fn jobs<'a>(&'a self, query: &'a JobQuery) -> Answer<'a, JobPage>;
    /// Jobs whose time is up, at most `limit`, the longest due first.
    fn due(&self, now: Timestamp, limit: usize) -> Answer<'_, Vec<JobId>>;
    /// Computes anew when a job is due, for rules that have changed since it was written.
    fn reschedule<'a>(&'a self, id: JobId, rules: &'a Rules) -> Answer<'a, ()>;

    /// An offer.
    fn offer(&self, id: OfferId) -> Answer<'_, Option<Offer>>;
    /// Writes an offer, unless it is no longer the one it was decided on (`false`).
    fn save_offer<'a>(&'a self, save: OfferSave<'a>) -> Answer<'a, bool>;
    /// One page of offers, newest first.
    fn offers<'a>(&'a self, query: &'a OfferQuery) -> Answer<'a, OfferPage>;

    /// Where the log begins and ends, and whose it is.
    fn log(&self) -> Answer<'_, LogState>;
    /// A party's events after a cursor, ascending, at most `limit`; each with its job as it is now,
    /// without result, and with the request only on `job.requested`.
    fn events<'a>(&'a self, query: &'a EventQuery) -> Answer<'a, Vec<(LogEntry, Job)>>;
    /// Everybody's events after a cursor, ascending, at most `limit`.
    fn entries(&self, after: EventId, limit: usize) -> Answer<'_, Vec<LogRecord>>;
    /// What a party has acknowledged, and the newest of its events that retention has removed.
    fn cursor(&self, party: PublicKey) -> Answer<'_, Cursor>;
    /// Moves a party's acknowledged cursor forward, never back, and returns it.
    fn acknowledge<'a>(
        &'a self,
        party: PublicKey,
        up_to: EventId,
        receipt: Option<&'a Receipt>,
    ) -> Answer<'a, EventId>;
    /// The last event that is durable; changes wake whoever tells the parties.
    fn heads(&self) -> watch::Receiver<EventId>;

    /// Uses a nonce up: `false` if this key has used it less than `ttl` ago.
    fn spend_nonce<'a>(
        &'a self,
        party: PublicKey,
        nonce: &'a str,
        now: Timestamp,
        ttl: Duration,
    ) -> Answer<'a, bool>;
    /// Claims an idempotency key for one running request, for `lease` at most.
    fn claim<'a>(&'a self, claim: &'a Claim, now: Timestamp, lease: Duration) -> Answer<'a, Claimed>;
    /// Gives a claim up, as far as that is possible without waiting; its lease ends it otherwise.
    fn release(&self, claim: &Claim);
    /// Keeps a refusal as the answer for an idempotency key.
    fn record<'a>(&'a self, receipt: &'a Receipt, refusal: &'a Refusal) -> Answer<'a, ()>;

    /// Removes what is older than it need be, at most `limit` records of each kind; whether more is left.
    fn forget(&self, horizon: Horizon, limit: usize) -> Answer<'_, bool>;
    /// Whether so little room is left that nothing new should be begun.
    fn is_short(&self) -> bool;
    /// Waits until everything that was visible at this call would survive a power cut.
    fn durable(&self) -> Answer<'_, ()>;
}
