//! The directory of a store: what sled leaves undone about its files, for the loss of power.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// sled's settings, text with a checksum at its end.
const SETTINGS: &str = "conf";

/// The checksum's bytes.
const CHECK_BYTES: usize = 4;

/// Makes the directory, for its owner only, so that its name survives too.
pub(super) fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let missing: Vec<&Path> =
        dir.ancestors().take_while(|place| !place.as_os_str().is_empty() && !place.exists()).collect();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    for made in missing {
        sync_parent(made)?;
    }
    // It may have been made by a process that did not come as far as to sync its name. But others'
    // directories need not be ours to open: the service manager makes them, and waits for the disk.
    if let Err(error) = sync_parent(dir) {
        tracing::debug!(%error, "the directory above the state was not synced");
    }
    let mode = fs::metadata(dir)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn sync_parent(dir: &Path) -> io::Result<()> {
    match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Makes durable what sled does not: its settings, and the names of its files.
pub(super) fn settle(dir: &Path) -> io::Result<()> {
    File::open(dir.join(SETTINGS))?.sync_all()?;
    File::open(dir)?.sync_all()
}

/// The turn of one who opens the store in a directory.
pub(super) struct Turn<'a> {
    dir: &'a Path,
    _locked: File,
}

impl<'a> Turn<'a> {
    /// `None` if another one has it.
    pub(super) fn take(dir: &'a Path) -> io::Result<Option<Self>> {
        let locked = File::open(dir)?;
        match locked.try_lock() {
            Ok(()) => Ok(Some(Self { dir, _locked: locked })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Lets sled fail after it has written its snapshot, before it clears anything: it then removes
    /// blobs that are younger than its log, and a directory is no blob that can be removed.
    pub(super) fn stop(&self) -> io::Result<Stop> {
        let path = self.dir.join("blobs").join(i64::MAX.to_string());
        // It may be left from a process that was killed.
        fs::create_dir_all(&path)?;
        Ok(Stop(path))
    }
}

/// What sled stumbles over.
pub(super) struct Stop(PathBuf);

impl Stop {
    /// Takes it away.
    pub(super) fn lift(self) -> io::Result<()> {
        fs::remove_dir(self.0)
    }
}

/// Whether sled has stumbled over a [`Stop`].
pub(super) fn is_stop(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::IsADirectory
}

/// The segments that a store was made with.
pub(super) fn segment_bytes(dir: &Path) -> Option<usize> {
    let bytes = fs::read(dir.join(SETTINGS)).ok()?;
    let line = settings(&bytes)?.lines().find_map(|line| line.strip_prefix("segment_size: "))?;
    line.parse().ok()
}

/// Whole settings have three lines before the checksum, the last of them ended.
fn settings(bytes: &[u8]) -> Option<&str> {
    let (text, _) = bytes.split_at_checked(bytes.len().checked_sub(CHECK_BYTES)?)?;
    let text = std::str::from_utf8(text).ok()?;
    (text.ends_with('\n') && text.lines().count() == 3).then_some(text)
}

/// Removes files that were being written when the process was killed or the power went, and says
/// whether there were any. sled makes them anew.
///
/// A half snapshot is taken for the newest one, and without it sled reads the one before, or the
/// whole log. Done under sled's own lock on the data file, since a living process may be writing.
pub(super) fn remove_half_files(dir: &Path) -> io::Result<bool> {
    let settings_torn = match fs::read(dir.join(SETTINGS)) {
        Ok(bytes) => settings(&bytes).is_none(),
        Err(_) => false,
    };
    // Settings are read before the data file is made.
    if let Ok(data) = File::open(dir.join("db"))
        && data.try_lock().is_err()
    {
        return Ok(false);
    }
    let mut removed = false;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let half_snapshot = name.starts_with("snap.") && name.ends_with(".generating");
        if half_snapshot || (settings_torn && name == SETTINGS) {
            fs::remove_file(entry.path())?;
            removed = true;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_only_if_they_are_whole() {
        let whole = b"segment_size: 524288\nuse_compression: false\nversion: 0.34\nCRC!";
        let dir = tempfile::tempdir().unwrap();
        let read = |bytes: &[u8]| {
            fs::write(dir.path().join(SETTINGS), bytes).unwrap();
            segment_bytes(dir.path())
        };
        assert_eq!(read(whole), Some(524_288));
        for torn in [&whole[..0], &whole[..3], &whole[..40], &whole[..whole.len() - 4], &[0; 64]] {
            assert_eq!(read(torn), None);
            assert!(remove_half_files(dir.path()).unwrap());
            assert!(!dir.path().join(SETTINGS).exists());
        }
        read(whole);
        assert!(!remove_half_files(dir.path()).unwrap());
    }
}
