//! How a purchase over /v0 can stop, beyond what stops every purchase.

use nano_currency::account::AccountError;
use nano_currency::{Amount, BlockHash};

use crate::protocol::v0::charge::ChargeFault;
use crate::protocol::v0::{SigningPublicKey, Status};

/// Why it stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DealFault {
    /// This buyer has no name there.
    #[error("this buyer does not speak /v0")]
    NoBot,
    /// The offer takes no jobs.
    #[error("the offer is not open")]
    Closed,
    /// The price is no amount, or nothing.
    #[error("the offer's price is not an amount that can be sent")]
    Price,
    /// The price is above the limit.
    #[error("the price of {} XNO is above the limit of {} XNO", .price.to_xno(), .max.to_xno())]
    TooExpensive {
        /// What it costs.
        price: Amount,
        /// What it may cost.
        max: Amount,
    },
    /// The relay shows another job than the one that was asked for.
    #[error("the relay now shows {what} that was not agreed to: not paying")]
    Terms {
        /// What differs.
        what: &'static str,
    },
    /// The charge breaks a rule.
    #[error("the charge is not paid: {0}")]
    Charge(#[from] ChargeFault),
    /// The address is none that a block can name.
    #[error("the charge's address cannot be used: {0}")]
    Address(#[from] AccountError),
    /// What is sent there is gone.
    #[error("the charge's address is the burn account")]
    Burn,
    /// Another charge than the one that a block was signed for.
    #[error(
        "the seller charges anew, to another address, while block {block} may still pay the first: not paying"
    )]
    OtherCharge {
        /// The block.
        block: BlockHash,
    },
    /// The job has ended without a result.
    #[error("the job is {status}")]
    Over {
        /// How.
        status: Status,
        /// The block that paid, if one did.
        paid: Option<BlockHash>,
    },
    /// The seller will not do it.
    #[error("the seller refuses: {0}")]
    Refused(String),
    /// The job is not where this could be done.
    #[error("the job is {status}: {wanted}")]
    NotNow {
        /// Where it is.
        status: Status,
        /// Where it would have to be.
        wanted: &'static str,
    },
    /// The result cannot be believed.
    #[error("the result is not believed: {0}")]
    Disbelieved(String),
    /// The request does not fit into one payload.
    #[error("the request is too long for one sealed payload")]
    TooLong,
    /// The journal knows no such job.
    #[error("this journal has no such job")]
    Unknown,
    /// A key came with the seller's name that is not the seller's.
    #[error("the relay shows {shown} as the seller's key, and that is not the seller's name")]
    Impostor {
        /// The key.
        shown: SigningPublicKey,
    },
}
