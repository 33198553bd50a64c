//! Blocks of one's own, before they are signed: taking what was sent, paying, sweeping.
//!
//! A block's hash covers neither its signature nor its work, so a whole chain of blocks can be
//! laid out, journaled and checked before the first one is signed. All arithmetic is checked: what
//! does not add up is an error, never a block.

use std::collections::BTreeSet;

use crate::block::{StateBlock, StateFields, Subtype};
use crate::network::WorkThresholds;
use crate::rpc::Receivable;
use crate::work::{Difficulty, Work};
use crate::{Account, Amount, BlockHash, PrivateKey};

/// The head of an account's chain: all that its next block depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountState {
    /// Whose.
    pub account: Account,
    /// Its newest block; [`BlockHash::ZERO`] while it has none.
    pub frontier: BlockHash,
    /// What it holds after that block.
    pub balance: Amount,
    /// Who votes for it.
    pub representative: Account,
}

/// A block that only lacks its signature and its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsigned {
    /// What it says.
    pub fields: StateFields,
    /// What it does, as `process` wants it named.
    pub subtype: Subtype,
    /// How much it moves.
    pub amount: Amount,
}

/// Why a block cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// The account has less.
    #[error("the account holds {have} raw, and {asked} raw are to be sent")]
    NotEnough {
        /// What it has.
        have: Amount,
        /// What was asked for.
        asked: Amount,
    },
    /// A send or a receive of nothing.
    #[error("a block that moves money moves at least 1 raw")]
    Nothing,
    /// More than there can be.
    #[error("the balance would be more than 2^128-1 raw")]
    TooMuch,
    /// An account's first block can only receive.
    #[error("an account without a block can only receive")]
    Unopened,
    /// A receive of no block.
    #[error("a receive names the send that it takes")]
    NoSource,
    /// A sweep that would end where it began.
    #[error("the account is to be swept to itself")]
    ToItself,
}

impl AccountState {
    /// An account that has no block yet.
    #[must_use]
    pub const fn unopened(account: Account, representative: Account) -> Self {
        Self { account, frontier: BlockHash::ZERO, balance: Amount::ZERO, representative }
    }

    /// Whether it has a block.
    #[must_use]
    pub fn is_opened(&self) -> bool {
        self.frontier != BlockHash::ZERO
    }

    /// Takes what was sent by the block `send`; opens the account, if that is still to be done.
    ///
    /// # Errors
    /// If the amount is nothing, or too much to be true.
    pub fn receive(&self, send: BlockHash, amount: Amount) -> Result<Unsigned, DraftError> {
        if amount.is_zero() {
            return Err(DraftError::Nothing);
        }
        if send == BlockHash::ZERO {
            return Err(DraftError::NoSource);
        }
        let balance = self.balance.checked_add(amount).ok_or(DraftError::TooMuch)?;
        let subtype = if self.is_opened() { Subtype::Receive } else { Subtype::Open };
        Ok(Unsigned { fields: self.next(balance, *send.as_bytes()), subtype, amount })
    }

    /// Pays `to`.
    ///
    /// # Errors
    /// If the account has less, or the amount is nothing.
    pub fn send(&self, to: Account, amount: Amount) -> Result<Unsigned, DraftError> {
        self.ensure_opened()?;
        if amount.is_zero() {
            return Err(DraftError::Nothing);
        }
        let balance = self
            .balance
            .checked_sub(amount)
            .ok_or(DraftError::NotEnough { have: self.balance, asked: amount })?;
        Ok(Unsigned { fields: self.next(balance, *to.as_bytes()), subtype: Subtype::Send, amount })
    }

    /// Names another representative.
    ///
    /// # Errors
    /// If the account has no block yet.
    pub fn change(&self, representative: Account) -> Result<Unsigned, DraftError> {
        self.ensure_opened()?;
        let fields = StateFields { representative, ..self.next(self.balance, [0; 32]) };
        Ok(Unsigned { fields, subtype: Subtype::Change, amount: Amount::ZERO })
    }

