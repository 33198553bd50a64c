//! A relay in this process, and a client that signs.

use std::sync::Arc;
use std::time::Duration;

use nano_worker::edge::{Clock, Entropy};
use nano_worker::protocol::signing::{Signer, canonical};
use nano_worker::relay::storage::Storage;
use nano_worker::relay::storage::embedded::Embedded;
use nano_worker::relay::{Config, Relay as Server, run};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A relay in a directory of its own, until it is dropped or stopped.
pub(crate) struct Relay {
    pub(crate) addr: String,
    pub(crate) dir: tempfile::TempDir,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::in_dir(tempfile::tempdir().unwrap(), change).await
    }

    pub(crate) async fn in_dir(dir: tempfile::TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(dir.path().join("data"));
        config.rates = None;
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { run(listener, config, shutdown).await.unwrap() }
        });
        Self { addr, dir, shutdown, task }
    }

    /// A relay whose storage the test holds as well.
    pub(crate) async fn on_storage() -> (Self, Arc<dyn Storage>) {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path().join("data"));
        config.rates = None;
        let storage: Arc<dyn Storage> =
            Arc::new(Embedded::open(&config.data_dir, 8 << 20, &Entropy::system()).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let shutdown = CancellationToken::new();
        let server = Server::with_parts(Arc::clone(&storage), config, Clock::system(), Entropy::system());
        let ending = shutdown.clone();
        let task = tokio::spawn(async move { server.serve(listener, ending).await.unwrap() });
        (Self { addr, dir, shutdown, task }, storage)
    }

    pub(crate) async fn stop(self) -> tempfile::TempDir {
        self.shutdown.cancel();
        self.task.await.unwrap();
        self.dir
    }

    pub(crate) fn party(&self, seed: u8) -> Party {
        Party::new(&self.addr, seed)
    }
}

/// Somebody with a key.
#[derive(Clone)]
pub(crate) struct Party {
    pub(crate) addr: String,
    pub(crate) signer: Signer,
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.body
    }

    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, self.body["error"]["code"].as_str()), (status, Some(code)), "{}", self.text);
        assert!(self.body["error"]["message"].is_string());
        assert!(self.body["error"].get("details").is_some());
        self.body["error"]["details"].clone()
    }
}

impl Party {
    pub(crate) fn new(addr: &str, seed: u8) -> Self {
        Self { addr: addr.to_owned(), signer: Signer::from_seed(&[seed; 32]) }
    }

    pub(crate) fn key(&self) -> String {
        self.signer.public_key().to_string()
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, "", &[]).await
    }

    pub(crate) async fn post(&self, target: &str, body: Value) -> Answer {
        self.send("POST", target, &body.to_string(), &[]).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        body: &str,
        extra: &[(&str, &str)],
    ) -> Answer {
        let mut headers = self.signed(method, target, body);
        headers.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        exchange(&self.addr, method, target, body.as_bytes(), &headers).await
    }

    /// The four headers for a request of now.
    pub(crate) fn signed(&self, method: &str, target: &str, body: &str) -> Vec<(String, String)> {
        let nonce = hex::encode(Entropy::system().bytes::<16>());
        self.signed_at(method, target, body, now(), &nonce)
    }

    pub(crate) fn signed_at(
        &self,
        method: &str,
        target: &str,
        body: &str,
        seconds: i64,
        nonce: &str,
    ) -> Vec<(String, String)> {
        let timestamp = seconds.to_string();
        let text = canonical(method, target, &timestamp, nonce, body.as_bytes());
        vec![
            ("X-Molt-PubKey".to_owned(), self.key()),
            ("X-Molt-Timestamp".to_owned(), timestamp),
            ("X-Molt-Nonce".to_owned(), nonce.to_owned()),
            ("X-Molt-Signature".to_owned(), self.signer.sign(text.as_bytes())),
        ]
    }
}

pub(crate) fn now() -> i64 {
    nano_worker::edge::Clock::system().now().seconds()
}

/// One request on a connection of its own.
pub(crate) async fn exchange(
    addr: &str,
    method: &str,
    target: &str,
    body: &[u8],
    headers: &[(String, String)],
) -> Answer {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    // A relay that refuses a body without reading it may have closed its end.
    drop(stream.write_all(body).await);
    let mut bytes = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let (head, text) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    let body = serde_json::from_str(text).unwrap_or(Value::Null);
    Answer { status, headers: head.to_owned(), body, text: text.to_owned() }
}

/// A text as long as a test wants it.
pub(crate) fn long(chars: usize) -> String {
    "ü".repeat(chars)
}

pub(crate) fn quoted_offer() -> Value {
    json!({"title": "Word count", "description": "Counts words.", "tags": ["text"], "pricing_mode": "quote"})
}

/// A Nano address that no other number has.
pub(crate) fn address(number: u64) -> String {
    let mut key = [7; 32];
    key[..8].copy_from_slice(&number.to_be_bytes());
    nano_worker::nano::Account::from_bytes(key).to_string()
}

/// A payment hash that no other number has.
pub(crate) fn hash(number: u64) -> String {
    format!("{number:064X}")
}

/// A seller with an offer, and a buyer.
pub(crate) struct Market {
    pub(crate) relay: Relay,
    pub(crate) seller: Party,
    pub(crate) buyer: Party,
    pub(crate) stranger: Party,
    pub(crate) offer: String,
}

impl Market {
    pub(crate) async fn open() -> Self {
        Self::on(Relay::start().await).await
    }

    pub(crate) async fn on(relay: Relay) -> Self {
        let (seller, buyer, stranger) = (relay.party(1), relay.party(2), relay.party(3));
        let offer = seller.post("/v1/offers", quoted_offer()).await.expect(201);
        let offer = offer["offer"]["offer_id"].as_str().unwrap().to_owned();
        Self { relay, seller, buyer, stranger, offer }
    }

    /// A new job's id.
    pub(crate) async fn ask(&self) -> String {
        let request = json!({"offer_id": self.offer, "request_payload": {"text": "a b c"}});
        let job = self.buyer.post("/v1/jobs", request).await.expect(201);
        job["job"]["job_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn quote(&self, job: &str, number: u64) -> Answer {
        let quote = json!({"quote_amount_raw": "1000", "quote_invoice_address": address(number)});
        self.seller.post(&format!("/v1/jobs/{job}/quote"), quote).await
    }

    pub(crate) async fn accept(&self, job: &str) -> Answer {
        self.buyer.post(&format!("/v1/jobs/{job}/accept"), json!({})).await
    }

    pub(crate) async fn pay(&self, job: &str, number: u64) -> Answer {
        self.buyer.post(&format!("/v1/jobs/{job}/payment"), json!({"payment_tx_hash": hash(number)})).await
    }

    pub(crate) async fn lock(&self, job: &str, holder: &str) -> Answer {
        let lock = json!({"holder": holder, "ttl_seconds": 10});
        self.seller.post(&format!("/v1/jobs/{job}/lock"), lock).await
    }

    pub(crate) async fn deliver(&self, job: &str, body: Value) -> Answer {
        self.seller.post(&format!("/v1/jobs/{job}/deliver"), body).await
    }

    /// A job that was asked for, quoted, accepted and paid.
    pub(crate) async fn paid(&self, number: u64) -> String {
        let job = self.ask().await;
        self.quote(&job, number).await.expect(200);
        self.accept(&job).await.expect(200);
        self.pay(&job, number).await.expect(200);
        job
    }
}
