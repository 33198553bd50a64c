//! What operators and newcomers ask for.

use std::time::Duration;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse as _, Response};
use serde_json::json;

use super::super::server::App;
use super::super::service::unavailable;
use super::super::{metrics as measures, ws};
use super::openapi as description;
use super::reply::{Handled, ok};
use super::request::check_stranger;
use crate::protocol::{Code, Refusal};

/// How long storage may take to prove that it works before a load balancer looks elsewhere.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) async fn health() -> Response {
    ok(&json!({"ok": true}))
}

pub(super) async fn ready(State(app): State<App>) -> Handled {
    if app.is_draining() {
        return Err(Refusal::new(Code::Unavailable, "the relay is draining").into());
    }
    match tokio::time::timeout(READY_TIMEOUT, app.storage.durable()).await {
        Ok(result) => result.map_err(|error| unavailable(&error))?,
        Err(_) => return Err(Refusal::new(Code::Unavailable, "the storage is slow").into()),
    }
    Ok(ok(&json!({"ok": true})))
}

pub(super) async fn metrics() -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], measures::render()).into_response()
}

pub(super) async fn openapi() -> Response {
    ok(&description::document(&super::routes()))
}

pub(super) async fn docs() -> Html<String> {
    Html(description::page(&super::routes()))
}

pub(super) async fn socket(
    State(app): State<App>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request,
) -> Handled {
    let (parts, _) = request.into_parts();
    check_stranger(&app, &parts)?;
    match upgrade {
        Ok(upgrade) => Ok(ws::accept(app, upgrade)),
        Err(_) => Err(Refusal::new(Code::Validation, "this is a WebSocket: ask for an upgrade").into()),
    }
}

pub(super) async fn nothing_here() -> Handled {
    Err(Refusal::new(Code::NotFound, "there is no such route").into())
}
