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
mod memory;
mod migrate;
mod place;
mod room;
mod transfer;
mod tree;

use std::fmt;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use blob::Blobs;
pub use key::Key;
pub use keyspace::{Keyspace, Scan};
pub use memory::{Disk, Flushed, Image, Writes};
pub use migrate::Migration;
pub use room::{RESERVE_BYTES, free_bytes, is_short, probe};
pub use transfer::{Filling, RECORD_BYTES_MAX, RawRecord, View};
#[cfg(test)]
pub(crate) use tree::reads;

use barrier::Barrier;
use damage::guarded;
use mark::Mark;
use memory::Memory;
use transfer::Kept;
use tree::Tree;

/// A value's bytes at most; larger things are cut into [`Blobs`]. sled moves a *page* of more than a
/// quarter of a segment to a file of its own, which no barrier covers, and a page holds up to twenty
/// values: 17 before it is split, and the three of a neighbour that is merged into it. Twenty of
/// these, with keys, are well under a quarter of a segment.
pub const VALUE_BYTES_MAX: usize = 32 * 1_024;

/// Bytes of one segment of sled's log. sled's own 512 KiB would allow values of 6 KiB, and an offer
/// has 16; each doubling makes the file and the tail that is cleared at each start larger.
const SEGMENT_BYTES: usize = 4 * 1_024 * 1_024;

/// How often a directory that is in use is tried: three seconds in all, in which a program that
/// does one thing with it, or one that was just killed, lets go.
const LOCK_TRIES_MAX: u32 = 60;
/// The pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// The keyspace of the store's own notes; see [`Store::open`].
const META: Keyspace<String, String> = Keyspace::new(0, "meta", 1);

/// An open store: one directory, one process.
pub struct Store {
    tree: Tree,
    writer: Mutex<()>,
    kept: Mutex<Option<Kept>>,
    dir: PathBuf,
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
pub struct Batch(Writes);

impl Batch {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn insert(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.0.push((key, Some(value)));
    }

    fn delete(&mut self, key: Vec<u8>) {
        self.0.push((key, None));
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} writes)", self.0.len())
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

    /// Opens a store in memory, with what `disk` has kept: for simulations.
    ///
    /// # Errors
    /// If it is another program's, or of a later version.
    pub fn in_memory(disk: &Disk, options: Options<'_>) -> Result<Self, OpenError> {
        let tree = Tree::Memory(Memory::open(disk));
        let store = Self { tree, writer: Mutex::new(()), kept: Mutex::new(None), dir: PathBuf::new() };
        store.check_kind(options)?;
        store.migrate(options, &[])?;
        Ok(store)
    }

    fn open_as_it_is(dir: &Path, options: Options<'_>) -> Result<Self, OpenError> {
        place::make_private(dir).map_err(|source| OpenError::Directory { dir: dir.to_owned(), source })?;
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
        let tree = Tree::Sled { tree, barrier, _db: db };
        let store = Self { tree, writer, kept, dir: dir.to_owned() };
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
            kept.keep(&self.tree, batch.0.iter().map(|(key, _)| key))?;
        }
        self.tree.apply(batch.0)
    }

    /// Waits until all that was committed before this call would survive a power cut.
    ///
    /// All who wait at one moment share one flush of the disk. Returns at once when nothing was
    /// written since the last one.
    ///
    /// # Errors
    /// If the disk failed, now or ever since the store was opened.
    pub async fn durable(&self) -> Result<(), StoreError> {
        self.tree.durable().await
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
        self.tree.durable_blocking()
    }

    /// How often the disk was flushed since the store was opened.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.tree.flushes()
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
        // A store keeps the segments it was made with.
        .segment_size(place::segment_bytes(dir).unwrap_or(SEGMENT_BYTES))
        // The barrier flushes when somebody waits for it; a timer would only add writes.
        .flush_every_ms(None)
        .mode(sled::Mode::HighThroughput);
    let mut tries = 0;
    loop {
        let error = match recover(dir, &config) {
            Ok(db) => return Ok(db),
            Err(source) => open_error(dir, source),
        };
        tries += 1;
        match error {
            _ if tries >= LOCK_TRIES_MAX => return Err(error),
            OpenError::InUse(_) => std::thread::park_timeout(LOCK_PAUSE),
            OpenError::Unreadable { .. } if place::remove_half_files(dir).unwrap_or(false) => {}
            error => return Err(error),
        }
    }
}

/// Opens sled in two steps. In one, it writes a new snapshot and then clears segments that only the
/// old one needs, without having made sure that the new one's name is on the disk; and without the
/// right snapshot it takes a log with such gaps for an empty one. So it is stopped in between.
fn recover(dir: &Path, config: &sled::Config) -> sled::Result<sled::Db> {
    let Some(turn) = place::Turn::take(dir)? else {
        // The words of sled's own refusal, see `open_error`.
        return Err(io::Error::other("could not acquire lock on the directory").into());
    };
    let stop = turn.stop()?;
    let first = open_guarded(config);
    stop.lift()?;
    match first {
        Err(sled::Error::Io(error)) if place::is_stop(&error) => {
            place::settle(dir)?;
            open_guarded(config)
        }
        opened => opened,
    }
}

/// Of some damage sled makes a panic, which is an answer as well.
fn open_guarded(config: &sled::Config) -> sled::Result<sled::Db> {
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

#[cfg(test)]
mod tests;
