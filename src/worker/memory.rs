//! The worker's keyspaces, in one list; their numbers are for ever.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;

use std::collections::BTreeMap;
use std::path::Path;

use nano_currency::{Account, BlockHash};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::coins::journal::{Aside, OwnBlock, Place};
use super::input::Outcome;
use super::money::Piece;
use super::oddity::Oddity;
use super::payment::Invoice;
use super::stage::{Ending, Stage};
use super::v0::{Stall, Ticket};
use crate::protocol::job::JobError;
use crate::protocol::v0::SealingPublicKey;
use crate::protocol::{JobId, OfferId, PublicKey, Status, Timestamp};
use crate::store::{
    Batch, Blobs, Disk, Filling, Key, Keyspace, Migration, OpenError, Options, Store, StoreError,
};

/// The version of this list. 2: whether the worker has looked before it quotes is written down.
pub(super) const SCHEMA: u32 = 2;

/// The way here from each earlier version.
const MIGRATIONS: &[Migration] = &[Migration { from: 1, change: note_the_look }];

/// Memory for pages: the open jobs' records stay in memory anyway, and an idle worker is small.
const CACHE_BYTES: u64 = 8 << 20;

/// Single facts: the cursor, the epoch, the next index, this directory's lasting id.
pub(super) const FACTS: Keyspace<String, String> = Keyspace::new(1, "facts", 1);
/// What the worker knows of each job.
pub(super) const JOBS: Keyspace<JobId, Record> = Keyspace::new(2, "jobs", 1);
/// The jobs to which something is owed.
pub(super) const OPEN: Keyspace<JobId, ()> = Keyspace::new(3, "open", 1);
/// All jobs by the moment they were first seen.
pub(super) const RECENT: Keyspace<(Timestamp, JobId), ()> = Keyspace::new(4, "recent", 1);
/// What each buyer wrote, as compact JSON.
pub(super) const REQUESTS: Blobs<JobId> = Blobs::new(5, "requests");
/// What each buyer is to get, as JSON; the second part counts replacements.
pub(super) const OUTCOMES: Blobs<(JobId, u32)> = Blobs::new(6, "outcomes");
/// What happened to each job, line by line.
pub(super) const HISTORY: Keyspace<(JobId, u32), Entry> = Keyspace::new(7, "history", 1);
/// Which job each block has paid for: inserted once, never changed.
pub(super) const CLAIMS: Keyspace<BlockHash, JobId> = Keyspace::new(8, "claims", 1);
/// Which index each of our invoice accounts has, and for which job it was consumed.
pub(super) const INVOICES: Keyspace<[u8; 32], IssuedInvoice> = Keyspace::new(9, "invoices", 1);
/// Which offer on the relay each offer of the configuration is.
pub(super) const OFFERS: Keyspace<String, RegisteredOffer> = Keyspace::new(10, "offers", 1);
/// The one block of ours that was signed for each place in an invoice account's chain.
pub(super) const COINS: Keyspace<Place, OwnBlock> = Keyspace::new(11, "coins", 1);
/// Each confirmed block that paid an invoice: inserted once, never removed.
pub(super) const MONEY: Keyspace<(JobId, BlockHash), Piece> = Keyspace::new(12, "money", 1);
/// Those of them of which something is owed back and was not sent back yet.
pub(super) const OWED: Keyspace<(JobId, BlockHash), ()> = Keyspace::new(13, "owed", 1);
/// The jobs that are over and whose address is still looked at, and until when.
pub(super) const AFTER: Keyspace<JobId, Timestamp> = Keyspace::new(14, "after", 1);
/// Blocks of ours that were refused for good: what the place is given to afterwards is another one.
pub(super) const ASIDE: Keyspace<([u8; 32], BlockHash), Aside> = Keyspace::new(15, "aside", 1);

/// What a relay of /v0 calls each job, and what only it says of it.
pub(super) const TICKETS: Keyspace<JobId, Ticket> = Keyspace::new(16, "tickets", 1);
/// Which offers on a relay of /v0 each offer of the configuration is, and was.
pub(super) const STALLS: Keyspace<String, Stall> = Keyspace::new(17, "stalls", 1);

/// What each job's letters to its buyer are sealed for, since the job was first heard of.
pub(super) const PINS: Keyspace<JobId, SealingPublicKey> = Keyspace::new(18, "pins", 1);
/// Which holder has seen each job of /v0 not yet marked as paid, of those that a restored state locks.
pub(super) const UNMARKED: Keyspace<JobId, String> = Keyspace::new(19, "unmarked", 1);

/// Opens the worker's store.
///
/// # Errors
/// As [`Store::open_and_migrate`].
pub fn open(dir: &Path) -> Result<Store, OpenError> {
    Store::open_and_migrate(dir, options(SCHEMA), MIGRATIONS)
}

