//! Calls to the relay that are repeated until there is an answer, and what the answer means.

use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::boundaries;
use super::input::{Call, Rejection};
use crate::client::{CallError, Pace, RelayClient};
use crate::edge::{self, Entropy};
use crate::protocol::{Code, JobId, Timestamp};

/// Calls in flight: enough to hide a relay's latency, few enough not to be its flood.
const CALLS_MAX: usize = 32;

/// The first delay before a failed call is repeated.
const RETRY_MIN: Duration = Duration::from_millis(100);

/// The longest: the relay's return must not be waited out for much longer than this.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// A relay that does not accept our signature needs a person (a clock, a key), who needs a while.
const UNAUTHORIZED_DELAY: Duration = Duration::from_secs(60);

/// The way to the relay for everything that must not be given up.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) client: RelayClient,
    entropy: Entropy,
    permits: Semaphore,
    /// Until when the relay wants to be left alone, since the process's start.
    closed_until: Mutex<Option<std::time::Instant>>,
}

impl Line {
    pub(super) fn new(client: RelayClient, entropy: Entropy) -> Self {
        Self { client, entropy, permits: Semaphore::new(CALLS_MAX), closed_until: Mutex::new(None) }
    }

    /// The line for one call about one job, under a request id that both logs then know.
    pub(super) fn named(&self, job: JobId, what: Call) -> RelayClient {
        self.client.with_request_id(request_id(job, what))
    }

    /// Repeats a call until the relay has answered it, one way or the other.
    ///
    /// Every call is safe to repeat: by its idempotency key or by its nature.
    pub(super) async fn repeat<T, F>(
        &self,
        job: JobId,
        what: Call,
        call: impl Fn() -> F,
    ) -> Result<T, Rejection>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let mut pace = Pace::new(RETRY_MIN, RETRY_MAX, self.entropy.clone());
        loop {
            boundaries::sending(what);
            let error = match self.once(&call).await {
                Ok(answer) => {
                    boundaries::answered(what);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            if error.status() == Some(401) {
                tracing::error!(job_id = %job, request_id = request_id(job, what), %error, "the relay does not accept our signature: check the clock and the key");
                tokio::time::sleep(UNAUTHORIZED_DELAY).await;
            } else if error.is_retryable() {
                tracing::warn!(job_id = %job, request_id = request_id(job, what), %error, "will be repeated");
                self.close_for(error.retry_after());
                tokio::time::sleep(pace.next_delay_after(error.retry_after())).await;
            } else {
                return Err(rejection(what, &error));
            }
        }
    }

    /// One try, once the relay may be asked.
    pub(super) async fn once<T, F>(&self, call: &impl Fn() -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        self.wait_open().await;
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await.ok();
        call().await
    }

    /// A relay that limits us limits all our calls, so all wait.
    pub(super) fn close_for(&self, retry_after: Option<Duration>) {
        let Some(wait) = retry_after else { return };
        let until = edge::monotonic() + wait.min(crate::client::pace::RETRY_AFTER_MAX);
        let mut closed = self.closed_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *closed = Some(closed.map_or(until, |before| before.max(until)));
    }

    async fn wait_open(&self) {
        loop {
            let until = *self.closed_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let wait = until.map(|until| until.saturating_duration_since(edge::monotonic()));
            match wait {
                Some(wait) if !wait.is_zero() => tokio::time::sleep(wait).await,
                _ => return,
            }
        }
    }
}

/// At most 45 of the 64 characters that a request id may have.
fn request_id(job: JobId, what: Call) -> String {
    format!("{}-{job}", what.name())
}

/// What a definite refusal means to the machine.
fn rejection(call: Call, error: &CallError) -> Rejection {
    let CallError::Refused(refused) = error else { return Rejection::State };
    match refused.known() {
        Some(Code::LockConflict) => Rejection::LockConflict(
            refused.details.get("lock_expires_at").and_then(|at| at.as_str()?.parse::<Timestamp>().ok()),
        ),
        Some(Code::Validation) if call == Call::Quote && is_about_address(&refused.details) => {
            Rejection::AddressUsed
        }
        Some(Code::Validation | Code::PayloadTooLarge) => Rejection::Invalid(refused.message.clone()),
        Some(Code::Forbidden | Code::NotFound) => Rejection::Gone,
        Some(_) => Rejection::State,
        None => match refused.status {
            403 | 404 | 405 | 501 => Rejection::Gone,
            400 | 413 | 422 => Rejection::Invalid(refused.message.clone()),
            _ => Rejection::State,
        },
    }
}

fn is_about_address(details: &serde_json::Value) -> bool {
    details["issues"]
        .as_array()
        .is_some_and(|issues| issues.iter().any(|issue| issue["field"] == "quote_invoice_address"))
}
