//! The seed's addresses: which are used, which is next, which is ours.

use std::collections::HashMap;

use nano_currency::Account;

use super::accounts::Accounts;
use super::look::{self, Looked};
use super::memory::{self, INVOICES, IssuedInvoice, fact};
use crate::points::crash_point;
use crate::protocol::JobId;
use crate::store::{Batch, Store, StoreError};

/// How far beyond the last known index an address on the relay is looked for: further than one
/// seller's lost state or a second worker on the same seed can be ahead.
const GAP: u32 = 1_000;

/// Accounts kept in memory: the gap on both sides, and as much again between two clearings.
const AHEAD_MAX: usize = 4 * GAP as usize;

/// Hands out indices, each once.
///
/// The next index lives in memory while the one loop that owns this writes it to the store with
/// the stage that uses it; nothing leaves the process before that is durable.
#[derive(Debug)]
pub struct Wallet {
    accounts: Accounts,
    next: u32,
    /// Accounts derived ahead, to recognise addresses that this state does not know, and those that
    /// were handed out and may not be in the store yet.
    ahead: HashMap<Account, Ahead>,
    scanned: u32,
    /// Whether indices may have been used that this state does not know of.
    unsure: bool,
}

/// An account that the store does not know, or not yet.
#[derive(Debug, Clone, Copy)]
struct Ahead {
    index: u32,
    /// The job it was handed out for or first seen on. The store says so too, but only after the
    /// commit, and one commit may hear of many jobs.
    job: Option<JobId>,
}

/// Why the wallet cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state belongs to another seed.
    #[error(
        "the state directory belongs to another seed: its first account is {found}, this seed's is {ours}"
    )]
    WrongSeed {
        /// The account that the state knows.
        found: String,
        /// The account of this seed.
        ours: Account,
    },
    /// The seed has no such account.
    #[error(transparent)]
    Seed(#[from] nano_currency::seed::SeedError),
    /// All indices are consumed.
    #[error("the seed's indices are used up")]
    Exhausted,
}

impl Wallet {
    /// Opens the wallet of a state directory; the first time it notes whose seed it is.
    ///
    /// # Errors
    /// If the state is another seed's, or the store fails.
    pub fn open(store: &Store, accounts: impl Into<Accounts>, index_start: u32) -> Result<Self, WalletError> {
        let accounts = accounts.into();
        let ours = accounts.get(0)?;
        match memory::fact(store, fact::WALLET)? {
            Some(found) if found != ours.to_string() => return Err(WalletError::WrongSeed { found, ours }),
            Some(_) => {}
            None => {
                let mut batch = Batch::default();
                memory::put_fact(&mut batch, fact::WALLET, &ours.to_string())?;
                store.commit(batch)?;
            }
        }
        let next = memory::next_index(store)?.map_or(index_start, |next| next.max(index_start));
        Ok(Self { accounts, next, ahead: HashMap::new(), scanned: next, unsure: false })
    }

    /// From here on no index is consumed before relay and chain were looked at, unless they were.
    ///
    /// # Errors
    /// If the store fails.
    pub fn look_first(&mut self, store: &Store) -> Result<bool, StoreError> {
        self.unsure = look::is_due(store)?;
        Ok(self.unsure)
    }

    /// Whoever kept other workers of this seed from our indices has forgotten them: relay and chain
    /// are looked at again before another one is consumed.
    ///
    /// # Errors
    /// If a fact is too large, which an index never is.
    pub fn doubt(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        memory::forget_fact(batch, fact::LOOKED);
        // The look must not take this for a first life, in which nothing can have been given away.
        memory::put_fact(batch, fact::NEXT_INDEX, &self.next.to_string())?;
        self.unsure = true;
        Ok(())
    }

    /// Whether no index may be consumed yet.
    #[must_use]
    pub const fn is_unsure(&self) -> bool {
        self.unsure
    }

    /// Notes addresses that were used before, and with the last of them that all are known.
    ///
    /// # Errors
    /// If the store fails.
    pub fn note_looked(
        &mut self,
        store: &Store,
        batch: &mut Batch,
        looked: &Looked,
    ) -> Result<(), WalletError> {
        for seen in &looked.seen {
            let key = memory::account_key(&seen.account);
            if !INVOICES.contains(store, &key)? {
                INVOICES.put(batch, &key, &IssuedInvoice { index: seen.index, job_id: seen.job })?;
            }
        }
        let Some(next) = looked.next else { return Ok(()) };
        if next > self.next {
            memory::put_fact(batch, fact::NEXT_INDEX, &next.to_string())?;
            self.next = next;
            self.scanned = next;
            self.ahead.clear();
        }
        memory::put_fact(batch, fact::LOOKED, "yes")?;
        self.unsure = false;
        Ok(())
    }

