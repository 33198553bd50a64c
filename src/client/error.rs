//! How a call to a relay can end other than well.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::protocol::{Code, Timestamp};

/// Characters of a relay's own words that are kept: a sentence, not a page of HTML.
const WORDS_CHARS_MAX: usize = 200;

/// Characters of a code that are kept. The contract's longest has 23; a refusal without a message is
/// told by its code twice, and is to fit a line of the log all the same.
const CODE_CHARS_MAX: usize = 48;

/// Why a call brought no answer that can be used.
///
/// Only [`CallError::Refused`] says that nothing happened. After all others the relay may have
/// done what was asked: ask again, with the same idempotency key, or look.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The relay understood, and said no.
    #[error("the relay refused: {0}")]
    Refused(Box<Refused>),
    /// Too many requests.
    #[error("the relay asks for fewer requests")]
    RateLimited {
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The relay, or something before it, cannot serve now.
    #[error("the relay is unavailable (status {status})")]
    Unavailable {
        /// Which 5xx it was.
        status: u16,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// No connection, a broken one, or time ran out.
    #[error("the relay cannot be reached: {reason}")]
    Transport {
        /// The chain of causes in one line, without the address.
        reason: String,
        /// The same for programs.
        #[source]
        source: Option<Arc<reqwest::Error>>,
    },
    /// An answer that is no answer of a relay's: HTML, a redirect, half an object, a flood.
    #[error("the answer is not a relay's (status {status}): {reason}")]
    Malformed {
        /// The HTTP status it came with.
        status: u16,
        /// What is wrong with it.
        reason: String,
    },
    /// More than is read of one answer: less may be asked for.
    #[error("the answer is too long (status {status})")]
    TooLong {
        /// The HTTP status it came with.
        status: u16,
        /// How it begins.
        head: Head,
    },
}

/// The beginning of an answer that was not read to its end.
#[derive(Clone, PartialEq, Eq)]
pub struct Head(Arc<[u8]>);

/// Bytes of an answer's beginning that are kept: the names in it stand before the long texts.
const HEAD_BYTES_MAX: usize = 64 << 10;

impl Head {
    pub(super) fn of(body: &[u8]) -> Self {
        Self(body.get(..HEAD_BYTES_MAX).unwrap_or(body).into())
    }

    /// Itself.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Its length: it is a stranger's, and long.
impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Head({} bytes)", self.0.len())
    }
}

/// What a relay said instead of doing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The code as it was sent, whether we know it or not.
    pub code: String,
    /// For people; the beginning of it.
    pub message: String,
    /// More for programs.
    pub details: Value,
}

impl Refused {
    /// The code, if it is one of ours.
    #[must_use]
    pub fn known(&self) -> Option<Code> {
        serde_json::from_value(Value::String(self.code.clone())).ok()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl CallError {
    /// Whether the same request may go better later. A refusal may not, with one exception: the
    /// first request with the same idempotency key is still running.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refused) => refused.known() == Some(Code::IdempotencyInProgress),
            Self::RateLimited { .. }
            | Self::Unavailable { .. }
            | Self::Transport { .. }
            | Self::Malformed { .. }
            | Self::TooLong { .. } => true,
        }
    }

    /// How long the relay wants to be left alone, if it said so.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } | Self::Unavailable { retry_after, .. } => *retry_after,
            Self::Refused(_) | Self::Transport { .. } | Self::Malformed { .. } | Self::TooLong { .. } => None,
        }
    }

    /// The refusal's code, if it is a refusal and we know it.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(refused) => refused.known(),
            _ => None,
        }
    }

    /// The HTTP status, if there was an answer.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(refused) => Some(refused.status),
            Self::RateLimited { .. } => Some(429),
            Self::Unavailable { status, .. }
            | Self::Malformed { status, .. }
            | Self::TooLong { status, .. } => Some(*status),
            Self::Transport { .. } => None,
        }
    }

    /// Whether the relay seems not to have the route at all: an older one, without the additions.
    /// A missing job looks the same, so this is asked about routes, never about jobs.
    #[must_use]
    pub fn may_lack_route(&self) -> bool {
        matches!(self.status(), Some(404 | 405 | 501))
    }

    pub(super) fn transport(error: reqwest::Error) -> Self {
        let error = error.without_url();
        Self::Transport { reason: chain(&error), source: Some(Arc::new(error)) }
    }

    pub(super) fn malformed(status: u16, reason: impl fmt::Display) -> Self {
        Self::Malformed { status, reason: shorten(&reason.to_string()) }
    }

    /// Reads an answer with a status other than 2xx.
    pub(super) fn from_answer(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        match status {
            429 => Self::RateLimited { retry_after },
            500..=599 => Self::Unavailable { status, retry_after },
            400..=499 => match read_refusal(status, body) {
                Some(refused) => Self::Refused(Box::new(refused)),
                None => Self::malformed(status, "no error in the contract's form"),
            },
            300..=399 => Self::malformed(status, "a redirect; signed requests are not sent elsewhere"),
            _ => Self::malformed(status, "an unexpected status"),
        }
    }
}

