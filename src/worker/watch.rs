//! Gathers facts about payments: few calls, however many invoices are open.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use nano_currency::block::Block;
use nano_currency::rpc::{BlockInfo, Lookup, Receivables, Rpc, RpcError, Subtype};
use nano_currency::{Account, Amount, BlockHash, Network};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::engine::Heard;
use super::nodes::Gate;
use super::payment::{BlockFact, Facts, Invoice, Submitted};
use crate::edge::Clock;
use crate::points::crash_point;
use crate::protocol::{JobId, Timestamp};

/// Jobs looked at in one round: what a node answers in one call.
const JOBS_PER_ROUND: usize = 1_000;

/// Rounds at a time, so that one call that hangs does not keep the other jobs waiting.
const ROUNDS_MAX: usize = 4;

/// Blocks that may add up to one payment: a buyer pays in a few parts, and each is claimed.
const PARTS_MAX: usize = 256;

/// Delays between looks at one invoice: soon after the buyer acted, then ever more rarely.
const OPEN_DELAYS: Delays = Delays { first: Duration::from_millis(250), last: Duration::from_secs(30) };

/// The same for jobs that have ended: a late payment is not in a hurry.
const LAPSED_DELAYS: Delays = Delays { first: Duration::from_secs(30), last: Duration::from_secs(600) };

/// A wish of the machine's.
#[derive(Debug)]
pub enum Wish {
    /// Watch an invoice; replaces an earlier wish for the same job.
    Watch {
        /// For which job.
        job: JobId,
        /// What to look for.
        invoice: Invoice,
        /// What the buyer submitted.
        submitted: Option<String>,
        /// Whether the job has ended.
        lapsed: bool,
    },
    /// Stop.
    Unwatch(JobId),
}

#[derive(Debug, Clone, Copy)]
struct Delays {
    first: Duration,
    last: Duration,
}

/// What is watched for one job.
#[derive(Debug, Clone)]
struct Watched {
    invoice: Invoice,
    submitted: Hash,
    lapsed: bool,
    delay: Duration,
    due: Timestamp,
    /// Whether a round is looking at it.
    asked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    None,
    Malformed,
    Some(BlockHash),
}

/// One job's question to a round.
#[derive(Debug, Clone, Copy)]
struct Question {
    job: JobId,
    invoice: Invoice,
    submitted: Hash,
    lapsed: bool,
}

