//! The calls about the past and about one's own accounts: history, frontiers, receipts.

use std::collections::BTreeMap;

use serde_json::json;

use super::client::BATCH;
use super::history::{read_exists, read_frontiers, read_history, read_receipts};
use super::{HistoryPage, HistoryQuery, Receipt, Rpc, RpcError};
use crate::{Account, BlockHash};

impl Rpc {
    /// A part of an account's chain, change and epoch blocks included; unconfirmed blocks too.
    ///
    /// # Errors
    /// If no node gives a usable answer.
    pub async fn account_history(&self, query: &HistoryQuery) -> Result<HistoryPage, RpcError> {
        let mut body = json!({
            "action": "account_history",
            "account": query.account,
            "count": query.count.to_string(),
            "raw": "true",
        });
        if query.forward {
            body["reverse"] = json!("true");
        }
        if let Some(head) = query.head {
            body["head"] = json!(head);
        }
        self.ask(&self.request(body), |answer| read_history(query, answer)).await
    }

    /// The newest blocks of these accounts, confirmed or not. An account without one has no entry.
    ///
    /// # Errors
    /// If no node gives a usable answer.
    pub async fn accounts_frontiers(
        &self,
        accounts: &[Account],
    ) -> Result<BTreeMap<Account, BlockHash>, RpcError> {
        let mut frontiers = BTreeMap::new();
        for batch in accounts.chunks(BATCH) {
            let request = self.request(json!({ "action": "accounts_frontiers", "accounts": batch }));
            frontiers.extend(self.ask(&request, read_frontiers).await?);
        }
        Ok(frontiers)
    }

    /// Whether a confirmed send still waits for its receiver; `None` if the node does not know it.
    ///
    /// # Errors
    /// If no node gives a usable answer.
    pub async fn receivable_exists(&self, hash: &BlockHash) -> Result<Option<bool>, RpcError> {
        let request = self.request(json!({
            "action": "receivable_exists",
            "hash": hash,
            "include_only_confirmed": "true",
        }));
        self.ask(&request, read_exists).await
    }

    /// What became of these blocks: whether they wait, and which blocks took them. One that the
    /// node does not know has no entry.
    ///
    /// # Errors
    /// If no node gives a usable answer.
    pub async fn receipts(&self, hashes: &[BlockHash]) -> Result<BTreeMap<BlockHash, Receipt>, RpcError> {
        let mut receipts = BTreeMap::new();
        for batch in hashes.chunks(BATCH) {
            let request = self.request(json!({
                "action": "blocks_info",
                "json_block": "true",
                "include_not_found": "true",
                "receivable": "true",
                "receive_hash": "true",
                "source": "true",
                "hashes": batch,
            }));
            receipts.extend(self.ask(&request, |answer| read_receipts(batch, answer)).await?);
        }
        Ok(receipts)
    }
}
