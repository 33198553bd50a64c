//! Everything a relay can refuse, as one enum of codes.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Why a request was refused: the `code` of an error body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Code {
    /// Shape, length or range; `details.issues` names the fields.
    #[serde(rename = "validation_error")]
    Validation,
    /// Missing or malformed header, or a bad signature.
    #[serde(rename = "auth.invalid_signature")]
    InvalidSignature,
    /// The signer's clock is off by more than 60 s.
    #[serde(rename = "auth.timestamp_skew")]
    TimestampSkew,
    /// The nonce was seen before.
    #[serde(rename = "auth.nonce_replay")]
    NonceReplay,
    /// Not a party to it, or the wrong party.
    #[serde(rename = "forbidden")]
    Forbidden,
    /// No such thing, or no such route.
    #[serde(rename = "not_found")]
    NotFound,
    /// The table has no such transition from where the job is.
    #[serde(rename = "invalid_state")]
    InvalidState,
    /// The idempotency key belongs to another request.
    #[serde(rename = "idempotency_conflict")]
    IdempotencyConflict,
    /// The first request with this key is still running.
    #[serde(rename = "idempotency_in_progress")]
    IdempotencyInProgress,
    /// Somebody else holds a live lock.
    #[serde(rename = "lock_conflict")]
    LockConflict,
    /// The lock that the caller relies on is no longer its own.
    #[serde(rename = "lock_lost")]
    LockLost,
    /// The payment hash is on another job.
    #[serde(rename = "payment_hash_reused")]
    PaymentHashReused,
    /// Events after the cursor are gone, or the cursor is of another epoch.
    #[serde(rename = "cursor_too_old")]
    CursorTooOld,
    /// A payload or the body is over its cap.
    #[serde(rename = "payload_too_large")]
    PayloadTooLarge,
    /// Too many requests; see `Retry-After`.
    #[serde(rename = "rate_limited")]
    RateLimited,
    /// Storage is failing, or the relay is draining; see `Retry-After`.
    #[serde(rename = "unavailable")]
    Unavailable,
}

impl Code {
    /// The HTTP status it travels with.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Validation => 400,
            Self::InvalidSignature | Self::TimestampSkew | Self::NonceReplay => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::InvalidState
            | Self::IdempotencyConflict
            | Self::IdempotencyInProgress
            | Self::LockConflict
            | Self::LockLost
            | Self::PaymentHashReused => 409,
            Self::CursorTooOld => 410,
            Self::PayloadTooLarge => 413,
            Self::RateLimited => 429,
            Self::Unavailable => 503,
        }
    }

    /// Whether a retry of the same request would be refused again, so that the answer may be kept
    /// for its idempotency key.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Validation
            | Self::Forbidden
            | Self::NotFound
            | Self::InvalidState
            | Self::IdempotencyConflict
            | Self::LockConflict
            | Self::LockLost
            | Self::PaymentHashReused
            | Self::CursorTooOld => true,
            Self::InvalidSignature
            | Self::TimestampSkew
            | Self::NonceReplay
            | Self::IdempotencyInProgress
            | Self::PayloadTooLarge
            | Self::RateLimited
            | Self::Unavailable => false,
        }
    }
}

/// A refused request: the contents of an error body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Why.
    pub code: Code,
    /// The same for people: what is wrong, and what would be right.
    pub message: String,
    /// More for programs; an object or null.
    #[serde(default)]
    pub details: Value,
}

impl Refusal {
    /// A refusal without details.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Value::Null }
    }

    /// A `validation_error` about one field.
    #[must_use]
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let issues = json!({"issues": [{"field": field, "message": message}]});
        Self { code: Code::Validation, message: format!("{field}: {message}"), details: issues }
    }

    /// Several `validation_error`s as one that names all their fields.
    ///
    /// # Errors
    /// That one, if there is any.
    pub fn all_of(refusals: impl IntoIterator<Item = Self>) -> Result<(), Self> {
        let joined = refusals.into_iter().reduce(|mut one, other| {
            one.message = format!("{}; {}", one.message, other.message);
            let more = other.details.get("issues").and_then(Value::as_array);
            if let (Some(issues), Some(more)) =
                (one.details.get_mut("issues").and_then(Value::as_array_mut), more)
            {
                issues.extend_from_slice(more);
            }
            one
        });
        joined.map_or(Ok(()), Err)
    }

    /// An `invalid_state`: the move is not on the table.
    #[must_use]
    pub fn invalid_state(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidState, message)
    }

    /// With details for programs.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    /// The error body: `{"error": {"code", "message", "details"}}`.
    #[must_use]
    pub fn to_body(&self) -> Value {
        json!({ "error": self })
    }
}
