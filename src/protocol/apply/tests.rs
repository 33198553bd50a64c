//! The table enumerated, and each guard by itself.

use serde_json::json;

use super::super::limits::HOLDER_CHARS_MAX;
use super::super::{JobId, OfferId};
use super::*;

const SELLER: PublicKey = PublicKey::from_bytes([1; 32]);
const BUYER: PublicKey = PublicKey::from_bytes([2; 32]);
const STRANGER: PublicKey = PublicKey::from_bytes([3; 32]);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

/// A job as it is at second 100, whose every guard lets the next move pass.
fn job(status: Status) -> Job {
    let locked = status == Status::Running;
    Job {
        job_id: JobId::from_random([1; 16]),
        offer_id: OfferId::from_random([2; 16]),
        seller_pubkey: SELLER,
        buyer_pubkey: BUYER,
        status,
        request_payload: json!("x"),
        quote_amount_raw: None,
        quote_invoice_address: None,
        quote_expires_at: Some(at(200)),
        payment_tx_hash: None,
        lock_owner: locked.then_some(SELLER),
        lock_expires_at: locked.then(|| at(400)),
        lock_holder: locked.then(|| "a".to_owned()),
        lock_token: u64::from(locked),
        result_payload: Value::Null,
        result_url: None,
        error: Value::Null,
        cancel_reason: None,
        created_at: at(50),
        updated_at: at(100),
    }
}

fn address(byte: u8) -> String {
    Account::from_bytes([byte; 32]).to_string()
}

fn quote() -> Command {
    Command::Quote { amount_raw: "100".to_owned(), invoice_address: address(9), expires_at: None }
}

fn pay(hash: &str) -> Command {
    Command::Pay { payment_tx_hash: hash.to_owned() }
}

fn lock(holder: Option<&str>, payment: Option<&str>) -> Command {
    Command::Lock {
        holder: holder.map(str::to_owned),
        ttl: None,
        payment_tx_hash: payment.map(str::to_owned),
    }
}

fn deliver(outcome: Outcome, lock_token: Option<u64>) -> Command {
    Command::Deliver { outcome, lock_token }
}

fn result() -> Outcome {
    Outcome::Result(json!({"a": 1}))
}

/// One of each verb; every one passes its guards on a job that is where it belongs.
fn commands() -> Vec<Command> {
    vec![
        quote(),
        Command::Refuse { reason: "no".to_owned() },
        Command::Accept,
        pay(&"ab".repeat(32)),
        lock(Some("a"), Some(&"AB".repeat(32))),
        Command::Unlock { holder: "a".to_owned(), lock_token: 1 },
        deliver(result(), Some(1)),
        deliver(Outcome::Error(json!({"code": "x"})), None),
        Command::Cancel { reason: None },
        Command::Expire,
    ]
}

fn run(job: &Job, caller: Caller, command: &Command, seconds: i64) -> Result<Change, Refusal> {
    let rules = Rules::default();
    apply(job, caller, command, &Context { now: at(seconds), rules: &rules, fixed_price_raw: Some("100") })
}

fn seller(job: &Job, command: &Command, seconds: i64) -> Result<Change, Refusal> {
    run(job, Caller::Party(SELLER), command, seconds)
}

fn buyer(job: &Job, command: &Command, seconds: i64) -> Result<Change, Refusal> {
    run(job, Caller::Party(BUYER), command, seconds)
}

#[track_caller]
fn refused(result: Result<Change, Refusal>, code: Code) {
    assert_eq!(result.map(|change| change.job.status).map_err(|refusal| refusal.code), Err(code));
}

