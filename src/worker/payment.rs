//! Is the invoice paid? Gather facts elsewhere, judge here.

use std::fmt;

use nano_currency::{Account, Amount, BlockHash};
use serde::{Deserialize, Serialize};

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
    /// Whom it pays and how much, if it is a send at all.
    pub send: Option<(Account, Amount)>,
    /// Whether the network has settled it for good.
    pub confirmed: bool,
    /// Whether it was counted for another job.
    pub claimed_elsewhere: bool,
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

/// What the facts amount to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Enough confirmed money, in these blocks; each is to be claimed.
    Settled {
        /// The blocks that count.
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
            Self::AddressMismatch(_) => "payment.address_mismatch",
            Self::HashReused => "payment.hash_reused",
            Self::AmountMismatch { .. } => "payment.amount_mismatch",
            Self::Late => "payment.late",
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
    let submitted = match &facts.submitted {
        Submitted::Found(block) => Some(block),
        Submitted::None | Submitted::Malformed | Submitted::NotFound => None,
    };
    let mut counted: Vec<(BlockHash, Amount)> = Vec::new();
    for block in submitted.into_iter().chain(&facts.found) {
        if let Ok(amount) = count(invoice, block)
            && !counted.iter().any(|(hash, _)| *hash == block.hash)
        {
            counted.push((block.hash, amount));
        }
    }
    let total = counted.iter().map(|(_, amount)| *amount).sum();
    if let Err(error) = ensure_amount(invoice, total) {
        return unpaid(invoice, facts, error);
    }
    if let Err(error) = ensure_in_time(facts) {
        return Verdict::Unpaid(error);
    }
    Verdict::Settled { blocks: counted.into_iter().map(|(hash, _)| hash).collect(), total }
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

fn ensure_amount(invoice: &Invoice, total: Amount) -> Result<(), PaymentError> {
    // An invoice over nothing, which we never write, must not be paid by nothing.
    if total >= invoice.price && !total.is_zero() {
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
