//! The buyer dies at each of its points, and goes on with `resume`.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Instant;

use nano_worker::client::{JobsQuery, RelayClient};
use nano_worker::nano::{Account, Amount, Seed};
use nano_worker::points::POINTS;
use nano_worker::protocol::{Actor, Job, OfferId, Status};
use serde_json::Value;

use crate::lane::{Lane, key};
use crate::oracle;
use crate::seller::{PRICE, Path as Unused, Seller, offer};
use crate::stories::{ECHO, Story, invoice};
use crate::{all, report, wanted};

/// How a purchase that was interrupted goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    /// `buyer resume`.
    Resume,
    /// The relay is killed as well.
    RelayToo,
    /// It dies once more at the same point, if it gets there.
    Twice,
}

impl Path {
    const ALL: [Self; 3] = [Self::Resume, Self::RelayToo, Self::Twice];
}

/// How often a point is passed before the buyer dies there; once, where it is not named. Its first
/// block receives its money, its second one pays.
const PASSES: &[(&str, &[u32])] = &[
    ("buyer/journal/keep", &[0, 1]),
    ("buyer/journal/kept", &[0, 1]),
    ("buyer/journal/note", &[0, 1, 2, 3]),
    ("buyer/journal/noted", &[0, 1, 2, 3]),
    ("buyer/send/block", &[0, 1]),
    ("buyer/answer/block", &[0, 1]),
];

struct Run {
    point: &'static str,
    passes: u32,
    path: Path,
}

impl Run {
    fn name(&self) -> String {
        format!("{} after {} {:?}", self.point, self.passes, self.path)
    }

    fn points(&self) -> String {
        match self.passes {
            0 => format!("{}=return", self.point),
            passes => format!("{}={passes}*off->return", self.point),
        }
    }

    fn cancels(&self) -> bool {
        self.point.ends_with("/cancel")
    }
}

fn runs() -> Vec<Run> {
    let points = POINTS.iter().map(|point| point.name).filter(|name| name.starts_with("buyer/"));
    let points = points.filter(|name| !crate::bot_buyers::is_bots(name));
    points
        .flat_map(|point| {
            let passes =
                PASSES.iter().find(|(name, _)| *name == point).map_or(&[0][..], |(_, passes)| passes);
            passes.iter().map(move |&passes| (point, passes))
        })
        .flat_map(|(point, passes)| Path::ALL.map(|path| Run { point, passes, path }))
        .filter(|run| wanted(&run.name()))
        .collect()
}

/// A lane with a seller who sells.
struct Market {
    seller: Seller,
    offer: OfferId,
}

impl Market {
    async fn open() -> Self {
        let lane = Lane::new().await;
        lane.start_relay("");
        let seller = Seller::new(&Arc::new(lane), "", Unused::Run);
        seller.configure(&[offer("Echo", false)]);
        seller.handler(ECHO);
        seller.live_on();
        let offer = Story::new(&seller, "").offer("Echo").await;
        Self { seller, offer }
    }
}

/// Somebody with a key, a seed and some money.
struct Buyer<'a> {
    market: &'a Market,
    home: PathBuf,
    key: [u8; 32],
    seed: [u8; 32],
    client: RelayClient,
}

impl<'a> Buyer<'a> {
    fn new(market: &'a Market) -> Self {
        let lane = &market.seller.lane;
        let (own, seed) = (key(), key());
        let buyer = Self { market, home: lane.home(), key: own, seed, client: lane.client(own) };
        lane.node.fund(&buyer.payer(), funds()).unwrap();
        buyer
    }

    fn payer(&self) -> Account {
        Seed::Hex(self.seed).account(0).unwrap()
    }

    async fn run(&self, arguments: &[&str], points: &str) -> Output {
        let lane = &self.market.seller.lane;
        let mut command = lane.program(env!("CARGO_BIN_EXE_buyer"));
        command
            .args(arguments)
            .arg("--json")
            .env("RELAY_URL", format!("http://{}", lane.relay_address))
            .env("NANO_RPC_URL", lane.node.rpc_url())
            .env("NANO_NETWORK", "dev")
            .env("NANO_SEED", hex::encode(self.seed))
            .env("BUYER_PRIVKEY", hex::encode(self.key))
            .env("FAILPOINTS", points)
            .env("HOME", &self.home)
            .current_dir(&self.home)
            .stdin(Stdio::null());
        tokio::process::Command::from(command).kill_on_drop(true).output().await.unwrap()
    }

