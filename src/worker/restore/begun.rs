//! What is written down before a store is put away, until another one is in its place.
//!
//! While there is none, nothing else says that there was one: a process that dies in between would leave a
//! directory that looks like a new worker's, and no backup would ever be taken.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{CORRUPT, REPLACED, RestoreError};
use crate::protocol::Timestamp;

/// The file's name in the state directory.
const FILE: &str = "rebuilding";

/// What was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    /// When; the new store says the same once it is whole.
    pub(super) at: Timestamp,
    /// Why.
    pub(super) why: String,
    /// The backup that somebody has chosen.
    pub(super) from: Option<PathBuf>,
}

impl Begun {
    /// Writes it down. When this returns it is on the disk.
    pub(super) fn write(dir: &Path, begun: Self) -> Result<Self, RestoreError> {
        let written = || -> io::Result<()> {
            let part = dir.join(format!("{FILE}.part"));
            let mut file = File::create(&part)?;
            file.write_all(json!(begun).to_string().as_bytes())?;
            file.sync_all()?;
            // Whatever has this name is whole.
            fs::rename(&part, dir.join(FILE))?;
            File::open(dir)?.sync_all()
        };
        written().map_err(|error| RestoreError::Directory(dir.to_owned(), error))?;
        Ok(begun)
    }

    /// What was begun and not brought to its end, as far as is written down.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, RestoreError> {
        match fs::read(dir.join(FILE)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).unwrap_or_else(|_| Self {
                at: Timestamp::default(),
                why: "what was begun about it cannot be read".to_owned(),
                from: None,
            }))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RestoreError::Directory(dir.to_owned(), error)),
        }
    }

    /// It has come to its end. Somebody who looks at the same moment may have seen that too.
    pub(super) fn remove(dir: &Path) -> Result<(), RestoreError> {
        match fs::remove_file(dir.join(FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(RestoreError::Directory(dir.to_owned(), error))
            }
            _ => Ok(()),
        }
    }

    /// How the place begins to which the store is put that was there.
    pub(super) const fn prefix(&self) -> &'static str {
        if self.from.is_some() { REPLACED } else { CORRUPT }
    }

    /// What the new store says of itself.
    pub(super) fn note(&self, from: Option<&Path>, aside: Option<&Path>) -> Value {
        json!({ "at": self.at, "why": self.why, "from": from, "aside": aside })
    }

    /// Whether a store's note is of this making.
    pub(super) fn is_of(&self, note: Option<&str>) -> bool {
        let note: Option<Value> = note.and_then(|note| serde_json::from_str(note).ok());
        note.is_some_and(|note| note["at"] == json!(self.at))
    }
}
