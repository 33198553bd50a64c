//! Flaws that others in this field are known for, each with a test that would find it here.
//!
//! Those that a pure decision or another suite can show are tested there; `docs/known-flaws.md` has
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

/// Known in others: a payment that arrives during a restart is missed, because only what was pending
/// when the worker stopped is looked at when it starts.
#[tokio::test]
async fn a_payment_during_a_restart_is_found_wherever_its_job_was() {
    let world = World::new().await;
    let mut worker = world.start_worker("one", &OfferText::default());
    let requested = world.request(&text("quoted")).await;
    world.wait(requested, Status::Quoted).await;
    let silent = world.accepted(&text("no hash")).await;
    let told = world.accepted(&text("a hash")).await;
    worker.kill();
    let quoted = world.again(async || world.buyer.accept(&requested).await).await;
    world.pay(&silent, PRICE);
    for job in [&quoted, &told] {
        let hash = world.pay(job, PRICE);
        world.submit(job, &hash).await;
    }
    let _worker = world.start_worker("one", &OfferText::default());
    for job in [quoted, silent, told] {
        world.wait(job.job_id, Status::Delivered).await;
        assert_eq!(world.runs_of(&job), 1);
    }
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

/// Known in others: a cursor without an epoch. The server's storage is replaced, its log begins anew,
/// and everything in it is older than the cursor of a worker that asks for what comes after.
#[tokio::test]
async fn a_relay_whose_storage_was_replaced_is_heard_from_its_first_event_on() {
    let mut world = World::new().await;
    let _worker = world.start_worker("one", &OfferText::default());
    for _ in 0..4 {
        world.buy(&text("before")).await;
    }
    let before = world.offer().await;
    let head = |page: nano_worker::protocol::event::EventPage| (page.epoch, page.head_event_id);
    let (old, far) = head(world.seller.poll(&Default::default()).await.unwrap());
    world.kill_relay();
    fs::rename(world.path("relay"), world.path("relay-lost")).unwrap();
    world.start_relay();
    let after = world.offer().await;
    assert_ne!(before.offer_id, after.offer_id, "the storage was not replaced, so this shows nothing");
    let job = world.buy(&text("after")).await;
    assert_eq!(world.runs_of(&job), 1);
    let (new, near) = head(world.seller.poll(&Default::default()).await.unwrap());
    assert!(new != old && near < far, "the new log is as long as the old, so this shows nothing");
}
