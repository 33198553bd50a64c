//! Schedules, many of them; and what failed, made small.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nano_worker::edge::monotonic;

use crate::plan::Plan;
use crate::run::{Report, run};

/// Runs that making a failure smaller may cost.
const SHRINKS_MAX: usize = 400;

#[test]
fn fresh_seeds() {
    let count = number("SIM_SCHEDULES").unwrap_or(200);
    let first = number("SIM_SEED").unwrap_or_else(from_the_system);
    let threads = number("SIM_THREADS").unwrap_or(2);
    println!("SIM_SEED={first} SIM_SCHEDULES={count}");
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let (events, handled, ended, slowest) =
        (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let counts: Mutex<BTreeMap<&str, u64>> = Mutex::default();
    let began = monotonic();
    let failures: Vec<u64> = std::thread::scope(|scope| {
        let work = || {
            let mut failures = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count || failed.load(Ordering::Relaxed) {
                    return failures;
                }
                let seed = first.wrapping_add(index);
                let report = run(&Plan::draw(seed), false);
                events.fetch_add(report.events, Ordering::Relaxed);
                handled.fetch_add(report.handled.into(), Ordering::Relaxed);
                ended.fetch_add(report.ended.into(), Ordering::Relaxed);
                for (what, count) in &report.counts {
                    *counts.lock().unwrap().entry(what).or_default() += count;
                }
                slowest.fetch_max(report.recovered.as_secs(), Ordering::Relaxed);
                if !report.violations.is_empty() {
                    println!("seed {seed}: {}", report.violations.join("; "));
                    failures.push(seed);
                    if number("SIM_KEEP_GOING").is_none() {
                        failed.store(true, Ordering::Relaxed);
                    }
                }
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let run = next.load(Ordering::Relaxed).min(count);
    let seconds = monotonic().duration_since(began).as_secs_f64();
    println!(
        "{run} schedules in {seconds:.1} s, {:.1} a second; {} events, {} handlers, {} jobs ended, slowest recovery {} s",
        run as f64 / seconds,
        events.into_inner(),
        handled.into_inner(),
        ended.into_inner(),
        slowest.into_inner(),
    );
    println!("{:?}", counts.into_inner().unwrap());
    if let Some(seed) = failures.first() {
        panic!("{}", explain(*seed));
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has no command line of its own")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn from_the_system() -> u64 {
    nano_worker::edge::Entropy::system().number() >> 16
}

/// A failing seed, with how to run it again and as little history as still fails.
pub(crate) fn explain(seed: u64) -> String {
    let plan = shrink(Plan::draw(seed));
    let Report { violations, log, .. } = run(&plan, true);
    format!(
        "seed {seed} fails: {}\nreplay: SIM_SEED={seed} SIM_SCHEDULES=1 cargo test --test simulation fresh_seeds -- --nocapture\n{plan:#?}\n{}",
        violations.join("; "),
        log.join("\n")
    )
}

/// Leaves out what is not needed for a failure.
fn shrink(mut plan: Plan) -> Plan {
    let mut runs = 0;
    let deadline = monotonic() + Duration::from_secs(120);
    loop {
        let smaller = smaller(&plan).into_iter().find(|candidate| {
            runs += 1;
            runs < SHRINKS_MAX && monotonic() < deadline && !run(candidate, false).violations.is_empty()
        });
        match smaller {
            Some(smaller) => plan = smaller,
            None => return plan,
        }
    }
}

/// The plan with one thing less, in all ways.
fn smaller(plan: &Plan) -> Vec<Plan> {
    let mut all = Vec::new();
    for index in 0..plan.faults.len() {
        let mut faults = plan.faults.clone();
        faults.remove(index);
        all.push(Plan { faults, ..plan.clone() });
    }
    for index in 0..plan.jobs.len() {
        let mut jobs = plan.jobs.clone();
        jobs.remove(index);
        all.push(Plan { jobs, ..plan.clone() });
    }
    let net = plan.net;
    let nets = [
        (net.lost > 0, crate::plan::Net { lost: 0, ..net }),
        (net.answer_lost > 0, crate::plan::Net { answer_lost: 0, ..net }),
        (net.repeated > 0, crate::plan::Net { repeated: 0, ..net }),
        (net.slow > 0, crate::plan::Net { slow: 0, ..net }),
    ];
    all.extend(nets.into_iter().filter(|(some, _)| *some).map(|(_, net)| Plan { net, ..plan.clone() }));
    all
}
