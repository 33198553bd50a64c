//! What is final.

use nano_currency::BlockHash;

use super::Ledger;

impl Ledger {
    /// Makes a block final, and first everything it stands on: its predecessors, and the sends
    /// that any of them received. Returns the newly final blocks, dependencies first; none if the
    /// block is unknown or was final already.
    pub fn confirm(&mut self, hash: &BlockHash) -> Vec<BlockHash> {
        let mut order = Vec::new();
        let mut stack = vec![*hash];
        while let Some(top) = stack.last().copied() {
            let missing = self.blocks.get(&top).and_then(|stored| self.unconfirmed_dependency(stored));
            match missing {
                Some(dependency) => stack.push(dependency),
                None => {
                    stack.pop();
                    if self.cement(&top) {
                        order.push(top);
                    }
                }
            }
        }
        order
    }

    fn unconfirmed_dependency(&self, stored: &super::Stored) -> Option<BlockHash> {
        if stored.confirmed {
            return None;
        }
        [Some(stored.block.previous()), stored.source]
            .into_iter()
            .flatten()
            .find(|hash| self.blocks.get(hash).is_some_and(|dependency| !dependency.confirmed))
    }

    fn cement(&mut self, hash: &BlockHash) -> bool {
        let Some(stored) = self.blocks.get_mut(hash).filter(|stored| !stored.confirmed) else { return false };
        stored.confirmed = true;
        self.cemented += 1;
        if let Some(state) = self.accounts.get_mut(&stored.account) {
            state.confirmed_height = stored.height;
        }
        true
    }
}
