//! How far the store has come, written beside it: a store that has lost its end is noticed.
//!
//! sled takes damaged bytes for the end of its log, and then opens without a word as it was some
//! time ago. What was handed out since would be handed out again. So each flush has a number: it is
//! in the flush, and once that is durable it is written here too. A store with a smaller number
//! than its mark is older than it was. The file itself is never waited for: losing it in a power
//! cut only means that nothing is noticed, and it never runs ahead of what is on the disk.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// The file's name in the store's directory.
pub(super) const FILE: &str = "flushed";

/// A number and its check; in one sector, so that it is never half old and half new.
const BYTES: usize = 16;

/// The file.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
}

impl Mark {
    /// Opens it, or makes it, for its owner only.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join(FILE))?;
        Ok(Self { file })
    }

    /// The number of the last flush that it knows; `None` if it was never written, or not wholly.
    pub(super) fn get(&self) -> Option<u64> {
        let mut bytes = [0; BYTES];
        self.file.read_exact_at(&mut bytes, 0).ok()?;
        let number = u64::from_be_bytes(*bytes.first_chunk()?);
        (encode(number) == bytes).then_some(number)
    }

    /// Notes a flush that is durable. A disk that refuses has told those who waited for the flush.
    pub(super) fn set(&self, number: u64) {
        if let Err(error) = self.file.write_all_at(&encode(number), 0) {
            tracing::debug!(%error, "the mark of the last flush was not written");
        }
    }
}

fn encode(number: u64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    let check = Sha256::digest(number.to_be_bytes());
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes[8..].copy_from_slice(&check[..8]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_read_back_and_half_a_mark_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let mark = Mark::open(dir.path()).unwrap();
        assert_eq!(mark.get(), None);
        mark.set(7);
        mark.set(u64::MAX);
        assert_eq!(Mark::open(dir.path()).unwrap().get(), Some(u64::MAX));
        mark.file.write_all_at(&[0], 3).unwrap();
        assert_eq!(mark.get(), None);
    }
}
