//! The whole table enumerated, and every refusal with its words.

use super::super::lifecycle::TRANSITIONS;
use super::super::sealing::ENC_ALG;
use super::super::{BotKeys, ChargeId, JobId, OfferId, PayloadId, Registration};
use super::*;

const AT: &str = "2026-02-01T12:00:00Z";
const CHARGE_ENDS: &str = "2026-02-01T14:00:00Z";
const JOB_ENDS: &str = "2026-02-08T12:00:00Z";

fn at(text: &str) -> Moment {
    text.parse().unwrap()
}

fn bot(number: u8) -> Bot {
    let keys = BotKeys::from_seeds(&[number; 32], &[number; 32]);
    Registration::of(&keys).bot(&keys.bot_id().to_string(), at(AT)).unwrap()
}

fn buyer() -> BotId {
    bot(1).bot_id
}

fn seller() -> BotId {
    bot(2).bot_id
}

fn charge() -> Charge {
    Charge {
        charge_id: ChargeId::new("chg_1"),
        address: "nano_1".to_owned(),
        amount_raw: "1000".to_owned(),
        charge_expires_at: CHARGE_ENDS.to_owned(),
        charge_sig_ed25519: "c2ln".to_owned(),
    }
}

fn sealed(kind: Kind) -> Sealed {
    Sealed {
        payload_id: PayloadId::new("pay_1"),
        payload_kind: kind.name().to_owned(),
        enc_alg: ENC_ALG.to_owned(),
        recipient_kid: bot(1).encryption_kid,
        ciphertext_b64: "AAAA".to_owned(),
    }
}

/// A job as a walk over the table would leave it.
fn docket(status: Status) -> Docket {
    let paid = matches!(status, Status::Paid | Status::Delivered);
    let charged = paid || matches!(status, Status::ChargeCreated | Status::Expired);
    let job = Job {
        job_id: JobId::new("job_1"),
        offer_id: OfferId::new("offer_1"),
        buyer_bot_id: buyer(),
        seller_bot_id: seller(),
        status,
        price_raw: "1000".to_owned(),
        turnaround_seconds: 3600,
        created_at: at(AT),
        job_expires_at: at(JOB_ENDS),
        request_payload_id: Some(PayloadId::new("pay_0")),
        charge: charged.then(charge),
        paid_at: paid.then(|| at(AT)),
        delivered_at: (status == Status::Delivered).then(|| at(AT)),
    };
    Docket { job, revision: 3, ended_at: status.is_terminal().then(|| at(AT)), evidence: None }
}

fn command(verb: Verb) -> Command {
    match verb {
        Verb::Charge => Command::Charge(charge()),
        Verb::PaymentSent => Command::PaymentSent(PaymentSent::default()),
        Verb::ReissueRequest => Command::ReissueRequest(ReissueRequest::default()),
        Verb::Reissue => Command::Reissue(charge()),
        Verb::MarkPaid => Command::MarkPaid(Evidence::default()),
        Verb::Deliver => Command::Deliver { sealed: sealed(Kind::Deliverable), buyer: Box::new(bot(1)) },
        Verb::Message => Command::Deliver { sealed: sealed(Kind::Message), buyer: Box::new(bot(1)) },
        Verb::Cancel => Command::Cancel,
        Verb::Revoke => Command::Revoke,
        Verb::Expire => Command::Expire,
    }
}

fn caller(actor: Actor) -> Caller {
    match actor {
        Actor::Buyer => Caller::Bot(buyer()),
        Actor::Seller => Caller::Bot(seller()),
        Actor::Clock => Caller::Clock,
    }
}

/// A moment at which the move's guards hold.
fn moment(from: Status, verb: Verb) -> Moment {
    if verb != Verb::Expire {
        return at("2026-02-01T12:30:00Z");
    }
    let until = docket(from).job.stands_until().unwrap_or_else(|| at(JOB_ENDS));
    until.plus(std::time::Duration::from_nanos(1))
}

#[test]
fn what_is_allowed_is_the_table() {
    for from in Status::ALL {
        for verb in Verb::ALL {
            for actor in [Actor::Buyer, Actor::Seller, Actor::Clock] {
                // Time makes no other move than its own, and nobody makes time's.
                if (actor == Actor::Clock) != (verb == Verb::Expire) {
                    continue;
                }
                let told = apply(&docket(from), caller(actor), &command(verb), moment(from, verb));
                let told = told.map(|change| change.docket.job.status).ok();
                let row = transition(from, actor, verb).map(|row| row.to);
                assert_eq!(told, row, "{from} {actor} {verb}");
            }
        }
    }
}

