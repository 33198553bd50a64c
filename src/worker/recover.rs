//! What recovery does with each open job, and why, in words; and when it is over.
//!
//! Recovery itself is [`Input::Resumed`] and nothing else: the words here come from the same
//! [`machine::step`] that acts.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::counterpart;
use super::engine::Engine;
use super::input::{Context, Effect, Input};
use super::machine::{self, Step};
use super::memory::{self, JOBS, MONEY, OWED, Record};
use super::offers;
use super::settings::Settings;
use super::stage::{Ending, Plan, Stage};
use super::terms::Terms;
use crate::protocol::{JobId, Timestamp};
use crate::store::{Store, StoreError};

/// Nothing is left to do once all jobs have only waited for this long: a payment that is already
/// there is seen well within it.
const QUIET: Duration = Duration::from_secs(3);

/// What becomes of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Which job.
    pub job: JobId,
    /// Where it was left.
    pub stage: String,
    /// Why it is treated so.
    pub why: String,
    /// What is done, in order.
    pub does: Vec<String>,
    /// What only a person can do; absent if there is nothing.
    pub person: Option<String>,
}

impl Decision {
    /// For machines.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "job_id": self.job,
            "stage": self.stage,
            "why": self.why,
            "does": self.does,
            "person": self.person,
        })
    }
}

/// What recovery would do with every open job, without doing it.
///
/// # Errors
/// If the store fails.
pub fn plan(store: &Store, settings: &Settings, now: Timestamp) -> Result<Vec<Decision>, StoreError> {
    let terms = offers::terms(&counterpart::known(store, settings)?);
    let open = memory::open_jobs(store)?;
    let decided = open.into_iter().map(|(job, record)| match terms.get(&record.offer_id) {
        Some(terms) => decide(job, &record, &terms.context(now)),
        None => withdrawn(decide(job, &record, &Terms::withdrawn().context(now))),
    });
    Ok(decided.collect())
}

/// Jobs that ended with the buyer's money here.
///
/// # Errors
/// If the store fails.
pub fn debts(store: &Store) -> Result<Vec<Decision>, StoreError> {
    let mut debts = Vec::new();
    for entry in JOBS.all(store) {
        let (job, record) = entry?;
        let owes = match &record.stage {
            Stage::Ended { ending } | Stage::Lapsed { ending, .. } => owes(store, job, ending)?,
            _ => false,
        };
        if owes {
            debts.push(Decision {
                job,
                stage: record.stage.to_string(),
                why: "it is over, and what came for it was not earned".to_owned(),
                does: Vec::new(),
                person: Some("the buyer's money is owed back".to_owned()),
            });
        }
    }
    Ok(debts)
}

/// By its blocks; a job that an earlier version ended has none in the books, so its ending says it.
fn owes(store: &Store, job: JobId, ending: &Ending) -> Result<bool, StoreError> {
    if OWED.prefix(store, &job).next().transpose()?.is_some() {
        return Ok(true);
    }
    Ok(ending.owes_money_back() && MONEY.prefix(store, &job).next().transpose()?.is_none())
}

/// Where a job is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// In a word.
    pub stage: String,
    /// Whether nothing is left to do for this worker but to wait.
    pub settled: bool,
}

/// Where a job is now; `None` if it is not known.
///
/// # Errors
/// If the store fails.
pub fn place_of(store: &Store, job: JobId) -> Result<Option<Place>, StoreError> {
    let record = JOBS.get(store, &job)?;
    Ok(record
        .map(|Record { stage, .. }| Place { stage: stage.to_string(), settled: waits_for_others(&stage) }))
}

fn decide(job: JobId, record: &Record, context: &Context) -> Decision {
    let Step { stage, effects, .. } = machine::step(record.stage.clone(), Input::Resumed, context);
    Decision {
        job,
        stage: record.stage.to_string(),
        why: why(&record.stage, context),
        does: effects.iter().map(does).collect(),
        person: person(&record.stage, &stage),
    }
}

fn withdrawn(mut decision: Decision) -> Decision {
    let person = "its offer is not in the configuration: put it back, or the job cannot be served";
    decision.person.get_or_insert_with(|| person.to_owned());
    decision
}

