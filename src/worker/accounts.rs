//! The seed's accounts, each derived once.
//!
//! One derivation takes some twenty microseconds, and the wallet, the look before the first quote and
//! the purse ask for the same thousands of accounts, one after the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use nano_currency::seed::{PrivateKey, SeedError};
use nano_currency::{Account, Seed};

/// Accounts kept at most, 40 bytes each: what is looked at from one index on, several times over.
const KEPT_MAX: usize = 8_192;

/// A seed, and the accounts that were derived from it lately. Clones share what they have derived.
#[derive(Clone)]
pub struct Accounts {
    seed: Seed,
    derived: Arc<Mutex<HashMap<u32, Account>>>,
}

impl Accounts {
    /// The account of key number `index`.
    ///
    /// # Errors
    /// As [`Seed::account`].
    pub fn get(&self, index: u32) -> Result<Account, SeedError> {
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = derived.get(&index) {
            return Ok(*account);
        }
        let account = self.seed.account(index)?;
        if derived.len() >= KEPT_MAX {
            derived.clear();
        }
        derived.insert(index, account);
        Ok(account)
    }

    /// The private key number `index`; keys are not kept.
    ///
    /// # Errors
    /// As [`Seed::key`].
    pub fn key(&self, index: u32) -> Result<PrivateKey, SeedError> {
        self.seed.key(index)
    }
}

impl From<Seed> for Accounts {
    fn from(seed: Seed) -> Self {
        Self { seed, derived: Arc::default() }
    }
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.seed.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_is_derived_and_no_more_than_so_much() {
        let seed = Seed::Hex([3; 32]);
        let accounts = Accounts::from(seed.clone());
        for index in [0, 7, 0, u32::MAX, 7] {
            assert_eq!(accounts.get(index).unwrap(), seed.account(index).unwrap());
        }
        let kept = |accounts: &Accounts| accounts.derived.lock().unwrap().len();
        assert_eq!(kept(&accounts), 3);
        let beside = accounts.clone();
        let zero = Account::from_bytes([0; 32]);
        let full = (100_u32..).take(KEPT_MAX).map(|index| (index, zero));
        accounts.derived.lock().unwrap().extend(full.skip(3));
        assert_eq!(kept(&accounts), KEPT_MAX);
        assert_eq!(beside.get(1).unwrap(), seed.account(1).unwrap());
        assert_eq!(kept(&accounts), 1);
        assert_eq!(format!("{accounts:?}"), "Seed::Hex(..)");
    }
}
