//! Every stage hears every input, and a stranger's world tries to break the rules.

use super::*;
use crate::protocol::Status;
use crate::worker::input::{Pricing, Sighting};
use nano_currency::{Account, Amount, BlockHash};

mod late;
mod walk;

pub(super) const PRICE: Amount = Amount::from_raw(1_000);

pub(super) fn invoice(index: u32) -> Invoice {
    let mut key = [7; 32];
    key[0] = u8::try_from(index).unwrap();
    Invoice { index, account: Account::from_bytes(key), price: PRICE }
}

pub(super) fn context(now: i64, idempotent: bool) -> Context {
    Context {
        now: Timestamp::from_seconds(now),
        pricing: Pricing::Fixed(PRICE),
        idempotent,
        payment_window: Duration::from_secs(100),
        lapsed_watch: Duration::from_secs(1_000),
        revives: false,
    }
}

fn block() -> BlockHash {
    BlockHash::from_bytes([9; 32])
}

fn paid(hash_submitted: bool) -> Paid {
    Paid { invoice: invoice(1), total: PRICE, blocks: vec![block()], hash_submitted, attempts: 0 }
}

fn started(hash_submitted: bool) -> Paid {
    Paid { attempts: 1, ..paid(hash_submitted) }
}

fn settled() -> Verdict {
    Verdict::Settled { blocks: vec![block()], total: PRICE }
}

fn lock(token: u64) -> Lock {
    Lock { token: Some(token), expires_at: Timestamp::from_seconds(300) }
}

fn error(code: &str) -> JobError {
    JobError { code: code.to_owned(), message: "m".to_owned(), details: Value::Null }
}

fn plans() -> Vec<Plan> {
    vec![
        Plan::Run { paid: paid(true), placed: true },
        Plan::Run { paid: paid(false), placed: false },
        Plan::Fail { error: error("worker_interrupted") },
        Plan::Deliver { round: 2, failed: false },
    ]
}

fn stages() -> Vec<Stage> {
    let until = Timestamp::from_seconds(50);
    let invoice = invoice(1);
    let mut stages = vec![
        Stage::Fresh,
        Stage::Pricing,
        Stage::Indexing { price: PRICE, tries: 1 },
        Stage::Quoting { invoice, tries: 1 },
        Stage::Refusing { reason: "no".to_owned() },
        Stage::Quoted { invoice },
        awaiting(None, None),
        awaiting(Some("AB"), Some(Verdict::Unpaid(PaymentError::NotFound))),
        awaiting(Some("AB"), Some(settled())),
        Stage::Queued { paid: paid(true) },
        Stage::Ready { paid: paid(false), lock: lock(1) },
        Stage::Running { paid: started(true), lock: lock(1), attempt: 1 },
        Stage::Delivering { lock: lock(1), round: 1, failed: false },
        Stage::Delivering { lock: lock(1), round: 2, failed: true },
        Stage::Lapsed { invoice, submitted: None, ending: Ending::Expired { paid: false }, until },
        Stage::Ended { ending: Ending::Delivered },
    ];
    for plan in plans() {
        stages.push(Stage::Locking { plan: plan.clone() });
        stages.push(Stage::Blocked { plan: plan.clone(), until });
        stages.push(Stage::Stopping { plan });
    }
    stages
}

fn awaiting(submitted: Option<&str>, verdict: Option<Verdict>) -> Stage {
    Stage::Awaiting {
        invoice: invoice(1),
        submitted: submitted.map(str::to_owned),
        since: Timestamp::from_seconds(0),
        verdict,
    }
}

fn seen(status: Status) -> Sighting {
    Sighting {
        status,
        invoice: Some(invoice(1)),
        submitted: None,
        locked_by_us: false,
        lock_expires_at: Some(Timestamp::from_seconds(400)),
    }
}