/// `{"error": {"code", "message", "details"}}`; everything but the code may be missing.
fn read_refusal(status: u16, body: &[u8]) -> Option<Refused> {
    let mut body: Value = serde_json::from_slice(body).ok()?;
    let error = body.get_mut("error")?;
    let code = shorten_to(CODE_CHARS_MAX, error.get("code")?.as_str()?);
    let message = error.get("message").and_then(Value::as_str).map_or_else(|| code.clone(), shorten);
    let details = error.get_mut("details").map(Value::take).unwrap_or_default();
    Some(Refused { status, code, message, details })
}

/// The beginning of somebody else's words, without what could move a terminal's cursor.
pub(crate) fn shorten(text: &str) -> String {
    shorten_to(WORDS_CHARS_MAX, text)
}

fn shorten_to(chars_max: usize, text: &str) -> String {
    let plain = |character: char| if character.is_control() { ' ' } else { character };
    let mut short: String = text.chars().take(chars_max).map(plain).collect();
    if text.chars().nth(chars_max).is_some() {
        short.push('…');
    }
    short
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    shorten(&text)
}

/// `Retry-After`: seconds, or a date in HTTP's form.
pub(super) fn read_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    match text.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => read_http_date(text).map(|moment| moment.since(now)),
    }
}

/// A date as HTTP headers write it: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn read_http_date(text: &str) -> Option<Timestamp> {
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let moment = time::PrimitiveDateTime::parse(text.trim(), format).ok()?;
    Some(Timestamp::from_seconds(moment.assume_utc().unix_timestamp()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(status: u16, body: &str) -> CallError {
        CallError::from_answer(status, None, body.as_bytes())
    }

    #[test]
    fn codes_are_kept_whether_known_or_not() {
        let known = answer(409, r#"{"error":{"code":"invalid_state","message":"no","details":{"a":1}}}"#);
        assert_eq!(known.code(), Some(Code::InvalidState));
        let CallError::Refused(refused) = answer(418, r#"{"error":{"code":"teapot.short"}}"#) else {
            panic!("not a refusal")
        };
        assert_eq!((refused.code.as_str(), refused.known()), ("teapot.short", None));
        assert_eq!(refused.message, "teapot.short");
        let long = answer(418, &format!(r#"{{"error":{{"code":"{}"}}}}"#, "x".repeat(5_000)));
        assert!(long.to_string().len() < WORDS_CHARS_MAX, "{long}");
    }

    #[test]
    fn only_what_a_later_try_can_cure_is_retried() {
        let refused = |code: &str| answer(409, &format!(r#"{{"error":{{"code":"{code}"}}}}"#));
        assert!(!refused("invalid_state").is_retryable());
        assert!(!refused("auth.nonce_replay").is_retryable());
        assert!(refused("idempotency_in_progress").is_retryable());
        assert!(answer(500, "<html>").is_retryable());
        assert!(answer(429, "").is_retryable());
        assert!(matches!(answer(404, "<html>"), CallError::Malformed { status: 404, .. }));
        assert!(matches!(answer(302, ""), CallError::Malformed { .. }));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = read_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(now.to_string(), "1994-11-06T08:49:37.000000Z");
        assert_eq!(read_retry_after("7", now), Some(Duration::from_secs(7)));
        assert_eq!(read_retry_after("Sun, 06 Nov 1994 08:50:37 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(read_retry_after("soon", now), None);
    }

    #[test]
    fn a_strangers_words_cannot_fill_or_move_a_terminal() {
        let long = shorten(&format!("\u{1b}[2J{}", "x".repeat(1_000)));
        assert!(long.chars().count() <= WORDS_CHARS_MAX + 1 && !long.contains('\u{1b}'));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(status: u16, body: Vec<u8>, header: String) {
            let _ = CallError::from_answer(status, None, &body).is_retryable();
            let _ = read_retry_after(&header, Timestamp::from_seconds(0));
        }
    }
}
