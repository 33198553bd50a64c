//! The chain of one account as it was signed, block by block down to its first.

use std::collections::{BTreeMap, BTreeSet};

use nano_currency::block::{Block, StateBlock, StateFields};
use nano_currency::rpc::{BlockInfo, Subtype};
use nano_currency::{Account, Amount, BlockHash};

use super::chain::again;
use super::journal::OwnBlock;
use super::{CoinsError, Purse};

/// Blocks of one invoice's chain at most: a payment takes two, and who pays in more dust than this
/// has to be given back by hand.
const CHAIN_MAX: usize = 4_096;

/// Where a block stands with regard to a chain that does not have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It, or one of ours that it stands on, is next.
    Next,
    /// This one is there instead.
    Taken(BlockHash),
    /// It stands on a block that is neither in the chain nor ours.
    Unknown(BlockHash),
}

/// A whole chain: which block comes after which.
#[derive(Debug)]
pub(super) struct Line {
    frontier: BlockHash,
    after: BTreeMap<BlockHash, BlockHash>,
    /// The blocks that were signed elsewhere, with this seed.
    strange: BTreeMap<BlockHash, StateBlock>,
    /// What every block left.
    balances: BTreeMap<BlockHash, Amount>,
    /// What the blocks link to: the sends that they received, and where they sent.
    pub(super) linked: BTreeSet<BlockHash>,
}

/// A send that was signed elsewhere.
pub(super) struct Strange {
    pub(super) block: StateBlock,
    pub(super) to: Account,
    pub(super) amount: Amount,
}

impl Line {
    const fn to(frontier: BlockHash) -> Self {
        Self {
            frontier,
            after: BTreeMap::new(),
            strange: BTreeMap::new(),
            balances: BTreeMap::new(),
            linked: BTreeSet::new(),
        }
    }

    pub(super) fn has(&self, hash: &BlockHash) -> bool {
        self.balances.contains_key(hash)
    }

    /// The sends that were signed elsewhere.
    pub(super) fn strange_sends(&self) -> impl Iterator<Item = Strange> {
        self.strange.values().filter_map(|block| {
            let fields = block.fields;
            let before = self.balances.get(&fields.previous).copied().unwrap_or(Amount::ZERO);
            let amount = before.checked_sub(fields.balance).filter(|amount| !amount.is_zero())?;
            Some(Strange { block: *block, to: Account::from_bytes(fields.link), amount })
        })
    }

    /// The sends that were received by blocks that were signed elsewhere, but for those of less than `dust`.
    pub(super) fn strange_receives(&self, dust: Amount) -> impl Iterator<Item = BlockHash> {
        self.strange.values().filter_map(move |block| {
            let fields = block.fields;
            let before = self.balances.get(&fields.previous).copied().unwrap_or(Amount::ZERO);
            let amount = fields.balance.checked_sub(before).filter(|amount| !amount.is_zero())?;
            (amount >= dust).then_some(BlockHash::from_bytes(fields.link))
        })
    }

    /// How many receives it has.
    pub(super) fn receives(&self) -> usize {
        let of = |hash: &BlockHash| self.balances.get(hash).copied().unwrap_or(Amount::ZERO);
        self.after.iter().filter(|(previous, hash)| of(hash) > of(previous)).count()
    }

    /// All that was ever received.
    pub(super) fn came(&self) -> Amount {
        self.after.iter().fold(Amount::ZERO, |came, (previous, hash)| {
            let of = |hash: &BlockHash| self.balances.get(hash).copied().unwrap_or(Amount::ZERO);
            came.saturating_add(of(hash).checked_sub(of(previous)).unwrap_or(Amount::ZERO))
        })
    }

    /// Where one of `ours` stands that the ledger does not have.
    pub(super) fn place_of(&self, block: &OwnBlock, ours: &[OwnBlock]) -> Place {
        let mut previous = block.block.0.fields.previous;
        // Each block stands on an earlier one, so this ends.
        for _ in 0..=ours.len() {
            if previous == self.frontier {
                return Place::Next;
            }
            if let Some(taken) = self.after.get(&previous) {
                return Place::Taken(*taken);
            }
            match ours.iter().find(|own| own.hash() == previous) {
                Some(own) => previous = own.block.0.fields.previous,
                None => break,
            }
        }
        Place::Unknown(previous)
    }
}

impl Strange {
    pub(super) fn objection(&self) -> String {
        let (hash, to, amount) = (self.block.hash(), self.to, self.amount);
        format!(
            "{hash} has sent {amount} raw to {to}, and this state did not make it: if that was a refund, \
             nothing is left to do; if not, `wallet sweep --owed --to ACCOUNT` sends what is there"
        )
    }
}

