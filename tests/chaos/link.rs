//! A line between two parties that can be bad in every way a line can be bad.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How a line is. Connections that are open when it turns bad are broken, or die with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// Every piece takes this long.
    Slow(Duration),
    /// A few bytes at a time.
    Drip,
    /// Nobody listens.
    Refuse,
    /// Everything is taken and nothing comes back, now and when the sky is clear again.
    BlackHole,
    /// The answer ends after so many bytes.
    Cut(usize),
    /// Something in between answers instead; what was asked does not get through.
    Instead(u16),
    /// What was asked is done, and something in between answers instead.
    DoneBut(u16),
    /// 200 with what is no answer.
    Garbage,
    /// 200 with half of an answer, the length announced in full.
    Half,
}

/// The line.
#[derive(Debug)]
pub(crate) struct Link {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
}

impl Link {
    /// A line to `upstream`, for as long as the runtime lives.
    pub(crate) async fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (weather, seen) = watch::channel(Weather::Fair);
        tokio::spawn(async move {
            loop {
                // Out of descriptors for a moment, say.
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                tokio::spawn(carry(stream, upstream, seen.clone()));
            }
        });
        Self { address, weather }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn turn(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

async fn carry(client: TcpStream, upstream: SocketAddr, mut weather: watch::Receiver<Weather>) {
    drop(client.set_nodelay(true));
    let now = *weather.borrow_and_update();
    // An error here is a broken connection, which is what a line is for.
    let carried = async {
        match now {
            Weather::Refuse => {}
            Weather::BlackHole => swallow(client).await,
            Weather::Fair => return fair(client, upstream, &mut weather).await,
            Weather::Slow(delay) => drop(pass(client, upstream, Pace { piece: 16_384, delay }).await),
            Weather::Drip => {
                drop(pass(client, upstream, Pace { piece: 24, delay: Duration::from_millis(4) }).await);
            }
            Weather::Cut(bytes) => drop(cut(client, upstream, bytes).await),
            Weather::Instead(410) => drop(gone(client, upstream).await),
            Weather::Instead(status) => drop(instead(client, &page(status)).await),
            Weather::DoneBut(status) => drop(done_but(client, upstream, &page(status)).await),
            Weather::Garbage => drop(instead(client, &whole("200 OK", "<html>Bad gatewaj\u{0}")).await),
            Weather::Half => {
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{\"job\":{\"job_id\":\"";
                drop(instead(client, answer).await);
            }
        }
    };
    carried.await;
}

/// Carries until the weather turns. Then the connection breaks, or becomes half open: neither end is
/// ever told.
async fn fair(client: TcpStream, upstream: SocketAddr, weather: &mut watch::Receiver<Weather>) {
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    drop(server.set_nodelay(true));
    let mut client = client;
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
        _ = weather.changed() => {}
    }
    if *weather.borrow() == Weather::BlackHole {
        swallow(client).await;
    }
}

/// Takes everything and answers nothing, until the other end gives up.
async fn swallow(mut client: TcpStream) {
    let mut bytes = [0; 4_096];
    while client.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
}

#[derive(Clone, Copy)]
struct Pace {
    piece: usize,
    delay: Duration,
}

async fn pass(client: TcpStream, upstream: SocketAddr, pace: Pace) -> std::io::Result<()> {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = TcpStream::connect(upstream).await?.into_split();
    tokio::select! {
        passed = trickle(from_client, to_server, Pace { piece: 16_384, ..pace }) => passed,
        passed = trickle(from_server, to_client, pace) => passed,
    }
}

async fn trickle(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    pace: Pace,
) -> std::io::Result<()> {
    let mut bytes = vec![0; pace.piece];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        tokio::time::sleep(pace.delay).await;
        to.write_all(&bytes[..count]).await?;
    }
}

async fn cut(mut client: TcpStream, upstream: SocketAddr, bytes: usize) -> std::io::Result<()> {
    let mut server = TcpStream::connect(upstream).await?;
    server.write_all(&request(&mut client).await?).await?;
    let mut answer = vec![0; bytes];
    let count = server.read(&mut answer).await?;
    client.write_all(&answer[..count]).await
}

async fn instead(mut client: TcpStream, answer: &str) -> std::io::Result<()> {
    request(&mut client).await?;
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await
}

/// To a poll the answer is that its cursor is too old; all else gets through.
async fn gone(mut client: TcpStream, upstream: SocketAddr) -> std::io::Result<()> {
    let asked = request(&mut client).await?;
    if asked.starts_with(b"GET /v1/poll") {
        return client.write_all(page(410).as_bytes()).await;
    }
    let mut server = TcpStream::connect(upstream).await?;
    server.write_all(&asked).await?;
    if asked.starts_with(b"GET /v0/poll?") || asked.starts_with(b"GET /v0/poll ") {
        let told = request(&mut server).await?;
        return client.write_all(forgotten(&told).as_bytes()).await;
    }
    pass_between(client, server).await
}

/// What a relay of /v0 says that has just removed all it was about to tell.
fn forgotten(told: &[u8]) -> String {
    let text = String::from_utf8_lossy(told);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let page: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let last = page["events"].as_array().and_then(|events| events.last()?["event_id"].as_u64());
    let body = format!(
        r#"{{"code":"gone","message":"cursor too old","min_event_id_retained":{},"suggested_resync":true}}"#,
        last.unwrap_or(0) + 1
    );
    whole("410 Gone", &body)
}

async fn pass_between(mut client: TcpStream, mut server: TcpStream) -> std::io::Result<()> {
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}

async fn done_but(mut client: TcpStream, upstream: SocketAddr, answer: &str) -> std::io::Result<()> {
    let mut server = TcpStream::connect(upstream).await?;
    server.write_all(&request(&mut client).await?).await?;
    // Its first byte says that it is done.
    server.read_exact(&mut [0]).await?;
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await
}

/// One request or answer, head and body.
async fn request(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 16_384];
    loop {
        let count = client.read(&mut piece).await?;
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| body.len() >= length(head));
        if whole || count == 0 {
            return Ok(bytes);
        }
    }
}

fn length(head: &str) -> usize {
    head.lines()
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        })
        .unwrap_or(0)
}

/// What something in between says.
fn page(status: u16) -> String {
    match status {
        429 => whole("429 Too Many Requests\r\nRetry-After: 1", "slow down"),
        410 => whole("410 Gone", r#"{"error":{"code":"cursor_too_old","message":"gone","details":null}}"#),
        503 => whole("503 Service Unavailable\r\nRetry-After: 1", "<h1>503</h1>"),
        502 => whole("502 Bad Gateway", "<h1>502</h1>"),
        _ => whole(
            "500 Internal Server Error",
            r#"{"error":{"code":"internal","message":"x","details":null}}"#,
        ),
    }
}

fn whole(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
