//! That the simulation is what it says: the same every time, and able to find what is wrong.

use crate::bugs::{Bug, Wrong};
use crate::plan::{Coins, Fault, FaultKind, Handler, Host, Job, Manner, Net, Offer, Plan};
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
pub(crate) fn quiet(seed: u64) -> Plan {
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
        coins: None,
        bots: Vec::new(),
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

/// Answers take up to longer than a lock lives, so that one is won and lost before its holder knows.
/// Without the look at the lease before the start, two workers run one job with each of these.
#[test]
fn a_lock_that_is_heard_of_when_it_has_run_out_is_none() {
    for (seed, slow) in [(10, 200), (16, 60), (21, 200), (33, 200), (105, 60), (113, 120)] {
        let mut plan = quiet(seed);
        plan.workers = 2;
        plan.net.slow = slow;
        for job in &mut plan.jobs {
            (job.offer, job.work_ms) = (Offer::Idempotent, 30_000);
        }
        plan.heal_ms = 300_000;
        assert_eq!(run(&plan, false).violations, Vec::<String>::new(), "seed {seed}");
    }
}

/// Two workers of one seed with the same indices; one has not heard of the other's job when the relay
/// loses all it knew, the addresses as well.
#[test]
fn a_relay_that_has_forgotten_addresses_has_none_given_away_twice() {
    for seed in 0..12 {
        let mut plan = quiet(seed);
        (plan.workers, plan.poll_max_ms, plan.retention_s) = (2, 60_000, 5);
        for (job, at_ms) in plan.jobs.iter_mut().zip([31_500, 126_000, 180_000]) {
            (job.at_ms, job.manner) = (at_ms, Manner::Silent);
        }
        let kind = FaultKind::Replace { after_effects: 22, down_ms: 0 };
        plan.faults = vec![Fault { at_ms: 76_000, kind }];
        plan.heal_ms = 300_000;
        let report = run(&plan, false);
        assert_eq!(report.violations, Vec::<String>::new(), "seed {seed}");
        assert_eq!((report.handled, report.ended), (3, 3), "seed {seed}");
    }
}

/// Puts a bug in, and expects that some seed's violation says `expected`.
pub(crate) fn finds(bug: Bug, change: impl Fn(&mut Plan), expected: &str) {
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
    let none = |_: &mut Plan| ();
    let cancels = |plan: &mut Plan| plan.jobs.iter_mut().for_each(|job| job.manner = Manner::CancelsEarly);
    finds(Bug::WorkerSkipsBarrier, none, "which is not durably its own");
    finds(Bug::WorkerSkipsBarrier, cancels, "acknowledged, 0 durable");
    finds(Bug::WorkerSkipsBarrier, none, "of which nothing is durable");
    finds(Bug::WorkerSkipsBarrier, none, "though its durable stage is");
    finds(Bug::WorkerSkipsBarrier, none, "whose outcome is not durable");
    finds(Bug::WorkerSkipsBarrier, bring_home, "which is not durable");
    finds(Bug::Writes(Wrong::WorkerCursor), none, "acknowledged, 0 durable");
}

#[test]
fn a_lock_that_is_asked_for_before_its_payment_is_claimed_is_found() {
    finds(Bug::WorkerTires, |_| (), "whose durable stage is awaiting");
    finds(Bug::Writes(Wrong::WorkerClaims), |_| (), "whose payment");
}

#[test]
fn a_paid_job_that_ends_as_it_should_not_is_found() {
    let fails = |plan: &mut Plan| plan.jobs.iter_mut().for_each(|job| job.handler = Handler::Fails);
    let again = |plan: &mut Plan| plan.jobs.iter_mut().for_each(|job| job.offer = Offer::Idempotent);
    finds(Bug::Writes(Wrong::WorkerInterrupts), |_| (), "failed with worker_interrupted");
    finds(Bug::Writes(Wrong::WorkerInterrupts), fails, "failed with worker_interrupted");
    finds(Bug::Writes(Wrong::WorkerInterrupts), again, "failed with worker_interrupted");
    finds(Bug::Writes(Wrong::WorkerFails), |_| (), "failed with handler_failed");
    finds(Bug::Writes(Wrong::WorkerMixes), |_| (), "is delivered with");
    finds(Bug::Writes(Wrong::WorkerMixes), fails, "is delivered with");
    let waits = |plan: &mut Plan| (plan.payment_window_s, plan.heal_ms) = (100, 300_000);
    finds(Bug::Overlooks, waits, "failed with payment.not_found");
}

#[test]
fn an_interrupted_job_that_may_be_repeated_is_found() {
    let change = |plan: &mut Plan| {
        for job in &mut plan.jobs {
            (job.offer, job.work_ms) = (Offer::Idempotent, 30_000);
        }
        plan.faults = vec![crash(20_000), crash(45_000)];
    };
    finds(Bug::NeverRepeats, change, "failed with worker_interrupted");
}

/// Of jobs that expired paid, that were cancelled, that a relay has lost, whose hash a stranger has
/// submitted, and of what was paid twice.
#[test]
fn money_that_is_in_no_book_is_found() {
    let cancels = |plan: &mut Plan| plan.jobs.iter_mut().for_each(|job| job.manner = Manner::CancelsLate);
    let twice = |plan: &mut Plan| plan.jobs.iter_mut().for_each(|job| job.manner = Manner::PaysTwice);
    let underpays = |plan: &mut Plan| {
        plan.jobs.iter_mut().for_each(|job| job.manner = Manner::Underpays);
        (plan.payment_window_s, plan.heal_ms) = (60, 300_000);
    };
    let late = |plan: &mut Plan| {
        plan.jobs.iter_mut().for_each(|job| job.manner = Manner::PaysLate);
        (plan.accept_ttl_s, plan.heal_ms) = (60, 300_000);
    };
    let loses = |plan: &mut Plan| {
        plan.jobs.iter_mut().for_each(|job| job.work_ms = 30_000);
        let kind = FaultKind::Replace { after_effects: 0, down_ms: 100 };
        plan.faults = vec![Fault { at_ms: 20_000, kind }];
    };
    for wrong in [Wrong::WorkerForgives, Wrong::WorkerUnlists] {
        finds(Bug::Writes(wrong), cancels, "is canceled");
        finds(Bug::Writes(wrong), twice, "is delivered");
        finds(Bug::Writes(wrong), underpays, "payment.amount_mismatch");
        finds(Bug::Writes(wrong), late, "is expired");
        finds(Bug::Writes(wrong), stolen, "is expired");
        finds(Bug::Writes(wrong), loses, "is running");
    }
}

/// The payment of the first, silent buyer is submitted by the second one for another job.
fn stolen(plan: &mut Plan) {
    plan.jobs.truncate(2);
    (plan.jobs[0].manner, plan.jobs[1].manner) = (Manner::Silent, Manner::StealsHash);
    plan.jobs[1].at_ms = 1_000;
    (plan.accept_ttl_s, plan.payment_window_s, plan.heal_ms) = (60, 60, 300_000);
    // The seller hears of nothing before the hash is elsewhere.
    plan.faults = vec![Fault { at_ms: 0, kind: FaultKind::Unconfirmed { for_ms: 30_000 } }];
}

#[test]
fn a_stolen_hash_ends_in_the_books() {
    for seed in 0..SEEDS {
        let mut plan = quiet(seed);
        stolen(&mut plan);
        assert_eq!(run(&plan, false).violations, Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn a_move_that_is_in_no_table_is_found() {
    finds(Bug::Writes(Wrong::RelayBegins), |_| (), "begins as quoted");
    finds(Bug::Writes(Wrong::RelayStatus), |_| (), "went from requested to accepted");
}

#[test]
fn what_is_taken_back_is_found() {
    finds(Bug::Writes(Wrong::RelayTime), |_| (), "took back what was told");
    finds(Bug::Writes(Wrong::RelayTime), |_| (), "changed without a later time");
    finds(Bug::Writes(Wrong::RelayPayment), |_| (), "has another payment");
    finds(Bug::Writes(Wrong::RelayToken), |_| (), "has an older token");
    finds(Bug::Writes(Wrong::RelayLoses), |_| (), "is not known any more");
}

#[test]
fn a_job_that_cannot_be_read_is_found() {
    finds(Bug::Writes(Wrong::RelayGarbles), |_| (), "was answered with 5");
    finds(Bug::Writes(Wrong::RelayGarbles), |_| (), "that cannot be read");
}

#[test]
fn a_handler_that_runs_for_the_wrong_money_is_found() {
    finds(Bug::Writes(Wrong::WorkerAccount), |_| (), "which pays somebody else");
    finds(Bug::Writes(Wrong::WorkerPrice), |_| (), "runs for");
    finds(Bug::Writes(Wrong::WorkerClaims), |_| (), "which is not durably claimed");
}

#[test]
fn a_program_that_stops_by_itself_is_found() {
    finds(Bug::WorkerDiskFails, |_| (), "worker 0 stopped by itself");
    finds(Bug::RelayDiskFails, |_| (), "the relay stopped by itself");
}

#[test]
fn a_program_that_goes_round_in_circles_is_found() {
    finds(Bug::Circles, |_| (), "goes round in circles");
}

#[test]
fn what_stays_broken_is_found() {
    finds(Bug::StaysDown, |plan| plan.faults = vec![crash(12_000)], "worker 0 is down");
    finds(Bug::StaysDown, crash_relay, "the relay is down");
    finds(Bug::Writes(Wrong::RelayOffers), |_| (), "is not on the relay");
    let cut = |plan: &mut Plan| {
        let kind = FaultKind::Partition { one: Host::Worker(0), other: Host::Relay, for_ms: 10_000_000 };
        plan.faults = vec![Fault { at_ms: 10_500, kind }];
    };
    finds(Bug::NeverHeals, cut, "owes");
}

/// Coins are brought home, and those of the second job are the buyer's.
fn bring_home(plan: &mut Plan) {
    plan.coins = Some(Coins { every_s: 5, refunds: true, auto: false });
    plan.jobs[1].manner = Manner::CancelsLate;
    plan.jobs[1].work_ms = 30_000;
}

#[test]
fn coins_come_home_in_a_quiet_world() {
    let mut plan = quiet(1);
    bring_home(&mut plan);
    let report = run(&plan, false);
    assert_eq!(report.violations, Vec::<String>::new());
    assert!(
        report.counts["blocks sent"] >= 3 && report.counts["blocks received"] >= 3,
        "{:?}",
        report.counts
    );
}

/// Nobody asks for the refund of what was paid twice.
#[test]
fn what_is_owed_goes_back_by_itself_in_a_quiet_world() {
    let mut plan = quiet(1);
    plan.coins = Some(Coins { every_s: 5, refunds: true, auto: true });
    plan.jobs[0].manner = Manner::PaysTwice;
    let report = run(&plan, false);
    assert_eq!(report.violations, Vec::<String>::new());
    assert_eq!(report.counts.get("blocks sent back"), Some(&1), "{:?}", report.counts);
}

#[test]
fn coins_that_go_astray_are_found() {
    finds(Bug::SweepsAway, bring_home, "which sends to");
    finds(Bug::SweepsAway, bring_home, "do not add up");
    finds(Bug::ReceivesNothing, bring_home, "are still on");
    finds(Bug::Writes(Wrong::WorkerEarns), bring_home, "which takes what is");
    finds(Bug::Writes(Wrong::WorkerOwes), bring_home, "which gives away what was earned");
    finds(Bug::Writes(Wrong::WorkerEnds), bring_home, ", while");
}

#[test]
fn a_second_block_for_a_place_is_found() {
    let change = |plan: &mut Plan| {
        bring_home(plan);
        plan.faults = vec![crash(40_000), crash(60_000)];
    };
    finds(Bug::CoinsForgotten, change, "in the place of");
}

fn crash_relay(plan: &mut Plan) {
    let kind = FaultKind::Crash { host: Host::Relay, after_effects: 3, down_ms: 500, spared: 0 };
    plan.faults = vec![Fault { at_ms: 12_000, kind }];
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
/// The relay forgets the addresses, and after the worker has looked for them it forgets them too.
fn forgetful_relay(plan: &mut Plan) {
    let replace = FaultKind::Replace { after_effects: 0, down_ms: 100 };
    plan.faults = vec![Fault { at_ms: 18_500, kind: replace }, crash(37_000)];
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
