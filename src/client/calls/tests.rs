//! The calls against a server that is ours.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::edge::{Clock, Entropy};
use crate::protocol::Code;
use crate::protocol::signing::{self, Signer};

const ID: &str = "7f0c2b0e-4a51-4d0e-9e0b-1c1f6a3b2d10";
const KEY: &str = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";

fn job() -> Value {
    json!({"job_id": ID, "offer_id": ID, "seller_pubkey": KEY, "buyer_pubkey": KEY, "status": "requested",
           "created_at": "2026-01-29T10:00:00Z", "updated_at": "2026-01-29T10:00:00Z", "news": [1]})
}

/// A request as it was on the wire.
#[derive(Clone)]
struct Seen {
    method: String,
    target: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

type Log = Arc<Mutex<Vec<Seen>>>;

fn client(url: &str) -> RelayClient {
    RelayClient::new(url, Signer::from_seed(&[7; 32]), Clock::system(), Entropy::system()).unwrap()
}

/// A relay that answers everything in the same way.
async fn relay(status: u16, headers: &'static [(&str, &str)], body: Vec<u8>) -> (RelayClient, Log) {
    let log: Log = Log::default();
    let seen = Arc::clone(&log);
    let app = Router::new().fallback(move |request: Request<Body>| async move {
        let (parts, sent) = request.into_parts();
        let target = parts.uri.path_and_query().unwrap().to_string();
        let sent = to_bytes(sent, 1 << 20).await.unwrap().to_vec();
        let method = parts.method.to_string();
        seen.lock().unwrap().push(Seen { method, target, headers: parts.headers, body: sent });
        let mut answer = Response::builder().status(StatusCode::from_u16(status).unwrap());
        for (name, value) in headers {
            answer = answer.header(*name, *value);
        }
        answer.body(Body::from(body)).unwrap()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/below/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (client(&url), log)
}

async fn answers(status: u16, headers: &'static [(&str, &str)], body: &str) -> Result<Job, CallError> {
    relay(status, headers, body.as_bytes().to_vec()).await.0.job(&ID.parse().unwrap()).await
}

#[tokio::test]
async fn every_call_signs_what_the_relay_sees() {
    let everything = json!({"job": job(), "jobs": [], "last_acked_event_id": 3, "events": [],
        "min_event_id_retained": 1, "head_event_id": 9, "epoch": "e",
        "offer": {"offer_id": ID, "seller_pubkey": KEY, "title": "t", "description": "d",
                  "pricing_mode": "quote", "created_at": "2026-01-29T10:00:00Z"}});
    let (client, log) = relay(200, &[], everything.to_string().into_bytes()).await;
    let client = client.with_key("once").with_request_id("r1");
    let id = ID.parse().unwrap();
    let offer_id: OfferId = ID.parse().unwrap();
    let terms = OfferTerms {
        title: "ä".to_owned(),
        description: "d".to_owned(),
        tags: vec![],
        pricing_mode: PricingMode::Quote,
        fixed_price_raw: None,
        active: true,
    };
    client.create_offer(&terms).await.unwrap();
    client.patch_offer(&offer_id, &json!({"title": "u"})).await.unwrap();
    client.create_job(&offer_id, &json!({"a": "é"})).await.unwrap();
    let statuses = vec![Status::Quoted, Status::Accepted];
    let query = JobsQuery { statuses, cursor: Some("a&b =".to_owned()), ..JobsQuery::default() };
    client.jobs(&query).await.unwrap();
    client.job(&id).await.unwrap();
    client.quote(&id, "1", "nano_1", None).await.unwrap();
    client.refuse(&id, "no").await.unwrap();
    client.accept(&id).await.unwrap();
    client.payment(&id, "AB").await.unwrap();
    client
        .lock(&id, &LockRequest { holder: "h".to_owned(), ttl_seconds: 10, ..LockRequest::default() })
        .await
        .unwrap();
    client.unlock(&id, "h", 1).await.unwrap();
    client.deliver(&id, &Outcome::Result(json!(1)), Some(1)).await.unwrap();
    client.cancel(&id, None).await.unwrap();
    client.poll(&EventsQuery { types: EventType::ALL.to_vec(), ..EventsQuery::default() }).await.unwrap();
    client.ack(EventId(3)).await.unwrap();
    let log = log.lock().unwrap().clone();
    assert_eq!(log.len(), 15);
    let mut nonces = std::collections::BTreeSet::new();
    for seen in log {
        let header = |name| seen.headers.get(name).unwrap().to_str().unwrap().to_owned();
        let nonce = header(signing::NONCE_HEADER);
        let timestamp = header(signing::TIMESTAMP_HEADER);
        let text = signing::canonical(&seen.method, &seen.target, &timestamp, &nonce, &seen.body);
        let signature = header(signing::SIGNATURE_HEADER);
        assert!(signing::verifies(&client.public_key(), text.as_bytes(), &signature), "{}", seen.target);
        assert!(seen.target.starts_with("/below/v1/"), "{}", seen.target);
        assert_eq!((header("idempotency-key").as_str(), header("x-request-id").as_str()), ("once", "r1"));
        assert!(signing::is_nonce(&nonce) && nonces.insert(nonce));
    }
}

#[tokio::test]
async fn public_routes_spend_no_nonce() {
    let (client, log) = relay(200, &[], br#"{"offers":[]}"#.to_vec()).await;
    let query = OffersQuery { text: Some("a b".to_owned()), active: Some(true), ..OffersQuery::default() };
    client.offers(&query).await.unwrap();
    let seen = log.lock().unwrap()[0].clone();
    assert_eq!(seen.target, "/below/v1/offers?q=a+b&active=true");
    assert!(!seen.headers.contains_key(signing::NONCE_HEADER));
}

#[tokio::test]
async fn one_unreadable_job_does_not_hide_the_others() {
    let mut other = job();
    other["status"] = json!("levitating");
    let body = json!({"jobs": [job(), other, 7], "limit": 50, "offset": 0, "total": 3});
    let (client, _) = relay(200, &[], body.to_string().into_bytes()).await;
    let page = client.jobs(&JobsQuery::default()).await.unwrap();
    assert_eq!((page.jobs.len(), page.unreadable, page.next_cursor), (1, 2, None));
}

#[tokio::test]
async fn answers_that_are_not_a_relays_are_named() {
    for body in ["<html>502 Bad Gateway</html>", "", "{\"job\": {", "{}", "[]", "{\"job\": null}"] {
        let error = answers(200, &[], body).await.unwrap_err();
        assert!(matches!(error, CallError::Malformed { status: 200, .. }), "{body}: {error}");
    }
    let error = answers(302, &[("location", "http://127.0.0.1:1/")], "").await.unwrap_err();
    assert!(matches!(error, CallError::Malformed { status: 302, .. }), "{error}");
}

#[tokio::test]
async fn what_the_relay_asks_for_is_kept() {
    let error = answers(429, &[("retry-after", "7")], "<html>").await.unwrap_err();
    assert_eq!((error.status(), error.retry_after()), (Some(429), Some(Duration::from_secs(7))));
    let error = answers(503, &[("retry-after", "2")], "").await.unwrap_err();
    assert_eq!((error.status(), error.retry_after()), (Some(503), Some(Duration::from_secs(2))));
    let body = r#"{"error":{"code":"not_found","message":"no such job","details":null}}"#;
    assert_eq!(answers(404, &[], body).await.unwrap_err().code(), Some(Code::NotFound));
}

#[tokio::test]
async fn an_endless_answer_is_given_up() {
    let (client, _) = relay(200, &[], vec![b' '; super::super::rest::RESPONSE_BYTES_MAX + 1]).await;
    let error = client.job(&ID.parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, CallError::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn half_an_answer_and_no_answer_are_transport() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"job\"").await.unwrap();
    });
    for _ in 0..2 {
        let error = client(&url).job(&ID.parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, CallError::Transport { .. }), "{error}");
        assert!(error.is_retryable() && !error.to_string().contains(&url), "{error}");
    }
}

#[tokio::test]
async fn health_compares_clocks() {
    let (client, _) =
        relay(200, &[("date", "Sun, 06 Nov 1994 08:49:37 GMT")], br#"{"ok":true}"#.to_vec()).await;
    let health = client.health().await.unwrap();
    assert!(health.ok);
    assert!(health.skew_seconds.unwrap() < -900_000_000, "{health:?}");
}
