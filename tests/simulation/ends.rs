//! How jobs ended, and what the workers' books say of their money.
//!
//! A job that was paid is delivered, with the result that its handler gave; or it fails, with an error
//! that fits what has happened to it; or it got to nobody, and each block that came for it is owed back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mock_nano_rpc::ledger::{Ledger, dev_genesis_key};
use nano_worker::nano::{Account, Amount, BlockHash};
use nano_worker::protocol::{Job, JobId, Status};
use nano_worker::worker::executor::Run;
use nano_worker::worker::v0::job_id;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::oracle::{Oracle, read};
use crate::plan::{self, Handler, Plan};
use crate::world::World;

/// The keyspace of what came, block by block, and that of what of it is owed.
pub(crate) const MONEY: u8 = 12;
const OWED: u8 = 13;

/// What is smaller is never owed back: this part of the price.
const DUST_PART: u128 = 100;

/// How long a payment that a node has shown may still be overlooked when a job's time to be paid is up: that
/// is decided by one more look, which may have begun before.
const OVERLOOKED_MS: u64 = 10_000;

/// How long a job that may be repeated is left to whoever has begun it once the lock has run out, by
/// clocks that a relay lets pass.
const PATIENCE: Duration = Duration::from_secs(240);

type Blocks = Vec<(BlockHash, Amount)>;

/// What bears on how a job may end.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    planned: BTreeMap<u64, plan::Job>,
    /// Which of the planned jobs each is, by what its buyer wrote.
    numbers: BTreeMap<JobId, u64>,
    /// The results on the relay's disk.
    results: BTreeMap<JobId, Value>,
    starts: BTreeMap<JobId, Vec<Start>>,
    /// Jobs that a worker had begun when it died, or lost its lock.
    cut: BTreeSet<JobId>,
    /// When a worker first wrote down that it would fail a job for its payment.
    decided: BTreeMap<JobId, u64>,
    /// How long each job was left to a holder whose lock had run out before another took it.
    left: BTreeMap<JobId, Duration>,
    /// What has been sent, and was not final when a worker last heard from the node.
    sent: Blocks,
    accounts: BTreeMap<BlockHash, Account>,
    /// What was final when a worker heard from the node, and since when.
    shown: BTreeMap<Account, Vec<(u64, Amount)>>,
    /// What each worker has written down of each block.
    books: BTreeMap<(JobId, BlockHash, usize), Page>,
}

/// One start of a handler.
#[derive(Debug)]
struct Start {
    worker: usize,
    /// Whether it has come to its own end.
    finished: bool,
}

/// What is written down of a block.
#[derive(Debug, Default)]
struct Page {
    owed: Amount,
    returned: Amount,
    /// Whether it is on the list of what has to go back.
    listed: bool,
}

#[derive(Deserialize)]
struct Piece {
    owed: Option<Debt>,
    #[serde(default)]
    returned: Amount,
}

#[derive(Deserialize)]
struct Debt {
    amount: Amount,
}

/// A job that is over, and what it cost.
struct Over {
    job: JobId,
    account: Account,
    price: Amount,
    /// Whether the price is the seller's.
    earned: bool,
    how: String,
}

impl Ends {
    pub(crate) fn new(plan: &Plan) -> Self {
        let planned = plan.jobs.iter().map(|job| (job.number as u64, *job)).collect();
        Self { planned, ..Self::default() }
    }

    /// The relay has a buyer's words.
    pub(crate) fn asked(&mut self, key: &[u8], value: &[u8]) {
        if let Some((job, request)) = blob(key, value) {
            self.numbers.extend(request["number"].as_u64().map(|number| (job, number)));
        }
    }

    /// The relay has a result.
    pub(crate) fn answered(&mut self, key: &[u8], value: &[u8]) {
        self.results.extend(blob(key, value));
    }

    /// A worker has written something down of a block.
    pub(crate) fn booked(&mut self, worker: usize, key: &[u8], value: Option<&[u8]>) {
        let [MONEY | OWED, rest @ ..] = key else { return };
        let (job, hash) = rest.split_at(16);
        let (job, hash) =
            (JobId::from_bytes(job.try_into().unwrap()), BlockHash::from_bytes(hash.try_into().unwrap()));
        let page = self.books.entry((job, hash, worker)).or_default();
        match (key[0], value) {
            (MONEY, Some(value)) => {
                let piece: Piece = read(value);
                page.owed = piece.owed.map_or(Amount::ZERO, |owed| owed.amount);
                page.returned = piece.returned;
            }
            (MONEY, None) => *page = Page::default(),
            (_, value) => page.listed = value.is_some(),
        }
    }

