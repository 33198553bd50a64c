//! One kind of record: its number, its key, its value, its version.

#[cfg(any(test, fuzzing))]
mod fuzzing;

use std::fmt;
use std::marker::PhantomData;
use std::ops::Bound;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::tree::{Bytes, Entries};
use super::{Batch, Key, Store, StoreError, VALUE_BYTES_MAX};

/// A numbered part of the store: keys of kind `K`, values of kind `V` as JSON behind a version byte.
///
/// Declared once as a constant, in one list per program; the number is for ever.
pub struct Keyspace<K, V> {
    id: u8,
    name: &'static str,
    version: u8,
    kinds: PhantomData<fn(K) -> V>,
}

impl<K: Key, V: Serialize + DeserializeOwned> Keyspace<K, V> {
    /// A keyspace. `version` grows when the shape of its values changes in a way that older
    /// programs would misread.
    #[must_use]
    pub const fn new(id: u8, name: &'static str, version: u8) -> Self {
        Self { id, name, version, kinds: PhantomData }
    }

    /// Its number.
    #[must_use]
    pub const fn id(&self) -> u8 {
        self.id
    }

    /// The value at a key.
    ///
    /// # Errors
    /// If the database fails or the record cannot be read.
    pub fn get(&self, store: &Store, key: &K) -> Result<Option<V>, StoreError> {
        match store.tree.get(self.key_bytes(key))? {
            Some(bytes) => self.decode(&bytes).map(Some),
            None => Ok(None),
        }
    }

    /// Whether there is a value at a key.
    ///
    /// # Errors
    /// If the database fails.
    pub fn contains(&self, store: &Store, key: &K) -> Result<bool, StoreError> {
        store.tree.contains_key(self.key_bytes(key))
    }

    /// Puts a value into a batch.
    ///
    /// # Errors
    /// If the value is too large.
    pub fn put(&self, batch: &mut Batch, key: &K, value: &V) -> Result<(), StoreError> {
        let mut bytes = vec![self.version];
        serde_json::to_writer(&mut bytes, value).map_err(|error| self.unreadable(&error))?;
        if bytes.len() > VALUE_BYTES_MAX {
            return Err(StoreError::TooLarge { keyspace: self.name, bytes: bytes.len() });
        }
        batch.insert(self.key_bytes(key), bytes);
        Ok(())
    }

    /// Removes a key with a batch.
    pub fn remove(&self, batch: &mut Batch, key: &K) {
        batch.delete(self.key_bytes(key));
    }

    /// All records in the order of their keys.
    #[must_use]
    pub fn all<'a>(&'a self, store: &'a Store) -> Scan<'a, K, V> {
        self.prefix(store, &())
    }

    /// The records whose keys begin with `prefix`.
    #[must_use]
    pub fn prefix<'a, P: Key>(&'a self, store: &'a Store, prefix: &P) -> Scan<'a, K, V> {
        let mut bytes = vec![self.id];
        prefix.encode(&mut bytes);
        Scan { keyspace: self, iter: store.tree.scan_prefix(bytes) }
    }

    /// The records after `after` (exclusive), up to the end of the keyspace.
    #[must_use]
    pub fn after<'a>(&'a self, store: &'a Store, after: &K) -> Scan<'a, K, V> {
        let range = (Bound::Excluded(self.key_bytes(after)), Bound::Excluded(vec![self.id + 1]));
        Scan { keyspace: self, iter: store.tree.range(range) }
    }

    /// The records whose keys begin with `prefix` and come after `after` (exclusive).
    #[must_use]
    pub fn prefix_after<'a, P: Key>(&'a self, store: &'a Store, prefix: &P, after: &K) -> Scan<'a, K, V> {
        let mut end = vec![self.id];
        prefix.encode(&mut end);
        // The first key behind all that begin with the prefix; a keyspace's number is never 255.
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                break;
            }
        }
        let range = (Bound::Excluded(self.key_bytes(after)), Bound::Excluded(end));
        Scan { keyspace: self, iter: store.tree.range(range) }
    }

    /// The records whose keys begin with `prefix` and come before `before` (exclusive).
    #[must_use]
    pub fn prefix_before<'a, P: Key>(&'a self, store: &'a Store, prefix: &P, before: &K) -> Scan<'a, K, V> {
        let mut begin = vec![self.id];
        prefix.encode(&mut begin);
        let range = (Bound::Included(begin), Bound::Excluded(self.key_bytes(before)));
        Scan { keyspace: self, iter: store.tree.range(range) }
    }

    fn key_bytes(&self, key: &K) -> Vec<u8> {
        let mut bytes = vec![self.id];
        key.encode(&mut bytes);
        bytes
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, StoreError> {
        match bytes.split_first() {
            Some((&version, json)) if version <= self.version => {
                serde_json::from_slice(json).map_err(|error| self.unreadable(&error))
            }
            Some((version, _)) => Err(self.unreadable(&format!("its version {version} is newer"))),
            None => Err(self.unreadable(&"it is empty")),
        }
    }

    fn unreadable(&self, reason: &dyn fmt::Display) -> StoreError {
        StoreError::Record { keyspace: self.name, reason: reason.to_string() }
    }
}

impl<K, V> fmt::Debug for Keyspace<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyspace({} {})", self.id, self.name)
    }
}

/// Records one after the other, from either end.
pub struct Scan<'a, K, V> {
    keyspace: &'a Keyspace<K, V>,
    iter: Entries,
}

impl<K: Key, V: Serialize + DeserializeOwned> Scan<'_, K, V> {
    fn read(&self, entry: Result<(Bytes, Bytes), StoreError>) -> Result<(K, V), StoreError> {
        let (key, value) = entry?;
        let mut bytes = key.get(1..).unwrap_or_default();
        // Whatever is left would be lost when the record is written again.
        let key = K::decode(&mut bytes).filter(|_| bytes.is_empty());
        let key = key.ok_or_else(|| self.keyspace.unreadable(&"its key is malformed"))?;
        Ok((key, self.keyspace.decode(&value)?))
    }
}

impl<K: Key, V: Serialize + DeserializeOwned> Iterator for Scan<'_, K, V> {
    type Item = Result<(K, V), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.iter.next().map(|entry| self.read(entry))
    }
}

impl<K: Key, V: Serialize + DeserializeOwned> DoubleEndedIterator for Scan<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.iter.next_back().map(|entry| self.read(entry))
    }
}

impl<K, V> fmt::Debug for Scan<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scan({})", self.keyspace.name)
    }
}
