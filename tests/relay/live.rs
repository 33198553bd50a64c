//! What is told without being asked: WebSocket hints and the event stream.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use nano_worker::edge::{Clock, Entropy};
use nano_worker::protocol::apply::Rules;
use nano_worker::protocol::{Change, EventType, Job};
use nano_worker::relay::model::JobCommit;
use nano_worker::relay::storage::Storage;
use nano_worker::relay::storage::embedded::Embedded;
use nano_worker::relay::{Config, Relay as Server};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::{Market, Party, Relay, exchange};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(relay: &Relay) -> (Socket, Value) {
    let (mut socket, _) = connect_async(format!("ws://{}/ws/seller", relay.addr)).await.unwrap();
    let challenge = next(&mut socket).await;
    assert_eq!(challenge["type"], "auth.challenge");
    assert!(challenge["expires_at"].as_str() > challenge["server_time"].as_str());
    (socket, challenge)
}

async fn next(socket: &mut Socket) -> Value {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(15), socket.next()).await.unwrap();
        match message.unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn say(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
}

fn response(party: &Party, challenge: &Value) -> Value {
    let signature = party.signer.sign(challenge["nonce"].as_str().unwrap().as_bytes());
    json!({"type": "auth.response", "pubkey": party.key(), "signature": signature})
}

async fn log_in(relay: &Relay, party: &Party) -> Socket {
    let (mut socket, challenge) = connect(relay).await;
    say(&mut socket, &response(party, &challenge).to_string()).await;
    let ok = next(&mut socket).await;
    assert_eq!(ok, json!({"type": "auth.ok", "seller_pubkey": party.key()}));
    socket
}

async fn refused(mut socket: Socket, code: &str) {
    let error = next(&mut socket).await;
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)));
    let close = tokio::time::timeout(Duration::from_secs(5), socket.next()).await.unwrap();
    assert!(matches!(close, Some(Ok(Message::Close(_)))), "{close:?}");
}

#[tokio::test]
async fn bad_answers_to_the_challenge_are_named() {
    let relay = Relay::start().await;
    let party = relay.party(1);
    let key = party.key();
    for (text, code) in [
        ("{".to_owned(), "ws.invalid_json"),
        ("[]".to_owned(), "ws.invalid_message"),
        ("{\"type\":5}".to_owned(), "ws.invalid_message"),
        ("{\"type\":\"auth.response\"}".to_owned(), "ws.invalid_message"),
        ("{\"type\":\"hello\"}".to_owned(), "ws.unknown_type"),
        (
            json!({"type": "auth.response", "pubkey": "x", "signature": "y"}).to_string(),
            "auth.invalid_pubkey",
        ),
        (
            json!({"type": "auth.response", "pubkey": key, "signature": "y"}).to_string(),
            "auth.invalid_signature",
        ),
    ] {
        let (mut socket, _) = connect(&relay).await;
        say(&mut socket, &text).await;
        refused(socket, code).await;
    }
    // An answer to another challenge.
    let (_, other) = connect(&relay).await;
    let (mut socket, _) = connect(&relay).await;
    say(&mut socket, &response(&party, &other).to_string()).await;
    refused(socket, "auth.invalid_signature").await;
    let mut socket = log_in(&relay, &party).await;
    say(&mut socket, "{\"type\":\"auth.response\"}").await;
    refused(socket, "ws.unknown_type").await;
    let quick = Relay::with(|config| config.ws_challenge = Duration::from_millis(200)).await;
    let (socket, _) = connect(&quick).await;
    refused(socket, "auth.expired_challenge").await;
}

