//! Whole sales of the real binaries: whatever was said to others before the power went is still so.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nano_worker::edge::Entropy;
use nano_worker::protocol::{Job, JobId, OfferId, Status, Timestamp};
use nano_worker::relay::storage::Storage as _;
use nano_worker::relay::storage::embedded::Embedded;
use nano_worker::worker::memory;
use nano_worker::worker::report::{self, Question};
use serde_json::{Value, json};

use crate::disk::{Cut, Dice, Disk};
use crate::recorder::Recorder;
use crate::tape::{self, Entry};
use crate::world::{OfferText, PRICE, Process, World, invoice, text};

/// Power cuts of one recorded process.
const CUTS: usize = 150;

/// Sales that are recorded.
const SALES: usize = 6;

/// Plays a recording, and cuts the power at many of its moments. `look` is told what was said, and
/// now and then shown what a cut would leave.
fn cut_often(before: Disk, entries: &[Entry], mut look: impl FnMut(Look<'_>)) -> usize {
    let scratch = tempfile::tempdir().unwrap();
    let (mut disk, mut dice, mut images) = (before, Dice::new(7), 0);
    let share = entries.len().div_ceil(CUTS);
    for (at, entry) in entries.iter().enumerate() {
        let telling = match entry {
            Entry::Mark { text } => {
                look(Look::Said(&String::from_utf8_lossy(text)));
                true
            }
            _ => false,
        };
        // Just after something was said is the moment that tells most.
        if !disk.play(entry) || dice.below(if telling { share.div_ceil(4) } else { share }) != 0 {
            continue;
        }
        let image = scratch.path().join(format!("image-{at}"));
        let cut = Cut::any(&mut dice);
        disk.cut(cut, &mut dice, &image);
        look(Look::Image(&image, &format!("entry {at} of {}, {cut:?}", entries.len())));
        std::fs::remove_dir_all(&image).unwrap();
        images += 1;
    }
    images
}

enum Look<'a> {
    Said(&'a str),
    Image(&'a Path, &'a str),
}

/// What follows the head of a message, if it is JSON and came in one piece.
fn body(message: &str) -> Option<Value> {
    serde_json::from_str(message.split_once("\r\n\r\n")?.1).ok()
}

fn recorded_world(data: &str) -> (tempfile::TempDir, impl Fn(&World) -> Recorder) {
    let own = tempfile::tempdir().unwrap();
    let (dir, data) = (own.path().to_owned(), data.to_owned());
    (own, move |world: &World| {
        let root = world.path(&data);
        std::fs::create_dir_all(&root).unwrap();
        Recorder::new(&root, &dir)
    })
}

/// What a relay's answers have promised.
#[derive(Default)]
struct Answered {
    jobs: Vec<(JobId, Timestamp, Status)>,
    offers: BTreeSet<OfferId>,
    head: u64,
}

impl Answered {
    fn hear(&mut self, message: &str) {
        let Some(body) = body(message).filter(|_| message.starts_with("HTTP/1.1 2")) else { return };
        self.find(&body);
    }

    fn find(&mut self, value: &Value) {
        match value {
            Value::Array(list) => list.iter().for_each(|value| self.find(value)),
            Value::Object(fields) => {
                if let Ok(job) = serde_json::from_value::<Job>(value.clone()) {
                    self.jobs.push((job.job_id, job.updated_at, job.status));
                } else if fields.contains_key("seller_pubkey")
                    && let Some(id) = fields.get("offer_id").and_then(Value::as_str)
                {
                    self.offers.extend(id.parse::<OfferId>());
                }
                if let Some(id) = fields.get("event_id").and_then(Value::as_u64) {
                    self.head = self.head.max(id);
                }
                fields.values().for_each(|value| self.find(value));
            }
            _ => {}
        }
    }

    async fn check(&self, image: &Path, place: &str) {
        let storage = Embedded::open(image, 1 << 20, &Entropy::system())
            .unwrap_or_else(|error| panic!("{place}: {error:?}"));
        for (id, updated_at, status) in &self.jobs {
            let job = storage.job(*id).await.unwrap().unwrap_or_else(|| panic!("{place}: {id} is gone"));
            assert!(job.updated_at >= *updated_at, "{place}: {id} was {status}, and is {}", job.status);
        }
        for id in &self.offers {
            assert!(storage.offer(*id).await.unwrap().is_some(), "{place}: offer {id} is gone");
        }
        let head = storage.log().await.unwrap().head;
        assert!(head.0 >= self.head, "{place}: event {} was told, and {head} is the last", self.head);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_relay_has_answered_survives_a_power_cut() {
    let mut world = World::new().await;
    world.kill_relay();
    let (_own, recorder) = recorded_world("disk");
    let recorder = recorder(&world);
    let before = Disk::of(&recorder.root);
    let mut relay = start_relay(&world, &recorder);
    let _worker = world.start_worker("one", &OfferText::default());
    for number in 0..SALES {
        world.buy(&json!({ "number": number })).await;
    }
    let canceled = world.request(&text("canceled")).await;
    world.buyer.cancel(&canceled, Some("no")).await.unwrap();
    relay.kill().unwrap();
    relay.wait().unwrap();
    let entries = tape::read(&recorder.tape);
    let runtime = tokio::runtime::Handle::current();
    let mut answered = Answered::default();
    let images = tokio::task::block_in_place(|| {
        cut_often(before, &entries, |look| match look {
            Look::Said(text) => answered.hear(text),
            Look::Image(image, place) => runtime.block_on(answered.check(&image.join("relay"), place)),
        })
    });
    println!("relay: {images} power cuts, {} answers about jobs", answered.jobs.len());
    assert!(
        images > 50 && answered.jobs.len() > SALES * 5 && answered.head > 20 && !answered.offers.is_empty()
    );
}

fn start_relay(world: &World, recorder: &Recorder) -> Child {
    Command::new(env!("CARGO_BIN_EXE_relay"))
        .args(["serve", "--listen", &world.relay_address.to_string(), "--data"])
        .arg(recorder.root.join("relay"))
        .envs(recorder.env())
        .env("POWER_NET", "1")
        .env("RELAY_RATE_LIMIT_ENABLED", "false")
        .env("RELAY_SWEEP_INTERVAL_MS", "100")
        .env("RUST_LOG", "error")
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// What a worker's requests have given away.
#[derive(Default)]
struct Requested {
    quotes: Vec<(JobId, String)>,
    locks: Vec<JobId>,
    deliveries: Vec<JobId>,
    acknowledged: u64,
}

impl Requested {
    fn hear(&mut self, message: &str) {
        let mut words = message.split(' ');
        let (Some("POST"), Some(path)) = (words.next(), words.next()) else { return };
        let Some(body) = body(message) else { return };
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        if path == "/v1/poll/ack" {
            self.acknowledged = self.acknowledged.max(body["up_to_event_id"].as_u64().unwrap());
        }
        let mut parts = path.trim_start_matches("/v1/jobs/").split('/');
        let Some(job) = parts.next().and_then(|id| id.parse::<JobId>().ok()) else { return };
        match parts.next() {
            Some("quote") => self.quotes.push((job, text("quote_invoice_address").unwrap())),
            Some("lock") => self.locks.push(job),
            Some("deliver") => self.deliveries.push(job),
            _ => {}
        }
    }

    /// Whether a worker's state still says what the worker has said.
    fn check(&self, image: &Path, place: &str) {
        let store = memory::open(image).unwrap_or_else(|error| panic!("{place}: {error:?}"));
        let ask = |question: Question| report::answer(&store, &question).unwrap();
        let status = ask(Question::Status);
        let wallet = ask(Question::Wallet)["invoices"].clone();
        let stage = |job: &JobId| ask(Question::Job { id: *job });
        assert!(status["cursor"].as_u64().unwrap_or(0) >= self.acknowledged, "{place}: {status}");
        for (job, address) in &self.quotes {
            let issued = wallet.as_array().unwrap().iter().find(|invoice| invoice["account"] == **address);
            let issued = issued.unwrap_or_else(|| panic!("{place}: {address} was quoted, and is unknown"));
            assert_eq!(issued["job_id"], job.to_string(), "{place}");
            assert!(status["next_index"].as_u64() > issued["index"].as_u64(), "{place}: {status}");
        }
        for job in &self.locks {
            // Only a paid job is locked, and what has paid for it never pays for another.
            let blocks = stage(job)["claimed_blocks"].clone();
            assert_eq!(blocks.as_array().map(Vec::len), Some(1), "{place}: {job} {blocks}");
        }
        for job in &self.deliveries {
            let job = stage(job);
            assert!(["delivering", "ended"].contains(&job["stage"].as_str().unwrap()), "{place}: {job}");
            assert!(!job["outcome"].is_null(), "{place}: {job}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_worker_has_said_survives_a_power_cut() {
    let world = World::new().await;
    let (_own, recorder) = recorded_world("state-one");
    let recorder = recorder(&world);
    let before = Disk::of(&recorder.root);
    let mut worker = start_worker(&world, &recorder, true);
    for number in 0..SALES {
        world.buy(&json!({ "number": number })).await;
    }
    worker.kill();
    let entries = tape::read(&recorder.tape);
    let spawns = entries.iter().filter(|entry| matches!(entry, Entry::Spawn)).count();
    assert_eq!(spawns, SALES, "a handler was started otherwise than the recorder looks for");
    let mut requested = Requested::default();
    let images = cut_often(before, &entries, |look| match look {
        Look::Said(text) => requested.hear(text),
        Look::Image(image, place) => requested.check(image, place),
    });
    let Requested { quotes, locks, deliveries, acknowledged } = requested;
    println!("worker: {images} power cuts, {} quotes, {acknowledged} acknowledged", quotes.len());
    assert!(images > 50);
    assert!(quotes.len() >= SALES && locks.len() >= SALES && deliveries.len() >= SALES && acknowledged > 0);
}

fn start_worker(world: &World, recorder: &Recorder, listen: bool) -> Process {
    let config = world.configure("one", &OfferText::default());
    let mut env = recorder.env();
    if listen {
        env.push(("POWER_NET", "1".to_owned()));
    }
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    world.run_worker_with("one", &config, &env)
}

/// Buyers at the same time, and sales of each.
const BUYERS: usize = 4;
const SALES_OF_EACH: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_paid_job_ends_once_though_the_workers_power_goes_again_and_again() {
    let world = World::new().await;
    let own = tempfile::tempdir().unwrap();
    let state = world.path("state-one");
    std::fs::create_dir(&state).unwrap();
    let cutter = async {
        let mut dice = Dice::new(Entropy::system().number());
        let mut cuts = 0usize;
        loop {
            let place = own.path().join(cuts.to_string());
            std::fs::create_dir(&place).unwrap();
            let recorder = Recorder::new(&state, &place);
            let mut disk = Disk::of(&state);
            let mut worker = start_worker(&world, &recorder, false);
            let life = 300 + u64::try_from(dice.below(900)).unwrap();
            tokio::time::sleep(Duration::from_millis(life)).await;
            worker.kill();
            for entry in tape::read(&recorder.tape) {
                disk.play(&entry);
            }
            std::fs::remove_dir_all(&state).unwrap();
            let cut = if dice.below(3) == 0 { Cut::lost() } else { Cut::any(&mut dice) };
            disk.cut(cut, &mut dice, &state);
            cuts += 1;
            std::fs::write(own.path().join("cuts"), cuts.to_string()).unwrap();
        }
    };
    let buyers = futures_util::future::join_all((0..BUYERS).map(|lane| shop(&world, lane)));
    let jobs: Vec<Job> = tokio::select! {
        jobs = buyers => jobs.into_iter().flatten().collect(),
        () = cutter => unreachable!("it cuts for ever"),
    };
    let cuts = std::fs::read_to_string(own.path().join("cuts")).unwrap_or_default();
    println!("{} sales, {cuts} power cuts", jobs.len());
    assert_eq!(
        jobs.iter().map(invoice).collect::<BTreeSet<_>>().len(),
        jobs.len(),
        "an address was used twice"
    );
    for job in &jobs {
        match job.status {
            Status::Delivered => assert_eq!(world.runs_of(job), 1, "{job:?}\n{}", world.logs()),
            Status::Failed => {
                assert_eq!(job.error["code"], "worker_interrupted", "{job:?}\n{}", world.logs());
                assert!(world.runs_of(job) <= 1, "{job:?}");
            }
            other => panic!("{other}: {job:?}\n{}", world.logs()),
        }
    }
}

async fn shop(world: &World, lane: usize) -> Vec<Job> {
    let mut jobs = Vec::new();
    for number in 0..SALES_OF_EACH {
        let job = world.accepted(&json!({ "lane": lane, "number": number })).await;
        let hash = world.pay(&job, PRICE);
        world.submit(&job, &hash).await;
        let ended = world
            .eventually("end of a paid job", async || {
                let job = world.buyer.job(&job.job_id).await.ok()?;
                job.status.is_final().then_some(job)
            })
            .await;
        jobs.push(ended);
    }
    jobs
}
