//! That the simulation is what it says: the same every time, and able to find what is wrong.

use crate::plan::{Bug, Fault, FaultKind, Handler, Host, Job, Manner, Net, Offer, Plan};
use crate::run::run;

/// Seeds that a bug may hide from.
const SEEDS: u64 = 12;

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in 1..=6 {
        let plan = Plan::draw(seed);
        let (one, other) = (run(&plan, true), run(&plan, true));
        let different = one.log.iter().zip(&other.log).position(|(one, other)| one != other);
        if let Some(line) = different {
            let from = line.saturating_sub(5);
            panic!("seed {seed} differs:\n{:#?}\n{:#?}", &one.log[from..=line], &other.log[from..=line]);
        }
        assert_eq!(one.log.len(), other.log.len(), "seed {seed}");
    }
}

/// Honest buyers and a quiet world, but for what is changed.
fn quiet(seed: u64) -> Plan {
    let job = |number: usize| Job {
        number,
        at_ms: 1_000 + 20_000 * number as u64,
        offer: Offer::Once,
        manner: Manner::Honest,
        work_ms: 5_000,
        handler: Handler::Succeeds,
    };
    Plan {
        workers: 1,
        same_indices: true,
        lock_ttl_s: 10,
        poll_max_ms: 5_000,
        retention_s: 3_600,
        accept_ttl_s: 300,
        quote_ttl_s: 300,
        payment_window_s: 300,
        limited: false,
        net: Net::default(),
        jobs: (0..3).map(job).collect(),
        faults: Vec::new(),
        heal_ms: 90_000,
        bug: None,
        ..Plan::draw(seed)
    }
}

fn crash(at_ms: u64) -> Fault {
    let kind = FaultKind::Crash { host: Host::Worker(0), after_effects: 3, down_ms: 500, spared: 0 };
    Fault { at_ms, kind }
}

#[test]
fn a_quiet_world_has_no_violations() {
    let report = run(&quiet(1), false);
    assert_eq!(report.violations, Vec::<String>::new());
    assert_eq!((report.handled, report.ended), (3, 3));
}

#[test]
fn offers_come_back_to_a_relay_that_has_lost_everything() {
    let mut plan = quiet(2);
    let replace = |at_ms| Fault { at_ms, kind: FaultKind::Replace { after_effects: 0, down_ms: 2_000 } };
    plan.faults = vec![replace(10_000), replace(50_000)];
    assert_eq!(run(&plan, false).violations, Vec::<String>::new());
}

/// Puts a bug in, and expects that some seed's violation says `expected`.
fn finds(bug: Bug, change: impl Fn(&mut Plan), expected: &str) {
    let mut all = Vec::new();
    for seed in 0..SEEDS {
        let mut plan = quiet(seed);
        plan.bug = Some(bug);
        change(&mut plan);
        let violations = run(&plan, false).violations;
        if violations.iter().any(|what| what.contains(expected)) {
            return;
        }
        all.extend(violations);
    }
    panic!("{bug:?} was not found; only {all:#?}");
}

#[test]
fn a_worker_without_a_barrier_is_found() {
    finds(Bug::WorkerSkipsBarrier, |_| (), "which is not durably its own");
    let acks = |plan: &mut Plan| plan.jobs.iter_mut().for_each(|job| job.manner = Manner::CancelsEarly);
    finds(Bug::WorkerSkipsBarrier, acks, "not dura");
}

#[test]
fn a_relay_without_a_barrier_is_found() {
    finds(Bug::RelaySkipsBarrier, |_| (), "what was not durable");
}

#[test]
fn a_forgotten_index_is_found() {
    let change = |plan: &mut Plan| plan.faults = vec![crash(12_000), crash(35_000)];
    finds(Bug::IndexForgotten, change, "used index");
}

#[test]
fn an_address_that_is_quoted_twice_is_found() {
    finds(Bug::IndexForgotten, forgetful_relay, "is quoted on");
}

#[test]
fn a_block_that_pays_twice_is_found() {
    finds(Bug::ClaimsForgotten, forgetful_relay, "is claimed by");
}

/// The relay refuses an address that it has seen before, unless it has forgotten everything.
fn forgetful_relay(plan: &mut Plan) {
    let replace = FaultKind::Replace { after_effects: 0, down_ms: 100 };
    plan.faults = vec![Fault { at_ms: 18_500, kind: replace }, crash(19_000)];
}

#[test]
fn an_unconfirmed_payment_is_found() {
    let change = |plan: &mut Plan| {
        plan.faults = vec![Fault { at_ms: 0, kind: FaultKind::Unconfirmed { for_ms: 80_000 } }];
    };
    finds(Bug::NodeLies, change, "is not confirmed");
}

#[test]
fn a_handler_that_starts_twice_is_found() {
    let change = |plan: &mut Plan| {
        plan.jobs.iter_mut().for_each(|job| job.work_ms = 30_000);
        plan.faults = vec![crash(20_000), crash(25_000)];
    };
    finds(Bug::RunsAgain, change, "must not be repeated");
}

#[test]
fn two_holders_are_found() {
    let change = |plan: &mut Plan| {
        plan.workers = 2;
        for job in &mut plan.jobs {
            (job.offer, job.work_ms) = (Offer::Idempotent, 55_000);
        }
    };
    finds(Bug::LeaseEternal, change, "runs at worker");
}

#[test]
fn a_paid_job_that_does_not_end_is_found() {
    let change = |plan: &mut Plan| {
        let kind = FaultKind::Crash { host: Host::Node, after_effects: 0, down_ms: 10_000_000, spared: 0 };
        plan.faults = vec![Fault { at_ms: 4_000, kind }];
    };
    finds(Bug::NeverPaid, change, "is paid and accepted");
}
