//! Every odd payment by its name: what the ledger shows, what the seller is told, and what is owed back.

use std::collections::HashMap;

use nano_worker::nano::draft::AccountState;
use nano_worker::nano::{Account, work};
use nano_worker::protocol::job::JobError;
use nano_worker::protocol::{Job, OfferId, PublicKey, Status};
use nano_worker::store::{Disk, Store};
use nano_worker::worker::engine::Engine;
use nano_worker::worker::input::{Call, Effect, Input, Outcome, Pricing};
use nano_worker::worker::memory;
use nano_worker::worker::oddity::{Oddity, Policy};
use nano_worker::worker::report::{Question, answer};
use nano_worker::worker::stage::Lock;
use nano_worker::worker::terms::{Accepts, Terms};
use nano_worker::worker::wallet::Wallet;
use nano_worker::worker::{Looked, Seen};
use serde_json::{Value, json};

use super::*;

/// How long a submitted hash may fail to pay.
const WINDOW: Duration = Duration::from_secs(100);

/// A seller with one job that a buyer has accepted, and the ledger that it is paid on.
struct Shop {
    bench: Bench,
    store: Arc<Store>,
    engine: Engine,
    policy: Policy,
    submitted: Option<String>,
    now: Timestamp,
    over: bool,
    known: Vec<BlockHash>,
}

impl Shop {
    async fn new(policy: Policy) -> Self {
        let bench = Bench::new().await;
        let store = Arc::new(memory::open_in_memory(&Disk::default()).unwrap());
        let engine = open(&store, policy);
        let now = Timestamp::from_seconds(1_000);
        let (submitted, known) = (None, Vec::new());
        let mut shop = Self { bench, store, engine, policy, submitted, now, over: false, known };
        shop.see(Status::Requested);
        shop.see(Status::Accepted);
        shop
    }

    fn hear(&mut self, heard: Heard) -> Vec<Effect> {
        let effects = self.engine.take(vec![heard], self.now).unwrap();
        effects.into_iter().map(|(_, effect)| effect).collect()
    }

    fn see(&mut self, status: Status) {
        self.over |= status.is_final();
        let quoted = (status != Status::Requested).then(|| invoice(1));
        let (seller, buyer) = (PublicKey::from_bytes([1; 32]), PublicKey::from_bytes([2; 32]));
        let job = Job {
            status,
            quote_amount_raw: quoted.map(|invoice| invoice.price.to_string()),
            quote_invoice_address: quoted.map(|invoice| invoice.account.to_string()),
            payment_tx_hash: self.submitted.clone(),
            ..Job::requested(id(), offer(), seller, buyer, json!("count me"), Timestamp::default())
        };
        self.hear(Heard::Job { job: Box::new(job), whole: true });
    }

    fn submit(&mut self, hash: &BlockHash) {
        self.submitted = Some(hash.to_string());
        self.see(Status::Accepted);
    }

    fn pay(&self, raw: u128) -> BlockHash {
        self.bench.pay(raw)
    }

    async fn look(&mut self) {
        let facts = one_look(&self.bench.rpc, self.submitted.as_deref(), self.over).await;
        self.known.extend(facts.blocks().map(|block| block.hash));
        self.hear(Heard::Facts(id(), facts));
    }

    /// The handler runs, and the buyer has what came of it.
    fn serve(&mut self, outcome: Outcome) {
        let lock = Lock { token: Some(1), expires_at: self.now.plus(Duration::from_secs(300)) };
        for input in [
            Input::Placed,
            Input::Locked(lock),
            Input::Placed,
            Input::Finished(outcome),
            Input::Done(Call::Deliver),
        ] {
            self.hear(Heard::Input(id(), input));
        }
        self.over = true;
        assert_eq!(self.told()["stage"], "ended");
    }

    fn deliver(&mut self) {
        self.serve(Outcome::Result(json!("two")));
        assert_eq!(self.told()["ending"], "delivered");
    }

    fn told(&self) -> Value {
        answer(&self.store, &Question::Job { id: id() }).unwrap()
    }

