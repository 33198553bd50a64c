//! Schedules, many of them; and what failed, made small.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nano_worker::edge::monotonic;

use crate::plan::Plan;
use crate::run::{Report, run};

/// Runs that making a failure smaller may cost.
const SHRINKS_MAX: usize = 400;

/// How often a long run says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(30);

#[test]
fn fresh_seeds() {
    let count = number("SIM_SCHEDULES").unwrap_or(200);
    let first = number("SIM_SEED").unwrap_or_else(from_the_system);
    let threads = number("SIM_THREADS").unwrap_or(2);
    let seconds = number("SIM_SECONDS").unwrap_or(u64::MAX);
    println!("SIM_SEED={first} SIM_SCHEDULES={count}");
    let next = AtomicU64::new(0);
    let sums = Mutex::new(Sums::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count || sums.lock().unwrap().is_enough(seconds) {
                        return;
                    }
                    let seed = first.wrapping_add(index);
                    let report = run(&Plan::draw(seed), false);
                    sums.lock().unwrap().add(seed, report);
                }
            });
        }
    });
    let sums = sums.into_inner().unwrap();
    sums.say();
    println!("{:?}", sums.counts);
    if let Some(seed) = sums.failures.first() {
        panic!("{}", explain(*seed));
    }
}

/// What came of all schedules so far.
struct Sums {
    began: Instant,
    said: Instant,
    goes_on: bool,
    run: u64,
    events: u64,
    handled: u64,
    ended: u64,
    slowest: Duration,
    counts: BTreeMap<&'static str, u64>,
    failures: Vec<u64>,
}

impl Sums {
    fn new() -> Self {
        let now = monotonic();
        Self {
            began: now,
            said: now,
            goes_on: number("SIM_KEEP_GOING").is_some(),
            run: 0,
            events: 0,
            handled: 0,
            ended: 0,
            slowest: Duration::ZERO,
            counts: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    fn add(&mut self, seed: u64, report: Report) {
        self.run += 1;
        self.events += report.events;
        self.handled += u64::from(report.handled);
        self.ended += u64::from(report.ended);
        self.slowest = self.slowest.max(report.recovered);
        for (what, count) in report.counts {
            *self.counts.entry(what).or_default() += count;
        }
        if !report.violations.is_empty() {
            println!("VIOLATION seed {seed}: {}", report.violations.join("; "));
            self.failures.push(seed);
        }
        if monotonic().duration_since(self.said) > SAY_EVERY {
            self.said = monotonic();
            self.say();
        }
    }

    fn is_enough(&self, seconds: u64) -> bool {
        let late = monotonic().duration_since(self.began).as_secs() >= seconds;
        late || (!self.goes_on && !self.failures.is_empty())
    }

    fn say(&self) {
        let seconds = monotonic().duration_since(self.began).as_secs_f64();
        println!(
            "{} schedules in {seconds:.0} s, {:.1} a second: {} with violations; {} events, {} handlers, {} jobs ended, slowest recovery {} s",
            self.run,
            self.run as f64 / seconds,
            self.failures.len(),
            self.events,
            self.handled,
            self.ended,
            self.slowest.as_secs(),
        );
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
