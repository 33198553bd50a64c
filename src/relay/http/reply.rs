//! What goes out: the one place where a refusal becomes a status.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::super::model::{Reply, ReplyBody};
use crate::protocol::{Code, Refusal};

/// Seconds after which a client should try again when the relay cannot know better.
const RETRY_SECONDS: u64 = 1;

/// The detail that becomes `Retry-After`.
pub(in crate::relay) const RETRY_DETAIL: &str = "retry_after_seconds";

/// What a handler answers.
pub(super) type Handled = Result<Response, Refused>;

/// A refusal on its way out.
#[derive(Debug)]
pub(in crate::relay) struct Refused(Refusal);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        refuse(&self.0)
    }
}

fn refuse(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_response(status, &refusal.to_body());
    if matches!(refusal.code, Code::RateLimited | Code::Unavailable) {
        let seconds = refusal.details[RETRY_DETAIL].as_u64().unwrap_or(RETRY_SECONDS);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// 200 with a body.
pub(super) fn ok(body: &impl Serialize) -> Response {
    json_response(StatusCode::OK, body)
}

/// The answer to a mutation, now or again.
pub(super) fn reply(reply: &Reply) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
    match &reply.body {
        ReplyBody::Job(job) => json_response(status, &Named { job: Some(job), ..Named::default() }),
        ReplyBody::Offer(offer) => json_response(status, &Named { offer: Some(offer), ..Named::default() }),
        ReplyBody::Acked(id) => json_response(status, &json!({"last_acked_event_id": id})),
        ReplyBody::Refused(refusal) => refuse(refusal),
        ReplyBody::Text(text) => (status, [(CONTENT_TYPE, "application/json")], text.clone()).into_response(),
    }
}

/// One thing under its name.
#[derive(Default, Serialize)]
pub(super) struct Named<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) job: Option<&'a crate::protocol::Job>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) offer: Option<&'a crate::protocol::Offer>,
}

fn json_response(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => (status, [(CONTENT_TYPE, "application/json")], bytes).into_response(),
        // Shapes with text keys only always serialize; a client should still get an answer.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
