//! Hints from a server that is ours: challenges, silence, floods.

use proptest::prelude::*;
use tokio::net::TcpListener;
use tokio_tungstenite::accept_async;

use super::*;
use crate::edge::{Clock, Entropy};
use crate::protocol::signing::verifies;

const NONCE: &str = "00112233445566778899aabbccddeeff";
const JOB: &str = "7f0c2b0e-4a51-4d0e-9e0b-1c1f6a3b2d10";

struct Relay {
    listener: TcpListener,
    hints: mpsc::Receiver<Hint>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

/// A client that hears from a listener of ours, through a channel of `room`.
async fn relay(room: usize) -> Relay {
    relay_with(room, PATIENCE).await
}

async fn relay_with(room: usize, patience: Patience) -> Relay {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // No jitter: the client comes back at once.
    let entropy = Entropy::from_fn(|bytes| bytes.fill(0));
    let client = RelayClient::new(&url, Signer::from_seed(&[7; 32]), Clock::system(), entropy).unwrap();
    let (sender, hints) = mpsc::channel(room);
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(run_with(client, sender, shutdown.clone(), patience));
    Relay { listener, hints, shutdown, task }
}

impl Relay {
    async fn admit(&self) -> WebSocketStream<TcpStream> {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut socket = accept_async(stream).await.unwrap();
        say(&mut socket, &json!({"type": "auth.challenge", "nonce": NONCE, "extra": 1})).await;
        let answer = socket.next().await.unwrap().unwrap();
        let answer: Value = serde_json::from_str(answer.to_text().unwrap()).unwrap();
        let key = answer["pubkey"].as_str().unwrap().parse().unwrap();
        assert!(verifies(&key, NONCE.as_bytes(), answer["signature"].as_str().unwrap()));
        say(&mut socket, &json!({"type": "auth.ok", "seller_pubkey": key})).await;
        socket
    }

    async fn hear(&mut self) -> Hint {
        timeout(Duration::from_secs(120), self.hints.recv()).await.unwrap().unwrap()
    }
}

async fn say(socket: &mut WebSocketStream<TcpStream>, message: &Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}

#[tokio::test]
async fn hints_arrive_and_a_lost_connection_is_made_again() {
    let mut relay = relay(8).await;
    for round in 0..3 {
        let mut socket = relay.admit().await;
        assert_eq!(relay.hear().await, Hint::Connected);
        say(&mut socket, &json!({"type": "hint.new_job", "job_id": JOB, "event_id": round})).await;
        let job_id = JOB.parse().ok();
        assert_eq!(relay.hear().await, Hint::NewJob { job_id, event_id: Some(EventId(round)) });
        say(&mut socket, &json!({"type": "something.new"})).await;
        say(&mut socket, &json!({"type": "hint.job_updated"})).await;
        assert_eq!(relay.hear().await, Hint::JobUpdated { job_id: None, event_id: None });
        drop(socket);
        assert_eq!(relay.hear().await, Hint::Lost);
    }
    relay.shutdown.cancel();
    relay.task.await.unwrap();
}

/// Known in others: after ten tries to connect, nobody tries again.
#[tokio::test]
async fn it_connects_again_after_any_number_of_failures() {
    let mut relay = relay(8).await;
    for _ in 0..40 {
        drop(relay.listener.accept().await.unwrap());
    }
    let _socket = relay.admit().await;
    assert_eq!(relay.hear().await, Hint::Connected);
}

#[tokio::test]
async fn a_full_channel_drops_hints_and_nothing_else() {
    let mut relay = relay(2).await;
    let mut socket = relay.admit().await;
    for _ in 0..50 {
        say(&mut socket, &json!({"type": "hint.new_job"})).await;
    }
    drop(socket);
    let mut heard = Vec::new();
    while heard.last() != Some(&Hint::Lost) {
        heard.push(relay.hear().await);
    }
    assert_eq!(heard.first(), Some(&Hint::Connected));
    assert!(heard.len() < 52, "{}", heard.len());
}

/// Known in others: a connection that is half open leaves the daemon deaf for ever.
#[tokio::test]
async fn a_dead_but_open_socket_is_noticed() {
    let (ask_after, answer_within) = (Duration::from_millis(50), Duration::from_millis(50));
    let mut relay = relay_with(8, Patience { ask_after, answer_within }).await;
    // The socket stays open, and nobody reads it: a ping is never answered.
    let _socket = relay.admit().await;
    assert_eq!(relay.hear().await, Hint::Connected);
    assert_eq!(relay.hear().await, Hint::Lost);
    assert!(PATIENCE.ask_after + PATIENCE.answer_within + WRITE_TIMEOUT < Duration::from_secs(60));
}

#[tokio::test]
async fn a_silent_relay_that_answers_is_kept() {
    let (ask_after, answer_within) = (Duration::from_millis(20), Duration::from_secs(60));
    let mut relay = relay_with(8, Patience { ask_after, answer_within }).await;
    let mut socket = relay.admit().await;
    for _ in 0..5 {
        assert!(matches!(socket.next().await, Some(Ok(Message::Ping(_)))));
    }
    assert_eq!(relay.hear().await, Hint::Connected);
    assert!(relay.hints.try_recv().is_err());
}

#[tokio::test]
async fn a_flood_and_a_refusal_end_the_connection() {
    let mut relay = relay(8).await;
    let mut socket = relay.admit().await;
    assert_eq!(relay.hear().await, Hint::Connected);
    let flood = Message::text("x".repeat(MESSAGE_BYTES_MAX + 1));
    let _ = socket.send(flood).await;
    assert_eq!(relay.hear().await, Hint::Lost);
    let mut socket = relay.admit().await;
    assert_eq!(relay.hear().await, Hint::Connected);
    say(&mut socket, &json!({"type": "error", "code": "ws.unknown_type", "message": "no"})).await;
    assert_eq!(relay.hear().await, Hint::Lost);
}

#[test]
fn only_a_nonce_is_signed() {
    let signer = Signer::from_seed(&[7; 32]);
    for nonce in ["", "zz", "POST\n/v1/jobs/x/cancel\n1\n2\n3", &"a".repeat(500)] {
        assert!(answer_challenge(&signer, &json!({ "nonce": nonce })).is_err(), "{nonce}");
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(text: String, kind: String, id: String) {
        let _ = read(&text).map(|message| hint(&message));
        let _ = hint(&json!({"type": kind, "job_id": id, "event_id": id}));
        let _ = hint(&json!({"type": "hint.new_job", "job_id": 1, "event_id": -1}));
    }
}
