//! `/ws/seller`: hints that there is something to fetch. REST is the truth.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::debug;

use super::model::{EventQuery, LogEntry};
use super::server::App;
use crate::edge::monotonic;
use crate::protocol::limits::{KEEPALIVE_INTERVAL, WS_SILENCE_MAX};
use crate::protocol::{EventId, EventType, PublicKey, Timestamp, signing};

/// Bytes of a client's message: an answer to the challenge has 250.
const MESSAGE_BYTES_MAX: usize = 4_096;
/// Bytes that wait for a slow reader before it is closed: a hundred hints.
const WRITE_BYTES_MAX: usize = 64 * 1_024;
/// How long one message may take to be taken by the network.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Hints that are read from the log at once.
const HINTS_PER_READ: usize = 100;

/// Takes a WebSocket.
pub(super) fn accept(app: App, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .max_write_buffer_size(WRITE_BYTES_MAX)
        .write_buffer_size(0)
        .on_upgrade(async move |socket| {
            let token = app.streams.token();
            let mut connection = Connection { socket, app };
            let end = connection.run().await;
            debug!(?end, "a WebSocket ended");
            connection.close(end).await;
            drop(token);
        })
}

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The client left, or the network did.
    Gone,
    /// The client broke the rules: code and message.
    Refused(&'static str, &'static str),
    /// It did not read what it was sent.
    SlowReader,
    /// It said nothing for too long.
    Silent,
    /// The relay is stopping, or its storage has failed.
    GoingAway,
}

const INVALID_JSON: End = End::Refused("ws.invalid_json", "a message is JSON");
const INVALID_MESSAGE: End = End::Refused("ws.invalid_message", "a message is an object with a type");
const UNKNOWN_TYPE: End = End::Refused("ws.unknown_type", "no message of this type is expected now");
const INVALID_PUBKEY: End = End::Refused("auth.invalid_pubkey", "a public key is 64 lower-case hex digits");
const INVALID_SIGNATURE: End = End::Refused("auth.invalid_signature", "the nonce was not signed by this key");
const EXPIRED_CHALLENGE: End =
    End::Refused("auth.expired_challenge", "the challenge was not answered in time");

struct Connection {
    socket: WebSocket,
    app: App,
}

impl Connection {
    async fn run(&mut self) -> End {
        let seller = match self.authenticate().await {
            Ok(seller) => seller,
            Err(end) => return end,
        };
        let presence = std::sync::Arc::clone(&self.app.presence).arrive(seller);
        let end = self.hints(seller).await;
        drop(presence);
        end
    }

    async fn authenticate(&mut self) -> Result<PublicKey, End> {
        let now = self.app.clock.now();
        let nonce = hex::encode(self.app.entropy.bytes::<32>());
        let expires_at = now.plus(self.app.config.ws_challenge);
        let challenge = json!({
            "type": "auth.challenge", "nonce": nonce, "expires_at": expires_at, "server_time": now
        });
        self.send(challenge).await?;
        let answer = tokio::select! {
            () = self.app.shutdown.cancelled() => return Err(End::GoingAway),
            answer = tokio::time::timeout(self.app.config.ws_challenge, next_text(&mut self.socket)) => answer,
        };
        let text = answer.map_err(|_| EXPIRED_CHALLENGE)??;
        check_answer(&text, &nonce, expires_at, self.app.clock.now())
    }

    async fn hints(&mut self, seller: PublicKey) -> End {
        match self.follow(seller).await {
            Ok(()) => End::GoingAway,
            Err(end) => end,
        }
    }

    async fn follow(&mut self, seller: PublicKey) -> Result<(), End> {
        let mut news = self.app.tail.subscribe(seller);
        let mut seen = self.app.storage.log().await.map_err(|_| End::GoingAway)?.head;
        self.send(json!({"type": "auth.ok", "seller_pubkey": seller})).await?;
        let mut heard = monotonic();
        let mut ping = tokio::time::interval(KEEPALIVE_INTERVAL);
        ping.tick().await;
        loop {
            tokio::select! {
                () = self.app.shutdown.cancelled() => return Ok(()),
                changed = news.changed() => {
                    changed.map_err(|_| End::GoingAway)?;
                    seen = self.tell(seller, seen).await?;
                }
                _ = ping.tick() => {
                    if monotonic().duration_since(heard) >= WS_SILENCE_MAX {
                        return Err(End::Silent);
                    }
                    self.write(Message::Ping(Default::default())).await?;
                }
                message = self.socket.recv() => match message {
                    None | Some(Err(_) | Ok(Message::Close(_))) => return Err(End::Gone),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => heard = monotonic(),
                    Some(Ok(Message::Text(text))) => return Err(unexpected(&text)),
                    Some(Ok(Message::Binary(_))) => return Err(INVALID_MESSAGE),
                },
            }
        }
    }

