//! What must be true when all is well again: by the ledger, the relay's log and what handlers wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use mock_nano_rpc::MockNode;
use nano_worker::client::{EventsQuery, RelayClient};
use nano_worker::nano::{Account, Amount, BlockHash};
use nano_worker::protocol::lifecycle::TRANSITIONS;
use nano_worker::protocol::{Event, EventId, EventType, Job, JobId, Status};

use crate::shop::{PRICE, Payment, Sale};

/// Everything that there is to know at the end.
pub(crate) struct Evidence<'a> {
    pub(crate) sales: &'a [Sale],
    /// What the relay says of each sale's job.
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) log: Vec<Event>,
    pub(crate) starts: &'a BTreeMap<JobId, usize>,
    /// Jobs that are looked at elsewhere.
    pub(crate) others: BTreeSet<JobId>,
    pub(crate) node: &'a MockNode,
}

/// How often a handler began, by job: every start is a line, also one that was killed at once.
pub(crate) fn starts(dir: &Path) -> BTreeMap<JobId, usize> {
    let mut starts = BTreeMap::new();
    for line in fs::read_to_string(dir.join("starts")).unwrap_or_default().lines() {
        let job = line.split(' ').next().and_then(|job| job.parse().ok());
        *starts.entry(job.unwrap_or_else(|| panic!("a handler wrote {line:?}"))).or_insert(0) += 1;
    }
    starts
}

/// The whole log of a party.
pub(crate) async fn log(client: &RelayClient) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        let since = events.last().map_or(EventId(0), |event| event.event_id);
        let query = EventsQuery { since: Some(since), limit: Some(200), ..Default::default() };
        let page = client.poll(&query).await.unwrap();
        if page.events.is_empty() {
            return events;
        }
        events.extend(page.events);
    }
}

/// Processes of jobs that have ended.
pub(crate) async fn orphans(jobs: impl Iterator<Item = JobId>) -> Vec<String> {
    let jobs: BTreeSet<String> = jobs.map(|job| job.to_string()).collect();
    let mut left = Vec::new();
    // A process that was killed a moment ago may still be dying.
    for _ in 0..100 {
        left = living(&jobs);
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    left
}

fn living(jobs: &BTreeSet<String>) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let job_of = |environment: &[u8]| {
        let mut entries = environment.split(|&byte| byte == 0);
        entries
            .find_map(|entry| entry.strip_prefix(b"JOB_ID="))
            .map(|job| String::from_utf8_lossy(job).into_owned())
    };
    processes
        .filter_map(|entry| {
            let job = job_of(&fs::read(entry.path().join("environ")).ok()?)?;
            jobs.contains(&job).then(|| format!("process {:?} outlives its job {job}", entry.file_name()))
        })
        .collect()
}

