//! `/v0/payloads`: sealed texts, for their recipients only.

use axum::extract::State;

use super::super::super::ratelimit::Bucket;
use super::super::super::server::App;
use super::answer::Handled;
use super::request::Signed;
use crate::protocol::v0::PayloadId;
use crate::protocol::v0::lists::PayloadQuery;

pub(in super::super) async fn fetch(State(app): State<App>, signed: Signed) -> Handled {
    let id = PayloadId::new(signed.id());
    signed.read(&app, Some(Bucket::Payload), app.bazaar.payload(signed.bot, &id)).await
}

pub(in super::super) async fn list(State(app): State<App>, signed: Signed) -> Handled {
    let found = async { app.bazaar.payloads(signed.bot, &PayloadQuery::parse(signed.params())?).await };
    signed.read(&app, Some(Bucket::Payload), found).await
}