#[test]
fn every_move_is_one_revision() {
    for row in TRANSITIONS {
        let change =
            apply(&docket(row.from), caller(row.actor), &command(row.verb), moment(row.from, row.verb))
                .unwrap();
        assert_eq!(change.docket.revision, 4);
        assert_eq!(change.docket.ended_at.is_some(), row.to.is_terminal(), "{} {}", row.from, row.verb);
        assert!(!change.notices.is_empty(), "{} is told to nobody", row.verb);
    }
}

/// Who is told what by each verb: for the buyer, for the seller.
#[test]
fn every_move_is_told_to_whom_it_concerns() {
    for (from, actor, verb, to_buyer, to_seller) in [
        (Status::Requested, Actor::Seller, Verb::Charge, "job.charge_created", ""),
        (Status::ChargeCreated, Actor::Buyer, Verb::PaymentSent, "", "job.payment_sent"),
        (Status::Expired, Actor::Buyer, Verb::ReissueRequest, "", "job.charge_reissue_requested"),
        (Status::Expired, Actor::Seller, Verb::Reissue, "job.charge_reissued", ""),
        (Status::ChargeCreated, Actor::Seller, Verb::MarkPaid, "job.paid", ""),
        (Status::Paid, Actor::Seller, Verb::Deliver, "job.payload_available", ""),
        (Status::Requested, Actor::Seller, Verb::Message, "job.payload_available", ""),
        (Status::Requested, Actor::Buyer, Verb::Cancel, "", "job.cancelled"),
        (Status::Requested, Actor::Buyer, Verb::Revoke, "job.cancelled", "job.cancelled"),
        (Status::ChargeCreated, Actor::Seller, Verb::Revoke, "job.cancelled", "job.cancelled"),
        (Status::Paid, Actor::Clock, Verb::Expire, "job.expired", "job.expired"),
    ] {
        let change = apply(&docket(from), caller(actor), &command(verb), moment(from, verb)).unwrap();
        let told = |bot: BotId| {
            let names =
                change.notices.iter().filter(|notice| notice.to == bot).map(|notice| notice.news.name());
            names.collect::<Vec<_>>().join(",")
        };
        assert_eq!((told(buyer()).as_str(), told(seller()).as_str()), (to_buyer, to_seller), "{verb}");
    }
}

#[track_caller]
fn refused(from: Status, by: Caller, command: &Command, now: &str, status: u16, message: &str) {
    let refusal = apply(&docket(from), by, command, at(now)).unwrap_err();
    assert_eq!((refusal.code.status(), refusal.message.as_ref()), (status, message));
}

#[test]
fn what_is_off_the_table_has_the_deployed_relays_words() {
    use Status::{Cancelled, ChargeCreated, Delivered, Expired, Paid, Requested};
    for (from, verb, message) in [
        (ChargeCreated, Verb::Charge, "charge already attached"),
        (Paid, Verb::Charge, "job not chargeable"),
        (Cancelled, Verb::Charge, "job not mutable"),
        (Expired, Verb::Charge, "job not mutable"),
        (Requested, Verb::PaymentSent, "job not payable"),
        (Expired, Verb::PaymentSent, "job not payable"),
        (Requested, Verb::ReissueRequest, "job not reissuable"),
        (Paid, Verb::ReissueRequest, "job not reissuable"),
        (ChargeCreated, Verb::Reissue, "job not expired"),
        (Delivered, Verb::Reissue, "job not expired"),
        (Requested, Verb::MarkPaid, "job not chargeable"),
        (Paid, Verb::MarkPaid, "job not chargeable"),
        (Expired, Verb::MarkPaid, "job not mutable"),
        (Requested, Verb::Deliver, "job not paid"),
        (ChargeCreated, Verb::Deliver, "job not paid"),
        (Delivered, Verb::Deliver, "job not mutable"),
        (Delivered, Verb::Message, "job not mutable"),
        (ChargeCreated, Verb::Cancel, "job not cancellable"),
        (Paid, Verb::Cancel, "job not cancellable"),
        (Expired, Verb::Cancel, "job not mutable"),
        (Paid, Verb::Revoke, "job not mutable"),
    ] {
        let row = TRANSITIONS.iter().find(|row| row.verb == verb).unwrap();
        refused(from, caller(row.actor), &command(verb), AT, 409, message);
    }
}

#[test]
fn parties_make_their_own_moves_only() {
    let stranger = Caller::Bot(bot(3).bot_id);
    for (verb, message) in [
        (Verb::Charge, "not the seller"),
        (Verb::Deliver, "not the seller"),
        (Verb::Cancel, "not the buyer"),
        (Verb::PaymentSent, "not the buyer"),
        (Verb::Revoke, "not a party to the job"),
    ] {
        refused(Status::Requested, stranger, &command(verb), AT, 403, message);
    }
    refused(Status::Requested, Caller::Bot(buyer()), &command(Verb::Charge), AT, 403, "not the seller");
    refused(Status::Requested, Caller::Bot(seller()), &command(Verb::Cancel), AT, 403, "not the buyer");
    // The form comes first: even a stranger learns that its charge is none.
    refused(Status::Requested, stranger, &Command::Charge(Charge::default()), AT, 400, "missing fields");
}

