//! What is sent back: whoever dies, whatever is lost, displaced or lied about, each payer gets what he
//! is owed, and gets it once.

use std::collections::HashMap;
use std::time::Duration;

use nano_worker::protocol::Job;
use nano_worker::protocol::job::JobError;
use nano_worker::store::Store;
use nano_worker::worker::engine::{Engine, Heard};
use nano_worker::worker::input::{Call, Effect, Input, Outcome, Pricing};
use nano_worker::worker::oddity::Policy;
use nano_worker::worker::payment::{BlockFact, Facts, Submitted};
use nano_worker::worker::report::{Question, answer};
use nano_worker::worker::stage::Lock;
use nano_worker::worker::terms::{Accepts, Terms};

use super::*;

/// The payers of these tests.
const PAYERS: usize = 2;

pub(crate) fn job(number: usize, status: Status, account: Option<Account>) -> Heard {
    let job = Job {
        job_id: id(number),
        offer_id: OfferId::from_random([1; 16]),
        seller_pubkey: PublicKey::from_bytes([1; 32]),
        buyer_pubkey: PublicKey::from_bytes([2; 32]),
        status,
        request_payload: json!("count me"),
        quote_amount_raw: account.map(|_| COIN.to_string()),
        quote_invoice_address: account.map(|account| account.to_string()),
        quote_expires_at: None,
        payment_tx_hash: None,
        lock_owner: None,
        lock_expires_at: None,
        lock_holder: None,
        lock_token: 0,
        result_payload: Value::Null,
        result_url: None,
        error: Value::Null,
        cancel_reason: None,
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    };
    Heard::Job { job: Box::new(job), whole: true }
}

/// What a node says of a payment.
fn found(hash: BlockHash, from: Account, to: Account, raw: u128) -> Facts {
    let fact = BlockFact {
        hash,
        from: Some(from),
        send: Some((to, Amount::from_raw(raw))),
        confirmed: true,
        claimed_elsewhere: false,
        received: false,
    };
    Facts { submitted: Submitted::None, found: vec![fact], unknown: None, lapsed: false }
}

impl Bench {
    /// A seller with so many jobs that were quoted and then cancelled: whatever comes for them is owed
    /// back.
    pub(crate) fn canceled(jobs: usize) -> Self {
        let bench = Self::new(0);
        let (store, mut engine) = bench.engine();
        let mut invoices = Vec::new();
        for number in 0..jobs {
            let effects =
                engine.take(vec![job(number, Status::Requested, None)], Timestamp::default()).unwrap();
            let [(_, Effect::SendQuote(invoice))] = effects[..] else { panic!("{effects:?}") };
            invoices.push(invoice.account);
            let canceled = job(number, Status::Canceled, Some(invoice.account));
            engine.take(vec![canceled], Timestamp::default()).unwrap();
        }
        store.durable_blocking().unwrap();
        Self { invoices, ..bench }
    }

    /// A seller whose only job cost a coin, was paid with so much by the first payer, and failed.
    pub(crate) async fn failed(raw: u128) -> Self {
        let mut bench = Self::new(0);
        let (store, mut engine) = bench.engine();
        let now = Timestamp::default();
        let mut hear = |heard| engine.take(vec![heard], now).unwrap();
        let effects = hear(job(0, Status::Requested, None));
        let [(_, Effect::SendQuote(invoice))] = effects[..] else { panic!("{effects:?}") };
        bench.invoices.push(invoice.account);
        let hash = bench.pay_from(0, 0, raw);
        hear(job(0, Status::Accepted, Some(invoice.account)));
        hear(Heard::Facts(id(0), found(hash, Self::payer(0).1, invoice.account, raw)));
        let lock = Lock { token: Some(1), expires_at: now.plus(Duration::from_secs(300)) };
        let error = JobError { code: "x".to_owned(), message: "x".to_owned(), details: Value::Null };
        let inputs = [
            Input::Locked(lock),
            Input::Placed,
            Input::Finished(Outcome::Error(error)),
            Input::Done(Call::Deliver),
        ];
        for input in inputs {
            hear(Heard::Input(id(0), input));
        }
        store.durable_blocking().unwrap();
        bench
    }

