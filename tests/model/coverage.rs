//! Which rows and arms a fixed set of walks takes, how often, as a document.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use nano_worker::protocol::lifecycle::TRANSITIONS;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use proptest_state_machine::ReferenceStateMachine;

use crate::job::{Contract, Move, Real, Who};
use crate::stage::{Anything, Arm, World, turns};

const FILE: &str = "docs/lifecycle-coverage.md";

/// Enough that the rarest arm is taken.
const JOB_WALKS: usize = 600;
const STAGE_WALKS: usize = 1_000;

/// Visits of each stage from which every turn is tried, and not only the one that the walk takes:
/// what is rare in a rare stage would need millions of walks.
const FORKS: u32 = 20;

/// The machine's own table, which its unit tests hold against the code: one line for each stage and
/// input that mean something to each other.
const TABLE: &str = include_str!("../../src/worker/machine/table.txt");

/// What also means something, in circumstances that the table's examples are not in.
const BESIDES: &[(&str, &str)] =
    &[("awaiting", "due"), ("awaiting", "seen accepted"), ("refusing", "seen quoted")];

/// Stages that the table has for the sake of completeness and in which no walk can hear anything,
/// or nothing but one input; and why.
const UNREACHABLE: &[(&str, &str, &str)] = &[
    ("stopping(deliver)", "", "a handler has no outcome while it is killed"),
    ("indexing", "indextaken", "the address is taken within the same commit"),
];

/// The same walks in every run.
fn walks<M: ReferenceStateMachine>(count: usize, length: usize) -> Vec<(M::State, Vec<M::Transition>)> {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = M::sequential_strategy(length..=length);
    (0..count)
        .map(|_| {
            let (state, steps, _) = strategy.new_tree(&mut runner).unwrap().current();
            (state, steps)
        })
        .collect()
}

/// For each row of the table: how often it was taken, and how often it was tried and refused.
fn rows() -> String {
    let mut taken = vec![(0u64, 0u64); TRANSITIONS.len()];
    let mut elsewhere = 0u64;
    for (_, steps) in walks::<Contract>(JOB_WALKS, 30) {
        let mut real = Real::new();
        for step in steps {
            real = real.step(step);
            let Some((from, step, answer)) = &real.last else { continue };
            let (who, verb) = (who_name(step.who), verb_name(&step.what));
            let row = TRANSITIONS.iter().position(|row| {
                row.from == *from && row.actor.to_string() == who && row.verb.to_string() == verb
            });
            match (row, answer) {
                (Some(row), Ok(_)) => taken[row].0 += 1,
                (Some(row), Err(_)) => taken[row].1 += 1,
                (None, answer) => {
                    assert!(answer.is_err(), "{step:?} was taken off the table");
                    elsewhere += 1;
                }
            }
        }
    }
    let mut text = String::from(
        "| from | who | does | to | taken | refused by its guard |\n|---|---|---|---|---|---|\n",
    );
    for (row, (done, refused)) in TRANSITIONS.iter().zip(taken) {
        assert!(done > 0, "no walk takes {row:?}");
        assert!(refused > 0 || row.guard.is_empty(), "no walk meets the guard of {row:?}");
        let (from, who, verb, to) = (row.from, row.actor, row.verb, row.to);
        text += &format!("| {from} | {who} | {verb} | {to} | {done} | {refused} |\n");
    }
    text + &format!("\nMoves that are on no row, all refused: {elsewhere}.\n")
}

fn who_name(who: Who) -> &'static str {
    match who {
        Who::Seller => "seller",
        Who::Buyer => "buyer",
        Who::Stranger => "stranger",
        Who::Clock => "clock",
    }
}

const fn verb_name(what: &Move) -> &'static str {
    match what {
        Move::Quote(_) => "quote",
        Move::Refuse => "refuse",
        Move::Accept => "accept",
        Move::Pay(_) => "pay",
        Move::Lock { .. } => "lock",
        Move::Unlock(..) => "unlock",
        Move::Deliver(_) => "deliver",
        Move::Fail(_) => "fail",
        Move::Cancel => "cancel",
        Move::Expire => "expire",
    }
}

