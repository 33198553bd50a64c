//! The shapes and their texts, pinned: what both sides read and write, at its bounds.

use std::time::Duration;

use serde_json::{Value, json};

use super::limits::{AMOUNT_CHARS_MAX, DESCRIPTION_CHARS_MAX, TAG_CHARS_MAX, TAGS_MAX, TITLE_CHARS_MAX};
use super::offer::{OfferTerms, PricingMode};
use super::signing::{Signer, is_nonce};
use super::{
    Actor, Code, Epoch, EventId, EventType, Job, PublicKey, Refusal, Status, Timestamp, Verb, lifecycle,
};

const ID: &str = "7f0c2b0e-4a51-4d0e-9e0b-1c1f6a3b2d10";

fn terms() -> OfferTerms {
    OfferTerms {
        title: "t".to_owned(),
        description: "d".to_owned(),
        tags: vec!["a".to_owned()],
        pricing_mode: PricingMode::Fixed,
        fixed_price_raw: Some("1".to_owned()),
        active: true,
    }
}

/// The fields that are refused.
fn wrong(terms: &OfferTerms) -> Vec<String> {
    let Err(refusal) = terms.check() else { return Vec::new() };
    assert_eq!(refusal.code, Code::Validation);
    let issues = refusal.details["issues"].as_array().unwrap();
    issues.iter().map(|issue| issue["field"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_offer_is_checked_at_its_bounds() {
    let none: [&str; 0] = [];
    assert_eq!(wrong(&terms()), none);
    let text = |chars: usize| "ä".repeat(chars);
    for (chars, fits) in [(0, false), (1, true), (TITLE_CHARS_MAX, true), (TITLE_CHARS_MAX + 1, false)] {
        let found = wrong(&OfferTerms { title: text(chars), ..terms() });
        assert_eq!(found.is_empty(), fits, "{chars} characters in a title: {found:?}");
    }
    let long = OfferTerms { description: text(DESCRIPTION_CHARS_MAX + 1), ..terms() };
    assert_eq!(wrong(&long), ["description"]);
    assert_eq!(wrong(&OfferTerms { title: "a\0".to_owned(), ..terms() }), ["title"]);
    for (tags, chars, fits) in [
        (TAGS_MAX, TAG_CHARS_MAX, true),
        (TAGS_MAX + 1, 1, false),
        (TAGS_MAX + 2, 1, false),
        (1, TAG_CHARS_MAX + 1, false),
        (1, 0, false),
        (0, 0, true),
    ] {
        let found = wrong(&OfferTerms { tags: vec![text(chars); tags], ..terms() });
        assert_eq!(found.is_empty(), fits, "{tags} tags of {chars} characters: {found:?}");
    }
    let all = OfferTerms { title: String::new(), description: String::new(), ..terms() };
    assert_eq!(wrong(&all), ["title", "description"]);
}

#[test]
fn a_fixed_offer_has_a_price_in_raw_and_a_quoted_one_has_none() {
    let digits = |count: usize| Some("1".repeat(count));
    for (mode, price, fits) in [
        (PricingMode::Fixed, None, false),
        (PricingMode::Fixed, digits(0), false),
        (PricingMode::Fixed, digits(AMOUNT_CHARS_MAX), true),
        (PricingMode::Fixed, digits(AMOUNT_CHARS_MAX + 1), false),
        (PricingMode::Fixed, digits(AMOUNT_CHARS_MAX + 2), false),
        (PricingMode::Fixed, Some("1.5".to_owned()), false),
        (PricingMode::Fixed, Some("-1".to_owned()), false),
        (PricingMode::Quote, None, true),
        (PricingMode::Quote, digits(1), false),
    ] {
        let found = wrong(&OfferTerms { pricing_mode: mode, fixed_price_raw: price.clone(), ..terms() });
        assert_eq!(found.is_empty(), fits, "{mode:?} {price:?}");
        assert!(found.iter().all(|field| field == "fixed_price_raw"));
    }
}

#[test]
fn an_offer_is_active_unless_it_says_otherwise() {
    let read = |text: &str| serde_json::from_str::<OfferTerms>(text).unwrap();
    let least = r#"{"title":"t","description":"d","pricing_mode":"quote"}"#;
    assert!(read(least).active && read(least).tags.is_empty());
    assert!(!read(r#"{"title":"t","description":"d","pricing_mode":"quote","active":false}"#).active);
}

fn job() -> Job {
    let (seller, buyer) = (PublicKey::from_bytes([1; 32]), PublicKey::from_bytes([2; 32]));
    let at = "2026-01-29T10:00:00Z";
    let least = json!({"job_id": ID, "offer_id": ID, "seller_pubkey": seller, "buyer_pubkey": buyer,
                       "status": "accepted", "created_at": at, "updated_at": at});
    serde_json::from_value(least).unwrap()
}

#[test]
fn a_job_knows_its_parties_and_its_lock() {
    let job = job();
    for (byte, party) in [(1, true), (2, true), (3, false)] {
        assert_eq!(job.has_party(&PublicKey::from_bytes([byte; 32])), party, "{byte}");
    }
    assert!(!job.is_locked(Timestamp::default()));
    let locked = Job { lock_expires_at: Some(Timestamp::from_seconds(100)), ..job };
    for (seconds, live) in [(0, true), (99, true), (100, false), (101, false)] {
        assert_eq!(locked.is_locked(Timestamp::from_seconds(seconds)), live, "{seconds}");
    }
}

#[test]
fn every_event_type_has_one_name() {
    let names = [
        "job.requested",
        "job.quoted",
        "job.accepted",
        "job.payment_submitted",
        "job.running",
        "job.delivered",
        "job.failed",
        "job.canceled",
        "job.expired",
    ];
    assert_eq!(EventType::ALL.map(EventType::name), names);
    for kind in EventType::ALL {
        assert_eq!(EventType::parse(kind.name()), Some(kind));
        assert_eq!(json!(kind), json!(kind.name()));
    }
    assert_eq!(EventType::parse("job.lost"), None);
}

#[test]
fn every_code_has_its_status_and_says_whether_a_retry_helps() {
    for (code, name, status, is_final) in [
        (Code::Validation, "validation_error", 400, true),
        (Code::InvalidSignature, "auth.invalid_signature", 401, false),
        (Code::TimestampSkew, "auth.timestamp_skew", 401, false),
        (Code::NonceReplay, "auth.nonce_replay", 401, false),
        (Code::Forbidden, "forbidden", 403, true),
        (Code::NotFound, "not_found", 404, true),
        (Code::InvalidState, "invalid_state", 409, true),
        (Code::IdempotencyConflict, "idempotency_conflict", 409, true),
        (Code::IdempotencyInProgress, "idempotency_in_progress", 409, false),
        (Code::LockConflict, "lock_conflict", 409, true),
        (Code::LockLost, "lock_lost", 409, true),
        (Code::PaymentHashReused, "payment_hash_reused", 409, true),
        (Code::CursorTooOld, "cursor_too_old", 410, true),
        (Code::PayloadTooLarge, "payload_too_large", 413, false),
        (Code::RateLimited, "rate_limited", 429, false),
        (Code::Unavailable, "unavailable", 503, false),
    ] {
        assert_eq!((json!(code), code.status(), code.is_final()), (json!(name), status, is_final));
    }
}

#[test]
fn refusals_of_several_fields_are_one() {
    assert_eq!(Refusal::all_of([]), Ok(()));
    let both = Refusal::all_of([Refusal::field("a", "x"), Refusal::field("b", "y")]).unwrap_err();
    assert_eq!(both.message, "a: x; b: y");
    let issues = json!({"issues": [{"field": "a", "message": "x"}, {"field": "b", "message": "y"}]});
    assert_eq!(both.details, issues);
    assert_eq!(
        both.to_body(),
        json!({"error": {"code": "validation_error", "message": "a: x; b: y", "details": issues}})
    );
    let refusal = Refusal::invalid_state("no").with_details(json!({"a": 1}));
    assert_eq!((refusal.code, refusal.details), (Code::InvalidState, json!({"a": 1})));
    assert_eq!(Refusal::new(Code::NotFound, "m").details, Value::Null);
}

#[test]
fn the_table_is_printed_row_by_row() {
    let (mermaid, markdown) = (lifecycle::mermaid(), lifecycle::markdown());
    assert!(mermaid.starts_with("stateDiagram-v2\n    [*] --> requested: buyer request\n"));
    assert!(markdown.starts_with("| from | who | does | to | guard |\n|---|---|---|---|---|\n"));
    assert!(mermaid.contains("    accepted --> running: seller lock\n"));
    assert!(markdown.contains("| quoted | buyer | accept | accepted | the quote has not expired |\n"));
    for end in ["delivered", "failed", "canceled", "expired"] {
        assert!(mermaid.contains(&format!("    {end} --> [*]\n")));
    }
    let rows = lifecycle::TRANSITIONS.len();
    assert_eq!((mermaid.lines().count(), markdown.lines().count()), (2 + rows + 4, 2 + rows));
    assert_eq!(
        format!("{:8}|{:7}|{:6}|", Status::Quoted, Actor::Clock, Verb::Pay),
        "quoted  |clock  |pay   |"
    );
    assert_eq!(lifecycle::transition(Status::Quoted, Actor::Seller, Verb::Accept), None);
    assert_eq!(lifecycle::transition(Status::Running, Actor::Buyer, Verb::Accept), None);
    assert_eq!(Status::parse("lost"), None);
}

#[test]
fn moments_are_added_and_written_within_the_calendar() {
    let (at, hour) = (Timestamp::from_seconds(1_700_000_000), Duration::from_secs(3_600));
    assert_eq!((at.seconds(), at.micros()), (1_700_000_000, 1_700_000_000_000_000));
    assert_eq!(at.plus(hour).seconds(), 1_700_003_600);
    assert_eq!(at.minus(hour).seconds(), 1_699_996_400);
    assert_eq!((at.plus(hour).since(at), at.since(at.plus(hour))), (hour, Duration::ZERO));
    assert_eq!(format!("{at} {at:?}"), "2023-11-14T22:13:20.000000Z 2023-11-14T22:13:20.000000Z");
    assert_eq!(json!(at), json!("2023-11-14T22:13:20.000000Z"));
    assert_eq!(serde_json::from_value::<Timestamp>(json!("2023-11-14T23:13:20+01:00")).unwrap(), at);
    assert!(serde_json::from_value::<Timestamp>(json!("yesterday")).is_err());
    assert_eq!(Timestamp::default().minus(hour), Timestamp::default());
    let last = Timestamp::from_micros(i64::MAX);
    assert_eq!(last.to_string(), "9999-12-31T23:59:59.999999Z");
    assert_eq!((last.plus(hour), last.to_string().parse()), (last, Ok(last)));
    assert_eq!(Timestamp::from_micros(-1), Timestamp::default());
    assert_eq!(Timestamp::from_micros(1).micros(), 1);
}

#[test]
fn names_are_read_and_written_in_one_way() {
    let key = PublicKey::from_bytes([0xab; 32]);
    assert_eq!((key.to_string(), format!("{key:?}")), ("ab".repeat(32), "ab".repeat(32)));
    assert_eq!((key.as_bytes(), json!(key)), (&[0xab; 32], json!("ab".repeat(32))));
    assert_eq!(serde_json::from_value::<PublicKey>(json!("ab".repeat(32))).unwrap(), key);
    for bad in ["", "ab", &"AB".repeat(32), &"ab".repeat(33), &"zz".repeat(32)] {
        assert!(bad.parse::<PublicKey>().is_err(), "{bad}");
    }
    assert_eq!(format!("{} {}", EventId(7), Epoch("e1".to_owned())), "7 e1");
    let id: super::JobId = ID.parse().unwrap();
    assert_eq!((id.to_string(), format!("{id:?}")), (ID.to_owned(), ID.to_owned()));
    assert_eq!(super::JobId::from_bytes(*id.as_bytes()), id);
    for bad in ["", &ID.replace('-', ""), &format!("{{{ID}}}"), &ID.replace('7', "g")] {
        assert!(bad.parse::<super::JobId>().is_err(), "{bad}");
    }
}

#[test]
fn a_nonce_has_32_to_64_small_hex_digits() {
    for (nonce, good) in [
        ("a".repeat(31), false),
        ("a".repeat(32), true),
        ("09af".repeat(16), true),
        ("a".repeat(65), false),
        ("A".repeat(32), false),
        ("g".repeat(32), false),
    ] {
        assert_eq!(is_nonce(&nonce), good, "{nonce}");
    }
    let signer = Signer::from_seed(&[7; 32]);
    assert_eq!(format!("{signer:?}"), format!("Signer({})", signer.public_key()));
}
