//! Is the invoice paid? Gather facts elsewhere, judge here.

use std::fmt;

use nano_currency::{Account, Amount, BlockHash};
use serde::{Deserialize, Serialize};

use super::oddity::Oddity;

/// Blocks that may add up to one payment: a buyer pays in a few parts, and each is claimed and named
/// in the job's record, which has to fit the store.
pub const PARTS_MAX: usize = 256;

/// What a buyer was asked to pay, and where. The worker's own record, not the relay's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    /// Which of the seed's accounts it is; used for this job only.
    pub index: u32,
    /// That account.
    pub account: Account,
    /// The price.
    pub price: Amount,
}

/// A block that may be a payment, as the node described it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockFact {
    /// Its hash.
    pub hash: BlockHash,
    /// Who made it, if it is a send at all.
    pub from: Option<Account>,
    /// Whom it pays and how much, if it is a send at all.
    pub send: Option<(Account, Amount)>,
    /// Whether the network has settled it for good.
    pub confirmed: bool,
    /// Whether it was counted for another job.
    pub claimed_elsewhere: bool,
    /// Whether somebody with our seed has received it, as far as a node says.
    pub received: bool,
}

/// What became of the hash that the buyer submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// The buyer submitted none.
    None,
    /// What was submitted is no block hash.
    Malformed,
    /// The node does not know the block: not yet, or not any more. Never final.
    NotFound,
    /// The node described it.
    Found(BlockFact),
}

/// All that is known about an invoice at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// About the submitted hash.
    pub submitted: Submitted,
    /// Other blocks found on the invoice's account, largest amount first.
    pub found: Vec<BlockFact>,
    /// Why the picture may be incomplete; then nothing unpaid can be concluded from it.
    pub unknown: Option<String>,
    /// Whether the job had already ended, unpaid, when this was gathered.
    pub lapsed: bool,
}

impl Facts {
    /// All blocks that the node described.
    pub fn blocks(&self) -> impl Iterator<Item = &BlockFact> {
        let submitted = match &self.submitted {
            Submitted::Found(block) => Some(block),
            Submitted::None | Submitted::Malformed | Submitted::NotFound => None,
        };
        submitted.into_iter().chain(&self.found)
    }
}

/// What the facts amount to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Enough confirmed money, in these blocks; each is to be claimed.
    Settled {
        /// The blocks that count, [`PARTS_MAX`] at most.
        blocks: Vec<BlockHash>,
        /// Their sum.
        total: Amount,
    },
    /// Not paid, as far as everybody knows; it may still be.
    Unpaid(PaymentError),
    /// Nobody can tell: the node did not answer.
    Unknown(String),
}

/// Why a payment does not count. The names are the ones tools print.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum PaymentError {
    /// No such block, or nothing on the account.
    #[error("no payment was found")]
    NotFound,
    /// The block is there, but not settled.
    #[error("the payment is not confirmed yet")]
    Unconfirmed,
    /// The block is not a send.
    #[error("the block is not a send")]
    NotSend,
    /// The block pays somebody else.
    #[error("the block pays {0}, not the invoice")]
    AddressMismatch(Account),
    /// The block pays another invoice of this worker's.
    #[error("the block pays another invoice of this seller, {0}")]
    OtherInvoice(Account),
    /// The block was counted for another job.
    #[error("the block has paid for another job")]
    HashReused,
    /// Less than the price.
    #[error("{paid} raw of {price} raw were paid")]
    AmountMismatch {
        /// The confirmed sum.
        paid: Amount,
        /// What was asked.
        price: Amount,
    },
    /// After the job had expired or been cancelled.
    #[error("the payment came after the job had ended")]
    Late,
}

impl PaymentError {
    /// Its name, `payment.…`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "payment.not_found",
            Self::Unconfirmed => "payment.unconfirmed",
            Self::NotSend => "payment.not_send",
            Self::AddressMismatch(_) | Self::OtherInvoice(_) => "payment.address_mismatch",
            Self::HashReused => "payment.hash_reused",
            Self::AmountMismatch { .. } => "payment.amount_mismatch",
            Self::Late => "payment.late",
        }
    }
}

impl PaymentError {
    /// How the payment is odd, for the buyer to be told.
    #[must_use]
    pub const fn oddity(&self) -> Option<Oddity> {
        match self {
            Self::AmountMismatch { paid, .. } if !paid.is_zero() => Some(Oddity::Underpaid),
            Self::OtherInvoice(_) => Some(Oddity::HashOfOtherInvoice),
            Self::Late => Some(Oddity::PaidLate),
            Self::NotFound
            | Self::Unconfirmed
            | Self::NotSend
            | Self::AddressMismatch(_)
            | Self::HashReused
            | Self::AmountMismatch { .. } => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settled { blocks, total } => write!(f, "paid {total} raw in {} block(s)", blocks.len()),
            Self::Unpaid(error) => write!(f, "{}: {error}", error.code()),
            Self::Unknown(reason) => write!(f, "wallet.rpc_unavailable: {reason}"),
        }
    }
}

