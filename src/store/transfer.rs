//! A whole store, out and in again: for backups.
//!
//! sled has no snapshots, so a [`View`] is one: it is read piece by piece while others write, and
//! whoever changes a record that was not read yet leaves its old value for the view.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};

use super::tree::Tree;
use super::{Batch, META, OpenError, Options, Store, StoreError};

/// A record as it is stored: the key with its keyspace's number in front, and the value.
pub type RawRecord = (Vec<u8>, Vec<u8>);

/// Records read at a time; writers wait meanwhile, for about a millisecond.
const PIECE_RECORDS: usize = 256;

/// Bytes read at a time at most.
const PIECE_BYTES: usize = 256 * 1_024;

/// Old values kept for a view at most: what a busy store overwrites while some gigabytes are read.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Bytes brought in by one batch: sled's segments are half a megabyte.
const IMPORT_BYTES: usize = 512 * 1_024;

/// The largest value that any released version has written: what one could store, all can take back.
pub const RECORD_BYTES_MAX: usize = 128 * 1_024;

/// The note that a store is being filled.
const FILLING: &str = "filling";

/// What is kept for the one view that may be open.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The last key that was read.
    read: Vec<u8>,
    old: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
}

impl Kept {
    /// Keeps what the keys of a batch held, before it is applied.
    pub(super) fn keep<'a>(
        &mut self,
        tree: &Tree,
        keys: impl Iterator<Item = &'a Vec<u8>>,
    ) -> Result<(), StoreError> {
        for key in keys {
            if *key <= self.read || self.bytes > KEPT_BYTES_MAX || self.old.contains_key(key) {
                continue;
            }
            let old = tree.get(key.clone())?.map(|value| value.to_vec());
            self.bytes += key.len() + old.as_ref().map_or(0, Vec::len);
            self.old.insert(key.clone(), old);
        }
        Ok(())
    }
}

/// All records of a store as they were at one moment, but for the store's own notes.
#[derive(Debug)]
pub struct View<'a> {
    store: &'a Store,
    ended: bool,
}

impl Store {
    /// A view of this moment.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if another one is open.
    pub fn view(&self) -> Result<View<'_>, StoreError> {
        let mut kept = self.kept();
        if kept.is_some() {
            return Err(StoreError::Busy);
        }
        // Behind all keys of the store's own keyspace.
        *kept = Some(Kept { read: vec![META.id(), u8::MAX], ..Kept::default() });
        Ok(View { store: self, ended: false })
    }

    pub(super) fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        // A panic while it was held is an error of that view, which then is dropped.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was being filled when its process ended.
    pub(super) fn is_filling(&self) -> Result<bool, StoreError> {
        META.contains(self, &FILLING.to_owned())
    }
}

impl View<'_> {
    /// The next records, in the order of their keys; empty at the end.
    ///
    /// # Errors
    /// If the database fails, or too much was changed meanwhile.
    pub fn next_piece(&mut self) -> Result<Vec<RawRecord>, StoreError> {
        let mut guard = self.store.kept();
        let kept = guard.as_mut().ok_or(StoreError::Busy)?;
        let mut piece = BTreeMap::new();
        // A piece may consist of records that are newer than the view; then the next one is read.
        while piece.is_empty() && !self.ended {
            if kept.bytes > KEPT_BYTES_MAX {
                return Err(StoreError::Busy);
            }
            piece = self.read_piece(kept)?;
        }
        Ok(piece.into_iter().collect())
    }

    fn read_piece(&mut self, kept: &mut Kept) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, StoreError> {
        let mut piece = BTreeMap::new();
        let mut bytes = 0;
        let start: Bound<Vec<u8>> = Bound::Excluded(kept.read.clone());
        let mut records = self.store.tree.range((start, Bound::Unbounded));
        self.ended = loop {
            let Some(record) = records.next().transpose()? else { break true };
            let (key, value) = (record.0.to_vec(), record.1.to_vec());
            bytes += key.len() + value.len();
            piece.insert(key, value);
            if piece.len() >= PIECE_RECORDS || bytes >= PIECE_BYTES {
                break false;
            }
        };
        let later = match piece.last_key_value() {
            Some((last, _)) if !self.ended => {
                kept.read.clone_from(last);
                let mut end = last.clone();
                end.push(0);
                kept.old.split_off(&end)
            }
            _ => BTreeMap::new(),
        };
        for (key, old) in std::mem::replace(&mut kept.old, later) {
            kept.bytes -= key.len() + old.as_ref().map_or(0, Vec::len);
            match old {
                Some(value) => piece.insert(key, value),
                None => piece.remove(&key),
            };
        }
        Ok(piece)
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        *self.store.kept() = None;
    }
}

/// A new store that is being filled. Until it is finished, [`Store::open`] refuses it.
#[derive(Debug)]
pub struct Filling {
    store: Store,
    batch: Batch,
    bytes: usize,
}

impl Filling {
    /// Begins in a directory that holds no store.
    ///
    /// # Errors
    /// As [`Store::open`]; [`OpenError::Taken`] if there is something already.
    pub fn begin(dir: &Path, options: Options<'_>) -> Result<Self, OpenError> {
        let store = Store::open_as_it_is(dir, options)?;
        let first = (Bound::Included(vec![META.id() + 1]), Bound::Unbounded);
        if store.tree.range(first).next().transpose()?.is_some() || store.is_filling()? {
            return Err(OpenError::Taken(dir.to_owned()));
        }
        let mut batch = Batch::default();
        META.put(&mut batch, &FILLING.to_owned(), &String::new())?;
        store.commit(batch)?;
        store.migrate(options, &[])?;
        Ok(Self { store, batch: Batch::default(), bytes: 0 })
    }

    /// Brings in a record as a view gave it.
    ///
    /// # Errors
    /// If it can be none, or the database fails.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        if key.first().is_none_or(|id| *id == META.id()) || value.len() > RECORD_BYTES_MAX {
            return Err(StoreError::Record {
                keyspace: "a backup",
                reason: "it is no record of a store".to_owned(),
            });
        }
        self.bytes += key.len() + value.len();
        self.batch.insert(key, value);
        if self.bytes >= IMPORT_BYTES {
            self.bytes = 0;
            self.store.commit(std::mem::take(&mut self.batch))?;
            self.store.durable_blocking()?;
        }
        Ok(())
    }

    /// Adds the last records and ends.
    ///
    /// # Errors
    /// If the database fails.
    pub fn finish(
        mut self,
        last: impl FnOnce(&mut Batch) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        last(&mut self.batch)?;
        META.remove(&mut self.batch, &FILLING.to_owned());
        self.store.commit(self.batch)?;
        self.store.durable_blocking()
    }
}