impl Evidence<'_> {
    /// Every broken promise, in words.
    pub(crate) fn judge(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for sale in self.sales {
            match self.jobs.get(&sale.job) {
                Some(job) => broken.extend(self.judge_one(sale, job)),
                None => broken.push(format!("the relay has forgotten {}", sale.job)),
            }
        }
        broken.extend(self.addresses());
        broken.extend(self.payments());
        broken.extend(self.strangers());
        broken
    }

    fn judge_one(&self, sale: &Sale, job: &Job) -> Vec<String> {
        let mut broken = Vec::new();
        let starts = self.starts.get(&sale.job).copied().unwrap_or(0);
        let mut must = |holds: bool, what: &str| {
            if !holds {
                broken.push(format!("{what}: {starts} starts of {sale:?}, {job:?}"));
            }
        };
        must(sale.idempotent || starts <= 1, "a handler that is not idempotent started twice");
        must(self.is_walk(sale.job, job.status), "its history is no walk on the table");
        match sale.payment {
            Payment::Whole(hash) => {
                must(job.status.is_final(), "a paid job has not ended");
                let known = job.payment_tx_hash.as_deref();
                must(known.is_none_or(|known| known == hash.to_string()), "another block pays for it");
                must(
                    matches!(job.status, Status::Delivered | Status::Failed),
                    "a paid job ended without its seller",
                );
            }
            _ => must(starts == 0, "a handler started for a job that was not paid"),
        }
        match job.status {
            Status::Delivered => {
                must(starts >= 1, "delivered without a start");
                must(job.result_payload == job.request_payload, "not what the handler wrote");
                must(!matches!(sale.kind, "crash" | "die" | "eat"), "delivered although it failed");
            }
            Status::Failed => must(self.may_fail(sale, job, starts), "failed without a reason"),
            _ => must(starts == 0, "started, and neither delivered nor failed"),
        }
        broken
    }

    /// The reasons for a failure: a handler that fails, an interruption of one that must not be
    /// repeated, a payment that was none.
    fn may_fail(&self, sale: &Sale, job: &Job, starts: usize) -> bool {
        match (job.error["code"].as_str().unwrap_or_default(), &sale.payment) {
            // A stray that holds the output makes a result doubtful.
            ("handler_failed", Payment::Whole(_)) => {
                starts >= 1 && matches!(sale.kind, "crash" | "die" | "eat" | "orphan")
            }
            // A start is recorded before it is made.
            ("worker_interrupted", Payment::Whole(_)) => !sale.idempotent,
            (code, Payment::Short(_) | Payment::Borrowed(_)) => code.starts_with("payment."),
            _ => false,
        }
    }

    /// The log leads from the beginning to where the job is, by moves that the table has.
    fn is_walk(&self, job: JobId, end: Status) -> bool {
        let mut at: Option<Status> = None;
        for event in self.log.iter().filter(|event| event.job_id == job) {
            let Some(kind) = EventType::parse(&event.kind) else { return false };
            let to = status_after(kind);
            let legal = match at {
                None => to == Status::Requested,
                Some(from) => TRANSITIONS.iter().any(|row| row.from == from && row.to == to),
            };
            if !legal {
                return false;
            }
            at = Some(to);
        }
        // It may have expired since it was looked at.
        at.is_some_and(|at| end.reaches(at))
    }

    fn addresses(&self) -> Vec<String> {
        let mut seen: BTreeMap<&str, JobId> = BTreeMap::new();
        let mut broken = Vec::new();
        for (id, job) in &self.jobs {
            let Some(address) = job.quote_invoice_address.as_deref() else { continue };
            if let Some(other) = seen.insert(address, *id) {
                broken.push(format!("{address} was quoted to {other} and to {id}"));
            }
        }
        broken
    }

    /// Each block counts for one job, and each address holds exactly what was paid to it.
    fn payments(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut claimed: BTreeMap<BlockHash, JobId> = BTreeMap::new();
        for (id, job) in self.jobs.iter().filter(|(id, _)| self.starts.contains_key(id)) {
            let hash = job.payment_tx_hash.as_deref().and_then(|hash| hash.parse().ok());
            let Some(hash) = hash else {
                broken.push(format!("{id} was started and no block is named"));
                continue;
            };
            if let Some(other) = claimed.insert(hash, *id) {
                broken.push(format!("{hash} paid for {other} and for {id}"));
            }
        }
        for sale in self.sales {
            let expected = match sale.payment {
                Payment::Whole(_) => PRICE,
                Payment::Short(_) => Amount::from_raw(PRICE.raw() - 1),
                _ => Amount::from_raw(0),
            };
            let job = self.jobs.get(&sale.job);
            let address = job.and_then(|job| job.quote_invoice_address.as_deref());
            let Some(account) = address.and_then(|text| text.parse::<Account>().ok()) else { continue };
            let received = self.node.with(|node, _| {
                let ledger = &node.ledger;
                let waiting = ledger.receivables(&account).map(|(_, receivable)| receivable.amount);
                waiting.fold(ledger.balance(&account), Amount::saturating_add)
            });
            if received != expected {
                broken.push(format!("{account} has {received}, not {expected}: {sale:?}"));
            }
        }
        broken
    }

    /// How often handlers started that are not looked at elsewhere.
    pub(crate) fn own_starts(&self) -> usize {
        let own = self.starts.iter().filter(|(job, _)| !self.others.contains(job));
        own.map(|(_, starts)| starts).sum()
    }

    /// Starts for jobs that nobody here asked for.
    fn strangers(&self) -> Vec<String> {
        let asked: BTreeSet<JobId> = self.sales.iter().map(|sale| sale.job).collect();
        let strangers = self.starts.keys().filter(|job| !asked.contains(job) && !self.others.contains(job));
        strangers.map(|job| format!("a handler started for {job}, which nobody paid")).collect()
    }
}

fn status_after(kind: EventType) -> Status {
    match kind {
        EventType::Requested => Status::Requested,
        EventType::Quoted => Status::Quoted,
        EventType::Accepted | EventType::PaymentSubmitted => Status::Accepted,
        EventType::Running => Status::Running,
        EventType::Delivered => Status::Delivered,
        EventType::Failed => Status::Failed,
        EventType::Canceled => Status::Canceled,
        EventType::Expired => Status::Expired,
    }
}
