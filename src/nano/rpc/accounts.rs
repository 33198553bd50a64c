//! What a node says about accounts.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Failure;
use super::answer::{absent, entries, optional, required};
use crate::draft::AccountState;
use crate::{Account, Amount, BlockHash};

/// What an account holds, as far as the network has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// What it holds.
    pub balance: Amount,
    /// What was sent to it and not yet received.
    pub receivable: Amount,
}

/// The head of an account's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountInfo {
    /// Its newest block, confirmed or not: the `previous` of its next one.
    pub frontier: BlockHash,
    /// Its balance after that block.
    pub balance: Amount,
    /// How many blocks it has.
    pub block_count: u64,
    /// Who votes for it.
    pub representative: Option<Account>,
    /// Its newest confirmed block, if any is.
    pub confirmed_frontier: Option<BlockHash>,
    /// How many of its blocks are confirmed.
    pub confirmed_height: Option<u64>,
    /// Its balance after the newest confirmed block.
    pub confirmed_balance: Option<Amount>,
}

impl AccountInfo {
    /// What its next block depends on; `representative` if the node names none.
    #[must_use]
    pub fn state(&self, account: Account, representative: Account) -> AccountState {
        AccountState {
            account,
            frontier: self.frontier,
            balance: self.balance,
            representative: self.representative.unwrap_or(representative),
        }
    }
}

/// Reads the balances of those accounts that the node mentions.
pub(super) fn read_balances(answer: Result<Value, Failure>) -> Result<BTreeMap<Account, Balance>, Failure> {
    let answer = answer?;
    let read = |(key, value): (&str, &Value)| {
        let receivable = optional(value, "receivable").or_else(|| optional(value, "pending"))?;
        Some((Account::parse(key).ok()?, Balance { balance: optional(value, "balance")?, receivable }))
    };
    Ok(entries(&answer, "balances")?.into_iter().filter_map(read).collect())
}

/// Reads an account's head; `None` if it has no block yet.
pub(super) fn read_account_info(answer: Result<Value, Failure>) -> Result<Option<AccountInfo>, Failure> {
    let Some(answer) = absent(answer, "Account not found")? else { return Ok(None) };
    // Without `include_confirmed`, and on older nodes, two of these have a longer name.
    let frontier_known =
        optional(&answer, "confirmed_frontier").or_else(|| optional(&answer, "confirmation_height_frontier"));
    let height_known =
        optional(&answer, "confirmed_height").or_else(|| optional(&answer, "confirmation_height"));
    Ok(Some(AccountInfo {
        frontier: required(&answer, "frontier")?,
        balance: required(&answer, "balance")?,
        block_count: required(&answer, "block_count")?,
        representative: optional(&answer, "representative"),
        confirmed_frontier: frontier_known.filter(|hash| *hash != BlockHash::ZERO),
        confirmed_height: height_known,
        confirmed_balance: optional(&answer, "confirmed_balance"),
    }))
}