    /// The next index that was never consumed.
    #[must_use]
    pub const fn next_index(&self) -> u32 {
        self.next
    }

    /// Consumes an index for a job, with a batch.
    ///
    /// # Errors
    /// If the indices are used up.
    pub fn take(&mut self, batch: &mut Batch, job: JobId) -> Result<(u32, Account), WalletError> {
        let index = self.next;
        let account = self.accounts.get(index)?;
        self.advance(batch, index)?;
        INVOICES.put(batch, &memory::account_key(&account), &IssuedInvoice { index, job_id: Some(job) })?;
        self.ahead.insert(account, Ahead { index, job: Some(job) });
        if self.ahead.len() > AHEAD_MAX {
            self.forget_old();
        }
        Ok((index, account))
    }

    /// The index of an account that the relay shows on a job, if it is on our seed and is no other
    /// job's: a relay must not be able to have one job paid by the money for another. One that this
    /// state did not know (it was lost, or another worker shares the seed) is never handed out again.
    ///
    /// # Errors
    /// If the store fails.
    pub fn recognise(
        &mut self,
        store: &Store,
        batch: &mut Batch,
        account: &Account,
        job: JobId,
    ) -> Result<Option<u32>, WalletError> {
        if let Some(issued) = INVOICES.get(store, &memory::account_key(account))? {
            return Ok((issued.job_id == Some(job)).then_some(issued.index));
        }
        self.scan_ahead(account)?;
        let Some(ahead) = self.ahead.get_mut(account) else { return Ok(None) };
        let index = ahead.index;
        if *ahead.job.get_or_insert(job) != job {
            return Ok(None);
        }
        if index >= self.next {
            self.advance(batch, index)?;
        }
        INVOICES.put(batch, &memory::account_key(account), &IssuedInvoice { index, job_id: Some(job) })?;
        crash_point!("worker/index/recognised");
        Ok(Some(index))
    }

    fn advance(&mut self, batch: &mut Batch, used: u32) -> Result<(), WalletError> {
        let next = used.checked_add(1).ok_or(WalletError::Exhausted)?;
        memory::put_fact(batch, fact::NEXT_INDEX, &next.to_string())?;
        self.next = next;
        Ok(())
    }

    /// Derives accounts beyond the next index, each once, until `wanted` is there or [`GAP`] of them.
    fn scan_ahead(&mut self, wanted: &Account) -> Result<(), WalletError> {
        let end = self.next.saturating_add(GAP);
        while self.scanned < end && !self.ahead.contains_key(wanted) {
            let ahead = Ahead { index: self.scanned, job: None };
            self.ahead.entry(self.accounts.get(self.scanned)?).or_insert(ahead);
            self.scanned += 1;
        }
        self.forget_old();
        Ok(())
    }

    /// What lies this far back was recognised long ago or never will be.
    fn forget_old(&mut self) {
        let oldest = self.next.saturating_sub(GAP);
        self.ahead.retain(|_, ahead| ahead.index >= oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Disk;

    fn job(number: u8) -> JobId {
        JobId::from_random([number; 16])
    }

    #[test]
    fn an_address_handed_out_in_a_commit_is_no_other_jobs_in_the_same_commit() {
        let store = memory::open_in_memory(&Disk::default()).unwrap();
        let seed = nano_currency::Seed::parse(&"5e".repeat(32)).unwrap();
        let mut wallet = Wallet::open(&store, seed, 0).unwrap();
        let mut batch = Batch::default();
        let (index, account) = wallet.take(&mut batch, job(1)).unwrap();
        assert_eq!(wallet.recognise(&store, &mut batch, &account, job(2)).unwrap(), None);
        assert_eq!(wallet.recognise(&store, &mut batch, &account, job(1)).unwrap(), Some(index));
        store.commit(batch).unwrap();
        let mut batch = Batch::default();
        assert_eq!(wallet.recognise(&store, &mut batch, &account, job(2)).unwrap(), None);
        assert_eq!(wallet.take(&mut batch, job(2)).unwrap().0, index + 1);
    }
}
