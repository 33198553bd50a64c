//! Two workers, one key; locks that are lost.

use std::time::Duration;

use nano_worker::client::LockRequest;
use nano_worker::protocol::Status;
use serde_json::json;

use crate::twin::make_twin;
use crate::world::{OfferText, PRICE, World, text};

/// Known in others: two workers share a key, and both run the job; a lock that is the key's, not the
/// process's.
#[tokio::test]
async fn two_workers_with_one_key_never_run_one_job_twice() {
    let world = World::new().await;
    let mut one = world.start_worker("one", &OfferText::default());
    world.offer().await;
    one.kill();
    make_twin(&world.path("state-one"), &world.path("state-two"));
    let _one = world.start_worker("one", &OfferText::default());
    let config = world.configure("two", &OfferText::default());
    // They have one seed, and must not have one address.
    let _two = world.run_worker_with("two", &config, &[("NANO_ACCOUNT_INDEX_START", "1000000")]);
    for number in 0..20 {
        let job = world.accepted(&json!(number)).await;
        let hash = world.pay(&job, PRICE);
        world.submit(&job, &hash).await;
        let job = world
            .eventually("end of the job", async || {
                let job = world.buyer.job(&job.job_id).await.ok()?;
                job.status.is_final().then_some(job)
            })
            .await;
        assert_eq!(job.status, Status::Delivered, "{job:?}\n{}", world.logs());
        assert_eq!(world.runs_of(&job), 1);
    }
}

#[tokio::test]
async fn a_second_worker_on_the_same_directory_is_refused() {
    let world = World::new().await;
    let _one = world.start_worker("one", &OfferText::default());
    world.offer().await;
    let mut second = world.run_worker("second", &world.path("one.toml"));
    assert!(!second.wait().success());
    let log = std::fs::read_to_string(world.path("second.log")).unwrap();
    assert!(log.contains("in use"), "{log}");
}

#[tokio::test]
async fn a_job_that_somebody_else_has_begun_is_not_run_again() {
    let world = World::new().await;
    let mut worker = world.start_worker("one", &OfferText::default());
    let job = world.accepted(&text("hello")).await;
    worker.kill();
    // Another process of the same seller takes the job while this one is away, and dies.
    let hash = world.pay(&job, PRICE);
    world.submit(&job, &hash).await;
    let wish = LockRequest { holder: "another".to_owned(), ttl_seconds: 10, payment_tx_hash: None };
    world.seller.lock(&job.job_id, &wish).await.unwrap();
    let _worker = world.start_worker("one", &OfferText::default());
    let job = world.wait(job.job_id, Status::Failed).await;
    assert_eq!(job.error["code"], "worker_interrupted");
    assert_eq!(world.runs_of(&job), 0);
    assert_eq!(job.lock_token, 2);
}

#[tokio::test]
async fn a_long_job_keeps_its_lock() {
    let world = World::new().await;
    world.handler("echo \"$JOB_ID\" >> ran; sleep 14; cat");
    let short = OfferText { rest: "[lock]\nttl_seconds = 10".to_owned(), ..OfferText::default() };
    let _worker = world.start_worker("one", &short);
    let job = world.buy(&text("slow")).await;
    assert_eq!(job.lock_token, 1);
    assert_eq!(world.runs_of(&job), 1);
}

#[tokio::test]
async fn a_worker_that_was_frozen_longer_than_its_lock_delivers_nothing() {
    let world = World::new().await;
    world.handler("echo \"$JOB_ID\" >> ran; sleep 3; cat");
    let short = OfferText { rest: "[lock]\nttl_seconds = 10".to_owned(), ..OfferText::default() };
    let worker = world.start_worker("one", &short);
    let job = world.accepted(&text("hello")).await;
    let hash = world.pay(&job, PRICE);
    world.submit(&job, &hash).await;
    world.wait(job.job_id, Status::Running).await;
    world.eventually("a start", async || (world.runs_of(&job) == 1).then_some(())).await;
    worker.signal(rustix::process::Signal::STOP);
    // Somebody else gets the lock as soon as it has run out, and ends the job.
    let wish = LockRequest { holder: "another".to_owned(), ttl_seconds: 10, payment_tx_hash: None };
    let locked =
        world.eventually("the lock", async || world.seller.lock(&job.job_id, &wish).await.ok()).await;
    let outcome = nano_worker::protocol::apply::Outcome::Result(json!("from another"));
    world.seller.deliver(&job.job_id, &outcome, Some(locked.lock_token)).await.unwrap();
    worker.signal(rustix::process::Signal::CONT);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let job = world.buyer.job(&job.job_id).await.unwrap();
    assert_eq!(job.result_payload, json!("from another"));
    assert_eq!(world.runs_of(&job), 1);
}
