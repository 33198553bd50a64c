//! The buyer of /v0 dies at each of its points, and goes on with `resume`.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nano_worker::client::v0::{BotClient, JobsQuery, PollQuery, Rates};
use nano_worker::edge::{Clock, Entropy};
use nano_worker::nano::{Account, Amount, Seed};
use nano_worker::points::POINTS;
use nano_worker::protocol::v0::lists::Role;
use nano_worker::protocol::v0::{BotKeys, Job, Status};

use crate::bot_seller::{BotSeller, PRICE, Received};
use crate::lane::{Lane, key};
use crate::{all, report, wanted};

/// Points that a buyer of either dialect passes, and how often before it dies there.
const SHARED: &[(&str, &[u32])] = &[
    ("buyer/journal/begin", &[0]),
    ("buyer/journal/begun", &[0]),
    ("buyer/journal/save", &[0]),
    ("buyer/journal/saved", &[0]),
    ("buyer/journal/keep", &[0, 1]),
    ("buyer/journal/kept", &[0, 1]),
    ("buyer/journal/note", &[0, 1, 2, 3]),
    ("buyer/journal/noted", &[0, 1, 2, 3]),
    ("buyer/send/block", &[0, 1]),
    ("buyer/answer/block", &[0, 1]),
];

/// Whether a point is passed only over /v0.
pub(crate) fn is_bots(point: &str) -> bool {
    point.starts_with("buyer/v0/")
}

struct Run {
    point: &'static str,
    passes: u32,
    twice: bool,
}

impl Run {
    fn name(&self) -> String {
        let path = if self.twice { "Twice" } else { "Resume" };
        format!("{} over /v0 after {} {path}", self.point, self.passes)
    }

    fn points(&self) -> String {
        match self.passes {
            0 => format!("{}=return", self.point),
            passes => format!("{}={passes}*off->return", self.point),
        }
    }

    fn gives_up(&self) -> bool {
        self.point.starts_with("buyer/v0/cancel")
    }

    /// Whether the charge has to be over before the payment is found.
    fn is_late(&self) -> bool {
        self.point.starts_with("buyer/v0/wish")
    }
}

fn runs() -> Vec<Run> {
    let own = POINTS.iter().map(|point| point.name).filter(|name| is_bots(name)).map(|name| (name, &[0][..]));
    own.chain(SHARED.iter().copied())
        .flat_map(|(point, passes)| passes.iter().map(move |&passes| (point, passes)))
        .flat_map(|(point, passes)| [false, true].map(|twice| Run { point, passes, twice }))
        .filter(|run| wanted(&run.name()))
        .collect()
}

fn funds() -> Amount {
    Amount::from_raw(PRICE.raw() * 10)
}

/// Somebody with keys, a seed and some money.
struct Buyer<'a> {
    lane: &'a Lane,
    home: PathBuf,
    keys: ([u8; 32], [u8; 32]),
    seed: [u8; 32],
    offer: String,
}

impl<'a> Buyer<'a> {
    fn new(lane: &'a Lane, offer: String) -> Self {
        let buyer = Self { lane, home: lane.home(), keys: (key(), key()), seed: key(), offer };
        lane.node.fund(&buyer.payer(), funds()).unwrap();
        buyer
    }

    fn payer(&self) -> Account {
        Seed::Hex(self.seed).account(0).unwrap()
    }

    async fn run(&self, arguments: &[&str], points: &str) -> Output {
        let mut command = self.lane.program(env!("CARGO_BIN_EXE_buyer"));
        command
            .args(arguments)
            .args(["--json", "--dialect", "v0"])
            .env("RELAY_URL", format!("http://{}", self.lane.relay_address))
            .env("NANO_RPC_URL", self.lane.node.rpc_url())
            .env("NANO_NETWORK", "dev")
            .env("NANO_SEED", hex::encode(self.seed))
            .env("BUYER_PRIVKEY", hex::encode(self.keys.0))
            .env("BUYER_SEALING_PRIVKEY", hex::encode(self.keys.1))
            .env("FAILPOINTS", points)
            .env("HOME", &self.home)
            .current_dir(&self.home)
            .stdin(Stdio::null());
        tokio::process::Command::from(command).kill_on_drop(true).output().await.unwrap()
    }

    async fn buy(&self, points: &str) -> Output {
        self.run(&["buy", &self.offer, "--payload", "\"words\"", "--max-price-xno", "1"], points).await
    }

