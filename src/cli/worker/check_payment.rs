//! `check-payment`: what the worker believes of a payment, and why, rule by rule.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use super::args::job;
use super::ask::{self, text};
use super::exit::{Exit, Failure};
use super::output::Output;
use super::{block_on, files};
use crate::edge;
use crate::nano::quorum::Word;
use crate::nano::rpc::panel::Round;
use crate::nano::{Account, Amount, BlockHash};
use crate::protocol::JobId;
use crate::worker::Settings;
use crate::worker::explain::{self, Case, Payee};
use crate::worker::nodes::Jury;
use crate::worker::oddity::{Oddity, Policy};
use crate::worker::report::Question;

/// Blocks that are explained at most, the largest first: what a person reads.
const BLOCKS_MAX: usize = 32;

/// What somebody asks about.
enum Subject {
    Block(BlockHash),
    Account(Account),
    Job(JobId),
}

/// What the worker's records say.
struct State {
    value: Value,
    payee: Option<Payee>,
    submitted: Option<BlockHash>,
    claims: BTreeMap<BlockHash, JobId>,
    running: bool,
}

pub(super) fn run(config: &Path, subject: &str, out: Output) -> Result<Exit, Failure> {
    let settings = files::settings(config)?;
    let subject = read(subject)?;
    block_on(explain(&settings, &subject, out))?
}

fn read(text: &str) -> Result<Subject, Failure> {
    let subject = BlockHash::parse(text)
        .map(Subject::Block)
        .ok()
        .or_else(|| Account::parse(text).map(Subject::Account).ok())
        .or_else(|| job(text).map(Subject::Job).ok());
    subject.ok_or_else(|| {
        Failure::text(Exit::Usage, format!("{text:?} is no block's hash, no Nano address and no job's id"))
    })
}

async fn explain(settings: &Settings, subject: &Subject, out: Output) -> Result<Exit, Failure> {
    let began = edge::monotonic();
    let clock = move || edge::monotonic().saturating_duration_since(began);
    let jury = Jury::open(settings, clock, None).map_err(|error| Failure::new(Exit::Config, error))?;
    let closed = jury.closed().await;
    let mut round = Round::default();
    let mut hashes = BTreeSet::new();
    let mut state = match subject {
        Subject::Job(job) => ask_state(settings, Some(*job), None, &[]).await?,
        Subject::Account(account) => ask_state(settings, None, Some(*account), &[]).await?,
        Subject::Block(hash) => {
            hashes.insert(*hash);
            round = jury.blocks(&[*hash]).await;
            let to = round.said.values().flatten().find_map(|testimony| match testimony.said {
                Ok(Word::Sent { to, .. }) => Some(to),
                _ => None,
            });
            ask_state(settings, None, to, &[*hash]).await?
        }
    };
    match subject {
        Subject::Job(job) if state.value["job_id"].is_null() => {
            return Err(Failure::text(Exit::NotFound, format!("this worker knows no job {job}")));
        }
        Subject::Account(account) if state.payee.is_none() => {
            return Err(Failure::text(
                Exit::NotFound,
                format!("{account} is no address of this worker's jobs"),
            ));
        }
        Subject::Block(_) | Subject::Account(_) | Subject::Job(_) => {}
    }
    let mut waiting = Value::Null;
    if !matches!(subject, Subject::Block(_)) {
        hashes.extend(state.submitted);
        hashes.extend(state.claims.keys());
        if let Some(payee) = state.payee {
            let listed = jury.listed(&[payee.account]).await;
            let list = listed.lists.get(&payee.account);
            let mut blocks = list.map(|list| list.blocks.clone()).unwrap_or_default();
            blocks.sort_by_key(|block| std::cmp::Reverse(block.amount));
            hashes.extend(blocks.iter().take(BLOCKS_MAX).map(|block| block.hash));
            waiting = json!({ "blocks": blocks.len(), "complete": list.is_some_and(|list| list.complete) });
        }
        let asked: Vec<BlockHash> = hashes.iter().copied().take(BLOCKS_MAX).collect();
        round = jury.blocks(&asked).await;
        state.claims.extend(ask_state(settings, None, None, &asked).await?.claims);
    }
    let payee = state.payee;
    let quorum = jury.quorum_for(payee.and_then(|payee| payee.price).unwrap_or(Amount::ZERO));
    let blocks: Vec<Value> = hashes
        .iter()
        .take(BLOCKS_MAX)
        .map(|hash| {
            let claimed_by = state.claims.get(hash).copied();
            let case = Case { hash: *hash, round: &round, quorum, trust: jury.trust(), payee, claimed_by };
            let rules = explain::rules(&case);
            let fails = rules.iter().find(|rule| rule.holds == Some(false) && rule.rule != "amount");
            json!({ "hash": hash, "rules": rules, "fails": fails.map(|rule| rule.rule) })
        })
        .collect();
    let policy = policy(settings, &state.value);
    let answer = json!({
        "running": state.running,
        "policy": policy,
        "job": state.value,
        "quorum": quorum,
        "nodes": jury.report(),
        "closed": closed,
        "waiting": waiting,
        "blocks": blocks,
    });
    out.answer(&answer, told(&answer));
    Ok(if closed.is_some() { Exit::Unreachable } else { Exit::Done })
}

