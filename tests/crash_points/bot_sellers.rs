//! The worker dies at each of its points while it sells over /v0: one charge that counts, one
//! delivery, one word to the relay that it was paid.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nano_worker::client::CallError;
use nano_worker::client::v0::{BotClient, OffersQuery, PayloadsQuery, PollQuery, Rates};
use nano_worker::edge::{Clock, Entropy};
use nano_worker::nano::{Account, Amount};
use nano_worker::points::POINTS;
use nano_worker::protocol::v0::lists::Fetched;
use nano_worker::protocol::v0::payload::{Kind, read};
use nano_worker::protocol::v0::{BotKeys, Job, JobDraft, JobId, Offer, OfferStatus, Sealed, Status, charge};
use nano_worker::worker::v0::job_id;

use crate::bazaar::{again, bot, sealed};
use crate::lane::{Lane, key};
use crate::oracle::{Remembered, sends_to, starts};
use crate::process::{PATIENCE, secret};
use crate::seller::{PRICE, Path, Seller, offer};
use crate::stories::ECHO;
use crate::workers::INTERRUPT;
use crate::{all, report, wanted};

/// What happens while the worker is to die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// All goes well.
    Sale,
    /// The result is longer than one payload.
    Parts,
    /// So it is, and is served as a file.
    Link,
    /// The offer takes no jobs yet.
    Paused,
    /// The offers in the configuration have changed since the earlier life.
    Reoffered,
    /// The request is sealed for another job.
    Unreadable,
    /// The payment comes after the charge has expired.
    Late,
    /// It is `worker recover` that dies.
    Recovering,
}

/// Points that sales over /v1 do not reach.
const OWN: &[(&str, &[u32], Shape)] = &[
    ("worker/bazaar/registering", &[0], Shape::Sale),
    ("worker/bazaar/registered", &[0], Shape::Sale),
    ("worker/bazaar/offer", &[0], Shape::Sale),
    ("worker/bazaar/offered", &[0], Shape::Sale),
    ("worker/bazaar/written", &[0, 1], Shape::Sale),
    ("worker/bazaar/written", &[0, 1], Shape::Reoffered),
    ("worker/bazaar/named", &[0], Shape::Sale),
    ("worker/bazaar/named", &[0], Shape::Reoffered),
    ("worker/bazaar/unheard", &[0], Shape::Sale),
    ("worker/bazaar/unheard", &[0], Shape::Reoffered),
    ("worker/bazaar/change", &[0], Shape::Paused),
    ("worker/bazaar/changed", &[0], Shape::Paused),
    ("worker/bazaar/withdraw", &[0, 1], Shape::Reoffered),
    ("worker/bazaar/withdrawn", &[0, 1], Shape::Reoffered),
    ("worker/bazaar/poll", &[0, 2], Shape::Sale),
    ("worker/bazaar/polled", &[0, 2], Shape::Sale),
    ("worker/bazaar/opened", &[0], Shape::Sale),
    ("worker/bazaar/pinned", &[0], Shape::Sale),
    ("worker/bazaar/pinned", &[0], Shape::Unreadable),
    ("worker/bazaar/ack", &[0], Shape::Sale),
    ("worker/bazaar/acked", &[0], Shape::Sale),
    ("worker/bazaar/charge", &[0], Shape::Sale),
    ("worker/bazaar/charged", &[0], Shape::Sale),
    ("worker/bazaar/revive", &[0], Shape::Late),
    ("worker/bazaar/revived", &[0], Shape::Late),
    ("worker/committed/revive", &[0], Shape::Late),
    ("worker/durable/revive", &[0], Shape::Late),
    ("worker/bazaar/refuse", &[0], Shape::Unreadable),
    ("worker/bazaar/refused", &[0], Shape::Unreadable),
    ("worker/bazaar/mark", &[0], Shape::Sale),
    ("worker/bazaar/marked", &[0], Shape::Sale),
    ("worker/bazaar/part", &[0, 2], Shape::Parts),
    ("worker/bazaar/parted", &[0, 2], Shape::Parts),
    ("worker/bazaar/linked", &[0], Shape::Link),
    ("worker/bazaar/deliver", &[0], Shape::Sale),
    ("worker/bazaar/deliver", &[0], Shape::Parts),
    ("worker/bazaar/delivered", &[0], Shape::Sale),
    ("worker/bazaar/look", &[0], Shape::Recovering),
    ("worker/bazaar/looked", &[0], Shape::Recovering),
];

