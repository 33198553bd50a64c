//! The worker dies at each of its points.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nano_worker::points::POINTS;

use crate::lane::Lane;
use crate::oracle;
use crate::seller::{Path, Seller};
use crate::stories::{Shape, Story};
use crate::{all, report, wanted};

const SALE: Shape = Shape::Sale { idempotent: false };
const RERUN: Shape = Shape::Sale { idempotent: true };

/// Points that the usual sale does not reach, and points at which other sales are worth a look.
const SHAPES: &[(&str, &[Shape])] = &[
    ("worker/start/resumed", &[SALE, Shape::Strays]),
    ("worker/index/recognised", &[Shape::StateLost]),
    ("worker/claim/made", &[SALE, Shape::Parts]),
    ("worker/outcome/kept", &[SALE, RERUN, Shape::Fails]),
    ("worker/committed/ask-price", &[Shape::Priced]),
    ("worker/durable/ask-price", &[Shape::Priced]),
    ("worker/handler/priced", &[Shape::Priced]),
    ("worker/committed/send-refusal", &[Shape::Refused]),
    ("worker/durable/send-refusal", &[Shape::Refused]),
    ("worker/send/refuse", &[Shape::Refused]),
    ("worker/answer/refuse", &[Shape::Refused]),
    ("worker/committed/fetch", &[Shape::Unheard]),
    ("worker/durable/fetch", &[Shape::Unheard]),
    ("worker/send/fetch", &[Shape::Recovering]),
    ("worker/answer/fetch", &[Shape::Recovering]),
    ("worker/committed/watch", &[SALE, Shape::Canceled]),
    ("worker/durable/watch", &[SALE, Shape::Canceled]),
    ("worker/committed/free-place", &[Shape::Elsewhere]),
    ("worker/durable/free-place", &[Shape::Elsewhere]),
    ("worker/committed/execute", &[SALE, RERUN]),
    ("worker/durable/execute", &[SALE, RERUN]),
    ("worker/committed/kill", &[Shape::Rival]),
    ("worker/durable/kill", &[Shape::Rival]),
    ("worker/handler/killed", &[Shape::Rival]),
    ("worker/committed/kill-strays", &[Shape::Strays]),
    ("worker/durable/kill-strays", &[Shape::Strays]),
    ("worker/committed/deliver", &[SALE, Shape::Fails]),
    ("worker/send/renew", &[Shape::Slow]),
    ("worker/answer/renew", &[Shape::Slow]),
    ("worker/answer/payment", &[SALE, Shape::Parts]),
    ("worker/send/change", &[Shape::Reoffered, Shape::Rewritten]),
    ("worker/answer/change", &[Shape::Reoffered, Shape::Rewritten]),
    ("worker/send/withdrawal", &[Shape::Reoffered]),
    ("worker/answer/withdrawal", &[Shape::Reoffered]),
    ("worker/offer/written", &[SALE, Shape::Reoffered]),
    ("worker/handler/started", &[SALE, RERUN]),
    ("worker/handler/finished", &[SALE, RERUN]),
    ("worker/money/reckoned", &[SALE, Shape::Owing]),
    ("worker/money/noticed", &[Shape::Sweeping, Shape::Refunding]),
    ("worker/money/settled", &[Shape::Refunding, Shape::Returning]),
    ("worker/coins/signed", &[Shape::Sweeping, Shape::Refunding, Shape::Returning]),
    ("worker/coins/kept", &[Shape::Sweeping, Shape::Refunding, Shape::Returning]),
    ("worker/coins/published", &[Shape::Sweeping, Shape::Refunding, Shape::Returning]),
    ("worker/stop/draining", &[Shape::Stopped]),
    ("worker/stop/stopping", &[Shape::Stopped]),
    ("worker/stop/stopped", &[Shape::Stopped]),
    ("worker/stop/durable", &[Shape::Stopped]),
];

/// Points between an attempt that was stored and an outcome that was: a handler that must not run
/// twice may have run, so the job may end as interrupted. Nowhere else may it.
pub(crate) const INTERRUPT: &[&str] = &[
    "worker/committed/hold",
    "worker/durable/hold",
    "worker/committed/execute",
    "worker/durable/execute",
    "worker/handler/start",
    "worker/handler/started",
    "worker/handler/finished",
    "worker/outcome/kept",
    "worker/committed/deliver",
];

/// Points behind a drain that has ended: a handler that was running has finished, in a third of a second,
/// and what it gave is handed over.
pub(crate) const DRAINED: &[&str] = &["worker/stop/stopping", "worker/stop/stopped", "worker/stop/durable"];

struct Run {
    point: &'static str,
    shape: Shape,
    path: Path,
}

impl Run {
    fn name(&self) -> String {
        format!("{} {:?} {:?}", self.point, self.shape, self.path)
    }
}

fn shapes(point: &str) -> &'static [Shape] {
    SHAPES.iter().find(|(name, _)| *name == point).map_or(&[SALE], |(_, shapes)| shapes)
}

/// The longest runs first, so that none of them is the last alone.
fn runs() -> Vec<Run> {
    let points = POINTS.iter().map(|point| point.name).filter(|name| name.starts_with("worker/"));
    let points = points.filter(|name| !crate::bot_sellers::is_bots(name));
    let mut runs: Vec<Run> = points
        .flat_map(|point| shapes(point).iter().map(move |&shape| (point, shape)))
        .flat_map(|(point, shape)| Path::ALL.map(|path| Run { point, shape, path }))
        .filter(|run| wanted(&run.name()))
        .collect();
    runs.sort_by_key(|run| (run.shape != Shape::Slow, run.path != Path::LockExpired));
    runs
}

async fn run(lane: &Arc<Lane>, run: &Run, longest: &Mutex<Duration>) {
    let seller = Seller::new(lane, &format!("{}=return", run.point), run.path);
    let story = Story::new(&seller, run.point);
    let (told, recovery) = tokio::select! {
        told = story.tell(run.shape) => told,
        () = seller.tend() => return,
    };
    seller.kill();
    oracle::check(&seller, &told).await;
    if run.path != Path::LockExpired {
        let mut longest = longest.lock().unwrap();
        *longest = recovery.unwrap_or_default().max(*longest);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_anywhere_loses_nothing_and_does_nothing_twice() {
    let (started, runs) = (Instant::now(), runs());
    let points: std::collections::BTreeSet<&str> = runs.iter().map(|run| run.point).collect();
    let (points, count) = (points.len(), runs.len());
    let longest = Mutex::new(Duration::ZERO);
    let open = async || {
        let lane = Lane::new().await;
        lane.start_relay("");
        Arc::new(lane)
    };
    let run = async |lane: &Arc<Lane>, one: &Run| run(lane, one, &longest).await;
    let failures = all(runs, Run::name, open, run, |lane| lane.said()).await;
    println!("the longest recovery took {} ms", longest.into_inner().unwrap().as_millis());
    report(points, count, &format!("{} paths (and shapes)", Path::ALL.len()), &failures, started);
}
