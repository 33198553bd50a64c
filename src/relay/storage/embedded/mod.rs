//! The storage of a relay that is one process: a directory, and nothing to install.
//!
//! Writers take turns, so that what is decided inside a commit sees all commits before it. Reads are
//! microseconds from memory and are done where they are asked for.

mod bazaar;
mod clearing;
#[cfg(any(test, fuzzing))]
pub(in crate::relay) mod fuzzing;
mod guards;
mod jobs;
mod keys;
mod lists;
mod log;
mod market;
mod offers;

use std::future::ready;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;

use super::{Answer, Storage, StorageError};
use crate::edge::Entropy;
use crate::points::crash_point;
use crate::protocol::apply::Rules;
use crate::protocol::{Epoch, EventId, Job, JobId, Offer, OfferId, PublicKey, Refusal, Timestamp};
use crate::relay::model::{
    Claim, Claimed, Committed, Cursor, EventQuery, Horizon, JobCommit, JobPage, JobQuery, LogEntry,
    LogRecord, LogState, OfferPage, OfferQuery, OfferSave, Receipt,
};
use crate::store::{Batch, Disk, OpenError, Options, Store, StoreError};
use clearing::Places;
use guards::Running;
use keys::{COUNTERS, Counters, NOTES, OFFERS};
use market::Standing;

/// What a relay's store says that it is.
const KIND: &str = "relay";

/// The version of the keyspaces in `keys`.
const SCHEMA: u32 = 1;

/// A storage in one directory, for one process.
#[derive(Debug)]
pub struct Embedded {
    store: Store,
    epoch: Epoch,
    counters: Mutex<Counters>,
    running: Running,
    heads: watch::Sender<EventId>,
    standing: Mutex<Standing>,
    clearing: Mutex<Places>,
}

impl Embedded {
    /// Opens the storage in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// If the directory cannot be used, or holds something else.
    pub fn open(dir: &Path, cache_bytes: u64, entropy: &Entropy) -> Result<Self, OpenError> {
        Self::on(Store::open(dir, Options { kind: KIND, schema: SCHEMA, cache_bytes })?, entropy)
    }

    /// A storage in memory, on what `disk` has kept.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn in_memory(disk: &Disk, entropy: &Entropy) -> Result<Self, OpenError> {
        Self::on(Store::in_memory(disk, Options { kind: KIND, schema: SCHEMA, cache_bytes: 0 })?, entropy)
    }

    fn on(store: Store, entropy: &Entropy) -> Result<Self, OpenError> {
        let name = "epoch".to_owned();
        let epoch = match NOTES.get(&store, &name)? {
            Some(epoch) => epoch,
            None => {
                let epoch = hex::encode(entropy.bytes::<16>());
                let mut batch = Batch::default();
                NOTES.put(&mut batch, &name, &epoch)?;
                store.commit(batch)?;
                crash_point!("relay/start/noted");
                store.durable_blocking()?;
                epoch
            }
        };
        let counters = COUNTERS.get(&store, &())?.unwrap_or_default();
        let (heads, _) = watch::channel(counters.head);
        let (epoch, counters) = (Epoch(epoch), Mutex::new(counters));
        let standing = Mutex::new(Standing::read(&store)?);
        Ok(Self {
            store,
            epoch,
            counters,
            running: Running::default(),
            heads,
            standing,
            clearing: Mutex::default(),
        })
    }

    fn counters(&self) -> Counters {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_counters(&self, counters: Counters) {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner) = counters;
    }

    fn forget_step(&self, horizon: Horizon, limit: usize) -> Result<bool, StoreError> {
        let nonces = self.forget_nonces(horizon.nonces, limit)?;
        let answers = self.forget_answers(horizon.answers, limit)?;
        let events = self.forget_events(horizon.events, limit)?;
        Ok(nonces || answers || events)
    }

    async fn make_durable(&self) -> Result<(), StorageError> {
        let head = self.counters().head;
        self.store.durable().await?;
        self.heads.send_if_modified(|known| {
            let news = head > *known;
            *known = head.max(*known);
            news
        });
        Ok(())
    }
}

pub(super) fn now<'a, T: Send + 'a>(result: Result<T, StoreError>) -> Answer<'a, T> {
    ready(result.map_err(StorageError::from)).boxed()
}

