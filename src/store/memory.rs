//! A store in memory that forgets what a disk would forget: for simulations.
//!
//! What is committed is visible at once. What has passed the barrier is on the [`Disk`], which
//! outlives the store; the rest is lost in a crash, but for as many of its batches as the crash
//! spares.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use super::StoreError;
use super::tree::Bytes;

/// Keys and their new values; `None` removes.
pub type Writes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

type Map = BTreeMap<Bytes, Bytes>;
type Flush = dyn Fn() -> BoxFuture<'static, Flushed> + Send + Sync;
type Watch = dyn Fn(&Writes) + Send + Sync;
type Spoil = dyn Fn(&mut Writes) + Send + Sync;

/// What a flush of a disk comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// All is on the disk.
    Yes,
    /// The disk says that it failed.
    Failed,
    /// The disk says that all is there, and it is not.
    Pretended,
}

/// What outlives a store in memory. Clones share it.
#[derive(Clone)]
pub struct Disk {
    inner: Arc<Mutex<Inner>>,
    flush: Arc<Flush>,
    watch: Arc<Watch>,
    spoil: Option<Arc<Spoil>>,
}

/// What a disk held at one moment.
#[derive(Clone)]
pub struct Image(Map);

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({} keys)", self.0.len())
    }
}

#[derive(Default)]
struct Inner {
    /// What has passed the barrier.
    durable: Map,
    /// What is visible to the store that is open.
    visible: Map,
    /// What is only visible, in order.
    pending: VecDeque<Writes>,
    /// Batches before the first of `pending`.
    flushed: u64,
    /// Which store is open: an older one can write no longer.
    life: u64,
    flushes: u64,
}

impl Disk {
    /// An empty disk. `flush` takes as long as a flush takes and says how it went; `watch`
    /// sees every batch in the moment it becomes durable.
    pub fn new(
        flush: impl Fn() -> BoxFuture<'static, Flushed> + Send + Sync + 'static,
        watch: impl Fn(&Writes) + Send + Sync + 'static,
    ) -> Self {
        Self { inner: Arc::default(), flush: Arc::new(flush), watch: Arc::new(watch), spoil: None }
    }

    /// The same disk, on which `spoil` changes what is written, as nothing but a bug does.
    #[must_use]
    pub fn spoilt(self, spoil: impl Fn(&mut Writes) + Send + Sync + 'static) -> Self {
        Self { spoil: Some(Arc::new(spoil)), ..self }
    }

    /// Ends the store that is open: of the batches that have not passed the barrier, the first
    /// `spared` are on the disk all the same, the others are lost.
    pub fn crash(&self, spared: usize) {
        let mut inner = self.lock();
        inner.life += 1;
        let target = inner.flushed + spared.min(inner.pending.len()) as u64;
        inner.flush_to(target, &*self.watch);
        inner.pending.clear();
        inner.visible = inner.durable.clone();
    }

    /// Loses all keys that begin with a prefix, as nothing but a bug does.
    pub fn forget(&self, prefix: &[u8]) {
        let mut inner = self.lock();
        inner.durable.retain(|key, _| !key.starts_with(prefix));
        inner.visible.retain(|key, _| !key.starts_with(prefix));
    }

    /// All that has passed the barrier, as a backup has it.
    #[must_use]
    pub fn image(&self) -> Image {
        Image(self.lock().durable.clone())
    }

    /// Ends the store that is open, and puts an earlier image in its place.
    pub fn restore(&self, image: &Image) {
        let mut inner = self.lock();
        let (durable, visible) = (image.0.clone(), image.0.clone());
        *inner = Inner { life: inner.life + 1, durable, visible, ..Inner::default() };
    }

    /// Loses everything.
    pub fn wipe(&self) {
        let mut inner = self.lock();
        *inner = Inner { life: inner.life + 1, ..Inner::default() };
    }

    /// The durable bytes under a key of a keyspace.
    #[must_use]
    pub fn durable(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.lock().durable.get(key).map(|bytes| bytes.to_vec())
    }

