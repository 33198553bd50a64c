//! The seller's coins on a ledger that judges every block: whatever answers are lost, whenever the
//! worker dies, whoever else moves the same accounts, each coin arrives, and arrives once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "coins/refunds.rs"]
mod refunds;
#[path = "coins/rounds.rs"]
mod rounds;
#[path = "coins/whose.rs"]
mod whose;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use mock_nano_rpc::Lie;
use mock_nano_rpc::node::{Node, Settings as NodeSettings};
use mock_nano_rpc::rpc::{self, Args};
use mock_nano_rpc::tree::{Style, Tree};
use nano_worker::client::wire::{Request, Response, Wire as RelayWire};
use nano_worker::config::Env;
use nano_worker::edge::{Clock, Entropy, Tasks};
use nano_worker::nano::block::Block;
use nano_worker::nano::draft::{AccountState, Unsigned};
use nano_worker::nano::rpc::{Reply, Wire as NodeWire};
use nano_worker::nano::{Account, Amount, BlockHash, PrivateKey, Seed, work};
use nano_worker::protocol::{JobId, OfferId, PublicKey, Status, Timestamp};
use nano_worker::store::{Batch, Disk, Keyspace};
use nano_worker::worker::coins::{Errand, Purse};
use nano_worker::worker::payment::Invoice;
use nano_worker::worker::stage::{Ending, Stage};
use nano_worker::worker::wallet::Wallet;
use nano_worker::worker::{Looked, Parts, Seen, Settings, Wires, memory, settings};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::sync::Notify;

const SEED: &str = "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e";

/// A tenth of an XNO.
const COIN: u128 = 100_000_000_000_000_000_000_000_000_000;

/// Where the coins are brought.
const HOME: Account = Account::from_bytes([0x77; 32]);

/// The keyspace of blocks that were signed.
const COINS: u8 = 11;

/// What becomes of one call to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Luck {
    Answered,
    /// The node never hears it.
    Lost,
    /// The node does it, and its answer is lost.
    Unheard,
    /// The worker dies before the node hears it.
    DiesBefore,
    /// The worker dies after the node did it.
    DiesAfter,
}

type Surprise = Box<dyn FnOnce(&mut Node, u64) + Send>;

/// The way to the node, which watches what goes over it.
struct Line {
    node: Mutex<Node>,
    now_ms: Mutex<u64>,
    luck: Mutex<VecDeque<Luck>>,
    died: Notify,
    disk: Disk,
    /// The addresses that were asked for work.
    asked_for_work: Mutex<Vec<String>>,
    /// What happens on the ledger once the next block was published.
    surprise: Mutex<Option<Surprise>>,
    /// A payment that the node says is waiting, whatever has become of it.
    listed: Mutex<Option<(Account, BlockHash, u128)>>,
    /// Those of them that give none.
    idle: Mutex<Vec<&'static str>>,
    /// The one block that was published for each place.
    published: Mutex<BTreeMap<(Account, BlockHash), BlockHash>>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

impl Line {
    fn with<R>(&self, act: impl FnOnce(&mut Node, u64) -> R) -> R {
        let mut now = self.now_ms.lock().unwrap();
        *now += 10;
        let mut node = self.node.lock().unwrap();
        node.tick(*now);
        let done = act(&mut node, *now);
        node.tick(*now);
        done
    }

    fn answer(&self, body: &str) -> Reply {
        let call = Tree::parse(body.as_bytes()).ok()?;
        let action = call.text_of("action").unwrap_or_default().to_owned();
        let answer = self.with(|node, now_ms| rpc::answer(node, &action, &Args(&call), now_ms));
        let mut text = answer.unwrap_or_else(|error| error.to_tree()).write(Style::Compact);
        if let Some((account, hash, raw)) = *self.listed.lock().unwrap()
            && action == "accounts_receivable"
        {
            let mut told: Value = serde_json::from_str(&text).unwrap();
            if !told["blocks"].is_object() {
                told["blocks"] = json!({});
            }
            told["blocks"][account.to_string()] =
                json!({ hash.to_string(): { "amount": raw.to_string(), "source": HOME.to_string() } });
            text = told.to_string();
        }
        Some((200, text.into_bytes()))
    }

    fn surprise_after(&self, body: &str) {
        if !body.contains("\"process\"") {
            return;
        }
        if let Some(surprise) = self.surprise.lock().unwrap().take() {
            self.with(surprise);
        }
    }