impl Storage for Embedded {
    fn job(&self, id: JobId) -> Answer<'_, Option<Job>> {
        now(self.find_job(id))
    }

    fn commit<'a>(&'a self, commit: JobCommit<'a>) -> Answer<'a, Committed> {
        now(self.commit_job(&commit))
    }

    fn jobs<'a>(&'a self, query: &'a JobQuery) -> Answer<'a, JobPage> {
        now(self.list_jobs(query))
    }

    fn due(&self, at: Timestamp, limit: usize) -> Answer<'_, Vec<JobId>> {
        now(self.due_jobs(at, limit))
    }

    fn reschedule<'a>(&'a self, id: JobId, rules: &'a Rules) -> Answer<'a, ()> {
        now(self.reschedule_job(id, rules))
    }

    fn offer(&self, id: OfferId) -> Answer<'_, Option<Offer>> {
        now(OFFERS.get(&self.store, &id))
    }

    fn save_offer<'a>(&'a self, save: OfferSave<'a>) -> Answer<'a, bool> {
        now(self.put_offer(&save))
    }

    fn offers<'a>(&'a self, query: &'a OfferQuery) -> Answer<'a, OfferPage> {
        now(self.list_offers(query))
    }

    fn log(&self) -> Answer<'_, LogState> {
        now(self.log_state())
    }

    fn events<'a>(&'a self, query: &'a EventQuery) -> Answer<'a, Vec<(LogEntry, Job)>> {
        now(self.events_of(query))
    }

    fn entries(&self, after: EventId, limit: usize) -> Answer<'_, Vec<LogRecord>> {
        now(self.entries_after(after, limit))
    }

    fn cursor(&self, party: PublicKey) -> Answer<'_, Cursor> {
        now(self.cursor_of(&party))
    }

    fn acknowledge<'a>(
        &'a self,
        party: PublicKey,
        up_to: EventId,
        receipt: Option<&'a Receipt>,
    ) -> Answer<'a, EventId> {
        now(self.ack(&party, up_to, receipt))
    }

    fn heads(&self) -> watch::Receiver<EventId> {
        self.heads.subscribe()
    }

    fn spend_nonce<'a>(
        &'a self,
        party: PublicKey,
        nonce: &'a str,
        at: Timestamp,
        ttl: Duration,
    ) -> Answer<'a, bool> {
        now(self.use_nonce(party, nonce, at, ttl))
    }

    fn claim<'a>(&'a self, claim: &'a Claim, at: Timestamp, lease: Duration) -> Answer<'a, Claimed> {
        now(self.claim_key(claim, at, lease))
    }

    fn release(&self, claim: &Claim) {
        self.running.release(claim);
    }

    fn record<'a>(&'a self, receipt: &'a Receipt, refusal: &'a Refusal) -> Answer<'a, ()> {
        now(self.record_refusal(receipt, refusal))
    }

    fn forget(&self, horizon: Horizon, limit: usize) -> Answer<'_, bool> {
        now(self.forget_step(horizon, limit))
    }

    fn is_short(&self) -> bool {
        crate::store::is_short(self.store.dir())
    }

    fn durable(&self) -> Answer<'_, ()> {
        self.make_durable().boxed()
    }
}

#[cfg(test)]
mod fixture;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::protocol::Timestamp;
    use crate::relay::model::JobOrder;
    use crate::store::Keyspace;

    fn open(dir: &Path) -> Embedded {
        Embedded::open(dir, 8 << 20, &Entropy::system()).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_passes_the_contract() {
        let dir = tempfile::tempdir().unwrap();
        let number = std::sync::atomic::AtomicU32::new(0);
        super::super::contract::check(|| {
            let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let storage: Arc<dyn Storage> = Arc::new(open(&dir.path().join(number.to_string())));
            std::future::ready(storage)
        })
        .await;
    }

    /// Known in others: a cursor without an epoch, which a replaced storage makes silently wrong. And a nonce
    /// that a restart makes fresh again.
    #[tokio::test]
    async fn its_epoch_and_its_nonces_outlive_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let (party, at) = (PublicKey::from_bytes([1; 32]), Timestamp::from_seconds(5_000));
        let ttl = Duration::from_secs(600);
        let epoch = {
            let storage = open(dir.path());
            assert!(storage.spend_nonce(party, "aa", at, ttl).await.unwrap());
            storage.durable().await.unwrap();
            storage.log().await.unwrap().epoch
        };
        let storage = open(dir.path());
        assert_eq!(storage.log().await.unwrap().epoch, epoch);
        assert!(!storage.spend_nonce(party, "aa", at, ttl).await.unwrap());
        let other = tempfile::tempdir().unwrap();
        assert_ne!(open(other.path()).log().await.unwrap().epoch, epoch);
    }

    #[test]
    fn it_says_when_its_disk_is_short_of_room() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("state");
        let storage = open(&place);
        assert_eq!(storage.is_short(), crate::store::is_short(dir.path()));
        // The open files stay where they are; in their folder's place there is one that holds nothing.
        std::fs::rename(&place, dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("/proc", &place).unwrap();
        assert!(storage.is_short());
    }

    #[test]
    fn a_disk_that_refuses_is_told_from_a_record_that_cannot_be_read() {
        let told = |error: StoreError| StorageError::from(error).is_disk();
        assert!(told(StoreError::NotDurable("no room".to_owned())));
        assert!(!told(StoreError::Busy));
    }

    #[tokio::test]
    async fn what_it_counts_goes_on_in_its_next_life() {
        let dir = tempfile::tempdir().unwrap();
        let mut before = None;
        for number in 1..=2u8 {
            let storage = open(dir.path());
            assert_eq!(*storage.heads().borrow(), EventId(u64::from(number) - 1));
            let job = super::super::contract::job(number);
            let made =
                super::super::contract::put(&storage, job, None, crate::protocol::EventType::Requested);
            let updated_at = made.await.updated_at;
            assert!(Some(updated_at) > before);
            before = Some(updated_at);
            storage.durable().await.unwrap();
            assert_eq!(storage.log().await.unwrap().head, EventId(u64::from(number)));
        }
    }

    #[tokio::test]
    async fn an_index_that_cannot_be_read_is_an_error_and_not_a_shorter_list() {
        let dir = tempfile::tempdir().unwrap();
        let storage = open(dir.path());
        let (party, at) = (PublicKey::from_bytes([1; 32]), Timestamp::from_seconds(5_000));
        for (id, order) in [(6, JobOrder::Newest), (7, JobOrder::UpdatedAfter(Timestamp::default()))] {
            let newer: Keyspace<(keys::Shelf, Timestamp), u8> = Keyspace::new(id, "newer", 200);
            let mut batch = Batch::default();
            newer.put(&mut batch, &((party, 0, 0), at), &0).unwrap();
            storage.store.commit(batch).unwrap();
            let query = JobQuery { party, role: None, statuses: Vec::new(), order, offset: 0, limit: 5 };
            // What is newer than all that was counted is not looked at.
            let end = storage.counters();
            storage.set_counters(Counters { updated_at: at, ..end });
            assert!(storage.jobs(&query).await.is_err(), "{order:?}");
        }
    }
}