#[test]
fn each_move_is_allowed_exactly_where_the_table_says() {
    let callers = [
        (Caller::Party(SELLER), Some(Actor::Seller)),
        (Caller::Party(BUYER), Some(Actor::Buyer)),
        (Caller::Party(STRANGER), None),
        (Caller::Clock, Some(Actor::Clock)),
    ];
    let mut allowed = 0;
    for status in Status::ALL {
        for (caller, actor) in callers {
            for command in commands() {
                // Time passes for what expires; everybody else acts while it still may.
                let seconds = if command == Command::Expire { 100_000 } else { 150 };
                let row = actor.and_then(|actor| lifecycle::transition(status, actor, command.verb()));
                let result = run(&job(status), caller, &command, seconds);
                let what = format!("{status} {actor:?} {}", command.verb());
                match (row, result) {
                    (Some(row), Ok(change)) => {
                        assert_eq!(change.job.status, row.to, "{what}");
                        allowed += 1;
                    }
                    (Some(_), Err(refusal)) => panic!("{what} is on the table, and yet {refusal:?}"),
                    (None, Ok(_)) => panic!("{what} is not on the table"),
                    (None, Err(refusal)) => {
                        let theirs = lifecycle::TRANSITIONS
                            .iter()
                            .any(|row| row.verb == command.verb() && Some(row.actor) == actor);
                        let code = if theirs || caller == Caller::Clock {
                            Code::InvalidState
                        } else {
                            Code::Forbidden
                        };
                        assert_eq!(refusal.code, code, "{what}");
                    }
                }
            }
        }
    }
    assert_eq!(allowed, lifecycle::TRANSITIONS.len());
}

#[test]
fn a_quote_has_a_price_an_address_and_a_time() {
    let requested = job(Status::Requested);
    let with = |amount: &str, invoice: &str, expires: Option<i64>| Command::Quote {
        amount_raw: amount.to_owned(),
        invoice_address: invoice.to_owned(),
        expires_at: expires.map(at),
    };
    let good = address(9);
    for (amount, invoice, expires) in [
        ("101", good.as_str(), None),
        ("-1", &good, None),
        ("", &good, None),
        ("1e3", &good, None),
        ("100", "nano_1", None),
        ("100", "", None),
        ("100", &good, Some(150)),
        ("100", &good, Some(149)),
        ("100", &good, Some(150 + 3_601)),
    ] {
        refused(seller(&requested, &with(amount, invoice, expires), 150), Code::Validation);
    }
    let change = seller(&requested, &with("100", &good, Some(150 + 3_600)), 150).unwrap();
    assert_eq!(change.job.quote_expires_at, Some(at(3_750)));
    assert_eq!(change.unique, Some(Unique::Invoice(SELLER, good.clone())));
    let change = seller(&requested, &with("100", &good, None), 150).unwrap();
    assert_eq!(change.job.quote_expires_at, Some(at(150 + 900)));
    // One account in two spellings is one address.
    let old = format!("xrb_{}", good.strip_prefix("nano_").unwrap());
    let change = seller(&requested, &with("100", &old, None), 150).unwrap();
    assert_eq!(change.unique, Some(Unique::Invoice(SELLER, good)));
    assert_eq!(change.job.quote_invoice_address, Some(old));
}

#[test]
fn a_quote_may_be_accepted_until_it_expires_and_not_after() {
    let quoted = job(Status::Quoted);
    assert!(buyer(&quoted, &Command::Accept, 199).is_ok());
    refused(buyer(&quoted, &Command::Accept, 200), Code::InvalidState);
    refused(run(&quoted, Caller::Clock, &Command::Expire, 199), Code::InvalidState);
    assert!(run(&quoted, Caller::Clock, &Command::Expire, 200).is_ok());
}

#[test]
fn an_accepted_job_expires_only_without_a_hash() {
    let accepted = job(Status::Accepted);
    let end = 100 + 1_800;
    refused(run(&accepted, Caller::Clock, &Command::Expire, end - 1), Code::InvalidState);
    assert!(run(&accepted, Caller::Clock, &Command::Expire, end).is_ok());
    let submitted = Job { payment_tx_hash: Some("AB".repeat(32)), ..accepted };
    refused(run(&submitted, Caller::Clock, &Command::Expire, end * 10), Code::InvalidState);
}

#[test]
fn a_hash_is_checked_kept_in_capitals_and_submitted_once() {
    let accepted = job(Status::Accepted);
    for bad in ["", "AB", &"ab".repeat(33), &"zz".repeat(32)] {
        refused(buyer(&accepted, &pay(bad), 150), Code::Validation);
    }
    let change = buyer(&accepted, &pay(&"ab".repeat(32)), 150).unwrap();
    assert_eq!(change.job.payment_tx_hash.as_deref(), Some("AB".repeat(32).as_str()));
    assert_eq!(change.unique, Some(Unique::PaymentHash("AB".repeat(32))));
    refused(buyer(&change.job, &pay(&"cd".repeat(32)), 150), Code::InvalidState);
}

