//! Jobs: the commit with all its indexes, and pages of them.

use std::iter::Peekable;

use serde_json::Value;

use super::Embedded;
use super::guards::put_answer;
use super::keys::{
    AnswerBody, COUNTERS, DUE, EVENTS, EVENTS_OF_PARTY, INVOICES, JOB_COUNTS, JOBS, JOBS_BY_CREATION,
    JOBS_BY_UPDATE, JobRecord, PAYMENTS, REQUESTS, RESULTS, Shelf, side,
};
use crate::points::crash_point;
use crate::protocol::apply::{Rules, Unique, expires_at};
use crate::protocol::{EventId, Job, JobId, Status, Timestamp};
use crate::relay::model::{Committed, JobCommit, JobOrder, JobPage, JobQuery, LogEntry, LogRecord, Role};
use crate::store::{Batch, StoreError};

/// The smallest step of `updated_at`.
const STEP_MICROS: i64 = 1;

impl Embedded {
    pub(super) fn find_job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        let Some(record) = JOBS.get(&self.store, &id)? else { return Ok(None) };
        self.with_payloads(record).map(Some)
    }

    /// A job as its record says, with the payloads that were written apart.
    pub(super) fn with_payloads(&self, record: JobRecord) -> Result<Job, StoreError> {
        let mut job = self.with_request(record.job)?;
        if record.has_result {
            job.result_payload = json(RESULTS.get(&self.store, &job.job_id)?)?;
        }
        Ok(job)
    }

    pub(super) fn with_request(&self, mut job: Job) -> Result<Job, StoreError> {
        job.request_payload = json(REQUESTS.get(&self.store, &job.job_id)?)?;
        Ok(job)
    }

    pub(super) fn commit_job(&self, commit: &JobCommit<'_>) -> Result<Committed, StoreError> {
        let _turn = self.store.writer();
        let id = commit.change.job.job_id;
        let before = JOBS.get(&self.store, &id)?;
        if before.as_ref().map(|record| record.job.updated_at) != commit.expected {
            return Ok(Committed::Lost);
        }
        let mut batch = Batch::default();
        if let Some(unique) = &commit.change.unique
            && !self.reserve(&mut batch, unique, id)?
        {
            return Ok(Committed::Taken(unique.clone()));
        }
        let mut counters = self.counters();
        counters.updated_at =
            commit.now.max(Timestamp::from_micros(counters.updated_at.micros() + STEP_MICROS));
        let mut job = commit.change.job.clone();
        job.updated_at = counters.updated_at;
        if before.is_none() {
            job.created_at = job.updated_at;
            REQUESTS.put(&mut batch, &id, &bytes(&job.request_payload)?);
        }
        let had_result = before.as_ref().is_some_and(|record| record.has_result);
        let has_result = !job.result_payload.is_null();
        if has_result && !had_result {
            RESULTS.put(&mut batch, &id, &bytes(&job.result_payload)?);
        }
        let due = expires_at(&job, commit.rules);
        let slim = Job { request_payload: Value::Null, result_payload: Value::Null, ..job.clone() };
        let record = JobRecord { job: slim, has_result, due };
        JOBS.put(&mut batch, &id, &record)?;
        self.move_in_indexes(&mut batch, before.as_ref(), &record)?;
        if let Some(kind) = commit.change.event {
            counters.head = EventId(counters.head.0 + 1);
            append_event(&mut batch, counters.head, kind, &job)?;
        }
        if let Some(receipt) = commit.receipt {
            put_answer(&mut batch, receipt, AnswerBody::Job(Box::new(record)))?;
        }
        COUNTERS.put(&mut batch, &(), &counters)?;
        crash_point!("relay/job/decided");
        self.store.commit(batch)?;
        crash_point!("relay/job/committed");
        self.set_counters(counters);
        Ok(Committed::Done(Box::new(job)))
    }

    /// Puts what must be unique into the batch; `false` if another job has it.
    fn reserve(&self, batch: &mut Batch, unique: &Unique, id: JobId) -> Result<bool, StoreError> {
        let owner = match unique {
            Unique::PaymentHash(hash) => {
                PAYMENTS.put(batch, hash, &id)?;
                PAYMENTS.get(&self.store, hash)?
            }
            Unique::Invoice(seller, address) => {
                let key = (*seller, address.clone());
                INVOICES.put(batch, &key, &id)?;
                INVOICES.get(&self.store, &key)?
            }
        };
        Ok(owner.is_none_or(|owner| owner == id))
    }

    fn move_in_indexes(
        &self,
        batch: &mut Batch,
        before: Option<&JobRecord>,
        after: &JobRecord,
    ) -> Result<(), StoreError> {
        let (id, created_at) = (after.job.job_id, after.job.created_at);
        let same_shelves = before.is_some_and(|before| before.job.status == after.job.status);
        if let Some(before) = before {
            for shelf in shelves_of(&before.job) {
                JOBS_BY_UPDATE.remove(batch, &(shelf, before.job.updated_at));
                if !same_shelves {
                    JOBS_BY_CREATION.remove(batch, &(shelf, created_at));
                    let count = self.count(&shelf)?.saturating_sub(1);
                    JOB_COUNTS.put(batch, &shelf, &count)?;
                }
            }
            if let Some(due) = before.due {
                DUE.remove(batch, &(due, id));
            }
        }
        for shelf in shelves_of(&after.job) {
            JOBS_BY_UPDATE.put(batch, &(shelf, after.job.updated_at), &id)?;
            if !same_shelves {
                JOBS_BY_CREATION.put(batch, &(shelf, created_at), &id)?;
                JOB_COUNTS.put(batch, &shelf, &(self.count(&shelf)? + 1))?;
            }
        }
        if let Some(due) = after.due {
            DUE.put(batch, &(due, id), &())?;
        }
        Ok(())
    }

    fn count(&self, shelf: &Shelf) -> Result<u64, StoreError> {
        Ok(JOB_COUNTS.get(&self.store, shelf)?.unwrap_or(0))
    }

    pub(super) fn list_jobs(&self, query: &JobQuery) -> Result<JobPage, StoreError> {
        let shelves = shelves_in(query);
        let (ids, total) = match query.order {
            JobOrder::Newest => {
                let scans = shelves.iter().map(|shelf| JOBS_BY_CREATION.prefix(&self.store, shelf).rev());
                let merged = Merge::new(scans, |one, other| one > other);
                let mut total = 0;
                for shelf in &shelves {
                    total += self.count(shelf)?;
                }
                let ids = merged.skip(query.offset).take(query.limit);
                (ids.map(|entry| entry.map(|(_, id)| id)).collect::<Result<Vec<_>, _>>()?, total)
            }
            JobOrder::UpdatedAfter(after) => return self.list_by_update(&shelves, after, query),
        };
        let mut jobs = Vec::with_capacity(ids.len());
        for id in ids {
            jobs.extend(self.find_job(id)?);
        }
        Ok(JobPage { jobs, total })
    }

    /// A page from which a poller goes on without missing anything.
    ///
    /// Jobs move from shelf to shelf while this reads. So it reads up to the last commit before it
    /// began, and leaves out whatever has moved since: that job comes later in the order, where the
    /// poller will find it.
    fn list_by_update(
        &self,
        shelves: &[Shelf],
        after: Timestamp,
        query: &JobQuery,
    ) -> Result<JobPage, StoreError> {
        let end = self.counters().updated_at;
        let scans = shelves
            .iter()
            .map(|shelf| JOBS_BY_UPDATE.prefix_after(&self.store, shelf, &(*shelf, after)))
            .map(|scan| scan.take_while(|entry| !matches!(entry, Ok(((_, at), _)) if *at > end)));
        let mut merged = Merge::new(scans, |one, other| one < other);
        let skipped = merged.by_ref().take(query.offset).count();
        let mut jobs = Vec::new();
        while jobs.len() < query.limit
            && let Some(entry) = merged.next()
        {
            let (at, id) = entry?;
            jobs.extend(self.find_job(id)?.filter(|job| job.updated_at == at));
        }
        let rest: usize = merged.scans.into_iter().map(Iterator::count).sum();
        let total = (skipped + jobs.len() + rest) as u64;
        Ok(JobPage { jobs, total })
    }

    pub(super) fn due_jobs(&self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, StoreError> {
        let mut due = Vec::new();
        for entry in DUE.all(&self.store).take(limit) {
            let ((at, id), ()) = entry?;
            if at > now {
                break;
            }
            due.push(id);
        }
        Ok(due)
    }

    pub(super) fn reschedule_job(&self, id: JobId, rules: &Rules) -> Result<(), StoreError> {
        let _turn = self.store.writer();
        let Some(mut record) = JOBS.get(&self.store, &id)? else { return Ok(()) };
        let mut batch = Batch::default();
        if let Some(due) = record.due {
            DUE.remove(&mut batch, &(due, id));
        }
        record.due = expires_at(&record.job, rules);
        if let Some(due) = record.due {
            DUE.put(&mut batch, &(due, id), &())?;
        }
        JOBS.put(&mut batch, &id, &record)?;
        self.store.commit(batch)
    }
}

