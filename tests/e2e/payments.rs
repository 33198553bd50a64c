//! Payments that are late to be believed, or never are.

use mock_nano_rpc::Lie;
use nano_worker::nano::{Amount, Network, PrivateKey, Seed};
use nano_worker::protocol::Status;
use std::time::Duration;

use crate::world::{OfferText, PRICE, World, invoice, raw, text};

/// Long enough for a mistake to show.
const A_WHILE: Duration = Duration::from_millis(1_500);

fn short_window() -> OfferText {
    OfferText { rest: "[quote]\npayment_window_seconds = 2".to_owned(), ..OfferText::default() }
}

/// Known in others: no confirmation is asked for, and a block that the network may still drop pays.
#[tokio::test]
async fn an_unconfirmed_payment_waits_for_its_confirmation() {
    let world = World::new().await;
    let _worker = world.start_worker("one", &OfferText::default());
    world.node.hold_confirmations(true);
    let job = world.accepted(&text("hello")).await;
    let hash = world.pay(&job, PRICE);
    world.submit(&job, &hash).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(world.runs_of(&job), 0);
    world.node.hold_confirmations(false);
    world.node.confirm(&hash);
    world.wait(job.job_id, Status::Delivered).await;
}

#[tokio::test]
async fn too_little_is_not_enough_until_the_rest_comes() {
    let world = World::new().await;
    let _worker = world.start_worker("one", &OfferText::default());
    let job = world.accepted(&text("hello")).await;
    let first = world.pay(&job, raw(PRICE.raw() - 7));
    world.submit(&job, &first).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(world.runs_of(&job), 0);
    world.pay(&job, raw(7));
    world.wait(job.job_id, Status::Delivered).await;
    assert_eq!(world.runs_of(&job), 1);
}

#[tokio::test]
async fn underpaid_for_good_fails_with_the_reason() {
    let world = World::new().await;
    let _worker = world.start_worker("one", &short_window());
    let job = world.accepted(&text("hello")).await;
    let hash = world.pay(&job, raw(PRICE.raw() - 1));
    world.submit(&job, &hash).await;
    let job = world.wait(job.job_id, Status::Failed).await;
    assert_eq!(job.error["code"], "payment.amount_mismatch");
    assert_eq!(world.runs_of(&job), 0);
}

#[tokio::test]
async fn overpaid_is_paid() {
    let world = World::new().await;
    let _worker = world.start_worker("one", &OfferText::default());
    let job = world.accepted(&text("hello")).await;
    let hash = world.pay(&job, raw(PRICE.raw() * 3));
    world.submit(&job, &hash).await;
    world.wait(job.job_id, Status::Delivered).await;
}

#[tokio::test]
async fn a_payment_without_a_submitted_hash_is_found() {
    let world = World::new().await;
    let _worker = world.start_worker("one", &OfferText::default());
    let job = world.accepted(&text("hello")).await;
    let hash = world.pay(&job, PRICE);
    let job = world.wait(job.job_id, Status::Delivered).await;
    assert_eq!(job.payment_tx_hash, Some(hash.to_string()));
}

#[tokio::test]
async fn a_payment_in_parts_is_found_behind_ten_thousand_dust_sends() {
    let world = World::new().await;
    let _worker = world.start_worker("one", &OfferText::default());
    let job = world.accepted(&text("hello")).await;
    world.node.dust(&invoice(&job), raw(1), 10_000).unwrap();
    let half = raw(PRICE.raw() / 2);
    world.pay(&job, half);
    world.pay(&job, half);
    world.wait(job.job_id, Status::Delivered).await;
    assert_eq!(world.runs_of(&job), 1);
}

/// Known in others: one payment satisfies two jobs.
#[tokio::test]
async fn one_block_does_not_pay_for_two_jobs() {
    let world = World::new().await;
    let _worker = world.start_worker("one", &short_window());
    let (first, second) = (world.accepted(&text("a")).await, world.accepted(&text("b")).await);
    let hash = world.pay(&first, PRICE);
    // The thief is faster: the relay knows the hash as the second job's.
    world.submit(&second, &hash).await;
    let second = world.wait(second.job_id, Status::Failed).await;
    assert_eq!(second.error["code"], "payment.address_mismatch");
    assert_eq!(world.runs_of(&second), 0);
}

#[tokio::test]
async fn a_hash_that_no_node_knows_fails_in_the_end_and_only_then() {
    let world = World::new().await;
    let _worker = world.start_worker("one", &short_window());
    let job = world.accepted(&text("hello")).await;
    let hash = nano_worker::nano::BlockHash::from_bytes([7; 32]);
    world.submit(&job, &hash).await;
    let job = world.wait(job.job_id, Status::Failed).await;
    assert_eq!(job.error["code"], "payment.not_found");
}

#[tokio::test]
async fn a_block_that_is_not_a_send_is_no_payment() {
    let world = World::new().await;
    let _worker = world.start_worker("one", &short_window());
    let job = world.accepted(&text("hello")).await;
    let hash = world.pay(&job, PRICE);
    world.node.lie(hash, Lie { subtype: Some("receive".to_owned()), ..Lie::default() });
    world.submit(&job, &hash).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(world.runs_of(&job), 0);
}

#[tokio::test]
async fn a_cancelled_job_is_never_run_even_if_paid() {
    let world = World::new().await;
    let _worker = world.start_worker("one", &OfferText::default());
    let job = world.accepted(&text("hello")).await;
    world.buyer.cancel(&job.job_id, Some("changed my mind")).await.unwrap();
    world.pay(&job, PRICE);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(world.runs_of(&job), 0);
    assert_eq!(world.buyer.job(&job.job_id).await.unwrap().status, Status::Canceled);
}

#[tokio::test]
async fn the_seed_of_the_invoice_is_the_sellers() {
    let world = World::new().await;
    let _worker = world.start_worker("one", &OfferText::default());
    let job = world.buy(&text("hello")).await;
    let seed = Seed::parse(&hex::encode([3; 32])).unwrap();
    assert_eq!(invoice(&job), seed.account(0).unwrap());
    // Its key can spend what came: the coins are the seller's.
    let key: PrivateKey = seed.key(0).unwrap();
    assert_eq!(key.account(), invoice(&job));
    assert_eq!(Network::Dev.name(), "dev");
    assert!(PRICE > Amount::ZERO);
}