    async fn buy(&self, points: &str) -> Output {
        let offer = self.market.offer.to_string();
        self.run(&["buy", &offer, "--payload", "\"words\"", "--max-price-xno", "1"], points).await
    }

    /// Asks for a job, and gives it up.
    async fn cancel(&self, points: &str) -> Output {
        let offer = self.market.offer.to_string();
        let asked = self.run(&["request", &offer, "--payload", "\"words\""], "").await;
        let answer: Value = serde_json::from_slice(&asked.stdout).unwrap();
        self.run(&["cancel", answer["job"]["job_id"].as_str().unwrap()], points).await
    }

    async fn jobs(&self) -> Vec<Job> {
        let query = JobsQuery { role: Some(Actor::Buyer), limit: Some(100), ..JobsQuery::default() };
        self.client.jobs(&query).await.unwrap().jobs
    }

    /// Each job was paid once if it was delivered, and never otherwise; nothing else left.
    fn check_ledger(&self, jobs: &[Job]) {
        let node = &self.market.seller.lane.node;
        let mut spent = Amount::ZERO;
        for job in jobs.iter().filter(|job| job.quote_invoice_address.is_some()) {
            let got: Vec<Amount> = node.with(|node, _| {
                node.ledger.receivables(&invoice(job)).map(|(_, entry)| entry.amount).collect()
            });
            let wanted: &[Amount] = if job.status == Status::Delivered { &[PRICE] } else { &[] };
            assert_eq!(got, wanted, "{job:?}");
            spent = spent.checked_add(got.iter().copied().sum()).unwrap();
        }
        let left = node.with(|node, _| {
            let waiting: Amount = node.ledger.receivables(&self.payer()).map(|(_, entry)| entry.amount).sum();
            node.ledger.balance(&self.payer()).checked_add(waiting).unwrap()
        });
        assert_eq!(left.checked_add(spent), Some(funds()));
    }
}

fn funds() -> Amount {
    Amount::from_raw(PRICE.raw() * 10)
}

fn assert_died(status: ExitStatus, said: &Output) {
    assert_eq!(status.signal(), Some(6), "it did not die of the point: {said:?}");
}

async fn check(market: &Market, run: &Run) {
    let buyer = Buyer::new(market);
    let died = if run.cancels() { buyer.cancel(&run.points()).await } else { buyer.buy(&run.points()).await };
    assert_died(died.status, &died);
    buyer.check_ledger(&settled(&buyer).await);
    match run.path {
        Path::Resume => {}
        Path::RelayToo => market.seller.lane.restart_relay(),
        Path::Twice => {
            let again = buyer.run(&["resume"], &run.points()).await;
            if again.status.code().is_none() {
                assert_died(again.status, &again);
            }
        }
    }
    let resumed = buyer.run(&["resume"], "").await;
    let over = run.cancels() && resumed.status.code() == Some(4);
    assert!(resumed.status.success() || over, "{resumed:?}");
    let wanted = if run.cancels() { Status::Canceled } else { Status::Delivered };
    let jobs = buyer.jobs().await;
    assert!(jobs.len() <= 1 && jobs.iter().all(|job| job.status == wanted), "{jobs:?}: {resumed:?}");
    // Before the journal had it, nobody had it.
    assert!(jobs.len() == 1 || run.point == "buyer/journal/begin", "the purchase is lost: {resumed:?}");
    let bought = buyer.buy("").await;
    assert_eq!(bought.status.code(), Some(0), "{bought:?}");
    let jobs = buyer.jobs().await;
    buyer.check_ledger(&jobs);
    oracle::walks(&market.seller.client).await;
}

/// The jobs of a buyer who is dead; what a dying one has published counts although its job may not
/// have ended yet.
async fn settled(buyer: &Buyer<'_>) -> Vec<Job> {
    let mut jobs = buyer.jobs().await;
    let node = &buyer.market.seller.lane.node;
    for job in jobs.iter_mut().filter(|job| job.quote_invoice_address.is_some()) {
        let paid = node.with(|node, _| node.ledger.receivables(&invoice(job)).count()) > 0;
        job.status = if paid { Status::Delivered } else { job.status };
    }
    jobs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_who_dies_anywhere_pays_once() {
    let (started, runs) = (Instant::now(), runs());
    let occasions: std::collections::BTreeSet<_> = runs.iter().map(|run| (run.point, run.passes)).collect();
    let (occasions, count) = (occasions.len(), runs.len());
    let failures =
        all(runs, Run::name, Market::open, check, |market: &Market| market.seller.lane.said()).await;
    report(occasions, count, &format!("{} paths", Path::ALL.len()), &failures, started);
}
