//! `/v1/jobs/{id}/…`: bodies into commands; what they mean is decided elsewhere.

use std::time::Duration;

use axum::extract::State;
use serde_json::Value;

use super::super::model::ReplyBody;
use super::super::server::App;
use super::body::{Fields, error};
use super::once::once;
use super::reply::Handled;
use super::request::Signed;
use crate::protocol::apply::Outcome;
use crate::protocol::{Code, Command, Refusal};

pub(super) async fn quote(State(app): State<App>, signed: Signed) -> Handled {
    make(app, signed, read_quote).await
}

pub(super) async fn refuse(State(app): State<App>, signed: Signed) -> Handled {
    make(app, signed, read_refuse).await
}

pub(super) async fn accept(State(app): State<App>, signed: Signed) -> Handled {
    make(app, signed, |_| Ok(Command::Accept)).await
}

pub(super) async fn pay(State(app): State<App>, signed: Signed) -> Handled {
    make(app, signed, read_pay).await
}

pub(super) async fn lock(State(app): State<App>, signed: Signed) -> Handled {
    make(app, signed, read_lock).await
}

pub(super) async fn unlock(State(app): State<App>, signed: Signed) -> Handled {
    make(app, signed, read_unlock).await
}

pub(super) async fn deliver(State(app): State<App>, signed: Signed) -> Handled {
    make(app, signed, read_deliver).await
}

pub(super) async fn cancel(State(app): State<App>, signed: Signed) -> Handled {
    make(app, signed, read_cancel).await
}

async fn make(app: App, signed: Signed, command: Reader) -> Handled {
    once(&app, &signed, 200, async |receipt| {
        let command = command(&mut Fields::parse(&signed.body)?)?;
        let id = signed.job_id()?;
        let job = app.service.command(signed.party, id, &command, receipt.as_ref()).await?;
        Ok(ReplyBody::Job(Box::new(job)))
    })
    .await
}

/// Reads a body as one command or another.
type Reader = fn(&mut Fields) -> Result<Command, Refusal>;

/// All of them, for fuzzing.
#[cfg(any(test, fuzzing))]
pub(super) const READERS: [Reader; 7] =
    [read_quote, read_refuse, read_pay, read_lock, read_unlock, read_deliver, read_cancel];

fn read_quote(fields: &mut Fields) -> Result<Command, Refusal> {
    let (amount, invoice) =
        (fields.needed_text("quote_amount_raw"), fields.needed_text("quote_invoice_address"));
    let expires_at = fields.parsed("quote_expires_at");
    Refusal::all_of([error(&amount), error(&invoice), error(&expires_at)].into_iter().flatten())?;
    Ok(Command::Quote { amount_raw: amount?, invoice_address: invoice?, expires_at: expires_at? })
}

pub(super) fn read_refuse(fields: &mut Fields) -> Result<Command, Refusal> {
    Ok(Command::Refuse { reason: fields.needed_text("reason")? })
}

fn read_pay(fields: &mut Fields) -> Result<Command, Refusal> {
    Ok(Command::Pay { payment_tx_hash: fields.needed_text("payment_tx_hash")? })
}

fn read_lock(fields: &mut Fields) -> Result<Command, Refusal> {
    Ok(Command::Lock {
        holder: fields.text("holder")?,
        ttl: fields.number("ttl_seconds")?.map(Duration::from_secs),
        payment_tx_hash: fields.text("payment_tx_hash")?,
    })
}

fn read_unlock(fields: &mut Fields) -> Result<Command, Refusal> {
    let (holder, lock_token) = (fields.needed_text("holder"), fields.needed_number("lock_token"));
    Refusal::all_of([error(&holder), error(&lock_token)].into_iter().flatten())?;
    Ok(Command::Unlock { holder: holder?, lock_token: lock_token? })
}

pub(super) fn read_deliver(fields: &mut Fields) -> Result<Command, Refusal> {
    let lock_token = fields.number("lock_token")?;
    Ok(Command::Deliver { outcome: outcome(fields)?, lock_token })
}

fn read_cancel(fields: &mut Fields) -> Result<Command, Refusal> {
    Ok(Command::Cancel { reason: fields.text("reason")? })
}

fn outcome(fields: &mut Fields) -> Result<Outcome, Refusal> {
    let (result, error) = (fields.value("result_payload"), fields.value("error"));
    match (result, error, fields.text("result_url")?) {
        (result, Value::Null, None) if !result.is_null() => Ok(Outcome::Result(result)),
        (Value::Null, error, None) if !error.is_null() => Ok(Outcome::Error(error)),
        (Value::Null, Value::Null, Some(url)) => Ok(Outcome::ResultUrl(url)),
        _ => Err(Refusal::new(
            Code::Validation,
            "exactly one of result_payload, result_url and error is wanted",
        )
        .with_details(serde_json::json!({"issues": [
            {"field": "result_payload", "message": "or error, or result_url: exactly one of them"}
        ]}))),
    }
}
