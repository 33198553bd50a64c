//! What must be true of a run's whole history, by the relay's log, the ledger, what the handler
//! wrote, and what the worker remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use nano_worker::client::{EventsQuery, RelayClient};
use nano_worker::nano::{Account, Amount};
use nano_worker::protocol::{EventId, Job, JobId, Status};
use nano_worker::worker::memory;
use nano_worker::worker::report::{Question, answer};
use serde_json::Value;

use crate::lane::Lane;
use crate::seller::Seller;
use crate::stories::{End, Told, invoice};

/// What may follow what, in the relay's own names: written by hand from the contract's table.
const WALK: &[(&str, &[&str])] = &[
    ("", &["job.requested"]),
    ("job.requested", &["job.quoted", "job.canceled"]),
    ("job.quoted", &["job.accepted", "job.canceled", "job.expired"]),
    ("job.accepted", &["job.payment_submitted", "job.running", "job.canceled", "job.expired"]),
    ("job.payment_submitted", &["job.running", "job.canceled"]),
    ("job.running", &["job.running", "job.delivered", "job.failed"]),
    ("job.delivered", &[]),
    ("job.failed", &[]),
    ("job.canceled", &[]),
    ("job.expired", &[]),
];

/// Checks everything. The worker must be dead.
pub(crate) async fn check(seller: &Seller, told: &[Told]) {
    walks(&seller.client).await;
    let starts = starts(seller);
    let remembered = Remembered::read(seller);
    let mut addresses = BTreeSet::new();
    for told in told {
        let job = seller.client.job(&told.job).await.unwrap();
        ended_as_told(&job, told, &starts);
        if job.quote_invoice_address.is_some() {
            assert!(addresses.insert(invoice(&job)), "an address was used twice: {job:?}");
            paid_as_told(&job, told, &seller.lane, &remembered);
        }
    }
}

/// Every job of a seller, who is told of every event, has gone a walk on the table.
pub(crate) async fn walks(seller: &RelayClient) {
    let mut last: BTreeMap<JobId, String> = BTreeMap::new();
    let mut since = EventId(0);
    loop {
        let query = EventsQuery { since: Some(since), limit: Some(200), ..EventsQuery::default() };
        let page = seller.poll(&query).await.unwrap();
        for event in &page.events {
            assert!(event.event_id > since, "events are out of order");
            since = event.event_id;
            let before = last.get(&event.job_id).map_or("", String::as_str);
            let (_, next) = WALK.iter().find(|(from, _)| *from == before).unwrap();
            assert!(next.contains(&event.kind.as_str()), "{}: {} after {before:?}", event.job_id, event.kind);
            last.insert(event.job_id, event.kind.clone());
        }
        if page.events.len() < 200 {
            return;
        }
    }
}

fn ended_as_told(job: &Job, told: &Told, starts: &BTreeMap<String, usize>) {
    let started = starts.get(&told.job.to_string()).copied().unwrap_or(0);
    assert!(started <= told.starts_max, "the handler started {started} times: {job:?}");
    let failed_with = |code: &str| job.status == Status::Failed && job.error["code"] == code;
    let delivered = job.status == Status::Delivered && started > 0;
    let right = match told.end {
        End::Delivered => delivered,
        // A handler that was told to run late may still have ended in time.
        End::Failed("worker_interrupted") => failed_with("worker_interrupted") || delivered,
        End::Failed(code) => failed_with(code),
        End::FailedOrInterrupted => failed_with("handler_failed") || failed_with("worker_interrupted"),
        End::DeliveredOrInterrupted => delivered || failed_with("worker_interrupted"),
        End::Canceled => job.status == Status::Canceled,
        End::Expired => job.status == Status::Expired,
        End::Elsewhere => job.status == Status::Delivered,
    };
    assert!(right, "it was to end as {:?}: {job:?}", told.end);
}

/// The ledger has what was paid, and the worker has claimed all of it for this job, or nothing.
fn paid_as_told(job: &Job, told: &Told, lane: &Lane, remembered: &Remembered) {
    let account = invoice(job);
    let received = sends_to(lane, &account);
    let total: Amount = received.values().copied().sum();
    assert_eq!(total, told.paid, "{job:?}");
    let id = told.job.to_string();
    let claimed = remembered.claims.get(&id).cloned().unwrap_or_default();
    if told.paid > Amount::ZERO && !matches!(told.end, End::Elsewhere | End::Canceled) {
        let blocks: BTreeSet<String> = received.keys().cloned().collect();
        assert_eq!(claimed, blocks, "not the blocks that paid: {job:?}");
    } else if told.end != End::Elsewhere {
        assert!(claimed.is_empty(), "it claimed what paid for nothing: {job:?}");
    }
    let owner = remembered.invoices.get(&account.to_string());
    assert_eq!(owner, Some(&id), "the address is remembered for another job");
}

/// Every send to an account, whether it still waits or was received.
pub(crate) fn sends_to(lane: &Lane, account: &Account) -> BTreeMap<String, Amount> {
    lane.node.with(|node, _| {
        let ledger = &node.ledger;
        let waiting = ledger.receivables(account).map(|(hash, entry)| (hash.to_string(), entry.amount));
        let mut sends: BTreeMap<String, Amount> = waiting.collect();
        let mut next = ledger.head(account);
        while let Some(stored) = next {
            sends.extend(stored.source.map(|source| (source.to_string(), stored.amount)));
            next = ledger.block(&stored.block.previous());
        }
        sends
    })
}

/// How often the handler started for each job: each start wrote a line.
pub(crate) fn starts(seller: &Seller) -> BTreeMap<String, usize> {
    let mut starts = BTreeMap::new();
    for line in fs::read_to_string(seller.home.join("ran")).unwrap_or_default().lines() {
        *starts.entry(line.split(' ').next().unwrap().to_owned()).or_insert(0) += 1;
    }
    starts
}

/// What the dead worker's store says.
pub(crate) struct Remembered {
    /// Blocks by job.
    pub(crate) claims: BTreeMap<String, BTreeSet<String>>,
    /// Jobs by address.
    pub(crate) invoices: BTreeMap<String, String>,
}

impl Remembered {
    pub(crate) fn read(seller: &Seller) -> Self {
        let store = memory::open(&seller.home.join("state")).unwrap();
        let ask = |question| answer(&store, &question).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut claims = BTreeMap::new();
        let mut claimed = BTreeSet::new();
        let jobs = ask(Question::Jobs { open: false, limit: 100 });
        for job in jobs["jobs"].as_array().unwrap() {
            let id: JobId = text(&job["job_id"]).parse().unwrap();
            let whole = ask(Question::Job { id });
            let blocks: BTreeSet<String> =
                whole["claimed_blocks"].as_array().unwrap().iter().map(text).collect();
            for block in &blocks {
                assert!(claimed.insert(block.clone()), "a block paid for two jobs: {block}");
            }
            claims.insert(id.to_string(), blocks);
        }
        let mut invoices = BTreeMap::new();
        let mut indexes = BTreeSet::new();
        for invoice in ask(Question::Wallet)["invoices"].as_array().unwrap() {
            assert!(indexes.insert(invoice["index"].as_u64().unwrap()), "an index was used twice");
            invoices.insert(text(&invoice["account"]), text(&invoice["job_id"]));
        }
        Self { claims, invoices }
    }
}
