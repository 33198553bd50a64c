//! What the machine hears, and what it asks for.

use std::time::Duration;

use nano_currency::{Amount, BlockHash};
use serde_json::Value;

use super::payment::{Invoice, Verdict};
use super::stage::Lock;
use crate::protocol::job::JobError;
use crate::protocol::{Status, Timestamp};

/// What a decision depends on besides the stage and the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The moment of the decision.
    pub now: Timestamp,
    /// How the offer's price comes about.
    pub pricing: Pricing,
    /// Whether the handler may be started again after it may have run.
    pub idempotent: bool,
    /// How long a submitted hash may fail to pay before the job fails.
    pub payment_window: Duration,
    /// How long a job that ended unpaid is watched for late payments.
    pub lapsed_watch: Duration,
    /// Whether a job that expired unpaid can be given another quote, as in /v0.
    pub revives: bool,
}

/// How an offer's price comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pricing {
    /// Always the same.
    Fixed(Amount),
    /// The handler is asked.
    Ask,
}

/// A job as the relay showed it, reduced to what decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Where it is.
    pub status: Status,
    /// Its invoice, if one of our seed's accounts is on it.
    pub invoice: Option<Invoice>,
    /// The payment hash, word for word.
    pub submitted: Option<String>,
    /// Whether the lock, if there is one, is this worker's.
    pub locked_by_us: bool,
    /// Until when the lock holds.
    pub lock_expires_at: Option<Timestamp>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The worker was started again.
    Resumed,
    /// The stage's deadline has passed.
    Due,
    /// The relay showed the job.
    Seen(Sighting),
    /// The handler named a price.
    Priced(Amount),
    /// The handler does not want the job, or could not price it; for the buyer to read.
    PriceRefused(String),
    /// An index was consumed for the job.
    IndexTaken(Invoice),
    /// The payment was looked at.
    Judged(Verdict),
    /// The settled blocks are the job's, and no other's.
    Claimed,
    /// A settled block turned out to be another job's.
    ClaimRefused(BlockHash),
    /// One of the offer's places to run is the job's.
    Placed,
    /// The lock is ours.
    Locked(Lock),
    /// The lock could not be kept.
    LeaseLost,
    /// The buyer would still pay for the job that expired.
    ReviveWanted,
    /// The handler has ended and left nothing running.
    Finished(Outcome),
    /// The relay took what was sent.
    Done(Call),
    /// The relay will not take it, however often it is repeated.
    Rejected(Call, Rejection),
}

/// What the buyer is to get.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The handler's result.
    Result(Value),
    /// Why there is none.
    Error(JobError),
}

/// A call to the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// The quote.
    Quote,
    /// The refusal of a request.
    Refuse,
    /// The lock.
    Lock,
    /// The outcome.
    Deliver,
    /// A look at the job.
    Fetch,
    /// Another quote for a job that expired.
    Revive,
}

impl Call {
    /// Its name, for people and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quote => "quote",
            Self::Refuse => "refusal",
            Self::Lock => "lock",
            Self::Deliver => "delivery",
            Self::Fetch => "look",
            Self::Revive => "new quote",
        }
    }
}

/// Why the relay will not take a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The invoice address is on another job.
    #[error("the address is on another job")]
    AddressUsed,
    /// Another holder's lock is live; until when, if it said.
    #[error("another holder's lock is live")]
    LockConflict(Option<Timestamp>),
    /// The job is not where the call needs it, or the lock is gone.
    #[error("the job is elsewhere, or the lock is gone")]
    State,
    /// No such job, or not ours, or no such route.
    #[error("no such job")]
    Gone,
    /// What was sent is not valid; in the relay's words.
    #[error("{0}")]
    Invalid(String),
}

/// Something to do, in order, once the stage that wants it is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Consume an address index; answered by `IndexTaken` within the same commit.
    TakeIndex {
        /// The invoice's price.
        price: Amount,
    },
    /// Claim blocks for the job; answered by `Claimed` or `ClaimRefused` within the same commit.
    Claim {
        /// All or none of them.
        blocks: Vec<BlockHash>,
    },
    /// Store the outcome with the stage, within the same commit.
    Keep(Outcome),
    /// Ask the handler for a price.
    AskPrice,
    /// Send the quote.
    SendQuote(Invoice),
    /// Tell the buyer why there is no quote.
    SendRefusal(String),
    /// Look at the job.
    Fetch,
    /// Quote the same invoice again, on a job that expired.
    Revive(Invoice),
    /// Watch for the payment; replaces an earlier watch.
    Watch {
        /// What to watch.
        invoice: Invoice,
        /// The submitted hash.
        submitted: Option<String>,
        /// Whether the job has ended: then slowly, and what comes is late.
        lapsed: bool,
        /// Whether nothing that comes can change how it ended: then more slowly still.
        over: bool,
    },
    /// Stop watching.
    Unwatch,
    /// Wait for one of the offer's places to run.
    AwaitPlace,
    /// Give the place up, or stop waiting for it.
    FreePlace,
    /// Take the lock.
    TakeLock {
        /// The payment, where the buyer submitted none.
        payment: Option<BlockHash>,
    },
    /// Keep the lock renewed.
    Hold(Lock),
    /// Stop renewing the lock.
    Release,
    /// Start the handler.
    Execute {
        /// Which start this is, counted from 1.
        attempt: u32,
        /// The fencing token.
        token: Option<u64>,
    },
    /// Kill the handler and all it started; answered by `Finished`.
    Kill,
    /// Kill what an earlier life of this worker may have left running.
    KillStrays,
    /// Hand over the stored outcome.
    Deliver {
        /// The lock it relies on.
        lock: Lock,
        /// Which delivery this is.
        round: u32,
    },
}