fn append_event(
    batch: &mut Batch,
    event_id: EventId,
    kind: crate::protocol::EventType,
    job: &Job,
) -> Result<(), StoreError> {
    let entry = LogEntry {
        event_id,
        job_id: job.job_id,
        kind,
        created_at: job.updated_at,
        seller: job.seller_pubkey,
        buyer: job.buyer_pubkey,
    };
    let entry = LogRecord::Job(entry);
    for reader in entry.readers() {
        EVENTS_OF_PARTY.put(batch, &(reader, event_id), &entry)?;
    }
    EVENTS.put(batch, &event_id, &entry)
}

fn shelves_of(job: &Job) -> Vec<Shelf> {
    let status = place(job.status);
    if job.seller_pubkey == job.buyer_pubkey {
        return vec![(job.seller_pubkey, side::BOTH, status)];
    }
    vec![(job.seller_pubkey, side::SELLER, status), (job.buyer_pubkey, side::BUYER, status)]
}

fn shelves_in(query: &JobQuery) -> Vec<Shelf> {
    let sides = match query.role {
        Some(Role::Seller) => &[side::SELLER, side::BOTH][..],
        Some(Role::Buyer) => &[side::BUYER, side::BOTH],
        None => &[side::SELLER, side::BUYER, side::BOTH],
    };
    let wanted = |status: &Status| query.statuses.is_empty() || query.statuses.contains(status);
    let statuses: Vec<u8> = Status::ALL.into_iter().filter(wanted).map(place).collect();
    sides.iter().flat_map(|&side| statuses.iter().map(move |&status| (query.party, side, status))).collect()
}

