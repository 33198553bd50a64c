//! What may follow a call that brought no answer, and how a /v0 relay says no.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::super::error::{CallError, Refused, shorten};
use crate::protocol::v0::poll::EVENT_ID_MAX;

/// What may be done about a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The same again may go better; whether it was carried out is not known.
    Retry,
    /// Nothing was done, because too much was asked; later it will be.
    RateLimited {
        /// How long the relay wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// Events after the cursor were removed: the state of everything must be looked at.
    Gone {
        /// Where the log begins now.
        min_event_id_retained: u64,
    },
    /// The relay understood, and said no; it will say so again.
    Permanent,
}

impl CallError {
    /// What may be done about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::RateLimited { retry_after } => Class::RateLimited { retry_after: *retry_after },
            Self::Unavailable { .. }
            | Self::Transport { .. }
            | Self::Malformed { .. }
            | Self::TooLong { .. } => Class::Retry,
            Self::Refused(refused) if refused.status == 410 => {
                Class::Gone { min_event_id_retained: minimum(&refused.details).unwrap_or(0) }
            }
            Self::Refused(refused) if PASSING.contains(&refused.message.as_str()) => Class::Retry,
            Self::Refused(_) => Class::Permanent,
        }
    }

    /// Whether the relay refused in these words; some of them are part of the contract.
    #[must_use]
    pub fn says(&self, message: &str) -> bool {
        matches!(self, Self::Refused(refused) if refused.message == message)
    }

    /// Reads an answer with a status other than 2xx.
    pub(super) fn from_v0_answer(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        if !(400..500).contains(&status) || status == 429 {
            return Self::from_answer(status, retry_after, body);
        }
        match read_refusal(status, body) {
            Some(refused) => Self::Refused(Box::new(refused)),
            None => Self::malformed(status, "no error in the contract's form"),
        }
    }
}

/// Refusals that a fresh timestamp and nonce, or a clock that was set right, can cure.
const PASSING: [&str; 3] = ["nonce reuse", "stale timestamp", "idempotency insert failed"];

/// `{"error": message}`, `{"code", "message"}`, or both. A message alone is a gateway's that has found
/// no relay.
fn read_refusal(status: u16, body: &[u8]) -> Option<Refused> {
    let details: Value = serde_json::from_slice(body).ok()?;
    let text = |name| details.get(name).and_then(Value::as_str).map(shorten);
    let (error, code) = (text("error"), text("code"));
    let message = error.or_else(|| code.as_ref().and_then(|_| text("message")))?;
    if status == 410 {
        minimum(&details)?;
    }
    let code = code.unwrap_or_else(|| status.to_string());
    Some(Refused { status, code, message, details })
}

fn minimum(details: &Value) -> Option<u64> {
    details.get("min_event_id_retained").and_then(Value::as_u64).filter(|id| (1..=EVENT_ID_MAX).contains(id))
}

/// Under which key a mutation is to happen once.
///
/// Deployed relays keep *every* answer under its key for a month, also that they were busy. After
/// such an answer the same key brings the same words, so that the next try needs another key; that
/// it happens once is then for the natural keys to see to: a job's name, a charge's, a payload's.
/// After a lost answer the key stays, and the first answer is told again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    base: String,
    turn: u32,
}

impl Key {
    /// The first key of something that is to happen once.
    #[must_use]
    pub fn new(base: impl Into<String>) -> Self {
        Self { base: base.into(), turn: 0 }
    }

    /// The same try of what another text names.
    #[must_use]
    pub fn renamed(&self, base: impl Into<String>) -> Self {
        Self { base: base.into(), turn: self.turn }
    }

    /// The key for the next try after `error`.
    #[must_use]
    pub fn after(&self, error: &CallError) -> Self {
        let kept = match error {
            CallError::RateLimited { .. } | CallError::Unavailable { .. } => true,
            // What was not there, or not ours, may be again.
            CallError::Refused(refused) => matches!(refused.status, 403 | 404),
            CallError::Transport { .. } | CallError::Malformed { .. } | CallError::TooLong { .. } => false,
        };
        Self { base: self.base.clone(), turn: self.turn.saturating_add(u32::from(kept)) }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.turn {
            0 => f.write_str(&self.base),
            turn => write!(f, "{}.{turn}", self.base),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::v0::Refusal;

    fn answer(status: u16, body: &str) -> CallError {
        CallError::from_v0_answer(status, None, body.as_bytes())
    }

    #[test]
    fn all_forms_of_a_refusal_are_read() {
        for body in [
            r#"{"error":"job not paid"}"#,
            r#"{"code":"conflict","message":"job not paid"}"#,
            &Refusal::conflict("job not paid").to_body().to_string(),
        ] {
            let error = answer(409, body);
            assert!(error.says("job not paid") && !error.says("job not"), "{body}");
            assert_eq!(error.class(), Class::Permanent);
        }
        assert_eq!(answer(409, "<html>").class(), Class::Retry);
        // What a gateway says that finds no relay behind it.
        assert_eq!(answer(404, r#"{"message":"Not Found"}"#).class(), Class::Retry);
        assert_eq!(answer(404, r#"{"code":5,"message":"Not Found"}"#).class(), Class::Retry);
        assert_eq!(answer(409, r#"{"error":{"code":"conflict"}}"#).class(), Class::Retry);
    }

    #[test]
    fn each_answer_has_its_class() {
        assert_eq!(
            answer(410, &Refusal::gone(7).to_body().to_string()).class(),
            Class::Gone { min_event_id_retained: 7 }
        );
        // Without the number nothing can be done about it, and it is no relay's answer.
        assert_eq!(answer(410, r#"{"code":"gone","message":"cursor too old"}"#).class(), Class::Retry);
        assert_eq!(answer(410, r#"{"error":"x","min_event_id_retained":0}"#).class(), Class::Retry);
        assert_eq!(
            answer(429, r#"{"error":"rate limited"}"#).class(),
            Class::RateLimited { retry_after: None }
        );
        assert_eq!(answer(500, r#"{"error":"idempotency insert failed"}"#).class(), Class::Retry);
        assert_eq!(answer(503, "").class(), Class::Retry);
        assert_eq!(answer(401, r#"{"error":"nonce reuse"}"#).class(), Class::Retry);
        assert_eq!(answer(401, r#"{"error":"stale timestamp"}"#).class(), Class::Retry);
        assert_eq!(answer(401, r#"{"error":"unknown bot"}"#).class(), Class::Permanent);
    }

    #[test]
    fn a_key_is_given_up_only_after_an_answer_that_is_kept() {
        let first = Key::new("chg_1");
        let lost = CallError::Transport { reason: "gone".to_owned(), source: None };
        assert_eq!(first.after(&lost), first);
        assert_eq!(first.after(&CallError::malformed(200, "half")), first);
        let second = first.after(&answer(429, ""));
        assert_eq!((first.to_string().as_str(), second.to_string().as_str()), ("chg_1", "chg_1.1"));
        assert_eq!(second.after(&answer(502, "")).to_string(), "chg_1.2");
        assert_eq!(second.after(&answer(404, r#"{"error":"job not found"}"#)).to_string(), "chg_1.2");
        assert_eq!(second.after(&answer(409, r#"{"error":"job not paid"}"#)), second);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(status in 300u16..600, body: Vec<u8>) {
            let error = CallError::from_v0_answer(status, None, &body);
            let _ = (error.class(), error.to_string());
        }
    }
}
