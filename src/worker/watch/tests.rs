//! When who is looked at.

use nano_currency::Amount;

use super::*;
use crate::nano::Seed;

const PRICE: Amount = Amount::from_raw(1_000);

fn job(number: u16) -> JobId {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    JobId::from_random(bytes)
}

fn invoice(index: u32) -> Invoice {
    let seed = Seed::parse(&"3".repeat(64)).unwrap();
    Invoice { index, account: seed.account(index).unwrap(), price: PRICE }
}

fn ms(millis: i64) -> Timestamp {
    Timestamp::from_micros(1_000_000_000 + millis * 1_000)
}

fn wish(number: u16, submitted: Option<&str>, lapsed: bool) -> Wish {
    Wish::Watch {
        job: job(number),
        invoice: invoice(1),
        submitted: submitted.map(str::to_owned),
        lapsed,
        over: false,
    }
}

fn asked(list: &mut List, now: Timestamp) -> usize {
    list.take_due(now).map_or(0, |questions| questions.len())
}

#[test]
fn a_submitted_hash_is_looked_at_at_once_and_then_ever_more_rarely() {
    let mut list = List::default();
    list.obey(wish(1, Some(&"AB".repeat(32)), false), ms(0));
    assert_eq!(list.wait(ms(0)), Some(Duration::ZERO));
    let mut now = ms(0);
    let mut gaps = Vec::new();
    for _ in 0..12 {
        assert_eq!(asked(&mut list, now), 1);
        list.answered(job(1), now);
        let wait = list.wait(now).unwrap();
        gaps.push(wait.as_millis());
        assert_eq!(asked(&mut list, now.plus(wait).minus(Duration::from_micros(1))), 0);
        now = now.plus(wait);
    }
    assert_eq!(gaps[..4], [250, 500, 1_000, 2_000]);
    assert_eq!(gaps[11], 30_000);
}

#[test]
fn without_a_hash_the_first_look_waits_and_a_lapsed_job_is_in_no_hurry() {
    for (submitted, lapsed, expected) in
        [(None, false, 250), (Some("junk"), false, 250), (None, true, 10_000), (Some("junk"), true, 10_000)]
    {
        let mut list = List::default();
        list.obey(wish(1, submitted, lapsed), ms(0));
        assert_eq!(list.wait(ms(0)), Some(Duration::from_millis(expected)), "{submitted:?} {lapsed}");
    }
}

/// What the documentation and the simulation's bound promise.
#[test]
fn a_late_payment_that_may_still_count_is_found_within_a_minute() {
    for (lapsed, over, longest) in [(false, false, 30), (true, false, 60), (true, true, 600)] {
        let mut list = List::default();
        let wish = Wish::Watch { job: job(1), invoice: invoice(1), submitted: None, lapsed, over };
        list.obey(wish, ms(0));
        let (mut now, mut waited) = (ms(0), Duration::ZERO);
        for _ in 0..20 {
            let wait = list.wait(now).unwrap();
            (now, waited) = (now.plus(wait), wait);
            assert_eq!(asked(&mut list, now), 1);
            list.answered(job(1), now);
        }
        assert_eq!(waited, Duration::from_secs(longest), "{lapsed} {over}");
    }
}

#[test]
fn nobody_is_asked_about_twice_at_a_time_and_a_lost_round_is_made_up() {
    let mut list = List::default();
    list.obey(wish(1, None, false), ms(0));
    assert_eq!(asked(&mut list, ms(250)), 1);
    assert_eq!(asked(&mut list, ms(100_000)), 0, "still under way");
    assert!(list.wait(ms(100_000)).unwrap() > Duration::ZERO, "a hot circle");
    list.forget_questions();
    assert_eq!(asked(&mut list, ms(200_000)), 1);
}

#[test]
fn a_wish_replaces_the_one_before_and_an_unwatched_job_is_forgotten() {
    let mut list = List::default();
    list.obey(wish(1, None, true), ms(0));
    list.obey(wish(1, Some(&"AB".repeat(32)), false), ms(0));
    assert_eq!((list.due.len(), list.wait(ms(0))), (1, Some(Duration::ZERO)));
    list.obey(Wish::Unwatch(job(1)), ms(0));
    assert_eq!((list.due.len(), list.wait(ms(0))), (0, None));
    list.answered(job(1), ms(0));
}

#[test]
fn a_round_is_bounded_and_the_rest_is_next() {
    let mut list = List::default();
    for number in 0..1_500 {
        list.obey(wish(number, None, false), ms(0));
    }
    let sizes = [asked(&mut list, ms(250)), asked(&mut list, ms(250)), asked(&mut list, ms(250))];
    assert_eq!(sizes, [1_000, 500, 0]);
}

#[test]
fn a_hint_makes_a_look_due_and_many_hints_no_more_than_that() {
    let mut list = List::default();
    list.obey(wish(1, None, false), ms(0));
    let account = invoice(1).account;
    for at in [250, 1_000, 5_000] {
        assert_eq!(asked(&mut list, ms(at)), 1);
        list.answered(job(1), ms(at));
    }
    assert!(list.wait(ms(5_300)).unwrap() > Duration::from_millis(500));
    list.hasten(&account, ms(5_300));
    assert_eq!(list.wait(ms(5_300)), Some(Duration::ZERO));
    assert_eq!(asked(&mut list, ms(5_300)), 1);
    // What happens during a look is looked at after it, and not in a hot circle.
    for _ in 0..100 {
        list.hasten(&account, ms(5_301));
    }
    assert_eq!(asked(&mut list, ms(5_310)), 0);
    list.answered(job(1), ms(5_320));
    assert_eq!(list.wait(ms(5_320)), Some(Duration::from_millis(230)));
    list.hasten(&invoice(2).account, ms(5_320));
    assert_eq!(list.wait(ms(5_320)), Some(Duration::from_millis(230)), "nobody's account");
}

#[test]
fn accounts_are_listened_for_as_long_as_they_are_watched() {
    let mut list = List::default();
    list.obey(wish(1, None, false), ms(0));
    list.obey(Wish::Unwatch(job(1)), ms(0));
    let account = invoice(1).account;
    assert_eq!(list.changes, [(account, true), (account, false)]);
    assert!(list.accounts.is_empty());
}
