//! A ledger and a relay that runs share, one after the other.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use mock_nano_rpc::{Config, MockNode};
use nano_worker::client::RelayClient;
use nano_worker::edge::{Clock, Entropy};
use nano_worker::protocol::signing::Signer;

use crate::process::{Process, free_address};

/// Keys and folders are numbered through all lanes.
static NEXT: AtomicU64 = AtomicU64::new(1);

pub(crate) struct Lane {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) node: MockNode,
    pub(crate) relay_address: SocketAddr,
    relay: Mutex<Option<Process>>,
}

impl Lane {
    /// Without a relay yet.
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = MockNode::start(Config::default()).await.unwrap();
        Self { dir, node, relay_address: free_address(), relay: Mutex::new(None) }
    }

    pub(crate) fn relay(&self) -> MutexGuard<'_, Option<Process>> {
        self.relay.lock().unwrap()
    }

    pub(crate) fn start_relay(&self, points: &str) {
        self.start_relay_with(points, None);
    }

    /// Starts the relay, with this in `FAILPOINTS`. It may die before it listens.
    pub(crate) fn start_relay_with(&self, points: &str, quote_ttl: Option<&str>) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_relay"))
            .args(["serve", "--listen", &self.relay_address.to_string(), "--data"])
            .arg(self.dir.path().join("relay"))
            .env("RELAY_RATE_LIMIT_ENABLED", "false")
            .env("RELAY_SWEEP_INTERVAL_MS", "100")
            .env("NBR_RETENTION_ENABLED", "true")
            .env("NBR_RETENTION_INTERVAL", "1s")
            .env("RUST_LOG", "warn")
            .env("FAILPOINTS", points)
            .envs(quote_ttl.map(|seconds| ("RELAY_QUOTE_TTL_SECONDS", seconds)))
            .stdout(Stdio::piped())
            .stderr(log(self.dir.path(), "relay"))
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let expected = format!("relay listening on http://{}", self.relay_address);
        assert!(line.trim() == expected || !points.is_empty(), "the relay says {line:?}");
        *self.relay() = Some(Process { child });
    }

    pub(crate) fn restart_relay(&self) {
        *self.relay() = None;
        self.start_relay("");
    }

    pub(crate) fn client(&self, key: [u8; 32]) -> RelayClient {
        let url = format!("http://{}", self.relay_address);
        RelayClient::new(&url, Signer::from_seed(&key), Clock::system(), Entropy::system()).unwrap()
    }

    /// A program that reads one certificate and not all of the machine's: nobody here speaks TLS, and
    /// unoptimised it takes as long as all the rest of a run.
    pub(crate) fn program(&self, file: &str) -> Command {
        let none = self.dir.path().join("no-certificates");
        fs::create_dir_all(&none).unwrap();
        let mut command = Command::new(file);
        let authority = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/authority.pem");
        command.env("SSL_CERT_FILE", authority).env("SSL_CERT_DIR", none);
        command
    }

    /// A folder of its own for a seller or a buyer.
    pub(crate) fn home(&self) -> PathBuf {
        let home = self.dir.path().join(format!("home-{}", number()));
        fs::create_dir(&home).unwrap();
        home
    }
}

impl Lane {
    /// What the relay and the last home's processes said, for a run that failed.
    pub(crate) fn said(&self) -> String {
        let entries = fs::read_dir(self.dir.path()).unwrap().flatten();
        let homes = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("home-"));
        let last = homes.max_by_key(|entry| entry.metadata().and_then(|data| data.modified()).ok());
        said(self.dir.path()) + &last.map(|home| said(&home.path())).unwrap_or_default()
    }
}

/// A key that nobody else has.
pub(crate) fn key() -> [u8; 32] {
    let mut key = [5; 32];
    key[..8].copy_from_slice(&number().to_le_bytes());
    key
}

fn number() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn log(dir: &Path, name: &str) -> fs::File {
    fs::OpenOptions::new().create(true).append(true).open(dir.join(format!("{name}.log"))).unwrap()
}

fn said(dir: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let log = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(60);
            text.push_str(&format!("--- {}\n{}\n", path.display(), lines[from..].join("\n")));
        }
    }
    text
}
