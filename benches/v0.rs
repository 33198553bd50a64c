//! The /v0 relay: polls with nothing new, with a hundred events, with ten thousand recipients, each
//! with a search of as many offers; and sealed boxes beside what they cannot be cheaper than.
//!
//! Requests are signed and checked and answered over one loopback connection, one after the other. The
//! ceiling beside them is the same relay's `GET /health`, which touches no storage, signs nothing and
//! spends no nonce. `ROUNDS` and `BOTS` in the environment change the size.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench measures, prints, and stops where it fails"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use crypto_box::aead::Aead as _;
use crypto_box::{PublicKey, SalsaBox, SecretKey};
use nano_worker::client::v0::{BotClient, OffersQuery, PollQuery, Rates};
use nano_worker::config::Env;
use nano_worker::edge::{Clock, Entropy};
use nano_worker::protocol::v0::payload::{Address, Kind, write};
use nano_worker::protocol::v0::{
    Bot, BotKeys, JobDraft, JobId, OfferDraft, OfferId, PayloadId, Registration, sealing,
};
use nano_worker::relay::storage::Storage;
use nano_worker::relay::storage::embedded::Embedded;
use nano_worker::relay::v0::model::Settlement;
use nano_worker::relay::{Config, Relay};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Events of the bot that has many: a page of them.
const EVENTS: usize = 100;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(polls());
    boxes();
}

