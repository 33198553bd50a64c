//! Durable state: one sled tree, numbered keyspaces, atomic batches and one barrier.
//!
//! Architecture invariant: this is the only folder that names sled, and it knows nothing of jobs.
//!
//! Everything lives in a single tree, because sled makes a batch atomic over one tree: a job, its
//! history, a claim and a cursor are there together or not at all. [`Store::commit`] makes a batch
//! visible; only [`Store::durable`] makes it survive a power cut.

pub mod aside;
mod barrier;
mod blob;
mod damage;
#[cfg(test)]
pub(crate) mod fixture;
mod key;
mod keyspace;
mod mark;
mod migrate;
mod transfer;

use std::fmt;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use blob::Blobs;
pub use key::Key;
pub use keyspace::{Keyspace, Scan};
pub use migrate::Migration;
pub use transfer::{Filling, RECORD_BYTES_MAX, RawRecord, View};

use barrier::Barrier;
use damage::guarded;
use mark::Mark;
use transfer::Kept;

/// A value's bytes at most: sled keeps values near its segment size of 512 KiB in separate files
/// that the barrier would not cover. Larger things are cut into [`Blobs`].
pub const VALUE_BYTES_MAX: usize = 128 * 1_024;

/// How often a directory that is in use is tried: half a second in all.
const LOCK_TRIES_MAX: u32 = 10;
/// The pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// The keyspace of the store's own notes; see [`Store::open`].
const META: Keyspace<String, String> = Keyspace::new(0, "meta", 1);

/// An open store: one directory, one process.
pub struct Store {
    tree: sled::Tree,
    barrier: Barrier,
    writer: Mutex<()>,
    kept: Mutex<Option<Kept>>,
    dir: PathBuf,
    _db: sled::Db,
}

/// How to open a store.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Whose state it is, such as `worker`: another program's store is refused.
    pub kind: &'a str,
    /// The version of its keyspaces: a store of a later version is refused.
    pub schema: u32,
    /// Memory for pages that were read, in bytes.
    pub cache_bytes: u64,
}

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or read.
    #[error("cannot use the state directory {dir}")]
    Directory {
        /// Which.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has it open.
    #[error("the state directory {0} is in use by another process")]
    InUse(PathBuf),
    /// Its contents cannot be read.
    #[error("the store in {dir} cannot be opened")]
    Unreadable {
        /// Which.
        dir: PathBuf,
        /// Why.
        #[source]
        source: sled::Error,
    },
    /// It belongs to another program.
    #[error("{dir} holds the state of a {found}, not of a {wanted}")]
    OtherKind {
        /// Which.
        dir: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
    /// It was written by a later version of this program.
    #[error("{dir} was written by a newer version (schema {found}, this program knows {known}): upgrade")]
    Newer {
        /// Which.
        dir: PathBuf,
        /// The version it has.
        found: u32,
        /// The version that is known here.
        known: u32,
    },
    /// It is of a version from which no step is known.
    #[error("{dir} was written by a version that this program does not know (schema {found}, not {known})")]
    NoWay {
        /// Which.
        dir: PathBuf,
        /// The version it has.
        found: u32,
        /// The version that is known here.
        known: u32,
    },
    /// It has lost its end.
    #[error(
        "the store in {dir} has lost its end: it is as it was after flush {found}, and there were {marked}"
    )]
    Older {
        /// Which.
        dir: PathBuf,
        /// The flush that it holds.
        found: u64,
        /// The flush that it has held.
        marked: u64,
    },
    /// It was being filled from a backup when its process ended.
    #[error("the store in {0} was being filled from a backup, which was not finished")]
    Incomplete(PathBuf),
    /// There is a store where a new one was to be.
    #[error("there is a store in {0} already")]
    Taken(PathBuf),
    /// Its first notes cannot be read or written.
    #[error("cannot prepare the store")]
    Prepare(#[from] StoreError),
}

