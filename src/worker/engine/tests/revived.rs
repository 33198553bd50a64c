//! Jobs of /v0 that expired and came back: a coin is earned or owed back, and never both.

mod dust;

use super::*;
use crate::nano::block::StateFields;
use crate::nano::work::Work;
use crate::protocol::v0::{self, BotId, Moment};
use crate::worker::coins::journal::{Does, Fate, OwnBlock, Signed};
use crate::worker::input::Rejection;
use crate::worker::memory::{COINS, MONEY, OWED, TICKETS};
use crate::worker::money::Owed;
use crate::worker::oddity::Oddity;

fn moment(seconds: i64) -> Moment {
    Moment::from_nanos(i128::from(seconds) * 1_000_000_000)
}

fn ticket(number: u8) -> Ticket {
    Ticket {
        job_id: v0::JobId::new(format!("job_{number}")),
        offer_id: v0::OfferId::new("offer_1"),
        buyer_bot_id: BotId::from_bytes([2; 32]),
        price_raw: "1000".to_owned(),
        job_expires_at: moment(1_000_000),
        charge_expires_at: None,
        revival_wanted: false,
        unread: false,
    }
}

fn shown(job: Job) -> Heard {
    Heard::Shown(Box::new(Shown { job, ticket: ticket(1), refusal: None }))
}

fn part(block: u8, raw: u128) -> BlockFact {
    let account = seed().account(0).unwrap();
    BlockFact {
        hash: BlockHash::from_bytes([block; 32]),
        from: Some(Account::from_bytes([7; 32])),
        send: Some((account, Amount::from_raw(raw))),
        confirmed: true,
        claimed_elsewhere: false,
        received: false,
    }
}

fn look(lapsed: bool, found: &[BlockFact]) -> Heard {
    let facts = Facts { submitted: Submitted::None, found: found.to_vec(), unknown: None, lapsed };
    Heard::Facts(id(1), facts)
}

fn charged() -> Heard {
    shown(quoted(1, Status::Accepted, 0, "1000"))
}

fn expired() -> Heard {
    shown(quoted(1, Status::Expired, 0, "1000"))
}

/// The result would be sealed for whoever the relay names.
#[test]
fn a_relay_that_names_another_buyer_later_is_not_believed() {
    let mut bench = awaiting();
    let before = TICKETS.get(bench.store(), &id(1)).unwrap();
    let another = [
        Ticket { buyer_bot_id: BotId::from_bytes([3; 32]), ..ticket(1) },
        Ticket { offer_id: v0::OfferId::new("offer_2"), ..ticket(1) },
        Ticket { price_raw: "1".to_owned(), ..ticket(1) },
        Ticket { job_id: v0::JobId::new("job_2"), ..ticket(1) },
    ];
    for ticket in another {
        let job = quoted(1, Status::Expired, 0, "1000");
        bench.take(vec![Heard::Shown(Box::new(Shown { job, ticket, refusal: None }))]);
        assert_eq!(TICKETS.get(bench.store(), &id(1)).unwrap(), before);
        assert_eq!(bench.stage(id(1)), "awaiting");
    }
}

/// A look at a job whose charge ends at one moment, and which is itself over at another.
fn seen(status: Status, charge: i64, over: i64) -> Vec<Heard> {
    let ends = Ticket { job_expires_at: moment(over), ..ticket(1) };
    let ticket = Ticket { charge_expires_at: Some(moment(charge)), ..ends };
    let job = quoted(1, status, 0, "1000");
    vec![Heard::Shown(Box::new(Shown { job, ticket, refusal: None }))]
}

const LONG: i64 = 4_000_000_000;

/// With a charge that ends at 500 s.
fn charged_again() -> Bench {
    let mut bench = awaiting();
    bench.take(seen(Status::Accepted, 500, LONG));
    bench
}

/// Looks are told out of order: what was seen before the charge was made again ends nothing.
#[test]
fn an_expiry_of_before_the_charge_was_made_again_is_no_news() {
    let mut bench = charged_again();
    let before = TICKETS.get(bench.store(), &id(1)).unwrap();
    for now in [at(1), at(4_099)] {
        bench.engine().take(seen(Status::Expired, 499, LONG), now).unwrap();
        assert_eq!(bench.stage(id(1)), "awaiting");
        assert_eq!(TICKETS.get(bench.store(), &id(1)).unwrap(), before);
    }
    // The same charge's own expiry is news; so is any once the job itself is over, or the new charge is
    // long over: then the relay has forgotten that one.
    for (charge, over, now) in [(500, LONG, 1), (499, 1, 1), (499, LONG, 4_100)] {
        let mut bench = charged_again();
        bench.engine().take(seen(Status::Expired, charge, over), at(now)).unwrap();
        assert!(bench.stage(id(1)).starts_with("lapsed"), "{}", bench.stage(id(1)));
    }
}

