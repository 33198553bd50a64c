//! `/v0/offers`: what sellers do, and for how much.

use axum::extract::State;

use super::super::super::ratelimit::Bucket;
use super::super::super::server::App;
use super::answer::Handled;
use super::once::once;
use super::request::{Signed, parse};
use crate::protocol::v0::search::OfferQuery;
use crate::protocol::v0::{OfferCommand, OfferId};

pub(in super::super) async fn create(State(app): State<App>, signed: Signed) -> Handled {
    once(&app, &signed, Bucket::Writes, async |receipt| {
        app.bazaar.create_offer(signed.bot, &parse(&signed.body)?, &receipt).await
    })
    .await
}

pub(in super::super) async fn list(State(app): State<App>, signed: Signed) -> Handled {
    let found = async {
        let query = OfferQuery::parse(signed.params(), Some(signed.bot))?;
        app.bazaar.offers(&query).await
    };
    signed.read(&app, Some(Bucket::Offer), found).await
}

pub(in super::super) async fn show(State(app): State<App>, signed: Signed) -> Handled {
    let id = OfferId::new(signed.id());
    signed.read(&app, Some(Bucket::Offer), app.bazaar.offer(&id)).await
}

pub(in super::super) async fn cancel(State(app): State<App>, signed: Signed) -> Handled {
    change(&app, &signed, OfferCommand::Cancel).await
}

pub(in super::super) async fn pause(State(app): State<App>, signed: Signed) -> Handled {
    change(&app, &signed, OfferCommand::Pause).await
}

pub(in super::super) async fn resume(State(app): State<App>, signed: Signed) -> Handled {
    change(&app, &signed, OfferCommand::Resume).await
}

async fn change(app: &App, signed: &Signed, command: OfferCommand) -> Handled {
    once(app, signed, Bucket::Writes, async |receipt| {
        app.bazaar.move_offer(signed.bot, &OfferId::new(signed.id()), command, &receipt).await
    })
    .await
}
