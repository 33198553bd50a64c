//! Jobs that another worker of the seed has ended, or a life that is forgotten: what of their coins is
//! owed back.

use super::super::super::memory::MONEY;
use super::super::super::oddity::Oddity;
use super::*;

/// The job as the relay shows it once it has failed with this error.
fn failed(code: &str) -> Heard {
    let error = json!({ "code": code, "message": "no", "details": {} });
    whole(Job { error, ..quoted(1, Status::Failed, 0, "1000") })
}

fn owed(bench: &Bench) -> Vec<Oddity> {
    let pieces = MONEY.prefix(bench.store(), &id(1)).map(|entry| entry.unwrap().1);
    pieces.filter_map(|piece| piece.owed.map(|owed| owed.why)).collect()
}

fn record(bench: &Bench) -> Record {
    JOBS.get(bench.store(), &id(1)).unwrap().unwrap()
}

/// A job that was quoted, and what came for it.
fn paid(raw: u128) -> Bench {
    let mut bench = Bench::new();
    bench.take(vec![whole(job(1, Status::Requested))]);
    bench.take(vec![whole(quoted(1, Status::Accepted, 0, "1000"))]);
    let mut facts = paid_by(9, 0);
    facts.found[0].send = Some((seed().account(0).unwrap(), Amount::from_raw(raw)));
    bench.take(vec![Heard::Facts(id(1), facts)]);
    bench
}

#[test]
fn what_came_for_a_job_that_another_worker_failed_for_want_of_it_is_owed() {
    for (raw, code, expected) in [
        // It was counted here, and another worker's node did not see it.
        (1_000, "payment.not_found", vec![Oddity::PaidForNothing]),
        // It was too little for everybody.
        (500, "payment.amount_mismatch", vec![Oddity::Underpaid]),
        // It was paid, and ended with an error of the handler's.
        (1_000, "handler.exit", vec![]),
        (500, "handler.exit", vec![]),
    ] {
        let mut bench = paid(raw);
        bench.take(vec![failed(code)]);
        assert_eq!(bench.stage(id(1)), "ended (elsewhere)");
        assert_eq!(owed(&bench), expected, "{raw} {code}");
        assert_eq!(record(&bench).unpaid, code.starts_with("payment."));
    }
}

/// A worker that had given it up hears of its end when that is told, and owes what it has noticed.
#[test]
fn how_such_a_job_ended_decides_what_is_owed_also_when_it_is_heard_later() {
    for (end, expected) in [
        (failed("payment.not_found"), vec![Oddity::PaidForNothing]),
        (whole(quoted(1, Status::Expired, 0, "1000")), vec![Oddity::PaidForNothing]),
        (whole(quoted(1, Status::Delivered, 0, "1000")), vec![]),
    ] {
        let mut bench = paid(1_000);
        let mut batch = Batch::default();
        let stage = Stage::Ended { ending: Ending::Elsewhere };
        let given_up = Record { stage, status: Status::Running, ..record(&bench) };
        JOBS.put(&mut batch, &id(1), &given_up).unwrap();
        OPEN.remove(&mut batch, &id(1));
        memory::AFTER.put(&mut batch, &id(1), &at(900)).unwrap();
        bench.store().commit(batch).unwrap();
        bench.reopen();
        bench.take(vec![end]);
        assert_eq!(owed(&bench), expected);
    }
}

/// A state that is new learns from the relay what it asked, and looks at what may be owed.
#[test]
fn a_new_state_knows_what_an_ended_job_was_to_cost() {
    for (end, effects) in [
        (whole(quoted(1, Status::Delivered, 0, "1000")), vec!["01 Unwatch"]),
        (failed("handler.exit"), vec!["01 Unwatch"]),
        (failed("payment.amount_mismatch"), vec!["01 Unwatch", "01 Watch"]),
    ] {
        let mut bench = Bench::new();
        let taken = bench.take(vec![end]);
        let taken: Vec<&str> =
            taken.iter().map(String::as_str).filter(|effect| effect.ends_with("atch")).collect();
        assert_eq!(taken, effects);
        assert_eq!(record(&bench).invoice.map(|invoice| invoice.price), Some(PRICE));
    }
}