    /// A block is durable before it is published, and the only one for its place.
    fn judge(&self, body: &str) {
        let call: Value = serde_json::from_str(body).unwrap();
        if call["action"] != "process" {
            return;
        }
        let Block::State(block) = Block::from_json(&call["block"]).unwrap() else { panic!("{body}") };
        let (account, previous) = (block.fields.account, block.fields.previous);
        let key = [&[COINS], &account.as_bytes()[..], previous.as_bytes()].concat();
        assert!(self.disk.durable(&key).is_some(), "a block was published that a crash would forget");
        let first = *self.published.lock().unwrap().entry((account, previous)).or_insert(block.hash());
        assert_eq!(first, block.hash(), "a second block was signed for the place after {previous}");
    }
}

/// A clone of what is behind it: calls outlive the borrow.
#[derive(Debug, Clone)]
struct Way(Arc<Line>);

impl NodeWire for Way {
    fn call(&self, url: &str, body: String) -> Pin<Box<dyn Future<Output = Reply> + Send>> {
        let (line, url) = (Arc::clone(&self.0), url.to_owned());
        Box::pin(async move {
            if body.contains("\"work_generate\"") {
                let is_idle = line.idle.lock().unwrap().contains(&url.as_str());
                line.asked_for_work.lock().unwrap().push(url);
                if is_idle {
                    return Some((200, br#"{"error":"Work generation is disabled"}"#.to_vec()));
                }
            }
            let luck = match body.contains("\"work_generate\"") {
                // Work has no history.
                true => Luck::Answered,
                false => line.luck.lock().unwrap().pop_front().unwrap_or(Luck::Answered),
            };
            // What has left the worker may still arrive.
            line.judge(&body);
            line.surprise_after(&body);
            let answer = match luck {
                Luck::Lost | Luck::DiesBefore => None,
                Luck::Answered | Luck::Unheard | Luck::DiesAfter => line.answer(&body),
            };
            match luck {
                Luck::Answered => answer,
                Luck::Lost | Luck::Unheard => None,
                Luck::DiesBefore | Luck::DiesAfter => {
                    line.died.notify_one();
                    std::future::pending().await
                }
            }
        })
    }
}

impl RelayWire for Way {
    fn call(&self, _: Request) -> BoxFuture<'static, Result<Response, String>> {
        Box::pin(async { Err("there is no relay".to_owned()) })
    }
}

/// The keyspace of jobs.
const JOBS: Keyspace<JobId, memory::Record> = Keyspace::new(2, "jobs", 1);

fn id(number: usize) -> JobId {
    JobId::from_random((number as u128 + 1).to_be_bytes())
}

fn record(stage: Stage, status: Status, invoice: Option<Invoice>) -> memory::Record {
    memory::Record {
        offer_id: OfferId::from_random([1; 16]),
        buyer_pubkey: PublicKey::from_bytes([2; 32]),
        status,
        stage,
        first_seen_at: Timestamp::default(),
        changed_at: Timestamp::default(),
        lines: 0,
        outcomes: 0,
        invoice,
        unquoted: false,
        unpaid: false,
        oddities: Vec::new(),
    }
}

struct Bench {
    line: Arc<Line>,
    disk: Disk,
    seed: Seed,
    invoices: Vec<Account>,
    funded: u128,
    extra: &'static str,
}

impl Bench {
    /// A seller with so many invoices of jobs that he has delivered.
    fn new(invoices: u32) -> Self {
        Self::with(invoices, &|index| Some((Ending::Delivered, Status::Delivered, index)))
    }

    /// A seller with so many invoices, and how the job of each has ended, if one is known.
    fn with(invoices: u32, ended: &dyn Fn(u32) -> Option<(Ending, Status, u32)>) -> Self {
        let (disk, seed) = (Disk::default(), Seed::parse(SEED).unwrap());
        let accounts: Vec<Account> = (0..invoices).map(|index| seed.account(index).unwrap()).collect();
        let line = Arc::new(Line {
            node: Mutex::new(Node::new(NodeSettings::default(), 1_000)),
            now_ms: Mutex::new(1_000),
            luck: Mutex::default(),
            died: Notify::new(),
            disk: disk.clone(),
            asked_for_work: Mutex::default(),
            surprise: Mutex::default(),
            listed: Mutex::default(),
            idle: Mutex::default(),
            published: Mutex::default(),
        });
        let store = memory::open_in_memory(&disk).unwrap();
        let mut wallet = Wallet::open(&store, seed.clone(), 0).unwrap();
        let mut batch = Batch::default();
        let mut seen = Vec::new();
        for (index, account) in (0..).zip(accounts.iter().copied()) {
            let job = ended(index).map(|(ending, status, number)| {
                let invoice = Invoice { index, account, price: Amount::from_raw(COIN) };
                // What he has delivered cost whatever came.
                let invoice = Some(invoice).filter(|_| ending != Ending::Delivered);
                let job = id(number as usize);
                JOBS.put(&mut batch, &job, &record(Stage::Ended { ending }, status, invoice)).unwrap();
                job
            });
            seen.push(Seen { index, account, job });
        }
        wallet.note_looked(&store, &mut batch, &Looked { seen, next: Some(invoices) }).unwrap();
        store.commit(batch).unwrap();
        store.durable_blocking().unwrap();
        Self { line, disk, seed, invoices: accounts, funded: 0, extra: "" }
    }

