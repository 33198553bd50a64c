//! What a /v0 relay refuses, and the body that says so.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Why a request was refused: the `code` of an error body, and its HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Shape, length or range.
    InvalidRequest,
    /// Headers, key, signature or nonce.
    Unauthorized,
    /// Not a party to it, or a bot that has left for good.
    Forbidden,
    /// No such thing, or no such route.
    NotFound,
    /// A route, but not by this method.
    MethodNotAllowed,
    /// The state of things, or an idempotency key, is against it.
    Conflict,
    /// Events after the cursor were removed.
    Gone,
    /// The body is larger than any request.
    TooLarge,
    /// Too many requests; see `Retry-After`.
    RateLimited,
    /// Storage is failing, or the relay is draining; see `Retry-After`.
    Unavailable,
}

impl Code {
    /// The HTTP status it travels with.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict => 409,
            Self::Gone => 410,
            Self::TooLarge => 413,
            Self::RateLimited => 429,
            Self::Unavailable => 503,
        }
    }

    /// Whether the answer may be kept for its idempotency key: what a retry could change is not.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::InvalidRequest | Self::Forbidden | Self::NotFound | Self::Conflict)
    }
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Why.
    pub code: Code,
    /// The same in words; clients compare some of them.
    pub message: Cow<'static, str>,
    /// Of a `gone`: where the log begins now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_event_id_retained: Option<u64>,
}

impl Refusal {
    /// A refusal with any code.
    #[must_use]
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), min_event_id_retained: None }
    }

    /// 400.
    #[must_use]
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, message)
    }

    /// 401.
    #[must_use]
    pub fn unauthorized(message: &'static str) -> Self {
        Self::new(Code::Unauthorized, message)
    }

    /// 403.
    #[must_use]
    pub fn forbidden(message: &'static str) -> Self {
        Self::new(Code::Forbidden, message)
    }

    /// 404.
    #[must_use]
    pub fn not_found(message: &'static str) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// 409.
    #[must_use]
    pub fn conflict(message: &'static str) -> Self {
        Self::new(Code::Conflict, message)
    }

    /// 410: the cursor lies before events that were removed.
    #[must_use]
    pub fn gone(min_event_id_retained: u64) -> Self {
        let min_event_id_retained = Some(min_event_id_retained);
        Self { code: Code::Gone, message: "cursor too old".into(), min_event_id_retained }
    }

    /// The error body. Both kinds of clients read it: those that know `error`, and those that know
    /// `code` and `message`.
    #[must_use]
    pub fn to_body(&self) -> Value {
        let mut body = json!({ "error": self.message, "code": self.code, "message": self.message });
        if let (Some(minimum), Some(fields)) = (self.min_event_id_retained, body.as_object_mut()) {
            fields.insert("min_event_id_retained".to_owned(), minimum.into());
            fields.insert("suggested_resync".to_owned(), true.into());
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bodies_are_pinned() {
        assert_eq!(
            Refusal::conflict("job not paid").to_body().to_string(),
            r#"{"error":"job not paid","code":"conflict","message":"job not paid"}"#
        );
        assert_eq!(
            Refusal::gone(7).to_body().to_string(),
            r#"{"error":"cursor too old","code":"gone","message":"cursor too old","min_event_id_retained":7,"suggested_resync":true}"#
        );
    }

    #[test]
    fn what_may_pass_is_never_kept() {
        for code in [Code::Unauthorized, Code::Gone, Code::TooLarge, Code::RateLimited, Code::Unavailable] {
            assert!(!code.is_final(), "{code:?}");
        }
        assert!(Code::Conflict.is_final() && Code::InvalidRequest.is_final());
    }

    #[test]
    fn every_code_has_its_name_its_status_and_its_way_to_be_said() {
        for (refusal, name, status, is_final) in [
            (Refusal::invalid("m"), "invalid_request", 400, true),
            (Refusal::unauthorized("m"), "unauthorized", 401, false),
            (Refusal::forbidden("m"), "forbidden", 403, true),
            (Refusal::not_found("m"), "not_found", 404, true),
            (Refusal::new(Code::MethodNotAllowed, "m"), "method_not_allowed", 405, false),
            (Refusal::conflict("m"), "conflict", 409, true),
            (Refusal::gone(1), "gone", 410, false),
            (Refusal::new(Code::TooLarge, "m"), "too_large", 413, false),
            (Refusal::new(Code::RateLimited, "m"), "rate_limited", 429, false),
            (Refusal::new(Code::Unavailable, "m"), "unavailable", 503, false),
        ] {
            let code = refusal.code;
            assert_eq!((json!(code), code.status(), code.is_final()), (json!(name), status, is_final));
            assert_eq!(refusal.to_string(), refusal.to_body()["message"]);
        }
    }
}