/// Points that both dialects pass, where /v0 has something of its own to lose.
const SHARED: &[(&str, &[u32], Shape)] = &[
    ("worker/turn/decided", &[0, 2, 4], Shape::Sale),
    ("worker/turn/committed", &[0, 2, 4], Shape::Sale),
    ("worker/turn/durable", &[0, 2, 4], Shape::Sale),
    ("worker/page/durable", &[0, 1], Shape::Sale),
    ("worker/index/taken", &[0], Shape::Sale),
    ("worker/claim/made", &[0], Shape::Late),
    ("worker/committed/take-lock", &[0], Shape::Sale),
    ("worker/durable/take-lock", &[0], Shape::Sale),
    ("worker/durable/execute", &[0], Shape::Sale),
    ("worker/handler/finished", &[0], Shape::Sale),
    ("worker/outcome/kept", &[0], Shape::Parts),
    ("worker/durable/deliver", &[0], Shape::Parts),
];

/// Whether a point is passed only over /v0.
pub(crate) fn is_bots(point: &str) -> bool {
    point.starts_with("worker/bazaar/") || point.ends_with("/revive")
}

/// There is no lock to outlive.
const PATHS: [Path; 4] = [Path::Run, Path::Recover, Path::RelayToo, Path::Twice];

struct Run {
    point: &'static str,
    passes: u32,
    shape: Shape,
    path: Path,
}

impl Run {
    fn name(&self) -> String {
        format!("{} over /v0 after {} {:?} {:?}", self.point, self.passes, self.shape, self.path)
    }

    fn points(&self) -> String {
        match self.passes {
            0 => format!("{}=return", self.point),
            passes => format!("{}={passes}*off->return", self.point),
        }
    }
}

/// The longest first. A point of /v0 that is in no row fails.
fn runs() -> Vec<Run> {
    for point in POINTS.iter().filter(|point| is_bots(point.name)) {
        assert!(OWN.iter().any(|(name, ..)| *name == point.name), "no run gets to {}", point.name);
    }
    let mut runs: Vec<Run> = OWN
        .iter()
        .chain(SHARED)
        .flat_map(|(point, passes, shape)| passes.iter().map(move |&passes| (*point, passes, *shape)))
        .flat_map(|(point, passes, shape)| PATHS.map(|path| Run { point, passes, shape, path }))
        .filter(|run| wanted(&run.name()))
        .collect();
    runs.sort_by_key(|run| run.shape != Shape::Late);
    runs
}

/// The offer, as it is told to a relay of /v0.
fn stall(title: &str, rest: &str) -> String {
    offer(title, false).replace("[offers.handler]", &format!("tags = [\"text\"]\n{rest}\n[offers.handler]"))
}

const LONG: &str = "head -c 150000 /dev/zero | tr '\\0' x";

struct Story<'a> {
    seller: &'a Seller,
    lane: &'a Lane,
    buyer: BotClient,
    bot: BotClient,
    shape: Shape,
    /// Whether the point lies between a durable attempt and a stored outcome.
    may_interrupt: bool,
}

impl<'a> Story<'a> {
    async fn new(seller: &'a Seller, run: &Run) -> Self {
        let lane = &*seller.lane;
        let (sealing, signing) = (key(), fs::read_to_string(seller.home.join("seller.key")).unwrap());
        secret(&seller.home.join("sealing.key"), &hex::encode(sealing));
        let signing: [u8; 32] = hex::decode(signing.trim()).unwrap().try_into().unwrap();
        let (url, keys) = (format!("http://{}", lane.relay_address), BotKeys::from_seeds(&signing, &sealing));
        let own = BotClient::new(&url, keys, Rates::UNLIMITED, Clock::system(), Entropy::system()).unwrap();
        let buyer = bot(lane);
        again(async || buyer.register().await).await;
        // News are asked for beside the handler, so that a death of this may be the handler's too.
        let is_beside = ["worker/bazaar/polled", "worker/page/durable"].contains(&run.point);
        let may_interrupt = INTERRUPT.contains(&run.point) || is_beside;
        Self { seller, lane, buyer, bot: own, shape: run.shape, may_interrupt }
    }

