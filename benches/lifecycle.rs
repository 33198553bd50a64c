//! Whole jobs per second, and from payment to delivery, with everything on this machine: relay,
//! worker, node and buyers in one process, handlers as real programs.
//!
//! Beside the figures stand two ceilings measured in the same run: durable commits of the disk, and
//! signed requests of the HTTP stack with nothing behind them. `JOBS` and `LANES` in the
//! environment change the size.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench measures, prints, and stops where it fails"
)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use mock_nano_rpc::MockNode;
use nano_worker::client::{EventsQuery, RelayClient};
use nano_worker::config::Env;
use nano_worker::edge::{Clock, Entropy};
use nano_worker::nano::{Account, Amount};
use nano_worker::protocol::signing::{
    NONCE_HEADER, PUBKEY_HEADER, SIGNATURE_HEADER, Signer, TIMESTAMP_HEADER, canonical, verifies,
};
use nano_worker::protocol::{EventId, Job, JobId, OfferId, Status};
use nano_worker::relay;
use nano_worker::store::{Batch, Keyspace, Options, Store};
use nano_worker::worker::{self, Parts, settings};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const PRICE: Amount = Amount::from_raw(1_000_000_000_000_000_000_000_000_000);

/// How long each ceiling is measured.
const CEILING_TIME: Duration = Duration::from_secs(2);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let dir = tempfile::tempdir().unwrap();
    let jobs = number("JOBS", 3_000);
    let lanes = number("LANES", 64);
    let commits = commits_ceiling(dir.path()).await;
    let requests = requests_ceiling().await;
    println!("ceiling: durable commits, one after the other  {:>9.0} /s", commits.serial);
    println!("ceiling: durable commits, 64 at a time         {:>9.0} /s", commits.grouped);
    println!("ceiling: signed requests, empty handler        {requests:>9.0} /s");

    let market = Market::open(dir.path()).await;
    market.sell(4, 50).await;
    let quiet = market.sell(1, 200).await;
    println!("one buyer:  {quiet}");
    let busy = market.sell(lanes, jobs).await;
    println!("{lanes} buyers: {busy}");
    // Sixteen signed requests are a job's share of the HTTP stack: seven moves, polls and looks.
    println!(
        "jobs per second / grouped commits: {:.4};  / signed requests: {:.4}",
        busy.per_second / commits.grouped,
        busy.per_second / requests
    );
    market.close().await;
}

fn number(name: &str, default: usize) -> usize {
    Env::system().get(name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

struct Commits {
    serial: f64,
    grouped: f64,
}

async fn commits_ceiling(dir: &std::path::Path) -> Commits {
    const NUMBERS: Keyspace<u64, String> = Keyspace::new(1, "numbers", 1);
    let options = Options { kind: "bench", schema: 1, cache_bytes: 8 << 20 };
    let store = Arc::new(Store::open(&dir.join("ceiling"), options).unwrap());
    let measure = async |lanes: u64| {
        let started = Instant::now();
        let tasks = (0..lanes).map(|lane| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut done = 0u64;
                while started.elapsed() < CEILING_TIME {
                    let mut batch = Batch::default();
                    NUMBERS.put(&mut batch, &(lane << 32 | done), &"x".repeat(500)).unwrap();
                    store.commit_durable(batch).await.unwrap();
                    done += 1;
                }
                done
            })
        });
        let mut total = 0;
        for task in tasks.collect::<Vec<_>>() {
            total += task.await.unwrap();
        }
        per_second(total as usize, started)
    };
    Commits { serial: measure(1).await, grouped: measure(64).await }
}

async fn requests_ceiling() -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route(
        "/v1/jobs/{id}",
        get(async |request: Request| {
            let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
            let path = request.uri().path_and_query().unwrap().to_string();
            let text = canonical("GET", &path, &header(TIMESTAMP_HEADER), &header(NONCE_HEADER), b"");
            let key = header(PUBKEY_HEADER).parse().unwrap();
            assert!(verifies(&key, text.as_bytes(), &header(SIGNATURE_HEADER)));
            "{}"
        }),
    );
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let client = client(address, 9);
    let started = Instant::now();
    let id = JobId::from_random([1; 16]);
    let lanes: Vec<_> = (0..32)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut done = 0;
                while started.elapsed() < CEILING_TIME {
                    // The answer is no job; what counts is the way there and back.
                    let _ = client.job(&id).await;
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut total = 0;
    for lane in lanes {
        total += lane.await.unwrap();
    }
    server.abort();
    per_second(total, started)
}

fn per_second(count: usize, started: Instant) -> f64 {
    count as f64 / started.elapsed().as_secs_f64()
}

fn client(address: SocketAddr, seed: u8) -> RelayClient {
    let signer = Signer::from_seed(&[seed; 32]);
    RelayClient::new(&format!("http://{address}"), signer, Clock::system(), Entropy::system()).unwrap()
}

/// Everything that a sale needs, running.
struct Market {
    node: MockNode,
    buyer: RelayClient,
    offer: OfferId,
    news: News,
    stop: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

struct Figures {
    per_second: f64,
    /// Processor time for one job: ours, and that of its handler.
    cpu_ms: (f64, f64),
    latencies: Vec<Duration>,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |part: f64| {
            let place = (self.latencies.len() as f64 * part) as usize;
            self.latencies[place.min(self.latencies.len() - 1)].as_secs_f64() * 1_000.0
        };
        write!(
            f,
            "{:>6.0} jobs/s, paid to delivered p50 {:.1} ms, p99 {:.1} ms, {} jobs; processor time for one \
             job {:.1} ms, for its handler {:.1} ms",
            self.per_second,
            at(0.5),
            at(0.99),
            self.latencies.len(),
            self.cpu_ms.0,
            self.cpu_ms.1
        )
    }
}

