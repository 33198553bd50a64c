//! Flaws that others in this field are known for, each with a test that would find it here.
//!
//! Those that a pure decision or another suite can show are tested there; `docs/reliability.md` has
//! the whole list.

use std::fs;

use mock_nano_rpc::{Fault, FaultKind};
use nano_worker::protocol::{JobId, Status};

use crate::world::{OfferText, PRICE, World, text};

/// Processes that have the job's number in their environment.
fn living(job: JobId) -> usize {
    let wanted = format!("JOB_ID={job}");
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.ok()?.path().join("environ")).ok())
        .filter(|environment| environment.split(|&byte| byte == 0).any(|entry| entry == wanted.as_bytes()))
        .count()
}

/// Known in others: what a handler has forked lives on when its job is over.
#[tokio::test]
async fn a_handlers_children_do_not_outlive_its_job() {
    let world = World::new().await;
    world.handler("sleep 600 & setsid sleep 600 > /dev/null & (setsid sh -c 'sleep 600 & sleep 600' > /dev/null &) ; cat");
    let _worker = world.start_worker("one", &OfferText::default());
    let job = world.buy(&text("hello")).await;
    world.eventually("end of the children", async || (living(job.job_id) == 0).then_some(())).await;
}

/// Known in others: what a handler has forked lives on when the daemon is killed, and works beside the
/// next start of the same job.
#[tokio::test]
async fn a_handlers_children_do_not_outlive_a_killed_daemon_for_long() {
    let world = World::new().await;
    world.handler("echo \"$JOB_ID\" >> ran; setsid sleep 600 & sleep 600");
    let mut worker = world.start_worker("one", &OfferText::default());
    let job = world.accepted(&text("hello")).await;
    let hash = world.pay(&job, PRICE);
    world.submit(&job, &hash).await;
    world.eventually("children", async || (living(job.job_id) >= 3).then_some(())).await;
    worker.kill();
    assert!(living(job.job_id) >= 2, "they died by themselves, so this shows nothing");
    let _worker = world.start_worker("one", &OfferText::default());
    let ended = world.wait(job.job_id, Status::Failed).await;
    assert_eq!(ended.error["code"], "worker_interrupted");
    world.eventually("end of the children", async || (living(job.job_id) == 0).then_some(())).await;
    assert_eq!(world.runs_of(&job), 1);
}

/// Known in others: while one call to the node hangs, no other job gets on.
#[tokio::test]
async fn a_call_that_hangs_stalls_only_its_own_job() {
    let world = World::new().await;
    let _worker = world.start_worker("one", &OfferText::default());
    let stalled = world.accepted(&text("stalled")).await;
    let other = world.accepted(&text("other")).await;
    // Only a submitted hash is looked up by this call.
    let action = Some("blocks_info".to_owned());
    assert!(world.node.fault(Fault { kind: FaultKind::Hang, action, count: Some(1) }));
    let hash = world.pay(&stalled, PRICE);
    world.submit(&stalled, &hash).await;
    world
        .eventually("a hanging call", async || (world.node.stats().of("blocks_info") > 0).then_some(()))
        .await;
    let hash = world.pay(&other, PRICE);
    world.submit(&other, &hash).await;
    world.wait(other.job_id, Status::Delivered).await;
    let seen = world.buyer.job(&stalled.job_id).await.unwrap();
    assert_eq!(seen.status, Status::Accepted, "the call did not hang, so this shows nothing");
    world.wait(stalled.job_id, Status::Delivered).await;
}
