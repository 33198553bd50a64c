//! What goes out: the one place where a refusal of /v0 becomes a status.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::super::super::ratelimit::Allowance;
use crate::protocol::v0::Refusal;
use crate::protocol::v0::refusal::Code;

/// What a handler answers.
pub(in super::super) type Handled = Result<Response, Refused>;

/// A refusal on its way out, with what is left of the caller's rate if that was counted.
#[derive(Debug)]
pub(in crate::relay) struct Refused {
    refusal: Refusal,
    allowance: Option<Allowance>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, allowance: None }
    }
}

/// The core's own words, for what both dialects can run into.
impl From<crate::protocol::Refusal> for Refused {
    fn from(refusal: crate::protocol::Refusal) -> Self {
        Self::from(match refusal.code.status() {
            413 => Refusal::new(Code::TooLarge, "body too large"),
            429 => Refusal::new(Code::RateLimited, "rate limited"),
            503 => Refusal::new(Code::Unavailable, refusal.message),
            _ => Refusal::invalid("invalid body"),
        })
    }
}

impl Refused {
    pub(super) fn counted(refusal: Refusal, allowance: Option<Allowance>) -> Self {
        Self { refusal, allowance }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self { refusal, allowance } = self;
        let mut response = json(refusal.code.status(), refusal.to_body().to_string(), allowance);
        if matches!(refusal.code, Code::RateLimited | Code::Unavailable) {
            let seconds = allowance.map_or(1, |allowance| allowance.wait_seconds.max(1));
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A body of JSON, with what is left of the caller's rate if that was counted.
pub(super) fn json(status: u16, body: String, allowance: Option<Allowance>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, [(CONTENT_TYPE, "application/json")], body).into_response();
    if let Some(allowance) = allowance {
        tell_rate(response.headers_mut(), allowance);
    }
    response
}

fn tell_rate(headers: &mut HeaderMap, allowance: Allowance) {
    headers.insert("x-ratelimit-limit", HeaderValue::from(allowance.burst));
    headers.insert("x-ratelimit-remaining", HeaderValue::from(allowance.left));
    headers.insert("x-ratelimit-reset", HeaderValue::from(allowance.full_at_seconds));
}