    fn settings(&self) -> Settings {
        let text = format!(
            "[relay]\nurl = \"http://relay\"\nkey = \"env:KEY\"\n\
             [nano]\nnetwork = \"dev\"\nseed = \"env:KEY\"\nrpc = [\"http://node\"]\n\
             [wallet]\nsweep_to = \"{HOME}\"\n{}\n\
             [[offers]]\ntitle = \"x\"\nprice_xno = \"0.1\"\n[offers.handler]\ncommand = [\"sh\"]\n",
            self.extra
        );
        let env = Env::from_fn(|name| match name {
            "KEY" => Some(SEED.to_owned()),
            "PATH" => Some("/usr/bin:/bin".to_owned()),
            _ => None,
        });
        settings::parse(&text, Path::new("/"), &env).unwrap()
    }

    fn purse(&self) -> Purse {
        let way = Way(Arc::clone(&self.line));
        let line = Arc::clone(&self.line);
        let clock = Clock::from_fn(move || {
            Timestamp::from_micros(i64::try_from(*line.now_ms.lock().unwrap()).unwrap() * 1_000)
        });
        let parts = Parts {
            clock,
            entropy: Entropy::from_fn(|bytes| bytes.fill(7)),
            tasks: Tasks::system(),
            wires: Some(Wires { relay: Arc::new(way.clone()), nodes: Arc::new(way) }),
        };
        let store = memory::open_in_memory(&self.disk).unwrap();
        Purse::open(Arc::new(store), &self.settings(), &parts).unwrap()
    }

    fn fund(&mut self, index: usize, raw: u128) {
        let account = self.invoices[index];
        self.line.with(|node, now| node.pay(&account, Amount::from_raw(raw), 1, now)).unwrap();
        self.funded += raw;
    }

    /// One life of a worker that runs one errand; `None` if it died.
    async fn life(&self, errand: &Errand, luck: Vec<Luck>) -> Option<Value> {
        *self.line.luck.lock().unwrap() = luck.into();
        let purse = self.purse();
        let answer = tokio::select! {
            biased;
            () = self.line.died.notified() => None,
            answer = purse.run(errand, &|_| ()) => Some(answer.unwrap_or_else(|error| json!({ "failed": error.kind() }))),
        };
        self.line.luck.lock().unwrap().clear();
        self.disk.crash(0);
        answer
    }

    async fn sweep(&self) -> Value {
        let errand = Errand::Sweep { to: None, owed: false, dry_run: false };
        self.life(&errand, Vec::new()).await.unwrap()
    }

    /// What is on the invoices, and what has come home.
    fn sums(&self) -> (u128, Vec<u128>) {
        self.line.with(|node, _| {
            let ledger = &node.ledger;
            let on = |account: &Account| {
                let waits: Amount = ledger.receivables(account).map(|(_, send)| send.amount).sum();
                ledger.balance(account).raw() + waits.raw()
            };
            let home = ledger.receivables(&HOME).map(|(_, send)| send.amount.raw()).collect();
            (self.invoices.iter().map(on).sum(), home)
        })
    }

    /// Nothing is lost and nothing made, and what the journal says of a block is what it did.
    async fn check(&self) {
        let (kept, home) = self.sums();
        assert_eq!(kept + home.iter().sum::<u128>(), self.funded);
        let history = self.life(&Errand::History, Vec::new()).await.unwrap();
        for row in history["blocks"].as_array().unwrap() {
            let hash = row["block"].as_str().unwrap().parse().unwrap();
            let amount = self.line.with(|node, _| node.ledger.block(&hash).map(|stored| stored.amount));
            if let Some(amount) = amount {
                assert_eq!(row["amount_raw"], amount.to_string(), "{row}");
            }
        }
    }

