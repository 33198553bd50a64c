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
    /// The subtype does not fit the block's `previous`, or is no subtype.
    BadSubtype,
    /// A legacy block after a state block, or an epoch out of order.
    BadPosition,
    /// The burn account cannot be opened.
    BurnAccount,
    /// An epoch block that changes more than the epoch.
    RepresentativeMismatch,
    /// Anything else, in the node's words.
    Other(String),
}

impl Processed {
    /// Whether the block may be on the ledger in spite of the answer: then `block_info` tells.
    #[must_use]
    pub const fn may_be_known(&self) -> bool {
        matches!(self, Self::Accepted(_) | Self::Old | Self::SubtypeMismatch)
    }

    /// Whether the block can never be on the ledger as it is: it must be made anew, or not at all.
    /// A fork is judged by the network, a gap closes, and low work is done again for the same hash.
    #[must_use]
    pub const fn is_refused_for_good(&self) -> bool {
        match self {
            Self::BadSignature
            | Self::Invalid
            | Self::Unreceivable
            | Self::BalanceMismatch
            | Self::NegativeSpend
            | Self::BadPosition
            | Self::BurnAccount
            | Self::RepresentativeMismatch => true,
            Self::Accepted(_)
            | Self::Old
            | Self::Fork
            | Self::GapPrevious
            | Self::GapSource
            | Self::LowWork
            | Self::SubtypeMismatch
            | Self::BadSubtype
            | Self::Other(_) => false,
        }
    }

    fn from_error(text: String) -> Self {
        match text.as_str() {
            "Old block" => Self::Old,
            "Fork" => Self::Fork,
            "Gap previous block" => Self::GapPrevious,
            "Gap source block" => Self::GapSource,
            "Bad signature" => Self::BadSignature,
            "Block work is less than threshold" | "Block work is insufficient" => Self::LowWork,
            "Block is invalid" => Self::Invalid,
            "Unreceivable" => Self::Unreceivable,
            "Balance and amount delta do not match" => Self::BalanceMismatch,
            "Invalid block balance for given subtype" => Self::SubtypeMismatch,
            "Negative spend" => Self::NegativeSpend,
            "Invalid block subtype" | "Invalid previous block for given subtype" => Self::BadSubtype,
            "This block cannot follow the previous block" => Self::BadPosition,
            "Burn account is not allowed to open" => Self::BurnAccount,
            "Representative mismatch" => Self::RepresentativeMismatch,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of a node's words for a block: what it is read as, whether the block is lost for good, and
    /// whether it may be on the ledger all the same.
    #[test]
    fn a_nodes_words_say_what_may_become_of_a_block() {
        let words = [
            ("Old block", Processed::Old, false, true),
            ("Fork", Processed::Fork, false, false),
            ("Gap previous block", Processed::GapPrevious, false, false),
            ("Gap source block", Processed::GapSource, false, false),
            ("Bad signature", Processed::BadSignature, true, false),
            ("Block work is less than threshold", Processed::LowWork, false, false),
            ("Block work is insufficient", Processed::LowWork, false, false),
            ("Block is invalid", Processed::Invalid, true, false),
            ("Unreceivable", Processed::Unreceivable, true, false),
            ("Balance and amount delta do not match", Processed::BalanceMismatch, true, false),
            ("Invalid block balance for given subtype", Processed::SubtypeMismatch, false, true),
            ("Negative spend", Processed::NegativeSpend, true, false),
            ("Invalid block subtype", Processed::BadSubtype, false, false),
            ("Invalid previous block for given subtype", Processed::BadSubtype, false, false),
            ("This block cannot follow the previous block", Processed::BadPosition, true, false),
            ("Burn account is not allowed to open", Processed::BurnAccount, true, false),
            ("Representative mismatch", Processed::RepresentativeMismatch, true, false),
            ("Some new words", Processed::Other("Some new words".to_owned()), false, false),
        ];
        for (text, meant, for_good, known) in words {
            let read = read_processed(Err(Failure::Node(text.to_owned()))).unwrap();
            assert_eq!((read.is_refused_for_good(), read.may_be_known()), (for_good, known), "{text}");
            assert_eq!(read, meant);
        }
        for text in NOT_ABOUT_THE_BLOCK {
            assert!(read_processed(Err(Failure::Node(text.to_owned()))).is_err(), "{text}");
        }
        let taken = read_processed(Ok(serde_json::json!({ "hash": BlockHash::ZERO }))).unwrap();
        assert!(taken == Processed::Accepted(BlockHash::ZERO) && taken.may_be_known());
        assert!(!taken.is_refused_for_good());
    }
}
