//! `status`, `jobs`, `wallet list`: what the state says, from the running daemon or from the disk.

use std::path::Path;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::{Value, json};

use super::args::Jobs;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::{block_on, files};
use crate::store::OpenError;
use crate::worker::control::{self, AskError};
use crate::worker::memory;
use crate::worker::report::{self, Question};

/// An answer, and whether a daemon gave it.
pub(super) struct Answer {
    pub(super) value: Value,
    pub(super) running: bool,
}

/// Asks the daemon; if none runs, its store.
pub(super) async fn ask(dir: &Path, question: &Question) -> Result<Answer, Failure> {
    match control::ask(dir, question).await {
        Ok(value) => Ok(Answer { value, running: true }),
        Err(AskError::NotRunning) => at_rest(dir, question),
        Err(error) => Err(Failure::other(error)),
    }
}

/// Opening a store makes one where there is none; a question must not.
fn at_rest(dir: &Path, question: &Question) -> Result<Answer, Failure> {
    if !is_store(dir) {
        return Err(Failure::text(Exit::State, format!("{} holds no worker's state", dir.display()))
            .hint("`worker run` makes it"));
    }
    let store = memory::open(dir).map_err(|error| match error {
        OpenError::InUse(_) => Failure::new(Exit::InUse, error)
            .hint("a worker is starting or stopping there: ask again in a moment"),
        error => error.into(),
    })?;
    let value = report::answer(&store, question).map_err(|error| Failure::new(Exit::State, error))?;
    Ok(Answer { value, running: false })
}

/// Whether something was stored in a directory before.
pub(super) fn is_store(dir: &Path) -> bool {
    dir.join("conf").exists()
}

pub(super) fn answer(config: &Path, question: &Question) -> Result<Answer, Failure> {
    let dir = files::state_dir(config)?;
    block_on(ask(&dir, question))?
}

pub(super) fn status(config: &Path, out: Output) -> Result<Exit, Failure> {
    let Answer { mut value, running } = answer(config, &Question::Status)?;
    value["running"] = json!(running);
    out.answer(&value, status_text(&value));
    Ok(Exit::Done)
}

fn status_text(status: &Value) -> String {
    let mut lines = vec![
        format!("worker       {}", if status["running"] == json!(true) { "running" } else { "not running" }),
        format!("seller       {}", text(&status["seller_pubkey"])),
        format!("open jobs    {}", text(&status["open_jobs"])),
    ];
    if status["short_of_room"] == json!(true) {
        lines.push(format!("disk         {} bytes free: nothing more is quoted", status["free_bytes"]));
    }
    if let Value::String(outage) = &status["outage"] {
        lines.push(format!("disk         {outage}: all work has stopped until it takes writes again"));
    }
    for (stage, count) in status["stages"].as_object().into_iter().flatten() {
        lines.push(format!("  {stage:<10} {count}"));
    }
    lines.extend(nodes_text(status));
    lines.extend(money_text(status));
    for offer in status["offers"].as_array().into_iter().flatten() {
        let id = offer["offer_id"].as_str().unwrap_or("not registered yet");
        lines.push(format!("offer        {}  {id}", text(&offer["name"])));
    }
    for refused in status["offers_refused"].as_array().into_iter().flatten() {
        lines.push(format!("refused      {}  {}", text(&refused["name"]), text(&refused["why"])));
    }
    lines.push(format!("next index   {}", text(&status["next_index"])));
    lines.push(format!("last event   {}", text(&status["cursor"])));
    lines.extend(past_text(status));
    lines.join("\n")
}

/// What is wrong with the nodes, and what they do not agree about.
fn nodes_text(status: &Value) -> Vec<String> {
    let (nodes, unknown) = (&status["nodes"], &status["unknown_payments"]);
    let mut lines = Vec::new();
    if !nodes.is_null() {
        lines.push(format!(
            "nodes        {} of {} must agree, verified by {}",
            text(&nodes["quorum"]),
            text(&nodes["nodes"]),
            text(&nodes["verify"])
        ));
    }
    for node in nodes["not_asked"].as_array().into_iter().flatten() {
        lines.push(format!("  not asked  {}: {}", text(&node["node"]), text(&node["why"])));
    }
    for lie in nodes["lies"].as_array().into_iter().flatten() {
        let (node, hash) = (text(&lie["node"]), text(&lie["hash"]));
        lines.push(format!("  lied       {node} about {hash}: {}", text(&lie["evidence"])));
    }
    if unknown["count"].as_u64().is_some_and(|count| count > 0) {
        lines.push(format!("unknown      {} payments that the nodes do not settle", unknown["count"]));
    }
    for payment in unknown["first"].as_array().into_iter().flatten() {
        lines.push(format!("  {}  {}", text(&payment["job_id"]), text(&payment["why"])));
    }
    lines
}