#[test]
fn a_charge_lies_ahead_and_not_too_far() {
    let told = |expiry: &str, message: &str| {
        let charge = Charge { charge_expires_at: expiry.to_owned(), ..charge() };
        refused(Status::Requested, caller(Actor::Seller), &Command::Charge(charge.clone()), AT, 400, message);
        refused(Status::Expired, caller(Actor::Seller), &Command::Reissue(charge), AT, 400, message);
    };
    told(AT, "charge_expires_at in past");
    told("2026-03-03T12:00:00.000000001Z", "charge_expires_at too far");
    told("2026-02-01T14:00:00.50Z", "invalid charge_expires_at");
    let most = Charge { charge_expires_at: "2026-03-03T12:00:00Z".to_owned(), ..charge() };
    let change = apply(&docket(Status::Requested), caller(Actor::Seller), &Command::Charge(most), at(AT));
    assert_eq!(change.unwrap().address, Some((seller(), "nano_1".to_owned())));
}

#[test]
fn a_charge_can_be_paid_until_exactly_its_end() {
    let late = "2026-02-01T14:00:00.000000001Z";
    for verb in [Verb::PaymentSent, Verb::MarkPaid] {
        let row = TRANSITIONS.iter().find(|row| row.verb == verb).unwrap();
        let told = |now| apply(&docket(Status::ChargeCreated), caller(row.actor), &command(verb), at(now));
        assert!(told(CHARGE_ENDS).is_ok());
        assert!(lapse(&docket(Status::ChargeCreated), at(CHARGE_ENDS)).is_none());
        // Whoever lets time pass first finds it over; whoever loses that race is told why.
        let expired = lapse(&docket(Status::ChargeCreated), at(late)).unwrap().docket;
        assert_eq!(expired.job.status, Status::Expired);
        assert!(apply(&expired, caller(row.actor), &command(verb), at(late)).is_err());
    }
    refused(
        Status::ChargeCreated,
        caller(Actor::Buyer),
        &command(Verb::PaymentSent),
        late,
        409,
        "charge expired",
    );
}

#[test]
fn mark_paid_after_the_end_is_refused_by_the_charge_itself() {
    let told = apply(
        &docket(Status::ChargeCreated),
        caller(Actor::Seller),
        &command(Verb::MarkPaid),
        at("2026-02-01T14:00:01Z"),
    );
    assert_eq!(told.unwrap_err(), Refusal::conflict("charge expired"));
}

#[test]
fn every_time_limit_is_strict() {
    let later = |text: &str| at(text).plus(std::time::Duration::from_nanos(1));
    // A paid job has its turnaround and a week, if the job itself stands that long.
    let mut long = docket(Status::Paid);
    long.job.job_expires_at = at("2026-03-01T12:00:00Z");
    for (docket, until) in [
        (docket(Status::Requested), JOB_ENDS),
        (docket(Status::ChargeCreated), CHARGE_ENDS),
        (docket(Status::Paid), JOB_ENDS),
        (long, "2026-02-08T13:00:00Z"),
    ] {
        assert_eq!(docket.job.stands_until(), Some(at(until)));
        assert!(lapse(&docket, at(until)).is_none());
        let change = lapse(&docket, later(until)).unwrap();
        let expired = News::Expired {
            job_id: JobId::new("job_1"),
            expired_at: later(until),
            previous_status: docket.job.status,
        };
        assert!(change.notices.iter().all(|notice| notice.news == expired));
    }
    for over in [Status::Delivered, Status::Cancelled, Status::Expired] {
        assert!(lapse(&docket(over), at("2099-01-01T00:00:00Z")).is_none());
    }
}

#[test]
fn a_job_that_was_paid_gets_no_new_charge() {
    let mut docket = docket(Status::Expired);
    docket.job.paid_at = Some(at(AT));
    let told = apply(&docket, caller(Actor::Seller), &command(Verb::Reissue), at(AT));
    assert_eq!(told.unwrap_err(), Refusal::conflict("job already paid"));
}

#[test]
fn a_reissue_does_not_extend_the_job() {
    let late = at("2026-02-09T12:00:00Z");
    let charge = Charge { charge_expires_at: "2026-02-10T12:00:00Z".to_owned(), ..charge() };
    let change =
        apply(&docket(Status::Expired), caller(Actor::Seller), &Command::Reissue(charge), late).unwrap();
    assert_eq!(change.docket.job.job_expires_at, at(JOB_ENDS));
    assert_eq!(lapse(&change.docket, late).unwrap().docket.job.status, Status::Expired);
}

