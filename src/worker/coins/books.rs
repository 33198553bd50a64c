//! What there is, and what there was.

use nano_currency::Amount;
use serde_json::{Value, json};

use super::round::row;
use super::whose::Claim;
use super::{CoinsError, Purse};
use crate::worker::memory::{COINS, JOBS};

impl Purse {
    /// What is on the invoices, and for whom it is.
    pub(super) async fn balance(&self) -> Result<Value, CoinsError> {
        let mut list = Vec::new();
        let (mut received, mut receivable, mut owed) = (Amount::ZERO, Amount::ZERO, Amount::ZERO);
        for (own, holds, waiting) in self.laden().await? {
            let waits: Amount = waiting.iter().filter_map(|send| send.amount).sum();
            received = received.saturating_add(holds);
            receivable = receivable.saturating_add(waits);
            if own.claim == Claim::Buyers {
                owed = owed.saturating_add(holds).saturating_add(waits);
            }
            list.push(json!({
                "index": own.index,
                "account": own.account,
                "job_id": own.job,
                "received_raw": holds,
                "receivable_raw": waits,
                "whose": own.claim.name(),
            }));
        }
        let all = received.saturating_add(receivable);
        Ok(json!({
            "accounts": list,
            "received_raw": received,
            "receivable_raw": receivable,
            "owed_back_raw": owed,
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
        blocks.sort_by_key(|kept| (kept.at, kept.index));
        let mut rows = Vec::new();
        for kept in blocks {
            let mut row = row(&kept);
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
