//! `wallet balance`, `receive`, `sweep`, `history`, `export`, `qr`, and `refund`: by the running
//! daemon, which holds the store, or here while none runs.

use std::path::Path;
use std::sync::Arc;

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::{Value, json};

use super::args::{Destination, IndexOrJob};
use super::ask::{self, is_store, table};
use super::exit::{Exit, Failure, chain};
use super::files;
use super::output::{Output, line, warn};
use super::run::{on_signal, parts};
use crate::nano::Amount;
use crate::protocol::JobId;
use crate::store::OpenError;
use crate::worker::coins::{CoinsError, Errand, Purse};
use crate::worker::control::{self, AskError};
use crate::worker::memory;
use crate::worker::report::Question;

/// The columns of an export, in this order for ever.
const COLUMNS: [&str; 9] =
    ["at", "does", "job_id", "buyer", "amount_raw", "amount_xno", "block", "account", "counter_account"];

pub(super) fn balance(config: &Path, out: Output) -> Result<Exit, Failure> {
    let answer = run(config, &Errand::Balance)?;
    let columns = ["index", "received_raw", "receivable_raw", "whose", "job_id"];
    let text = format!(
        "{}\nreceived    {}\nreceivable  {}\nowed back   {}\nin all      {}",
        table(&answer["accounts"], &columns, "no invoice holds anything"),
        xno(&answer["received_raw"]),
        xno(&answer["receivable_raw"]),
        xno(&answer["owed_back_raw"]),
        xno(&answer["total_raw"]),
    );
    out.answer(&answer, text);
    Ok(Exit::Done)
}

pub(super) fn receive(config: &Path, dry_run: bool, out: Output) -> Result<Exit, Failure> {
    let answer = run(config, &Errand::Receive { dry_run })?;
    Ok(tell(&answer, out))
}

pub(super) fn sweep(config: &Path, to: Destination, owed: bool, out: Output) -> Result<Exit, Failure> {
    let Destination { to, dry_run } = to;
    let answer = run(config, &Errand::Sweep { to, owed, dry_run })?;
    Ok(tell(&answer, out))
}

pub(super) fn refund(config: &Path, job: JobId, to: Destination, out: Output) -> Result<Exit, Failure> {
    let Destination { to, dry_run } = to;
    let answer = run(config, &Errand::Refund { job, to, dry_run })?;
    Ok(tell(&answer, out))
}

/// Who had something left to do is told so by the exit code.
fn tell(answer: &Value, out: Output) -> Exit {
    let mut lines = vec![table(
        &answer["blocks"],
        &["does", "amount_xno", "account", "counter_account", "block"],
        "there is nothing to do",
    )];
    for (name, label) in [("received_raw", "received"), ("swept_raw", "swept"), ("refunded_raw", "refunded")]
    {
        if answer[name] != json!(Amount::ZERO) {
            lines.push(format!("{label:<9} {}", xno(&answer[name])));
        }
    }
    for left in answer["left"].as_array().into_iter().flatten() {
        lines.push(format!(
            "left      {} {}",
            left["account"].as_str().unwrap_or_default(),
            words(&left["why"])
        ));
    }
    for problem in answer["problems"].as_array().into_iter().flatten() {
        lines.push(format!(
            "PROBLEM   {} {}",
            problem["account"].as_str().unwrap_or_default(),
            words(&problem["why"])
        ));
    }
    if answer["bounded"] == json!(true) {
        lines.push(
            "the hour's work is used up: ask again later, or raise [wallet] work_per_hour_max".to_owned(),
        );
    }
    if answer["dry_run"] == json!(true) {
        lines.push("nothing was done".to_owned());
    }
    out.answer(answer, lines.join("\n"));
    let problems = answer["problems"].as_array().is_some_and(|list| !list.is_empty());
    if problems { Exit::NeedsPerson } else { Exit::Done }
}

pub(super) fn history(config: &Path, out: Output) -> Result<Exit, Failure> {
    let answer = run(config, &Errand::History)?;
    let columns = ["at", "does", "amount_xno", "job_id", "counter_account", "block"];
    out.answer(&answer, table(&answer["blocks"], &columns, "no block was made yet"));
    Ok(Exit::Done)
}

