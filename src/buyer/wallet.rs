//! What the account does besides paying for jobs: it takes in what was sent to it, it is emptied, and
//! its blocks are listed.

use nano_currency::block::Subtype;
use nano_currency::{Account, Amount, BlockHash};

use super::Buyer;
use super::account::{Chain, Turn};
use super::error::BuyError;
use super::memory::Kept;
use super::order::OrderId;
use super::paying::Published;
use super::progress::{Progress, Watch};
use crate::protocol::{JobId, PublicKey, Timestamp};

/// Blocks of one errand: whoever is sent more than this has been sent dust.
const BLOCKS_MAX: usize = 1_000;

/// How much leaves the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it, after everything that waits was received.
    All,
    /// This much.
    Amount(Amount),
}

/// One send that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// The send.
    pub send: BlockHash,
    /// How much.
    pub amount: Amount,
    /// The block that received it; none if another wallet did.
    pub block: Option<BlockHash>,
}

/// What left the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Withdrawn {
    /// The block.
    pub block: BlockHash,
    /// How much.
    pub amount: Amount,
    /// Where to.
    pub to: Account,
    /// Whether it is one that an earlier errand had begun, and that went on with this one.
    pub begun_before: bool,
}

/// A block that was signed here, with what a bookkeeper asks about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// When it was signed, where that was written down.
    pub at: Option<Timestamp>,
    /// `receive`, `payment` or `withdrawal`.
    pub does: &'static str,
    /// How much it moves, where that was written down.
    pub amount: Option<Amount>,
    /// Its name.
    pub block: BlockHash,
    /// Whose chain it is in.
    pub account: Account,
    /// Where coins went to; not known of what was received.
    pub counter: Option<Account>,
    /// The send that was received.
    pub source: Option<BlockHash>,
    /// The purchase.
    pub order: Option<OrderId>,
    /// Its job.
    pub job: Option<JobId>,
    /// Who was paid.
    pub seller: Option<PublicKey>,
}

impl Buyer {
    /// Takes in all that was sent to an account, the largest first.
    ///
    /// # Errors
    /// [`BuyError`]; what was signed goes on with whatever comes next.
    pub async fn receive_all(&self, index: u32, watch: Watch<'_>) -> Result<Vec<Taken>, BuyError> {
        self.ensure_ours().await?;
        let chain = self.chain(index)?;
        let mut turn = chain.turn().await;
        self.take_all(&chain, &mut turn, watch).await
    }

    /// Sends away from an account: all of it, or a part. One that was begun before and not told of is
    /// finished first; if it is the same, nothing more is sent.
    ///
    /// # Errors
    /// [`BuyError`]; what was signed goes on with the next withdrawal.
    pub async fn withdraw(
        &self,
        index: u32,
        to: Account,
        part: Part,
        watch: Watch<'_>,
    ) -> Result<Vec<Withdrawn>, BuyError> {
        self.ensure_ours().await?;
        self.may_withdraw(to)?;
        let chain = self.chain(index)?;
        let mut turn = chain.turn().await;
        let mut done = Vec::new();
        if let Some(withdrawn) = self.finish_withdrawal(&chain, &mut turn, watch).await? {
            done.push(withdrawn);
            let same = match part {
                Part::All => false,
                Part::Amount(amount) => amount == withdrawn.amount,
            };
            if same && withdrawn.to == to {
                return Ok(done);
            }
            // Told of here: the next one takes its place in the journal.
        }
        if part == Part::All {
            self.take_all(&chain, &mut turn, watch).await?;
        }
        if let Some(withdrawn) = self.send_away(&chain, &mut turn, to, part, watch).await? {
            done.push(withdrawn);
        }
        Ok(done)
    }

    /// Notes that its owner was told of a withdrawal's end: the next one like it is another one.
    ///
    /// # Errors
    /// If the journal fails.
    pub async fn told_of_withdrawal(&self, index: u32) -> Result<(), BuyError> {
        Ok(self.memory().told_of_withdrawal(&self.account(index)?).await?)
    }

    /// Every block that was signed here for an account, oldest first.
    ///
    /// # Errors
    /// If the journal fails.
    pub fn blocks(&self, index: u32) -> Result<Vec<Row>, BuyError> {
        let blocks = self.memory().blocks_of(&self.account(index)?)?;
        blocks.iter().map(|kept| self.row(kept)).collect()
    }

