//! What a purchase is doing, for whoever watches.

use std::time::Duration;

use nano_currency::{Account, Amount, BlockHash};

use crate::protocol::{JobId, Status};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The relay has the request.
    Requested {
        /// The job's name.
        job_id: JobId,
    },
    /// The seller named a price.
    Quoted {
        /// How much.
        amount: Amount,
        /// To whom.
        invoice: Account,
    },
    /// We agreed.
    Accepted,
    /// Money that was sent to us is received first.
    Receiving {
        /// How much.
        amount: Amount,
    },
    /// A block's work is searched.
    Working,
    /// Nobody else does it, so this machine does.
    WorkingHere {
        /// How long that takes on average.
        expected: Duration,
    },
    /// The account was emptied, or a part of it sent away.
    Withdrawn {
        /// How much.
        amount: Amount,
        /// Where to.
        to: Account,
    },
    /// The paying block is with the network.
    Published {
        /// Its hash.
        hash: BlockHash,
    },
    /// The relay knows of the payment.
    Submitted,
    /// The job is somewhere else.
    Moved {
        /// Where.
        status: Status,
    },
    /// Something happened to a bot's job.
    Bots {
        /// What.
        what: String,
    },
    /// Somebody does not answer, and is asked again.
    Retrying {
        /// Why.
        reason: String,
    },
}

/// Who watches.
pub type Watch<'a> = &'a (dyn Fn(&Progress) + Send + Sync);

/// Nobody watches.
pub fn unwatched(_: &Progress) {}