    /// Batches that have not passed the barrier.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.lock().pending.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is whole between two statements that can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Disk {
    /// A disk that needs no time.
    fn default() -> Self {
        Self::new(|| ready(Flushed::Yes).boxed(), |_| ())
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Disk({} keys)", self.lock().durable.len())
    }
}

impl Inner {
    fn flush_to(&mut self, target: u64, watch: &Watch) {
        while self.flushed < target
            && let Some(writes) = self.pending.pop_front()
        {
            watch(&writes);
            apply(&mut self.durable, writes);
            self.flushed += 1;
        }
    }
}

/// One life of a store on a disk.
pub(super) struct Memory {
    disk: Disk,
    life: u64,
}

impl Memory {
    pub(super) fn open(disk: &Disk) -> Self {
        let mut inner = disk.lock();
        inner.life += 1;
        let life = inner.life;
        drop(inner);
        Self { disk: disk.clone(), life }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.disk.lock().visible.get(key).cloned()
    }

    pub(super) fn range(&self, range: (Bound<Vec<u8>>, Bound<Vec<u8>>)) -> Range {
        Range { disk: self.disk.clone(), from: range.0, to: range.1 }
    }

    pub(super) fn apply(&self, mut writes: Writes) -> Result<(), StoreError> {
        if let Some(spoil) = &self.disk.spoil {
            spoil(&mut writes);
        }
        let mut inner = self.alive()?;
        apply(&mut inner.visible, writes.clone());
        inner.pending.push_back(writes);
        Ok(())
    }

    pub(super) async fn durable(&self) -> Result<(), StoreError> {
        let target = {
            let inner = self.alive()?;
            inner.flushed + inner.pending.len() as u64
        };
        if self.alive()?.flushed >= target {
            return Ok(());
        }
        let flushed = (self.disk.flush)().await;
        let mut inner = self.alive()?;
        inner.flushes += 1;
        match flushed {
            Flushed::Yes => inner.flush_to(target, &*self.disk.watch),
            Flushed::Pretended => {}
            Flushed::Failed => return Err(StoreError::NotDurable("the disk failed".to_owned())),
        }
        Ok(())
    }

    pub(super) fn durable_now(&self) -> Result<(), StoreError> {
        let mut inner = self.alive()?;
        let target = inner.flushed + inner.pending.len() as u64;
        inner.flush_to(target, &*self.disk.watch);
        Ok(())
    }

    pub(super) fn flushes(&self) -> u64 {
        self.disk.lock().flushes
    }

    fn alive(&self) -> Result<MutexGuard<'_, Inner>, StoreError> {
        let inner = self.disk.lock();
        if inner.life == self.life {
            return Ok(inner);
        }
        Err(StoreError::NotDurable("the store is no longer open".to_owned()))
    }
}

/// Entries between two keys, read one by one.
pub(super) struct Range {
    disk: Disk,
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
}

impl Range {
    fn is_empty(&self) -> bool {
        match (&self.from, &self.to) {
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => {
                from >= to
            }
            _ => false,
        }
    }

    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        fn borrow(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
            match bound {
                Bound::Included(key) => Bound::Included(key),
                Bound::Excluded(key) => Bound::Excluded(key),
                Bound::Unbounded => Bound::Unbounded,
            }
        }
        (borrow(&self.from), borrow(&self.to))
    }
}

impl Iterator for Range {
    type Item = (Bytes, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_empty() {
            return None;
        }
        let inner = self.disk.lock();
        let (key, value) = inner.visible.range::<[u8], _>(self.bounds()).next()?;
        let found = (key.clone(), value.clone());
        drop(inner);
        self.from = Bound::Excluded(found.0.to_vec());
        Some(found)
    }
}

impl DoubleEndedIterator for Range {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.is_empty() {
            return None;
        }
        let inner = self.disk.lock();
        let (key, value) = inner.visible.range::<[u8], _>(self.bounds()).next_back()?;
        let found = (key.clone(), value.clone());
        drop(inner);
        self.to = Bound::Excluded(found.0.to_vec());
        Some(found)
    }
}

fn apply(map: &mut Map, writes: Writes) {
    for (key, value) in writes {
        match value {
            Some(value) => drop(map.insert(key.into(), value.into())),
            None => drop(map.remove(key.as_slice())),
        }
    }
}
