//! Refunds without anybody's doing: only where the seller wants them, and never more than he said.

use std::collections::BTreeSet;
use std::time::Duration;

use nano_currency::{Amount, BlockHash};
use serde_json::{Value, json};

use super::debts::Debt;
use super::desk::Tell;
use super::journal::{Does, Fate, OwnBlock};
use super::whose::{self, Claim, Own};
use super::{CoinsError, Purse};
use crate::worker::memory::COINS;

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
        if let Some(why) = self.jury.closed().await {
            return Err(CoinsError::Gate(why));
        }
        let mut allowed = self.allowed_today()?;
        let (mut sent, mut left, mut problems) = (Amount::ZERO, Vec::new(), Vec::new());
        for (job, pieces) in all {
            let Some((_, piece)) = pieces.first() else { continue };
            let own = Own {
                account: piece.account,
                index: piece.index,
                job: Some(job),
                claim: whose::claim(&self.store, Some(job))?,
            };
            if own.claim == Claim::Open {
                continue;
            }
            if let Some(problem) = self.look_at_refunds(&own).await? {
                problems.push(json!({ "job_id": job, "why": problem }));
                continue;
            }
            let mut debts = Vec::new();
            let live = self.live_of(&own)?;
            for debt in self.debts(&own)? {
                match self.objection(&debt, &live, &mut allowed) {
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
        live: &BTreeSet<BlockHash>,
        allowed: &mut Amount,
    ) -> Option<&'static str> {
        // It is signed already, and counted.
        if live.contains(&debt.of) {
            return None;
        }
        if debt.amount > self.settings.refunds.each_max {
            return Some("it is more than auto_refund_max_xno");
        }
        let Some(to) = debt.from else { return Some("nobody knows who sent it") };
        if self.elsewhere.ensure(&self.store, &self.seed, to).is_err() {
            return Some("it came from an invoice account of this very seed");
        }
        let Some(rest) = allowed.checked_sub(debt.amount) else {
            return Some("auto_refund_day_xno is used up");
        };
        *allowed = rest;
        None
    }

    /// The payments of an account for which a refund is signed that may be on the ledger.
    fn live_of(&self, own: &Own) -> Result<BTreeSet<BlockHash>, CoinsError> {
        let signed = self.signed_of(&own.account)?;
        Ok(signed.iter().filter(|block| is_live(block)).filter_map(|block| block.of).collect())
    }

    /// What the refunds of the last day, whoever asked for them, leave of a day's sum.
    fn allowed_today(&self) -> Result<Amount, CoinsError> {
        let (now, mut sent) = (self.clock.now(), Amount::ZERO);
        for entry in COINS.all(&self.store) {
            let (_, kept) = entry?;
            if kept.does == Does::Refund && is_live(&kept) && now.since(kept.at) < DAY {
                sent = sent.saturating_add(kept.amount);
            }
        }
        Ok(self.settings.refunds.day_max.checked_sub(sent).unwrap_or(Amount::ZERO))
    }
}

const fn is_live(block: &OwnBlock) -> bool {
    !matches!(block.fate, Fate::Displaced(_))
}