impl Purse {
    /// The whole chain of an account, block by block from its end; why not, if a block is missing or
    /// nobody with the key has signed it.
    pub(super) async fn line_of(&self, account: &Account) -> Result<Result<Line, String>, CoinsError> {
        let info = again(|| self.rpc.account_info(account)).await?;
        self.line_to(account, info.map_or(BlockHash::ZERO, |info| info.frontier)).await
    }

    /// The chain that ends with a block.
    pub(super) async fn line_to(
        &self,
        account: &Account,
        frontier: BlockHash,
    ) -> Result<Result<Line, String>, CoinsError> {
        let ours: BTreeMap<BlockHash, StateFields> =
            self.signed_of(account)?.iter().map(|own| (own.hash(), own.block.0.fields)).collect();
        let mut line = Line::to(frontier);
        let mut hash = frontier;
        while hash != BlockHash::ZERO {
            // One of ours costs no call, and there are as many as were kept.
            if line.after.len() >= CHAIN_MAX.max(ours.len()) {
                return Ok(Err(format!("its chain has more than {CHAIN_MAX} blocks")));
            }
            // A block's name says all that is in it, so one of ours need not be asked for.
            let fields = match ours.get(&hash) {
                Some(fields) => *fields,
                None => match self.genuine(account, &hash).await? {
                    Err(problem) => return Ok(Err(problem)),
                    Ok(BlockInfo { contents: Block::State(block), .. }) => {
                        line.strange.insert(hash, block);
                        block.fields
                    }
                    Ok(_) => return Ok(Err(format!("{hash} is of a kind that is no longer made"))),
                },
            };
            line.linked.insert(BlockHash::from_bytes(fields.link));
            line.balances.insert(hash, fields.balance);
            line.after.insert(fields.previous, hash);
            hash = fields.previous;
        }
        Ok(Ok(line))
    }

    /// A block of an account's chain as it was signed; its hash is the one that was asked for.
    pub(super) async fn genuine(
        &self,
        account: &Account,
        hash: &BlockHash,
    ) -> Result<Result<BlockInfo, String>, CoinsError> {
        match again(|| self.rpc.block_info(hash)).await? {
            None => Ok(Err(format!("the node does not know {hash}, which it named"))),
            Some(info) if info.block_account != *account => {
                Ok(Err(format!("the node passes {hash} off as a block of another account")))
            }
            Some(info) if info.is_signed() || info.subtype == Some(Subtype::Epoch) => Ok(Ok(info)),
            Some(_) => Ok(Err(format!("{hash} is not signed by the account"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use nano_currency::Seed;
    use nano_currency::block::StateFields;
    use nano_currency::work::Work;

    use super::super::journal::{Does, Fate, Signed};
    use super::*;
    use crate::protocol::Timestamp;

    fn own(previous: BlockHash, balance: u128) -> OwnBlock {
        let key = Seed::parse(&"5e".repeat(32)).unwrap().key(7).unwrap();
        let fields = StateFields {
            account: key.account(),
            previous,
            representative: key.account(),
            balance: Amount::from_raw(balance),
            link: [3; 32],
        };
        OwnBlock {
            block: Signed(fields.sign(&key, Work::new(0))),
            does: Does::Refund,
            amount: Amount::from_raw(5),
            counter: None,
            index: 7,
            job: None,
            at: Timestamp::from_seconds(1),
            of: None,
            fate: Fate::Open,
        }
    }

    fn hash(number: u8) -> BlockHash {
        BlockHash::from_bytes([number; 32])
    }

    #[test]
    fn a_block_is_next_or_displaced_or_nobody_can_tell() {
        let line = Line {
            frontier: hash(3),
            after: [(BlockHash::ZERO, hash(1)), (hash(1), hash(2)), (hash(2), hash(3))].into(),
            ..Line::to(hash(3))
        };
        let next = own(hash(3), 1);
        let after_next = own(next.hash(), 2);
        let beside = own(hash(1), 3);
        let after_beside = own(beside.hash(), 4);
        let opened = own(BlockHash::ZERO, 5);
        let stray = own(hash(9), 6);
        let ours = [next, after_next, beside, after_beside, opened, stray];
        let expected = [
            Place::Next,
            Place::Next,
            Place::Taken(hash(2)),
            Place::Taken(hash(2)),
            Place::Taken(hash(1)),
            Place::Unknown(hash(9)),
        ];
        for (block, expected) in ours.iter().zip(expected) {
            assert_eq!(line.place_of(block, &ours), expected);
        }
        let empty = Line::to(BlockHash::ZERO);
        assert_eq!(empty.place_of(&opened, &ours), Place::Next);
        assert_eq!(empty.place_of(&beside, &ours), Place::Unknown(hash(1)));
    }
}
