//! A relay that goes away, a node that lies, sleeps or is gone.

use std::time::Duration;

use mock_nano_rpc::{Fault, FaultKind};
use nano_worker::protocol::Status;
use nano_worker::store::{Batch, Keyspace, Options, Store};
use serde_json::json;

use crate::world::{OfferText, PRICE, World, text};

#[tokio::test]
async fn the_relay_is_killed_in_the_middle_of_a_job() {
    let mut world = World::new().await;
    world.handler("echo \"$JOB_ID\" >> ran; sleep 2; cat");
    let _worker = world.start_worker("one", &OfferText::default());
    let job = world.accepted(&text("hello")).await;
    let hash = world.pay(&job, PRICE);
    world.submit(&job, &hash).await;
    world.wait(job.job_id, Status::Running).await;
    world.kill_relay();
    // The handler ends while nobody can be told.
    tokio::time::sleep(Duration::from_secs(4)).await;
    world.start_relay();
    let job = world.wait(job.job_id, Status::Delivered).await;
    assert_eq!(world.runs_of(&job), 1);
}

#[tokio::test]
async fn a_relay_that_was_away_is_found_again() {
    let mut world = World::new().await;
    let _worker = world.start_worker("one", &OfferText::default());
    world.buy(&text("before")).await;
    for _ in 0..3 {
        world.kill_relay();
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.start_relay();
        world.buy(&text("after")).await;
    }
}

async fn check_fault(kind: FaultKind) {
    let world = World::new().await;
    let _worker = world.start_worker("one", &OfferText::default());
    let job = world.accepted(&text("hello")).await;
    assert!(world.node.fault(Fault { kind: kind.clone(), action: None, count: None }));
    let hash = world.pay(&job, PRICE);
    world.submit(&job, &hash).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.runs_of(&job), 0, "{kind:?}");
    let seen = world.buyer.job(&job.job_id).await.unwrap();
    assert_eq!(seen.status, Status::Accepted, "{kind:?}: unknown is not unpaid");
    world.node.clear();
    let job = world.wait(job.job_id, Status::Delivered).await;
    assert_eq!(world.runs_of(&job), 1, "{kind:?}");
}

/// Known in others: "the call timed out" is taken for "not paid".
#[tokio::test]
async fn a_node_that_cannot_answer_makes_nothing_unpaid() {
    tokio::join!(
        check_fault(FaultKind::Drop),
        check_fault(FaultKind::BadGateway),
        check_fault(FaultKind::HalfBody),
        check_fault(FaultKind::RateLimited { retry_after: Some(1) }),
        check_fault(FaultKind::Garbage),
    );
}

#[tokio::test]
async fn a_slow_node_is_only_slow() {
    let world = World::new().await;
    let _worker = world.start_worker("one", &OfferText::default());
    world.node.fault(Fault { kind: FaultKind::Slow { delay_ms: 1_000 }, action: None, count: None });
    let job = world.buy(&json!(1)).await;
    assert_eq!(world.runs_of(&job), 1);
}

#[tokio::test]
async fn a_node_of_another_network_makes_nothing_paid() {
    let world = World::new().await;
    let mut worker = world.start_worker("one", &OfferText::default());
    let job = world.accepted(&text("hello")).await;
    worker.kill();
    forget_network(&world);
    let config = world.configure("one", &OfferText::default());
    let wrong = std::fs::read_to_string(&config).unwrap().replace("\"dev\"", "\"live\"");
    std::fs::write(&config, wrong).unwrap();
    let _worker = world.run_worker("one", &config);
    let hash = world.pay(&job, PRICE);
    world.submit(&job, &hash).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.runs_of(&job), 0);
    let log = std::fs::read_to_string(world.path("one.log")).unwrap();
    assert!(log.contains("is not on the network live"), "{log}");
}

/// As states are that were made before their network was noted.
fn forget_network(world: &World) {
    let facts: Keyspace<String, String> = Keyspace::new(1, "facts", 1);
    let options = Options { kind: "worker", schema: 2, cache_bytes: 1 << 20 };
    let store = Store::open(&world.path("state-one"), options).unwrap();
    let mut batch = Batch::default();
    facts.remove(&mut batch, &"network".to_owned());
    store.commit(batch).unwrap();
    store.durable_blocking().unwrap();
}

#[tokio::test]
async fn with_a_node_of_another_network_nothing_is_quoted_by_a_new_state() {
    let world = World::new().await;
    let config = world.configure("one", &OfferText::default());
    let wrong = std::fs::read_to_string(&config).unwrap().replace("\"dev\"", "\"live\"");
    std::fs::write(&config, wrong).unwrap();
    let _worker = world.run_worker("one", &config);
    // What such a node says about the addresses that were used is worth nothing.
    let job = world.request(&text("hello")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.buyer.job(&job).await.unwrap().status, Status::Requested);
    let log = std::fs::read_to_string(world.path("one.log")).unwrap();
    assert!(log.contains("is not on the network live"), "{log}");
}
