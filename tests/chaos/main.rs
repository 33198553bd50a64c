//! Chaos of real processes: `relay`, three `worker`s of two sellers, a fourth that sells over /v0, many
//! buyers of either dialect and a ledger over loopback lines that break; kills, freezes, wrong clocks, no descriptors, no memory, a full disk.
//! When all is well again, the ledger, the relay's log and what the handlers wrote must agree that
//! every paid job ended once.
//!
//! `CHAOS_SECONDS` says for how long (the rest of a run is recovery), `CHAOS_JOBS` how many paid jobs
//! are enough, `CHAOS_SEED` which dice. A seed repeats what is done, not when processes answer.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests wait for processes by the clock, are told by the environment, and stop where they fail"
)]
#![expect(clippy::print_stdout, reason = "the figures of a run, and what is skipped, must be seen")]

mod bot_oracle;
mod bots;
mod cast;
mod dice;
mod disk;
mod flaws;
mod link;
mod mischief;
mod oracle;
mod shop;
#[path = "../common/twin.rs"]
mod twin;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mock_nano_rpc::{Config, MockNode};
use nano_worker::client::RelayClient;
use nano_worker::client::v0::OffersQuery;
use nano_worker::edge::{Clock, Entropy};
use nano_worker::protocol::signing::Signer;
use nano_worker::protocol::{Job, JobId, Offer, Status};
use tokio_util::sync::CancellationToken;

use crate::bots::Stand;
use crate::cast::{Part, Place};
use crate::dice::Dice;
use crate::disk::Disk;
use crate::link::Link;
use crate::mischief::{DISK_OWNER, Lines, Mischief};
use crate::oracle::Evidence;
use crate::shop::{Market, Sale};

/// A short run, as continuous integration makes it on every change.
const SECONDS: u64 = 40;

/// Buyers at the same time.
const LANES: u64 = 120;

/// Buyers over /v0 at the same time.
const BOTS: usize = 36;

/// Two of each seller; the one who speaks /v0 has as many of its own.
const OFFERS: usize = 4;

/// How long a healed world may take until every paid job has ended, though one lock period is the
/// promise: a machine that is shared with others is slow.
const RECOVERY_MAX: Duration = Duration::from_secs(120);

struct Plan {
    lasts: Duration,
    jobs: usize,
    seed: u64,
}

