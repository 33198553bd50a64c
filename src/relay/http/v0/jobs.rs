//! `/v0/jobs`: what was asked for, and what its parties do about it.

use axum::extract::State;
use serde::Deserialize;

use super::super::super::ratelimit::Bucket;
use super::super::super::server::App;
use super::super::super::v0::service::Order;
use super::answer::Handled;
use super::once::{once, once_as};
use super::request::{Signed, parse};
use crate::protocol::v0::lists::JobQuery;
use crate::protocol::v0::{Command, JobDraft, JobId, Refusal, Sealed};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Delivery {
    payload: Sealed,
}

/// A job's own name is its idempotency key; a header may only say the same.
pub(in super::super) async fn create(State(app): State<App>, signed: Signed) -> Handled {
    let draft: JobDraft = parse(&signed.body)?;
    let key = draft.job_id.as_str();
    if key.is_empty() {
        return Err(Refusal::invalid("missing job_id").into());
    }
    if signed.idempotency_key().is_some_and(|header| header != key) {
        return Err(Refusal::conflict("idempotency key mismatch").into());
    }
    once_as(&app, &signed, key, Bucket::Writes, async |receipt| {
        app.bazaar.create_job(signed.bot, &draft, &receipt).await
    })
    .await
}

pub(in super::super) async fn show(State(app): State<App>, signed: Signed) -> Handled {
    let id = JobId::new(signed.id());
    signed.read(&app, None, app.bazaar.job(signed.bot, &id)).await
}

pub(in super::super) async fn list(State(app): State<App>, signed: Signed) -> Handled {
    let found = async { app.bazaar.jobs(signed.bot, &JobQuery::parse(signed.params())?).await };
    signed.read(&app, None, found).await
}

pub(in super::super) async fn cancel(State(app): State<App>, signed: Signed) -> Handled {
    change(&app, &signed, || Ok(Order::Plain(Command::Cancel))).await
}

pub(in super::super) async fn charge(State(app): State<App>, signed: Signed) -> Handled {
    change(&app, &signed, || Ok(Order::Plain(Command::Charge(parse(&signed.body)?)))).await
}

pub(in super::super) async fn reissue(State(app): State<App>, signed: Signed) -> Handled {
    change(&app, &signed, || Ok(Order::Plain(Command::Reissue(parse(&signed.body)?)))).await
}

pub(in super::super) async fn reissue_request(State(app): State<App>, signed: Signed) -> Handled {
    change(&app, &signed, || Ok(Order::Plain(Command::ReissueRequest(signed.body()?)))).await
}

pub(in super::super) async fn payment_sent(State(app): State<App>, signed: Signed) -> Handled {
    change(&app, &signed, || Ok(Order::Plain(Command::PaymentSent(signed.body()?)))).await
}

pub(in super::super) async fn mark_paid(State(app): State<App>, signed: Signed) -> Handled {
    change(&app, &signed, || Ok(Order::Plain(Command::MarkPaid(signed.body()?)))).await
}

pub(in super::super) async fn deliver(State(app): State<App>, signed: Signed) -> Handled {
    change(&app, &signed, || Ok(Order::Deliver(parse::<Delivery>(&signed.body)?.payload))).await
}

async fn change(app: &App, signed: &Signed, order: impl FnOnce() -> Result<Order, Refusal>) -> Handled {
    once(app, signed, Bucket::Writes, async |receipt| {
        let id = JobId::new(signed.id());
        app.bazaar.command(signed.bot, &id, &order()?, &receipt).await
    })
    .await
}