    /// As the seller of /v1, with what a bot needs beside it.
    fn configure(&self, offers: &[String]) {
        self.seller.configure(offers);
        let file = self.seller.home.join("worker.toml");
        let dialect = "dialect = \"v0\"\nsealing_key = \"file:sealing.key\"\npace = \"unlimited\"\n[nano]";
        let mut text = fs::read_to_string(&file).unwrap().replacen("[nano]", dialect, 1);
        if self.shape == Shape::Late {
            text = text.replacen("[shutdown]", "[quote]\nttl_seconds = 5\n[shutdown]", 1);
        }
        if self.shape == Shape::Link {
            fs::create_dir_all(self.seller.home.join("served")).unwrap();
            let results = "[results]\ndir = \"served\"\nurl = \"https://example.org\"\n[shutdown]";
            text = text.replacen("[shutdown]", results, 1);
        }
        fs::write(file, text).unwrap();
    }

    async fn tell(&self) -> Vec<JobId> {
        self.seller.handler(ECHO);
        self.configure(&[stall("Echo", "")]);
        let mut sold = match self.shape {
            Shape::Sale => {
                self.seller.arm();
                vec![self.sell().await]
            }
            Shape::Parts | Shape::Link => {
                self.seller.handler(LONG);
                self.seller.arm();
                vec![self.sell().await]
            }
            Shape::Paused => self.paused().await,
            Shape::Reoffered => self.reoffered().await,
            Shape::Unreadable => self.unreadable().await,
            Shape::Late => self.late().await,
            Shape::Recovering => self.recovering().await,
        };
        self.eventually("death at the point", async || self.seller.has_died().then_some(())).await;
        self.eventually("return", async || self.seller.is_back().then_some(())).await;
        // Whoever has recovered goes on selling.
        self.seller.handler(ECHO);
        sold.push(self.sell().await);
        sold
    }

    async fn sell(&self) -> JobId {
        let job = self.charged(&self.ask().await).await;
        self.pay(&job);
        self.reaches(&job.job_id, Status::Delivered).await;
        job.job_id
    }

    async fn paused(&self) -> Vec<JobId> {
        self.configure(&[stall("Echo", "active = false")]);
        self.seller.arm();
        self.eventually("pause", async || {
            let offers = self.offers().await?;
            (self.seller.is_back() && offers.len() == 1 && !self.is_open(&offers[0])).then_some(())
        })
        .await;
        self.seller.kill();
        self.configure(&[stall("Echo", "")]);
        self.seller.live_on();
        vec![]
    }

    /// What was asked for under the old offer is done at its price.
    async fn reoffered(&self) -> Vec<JobId> {
        self.configure(&[stall("Echo", ""), stall("Other", "")]);
        self.seller.live();
        self.eventually("both offers", async || (self.offers().await?.len() == 2).then_some(())).await;
        let old = self.charged(&self.ask().await).await;
        self.seller.kill();
        self.configure(&[stall("Echo", "turnaround_seconds = 60")]);
        self.seller.arm();
        self.eventually("change and withdrawal", async || {
            let offers = self.offers().await?;
            (offers.len() == 1 && offers[0].turnaround_seconds == 60).then_some(())
        })
        .await;
        self.pay(&old);
        self.reaches(&old.job_id, Status::Delivered).await;
        vec![old.job_id]
    }

    async fn unreadable(&self) -> Vec<JobId> {
        self.seller.arm();
        let name = new_name();
        let other = JobId::new("job_other");
        let replayed = sealed(&self.buyer, &self.bot, &other, &format!("pay_{name}"), Kind::Request);
        let job = self.ask_with(&name, replayed).await;
        self.eventually("a word about it", async || {
            let letters = self.letters(&job.job_id).await?;
            (letters.len() == 1 && letters[0].0 == Kind::Message).then_some(())
        })
        .await;
        vec![]
    }

    async fn late(&self) -> Vec<JobId> {
        self.seller.arm();
        let job = self.charged(&self.ask().await).await;
        self.reaches(&job.job_id, Status::Expired).await;
        self.pay(&job);
        self.reaches(&job.job_id, Status::Delivered).await;
        vec![job.job_id]
    }

