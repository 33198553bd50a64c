//! What a look at an invoice finds on a ledger that answers as nodes do.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "payments/odd.rs"]
mod odd;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use mock_nano_rpc::{Config, Lie, MockNode};
use nano_worker::edge::{self, Clock, Entropy, Tasks};
use nano_worker::nano::rpc::RpcConfig;
use nano_worker::nano::{Amount, BlockHash, Network, Rpc, Seed};
use nano_worker::protocol::{JobId, Timestamp};
use nano_worker::worker::ears::Ears;
use nano_worker::worker::engine::Heard;
use nano_worker::worker::nodes::{Certainty, Jury};
use nano_worker::worker::payment::{Facts, Invoice, Submitted, Verdict, judge};
use nano_worker::worker::watch::{self, Wish};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const PRICE: Amount = Amount::from_raw(1_000);

fn invoice(index: u32) -> Invoice {
    let seed = Seed::parse(&"3".repeat(64)).unwrap();
    Invoice { index, account: seed.account(index).unwrap(), price: PRICE }
}

/// A ledger, and the way to it.
struct Bench {
    node: MockNode,
    rpc: Rpc,
}

impl Bench {
    async fn new() -> Self {
        let node = MockNode::start(Config { ws_listen: None, ..Config::default() }).await.unwrap();
        let rpc = rpc(node.rpc_url());
        Self { node, rpc }
    }

    async fn look(&self, submitted: Option<&str>) -> Verdict {
        self.look_as(submitted, false).await
    }

    async fn look_as(&self, submitted: Option<&str>, lapsed: bool) -> Verdict {
        look(&self.rpc, submitted, lapsed, &[]).await
    }

    fn pay(&self, raw: u128) -> BlockHash {
        self.node.fund(&invoice(1).account, Amount::from_raw(raw)).unwrap()
    }
}

fn rpc(url: String) -> Rpc {
    let started = edge::monotonic();
    let config = RpcConfig::new([url], move || edge::monotonic().saturating_duration_since(started));
    Rpc::new(&config).unwrap()
}

/// What one look makes of the invoice; `claimed` are other jobs' blocks.
async fn look(rpc: &Rpc, submitted: Option<&str>, lapsed: bool, claimed: &[BlockHash]) -> Verdict {
    let mut facts = one_look(rpc, submitted, lapsed).await;
    for fact in &mut facts.found {
        fact.claimed_elsewhere = claimed.contains(&fact.hash);
    }
    if let Submitted::Found(fact) = &mut facts.submitted {
        fact.claimed_elsewhere = claimed.contains(&fact.hash);
    }
    judge(&invoice(1), &facts)
}

/// Runs the watch until it has looked once, by a clock that makes every look due.
async fn one_look(rpc: &Rpc, submitted: Option<&str>, lapsed: bool) -> Facts {
    one_look_with(rpc, Ears::deaf(), submitted, lapsed).await
}

