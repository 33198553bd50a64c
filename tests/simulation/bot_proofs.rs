//! That sales over /v0 are looked at as closely as the others.

use crate::bugs::Bug;
use crate::plan::{FIRST_OF_BOTS, Fault, FaultKind, Host, Job, Manner, Plan};
use crate::proofs::{finds, quiet};
use crate::run::{Report, run};

/// The bot is the worker after the only one.
const BOT: Host = Host::Worker(1);

/// What was to be asked of the workers is asked of a bot.
fn over_v0(plan: &mut Plan) {
    let jobs = std::mem::take(&mut plan.jobs).into_iter();
    plan.bots = jobs.map(|job| Job { number: job.number + FIRST_OF_BOTS, ..job }).collect();
}

fn crash(host: Host, at_ms: u64) -> Fault {
    Fault { at_ms, kind: FaultKind::Crash { host, after_effects: 3, down_ms: 500, spared: 0 } }
}

fn runs_well(plan: &Plan) -> Report {
    let report = run(plan, false);
    assert_eq!(report.violations, Vec::<String>::new());
    report
}

#[test]
fn a_bot_sells_in_a_quiet_world() {
    let mut plan = quiet(1);
    over_v0(&mut plan);
    let report = runs_well(&plan);
    assert_eq!((report.handled, report.counts["jobs of bots ended"]), (3, 3));
}

#[test]
fn what_is_paid_late_is_charged_for_again() {
    let mut plan = quiet(1);
    over_v0(&mut plan);
    plan.quote_ttl_s = 10;
    plan.heal_ms = 240_000;
    plan.bots.iter_mut().for_each(|job| job.manner = Manner::PaysLate);
    let report = runs_well(&plan);
    assert_eq!((report.handled, report.counts["jobs of bots ended"]), (3, 3));
}

#[test]
fn a_bot_comes_back_to_a_relay_that_has_lost_everything() {
    let mut plan = quiet(2);
    over_v0(&mut plan);
    let replace = |at_ms| Fault { at_ms, kind: FaultKind::Replace { after_effects: 0, down_ms: 2_000 } };
    plan.faults = vec![replace(10_000), replace(50_000)];
    runs_well(&plan);
}

#[test]
fn a_bot_without_a_barrier_is_found() {
    for expected in [
        "acknowledged, 0 durable",
        "which is not durably its own",
        "which is not durably claimed for it",
        "though its durable stage is",
        "whose outcome is not durable",
    ] {
        finds(Bug::WorkerSkipsBarrier, over_v0, expected);
    }
}

#[test]
fn an_index_that_a_bot_forgets_is_found() {
    let change = |plan: &mut Plan| {
        over_v0(plan);
        plan.faults = vec![crash(BOT, 12_000), crash(BOT, 35_000)];
    };
    finds(Bug::IndexForgotten, change, "used index");
}

#[test]
fn a_handler_of_a_bot_that_starts_twice_is_found() {
    let change = |plan: &mut Plan| {
        over_v0(plan);
        plan.bots.iter_mut().for_each(|job| job.work_ms = 30_000);
        plan.faults = vec![crash(BOT, 20_000), crash(BOT, 25_000)];
    };
    finds(Bug::RunsAgain, change, "must not be repeated");
}

#[test]
fn a_paid_charge_that_leads_to_nothing_is_found() {
    let change = |plan: &mut Plan| {
        over_v0(plan);
        let kind = FaultKind::Crash { host: Host::Node, after_effects: 0, down_ms: 10_000_000, spared: 0 };
        plan.faults = vec![Fault { at_ms: 4_000, kind }];
    };
    finds(Bug::NeverPaid, change, "is paid and ");
}