#[tokio::test]
async fn hints_follow_what_concerns_the_seller() {
    let market = Market::open().await;
    let mut socket = log_in(&market.relay, &market.seller).await;
    let mut stranger = log_in(&market.relay, &market.stranger).await;
    let online =
        exchange(&market.relay.addr, "GET", "/v1/offers?online_only=true", b"", &[]).await.expect(200);
    assert_eq!(online["total"], 1);
    let job = market.paid(1).await;
    for event_id in [1, 3, 4] {
        let hint = next(&mut socket).await;
        assert_eq!(hint, json!({"type": "hint.new_job", "job_id": job, "event_id": event_id}));
        // A hint is never ahead of what a poll shows.
        let page = market.seller.get("/v1/poll").await.expect(200);
        assert!(page["head_event_id"].as_u64() >= Some(event_id));
    }
    let other = market.ask().await;
    assert_eq!(next(&mut socket).await["job_id"], other.as_str());
    market.buyer.post(&format!("/v1/jobs/{other}/cancel"), json!({})).await.expect(200);
    assert_eq!(next(&mut socket).await, json!({"type": "hint.job_updated", "job_id": other, "event_id": 6}));
    assert!(tokio::time::timeout(Duration::from_millis(100), stranger.next()).await.is_err());
    drop(socket);
    for _ in 0..100 {
        let online =
            exchange(&market.relay.addr, "GET", "/v1/offers?online_only=true", b"", &[]).await.expect(200);
        if online["total"] == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the seller stayed online");
}

/// An event stream, read line by line.
struct Stream(BufReader<TcpStream>);

impl Stream {
    async fn open(party: &Party, target: &str, extra: &str) -> Self {
        let mut stream = TcpStream::connect(&party.addr).await.unwrap();
        let mut head = format!("GET {target} HTTP/1.1\r\nHost: relay\r\n{extra}");
        for (name, value) in party.signed("GET", target, "") {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        Self(BufReader::new(stream))
    }

    /// The next event's id (if it has one), type and data.
    async fn next(&mut self) -> (Option<u64>, String, Value) {
        let (mut id, mut kind) = (None, String::new());
        loop {
            let mut line = String::new();
            let reading = self.0.read_line(&mut line);
            assert!(tokio::time::timeout(Duration::from_secs(10), reading).await.unwrap().unwrap() > 0);
            if let Some(text) = line.strip_prefix("id: ") {
                id = text.trim().parse().ok();
            } else if let Some(text) = line.strip_prefix("event: ") {
                kind = text.trim().to_owned();
            } else if let Some(text) = line.strip_prefix("data: ") {
                return (id, kind, serde_json::from_str(text).unwrap());
            }
        }
    }
}

#[tokio::test]
async fn the_stream_replays_says_ready_and_goes_on() {
    let market = Market::open().await;
    let job = market.ask().await;
    market.quote(&job, 1).await.expect(200);
    let mut stream = Stream::open(&market.seller, "/v1/events", "").await;
    let (id, kind, data) = stream.next().await;
    assert_eq!((id, kind.as_str(), &data["event_id"]), (Some(1), "job.requested", &json!(1)));
    assert_eq!(data["data"]["job"]["request_payload"], json!({"text": "a b c"}));
    assert_eq!(stream.next().await.1, "job.quoted");
    let (id, kind, data) = stream.next().await;
    assert_eq!((id, kind.as_str(), &data["head_event_id"]), (None, "ready", &json!(2)));
    market.accept(&job).await.expect(200);
    assert_eq!(stream.next().await.1, "job.accepted");
    market.pay(&job, 1).await.expect(200);
    assert_eq!(stream.next().await.0, Some(4));

    let mut resumed = Stream::open(&market.buyer, "/v1/events?cursor=1", "Last-Event-ID: 3\r\n").await;
    assert_eq!(resumed.next().await.0, Some(4));
    assert_eq!(resumed.next().await.1, "ready");
    let mut resumed = Stream::open(&market.buyer, "/v1/events?cursor=2", "").await;
    assert_eq!(resumed.next().await.0, Some(3));
    market.buyer.get("/v1/events?cursor=9").await.refused(410, "cursor_too_old");
    market.buyer.get("/v1/events?cursor=x").await.refused(400, "validation_error");
    // A stop ends streams and sockets in time.
    let socket = log_in(&market.relay, &market.seller).await;
    let stopping = tokio::time::timeout(Duration::from_secs(5), market.relay.stop());
    stopping.await.unwrap();
    drop((stream, socket));
}

/// Events that all become durable at one moment.
async fn burst(storage: &dyn Storage, seller: &Party, buyer: &Party, events: u64) {
    let rules = Rules::default();
    for number in 0..events {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let now = Clock::system().now();
        let id = nano_worker::protocol::JobId::from_random(id);
        let job: Job = serde_json::from_value(json!({
            "job_id": id, "offer_id": id, "seller_pubkey": seller.key(), "buyer_pubkey": buyer.key(),
            "status": "requested", "created_at": now, "updated_at": now
        }))
        .unwrap();
        let change = Change { job, event: Some(EventType::Requested), unique: None };
        storage
            .commit(JobCommit { change: &change, expected: None, receipt: None, rules: &rules, now })
            .await
            .unwrap();
    }
    storage.durable().await.unwrap();
}

#[tokio::test]
async fn a_burst_of_several_pages_flows_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let storage = std::sync::Arc::new(Embedded::open(dir.path(), 8 << 20, &Entropy::system()).unwrap());
    let config = Config { rates: None, ..Config::new(dir.path()) };
    let kept = std::sync::Arc::clone(&storage);
    let server = Server::with_parts(kept, config, Clock::system(), Entropy::system());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let shutdown = tokio_util::sync::CancellationToken::new();
    let task = tokio::spawn(server.serve(listener, shutdown.clone()));
    let (seller, buyer) = (Party::new(&addr, 1), Party::new(&addr, 2));
    let mut stream = Stream::open(&seller, "/v1/events", "").await;
    assert_eq!(stream.next().await.1, "ready");
    burst(&*storage, &seller, &buyer, 450).await;
    for id in 1..=450 {
        assert_eq!(stream.next().await.0, Some(id));
    }
    drop(stream);
    shutdown.cancel();
    task.await.unwrap().unwrap();
}