    pub(crate) fn engine(&self) -> (Arc<Store>, Engine) {
        let store = Arc::new(memory::open_in_memory(&self.disk).unwrap());
        let wallet = Wallet::open(&store, self.seed.clone(), 0).unwrap();
        let terms = Terms {
            pricing: Pricing::Fixed(Amount::from_raw(COIN)),
            idempotent: false,
            accepts: Accepts::Any,
            request_bytes_max: 1_000,
            payment_window: Duration::from_secs(100),
            payment: Policy::default(),
            revives: false,
        };
        let terms = HashMap::from([(OfferId::from_random([1; 16]), terms)]);
        let engine = Engine::open(Arc::clone(&store), wallet, terms, "holder".to_owned()).unwrap();
        (store, engine)
    }

    fn payer(number: usize) -> (PrivateKey, Account) {
        let key = Seed::parse(&"77".repeat(32)).unwrap().key(u32::try_from(number).unwrap()).unwrap();
        let account = key.account();
        (key, account)
    }

    /// One of the payers pays an invoice.
    pub(crate) fn pay_from(&mut self, payer: usize, index: usize, raw: u128) -> BlockHash {
        let (key, from) = Self::payer(payer);
        let to = self.invoices[index];
        self.funded += raw;
        self.line.with(|node, now| {
            let held = node.settings.hold_confirmations;
            node.settings.hold_confirmations = false;
            let hash = node.pay(&from, Amount::from_raw(raw), 1, now).unwrap()[0];
            let state = |node: &Node| AccountState {
                account: from,
                frontier: node.ledger.account(&from).map_or(BlockHash::ZERO, |state| state.frontier),
                balance: node.ledger.balance(&from),
                representative: HOME,
            };
            let block = state(node).receive(hash, Amount::from_raw(raw)).unwrap();
            process(node, now, &block, &key);
            node.tick(now);
            node.settings.hold_confirmations = held;
            let block = state(node).send(to, Amount::from_raw(raw)).unwrap();
            process(node, now, &block, &key)
        })
    }

    /// What went back to each payer, and how often for each payment.
    pub(crate) fn returned(&self) -> Vec<u128> {
        self.line.with(|node, _| {
            let back = |payer| {
                let (_, payer) = Self::payer(payer);
                let list = node.ledger.receivables(&payer);
                list.filter(|(_, send)| self.invoices.contains(&send.source))
                    .map(|(_, send)| send.amount.raw())
                    .sum()
            };
            (0..PAYERS).map(back).collect()
        })
    }

    pub(crate) async fn refund(&self, index: usize) -> Value {
        let errand = Errand::Refund { job: id(index), to: None, dry_run: false };
        self.life(&errand, Vec::new()).await.unwrap()
    }

    async fn check_refunds(&self, paid: &[u128]) {
        let (kept, home) = self.sums();
        let returned = self.returned();
        let out: u128 = home.iter().chain(&returned).sum();
        assert_eq!(kept + out, self.funded, "nothing is lost and nothing made");
        for (back, paid) in returned.iter().zip(paid) {
            assert!(back <= paid, "sent back twice: {returned:?} of {paid:?}");
        }
        assert_eq!(home, [], "what is owed back was brought home");
        // Of no payment more went back than it brought.
        let history = self.life(&Errand::History, Vec::new()).await.unwrap();
        self.check_books(&history);
        let mut refunds: BTreeMap<BlockHash, u128> = BTreeMap::new();
        let amount_of = |hash: BlockHash| {
            self.line.with(|node, _| node.ledger.block(&hash).map(|stored| stored.amount.raw()))
        };
        for row in history["blocks"].as_array().unwrap() {
            let sent = amount_of(row["block"].as_str().unwrap().parse().unwrap());
            if let (Some(of), Some(sent)) = (row["refund_of"].as_str(), sent) {
                *refunds.entry(of.parse().unwrap()).or_default() += sent;
            }
        }
        for (of, sent) in refunds {
            assert!(amount_of(of) >= Some(sent), "more went back than {of} brought: {history}");
        }
    }
}

