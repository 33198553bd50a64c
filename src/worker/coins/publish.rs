//! What goes to the nodes, and the journal that it is in before.

use nano_currency::quorum::Word;
use nano_currency::rpc::Processed;
use nano_currency::{Account, BlockHash};

use super::chain::{TRIES_MAX, TRY_AGAIN};
use super::desk::Tell;
use super::journal::{Does, OwnBlock};
use super::{CoinsError, Purse};
use crate::points::crash_point;
use crate::store::Batch;
use crate::worker::memory::{COINS, MONEY};

/// What publishing came to.
pub(super) enum Published {
    /// It is the newest block.
    Newest,
    /// The node has it, perhaps with others after it.
    Known,
    /// Another block is at its place.
    Displaced(String),
    /// It can never be there as it is.
    Refused(String),
    /// Not yet, and why.
    NotYet(String),
}

impl Purse {
    /// All blocks of an account that were signed here and have a place.
    pub(super) fn journal_of(&self, account: &Account) -> Result<Vec<OwnBlock>, CoinsError> {
        let kept = COINS.prefix(&self.store, account.as_bytes()).map(|entry| Ok(entry?.1));
        kept.collect()
    }

    pub(super) fn is_ours(&self, account: &Account, hash: &BlockHash) -> Result<bool, CoinsError> {
        Ok(self.signed_of(account)?.iter().any(|kept| kept.hash() == *hash))
    }

    /// Makes a block durable. It must be the first one for its place, or the same with other work.
    pub(super) async fn keep(&self, block: &OwnBlock) -> Result<(), CoinsError> {
        {
            let _turn = self.store.writer();
            self.ensure_owed(block)?;
            let mut batch = Batch::default();
            COINS.put(&mut batch, &block.place(), block)?;
            self.store.commit(batch)?;
        }
        Ok(self.store.durable().await?)
    }

    /// While the work for a refund was sought, its job may have come back to life and counted it.
    fn ensure_owed(&self, block: &OwnBlock) -> Result<(), CoinsError> {
        let (Does::Refund, Some(job), Some(of)) = (block.does, block.job, block.of) else { return Ok(()) };
        match MONEY.get(&self.store, &(job, of))? {
            Some(piece) if piece.owed.is_none() => {
                Err(CoinsError::NotRefundable { job, why: "has been paid by it after all" })
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn publish_again(
        &self,
        block: &OwnBlock,
        tell: Tell<'_>,
    ) -> Result<Published, CoinsError> {
        let mut block = *block;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.publish(&mut block, tell).await {
                // It may be on its way all the same; to publish it again does no harm.
                Err(CoinsError::Node(_)) | Ok(Published::NotYet(_)) if tries < TRIES_MAX => {}
                Ok(Published::NotYet(why)) => return self.unless_groundless(&block, why).await,
                published => return published,
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    async fn publish(&self, block: &mut OwnBlock, tell: Tell<'_>) -> Result<Published, CoinsError> {
        let processed = self.rpc.process(&block.block.0, block.subtype()).await?;
        crash_point!("worker/coins/published");
        let not_yet = |why: &str| Ok(Published::NotYet(format!("block {}: {why}", block.hash())));
        match processed {
            Processed::Accepted(_) => Ok(Published::Newest),
            Processed::Old => Ok(Published::Known),
            Processed::LowWork => {
                // The same block: its hash does not depend on its work. A receive needs as much as a
                // send where the sender's account was never upgraded.
                let fields = block.block.0.fields;
                let thresholds = self.network.work();
                let threshold = thresholds.send.max(thresholds.receive);
                block.block.0.work = self.work_for(fields.work_root(), threshold, tell).await?;
                self.keep(block).await?;
                Ok(Published::NotYet(format!("block {} needs more work", block.hash())))
            }
            Processed::GapPrevious => not_yet("the node does not know the block before it yet"),
            Processed::GapSource => not_yet("the node does not know the send that it receives yet"),
            // Some refusals are also given to a block that is there already.
            refused => match self.rpc.block_info(&block.hash()).await? {
                Some(_) => Ok(Published::Known),
                None if refused == Processed::Fork => {
                    let why = format!("block {}: another block has its place", block.hash());
                    Ok(Published::Displaced(why))
                }
                None if refused.is_refused_for_good() => {
                    Ok(Published::Refused(format!("the node refuses it: {refused:?}")))
                }
                None => not_yet(&format!("the node refuses it: {refused:?}")),
            },
        }
    }

    /// A receive whose send is not there, by the word of as many nodes as a payment wants, receives
    /// nothing: a node made it up.
    async fn unless_groundless(&self, block: &OwnBlock, why: String) -> Result<Published, CoinsError> {
        if block.does != Does::Receive {
            return Ok(Published::NotYet(why));
        }
        let send = BlockHash::from_bytes(block.block.0.fields.link);
        let round = self.jury.blocks(&[send]).await;
        match round.verdict(&send, self.jury.quorum_for(block.amount)).agreed() {
            Some(Word::NotFound | Word::NoPayment { .. }) => {
                Ok(Published::Refused(format!("there is no send {send}")))
            }
            Some(Word::Sent { to, amount, .. })
                if *to != block.block.0.fields.account || *amount != block.amount =>
            {
                Ok(Published::Refused(format!("the send {send} is another one than it was said to be")))
            }
            _ => Ok(Published::NotYet(why)),
        }
    }
}