/// Why reading or writing failed. The process that sees one should stop and be started again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The disk or the database failed.
    #[error("the store failed")]
    Database(#[from] sled::Error),
    /// The barrier failed once: what came after it may be lost.
    #[error("the disk failed to make writes durable: {0}")]
    NotDurable(String),
    /// A record that this version cannot read.
    #[error("a record in {keyspace} cannot be read: {reason}")]
    Record {
        /// Where.
        keyspace: &'static str,
        /// Why.
        reason: String,
    },
    /// Another view is open, or the view was overtaken by too many changes.
    #[error("the store is too busy for a backup, or another one is being made")]
    Busy,
    /// A value over [`VALUE_BYTES_MAX`].
    #[error("a record of {bytes} bytes is too large for {keyspace}")]
    TooLarge {
        /// Where.
        keyspace: &'static str,
        /// How large.
        bytes: usize,
    },
}

/// Writes that become visible together.
#[derive(Default)]
pub struct Batch {
    inner: sled::Batch,
    keys: Vec<Vec<u8>>,
}

impl Batch {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn insert(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.keys.push(key.clone());
        self.inner.insert(key, value);
    }

    fn delete(&mut self, key: Vec<u8>) {
        self.keys.push(key.clone());
        self.inner.remove(key);
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} writes)", self.keys.len())
    }
}

impl Store {
    /// Opens the store in `dir`, which is made if it is missing, for its owner only.
    ///
    /// # Errors
    /// If the directory is unusable, in use, another program's, damaged, or of another version.
    pub fn open(dir: &Path, options: Options<'_>) -> Result<Self, OpenError> {
        Self::open_and_migrate(dir, options, &[])
    }

    /// [`Store::open`], which brings a store of an earlier version to that of `options` first.
    ///
    /// # Errors
    /// As [`Store::open`], or if a step fails; then the steps before it stay taken.
    pub fn open_and_migrate(
        dir: &Path,
        options: Options<'_>,
        migrations: &[Migration],
    ) -> Result<Self, OpenError> {
        let store = Self::open_as_it_is(dir, options)?;
        if store.is_filling()? {
            return Err(OpenError::Incomplete(dir.to_owned()));
        }
        store.migrate(options, migrations)?;
        Ok(store)
    }

    fn open_as_it_is(dir: &Path, options: Options<'_>) -> Result<Self, OpenError> {
        make_private_dir(dir).map_err(|source| OpenError::Directory { dir: dir.to_owned(), source })?;
        let db = open_db(dir, options)?;
        let unusable = |source| OpenError::Directory { dir: dir.to_owned(), source };
        let tree = guarded(|| db.open_tree("state"))?;
        let mark = Mark::open(dir).map_err(unusable)?;
        let (found, marked) = (flushes_of(&tree)?, mark.get().unwrap_or(0));
        if found < marked {
            return Err(OpenError::Older { dir: dir.to_owned(), found, marked });
        }
        let barrier = Barrier::start(db.clone(), tree.clone(), mark, found, dir).map_err(unusable)?;
        let (writer, kept) = (Mutex::new(()), Mutex::new(None));
        let store = Self { tree, barrier, writer, kept, dir: dir.to_owned(), _db: db };
        store.check_kind(options)?;
        Ok(store)
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The turn of one writer: what is read under it cannot change before its commit.
    ///
    /// Held for reading, deciding and [`Store::commit`]; never while waiting for the barrier.
    pub fn writer(&self) -> MutexGuard<'_, ()> {
        // The guard protects no data of its own, so a panic elsewhere leaves nothing half done.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a batch visible, whole or not at all. It is not yet durable.
    ///
    /// # Errors
    /// If the database fails.
    pub fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        // Held until the batch is in: a view sees all of it, or what was there before.
        let mut kept = self.kept();
        if let Some(kept) = kept.as_mut() {
            kept.keep(&self.tree, batch.keys.iter())?;
        }
        guarded(|| self.tree.apply_batch(batch.inner))?;
        drop(kept);
        self.barrier.wrote();
        Ok(())
    }