    async fn jobs(&self) -> Vec<Job> {
        let keys = BotKeys::from_seeds(&self.keys.0, &self.keys.1);
        let url = format!("http://{}", self.lane.relay_address);
        let bot = BotClient::new(&url, keys, Rates::UNLIMITED, Clock::system(), Entropy::system()).unwrap();
        let query =
            JobsQuery { role: Role::Buyer, statuses: vec![], created_since: None, limit: None, cursor: None };
        // Before it has registered, the relay knows no such bot.
        bot.jobs(&query).await.map(|(page, _)| page.jobs).unwrap_or_default()
    }
}

/// Each sale was paid once at one of its addresses, or not at all, and nothing else left.
fn check_ledger(buyer: &Buyer<'_>, seller: &BotSeller, job: &str) -> usize {
    let received = |account: &Account| -> Vec<Amount> {
        let node = &buyer.lane.node;
        node.with(|node, _| node.ledger.receivables(account).map(|(_, entry)| entry.amount).collect())
    };
    let mut paid = 0;
    for sale in seller.sales() {
        let got: Vec<Amount> = sale.addresses.iter().flat_map(received).collect();
        assert!(got.is_empty() || got == [PRICE], "{} was paid {got:?} ({job})", sale.job.job_id);
        paid += got.len();
    }
    let left = buyer.lane.node.with(|node, _| {
        let waiting: Amount = node.ledger.receivables(&buyer.payer()).map(|(_, entry)| entry.amount).sum();
        node.ledger.balance(&buyer.payer()).checked_add(waiting).unwrap()
    });
    assert_eq!(left.raw(), funds().raw() - PRICE.raw() * paid as u128, "money went elsewhere ({job})");
    paid
}

async fn check(lane: &Arc<Lane>, run: &Run) {
    lane.start_relay("");
    let ledger = Arc::clone(lane);
    let received: Received = Arc::new(move |account| {
        ledger.node.with(|node, _| node.ledger.receivables(account).map(|(_, entry)| entry.amount).sum())
    });
    let url = format!("http://{}", lane.relay_address);
    let seller = BotSeller::open(&url, BotKeys::from_seeds(&key(), &key()), received).await;
    let buyer = Buyer::new(lane, seller.offer.offer_id.to_string());
    {
        let mut manner = seller.shelf.manner.lock().unwrap();
        manner.refuses = run.gives_up();
        if run.is_late() {
            // Long enough for a slow machine to pay in, and to be told so.
            (manner.stands, manner.is_late) = (Duration::from_secs(5), true);
        }
    }
    let died = buyer.buy(&run.points()).await;
    assert_eq!(died.status.signal(), Some(6), "it did not die of the point: {died:?}");
    check_ledger(&buyer, &seller, "after its death");
    if run.twice {
        let again = buyer.run(&["resume"], &run.points()).await;
        assert!(again.status.code().is_some() || again.status.signal() == Some(6), "{again:?}");
        lane.restart_relay();
    }
    let resumed = buyer.run(&["resume"], "").await;
    let over = run.gives_up() && resumed.status.code() == Some(4);
    assert!(resumed.status.success() || over, "{resumed:?}");
    let wanted = if run.gives_up() { Status::Cancelled } else { Status::Delivered };
    let jobs = buyer.jobs().await;
    assert!(jobs.len() <= 1 && jobs.iter().all(|job| job.status == wanted), "{jobs:?}: {resumed:?}");
    // Before the journal had it, nobody had it.
    assert!(jobs.len() == 1 || run.point == "buyer/journal/begin", "the purchase is lost: {resumed:?}");
    let paid = check_ledger(&buyer, &seller, "in the end");
    assert_eq!(paid, if run.gives_up() { 0 } else { jobs.len() });
    seller.shelf.manner.lock().unwrap().refuses = false;
    seller.shelf.manner.lock().unwrap().is_late = false;
    let bought = buyer.buy("").await;
    assert_eq!(bought.status.code(), Some(0), "{bought:?}");
    assert_eq!(check_ledger(&buyer, &seller, "and once more"), paid + 1);
    let all = PollQuery { since: Some(0), limit: Some(200), ..PollQuery::default() };
    let told = seller.client.poll(&all).await.unwrap().events;
    let asked = told.iter().filter(|event| event.event_type == "job.requested").count();
    assert_eq!(asked, jobs.len() + 1, "a purchase asks for one job, however often it dies");
    *lane.relay() = None;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_from_bots_who_dies_anywhere_pays_once() {
    let (started, runs) = (Instant::now(), runs());
    let (points, count) = (runs.len() / 2, runs.len());
    let lanes = async |_: &(), run: &Run| check(&Arc::new(Lane::new().await), run).await;
    let failures = all(runs, Run::name, async || (), lanes, |_: &()| String::new()).await;
    report(points, count, "2 paths", &failures, started);
}