impl Market {
    async fn open(dir: &std::path::Path) -> Self {
        let node = MockNode::start(Default::default()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let mut config = relay::Config::new(dir.join("relay"));
        config.rates = None;
        let relay_stop = stop.clone();
        let relay = tokio::spawn(async move { relay::run(listener, config, relay_stop).await.unwrap() });
        let text = format!(
            "[relay]\nurl = \"http://{address}\"\nkey = \"env:KEY\"\n\
             [nano]\nnetwork = \"dev\"\nseed = \"env:SEED\"\nrpc = [\"{}\"]\n\
             [[offers]]\ntitle = \"Echo\"\nprice_raw = \"{PRICE}\"\n\
             [offers.handler]\ncommand = [\"cat\"]\nmax_parallel = 8\n",
            node.rpc_url()
        );
        let env = Env::from_fn(|name| match name {
            "KEY" => Some(hex::encode([1; 32])),
            "SEED" => Some(hex::encode([3; 32])),
            _ => None,
        });
        let settings = settings::parse(&text, dir, &env).unwrap();
        let parts = Parts::system();
        let worker_stop = stop.clone();
        let worker = tokio::spawn(async move { worker::run(settings, parts, worker_stop).await.unwrap() });
        let buyer = client(address, 2);
        let offer = loop {
            let page = buyer.offers(&Default::default()).await;
            if let Some(offer) = page.ok().and_then(|page| page.offers.into_iter().next()) {
                break offer.offer_id;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let news = News::default();
        let follower = tokio::spawn(news.clone().follow(buyer.clone(), stop.clone()));
        Self { node, buyer, offer, news, stop, tasks: vec![relay, worker, follower] }
    }

    /// Sells `jobs` jobs to `lanes` buyers at a time.
    async fn sell(&self, lanes: usize, jobs: usize) -> Figures {
        let (started, before) = (Instant::now(), processor_ms());
        let left = Mutex::new(jobs);
        let lane = async || {
            let mut latencies = Vec::new();
            while take_one(&left) {
                latencies.push(self.sell_one().await);
            }
            latencies
        };
        let all = futures_util::future::join_all((0..lanes).map(|_| lane())).await;
        let mut latencies: Vec<Duration> = all.into_iter().flatten().collect();
        latencies.sort_unstable();
        let after = processor_ms();
        let cpu_ms = ((after.0 - before.0) / jobs as f64, (after.1 - before.1) / jobs as f64);
        Figures { per_second: per_second(jobs, started), cpu_ms, latencies }
    }

    /// From the payment's submission until the buyer has heard of the delivery.
    async fn sell_one(&self) -> Duration {
        let job = self.buyer.create_job(&self.offer, &json!({ "text": "hello" })).await.unwrap().job_id;
        let quoted = self.news.wait(job, Status::Quoted).await;
        self.buyer.accept(&job).await.unwrap();
        let invoice: Account = quoted.quote_invoice_address.unwrap().parse().unwrap();
        let hash = self.node.fund(&invoice, PRICE).unwrap();
        let paid = Instant::now();
        self.buyer.payment(&job, &hash.to_string()).await.unwrap();
        self.news.wait(job, Status::Delivered).await;
        paid.elapsed()
    }

    async fn close(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
        self.node.stop().await;
    }
}

/// Processor time so far, of this process and of the children it has waited for.
fn processor_ms() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // proc(5): fields 14 to 17, in ticks of 10 ms, counted from behind the name.
    let fields: Vec<f64> =
        stat.rsplit(") ").next().unwrap().split(' ').filter_map(|field| field.parse().ok()).collect();
    // The state, field 3, is a letter and drops out.
    let ticks = |field: usize| fields[field - 4] * 10.0;
    (ticks(14) + ticks(15), ticks(16) + ticks(17))
}

fn take_one(left: &Mutex<usize>) -> bool {
    let mut left = left.lock().unwrap();
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}

type Seen = watch::Sender<Option<Job>>;

/// What the buyers hear: one of them polls for all.
#[derive(Clone, Default)]
struct News(Arc<Mutex<HashMap<JobId, Seen>>>);

impl News {
    fn of(&self, job: JobId) -> Seen {
        self.0.lock().unwrap().entry(job).or_default().clone()
    }

    async fn wait(&self, job: JobId, status: Status) -> Job {
        let mut seen = self.of(job).subscribe();
        let found =
            seen.wait_for(|job| job.as_ref().is_some_and(|job| job.status == status)).await.unwrap().clone();
        if status.is_final() {
            self.0.lock().unwrap().remove(&job);
        }
        found.unwrap()
    }

    async fn follow(self, buyer: RelayClient, stop: CancellationToken) {
        let mut since = EventId(0);
        while !stop.is_cancelled() {
            let query = EventsQuery { since: Some(since), limit: Some(200), ..EventsQuery::default() };
            let page = match buyer.poll(&query).await {
                Ok(page) => page,
                Err(error) => {
                    println!("poll: {error}");
                    break;
                }
            };
            if page.events.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            for mut event in page.events {
                since = since.max(event.event_id);
                if let Ok(job) = serde_json::from_value::<Job>(event.data["job"].take()) {
                    self.of(event.job_id).send_replace(Some(job));
                }
            }
        }
    }
}