/// The worker's store in memory, on what `disk` has kept.
///
/// # Errors
/// As [`Store::in_memory`].
pub fn open_in_memory(disk: &Disk) -> Result<Store, OpenError> {
    Store::in_memory(disk, options(SCHEMA))
}

/// A new store, to be filled with records of an earlier or of this version.
pub(super) fn fill(dir: &Path, schema: u32) -> Result<Filling, OpenError> {
    Filling::begin(dir, options(schema))
}

const fn options<'a>(schema: u32) -> Options<'a> {
    Options { kind: "worker", schema, cache_bytes: CACHE_BYTES }
}

/// A state that has seen all jobs of its relay knows of every address that it gave away.
fn note_the_look(store: &Store, batch: &mut Batch) -> Result<(), StoreError> {
    if fact(store, fact::SYNCED)?.is_some() {
        put_fact(batch, fact::LOOKED, "yes")?;
    }
    Ok(())
}

/// How the values of a keyspace are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As JSON behind a version byte.
    Json,
    /// As pieces of bytes.
    Blob,
}

/// All keyspaces: number, name, form.
pub(super) const KEYSPACES: [(u8, &str, Form); 19] = [
    (FACTS.id(), "facts", Form::Json),
    (JOBS.id(), "jobs", Form::Json),
    (OPEN.id(), "open", Form::Json),
    (RECENT.id(), "recent", Form::Json),
    (REQUESTS.id(), "requests", Form::Blob),
    (OUTCOMES.id(), "outcomes", Form::Blob),
    (HISTORY.id(), "history", Form::Json),
    (CLAIMS.id(), "claims", Form::Json),
    (INVOICES.id(), "invoices", Form::Json),
    (OFFERS.id(), "offers", Form::Json),
    (COINS.id(), "coins", Form::Json),
    (MONEY.id(), "money", Form::Json),
    (OWED.id(), "owed", Form::Json),
    (AFTER.id(), "after", Form::Json),
    (ASIDE.id(), "aside", Form::Json),
    (TICKETS.id(), "tickets", Form::Json),
    (STALLS.id(), "stalls", Form::Json),
    (PINS.id(), "pins", Form::Json),
    (UNMARKED.id(), "unmarked", Form::Json),
];

/// Reads every record there is: damage shows nowhere else.
///
/// # Errors
/// If the database fails, or a record cannot be read.
pub(super) fn read_all(store: &Store) -> Result<(), StoreError> {
    read_keyspace(store, &FACTS)?;
    read_keyspace(store, &RECENT)?;
    read_keyspace(store, &HISTORY)?;
    read_keyspace(store, &CLAIMS)?;
    read_keyspace(store, &INVOICES)?;
    read_keyspace(store, &OFFERS)?;
    read_keyspace(store, &COINS)?;
    read_keyspace(store, &MONEY)?;
    read_keyspace(store, &OWED)?;
    read_keyspace(store, &ASIDE)?;
    after(store)?;
    read_keyspace(store, &TICKETS)?;
    read_keyspace(store, &STALLS)?;
    read_keyspace(store, &PINS)?;
    read_keyspace(store, &UNMARKED)?;
    open_jobs(store)?;
    for entry in JOBS.all(store) {
        let (job, record) = entry?;
        REQUESTS.get(store, &job)?;
        for number in 1..=record.outcomes {
            outcome(store, job, number)?;
        }
    }
    Ok(())
}

fn read_keyspace<K: Key, V: Serialize + DeserializeOwned>(
    store: &Store,
    keyspace: &Keyspace<K, V>,
) -> Result<(), StoreError> {
    keyspace.all(store).try_for_each(|entry| entry.map(drop))
}

/// Whether nothing of a job is in it: no job, no address, no claim.
pub(super) fn is_bare(store: &Store) -> Result<bool, StoreError> {
    let first = |exists: Option<Result<(), StoreError>>| exists.transpose();
    let jobs = first(JOBS.all(store).next().map(|entry| entry.map(drop)))?;
    let invoices = first(INVOICES.all(store).next().map(|entry| entry.map(drop)))?;
    Ok(jobs.is_none() && invoices.is_none())
}

/// What the worker knows of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What was asked for.
    pub offer_id: OfferId,
    /// Who pays.
    pub buyer_pubkey: PublicKey,
    /// Where it was when last seen.
    pub status: Status,
    /// What is owed.
    pub stage: Stage,
    /// When it was first seen.
    pub first_seen_at: Timestamp,
    /// When the stage last changed.
    pub changed_at: Timestamp,
    /// Lines of its history.
    pub lines: u32,
    /// Outcomes stored for it; the last one counts.
    pub outcomes: u32,
    /// What the buyer was asked, once that is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoice: Option<Invoice>,
    /// Whether an address that was consumed for it is another job's: the relay did not let it be quoted
    /// there, or it was quoted elsewhere, or never.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unquoted: bool,
    /// Whether it failed, on the relay, for want of its payment: whatever came for it was no payment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unpaid: bool,
    /// How its payment was odd.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub oddities: Vec<Oddity>,
}

