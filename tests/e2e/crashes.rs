//! kill -9 at random moments: nothing is lost, and nothing happens twice.

use std::collections::BTreeSet;
use std::time::Duration;

use nano_worker::edge::Entropy;
use nano_worker::protocol::{Job, JobId, Status};
use serde_json::json;

use crate::world::{OfferText, PRICE, World, invoice};

const JOBS: usize = 200;

/// Buyers that are on their way at the same time.
const BUYERS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_jobs_survive_a_worker_that_is_killed_again_and_again() {
    let world = World::new().await;
    world.handler("echo \"$JOB_ID $ATTEMPT\" >> ran; sleep 0.0$(( $$ % 10 )); cat");
    let config = world.configure("one", &OfferText::default());
    let worker = world.run_worker("one", &config);
    world.offer().await;

    let killer = async {
        let (entropy, mut worker, mut kills) = (Entropy::system(), worker, 0u32);
        loop {
            tokio::time::sleep(Duration::from_millis(100 + entropy.number() % 700)).await;
            worker.kill();
            kills += 1;
            worker = world.run_worker("one", &config);
            if entropy.number() % 8 == 0 {
                // Now and then it dies while it starts.
                tokio::time::sleep(Duration::from_millis(entropy.number() % 30)).await;
                worker.kill();
                worker = world.run_worker("one", &config);
            }
            if kills > 10_000 {
                break;
            }
        }
    };
    let buyers = futures_util::future::join_all((0..BUYERS).map(|lane| shop(&world, lane)));
    let jobs: Vec<Job> = tokio::select! {
        jobs = buyers => jobs.into_iter().flatten().collect(),
        () = killer => panic!("the killer gave up first"),
    };

    assert_eq!(jobs.len(), JOBS);
    let runs = world.runs();
    assert!(runs.values().all(|&count| count == 1), "a handler ran twice: {runs:?}");
    let addresses: BTreeSet<_> = jobs.iter().map(invoice).collect();
    assert_eq!(addresses.len(), JOBS, "an address was used twice");
    let ids: BTreeSet<JobId> = jobs.iter().map(|job| job.job_id).collect();
    assert_eq!(ids.len(), JOBS);
    let mut delivered = 0;
    for job in &jobs {
        let ran = runs.get(&job.job_id.to_string()).copied().unwrap_or(0);
        match job.status {
            Status::Delivered => {
                assert_eq!(ran, 1, "delivered without a run: {job:?}");
                delivered += 1;
            }
            Status::Failed => assert_eq!(job.error["code"], "worker_interrupted", "{job:?}"),
            other => panic!("{other}: {job:?}"),
        }
    }
    assert!(delivered > 0);
}

/// One buyer after the other's heart: each job is paid once and seen to its end.
async fn shop(world: &World, lane: usize) -> Vec<Job> {
    let mut jobs = Vec::new();
    for number in 0..JOBS / BUYERS {
        let job = world.accepted(&json!({ "lane": lane, "number": number })).await;
        let hash = world.pay(&job, PRICE);
        world.submit(&job, &hash).await;
        let ended = world
            .eventually("end of a paid job", async || {
                let job = world.buyer.job(&job.job_id).await.ok()?;
                job.status.is_final().then_some(job)
            })
            .await;
        jobs.push(ended);
    }
    jobs
}