/// Asks the running daemon, or its store.
async fn ask_state(
    settings: &Settings,
    job: Option<JobId>,
    account: Option<Account>,
    blocks: &[BlockHash],
) -> Result<State, Failure> {
    let question = Question::Payment { job, account, blocks: blocks.to_vec() };
    let ask::Answer { value, running } = ask::ask(&settings.state_dir, &question).await?;
    let parsed = |name: &str| value["job"][name].as_str();
    let payee = (|| {
        Some(Payee {
            job: parsed("job_id")?.parse().ok()?,
            account: Account::parse(parsed("account")?).ok()?,
            price: parsed("price_raw").and_then(|raw| Amount::parse_raw(raw).ok()),
        })
    })();
    let submitted = parsed("submitted").and_then(|hash| BlockHash::parse(hash).ok());
    let claims = value["claims"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(hash, job)| Some((BlockHash::parse(hash).ok()?, job.as_str()?.parse().ok()?)))
        .collect();
    Ok(State { value: value["job"].clone(), payee, submitted, claims, running })
}

/// The seller's rules for the job's offer.
fn policy(settings: &Settings, job: &Value) -> Value {
    if job["job_id"].is_null() {
        return Value::Null;
    }
    let offer = settings.offers.iter().find(|offer| job["offer"] == json!(offer.name));
    let rules = offer.map_or_else(Policy::withdrawn, |offer| offer.terms.payment);
    let price = job["price_raw"].as_str().and_then(|raw| Amount::parse_raw(raw).ok());
    json!({
        "least_raw": price.map(|price| rules.least(price)),
        "dust_raw": price.map(|price| rules.dust_for(price)),
        "grace_seconds": rules.grace.as_secs(),
        "overpaid": if rules.owe_excess { "owe" } else { "keep" },
        "failed": if rules.owe_failed { "owe" } else { "ask" },
        "late_watch_hours": rules.late_watch.as_secs() / 3_600,
    })
}

/// How the payment was odd, by which rules, and what is owed back.
fn money_text(answer: &Value) -> Vec<String> {
    let (job, policy) = (&answer["job"], &answer["policy"]);
    let mut lines = Vec::new();
    for (label, name) in [
        ("at least", "least_raw"),
        ("dust below", "dust_raw"),
        ("grace", "grace_seconds"),
        ("overpaid", "overpaid"),
        ("failed", "failed"),
    ] {
        if !policy[name].is_null() {
            lines.push(format!("{label:<10} {}", text(&policy[name])));
        }
    }
    for name in job["payment_outcomes"].as_array().into_iter().flatten() {
        let row = Oddity::ALL.into_iter().find(|oddity| *name == json!(oddity.name())).map(Oddity::row);
        let row = row.map(|row| format!("{}: {}", row.happened, row.becomes)).unwrap_or_default();
        lines.push(format!("payment    was {}. {row}", text(name)));
    }
    for debt in job["money"].as_array().into_iter().flatten().filter(|block| !block["why"].is_null()) {
        let went = match debt["sent_back_by"].as_str() {
            Some(block) => format!("; {} raw went back by {block}", text(&debt["returned_raw"])),
            None => String::new(),
        };
        lines.push(format!("owed back  {}{went}", ask::owed_text(debt)));
    }
    lines
}

fn told(answer: &Value) -> String {
    let mut lines = Vec::new();
    if let Some(why) = answer["closed"].as_str() {
        lines.push(format!("nothing is judged now: {why}"));
    }
    let job = &answer["job"];
    if job.is_null() {
        lines.push("no job of this worker's has to do with it".to_owned());
    } else {
        for (label, name) in [
            ("job", "job_id"),
            ("stage", "stage"),
            ("ending", "ending"),
            ("address", "account"),
            ("price", "price_raw"),
            ("submitted", "submitted"),
            ("believed", "believed"),
        ] {
            if !job[name].is_null() {
                lines.push(format!("{label:<10} {}", text(&job[name])));
            }
        }
    }
    lines.extend(money_text(answer));
    let nodes = &answer["nodes"];
    lines.push(format!(
        "nodes      {} of {} must agree, verified by {}",
        answer["quorum"],
        nodes["nodes"],
        text(&nodes["verify"])
    ));
    for node in nodes["not_asked"].as_array().into_iter().flatten() {
        lines.push(format!("  not asked {}: {}", text(&node["node"]), text(&node["why"])));
    }
    if answer["waiting"]["complete"] == json!(false) {
        lines.push("what waits for the address is not known for sure".to_owned());
    }
    let blocks = answer["blocks"].as_array().map(Vec::as_slice).unwrap_or_default();
    if blocks.is_empty() {
        lines.push("no block is known that may pay it".to_owned());
    }
    for block in blocks {
        lines.push(format!("block {}", text(&block["hash"])));
        for rule in block["rules"].as_array().into_iter().flatten() {
            let sign = match rule["holds"].as_bool() {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "?",
            };
            lines.push(format!("  {sign:<4} {:<12} {}", text(&rule["rule"]), text(&rule["why"])));
        }
    }
    lines.join("\n")
}
