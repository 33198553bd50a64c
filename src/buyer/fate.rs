//! What became of a block that was signed: judged from what nodes say. Pure.

use nano_currency::BlockHash;

/// What nodes say about one signed block and the place in its chain that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The block before it; zero for an account's first block.
    pub previous: BlockHash,
    /// Whether any node knows the block, and whether one says that it is confirmed.
    pub known: Known,
    /// The height of the block before it, if a node knows that block; 0 for a first block.
    pub previous_height: Option<u64>,
    /// The account's newest block; zero if it has none.
    pub frontier: BlockHash,
    /// Up to where the account's blocks are confirmed.
    pub confirmed_height: Option<u64>,
}

/// Whether a block is on the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// No node knows it.
    No,
    /// It is there, and may still vanish.
    Unconfirmed,
    /// It is there for ever.
    Confirmed,
}

/// What became of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It counts.
    Confirmed,
    /// It is on its way.
    Published,
    /// Nobody has it, and its place is free: publish it, the same one, again.
    Absent,
    /// Another block is confirmed in its place, so it can never count.
    Dead,
    /// Nobody has it, and its place cannot be judged: ask again later, and sign nothing.
    Unclear,
}

/// Judges a block.
///
/// [`Fate::Dead`] needs proof: the block before it is known, and the chain is confirmed past it
/// while no node knows our block. A place that is merely taken may become free again.
#[must_use]
pub fn judge(facts: &Facts) -> Fate {
    match facts.known {
        Known::Confirmed => return Fate::Confirmed,
        Known::Unconfirmed => return Fate::Published,
        Known::No => {}
    }
    if facts.frontier == facts.previous {
        return Fate::Absent;
    }
    match (facts.previous_height, facts.confirmed_height) {
        (Some(height), Some(confirmed)) if confirmed > height => Fate::Dead,
        _ => Fate::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLACE: BlockHash = BlockHash::from_bytes([1; 32]);
    const OTHER: BlockHash = BlockHash::from_bytes([2; 32]);

    fn facts(known: Known, frontier: BlockHash, previous: Option<u64>, confirmed: Option<u64>) -> Facts {
        Facts { previous: PLACE, known, previous_height: previous, frontier, confirmed_height: confirmed }
    }

    #[test]
    fn every_fate_has_its_facts() {
        let table = [
            (facts(Known::Confirmed, OTHER, Some(5), Some(9)), Fate::Confirmed),
            (facts(Known::Unconfirmed, OTHER, Some(5), Some(5)), Fate::Published),
            (facts(Known::No, PLACE, Some(5), Some(5)), Fate::Absent),
            // A node that does not say up to where it has confirmed cannot prove anything.
            (facts(Known::No, OTHER, Some(5), None), Fate::Unclear),
            // Nor one that does not know the block before: it may lag behind.
            (facts(Known::No, OTHER, None, Some(9)), Fate::Unclear),
            // The block in our place is not confirmed: it may lose.
            (facts(Known::No, OTHER, Some(5), Some(5)), Fate::Unclear),
            (facts(Known::No, OTHER, Some(5), Some(6)), Fate::Dead),
        ];
        for (facts, fate) in table {
            assert_eq!(judge(&facts), fate, "{facts:?}");
        }
    }

    proptest! {
        /// Only a proof lets a second block be signed.
        #[test]
        fn without_proof_no_block_is_given_up(height: Option<u64>, confirmed: Option<u64>, free: bool) {
            let facts = facts(Known::No, if free { PLACE } else { OTHER }, height, confirmed);
            let proven = !free && height.is_some() && confirmed > height;
            prop_assert_eq!(judge(&facts) == Fate::Dead, proven);
        }
    }
}
