//! What has become of blocks that were signed here, by the ledger and nothing else.
//!
//! A chain is one line, so of two blocks of one account of which neither comes after the other, the
//! ledger only ever has one. Once every block of a chain down to its first is known by its hash, what
//! is not among them can never be there together with what is built on its end. So a refund that is
//! not in the chain may be made anew on it, and is never sent twice, whatever a node says of it, and
//! whichever of the two is confirmed in the end.

use std::collections::BTreeMap;

use nano_currency::quorum::Word;
use nano_currency::rpc::{BlockInfo, Subtype};
use nano_currency::{Account, Amount, BlockHash};

use super::chain::again;
use super::journal::{Aside, Does, Fate, OwnBlock};
use super::whose::Own;
use super::{CoinsError, Purse};
use crate::store::Batch;
use crate::worker::memory::{ASIDE, COINS, MONEY, OWED};

/// Blocks of one invoice's chain at most: a payment takes two, and who pays in more dust than this
/// has to be given back by hand.
const CHAIN_MAX: usize = 4_096;

/// Characters of a node's reason that are kept.
const WHY_CHARS_MAX: usize = 300;

/// Epoch blocks in a row at most: there have been two in the life of the network.
const EPOCHS_MAX: usize = 8;

/// Where a block stands with regard to a chain that does not have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It, or one of ours that it stands on, is next.
    Next,
    /// This one is there instead.
    Taken(BlockHash),
    /// It stands on a block that is neither in the chain nor ours.
    Unknown(BlockHash),
}

/// A whole chain: which block comes after which.
#[derive(Debug)]
struct Line {
    frontier: BlockHash,
    after: BTreeMap<BlockHash, BlockHash>,
}

impl Line {
    fn has(&self, hash: &BlockHash) -> bool {
        *hash == self.frontier || self.after.contains_key(hash)
    }

