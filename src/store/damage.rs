//! What damaged data looks like, told apart from a disk that is full or a file that is not ours.
//!
//! sled panics where its pages contradict each other. Every read and write of this folder goes
//! through [`guarded`], so that such a panic is an error of the one call that met it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{OpenError, StoreError};

/// Calls sled; a panic in it is an error.
pub(super) fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    // What sled left half done is only ever seen by sled, and nobody asks it again after this error.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(StoreError::Database(sled::Error::ReportableBug("its pages are damaged".to_owned()))),
    }
}

impl StoreError {
    /// Whether the data itself is damaged: trying again, or making room, helps nothing.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Database(error) => is_damaged(error),
            Self::Record { .. } => true,
            Self::NotDurable(_) | Self::TooLarge { .. } | Self::Busy => false,
        }
    }
}

impl OpenError {
    /// Whether the data itself is damaged: another start helps nothing, another copy does.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Unreadable { source, .. } => is_damaged(source),
            Self::Older { .. } | Self::Incomplete(_) => true,
            Self::Prepare(error) => error.is_damage(),
            Self::Directory { .. }
            | Self::InUse(_)
            | Self::OtherKind { .. }
            | Self::Newer { .. }
            | Self::NoWay { .. }
            | Self::Taken(_) => false,
        }
    }
}

fn is_damaged(error: &sled::Error) -> bool {
    match error {
        sled::Error::Io(error) => {
            matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
        }
        // Wrong settings, too: they are read from the store's own file.
        sled::Error::Unsupported(_) | sled::Error::ReportableBug(_) | sled::Error::Corruption { .. } => true,
        sled::Error::CollectionNotFound(_) => true,
    }
}
