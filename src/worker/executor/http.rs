//! A service: the request is POSTed, the answer's body is the result.

use std::sync::OnceLock;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::nano::rpc::trusting;

use super::{OUTPUT_BYTES_MAX, Run, RunError};

pub(super) async fn run(
    url: &str,
    timeout: Duration,
    run: &Run,
    stop: &CancellationToken,
) -> Result<Vec<u8>, RunError> {
    tokio::select! {
        answer = tokio::time::timeout(timeout, call(url, run)) => {
            answer.unwrap_or(Err(RunError::TimedOut(timeout.as_secs())))
        }
        () = stop.cancelled() => Err(RunError::Stopped),
    }
}

async fn call(url: &str, run: &Run) -> Result<Vec<u8>, RunError> {
    let mut response = client(is_https(url))?
        .post(url)
        .header("content-type", "application/json")
        .header("x-job-id", run.job_id.to_string())
        .header("x-offer-id", run.offer_id.to_string())
        .header("x-attempt", run.attempt.to_string())
        .header("x-lock-token", run.lock_token.map(|token| token.to_string()).unwrap_or_default())
        .header("x-purpose", run.purpose.name())
        .body(run.request.clone())
        .send()
        .await
        .map_err(unreachable)?;
    if !response.status().is_success() {
        tracing::warn!(job_id = %run.job_id, status = %response.status(), "handler service refused");
        return Err(RunError::Failed);
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if bytes.len() + chunk.len() > OUTPUT_BYTES_MAX {
            return Err(RunError::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn unreachable(error: reqwest::Error) -> RunError {
    RunError::Unreachable(error.without_url())
}

fn is_https(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| url.scheme() == "https")
}

/// One client for all handlers with the one scheme, and one for those with the other: they hold their
/// connections.
fn client(https: bool) -> Result<reqwest::Client, RunError> {
    static CLIENTS: [OnceLock<reqwest::Client>; 2] = [OnceLock::new(), OnceLock::new()];
    let place = &CLIENTS[usize::from(https)];
    if let Some(client) = place.get() {
        return Ok(client.clone());
    }
    let client = trusting(reqwest::Client::builder(), https)
        .map_err(|error| RunError::Start(std::io::Error::other(error)))?
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(unreachable)?;
    Ok(place.get_or_init(|| client).clone())
}
