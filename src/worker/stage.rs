//! The worker's private progress with a job: what it still owes.
//!
//! `Status` is what everybody sees; `Stage` is what this worker must do next. A stage is stored
//! before its effects are performed, so it is also what a restarted worker goes on from.

use std::fmt;

use nano_currency::{Amount, BlockHash};
use serde::{Deserialize, Serialize};

use super::payment::{Invoice, Verdict};
use crate::protocol::Timestamp;
use crate::protocol::job::JobError;

/// What the worker owes a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// Nothing is known of it yet.
    Fresh,
    /// The handler is being asked for a price. Safe to ask again.
    Pricing,
    /// A price is known; an address index is to be consumed.
    Indexing {
        /// What the job will cost.
        price: Amount,
        /// Which index this is for the same quote, counted from 1.
        tries: u8,
    },
    /// An index is consumed; the quote is to be sent.
    Quoting {
        /// What the buyer will be asked.
        invoice: Invoice,
        /// Which index this is for the same quote, counted from 1.
        tries: u8,
    },
    /// There will be no quote; the buyer is to be told why.
    Refusing {
        /// For the buyer to read.
        reason: String,
    },
    /// The buyer has the quote.
    Quoted {
        /// What was asked.
        invoice: Invoice,
    },
    /// The buyer has accepted; the payment is watched for.
    Awaiting {
        /// What was asked.
        invoice: Invoice,
        /// What the buyer submitted, word for word.
        submitted: Option<String>,
        /// When the watch began.
        since: Timestamp,
        /// What was found last.
        verdict: Option<Verdict>,
    },
    /// Paid and claimed; waits for one of its offer's places before it takes the lock.
    Queued {
        /// What was paid.
        paid: Paid,
    },
    /// The lock is to be taken.
    Locking {
        /// What for.
        plan: Plan,
    },
    /// Another holder has the lock.
    Blocked {
        /// What the lock is wanted for.
        plan: Plan,
        /// When to look again.
        until: Timestamp,
    },
    /// The lock is held; waits for a place to run.
    Ready {
        /// What was paid.
        paid: Paid,
        /// The lock.
        lock: Lock,
    },
    /// The handler was started, or is just about to be. It may have run.
    Running {
        /// What was paid.
        paid: Paid,
        /// The lock.
        lock: Lock,
        /// Which start this is, counted from 1.
        attempt: u32,
    },
    /// The lock is lost; the handler is being killed.
    Stopping {
        /// What comes afterwards.
        plan: Plan,
    },
    /// The outcome is stored; it is to be handed over.
    Delivering {
        /// The lock it relies on.
        lock: Lock,
        /// Which delivery this is, counted from 1: a refusal must not be replayed to a later one.
        round: u32,
        /// Whether the outcome is an error.
        failed: bool,
    },
    /// The job ended unpaid; a late payment is still watched for.
    Lapsed {
        /// What was asked.
        invoice: Invoice,
        /// What the buyer submitted.
        submitted: Option<String>,
        /// How it ended.
        ending: Ending,
        /// Until when.
        until: Timestamp,
    },
    /// It expired, and is to be quoted again: the buyer has paid late, or asks for more time.
    Reviving {
        /// What was asked, and is asked again.
        invoice: Invoice,
        /// How it ends if the relay does not take it.
        ending: Ending,
        /// Until when it is watched then; not at all if the money has come.
        until: Option<Timestamp>,
    },
    /// Nothing is owed any more.
    Ended {
        /// How.
        ending: Ending,
    },
}

/// A settled invoice whose blocks are claimed for the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paid {
    /// What was asked.
    pub invoice: Invoice,
    /// What came.
    pub total: Amount,
    /// In which blocks.
    pub blocks: Vec<BlockHash>,
    /// Whether the buyer submitted a hash; if not, the lock brings one.
    pub hash_submitted: bool,
    /// How often the handler was started.
    pub attempts: u32,
}

/// What a lock is wanted for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "plan", rename_all = "snake_case")]
pub enum Plan {
    /// To run the handler.
    Run {
        /// What was paid.
        paid: Paid,
        /// Whether a place to run is already held.
        placed: bool,
    },
    /// To hand over an error.
    Fail {
        /// The error.
        error: JobError,
    },
    /// To hand over an outcome that is stored.
    Deliver {
        /// Which delivery it will be.
        round: u32,
        /// Whether the outcome is an error.
        failed: bool,
    },
}

