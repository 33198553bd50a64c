//! Hints over `/ws/seller`: connected for ever, never relied upon.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};
use tokio_util::sync::CancellationToken;

use super::error::shorten;
use super::pace::Pace;
use super::rest::{CONNECT_TIMEOUT, RelayClient};
use crate::nano::rpc::machines_trust;
use crate::protocol::signing::Signer;
use crate::protocol::{EventId, JobId};

/// How long connecting, TLS and the challenge may take together: a few round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(CONNECT_TIMEOUT.as_secs() * 3);

/// How much silence is borne.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// After this silence we ask whether anybody is there.
    ask_after: Duration,
    /// How long the answer to that may take.
    answer_within: Duration,
}

/// A server pings every 20 s, so after 25 one is late; together 45 s, so a dead but open socket is
/// noticed within a minute.
const PATIENCE: Patience =
    Patience { ask_after: Duration::from_secs(25), answer_within: Duration::from_secs(20) };

/// How long one write may take; our writes are a few bytes.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest message that is read: a hint has a few hundred bytes.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// A nonce longer than this is no challenge but something that wants to be signed.
const CHALLENGE_CHARS: std::ops::RangeInclusive<usize> = 16..=128;

/// The first delay before connecting again.
const RECONNECT_MIN: Duration = Duration::from_millis(500);

/// The longest: an outage of the relay must not cost a worker more than a minute of its end.
const RECONNECT_MAX: Duration = Duration::from_secs(60);

/// A reason to look at the relay now. It says nothing about what will be seen there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// Hints flow from now on. What happened before was missed: look once.
    Connected,
    /// No hints until the next [`Hint::Connected`].
    Lost,
    /// A new job, an acceptance or a payment.
    NewJob {
        /// Which, if the relay says so.
        job_id: Option<JobId>,
        /// The event behind it, if the relay says so.
        event_id: Option<EventId>,
    },
    /// A job was cancelled or expired.
    JobUpdated {
        /// Which, if the relay says so.
        job_id: Option<JobId>,
        /// The event behind it, if the relay says so.
        event_id: Option<EventId>,
    },
}

/// Why there is no connection, or no longer one.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("shutting down")]
    Shutdown,
    #[error("nobody wants hints any more")]
    Unwanted,
    #[error("no answer in time")]
    Silence,
    #[error("the relay closed: {0}")]
    Closed(String),
    #[error("the relay refused: {0}")]
    Refused(String),
    #[error("the relay does not speak the contract: {0}")]
    NotTheContract(&'static str),
    #[error("the connection failed: {0}")]
    Failed(String),
}

impl From<WsError> for Ended {
    fn from(error: WsError) -> Self {
        Self::Failed(shorten(&error.to_string()))
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Sends hints into `hints` until `shutdown`, connecting again and again.
///
/// A full channel drops hints: whoever has not yet looked will see all when it looks. Only
/// [`Hint::Connected`] and [`Hint::Lost`] wait for room, because a missing one would mislead.
pub async fn run(client: RelayClient, hints: mpsc::Sender<Hint>, shutdown: CancellationToken) {
    run_with(client, hints, shutdown, PATIENCE).await;
}

async fn run_with(
    client: RelayClient,
    hints: mpsc::Sender<Hint>,
    shutdown: CancellationToken,
    patience: Patience,
) {
    if let Some(wire) = client.wire() {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = wire.hints(hints) => {}
        }
        return;
    }
    let mut pace = Pace::new(RECONNECT_MIN, RECONNECT_MAX, client.entropy().clone());
    while !shutdown.is_cancelled() && !hints.is_closed() {
        let ended = tokio::select! {
            ended = session(&client, &hints, &mut pace, patience) => ended,
            () = shutdown.cancelled() => Ended::Shutdown,
        };
        if matches!(ended, Ended::Shutdown | Ended::Unwanted) {
            return;
        }
        let delay = pace.next_delay();
        tracing::debug!(%ended, delay_ms = delay.as_millis(), "no hints");
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// One connection, from its beginning to its end.
async fn session(
    client: &RelayClient,
    hints: &mpsc::Sender<Hint>,
    pace: &mut Pace,
    patience: Patience,
) -> Ended {
    let mut socket = match timeout(HANDSHAKE_TIMEOUT, connect(client)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(ended)) => return ended,
        Err(_) => return Ended::Silence,
    };
    if hints.send(Hint::Connected).await.is_err() {
        return Ended::Unwanted;
    }
    let ended = listen(&mut socket, hints, pace, patience).await;
    if hints.send(Hint::Lost).await.is_err() {
        return Ended::Unwanted;
    }
    ended
}

async fn connect(client: &RelayClient) -> Result<Socket, Ended> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let address = address(client);
    let trust = match address.starts_with("wss:") {
        true => Some(Connector::Rustls(Arc::new(
            machines_trust().map_err(|error| Ended::Failed(error.to_string()))?,
        ))),
        false => None,
    };
    let (mut socket, _) = connect_async_tls_with_config(address, Some(config), true, trust).await?;
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else { continue };
        let message = read(text.as_str())?;
        match kind(&message) {
            "auth.challenge" => {
                let answer = answer_challenge(client.signer(), &message)?;
                socket.send(Message::text(answer.to_string())).await?;
            }
            "auth.ok" => return Ok(socket),
            "error" => return Err(Ended::Refused(refusal(&message))),
            _ => {}
        }
    }
    Err(Ended::Closed("before it let us in".to_owned()))
}

