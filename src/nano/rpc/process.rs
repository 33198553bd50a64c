//! Publishing a block, and what a node says to it.

use serde_json::Value;

use super::Failure;
use super::answer::optional;
use crate::BlockHash;

/// What became of a block that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Processed {
    /// The node took it and tells the others.
    Accepted(BlockHash),
    /// The node has it already.
    Old,
    /// Another block is at its place.
    Fork,
    /// The node does not know the block before it.
    GapPrevious,
    /// The node does not know the send that it receives.
    GapSource,
    /// The signature is not the account's.
    BadSignature,
    /// The work is worth too little.
    LowWork,
    /// The node cannot read it as a block.
    Invalid,
    /// The send that it receives is another account's, or was received already.
    Unreceivable,
    /// The balance does not follow from the block before it and the link.
    BalanceMismatch,
    /// The subtype does not fit the balance. A block that the node has already, and the loser of
    /// a fork, get this answer too, because the subtype is checked first: ask for the block.
    SubtypeMismatch,
    /// A send that would raise the balance.
    NegativeSpend,
    /// Anything else, in the node's words.
    Other(String),
}

impl Processed {
    /// Whether the block may be on the ledger in spite of the answer: then `block_info` tells.
    #[must_use]
    pub const fn may_be_known(&self) -> bool {
        matches!(self, Self::Accepted(_) | Self::Old | Self::SubtypeMismatch)
    }

    fn from_error(text: String) -> Self {
        match text.as_str() {
            "Old block" => Self::Old,
            "Fork" => Self::Fork,
            "Gap previous block" => Self::GapPrevious,
            "Gap source block" => Self::GapSource,
            "Bad signature" => Self::BadSignature,
            "Block work is less than threshold" => Self::LowWork,
            "Block is invalid" => Self::Invalid,
            "Unreceivable" => Self::Unreceivable,
            "Balance and amount delta do not match" => Self::BalanceMismatch,
            "Invalid block balance for given subtype" => Self::SubtypeMismatch,
            "Negative spend" => Self::NegativeSpend,
            _ => Self::Other(text),
        }
    }
}

/// Errors that concern the call rather than the block: another node may take it.
const NOT_ABOUT_THE_BLOCK: [&str; 3] = ["Unknown command", "RPC control is disabled", "Unable to parse JSON"];

/// Reads the answer to `process`.
pub(super) fn read_processed(answer: Result<Value, Failure>) -> Result<Processed, Failure> {
    match answer {
        Ok(answer) => optional(&answer, "hash").map(Processed::Accepted).ok_or(Failure::Malformed("hash")),
        Err(Failure::Node(text)) if !NOT_ABOUT_THE_BLOCK.contains(&text.as_str()) => {
            Ok(Processed::from_error(text))
        }
        Err(failure) => Err(failure),
    }
}