    /// What the seller is told of the payment, and what is owed back, in raw.
    #[track_caller]
    fn check(&mut self, outcomes: &[Oddity], owed: &[(u128, Oddity)]) {
        // And so after a crash.
        self.engine = open(&self.store, self.policy);
        self.engine.resume(self.now).unwrap();
        let told = self.told();
        let mut names: Vec<&str> = outcomes.iter().map(|outcome| outcome.name()).collect();
        let mut found: Vec<&str> =
            told["payment_outcomes"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        names.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, names, "{told}");
        for name in names {
            let line = json!(format!("payment outcome: {name}"));
            assert!(told["history"].as_array().unwrap().iter().any(|entry| entry["what"] == line), "{told}");
        }
        let mut debts: Vec<(u128, String)> = told["money"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|block| !block["why"].is_null())
            .map(|block| {
                assert!(!block["from"].is_null(), "nobody knows whom to give it back to: {block}");
                let raw = block["owed_raw"].as_str().unwrap().parse().unwrap();
                (raw, block["why"].as_str().unwrap().to_owned())
            })
            .collect();
        debts.sort();
        let mut expected: Vec<(u128, String)> =
            owed.iter().map(|(raw, why)| (*raw, why.name().to_owned())).collect();
        expected.sort();
        assert_eq!(debts, expected, "{told}");
        let status = answer(&self.store, &Question::Status).unwrap();
        for outcome in outcomes {
            assert_eq!(status["payment_outcomes"][outcome.name()], 1, "{status}");
        }
        let sum: u128 = owed.iter().map(|(raw, _)| raw).sum();
        assert_eq!(status["owed_back"]["raw"], sum.to_string(), "{status}");
        assert_eq!(status["owed_back"]["count"], owed.len(), "{status}");
    }
}

fn open(store: &Arc<Store>, policy: Policy) -> Engine {
    let seed = Seed::parse(&"3".repeat(64)).unwrap();
    let mut wallet = Wallet::open(store, seed, 1).unwrap();
    // Another job has the second address.
    let seen = vec![Seen { index: 2, account: invoice(2).account, job: Some(JobId::from_random([2; 16])) }];
    let mut batch = nano_worker::store::Batch::default();
    wallet.note_looked(store, &mut batch, &Looked { seen, next: None }).unwrap();
    store.commit(batch).unwrap();
    let terms = Terms {
        pricing: Pricing::Fixed(PRICE),
        idempotent: false,
        accepts: Accepts::Any,
        request_bytes_max: 1_000,
        payment_window: WINDOW,
        payment: policy,
        revives: false,
    };
    let terms = HashMap::from([(offer(), terms)]);
    Engine::open(Arc::clone(store), wallet, terms, "holder".to_owned()).unwrap()
}

fn id() -> JobId {
    JobId::from_random([1; 16])
}

fn offer() -> OfferId {
    OfferId::from_random([1; 16])
}

async fn shop() -> Shop {
    Shop::new(Policy::default()).await
}

#[tokio::test]
async fn a_payment_as_it_should_be_has_no_name() {
    let mut shop = shop().await;
    let hash = shop.pay(1_000);
    shop.submit(&hash);
    shop.look().await;
    shop.deliver();
    shop.look().await;
    shop.check(&[], &[]);
}

#[tokio::test]
async fn underpaid_is_awaited_accepted_within_the_tolerance_and_owed_back_at_the_end() {
    let mut shop = shop().await;
    shop.pay(600);
    shop.look().await;
    shop.check(&[], &[]);
    shop.see(Status::Canceled);
    shop.check(&[Oddity::Underpaid], &[(600, Oddity::Underpaid)]);

    let mut shop = Shop::new(Policy { tolerance_percent: 5, ..Policy::default() }).await;
    let hash = shop.pay(949);
    shop.submit(&hash);
    shop.look().await;
    assert_eq!(shop.told()["stage"], "awaiting");
    shop.pay(1);
    shop.look().await;
    shop.deliver();
    shop.check(&[Oddity::Underpaid, Oddity::PaidInParts, Oddity::Dust], &[]);
}

/// The buyer reads in the error what was wrong.
#[tokio::test]
async fn underpaid_for_good_is_told_to_the_buyer_and_owed_back() {
    let mut shop = shop().await;
    let hash = shop.pay(600);
    shop.submit(&hash);
    shop.look().await;
    shop.now = shop.now.plus(WINDOW);
    let lock = Lock { token: Some(1), expires_at: shop.now.plus(Duration::from_secs(300)) };
    shop.engine.take(Vec::new(), shop.now).unwrap();
    shop.look().await;
    shop.hear(Heard::Input(id(), Input::Locked(lock)));
    shop.hear(Heard::Input(id(), Input::Done(Call::Deliver)));
    let told = shop.told();
    let error = &told["outcome"]["error"];
    assert_eq!(error["code"], "payment.amount_mismatch", "{told}");
    let details = json!({ "outcome": "underpaid", "paid_raw": "600", "price_raw": "1000" });
    assert_eq!(error["details"], details);
    shop.over = true;
    shop.check(&[Oddity::Underpaid], &[(600, Oddity::Underpaid)]);
    shop.pay(400);
    shop.look().await;
    shop.check(&[Oddity::Underpaid, Oddity::PaidLate], &[(600, Oddity::Underpaid), (400, Oddity::PaidLate)]);
}

