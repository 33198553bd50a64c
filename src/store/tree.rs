//! What a store stands on: sled and a disk, or memory.

use std::ops::Bound;

use super::StoreError;
use super::barrier::Barrier;
use super::damage::guarded;
use super::memory::{Memory, Range, Writes};

/// Bytes that are cheap to share.
pub(super) type Bytes = sled::IVec;

/// Where everything lives.
pub(super) enum Tree {
    Sled { tree: sled::Tree, barrier: Barrier, _db: sled::Db },
    Memory(Memory),
}

/// Entries in the order of their keys, from either end.
pub(super) enum Entries {
    Sled(sled::Iter),
    Memory(Range),
}

impl Tree {
    pub(super) fn get(&self, key: Vec<u8>) -> Result<Option<Bytes>, StoreError> {
        #[cfg(test)]
        reads::count();
        match self {
            Self::Sled { tree, .. } => guarded(|| tree.get(key)),
            Self::Memory(memory) => Ok(memory.get(&key)),
        }
    }

    pub(super) fn contains_key(&self, key: Vec<u8>) -> Result<bool, StoreError> {
        #[cfg(test)]
        reads::count();
        match self {
            Self::Sled { tree, .. } => guarded(|| tree.contains_key(key)),
            Self::Memory(memory) => Ok(memory.get(&key).is_some()),
        }
    }

    pub(super) fn scan_prefix(&self, prefix: Vec<u8>) -> Entries {
        match self {
            Self::Sled { tree, .. } => Entries::Sled(tree.scan_prefix(prefix)),
            Self::Memory(memory) => {
                let end = behind(prefix.clone()).map_or(Bound::Unbounded, Bound::Excluded);
                Entries::Memory(memory.range((Bound::Included(prefix), end)))
            }
        }
    }

    pub(super) fn range(&self, range: (Bound<Vec<u8>>, Bound<Vec<u8>>)) -> Entries {
        match self {
            Self::Sled { tree, .. } => Entries::Sled(tree.range(range)),
            Self::Memory(memory) => Entries::Memory(memory.range(range)),
        }
    }

    /// Makes writes visible, all of them or none.
    pub(super) fn apply(&self, writes: Writes) -> Result<(), StoreError> {
        match self {
            Self::Sled { tree, barrier, .. } => {
                let mut batch = sled::Batch::default();
                for (key, value) in writes {
                    match value {
                        Some(value) => batch.insert(key, value),
                        None => batch.remove(key),
                    }
                }
                guarded(|| tree.apply_batch(batch)).inspect_err(|error| barrier.failed(error))?;
                barrier.wrote();
                Ok(())
            }
            Self::Memory(memory) => memory.apply(writes),
        }
    }

    pub(super) async fn durable(&self) -> Result<(), StoreError> {
        match self {
            Self::Sled { barrier, .. } => barrier.wait().await,
            Self::Memory(memory) => memory.durable().await,
        }
    }

    pub(super) fn durable_blocking(&self) -> Result<(), StoreError> {
        match self {
            Self::Sled { barrier, .. } => barrier.wait_blocking(),
            Self::Memory(memory) => memory.durable_now(),
        }
    }

    pub(super) fn flushes(&self) -> u64 {
        match self {
            Self::Sled { barrier, .. } => barrier.flushes(),
            Self::Memory(memory) => memory.flushes(),
        }
    }
}

impl Iterator for Entries {
    type Item = Result<(Bytes, Bytes), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        #[cfg(test)]
        reads::count();
        match self {
            Self::Sled(iter) => guarded(|| iter.next().transpose()).transpose(),
            Self::Memory(range) => range.next().map(Ok),
        }
    }
}

impl DoubleEndedIterator for Entries {
    fn next_back(&mut self) -> Option<Self::Item> {
        #[cfg(test)]
        reads::count();
        match self {
            Self::Sled(iter) => guarded(|| iter.next_back().transpose()).transpose(),
            Self::Memory(range) => range.next_back().map(Ok),
        }
    }
}

/// The first key behind all that begin with a prefix.
fn behind(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            return Some(prefix);
        }
    }
    None
}

/// How many records this thread has looked at, for tests of what a lookup costs.
#[cfg(test)]
pub(crate) mod reads {
    use std::cell::Cell;

    thread_local! { static READS: Cell<usize> = const { Cell::new(0) }; }

    pub(super) fn count() {
        READS.set(READS.get() + 1);
    }

    pub(crate) fn during(work: impl FnOnce()) -> usize {
        let before = READS.get();
        work();
        READS.get() - before
    }
}
