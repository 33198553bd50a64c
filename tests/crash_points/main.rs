//! Every program dies at every point of `src/points.rs`, along every path by which it can come back,
//! and the whole history is looked at afterwards.
//!
//! The runs are generated from the list of points: a new one is run through the usual sale, and fails
//! the test if that does not get there.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests wait for processes by the clock, stop where they fail, and say how many runs there were"
)]

mod bazaar;
mod bot_buyers;
#[path = "../common/bot_seller.rs"]
mod bot_seller;
mod bot_sellers;
mod buyers;
mod lane;
mod oracle;
#[path = "../common/process.rs"]
mod process;
mod refunds;
mod relays;
mod seller;
mod stories;
mod workers;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::Instant;

use futures_util::FutureExt as _;

/// Runs at the same time: most of a run is waiting.
const LANES: usize = 8;

/// One program's runs at a time.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Runs all of `runs` on a few lanes, each with what `open` makes, and says which failed and why.
///
/// What a run has left behind may be broken once it has failed, so its lane is made anew.
async fn all<R, L>(
    runs: Vec<R>,
    name: impl Fn(&R) -> String,
    open: impl AsyncFn() -> L,
    run: impl AsyncFn(&L, &R),
    said: impl Fn(&L) -> String,
) -> Vec<String> {
    let _turn = TURN.lock().await;
    let (queue, failures) = (Mutex::new(VecDeque::from(runs)), Mutex::new(Vec::new()));
    let lanes = (0..LANES).map(|_| async {
        let mut lane = open().await;
        loop {
            let Some(next) = queue.lock().unwrap().pop_front() else { return };
            let started = Instant::now();
            let ended = AssertUnwindSafe(run(&lane, &next)).catch_unwind().await;
            if std::env::var_os("CRASH_POINTS_SHOW").is_some() {
                eprintln!("{:6} ms  {}", started.elapsed().as_millis(), name(&next));
            }
            if let Err(panic) = ended {
                let why = panic.downcast_ref::<String>().cloned();
                let why = why.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
                let why = why.unwrap_or_default();
                failures.lock().unwrap().push(format!("{}: {why}\n{}", name(&next), said(&lane)));
                lane = open().await;
            }
        }
    });
    futures_util::future::join_all(lanes).await;
    failures.into_inner().unwrap()
}

/// Only the runs whose names contain this, for whoever looks for a failure.
fn wanted(name: &str) -> bool {
    std::env::var("CRASH_POINTS").map_or(true, |part| name.contains(&part))
}

fn report(points: usize, runs: usize, paths: &str, failures: &[String], started: Instant) {
    println!(
        "{points} crash points × {paths} = {runs} runs in {} s, {} failed",
        started.elapsed().as_secs(),
        failures.len()
    );
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