#[tokio::test]
async fn paid_in_parts_and_paid_without_hash() {
    let mut shop = shop().await;
    shop.pay(400);
    shop.pay(350);
    shop.look().await;
    shop.pay(250);
    shop.look().await;
    shop.deliver();
    shop.check(&[Oddity::PaidInParts, Oddity::PaidWithoutHash], &[]);
}

#[tokio::test]
async fn overpaid_is_owed_back_or_kept() {
    for (owe_excess, owed) in [(true, &[(4_000, Oddity::Overpaid)][..]), (false, &[])] {
        let mut shop = Shop::new(Policy { owe_excess, ..Policy::default() }).await;
        let hash = shop.pay(5_000);
        shop.submit(&hash);
        shop.look().await;
        shop.deliver();
        shop.check(&[Oddity::Overpaid], owed);
    }
}

#[tokio::test]
async fn paid_twice_is_noticed_when_the_job_is_over() {
    let mut shop = shop().await;
    let hash = shop.pay(1_000);
    shop.submit(&hash);
    shop.look().await;
    shop.pay(1_000);
    shop.deliver();
    shop.check(&[], &[]);
    for _ in 0..2 {
        shop.look().await;
        shop.check(&[Oddity::PaidTwice], &[(1_000, Oddity::PaidTwice)]);
    }
    // Nobody looks for ever.
    shop.now = shop.now.plus(Policy::default().late_watch);
    let effects = shop.engine.take(Vec::new(), shop.now).unwrap();
    assert!(matches!(effects[..], [(_, Effect::Unwatch)]), "{effects:?}");
    shop.pay(1_000);
    shop.look().await;
    shop.check(&[Oddity::PaidTwice], &[(1_000, Oddity::PaidTwice)]);
}

#[tokio::test]
async fn paid_late_is_accepted_within_the_grace() {
    let grace = Duration::from_secs(50);
    for (after, accepted) in [(WINDOW, true), (WINDOW + grace, false)] {
        let mut shop = Shop::new(Policy { grace, ..Policy::default() }).await;
        // On its way when it is submitted, and confirmed late.
        shop.bench.node.hold_confirmations(true);
        let lost = shop.pay(999);
        shop.bench.node.rollback(&lost).unwrap();
        shop.submit(&lost);
        shop.look().await;
        shop.bench.node.hold_confirmations(false);
        shop.now = shop.now.plus(after + Duration::from_secs(1));
        shop.engine.take(Vec::new(), shop.now).unwrap();
        // It is looked at once more before it is held to be unpaid.
        shop.look().await;
        shop.pay(1_000);
        if accepted {
            shop.look().await;
            shop.deliver();
            shop.check(&[Oddity::PaidLate], &[]);
        } else {
            let lock = Lock { token: Some(1), expires_at: shop.now.plus(Duration::from_secs(300)) };
            shop.hear(Heard::Input(id(), Input::Locked(lock)));
            shop.hear(Heard::Input(id(), Input::Done(Call::Deliver)));
            assert_eq!(shop.told()["ending"], "failed");
            shop.over = true;
            shop.look().await;
            shop.check(&[Oddity::PaidLate], &[(1_000, Oddity::PaidLate)]);
        }
    }
}

#[tokio::test]
async fn paid_after_cancel_and_paid_after_expiry() {
    for (status, oddity) in
        [(Status::Canceled, Oddity::PaidAfterCancel), (Status::Expired, Oddity::PaidAfterExpiry)]
    {
        let mut shop = shop().await;
        shop.see(status);
        shop.pay(300);
        shop.look().await;
        shop.check(&[oddity], &[(300, oddity)]);
        shop.pay(1_000);
        shop.look().await;
        shop.check(&[oddity], &[(300, oddity), (1_000, oddity)]);
        shop.pay(700);
        shop.look().await;
        shop.check(&[oddity], &[(300, oddity), (700, oddity), (1_000, oddity)]);
    }
}