/// A status's number in keys, for ever: its place in a job's life.
const fn place(status: Status) -> u8 {
    match status {
        Status::Requested => 0,
        Status::Quoted => 1,
        Status::Accepted => 2,
        Status::Running => 3,
        Status::Delivered => 4,
        Status::Failed => 5,
        Status::Canceled => 6,
        Status::Expired => 7,
    }
}

type Entry = Result<((Shelf, Timestamp), JobId), StoreError>;

/// Several sorted scans as one.
struct Merge<I: Iterator<Item = Entry>> {
    scans: Vec<Peekable<I>>,
    before: fn(Timestamp, Timestamp) -> bool,
}

impl<I: Iterator<Item = Entry>> Merge<I> {
    fn new(scans: impl Iterator<Item = I>, before: fn(Timestamp, Timestamp) -> bool) -> Self {
        Self { scans: scans.map(Iterator::peekable).collect(), before }
    }
}

impl<I: Iterator<Item = Entry>> Iterator for Merge<I> {
    type Item = Result<(Timestamp, JobId), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut best: Option<(usize, Timestamp)> = None;
        for (place, scan) in self.scans.iter_mut().enumerate() {
            match scan.peek() {
                Some(Ok(((_, at), _))) if best.is_none_or(|(_, first)| (self.before)(*at, first)) => {
                    best = Some((place, *at));
                }
                Some(Err(_)) => return scan.next().map(moment_and_id),
                _ => {}
            }
        }
        self.scans.get_mut(best?.0)?.next().map(moment_and_id)
    }
}

fn moment_and_id(entry: Entry) -> Result<(Timestamp, JobId), StoreError> {
    entry.map(|((_, at), id)| (at, id))
}

fn bytes(value: &Value) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value)
        .map_err(|error| StoreError::Record { keyspace: "payloads", reason: error.to_string() })
}

fn json(bytes: Option<Vec<u8>>) -> Result<Value, StoreError> {
    let unreadable = |reason: String| StoreError::Record { keyspace: "payloads", reason };
    let bytes = bytes.ok_or_else(|| unreadable("it is missing".to_owned()))?;
    serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))
}
