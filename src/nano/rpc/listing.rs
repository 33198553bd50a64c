//! All that waits for many accounts, in as many calls as that takes, and whether it is all.

use std::collections::BTreeMap;

use super::client::BATCH;
use super::{Failure, Receivable, Receivables, Rpc, RpcError};
use crate::{Account, Amount, BlockHash};

/// When a list is too long to be read or was cut, only sends of at least this much are asked for,
/// less and less, in powers of ten of raw: from a million XNO down to one raw.
const THRESHOLD_EXPONENTS: [u32; 13] = [36, 33, 30, 27, 24, 21, 18, 15, 12, 9, 6, 3, 0];

/// From this length on a list is compared with the account's total: a proxy may have cut it. An
/// invoice is paid in one or two sends, so ten are either dust or worth another call.
const CROWD: usize = 10;

impl Rpc {
    /// All confirmed sends that wait for these accounts, however many accounts and sends they are.
    ///
    /// Asks in batches and smaller batches. If the list of a single account is still too large,
    /// its largest sends are returned and marked as incomplete. A list that is long, and less
    /// than what the node says waits in total, was cut on its way: a proxy puts a `count` where
    /// there is none, and a count keeps the lowest hashes, so dust would hide a payment. The
    /// largest sends are added to it, and it is incomplete unless they make up the total.
    ///
    /// # Errors
    /// If no node gives a usable answer.
    pub async fn receivable_of(
        &self,
        accounts: &[Account],
    ) -> Result<BTreeMap<Account, Receivables>, RpcError> {
        let mut found = BTreeMap::new();
        let mut batches: Vec<&[Account]> = accounts.chunks(BATCH).collect();
        while let Some(batch) = batches.pop() {
            match (self.accounts_receivable(batch, None).await, batch) {
                (Ok(part), _) => found.extend(
                    part.into_iter()
                        .map(|(account, blocks)| (account, Receivables { blocks, complete: true })),
                ),
                (Err(RpcError { failure: Failure::TooLarge { .. }, .. }), &[account]) => {
                    let mut list = Receivables { blocks: Vec::new(), complete: false };
                    self.add_largest(account, &mut list, Amount::MAX).await?;
                    found.insert(account, list);
                }
                (Err(RpcError { failure: Failure::TooLarge { .. }, .. }), _) => {
                    batches.extend(<[_; 2]>::from(batch.split_at(batch.len() / 2)));
                }
                (Err(error), _) => return Err(error),
            }
        }
        self.mend(&mut found).await?;
        Ok(found)
    }

    /// Compares long lists with the accounts' totals, and adds what is missing.
    async fn mend(&self, found: &mut BTreeMap<Account, Receivables>) -> Result<(), RpcError> {
        let crowded = |list: &Receivables| list.complete && list.blocks.len() >= CROWD;
        let accounts: Vec<Account> =
            found.iter().filter(|(_, list)| crowded(list)).map(|(account, _)| *account).collect();
        if accounts.is_empty() {
            return Ok(());
        }
        // A proxy that does not allow this call leaves the question open, which is not an error.
        let totals = self.accounts_balances(&accounts).await.unwrap_or_default();
        for account in accounts {
            let Some(list) = found.get_mut(&account) else { continue };
            let total = totals.get(&account).map(|balance| balance.receivable);
            if total.is_none_or(|total| list.total() < total) {
                self.add_largest(account, list, total.unwrap_or(Amount::MAX)).await?;
                list.complete = total.is_some_and(|total| list.total() >= total);
            }
        }
        Ok(())
    }

    /// Adds the largest sends, and smaller ones as long as an answer holds them and `total` is not
    /// reached.
    async fn add_largest(
        &self,
        account: Account,
        list: &mut Receivables,
        total: Amount,
    ) -> Result<(), RpcError> {
        let mut blocks: BTreeMap<BlockHash, Receivable> =
            list.blocks.drain(..).map(|block| (block.hash, block)).collect();
        for exponent in THRESHOLD_EXPONENTS {
            let threshold = Amount::from_raw(10u128.pow(exponent));
            match self.accounts_receivable(&[account], Some(threshold)).await {
                Ok(lists) => blocks.extend(lists.into_values().flatten().map(|block| (block.hash, block))),
                Err(RpcError { failure: Failure::TooLarge { .. }, .. }) => break,
                Err(error) => return Err(error),
            }
            if blocks.values().filter_map(|block| block.amount).sum::<Amount>() >= total {
                break;
            }
        }
        list.blocks = blocks.into_values().collect();
        Ok(())
    }
}
