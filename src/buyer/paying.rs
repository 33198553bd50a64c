//! One payment: sign, keep, publish, and find out what became of it.

use nano_currency::rpc::{Processed, Subtype};
use nano_currency::{Amount, BlockHash};

use super::Buyer;
use super::account::{Chain, Head, Turn};
use super::error::BuyError;
use super::fate::{self, Fate, Known};
use super::memory::Kept;
use super::order::{Agreed, Move, Order, Signed};
use super::plan::{judge_moment, judge_payment};
use super::progress::{Progress, Watch};
use crate::client::CallError;
use crate::points::crash_point;
use crate::protocol::{Job, Status, Timestamp};

/// Places in a chain that one payment may pass: blocks of ours that vanished and are published
/// again, money that is received first, places lost to another wallet.
const PLACES_MAX: usize = 256;

/// A job whose payment took longer than this to prepare is looked at once more before it is paid.
const STALE_AFTER_SECONDS: u64 = 5;

/// Generations of our own blocks that are published again because a node forgot them.
const ANCESTORS_MAX: usize = 32;

/// What publishing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Published {
    /// It is the newest block of its chain.
    Newest,
    /// It is on the ledger, perhaps with others after it.
    Known,
    /// It can never count.
    Dead,
}

impl Buyer {
    /// Publishes the block that pays for an accepted job; the block that was signed before, if one
    /// was. Returns its hash once a node has it.
    pub(super) async fn publish_payment(
        &self,
        order: &mut Order,
        agreed: &Agreed,
        watch: Watch<'_>,
    ) -> Result<BlockHash, BuyError> {
        self.ensure_ours().await?;
        let chain = self.chain(order.account_index)?;
        let mut looked = self.clock().now();
        match order.payment {
            // It is paid already, and only has to be told.
            Some(block) if self.known(&block.0.hash()).await? != Known::No => {}
            Some(_) => {
                judge_moment(agreed, order.accepted, looked)?;
                // Nobody has it, so whatever is there was not sent by it: somebody paid by hand.
                self.ensure_untouched(agreed).await?;
            }
            None => {
                judge_moment(agreed, order.accepted, looked)?;
                // Before minutes of work.
                self.confirm(order, agreed).await?;
            }
        }
        let mut turn = chain.turn().await;
        let mut places = 0;
        while places < PLACES_MAX {
            places += 1;
            // Others may have had the turn for long, and work or receiving takes its time too.
            self.look_again(order, agreed, &mut looked).await?;
            match order.payment {
                Some(block) => match self.settle(&chain, &mut turn, &block, Subtype::Send, watch).await? {
                    Published::Newest | Published::Known => {
                        watch(&Progress::Published { hash: block.0.hash() });
                        return Ok(block.0.hash());
                    }
                    Published::Dead => self.abandon(order, agreed, &block).await?,
                },
                None => self.sign_payment(order, agreed, &chain, (&mut turn, &mut looked), watch).await?,
            }
        }
        Err(BuyError::TimedOut { waiting_for: "a free place in the account's chain", seconds: 0 })
    }

