//! What is asked of a storage in /v0, and what it answers.

use futures_util::future::BoxFuture;

use super::super::model::Receipt;
use super::super::storage::StorageError;
use crate::protocol::v0::lists::{JobQuery, PayloadQuery, PollQuery};
use crate::protocol::v0::payload::PayloadHead;
use crate::protocol::v0::poll::Stream;
use crate::protocol::v0::search::OfferQuery;
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

/// A page of a list, newest first, and the place behind which more may follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// At most as many as were wanted. Fewer, also with more to follow, if few of many fit the question.
    pub items: Vec<T>,
    /// When the last one that was looked at was made, and its name.
    pub next: Option<(Moment, String)>,
}

/// A market in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Offers that take jobs.
    pub offers: u64,
    /// Jobs that were ever asked for.
    pub jobs: u64,
    /// What charges that were declared paid came to, in raw.
    pub transferred_raw: u128,
    /// Bots that were heard of within the last minutes.
    pub online: u64,
}

/// An answer that takes a while.
type Answer<'a, T> = BoxFuture<'a, Result<T, StorageError>>;

/// The /v0 half of what a relay keeps. Nonces, answers and cursors are the other half's.
pub trait Bazaar: Send + Sync {
    /// A bot.
    fn bot(&self, id: BotId) -> Answer<'_, Option<Bot>>;
    /// An offer.
    fn listing<'a>(&'a self, id: &'a OfferId) -> Answer<'a, Option<Listing>>;
    /// An offer, as the market shows it.
    fn stall<'a>(&'a self, id: &'a OfferId) -> Answer<'a, Option<Stall>>;
    /// A page of what answers a search, and the cursor behind it.
    fn market<'a>(&'a self, query: &'a OfferQuery, now: Moment) -> Answer<'a, (Vec<Stall>, Option<String>)>;
    /// The offers of a seller that are neither taken back nor over.
    fn open_offers(&self, seller: BotId, now: Moment) -> Answer<'_, Vec<Listing>>;
    /// How much there is of everything.
    fn tally(&self, now: Moment) -> Answer<'_, Tally>;
    /// A job.
    fn docket<'a>(&'a self, id: &'a JobId) -> Answer<'a, Option<Docket>>;
    /// A page of a bot's jobs.
    fn dockets<'a>(&'a self, bot: BotId, query: &'a JobQuery) -> Answer<'a, Page<Docket>>;
    /// The jobs of a bot, on either side, that its leaving would cancel.
    fn unpaid(&self, bot: BotId) -> Answer<'_, Vec<Docket>>;
    /// Jobs whose time is over, the longest over first, at most `limit`.
    fn overdue(&self, now: Moment, limit: usize) -> Answer<'_, Vec<JobId>>;
    /// A payload for its recipient; from now on it is fetched.
    fn fetch<'a>(&'a self, bot: BotId, id: &'a PayloadId, now: Moment) -> Answer<'a, Found>;
    /// A page of a bot's payloads.
    fn payloads<'a>(&'a self, bot: BotId, query: &'a PayloadQuery) -> Answer<'a, Page<PayloadHead>>;
    /// A bot's part of the log and the page after a cursor, both of one moment.
    fn stream<'a>(&'a self, bot: BotId, query: &'a PollQuery) -> Answer<'a, (Stream, Vec<Event>)>;
    /// Removes payloads, ended jobs and ended offers that need not be kept any longer, at most `limit`
    /// of each; whether more may be left. Goes on where it stopped, and then from the beginning.
    fn clear(&self, now: Moment, limit: usize) -> Answer<'_, bool>;
    /// Writes what one request changes.
    fn settle<'a>(&'a self, settlement: Settlement<'a>) -> Answer<'a, Settled>;
}