async fn listen(
    socket: &mut Socket,
    hints: &mpsc::Sender<Hint>,
    pace: &mut Pace,
    patience: Patience,
) -> Ended {
    loop {
        let message = match next(socket, patience).await {
            Ok(message) => message,
            Err(ended) => return ended,
        };
        // Only now: a relay that lets us in and drops us at once is not asked without a pause.
        pace.reset();
        let heard = match message {
            Message::Text(text) => read(text.as_str()).map(|message| hint(&message)),
            Message::Close(frame) => {
                Err(Ended::Closed(frame.map(|frame| shorten(frame.reason.as_str())).unwrap_or_default()))
            }
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                Ok(Heard::Unknown)
            }
        };
        match heard {
            Ok(Heard::Hint(hint)) => {
                if let Err(mpsc::error::TrySendError::Closed(_)) = hints.try_send(hint) {
                    return Ended::Unwanted;
                }
            }
            Ok(Heard::Unknown) => {}
            Ok(Heard::Error(text)) => return Ended::Refused(text),
            Err(ended) => return ended,
        }
    }
}

/// The next message, after asking for a sign of life if there is none.
async fn next(socket: &mut Socket, patience: Patience) -> Result<Message, Ended> {
    for wait in [patience.ask_after, patience.answer_within] {
        match timeout(wait, socket.next()).await {
            Ok(Some(message)) => return Ok(message?),
            Ok(None) => return Err(Ended::Closed("without a word".to_owned())),
            Err(_) => {
                let ping = socket.send(Message::Ping(Vec::new().into()));
                timeout(WRITE_TIMEOUT, ping).await.map_err(|_| Ended::Silence)??;
            }
        }
    }
    Err(Ended::Silence)
}

/// What a message after `auth.ok` says.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Hint(Hint),
    Error(String),
    Unknown,
}

fn hint(message: &Value) -> Heard {
    let job_id = message.get("job_id").and_then(Value::as_str).and_then(|text| text.parse().ok());
    let event_id = message.get("event_id").and_then(Value::as_u64).map(EventId);
    match kind(message) {
        "hint.new_job" => Heard::Hint(Hint::NewJob { job_id, event_id }),
        "hint.job_updated" => Heard::Hint(Hint::JobUpdated { job_id, event_id }),
        "error" => Heard::Error(refusal(message)),
        _ => Heard::Unknown,
    }
}

fn answer_challenge(signer: &Signer, message: &Value) -> Result<Value, Ended> {
    let nonce = message.get("nonce").and_then(Value::as_str).unwrap_or_default();
    // Only hex is signed: a relay must not get a signature under a request of ours this way.
    if !CHALLENGE_CHARS.contains(&nonce.len()) || !nonce.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Ended::NotTheContract("a challenge without a nonce in hex"));
    }
    Ok(json!({
        "type": "auth.response",
        "pubkey": signer.public_key(),
        "signature": signer.sign(nonce.as_bytes()),
    }))
}

fn read(text: &str) -> Result<Value, Ended> {
    serde_json::from_str(text).map_err(|_| Ended::NotTheContract("a message that is no JSON"))
}

fn kind(message: &Value) -> &str {
    message.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn refusal(message: &Value) -> String {
    let text = |name| message.get(name).and_then(Value::as_str).unwrap_or("?");
    shorten(&format!("{} ({})", text("message"), text("code")))
}

fn address(client: &RelayClient) -> String {
    let url = client.address("/ws/seller", &[]);
    // `http` becomes `ws`, `https` becomes `wss`.
    url.as_str().replacen("http", "ws", 1)
}

#[cfg(test)]
mod tests;
