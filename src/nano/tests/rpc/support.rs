//! A server that says what a test wants, byte for byte, and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nano_currency::rpc::{Rpc, RpcConfig};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the server does once it has read a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Writes these bytes and closes the connection.
    Bytes(Vec<u8>),
    /// Writes these bytes and then keeps the connection open, silent.
    Stall(Vec<u8>),
    /// Writes these bytes one by one, slowly.
    Drip(Vec<u8>),
    /// Writes this head and then spaces without end.
    Endless(Vec<u8>),
}

/// An answer with this status and content type; its length is declared.
pub(crate) fn http(status: u16, headers: &str, body: &str) -> Reply {
    let head = format!("HTTP/1.1 {status} Whatever\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    Reply::Bytes((head + body).into_bytes())
}

/// A node's answer: status 200, JSON.
pub(crate) fn ok(body: &Value) -> Reply {
    http(200, "Content-Type: application/json\r\nConnection: close\r\n", &body.to_string())
}

type Answer = dyn Fn(&Value) -> Reply + Send + Sync;

/// A node, as far as a client can tell. Ends when it is dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Value>>>,
    _task: JoinSet<()>,
}

impl Server {
    /// A server that answers each request with what `answer` makes of it.
    pub(crate) async fn start(answer: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, log): (Arc<Answer>, _) = (Arc::new(answer), Arc::clone(&requests));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, Arc::clone(&answer), Arc::clone(&log)));
            }
        });
        Self { url, requests, _task: task }
    }

    /// A server that always says the same.
    pub(crate) async fn saying(reply: Reply) -> Self {
        Self::start(move |_| reply.clone()).await
    }

    /// What it was asked so far.
    pub(crate) fn requests(&self) -> Vec<Value> {
        self.requests.lock().unwrap().clone()
    }

    /// A client of this server alone.
    pub(crate) fn client(&self) -> Rpc {
        client([self.url.as_str()])
    }
}

async fn serve(mut stream: TcpStream, answer: Arc<Answer>, log: Arc<Mutex<Vec<Value>>>) {
    let Some(request) = read_request(&mut stream).await else { return };
    let reply = answer(&request);
    log.lock().unwrap().push(request);
    // A client that has seen enough hangs up; that is its right.
    let _ = match reply {
        Reply::Bytes(bytes) => stream.write_all(&bytes).await,
        Reply::Stall(bytes) => {
            let _ = stream.write_all(&bytes).await;
            std::future::pending().await
        }
        Reply::Drip(bytes) => drip(&mut stream, &bytes).await,
        Reply::Endless(head) => {
            let _ = stream.write_all(&head).await;
            while stream.write_all(&[b' '; 4096]).await.is_ok() {}
            Ok(())
        }
    };
}

async fn drip(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The JSON of one POST.
async fn read_request(stream: &mut TcpStream) -> Option<Value> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")
                    .map(|n| n.parse::<usize>().unwrap())
            })?;
            if body.len() >= length {
                return serde_json::from_str(body).ok();
            }
        }
        let mut chunk = [0; 65_536];
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&chunk[..read]),
            _ => return None,
        }
    }
}

/// A clock that a test turns, in milliseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hand(Arc<AtomicU64>);

impl Hand {
    pub(crate) fn turn_ms(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }

    /// A configuration that goes by this clock.
    pub(crate) fn config<'a>(&self, urls: impl IntoIterator<Item = &'a str>) -> RpcConfig {
        let time = Arc::clone(&self.0);
        RpcConfig::new(urls, move || Duration::from_millis(time.load(Ordering::Relaxed)))
    }
}

/// A client whose clock stands still.
pub(crate) fn client<'a>(urls: impl IntoIterator<Item = &'a str>) -> Rpc {
    Rpc::new(&Hand::default().config(urls)).unwrap()
}

/// The recorded requests and answers in one of the two files.
pub(crate) fn recordings(name: &str) -> Vec<Value> {
    let path = format!("{}/../../tests/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// One recorded answer of the C++ node, by the number that its name begins with.
pub(crate) fn recorded(number: &str) -> Value {
    let all = recordings("captures");
    let found = all.into_iter().find(|entry| entry["file"].as_str().unwrap().starts_with(number));
    found.unwrap_or_else(|| panic!("no recording {number}"))
}

/// A recorded answer as it came over the wire.
pub(crate) fn replay(entry: &Value) -> Reply {
    let body = entry["raw_body"].as_str().unwrap();
    let mut head = format!("HTTP/1.1 {} Recorded\r\n", entry["http_status"]);
    for header in entry["headers"].as_array().unwrap() {
        head += &format!("{}: {}\r\n", header[0].as_str().unwrap(), header[1].as_str().unwrap());
    }
    Reply::Bytes((head + "\r\n" + body).into_bytes())
}