impl Record {
    /// Whether what comes to an account that was consumed for this job comes for it. An earlier version
    /// did not write down the invoice: then it does, unless it is known not to.
    #[must_use]
    pub fn owns(&self, account: &Account) -> bool {
        self.invoice.map_or(!self.unquoted, |invoice| invoice.account == *account)
    }

    /// Whether it is over on the relay, and its buyer got nothing that he was to pay for.
    #[must_use]
    pub const fn is_for_nothing(&self) -> bool {
        match self.status {
            Status::Canceled | Status::Expired => true,
            Status::Failed => self.unpaid,
            _ => false,
        }
    }

    /// Whether its buyer got what he was to pay for, from another worker or a life that is forgotten.
    #[must_use]
    pub const fn is_earned_elsewhere(&self) -> bool {
        matches!(self.stage, Stage::Ended { ending: Ending::Elsewhere })
            && matches!(self.status, Status::Delivered | Status::Failed)
            && !self.is_for_nothing()
    }
}

/// One line of a job's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub what: String,
    /// What the worker owed afterwards.
    pub stage: String,
}

/// An address index that was consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedInvoice {
    /// The index.
    pub index: u32,
    /// The job it was consumed for, or first seen on.
    pub job_id: Option<JobId>,
}

/// An offer that was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredOffer {
    /// Its id on the relay; absent while the answer to its registration is still awaited.
    pub offer_id: Option<OfferId>,
    /// The idempotency key of its registration.
    pub key: String,
    /// What was last told to the relay, as JSON.
    pub terms: String,
}

/// An outcome as it is stored.
#[derive(Serialize, Deserialize)]
enum StoredOutcome {
    #[serde(rename = "result")]
    Result(serde_json::Value),
    #[serde(rename = "error")]
    Error(JobError),
}

/// Names of the single facts.
pub(super) mod fact {
    /// The last event that was persisted.
    pub(crate) const CURSOR: &str = "cursor";
    /// The epoch that the cursor belongs to.
    pub(crate) const EPOCH: &str = "epoch";
    /// The listing cursor for relays without an event log.
    pub(crate) const LISTING: &str = "listing";
    /// The next address index that was never consumed.
    pub(crate) const NEXT_INDEX: &str = "next_index";
    /// This directory's lasting id, the `holder` of its locks.
    pub(crate) const HOLDER: &str = "holder";
    /// The account of index 0, to recognise a wrong seed.
    pub(crate) const WALLET: &str = "wallet";
    /// The public key of the seller, to recognise a wrong key.
    pub(crate) const SELLER: &str = "seller";
    /// Whether all jobs on the relay were looked at once.
    pub(crate) const SYNCED: &str = "synced";
    /// Whether relay and chain were looked at for addresses that this state does not know, since it
    /// was made or restored. Until then no index is consumed.
    pub(crate) const LOOKED: &str = "looked";
    /// Where this state came from, if not from its own past; as JSON.
    pub(crate) const RESTORED: &str = "restored";
    /// The last backup, as JSON.
    pub(crate) const BACKUP: &str = "backup";
    /// How many payments were odd in which way, as JSON.
    pub(crate) const ODDITIES: &str = "oddities";
    /// How many events were too long to be read.
    pub(crate) const PASSED_OVER: &str = "passed_over";
    /// When coins were last brought home on the schedule.
    pub(crate) const BROUGHT: &str = "brought";
    /// The offer that has got its name here last, while jobs may wait that asked for it before
    /// it had one and were passed over.
    pub(crate) const UNHEARD: &str = "unheard";
    /// Where the money is.
    pub(crate) const NETWORK: &str = "network";
    /// What people should know of the nodes, as JSON.
    pub(crate) const NODES: &str = "nodes";
    /// The offers that the relay refuses, as JSON.
    pub(crate) const REFUSED: &str = "refused";
    /// What a restored state must not believe: since it was saved others may have held its locks,
    /// and what it has heard was heard by a state that is gone.
    pub(crate) const NOT_RESTORED: [&str; 10] =
        [CURSOR, EPOCH, LISTING, HOLDER, SYNCED, LOOKED, RESTORED, BACKUP, NODES, REFUSED];
}

