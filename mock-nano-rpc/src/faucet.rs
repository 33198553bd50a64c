//! Blocks of the mock's own making: really signed, really worked.

use std::num::NonZeroUsize;
use std::thread;

use nano_currency::block::{StateBlock, StateFields};
use nano_currency::work::{Difficulty, Work};
use nano_currency::{Account, Amount, PrivateKey};

use crate::block::Block;
use crate::ledger::{Epoch, Ledger, dev_genesis_key, epoch_fields};

/// Payments that one call may make: ten thousand for a test of crowding, and room above.
pub const PAYMENTS_MAX: usize = 100_000;

/// Why the faucet pays nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FaucetError {
    /// More was asked for than the genesis account has left.
    #[error("the genesis account holds {left} raw, less than was asked for")]
    Empty {
        /// What it has.
        left: Amount,
    },
    /// A payment of nothing is no payment.
    #[error("an amount to pay is at least 1 raw")]
    Nothing,
    /// A list of payments has an end.
    #[error("one call makes at most {PAYMENTS_MAX} payments")]
    TooMany,
    /// The ledger holds no genesis account.
    #[error("there is no genesis account to pay from")]
    NoGenesis,
}

/// Searches for work on the calling thread: at a development network's thresholds this is
/// quicker than starting another one. Begins at `start` and always finds some.
#[must_use]
pub fn solve(root: &[u8; 32], threshold: Difficulty, start: u64) -> Work {
    let mut nonce = start;
    loop {
        let work = Work::new(nonce);
        if work.difficulty(root) >= threshold {
            return work;
        }
        nonce = nonce.wrapping_add(1);
    }
}

/// The work that a state block needs, whatever it does and whoever's it is.
#[must_use]
pub fn solve_for(ledger: &Ledger, fields: &StateFields) -> Work {
    let thresholds = ledger.network().work();
    solve(fields.work_root(), thresholds.epoch_1.max(thresholds.send), 0)
}

/// Payments of `amount` each from the genesis account, in order.
///
/// # Errors
/// If it cannot make all of them.
pub fn payments(
    ledger: &Ledger,
    account: &Account,
    amount: Amount,
    count: usize,
) -> Result<Vec<Block>, FaucetError> {
    if amount.is_zero() {
        return Err(FaucetError::Nothing);
    }
    if count > PAYMENTS_MAX {
        return Err(FaucetError::TooMany);
    }
    let key = dev_genesis_key();
    let head = ledger.head(&key.account()).ok_or(FaucetError::NoGenesis)?;
    let (mut previous, mut balance) = (head.block.hash(), head.balance);
    let mut unsigned = Vec::with_capacity(count);
    for _ in 0..count {
        balance = balance.checked_sub(amount).ok_or(FaucetError::Empty { left: head.balance })?;
        let fields = StateFields {
            account: head.account,
            previous,
            representative: head.representative,
            balance,
            link: *account.as_bytes(),
        };
        previous = fields.hash();
        unsigned.push(fields);
    }
    Ok(finish(ledger, &key, &unsigned))
}

/// The block that raises an account to `epoch`, signed as the network does it; `None` for an
/// account without a block.
#[must_use]
pub fn upgrade(ledger: &Ledger, account: &Account, epoch: Epoch) -> Option<Block> {
    let fields = epoch_fields(ledger.head(account)?, epoch);
    Some(seal(ledger, &dev_genesis_key(), fields))
}

/// Signs a block and solves its work.
#[must_use]
pub fn seal(ledger: &Ledger, key: &PrivateKey, fields: StateFields) -> Block {
    Block::State(fields.sign(key, solve_for(ledger, &fields)))
}

/// A block's hash covers neither signature nor work, so a whole chain can be laid out first and
/// finished on all cores.
fn finish(ledger: &Ledger, key: &PrivateKey, unsigned: &[StateFields]) -> Vec<Block> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = unsigned.len().div_ceil(cores);
    if cores == 1 || share < 8 {
        return unsigned.iter().map(|fields| seal(ledger, key, *fields)).collect();
    }
    let sealed: Vec<StateBlock> = thread::scope(|scope| {
        let shares: Vec<_> = unsigned
            .chunks(share)
            .map(|chunk| {
                scope.spawn(move || {
                    chunk.iter().map(|fields| fields.sign(key, solve_for(ledger, fields))).collect::<Vec<_>>()
                })
            })
            .collect();
        shares.into_iter().flat_map(|share| share.join().unwrap_or_default()).collect()
    });
    sealed.into_iter().map(Block::State).collect()
}