async fn one_look_with(rpc: &Rpc, ears: Ears, submitted: Option<&str>, lapsed: bool) -> Facts {
    let (wishes, receiver) = mpsc::channel(1);
    let (heard, mut facts) = mpsc::channel(1);
    let (stop, hours) = (CancellationToken::new(), AtomicI64::new(0));
    let clock =
        Clock::from_fn(move || Timestamp::from_seconds(3_600 * hours.fetch_add(1, Ordering::Relaxed)));
    let job = JobId::from_random([1; 16]);
    let began = edge::monotonic();
    let steady = move || edge::monotonic().saturating_duration_since(began);
    let jury = Jury::new(rpc.clone(), Network::Dev, Certainty::default(), steady).unwrap();
    let task = tokio::spawn(watch::run(Arc::new(jury), ears, clock, receiver, heard, stop.clone()));
    let submitted = submitted.map(str::to_owned);
    wishes.send(Wish::Watch { job, invoice: invoice(1), submitted, lapsed, over: false }).await.unwrap();
    let heard = async {
        loop {
            match facts.recv().await.unwrap() {
                Heard::Facts(of, found) => break (of, found),
                Heard::Nodes(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let (of, found) = tokio::time::timeout(Duration::from_secs(60), heard).await.unwrap();
    assert_eq!(of, job);
    stop.cancel();
    task.await.unwrap();
    found
}

#[track_caller]
fn settled(verdict: &Verdict, total: u128, parts: usize) {
    let Verdict::Settled { blocks, total: sum } = verdict else { panic!("{verdict}") };
    assert_eq!((sum.raw(), blocks.len()), (total, parts));
}

#[track_caller]
fn unpaid(verdict: &Verdict, code: &str) {
    let Verdict::Unpaid(reason) = verdict else { panic!("{verdict}") };
    assert_eq!(reason.code(), code);
}

#[tokio::test]
async fn edge_03_a_payment_is_found_by_its_hash_and_without_it() {
    let bench = Bench::new().await;
    unpaid(&bench.look(None).await, "payment.not_found");
    let hash = bench.pay(1_000);
    settled(&bench.look(Some(&hash.to_string())).await, 1_000, 1);
    settled(&bench.look(Some(&hash.to_string().to_lowercase())).await, 1_000, 1);
    settled(&bench.look(None).await, 1_000, 1);
    settled(&bench.look(Some("junk")).await, 1_000, 1);
    settled(&bench.look(Some(&"AB".repeat(32))).await, 1_000, 1);
}

#[tokio::test]
async fn edge_04_parts_are_summed_whichever_was_submitted() {
    let bench = Bench::new().await;
    let first = bench.pay(400).to_string();
    unpaid(&bench.look(Some(&first)).await, "payment.amount_mismatch");
    bench.pay(350);
    unpaid(&bench.look(Some(&first)).await, "payment.amount_mismatch");
    bench.pay(250);
    settled(&bench.look(Some(&first)).await, 1_000, 3);
    settled(&bench.look(None).await, 1_000, 3);
}

#[tokio::test]
async fn edge_05_and_edge_06_too_much_is_enough_and_too_late_is_late() {
    let bench = Bench::new().await;
    let hash = bench.pay(5_000).to_string();
    settled(&bench.look(Some(&hash)).await, 5_000, 1);
    unpaid(&bench.look_as(Some(&hash), true).await, "payment.late");
    unpaid(&bench.look_as(None, true).await, "payment.late");
}

#[tokio::test]
async fn edge_07_an_unconfirmed_payment_counts_once_it_is_confirmed() {
    let bench = Bench::new().await;
    bench.node.hold_confirmations(true);
    let hash = bench.pay(1_000);
    unpaid(&bench.look(Some(&hash.to_string())).await, "payment.unconfirmed");
    unpaid(&bench.look(None).await, "payment.not_found");
    assert!(bench.node.confirm(&hash));
    settled(&bench.look(Some(&hash.to_string())).await, 1_000, 1);
}

#[tokio::test]
async fn edge_08_a_payment_that_vanishes_is_not_paid_and_its_replacement_is() {
    let bench = Bench::new().await;
    bench.node.hold_confirmations(true);
    let hash = bench.pay(1_000);
    unpaid(&bench.look(Some(&hash.to_string())).await, "payment.unconfirmed");
    bench.node.rollback(&hash).unwrap();
    unpaid(&bench.look(Some(&hash.to_string())).await, "payment.not_found");
    bench.node.hold_confirmations(false);
    bench.pay(1_000);
    settled(&bench.look(Some(&hash.to_string())).await, 1_000, 1);
}

#[tokio::test]
async fn a_confirmed_payment_is_found_beside_an_unconfirmed_hash() {
    let bench = Bench::new().await;
    bench.pay(1_000);
    bench.node.hold_confirmations(true);
    let stuck = bench.pay(1_000);
    settled(&bench.look(Some(&stuck.to_string())).await, 1_000, 1);
}

#[tokio::test]
async fn edge_09_a_block_that_paid_another_job_pays_nothing_here() {
    let bench = Bench::new().await;
    let hash = bench.pay(1_000);
    let verdict = look(&bench.rpc, Some(&hash.to_string()), false, &[hash]).await;
    unpaid(&verdict, "payment.hash_reused");
}

#[tokio::test]
async fn edge_10_a_payment_to_somebody_else_is_named() {
    let bench = Bench::new().await;
    let hash = bench.node.fund(&invoice(2).account, PRICE).unwrap();
    unpaid(&bench.look(Some(&hash.to_string())).await, "payment.address_mismatch");
}

#[tokio::test]
async fn edge_11_and_edge_20_what_is_no_send_is_named_whatever_else_it_is() {
    let bench = Bench::new().await;
    // The ledger begins with the genesis account's opening and its epoch blocks.
    let first = bench.node.with(|node, _| {
        node.ledger
            .accounts()
            .map(|(account, _)| *account)
            .filter_map(|account| node.ledger.head(&account).map(|head| head.block.hash()))
            .next()
    });
    unpaid(&bench.look(Some(&first.unwrap().to_string())).await, "payment.not_send");
}

#[tokio::test]
async fn edge_15_and_edge_17_a_node_that_is_down_or_hostile_is_unknown() {
    let bench = Bench::new().await;
    let hash = bench.pay(1_000).to_string();
    let url = bench.node.rpc_url();
    bench.node.stop().await;
    for submitted in [None, Some(hash.as_str())] {
        let verdict = look(&rpc(url.clone()), submitted, false, &[]).await;
        assert!(matches!(verdict, Verdict::Unknown(_)), "{verdict}");
    }
}

#[tokio::test]
async fn edge_19_a_payment_is_found_behind_ten_thousand_dust_sends() {
    let bench = Bench::new().await;
    bench.node.dust(&invoice(1).account, Amount::from_raw(1), 5_000).unwrap();
    bench.pay(400);
    bench.pay(600);
    bench.node.dust(&invoice(1).account, Amount::from_raw(1), 5_000).unwrap();
    settled(&bench.look(None).await, 1_000, 2);
}

/// A lie is no payment, and nothing less either: nobody knows.
#[tokio::test]
async fn edge_12_every_lie_of_a_node_is_caught() {
    let other = invoice(2).account;
    let raw = |raw| Some(Amount::from_raw(raw));
    let lies = [
        Lie { amount: raw(2_000), ..Lie::default() },
        Lie { amount: raw(1), ..Lie::default() },
        Lie { destination: Some(other), ..Lie::default() },
        Lie { subtype: Some("receive".to_owned()), ..Lie::default() },
        Lie { account: Some(other), ..Lie::default() },
        Lie { balance: raw(0), ..Lie::default() },
    ];
    let bench = Bench::new().await;
    let hash = bench.pay(1_000);
    for lie in lies {
        bench.node.lie(hash, lie.clone());
        for submitted in [Some(hash.to_string()), None] {
            let verdict = bench.look(submitted.as_deref()).await;
            let Verdict::Unknown(why) = &verdict else { panic!("{lie:?} {verdict}") };
            assert!(why.contains("a lie"), "{lie:?} {why}");
        }
    }
    bench.node.lie(hash, Lie::default());
    settled(&bench.look(None).await, 1_000, 1);
    // Somebody else's payment that is passed off as ours.
    let theirs = bench.node.fund(&other, PRICE).unwrap();
    bench.node.lie(theirs, Lie { destination: Some(invoice(1).account), ..Lie::default() });
    let verdict = bench.look(Some(&theirs.to_string())).await;
    assert!(!matches!(verdict, Verdict::Unpaid(_)), "{verdict}");
}

/// By a clock that stands still nothing is ever due, so only a hint can lead to a look.
#[tokio::test]
async fn edge_18_a_confirmation_that_is_heard_leads_to_a_look_at_once() {
    let node = MockNode::start(Config::default()).await.unwrap();
    let (tasks, stop) = (Tasks::system(), CancellationToken::new());
    let ears = Ears::open(&[node.ws_url().unwrap()], &tasks, &Entropy::system(), &stop);
    let (wishes, receiver) = mpsc::channel(1);
    let (heard, mut facts) = mpsc::channel(8);
    let jury = Jury::new(rpc(node.rpc_url()), Network::Dev, Certainty::default(), || Duration::ZERO).unwrap();
    let still = Clock::from_fn(Timestamp::default);
    let task = tokio::spawn(watch::run(Arc::new(jury), ears, still, receiver, heard, stop.clone()));
    let job = JobId::from_random([1; 16]);
    wishes
        .send(Wish::Watch { job, invoice: invoice(1), submitted: None, lapsed: false, over: false })
        .await
        .unwrap();
    // The subscription takes a moment, and what happens before it is not heard of.
    let mut paid = 0;
    let found = loop {
        node.fund(&invoice(1).account, PRICE).unwrap();
        paid += 1;
        assert!(paid < 600, "no hint was heard");
        match tokio::time::timeout(Duration::from_millis(100), facts.recv()).await {
            Ok(Some(Heard::Facts(_, found))) => break found,
            Ok(None) => panic!("the watch has ended"),
            Ok(Some(_)) | Err(_) => {}
        }
    };
    settled(&judge(&invoice(1), &found), 1_000, 1);
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_stream_that_is_dead_costs_nothing_but_speed() {
    let bench = Bench::new().await;
    bench.pay(1_000);
    let (tasks, stop) = (Tasks::system(), CancellationToken::new());
    let ears = Ears::open(&["ws://127.0.0.1:9".to_owned()], &tasks, &Entropy::system(), &stop);
    let found = one_look_with(&bench.rpc, ears, None, false).await;
    settled(&judge(&invoice(1), &found), 1_000, 1);
    stop.cancel();
}
