//! Wake-ups over `GET /v0/stream`: connected for ever, never relied upon.

use std::time::Duration;

use reqwest::Response;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::super::error::CallError;
use super::super::socket::Hint;
use super::frames::{Frames, LineTooLong};
use super::limit::Bucket;
use super::rest::{Ask, BotClient};
use crate::edge::monotonic;

/// How long a connection may take to be there, with the head of its answer.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// A relay says something every 20 s. After two of those and a bit the connection is dead, though
/// it may look open for hours.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// The first delay before connecting again.
const RECONNECT_MIN: Duration = Duration::from_secs(1);

/// The longest.
const RECONNECT_MAX: Duration = Duration::from_secs(60);

/// A connection that held this long was a good one, and the delays begin again.
const GOOD_AFTER: Duration = Duration::from_secs(30);

/// Why there is no connection, or no longer one.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("nobody wants wake-ups any more")]
    Unwanted,
    #[error("silence")]
    Silence,
    #[error("the relay ended the stream")]
    Closed,
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Frames(#[from] LineTooLong),
}

/// Sends hints into `hints` until `shutdown`, connecting again and again.
///
/// A wake says no more than that there is something to poll, so that it is a [`Hint::NewJob`]
/// without a job. A full channel drops wakes: whoever has not yet looked will see all when it looks.
/// Only [`Hint::Connected`] and [`Hint::Lost`] wait for room, because a missing one would mislead.
pub async fn run(client: BotClient, hints: mpsc::Sender<Hint>, shutdown: CancellationToken) {
    if let Some(wire) = client.wire() {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = wire.hints(hints) => {}
        }
        return;
    }
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        () = connect_for_ever(&client, &hints) => {}
    }
}

async fn connect_for_ever(client: &BotClient, hints: &mpsc::Sender<Hint>) {
    let mut failures = 0;
    while !hints.is_closed() {
        let began = monotonic();
        let ended = session(client, hints, SILENCE_MAX).await;
        if matches!(ended, Ended::Unwanted) {
            return;
        }
        if monotonic().saturating_duration_since(began) >= GOOD_AFTER {
            failures = 0;
        }
        let delay = delay(failures, client.entropy().number());
        failures += 1;
        tracing::debug!(%ended, delay_ms = delay.as_millis(), "no wake-ups");
        tokio::time::sleep(delay).await;
    }
}

/// Doubles from one second to a minute, each a fifth longer or shorter by chance: those who lost the
/// same relay at the same moment come back one by one.
fn delay(failures: u32, chance: u64) -> Duration {
    let span = RECONNECT_MIN.saturating_mul(1 << failures.min(6)).min(RECONNECT_MAX);
    let fifth = span / 5;
    let micros = u64::try_from(fifth.as_micros()).unwrap_or(0) * 2;
    span - fifth + Duration::from_micros(chance % (micros + 1))
}

/// One connection, from its beginning to its end.
async fn session(client: &BotClient, hints: &mpsc::Sender<Hint>, silence_max: Duration) -> Ended {
    let mut response = match timeout(OPEN_TIMEOUT, open(client)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return error.into(),
        Err(_) => return Ended::Silence,
    };
    if hints.send(Hint::Connected).await.is_err() {
        return Ended::Unwanted;
    }
    let ended = listen(&mut response, hints, silence_max).await;
    if hints.send(Hint::Lost).await.is_err() {
        return Ended::Unwanted;
    }
    ended
}

async fn open(client: &BotClient) -> Result<Response, CallError> {
    let url = client.address(&["v0", "stream"], &[])?;
    client.open(Ask::get(url, Some(Bucket::Poll))).await
}

async fn listen(response: &mut Response, hints: &mpsc::Sender<Hint>, silence_max: Duration) -> Ended {
    let mut frames = Frames::default();
    loop {
        let chunk = match timeout(silence_max, response.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Ended::Closed,
            Ok(Err(error)) => return CallError::transport(error).into(),
            Err(_) => return Ended::Silence,
        };
        let wakes = match frames.read(&chunk) {
            Ok(wakes) => wakes,
            Err(error) => return error.into(),
        };
        let wake = Hint::NewJob { job_id: None, event_id: None };
        if wakes > 0 && matches!(hints.try_send(wake), Err(mpsc::error::TrySendError::Closed(_))) {
            return Ended::Unwanted;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_a_minute_and_vary_by_a_fifth() {
        let ms = |failures, chance| delay(failures, chance).as_millis();
        let shortest: Vec<_> = (0..8).map(|failures| ms(failures, 0)).collect();
        assert_eq!(shortest, [800, 1_600, 3_200, 6_400, 12_800, 25_600, 48_000, 48_000]);
        assert_eq!([ms(0, 400_000), ms(6, 24_000_000), ms(u32::MAX, 24_000_000)], [1_200, 72_000, 72_000]);
    }

    mod sockets {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        use tokio::net::TcpListener;

        use super::*;
        use crate::client::v0::Rates;
        use crate::edge::{Clock, Entropy};
        use crate::protocol::v0::BotKeys;

        /// What a relay that answers with these bytes, and then nothing, leaves to be heard.
        async fn hear(answer: &'static str) -> (Ended, Vec<Hint>) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let relay = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                std::future::pending::<()>().await;
            });
            let keys = BotKeys::from_seeds(&[1; 32], &[2; 32]);
            let client =
                BotClient::new(&url, keys, Rates::DEPLOYED, Clock::system(), Entropy::system()).unwrap();
            let (sender, mut receiver) = mpsc::channel(8);
            let ended = session(&client, &sender, Duration::from_millis(300)).await;
            relay.abort();
            drop(sender);
            let mut hints = Vec::new();
            while let Some(hint) = receiver.recv().await {
                hints.push(hint);
            }
            (ended, hints)
        }

        #[tokio::test]
        async fn a_connection_that_falls_silent_is_given_up() {
            let (ended, hints) = hear("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: connected\n\nevent: wake\ndata: {}\n\n").await;
            assert!(matches!(ended, Ended::Silence), "{ended}");
            let wake = Hint::NewJob { job_id: None, event_id: None };
            assert_eq!(hints, [Hint::Connected, wake, Hint::Lost]);
        }

        #[tokio::test]
        async fn a_refused_stream_is_no_connection() {
            let (ended, hints) =
                hear("HTTP/1.1 401 Unauthorized\r\nContent-Length: 23\r\n\r\n{\"error\":\"unknown bot\"}")
                    .await;
            let Ended::Call(error) = ended else { panic!("{ended}") };
            assert!(error.says("unknown bot") && hints.is_empty(), "{error}");
        }
    }
}