/// How payments were odd, and what is owed back.
fn money_text(status: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for (outcome, count) in status["payment_outcomes"].as_object().into_iter().flatten() {
        lines.push(format!("payments     {count} {outcome}"));
    }
    let owed = &status["owed_back"];
    if owed["count"].as_u64().is_some_and(|count| count > 0) {
        lines.push(format!("owed back    {} XNO in {} blocks", text(&owed["xno"]), owed["count"]));
    }
    lines.extend(owed["first"].as_array().into_iter().flatten().map(owed_text));
    lines
}

/// One debt in a line.
pub(super) fn owed_text(debt: &Value) -> String {
    format!(
        "  {}  {} raw of job {} to {} ({})",
        text(&debt["block"]),
        text(&debt["owed_raw"]),
        text(&debt["job_id"]),
        text(&debt["from"]),
        text(&debt["why"])
    )
}

/// Where the state came from, and where a copy of it is.
fn past_text(status: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let (backup, restored) = (&status["backup"], &status["restored"]);
    match (backup.is_null(), backup["error"].as_str()) {
        (true, _) => {}
        (_, None) => lines.push(format!("last backup  {} {}", text(&backup["at"]), text(&backup["file"]))),
        (_, Some(error)) => lines.push(format!("last backup  failed {}: {error}", text(&backup["at"]))),
    }
    if !restored.is_null() {
        let from = restored["from"].as_str().unwrap_or("nothing, as there was no backup");
        lines.push(format!(
            "made anew    {} from {from} ({})",
            text(&restored["at"]),
            text(&restored["why"])
        ));
        if let Some(aside) = restored["aside"].as_str() {
            lines.push(format!("             what was there is in {aside}"));
        }
    }
    if status["looked"] == json!(false) {
        lines.push("quoting      waits until relay and chain were looked at for used addresses".to_owned());
    }
    lines
}

pub(super) fn jobs(config: &Path, verb: Jobs, out: Output) -> Result<Exit, Failure> {
    match verb {
        Jobs::List { open, limit } => {
            let list = answer(config, &Question::Jobs { open, limit: usize::from(limit) })?.value;
            // Not the status: it is the relay's as last seen, often one behind the stage.
            let columns = ["job_id", "stage", "ending", "changed_at"];
            out.answer(&list, table(&list["jobs"], &columns, "no jobs"));
            Ok(Exit::Done)
        }
        Jobs::Show { id } => {
            let job = answer(config, &Question::Job { id })?.value;
            if job.is_null() {
                return Err(Failure::text(Exit::NotFound, format!("this worker knows no job {id}")));
            }
            out.answer(&job, job_text(&job));
            Ok(Exit::Done)
        }
    }
}

fn job_text(job: &Value) -> String {
    let mut lines = Vec::new();
    for name in [
        "job_id",
        "name",
        "offer_id",
        "buyer_bot_id",
        "buyer_pubkey",
        "status",
        "stage",
        "ending",
        "first_seen_at",
    ] {
        let label = if name == "status" { "last seen as" } else { name };
        if !job[name].is_null() {
            lines.push(format!("{label:<14} {}", text(&job[name])));
        }
    }
    for name in ["owes", "request", "outcome"] {
        if !job[name].is_null() {
            lines.push(format!("{name:<14} {}", job[name]));
        }
    }
    for block in job["claimed_blocks"].as_array().into_iter().flatten() {
        lines.push(format!("{:<14} {}", "paid by", text(block)));
    }
    for outcome in job["payment_outcomes"].as_array().into_iter().flatten() {
        lines.push(format!("{:<14} {}", "payment was", text(outcome)));
    }
    for debt in job["money"].as_array().into_iter().flatten().filter(|block| !block["why"].is_null()) {
        lines.push(match debt["sent_back_by"].as_str() {
            None => format!("owed back    {}", owed_text(debt)),
            Some(block) => format!("sent back    {} by {block}", owed_text(debt)),
        });
    }
    lines.push("history".to_owned());
    for entry in job["history"].as_array().into_iter().flatten() {
        lines.push(format!(
            "  {}  {}  -> {}",
            text(&entry["at"]),
            text(&entry["what"]),
            text(&entry["stage"])
        ));
    }
    lines.join("\n")
}

pub(super) fn invoices(config: &Path, out: Output) -> Result<Exit, Failure> {
    let list = answer(config, &Question::Wallet)?.value;
    out.answer(&list, table(&list["invoices"], &["index", "account", "job_id"], "no address was used yet"));
    Ok(Exit::Done)
}

pub(super) fn table(rows: &Value, columns: &[&str], none: &str) -> String {
    let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        return none.to_owned();
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(columns);
    for row in rows {
        table.add_row(columns.iter().map(|column| text(&row[*column])).collect::<Vec<_>>());
    }
    // Every line is padded to the width of the widest.
    let lines: Vec<String> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// A value as people read it. What strangers wrote must not move the cursor.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => {
            text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
        }
        other => other.to_string(),
    }
}
