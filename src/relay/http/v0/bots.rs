//! `/v0/bots`: who is there, and under which keys.

use axum::extract::State;
use serde::Deserialize;

use super::super::super::ratelimit::{Bucket, Kind};
use super::super::super::server::App;
use super::answer::Handled;
use super::once::once;
use super::request::{Signed, counted, parse};
use crate::protocol::v0::Refusal;
use crate::protocol::v0::refusal::Code;

#[derive(Default, Deserialize)]
struct Name {
    bot_name: Option<String>,
}

pub(in super::super) async fn register(State(app): State<App>, signed: Signed) -> Handled {
    once(&app, &signed, Bucket::Writes, async |receipt| {
        // Each bot has a rate of its own; who makes bots has only that of his address.
        counted(&app, Kind::Visitor(Bucket::Writes, signed.ip))
            .map_err(|_| Refusal::new(Code::RateLimited, "rate limited"))?;
        app.bazaar.register(&parse(&signed.body)?, &signed.claimed, &receipt).await
    })
    .await
}

pub(in super::super) async fn show(State(app): State<App>, signed: Signed) -> Handled {
    signed.read(&app, None, app.bazaar.bot(signed.id())).await
}

pub(in super::super) async fn rename(State(app): State<App>, signed: Signed) -> Handled {
    once(&app, &signed, Bucket::Writes, async |receipt| {
        let Name { bot_name } = signed.body()?;
        let name = bot_name.ok_or_else(|| Refusal::invalid("missing bot_name"))?;
        app.bazaar.rename(signed.bot, signed.id(), &name, &receipt).await
    })
    .await
}

pub(in super::super) async fn revoke(State(app): State<App>, signed: Signed) -> Handled {
    once(&app, &signed, Bucket::Writes, async |receipt| {
        app.bazaar.revoke(signed.bot, signed.id(), &receipt).await
    })
    .await
}