    async fn recovering(&self) -> Vec<JobId> {
        self.seller.live();
        let job = self.charged(&self.ask().await).await;
        self.seller.kill();
        self.pay(&job);
        self.seller.arm_verb(&["recover", "--patience", "15"]);
        self.reaches(&job.job_id, Status::Delivered).await;
        vec![job.job_id]
    }
}

fn new_name() -> String {
    format!("job_{}", hex::encode(&key()[..8]))
}

/// The buyer's moves, and what a buyer sees.
impl Story<'_> {
    async fn ask(&self) -> Job {
        let name = new_name();
        let request =
            sealed(&self.buyer, &self.bot, &JobId::new(&*name), &format!("pay_{name}"), Kind::Request);
        self.ask_with(&name, request).await
    }

    async fn ask_with(&self, name: &str, request_payload: Sealed) -> Job {
        let offer_id = self
            .eventually("an offer", async || {
                let offers = self.offers().await?;
                let open = offers.into_iter().find(|offer| offer.title == "Echo" && self.is_open(offer))?;
                Some(open.offer_id)
            })
            .await;
        let draft = JobDraft { job_id: JobId::new(name), offer_id, request_payload, job_expires_at: None };
        again(async || self.buyer.create_job(&draft).await).await
    }

    fn is_open(&self, offer: &Offer) -> bool {
        offer.status == OfferStatus::Active
    }

    /// The seller's offers that are not over.
    async fn offers(&self) -> Option<Vec<Offer>> {
        let query =
            OffersQuery { seller: Some(self.bot.bot_id()), include_paused: true, ..OffersQuery::default() };
        Some(self.buyer.offers(&query).await.ok()?.offers)
    }

    /// Once a careful buyer would pay.
    async fn charged(&self, job: &Job) -> Job {
        let job = self.reaches(&job.job_id, Status::ChargeCreated).await;
        let key = self.bot.keys().signing_key();
        let payable = charge::verify(&job, self.buyer.bot_id(), &key, self.buyer.now()).unwrap();
        assert_eq!(Amount::from_raw(payable.amount_raw), PRICE);
        job
    }

    fn pay(&self, job: &Job) {
        self.lane.node.fund(&address(job), PRICE).unwrap();
    }

    async fn reaches(&self, job: &JobId, status: Status) -> Job {
        self.eventually(status.name(), async || {
            let job = self.buyer.job(job).await.ok()?;
            (job.status == status).then_some(job)
        })
        .await
    }

    /// Everything that the seller has sealed for the buyer about a job.
    async fn letters(&self, job: &JobId) -> Option<Vec<(Kind, String)>> {
        let query =
            PayloadsQuery { status: Fetched::All, job_id: Some(job.clone()), limit: None, cursor: None };
        let (page, _) = self.buyer.payloads(&query).await.ok()?;
        let mut letters = Vec::new();
        for head in page.payloads {
            let payload = self.buyer.payload(&head.payload_id).await.ok()?;
            let letter = read(self.buyer.keys(), &payload, &self.bot.keys().signing_key()).unwrap();
            letters.push((head.payload_kind, letter.body));
        }
        Some(letters)
    }

    async fn eventually<T>(&self, what: &str, find: impl AsyncFn() -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = find().await {
                return found;
            }
            assert!(started.elapsed() < PATIENCE, "no {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn address(job: &Job) -> Account {
    job.charge.as_ref().unwrap().address.parse().unwrap()
}

/// What must be true of the whole history.
impl Story<'_> {
    async fn judge(&self, sold: &[JobId]) {
        let told = self.told().await;
        let (starts, remembered) = (starts(self.seller), Remembered::read(self.seller));
        let mut addresses = BTreeSet::new();
        for (place, name) in sold.iter().enumerate() {
            let job = again(async || self.buyer.job(name).await).await;
            let counts = &told[name.as_str()];
            let count = |what: &str| counts.get(what).copied().unwrap_or(0);
            assert_eq!(count("job.charge_created"), 1, "{name}: {counts:?}");
            assert_eq!(count("job.paid"), 1, "{name}: {counts:?}");
            assert!(self.shape == Shape::Late || count("job.charge_reissued") == 0, "{name}: {counts:?}");
            let id = job_id(name).to_string();
            let starts = starts.get(&id).copied().unwrap_or(0);
            assert!(starts == 1 || (starts == 0 && self.may_interrupt), "{name} was started {starts} times");
            let long = place == 0 && matches!(self.shape, Shape::Parts | Shape::Link);
            self.delivered(&job, long, count("job.payload_available")).await;

            assert!(addresses.insert(address(&job)), "an address was used twice");
            let sends = sends_to(self.lane, &address(&job));
            assert_eq!(sends.values().copied().sum::<Amount>(), PRICE, "{name}");
            let blocks: BTreeSet<String> = sends.keys().cloned().collect();
            assert_eq!(remembered.claims.get(&id), Some(&blocks), "not the blocks that paid for {name}");
            assert_eq!(remembered.invoices.get(&address(&job).to_string()), Some(&id));
        }
        let offers = again(async || {
            self.offers().await.ok_or(CallError::Unavailable { status: 503, retry_after: None })
        })
        .await;
        assert_eq!(offers.len(), 1, "{offers:?}");
        if self.shape == Shape::Unreadable {
            let refused: Vec<_> =
                told.iter().filter(|(name, _)| !sold.iter().any(|job| job.as_str() == *name)).collect();
            let [(_, counts)] = refused.as_slice() else { panic!("{refused:?}") };
            assert_eq!(
                **counts,
                BTreeMap::from([("job.payload_available".to_owned(), 1)]),
                "one word, no charge"
            );
        }
    }

    /// One deliverable, and each part once.
    async fn delivered(&self, job: &Job, long: bool, told: usize) {
        let letters = self.eventually("the letters", async || self.letters(&job.job_id).await).await;
        assert_eq!(letters.len(), told, "{}", job.job_id);
        let (done, parts): (Vec<_>, Vec<_>) =
            letters.iter().partition(|(kind, _)| *kind == Kind::Deliverable);
        let [(_, body)] = done.as_slice() else { panic!("{done:?}") };
        if self.may_interrupt && body.contains("worker_interrupted") {
            return;
        }
        let whole = match (long, self.shape) {
            (true, Shape::Parts) => {
                let list: serde_json::Value = serde_json::from_str(body).unwrap();
                assert_eq!(list["parts"].as_array().map(Vec::len), Some(parts.len()));
                parts.iter().map(|(_, part)| part.len()).sum()
            }
            (true, _) => {
                let link: serde_json::Value = serde_json::from_str(body).unwrap();
                let name = link["url"].as_str().unwrap().strip_prefix("https://example.org/").unwrap();
                let served = self.seller.home.join("served");
                assert_eq!(fs::read_dir(&served).unwrap().count(), 1, "one file, and nothing unfinished");
                fs::read(served.join(name)).unwrap().len()
            }
            (false, _) => {
                assert_eq!(*body, format!("pay_{}", job.job_id));
                return assert!(parts.is_empty(), "{parts:?}");
            }
        };
        assert_eq!(whole, 150_000);
    }

    /// What the buyer was told about each job, and how often.
    async fn told(&self) -> BTreeMap<String, BTreeMap<String, usize>> {
        let query = PollQuery { since: Some(0), limit: Some(200), ..PollQuery::default() };
        let events = again(async || self.buyer.poll(&query).await).await.events;
        let mut told: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
        for event in events {
            let job = event.data["job_id"].as_str().unwrap().to_owned();
            *told.entry(job).or_default().entry(event.event_type).or_default() += 1;
        }
        told
    }
}

async fn check(lane: &Arc<Lane>, run: &Run) {
    let seller = Seller::new(lane, &run.points(), run.path);
    let story = Story::new(&seller, run).await;
    let sold = tokio::select! {
        sold = story.tell() => sold,
        () = seller.tend() => return,
    };
    seller.kill();
    story.judge(&sold).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_dies_anywhere_charges_once_and_delivers_once() {
    let (started, runs) = (Instant::now(), runs());
    let points: BTreeSet<&str> = runs.iter().map(|run| run.point).collect();
    let (points, count) = (points.len(), runs.len());
    let open = async || {
        let lane = Lane::new().await;
        lane.start_relay("");
        Arc::new(lane)
    };
    let failures = all(runs, Run::name, open, check, |lane| lane.said()).await;
    report(points, count, "4 paths (and shapes)", &failures, started);
}