#[test]
fn a_lock_needs_a_payment_and_brings_it_at_most_once() {
    let accepted = job(Status::Accepted);
    refused(seller(&accepted, &lock(Some("a"), None), 150), Code::InvalidState);
    let change = seller(&accepted, &lock(Some("a"), Some(&"ab".repeat(32))), 150).unwrap();
    assert_eq!(change.job.payment_tx_hash.as_deref(), Some("AB".repeat(32).as_str()));
    assert_eq!(change.event, Some(EventType::Running));
    let submitted = Job { payment_tx_hash: Some("CD".repeat(32)), ..accepted };
    let change = seller(&submitted, &lock(Some("a"), Some(&"ab".repeat(32))), 150).unwrap();
    assert_eq!((change.job.payment_tx_hash, change.unique), (submitted.payment_tx_hash, None));
}

#[test]
fn a_lock_is_its_holders_until_it_expires() {
    let locked = job(Status::Running);
    // The holder renews: same token, no news.
    let renewed = seller(&locked, &lock(Some("a"), None), 399).unwrap();
    assert_eq!((renewed.job.lock_token, renewed.event), (1, None));
    assert_eq!(renewed.job.lock_expires_at, Some(at(699)));
    // Even late, as long as nobody else came.
    assert_eq!(seller(&locked, &lock(Some("a"), None), 500).unwrap().job.lock_token, 1);
    for other in [Some("b"), None] {
        refused(seller(&locked, &lock(other, None), 399), Code::LockConflict);
        assert_eq!(seller(&locked, &lock(other, None), 400).unwrap().job.lock_token, 2);
    }
    let conflict = seller(&locked, &lock(Some("b"), None), 399).unwrap_err();
    assert_eq!(conflict.details["lock_expires_at"], json!(at(400)));
    let long = "x".repeat(HOLDER_CHARS_MAX + 1);
    refused(seller(&locked, &lock(Some(&long), None), 400), Code::Validation);
    for (ttl, fits) in [(9, false), (10, true), (600, true), (601, false)] {
        let ttl = Some(Duration::from_secs(ttl));
        let command = Command::Lock { holder: Some("a".to_owned()), ttl, payment_tx_hash: None };
        assert_eq!(seller(&locked, &command, 150).is_ok(), fits, "{ttl:?}");
    }
}

#[test]
fn an_unlocked_job_is_free_at_once_and_its_next_holder_is_a_new_one() {
    let locked = job(Status::Running);
    let unlock = |holder: &str, lock_token| Command::Unlock { holder: holder.to_owned(), lock_token };
    refused(seller(&locked, &unlock("b", 1), 150), Code::LockLost);
    refused(seller(&locked, &unlock("a", 2), 150), Code::LockLost);
    let free = seller(&locked, &unlock("a", 1), 150).unwrap().job;
    assert_eq!((free.lock_owner, free.lock_expires_at, free.status), (None, None, Status::Running));
    refused(seller(&free, &unlock("a", 1), 150), Code::LockLost);
    refused(seller(&free, &deliver(result(), Some(1)), 150), Code::LockLost);
    for holder in ["a", "b"] {
        assert_eq!(seller(&free, &lock(Some(holder), None), 151).unwrap().job.lock_token, 2);
    }
}

#[test]
fn a_delivery_needs_a_live_lock_and_its_token() {
    let locked = job(Status::Running);
    for token in [None, Some(1)] {
        assert!(seller(&locked, &deliver(result(), token), 399).is_ok(), "{token:?}");
    }
    refused(seller(&locked, &deliver(result(), Some(0)), 399), Code::LockLost);
    refused(seller(&locked, &deliver(result(), Some(2)), 399), Code::LockLost);
    refused(seller(&locked, &deliver(result(), Some(1)), 400), Code::LockLost);
    refused(seller(&locked, &deliver(result(), None), 400), Code::InvalidState);
}

