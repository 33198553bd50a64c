//! Handlers that do not behave.

use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, StatusCode};
use nano_worker::protocol::{Job, Status};
use serde_json::{Value, json};

use crate::world::{OfferText, PRICE, World, text};

async fn fails(world: &World) -> Job {
    let job = world.accepted(&text("hello")).await;
    let hash = world.pay(&job, PRICE);
    world.submit(&job, &hash).await;
    world.wait(job.job_id, Status::Failed).await
}

async fn check(script: &str, timeout: u32, message: &str) {
    let world = World::new().await;
    world.handler(script);
    let handler = format!("command = [\"/bin/sh\", \"handler.sh\"]\ntimeout_seconds = {timeout}");
    let _worker = world.start_worker("one", &OfferText { handler, ..OfferText::default() });
    let job = fails(&world).await;
    assert_eq!(job.error["code"], "handler_failed");
    assert_eq!(job.error["message"], message);
}

#[tokio::test]
async fn one_that_fails() {
    check("echo secret >&2; exit 1", 60, "the handler failed").await;
}

#[tokio::test]
async fn one_that_hangs() {
    check("sleep 600", 1, "the handler did not finish within 1 seconds").await;
}

#[tokio::test]
async fn one_that_floods() {
    check("yes", 60, "the handler's result is larger than 262144 bytes").await;
}

#[tokio::test]
async fn one_that_forks_and_hangs() {
    check(
        "sleep 600 & (sleep 600 & sleep 600) & sleep 600",
        1,
        "the handler did not finish within 1 seconds",
    )
    .await;
}

/// A machine that has no descriptor left for a moment is no reason to fail a job that is paid.
#[tokio::test]
async fn one_that_cannot_be_started_yet_is_started_later() {
    use rustix::process::{Resource, Rlimit, prlimit};
    let world = World::new().await;
    let worker = world.start_worker("one", &OfferText::default());
    let job = world.accepted(&text("hello")).await;
    let open = std::fs::read_dir(format!("/proc/{}/fd", worker.pid().as_raw_nonzero())).unwrap().count();
    let limit = |current| {
        let limit = Rlimit { current: Some(current), maximum: Some(4_096) };
        prlimit(Some(worker.pid()), Resource::Nofile, limit).unwrap();
    };
    // One for the connection to the node, if it needs one; a handler needs more.
    limit(open as u64 + 1);
    let hash = world.pay(&job, PRICE);
    world.submit(&job, &hash).await;
    world
        .eventually("a start that fails", async || {
            world.logs().contains("cannot be started yet").then_some(())
        })
        .await;
    limit(1_024);
    let job = world.wait(job.job_id, Status::Delivered).await;
    assert_eq!(world.runs_of(&job), 1);
}

/// What a service was asked: the values of `X-Purpose`, and one request's headers and body.
#[derive(Default)]
struct Asked {
    purposes: Vec<String>,
    last: Option<(HeaderMap, Value)>,
}

#[tokio::test]
async fn a_service_is_asked_like_a_program() {
    let asked = Arc::new(Mutex::new(Asked::default()));
    let seen = Arc::clone(&asked);
    let app = axum::Router::new().route(
        "/run",
        axum::routing::post(async move |headers: HeaderMap, body: String| {
            let purpose = headers["x-purpose"].to_str().unwrap().to_owned();
            let body: Value = serde_json::from_str(&body).unwrap();
            let fails = body == json!("fail");
            let mut asked = seen.lock().unwrap();
            asked.purposes.push(purpose.clone());
            asked.last = Some((headers, body));
            match (purpose.as_str(), fails) {
                ("quote", _) => (StatusCode::OK, json!({ "price_raw": PRICE }).to_string()),
                (_, true) => (StatusCode::INTERNAL_SERVER_ERROR, "a secret of the machine".to_owned()),
                _ => (StatusCode::CREATED, "plain words".to_owned()),
            }
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/run", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let world = World::new().await;
    let service = OfferText {
        offer: "pricing_mode = \"quote\"".to_owned(),
        handler: format!("url = \"{url}\""),
        ..OfferText::default()
    };
    let _worker = world.start_worker("one", &service);
    let job = world.buy(&text("hello")).await;
    assert_eq!(job.result_payload, json!({ "text": "plain words" }));
    {
        let asked = asked.lock().unwrap();
        assert_eq!(asked.purposes, ["quote", "execute"]);
        let (headers, body) = asked.last.as_ref().unwrap();
        assert_eq!(*body, text("hello"));
        assert_eq!(headers["x-job-id"], job.job_id.to_string());
        assert_eq!(headers["x-offer-id"], job.offer_id.to_string());
        assert_eq!(headers["x-attempt"], "1");
        assert_eq!(headers["x-lock-token"], "1");
    }
    let job = world.accepted(&json!("fail")).await;
    let hash = world.pay(&job, PRICE);
    world.submit(&job, &hash).await;
    let job = world.wait(job.job_id, Status::Failed).await;
    assert_eq!(
        job.error,
        json!({ "code": "handler_failed", "message": "the handler failed", "details": null })
    );
}
