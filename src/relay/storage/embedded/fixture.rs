//! The storages of released versions, read by this one.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::keys::*;
use super::*;
use crate::protocol::{Code, EventType, Status};
use crate::store::{Key, Keyspace, fixture};

const AT: Timestamp = Timestamp::from_seconds(1_700_000_000);
const SELLER: PublicKey = PublicKey::from_bytes([1; 32]);
const BUYER: PublicKey = PublicKey::from_bytes([2; 32]);

fn job(number: u8, status: Status) -> Job {
    let full = status != Status::Requested;
    let text = |text: &str| if full { json!(text) } else { Value::Null };
    serde_json::from_value(json!({
        "job_id": JobId::from_random([number; 16]), "offer_id": OfferId::from_random([9; 16]),
        "seller_pubkey": SELLER, "buyer_pubkey": BUYER, "status": status,
        "quote_amount_raw": text("1000"), "quote_invoice_address": text("nano_x"),
        "quote_expires_at": full.then_some(AT), "payment_tx_hash": text("AB"),
        "lock_owner": full.then_some(SELLER), "lock_expires_at": full.then_some(AT),
        "lock_holder": text("worker-1"), "lock_token": u64::from(full),
        "result_url": text("https://example.org/x"), "error": {"code": "x", "message": "y"},
        "cancel_reason": text("no"), "created_at": AT, "updated_at": AT
    }))
    .unwrap()
}

fn offer() -> Offer {
    serde_json::from_value(json!({
        "offer_id": OfferId::from_random([9; 16]), "seller_pubkey": SELLER, "title": "Word count",
        "description": "Counts words.", "tags": ["text"], "pricing_mode": "fixed",
        "fixed_price_raw": "1000", "active": true, "created_at": AT
    }))
    .unwrap()
}

/// The first one is cut into two pieces.
fn result(number: u8) -> Vec<u8> {
    b"0123456789".repeat(if number == 1 { 7_000 } else { 10 })
}

fn fill(batch: &mut Batch) {
    NOTES.put(batch, &"epoch".to_owned(), &"00ff".to_owned()).unwrap();
    COUNTERS.put(batch, &(), &Counters { head: EventId(8), updated_at: AT }).unwrap();
    for (number, status) in (1u8..).zip(Status::ALL) {
        let job = job(number, status);
        let shelf = (SELLER, side::SELLER, number);
        let entry = LogEntry {
            event_id: EventId(number.into()),
            job_id: job.job_id,
            kind: EventType::Requested,
            created_at: AT,
            seller: SELLER,
            buyer: BUYER,
        };
        REQUESTS.put(batch, &job.job_id, br#"{"text":"one two"}"#);
        RESULTS.put(batch, &job.job_id, &result(number));
        JOBS_BY_CREATION.put(batch, &(shelf, AT), &job.job_id).unwrap();
        JOBS_BY_UPDATE.put(batch, &(shelf, AT), &job.job_id).unwrap();
        JOB_COUNTS.put(batch, &shelf, &1).unwrap();
        DUE.put(batch, &(AT, job.job_id), &()).unwrap();
        PAYMENTS.put(batch, &number.to_string(), &job.job_id).unwrap();
        INVOICES.put(batch, &(SELLER, number.to_string()), &job.job_id).unwrap();
        let entry = LogRecord::Job(entry);
        EVENTS.put(batch, &entry.event_id(), &entry).unwrap();
        EVENTS_OF_PARTY.put(batch, &(SELLER, entry.event_id()), &entry).unwrap();
        let record = JobRecord { has_result: number > 4, due: (number > 2).then_some(AT), job };
        JOBS.put(batch, &record.job.job_id, &record).unwrap();
        let answer = AnswerRecord {
            request_hash: "aa".to_owned(),
            expires_at: AT,
            status: 200,
            body: match number % 4 {
                0 => AnswerBody::Job(Box::new(record)),
                1 => AnswerBody::Offer(offer()),
                2 => AnswerBody::Acked(EventId(3)),
                _ => AnswerBody::Refused(Refusal::new(Code::NotFound, "no such job")),
            },
        };
        ANSWERS.put(batch, &(BUYER, number.to_string()), &answer).unwrap();
        ANSWERS_BY_END.put(batch, &(AT, BUYER, number.to_string()), &()).unwrap();
    }
    let offer = offer();
    OFFERS_BY_CREATION.put(batch, &(AT, offer.offer_id), &()).unwrap();
    OFFERS_OF_SELLER.put(batch, &(SELLER, AT, offer.offer_id), &()).unwrap();
    OFFERS.put(batch, &offer.offer_id, &offer).unwrap();
    ACKED.put(batch, &SELLER, &EventId(2)).unwrap();
    FORGOTTEN.put(batch, &SELLER, &EventId(1)).unwrap();
    NONCES.put(batch, &(3, BUYER, "aa".to_owned()), &AT).unwrap();
}

fn bare(dir: &Path) -> Store {
    Store::open(dir, Options { kind: "relay", schema: SCHEMA, cache_bytes: 8 << 20 }).unwrap()
}

/// How many records a keyspace has; each must be readable.
fn count<K: Key, V: Serialize + DeserializeOwned>(store: &Store, keyspace: &Keyspace<K, V>) -> usize {
    keyspace.all(store).map(|record| drop(record.unwrap())).count()
}

#[test]
fn a_fixture_of_this_version_reads_back_exactly() {
    let name = format!("relay-{SCHEMA}");
    let dir = fixture::lay_out(&name, bare, fill);
    let relay = Embedded::open(dir.path(), 8 << 20, &Entropy::system()).unwrap();
    let store = &relay.store;
    assert_eq!(fixture::records(store), fixture::written(&name));
    assert_eq!(relay.epoch, Epoch("00ff".to_owned()));
    let all = Status::ALL.len();
    for (number, status) in (1u8..).zip(Status::ALL) {
        let id = JobId::from_random([number; 16]);
        assert_eq!(JOBS.get(store, &id).unwrap().unwrap().job, job(number, status));
        assert_eq!(RESULTS.get(store, &id).unwrap(), Some(result(number)));
    }
    assert_eq!(OFFERS.get(store, &offer().offer_id).unwrap(), Some(offer()));
    for found in [
        count(store, &JOBS),
        count(store, &JOBS_BY_CREATION),
        count(store, &JOBS_BY_UPDATE),
        count(store, &JOB_COUNTS),
        count(store, &DUE),
        count(store, &PAYMENTS),
        count(store, &INVOICES),
        count(store, &EVENTS),
        count(store, &EVENTS_OF_PARTY),
        count(store, &ANSWERS),
        count(store, &ANSWERS_BY_END),
    ] {
        assert_eq!(found, all);
    }
    for found in [
        count(store, &NOTES),
        count(store, &OFFERS_BY_CREATION),
        count(store, &OFFERS_OF_SELLER),
        count(store, &ACKED),
        count(store, &FORGOTTEN),
        count(store, &NONCES),
    ] {
        assert_eq!(found, 1);
    }
}