/// Watches until `shutdown`; facts go to `heard`. Nothing is believed of a node that is not on
/// `network`.
pub async fn run(
    rpc: Rpc,
    network: Network,
    clock: Clock,
    mut wishes: mpsc::Receiver<Wish>,
    heard: mpsc::Sender<Heard>,
    shutdown: CancellationToken,
) {
    let gate = Arc::new(Gate::new(&rpc, network));
    let mut list = List::default();
    let mut rounds = JoinSet::new();
    // The loop that hears may itself be waiting for us to take a wish, so neither waits for the
    // other: what it has not yet heard is kept here, at most one answer for each open question.
    let mut unheard: VecDeque<Heard> = VecDeque::new();
    loop {
        while rounds.len() < ROUNDS_MAX
            && unheard.is_empty()
            && let Some(questions) = list.take_due(clock.now())
        {
            rounds.spawn(ask_through(Arc::clone(&gate), rpc.clone(), questions));
        }
        let idle = rounds.len() < ROUNDS_MAX && unheard.is_empty();
        let wait = if idle { list.wait(clock.now()) } else { None };
        tokio::select! {
            biased;
            wish = wishes.recv() => match wish {
                Some(wish) => list.obey(wish, clock.now()),
                None => return,
            },
            Some(round) = rounds.join_next() => {
                let Ok(round) = round else {
                    tracing::error!("a round of questions failed");
                    list.forget_questions();
                    continue;
                };
                for (job, facts) in round {
                    list.answered(job, clock.now());
                    unheard.push_back(Heard::Facts(job, facts));
                }
            }
            slot = heard.reserve(), if !unheard.is_empty() => match (slot, unheard.pop_front()) {
                (Ok(slot), Some(facts)) => slot.send(facts),
                _ => return,
            },
            () = sleep(wait) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Who is watched, and when each is due. Pure: `now` is an argument.
#[derive(Debug, Default)]
struct List {
    jobs: HashMap<JobId, Watched>,
    due: BTreeSet<(Timestamp, JobId)>,
}

impl List {
    fn obey(&mut self, wish: Wish, now: Timestamp) {
        match wish {
            Wish::Watch { job, invoice, submitted, lapsed } => {
                self.remove(job);
                let submitted = match submitted.map(|text| BlockHash::parse(&text)) {
                    None => Hash::None,
                    Some(Err(_)) => Hash::Malformed,
                    Some(Ok(hash)) => Hash::Some(hash),
                };
                let delay = if lapsed { LAPSED_DELAYS.first } else { OPEN_DELAYS.first };
                // A hash was submitted because somebody has just paid.
                let due = if matches!(submitted, Hash::Some(_)) && !lapsed { now } else { now.plus(delay) };
                self.due.insert((due, job));
                self.jobs.insert(job, Watched { invoice, submitted, lapsed, delay, due, asked: false });
            }
            Wish::Unwatch(job) => {
                self.remove(job);
            }
        }
    }

    fn remove(&mut self, job: JobId) -> Option<Watched> {
        let watched = self.jobs.remove(&job)?;
        self.due.remove(&(watched.due, job));
        Some(watched)
    }

    /// The jobs that are due and not being asked about; each is due again later.
    fn take_due(&mut self, now: Timestamp) -> Option<Vec<Question>> {
        let due: Vec<JobId> = self
            .due
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(JOBS_PER_ROUND)
            .map(|(_, job)| *job)
            .collect();
        let mut questions = Vec::new();
        for job in due {
            let Some(watched) = self.jobs.get_mut(&job) else { continue };
            self.due.remove(&(watched.due, job));
            let delays = if watched.lapsed { LAPSED_DELAYS } else { OPEN_DELAYS };
            watched.due = now.plus(watched.delay);
            watched.delay = (watched.delay * 2).min(delays.last);
            self.due.insert((watched.due, job));
            if !std::mem::replace(&mut watched.asked, true) {
                let Watched { invoice, submitted, lapsed, .. } = *watched;
                questions.push(Question { job, invoice, submitted, lapsed });
            }
        }
        (!questions.is_empty()).then_some(questions)
    }

    fn answered(&mut self, job: JobId, now: Timestamp) {
        if let Some(watched) = self.jobs.get_mut(&job) {
            watched.asked = false;
            if watched.due < now {
                self.due.remove(&(watched.due, job));
                watched.due = now.plus(watched.delay);
                self.due.insert((watched.due, job));
            }
        }
    }

    /// Nobody knows which jobs a lost round was about, so any may be asked about again.
    fn forget_questions(&mut self) {
        for watched in self.jobs.values_mut() {
            watched.asked = false;
        }
    }

    fn wait(&self, now: Timestamp) -> Option<Duration> {
        self.due.first().map(|(at, _)| at.since(now))
    }
}

/// One round, if the nodes are on the right network; otherwise all is unknown.
async fn ask_through(gate: Arc<Gate>, rpc: Rpc, questions: Vec<Question>) -> Vec<(JobId, Facts)> {
    crash_point!("worker/send/payment");
    let Some(why) = gate.closed().await else {
        let facts = ask(rpc, questions).await;
        crash_point!("worker/answer/payment");
        return facts;
    };
    let unknown = |question: &Question| Facts {
        submitted: Submitted::NotFound,
        found: Vec::new(),
        unknown: Some(why.clone()),
        lapsed: question.lapsed,
    };
    questions.iter().map(|question| (question.job, unknown(question))).collect()
}

/// One round: all submitted hashes in one call, all accounts in one call, and the blocks found on
/// them in one call.
async fn ask(rpc: Rpc, questions: Vec<Question>) -> Vec<(JobId, Facts)> {
    let hashes = submitted_hashes(&questions);
    let submitted = look_up(&rpc, &hashes).await;
    let accounts: Vec<Account> = questions
        .iter()
        .filter(|question| !may_settle_alone(question, &submitted))
        .map(|question| question.invoice.account)
        .collect();
    let receivable =
        if accounts.is_empty() { Ok(BTreeMap::new()) } else { rpc.receivable_of(&accounts).await };
    let parts: Vec<BlockHash> = receivable
        .as_ref()
        .map(|lists| {
            questions
                .iter()
                .filter_map(|question| {
                    lists.get(&question.invoice.account).map(|list| parts(list, question.invoice.price))
                })
                .flatten()
                .collect()
        })
        .unwrap_or_default();
    let found = look_up(&rpc, &parts).await;
    questions
        .iter()
        .map(|question| (question.job, facts(question, &submitted, &receivable, &found)))
        .collect()
}

type Lookups = Result<BTreeMap<BlockHash, Lookup>, RpcError>;

async fn look_up(rpc: &Rpc, hashes: &[BlockHash]) -> Lookups {
    if hashes.is_empty() { Ok(BTreeMap::new()) } else { rpc.blocks_info(hashes).await }
}

fn submitted_hashes(questions: &[Question]) -> Vec<BlockHash> {
    let hashes: BTreeSet<BlockHash> = questions
        .iter()
        .filter_map(|question| match question.submitted {
            Hash::Some(hash) => Some(hash),
            Hash::None | Hash::Malformed => None,
        })
        .collect();
    hashes.into_iter().collect()
}

/// Whether the submitted block alone pays the invoice: then there is nothing to look for on the
/// account. While it is not confirmed the buyer may have paid by another one.
fn may_settle_alone(question: &Question, submitted: &Lookups) -> bool {
    let (Hash::Some(hash), Ok(lookups)) = (question.submitted, submitted) else { return false };
    let block = lookups.get(&hash).and_then(Lookup::found).filter(|block| block.confirmed);
    block.and_then(BlockInfo::payment).is_some_and(|payment| {
        payment.destination == question.invoice.account && payment.amount >= question.invoice.price
    })
}

/// The fewest blocks that cover the price: the largest first, so that dust cannot hide a payment.
fn parts(list: &Receivables, price: Amount) -> Vec<BlockHash> {
    let mut blocks: Vec<(Amount, BlockHash)> =
        list.blocks.iter().map(|block| (block.amount.unwrap_or(Amount::MAX), block.hash)).collect();
    blocks.sort_unstable_by(|one, other| other.cmp(one));
    let mut sum = Amount::ZERO;
    let mut parts = Vec::new();
    for (amount, hash) in blocks {
        if sum >= price || parts.len() == PARTS_MAX {
            break;
        }
        // A node that lists bare hashes leaves the amount to the look-up.
        sum = if amount == Amount::MAX { sum } else { sum.saturating_add(amount) };
        parts.push(hash);
    }
    parts
}

fn facts(
    question: &Question,
    submitted: &Lookups,
    receivable: &Result<BTreeMap<Account, Receivables>, RpcError>,
    found: &Lookups,
) -> Facts {
    let mut facts =
        Facts { submitted: Submitted::None, found: Vec::new(), unknown: None, lapsed: question.lapsed };
    facts.submitted = match (question.submitted, submitted) {
        (Hash::None, _) => Submitted::None,
        (Hash::Malformed, _) => Submitted::Malformed,
        (Hash::Some(_), Err(error)) => {
            facts.unknown = Some(error.to_string());
            Submitted::NotFound
        }
        (Hash::Some(hash), Ok(lookups)) => match read(lookups.get(&hash)) {
            Reading::Fact(fact) => Submitted::Found(fact),
            Reading::NotFound => Submitted::NotFound,
            Reading::Unclear(reason) => {
                facts.unknown = Some(reason);
                Submitted::NotFound
            }
        },
    };
    match receivable {
        Err(error) => facts.unknown = Some(error.to_string()),
        Ok(lists) => {
            if let Some(list) = lists.get(&question.invoice.account) {
                add_found(&mut facts, list, question, found);
            }
        }
    }
    facts
}

fn add_found(facts: &mut Facts, list: &Receivables, question: &Question, found: &Lookups) {
    if !list.complete {
        facts.unknown = Some("the account has more sends than a node's answer can list".to_owned());
    }
    match found {
        Err(error) => facts.unknown = Some(error.to_string()),
        Ok(lookups) => {
            for hash in parts(list, question.invoice.price) {
                match read(lookups.get(&hash)) {
                    Reading::Fact(fact) => facts.found.push(fact),
                    // Listed a moment ago and gone now: rolled back.
                    Reading::NotFound => {}
                    Reading::Unclear(reason) => facts.unknown = Some(reason),
                }
            }
        }
    }
}

enum Reading {
    Fact(BlockFact),
    NotFound,
    Unclear(String),
}

fn read(lookup: Option<&Lookup>) -> Reading {
    match lookup {
        None => Reading::Unclear("the node left a block out of its answer".to_owned()),
        Some(Lookup::NotFound) => Reading::NotFound,
        Some(Lookup::Unclear(reason)) => Reading::Unclear((*reason).to_owned()),
        Some(Lookup::Found(info)) => {
            let send = info.payment().map(|payment| (payment.destination, payment.amount));
            if send.is_none() && is_send(info) {
                return Reading::Unclear("the node does not know the amount of a send".to_owned());
            }
            Reading::Fact(BlockFact {
                hash: info.hash,
                send,
                confirmed: info.confirmed,
                claimed_elsewhere: false,
            })
        }
    }
}

fn is_send(info: &BlockInfo) -> bool {
    matches!(info.contents, Block::LegacySend(_)) || info.subtype == Some(Subtype::Send)
}

#[cfg(test)]
mod tests;
