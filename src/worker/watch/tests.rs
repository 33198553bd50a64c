//! When who is looked at, and what a look finds on a ledger that answers as nodes do.

use std::sync::Arc;

use mock_nano_rpc::{Config, MockNode};

use super::super::payment::{Verdict, judge};
use super::*;
use crate::nano::Seed;
use crate::nano::rpc::RpcConfig;

const PRICE: Amount = Amount::from_raw(1_000);

fn job(number: u16) -> JobId {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    JobId::from_random(bytes)
}

fn invoice(index: u32) -> Invoice {
    let seed = Seed::parse(&"3".repeat(64)).unwrap();
    Invoice { index, account: seed.account(index).unwrap(), price: PRICE }
}

fn ms(millis: i64) -> Timestamp {
    Timestamp::from_micros(1_000_000_000 + millis * 1_000)
}

fn wish(number: u16, submitted: Option<&str>, lapsed: bool) -> Wish {
    Wish::Watch { job: job(number), invoice: invoice(1), submitted: submitted.map(str::to_owned), lapsed }
}

fn asked(list: &mut List, now: Timestamp) -> usize {
    list.take_due(now).map_or(0, |questions| questions.len())
}

#[test]
fn a_submitted_hash_is_looked_at_at_once_and_then_ever_more_rarely() {
    let mut list = List::default();
    list.obey(wish(1, Some(&"AB".repeat(32)), false), ms(0));
    assert_eq!(list.wait(ms(0)), Some(Duration::ZERO));
    let mut now = ms(0);
    let mut gaps = Vec::new();
    for _ in 0..12 {
        assert_eq!(asked(&mut list, now), 1);
        list.answered(job(1), now);
        let wait = list.wait(now).unwrap();
        gaps.push(wait.as_millis());
        assert_eq!(asked(&mut list, now.plus(wait).minus(Duration::from_micros(1))), 0);
        now = now.plus(wait);
    }
    assert_eq!(gaps[..4], [250, 500, 1_000, 2_000]);
    assert_eq!(gaps[11], 30_000);
}

#[test]
fn without_a_hash_the_first_look_waits_and_a_lapsed_job_is_in_no_hurry() {
    for (submitted, lapsed, expected) in
        [(None, false, 250), (Some("junk"), false, 250), (None, true, 30_000), (Some("junk"), true, 30_000)]
    {
        let mut list = List::default();
        list.obey(wish(1, submitted, lapsed), ms(0));
        assert_eq!(list.wait(ms(0)), Some(Duration::from_millis(expected)), "{submitted:?} {lapsed}");
    }
}

#[test]
fn nobody_is_asked_about_twice_at_a_time_and_a_lost_round_is_made_up() {
    let mut list = List::default();
    list.obey(wish(1, None, false), ms(0));
    assert_eq!(asked(&mut list, ms(250)), 1);
    assert_eq!(asked(&mut list, ms(100_000)), 0, "still under way");
    assert!(list.wait(ms(100_000)).unwrap() > Duration::ZERO, "a hot circle");
    list.forget_questions();
    assert_eq!(asked(&mut list, ms(200_000)), 1);
}

#[test]
fn a_wish_replaces_the_one_before_and_an_unwatched_job_is_forgotten() {
    let mut list = List::default();
    list.obey(wish(1, None, true), ms(0));
    list.obey(wish(1, Some(&"AB".repeat(32)), false), ms(0));
    assert_eq!((list.due.len(), list.wait(ms(0))), (1, Some(Duration::ZERO)));
    list.obey(Wish::Unwatch(job(1)), ms(0));
    assert_eq!((list.due.len(), list.wait(ms(0))), (0, None));
    list.answered(job(1), ms(0));
}

#[test]
fn a_round_is_bounded_and_the_rest_is_next() {
    let mut list = List::default();
    for number in 0..1_500 {
        list.obey(wish(number, None, false), ms(0));
    }
    let sizes = [asked(&mut list, ms(250)), asked(&mut list, ms(250)), asked(&mut list, ms(250))];
    assert_eq!(sizes, [1_000, 500, 0]);
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
    let started = crate::edge::monotonic();
    let config = RpcConfig::new([url], move || crate::edge::monotonic().saturating_duration_since(started));
    Rpc::new(&config).unwrap()
}

/// What one round makes of the invoice; `claimed` are other jobs' blocks.
async fn look(rpc: &Rpc, submitted: Option<&str>, lapsed: bool, claimed: &[BlockHash]) -> Verdict {
    let mut list = List::default();
    list.obey(wish(1, submitted, lapsed), ms(0));
    let questions = list.take_due(ms(1_000_000)).unwrap();
    let mut answers = ask(rpc.clone(), questions).await;
    let (of, mut facts) = answers.pop().unwrap();
    assert_eq!((of, answers.len()), (job(1), 0));
    for fact in &mut facts.found {
        fact.claimed_elsewhere = claimed.contains(&fact.hash);
    }
    if let Submitted::Found(fact) = &mut facts.submitted {
        fact.claimed_elsewhere = claimed.contains(&fact.hash);
    }
    judge(&invoice(1), &facts)
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

#[tokio::test]
async fn the_watch_tells_the_loop_and_ends_when_it_is_told_to() {
    let bench = Bench::new().await;
    bench.pay(1_000);
    let (wishes, receiver) = mpsc::channel(8);
    let (heard, mut facts) = mpsc::channel(8);
    let stop = CancellationToken::new();
    let started = Arc::new(crate::edge::monotonic());
    let clock =
        Clock::from_fn(move || ms(0).plus(crate::edge::monotonic().saturating_duration_since(*started)));
    let task = tokio::spawn(run(bench.rpc.clone(), clock, receiver, heard, stop.clone()));
    wishes.send(wish(1, None, false)).await.unwrap();
    let Some(Heard::Facts(of, found)) = facts.recv().await else { panic!("nothing was heard") };
    assert_eq!(of, job(1));
    settled(&judge(&invoice(1), &found), 1_000, 1);
    stop.cancel();
    task.await.unwrap();
}
