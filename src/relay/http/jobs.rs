//! `/v1/jobs`: asking, looking, listing.

use axum::extract::State;
use serde_json::json;

use super::super::model::{JobOrder, JobQuery, ReplyBody, Role};
use super::super::server::App;
use super::body::{Fields, Params, quoted};
use super::once::once;
use super::reply::{Handled, Named, ok};
use super::request::Signed;
use crate::protocol::limits::{JOBS_PER_PAGE, JOBS_PER_PAGE_MAX};
use crate::protocol::{PublicKey, Refusal, Status, Timestamp};

pub(super) async fn create(State(app): State<App>, signed: Signed) -> Handled {
    once(&app, &signed, 201, async |receipt| {
        let mut fields = Fields::parse(&signed.body)?;
        let offer_id = fields.parsed("offer_id")?.ok_or_else(|| Refusal::field("offer_id", "is missing"))?;
        let request = fields.value("request_payload");
        let job = app.service.create_job(signed.party, offer_id, request, receipt.as_ref()).await?;
        Ok(ReplyBody::Job(Box::new(job)))
    })
    .await
}

pub(super) async fn show(State(app): State<App>, signed: Signed) -> Handled {
    let job = app.service.job(signed.party, signed.job_id()?).await?;
    Ok(ok(&Named { job: Some(&job), ..Named::default() }))
}

pub(super) async fn list(State(app): State<App>, signed: Signed) -> Handled {
    let params = Params::parse(signed.query.as_deref())?;
    let query = query(signed.party, &params)?;
    let page = app.service.jobs(&query).await?;
    let (limit, offset) = (query.limit, query.offset);
    let mut body = json!({"limit": limit, "offset": offset, "total": page.total});
    if let JobOrder::UpdatedAfter(after) = query.order {
        let next = page.jobs.last().map_or(after, |job| job.updated_at);
        body["next_cursor"] = next.micros().to_string().into();
    }
    body["jobs"] = json!(page.jobs);
    Ok(ok(&body))
}

pub(super) fn query(party: PublicKey, params: &Params) -> Result<JobQuery, Refusal> {
    let statuses = params.list("status").into_iter().map(|name| {
        Status::parse(name)
            .ok_or_else(|| Refusal::field("status", format!("there is no status {}", quoted(name))))
    });
    let role = match params.text("role") {
        None | Some("both") => None,
        Some("seller") => Some(Role::Seller),
        Some("buyer") => Some(Role::Buyer),
        Some(_) => return Err(Refusal::field("role", "seller, buyer or both")),
    };
    let offset = params.offset()?;
    let updated_after = params.parsed("updated_after")?;
    let (order, offset) = match params.text("cursor") {
        Some(cursor) => (JobOrder::UpdatedAfter(parse_cursor(cursor)?), 0),
        None => (updated_after.map_or(JobOrder::Newest, JobOrder::UpdatedAfter), offset),
    };
    Ok(JobQuery {
        party,
        role,
        statuses: statuses.collect::<Result<_, _>>()?,
        order,
        offset,
        limit: params.limit(JOBS_PER_PAGE, JOBS_PER_PAGE_MAX)?,
    })
}

/// A cursor is the `updated_at` of the last job seen, which no two jobs share; opaque to clients.
pub(super) fn parse_cursor(text: &str) -> Result<Timestamp, Refusal> {
    if text == "start" {
        return Ok(Timestamp::default());
    }
    match text.parse() {
        Ok(micros @ 0i64..) => Ok(Timestamp::from_micros(micros)),
        _ => Err(Refusal::field("cursor", "start, or a next_cursor of this list")),
    }
}