    /// A handler may have been started, and what came of it is not known.
    pub(crate) fn cut(&mut self, job: JobId) {
        self.cut.insert(job);
    }

    /// A worker has a stage on its disk.
    pub(crate) fn decided(&mut self, job: JobId, stage: &Value, now_ms: u64) {
        let code = stage["plan"]["error"]["code"].as_str().unwrap_or_default();
        if code.starts_with("payment.") {
            self.decided.entry(job).or_insert(now_ms);
        }
    }

    /// A lock is another holder's now.
    pub(crate) fn taken_over(&mut self, before: &Job, after: &Job) {
        if before.lock_token > 0 && after.lock_token > before.lock_token {
            let until = before.lock_expires_at.unwrap_or(after.updated_at);
            self.left.insert(after.job_id, after.updated_at.since(until));
        }
    }

    pub(crate) fn handler_starts(&mut self, worker: usize, run: &Run) {
        let start = Start { worker, finished: false };
        self.starts.entry(run.job_id).or_default().push(start);
    }

    pub(crate) fn handler_ended(&mut self, worker: usize, job: JobId, finished: bool) {
        let starts = self.starts.entry(job).or_default().iter_mut().rev();
        if let Some(start) = starts.into_iter().find(|start| start.worker == worker) {
            start.finished = finished;
        }
    }

    pub(crate) fn sent(&mut self, account: Account, hash: BlockHash, amount: Amount) {
        self.sent.push((hash, amount));
        self.accounts.insert(hash, account);
    }

    /// A node has answered a worker.
    pub(crate) fn heard(&mut self, ledger: &Ledger, now_ms: u64) {
        let (accounts, shown) = (&self.accounts, &mut self.shown);
        self.sent.retain(|(hash, amount)| {
            let is_final = ledger.block(hash).is_some_and(|block| block.confirmed);
            if is_final {
                shown.entry(accounts[hash]).or_default().push((now_ms, *amount));
            }
            !is_final
        });
    }

    /// What is wrong with the end of a job.
    pub(crate) fn judge(&self, job: &Job, now_ms: u64) -> Option<String> {
        let id = job.job_id;
        let number = *self.numbers.get(&id)?;
        let plan::Job { offer, handler: planned, .. } = *self.planned.get(&number)?;
        let starts = self.starts.get(&id).map_or(&[][..], Vec::as_slice);
        let finished = starts.iter().any(|start| start.finished);
        if job.status == Status::Delivered {
            let result = self.results.get(&id).cloned().unwrap_or_default();
            let is_right = planned == Handler::Succeeds && finished && result == json!({ "done": number });
            return (!is_right)
                .then(|| format!("{id} is delivered with {result}, of a handler that {planned:?}"));
        }
        let code = job.error["code"].as_str().unwrap_or_default();
        let message = job.error["message"].as_str().unwrap_or_default();
        let fits = match code {
            "handler_failed" => finished && message == message_of(planned),
            // Who takes a lock that another has held cannot know what was done.
            "worker_interrupted" if offer.is_idempotent() => {
                self.left.get(&id).is_some_and(|left| *left >= PATIENCE)
            }
            "worker_interrupted" => job.lock_token > 1 || self.cut.contains(&id),
            code if code.starts_with("payment.") => {
                !self.was_paid(job, self.decided.get(&id).copied().unwrap_or(now_ms))
            }
            _ => false,
        };
        let history = || format!("a handler that {planned:?}, {starts:?}, lock {}", job.lock_token);
        (!fits).then(|| format!("{id} failed with {code} ({message}), which does not fit {}", history()))
    }

    /// Whether the price was there, and shown, well before now.
    fn was_paid(&self, job: &Job, now_ms: u64) -> bool {
        let Some((account, price)) = invoice(job) else { return false };
        let shown = self.shown.get(&account).map_or(&[][..], Vec::as_slice);
        let early = shown.iter().filter(|(at_ms, _)| at_ms + OVERLOOKED_MS <= now_ms);
        early.map(|(_, amount)| *amount).sum::<Amount>() >= price
    }

    /// What of a block is owed back, by the worker's books that say most.
    fn owed(&self, job: JobId, hash: BlockHash) -> Amount {
        let pages = self.books.range((job, hash, 0)..=(job, hash, usize::MAX));
        let stands = pages.map(|(_, page)| page).filter(|page| page.listed || page.returned >= page.owed);
        stands.map(|page| page.owed).max().unwrap_or(Amount::ZERO)
    }
}

