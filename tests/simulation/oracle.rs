//! What must never happen, checked in the moment in which it would.
//!
//! It reads what is on the disks and what is on the wire, by the numbers of the keyspaces and the
//! names of the fields, and shares no code with what it judges but the table of moves.

use std::collections::{BTreeMap, BTreeSet};

use mock_nano_rpc::ledger::Ledger;
use nano_worker::client::wire::{Request, Response};
use nano_worker::nano::{Account, Amount, BlockHash};
use nano_worker::protocol::lifecycle::TRANSITIONS;
use nano_worker::protocol::{Job, JobId, Status, Timestamp};
use nano_worker::store::{Disk, Writes};
use nano_worker::worker::executor::Run;
use serde::Deserialize;
use serde_json::Value;

use crate::bots::Bazaar;
use crate::coins::Published;
use crate::ends::Ends;
use crate::plan::{Host, Offer, Plan};
use crate::world::World;

/// The workers' keyspaces.
pub(crate) mod worker {
    pub(crate) const FACTS: u8 = 1;
    pub(crate) const JOBS: u8 = 2;
    pub(crate) const OUTCOMES: u8 = 6;
    pub(crate) const CLAIMS: u8 = 8;
    pub(crate) const INVOICES: u8 = 9;
}

/// The relay's.
mod relay {
    pub(super) const JOBS: u8 = 3;
    pub(super) const REQUESTS: u8 = 4;
    pub(super) const RESULTS: u8 = 5;
    pub(super) const OFFERS: u8 = 12;
    pub(super) const EVENTS: u8 = 15;
    pub(super) const BAZAAR_OFFERS: u8 = 23;
    pub(super) const BAZAAR_JOBS: u8 = 25;
}

/// What has happened so far, as far as it matters.
#[derive(Default)]
pub(crate) struct Oracle {
    /// Whether several workers use the same indices.
    pub(crate) shared: bool,
    /// Which job each block has paid for, over all workers.
    pub(crate) claims: BTreeMap<Vec<u8>, JobId>,
    /// For which job each worker has used each account.
    pub(crate) accounts: BTreeMap<(usize, Vec<u8>), JobId>,
    /// On which job each account was quoted, over all lives of the relay's storage.
    pub(crate) quoted: BTreeMap<String, JobId>,
    /// The jobs on the relay's disk.
    pub(crate) jobs: BTreeMap<JobId, Job>,
    /// The titles of the offers there.
    pub(crate) offers: BTreeSet<String>,
    /// Jobs that were lost with the relay's storage, as they were.
    pub(crate) lost: BTreeMap<JobId, Job>,
    /// Addresses that two jobs have, because a relay lost everything.
    pub(crate) reused: BTreeSet<String>,
    /// What bears on how jobs end.
    pub(crate) ends: Ends,
    /// What anybody was told of a job last.
    told: BTreeMap<JobId, Timestamp>,
    running: BTreeMap<JobId, (usize, u64)>,
    starts: BTreeMap<JobId, u32>,
    /// Each worker's durable stages.
    pub(crate) stages: BTreeMap<usize, BTreeMap<JobId, Stage>>,
    /// What bots trade.
    pub(crate) bazaar: Bazaar,
    /// What has left the workers for the chain.
    pub(crate) published: Published,
    pub(crate) handled: u32,
    pub(crate) restarted: u32,
    pub(crate) ended: u32,
}

/// What a worker owes a job, as it is on its disk.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Stage {
    #[serde(rename = "stage")]
    pub(crate) name: String,
    pub(crate) ending: Ending,
}

/// How a job ended for a worker.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Ending {
    #[serde(rename = "ending")]
    pub(crate) name: String,
}

/// A job as it is on the relay's disk.
#[derive(Deserialize)]
struct Docket {
    job: Job,
}

#[derive(Deserialize)]
struct Record {
    stage: Stage,
}

