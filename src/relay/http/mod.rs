//! The routes: one table, from which the router is built and the description is printed.

mod body;
mod jobs;
mod moves;
mod offers;
mod once;
mod openapi;
mod poll;
mod reply;
mod request;
mod system;
mod wrap;

#[cfg(any(test, fuzzing))]
pub(super) use request::fuzzing;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::server::App;
pub(super) use reply::{RETRY_DETAIL, Refused};
pub(super) use request::Peer;

/// One route: how it is called, who may, and what answers.
struct Route {
    method: &'static str,
    path: &'static str,
    who: &'static str,
    summary: &'static str,
    handler: MethodRouter<App>,
}

fn route<H: Handler<T, App>, T: 'static>(
    method: &'static str,
    path: &'static str,
    who: &'static str,
    summary: &'static str,
    handler: H,
) -> Route {
    let filter = match method {
        "POST" => MethodFilter::POST,
        "PATCH" => MethodFilter::PATCH,
        "DELETE" => MethodFilter::DELETE,
        _ => MethodFilter::GET,
    };
    Route { method, path, who, summary, handler: on(filter, handler) }
}

/// All routes there are.
#[rustfmt::skip]
fn routes() -> Vec<Route> {
    vec![
        route("POST",   "/v1/offers",            "seller",  "Make an offer",                          offers::create),
        route("GET",    "/v1/offers",            "anyone",  "Search offers, newest first",            offers::list),
        route("GET",    "/v1/offers/{id}",       "anyone",  "One offer",                              offers::show),
        route("PATCH",  "/v1/offers/{id}",       "seller",  "Change an offer",                        offers::change),
        route("POST",   "/v1/jobs",              "buyer",   "Ask for a job",                          jobs::create),
        route("GET",    "/v1/jobs",              "party",   "The caller's jobs",                      jobs::list),
        route("GET",    "/v1/jobs/{id}",         "party",   "One job",                                jobs::show),
        route("POST",   "/v1/jobs/{id}/quote",   "seller",  "Name a price and an invoice address",    moves::quote),
        route("POST",   "/v1/jobs/{id}/refuse",  "seller",  "Say why there will be no quote",         moves::refuse),
        route("POST",   "/v1/jobs/{id}/accept",  "buyer",   "Agree to the quote",                     moves::accept),
        route("POST",   "/v1/jobs/{id}/payment", "buyer",   "Submit the hash of the paying block",    moves::pay),
        route("POST",   "/v1/jobs/{id}/lock",    "seller",  "Take or renew the execution lock",       moves::lock),
        route("DELETE", "/v1/jobs/{id}/lock",    "seller",  "Give the execution lock up",             moves::unlock),
        route("POST",   "/v1/jobs/{id}/deliver", "seller",  "Hand over the result or the error",      moves::deliver),
        route("POST",   "/v1/jobs/{id}/cancel",  "buyer",   "Give a job up",                          moves::cancel),
        route("GET",    "/v1/poll",              "party",   "Events after the cursor",                poll::poll),
        route("POST",   "/v1/poll/ack",          "party",   "Move the acknowledged cursor forward",   poll::ack),
        route("GET",    "/v1/events",            "party",   "The same events as a stream",            poll::stream),
        route("GET",    "/ws/seller",            "seller",  "Hints about a seller's jobs",            system::socket),
        route("GET",    "/health",               "anyone",  "Whether the process answers",            system::health),
        route("GET",    "/healthz",              "anyone",  "Whether the process answers",            system::health),
        route("GET",    "/readyz",               "anyone",  "Whether storage works and no drain runs", system::ready),
        route("GET",    "/metrics",              "anyone",  "Measures in Prometheus text",            system::metrics),
        route("GET",    "/openapi.json",         "anyone",  "This description",                       system::openapi),
        route("GET",    "/docs",                 "anyone",  "This description, for people",           system::docs),
    ]
}

/// The router of all routes; anything else is `not_found`.
pub(super) fn router(app: App) -> Router {
    let table =
        routes().into_iter().fold(Router::new(), |router, route| router.route(route.path, route.handler));
    let routed = table
        .fallback(system::nothing_here)
        .method_not_allowed_fallback(system::nothing_here)
        .layer(axum::middleware::from_fn_with_state(app.clone(), wrap::around));
    routed.with_state(app)
}