/// A lock that is, or was, ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Its fencing token; absent from relays that do not count holders.
    pub token: Option<u64>,
    /// Until when, by the relay's clock.
    pub expires_at: Timestamp,
}

/// How a job ended for this worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ending", rename_all = "snake_case")]
pub enum Ending {
    /// The buyer has the result.
    Delivered,
    /// The buyer has an error.
    Failed,
    /// The buyer was told why there is no quote.
    Refused,
    /// The buyer gave it up.
    Canceled {
        /// Whether it had been paid: then money is owed back.
        paid: bool,
    },
    /// Its time passed.
    Expired {
        /// Whether it had been paid: then money is owed back.
        paid: bool,
    },
    /// Another worker of the same seller has it.
    Elsewhere,
    /// The relay knows it no longer.
    Vanished {
        /// Whether it had been paid: then money is owed back.
        paid: bool,
    },
    /// It was paid after it had ended: money is owed back.
    PaidLate,
}

impl Stage {
    /// Its name, for people and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Pricing => "pricing",
            Self::Indexing { .. } => "indexing",
            Self::Quoting { .. } => "quoting",
            Self::Refusing { .. } => "refusing",
            Self::Quoted { .. } => "quoted",
            Self::Awaiting { .. } => "awaiting",
            Self::Queued { .. } => "queued",
            Self::Locking { .. } => "locking",
            Self::Blocked { .. } => "blocked",
            Self::Ready { .. } => "ready",
            Self::Running { .. } => "running",
            Self::Stopping { .. } => "stopping",
            Self::Delivering { .. } => "delivering",
            Self::Lapsed { .. } => "lapsed",
            Self::Reviving { .. } => "reviving",
            Self::Ended { .. } => "ended",
        }
    }

    /// Whether nothing is owed any more.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        matches!(self, Self::Ended { .. })
    }

    /// Whether money was claimed for the job and the buyer has nothing for it yet.
    #[must_use]
    pub const fn is_paid(&self) -> bool {
        matches!(
            self,
            Self::Queued { .. }
                | Self::Ready { .. }
                | Self::Running { .. }
                | Self::Stopping { .. }
                | Self::Delivering { .. }
                | Self::Locking { plan: Plan::Run { .. } | Plan::Deliver { .. } }
                | Self::Blocked { plan: Plan::Run { .. } | Plan::Deliver { .. }, .. }
        )
    }

    /// Whether a buyer who has paid waits for something: the work, an error, or another charge.
    #[must_use]
    pub const fn is_owed(&self) -> bool {
        self.is_paid()
            || matches!(
                self,
                Self::Locking { .. } | Self::Blocked { .. } | Self::Reviving { until: None, .. }
            )
    }

    /// Whether it expired unpaid, and what comes late is still looked for.
    #[must_use]
    pub const fn is_expired(&self) -> bool {
        matches!(self, Self::Lapsed { ending: Ending::Expired { .. }, .. })
    }

    /// The invoice that the buyer has, or will have.
    #[must_use]
    pub const fn invoice(&self) -> Option<&Invoice> {
        match self {
            Self::Quoting { invoice, .. }
            | Self::Quoted { invoice }
            | Self::Awaiting { invoice, .. }
            | Self::Lapsed { invoice, .. }
            | Self::Reviving { invoice, .. } => Some(invoice),
            Self::Queued { paid } | Self::Ready { paid, .. } | Self::Running { paid, .. } => {
                Some(&paid.invoice)
            }
            Self::Locking { plan } | Self::Blocked { plan, .. } | Self::Stopping { plan } => match plan {
                Plan::Run { paid, .. } => Some(&paid.invoice),
                Plan::Fail { .. } | Plan::Deliver { .. } => None,
            },
            _ => None,
        }
    }
}

impl Ending {
    /// Its name, for people and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Canceled { .. } => "canceled",
            Self::Expired { .. } => "expired",
            Self::Elsewhere => "elsewhere",
            Self::Vanished { .. } => "vanished",
            Self::PaidLate => "paid_late",
        }
    }

    /// Whether the buyer's money is with us for nothing: a person must decide.
    #[must_use]
    pub const fn owes_money_back(&self) -> bool {
        matches!(
            self,
            Self::PaidLate
                | Self::Canceled { paid: true }
                | Self::Expired { paid: true }
                | Self::Vanished { paid: true }
        )
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended { ending } | Self::Lapsed { ending, .. } => {
                write!(f, "{} ({})", self.name(), ending.name())
            }
            _ => f.pad(self.name()),
        }
    }
}
