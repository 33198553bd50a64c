//! The journals of released versions, read by this one.

use nano_currency::Amount;
use nano_currency::block::StateFields;
use serde_json::json;

use super::*;
use crate::buyer::order::{Agreed, Move, Submission};
use crate::protocol::{OfferId, Status, Timestamp};
use crate::store::fixture;

fn signed() -> Signed {
    let key = nano_currency::Seed::parse(&hex::encode([5; 32])).unwrap().key(0).unwrap();
    let fields = StateFields {
        account: key.account(),
        previous: BlockHash::from_bytes([6; 32]),
        representative: Account::from_bytes([7; 32]),
        balance: Amount::from_raw(10),
        link: [8; 32],
    };
    Signed(fields.sign(&key, nano_currency::work::Work::new(0x0123_4567_89ab_cdef)))
}

fn fill(batch: &mut Batch) {
    let at = Timestamp::from_seconds(1_700_000_000);
    let (bare, full) = (OrderId::from_bytes([1; 16]), OrderId::from_bytes([2; 16]));
    let job = JobId::from_random([3; 16]);
    let mut order = Order::new(full, at);
    order.offer_id = Some(OfferId::from_random([4; 16]));
    order.job_id = Some(job);
    order.mandate = Some(Amount::MAX);
    order.begun = Some(Move::Pay);
    order.agreed = Some(Agreed { amount: Amount::from_raw(1), invoice: Account::from_bytes([9; 32]) });
    order.account_index = 3;
    order.payment = Some(signed());
    order.abandoned = vec![BlockHash::from_bytes([10; 32])];
    order.submission = Some(Submission { hash: "AB".to_owned(), done: false });
    order.status = Some(Status::Accepted);
    order.note(at, "paid");
    ORDERS.put(batch, &bare, &Order::new(bare, at)).unwrap();
    ORDERS.put(batch, &full, &order).unwrap();
    for (number, step) in (20u8..).zip([Move::Request, Move::Accept, Move::Pay, Move::Submit, Move::Cancel]) {
        let id = OrderId::from_bytes([number; 16]);
        ORDERS.put(batch, &id, &Order { begun: Some(step), ..Order::new(id, at) }).unwrap();
    }
    BY_JOB.put(batch, &job, &full).unwrap();
    PAYLOADS.put(batch, &bare, br#"{"text":"one","n":1.5}"#);
    for (place, order) in [([11; 32], Some(full)), ([12; 32], None)] {
        let key = (place, BlockHash::from_bytes([6; 32]));
        SIGNED.put(batch, &key, &Kept { block: signed(), order }).unwrap();
    }
    OPEN.put(batch, &full, &()).unwrap();
}

fn bare(dir: &Path) -> Store {
    Store::open(dir, Options { kind: "buyer", schema: SCHEMA, cache_bytes: CACHE_BYTES }).unwrap()
}

#[test]
fn a_fixture_of_this_version_reads_back_exactly() {
    let name = format!("buyer-{SCHEMA}");
    let dir = fixture::lay_out(&name, bare, fill);
    let journal = Memory::open(dir.path()).unwrap();
    let store = &journal.store;
    assert_eq!(fixture::records(store), fixture::written(&name));
    let counts = [
        ORDERS.all(store).map(|record| record.map(drop)).collect::<Result<Vec<()>, _>>().unwrap().len(),
        BY_JOB.all(store).map(|record| record.map(drop)).collect::<Result<Vec<()>, _>>().unwrap().len(),
        SIGNED.all(store).map(|record| record.map(drop)).collect::<Result<Vec<()>, _>>().unwrap().len(),
        OPEN.all(store).map(|record| record.map(drop)).collect::<Result<Vec<()>, _>>().unwrap().len(),
    ];
    assert_eq!(counts, [7, 1, 2, 1]);
    let bare = OrderId::from_bytes([1; 16]);
    assert_eq!(journal.payload(&bare).unwrap(), Some(json!({ "text": "one", "n": 1.5 })));
}