fn why(stage: &Stage, context: &Context) -> String {
    match stage {
        Stage::Fresh => "nothing was decided yet",
        Stage::Pricing => "no price was stored, and asking the handler again does no harm",
        Stage::Indexing { .. } => "a price is known, but no address was consumed",
        Stage::Quoting { .. } => {
            "its address is consumed; the relay may or may not have the quote, and takes it once"
        }
        Stage::Refusing { .. } => "the buyer may not have been told yet why there is no quote",
        Stage::Quoted { .. } => "the buyer has the quote and is to accept it",
        Stage::Awaiting { .. } => "the buyer has accepted; the payment may have come meanwhile",
        Stage::Queued { .. } => "it is paid and claimed, and the handler was not started",
        Stage::Locking { .. } => {
            "the lock was asked for; asking again as the same holder gives the same lock"
        }
        Stage::Blocked { .. } => "another holder had the lock",
        Stage::Ready { .. } => "it is paid and locked, and the handler was not started",
        Stage::Running { .. } if context.idempotent => {
            "the handler was started, and its offer says that it may run again"
        }
        Stage::Running { .. } => "the handler was started and may have done its work; it must not run twice",
        Stage::Stopping { .. } => "the lock was lost, and the handler was being killed",
        Stage::Delivering { .. } => {
            "the outcome is stored; the relay may or may not have it, and takes it once"
        }
        Stage::Lapsed { .. } => "it ended unpaid; a late payment is still watched for",
        Stage::Reviving { .. } => {
            "it expired, and the relay may or may not have its new quote, which it takes once"
        }
        Stage::Ended { .. } => "nothing is owed",
    }
    .to_owned()
}

fn does(effect: &Effect) -> String {
    match effect {
        Effect::TakeIndex { .. } => "consume the next address index".to_owned(),
        Effect::Claim { blocks } => format!("claim {} block(s) for the job", blocks.len()),
        Effect::Keep(_) => "store the outcome".to_owned(),
        Effect::AskPrice => "ask the handler for a price".to_owned(),
        Effect::SendQuote(invoice) => format!("send the quote with {}", invoice.account),
        Effect::SendRefusal(reason) => format!("tell the buyer: {reason}"),
        Effect::Fetch => "look at the job on the relay".to_owned(),
        Effect::Revive(invoice) => format!("send a new quote with {}", invoice.account),
        Effect::Watch { invoice, .. } => format!("watch {} for the payment", invoice.account),
        Effect::Unwatch => "stop watching for the payment".to_owned(),
        Effect::AwaitPlace => "wait for a place to run".to_owned(),
        Effect::FreePlace => "give its place to run up".to_owned(),
        Effect::TakeLock { .. } => "take the lock".to_owned(),
        Effect::Hold(_) => "keep the lock renewed".to_owned(),
        Effect::Release => "stop renewing the lock".to_owned(),
        Effect::Execute { attempt, .. } => format!("start the handler (attempt {attempt})"),
        Effect::Kill => "kill the handler".to_owned(),
        Effect::KillStrays => "kill what the last life may have left running".to_owned(),
        Effect::Deliver { .. } => "hand the stored outcome over".to_owned(),
    }
}

fn person(before: &Stage, after: &Stage) -> Option<String> {
    let text = match (before, after) {
        (Stage::Running { .. } | Stage::Stopping { .. }, Stage::Locking { plan: Plan::Fail { .. } }) => {
            "the buyer has paid and gets an error (worker_interrupted): whether to refund is yours to decide"
        }
        (Stage::Blocked { .. }, _) => "see whether another worker of this seller really has the job",
        _ => return None,
    };
    Some(text.to_owned())
}

/// When a recovery is over.
#[derive(Debug)]
pub(super) struct Recovery {
    end: Instant,
    quiet_since: Option<Instant>,
}

impl Recovery {
    pub(super) fn new(now: Instant, patience: Duration) -> Self {
        Self { end: now + patience, quiet_since: None }
    }

    /// Whether all jobs wait for somebody else, or the time is up.
    pub(super) fn is_over(&mut self, engine: &Engine, now: Instant) -> bool {
        let busy = engine.open_jobs().any(|(_, record)| !waits_for_others(&record.stage));
        let since = *self.quiet_since.get_or_insert(now);
        if busy {
            self.quiet_since = None;
        }
        now >= self.end || (!busy && (engine.open_count() == 0 || now.duration_since(since) >= QUIET))
    }
}

const fn waits_for_others(stage: &Stage) -> bool {
    matches!(
        stage,
        Stage::Fresh
            | Stage::Quoted { .. }
            | Stage::Awaiting { .. }
            | Stage::Blocked { .. }
            | Stage::Lapsed { .. }
            | Stage::Ended { .. }
    )
}
