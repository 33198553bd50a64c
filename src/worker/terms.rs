//! What the worker needs to know of an offer to serve its jobs.

use std::time::Duration;

use nano_currency::Amount;
use serde::Deserialize;
use serde_json::Value;

use super::input::{Context, Pricing};
use super::oddity::Policy;
use crate::protocol::Timestamp;
use crate::protocol::limits::{ACCEPT_TTL, REQUEST_PAYLOAD_BYTES_MAX};

/// The rules of one offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// How its price comes about.
    pub pricing: Pricing,
    /// Whether its handler may be started again after it may have run.
    pub idempotent: bool,
    /// What requests it takes.
    pub accepts: Accepts,
    /// The largest request in bytes of JSON.
    pub request_bytes_max: usize,
    /// How long a submitted hash may fail to pay before the job fails.
    pub payment_window: Duration,
    /// What becomes of a payment that is odd.
    pub payment: Policy,
    /// Whether a job that expired unpaid can be given another quote, as in /v0.
    pub revives: bool,
}

/// What kind of request an offer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accepts {
    /// Any JSON.
    #[default]
    Any,
    /// A text, or an object with a `text`.
    Text,
    /// An object.
    Object,
}

impl Terms {
    /// The rules for jobs whose offer was taken out of the configuration: nothing is run twice.
    #[must_use]
    pub const fn withdrawn() -> Self {
        Self {
            pricing: Pricing::Fixed(Amount::MAX),
            idempotent: false,
            accepts: Accepts::Any,
            request_bytes_max: REQUEST_PAYLOAD_BYTES_MAX,
            payment_window: ACCEPT_TTL,
            payment: Policy::withdrawn(),
            revives: false,
        }
    }

    /// What the machine decides by.
    #[must_use]
    pub const fn context(&self, now: Timestamp) -> Context {
        Context {
            now,
            pricing: self.pricing,
            idempotent: self.idempotent,
            payment_window: self.payment_window.saturating_add(self.payment.grace),
            lapsed_watch: self.payment.late_watch,
            revives: self.revives,
        }
    }

    /// Why a request is not taken, for the buyer to read; `None` if it is.
    #[must_use]
    pub fn refusal(&self, request: &Value) -> Option<String> {
        let bytes = request.to_string().len();
        if bytes > self.request_bytes_max {
            return Some(format!(
                "the request has {bytes} bytes of JSON, at most {} are taken",
                self.request_bytes_max
            ));
        }
        let fits = match self.accepts {
            Accepts::Any => true,
            Accepts::Text => request.is_string() || request.get("text").is_some_and(Value::is_string),
            Accepts::Object => request.is_object(),
        };
        let wanted = match self.accepts {
            Accepts::Any => "any JSON",
            Accepts::Text => "a JSON text, or an object with a \"text\"",
            Accepts::Object => "a JSON object",
        };
        (!fits).then(|| format!("the request must be {wanted}"))
    }
}