/// A relay that was set back to before the charge was made again answers with the old expiry.
#[test]
fn a_call_that_is_answered_with_an_old_expiry_is_made_again() {
    let old = || seen(Status::Expired, 499, LONG);
    let mut bench = charged_again();
    let paid = vec![look(false, &[part(9, 1_000)])];
    assert_eq!(bench.take(paid), ["01 Unwatch", "01 TakeLock"]);
    assert_eq!(bench.take(old()), ["01 FreePlace", "01 Fetch"]);
    assert!(bench.stage(id(1)).starts_with("blocked"), "{}", bench.stage(id(1)));
    // What the look brings changes nothing, and the lock is asked for again.
    assert!(bench.take(old()).is_empty());
    let due = bench.engine().next_deadline().unwrap();
    let effects = bench.engine().take(vec![], due).unwrap();
    assert!(matches!(effects[..], [(_, Effect::TakeLock { .. })]), "{effects:?}");
    // In the end that relay is believed, and the charge is made once more.
    let effects = bench.engine().take(old(), at(4_100)).unwrap();
    assert!(effects.iter().any(|(_, effect)| matches!(effect, Effect::Revive(_))), "{effects:?}");

    let mut bench = charged_again();
    bench.take(vec![look(false, &[part(9, 1_000)])]);
    let lock = Lock { token: None, expires_at: at(900) };
    bench.take(vec![Heard::Input(id(1), Input::Locked(lock))]);
    bench.take(vec![Heard::Input(id(1), Input::Placed)]);
    bench.take(vec![Heard::Input(id(1), Input::Finished(Outcome::Result(json!("done"))))]);
    assert_eq!(bench.take(old()), ["01 Release", "01 TakeLock"]);
}

/// Charged for, and nothing has come yet.
fn awaiting() -> Bench {
    let mut bench = unheard();
    bench.sync();
    bench
}

/// The same in a state that has yet to hear of all jobs.
fn unheard() -> Bench {
    let mut bench = Bench::serving(true);
    bench.take(vec![shown(job(1, Status::Requested))]);
    bench.take(vec![charged()]);
    assert_eq!(bench.stage(id(1)), "awaiting");
    bench
}

/// The blocks of which something is owed, by what stands at them and by the list.
fn owed(bench: &Bench) -> Vec<(u8, Oddity)> {
    let mut owed = Vec::new();
    for entry in MONEY.prefix(bench.store(), &id(1)) {
        let ((job, hash), piece) = entry.unwrap();
        assert_eq!(OWED.contains(bench.store(), &(job, hash)).unwrap(), !piece.due().is_zero());
        owed.extend(piece.owed.map(|owed| (hash.as_bytes()[0], owed.why)));
    }
    owed
}

fn deliver(bench: &mut Bench) {
    let lock = Lock { token: None, expires_at: at(900) };
    bench.take(vec![Heard::Input(id(1), Input::Locked(lock))]);
    bench.take(vec![Heard::Input(id(1), Input::Placed)]);
    bench.take(vec![Heard::Input(id(1), Input::Finished(Outcome::Result(json!("done"))))]);
    bench.take(vec![Heard::Input(id(1), Input::Done(Call::Deliver))]);
    assert_eq!(bench.stage(id(1)), "ended (delivered)");
}

#[test]
fn what_came_before_the_expiry_counts_for_the_next_charge_and_is_not_owed_too() {
    let mut bench = awaiting();
    bench.take(vec![look(false, &[part(9, 990)])]);
    assert_eq!(bench.take(vec![expired()]), ["01 Watch"]);
    bench.take(vec![look(true, &[part(9, 990)])]);
    assert_eq!(owed(&bench), []);
    assert_eq!(bench.take(vec![Heard::Wanted(id(1))]), ["01 Revive"]);
    assert_eq!(bench.take(vec![charged()]), ["01 Watch"]);
    bench.reopen();
    assert_eq!(bench.take(vec![look(false, &[part(9, 990), part(8, 10)])]), ["01 Unwatch", "01 TakeLock"]);
    deliver(&mut bench);
    assert_eq!(owed(&bench), []);
    assert_eq!(CLAIMS.all(bench.store()).count(), 2);
}

