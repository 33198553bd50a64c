//! What comes when a job, or the worker itself, is about to be over.

use super::*;

/// Whoever is about to end leaves these unheard, and hears all others.
#[test]
fn what_may_start_a_handler_is_a_place_or_a_lock_for_a_paid_job() {
    let mut may = std::collections::BTreeSet::new();
    for stage in stages() {
        let inputs = inputs().into_iter().filter(|input| may_start(&stage, input));
        may.extend(inputs.map(|input| format!("{} {}", stage_name(&stage), input_name(&input))));
    }
    let expected = [
        "locking(run) locked 1",
        "locking(run) locked 2",
        "locking(run+place) locked 1",
        "locking(run+place) locked 2",
        "queued placed",
        "ready placed",
    ];
    assert_eq!(may.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

/// What comes late for a job that the relay has lost is owed as that, and not as if nobody had done it.
#[test]
fn a_job_that_vanished_stays_so_when_it_is_paid() {
    let vanished = Ending::Vanished { paid: false };
    let lapsed = Stage::Lapsed {
        invoice: invoice(1),
        submitted: None,
        ending: vanished.clone(),
        until: Timestamp::from_seconds(900),
    };
    let late = Input::Judged(Verdict::Unpaid(PaymentError::Late));
    for revives in [false, true] {
        let after = step(lapsed.clone(), late.clone(), &Context { revives, ..context(60, false) });
        assert_eq!(
            (after.stage, after.effects),
            (Stage::Ended { ending: vanished.clone() }, vec![Effect::Unwatch])
        );
    }
}

/// /v0 has one word for both: what was told is in the state's own record.
#[test]
fn over_v0_a_delivered_error_is_an_error() {
    let lock = Lock { token: Some(1), expires_at: Timestamp::from_seconds(400) };
    for (failed, revives, expected) in [
        (false, false, Ending::Delivered),
        (false, true, Ending::Delivered),
        (true, true, Ending::Failed),
        (true, false, Ending::Elsewhere),
    ] {
        let context = Context { revives, ..context(60, false) };
        for stage in [
            Stage::Delivering { lock, round: 1, failed },
            Stage::Locking { plan: Plan::Deliver { round: 1, failed } },
        ] {
            let after = step(stage, Input::Seen(seen(Status::Delivered)), &context);
            assert_eq!(after.stage, Stage::Ended { ending: expected.clone() }, "{failed} {revives}");
        }
    }
}