#[test]
fn what_is_delivered_is_bounded() {
    let locked = job(Status::Running);
    // The quotes count.
    let text = |bytes: usize| json!("x".repeat(bytes - 2));
    for (outcome, code) in [
        (Outcome::Result(text(RESULT_PAYLOAD_BYTES_MAX)), None),
        (Outcome::Result(text(RESULT_PAYLOAD_BYTES_MAX + 1)), Some(Code::PayloadTooLarge)),
        (Outcome::Error(text(ERROR_BYTES_MAX)), None),
        (Outcome::Error(text(ERROR_BYTES_MAX + 1)), Some(Code::PayloadTooLarge)),
        (Outcome::ResultUrl("https://a.example/1".to_owned()), None),
        (Outcome::ResultUrl("file:///etc".to_owned()), Some(Code::Validation)),
        (Outcome::ResultUrl(format!("https://{}", "x".repeat(RESULT_URL_CHARS_MAX))), Some(Code::Validation)),
    ] {
        let result = seller(&locked, &deliver(outcome, Some(1)), 150);
        assert_eq!(result.err().map(|refusal| refusal.code), code);
    }
}

#[test]
fn a_refusal_and_a_cancellation_say_why_in_bounds() {
    let requested = job(Status::Requested);
    let refuse = |chars| Command::Refuse { reason: "x".repeat(chars) };
    let change = seller(&requested, &refuse(REASON_CHARS_MAX), 150).unwrap();
    assert_eq!((change.job.status, change.event), (Status::Canceled, Some(EventType::Canceled)));
    assert_eq!(change.job.cancel_reason.unwrap().len(), REASON_CHARS_MAX);
    refused(seller(&requested, &refuse(REASON_CHARS_MAX + 1), 150), Code::Validation);
    let cancel = |chars: usize| Command::Cancel { reason: Some("x".repeat(chars)) };
    assert_eq!(buyer(&requested, &cancel(0), 150).unwrap().job.cancel_reason, None);
    refused(buyer(&requested, &cancel(REASON_CHARS_MAX + 1), 150), Code::Validation);
}

#[test]
fn without_nano_checks_addresses_hashes_and_prices_are_opaque() {
    let rules = Rules { nano_checks: false, ..Rules::default() };
    let context = Context { now: at(150), rules: &rules, fixed_price_raw: Some("100") };
    let command = Command::Quote {
        amount_raw: "5".to_owned(),
        invoice_address: "anything".to_owned(),
        expires_at: None,
    };
    let change = apply(&job(Status::Requested), Caller::Party(SELLER), &command, &context).unwrap();
    assert_eq!(change.unique, None);
    let change = apply(&job(Status::Accepted), Caller::Party(BUYER), &pay("Opaque"), &context).unwrap();
    assert_eq!((change.job.payment_tx_hash.as_deref(), change.unique), (Some("Opaque"), None));
}

#[test]
fn what_is_due_lapses_and_nothing_else_does() {
    let rules = Rules::default();
    let lapse = |status: Status, seconds: i64| {
        let context = Context { now: at(seconds), rules: &rules, fixed_price_raw: None };
        super::lapse(&job(status), &context).map(|change| (change.job.status, change.event))
    };
    assert_eq!((lapse(Status::Quoted, 199), lapse(Status::Running, 100_000)), (None, None));
    assert_eq!(lapse(Status::Quoted, 200), Some((Status::Expired, Some(EventType::Expired))));
    let due = |status| expires_at(&job(status), &rules);
    assert_eq!((due(Status::Quoted), due(Status::Accepted)), (Some(at(200)), Some(at(1_900))));
    for status in [Status::Requested, Status::Running, Status::Delivered] {
        assert_eq!(due(status), None);
    }
}

#[test]
fn a_lock_without_an_owner_is_nobodys() {
    let free = Job { lock_owner: None, ..job(Status::Running) };
    let unlock = Command::Unlock { holder: "a".to_owned(), lock_token: 1 };
    refused(seller(&free, &unlock, 150), Code::LockLost);
    // Who comes back to a lock that was given up is its next holder.
    assert_eq!(seller(&free, &lock(Some("a"), None), 500).unwrap().job.lock_token, 2);
}

#[test]
fn a_submitted_hash_is_enough_for_a_lock() {
    let submitted = Job { payment_tx_hash: Some("CD".repeat(32)), ..job(Status::Accepted) };
    let change = seller(&submitted, &lock(None, None), 150).unwrap();
    assert_eq!((change.job.lock_owner, change.job.lock_token), (Some(SELLER), 1));
}

#[test]
fn a_refused_party_is_told_whether_it_is_one() {
    let told =
        |key| run(&job(Status::Quoted), Caller::Party(key), &Command::Accept, 150).unwrap_err().message;
    assert_eq!(told(SELLER), "accept is the other party's move");
    assert_eq!(told(STRANGER), "you are not a party to this job");
}