    /// Makes the chain fit to pay, and signs; one step of it per call.
    async fn sign_payment(
        &self,
        order: &mut Order,
        agreed: &Agreed,
        chain: &Chain,
        (turn, looked): (&mut Turn<'_>, &mut Timestamp),
        watch: Watch<'_>,
    ) -> Result<(), BuyError> {
        if !order.ours || !order.abandoned.is_empty() {
            self.ensure_untouched(agreed).await?;
        }
        let head = self.head(chain, turn).await?;
        if self.restore_place(chain, turn, &head, watch).await? {
            return Ok(());
        }
        if head.balance < agreed.amount {
            return self.receive_one(chain, turn, &head, agreed.amount, watch).await;
        }
        // The balance was compared a moment ago.
        let Some(fields) = chain.send(&head, agreed.amount, agreed.invoice) else { return Ok(()) };
        let work = self.work(&fields, Subtype::Send, watch).await?;
        self.look_again(order, agreed, looked).await?;
        judge_moment(agreed, order.accepted, self.clock().now())?;
        let block = chain.sign(fields, work);
        order.begun = Some(Move::Pay);
        order.note(self.clock().now(), format_args!("block {} signed", block.0.hash()));
        self.keep_payment(&block, order, agreed).await
    }

    /// If we have signed a block for the next place already, that one goes there and no other,
    /// unless it would pay for a job that needs no payment of ours. Whether the place was taken.
    pub(super) async fn restore_place(
        &self,
        chain: &Chain,
        turn: &mut Turn<'_>,
        head: &Head,
        watch: Watch<'_>,
    ) -> Result<bool, BuyError> {
        let Some(kept) = self.memory().signed_after(&chain.account, &head.previous)? else {
            return Ok(false);
        };
        if !self.is_wanted(&kept).await? {
            return Ok(false);
        }
        match self.settle(chain, turn, &kept.block, kept.subtype(), watch).await {
            Ok(_) => Ok(true),
            // Somebody else has received it: the place is free for another block.
            Err(BuyError::BlockRefused { .. }) if kept.subtype() != Subtype::Send => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a kept block that no node has may still be published. A block that pays may only
    /// while its job waits for it, or was told of it: what the journal saw last may be long ago.
    async fn is_wanted(&self, kept: &Kept) -> Result<bool, BuyError> {
        let owner = match &kept.order {
            Some(id) => self.memory().order(id)?,
            None => None,
        };
        let Some(owner) = owner else { return Ok(true) };
        if owner.deal.is_some() {
            return self.is_wanted_by_bot(&owner, kept).await;
        }
        if matches!(owner.status, Some(Status::Canceled | Status::Expired)) {
            return Ok(false);
        }
        let job = match self.job_of(&owner).await {
            Ok(job) => job,
            // A relay that does not know the job cannot say that it waits.
            Err(BuyError::Relay { source: CallError::Refused(_), .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some(agreed) = owner.agreed.filter(|_| job.status == Status::Accepted) else {
            return Ok(is_paid_by(&job, kept));
        };
        if job.payment_tx_hash.is_some() {
            return Ok(is_paid_by(&job, kept));
        }
        if judge_moment(&agreed, owner.accepted, self.clock().now()).is_err() {
            return Ok(false);
        }
        match self.ensure_untouched(&agreed).await {
            Ok(()) => Ok(true),
            Err(BuyError::PaidElsewhere { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Receives the largest of what was sent to us, if all of it together is enough.
    async fn receive_one(
        &self,
        chain: &Chain,
        turn: &mut Turn<'_>,
        head: &Head,
        needs: Amount,
        watch: Watch<'_>,
    ) -> Result<(), BuyError> {
        let waiting = self.receivable(chain.account).await?;
        let holds = head.balance.saturating_add(waiting.iter().map(|(_, amount)| *amount).sum());
        let largest = waiting.first().filter(|_| holds >= needs);
        let Some(&(hash, amount)) = largest else {
            // What the node knows may be newer than what we remember.
            **turn = None;
            return Err(BuyError::Underfunded { account: chain.account, holds, needs });
        };
        if chain.receive(head, hash, amount).is_none() {
            return Err(BuyError::Underfunded { account: chain.account, holds, needs });
        }
        self.take(chain, turn, head, (hash, amount), watch).await.map(drop)
    }

    /// Receives one send; none, if that is not possible or another wallet has in the meantime.
    pub(super) async fn take(
        &self,
        chain: &Chain,
        turn: &mut Turn<'_>,
        head: &Head,
        (hash, amount): (BlockHash, Amount),
        watch: Watch<'_>,
    ) -> Result<Option<BlockHash>, BuyError> {
        let Some(fields) = chain.receive(head, hash, amount) else { return Ok(None) };
        watch(&Progress::Receiving { amount });
        let work = self.work(&fields, Subtype::Receive, watch).await?;
        let kept = Kept::new(chain.sign(fields, work), self.clock().now(), amount);
        self.memory().keep(&kept, None, None).await?;
        match self.settle(chain, turn, &kept.block, kept.subtype(), watch).await {
            Ok(_) => Ok(Some(kept.block.0.hash())),
            Err(BuyError::BlockRefused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Publishes a kept block until it is known, or provably never will be.
    pub(super) async fn settle(
        &self,
        chain: &Chain,
        turn: &mut Turn<'_>,
        block: &Signed,
        subtype: Subtype,
        watch: Watch<'_>,
    ) -> Result<Published, BuyError> {
        let hash = block.0.hash();
        let mut tries = self.tries();
        loop {
            let mut wait = None;
            let reason = match self.publish(chain, block, subtype, watch).await {
                Ok(Some(Published::Newest)) => {
                    let fields = &block.0.fields;
                    **turn = Some(Head {
                        previous: hash,
                        balance: fields.balance,
                        representative: fields.representative,
                    });
                    return Ok(Published::Newest);
                }
                Ok(Some(published)) => {
                    **turn = None;
                    return Ok(published);
                }
                Ok(None) => "its place in the chain is contested".to_owned(),
                Err(BuyError::Node { source, .. }) => {
                    wait = source.failure.wait();
                    source.to_string()
                }
                Err(error) => {
                    **turn = None;
                    return Err(error);
                }
            };
            watch(&Progress::Retrying { reason: reason.clone() });
            if !tries.again(wait).await {
                **turn = None;
                return Err(BuyError::Unknown { hash, reason });
            }
        }
    }

    /// Publishes once. `None` if what became of it cannot be said yet.
    async fn publish(
        &self,
        chain: &Chain,
        block: &Signed,
        subtype: Subtype,
        watch: Watch<'_>,
    ) -> Result<Option<Published>, BuyError> {
        let mut block = *block;
        for _ in 0..ANCESTORS_MAX {
            crash_point!("buyer/send/block");
            let processed = self.rpc().process(&block.0, subtype).await;
            crash_point!("buyer/answer/block");
            match processed.map_err(BuyError::node("publish a block"))? {
                Processed::Accepted(_) => return Ok(Some(Published::Newest)),
                Processed::Old => return Ok(Some(Published::Known)),
                Processed::LowWork => {
                    // The same block: its hash does not depend on its work.
                    let work = self.work(&block.0.fields, subtype, watch).await?;
                    block.0.work = work;
                }
                Processed::GapPrevious => {
                    if !self.publish_ancestors(chain, &block).await? {
                        return Ok(None);
                    }
                }
                Processed::GapSource => return Ok(None),
                Processed::Fork | Processed::SubtypeMismatch => {
                    return self.judge_refused(&block, None).await;
                }
                refusal => return self.judge_refused(&block, Some(refusal)).await,
            }
        }
        Ok(None)
    }

    /// What became of a block that a node did not take.
    async fn judge_refused(
        &self,
        block: &Signed,
        refusal: Option<Processed>,
    ) -> Result<Option<Published>, BuyError> {
        match fate::judge(&self.facts(block).await?) {
            Fate::Confirmed | Fate::Published => Ok(Some(Published::Known)),
            Fate::Dead => Ok(Some(Published::Dead)),
            Fate::Absent | Fate::Unclear => match refusal {
                None => Ok(None),
                Some(refusal) => Err(BuyError::BlockRefused {
                    hash: block.0.hash(),
                    reason: match refusal {
                        Processed::Other(text) => text,
                        refusal => format!("{refusal:?}"),
                    },
                }),
            },
        }
    }

    /// Publishes our own blocks before `block` that a node has forgotten, the oldest first. Whether
    /// there was any.
    async fn publish_ancestors(&self, chain: &Chain, block: &Signed) -> Result<bool, BuyError> {
        let mut lost = Vec::new();
        let mut previous = block.0.fields.previous;
        while lost.len() < ANCESTORS_MAX {
            let Some(kept) = self.memory().signed_as(&chain.account, &previous)? else { break };
            if self.known(&previous).await? != fate::Known::No {
                break;
            }
            previous = kept.block.0.fields.previous;
            lost.push(kept);
        }
        for kept in lost.iter().rev() {
            let processed = self.rpc().process(&kept.block.0, kept.subtype()).await;
            processed.map_err(BuyError::node("publish a block"))?;
        }
        Ok(!lost.is_empty())
    }

    /// Gives up a block that provably never will count, if nothing has reached the invoice.
    async fn abandon(&self, order: &mut Order, agreed: &Agreed, block: &Signed) -> Result<(), BuyError> {
        self.ensure_untouched(agreed).await?;
        let hash = block.0.hash();
        order.payment = None;
        order.abandoned.push(hash);
        order.note(
            self.clock().now(),
            format_args!("block {hash} lost its place to another one of the same account"),
        );
        Ok(self.memory().save(order).await?)
    }

    /// Nothing may have come to an invoice for which somebody else may have paid.
    pub(super) async fn ensure_untouched(&self, agreed: &Agreed) -> Result<(), BuyError> {
        let invoice = agreed.invoice;
        let opened = self.ask("look at the invoice", || self.rpc().account_info(&invoice)).await?;
        if opened.is_some() || !self.receivable(invoice).await?.is_empty() {
            return Err(BuyError::PaidElsewhere { invoice });
        }
        Ok(())
    }

    /// Looks whether the job still waits for its payment, if the last look is some time ago.
    async fn look_again(
        &self,
        order: &mut Order,
        agreed: &Agreed,
        looked: &mut Timestamp,
    ) -> Result<(), BuyError> {
        if order.deal.is_some() {
            return self.look_at_charge(order, agreed, looked).await;
        }
        if self.clock().now().since(*looked).as_secs() < STALE_AFTER_SECONDS {
            return Ok(());
        }
        let job = self.job_of(order).await?;
        if matches!(job.status, Status::Canceled | Status::Expired) {
            return Err(self.over(order, &job).await?);
        }
        ensure_accepted(&job)?;
        judge_payment(&job, &self.relay().public_key(), agreed, order.mandate)?;
        *looked = self.clock().now();
        Ok(())
    }

    /// Publishes a payment again that the network has forgotten while the seller waits for it.
    pub(super) async fn nurse(&self, order: &Order) {
        let Some(block) = &order.payment else { return };
        let published = match self.facts(block).await.map(|facts| fate::judge(&facts)) {
            Ok(Fate::Absent) => self.rpc().process(&block.0, Subtype::Send).await.map(drop),
            _ => return,
        };
        tracing::warn!(hash = %block.0.hash(), ok = published.is_ok(), "the payment had vanished and was published again");
    }
}

/// A job that waits for its payment.
pub(super) fn ensure_accepted(job: &Job) -> Result<(), BuyError> {
    match job.status {
        Status::Accepted => Ok(()),
        status => Err(BuyError::NotNow { status, wanted: "only an accepted job is paid" }),
    }
}

fn is_paid_by(job: &Job, kept: &Kept) -> bool {
    let hash = kept.block.0.hash().to_string();
    job.payment_tx_hash.as_ref().is_some_and(|paid| paid.eq_ignore_ascii_case(&hash))
}
