//! Whether a payment may be sent back: never twice, and never what was not received.

use nano_currency::quorum::Word;
use nano_currency::rpc::Receivable;
use nano_currency::{Amount, BlockHash};

use super::debts::Debt;
use super::journal::{Aside, Does, Fate, OwnBlock, Signed};
use super::line::{Line, Strange};
use super::whose::Own;
use super::{CoinsError, Purse};
use crate::store::Batch;
use crate::worker::memory::{ASIDE, COINS, JOBS, TICKETS};

/// Whether a payment may be sent back by a block that stands on the end of a chain.
pub(super) enum Leave {
    /// It may.
    Given,
    /// Something has come to light that changes what is next.
    Anew,
    /// It may not, and why.
    Denied(String),
}

impl Purse {
    /// Whether a payment may be sent back by a block on `frontier`: only if it was received before, and
    /// no block before has sent it back, ours or one of a life that is not remembered. What is then
    /// built there and any earlier refund that is not before it exclude each other.
    pub(super) async fn leave_to_send_back(
        &self,
        own: &Own,
        frontier: BlockHash,
        of: BlockHash,
    ) -> Result<Leave, CoinsError> {
        let signed = self.signed_of(&own.account)?;
        if signed.iter().any(|block| block.does == Does::Refund && block.of.is_none()) {
            let why = "an earlier version has sent coins of it back, and did not say for what";
            return Ok(Leave::Denied(why.to_owned()));
        }
        let line = match self.line_to(&own.account, frontier).await? {
            Ok(line) => line,
            Err(problem) => return Ok(Leave::Denied(problem)),
        };
        let given_up = signed.iter().filter(|block| block.of == Some(of) && !block.may_be_there());
        if let Some(hash) = given_up.map(OwnBlock::hash).find(|hash| line.has(hash)) {
            return Ok(Leave::Denied(format!("{of} was sent back by {hash} after all")));
        }
        if !line.linked.contains(&of) {
            return Ok(Leave::Denied(format!("its chain has not received {of}")));
        }
        for strange in line.strange_sends() {
            if self.adopt(own, &strange).await? {
                return Ok(Leave::Anew);
            }
            // What came home went back to nobody.
            if Some(strange.to) != self.settings.sweep_to {
                return Ok(Leave::Denied(strange.objection()));
            }
        }
        Ok(Leave::Given)
    }

    /// What this state would object to before it sends anything of an account back.
    pub(super) async fn strange_send_of(&self, own: &Own) -> Result<Option<String>, CoinsError> {
        Ok(match self.line_of(&own.account).await? {
            Ok(line) => line
                .strange_sends()
                .find(|strange| Some(strange.to) != self.settings.sweep_to)
                .map(|strange| strange.objection()),
            Err(problem) => Some(problem),
        })
    }

    /// Why it cannot be told that all which came to an account was earned by its job, which was delivered
    /// by another worker or a life that is forgotten: it is more than the price, so that some of it may be
    /// owed back, or some of it has gone somewhere.
    pub(super) async fn doubt(
        &self,
        own: &Own,
        waiting: &[Receivable],
    ) -> Result<Option<String>, CoinsError> {
        match self.line_of(&own.account).await? {
            Ok(line) => self.doubt_on(own, &line, waiting),
            Err(problem) => Ok(Some(problem)),
        }
    }

    /// The same, by the chain on which it would be sent home.
    pub(super) fn doubt_on(
        &self,
        own: &Own,
        line: &Line,
        waiting: &[Receivable],
    ) -> Result<Option<String>, CoinsError> {
        let record = match own.job {
            Some(job) => JOBS.get(&self.store, &job)?.map(|record| (job, record)),
            None => None,
        };
        let Some((job, price, offer)) =
            record.and_then(|(job, record)| Some((job, record.invoice?.price, record.offer_id)))
        else {
            return Ok(Some("what its job was to cost is not known: sweep with --owed".to_owned()));
        };
        if let Some(strange) = line.strange_sends().find(|strange| Some(strange.to) != self.settings.sweep_to)
        {
            return Ok(Some(strange.objection()));
        }
        let policy = self.policy_of(offer)?;
        // /v0 calls delivered also what ended with an error.
        if policy.owe_failed && TICKETS.contains(&self.store, &job)? {
            let why = "it may have ended with an error, and then all of it is owed back: sweep with --owed";
            return Ok(Some(why.to_owned()));
        }
        let mut came = line.came();
        for send in waiting {
            // What a node does not say may be anything.
            came = came.saturating_add(send.amount.unwrap_or(Amount::MAX));
        }
        // In parts, the last one may have come when less than the price had been enough.
        let is_in_parts = line.receives() + waiting.len() > 1;
        let enough = if is_in_parts { policy.least(price) } else { price };
        let dust = policy.dust_for(price);
        let is_more = came.checked_sub(enough).is_some_and(|more| !more.is_zero() && more >= dust);
        Ok(is_more.then(|| {
            format!(
                "{came} raw came for a job of {price} raw that was delivered by another worker or before the \
                 state was lost, and this state does not know what of the rest went back: \
                 sweep with --owed"
            )
        }))
    }

    /// A send that was signed elsewhere, by a life whose state is lost, and is to the letter what a
    /// payer is owed, is what he was owed.
    async fn adopt(&self, own: &Own, strange: &Strange) -> Result<bool, CoinsError> {
        let sent = self.sent_back(&own.account)?;
        let is_it = |debt: &&Debt| debt.from == Some(strange.to) && debt.left(&sent) == strange.amount;
        let debts = self.debts(own)?;
        let Some(debt) = debts.iter().find(is_it) else { return Ok(false) };
        let hash = strange.block.hash();
        let round = self.jury.blocks(&[hash]).await;
        let word = round.verdict(&hash, self.jury.quorum_for(strange.amount));
        if !matches!(word.agreed(), Some(Word::Sent { confirmed: true, .. })) {
            return Ok(false);
        }
        let block = OwnBlock {
            block: Signed(strange.block),
            does: Does::Refund,
            amount: strange.amount,
            counter: Some(strange.to),
            index: own.index,
            job: own.job,
            at: self.clock.now(),
            of: Some(debt.of),
            fate: Fate::Confirmed,
        };
        tracing::warn!(block = %hash, of = %debt.of, "a refund was recognised that this state had not made");
        {
            let _turn = self.store.writer();
            let mut batch = Batch::default();
            match COINS.contains(&self.store, &block.place())? {
                false => COINS.put(&mut batch, &block.place(), &block)?,
                true => {
                    let why = "recognised: another block was kept for its place".to_owned();
                    let aside = Aside { block, why, at: block.at };
                    ASIDE.put(&mut batch, &(*own.account.as_bytes(), hash), &aside)?;
                }
            }
            self.note_returned(&block, &mut batch)?;
            self.store.commit(batch)?;
        }
        self.store.durable().await?;
        Ok(true)
    }
}
