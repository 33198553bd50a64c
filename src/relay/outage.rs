//! The disk has failed: everybody hears so, and nothing is promised, until it takes writes again.
//!
//! What the failed storage shows may never have reached the disk, so not even a read is answered
//! from it. Whoever called [`wait`] then becomes a new process, which opens the storage as it is.

use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, http::StatusCode};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use super::RunError;
use crate::protocol::{Code, Refusal};
use crate::store;

/// Between two tries, and what clients are told to wait: a full disk is not made empty faster.
const PAUSE: Duration = Duration::from_secs(2);

/// Waits until the disk under `dir` takes writes again, and answers on `listener` meanwhile; `false`
/// if `shutdown` came first.
pub async fn wait(listener: TcpListener, dir: &Path, why: &RunError, shutdown: &CancellationToken) -> bool {
    error!(
        error = why as &dyn std::error::Error,
        "the disk has failed: all is refused until it takes writes again"
    );
    let waited = tokio::select! {
        biased;
        () = tried(dir) => true,
        () = shutdown.cancelled() => false,
        ended = async { axum::serve(listener, router()).await } => {
            debug!(?ended, "nobody can be answered");
            tried(dir).await;
            true
        }
    };
    if waited {
        info!("the disk takes writes again: starting anew");
    }
    waited
}

async fn tried(dir: &Path) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let dir = dir.to_owned();
        match tokio::task::spawn_blocking(move || store::probe(&dir)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => debug!(%error, "the disk still refuses"),
            Err(error) => error!(%error, "the disk could not be tried"),
        }
    }
}

/// The process answers, and that is all: a supervisor that kills it would only lose the answer.
fn router() -> Router {
    let alive = || async { Json(json!({ "ok": true, "storage": "failed" })) };
    Router::new().route("/health", get(alive)).route("/healthz", get(alive)).fallback(refused)
}

async fn refused() -> Response {
    let refusal = Refusal::new(Code::Unavailable, "the relay's disk has failed; try later");
    let wait = PAUSE.as_secs().to_string();
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, wait)], Json(refusal.to_body())).into_response()
}