fn number(name: &str, default: usize) -> usize {
    Env::system().get(name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn polls() {
    let rounds = number("ROUNDS", 1_000);
    let bots = number("BOTS", 10_000);
    let market = Market::open().await;
    let ceiling = median(rounds, async || assert!(market.idle.health().await.unwrap().ok)).await;
    println!("ceiling: GET /health                       {}", shown(ceiling, ceiling));
    market.measure("few recipients", rounds, ceiling).await;
    market.fill(bots).await;
    market.measure(&format!("{bots} recipients"), rounds, ceiling).await;
    market.shutdown.cancel();
    market.task.await.unwrap();
}

struct Market {
    _dir: tempfile::TempDir,
    storage: std::sync::Arc<dyn Storage>,
    idle: BotClient,
    busy: BotClient,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn keys(number: u32) -> BotKeys {
    let mut seed = [9; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    BotKeys::from_seeds(&seed, &seed)
}

fn registered(keys: &BotKeys) -> Bot {
    let now = Clock::system().now();
    Registration::of(keys).bot(&keys.bot_id().to_string(), now.into()).unwrap()
}

impl Market {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path().join("relay"));
        config.rates = None;
        let storage: std::sync::Arc<dyn Storage> =
            std::sync::Arc::new(Embedded::open(&config.data_dir, 64 << 20, &Entropy::system()).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let relay =
            Relay::with_parts(std::sync::Arc::clone(&storage), config, Clock::system(), Entropy::system());
        let ending = shutdown.clone();
        let task = tokio::spawn(async move { relay.serve(listener, ending).await.unwrap() });
        let client = |number: u32| {
            BotClient::new(&url, keys(number), Rates::UNLIMITED, Clock::system(), Entropy::system()).unwrap()
        };
        let (idle, busy, asker) = (client(0), client(1), client(2));
        for bot in [&idle, &busy, &asker] {
            bot.register().await.unwrap();
        }
        let market = Self { _dir: dir, storage, idle, busy, shutdown, task };
        market.ask(&asker, EVENTS).await;
        market
    }

    /// Asks the busy bot for so many jobs: each is an event of its stream.
    async fn ask(&self, asker: &BotClient, jobs: usize) {
        let offer = OfferDraft {
            title: "Echo".to_owned(),
            description: "Says it again".to_owned(),
            tags: vec!["echo".to_owned()],
            price_raw: "1000".to_owned(),
            turnaround_seconds: 60,
            ..OfferDraft::default()
        };
        let key = nano_worker::client::v0::Key::new("offer");
        let offer = self.busy.create_offer(&offer, &key).await.unwrap();
        for number in 0..jobs {
            let (job_id, payload_id) =
                (JobId::new(format!("job_{number}")), PayloadId::new(format!("p_{number}")));
            let address = Address {
                payload_id: &payload_id,
                job_id: &job_id,
                kind: Kind::Request,
                recipient: self.busy.bot_id(),
                recipient_key: &self.busy.keys().sealing_key(),
            };
            let sealed = write(asker.keys(), address, "go", asker.now(), &Entropy::system().bytes()).unwrap();
            let draft = JobDraft {
                job_id,
                offer_id: offer.offer_id.clone(),
                request_payload: sealed,
                job_expires_at: None,
            };
            asker.create_job(&draft).await.unwrap();
        }
    }

    /// Adds bots, each with an offer and an event of its own.
    async fn fill(&self, bots: usize) {
        for number in 0..u32::try_from(bots).unwrap() {
            let (keys, now) = (keys(number + 10), Clock::system().now());
            let draft = OfferDraft {
                title: format!("Offer {number}"),
                description: "One of many".to_owned(),
                tags: vec!["many".to_owned()],
                price_raw: number.to_string(),
                turnaround_seconds: 60,
                ..OfferDraft::default()
            };
            let listing =
                draft.offer(OfferId::made(now.into(), Entropy::system().bytes()), keys.bot_id(), now.into());
            let news = nano_worker::protocol::v0::News::OfferCancelled {
                offer_id: OfferId::new("none"),
                cancelled_at: now.into(),
            };
            let notice = nano_worker::protocol::v0::Notice { to: keys.bot_id(), news };
            let settlement = Settlement {
                bot: Some((None, registered(&keys))),
                offers: vec![(None, listing.unwrap())],
                notices: vec![notice],
                ..Settlement::at(now)
            };
            self.storage.settle(settlement).await.unwrap();
        }
        self.storage.durable().await.unwrap();
    }

    async fn measure(&self, size: &str, rounds: usize, ceiling: Duration) {
        let all = PollQuery { since: Some(0), limit: Some(EVENTS), ..PollQuery::default() };
        let nothing = median(rounds, async || {
            assert!(self.idle.poll(&PollQuery::default()).await.unwrap().events.is_empty());
        });
        let nothing = nothing.await;
        let many = median(rounds, async || {
            assert_eq!(self.busy.poll(&all).await.unwrap().events.len(), EVENTS);
        });
        let many = many.await;
        let newest = OffersQuery { limit: Some(50), ..OffersQuery::default() };
        let words = OffersQuery { text: Some("offer 77".to_owned()), ..newest.clone() };
        let listed = median(rounds / 10, async || drop(self.idle.offers(&newest).await.unwrap())).await;
        let searched = median(rounds / 50, async || drop(self.idle.offers(&words).await.unwrap())).await;
        println!("poll, nothing new, {size:<17}       {}", shown(nothing, ceiling));
        println!("poll, {EVENTS} events, {size:<17}        {}", shown(many, ceiling));
        println!("newest offers, {size:<17}           {}", shown(listed, ceiling));
        println!("search by two words, {size:<17}     {}", shown(searched, ceiling));
    }
}

async fn median(rounds: usize, mut work: impl AsyncFnMut()) -> Duration {
    let mut took = Vec::with_capacity(rounds);
    for _ in 0..rounds.max(5) {
        let started = Instant::now();
        work().await;
        took.push(started.elapsed());
    }
    took.sort_unstable();
    took[took.len() / 2]
}

fn shown(took: Duration, ceiling: Duration) -> String {
    format!("{:>9.1} µs  ({:>6.2} of the ceiling)", micros(took), micros(took) / micros(ceiling))
}

fn micros(took: Duration) -> f64 {
    took.as_secs_f64() * 1e6
}

/// Sealing makes a key pair and a shared secret, opening only the latter: two X25519 and one. Beside it
/// stands what two of those and one XSalsa20-Poly1305 of that size cost.
fn boxes() {
    let keys = keys(1);
    for bytes in [256usize, 4_096, 65_000] {
        let text = vec![7u8; bytes];
        let sealed = sealing::seal(&keys.sealing_key(), &text, &[5; 32]).unwrap();
        let seal = median_of(|| sealing::seal(&keys.sealing_key(), &text, &[5; 32]).unwrap());
        let open = median_of(|| sealing::open(&keys, &sealed).unwrap());
        let exchange = median_of(|| SecretKey::from([5; 32]).public_key());
        let shared =
            SalsaBox::new(&PublicKey::from(*keys.sealing_key().as_bytes()), &SecretKey::from([5; 32]));
        let cipher = median_of(|| shared.encrypt(&[1; 24].into(), text.as_slice()).unwrap());
        let ceiling = 2 * exchange + cipher;
        println!("two X25519 and one XSalsa20-Poly1305, {bytes:>6} bytes  {:>8.1} µs", micros(ceiling));
        println!("seal, {bytes:>6} bytes                         {}", shown(seal, ceiling));
        println!("open, {bytes:>6} bytes                         {}", shown(open, ceiling));
    }
}

fn median_of<T>(work: impl Fn() -> T) -> Duration {
    const ROUNDS: usize = 1_001;
    let mut took: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            black_box(work());
            started.elapsed()
        })
        .collect();
    took.sort_unstable();
    took[ROUNDS / 2]
}
