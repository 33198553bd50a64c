//! What is asked of a storage in /v0, and what it answers.

use futures_util::future::BoxFuture;

use super::super::model::Receipt;
use super::super::storage::StorageError;
use crate::protocol::v0::lists::{JobQuery, PayloadQuery, PollQuery};
use crate::protocol::v0::payload::PayloadHead;
use crate::protocol::v0::poll::Stream;
use crate::protocol::v0::{
    Bot, BotId, Change, Docket, Event, JobId, Listing, Moment, Notice, OfferId, Payload, PayloadId,
};
use crate::protocol::{PublicKey, Timestamp};

/// A bot, where a party is wanted.
#[must_use]
pub fn party(bot: &BotId) -> PublicKey {
    PublicKey::from_bytes(*bot.as_bytes())
}

/// Everything that one request changes: written together, or not at all.
#[derive(Debug)]
pub struct Settlement<'a> {
    /// A bot, and what it was decided on; `None` for a new one.
    pub bot: Option<(Option<Bot>, Bot)>,
    /// Offers, and what they were decided on. One that stays as it is must be so still.
    pub offers: Vec<(Option<Listing>, Listing)>,
    /// Jobs. Each was decided on the revision before its own.
    pub jobs: Vec<Change>,
    /// What else is to be told.
    pub notices: Vec<Notice>,
    /// The answer to keep, and under which name.
    pub answer: Option<(&'a Receipt, String)>,
    /// The moment of the decision.
    pub now: Timestamp,
}

impl Settlement<'_> {
    /// One that changes nothing yet.
    #[must_use]
    pub const fn at(now: Timestamp) -> Self {
        Self { bot: None, offers: Vec::new(), jobs: Vec::new(), notices: Vec::new(), answer: None, now }
    }
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is written.
    Done,
    /// Something has changed since it was decided.
    Lost,
    /// Another live job of the seller has the address.
    AddressTaken,
    /// The recipient has a payload of this name.
    PayloadTaken,
}

/// What is under the name of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The caller's own.
    Yours(Box<Payload>),
    /// Somebody else's.
    Others,
    /// Nothing.
    Nothing,
}

/// What a market shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stall {
    /// The offer.
    pub listing: Listing,
    /// How many jobs were paid for it.
    pub purchases: u64,
}

/// An answer that takes a while.
type Answer<'a, T> = BoxFuture<'a, Result<T, StorageError>>;

/// The /v0 half of what a relay keeps. Nonces, answers and cursors are the other half's.
pub trait Bazaar: Send + Sync {
    /// A bot.
    fn bot(&self, id: BotId) -> Answer<'_, Option<Bot>>;
    /// An offer.
    fn listing<'a>(&'a self, id: &'a OfferId) -> Answer<'a, Option<Listing>>;
    /// All offers, or all of one seller.
    fn stalls(&self, seller: Option<BotId>) -> Answer<'_, Vec<Stall>>;
    /// A job.
    fn docket<'a>(&'a self, id: &'a JobId) -> Answer<'a, Option<Docket>>;
    /// A page of a bot's jobs, newest first; one more than the limit if there are more.
    fn dockets<'a>(&'a self, bot: BotId, query: &'a JobQuery) -> Answer<'a, Vec<Docket>>;
    /// The jobs of a bot, on either side, that its leaving would cancel.
    fn unpaid(&self, bot: BotId) -> Answer<'_, Vec<Docket>>;
    /// Jobs whose time is over, the longest over first, at most `limit`.
    fn overdue(&self, now: Moment, limit: usize) -> Answer<'_, Vec<JobId>>;
    /// A payload for its recipient; from now on it is fetched.
    fn fetch<'a>(&'a self, bot: BotId, id: &'a PayloadId, now: Moment) -> Answer<'a, Found>;
    /// A page of a bot's payloads, newest first; one more than the limit if there are more.
    fn payloads<'a>(&'a self, bot: BotId, query: &'a PayloadQuery) -> Answer<'a, Vec<PayloadHead>>;
    /// A bot's part of the log and the page after a cursor, both of one moment.
    fn stream<'a>(&'a self, bot: BotId, query: &'a PollQuery) -> Answer<'a, (Stream, Vec<Event>)>;
    /// Removes payloads, ended jobs and ended offers that need not be kept any longer, at most `limit`
    /// of each; whether more may be left.
    fn clear(&self, now: Moment, limit: usize) -> Answer<'_, bool>;
    /// Writes what one request changes.
    fn settle<'a>(&'a self, settlement: Settlement<'a>) -> Answer<'a, Settled>;
}
