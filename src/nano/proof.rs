//! What a block proves by itself, whoever delivered it.
//!
//! A node's word is not needed for what a payment says: the block's hash binds its contents, the
//! payer's signature binds the hash, `previous` binds the block before, and the two balances give
//! the amount. So a node can withhold a payment but not invent, redirect or enlarge one. Two
//! things no block can prove: that the network *confirmed* it, and that the block before it is on
//! the ledger at all (a payer could sign both). Those take nodes that agree; see
//! [`crate::quorum`].
//!
//! A state block and a legacy `send` carry their balance, so one block before the payment is
//! enough. A legacy `receive`, `open` or `change` carries none: its balance is that of the block
//! before it plus what the received send moved, and these are fetched as well, as far as
//! [`BLOCKS_MAX`]. Beyond that the payment is [`ProofError::Unprovable`], which is no pass.
//!
//! Pure: [`Evidence`] is filled by whoever asks nodes; [`wanted`] names what to ask for, for any
//! number of claims at once.

mod walk;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::block::{Block, BlockError, StateFields, Subtype};
use crate::network::Rules;
use crate::work::Difficulty;
use crate::{Account, Amount, BlockHash};

pub use walk::BLOCKS_MAX;

/// What a node says about a block, as far as it can be tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The hash that was asked for.
    pub hash: BlockHash,
    /// What the node says the block is.
    pub block: Block,
    /// Whose chain the node says it is on.
    pub account: Account,
    /// How much the node says it moved.
    pub amount: Option<Amount>,
    /// What the node says it does.
    pub subtype: Option<Subtype>,
}

/// A payment that the payer signed. Only [`prove`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Proven {
    /// The send.
    pub hash: BlockHash,
    /// Who paid.
    pub from: Account,
    /// Who was paid.
    pub to: Account,
    /// How much.
    pub amount: Amount,
}

/// Why a claim is no proven payment; one variant for each rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The contents are no block.
    #[error("the contents cannot be read as a block")]
    Unreadable(#[from] BlockError),
    /// The contents are another block's.
    #[error("the contents of {claimed} hash to {found}")]
    Hash {
        /// The hash that was asked for.
        claimed: BlockHash,
        /// What the contents hash to.
        found: BlockHash,
    },
    /// The block is on another chain than was said.
    #[error("the block is on the chain of {found}, not of {claimed}")]
    Account {
        /// As it was said.
        claimed: Account,
        /// As it is.
        found: Account,
    },
    /// Neither the account nor, for an epoch block, the network signed it.
    #[error("the signature is not the account's")]
    Signature,
    /// Too little work was done for it, so no node would have taken it.
    #[error("the work is worth {found}, and {wanted} is the least")]
    Work {
        /// What it is worth.
        found: Difficulty,
        /// What it must be worth.
        wanted: Difficulty,
    },
    /// An account's first block cannot spend: there was nothing before it.
    #[error("an account's first block pays nobody")]
    FirstBlock,
    /// It is in order, but pays nobody.
    #[error("it is a {0}, not a send")]
    NotASend(Subtype),
    /// A send of nothing.
    #[error("it moves nothing")]
    NothingMoved,
    /// The block before it belongs to somebody else.
    #[error("the block before it, {0}, is on another chain")]
    PreviousAccount(BlockHash),
    /// A block before it says things that cannot both be true.
    #[error("the balances around {0} cannot be")]
    Balances(BlockHash),
    /// The node named another amount.
    #[error("{claimed} raw were claimed, {proven} raw were sent")]
    Amount {
        /// As it was said.
        claimed: Amount,
        /// As it is.
        proven: Amount,
    },
    /// The node named another kind.
    #[error("it was called a {claimed} and is a {proven}")]
    Subtype {
        /// As it was said.
        claimed: Subtype,
        /// As it is.
        proven: Subtype,
    },
    /// Other blocks are needed before anything can be said.
    #[error("blocks before it that are still missing: {}", .0.len())]
    Missing(BTreeSet<BlockHash>),
    /// No balance within reach: the legacy blocks before it go back too far, or to a first block
    /// whose network is not known.
    #[error("the amount cannot be proved: {0}")]
    Unprovable(Unprovable),
}

/// Why an amount stays unproven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unprovable {
    /// More than [`BLOCKS_MAX`] legacy blocks.
    #[error("too many legacy blocks lie before it")]
    TooDeep,
    /// A first block that receives from itself, and is not the network's own.
    #[error("it goes back to a first block that is not this network's")]
    Genesis,
}