    fn row(&self, kept: &Kept) -> Result<Row, BuyError> {
        let order = match &kept.order {
            Some(id) => self.memory().order(id)?,
            None => None,
        };
        let agreed = order.as_ref().and_then(|order| order.agreed);
        let fields = &kept.block.0.fields;
        let receives = kept.subtype() != Subtype::Send;
        Ok(Row {
            at: kept.at,
            does: match kept.order {
                Some(_) => "payment",
                None if receives => "receive",
                None => "withdrawal",
            },
            amount: kept.amount.or(agreed.map(|agreed| agreed.amount)),
            block: kept.block.0.hash(),
            account: fields.account,
            counter: (!receives).then(|| Account::from_bytes(fields.link)),
            source: receives.then(|| BlockHash::from_bytes(fields.link)),
            order: kept.order,
            job: order.and_then(|order| order.job_id),
            seller: agreed.and_then(|agreed| agreed.seller),
        })
    }

    async fn take_all(
        &self,
        chain: &Chain,
        turn: &mut Turn<'_>,
        watch: Watch<'_>,
    ) -> Result<Vec<Taken>, BuyError> {
        let mut taken = Vec::new();
        for _ in 0..BLOCKS_MAX {
            let head = self.head(chain, turn).await?;
            if self.restore_place(chain, turn, &head, watch).await? {
                continue;
            }
            let waiting = self.receivable(chain.account).await?;
            let new = waiting.into_iter().find(|(send, _)| taken.iter().all(|had: &Taken| had.send != *send));
            let Some((send, amount)) = new else { break };
            let block = self.take(chain, turn, &head, (send, amount), watch).await?;
            taken.push(Taken { send, amount, block });
        }
        Ok(taken)
    }

    /// Publishes the withdrawal that was kept and whose end nobody was told of.
    async fn finish_withdrawal(
        &self,
        chain: &Chain,
        turn: &mut Turn<'_>,
        watch: Watch<'_>,
    ) -> Result<Option<Withdrawn>, BuyError> {
        let Some(kept) = self.memory().withdrawal(&chain.account)? else { return Ok(None) };
        let (Some(to), Some(amount)) = (kept.withdrawn_to, kept.amount) else { return Ok(None) };
        let published = self.settle(chain, turn, &kept.block, Subtype::Send, watch).await?;
        if published == Published::Dead {
            self.memory().told_of_withdrawal(&chain.account).await?;
            return Ok(None);
        }
        watch(&Progress::Withdrawn { amount, to });
        Ok(Some(Withdrawn { block: kept.block.0.hash(), amount, to, begun_before: true }))
    }

    /// One withdrawal, from the account's newest block on.
    async fn send_away(
        &self,
        chain: &Chain,
        turn: &mut Turn<'_>,
        to: Account,
        part: Part,
        watch: Watch<'_>,
    ) -> Result<Option<Withdrawn>, BuyError> {
        for _ in 0..BLOCKS_MAX {
            let head = self.head(chain, turn).await?;
            if self.restore_place(chain, turn, &head, watch).await? {
                continue;
            }
            let amount = match part {
                Part::All if head.balance.is_zero() => return Ok(None),
                Part::All => head.balance,
                Part::Amount(amount) if amount > head.balance => {
                    let waiting = self.receivable(chain.account).await?;
                    let holds = head.balance.saturating_add(waiting.iter().map(|(_, sum)| *sum).sum());
                    let Some(&largest) = waiting.first().filter(|_| holds >= amount) else {
                        **turn = None;
                        return Err(BuyError::Underfunded { account: chain.account, holds, needs: amount });
                    };
                    self.take(chain, turn, &head, largest, watch).await?;
                    continue;
                }
                Part::Amount(amount) => amount,
            };
            let Some(fields) = chain.send(&head, amount, to) else { continue };
            let work = self.work(&fields, Subtype::Send, watch).await?;
            let block = chain.sign(fields, work);
            let kept = Kept { withdrawn_to: Some(to), ..Kept::new(block, self.clock().now(), amount) };
            self.memory().keep(&kept, None, None).await?;
            if self.settle(chain, turn, &block, Subtype::Send, watch).await? == Published::Dead {
                continue;
            }
            watch(&Progress::Withdrawn { amount, to });
            return Ok(Some(Withdrawn { block: block.0.hash(), amount, to, begun_before: false }));
        }
        Err(BuyError::TimedOut { waiting_for: "a free place in the account's chain", seconds: 0 })
    }
}