    /// Hints at everything after `seen`, and returns how far that was.
    async fn tell(&mut self, seller: PublicKey, mut seen: EventId) -> Result<EventId, End> {
        loop {
            let query = EventQuery { party: seller, after: seen, kinds: Vec::new(), limit: HINTS_PER_READ };
            let events = self.app.storage.events(&query).await.map_err(|_| End::GoingAway)?;
            self.app.storage.durable().await.map_err(|_| End::GoingAway)?;
            for (entry, _) in &events {
                if let Some(hint) = hint(seller, entry) {
                    self.send(hint).await?;
                }
                seen = entry.event_id;
            }
            if events.len() < HINTS_PER_READ {
                return Ok(seen);
            }
        }
    }

    async fn send(&mut self, message: Value) -> Result<(), End> {
        self.write(Message::Text(message.to_string().into())).await
    }

    async fn write(&mut self, message: Message) -> Result<(), End> {
        match tokio::time::timeout(SEND_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::SlowReader),
        }
    }

    async fn close(&mut self, end: End) {
        let (code, reason) = match end {
            End::Gone => return,
            End::Refused(code, message) => {
                let error = json!({"type": "error", "code": code, "message": message});
                drop(self.send(error).await);
                (close_code::POLICY, code)
            }
            End::SlowReader => (close_code::POLICY, "slow reader"),
            End::Silent => (close_code::POLICY, "silent"),
            End::GoingAway => (close_code::AWAY, "the relay is stopping"),
        };
        let frame = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        // A reader that is slow even now will see the connection end.
        drop(tokio::time::timeout(Duration::from_secs(1), self.socket.send(frame)).await);
    }
}

#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct AuthResponse {
    pubkey: String,
    signature: String,
}

fn check_answer(text: &str, nonce: &str, expires_at: Timestamp, now: Timestamp) -> Result<PublicKey, End> {
    let value: Value = serde_json::from_str(text).map_err(|_| INVALID_JSON)?;
    let Typed { kind } = Typed::deserialize(&value).map_err(|_| INVALID_MESSAGE)?;
    if kind != "auth.response" {
        return Err(UNKNOWN_TYPE);
    }
    let AuthResponse { pubkey, signature } =
        AuthResponse::deserialize(&value).map_err(|_| INVALID_MESSAGE)?;
    let pubkey: PublicKey = pubkey.parse().map_err(|_| INVALID_PUBKEY)?;
    if now >= expires_at {
        return Err(EXPIRED_CHALLENGE);
    }
    if !signing::verifies(&pubkey, nonce.as_bytes(), &signature) {
        return Err(INVALID_SIGNATURE);
    }
    Ok(pubkey)
}

/// What is wrong with a message after `auth.ok`, where none is expected.
fn unexpected(text: &str) -> End {
    match serde_json::from_str::<Value>(text) {
        Err(_) => INVALID_JSON,
        Ok(value) if Typed::deserialize(&value).is_err() => INVALID_MESSAGE,
        Ok(_) => UNKNOWN_TYPE,
    }
}

async fn next_text(socket: &mut WebSocket) -> Result<String, End> {
    loop {
        match socket.recv().await {
            None | Some(Err(_) | Ok(Message::Close(_))) => return Err(End::Gone),
            Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
            Some(Ok(Message::Binary(_))) => return Err(INVALID_MESSAGE),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
        }
    }
}

fn hint(seller: PublicKey, entry: &LogEntry) -> Option<Value> {
    if entry.seller != seller {
        return None;
    }
    let kind = match entry.kind {
        EventType::Requested | EventType::Accepted | EventType::PaymentSubmitted => "hint.new_job",
        EventType::Canceled | EventType::Expired => "hint.job_updated",
        // The seller's own moves.
        EventType::Quoted | EventType::Running | EventType::Delivered | EventType::Failed => return None,
    };
    Some(json!({"type": kind, "job_id": entry.job_id, "event_id": entry.event_id}))
}