    /// Waits until all that was committed before this call would survive a power cut.
    ///
    /// All who wait at one moment share one flush of the disk. Returns at once when nothing was
    /// written since the last one.
    ///
    /// # Errors
    /// If the disk failed, now or ever since the store was opened.
    pub async fn durable(&self) -> Result<(), StoreError> {
        self.barrier.wait().await
    }

    /// [`Store::commit`], then [`Store::durable`].
    ///
    /// # Errors
    /// As theirs.
    pub async fn commit_durable(&self, batch: Batch) -> Result<(), StoreError> {
        self.commit(batch)?;
        self.durable().await
    }

    /// Waits, without a runtime, until everything is durable: for opening, closing and tools.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn durable_blocking(&self) -> Result<(), StoreError> {
        self.barrier.wait_blocking()
    }

    /// How often the disk was flushed since the store was opened.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.barrier.flushes()
    }

    fn check_kind(&self, options: Options<'_>) -> Result<(), OpenError> {
        match META.get(self, &"kind".to_owned())? {
            Some(found) if found != options.kind => {
                Err(OpenError::OtherKind { dir: self.dir.clone(), found, wanted: options.kind.to_owned() })
            }
            _ => Ok(()),
        }
    }
}

/// The number of the last flush that a store holds.
fn flushes_of(tree: &sled::Tree) -> Result<u64, StoreError> {
    let value = guarded(|| tree.get(barrier::FLUSHES))?;
    Ok(value.and_then(|bytes| Some(u64::from_be_bytes(*bytes.first_chunk()?))).unwrap_or(0))
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.dir.display())
    }
}

/// Opens sled. Its threads let go of the directory's lock a moment after the last handle is gone, and
/// a process that is being replaced may still be ending, so a lock that is held is tried again.
fn open_db(dir: &Path, options: Options<'_>) -> Result<sled::Db, OpenError> {
    let config = sled::Config::new()
        .path(dir)
        .cache_capacity(options.cache_bytes)
        // The barrier flushes when somebody waits for it; a timer would only add writes.
        .flush_every_ms(None)
        .mode(sled::Mode::HighThroughput);
    let mut tries = 0;
    loop {
        let error = match recover(&config) {
            Ok(db) => return Ok(db),
            Err(source) => open_error(dir, source),
        };
        tries += 1;
        match error {
            _ if tries >= LOCK_TRIES_MAX => return Err(error),
            OpenError::InUse(_) => std::thread::park_timeout(LOCK_PAUSE),
            OpenError::Unreadable { .. } if remove_half_snapshots(dir).unwrap_or(false) => {}
            error => return Err(error),
        }
    }
}

/// Removes snapshots that a killed process was still writing, and says whether there were any.
///
/// sled takes such a file for its newest snapshot and refuses to open; without it, it reads the one
/// before, or the whole log. Done under sled's own lock on the data file, since a living process may
/// be writing one.
fn remove_half_snapshots(dir: &Path) -> io::Result<bool> {
    let data = std::fs::File::open(dir.join("db"))?;
    if data.try_lock().is_err() {
        return Ok(false);
    }
    let mut removed = false;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            std::fs::remove_file(entry.path())?;
            removed = true;
        }
    }
    Ok(removed)
}

/// What sled makes of its files. Of some damage it makes a panic, which is an answer as well.
fn recover(config: &sled::Config) -> sled::Result<sled::Db> {
    std::panic::catch_unwind(AssertUnwindSafe(|| config.open()))
        .unwrap_or_else(|_| Err(sled::Error::ReportableBug("its files contradict each other".to_owned())))
}

fn open_error(dir: &Path, source: sled::Error) -> OpenError {
    // sled reports a held file lock as an I/O error with this text (src/config.rs of the crate).
    if matches!(&source, sled::Error::Io(error) if error.to_string().contains("could not acquire lock")) {
        return OpenError::InUse(dir.to_owned());
    }
    OpenError::Unreadable { dir: dir.to_owned(), source }
}

fn make_private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir)?;
    let mode = std::fs::metadata(dir)?.permissions().mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
