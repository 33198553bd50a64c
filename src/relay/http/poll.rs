//! `/v1/poll`, `/v1/poll/ack` and `/v1/events`: the log as a party reads it.

use axum::extract::State;
use axum::response::Response;

use super::super::model::ReplyBody;
use super::super::server::App;
use super::super::{events, sse};
use super::body::{Fields, Params, quoted};
use super::once::once;
use super::reply::{Handled, ok};
use super::request::Signed;
use crate::protocol::limits::{EVENTS_PER_PAGE, EVENTS_PER_PAGE_MAX};
use crate::protocol::{EventId, EventType, PublicKey, Refusal};

pub(super) async fn poll(State(app): State<App>, signed: Signed) -> Handled {
    let params = Params::parse(signed.query.as_deref())?;
    let request = request(signed.party, &params)?;
    Ok(ok(&events::page(&*app.storage, &request).await?))
}

pub(super) fn request(party: PublicKey, params: &Params) -> Result<events::Request, Refusal> {
    let kinds = params.list("types").into_iter().map(|name| {
        EventType::parse(name)
            .ok_or_else(|| Refusal::field("types", format!("there is no type {}", quoted(name))))
    });
    Ok(events::Request {
        party,
        since: parse_event_id(params, "since_event_id")?,
        epoch: params.text("epoch").map(str::to_owned),
        kinds: kinds.collect::<Result<_, _>>()?,
        limit: params.limit(EVENTS_PER_PAGE, EVENTS_PER_PAGE_MAX)?,
    })
}

pub(super) async fn ack(State(app): State<App>, signed: Signed) -> Handled {
    once(&app, &signed, 200, async |receipt| {
        let up_to = EventId(Fields::parse(&signed.body)?.needed_number("up_to_event_id")?);
        let acked = events::acknowledge(&*app.storage, signed.party, up_to, receipt.as_ref()).await?;
        Ok(ReplyBody::Acked(acked))
    })
    .await
}

pub(super) async fn stream(State(app): State<App>, signed: Signed) -> Result<Response, super::Refused> {
    let params = Params::parse(signed.query.as_deref())?;
    let resumed = signed.headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let since = match resumed {
        Some(id) => Some(parse_text("Last-Event-ID", id)?),
        None => parse_event_id(&params, "cursor")?,
    };
    let request = events::Request {
        party: signed.party,
        since,
        epoch: params.text("epoch").map(str::to_owned),
        kinds: Vec::new(),
        limit: EVENTS_PER_PAGE_MAX,
    };
    Ok(sse::stream(app, request).await?)
}

fn parse_event_id(params: &Params, name: &str) -> Result<Option<EventId>, Refusal> {
    params.text(name).map(|text| parse_text(name, text)).transpose()
}

pub(super) fn parse_text(name: &str, text: &str) -> Result<EventId, Refusal> {
    text.parse().map(EventId).map_err(|_| Refusal::field(name, "a whole number, not negative"))
}