/// For each arm of the machine: how often it was taken.
fn arms() -> String {
    let mut taken: BTreeMap<Arm, u64> = BTreeMap::new();
    let mut count = |arms: &[Arm]| arms.iter().for_each(|arm| *taken.entry(arm.clone()).or_insert(0) += 1);
    let mut forked: BTreeMap<String, u32> = BTreeMap::new();
    for (offer, steps) in walks::<Anything>(STAGE_WALKS, 40) {
        let mut world = World::new(offer);
        for step in &steps {
            world = world.turn(step);
            let visits = forked.entry(world.stage_name()).or_insert(0);
            if *visits < FORKS {
                *visits += 1;
                let walked = world.arms.len();
                for turn in turns() {
                    count(&world.clone().turn(&turn).finish().arms[walked..]);
                }
            }
        }
        count(&world.finish().arms);
    }
    let pairs: BTreeSet<(String, String)> =
        taken.keys().map(|arm| (arm.stage.clone(), arm.heard.clone())).collect();
    let besides = BESIDES.iter().map(|(stage, heard)| ((*stage).to_owned(), (*heard).to_owned()));
    let wanted: BTreeSet<(String, String)> = TABLE.lines().map(pair).chain(besides).collect();
    let unreachable = |(stage, heard): &&(String, String)| {
        UNREACHABLE.iter().any(|(name, only, _)| name == stage && only != heard)
    };
    let missed: Vec<_> = wanted.difference(&pairs).filter(|pair| !unreachable(pair)).collect();
    assert!(missed.is_empty(), "no walk takes these {} arms: {missed:#?}", missed.len());
    assert!(!pairs.iter().any(|pair| unreachable(&pair)), "a stage was reached that cannot be");
    let unknown: Vec<_> = pairs.difference(&wanted).collect();
    assert!(unknown.is_empty(), "the machine's table lacks {unknown:?}");
    let mut text = String::from("| stage | hears | becomes | times |\n|---|---|---|---|\n");
    for (Arm { stage, heard, becomes }, times) in &taken {
        text += &format!("| {stage} | {heard} | {becomes} | {times} |\n");
    }
    for (stage, only, why) in UNREACHABLE {
        let else_ = if only.is_empty() { "anything" } else { "anything else" };
        text += &format!("| {stage} | {else_} | | 0: {why} |\n");
    }
    text
}

/// A line of the table, without the numbers and in this document's words.
fn pair(line: &str) -> (String, String) {
    let mut columns = line.split(" | ");
    let (stage, heard) = (columns.next().unwrap(), columns.next().unwrap());
    let stage = stage.trim_start_matches("idempotent ");
    let stage = match stage.split_once('(') {
        Some(("running" | "delivering", _)) => stage.split('(').next().unwrap().to_owned(),
        Some((name, plan)) => {
            let plan = plan.split([':', '+', ')']).next().unwrap();
            format!("{name}({plan})")
        }
        None => stage.to_owned(),
    };
    (stage, heard_name(heard))
}

fn heard_name(heard: &str) -> String {
    match heard {
        "judged payment.late" => "judged late".to_owned(),
        "judged payment.not_found" => "judged unpaid".to_owned(),
        _ if heard.starts_with("locked ") => "locked".to_owned(),
        _ if heard.starts_with("finished ") => "finished".to_owned(),
        _ => match heard.split_once(" not taken: ") {
            Some((_, "no such job")) => "gone".to_owned(),
            Some((call, why)) => {
                let why = match why {
                    "the address is on another job" => "address used",
                    "another holder's lock is live" => "locked by another",
                    "bad" => "invalid",
                    _ => "state",
                };
                format!("{call} not taken: {why}")
            }
            None => heard.to_owned(),
        },
    }
}

#[test]
fn every_row_and_every_arm_is_walked() {
    let text = format!(
        "# Where the walks went\n\n\
         Counted by `tests/model` over a fixed set of random walks, {JOB_WALKS} of jobs and {STAGE_WALKS} of \
         the worker's machine\n(and every turn from the first {FORKS} visits of each of its stages);\na row or an arm that none of them takes fails the test.\n\
         `UPDATE_DOCS=1 cargo test --test model` writes this anew.\n\n\
         ## The public table\n\n{}\n## The worker's machine\n\n{}",
        rows(),
        arms()
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "{FILE} is out of date: UPDATE_DOCS=1 cargo test --test model");
}
