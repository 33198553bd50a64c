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
    make(app, signed, |fields| {
        let (amount, invoice) =
            (fields.needed_text("quote_amount_raw"), fields.needed_text("quote_invoice_address"));
        let expires_at = fields.parsed("quote_expires_at");
        Refusal::all_of([error(&amount), error(&invoice), error(&expires_at)].into_iter().flatten())?;
        Ok(Command::Quote { amount_raw: amount?, invoice_address: invoice?, expires_at: expires_at? })
    })
    .await
}

pub(super) async fn refuse(State(app): State<App>, signed: Signed) -> Handled {
    make(app, signed, |fields| Ok(Command::Refuse { reason: fields.needed_text("reason")? })).await
}

pub(super) async fn accept(State(app): State<App>, signed: Signed) -> Handled {
    make(app, signed, |_| Ok(Command::Accept)).await
}

pub(super) async fn pay(State(app): State<App>, signed: Signed) -> Handled {
    make(app, signed, |fields| Ok(Command::Pay { payment_tx_hash: fields.needed_text("payment_tx_hash")? }))
        .await
}

pub(super) async fn lock(State(app): State<App>, signed: Signed) -> Handled {
    make(app, signed, |fields| {
        Ok(Command::Lock {
            holder: fields.text("holder")?,
            ttl: fields.number("ttl_seconds")?.map(Duration::from_secs),
            payment_tx_hash: fields.text("payment_tx_hash")?,
        })
    })
    .await
}

pub(super) async fn unlock(State(app): State<App>, signed: Signed) -> Handled {
    make(app, signed, |fields| {
        let (holder, lock_token) = (fields.needed_text("holder"), fields.needed_number("lock_token"));
        Refusal::all_of([error(&holder), error(&lock_token)].into_iter().flatten())?;
        Ok(Command::Unlock { holder: holder?, lock_token: lock_token? })
    })
    .await
}

pub(super) async fn deliver(State(app): State<App>, signed: Signed) -> Handled {
    make(app, signed, |fields| {
        let lock_token = fields.number("lock_token")?;
        Ok(Command::Deliver { outcome: outcome(fields)?, lock_token })
    })
    .await
}

pub(super) async fn cancel(State(app): State<App>, signed: Signed) -> Handled {
    make(app, signed, |fields| Ok(Command::Cancel { reason: fields.text("reason")? })).await
}

async fn make(
    app: App,
    signed: Signed,
    command: impl FnOnce(&mut Fields) -> Result<Command, Refusal>,
) -> Handled {
    once(&app, &signed, 200, async |receipt| {
        let command = command(&mut Fields::parse(&signed.body)?)?;
        let id = signed.job_id()?;
        let job = app.service.command(signed.party, id, &command, receipt.as_ref()).await?;
        Ok(ReplyBody::Job(Box::new(job)))
    })
    .await
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
