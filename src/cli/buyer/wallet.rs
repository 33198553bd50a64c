//! `buyer wallet`: the account that pays, apart from its purchases.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::{Value, json};

use super::args::{WalletCommand, read_xno};
use super::failure;
use super::progress::Display;
use super::settings::Settings;
use crate::buyer::wallet::{Part, Row, Taken, Withdrawn};
use crate::buyer::{Buyer, Progress};
use crate::cli::{CliError, Exit, Output, remark};
use crate::nano::Account;

/// The columns of an export, in this order for ever.
const COLUMNS: [&str; 9] =
    ["at", "does", "job_id", "seller", "amount_raw", "amount_xno", "block", "account", "counter_account"];

pub(super) async fn run(
    buyer: &Buyer,
    settings: &Settings,
    verb: WalletCommand,
    display: &Display,
    output: Output,
) -> Result<Exit, CliError> {
    let index = settings.account_index;
    let watch = |progress: &Progress| display.show(progress);
    match verb {
        WalletCommand::Address => {
            let account = buyer.account(index).map_err(failure)?;
            output.answer(account, || json!({ "account": account, "account_index": index }));
        }
        WalletCommand::Balance => return balance(buyer, settings, output).await,
        WalletCommand::Receive => {
            let taken = buyer.receive_all(index, &watch).await.map_err(failure)?;
            display.finish();
            received(&taken, output);
        }
        WalletCommand::Send { to, xno } => {
            let part = Part::Amount(read_xno("--xno", &xno)?);
            if part == Part::Amount(crate::nano::Amount::ZERO) {
                return Err(CliError::usage("--xno: nothing cannot be sent"));
            }
            return send(buyer, index, to, part, display, output).await;
        }
        WalletCommand::Sweep { to } => return send(buyer, index, to, Part::All, display, output).await,
        WalletCommand::History => {
            let rows = values(&buyer.blocks(index).map_err(failure)?);
            output.answer(table(&rows), || json!({ "blocks": rows }));
        }
        WalletCommand::New { .. }
        | WalletCommand::Import { .. }
        | WalletCommand::Export { secret: true, .. } => {
            return Err(CliError::usage("this command needs no journal"));
        }
        WalletCommand::Export { out, .. } => {
            let rows = values(&buyer.blocks(index).map_err(failure)?);
            return export(&rows, out.as_deref(), output);
        }
        WalletCommand::Qr => {
            let account = buyer.account(index).map_err(failure)?;
            let uri = format!("nano:{account}");
            let code = QrCode::new(&uri).map_err(|error| CliError::new(Exit::Failed, "qr", error))?;
            let picture = code.render::<Dense1x2>().quiet_zone(true).build();
            output.answer(format_args!("{picture}\n{uri}"), || json!({ "account": account, "uri": uri }));
        }
    }
    Ok(Exit::Ok)
}

pub(super) async fn balance(buyer: &Buyer, settings: &Settings, output: Output) -> Result<Exit, CliError> {
    let funds = buyer.funds(settings.account_index).await.map_err(failure)?;
    let text = format!(
        "account {}\nholds {} XNO\nwaiting to be received: {} XNO",
        funds.account,
        funds.balance.to_xno(),
        funds.receivable.to_xno()
    );
    output.answer(text, || {
        json!({ "account": funds.account, "account_index": settings.account_index,
                "balance_raw": funds.balance, "receivable_raw": funds.receivable })
    });
    Ok(Exit::Ok)
}

fn received(taken: &[Taken], output: Output) {
    let line = |taken: &Taken| match taken.block {
        Some(block) => format!("received {} XNO: {block}", taken.amount.to_xno()),
        None => format!("{} XNO were received by another wallet", taken.amount.to_xno()),
    };
    let lines: Vec<String> = taken.iter().map(line).collect();
    let text = if lines.is_empty() { "nothing waits".to_owned() } else { lines.join("\n") };
    let row = |taken: &Taken| json!({ "send": taken.send, "amount_raw": taken.amount, "block": taken.block });
    output.answer(text, || json!({ "received": taken.iter().map(row).collect::<Vec<_>>() }));
}

async fn send(
    buyer: &Buyer,
    index: u32,
    to: Account,
    part: Part,
    display: &Display,
    output: Output,
) -> Result<Exit, CliError> {
    let sent = buyer.withdraw(index, to, part, &|progress| display.show(progress)).await;
    let sent = sent.map_err(failure)?;
    display.finish();
    if sent.iter().any(|one| one.begun_before) {
        remark("an earlier withdrawal had not been told of; it is told of now, and was not made again");
    }
    let line = |one: &Withdrawn| format!("sent {} XNO to {}: {}", one.amount.to_xno(), one.to, one.block);
    let lines: Vec<String> = sent.iter().map(line).collect();
    let text = if lines.is_empty() { "the account is empty".to_owned() } else { lines.join("\n") };
    let row = |one: &Withdrawn| json!({ "block": one.block, "amount_raw": one.amount, "to": one.to, "begun_before": one.begun_before });
    output.answer(text, || json!({ "sent": sent.iter().map(row).collect::<Vec<_>>() }));
    // Only now: whoever dies before this is told again, and nothing is sent again.
    buyer.told_of_withdrawal(index).await.map_err(failure)?;
    Ok(Exit::Ok)
}

fn values(rows: &[Row]) -> Vec<Value> {
    let value = |row: &Row| {
        json!({
            "at": row.at, "does": row.does, "job_id": row.job, "seller": row.seller,
            "amount_raw": row.amount, "amount_xno": row.amount.map(|amount| amount.to_xno()),
            "block": row.block, "account": row.account, "counter_account": row.counter,
            "source": row.source, "order": row.order,
        })
    };
    rows.iter().map(value).collect()
}

fn table(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "no block was signed yet".to_owned();
    }
    let columns = ["at", "does", "amount_xno", "job_id", "counter_account", "block"];
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns.map(|column| column.to_uppercase().replace('_', " ")));
    for row in rows {
        table.add_row(columns.map(|column| row[column].as_str().unwrap_or_default()));
    }
    table.trim_fmt()
}

fn export(rows: &[Value], file: Option<&Path>, output: Output) -> Result<Exit, CliError> {
    let failed = |error: &dyn std::fmt::Display| CliError::new(Exit::Failed, "io", error);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS).map_err(|error| failed(&error))?;
    for row in rows {
        let record = COLUMNS.map(|column| row[column].as_str().unwrap_or_default());
        writer.write_record(record).map_err(|error| failed(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    let Some(file) = file else {
        let text = String::from_utf8_lossy(&bytes);
        // What was asked for is this table, with `--json` as well.
        Output { json: false }.answer(text.trim_end(), || Value::Null);
        return Ok(Exit::Ok);
    };
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let written = opened.and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| CliError::usage(format_args!("cannot write {}: {error}", file.display())))?;
    let count = rows.len();
    let text = format!("{count} blocks are in {}", file.display());
    output.answer(text, || json!({ "written": file, "rows": count }));
    Ok(Exit::Ok)
}