/// Reads a single fact.
///
/// # Errors
/// If the store fails.
pub(super) fn fact(store: &Store, name: &str) -> Result<Option<String>, StoreError> {
    FACTS.get(store, &name.to_owned())
}

/// The next index that was never consumed, if any ever was.
///
/// # Errors
/// If the store fails, or what it has is no number: starting over would use indices twice.
pub(super) fn next_index(store: &Store) -> Result<Option<u32>, StoreError> {
    let damaged =
        || StoreError::Record { keyspace: "facts", reason: "the next index is no number".to_owned() };
    fact(store, fact::NEXT_INDEX)?.map(|text| text.parse().map_err(|_| damaged())).transpose()
}

/// Writes a single fact with a batch.
///
/// # Errors
/// If the value is too large.
pub(super) fn put_fact(batch: &mut Batch, name: &str, value: &str) -> Result<(), StoreError> {
    FACTS.put(batch, &name.to_owned(), &value.to_owned())
}

/// How many events were too long to be read.
///
/// # Errors
/// If the store fails.
pub(super) fn passed_over(store: &Store) -> Result<u64, StoreError> {
    Ok(fact(store, fact::PASSED_OVER)?.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// Counts one more with a batch; a page has one at most.
///
/// # Errors
/// If the store fails.
pub(super) fn count_passed_over(store: &Store, batch: &mut Batch) -> Result<(), StoreError> {
    put_fact(batch, fact::PASSED_OVER, &passed_over(store)?.saturating_add(1).to_string())
}

/// Takes a single fact back with a batch.
pub(super) fn forget_fact(batch: &mut Batch, name: &str) {
    FACTS.remove(batch, &name.to_owned());
}

/// Takes back that jobs of a new offer may be unheard: all jobs were looked at since.
///
/// # Errors
/// If the store fails.
pub(super) fn are_heard(store: &Store) -> Result<(), StoreError> {
    if fact(store, fact::UNHEARD)?.is_none() {
        return Ok(());
    }
    let mut batch = Batch::default();
    forget_fact(&mut batch, fact::UNHEARD);
    store.commit(batch)
}

/// All jobs to which something is owed.
///
/// # Errors
/// If the store fails.
pub(super) fn open_jobs(store: &Store) -> Result<BTreeMap<JobId, Record>, StoreError> {
    OPEN.all(store)
        .map(|entry| {
            let (job, ()) = entry?;
            let record = JOBS.get(store, &job)?.ok_or_else(|| StoreError::Record {
                keyspace: "jobs",
                reason: format!("the open job {job} has no record"),
            })?;
            Ok((job, record))
        })
        .collect()
}

/// The jobs that are over and whose address is still looked at.
///
/// # Errors
/// If the store fails.
pub(super) fn after(store: &Store) -> Result<BTreeMap<JobId, (Record, Timestamp)>, StoreError> {
    AFTER
        .all(store)
        .map(|entry| {
            let (job, until) = entry?;
            let record = JOBS.get(store, &job)?.ok_or_else(|| StoreError::Record {
                keyspace: "jobs",
                reason: format!("the watched job {job} has no record"),
            })?;
            Ok((job, (record, until)))
        })
        .collect()
}

/// Stores an outcome with a batch.
pub(super) fn put_outcome(batch: &mut Batch, job: JobId, number: u32, outcome: &Outcome) {
    let stored = match outcome {
        Outcome::Result(value) => StoredOutcome::Result(value.clone()),
        Outcome::Error(error) => StoredOutcome::Error(error.clone()),
    };
    // A `Value` and a `JobError` always have a JSON form.
    let bytes = serde_json::to_vec(&stored).unwrap_or_default();
    OUTCOMES.put(batch, &(job, number), &bytes);
}

/// Reads the last outcome of a job.
///
/// # Errors
/// If the store fails, or there is none.
pub(super) fn outcome(store: &Store, job: JobId, number: u32) -> Result<Outcome, StoreError> {
    let unreadable = |reason: String| StoreError::Record { keyspace: "outcomes", reason };
    let bytes = OUTCOMES
        .get(store, &(job, number))?
        .ok_or_else(|| unreadable(format!("the outcome of {job} is missing")))?;
    Ok(match serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))? {
        StoredOutcome::Result(value) => Outcome::Result(value),
        StoredOutcome::Error(error) => Outcome::Error(error),
    })
}

/// The account's key as a store's key.
pub(super) fn account_key(account: &Account) -> [u8; 32] {
    *account.as_bytes()
}

#[cfg(test)]
mod fixture;

#[cfg(test)]
mod largest;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_keyspace_has_its_own_number() {
        let mut numbers: Vec<u8> = KEYSPACES.iter().map(|keyspace| keyspace.0).collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
        assert!(!numbers.contains(&0), "0 is the store's own");
    }
}