impl Bench {
    /// Of every payment the books say exactly what was brought, is owed, and has gone back for good.
    fn check_books(&self, history: &Value) {
        let raw = |value: &Value| value.as_str().map_or(0, |raw| raw.parse::<u128>().unwrap());
        let mut gone: BTreeMap<String, u128> = BTreeMap::new();
        for row in history["blocks"].as_array().unwrap() {
            if row["does"] == "refund" && row["fate"] == "confirmed" {
                *gone.entry(row["refund_of"].as_str().unwrap().to_owned()).or_default() +=
                    raw(&row["amount_raw"]);
            }
        }
        let store = memory::open_in_memory(&self.disk).unwrap();
        let mut due = 0;
        for number in 0..self.invoices.len() {
            let job = answer(&store, &Question::Job { id: id(number) }).unwrap();
            for piece in job["money"].as_array().into_iter().flatten() {
                let (owed, returned) = (raw(&piece["owed_raw"]), raw(&piece["returned_raw"]));
                let went = gone.remove(piece["block"].as_str().unwrap()).unwrap_or(0);
                assert_eq!(returned, went, "{piece}");
                assert!(returned <= owed && owed <= raw(&piece["amount_raw"]), "{piece}");
                assert_eq!(raw(&piece["due_raw"]), owed - returned, "{piece}");
                due += owed - returned;
            }
        }
        assert_eq!(gone, BTreeMap::new(), "what went back was never owed");
        let status = answer(&store, &Question::Status).unwrap();
        assert_eq!(raw(&status["owed_back"]["raw"]), due, "{status}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Pay { payer: usize, index: usize, coins: u64 },
    Refund { index: usize, luck: Vec<Luck> },
    Auto { luck: Vec<Luck> },
    Sweep { luck: Vec<Luck> },
    Receive { luck: Vec<Luck> },
    Vanish(usize),
    ReceiveElsewhere(usize),
    Hold(bool),
    ConfirmAll,
    Backup,
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    let lucks = || prop::collection::vec(luck(), 0..32);
    prop_oneof![
        4 => (0..PAYERS, 0..2_usize, 1..9_u64)
            .prop_map(|(payer, index, coins)| Step::Pay { payer, index, coins }),
        5 => (0..2_usize, lucks()).prop_map(|(index, luck)| Step::Refund { index, luck }),
        2 => lucks().prop_map(|luck| Step::Auto { luck }),
        1 => lucks().prop_map(|luck| Step::Sweep { luck }),
        1 => lucks().prop_map(|luck| Step::Receive { luck }),
        3 => (0..2_usize).prop_map(Step::Vanish),
        2 => (0..2_usize).prop_map(Step::ReceiveElsewhere),
        1 => any::<bool>().prop_map(Step::Hold),
        2 => Just(Step::ConfirmAll),
        1 => Just(Step::Backup),
        1 => Just(Step::Restore),
    ]
}

pub(crate) async fn auto(bench: &Bench, luck: Vec<Luck>) -> Option<Value> {
    *bench.line.luck.lock().unwrap() = luck.into();
    let purse = bench.purse();
    let answer = tokio::select! {
        biased;
        () = bench.line.died.notified() => None,
        answer = purse.refund_owed(&|_| ()) =>
            Some(answer.unwrap_or_else(|error| json!({ "failed": error.kind() }))),
    };
    bench.line.luck.lock().unwrap().clear();
    bench.disk.crash(0);
    answer
}

async fn play(steps: Vec<Step>) {
    let mut bench = Bench::canceled(2);
    bench.extra = "[payment]\nauto_refund_day_xno = \"1000\"\n[backup]";
    let mut paid = [0; PAYERS];
    let (mut backup, mut is_restored) = (bench.disk.image(), false);
    for step in steps {
        match step {
            Step::Pay { payer, index, coins } => {
                let raw = u128::from(coins) * COIN;
                bench.pay_from(payer, index, raw);
                paid[payer] += raw;
            }
            Step::Refund { index, luck } => {
                let errand = Errand::Refund { job: id(index), to: None, dry_run: false };
                drop(bench.life(&errand, luck).await);
            }
            Step::Auto { luck } => drop(auto(&bench, luck).await),
            Step::Sweep { luck } => {
                let errand = Errand::Sweep { to: None, owed: false, dry_run: false };
                drop(bench.life(&errand, luck).await);
            }
            Step::Receive { luck } => drop(bench.life(&Errand::Receive { dry_run: false }, luck).await),
            Step::Vanish(index) => bench.vanish(index),
            Step::ReceiveElsewhere(index) => {
                // What another wallet has taken is noticed by nobody who did not see it before.
                bench.confirm_all();
                bench.life(&Errand::Balance, Vec::new()).await.unwrap();
                bench.receive_elsewhere(index);
            }
            Step::Hold(hold) => bench.hold(hold),
            Step::ConfirmAll => bench.confirm_all(),
            Step::Backup => backup = bench.disk.image(),
            Step::Restore => {
                bench.disk.restore(&backup);
                // What it has signed since for which place it no longer knows.
                bench.line.published.lock().unwrap().clear();
                is_restored = true;
            }
        }
        bench.check_refunds(&paid).await;
    }
    let mut last = Value::Null;
    for _ in 0..3 {
        bench.confirm_all();
        for index in 0..2 {
            last = bench.refund(index).await;
        }
    }
    bench.confirm_all();
    bench.check_refunds(&paid).await;
    if is_restored {
        // What nobody can prove is left to a person.
        return;
    }
    assert_eq!(bench.returned(), paid, "everybody has his money back: {last}");
    let balance = bench.life(&Errand::Balance, Vec::new()).await.unwrap();
    assert_eq!((&balance["owed_back_raw"], &balance["total_raw"]), (&json!("0"), &json!("0")), "{balance}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_goes_wrong_each_payer_gets_his_money_back_once(steps in prop::collection::vec(step(), 1..14)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(play(steps));
    }
}

#[tokio::test(start_paused = true)]
async fn each_block_goes_back_to_whom_it_came_from() {
    let mut bench = Bench::canceled(1);
    let first = bench.pay_from(0, 0, 2 * COIN);
    let second = bench.pay_from(1, 0, 3 * COIN);
    let third = bench.pay_from(0, 0, 4 * COIN);
    let dry = Errand::Refund { job: id(0), to: None, dry_run: true };
    let report = bench.life(&dry, Vec::new()).await.unwrap();
    assert_eq!((bench.returned(), &report["dry_run"]), (vec![0, 0], &json!(true)));
    assert_eq!(report["refunded_raw"], json!((9 * COIN).to_string()), "{report}");
    let report = bench.refund(0).await;
    assert_eq!((bench.returned(), &report["problems"]), (vec![6 * COIN, 3 * COIN], &json!([])), "{report}");
    let mut of: Vec<&str> =
        report["blocks"].as_array().unwrap().iter().filter_map(|block| block["refund_of"].as_str()).collect();
    let mut paid = [first, second, third].map(|hash| hash.to_string());
    paid.sort_unstable();
    of.sort_unstable();
    assert_eq!(of, paid);
    assert_eq!(report["owed_back_raw"], "0");
    let again = bench.refund(0).await;
    assert_eq!((&again["blocks"], bench.returned()), (&json!([]), vec![6 * COIN, 3 * COIN]), "{again}");
    let later = bench.pay_from(1, 0, COIN);
    let report = bench.refund(0).await;
    assert_eq!(report["blocks"][1]["refund_of"], json!(later), "{report}");
    assert_eq!(bench.returned(), [6 * COIN, 4 * COIN]);
}

#[tokio::test(start_paused = true)]
async fn a_person_may_say_where_to_but_not_to_an_invoice() {
    let mut bench = Bench::canceled(2);
    bench.pay_from(0, 0, 2 * COIN);
    let to = |to| Errand::Refund { job: id(0), to: Some(to), dry_run: false };
    let error = bench.purse().run(&to(bench.invoices[1]), &|_| ()).await.unwrap_err();
    assert_eq!(error.kind(), "config");
    bench.disk.crash(0);
    let report = bench.life(&to(HOME), Vec::new()).await.unwrap();
    assert_eq!(bench.sums(), (0, vec![2 * COIN]), "{report}");
    assert_eq!(bench.returned(), [0, 0]);
    let again = bench.refund(0).await;
    assert_eq!(again["blocks"], json!([]), "what went elsewhere has gone back");
}

#[tokio::test(start_paused = true)]
async fn what_is_refunded_by_itself_is_what_the_seller_allows() {
    let mut bench = Bench::canceled(3);
    // A coin is a tenth of an XNO.
    bench.extra = "[payment]\nauto_refund_max_xno = \"0.5\"\nauto_refund_day_xno = \"0.7\"\n[backup]";
    bench.pay_from(0, 0, 4 * COIN);
    bench.pay_from(1, 1, 6 * COIN);
    bench.pay_from(1, 2, 4 * COIN);
    bench.life(&Errand::Balance, Vec::new()).await.unwrap();
    let report = auto(&bench, Vec::new()).await.unwrap();
    assert_eq!(report["refunded_raw"], json!((4 * COIN).to_string()), "{report}");
    assert_eq!(report["left"].as_array().unwrap().len(), 2, "{report}");
    let report = auto(&bench, Vec::new()).await.unwrap();
    assert_eq!(report["refunded_raw"], "0", "{report}");
    *bench.line.now_ms.lock().unwrap() += 86_400_000;
    let report = auto(&bench, Vec::new()).await.unwrap();
    assert_eq!(report["refunded_raw"], json!((4 * COIN).to_string()), "{report}");
    assert_eq!(bench.returned(), [4 * COIN, 4 * COIN]);
    let balance = bench.life(&Errand::Balance, Vec::new()).await.unwrap();
    assert_eq!(balance["owed_back_raw"], json!((6 * COIN).to_string()), "{balance}");
}

/// The refund that was signed loses its place for good to another block of the same account.
#[tokio::test(start_paused = true)]
async fn a_refund_that_lost_its_place_is_made_anew_and_not_twice() {
    for calls in 0..24 {
        let mut bench = Bench::canceled(1);
        bench.pay_from(0, 0, 2 * COIN);
        bench.pay_from(1, 0, COIN);
        bench.life(&Errand::Balance, Vec::new()).await.unwrap();
        let mut luck = vec![Luck::Answered; calls];
        luck.push(Luck::DiesBefore);
        let errand = Errand::Refund { job: id(0), to: None, dry_run: false };
        let died = bench.life(&errand, luck).await.is_none();
        bench.pay_from(1, 0, 3 * COIN);
        bench.life(&Errand::Balance, Vec::new()).await.unwrap();
        bench.receive_elsewhere(0);
        bench.confirm_all();
        for _ in 0..3 {
            bench.refund(0).await;
            bench.confirm_all();
        }
        bench.check_refunds(&[2 * COIN, 4 * COIN]).await;
        assert_eq!(bench.returned(), [2 * COIN, 4 * COIN], "{calls} {died}");
    }
}

/// A backup does not know what was sent since: the chain does.
#[tokio::test(start_paused = true)]
async fn a_restored_state_sends_nothing_back_that_went_back_since_its_backup() {
    // Whether it is recognised, and whether there would be enough to send it back again.
    for (adopted, more) in [(true, 9 * COIN), (true, 0), (false, 9 * COIN), (false, 0)] {
        let mut bench = Bench::canceled(1);
        bench.pay_from(0, 0, 2 * COIN);
        bench.pay_from(1, 0, 5 * COIN);
        bench.life(&Errand::Balance, Vec::new()).await.unwrap();
        bench.confirm_all();
        let backup = bench.disk.image();
        let to = if adopted { None } else { Some(Account::from_bytes([0x55; 32])) };
        bench.life(&Errand::Refund { job: id(0), to, dry_run: false }, Vec::new()).await.unwrap();
        bench.confirm_all();
        let before = bench.returned();
        bench.disk.restore(&backup);
        if more > 0 {
            bench.pay_from(1, 0, more);
        }
        for _ in 0..3 {
            let dry = Errand::Refund { job: id(0), to: None, dry_run: true };
            bench.life(&dry, Vec::new()).await.unwrap();
            auto(&bench, Vec::new()).await;
            let report = bench.refund(0).await;
            bench.confirm_all();
            match adopted {
                true => assert_eq!(bench.returned(), [2 * COIN, 5 * COIN + more], "{report}"),
                false => {
                    assert_eq!(bench.returned(), before, "{report}");
                    let why = report["problems"][0]["why"].as_str().unwrap();
                    assert!(why.contains("this state did not make it"), "{report}");
                }
            }
        }
        let balance = bench.life(&Errand::Balance, Vec::new()).await.unwrap();
        let owed = if adopted { 0 } else { 7 * COIN + more };
        assert_eq!(balance["owed_back_raw"], json!(owed.to_string()), "{balance}");
    }
}

/// What is beyond the day's sum stays beyond it, whatever life asks, and also in a life that does not
/// remember the day.
#[tokio::test(start_paused = true)]
async fn the_days_sum_holds_over_restarts_and_restores() {
    let mut bench = Bench::canceled(3);
    bench.extra = "[payment]\nauto_refund_day_xno = \"0.5\"\n[backup]";
    for index in 0..3 {
        bench.pay_from(0, index, 2 * COIN);
    }
    bench.life(&Errand::Balance, Vec::new()).await.unwrap();
    // It dies wherever it can.
    for calls in 0..40 {
        let mut luck = vec![Luck::Answered; calls];
        luck.push(if calls % 2 == 0 { Luck::DiesBefore } else { Luck::DiesAfter });
        auto(&bench, luck).await;
    }
    bench.confirm_all();
    auto(&bench, Vec::new()).await.unwrap();
    assert_eq!(bench.returned(), [4 * COIN, 0]);
    let store = memory::open_in_memory(&bench.disk).unwrap();
    let mut batch = Batch::default();
    let facts: Keyspace<String, String> = Keyspace::new(1, "facts", 1);
    let note = json!({ "at": Timestamp::from_micros(2_000_000) }).to_string();
    facts.put(&mut batch, &"restored".to_owned(), &note).unwrap();
    store.commit(batch).unwrap();
    store.durable_blocking().unwrap();
    drop(store);
    bench.extra = "[payment]\nauto_refund_day_xno = \"500\"\n[backup]";
    let report = auto(&bench, Vec::new()).await.unwrap();
    assert!(report["left"].to_string().contains("restored"), "{report}");
    assert_eq!(bench.returned(), [4 * COIN, 0]);
    *bench.line.now_ms.lock().unwrap() += 86_400_000;
    auto(&bench, Vec::new()).await.unwrap();
    assert_eq!(bench.returned(), [6 * COIN, 0]);
}

/// Part of a payment went back as too much; then the seller gives all of it back.
#[tokio::test(start_paused = true)]
async fn what_went_back_as_too_much_is_a_part_of_what_is_given_back() {
    for confirmed in [true, false] {
        let mut bench = Bench::failed(COIN * 3).await;
        bench.extra = "[payment]\nauto_refund_day_xno = \"1000\"\n[backup]";
        bench.hold(!confirmed);
        let report = auto(&bench, Vec::new()).await.unwrap();
        assert_eq!(report["refunded_raw"], json!((2 * COIN).to_string()), "{report}");
        for _ in 0..3 {
            let report = bench.refund(0).await;
            let paid = bench.returned();
            assert_eq!(paid, [3 * COIN, 0], "{report}");
        }
        bench.confirm_all();
        let report = bench.refund(0).await;
        assert_eq!(
            (bench.returned(), &report["owed_back_raw"]),
            (vec![3 * COIN, 0], &json!("0")),
            "{report}"
        );
        bench.check_refunds(&[3 * COIN, 0]).await;
    }
}

/// A node that makes up a payment has nobody's coins sent away for it.
#[tokio::test(start_paused = true)]
async fn what_was_never_received_is_not_sent_back() {
    let mut bench = Bench::canceled(1);
    let paid = bench.pay_from(0, 0, 2 * COIN);
    bench.life(&Errand::Balance, Vec::new()).await.unwrap();
    bench.life(&Errand::Receive { dry_run: false }, Vec::new()).await.unwrap();
    bench.confirm_all();
    // In the books stands a payment by another that is nowhere on the chain.
    let (store, mut engine) = bench.engine();
    let made_up = found(BlockHash::from_bytes([0x31; 32]), Bench::payer(1).1, bench.invoices[0], COIN);
    engine.take(vec![Heard::Facts(id(0), made_up)], Timestamp::default()).unwrap();
    store.durable_blocking().unwrap();
    let report = bench.refund(0).await;
    assert_eq!(bench.returned(), [2 * COIN, 0], "{report}");
    assert_eq!(report["blocks"][0]["refund_of"], json!(paid), "{report}");
    assert!(report["problems"].to_string().contains("has not received"), "{report}");
}
