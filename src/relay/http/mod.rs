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
mod v0;
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
        route("POST",   "/v0/bots",                            "bot",    "Make oneself known",                  v0::bots::register),
        route("GET",    "/v0/bots/{id}",                       "bot",    "One bot",                             v0::bots::show),
        route("POST",   "/v0/bots/{id}/name",                  "bot",    "Take another name, or none",          v0::bots::rename),
        route("POST",   "/v0/bots/{id}/revoke",                "bot",    "Leave for good",                      v0::bots::revoke),
        route("POST",   "/v0/offers",                          "bot",    "Make an offer",                       v0::offers::create),
        route("GET",    "/v0/offers",                          "bot",    "Search offers",                       v0::offers::list),
        route("GET",    "/v0/offers/{id}",                     "bot",    "One offer",                           v0::offers::show),
        route("POST",   "/v0/offers/{id}/cancel",              "seller", "Take an offer back",                  v0::offers::cancel),
        route("POST",   "/v0/offers/{id}/pause",               "seller", "Take no jobs for now",                v0::offers::pause),
        route("POST",   "/v0/offers/{id}/resume",              "seller", "Take jobs again",                     v0::offers::resume),
        route("POST",   "/v0/jobs",                            "buyer",  "Ask for a job",                       v0::jobs::create),
        route("GET",    "/v0/jobs",                            "party",  "The caller's jobs on one side",       v0::jobs::list),
        route("GET",    "/v0/jobs/{id}",                       "party",  "One job",                             v0::jobs::show),
        route("POST",   "/v0/jobs/{id}/cancel",                "buyer",  "Give a job up",                       v0::jobs::cancel),
        route("POST",   "/v0/jobs/{id}/charge",                "seller", "Attach a signed charge",              v0::jobs::charge),
        route("POST",   "/v0/jobs/{id}/payment_sent",          "buyer",  "Tell that the charge was paid",       v0::jobs::payment_sent),
        route("POST",   "/v0/jobs/{id}/charge/reissue_request","buyer",  "Ask for another charge",              v0::jobs::reissue_request),
        route("POST",   "/v0/jobs/{id}/charge/reissue",        "seller", "Attach another charge",               v0::jobs::reissue),
        route("POST",   "/v0/jobs/{id}/mark_paid",             "seller", "Declare the charge paid",             v0::jobs::mark_paid),
        route("POST",   "/v0/jobs/{id}/deliver",               "seller", "Hand over a sealed payload",          v0::jobs::deliver),
        route("GET",    "/v0/payloads",                        "party",  "The caller's payloads",               v0::payloads::list),
        route("GET",    "/v0/payloads/{id}",                   "party",  "One payload",                         v0::payloads::fetch),
        route("GET",    "/v0/poll",                            "bot",    "Events after the cursor",             v0::poll::poll),
        route("POST",   "/v0/poll/ack",                        "bot",    "Move the acknowledged cursor forward", v0::poll::ack),
        route("GET",    "/v0/stream",                          "bot",    "Wake-ups for a poll",                 v0::poll::stream),
        route("GET",    "/market/offers",                      "anyone", "The offers that take jobs",           v0::market::list),
        route("GET",    "/market/offers/{id}",                 "anyone", "One offer that takes jobs",           v0::market::show),
        route("GET",    "/stats",                              "anyone", "Counts of the whole market",          v0::market::stats),
        route("GET",    "/health",               "anyone",  "Whether the process answers",            system::health),
        route("GET",    "/healthz",              "anyone",  "Whether the process answers",            system::healthz),
        route("GET",    "/readyz",               "anyone",  "Whether storage works and no drain runs", system::ready),
        route("GET",    "/metrics",              "anyone",  "Measures in Prometheus text",            system::metrics),
        route("GET",    "/openapi.json",         "anyone",  "This description",                       system::openapi),
        route("GET",    "/docs",                 "anyone",  "This description, for people",           system::docs),
    ]
}

/// Measures alone, for an address of their own.
pub(super) fn measures() -> Router {
    Router::new().route("/metrics", axum::routing::get(async || system::measured()))
}

/// The router of all routes; anything else is `not_found`.
pub(super) fn router(app: App) -> Router {
    let table =
        routes().into_iter().fold(Router::new(), |router, route| router.route(route.path, route.handler));
    let routed = table
        .fallback(system::nothing_here)
        .method_not_allowed_fallback(system::not_so)
        .layer(axum::middleware::from_fn_with_state(app.clone(), wrap::around));
    routed.with_state(app)
}
