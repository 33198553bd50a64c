//! The ledger: accounts, blocks, receivables and what is confirmed.
//!
//! Pure: time is an argument, nothing here waits or draws a random number. `process` decides
//! whether a block may be added, `confirm` what is final, `rollback` takes blocks away again.

mod confirm;
mod genesis;
mod process;
mod rollback;

use std::collections::{BTreeMap, HashMap};

use nano_currency::{Account, Amount, BlockHash, Network};

use crate::block::Block;

pub use genesis::{dev_genesis_key, epoch_fields, epoch_link, epoch_of_link};
pub use process::{Refusal, SubtypeRefusal};
pub use rollback::RollbackError;

/// Blocks that wait for a missing predecessor; the node keeps 65,536, a test never needs more
/// than a few.
const UNCHECKED_MAX: usize = 4_096;

/// What a block did to its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Paid somebody.
    Send,
    /// Took a payment; an account's first state block too.
    Receive,
    /// Named a representative, and nothing else.
    Change,
    /// Raised the account's version; signed by the network.
    Epoch,
}

impl Kind {
    /// The value of `subtype`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Change => "change",
            Self::Epoch => "epoch",
        }
    }
}

/// How far an account has been upgraded: 0, 1 or 2; `account_version`.
pub type Epoch = u8;

/// A block and what the ledger knows beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The block itself.
    pub block: Block,
    /// Whose chain it is on.
    pub account: Account,
    /// Its place on the chain, from 1.
    pub height: u64,
    /// The account's balance after it.
    pub balance: Amount,
    /// What moved.
    pub amount: Amount,
    /// What it did.
    pub kind: Kind,
    /// When it arrived here, in Unix seconds.
    pub local_timestamp: u64,
    /// The block after it, if any.
    pub successor: Option<BlockHash>,
    /// The account's epoch after it.
    pub epoch: Epoch,
    /// The representative in force after it.
    pub representative: Account,
    /// For a send: who is paid.
    pub destination: Option<Account>,
    /// For a receive: the send it took.
    pub source: Option<BlockHash>,
    /// For a send: the block that took it.
    pub received_by: Option<BlockHash>,
    /// Whether it is final.
    pub confirmed: bool,
}

/// A payment that nobody has received yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receivable {
    /// How much.
    pub amount: Amount,
    /// Who paid.
    pub source: Account,
    /// The sender's epoch, which the receiver takes over.
    pub epoch: Epoch,
}

/// One account's chain, seen from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountState {
    /// Its newest block.
    pub frontier: BlockHash,
    /// Its first block.
    pub open: BlockHash,
    /// How many blocks are final.
    pub confirmed_height: u64,
}

/// A block that waits for another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unchecked {
    /// The block.
    pub block: Block,
    /// The hash it waits for.
    pub needs: BlockHash,
    /// When it came, in Unix seconds.
    pub local_timestamp: u64,
}

/// The whole state of money on one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    network: Network,
    blocks: HashMap<BlockHash, Stored>,
    accounts: HashMap<Account, AccountState>,
    receivables: BTreeMap<(Account, BlockHash), Receivable>,
    unchecked: BTreeMap<BlockHash, Unchecked>,
    cemented: u64,
}

impl Ledger {
    /// The network whose rules it follows.
    #[must_use]
    pub const fn network(&self) -> Network {
        self.network
    }

    /// The block with this name.
    #[must_use]
    pub fn block(&self, hash: &BlockHash) -> Option<&Stored> {
        self.blocks.get(hash)
    }

    /// The chain of an opened account.
    #[must_use]
    pub fn account(&self, account: &Account) -> Option<&AccountState> {
        self.accounts.get(account)
    }

    /// The newest block of an opened account.
    #[must_use]
    pub fn head(&self, account: &Account) -> Option<&Stored> {
        self.blocks.get(&self.accounts.get(account)?.frontier)
    }

    /// The newest final block of an account.
    #[must_use]
    pub fn confirmed_head(&self, account: &Account) -> Option<&Stored> {
        let mut stored = self.head(account)?;
        while !stored.confirmed {
            stored = self.blocks.get(&stored.block.previous())?;
        }
        Some(stored)
    }

    /// An account's balance; nothing for an unopened one.
    #[must_use]
    pub fn balance(&self, account: &Account) -> Amount {
        self.head(account).map_or(Amount::ZERO, |head| head.balance)
    }

    /// What an account could receive, in the order of hashes.
    pub fn receivables(&self, account: &Account) -> impl Iterator<Item = (&BlockHash, &Receivable)> {
        let last = BlockHash::from_bytes([0xff; 32]);
        self.receivables
            .range((*account, BlockHash::ZERO)..=(*account, last))
            .map(|((_, hash), receivable)| (hash, receivable))
    }

    /// One receivable.
    #[must_use]
    pub fn receivable(&self, account: &Account, hash: &BlockHash) -> Option<&Receivable> {
        self.receivables.get(&(*account, *hash))
    }

    /// Every opened account.
    pub fn accounts(&self) -> impl Iterator<Item = (&Account, &AccountState)> {
        self.accounts.iter()
    }

    /// The balance delegated to a representative.
    #[must_use]
    pub fn weight(&self, representative: &Account) -> Amount {
        self.accounts
            .keys()
            .filter_map(|account| self.head(account))
            .filter(|head| head.representative == *representative)
            .map(|head| head.balance)
            .sum()
    }

    /// Blocks on all chains.
    #[must_use]
    pub fn block_count(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// Blocks that are final.
    #[must_use]
    pub const fn cemented_count(&self) -> u64 {
        self.cemented
    }

    /// Blocks that wait for another one, in the order of hashes.
    pub fn unchecked(&self) -> impl ExactSizeIterator<Item = (&BlockHash, &Unchecked)> {
        self.unchecked.iter()
    }

    /// The block with this name that waits for another one.
    #[must_use]
    pub fn unchecked_block(&self, hash: &BlockHash) -> Option<&Unchecked> {
        self.unchecked.get(hash)
    }

    /// All balances and all receivables: the whole supply, whatever happened.
    #[must_use]
    pub fn total(&self) -> Option<Amount> {
        let balances = self.accounts.keys().map(|account| self.balance(account));
        let receivables = self.receivables.values().map(|receivable| receivable.amount);
        balances.chain(receivables).try_fold(Amount::ZERO, Amount::checked_add)
    }

    /// Keeps a block until its predecessor comes.
    pub fn keep_unchecked(&mut self, block: Block, needs: BlockHash, now_seconds: u64) {
        if self.unchecked.len() < UNCHECKED_MAX {
            self.unchecked.insert(block.hash(), Unchecked { block, needs, local_timestamp: now_seconds });
        }
    }

    /// Takes out the blocks that waited for this one.
    pub fn take_unchecked(&mut self, needs: &BlockHash) -> Vec<Block> {
        let ready: Vec<BlockHash> = self
            .unchecked
            .iter()
            .filter(|(_, waiting)| waiting.needs == *needs)
            .map(|(hash, _)| *hash)
            .collect();
        ready.iter().filter_map(|hash| self.unchecked.remove(hash)).map(|waiting| waiting.block).collect()
    }
}
