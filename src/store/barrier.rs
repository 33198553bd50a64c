//! The one durability barrier: flush sled, then flush the disk, for all who wait.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use super::StoreError;
use super::damage::guarded;
use super::mark::Mark;

/// How long the next flush waits for each write that the last one covered. A flush costs a dozen
/// switches between sled's threads and a command to the disk, whatever it covers: a busy store
/// collects writes, a quiet one flushes at once.
const PAUSE_PER_WRITE: Duration = Duration::from_micros(100);

/// Fewer writes than this come from one party, who waits for each of them.
const BUSY_WRITES: u64 = 4;

/// The longest wait: what everybody pays at most when hundreds write at once.
const PAUSE_MAX: Duration = Duration::from_millis(5);

/// The key under which each flush leaves its number, in the store's own keyspace.
pub(super) const FLUSHES: &[u8] = b"\0flushes";

/// How far the disk has come.
#[derive(Debug, Clone)]
struct Progress {
    durable: u64,
    failure: Option<StoreError>,
}

/// Counts writes, and lets one thread make them durable.
///
/// sled's own `flush` ends in `sync_file_range`, which leaves data in the disk's cache; the
/// `fdatasync` after it is what survives a power cut.
#[derive(Debug)]
pub(super) struct Barrier {
    written: Arc<AtomicU64>,
    flushes: Arc<AtomicU64>,
    progress: watch::Receiver<Progress>,
    /// The thread's; with it the waiting ends.
    publish: Weak<watch::Sender<Progress>>,
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Barrier {
    /// Flushes `db`, each time with the next number after `numbered` in its `tree`, then in its `mark`.
    pub(super) fn start(
        db: sled::Db,
        tree: sled::Tree,
        mark: Mark,
        numbered: u64,
        dir: &Path,
    ) -> io::Result<Self> {
        let data = File::open(dir.join("db"))?;
        // sled syncs neither its settings nor the names of its files.
        super::place::settle(dir)?;
        let written = Arc::new(AtomicU64::new(0));
        let flushes = Arc::new(AtomicU64::new(0));
        let (publish, progress) = watch::channel(Progress { durable: 0, failure: None });
        let publish = Arc::new(publish);
        let told = Arc::downgrade(&publish);
        // One slot: a wake-up that waits already stands for all later ones.
        let (wake, woken) = sync_channel(1);
        let thread = std::thread::Builder::new().name("store-barrier".to_owned()).spawn({
            let (written, flushes) = (Arc::clone(&written), Arc::clone(&flushes));
            let mut disk = Disk { db, tree, data, mark, number: numbered };
            move || run(&mut disk, &written, &flushes, &woken, &publish)
        })?;
        Ok(Self { written, flushes, progress, publish: told, wake: Some(wake), thread: Some(thread) })
    }

    /// A batch has become visible.
    pub(super) fn wrote(&self) {
        self.written.fetch_add(1, Ordering::SeqCst);
    }

    /// A write has failed. Where the disk has refused it, nothing that waits will become durable: sled
    /// may leave a flush that was under way asleep for ever, so those who wait are told from here.
    pub(super) fn failed(&self, error: &StoreError) {
        let error = failure(error.clone());
        if let Some(publish) = self.publish.upgrade().filter(|_| error.is_disk()) {
            publish.send_modify(|progress| _ = progress.failure.get_or_insert(error));
        }
    }

    pub(super) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    pub(super) async fn wait(&self) -> Result<(), StoreError> {
        let target = self.written.load(Ordering::SeqCst);
        let mut progress = self.progress.clone();
        if let Some(result) = reached(&progress.borrow(), target) {
            return result;
        }
        self.wake()?;
        loop {
            if progress.changed().await.is_err() {
                return Err(stopped());
            }
            if let Some(result) = reached(&progress.borrow_and_update(), target) {
                return result;
            }
        }
    }

    pub(super) fn wait_blocking(&self) -> Result<(), StoreError> {
        let target = self.written.load(Ordering::SeqCst);
        loop {
            if let Some(result) = reached(&self.progress.borrow(), target) {
                return result;
            }
            self.wake()?;
            // One flush takes milliseconds; looking more often would only burn the processor.
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    fn wake(&self) -> Result<(), StoreError> {
        match self.wake.as_ref().map(|wake| wake.try_send(())) {
            Some(Ok(()) | Err(TrySendError::Full(()))) => Ok(()),
            Some(Err(TrySendError::Disconnected(()))) | None => Err(stopped()),
        }
    }
}

impl Drop for Barrier {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was already reported to all who waited.
            drop(thread.join());
        }
    }
}

fn pause_after(covered: u64) -> Option<Duration> {
    let writes = u32::try_from(covered).unwrap_or(u32::MAX);
    (covered >= BUSY_WRITES).then(|| PAUSE_PER_WRITE.saturating_mul(writes).min(PAUSE_MAX))
}

fn reached(progress: &Progress, target: u64) -> Option<Result<(), StoreError>> {
    if let Some(failure) = &progress.failure {
        return Some(Err(failure.clone()));
    }
    (progress.durable >= target).then_some(Ok(()))
}

/// Damage stays what it is; anything else is a disk that refused.
fn failure(error: StoreError) -> StoreError {
    match error {
        StoreError::Database(cause) if !StoreError::Database(cause.clone()).is_damage() => {
            StoreError::NotDurable(cause.to_string())
        }
        other => other,
    }
}

fn stopped() -> StoreError {
    StoreError::NotDurable("the barrier's thread has stopped".to_owned())
}

/// What is flushed.
struct Disk {
    db: sled::Db,
    tree: sled::Tree,
    data: File,
    mark: Mark,
    number: u64,
}

impl Disk {
    /// Makes durable what was written before, under a number of its own.
    fn flush(&mut self) -> Result<(), StoreError> {
        let number = self.number + 1;
        guarded(|| {
            self.tree.insert(FLUSHES, &number.to_be_bytes())?;
            self.db.flush()
        })
        .map_err(failure)?;
        self.data.sync_data().map_err(|error| StoreError::NotDurable(error.to_string()))?;
        self.number = number;
        self.mark.set(number);
        Ok(())
    }
}

fn run(
    disk: &mut Disk,
    written: &AtomicU64,
    flushes: &AtomicU64,
    woken: &Receiver<()>,
    publish: &watch::Sender<Progress>,
) {
    let mut flushed = 0;
    let mut covered = 0;
    while woken.recv().is_ok() {
        if let Some(pause) = pause_after(covered) {
            std::thread::park_timeout(pause);
        }
        let target = written.load(Ordering::SeqCst);
        let result = disk.flush();
        flushes.fetch_add(1, Ordering::Relaxed);
        covered = target - flushed;
        flushed = target;
        match result {
            Ok(()) => publish.send_modify(|progress| progress.durable = target),
            Err(failure) => {
                // After a failed flush the kernel may have dropped the pages: nothing later can be
                // believed, so the failure stands until the store is opened again.
                publish.send_modify(|progress| progress.failure = Some(failure));
                return;
            }
        }
    }
    // The store is being closed: what is written now should still be found.
    if written.load(Ordering::SeqCst) > flushed {
        // Nobody waits for it any more, so nobody could be told of a failure.
        drop(disk.flush());
    }
}
