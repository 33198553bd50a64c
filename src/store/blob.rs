//! Large bytes, cut into pieces that sled keeps in its log.

use std::fmt;
use std::marker::PhantomData;

use super::damage::guarded;
use super::{Batch, Key, Store, StoreError};

/// Bytes of one piece: an eighth of sled's segment, so that segments fill well.
const PIECE_BYTES: usize = 64 * 1_024;

/// A keyspace of byte strings of any length that the contract allows (300 KiB at most).
pub struct Blobs<K> {
    id: u8,
    name: &'static str,
    kind: PhantomData<fn(K)>,
}

impl<K: Key> Blobs<K> {
    /// A keyspace of blobs.
    #[must_use]
    pub const fn new(id: u8, name: &'static str) -> Self {
        Self { id, name, kind: PhantomData }
    }

    /// Its number.
    #[must_use]
    pub const fn id(&self) -> u8 {
        self.id
    }

    /// Puts bytes under a key that has none yet. (Replacing a longer blob would leave its tail.)
    pub fn put(&self, batch: &mut Batch, key: &K, bytes: &[u8]) {
        let total = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut pieces = bytes.chunks(PIECE_BYTES);
        let first = pieces.next().unwrap_or_default();
        batch.insert(self.piece_key(key, 0), [&total, first].concat());
        for (index, piece) in (1u16..).zip(pieces) {
            batch.insert(self.piece_key(key, index), piece.to_vec());
        }
    }

    /// The bytes under a key.
    ///
    /// # Errors
    /// If the database fails, or a piece is missing.
    pub fn get(&self, store: &Store, key: &K) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(first) = guarded(|| store.tree.get(self.piece_key(key, 0)))? else { return Ok(None) };
        let damaged = || StoreError::Record { keyspace: self.name, reason: "a piece is missing".to_owned() };
        let (total, first) = first.split_first_chunk::<4>().ok_or_else(damaged)?;
        let total = u32::from_be_bytes(*total) as usize;
        let mut bytes = first.to_vec();
        for index in 1u16.. {
            if bytes.len() >= total {
                break;
            }
            let piece = guarded(|| store.tree.get(self.piece_key(key, index)))?;
            bytes.extend_from_slice(&piece.ok_or_else(damaged)?);
        }
        if bytes.len() == total { Ok(Some(bytes)) } else { Err(damaged()) }
    }

    /// Removes the bytes under a key with a batch.
    ///
    /// # Errors
    /// If the database fails.
    pub fn remove(&self, store: &Store, batch: &mut Batch, key: &K) -> Result<(), StoreError> {
        let mut prefix = vec![self.id];
        key.encode(&mut prefix);
        let mut pieces = store.tree.scan_prefix(prefix).keys();
        while let Some(piece) = guarded(|| pieces.next().transpose())? {
            batch.delete(piece.to_vec());
        }
        Ok(())
    }

    fn piece_key(&self, key: &K, index: u16) -> Vec<u8> {
        let mut bytes = vec![self.id];
        key.encode(&mut bytes);
        index.encode(&mut bytes);
        bytes
    }
}

impl<K> fmt::Debug for Blobs<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blobs({} {})", self.id, self.name)
    }
}