pub(super) fn export(config: &Path, file: Option<&Path>, out: Output) -> Result<Exit, Failure> {
    let answer = run(config, &Errand::History)?;
    let bytes = as_csv(&answer["blocks"]).map_err(Failure::other)?;
    match file {
        None => line(String::from_utf8_lossy(&bytes).trim_end()),
        Some(file) => {
            files::write_new(file, &bytes)?;
            let rows = answer["blocks"].as_array().map_or(0, Vec::len);
            out.answer(
                &json!({ "written": file, "rows": rows }),
                format_args!("{rows} blocks are in {}", file.display()),
            );
        }
    }
    Ok(Exit::Done)
}

fn as_csv(blocks: &Value) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for block in blocks.as_array().into_iter().flatten() {
        writer.write_record(COLUMNS.map(|column| block[column].as_str().unwrap_or_default()))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

pub(super) fn qr(config: &Path, of: IndexOrJob, out: Output) -> Result<Exit, Failure> {
    let account = match of {
        IndexOrJob::Index(index) => {
            let account = files::settings(config)?.accounts.get(index);
            account.map_err(|error| Failure::new(Exit::Usage, error))?.to_string()
        }
        IndexOrJob::Job(job) => invoice_of(config, job)?,
    };
    let uri = format!("nano:{account}");
    let code = QrCode::new(&uri).map_err(Failure::other)?;
    let picture = code.render::<Dense1x2>().quiet_zone(true).build();
    out.answer(&json!({ "account": account, "uri": uri }), format_args!("{picture}\n{uri}"));
    Ok(Exit::Done)
}

fn invoice_of(config: &Path, job: JobId) -> Result<String, Failure> {
    let dir = files::state_dir(config)?;
    let list = super::block_on(ask::ask(&dir, &Question::Wallet))??.value;
    let invoices = list["invoices"].as_array();
    let found = invoices.into_iter().flatten().find(|invoice| invoice["job_id"] == json!(job));
    found
        .and_then(|invoice| invoice["account"].as_str())
        .map(str::to_owned)
        .ok_or_else(|| Failure::text(Exit::NotFound, format!("no address was used for job {job}")))
}

/// Has the daemon do it, or does it here.
fn run(config: &Path, errand: &Errand) -> Result<Value, Failure> {
    let dir = files::state_dir(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(Failure::other)?.block_on(async {
        let stop = on_signal()?;
        let doing = async {
            match control::ask_errand(&dir, errand, warn).await {
                Ok(answer) => answer.map_err(|(kind, text)| Failure::text(exit_of(&kind), text)),
                Err(AskError::NotRunning) => here(config, errand).await,
                Err(error) => Err(Failure::other(error)),
            }
        };
        tokio::select! {
            answer = doing => answer,
            () = stop.cancelled() => Err(Failure::text(
                Exit::Interrupted,
                "stopped before the end; whatever was signed goes on with the next time",
            )),
        }
    })
}

async fn here(config: &Path, errand: &Errand) -> Result<Value, Failure> {
    let settings = files::settings(config)?;
    let dir = &settings.state_dir;
    if !is_store(dir) {
        return Err(Failure::text(Exit::State, format!("{} holds no worker's state", dir.display()))
            .hint("`worker run` makes it; `worker wallet rescan` does for a seed that was used before"));
    }
    let store = memory::open(dir).map_err(|error| match error {
        OpenError::InUse(_) => Failure::new(Exit::InUse, error)
            .hint("a worker is starting or stopping there: ask again in a moment"),
        error => error.into(),
    })?;
    let purse = Purse::open(Arc::new(store), &settings, &parts()).map_err(failed)?;
    purse.run(errand, &|line| warn(line)).await.map_err(failed)
}

fn failed(error: CoinsError) -> Failure {
    Failure::text(exit_of(error.kind()), chain(&error))
}

/// What a daemon's refusal and our own have in common is the kind.
fn exit_of(kind: &str) -> Exit {
    match kind {
        "unreachable" => Exit::Unreachable,
        "state" => Exit::State,
        "config" => Exit::Config,
        "not_found" => Exit::NotFound,
        "needs_person" => Exit::NeedsPerson,
        _ => Exit::Other,
    }
}

fn xno(raw: &Value) -> String {
    let amount = raw.as_str().and_then(|text| Amount::parse_raw(text).ok());
    amount.map_or_else(|| "?".to_owned(), |amount| format!("{} XNO", amount.to_xno()))
}

/// What nodes wrote must not move the cursor.
fn words(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
