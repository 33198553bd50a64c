//! Measures of the process, in Prometheus text.

use std::sync::OnceLock;

use axum::http::Method;
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::protocol::EventType;

/// One recorder per process: several relays in one process count together.
static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Starts measuring, if the process does not yet.
pub(super) fn start() {
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        // Somebody else's recorder may be there already; then that one has the measures.
        metrics::set_global_recorder(recorder).ok().map(|()| handle)
    });
}

/// Everything measured so far.
pub(super) fn render() -> String {
    HANDLE.get().and_then(Option::as_ref).map(PrometheusHandle::render).unwrap_or_default()
}

/// Folds what was measured into summaries, so that waiting samples stay bounded.
pub(super) fn upkeep() {
    if let Some(handle) = HANDLE.get().and_then(Option::as_ref) {
        handle.run_upkeep();
    }
}

/// One answered request.
pub(super) fn request(method: &Method, route: &str, status: u16, micros: u64) {
    let labels =
        [("method", known(method).to_owned()), ("route", route.to_owned()), ("status", status.to_string())];
    counter!("relay_requests_total", &labels).increment(1);
    #[expect(clippy::cast_precision_loss, reason = "a measure; microseconds of a request fit exactly")]
    histogram!("relay_request_seconds", "route" => route.to_owned()).record(micros as f64 / 1e6);
}

/// A stranger may make methods up, and each would be measured for ever.
fn known(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::OPTIONS => method.as_str(),
        _ => "other",
    }
}

/// One committed change of a job.
pub(super) fn event(kind: EventType) {
    counter!("relay_events_total", "type" => kind.name()).increment(1);
}

/// How many connections there are.
pub(super) fn connections(count: usize) {
    gauge!("relay_connections").set(u32::try_from(count).unwrap_or(u32::MAX));
}
