//! What there is, and what there was.

use std::collections::BTreeMap;

use nano_currency::Amount;
use serde_json::{Value, json};

use super::round::row;
use super::{CoinsError, Purse};
use crate::worker::memory::{ASIDE, COINS, JOBS};
use crate::worker::report;

impl Purse {
    /// What is on the invoices, and for whom it is.
    pub(super) async fn balance(&self) -> Result<Value, CoinsError> {
        let mut list = Vec::new();
        let (mut received, mut receivable) = (Amount::ZERO, Amount::ZERO);
        let mut laden = self.laden().await?;
        let unproven = self.notice(&mut laden).await?;
        for (own, holds, waiting) in laden {
            if let Some(problem) = self.look_at_refunds(&own).await? {
                tracing::warn!(account = %own.account, problem, "refunds were not looked at");
            }
            let waits: Amount = waiting.iter().filter_map(|send| send.amount).sum();
            received = received.saturating_add(holds);
            receivable = receivable.saturating_add(waits);
            let owed: Amount = self.debts(&own)?.iter().map(|debt| debt.due).sum();
            list.push(json!({
                "index": own.index,
                "account": own.account,
                "job_id": own.job,
                "received_raw": holds,
                "receivable_raw": waits,
                "owed_back_raw": owed,
                "whose": own.claim.name(),
            }));
        }
        let mut debts = Vec::new();
        let mut owed = Amount::ZERO;
        for (job, pieces) in self.all_debts()? {
            for (hash, piece) in pieces {
                owed = owed.saturating_add(piece.due());
                debts.push(report::debt(job, hash, &piece));
            }
        }
        let unproven: Vec<Value> =
            unproven.iter().map(|(own, why)| json!({ "account": own.account, "why": why })).collect();
        let all = received.saturating_add(receivable);
        Ok(json!({
            "accounts": list,
            "received_raw": received,
            "receivable_raw": receivable,
            "owed_back_raw": owed,
            "owed_back": debts,
            "unproven": unproven,
            "total_raw": all,
            "total_xno": all.to_xno(),
        }))
    }

    /// Every block that was signed here, oldest first.
    pub(super) fn history(&self) -> Result<Value, CoinsError> {
        let mut blocks = Vec::new();
        for entry in COINS.all(&self.store) {
            blocks.push(entry?.1);
        }
        let mut given_up = BTreeMap::new();
        for entry in ASIDE.all(&self.store) {
            let (_, aside) = entry?;
            given_up.insert(aside.block.hash(), aside.why);
            blocks.push(aside.block);
        }
        blocks.sort_by_key(|kept| (kept.at, kept.index));
        blocks.dedup_by_key(|kept| kept.hash());
        let mut rows = Vec::new();
        for kept in blocks {
            let mut row = row(&kept);
            row["given_up"] = json!(given_up.get(&kept.hash()));
            if let Some(job) = kept.job
                && let Some(record) = JOBS.get(&self.store, &job)?
            {
                row["buyer"] = json!(record.buyer_pubkey);
            }
            rows.push(row);
        }
        Ok(json!({ "blocks": rows }))
    }
}
