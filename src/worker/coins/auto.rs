//! Refunds without anybody's doing: only where the seller wants them, and never more than he said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nano_currency::{Amount, BlockHash};
use serde_json::{Value, json};

use super::debts::Debt;
use super::desk::Tell;
use super::journal::Does;
use super::whose::{self, Own};
use super::{CoinsError, Purse};
use crate::protocol::Timestamp;
use crate::worker::memory::{self, ASIDE, CLAIMS, COINS, fact};

/// The span that the largest sum is for.
const DAY: Duration = Duration::from_secs(86_400);

impl Purse {
    /// Sends back what is owed, each to whom it came from, within what the seller allows. What is
    /// beyond that stays owed, and is for a person.
    ///
    /// # Errors
    /// As [`Purse::run`].
    pub async fn refund_owed(&self, tell: Tell<'_>) -> Result<Value, CoinsError> {
        let _turn = self.turn.lock().await;
        whose::ensure_looked(&self.store)?;
        let all = self.all_debts()?;
        if all.is_empty() {
            return Ok(json!({ "refunded_raw": Amount::ZERO, "left": [], "problems": [] }));
        }
        if self.is_new_from_backup()? {
            let why = "the state was restored less than a day ago: what it sent since its backup is unknown";
            return Ok(json!({ "refunded_raw": Amount::ZERO, "left": [{ "why": why }], "problems": [] }));
        }
        if let Some(why) = self.jury.closed().await {
            return Err(CoinsError::Gate(why));
        }
        let mut allowed = self.allowed_today()?;
        let (mut sent, mut left, mut problems) = (Amount::ZERO, Vec::new(), Vec::new());
        let places = all.into_iter().flat_map(|(job, pieces)| {
            pieces.into_iter().map(move |(_, piece)| (job, piece.account, piece.index))
        });
        for (job, account, index) in places.collect::<BTreeSet<_>>() {
            let (_, claim) = whose::claim(&self.store, Some(job), &account)?;
            let own = Own { account, index, job: Some(job), claim };
            if !own.claim.is_settled() {
                continue;
            }
            if let Some(problem) = self.look_at_refunds(&own).await? {
                problems.push(json!({ "job_id": job, "why": problem }));
                continue;
            }
            let mut debts = Vec::new();
            let signed = self.sent_back(&own.account)?;
            let is_lost = whose::has_vanished(&self.store, job)?;
            for debt in self.debts(&own)? {
                if is_lost && CLAIMS.get(&self.store, &debt.of)? != Some(job) {
                    let why = "the relay has lost its job, and another worker of the seed may have done it";
                    left.push(json!({ "job_id": job, "block": debt.of, "why": why }));
                    continue;
                }
                match self.objection(&debt, &signed, &mut allowed) {
                    None => debts.push(debt),
                    Some(why) => left.push(json!({ "job_id": job, "block": debt.of, "why": why })),
                }
            }
            if debts.is_empty() {
                continue;
            }
            let waiting = self.waiting_for(&[own.account]).await?.remove(&own.account).unwrap_or_default();
            let report = self.send_back((own, debts, waiting), None, false, tell).await?.to_json(false);
            let refunded = report["refunded_raw"].as_str().and_then(|raw| Amount::parse_raw(raw).ok());
            sent = sent.saturating_add(refunded.unwrap_or(Amount::ZERO));
            for problem in report["problems"].as_array().into_iter().flatten() {
                problems.push(json!({ "job_id": job, "why": problem["why"] }));
            }
        }
        Ok(json!({ "refunded_raw": sent, "left": left, "problems": problems }))
    }

    /// Why a debt is left to a person; else it is taken from what is allowed.
    fn objection(
        &self,
        debt: &Debt,
        signed: &BTreeMap<BlockHash, Amount>,
        allowed: &mut Amount,
    ) -> Option<&'static str> {
        let amount = debt.left(signed);
        // It is signed already, and counted.
        if amount.is_zero() {
            return None;
        }
        if amount > self.settings.refunds.each_max {
            return Some("it is more than auto_refund_max_xno");
        }
        let Some(to) = debt.from else { return Some("nobody knows who sent it") };
        if self.elsewhere.ensure(&self.store, &self.accounts, to).is_err() {
            return Some("it came from an invoice account of this very seed");
        }
        let Some(rest) = allowed.checked_sub(amount) else {
            return Some("auto_refund_day_xno is used up");
        };
        *allowed = rest;
        None
    }

    /// Whether the day for which the largest sum holds began in a life that is not remembered.
    fn is_new_from_backup(&self) -> Result<bool, CoinsError> {
        let Some(note) = memory::fact(&self.store, fact::RESTORED)? else { return Ok(false) };
        let note: Value = serde_json::from_str(&note).unwrap_or_default();
        let at = note["at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        Ok(at.is_none_or(|at| self.clock.now().since(at) < DAY))
    }

    /// What the refunds of the last day, whoever asked for them, leave of a day's sum.
    fn allowed_today(&self) -> Result<Amount, CoinsError> {
        let (now, mut sent) = (self.clock.now(), Amount::ZERO);
        let given_up = ASIDE.all(&self.store).map(|entry| Ok::<_, CoinsError>(entry?.1.block));
        let kept = COINS.all(&self.store).map(|entry| Ok(entry?.1));
        for block in kept.chain(given_up) {
            let block = block?;
            if block.may_be_there() && block.does == Does::Refund && now.since(block.at) < DAY {
                sent = sent.saturating_add(block.amount);
            }
        }
        Ok(self.settings.refunds.day_max.checked_sub(sent).unwrap_or(Amount::ZERO))
    }
}