    /// The account after this block of its own.
    #[must_use]
    pub fn after(&self, block: &StateFields) -> Self {
        Self {
            account: self.account,
            frontier: block.hash(),
            balance: block.balance,
            representative: block.representative,
        }
    }

    const fn next(&self, balance: Amount, link: [u8; 32]) -> StateFields {
        StateFields {
            account: self.account,
            previous: self.frontier,
            representative: self.representative,
            balance,
            link,
        }
    }

    fn ensure_opened(&self) -> Result<(), DraftError> {
        if self.is_opened() { Ok(()) } else { Err(DraftError::Unopened) }
    }
}

impl Unsigned {
    /// Its name, which signing does not change.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        self.fields.hash()
    }

    /// The least work it needs, on an account of today's epoch.
    #[must_use]
    pub const fn threshold(&self, thresholds: &WorkThresholds) -> Difficulty {
        match self.subtype {
            Subtype::Send | Subtype::Change => thresholds.send,
            Subtype::Receive | Subtype::Open | Subtype::Epoch => thresholds.receive,
        }
    }

    /// The block, ready to be published.
    #[must_use]
    pub fn sign(&self, key: &PrivateKey, work: Work) -> StateBlock {
        self.fields.sign(key, work)
    }
}

/// How far a plan goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Blocks at most: each costs work.
    pub blocks_max: usize,
    /// Sends of less are left where they are; taking dust costs more than it brings.
    pub amount_min: Amount,
}

/// Blocks to be published in this order, each standing on the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The blocks.
    pub blocks: Vec<Unsigned>,
    /// Sends that are not taken: too small, beyond the limit, or of an amount not known.
    pub left: Vec<BlockHash>,
    /// The account after the last of them.
    pub state: AccountState,
}

/// Takes what waits for an account, the largest first.
///
/// # Errors
/// If the amounts are too much to be true.
pub fn plan_receive(
    state: AccountState,
    receivables: &[Receivable],
    limits: &Limits,
) -> Result<Plan, DraftError> {
    let mut plan = Plan { blocks: Vec::new(), left: Vec::new(), state };
    let mut seen = BTreeSet::new();
    let mut waiting: Vec<&Receivable> =
        receivables.iter().filter(|receivable| seen.insert(receivable.hash)).collect();
    // By hash where amounts are equal, so that the same facts make the same plan after a crash.
    waiting.sort_by(|a, b| b.amount.cmp(&a.amount).then(a.hash.cmp(&b.hash)));
    for receivable in waiting {
        let amount = receivable.amount.filter(|amount| !amount.is_zero() && *amount >= limits.amount_min);
        match amount.filter(|_| plan.blocks.len() < limits.blocks_max) {
            Some(amount) => plan.add(plan.state.receive(receivable.hash, amount)?),
            None => plan.left.push(receivable.hash),
        }
    }
    Ok(plan)
}

/// Takes what waits for an account, and sends all it then holds to `to`. Keeps one block of the
/// limit for that, and is empty if there is nothing to send.
///
/// # Errors
/// If the amounts are too much to be true, or the account is to be swept to itself.
pub fn plan_sweep(
    state: AccountState,
    receivables: &[Receivable],
    to: Account,
    limits: &Limits,
) -> Result<Plan, DraftError> {
    if to == state.account {
        return Err(DraftError::ToItself);
    }
    let receiving = Limits { blocks_max: limits.blocks_max.saturating_sub(1), ..*limits };
    let mut plan = plan_receive(state, receivables, &receiving)?;
    if !plan.state.balance.is_zero() && limits.blocks_max > 0 {
        plan.add(plan.state.send(to, plan.state.balance)?);
    }
    Ok(plan)
}

impl Plan {
    fn add(&mut self, block: Unsigned) {
        self.state = self.state.after(&block.fields);
        self.blocks.push(block);
    }
}
