//! Taking blocks away again, as a node does when an election goes against them.

use nano_currency::BlockHash;

use super::{Ledger, Receivable, Stored};

/// Why blocks cannot be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RollbackError {
    /// There is nothing to take away.
    #[error("the block is not on the ledger")]
    Unknown,
    /// The first block of the network cannot go.
    #[error("the genesis block cannot be rolled back")]
    Genesis,
    /// A final block was to go, and only unconfirmed ones may.
    #[error("block {0} is confirmed")]
    Confirmed(BlockHash),
}

impl Ledger {
    /// Takes a block away, with all that came after it on its chain and all that received from
    /// those; restores exactly what was before. Returns the blocks taken away, newest first.
    ///
    /// # Errors
    /// If nothing was changed because the block is unknown or the genesis block, or because a
    /// block that would have to go is final (unless `confirmed_too`).
    pub fn rollback(&mut self, hash: &BlockHash, confirmed_too: bool) -> Result<Vec<Stored>, RollbackError> {
        let doomed = self.doomed(hash)?;
        if !confirmed_too && let Some(stored) = doomed.iter().find(|stored| stored.confirmed) {
            return Err(RollbackError::Confirmed(stored.block.hash()));
        }
        for stored in &doomed {
            self.remove(stored);
        }
        Ok(doomed)
    }

    /// Everything that would have to go, in an order in which each is its account's frontier, and
    /// each send unreceived, when its turn comes.
    fn doomed(&self, hash: &BlockHash) -> Result<Vec<Stored>, RollbackError> {
        if !self.blocks.contains_key(hash) {
            return Err(RollbackError::Unknown);
        }
        if self.network.genesis() == Some(*hash) {
            return Err(RollbackError::Genesis);
        }
        let mut order: Vec<Stored> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let mut stack = vec![*hash];
        while let Some(top) = stack.last().copied() {
            let Some(stored) = self.blocks.get(&top).filter(|_| !seen.contains(&top)) else {
                stack.pop();
                continue;
            };
            let dependent = [stored.successor, stored.received_by]
                .into_iter()
                .flatten()
                .find(|dependent| !seen.contains(dependent));
            if let Some(dependent) = dependent {
                stack.push(dependent);
            } else {
                stack.pop();
                seen.insert(top);
                order.push(stored.clone());
            }
        }
        Ok(order)
    }

    fn remove(&mut self, stored: &Stored) {
        let hash = stored.block.hash();
        self.blocks.remove(&hash);
        if stored.confirmed {
            self.cemented -= 1;
        }
        if let Some(destination) = stored.destination {
            self.receivables.remove(&(destination, hash));
        }
        if let Some(source) = stored.source {
            self.restore_receivable(stored, source);
        }
        let previous = stored.block.previous();
        match self.blocks.get_mut(&previous) {
            Some(before) => {
                before.successor = None;
                if let Some(state) = self.accounts.get_mut(&stored.account) {
                    state.frontier = previous;
                    state.confirmed_height = state.confirmed_height.min(before.height);
                }
            }
            None => {
                self.accounts.remove(&stored.account);
            }
        }
    }

    fn restore_receivable(&mut self, stored: &Stored, source: BlockHash) {
        let Some(send) = self.blocks.get_mut(&source) else { return };
        send.received_by = None;
        let receivable = Receivable { amount: send.amount, source: send.account, epoch: send.epoch };
        self.receivables.insert((stored.account, source), receivable);
    }
}
