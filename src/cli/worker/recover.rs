//! `recover`: what `run` does at its start, once and explained.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::ask::is_store;
use super::exit::{Exit, Failure};
use super::files;
use super::output::{Output, warn};
use super::run::{launcher, on_signal, parts};
use crate::store::{OpenError, Store};
use crate::worker::recover::{self, Decision, Place};
use crate::worker::restore::{self, Rebuilt, RestoreError};
use crate::worker::{Settings, memory, recover_once};

/// How often the store is tried again after the daemon has closed it: its threads end a little later.
const OPEN_TRIES: u32 = 50;

/// How long between two tries.
const OPEN_DELAY: Duration = Duration::from_millis(100);

/// One job: what was decided, and where it is afterwards.
struct Outcome {
    decision: Decision,
    now: Option<Place>,
}

pub(super) fn run(config: &Path, dry_run: bool, patience: u64, out: Output) -> Result<Exit, Failure> {
    let mut settings = files::settings(config)?;
    settings.launcher = launcher();
    let dir = settings.state_dir.clone();
    if !is_store(&dir) {
        out.answer(
            &json!({ "dry_run": dry_run, "jobs": [], "needs_person": false }),
            "there is nothing to recover",
        );
        return Ok(Exit::Done);
    }
    if let Some(rebuilt) = damage(&settings)? {
        let from =
            rebuilt.from.as_ref().map_or_else(|| "nothing".to_owned(), |file| file.display().to_string());
        if dry_run {
            let rebuild = json!({ "why": rebuilt.why, "from": rebuilt.from });
            out.answer(
                &json!({ "dry_run": true, "jobs": [], "needs_person": false, "rebuild": rebuild }),
                format_args!(
                    "the store is damaged: {}\n  - move it aside, as it is\n  - make it anew from {from}\n  \
                     - look at relay and chain for all that happened since, before anything is quoted",
                    rebuilt.why
                ),
            );
            return Ok(Exit::Done);
        }
        warn(format_args!(
            "the store is damaged ({}): it is moved aside and made anew from {from}",
            rebuilt.why
        ));
        drop(restore::open(&settings, &parts().clock)?);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcomes = runtime.map_err(Failure::other)?.block_on(async {
        let store = open(&dir).await?;
        let decisions = plan(&store, &settings)?;
        if dry_run {
            let debts = recover::debts(&store).map_err(state)?;
            let all = decisions.into_iter().chain(debts);
            return Ok(all.map(|decision| Outcome { decision, now: None }).collect());
        }
        drop(store);
        recover_once(settings, parts(), on_signal()?, Duration::from_secs(patience)).await?;
        afterwards(&open(&dir).await?, decisions)
    })?;
    Ok(tell(&outcomes, dry_run, out))
}

/// What is to be done about the store itself. One that is in use is looked at by whoever uses it.
fn damage(settings: &Settings) -> Result<Option<Rebuilt>, Failure> {
    match restore::diagnose(settings) {
        Err(RestoreError::Open(OpenError::InUse(_))) => Ok(None),
        found => Ok(found?),
    }
}

fn plan(store: &Store, settings: &Settings) -> Result<Vec<Decision>, Failure> {
    recover::plan(store, settings, parts().clock.now()).map_err(state)
}

/// What became of the jobs. One that was to wait for a person and has gone on does not need one.
fn afterwards(store: &Store, decisions: Vec<Decision>) -> Result<Vec<Outcome>, Failure> {
    let mut outcomes = Vec::new();
    for mut decision in decisions {
        let now = recover::place_of(store, decision.job).map_err(state)?;
        let still = now.as_ref().is_some_and(|now| now.stage == decision.stage);
        if decision.stage == "blocked" && !still {
            decision.person = None;
        }
        outcomes.push(Outcome { decision, now });
    }
    for debt in recover::debts(store).map_err(state)? {
        match outcomes.iter_mut().find(|outcome| outcome.decision.job == debt.job) {
            Some(outcome) => outcome.decision.person = debt.person,
            None => outcomes.push(Outcome { decision: debt, now: None }),
        }
    }
    Ok(outcomes)
}

fn tell(outcomes: &[Outcome], dry_run: bool, out: Output) -> Exit {
    let person = outcomes.iter().any(|outcome| outcome.decision.person.is_some());
    let settled = outcomes.iter().all(|outcome| outcome.now.as_ref().is_none_or(|now| now.settled));
    let list: Vec<Value> = outcomes
        .iter()
        .map(|outcome| {
            let mut value = outcome.decision.to_json();
            value["now"] = json!(outcome.now.as_ref().map(|now| &now.stage));
            value["settled"] = json!(outcome.now.as_ref().map(|now| now.settled));
            value
        })
        .collect();
    let mut lines: Vec<String> = outcomes.iter().map(text).collect();
    if lines.is_empty() {
        lines.push("there is nothing to recover".to_owned());
    }
    let answer = json!({ "dry_run": dry_run, "jobs": list, "needs_person": person });
    out.answer(&answer, lines.join("\n"));
    match (person, settled) {
        (true, _) => Exit::NeedsPerson,
        (false, false) => Exit::Unreachable,
        (false, true) => Exit::Done,
    }
}

fn text(outcome: &Outcome) -> String {
    let Decision { job, stage, why, does, person } = &outcome.decision;
    let mut lines = vec![format!("{job}  {stage}: {why}")];
    lines.extend(does.iter().map(|does| format!("  - {does}")));
    if does.is_empty() && person.is_none() {
        lines.push("  - wait".to_owned());
    }
    lines.extend(outcome.now.iter().map(|now| match now.settled {
        true => format!("  is now {}", now.stage),
        false => {
            format!("  is still {}: run it again once the relay answers, or with more --patience", now.stage)
        }
    }));
    lines.extend(person.iter().map(|person| format!("  ! {person}")));
    lines.join("\n")
}

/// Opens the store; another process that has it will recover by itself.
async fn open(dir: &Path) -> Result<Store, Failure> {
    for _ in 1..OPEN_TRIES {
        match memory::open(dir) {
            Err(OpenError::InUse(_)) if !running(dir).await => tokio::time::sleep(OPEN_DELAY).await,
            Err(error @ OpenError::InUse(_)) => {
                return Err(Failure::new(Exit::InUse, error).hint(
                    "the worker that runs there has recovered by itself: see `worker jobs list --open`",
                ));
            }
            opened => return Ok(opened?),
        }
    }
    Ok(memory::open(dir)?)
}

async fn running(dir: &Path) -> bool {
    tokio::net::UnixStream::connect(crate::worker::control::socket_path(dir)).await.is_ok()
}

fn state(error: crate::store::StoreError) -> Failure {
    Failure::new(Exit::State, error)
}
