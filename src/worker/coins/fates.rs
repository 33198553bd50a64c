//! What has become of blocks that were signed here, by the ledger and nothing else.
//!
//! A chain is one line, so of two blocks of one account of which neither comes after the other, the
//! ledger only ever has one. Once every block of a chain down to its first is known by its hash, what
//! is not among them can never be there together with what is built on its end. So a refund that is
//! not in the chain may be made anew on it, and is never sent twice, whatever a node says of it, and
//! whichever of the two is confirmed in the end.

use std::collections::BTreeMap;

use nano_currency::quorum::Word;
use nano_currency::{Account, Amount, BlockHash};

use super::journal::{Aside, Does, Fate, OwnBlock};
use super::line::Place;
use super::whose::Own;
use super::{CoinsError, Purse};
use crate::points::crash_point;
use crate::store::Batch;
use crate::worker::memory::{ASIDE, COINS, MONEY, OWED};

/// Characters of a node's reason that are kept.
const WHY_CHARS_MAX: usize = 300;

/// Epoch blocks in a row at most: there have been two in the life of the network.
const EPOCHS_MAX: usize = 8;

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
        Ok(self.store.commit_durable(batch).await?)
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
    /// network has decided for it; that is never taken back.
    async fn note_fate(&self, block: &OwnBlock, fate: Fate) -> Result<(), CoinsError> {
        if block.fate == fate {
            return Ok(());
        }
        {
            let _turn = self.store.writer();
            let mut batch = Batch::default();
            let key = (*block.block.0.fields.account.as_bytes(), block.hash());
            let known = OwnBlock { fate, ..*block };
            match ASIDE.get(&self.store, &key)? {
                Some(aside) => ASIDE.put(&mut batch, &key, &Aside { block: known, ..aside })?,
                None => COINS.put(&mut batch, &block.place(), &known)?,
            }
            if fate == Fate::Confirmed {
                self.note_returned(block, &mut batch)?;
            }
            self.store.commit(batch)?;
        }
        tracing::info!(block = %block.hash(), ?fate, "a refund was looked at");
        self.store.durable().await?;
        crash_point!("worker/money/settled");
        Ok(())
    }

    /// With the very commit that calls a refund confirmed, so that it counts once.
    pub(super) fn note_returned(&self, block: &OwnBlock, batch: &mut Batch) -> Result<(), CoinsError> {
        let (Some(job), Some(of)) = (block.job, block.of) else { return Ok(()) };
        let Some(mut piece) = MONEY.get(&self.store, &(job, of))? else { return Ok(()) };
        piece.returned = piece.returned.saturating_add(block.amount);
        piece.back = Some(block.hash());
        if piece.due().is_zero() {
            OWED.remove(batch, &(job, of));
        }
        Ok(MONEY.put(batch, &(job, of), &piece)?)
    }

    /// How much was sent back of which payment, by blocks that may be on the ledger, now or later.
    pub(super) fn sent_back(&self, account: &Account) -> Result<BTreeMap<BlockHash, Amount>, CoinsError> {
        let mut sent: BTreeMap<BlockHash, Amount> = BTreeMap::new();
        let signed = self.signed_of(account)?;
        for block in signed.iter().filter(|block| block.does == Does::Refund && block.may_be_there()) {
            if let Some(of) = block.of {
                let sum = sent.entry(of).or_default();
                *sum = sum.saturating_add(block.amount);
            }
        }
        Ok(sent)
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
