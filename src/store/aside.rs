//! A store that is put out of the way as it is, never deleted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::mark;

/// sled's own files in the directory of a store, and ours.
fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if matches!(name.as_ref(), "db" | "conf" | "blobs" | mark::FILE) || name.starts_with("snap.") {
            files.push(entry.path());
        }
    }
    // Its settings come last: without them there is no store, and with them nothing was moved yet.
    files.sort_by_key(|path| path.ends_with("conf"));
    Ok(files)
}

/// Whether a directory holds a store, whole or not.
#[must_use]
pub fn is_there(dir: &Path) -> bool {
    files(dir).is_ok_and(|files| files.iter().any(|path| path.ends_with("conf") || path.ends_with("db")))
}

/// Whether anything of a store is in a directory: a move that was interrupted leaves the rest of it.
#[must_use]
pub fn is_any(dir: &Path) -> bool {
    files(dir).is_ok_and(|files| !files.is_empty())
}

/// Moves the store in `dir` into a new directory `name` beside its files, and says where that is.
/// The caller makes sure that no process has it open.
///
/// # Errors
/// If a file cannot be moved. What was moved stays there, and the rest can be moved again.
pub fn move_aside(dir: &Path, name: &str) -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut aside = dir.join(name);
    for number in 2u32.. {
        match fs::DirBuilder::new().mode(0o700).create(&aside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                aside = dir.join(format!("{name}-{number}"));
            }
            made => {
                made?;
                break;
            }
        }
    }
    for file in files(dir)? {
        if let Some(name) = file.file_name() {
            fs::rename(&file, aside.join(name))?;
        }
    }
    fs::File::open(&aside)?.sync_all()?;
    fs::File::open(dir)?.sync_all()?;
    Ok(aside)
}