/// What the buyer is told of a handler that did not do its work.
fn message_of(planned: Handler) -> &'static str {
    match planned {
        Handler::Succeeds => "(it does its work)",
        Handler::Fails => "the handler failed",
        Handler::Hangs => "the handler did not finish within 60 seconds",
    }
}

/// A short blob: behind its length, in one piece.
fn blob(key: &[u8], value: &[u8]) -> Option<(JobId, Value)> {
    let job = JobId::from_bytes(key.get(1..17)?.try_into().ok()?);
    Some((job, serde_json::from_slice(value.get(4..)?).ok()?))
}

/// Where a job is to be paid, and how much.
pub(crate) fn invoice(job: &Job) -> Option<(Account, Amount)> {
    let account = Account::parse(job.quote_invoice_address.as_deref()?).ok()?;
    Some((account, Amount::parse_raw(job.quote_amount_raw.as_deref()?).ok()?))
}

impl Oracle {
    /// The jobs that are over, and those that a relay has lost with its storage.
    fn over(&self, bot: usize) -> Vec<Over> {
        let jobs = self.jobs.values().filter(|job| job.status.is_final());
        let mut over: Vec<Over> =
            jobs.chain(self.lost.values()).filter_map(|job| self.over_v1(job)).collect();
        let ended = |job: JobId| self.stages.get(&bot)?.get(&job).filter(|stage| stage.name == "ended");
        for job in self.bazaar.jobs.values() {
            let (id, charge) = (job_id(&job.job_id), job.charge.as_ref());
            // Until it is over for the bot too, it may be charged for again.
            let Some((charge, _)) = charge.zip(ended(id)) else { continue };
            let (Ok(account), Ok(price)) =
                (Account::parse(&charge.address), Amount::parse_raw(&job.price_raw))
            else {
                continue;
            };
            let earned = job.status == nano_worker::protocol::v0::Status::Delivered;
            over.push(Over {
                job: id,
                account,
                price,
                earned,
                how: format!("{} is {}", job.job_id, job.status),
            });
        }
        over
    }

    fn over_v1(&self, job: &Job) -> Option<Over> {
        let (account, price) = invoice(job)?;
        // Two jobs' by a relay's loss: see `moved`.
        if self.reused.contains(job.quote_invoice_address.as_deref()?) {
            return None;
        }
        let code = job.error["code"].as_str().unwrap_or_default();
        let earned = match job.status {
            Status::Delivered => true,
            Status::Failed => !code.starts_with("payment."),
            _ => false,
        };
        let how = format!("{} is {} {code}", job.job_id, job.status);
        Some(Over { job: job.job_id, account, price, earned, how })
    }
}

impl World {
    /// What came for jobs that are over, is the buyers', and stands in nobody's books as owed.
    pub(crate) fn unbooked(&self) -> Vec<String> {
        let came = self.came();
        let oracle = self.lock_oracle();
        let mut unbooked = Vec::new();
        for Over { job, account, price, earned, how } in oracle.over(self.plan.workers) {
            let dust = price.raw() / DUST_PART;
            let blocks = came.get(&account).map_or(&[][..], Vec::as_slice);
            let blocks = blocks.iter().filter(|(_, amount)| amount.raw() >= dust);
            let (mut sum, mut owed) = (0, 0);
            for (hash, amount) in blocks {
                sum += amount.raw();
                owed += oracle.ends.owed(job, *hash).min(*amount).raw();
            }
            let due = if earned { sum.saturating_sub(price.raw()) } else { sum };
            if due >= dust && owed < due {
                let stages =
                    oracle.stages.values().map(|jobs| jobs.get(&job).map(|stage| stage.name.as_str()));
                let stages: Vec<&str> = stages.map(|name| name.unwrap_or("unknown")).collect();
                unbooked.push(format!(
                    "{how}, {sum} came, and of {due} only {owed} are owed back (stages {stages:?})"
                ));
            }
        }
        unbooked
    }

    /// The final sends of the buyers, whether they were received since or not.
    fn came(&self) -> BTreeMap<Account, Blocks> {
        self.with_node(|node, _| {
            let mut came: BTreeMap<Account, Blocks> = BTreeMap::new();
            let mut block = node.ledger.confirmed_head(&dev_genesis_key().account());
            while let Some(stored) = block {
                if let Some(account) = stored.destination {
                    came.entry(account).or_default().push((stored.block.hash(), stored.amount));
                }
                block = node.ledger.block(&stored.block.previous());
            }
            came
        })
    }
}
