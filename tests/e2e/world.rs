//! A seller, a relay, a node and a buyer, each as real as a test can have it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mock_nano_rpc::{Config, MockNode};
use nano_worker::client::{CallError, RelayClient};
use nano_worker::edge::{Clock, Entropy};
use nano_worker::nano::{Account, Amount, BlockHash};
use nano_worker::protocol::signing::Signer;
use nano_worker::protocol::{Job, JobId, Offer, Status};
use serde_json::{Value, json};

pub(crate) use crate::process::{PATIENCE, Process};
use crate::process::{free_address, secret};

pub(crate) const PRICE: Amount = Amount::from_raw(1_000_000_000_000_000_000_000_000_000);

impl Process {
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the process does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) node: MockNode,
    pub(crate) relay: Option<Process>,
    pub(crate) relay_address: SocketAddr,
    pub(crate) buyer: RelayClient,
    pub(crate) seller: RelayClient,
}

/// What a test says about its offer beyond the usual.
#[derive(Clone)]
pub(crate) struct OfferText {
    pub(crate) offer: String,
    pub(crate) handler: String,
    pub(crate) rest: String,
}

impl Default for OfferText {
    fn default() -> Self {
        Self {
            offer: format!("price_raw = \"{PRICE}\""),
            handler: "command = [\"/bin/sh\", \"handler.sh\"]".to_owned(),
            rest: String::new(),
        }
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = MockNode::start(twin()).await.unwrap();
        let relay_address = free_address();
        let url = format!("http://{relay_address}");
        let client = |seed: [u8; 32]| {
            RelayClient::new(&url, Signer::from_seed(&seed), Clock::system(), Entropy::system()).unwrap()
        };
        let (buyer, seller) = (client([2; 32]), client([1; 32]));
        let mut world = Self { dir, node, relay: None, relay_address, buyer, seller };
        world.start_relay();
        // What the handler did is what the handler wrote.
        world.handler("echo \"$JOB_ID $ATTEMPT\" >> ran; cat");
        world
    }

    pub(crate) fn start_relay(&mut self) {
        self.start_relay_with(&[("RELAY_RATE_LIMIT_ENABLED", "false")]);
    }