/// Decides whether an invoice is paid.
///
/// Every block has to pass every rule for itself; what passes is summed and compared with the
/// price. An answer that is missing is *unknown*, never *unpaid*; but enough money is enough,
/// whatever else could not be asked.
#[must_use]
pub fn judge(invoice: &Invoice, facts: &Facts) -> Verdict {
    judge_by(invoice, invoice.price, facts)
}

/// [`judge`], where less than the price is enough.
#[must_use]
pub fn judge_by(invoice: &Invoice, least: Amount, facts: &Facts) -> Verdict {
    let mut counted: Vec<(BlockHash, Amount)> = Vec::new();
    for block in facts.blocks() {
        if let Ok(amount) = count(invoice, block)
            && !counted.iter().any(|(hash, _)| *hash == block.hash)
        {
            counted.push((block.hash, amount));
        }
    }
    let counted = largest(invoice, counted);
    let total = counted.iter().map(|(_, amount)| *amount).sum();
    if let Err(error) = ensure_amount(invoice, least, total) {
        return unpaid(invoice, facts, error);
    }
    if let Err(error) = ensure_in_time(facts) {
        return Verdict::Unpaid(error);
    }
    Verdict::Settled { blocks: counted.into_iter().map(|(hash, _)| hash).collect(), total }
}

/// Of too many blocks the fewest that cover the price: whoever pays with dust decides how many there
/// are, and what is not counted is not lost.
fn largest(invoice: &Invoice, mut counted: Vec<(BlockHash, Amount)>) -> Vec<(BlockHash, Amount)> {
    if counted.len() <= PARTS_MAX {
        return counted;
    }
    counted.sort_unstable_by(|(one, less), (other, more)| (more, one).cmp(&(less, other)));
    let mut sum = Amount::ZERO;
    let is_needed = |(_, amount): &(BlockHash, Amount)| {
        let is_short = sum < invoice.price;
        sum = sum.saturating_add(*amount);
        is_short
    };
    counted.into_iter().take(PARTS_MAX).take_while(is_needed).collect()
}

/// The amount that one block adds, if it passes the rule book.
fn count(invoice: &Invoice, block: &BlockFact) -> Result<Amount, PaymentError> {
    let (destination, amount) = ensure_send(block)?;
    ensure_destination(invoice, destination)?;
    ensure_unclaimed(block)?;
    ensure_confirmed(block)?;
    Ok(amount)
}

fn ensure_send(block: &BlockFact) -> Result<(Account, Amount), PaymentError> {
    block.send.ok_or(PaymentError::NotSend)
}

fn ensure_destination(invoice: &Invoice, destination: Account) -> Result<(), PaymentError> {
    if destination == invoice.account { Ok(()) } else { Err(PaymentError::AddressMismatch(destination)) }
}

fn ensure_unclaimed(block: &BlockFact) -> Result<(), PaymentError> {
    if block.claimed_elsewhere { Err(PaymentError::HashReused) } else { Ok(()) }
}

fn ensure_confirmed(block: &BlockFact) -> Result<(), PaymentError> {
    if block.confirmed { Ok(()) } else { Err(PaymentError::Unconfirmed) }
}

fn ensure_amount(invoice: &Invoice, least: Amount, total: Amount) -> Result<(), PaymentError> {
    // An invoice over nothing, which we never write, must not be paid by nothing.
    if total >= least && !total.is_zero() {
        return Ok(());
    }
    Err(PaymentError::AmountMismatch { paid: total, price: invoice.price })
}

fn ensure_in_time(facts: &Facts) -> Result<(), PaymentError> {
    if facts.lapsed { Err(PaymentError::Late) } else { Ok(()) }
}

/// The most telling reason: what is wrong with the submitted block, else that too little came.
fn unpaid(invoice: &Invoice, facts: &Facts, short: PaymentError) -> Verdict {
    if let Some(reason) = &facts.unknown {
        return Verdict::Unknown(reason.clone());
    }
    let nothing = matches!(short, PaymentError::AmountMismatch { paid: Amount::ZERO, .. });
    Verdict::Unpaid(match &facts.submitted {
        Submitted::Found(block) => count(invoice, block).err().unwrap_or(short),
        Submitted::Malformed | Submitted::NotFound | Submitted::None if nothing => PaymentError::NotFound,
        Submitted::Malformed | Submitted::NotFound | Submitted::None => short,
    })
}

#[cfg(test)]
mod tests;