impl Oracle {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            shared: plan.workers > 1 && plan.same_indices,
            ends: Ends::new(plan),
            stages: (0..plan.sellers()).map(|index| (index, BTreeMap::new())).collect(),
            ..Self::default()
        }
    }

    /// A batch has become durable at a worker.
    pub(crate) fn worker_wrote(&mut self, index: usize, writes: &Writes, now_ms: u64) -> Vec<String> {
        let mut found = Vec::new();
        for (key, value) in writes {
            self.ends.booked(index, key, value.as_deref());
            let Some(value) = value else { continue };
            match key[0] {
                worker::JOBS => {
                    let Record { stage } = read(value);
                    let job = JobId::from_bytes(key[1..].try_into().unwrap());
                    self.ends.decided(job, &read::<Value>(value)["stage"], now_ms);
                    if stage.name == "stopping" {
                        self.ends.cut(job);
                    }
                    self.stages.entry(index).or_default().insert(job, stage);
                }
                worker::CLAIMS => {
                    let job: JobId = read(value);
                    let known = *self.claims.entry(key[1..].to_vec()).or_insert(job);
                    if known != job {
                        found.push(format!("block {} is claimed by {known} and {job}", hex(&key[1..])));
                    }
                }
                worker::INVOICES => {
                    let issued: Value = read(value);
                    let Some(job) = issued["job_id"].as_str().and_then(|id| id.parse().ok()) else {
                        continue;
                    };
                    let known = *self.accounts.entry((index, key[1..].to_vec())).or_insert(job);
                    if known != job {
                        found.push(format!(
                            "worker {index} used index {} for {known} and {job}",
                            issued["index"]
                        ));
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// A batch has become durable at the relay; whether there was an event in it.
    pub(crate) fn relay_wrote(&mut self, writes: &Writes, now_ms: u64) -> (bool, Vec<String>) {
        let mut found = Vec::new();
        let mut news = false;
        for (key, value) in writes {
            match (key[0], value) {
                (relay::REQUESTS, Some(value)) => self.ends.asked(key, value),
                (relay::RESULTS, Some(value)) => self.ends.answered(key, value),
                _ => {}
            }
        }
        for (key, value) in writes {
            let Some(value) = value else { continue };
            match key[0] {
                relay::EVENTS => news = true,
                relay::OFFERS => {
                    let offer: Value = read(value);
                    self.offers.extend(offer["title"].as_str().map(str::to_owned));
                }
                relay::BAZAAR_OFFERS => self.bazaar.offered += 1,
                relay::BAZAAR_JOBS => found.extend(self.bazaar.moved(read(value))),
                relay::JOBS => match serde_json::from_slice(&value[1..]) {
                    Ok(Docket { job }) => found.extend(self.moved(job, now_ms)),
                    Err(error) => found.push(format!("the relay wrote a job that cannot be read: {error}")),
                },
                _ => {}
            }
        }
        (news, found)
    }

    fn moved(&mut self, job: Job, now_ms: u64) -> Vec<String> {
        let mut found = Vec::new();
        let id = job.job_id;
        match self.jobs.get(&id) {
            None if job.status != Status::Requested => {
                found.push(format!("job {id} begins as {}", job.status))
            }
            None => {}
            Some(before) => {
                self.ends.taken_over(before, &job);
                let (from, to) = (before.status, job.status);
                if !TRANSITIONS.iter().any(|row| row.from == from && row.to == to) {
                    found.push(format!("job {id} went from {from} to {to}"));
                }
                if job.updated_at <= before.updated_at {
                    found.push(format!("job {id} changed without a later time"));
                }
                if before.payment_tx_hash.is_some() && before.payment_tx_hash != job.payment_tx_hash {
                    found.push(format!("job {id} has another payment"));
                }
                if job.lock_token < before.lock_token {
                    found.push(format!("job {id} has an older token"));
                }
            }
        }
        if let Some(address) = &job.quote_invoice_address {
            let known = *self.quoted.entry(address.clone()).or_insert(id);
            let claimed = self.claims.values().any(|job| *job == known);
            if self.shared && self.lost.contains_key(&known) && !claimed {
                // A worker whose first look at this relay comes after it lost everything: what was given
                // away by another of the same seed, and not paid, has left no trace that it could find.
                self.quoted.insert(address.clone(), id);
                self.reused.insert(address.clone());
            } else if known != id {
                found.push(format!("{address} is quoted on {known} and {id}"));
            }
        }
        if job.status.is_final() {
            self.ended += 1;
        }
        if matches!(job.status, Status::Delivered | Status::Failed) {
            found.extend(self.ends.judge(&job, now_ms));
        }
        self.jobs.insert(id, job);
        found
    }

    pub(crate) fn relay_replaced(&mut self) {
        self.lost.extend(std::mem::take(&mut self.jobs));
        self.told.clear();
        self.offers.clear();
        self.bazaar.relay_replaced();
    }

    /// Nobody holds a lock any more, and who runs does not know it.
    pub(crate) fn locks_ran_out(&mut self) {
        self.running.clear();
    }

    /// A handler's first instant.
    pub(crate) fn handler_starts(
        &mut self,
        index: usize,
        life: u64,
        offer: Offer,
        run: &Run,
        disk: &Disk,
        ledger: &Ledger,
    ) -> Vec<String> {
        let mut found = Vec::new();
        let id = run.job_id;
        self.handled += 1;
        self.ends.handler_starts(index, run);
        if let Some((other, _)) = self.running.insert(id, (index, life)) {
            found.push(format!("{id} runs at worker {other} and worker {index}"));
        }
        let starts = self.starts.entry(id).or_default();
        *starts += 1;
        self.restarted += u32::from(*starts > 1);
        if *starts > 1 && !offer.is_idempotent() {
            found.push(format!("{id} must not be repeated and was started {starts} times"));
        }
        let record = disk.durable(&key(worker::JOBS, id.as_bytes()));
        let stage = record.map(|bytes| read::<Value>(&bytes)["stage"].clone()).unwrap_or_default();
        if stage["stage"] != "running" || stage["attempt"] != run.attempt {
            found.push(format!("{id} runs though its durable stage is {}", stage["stage"]));
            return found;
        }
        found.extend(self.unpaid(id, &stage["paid"], ledger));
        found
    }

    /// What is wrong with the payment that a handler is run for.
    fn unpaid(&self, id: JobId, paid: &Value, ledger: &Ledger) -> Option<String> {
        let account: Account = serde_json::from_value(paid["invoice"]["account"].clone()).unwrap();
        let price: Amount = serde_json::from_value(paid["invoice"]["price"].clone()).unwrap();
        let blocks: Vec<BlockHash> = serde_json::from_value(paid["blocks"].clone()).unwrap();
        let mut sum = Amount::ZERO;
        for hash in blocks {
            let Some(block) = ledger.block(&hash).filter(|block| block.confirmed) else {
                return Some(format!("{id} runs for block {hash}, which is not confirmed"));
            };
            if block.destination != Some(account) {
                return Some(format!("{id} runs for block {hash}, which pays somebody else"));
            }
            if self.claims.get(hash.as_bytes().as_slice()) != Some(&id) {
                return Some(format!("{id} runs for block {hash}, which is not durably claimed"));
            }
            sum = sum.saturating_add(block.amount);
        }
        (sum < price).then(|| format!("{id} runs for {sum} of {price}"))
    }

    pub(crate) fn handler_ended(&mut self, job: JobId, worker: usize, life: u64, finished: bool) {
        self.ends.handler_ended(worker, job, finished);
        if self.running.get(&job) == Some(&(worker, life)) {
            self.running.remove(&job);
        }
    }

    /// What ran there has died too.
    pub(crate) fn worker_died(&mut self, index: usize) {
        self.running.retain(|_, (worker, _)| *worker != index);
        // The attempt is on the disk before the handler starts: nobody can tell whether it has.
        let begun = self.stages[&index].iter().filter(|(_, stage)| stage.name == "running");
        for job in begun.map(|(job, _)| *job).collect::<Vec<_>>() {
            self.ends.cut(job);
        }
    }

    fn answered_job(&mut self, path: &str, job: &Job, known: Option<Timestamp>) -> Option<String> {
        let id = job.job_id;
        if self.lost.contains_key(&id) {
            return None;
        }
        let durable = self.jobs.get(&id).map(|job| job.updated_at);
        if durable.is_none_or(|durable| durable < job.updated_at) {
            return Some(format!("{path} told of {id} what was not durable"));
        }
        if known.is_some_and(|known| job.updated_at < known) {
            return Some(format!("{path} took back what was told of {id}"));
        }
        let told = self.told.entry(id).or_default();
        *told = job.updated_at.max(*told);
        None
    }
}

impl World {
    /// A request leaves a process.
    pub(crate) fn sent(&self, from: Host, request: &Request) {
        let Host::Worker(index) = from else { return };
        let promise = if request.target.starts_with("/v0/") {
            self.lock_oracle().unkept_by_a_bot(self.worker_disk(index), request)
        } else {
            unkept_promise(self.worker_disk(index), request)
        };
        if let Some(what) = promise {
            self.violation(format!("worker {index}: {what}"));
        }
    }

    /// What anybody had been told of a job when a request for it arrived.
    pub(crate) fn known_by(&self, request: &Request) -> Option<Timestamp> {
        self.lock_oracle().told.get(&job_in(&request.target)?).copied()
    }

    /// An answer leaves the relay.
    pub(crate) fn answered(
        &self,
        from: Host,
        request: &Request,
        response: &Response,
        known: Option<Timestamp>,
    ) {
        let path = request.target.as_str();
        self.say(|| {
            let text = String::from_utf8_lossy(&response.body);
            format!("relay answers {from:?} {} {path} {} {:.300}", request.method, response.status, text)
        });
        match response.status {
            401 => self.count("signatures refused"),
            409 => self.count("conflicts"),
            410 => self.count("cursors too old"),
            429 => self.count("limits"),
            _ => {}
        }
        if path.starts_with("/v0/") && response.status >= 500 {
            self.violation(format!("{path} was answered with {}", response.status));
        }
        if !path.starts_with("/v1/jobs/") {
            return;
        }
        let mut oracle = self.lock_oracle();
        let what = match response.status {
            200..300 if !response.headers.contains_key("idempotency-replayed") => {
                let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
                let job = serde_json::from_value::<Job>(body["job"].clone()).ok();
                job.and_then(|job| oracle.answered_job(path, &job, known))
            }
            404 if known.is_some() => Some(format!("{path} is not known any more")),
            // Its own disk never fails here.
            500.. => Some(format!("{path} was answered with {}", response.status)),
            _ => None,
        };
        drop(oracle);
        if let Some(what) = what {
            self.violation(what);
        }
    }
}

fn job_in(target: &str) -> Option<JobId> {
    target.strip_prefix("/v1/jobs/")?.split(['/', '?']).next()?.parse().ok()
}

/// What a worker says before the state that says so is durable.
fn unkept_promise(disk: &Disk, request: &Request) -> Option<String> {
    let body = || serde_json::from_slice::<Value>(&request.body).unwrap_or_default();
    if request.target == "/v1/poll/ack" {
        let wanted = body()["up_to_event_id"].as_u64()?;
        let durable = disk.durable(&key(worker::FACTS, b"cursor"));
        let cursor = durable.and_then(|bytes| read::<String>(&bytes).parse().ok()).unwrap_or(0);
        return (wanted > cursor).then(|| format!("event {wanted} acknowledged, {cursor} durable"));
    }
    let (id, verb) = request.target.strip_prefix("/v1/jobs/")?.split_once('/')?;
    let job: JobId = id.parse().ok()?;
    let record = disk.durable(&key(worker::JOBS, job.as_bytes()));
    match verb {
        "quote" => {
            let address = body()["quote_invoice_address"].as_str()?.parse::<Account>().ok()?;
            let issued = disk.durable(&key(worker::INVOICES, address.as_bytes()));
            let owner = issued.map(|bytes| read::<Value>(&bytes)["job_id"].clone());
            (owner != Some(Value::String(id.to_owned())))
                .then(|| format!("quoted {address} for {id}, which is not durably its own"))
        }
        "lock" => match record {
            None => Some(format!("locked {id}, of which nothing is durable")),
            Some(record) => locked_too_early(disk, job, &read::<Value>(&record)["stage"]),
        },
        "deliver" => {
            let record: Value = record.map(|bytes| read(&bytes)).unwrap_or_default();
            let number = record["outcomes"].as_u64().unwrap_or(0);
            let mut outcome = key(worker::OUTCOMES, job.as_bytes());
            outcome.extend(u32::try_from(number).unwrap().to_be_bytes());
            outcome.extend(0u16.to_be_bytes());
            (number == 0 || disk.durable(&outcome).is_none())
                .then(|| format!("delivered {id}, whose outcome is not durable"))
        }
        _ => None,
    }
}

/// What is wrong with a lock that is asked for, or renewed, in a stage. One that a worker has not yet
/// heard the answer of may be asked for when the job is over already.
fn locked_too_early(disk: &Disk, job: JobId, stage: &Value) -> Option<String> {
    let name = stage["stage"].as_str().unwrap_or_default();
    if !matches!(name, "locking" | "blocked" | "ready" | "running" | "stopping" | "delivering" | "ended") {
        return Some(format!("locked {job}, whose durable stage is {name}"));
    }
    let paid = if stage["plan"]["plan"] == "run" { &stage["plan"]["paid"] } else { &stage["paid"] };
    if paid.is_null() {
        return None;
    }
    let blocks: Vec<BlockHash> = serde_json::from_value(paid["blocks"].clone()).unwrap();
    let claimed = |hash: &BlockHash| {
        let claim = disk.durable(&key(worker::CLAIMS, hash.as_bytes()));
        claim.is_some_and(|bytes| read::<JobId>(&bytes) == job)
    };
    let unclaimed = blocks.iter().find(|hash| !claimed(hash));
    let nothing = blocks.is_empty().then(|| format!("locked {job}, for which nothing was paid"));
    nothing.or_else(|| Some(format!("locked {job}, whose payment {} is not durably claimed", unclaimed?)))
}

/// A record without its version.
pub(crate) fn read<T: serde::de::DeserializeOwned>(value: &[u8]) -> T {
    serde_json::from_slice(&value[1..]).expect("a record is a version and JSON")
}

pub(crate) fn key(keyspace: u8, key: &[u8]) -> Vec<u8> {
    [&[keyspace], key].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