    pub(crate) fn start_relay_with(&mut self, env: &[(&str, &str)]) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_relay"))
            .args(["serve", "--listen", &self.relay_address.to_string(), "--data"])
            .arg(self.dir.path().join("relay"))
            .env("RELAY_SWEEP_INTERVAL_MS", "100")
            .env("RUST_LOG", "warn")
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .stderr(self.log("relay"))
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), format!("relay listening on http://{}", self.relay_address));
        self.relay = Some(Process { child });
    }

    pub(crate) fn kill_relay(&mut self) {
        self.relay.take().unwrap().kill();
    }

    /// Writes the handler's script; it runs in the worker's own directory.
    pub(crate) fn handler(&self, script: &str) {
        fs::write(self.path("handler.sh"), script).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn log(&self, name: &str) -> fs::File {
        fs::OpenOptions::new().create(true).append(true).open(self.path(&format!("{name}.log"))).unwrap()
    }

    /// Writes a worker's configuration with its own state directory; all have the same key and seed.
    pub(crate) fn configure(&self, name: &str, text: &OfferText) -> PathBuf {
        secret(&self.path("seller.key"), &hex::encode([1; 32]));
        secret(&self.path("seed"), &hex::encode([3; 32]));
        let config = self.path(&format!("{name}.toml"));
        let OfferText { offer, handler, rest } = text;
        let (relay, node) = (self.relay_address, self.node.rpc_url());
        fs::write(
            &config,
            format!(
                "[relay]\nurl = \"http://{relay}\"\nkey = \"file:seller.key\"\n\
                 [nano]\nnetwork = \"dev\"\nseed = \"file:seed\"\nrpc = [\"{node}\"]\n\
                 [state]\ndir = \"state-{name}\"\n\
                 [polling]\nmin_ms = 50\nmax_ms = 2000\n\
                 {rest}\n\
                 [[offers]]\ntitle = \"Echo\"\ndescription = \"Says it again.\"\n{offer}\n\
                 [offers.handler]\n{handler}\n"
            ),
        )
        .unwrap();
        config
    }

    pub(crate) fn start_worker(&self, name: &str, text: &OfferText) -> Process {
        let config = self.configure(name, text);
        self.run_worker(name, &config)
    }

    pub(crate) fn run_worker(&self, name: &str, config: &Path) -> Process {
        self.run_worker_with(name, config, &[])
    }

    pub(crate) fn run_worker_with(&self, name: &str, config: &Path, env: &[(&str, &str)]) -> Process {
        let child = Command::new(env!("CARGO_BIN_EXE_worker"))
            .args(["run", "--config"])
            .arg(config)
            .env("RUST_LOG", "info")
            // Its descriptors are counted from outside.
            .env("UNSHIELDED", "1")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(self.log(name))
            .stderr(self.log(name))
            .spawn()
            .unwrap();
        Process { child }
    }

    /// Asks a worker, running or not, as a person would.
    pub(crate) fn ask_worker(&self, name: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_worker"))
            .args(arguments)
            .arg("--config")
            .arg(self.path(&format!("{name}.toml")))
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    pub(crate) async fn offer(&self) -> Offer {
        self.eventually("an offer", async || {
            self.buyer.offers(&Default::default()).await.ok()?.offers.into_iter().next()
        })
        .await
    }

    pub(crate) async fn request(&self, payload: &Value) -> JobId {
        let offer = self.offer().await;
        self.buyer.create_job(&offer.offer_id, payload).await.unwrap().job_id
    }

    /// Until a job has the status, or any later one would be seen for ever.
    pub(crate) async fn wait(&self, job: JobId, status: Status) -> Job {
        let mut last = None;
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Ok(found) = self.buyer.job(&job).await {
                if found.status == status {
                    return found;
                }
                assert!(
                    !found.status.is_final(),
                    "{job} is {}, not {status}: {found:?}\n{}",
                    found.status,
                    self.logs()
                );
                last = Some(found);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{job} does not get {status}: {last:?}\n{}", self.logs());
    }

    /// A request that is quoted and accepted.
    pub(crate) async fn accepted(&self, payload: &Value) -> Job {
        let job = self.request(payload).await;
        self.wait(job, Status::Quoted).await;
        self.again(async || self.buyer.accept(&job).await).await
    }

    pub(crate) fn pay(&self, job: &Job, amount: Amount) -> BlockHash {
        self.node.fund(&invoice(job), amount).unwrap()
    }

    pub(crate) async fn submit(&self, job: &Job, hash: &BlockHash) -> Job {
        self.again(async || self.buyer.payment(&job.job_id, &hash.to_string()).await).await
    }

    /// A whole sale; the delivered job.
    pub(crate) async fn buy(&self, payload: &Value) -> Job {
        let job = self.accepted(payload).await;
        let hash = self.pay(&job, PRICE);
        self.submit(&job, &hash).await;
        self.wait(job.job_id, Status::Delivered).await
    }

    /// Repeats a call while the relay is away.
    pub(crate) async fn again<T>(&self, call: impl AsyncFn() -> Result<T, CallError>) -> T {
        let started = Instant::now();
        loop {
            match call().await {
                Ok(answer) => return answer,
                Err(error) => {
                    assert!(error.is_retryable() && started.elapsed() < PATIENCE, "{error}\n{}", self.logs())
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn eventually<T>(&self, what: &str, find: impl AsyncFn() -> Option<T>) -> T {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some(found) = find().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no {what}\n{}", self.logs());
    }

    /// How often the handler started for each job.
    pub(crate) fn runs(&self) -> BTreeMap<String, usize> {
        let mut runs = BTreeMap::new();
        for line in fs::read_to_string(self.path("ran")).unwrap_or_default().lines() {
            let job = line.split(' ').next().unwrap().to_owned();
            *runs.entry(job).or_insert(0) += 1;
        }
        runs
    }

    pub(crate) fn runs_of(&self, job: &Job) -> usize {
        self.runs().get(&job.job_id.to_string()).copied().unwrap_or(0)
    }

    /// What the processes said, for a test that failed.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let log = fs::read_to_string(&path).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(60).collect();
                text.push_str(&format!("--- {}\n", path.display()));
                for line in tail.iter().rev() {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
        text
    }
}

/// Nodes of one network have the same history, so all begin at the same moment.
pub(crate) fn twin() -> Config {
    Config { began_ms: Some(1_700_000_000_000), ..Config::default() }
}

pub(crate) fn invoice(job: &Job) -> Account {
    job.quote_invoice_address.as_deref().unwrap().parse().unwrap()
}

pub(crate) fn raw(amount: u128) -> Amount {
    Amount::from_raw(amount)
}

pub(crate) fn text(payload: &str) -> Value {
    json!({ "text": payload })
}