fn inputs() -> Vec<Input> {
    let mut inputs: Vec<Input> = Status::ALL.into_iter().map(|status| Input::Seen(seen(status))).collect();
    inputs.extend([
        Input::Resumed,
        Input::Due,
        Input::Priced(PRICE),
        Input::PriceRefused("no".to_owned()),
        Input::IndexTaken(invoice(2)),
        Input::Judged(settled()),
        Input::Judged(Verdict::Unpaid(PaymentError::NotFound)),
        Input::Judged(Verdict::Unpaid(PaymentError::Late)),
        Input::Judged(Verdict::Unknown("down".to_owned())),
        Input::Claimed,
        Input::ClaimRefused(block()),
        Input::Placed,
        Input::Locked(lock(1)),
        Input::Locked(lock(2)),
        Input::LeaseLost,
        Input::Finished(Outcome::Result(Value::Bool(true))),
        Input::Finished(Outcome::Error(error("handler_failed"))),
    ]);
    for call in [Call::Quote, Call::Refuse, Call::Lock, Call::Deliver, Call::Fetch] {
        inputs.push(Input::Done(call));
        for why in [
            Rejection::AddressUsed,
            Rejection::LockConflict(None),
            Rejection::State,
            Rejection::Gone,
            Rejection::Invalid("bad".to_owned()),
        ] {
            inputs.push(Input::Rejected(call, why));
        }
    }
    inputs
}

/// What a step amounts to, in one line.
fn answer(step: &Step) -> String {
    if step.ignored {
        return "-".to_owned();
    }
    let effects: Vec<String> = step.effects.iter().map(effect_name).collect();
    format!("{} [{}]", stage_name(&step.stage), effects.join(" "))
}

fn stage_name(stage: &Stage) -> String {
    let plan_name = |plan: &Plan| match plan {
        Plan::Run { placed: true, .. } => "run+place".to_owned(),
        Plan::Run { .. } => "run".to_owned(),
        Plan::Fail { error } => format!("fail:{}", error.code),
        Plan::Deliver { round, .. } => format!("deliver:{round}"),
    };
    match stage {
        Stage::Locking { plan } | Stage::Blocked { plan, .. } | Stage::Stopping { plan } => {
            format!("{}({})", stage.name(), plan_name(plan))
        }
        Stage::Delivering { round, failed, .. } => {
            format!("delivering({}:{round})", if *failed { "error" } else { "result" })
        }
        Stage::Ended { ending } => {
            format!("ended({}{})", ending.name(), if ending.owes_money_back() { "!" } else { "" })
        }
        Stage::Running { attempt, .. } => format!("running({attempt})"),
        other => other.name().to_owned(),
    }
}

fn effect_name(effect: &Effect) -> String {
    let text = format!("{effect:?}");
    let name: String = text.chars().take_while(char::is_ascii_alphanumeric).collect();
    match effect {
        Effect::TakeLock { payment: Some(_) } => "TakeLock+hash".to_owned(),
        Effect::Watch { lapsed: true, .. } => "WatchLate".to_owned(),
        Effect::Keep(Outcome::Error(error)) => format!("Keep:{}", error.code),
        _ => name,
    }
}

fn check(stage: Stage, input: Input, expected: &str) {
    check_in(stage, input, &context(60, false), expected);
}

fn check_in(stage: Stage, input: Input, context: &Context, expected: &str) {
    let text = format!("{stage:?} hears {input:?}");
    assert_eq!(answer(&step(stage, input, context)), expected, "{text}");
}

/// The whole table: one line for each pair that means something; all others are ignored and leave
/// the stage as it was. The file is read by people: a change of the machine is a change of it.
#[test]
fn every_stage_answers_every_input_as_the_table_says() {
    let mut table = String::new();
    for idempotent in [false, true] {
        for stage in stages() {
            for input in inputs() {
                let context = context(60, idempotent);
                let after = step(stage.clone(), input.clone(), &context);
                let starts = after.effects.iter().any(|effect| matches!(effect, Effect::Execute { .. }));
                assert!(!starts || may_start(&stage, &input), "{stage} heard {input:?}");
                if after.ignored {
                    assert_eq!(after.stage, stage, "ignored, and yet changed by {input:?}");
                    assert!(after.effects.is_empty());
                    continue;
                }
                assert!(!stage.is_ended(), "an ended stage heard {input:?}");
                // Only where the handler may be repeated does the second half of the table differ.
                if idempotent && after == step(stage.clone(), input.clone(), &self::context(60, false)) {
                    continue;
                }
                let mark = if idempotent { "idempotent " } else { "" };
                let line =
                    format!("{mark}{} | {} | {}\n", stage_name(&stage), input_name(&input), answer(&after));
                // Some stages have one name.
                if !table.contains(&format!("\n{line}")) {
                    table += &line;
                }
            }
        }
    }
    let known = include_str!("table.txt");
    let wrong: Vec<_> = table.lines().filter(|line| !known.lines().any(|other| other == *line)).collect();
    assert!(wrong.is_empty(), "not in the table:\n{}", wrong.join("\n"));
    assert_eq!(table.lines().count(), known.lines().count(), "the table has lines that no longer hold");
}

