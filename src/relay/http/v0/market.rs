//! What anybody may see: the offers that take jobs.

use axum::extract::{Path, Request, State};

use super::super::super::ratelimit::{Bucket, Kind};
use super::super::super::server::App;
use super::super::request::client_ip;
use super::answer::{Handled, Refused, json};
use super::request::{counted, query_of};
use crate::protocol::v0::OfferId;
use crate::protocol::v0::lists::Params;
use crate::protocol::v0::search::OfferQuery;

pub(in super::super) async fn list(State(app): State<App>, request: Request) -> Handled {
    let (parts, _) = request.into_parts();
    let allowance = counted(&app, Kind::Visitor(Bucket::Offer, client_ip(&app, &parts)))?;
    let found = async {
        let query = OfferQuery::parse(Params(&query_of(&parts)?), None)?;
        app.bazaar.market(&query).await
    };
    found.await.map(|text| json(200, text, allowance)).map_err(|refusal| Refused::counted(refusal, allowance))
}

pub(in super::super) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request,
) -> Handled {
    let (parts, _) = request.into_parts();
    let allowance = counted(&app, Kind::Visitor(Bucket::Offer, client_ip(&app, &parts)))?;
    let found = app.bazaar.market_offer(&OfferId::new(id)).await;
    found.map(|text| json(200, text, allowance)).map_err(|refusal| Refused::counted(refusal, allowance))
}

/// The market in numbers.
pub(in super::super) async fn stats(State(app): State<App>, request: Request) -> Handled {
    let (parts, _) = request.into_parts();
    let allowance = counted(&app, Kind::Visitor(Bucket::Offer, client_ip(&app, &parts)))?;
    let told = app.bazaar.stats().await;
    told.map(|text| json(200, text, allowance)).map_err(|refusal| Refused::counted(refusal, allowance))
}