    /// Where one of `ours` stands that the ledger does not have.
    fn place_of(&self, block: &OwnBlock, ours: &[OwnBlock]) -> Place {
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

impl Purse {
    /// All blocks of an account that were signed here, those that were given up included.
    pub(super) fn signed_of(&self, account: &Account) -> Result<Vec<OwnBlock>, CoinsError> {
        let mut blocks = self.journal_of(account)?;
        blocks.extend(self.asides(account)?.into_iter().map(|aside| aside.block));
        Ok(blocks)
    }

    pub(super) fn asides(&self, account: &Account) -> Result<Vec<Aside>, CoinsError> {
        ASIDE.prefix(&self.store, account.as_bytes()).map(|entry| Ok(entry?.1)).collect()
    }

    fn is_aside(&self, block: &OwnBlock) -> Result<bool, CoinsError> {
        let key = (*block.block.0.fields.account.as_bytes(), block.hash());
        Ok(ASIDE.contains(&self.store, &key)?)
    }

    /// Gives up a block that the network refuses for good, so that its place is free for another. The
    /// two can never both be on the ledger; whether this one is after all is looked at again.
    pub(super) async fn set_aside(&self, block: &OwnBlock, why: &str) -> Result<(), CoinsError> {
        let mut batch = Batch::default();
        let fate = Fate::Displaced(BlockHash::ZERO);
        let aside = Aside {
            block: OwnBlock { fate, ..*block },
            why: why.chars().take(WHY_CHARS_MAX).collect(),
            at: self.clock.now(),
        };
        COINS.remove(&mut batch, &block.place());
        ASIDE.put(&mut batch, &(*block.block.0.fields.account.as_bytes(), block.hash()), &aside)?;
        self.put(batch).await
    }

    /// Looks where the refunds of an account are, and writes it down; why that cannot be told.
    pub(super) async fn look_at_refunds(&self, own: &Own) -> Result<Option<String>, CoinsError> {
        let signed = self.signed_of(&own.account)?;
        let refunds: Vec<OwnBlock> = signed
            .iter()
            .filter(|block| block.does == Does::Refund && block.fate != Fate::Confirmed)
            .copied()
            .collect();
        if refunds.is_empty() {
            return Ok(None);
        }
        let hashes: Vec<BlockHash> = refunds.iter().map(OwnBlock::hash).collect();
        let round = self.jury.blocks(&hashes).await;
        let mut missing = Vec::new();
        for block in refunds {
            let quorum = self.jury.quorum_for(block.amount);
            match round.verdict(&block.hash(), quorum).agreed() {
                Some(Word::Sent { confirmed: true, .. }) => self.note_fate(&block, Fate::Confirmed).await?,
                Some(Word::Sent { .. } | Word::NoPayment { .. }) => {
                    self.note_fate(&block, Fate::Open).await?;
                }
                Some(Word::NotFound) => missing.push(block),
                None => {
                    let hash = block.hash();
                    return Ok(Some(format!("the nodes do not agree whether the refund {hash} is there")));
                }
            }
        }
        if missing.is_empty() {
            return Ok(None);
        }
        let line = match self.line_of(&own.account).await? {
            Ok(line) => line,
            Err(problem) => return Ok(Some(problem)),
        };
        for block in missing {
            if line.has(&block.hash()) {
                let hash = block.hash();
                return Ok(Some(format!("the nodes contradict themselves about the refund {hash}")));
            }
            match line.place_of(&block, &signed) {
                // One that was given up stays so: its place is another's now.
                Place::Next if self.is_aside(&block)? => {
                    self.note_fate(&block, Fate::Displaced(BlockHash::ZERO)).await?;
                }
                Place::Next => self.note_fate(&block, Fate::Open).await?,
                Place::Taken(by) => self.note_fate(&block, Fate::Displaced(by)).await?,
                Place::Unknown(previous) => {
                    let hash = block.hash();
                    let why = format!("the refund {hash} stands on {previous}, which no node has");
                    return Ok(Some(why));
                }
            }
        }
        Ok(None)
    }

    /// Writes down what has become of a block. What was sent back is known for good only once the
    /// network has decided for it.
    async fn note_fate(&self, block: &OwnBlock, fate: Fate) -> Result<(), CoinsError> {
        let mut batch = Batch::default();
        if block.fate != fate {
            let key = (*block.block.0.fields.account.as_bytes(), block.hash());
            let known = OwnBlock { fate, ..*block };
            match ASIDE.get(&self.store, &key)? {
                Some(aside) => ASIDE.put(&mut batch, &key, &Aside { block: known, ..aside })?,
                None => COINS.put(&mut batch, &block.place(), &known)?,
            }
            tracing::info!(block = %block.hash(), ?fate, "a refund was looked at");
        }
        if let (Some(job), Some(of)) = (block.job, block.of)
            && let Some(mut piece) = MONEY.get(&self.store, &(job, of))?
        {
            match fate {
                Fate::Confirmed if piece.back.is_none() => piece.back = Some(block.hash()),
                Fate::Open | Fate::Displaced(_) if piece.back == Some(block.hash()) => piece.back = None,
                _ => return self.put(batch).await,
            }
            MONEY.put(&mut batch, &(job, of), &piece)?;
            match piece.back {
                Some(_) => OWED.remove(&mut batch, &(job, of)),
                None => OWED.put(&mut batch, &(job, of), &())?,
            }
        }
        self.put(batch).await
    }

    async fn put(&self, batch: Batch) -> Result<(), CoinsError> {
        if batch.is_empty() {
            return Ok(());
        }
        Ok(self.store.commit_durable(batch).await?)
    }

    /// Makes sure that no block before `frontier` has sent a payment back; why that cannot be said.
    /// What is then built on it and any earlier refund of the payment exclude each other.
    pub(super) async fn ensure_not_sent_back(
        &self,
        account: &Account,
        frontier: BlockHash,
        of: BlockHash,
    ) -> Result<Option<String>, CoinsError> {
        let signed = self.signed_of(account)?;
        let earlier: Vec<BlockHash> =
            signed.iter().filter(|block| block.of == Some(of)).map(OwnBlock::hash).collect();
        if earlier.is_empty() {
            return Ok(None);
        }
        Ok(match self.line_to(account, frontier).await? {
            Ok(line) => earlier
                .iter()
                .find(|hash| line.has(hash))
                .map(|hash| format!("{of} was sent back by {hash} after all")),
            Err(problem) => Some(problem),
        })
    }

    /// The whole chain of an account, block by block from its end; why not, if a block is missing or
    /// nobody with the key has signed it.
    async fn line_of(&self, account: &Account) -> Result<Result<Line, String>, CoinsError> {
        let info = again(|| self.rpc.account_info(account)).await?;
        self.line_to(account, info.map_or(BlockHash::ZERO, |info| info.frontier)).await
    }

    /// The chain that ends with a block.
    async fn line_to(
        &self,
        account: &Account,
        frontier: BlockHash,
    ) -> Result<Result<Line, String>, CoinsError> {
        let mut line = Line { frontier, after: BTreeMap::new() };
        let mut hash = frontier;
        while hash != BlockHash::ZERO {
            if line.after.len() >= CHAIN_MAX {
                return Ok(Err(format!("its chain has more than {CHAIN_MAX} blocks")));
            }
            let block = match self.genuine(account, &hash).await? {
                Ok(block) => block,
                Err(problem) => return Ok(Err(problem)),
            };
            let previous = block.contents.previous();
            line.after.insert(previous, hash);
            hash = previous;
        }
        Ok(Ok(line))
    }

    /// A block of an account's chain as it was signed; its hash is the one that was asked for.
    async fn genuine(
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

    /// What an account holds and who votes for it, by what its newest block itself says: a node that
    /// made up another balance would have us send another amount.
    pub(super) async fn signed_state(
        &self,
        account: &Account,
        frontier: &BlockHash,
    ) -> Result<Result<(Amount, Option<Account>), String>, CoinsError> {
        if let Some(own) = self.signed_of(account)?.iter().find(|own| own.hash() == *frontier) {
            let fields = own.block.0.fields;
            return Ok(Ok((fields.balance, Some(fields.representative))));
        }
        let mut hash = *frontier;
        let mut claimed = None;
        for _ in 0..EPOCHS_MAX {
            let info = match self.genuine(account, &hash).await? {
                Ok(info) => info,
                Err(problem) => return Ok(Err(problem)),
            };
            if *claimed.get_or_insert(info.balance) != info.balance {
                return Ok(Err(format!("the balance after {frontier} is not what was signed")));
            }
            if info.is_signed() {
                return Ok(Ok((info.balance, None)));
            }
            // Anybody could have made up an epoch block: it changes no balance.
            hash = info.contents.previous();
            if hash == BlockHash::ZERO && info.balance.is_zero() {
                return Ok(Ok((Amount::ZERO, None)));
            }
        }
        Ok(Err(format!("the balance after {frontier} cannot be told")))
    }
}

#[cfg(test)]
mod tests {
    use nano_currency::Seed;
    use nano_currency::block::StateFields;
    use nano_currency::work::Work;

    use super::super::journal::Signed;
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
        let empty = Line { frontier: BlockHash::ZERO, after: BTreeMap::new() };
        assert_eq!(empty.place_of(&opened, &ours), Place::Next);
        assert_eq!(empty.place_of(&beside, &ours), Place::Unknown(hash(1)));
    }
}