impl ProofError {
    /// Whether the node that made the claim said something untrue. What is merely incomplete, or
    /// truly no payment, is nobody's lie.
    #[must_use]
    pub const fn is_lie(&self) -> bool {
        match self {
            Self::Hash { .. }
            | Self::Account { .. }
            | Self::Signature
            | Self::Work { .. }
            | Self::FirstBlock
            | Self::PreviousAccount(_)
            | Self::Balances(_)
            | Self::Amount { .. }
            | Self::Subtype { .. } => true,
            Self::Unreadable(_)
            | Self::NotASend(_)
            | Self::NothingMoved
            | Self::Missing(_)
            | Self::Unprovable(_) => false,
        }
    }
}

/// Blocks by their own hash. What is in here is what its name says, whoever brought it.
#[derive(Debug, Clone, Default)]
pub struct Evidence(BTreeMap<BlockHash, Block>);

impl Evidence {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a block under its own hash.
    pub fn add(&mut self, block: Block) -> BlockHash {
        let hash = block.hash();
        self.0.insert(hash, block);
        hash
    }

    /// Adds what a node gave for `hash`.
    ///
    /// # Errors
    /// If it is no block, or another one.
    pub fn add_json(&mut self, hash: BlockHash, contents: &Value) -> Result<(), ProofError> {
        let block = Block::from_json(contents)?;
        ensure_hash(hash, &block)?;
        self.0.insert(hash, block);
        Ok(())
    }

    /// The block with this hash.
    #[must_use]
    pub fn get(&self, hash: &BlockHash) -> Option<&Block> {
        self.0.get(hash)
    }

    /// How many blocks are here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Claim {
    /// Reads a node's description of one block, as `block_info` and `blocks_info` give it.
    ///
    /// # Errors
    /// If the contents are no block, or the account is none.
    pub fn read(hash: BlockHash, info: &Value) -> Result<Self, ProofError> {
        let text = |name: &'static str| info.get(name).and_then(Value::as_str);
        let account = text("block_account").and_then(|text| text.parse().ok());
        Ok(Self {
            hash,
            block: Block::from_json(info.get("contents").unwrap_or(&Value::Null))?,
            account: account.ok_or(BlockError("block_account"))?,
            amount: text("amount").and_then(|text| text.parse().ok()),
            subtype: text("subtype").and_then(|text| text.parse().ok()),
        })
    }

    /// Whether it can be a send at all, as far as the block alone tells: then the block before it
    /// is worth asking for.
    #[must_use]
    pub fn may_be_a_send(&self) -> bool {
        let pays = matches!(self.block, Block::State(_) | Block::LegacySend(_));
        pays && self.block.previous() != BlockHash::ZERO
    }
}

/// Tests a claim against every rule.
///
/// # Errors
/// The first rule that it breaks; [`ProofError::Missing`] while blocks are missing.
pub fn prove(claim: &Claim, evidence: &Evidence, rules: &Rules) -> Result<Proven, ProofError> {
    ensure_hash(claim.hash, &claim.block)?;
    ensure_account(claim)?;
    ensure_work(claim, rules)?;
    let to = match &claim.block {
        Block::State(block) => {
            ensure_state_send(claim, &block.fields, evidence, rules)?;
            Account::from_bytes(block.fields.link)
        }
        legacy => {
            ensure_signed(claim, &claim.account)?;
            match legacy {
                Block::LegacySend(block) => block.destination,
                Block::LegacyReceive(_) | Block::LegacyOpen(_) => {
                    return Err(ProofError::NotASend(Subtype::Receive));
                }
                Block::LegacyChange(_) | Block::State(_) => {
                    return Err(ProofError::NotASend(Subtype::Change));
                }
            }
        }
    };
    let amount = amount_sent(claim, evidence, rules)?;
    ensure_said(claim, amount)?;
    Ok(Proven { hash: claim.hash, from: claim.account, to, amount })
}

/// The blocks that must be fetched before these claims can be proved: for most the one before it,
/// so that one `blocks_info` serves all. Ask again with what came, until nothing is wanted; that
/// takes more than one round only where legacy blocks are involved.
pub fn wanted<'a>(
    claims: impl IntoIterator<Item = &'a Claim>,
    evidence: &Evidence,
    rules: &Rules,
) -> BTreeSet<BlockHash> {
    let may_pay = claims.into_iter().filter(|claim| claim.may_be_a_send());
    let missing = may_pay.filter_map(|claim| {
        let previous = claim.block.previous();
        match walk::balance_of(previous, &claim.account, evidence, rules) {
            Err(ProofError::Missing(hashes)) => Some(hashes),
            Ok(_) | Err(_) => None,
        }
    });
    missing.flatten().collect()
}

