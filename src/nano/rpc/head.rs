//! Where an account's next block goes, with the balance that the block before it proves.
//!
//! What a block pays is the difference between its balance and that of the block before it. So a
//! node that understates an account's balance makes its owner sign away the difference: to whoever
//! is paid, or, when something is received, to an address that nobody has. Its word for the balance
//! is therefore not taken: the newest block is fetched, and it is what its hash says.

use std::collections::BTreeSet;

use super::{AccountInfo, Failure, Lookup, Rpc, RpcError};
use crate::block::Block;
use crate::network::Rules;
use crate::proof::{BLOCKS_MAX, Evidence, ProofError, balance_after};
use crate::{Account, Amount, BlockHash};

impl Rpc {
    /// As [`Rpc::account_info`], for whoever is to sign the account's next block. One call more;
    /// several only if the account has had no block since the legacy years. Where one node's blocks
    /// do not bear it out, the next is asked.
    ///
    /// # Errors
    /// If no node gives a usable answer whose balance the blocks prove; the first node's error.
    pub async fn head(&self, account: &Account, rules: &Rules) -> Result<Option<AccountInfo>, RpcError> {
        let mut first = None;
        for node in self.each() {
            match node.head_of_one(account, rules).await {
                Ok(head) => return Ok(head),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| self.unusable(UNPROVEN_BALANCE)))
    }

    async fn head_of_one(&self, account: &Account, rules: &Rules) -> Result<Option<AccountInfo>, RpcError> {
        let Some(info) = self.account_info(account).await? else { return Ok(None) };
        let (proven, representative) = self.after(&info.frontier, account, rules).await?;
        if proven != info.balance {
            return Err(self.unusable(FORGED_BALANCE));
        }
        Ok(Some(AccountInfo { representative: representative.or(info.representative), ..info }))
    }

    /// The balance after a block, and the representative where the block itself names it: to whom
    /// an account lends its vote is its owner's word, too.
    async fn after(
        &self,
        frontier: &BlockHash,
        account: &Account,
        rules: &Rules,
    ) -> Result<(Amount, Option<Account>), RpcError> {
        let mut evidence = Evidence::new();
        // Each round brings a block or is the last, and a walk looks at no more than these.
        for _ in 0..=BLOCKS_MAX {
            match balance_after(*frontier, account, &evidence, rules) {
                Ok(balance) => {
                    let representative = evidence.get(frontier).and_then(|block| match block {
                        Block::State(block) => Some(block.fields.representative),
                        _ => None,
                    });
                    return Ok((balance, representative));
                }
                Err(ProofError::Missing(hashes)) => self.bring(&hashes, &mut evidence).await?,
                Err(_) => return Err(self.unusable(UNPROVEN_BALANCE)),
            }
        }
        Err(self.unusable(UNPROVEN_BALANCE))
    }

    async fn bring(&self, hashes: &BTreeSet<BlockHash>, evidence: &mut Evidence) -> Result<(), RpcError> {
        let hashes: Vec<BlockHash> = hashes.iter().copied().collect();
        let lookups = self.blocks_info(&hashes).await?;
        for info in lookups.values().filter_map(Lookup::found) {
            evidence.add(info.contents);
        }
        let all = hashes.iter().all(|hash| evidence.get(hash).is_some());
        if all { Ok(()) } else { Err(self.unusable(UNPROVEN_BALANCE)) }
    }

    fn unusable(&self, what: &'static str) -> RpcError {
        let node = self.nodes().next().map(|node| node.name().to_owned()).unwrap_or_default();
        RpcError { node, failure: Failure::Malformed(what) }
    }
}

/// What is wrong when the newest block has another balance than the node says.
const FORGED_BALANCE: &str = "balance: the account's newest block has another one";

/// What is wrong when nobody brings the blocks that the balance follows from.
const UNPROVEN_BALANCE: &str = "balance that the account's blocks prove";
