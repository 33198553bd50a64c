//! Around every request: its id, its log line, its measures, and the barrier before its answer.

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tracing::{Instrument as _, debug, info, info_span};

use super::super::metrics;
use super::super::server::App;
use super::super::service::unavailable;
use super::reply::Refused;
use super::v0;
use crate::edge::monotonic;
use crate::points::crash_point;
use crate::protocol::limits::REQUEST_ID_CHARS_MAX;
use crate::protocol::{Code, Refusal};

const REQUEST_ID: &str = "x-request-id";

pub(super) async fn around(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = monotonic();
    let id = request_id(&app, &request);
    let route = request.extensions().get::<MatchedPath>().map_or("unknown", |path| path.as_str()).to_owned();
    let method = request.method().clone();
    let span = info_span!("request", request_id = id.to_str().unwrap_or_default(), %method, path = request.uri().path());
    let mut response = async {
        let response = guarded(&app, &route, request, next).await;
        let (status, micros) = (response.status().as_u16(), started.elapsed_micros());
        metrics::request(&method, &route, status, micros);
        if method == Method::GET && status < 400 {
            debug!(status, micros)
        } else {
            info!(status, micros)
        }
        response
    }
    .instrument(span)
    .await;
    response.headers_mut().insert(REQUEST_ID, id);
    if app.is_draining() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Nothing that was read or written is told to anybody before it is durable.
async fn guarded(app: &App, route: &str, request: Request, next: Next) -> Response {
    let touches_storage =
        ["/v1/", "/v0/", "/ws/", "/market/", "/stats"].iter().any(|part| route.starts_with(part));
    if touches_storage && app.is_draining() {
        return refuse(route, Refusal::new(Code::Unavailable, "the relay is draining"));
    }
    let response = next.run(request).await;
    if touches_storage {
        crash_point!("relay/answer/made");
    }
    if touches_storage && let Err(error) = app.storage.durable().await {
        return refuse(route, unavailable(&error));
    }
    if touches_storage {
        crash_point!("relay/answer/durable");
    }
    response
}

/// In the words of whoever asked.
fn refuse(route: &str, refusal: Refusal) -> Response {
    if v0::is_its(route) {
        return v0::Refused::from(refusal).into_response();
    }
    Refused::from(refusal).into_response()
}

/// The client's own id if it is short and printable, or a new one.
fn request_id(app: &App, request: &Request) -> HeaderValue {
    let sent = request.headers().get(REQUEST_ID).filter(|id| {
        (1..=REQUEST_ID_CHARS_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    let fresh = || HeaderValue::from_str(&hex::encode(app.entropy.bytes::<16>())).ok();
    sent.cloned().or_else(fresh).unwrap_or_else(|| HeaderValue::from_static("none"))
}

trait Elapsed {
    fn elapsed_micros(&self) -> u64;
}

impl Elapsed for std::time::Instant {
    fn elapsed_micros(&self) -> u64 {
        u64::try_from(monotonic().duration_since(*self).as_micros()).unwrap_or(u64::MAX)
    }
}
