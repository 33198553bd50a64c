//! Renewal does not depend on what the job does to the machine, nor on what the daemon is told.

use std::time::Duration;

use nano_worker::protocol::{Job, Status};
use rustix::process::Signal;

use crate::world::{OfferText, PATIENCE, PRICE, World, text};

/// The shortest lock there is, in seconds; what runs for several of it depends on renewal.
const TTL: u64 = 10;

fn offer(handler: &str) -> OfferText {
    OfferText {
        handler: format!("command = [\"/bin/sh\", \"handler.sh\"]\n{handler}"),
        rest: format!("[lock]\nttl_seconds = {TTL}"),
        ..OfferText::default()
    }
}

/// Pays for a job, and watches the relay's record of its lock until it ends: each renewal came while
/// the lock was still live, and nobody else ever had it.
async fn watched(world: &World, end: Status) -> Job {
    let job = world.accepted(&text("hello")).await;
    let hash = world.pay(&job, PRICE);
    world.submit(&job, &hash).await;
    let mut last: Option<Job> = None;
    let mut renewals = 0;
    let rounds = PATIENCE.as_millis() / 100 * 2;
    for _ in 0..rounds {
        let seen = world.again(async || world.buyer.job(&job.job_id).await).await;
        if seen.status.is_final() {
            assert_eq!(seen.status, end, "{seen:?}\n{}", world.logs());
            assert_eq!(seen.lock_token, 1, "the lock was lost and won again\n{}", world.logs());
            assert!(renewals >= 2, "{renewals} renewals: the job was too short to show anything");
            return seen;
        }
        if let Some(before) = last.as_ref().and_then(|last| last.lock_expires_at)
            && let Some(after) = seen.lock_expires_at
            && after != before
        {
            let renewed_at = after.minus(Duration::from_secs(TTL));
            assert!(renewed_at < before, "renewed at {renewed_at}, lapsed at {before}");
            renewals += 1;
        }
        last = Some(seen);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the job does not end: {last:?}\n{}", world.logs());
}

/// Known in others: lock renewal starves under the job's own load.
#[tokio::test]
async fn a_handler_that_burns_all_processors_does_not_starve_renewal() {
    let world = World::new().await;
    let spinners = 4 * std::thread::available_parallelism().unwrap().get();
    world.handler(&format!(
        "echo \"$JOB_ID\" >> ran; i=0\n\
         while [ $i -lt {spinners} ]; do (while :; do :; done) & i=$((i + 1)); done\n\
         sleep 14; cat"
    ));
    let _worker = world.start_worker("one", &offer(""));
    let job = watched(&world, Status::Delivered).await;
    assert_eq!(world.runs_of(&job), 1);
}

/// Known in others: lock renewal starves under the job's own load. This one takes memory until it
/// has no more, again and again, and swaps where the machine lets it.
#[tokio::test]
async fn a_handler_that_eats_memory_does_not_starve_renewal() {
    let world = World::new().await;
    world.handler(
        "echo \"$JOB_ID\" >> ran; end=$(($(date +%s) + 14))\n\
         while [ $(date +%s) -lt $end ]; do tail /dev/zero; done 2>/dev/null\n\
         kill -9 $$",
    );
    // Without PATH the shell has its own.
    let _worker = world.start_worker("one", &offer("memory_max_mib = 256"));
    let job = watched(&world, Status::Failed).await;
    assert_eq!(world.runs_of(&job), 1);
    assert_eq!(job.error["code"], "handler_failed");
    assert_eq!(job.error["message"], "the handler was killed by signal 9");
    // The daemon lives, and sells on.
    world.handler("echo \"$JOB_ID\" >> ran; cat");
    world.buy(&text("after")).await;
}

/// Known in others: lock renewal stops when a drain begins.
#[tokio::test]
async fn renewal_goes_on_while_the_worker_drains() {
    let world = World::new().await;
    world.handler("echo \"$JOB_ID\" >> ran; sleep 14; cat");
    let mut worker = world.start_worker("one", &offer(""));
    let draining = async {
        world.eventually("a start", async || (!world.runs().is_empty()).then_some(())).await;
        worker.signal(Signal::TERM);
    };
    let (job, ()) = tokio::join!(watched(&world, Status::Delivered), draining);
    assert_eq!(world.runs_of(&job), 1);
    assert!(worker.wait().success());
}

/// Recovery needs no person, and takes less than one lock period: by the relay's clock, the worker that
/// came back asked for its lock while that was still live.
#[tokio::test]
async fn a_worker_that_was_killed_is_back_before_its_lock_has_run_out() {
    let world = World::new().await;
    world.handler("echo \"$JOB_ID\" >> ran; sleep 8; cat");
    let offer = offer("idempotent = true");
    let mut worker = world.start_worker("one", &offer);
    let killing = async {
        world.eventually("a start", async || (!world.runs().is_empty()).then_some(())).await;
        worker.kill();
        world.start_worker("one", &offer)
    };
    let (job, _worker) = tokio::join!(watched(&world, Status::Delivered), killing);
    assert_eq!(world.runs_of(&job), 2);
}

/// Handlers that run at the same time; as many jobs again wait behind them.
const IN_HAND: usize = 16;

/// The same for a worker that has both hands full: no lock is lost, and nobody waits for one to run out.
#[tokio::test]
async fn a_worker_that_was_killed_with_many_jobs_in_hand_is_back_before_any_lock_has_run_out() {
    let world = World::new().await;
    world.handler("echo \"$JOB_ID\" >> ran; sleep 8; cat");
    let offer = offer(&format!("idempotent = true\nmax_parallel = {IN_HAND}"));
    let mut worker = world.start_worker("one", &offer);
    let mut jobs = Vec::new();
    for number in 0..2 * IN_HAND {
        let job = world.accepted(&text(&number.to_string())).await;
        let hash = world.pay(&job, PRICE);
        jobs.push(world.submit(&job, &hash).await);
    }
    world.eventually("all starts", async || (world.runs().len() >= IN_HAND).then_some(())).await;
    worker.kill();
    let begun = world.runs();
    let _worker = world.start_worker("one", &offer);
    for job in jobs {
        let ended = world.wait(job.job_id, Status::Delivered).await;
        let starts = 1 + usize::from(begun.contains_key(&job.job_id.to_string()));
        assert_eq!((world.runs_of(&ended), ended.lock_token), (starts, 1), "{}", world.logs());
    }
}

#[tokio::test]
async fn a_handler_is_below_the_daemon_and_within_its_limits() {
    let world = World::new().await;
    world.handler(
        "cut -d' ' -f19 /proc/self/stat; cat /proc/self/oom_score_adj; ulimit -d; ulimit -c; tail /dev/zero || echo full",
    );
    let _worker = world.start_worker("one", &offer("nice = 7\nmemory_max_mib = 64"));
    let job = world.buy(&text("hello")).await;
    let ours = rustix::process::getpriority_process(None).unwrap();
    let expected = format!("{}\n500\n{}\n0\nfull\n", (ours + 7).min(19), 64 * 1_024);
    assert_eq!(job.result_payload["text"], expected);
}