#[tokio::test]
async fn hash_of_other_invoice_is_named_and_told_to_the_buyer() {
    let mut shop = shop().await;
    let hash = shop.bench.node.fund(&invoice(2).account, PRICE).unwrap();
    shop.submit(&hash);
    shop.look().await;
    shop.check(&[Oddity::HashOfOtherInvoice], &[]);
    shop.now = shop.now.plus(WINDOW);
    shop.engine.take(Vec::new(), shop.now).unwrap();
    let facts = one_look(&shop.bench.rpc, shop.submitted.as_deref(), shop.over).await;
    let effects = shop.engine.take(vec![Heard::Facts(id(), facts)], shop.now).unwrap();
    assert!(effects.iter().any(|(_, effect)| matches!(effect, Effect::TakeLock { .. })), "{effects:?}");
    let told = shop.told().to_string();
    assert!(told.contains("hash_of_other_invoice") && told.contains("payment.address_mismatch"), "{told}");
    // A stranger's account is another matter.
    let mut shop = super::odd::shop().await;
    let hash = shop.bench.node.fund(&Account::from_bytes([9; 32]), PRICE).unwrap();
    shop.submit(&hash);
    shop.look().await;
    shop.check(&[], &[]);
}

#[tokio::test]
async fn dust_is_named_and_never_owed_back() {
    let mut shop = shop().await;
    shop.see(Status::Canceled);
    shop.bench.node.dust(&invoice(1).account, Amount::from_raw(9), 20).unwrap();
    shop.look().await;
    shop.check(&[Oddity::Dust], &[]);
    shop.pay(10);
    shop.look().await;
    shop.check(&[Oddity::Dust, Oddity::PaidAfterCancel], &[(10, Oddity::PaidAfterCancel)]);
}

#[tokio::test]
async fn rolled_back_is_named_and_its_replacement_pays() {
    let mut shop = shop().await;
    shop.bench.node.hold_confirmations(true);
    let hash = shop.pay(1_000);
    shop.submit(&hash);
    shop.look().await;
    shop.check(&[], &[]);
    shop.bench.node.rollback(&hash).unwrap();
    shop.look().await;
    shop.check(&[Oddity::RolledBack], &[]);
    shop.bench.node.hold_confirmations(false);
    shop.pay(1_000);
    shop.look().await;
    shop.deliver();
    shop.check(&[Oddity::RolledBack], &[]);
}

#[tokio::test]
async fn already_received_by_another_wallet_of_the_seed_pays() {
    let mut shop = shop().await;
    let hash = shop.pay(1_000);
    let seed = Seed::parse(&"3".repeat(64)).unwrap();
    let key = seed.key(1).unwrap();
    let state = AccountState::unopened(key.account(), key.account());
    let block = state.receive(hash, Amount::from_raw(1_000)).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let solved = work::solve(block.fields.work_root(), Network::Dev.work().send, 1, &stop).unwrap();
    shop.bench.rpc.process(&block.sign(&key, solved), block.subtype).await.unwrap();
    shop.submit(&hash);
    shop.look().await;
    shop.deliver();
    shop.check(&[Oddity::AlreadyReceived], &[]);
}

#[tokio::test]
async fn job_failed_is_for_the_seller_to_decide_or_owed_back() {
    let failure = || {
        let details = Value::Null;
        Outcome::Error(JobError { code: "handler_failed".to_owned(), message: "x".to_owned(), details })
    };
    for (owe_failed, outcomes, owed) in
        [(false, &[][..], &[][..]), (true, &[Oddity::JobFailed], &[(1_000, Oddity::JobFailed)])]
    {
        let mut shop = Shop::new(Policy { owe_failed, ..Policy::default() }).await;
        let hash = shop.pay(1_000);
        shop.submit(&hash);
        shop.look().await;
        shop.serve(failure());
        shop.check(outcomes, owed);
    }
}

#[tokio::test]
async fn paid_for_nothing_is_owed_back_whole() {
    let mut shop = shop().await;
    let hash = shop.pay(1_500);
    shop.submit(&hash);
    shop.look().await;
    assert_eq!(shop.told()["stage"], "queued");
    shop.see(Status::Canceled);
    shop.check(&[Oddity::Overpaid, Oddity::PaidForNothing], &[(1_500, Oddity::PaidForNothing)]);
}
