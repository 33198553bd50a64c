//! A recording as `recorder.c` writes it.

use std::path::{Path, PathBuf};

const WORDS: usize = 8;
const MAGIC: u64 = 0x3152_4557_504f_4c47;

/// One call, as far as a disk or a listener would notice it.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    Create { inode: u64, path: PathBuf },
    Write { inode: u64, offset: usize, data: Vec<u8> },
    Resize { inode: u64, len: usize },
    SyncBegins { inode: u64, path: PathBuf, token: u64 },
    SyncEnds { token: u64 },
    Rename { from: PathBuf, to: PathBuf },
    Unlink { path: PathBuf },
    MakeDir { path: PathBuf },
    Mark { text: Vec<u8> },
    Spawn,
}

/// Reads a recording. Its process may have been killed, so the last entry may be missing.
pub(crate) fn read(path: &Path) -> Vec<Entry> {
    let bytes = std::fs::read(path).unwrap();
    let mut rest = bytes.as_slice();
    let mut entries = Vec::new();
    while let Some((entry, after)) = next(rest) {
        entries.push(entry);
        rest = after;
    }
    assert!(!entries.is_empty(), "nothing was recorded");
    entries
}

fn next(bytes: &[u8]) -> Option<(Entry, &[u8])> {
    let (head, rest) = bytes.split_at_checked(WORDS * 8)?;
    let word = |at: usize| u64::from_le_bytes(head[at * 8..][..8].try_into().unwrap());
    assert_eq!(word(0), MAGIC, "the recording is out of step");
    let (inode, offset, token) = (word(2), usize::try_from(word(3)).unwrap(), word(5));
    let (path, rest) = rest.split_at_checked(usize::try_from(word(6)).unwrap())?;
    let (data, rest) = rest.split_at_checked(usize::try_from(word(7)).unwrap())?;
    let text = |bytes: &[u8]| PathBuf::from(std::str::from_utf8(bytes).unwrap());
    let path = text(path);
    let entry = match word(1) {
        1 => Entry::Create { inode, path },
        2 => Entry::Write { inode, offset, data: data.to_vec() },
        3 => Entry::Resize { inode, len: offset },
        4 => Entry::SyncBegins { inode, path, token },
        5 => Entry::SyncEnds { token },
        6 => Entry::Rename { from: path, to: text(data) },
        7 => Entry::Unlink { path },
        8 => Entry::MakeDir { path },
        9 => Entry::Mark { text: data.to_vec() },
        10 => Entry::Spawn,
        other => panic!("an entry of kind {other}"),
    };
    Some((entry, rest))
}