#[test]
fn a_buyers_word_is_passed_on_as_it_is() {
    let sent = PaymentSent {
        payment_block_hash: Some("AB".to_owned()),
        amount_raw_sent: Some("1000".to_owned()),
        sent_at: Some("2026-02-01T12:05:00Z".to_owned()),
        note: Some("there you are".to_owned()),
    };
    let told = |sent: &PaymentSent| {
        apply(
            &docket(Status::ChargeCreated),
            caller(Actor::Buyer),
            &Command::PaymentSent(sent.clone()),
            at(AT),
        )
    };
    let change = told(&sent).unwrap();
    assert_eq!(change.heard_at, Some(at("2026-02-01T12:05:00Z")));
    assert_eq!(told(&PaymentSent::default()).unwrap().heard_at, Some(at(AT)));
    for (sent, message) in [
        (
            PaymentSent { sent_at: Some("2026-02-01T12:05:00.000000001Z".to_owned()), ..sent.clone() },
            "sent_at in future",
        ),
        (
            PaymentSent { sent_at: Some("2026-02-01T12:05:00.0Z".to_owned()), ..sent.clone() },
            "invalid sent_at",
        ),
        (PaymentSent { amount_raw_sent: Some("1e3".to_owned()), ..sent.clone() }, "invalid amount_raw_sent"),
        (PaymentSent { note: Some("x".repeat(4097)), ..sent }, "note too long"),
    ] {
        assert_eq!(told(&sent).unwrap_err(), Refusal::invalid(message));
    }
}

#[test]
fn a_delivery_is_sealed_for_the_buyer() {
    let told = |sealed: Sealed| {
        let command = Command::Deliver { sealed, buyer: Box::new(bot(1)) };
        apply(&docket(Status::Paid), caller(Actor::Seller), &command, at(AT))
    };
    let change = told(sealed(Kind::Deliverable)).unwrap();
    let payload = change.payload.unwrap();
    assert_eq!((payload.sender_bot_id, payload.recipient_bot_id), (seller(), buyer()));
    assert_eq!(change.docket.job.delivered_at, Some(at(AT)));
    assert_eq!(told(sealed(Kind::Message)).unwrap().docket.job.status, Status::Paid);
    let other = Sealed { recipient_kid: bot(2).encryption_kid, ..sealed(Kind::Deliverable) };
    assert_eq!(told(other).unwrap_err(), Refusal::invalid("recipient_kid mismatch"));
    assert_eq!(told(sealed(Kind::Request)).unwrap_err(), Refusal::invalid("invalid payload_kind"));
}

#[test]
fn what_a_buyer_writes_is_bounded_at_the_byte() {
    let told = |command: Command| {
        let told = apply(&docket(Status::ChargeCreated), caller(Actor::Buyer), &command, at(AT));
        told.map(drop).map_err(|refusal| refusal.message.into_owned())
    };
    let text = |bytes: usize| Some("x".repeat(bytes));
    let sent = |sent: PaymentSent| told(Command::PaymentSent(sent));
    let asked = |request: ReissueRequest| told(Command::ReissueRequest(request));
    for (bytes, expected) in [(0, Ok(())), (4096, Ok(())), (4097, Err("note too long".to_owned()))] {
        assert_eq!(sent(PaymentSent { note: text(bytes), ..PaymentSent::default() }), expected);
        assert_eq!(asked(ReissueRequest { note: text(bytes), ..ReissueRequest::default() }), expected);
    }
    let hash = |bytes| PaymentSent { payment_block_hash: text(bytes), ..PaymentSent::default() };
    assert_eq!((sent(hash(256)), sent(hash(257))), (Ok(()), Err("field too long".to_owned())));
    let amount = |digits| PaymentSent { amount_raw_sent: Some("9".repeat(digits)), ..PaymentSent::default() };
    assert_eq!(sent(amount(40)), Ok(()));
    assert_eq!(sent(amount(41)), Err("invalid amount_raw_sent".to_owned()));
    let wish = |text: &str| ReissueRequest {
        requested_expires_at: Some(text.to_owned()),
        ..ReissueRequest::default()
    };
    assert_eq!(asked(wish("2026-02-02T12:00:00.5Z")), Ok(()));
    assert_eq!(asked(wish("2026-02-02T12:00:00.50Z")), Err("invalid requested_expires_at".to_owned()));
}

/// No walk over the table comes here. Whatever does, the buyer has been told where to pay.
#[test]
fn a_request_that_has_a_charge_is_neither_cancelled_nor_charged() {
    let mut docket = docket(Status::Requested);
    docket.job.charge = Some(charge());
    for (actor, verb) in [(Actor::Buyer, Verb::Cancel), (Actor::Seller, Verb::Charge)] {
        let told = apply(&docket, caller(actor), &command(verb), at(AT));
        assert_eq!(told.unwrap_err(), Refusal::conflict("charge already attached"), "{verb}");
    }
}