    /// The newest block of an account vanishes, if it is not confirmed.
    fn vanish(&self, index: usize) {
        let account = self.invoices[index];
        self.line.with(|node, _| {
            let Some(head) = node.ledger.account(&account).map(|state| state.frontier) else { return };
            let _ = node.ledger.rollback(&head, false);
        });
    }

    /// Another wallet with this seed receives what waits, as its own first or next block.
    fn receive_elsewhere(&self, index: usize) {
        let key = self.seed.key(u32::try_from(index).unwrap()).unwrap();
        self.line.with(|node, now| receive_one(node, now, &key));
    }

    fn hold(&self, hold: bool) {
        self.line.with(|node, _| node.settings.hold_confirmations = hold);
    }

    fn confirm_all(&self) {
        self.hold(false);
        self.line.with(|node, now| {
            let heads: Vec<BlockHash> = node.ledger.accounts().map(|(_, state)| state.frontier).collect();
            for head in heads {
                node.confirm(&head, now);
            }
        });
    }
}

/// Receives one of the sends that wait for an account, if there is one.
fn receive_one(node: &mut Node, now: u64, key: &PrivateKey) {
    let account = key.account();
    let Some((hash, send)) = node.ledger.receivables(&account).next() else { return };
    let state = AccountState {
        account,
        frontier: node.ledger.account(&account).map_or(BlockHash::ZERO, |state| state.frontier),
        balance: node.ledger.balance(&account),
        representative: HOME,
    };
    let block = state.receive(*hash, send.amount).unwrap();
    process(node, now, &block, key);
}

/// Signs a block, works for it and gives it to the node.
fn process(node: &mut Node, now: u64, block: &Unsigned, key: &PrivateKey) -> BlockHash {
    // The faucet's account was never upgraded, so a receive needs as much as a send.
    let threshold = nano_worker::nano::Network::Dev.work().send;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let found = work::solve(block.fields.work_root(), threshold, 1, &stop).unwrap();
    let body = json!({
        "action": "process",
        "json_block": "true",
        "block": Value::from(&block.sign(key, found)),
    });
    let call = Tree::parse(body.to_string().as_bytes()).unwrap();
    assert!(rpc::answer(node, "process", &Args(&call), now).is_ok());
    block.fields.hash()
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        6 => Just(Luck::Answered),
        1 => Just(Luck::Lost),
        2 => Just(Luck::Unheard),
        1 => Just(Luck::DiesBefore),
        2 => Just(Luck::DiesAfter),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Fund(usize, u64),
    Sweep(Vec<Luck>),
    Receive(Vec<Luck>),
    Vanish(usize),
    ReceiveElsewhere(usize),
    Hold(bool),
    ConfirmAll,
}

fn step() -> impl Strategy<Value = Step> {
    let lucks = || prop::collection::vec(luck(), 0..24);
    prop_oneof![
        3 => (0..3_usize, 1..9_u64).prop_map(|(index, coins)| Step::Fund(index, coins)),
        4 => lucks().prop_map(Step::Sweep),
        2 => lucks().prop_map(Step::Receive),
        2 => (0..3_usize).prop_map(Step::Vanish),
        1 => (0..3_usize).prop_map(Step::ReceiveElsewhere),
        1 => any::<bool>().prop_map(Step::Hold),
        1 => Just(Step::ConfirmAll),
    ]
}

async fn play(steps: Vec<Step>) {
    let mut bench = Bench::new(3);
    for step in steps {
        match step {
            Step::Fund(index, coins) => bench.fund(index, u128::from(coins) * COIN),
            Step::Sweep(luck) => {
                bench.life(&Errand::Sweep { to: None, owed: false, dry_run: false }, luck).await;
            }
            Step::Receive(luck) => drop(bench.life(&Errand::Receive { dry_run: false }, luck).await),
            Step::Vanish(index) => bench.vanish(index),
            Step::ReceiveElsewhere(index) => bench.receive_elsewhere(index),
            Step::Hold(hold) => bench.hold(hold),
            Step::ConfirmAll => bench.confirm_all(),
        }
        bench.check().await;
    }
    bench.confirm_all();
    let mut last = Value::Null;
    // What has become of one place may only show once it is confirmed.
    for _ in 0..3 {
        last = bench.sweep().await;
        bench.confirm_all();
    }
    bench.check().await;
    let (kept, home) = bench.sums();
    assert_eq!((kept, home.iter().sum::<u128>()), (0, bench.funded), "all coins are home: {last}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_goes_wrong_each_coin_comes_home_once(steps in prop::collection::vec(step(), 1..14)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(play(steps));
    }
}

/// What waits has changed since the block was signed, so whoever decided anew would decide otherwise.
#[tokio::test(start_paused = true)]
async fn a_kept_block_is_published_before_another_is_thought_of() {
    // However far the round had come.
    for calls in 0..12 {
        for last in [Luck::Lost, Luck::Unheard, Luck::DiesBefore, Luck::DiesAfter] {
            let mut bench = Bench::new(1);
            bench.fund(0, COIN);
            let mut luck = vec![Luck::Answered; calls];
            luck.push(last);
            let errand = Errand::Sweep { to: None, owed: false, dry_run: false };
            bench.life(&errand, luck).await;
            bench.fund(0, 2 * COIN);
            bench.sweep().await;
            bench.check().await;
            assert_eq!(bench.sums().1.iter().sum::<u128>(), 3 * COIN, "{calls} {last:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_invoices_are_swept_in_one_go() {
    let mut bench = Bench::new(1_000);
    for index in 0..1_000 {
        bench.fund(index, COIN);
    }
    let report = bench.sweep().await;
    assert_eq!(
        report["blocks"].as_array().unwrap().len(),
        2_000,
        "{} {}",
        report["problems"],
        report["failed"]
    );
    assert_eq!(report["swept_raw"], (1_000 * COIN).to_string());
    assert_eq!(bench.sums(), (0, vec![COIN; 1_000]));
    let again = bench.sweep().await;
    assert_eq!(again["blocks"].as_array().unwrap().len(), 0, "{again}");
}

/// A receive on a balance that is too low sends the difference to an account that nobody has.
#[tokio::test(start_paused = true)]
async fn no_block_is_made_on_a_balance_that_the_newest_block_denies() {
    let mut bench = Bench::new(1);
    bench.fund(0, 2 * COIN);
    bench.life(&Errand::Receive { dry_run: false }, Vec::new()).await.unwrap();
    bench.fund(0, COIN);
    let head = bench.line.with(|node, _| node.ledger.account(&bench.invoices[0]).unwrap().frontier);
    for told in [0, COIN, 3 * COIN] {
        let lie = Lie { head_balance: Some(Amount::from_raw(told)), ..Lie::default() };
        bench.line.with(|node, _| node.lies.tell(head, lie));
        let report = bench.sweep().await;
        assert!(report["blocks"].as_array().is_none_or(Vec::is_empty), "{report}");
    }
    let journal = bench.life(&Errand::History, Vec::new()).await.unwrap();
    assert_eq!(journal["blocks"].as_array().unwrap().len(), 1, "{journal}");
    bench.line.with(|node, _| node.lies.clear());
    bench.sweep().await;
    assert_eq!(bench.sums(), (0, vec![3 * COIN]));
}

#[tokio::test(start_paused = true)]
async fn an_hours_work_has_an_end() {
    let mut bench = Bench::new(4);
    bench.extra = "work_per_hour_max = 3";
    for index in 0..4 {
        bench.fund(index, COIN);
    }
    let report = bench.sweep().await;
    assert_eq!((report["blocks"].as_array().unwrap().len(), &report["bounded"]), (3, &Value::Bool(true)));
    let report = bench.sweep().await;
    assert_eq!((report["blocks"].as_array().unwrap().len(), &report["bounded"]), (0, &Value::Bool(true)));
    *bench.line.now_ms.lock().unwrap() += 3_600_000;
    bench.sweep().await;
    *bench.line.now_ms.lock().unwrap() += 3_600_000;
    bench.sweep().await;
    assert_eq!(bench.sums(), (0, vec![COIN; 4]));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_does_nothing_and_says_all() {
    let mut bench = Bench::new(2);
    bench.fund(0, COIN);
    bench.fund(0, 2 * COIN);
    let errand = Errand::Sweep { to: None, owed: false, dry_run: true };
    let report = bench.life(&errand, Vec::new()).await.unwrap();
    assert_eq!(report["blocks"].as_array().unwrap().len(), 3, "{report}");
    assert_eq!(report["swept_raw"], (3 * COIN).to_string());
    assert_eq!(bench.sums(), (3 * COIN, vec![]));
}

#[tokio::test(start_paused = true)]
async fn coins_are_not_sent_in_a_circle() {
    let bench = Bench::new(2);
    for to in [bench.invoices[1], bench.seed.account(2).unwrap(), bench.seed.account(900).unwrap()] {
        let errand = Errand::Sweep { to: Some(to), owed: false, dry_run: false };
        let error = bench.purse().run(&errand, &|_| ()).await.unwrap_err();
        assert!(error.kind() == "config" && error.to_string().contains(&to.to_string()), "{error}");
    }
}