impl Plan {
    fn read() -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        Self {
            lasts: Duration::from_secs(number("CHAOS_SECONDS").unwrap_or(SECONDS)),
            jobs: usize::try_from(number("CHAOS_JOBS").unwrap_or(u64::MAX)).unwrap(),
            seed: number("CHAOS_SEED").unwrap_or_else(|| Entropy::system().number() >> 32),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_paid_job_ends_once_whatever_happens() {
    let plan = Plan::read();
    let dir = tempfile::Builder::new().prefix("chaos-").tempdir().unwrap().keep();
    println!("CHAOS_SEED={} in {}", plan.seed, dir.display());
    if cast::faketime().is_none() {
        println!("skipped: wrong clocks, for there is no libfaketime; install `faketime`");
    }
    let disk = small_disk(&dir);
    let broken = run(&plan, &dir, disk).await;
    assert!(
        broken.is_empty(),
        "CHAOS_SEED={} broke {} promises, logs are in {}:\n{}",
        plan.seed,
        broken.len(),
        dir.display(),
        broken.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n"),
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

fn small_disk(dir: &Path) -> Option<Disk> {
    let Part::Worker(number) = DISK_OWNER else { return None };
    Disk::mount(&dir.join(format!("state-{number}")))
        .inspect_err(|why| println!("skipped: a full and a read-only disk, for none can be mounted: {why}"))
        .ok()
}

async fn run(plan: &Plan, dir: &Path, disk: Option<Disk>) -> Vec<String> {
    let node = Arc::new(MockNode::start(Config::default()).await.unwrap());
    node.confirmation_delay(80);
    let relay = cast::free_address(&mut Dice::of(Entropy::system().number(), 0));
    let lines = Lines {
        worker_relay: Link::to(relay).await,
        worker_node: Link::to(node.rpc_address()).await,
        buyer_relay: Link::to(relay).await,
    };
    let place = Place {
        dir: dir.to_owned(),
        relay,
        relay_url: lines.worker_relay.url(),
        node_url: lines.worker_node.url(),
    };
    let buyer_url = lines.buyer_relay.url();
    let looker = client(&format!("http://{relay}"), 99);
    let mut mischief = Mischief::new(&place, lines, Arc::clone(&node), disk, plan.seed);
    offers(&mut mischief, &looker, OFFERS / 2).await;
    mischief.actors[1].kill(Duration::ZERO);
    twin::make_twin(&dir.join("state-0"), &dir.join("state-1"));
    mischief.complete(&place);
    let market = Arc::new(Market {
        node,
        relay_url: buyer_url,
        offers: offers(&mut mischief, &looker, OFFERS).await,
        sales: Mutex::default(),
        paid: 0.into(),
        jobs_max: plan.jobs,
        closing: CancellationToken::new(),
    });
    let stand = stand(&mut mischief, &market, &place).await;
    let began = Instant::now();
    let lanes: Vec<_> =
        (0..LANES).map(|lane| tokio::spawn(shop::lane(Arc::clone(&market), lane, plan.seed))).collect();
    let bots: Vec<_> =
        (0..BOTS).map(|lane| tokio::spawn(bots::lane(Arc::clone(&stand), lane, plan.seed))).collect();
    let enough = || market.paid.load(Ordering::Relaxed) >= plan.jobs;
    mischief.rage(plan.lasts, enough).await;
    market.closing.cancel();
    mischief.heal();
    let healed = Instant::now();
    while lanes.iter().any(|lane| !lane.is_finished()) || bots.iter().any(|bot| !bot.is_finished()) {
        mischief.rest().await;
    }
    for lane in lanes {
        lane.await.unwrap();
    }
    let mut readers = Vec::new();
    for bot in bots {
        readers.push(bot.await.unwrap());
    }
    let sellers = [1, 2].map(|byte| client(&format!("http://{relay}"), byte));
    let sales = market.sales.lock().unwrap().clone();
    let (jobs, recovered) = recover(&mut mischief, &sales, &sellers, healed).await;
    let deals = stand.deals.lock().unwrap().clone();
    let (ended, bots_recovered) = bot_oracle::recover(&mut mischief, &place, &deals, healed).await;
    let mut log = Vec::new();
    for seller in &sellers {
        log.extend(oracle::log(seller).await);
    }
    let starts = oracle::starts(dir);
    let over_v0 = bot_oracle::Evidence::gather(&stand, &deals, ended, readers, &starts).await;
    let others = over_v0.ids();
    let evidence = Evidence { sales: &sales, jobs, log, starts: &starts, others, node: &market.node };
    let mut broken = evidence.judge();
    broken.extend(over_v0.judge());
    let jobs = sales.iter().map(|sale| sale.job).chain(over_v0.ids());
    broken.extend(oracle::orphans(jobs).await);
    tell(&mischief, &evidence, healed.duration_since(began), recovered);
    over_v0.tell(bots_recovered);
    broken
}

/// The seller over /v0 has opened.
async fn stand(mischief: &mut Mischief, market: &Arc<Market>, place: &Place) -> Arc<Stand> {
    let looker = bots::client(&format!("http://{}", place.relay), bots::LOOKER);
    let started = Instant::now();
    let offers = loop {
        mischief.rest().await;
        drop(looker.register().await);
        if let Ok(page) = looker.offers(&OffersQuery::default()).await
            && page.offers.len() == OFFERS / 2
        {
            break page.offers;
        }
        assert!(started.elapsed() < RECOVERY_MAX, "the seller over /v0 does not offer");
    };
    let keys = bots::keys(Part::Bot.seller_byte());
    let seller = (keys.signing_key(), keys.sealing_key());
    let market = Arc::clone(market);
    Arc::new(Stand { market, offers, seller, deals: Mutex::default(), broken: Mutex::default() })
}

fn client(url: &str, byte: u8) -> RelayClient {
    RelayClient::new(url, Signer::from_seed(&[byte; 32]), Clock::system(), Entropy::system()).unwrap()
}

/// Waits until so many offers are there.
async fn offers(mischief: &mut Mischief, looker: &RelayClient, count: usize) -> Vec<Offer> {
    let started = Instant::now();
    loop {
        mischief.rest().await;
        if let Ok(page) = looker.offers(&Default::default()).await
            && page.offers.len() == count
        {
            return page.offers;
        }
        assert!(started.elapsed() < RECOVERY_MAX, "the sellers do not offer");
    }
}

/// The relay's word on each job, once every paid one has ended or it has taken too long; and how long
/// it took.
async fn recover(
    mischief: &mut Mischief,
    sales: &[Sale],
    sellers: &[RelayClient],
    healed: Instant,
) -> (BTreeMap<JobId, Job>, Duration) {
    let mut jobs: BTreeMap<JobId, Job> = BTreeMap::new();
    let look = async |sale: &Sale, jobs: &mut BTreeMap<JobId, Job>| {
        let seller = sellers.iter().find(|seller| seller.public_key() == sale.seller).unwrap();
        if let Ok(job) = seller.job(&sale.job).await {
            jobs.insert(sale.job, job);
        }
        jobs.get(&sale.job).is_some_and(|job| job.status.is_final())
    };
    let mut open: Vec<&Sale> = sales.iter().filter(|sale| sale.payment.is_owed()).collect();
    while !open.is_empty() && healed.elapsed() < RECOVERY_MAX {
        mischief.rest().await;
        let mut left = Vec::new();
        for sale in open {
            if !look(sale, &mut jobs).await {
                left.push(sale);
            }
        }
        open = left;
    }
    let recovered = healed.elapsed();
    // What nobody has paid for is only looked at.
    for sale in sales.iter().filter(|sale| !sale.payment.is_owed()) {
        look(sale, &mut jobs).await;
    }
    (jobs, recovered)
}

/// The figures.
fn tell(mischief: &Mischief, evidence: &Evidence<'_>, raged: Duration, recovered: Duration) {
    let count = |status| evidence.jobs.values().filter(|job| job.status == status).count();
    let paid = evidence.sales.iter().filter(|sale| sale.payment.whole().is_some()).count();
    println!(
        "{} jobs, {paid} of them paid; {} delivered, {} failed; {} handlers started; {} s of chaos, \
         all ended {:.1} s after it",
        evidence.sales.len(),
        count(Status::Delivered),
        count(Status::Failed),
        evidence.own_starts(),
        raged.as_secs(),
        recovered.as_secs_f32(),
    );
    let faults: usize = mischief.done.values().sum();
    println!("{faults} faults:");
    for (what, times) in &mischief.done {
        println!("{times:6} × {what}");
    }
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    for job in evidence.jobs.values().filter(|job| job.status == Status::Failed) {
        *codes.entry(job.error["code"].as_str().unwrap_or("?")).or_default() += 1;
    }
    println!("failed: {codes:?}");
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for end in mischief.actors.iter().flat_map(|actor| &actor.ends) {
        *ends.entry(end).or_default() += 1;
    }
    println!("ends that nobody asked for: {ends:?}");
}