fn input_name(input: &Input) -> String {
    match input {
        Input::Seen(sighting) => format!("seen {}", sighting.status),
        Input::Judged(Verdict::Settled { .. }) => "judged settled".to_owned(),
        Input::Judged(Verdict::Unpaid(reason)) => format!("judged {}", reason.code()),
        Input::Judged(Verdict::Unknown(_)) => "judged unknown".to_owned(),
        Input::Locked(lock) => format!("locked {}", lock.token.unwrap()),
        Input::Finished(Outcome::Result(_)) => "finished with a result".to_owned(),
        Input::Finished(Outcome::Error(_)) => "finished with an error".to_owned(),
        Input::Done(call) => format!("{} taken", call.name()),
        Input::Rejected(call, why) => format!("{} not taken: {why}", call.name()),
        other => {
            let text = format!("{other:?}");
            text.chars().take_while(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
        }
    }
}

#[test]
fn a_relays_word_for_a_price_is_not_taken_below_the_offers() {
    for status in [Status::Quoted, Status::Accepted] {
        for (price, expected) in [
            (0, "ended(elsewhere) []"),
            (999, "ended(elsewhere) []"),
            (1_000, if status == Status::Quoted { "quoted []" } else { "awaiting [Watch]" }),
        ] {
            let price = Amount::from_raw(price);
            let sighting = Sighting { invoice: Some(Invoice { price, ..invoice(1) }), ..seen(status) };
            check(Stage::Fresh, Input::Seen(sighting), expected);
        }
    }
    let free =
        Sighting { invoice: Some(Invoice { price: Amount::ZERO, ..invoice(1) }), ..seen(Status::Quoted) };
    let ask = Context { pricing: Pricing::Ask, ..context(60, false) };
    check_in(Stage::Fresh, Input::Seen(free), &ask, "ended(elsewhere) []");
}

#[test]
fn a_job_that_ended_before_we_knew_of_it_is_watched_for_late_money_if_the_address_is_ours() {
    for status in [Status::Canceled, Status::Expired] {
        for stage in [Stage::Fresh, Stage::Pricing, Stage::Indexing { price: PRICE, tries: 1 }] {
            let submitted = Some("AB".to_owned());
            let shown = Sighting { submitted: submitted.clone(), ..seen(status) };
            let after = step(stage.clone(), Input::Seen(shown), &context(60, false));
            assert_eq!(after.effects, [watch(invoice(1), submitted, true)]);
            check(
                stage,
                Input::Seen(Sighting { invoice: None, ..seen(status) }),
                &format!("ended({status}) [Release]"),
            );
        }
    }
}

#[test]
fn our_own_quote_keeps_its_price_whatever_the_relay_shows() {
    let shown = Invoice { price: Amount::from_raw(1), ..invoice(1) };
    let sighting = Sighting { invoice: Some(shown), ..seen(Status::Accepted) };
    for stage in [Stage::Quoting { invoice: invoice(1), tries: 1 }, Stage::Quoted { invoice: invoice(1) }] {
        let after = step(stage, Input::Seen(sighting.clone()), &context(60, false));
        assert_eq!(after.stage.invoice(), Some(&invoice(1)));
    }
}

#[test]
fn another_workers_quote_is_not_taken_for_ours() {
    let foreign = Sighting { invoice: None, ..seen(Status::Accepted) };
    let quoting = Stage::Quoting { invoice: invoice(1), tries: 1 };
    check(quoting.clone(), Input::Seen(foreign), "ended(elsewhere) []");
    let sibling = Sighting { invoice: Some(invoice(5)), ..seen(Status::Accepted) };
    let after = step(quoting, Input::Seen(sibling), &context(60, false));
    assert_eq!(after.stage.invoice(), Some(&invoice(5)));
}

/// What came for a job that ended before our quote was heard of came to the address that the relay shows.
#[test]
fn a_job_that_ended_lapses_on_the_address_that_it_was_quoted_on() {
    let quoting = Stage::Quoting { invoice: invoice(1), tries: 1 };
    let own = Invoice { price: Amount::from_raw(1), ..invoice(1) };
    let lapsed = |stage: Stage, shown, status| {
        let sighting = Sighting { invoice: shown, ..seen(status) };
        let after = step(stage, Input::Seen(sighting), &context(60, false)).stage;
        matches!(after, Stage::Lapsed { .. }).then(|| *after.invoice().unwrap())
    };
    let refusing = Stage::Refusing { reason: "no".to_owned() };
    for status in [Status::Canceled, Status::Expired] {
        assert_eq!(lapsed(quoting.clone(), Some(own), status), Some(invoice(1)), "at our own price");
        assert_eq!(lapsed(quoting.clone(), Some(invoice(5)), status), Some(invoice(5)));
        assert_eq!(lapsed(quoting.clone(), None, status), None);
        assert_eq!(lapsed(refusing.clone(), Some(invoice(5)), status), Some(invoice(5)));
        assert_eq!(lapsed(refusing.clone(), None, status), None);
    }
}

#[test]
fn only_a_nodes_no_ends_a_job_whose_hash_had_its_time() {
    let no = |reason| Some(Verdict::Unpaid(reason));
    let fail = |code: &str| format!("locking(fail:{code}) [Unwatch TakeLock]");
    for (verdict, expected) in [
        (None, "awaiting [Watch]".to_owned()),
        (Some(Verdict::Unknown("down".to_owned())), "awaiting [Watch]".to_owned()),
        (no(PaymentError::Unconfirmed), "awaiting [Watch]".to_owned()),
        (no(PaymentError::NotFound), fail("payment.not_found")),
        (no(PaymentError::HashReused), fail("payment.hash_reused")),
    ] {
        let stage = awaiting(Some("AB"), verdict);
        assert_eq!(next_deadline(&stage, &context(0, false)), Some(Timestamp::from_seconds(100)));
        check_in(stage.clone(), Input::Due, &context(99, false), "-");
        check_in(stage, Input::Due, &context(100, false), &expected);
    }
    assert_eq!(next_deadline(&awaiting(None, None), &context(0, false)), None);
}

#[test]
fn a_delivery_that_is_refused_again_and_again_is_not_a_hot_circle() {
    let context = context(60, false);
    let mut stage = Stage::Delivering { lock: lock(1), round: 1, failed: true };
    for expected in ["locking(deliver:2) [Release TakeLock]", "blocked(deliver:3) [Release Fetch]"] {
        for why in [Rejection::State, Rejection::Invalid("bad".to_owned())] {
            check_in(stage.clone(), Input::Rejected(Call::Deliver, why), &context, expected);
        }
        stage = Stage::Delivering { lock: lock(1), round: 2, failed: true };
    }
    let blocked = step(stage, Input::Rejected(Call::Deliver, Rejection::State), &context).stage;
    let at = next_deadline(&blocked, &context).unwrap();
    assert!(at >= context.now.plus(RECONSIDER));
    let later = Context { now: at, ..context };
    check_in(blocked, Input::Due, &later, "locking(deliver:3) [TakeLock]");
}

#[test]
fn a_second_holder_runs_only_what_is_safe_to_repeat() {
    let locking = || Stage::Locking { plan: Plan::Run { paid: paid(true), placed: true } };
    let fails = "delivering(error:1) [Keep:worker_interrupted Hold Deliver FreePlace]";
    check(locking(), Input::Locked(lock(2)), fails);
    check(locking(), Input::Locked(lock(1)), "running(1) [Hold Execute]");
    let none = Lock { token: None, ..lock(1) };
    check(locking(), Input::Locked(none), "running(1) [Hold Execute]");
    check_in(locking(), Input::Locked(lock(2)), &context(60, true), "running(1) [Hold Execute]");
}

#[test]
fn a_refusal_fits_the_relay_and_the_store() {
    let long = format!("\0{}", "x".repeat(500_000));
    let after = step(Stage::Pricing, Input::PriceRefused(long), &context(60, false));
    let Stage::Refusing { reason } = after.stage else { panic!("not refused") };
    assert_eq!(reason.chars().count(), REASON_CHARS_MAX);
    assert!(!reason.contains('\0'));
}

#[test]
fn indices_are_tried_a_bounded_number_of_times() {
    let mut stage = Stage::Quoting { invoice: invoice(0), tries: 1 };
    for index in 1.. {
        let after = step(stage, Input::Rejected(Call::Quote, Rejection::AddressUsed), &context(60, false));
        stage = match after.stage {
            Stage::Indexing { .. } => {
                step(after.stage, Input::IndexTaken(invoice(index)), &context(60, false)).stage
            }
            Stage::Refusing { .. } => {
                assert_eq!(index, u32::from(INDEX_TRIES_MAX));
                return;
            }
            other => panic!("{other:?}"),
        };
    }
}

#[test]
fn what_was_paid_and_then_ended_is_on_record() {
    for stage in stages() {
        for status in [Status::Canceled, Status::Expired] {
            let after = step(stage.clone(), Input::Seen(seen(status)), &context(60, false)).stage;
            if let (true, Stage::Ended { ending }) = (stage.is_paid(), &after) {
                assert!(ending.owes_money_back(), "{stage:?} {status}");
            }
        }
        let gone = Input::Rejected(Call::Fetch, Rejection::Gone);
        let after = step(stage.clone(), gone, &context(60, false)).stage;
        if let (true, Stage::Ended { ending }) = (stage.is_paid(), &after) {
            assert!(ending.owes_money_back(), "{stage:?} gone");
        }
    }
}

#[test]
fn a_deadline_that_has_not_come_changes_nothing() {
    let until = Timestamp::from_seconds(50);
    let ending = Ending::Expired { paid: false };
    for (stage, expected) in [
        (Stage::Blocked { plan: plans().remove(3), until }, "locking(deliver:2) [TakeLock]"),
        (Stage::Lapsed { invoice: invoice(1), submitted: None, ending, until }, "ended(expired) [Unwatch]"),
    ] {
        assert_eq!(next_deadline(&stage, &context(0, false)), Some(until));
        check_in(stage.clone(), Input::Due, &context(49, false), "-");
        check_in(stage, Input::Due, &context(50, false), expected);
    }
}

#[test]
fn a_verdict_is_noted_once() {
    let not_found = Verdict::Unpaid(PaymentError::NotFound);
    let stage = awaiting(Some("AB"), Some(not_found.clone()));
    check(stage.clone(), Input::Judged(not_found), "-");
    for other in [Verdict::Unpaid(PaymentError::Unconfirmed), Verdict::Unknown("down".to_owned())] {
        let after = step(stage.clone(), Input::Judged(other.clone()), &context(60, false));
        assert!(!after.ignored);
        assert_eq!(after.stage, awaiting(Some("AB"), Some(other)));
    }
}

#[test]
fn a_quote_on_the_relay_is_ours_only_with_our_address() {
    let quoting = Stage::Quoting { invoice: invoice(1), tries: 1 };
    let quoted = |invoice| Input::Seen(Sighting { invoice, ..seen(Status::Quoted) });
    check(quoting.clone(), quoted(None), "ended(elsewhere) []");
    for (shown, kept) in
        [(invoice(5), invoice(5)), (Invoice { price: Amount::from_raw(1), ..invoice(1) }, invoice(1))]
    {
        let after = step(quoting.clone(), quoted(Some(shown)), &context(60, false));
        assert_eq!(after.stage, Stage::Quoted { invoice: kept });
    }
}

#[test]
fn a_refusal_is_one_that_the_relay_takes() {
    let told =
        |said: &str| match step(Stage::Pricing, Input::PriceRefused(said.to_owned()), &context(60, false))
            .stage
        {
            Stage::Refusing { reason } => reason,
            other => panic!("{other:?}"),
        };
    assert_eq!(told("too hard"), "too hard");
    assert_eq!(told("a\0b"), "a b");
    assert_eq!(told(""), "the seller does not take this request");
    assert_eq!(told(&"ä".repeat(1_000)), "ä".repeat(REASON_CHARS_MAX));
}

#[test]
fn a_hash_that_comes_later_is_watched_for() {
    let submitted = Some("CD".to_owned());
    let paid_for = Input::Seen(Sighting { submitted: submitted.clone(), ..seen(Status::Accepted) });
    let after = step(awaiting(None, None), paid_for.clone(), &context(60, false));
    let Stage::Awaiting { submitted: known, since, .. } = &after.stage else { panic!("{after:?}") };
    assert_eq!((known, *since), (&submitted, Timestamp::from_seconds(60)));
    assert_eq!(after.effects, [watch(invoice(1), submitted, false)]);
    // Only once: a relay that changes a hash that was submitted is not followed.
    check(awaiting(Some("AB"), None), paid_for, "-");
    check(awaiting(None, None), Input::Seen(seen(Status::Accepted)), "-");
}

#[test]
fn a_lock_of_our_own_is_no_other_holder() {
    let running = |locked_by_us, until: i64| {
        let lock_expires_at = Some(Timestamp::from_seconds(until));
        Input::Seen(Sighting { locked_by_us, lock_expires_at, ..seen(Status::Running) })
    };
    let queued = || Stage::Queued { paid: paid(true) };
    check(queued(), running(true, 400), "-");
    check(queued(), running(false, 400), "blocked(fail:worker_interrupted) [FreePlace]");
    let until = Timestamp::from_seconds(50);
    let blocked = || Stage::Blocked { plan: plans().remove(0), until };
    check(blocked(), running(true, 400), "-");
    for until in [49, 50] {
        check(blocked(), running(false, until), "-");
    }
    let after = step(blocked(), running(false, 51), &context(40, false)).stage;
    assert_eq!(after, Stage::Blocked { plan: plans().remove(0), until: Timestamp::from_seconds(51) });
}

/// Two workers of one seller with different indices: neither knows the other's invoices.
#[test]
fn a_job_that_its_own_worker_can_repeat_is_left_to_it_for_a_while() {
    let at = Timestamp::from_seconds;
    let held = |until| {
        Input::Seen(Sighting { lock_expires_at: Some(at(until)), invoice: None, ..seen(Status::Running) })
    };
    let left_until =
        |stage: Stage, input: Input, idempotent: bool| match step(stage, input, &context(60, idempotent))
            .stage
        {
            Stage::Blocked { until, .. } => until,
            other => panic!("{other:?}"),
        };
    for (idempotent, patience) in [(true, 300), (false, 0)] {
        for stage in [Stage::Fresh, Stage::Pricing, Stage::Quoted { invoice: invoice(1) }] {
            assert_eq!(left_until(stage, held(70), idempotent), at(70 + patience));
        }
        let blocked = Stage::Blocked { plan: interrupted(), until: at(70 + patience) };
        assert_eq!(left_until(blocked.clone(), held(80), idempotent), at(80 + patience));
        assert_eq!(left_until(blocked, held(60), idempotent), at(70 + patience));
        let locking = Stage::Locking { plan: interrupted() };
        let conflict = Input::Rejected(Call::Lock, Rejection::LockConflict(Some(at(90))));
        assert_eq!(left_until(locking, conflict, idempotent), at(90 + patience));
    }
    // A restart does not make it any shorter.
    let blocked = || Stage::Blocked { plan: interrupted(), until: at(70) };
    for (now, idempotent, expected) in [
        (69, true, "-"),
        (70, true, "locking(fail:worker_interrupted) [TakeLock]"),
        (69, false, "locking(fail:worker_interrupted) [TakeLock]"),
    ] {
        check_in(blocked(), Input::Resumed, &context(now, idempotent), expected);
    }
    let delivering = Stage::Locking { plan: Plan::Deliver { round: 2, failed: false } };
    let conflict = Input::Rejected(Call::Lock, Rejection::LockConflict(Some(at(90))));
    assert_eq!(left_until(delivering, conflict, true), at(90), "what is done is handed over at once");
}

#[test]
fn a_running_job_of_an_earlier_life_is_only_repeated_where_that_is_safe() {
    let running = |invoice| Input::Seen(Sighting { invoice, ..seen(Status::Running) });
    let fails = "blocked(fail:worker_interrupted) []";
    for (shown, idempotent, expected) in [
        (Some(invoice(1)), true, "awaiting [Watch]"),
        (Some(invoice(1)), false, fails),
        (Some(Invoice { price: Amount::from_raw(999), ..invoice(1) }), true, fails),
        (None, true, fails),
    ] {
        check_in(Stage::Fresh, running(shown), &context(60, idempotent), expected);
    }
    let stops = "blocked(fail:worker_interrupted) [Unwatch]";
    for (idempotent, expected) in [(true, "-"), (false, stops)] {
        check_in(awaiting(None, None), running(None), &context(60, idempotent), expected);
    }
}

/// The first start of all was another holder's; a later one is ours, and was decided about before.
#[test]
fn only_the_first_start_asks_who_had_the_lock_before() {
    let again = Stage::Locking { plan: Plan::Run { paid: started(true), placed: true } };
    check(again, Input::Locked(lock(2)), "running(2) [Hold Execute]");
}
