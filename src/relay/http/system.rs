//! What operators and newcomers ask for.

use std::time::Duration;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse as _, Response};
use serde_json::json;

use super::super::server::App;
use super::super::service::unavailable;
use super::super::{metrics as measures, ws};
use super::openapi as description;
use super::reply::{Handled, ok};
use super::request::{check_stranger, client_ip};
use super::v0;
use crate::protocol::{Code, Refusal};

/// How long storage may take to prove that it works before a load balancer looks elsewhere.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) async fn health() -> Response {
    ok(&json!({"ok": true}))
}

/// Where operators of the deployed relays look; for strangers only if the operator wants that.
pub(super) async fn healthz(State(app): State<App>, request: Request) -> Handled {
    ensure_may_look(&app, request)?;
    Ok(health().await)
}

/// A route that is kept to this machine is none for others.
fn ensure_may_look(app: &App, request: Request) -> Result<(), Refusal> {
    let (parts, _) = request.into_parts();
    if app.config.health_public || client_ip(app, &parts).to_canonical().is_loopback() {
        return Ok(());
    }
    Err(no_route())
}

pub(super) async fn ready(State(app): State<App>, request: Request) -> Handled {
    ensure_may_look(&app, request)?;
    if app.is_draining() {
        return Err(Refusal::new(Code::Unavailable, "the relay is draining").into());
    }
    match tokio::time::timeout(READY_TIMEOUT, app.storage.durable()).await {
        Ok(result) => result.map_err(|error| unavailable(&error))?,
        Err(_) => return Err(Refusal::new(Code::Unavailable, "the storage is slow").into()),
    }
    Ok(ok(&json!({"ok": true})))
}

pub(super) async fn metrics(State(app): State<App>) -> Handled {
    if app.config.metrics_here { Ok(measured()) } else { Err(no_route().into()) }
}

/// What was measured, in the format of Prometheus.
pub(in super::super) fn measured() -> Response {
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

/// No such route, in the words of whoever asked.
pub(super) async fn nothing_here(uri: Uri) -> Response {
    if v0::is_its(uri.path()) {
        return v0::Refused::from(v0::Refusal::not_found("not found")).into_response();
    }
    super::Refused::from(no_route()).into_response()
}

/// A route, but not by this method. In /v1 that is no route either.
pub(super) async fn not_so(uri: Uri) -> Response {
    if v0::is_its(uri.path()) {
        let refusal = v0::Refusal::new(v0::Code::MethodNotAllowed, "method not allowed");
        return v0::Refused::from(refusal).into_response();
    }
    super::Refused::from(no_route()).into_response()
}

fn no_route() -> Refusal {
    Refusal::new(Code::NotFound, "there is no such route")
}