#[test]
fn what_came_late_and_whole_is_counted_and_not_owed() {
    let mut bench = awaiting();
    bench.take(vec![expired()]);
    assert_eq!(bench.take(vec![look(true, &[part(9, 1_000)])]), ["01 Revive"]);
    assert_eq!(owed(&bench), []);
    bench.take(vec![charged()]);
    bench.take(vec![look(false, &[part(9, 1_000)])]);
    deliver(&mut bench);
    assert_eq!(owed(&bench), []);
}

/// Each block is told of once while a job is over.
#[test]
fn what_comes_late_in_parts_revives_the_job_with_its_last_part() {
    let mut bench = awaiting();
    bench.take(vec![look(false, &[part(9, 500)]), expired()]);
    bench.take(vec![look(true, &[part(9, 500)])]);
    bench.reopen();
    assert!(bench.take(vec![look(true, &[part(8, 300)])]).is_empty());
    assert_eq!(bench.take(vec![look(true, &[part(7, 200)])]), ["01 Revive"]);
    bench.take(vec![charged()]);
    assert_eq!(bench.take(vec![look(false, &[part(7, 200)])]), ["01 Unwatch", "01 TakeLock"]);
    deliver(&mut bench);
    assert_eq!(owed(&bench), []);
}

/// A state from a backup, in which the job had expired: it was charged for again since, and paid, and maybe
/// delivered.
#[test]
fn what_a_restored_state_takes_for_late_waits_until_the_jobs_were_heard_of() {
    let mut bench = unheard();
    bench.take(vec![expired()]);
    assert!(bench.take(vec![look(true, &[part(9, 1_000)])]).is_empty());
    assert_eq!((bench.stage(id(1)).as_str(), owed(&bench)), ("lapsed (expired)", vec![]));
    bench.take(vec![shown(quoted(1, Status::Delivered, 0, "1000"))]);
    assert_eq!((bench.stage(id(1)).as_str(), owed(&bench)), ("ended (elsewhere)", vec![]));

    let mut bench = unheard();
    bench.take(vec![expired()]);
    bench.take(vec![look(true, &[part(9, 1_000)])]);
    bench.sync();
    // The next look brings nothing new, and the books are enough.
    assert_eq!(bench.take(vec![look(true, &[])]), ["01 Revive"]);
}

