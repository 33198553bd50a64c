//! Keys and records as a fuzzer, or a damaged disk, makes them up.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Key, Keyspace};

impl<K: Key, V: Serialize + DeserializeOwned> Keyspace<K, V> {
    /// Reads a key and a value if `which` is this keyspace's number: what can be read is written as it
    /// was, or in a form that stays, and nothing newer than this program is read.
    pub(crate) fn fuzz(&self, which: u8, key: &[u8], value: &[u8]) {
        if which != self.id {
            return;
        }
        let mut rest = key;
        if let Some(read) = K::decode(&mut rest) {
            let mut bytes = Vec::new();
            read.encode(&mut bytes);
            assert_eq!(bytes, key[..key.len() - rest.len()], "{self:?}");
        }
        let Ok(read) = self.decode(value) else { return };
        assert!(value.first().is_some_and(|version| *version <= self.version));
        let written = |value: &V| serde_json::to_vec(value).expect("records have a JSON form");
        let first = written(&read);
        let again = self.decode(&[&[self.version], first.as_slice()].concat());
        assert_eq!(written(&again.expect("it was just written")), first, "{self:?}");
        assert!(self.decode(&[&[self.version + 1], first.as_slice()].concat()).is_err());
    }
}