/// The balance of `account` after the block `hash` of its chain, from the blocks alone.
///
/// # Errors
/// [`ProofError::Missing`] while blocks are missing; otherwise why there is no such balance.
pub fn balance_after(
    hash: BlockHash,
    account: &Account,
    evidence: &Evidence,
    rules: &Rules,
) -> Result<Amount, ProofError> {
    walk::balance_of(hash, account, evidence, rules)
}

fn ensure_hash(claimed: BlockHash, block: &Block) -> Result<(), ProofError> {
    let found = block.hash();
    if found == claimed { Ok(()) } else { Err(ProofError::Hash { claimed, found }) }
}

/// Legacy sends do not name their account; for them the signature decides.
fn ensure_account(claim: &Claim) -> Result<(), ProofError> {
    match claim.block.account() {
        Some(found) if found != claim.account => Err(ProofError::Account { claimed: claim.account, found }),
        Some(_) | None => Ok(()),
    }
}

fn ensure_work(claim: &Claim, rules: &Rules) -> Result<(), ProofError> {
    let Some(wanted) = rules.work_min else { return Ok(()) };
    let found = claim.block.work().difficulty(claim.block.work_root());
    if found >= wanted { Ok(()) } else { Err(ProofError::Work { found, wanted }) }
}

fn ensure_signed(claim: &Claim, signer: &Account) -> Result<(), ProofError> {
    // The hash was recomputed, so it stands for the contents.
    let signed = claim.block.signature().verifies(signer, claim.hash.as_bytes());
    if signed { Ok(()) } else { Err(ProofError::Signature) }
}

/// Signed, by whom it must be, and paying somebody.
fn ensure_state_send(
    claim: &Claim,
    fields: &StateFields,
    evidence: &Evidence,
    rules: &Rules,
) -> Result<(), ProofError> {
    let epoch = rules.epoch_of(&fields.link);
    if fields.previous == BlockHash::ZERO {
        // The upgrade of an account that was never opened is signed by the network as well.
        return match epoch.filter(|_| fields.balance.is_zero()) {
            Some(signer) => ensure_epoch(claim, signer),
            None => {
                ensure_signed(claim, &claim.account)?;
                match claim.subtype {
                    Some(Subtype::Send) => Err(ProofError::FirstBlock),
                    _ => ensure_subtype(claim, Subtype::Receive),
                }
            }
        };
    }
    let before = walk::balance_of(fields.previous, &claim.account, evidence, rules)?;
    // A send to the address that an epoch's link spells stays a send.
    if let Some(signer) = epoch.filter(|_| before == fields.balance) {
        return ensure_epoch(claim, signer);
    }
    ensure_signed(claim, &claim.account)?;
    let proven = match before.cmp(&fields.balance) {
        std::cmp::Ordering::Greater => Subtype::Send,
        std::cmp::Ordering::Equal if fields.link == [0; 32] => Subtype::Change,
        std::cmp::Ordering::Equal | std::cmp::Ordering::Less => Subtype::Receive,
    };
    ensure_subtype(claim, proven)
}

/// An epoch block in order is no send; where the signer is not known it is none either.
fn ensure_epoch(claim: &Claim, signer: Option<Account>) -> Result<(), ProofError> {
    if let Some(signer) = signer {
        ensure_signed(claim, &signer)?;
    }
    ensure_subtype(claim, Subtype::Epoch)
}

fn ensure_subtype(claim: &Claim, proven: Subtype) -> Result<(), ProofError> {
    // An account's first block receives, and some programs name it apart.
    let same = |claimed| claimed == proven || (claimed, proven) == (Subtype::Open, Subtype::Receive);
    match claim.subtype {
        Some(claimed) if !same(claimed) => Err(ProofError::Subtype { claimed, proven }),
        _ if proven != Subtype::Send => Err(ProofError::NotASend(proven)),
        _ => Ok(()),
    }
}

fn amount_sent(claim: &Claim, evidence: &Evidence, rules: &Rules) -> Result<Amount, ProofError> {
    let impossible = ProofError::Balances(claim.hash);
    let previous = claim.block.previous();
    if previous == BlockHash::ZERO {
        return Err(ProofError::FirstBlock);
    }
    let before = walk::balance_of(previous, &claim.account, evidence, rules)?;
    let after = claim.block.balance().ok_or_else(|| impossible.clone())?;
    let amount = before.checked_sub(after).ok_or(impossible)?;
    if amount.is_zero() { Err(ProofError::NothingMoved) } else { Ok(amount) }
}

/// What the node added in its own words must be what the blocks say.
fn ensure_said(claim: &Claim, proven: Amount) -> Result<(), ProofError> {
    match claim.amount {
        Some(claimed) if claimed != proven => Err(ProofError::Amount { claimed, proven }),
        Some(_) | None => Ok(()),
    }
}