#[test]
fn what_is_not_revived_is_owed() {
    let mut bench = awaiting();
    bench.take(vec![look(false, &[part(9, 990)]), expired()]);
    assert_eq!(owed(&bench), []);
    let end = bench.engine().next_deadline().unwrap();
    bench.engine().take(vec![], end).unwrap();
    assert_eq!(bench.stage(id(1)), "ended (expired)");
    assert_eq!(owed(&bench), [(9, Oddity::Underpaid)]);

    let mut bench = awaiting();
    bench.take(vec![expired()]);
    bench.take(vec![look(true, &[part(9, 1_000)])]);
    bench.take(vec![Heard::Input(id(1), Input::Rejected(Call::Revive, Rejection::State))]);
    assert_eq!(owed(&bench), [(9, Oddity::PaidAfterExpiry)]);

    // The buyer gave it up.
    let mut bench = awaiting();
    bench.take(vec![look(false, &[part(9, 990)])]);
    bench.take(vec![shown(quoted(1, Status::Canceled, 0, "1000"))]);
    assert_eq!(owed(&bench), [(9, Oddity::Underpaid)]);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Back {
    Not,
    Signed,
    Returned,
}

/// A refund of the block 9, as the purse keeps it before anybody else sees it.
fn refund() -> OwnBlock {
    let key = seed().key(0).unwrap();
    let fields = StateFields {
        account: key.account(),
        previous: BlockHash::from_bytes([3; 32]),
        representative: key.account(),
        balance: Amount::ZERO,
        link: [7; 32],
    };
    OwnBlock {
        block: Signed(fields.sign(&key, Work::new(0))),
        does: Does::Refund,
        amount: Amount::from_raw(990),
        counter: None,
        index: 0,
        job: Some(id(1)),
        at: at(1),
        of: Some(BlockHash::from_bytes([9; 32])),
        fate: Fate::Open,
    }
}

/// As an earlier version did, which called a job over that came back.
fn owe(bench: &Bench, back: Back) {
    let key = (id(1), BlockHash::from_bytes([9; 32]));
    let mut piece = MONEY.get(bench.store(), &key).unwrap().unwrap();
    piece.owed = Some(Owed { amount: piece.amount, why: Oddity::Underpaid });
    let mut batch = Batch::default();
    match back {
        Back::Returned => piece.returned = piece.amount,
        Back::Not | Back::Signed => OWED.put(&mut batch, &key, &()).unwrap(),
    }
    if back == Back::Signed {
        COINS.put(&mut batch, &refund().place(), &refund()).unwrap();
    }
    MONEY.put(&mut batch, &key, &piece).unwrap();
    bench.store().commit(batch).unwrap();
}

#[test]
fn what_is_counted_is_owed_no_longer_and_what_went_back_is_not_counted() {
    for back in [Back::Not, Back::Signed, Back::Returned] {
        let mut bench = awaiting();
        bench.take(vec![look(false, &[part(9, 990)]), expired()]);
        owe(&bench, back);
        bench.take(vec![Heard::Wanted(id(1)), charged()]);
        bench.take(vec![look(false, &[part(9, 990), part(8, 10)])]);
        if back == Back::Not {
            deliver(&mut bench);
            assert_eq!(owed(&bench), []);
            continue;
        }
        assert_eq!(bench.stage(id(1)), "awaiting");
        assert_eq!(owed(&bench), [(9, Oddity::Underpaid)]);
        assert_eq!(CLAIMS.all(bench.store()).count(), 0);
        // The price once more, and whole: that counts.
        bench.take(vec![look(false, &[part(9, 990), part(6, 1_000)])]);
        deliver(&mut bench);
        assert_eq!(owed(&bench), [(8, Oddity::PaidTwice), (9, Oddity::Underpaid)]);
    }
}

/// First heard of by a state that cannot read what was asked for.
fn unread(job: Job) -> Heard {
    let ticket = Ticket { unread: true, ..ticket(1) };
    let job = Job { request_payload: serde_json::Value::Null, ..job };
    Heard::Shown(Box::new(Shown { job, ticket, refusal: Some("not there any more".to_owned()) }))
}

#[test]
fn a_job_whose_request_nobody_can_read_is_never_run_and_its_money_is_owed() {
    let mut bench = Bench::serving(true);
    bench.sync();
    bench.take(vec![unread(quoted(1, Status::Accepted, 0, "1000"))]);
    bench.reopen();
    assert!(bench.take(vec![look(false, &[part(9, 1_000)])]).is_empty());
    assert_eq!((bench.stage(id(1)).as_str(), CLAIMS.all(bench.store()).count()), ("awaiting", 0));
    bench.take(vec![expired(), Heard::Wanted(id(1))]);
    assert_eq!(owed(&bench), [(9, Oddity::PaidAfterExpiry)]);
    assert!(bench.stage(id(1)).starts_with("lapsed"), "{}", bench.stage(id(1)));

    let mut bench = Bench::serving(true);
    bench.sync();
    bench.take(vec![unread(quoted(1, Status::Expired, 0, "1000"))]);
    assert_eq!(bench.take(vec![look(true, &[part(9, 1_000)])]), ["01 Unwatch", "01 Watch"]);
    assert_eq!(owed(&bench), [(9, Oddity::PaidAfterExpiry)]);

    // Marked as paid by a life of which nothing is left.
    let mut bench = Bench::serving(true);
    bench.sync();
    bench.idempotent = true;
    bench.reopen();
    bench.take(vec![unread(quoted(1, Status::Running, 0, "1000"))]);
    assert!(bench.stage(id(1)).starts_with("blocked"), "{}", bench.stage(id(1)));
}

#[test]
fn what_the_relay_says_was_asked_revives_nothing_for_less() {
    let mut bench = Bench::serving(true);
    bench.sync();
    bench.take(vec![shown(quoted(1, Status::Expired, 0, "1"))]);
    assert!(bench.take(vec![look(true, &[part(9, 999)])]).is_empty());
    assert_eq!(bench.take(vec![look(true, &[part(8, 1)])]), ["01 Revive"]);
}
