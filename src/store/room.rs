//! Whether the disk takes what is written to it, and how much it still takes.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use super::{OpenError, StoreError, place};

/// Free bytes below which nobody should begin anything new: sixteen segments, in which hundreds of
/// open jobs are finished, and a store of a hundred thousand is opened again.
pub const RESERVE_BYTES: u64 = 64 * 1_024 * 1_024;

/// What is written to try a disk: two segments, as much as opening a store may write at once.
const PROBE_BYTES: usize = 8 * 1_024 * 1_024;

/// The file that is written for it; a crash may leave it, and the next try replaces it.
const PROBE: &str = "probe";

/// Free bytes for this user where `dir` is.
///
/// # Errors
/// If the system does not say.
pub fn free_bytes(dir: &Path) -> io::Result<u64> {
    let about = rustix::fs::statvfs(dir)?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize))
}

/// Whether less than [`RESERVE_BYTES`] are free. A system that does not say is taken to have room:
/// a disk that is full is noticed anyway.
#[must_use]
pub fn is_short(dir: &Path) -> bool {
    free_bytes(dir).is_ok_and(|free| free < RESERVE_BYTES)
}

/// Writes some megabytes to the disk, waits until they are on it, and removes them.
///
/// # Errors
/// If the disk does not take them.
pub fn probe(dir: &Path) -> io::Result<()> {
    place::make_private(dir)?;
    let path = dir.join(PROBE);
    let tried = write(&path);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => tried.and(Err(error)),
        _ => tried,
    }
}

fn write(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    // Not zeros: some disks would not write those.
    let block = vec![0xa5; 64 * 1_024];
    for _ in 0..PROBE_BYTES / block.len() {
        file.write_all(&block)?;
    }
    file.sync_all()
}

impl StoreError {
    /// Whether the disk refused, so that the same may work once it is well.
    #[must_use]
    pub fn is_disk(&self) -> bool {
        match self {
            Self::Database(error) => is_disk(error),
            Self::NotDurable(_) => true,
            Self::Record { .. } | Self::TooLarge { .. } | Self::Busy => false,
        }
    }
}

impl OpenError {
    /// Whether the disk refused, so that the same may work once it is well.
    #[must_use]
    pub fn is_disk(&self) -> bool {
        match self {
            Self::Directory { source, .. } => is_refusal(source),
            Self::Unreadable { source: sled::Error::Io(error), .. } => is_refusal(error),
            Self::Prepare(error) => error.is_disk(),
            Self::Unreadable { .. }
            | Self::InUse(_)
            | Self::OtherKind { .. }
            | Self::Newer { .. }
            | Self::NoWay { .. }
            | Self::Older { .. }
            | Self::Incomplete(_)
            | Self::Taken(_) => false,
        }
    }
}

fn is_disk(error: &sled::Error) -> bool {
    // An open store that contradicts itself may do so because a write failed: opening it again tells.
    matches!(error, sled::Error::Io(_) | sled::Error::ReportableBug(_))
}

/// Not a directory that is a file, or another's: those need a person.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let kinds = [Kind::StorageFull, Kind::QuotaExceeded, Kind::ReadOnlyFilesystem, Kind::WriteZero];
    // An error of the device has no kind of its own.
    kinds.contains(&error.kind()) || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_well_passes_and_keeps_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("state");
        probe(&inner).unwrap();
        assert_eq!(fs::read_dir(&inner).unwrap().count(), 0);
        assert!(free_bytes(&inner).unwrap() > 0);
    }

    #[test]
    fn what_a_person_must_mend_is_not_waited_for() {
        let open = |kind: io::Error| OpenError::Directory { dir: "/x".into(), source: kind }.is_disk();
        assert!(open(io::ErrorKind::StorageFull.into()));
        assert!(open(io::ErrorKind::ReadOnlyFilesystem.into()));
        assert!(open(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())));
        assert!(!open(io::ErrorKind::PermissionDenied.into()));
        assert!(!open(io::ErrorKind::NotADirectory.into()));
        assert!(!OpenError::InUse("/x".into()).is_disk());
    }
}
