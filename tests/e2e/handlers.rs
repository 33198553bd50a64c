//! Handlers that do not behave.

use nano_worker::protocol::{Job, Status};

use crate::world::{OfferText, PRICE, World, text};

async fn fails(world: &World) -> Job {
    let job = world.accepted(&text("hello")).await;
    let hash = world.pay(&job, PRICE);
    world.submit(&job, &hash).await;
    world.wait(job.job_id, Status::Failed).await
}

async fn check(script: &str, timeout: u32, message: &str) {
    let world = World::new().await;
    world.handler(script);
    let handler = format!("command = [\"/bin/sh\", \"handler.sh\"]\ntimeout_seconds = {timeout}");
    let _worker = world.start_worker("one", &OfferText { handler, ..OfferText::default() });
    let job = fails(&world).await;
    assert_eq!(job.error["code"], "handler_failed");
    assert_eq!(job.error["message"], message);
}

#[tokio::test]
async fn one_that_fails() {
    check("echo secret >&2; exit 1", 60, "the handler failed").await;
}

#[tokio::test]
async fn one_that_hangs() {
    check("sleep 600", 1, "the handler did not finish within 1 seconds").await;
}

#[tokio::test]
async fn one_that_floods() {
    check("yes", 60, "the handler's result is larger than 262144 bytes").await;
}

#[tokio::test]
async fn one_that_forks_and_hangs() {
    check(
        "sleep 600 & (sleep 600 & sleep 600) & sleep 600",
        1,
        "the handler did not finish within 1 seconds",
    )
    .await;
}
