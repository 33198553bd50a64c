//! An account's balance after a block, from the blocks alone.

use std::collections::BTreeSet;

use super::{Evidence, ProofError, Unprovable};
use crate::block::Block;
use crate::network::Rules;
use crate::{Account, Amount, BlockHash};

/// Legacy blocks looked at for one balance. An account that was used every day of the legacy
/// years and never since may not be provable; such a payer can move his money once and pay then.
pub const BLOCKS_MAX: usize = 64;

/// The balance of `account` after the block `hash`, which must be on its chain.
pub(super) fn balance_of(
    hash: BlockHash,
    account: &Account,
    evidence: &Evidence,
    rules: &Rules,
) -> Result<Amount, ProofError> {
    let mut walk = Walk { evidence, rules, looked_at: 0, missing: BTreeSet::new() };
    let balance = walk.balance(hash, Some(*account))?;
    if walk.missing.is_empty() { Ok(balance) } else { Err(ProofError::Missing(walk.missing)) }
}

struct Walk<'a> {
    evidence: &'a Evidence,
    rules: &'a Rules,
    /// Over all chains that the walk touches: the bound of its depth, too.
    looked_at: usize,
    /// What must be fetched before the balance means anything.
    missing: BTreeSet<BlockHash>,
}

impl Walk<'_> {
    /// Goes back along one chain, adding what was received on the way, until a block names its
    /// balance. What is missing counts as nothing and is noted, so that one round of fetching
    /// brings all that can be known to be missing.
    ///
    /// `account` is `None` for a sender whom no block names: a legacy send's.
    fn balance(&mut self, hash: BlockHash, account: Option<Account>) -> Result<Amount, ProofError> {
        let mut sum = Amount::ZERO;
        let mut at = hash;
        while at != BlockHash::ZERO {
            let Some(block) = self.look(at)? else { return Ok(sum) };
            ensure_on_chain(at, &block, account)?;
            let part = match &block {
                Block::State(_) | Block::LegacySend(_) => block.balance().ok_or(ProofError::Balances(at))?,
                Block::LegacyReceive(receive) => self.received(receive.source, account)?,
                Block::LegacyOpen(open) if open.source.as_bytes() == open.account.as_bytes() => {
                    self.supply(at)?
                }
                Block::LegacyOpen(open) => self.received(open.source, Some(open.account))?,
                Block::LegacyChange(_) => Amount::ZERO,
            };
            sum = sum.checked_add(part).ok_or(ProofError::Balances(at))?;
            if block.balance().is_some() {
                break;
            }
            at = block.previous();
        }
        Ok(sum)
    }

    /// What the send `source` brought to `account`.
    fn received(&mut self, source: BlockHash, account: Option<Account>) -> Result<Amount, ProofError> {
        let Some(send) = self.look(source)? else { return Ok(Amount::ZERO) };
        let paid = match &send {
            Block::State(block) => Account::from_bytes(block.fields.link),
            Block::LegacySend(block) => block.destination,
            Block::LegacyReceive(_) | Block::LegacyOpen(_) | Block::LegacyChange(_) => {
                return Err(ProofError::Balances(source));
            }
        };
        let after = send.balance().ok_or(ProofError::Balances(source))?;
        if account.is_some_and(|account| account != paid) || send.previous() == BlockHash::ZERO {
            return Err(ProofError::Balances(source));
        }
        let known = self.missing.len();
        let before = self.balance(send.previous(), send.account())?;
        if self.missing.len() > known {
            return Ok(Amount::ZERO);
        }
        before.checked_sub(after).filter(|amount| !amount.is_zero()).ok_or(ProofError::Balances(source))
    }

    /// Money from nowhere: only the network's own first block holds it.
    fn supply(&self, hash: BlockHash) -> Result<Amount, ProofError> {
        if self.rules.genesis == Some(hash) {
            Ok(Amount::MAX)
        } else {
            Err(ProofError::Unprovable(Unprovable::Genesis))
        }
    }

    fn look(&mut self, hash: BlockHash) -> Result<Option<Block>, ProofError> {
        self.looked_at += 1;
        if self.looked_at > BLOCKS_MAX {
            return Err(ProofError::Unprovable(Unprovable::TooDeep));
        }
        let found = self.evidence.get(&hash).copied();
        if found.is_none() {
            self.missing.insert(hash);
        }
        Ok(found)
    }
}

/// A block that names its account must name this one, any other must be signed by it.
fn ensure_on_chain(hash: BlockHash, block: &Block, account: Option<Account>) -> Result<(), ProofError> {
    let Some(account) = account else { return Ok(()) };
    let belongs = match block.account() {
        Some(named) => named == account,
        None => block.signature().verifies(&account, hash.as_bytes()),
    };
    if belongs { Ok(()) } else { Err(ProofError::PreviousAccount(hash)) }
}
