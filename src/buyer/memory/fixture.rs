//! The journals of released versions, read by this one.

use nano_currency::Amount;
use nano_currency::block::StateFields;
use serde_json::json;

use super::*;
use crate::buyer::order::{Agreed, Move, Submission};
use crate::protocol::{OfferId, PublicKey, Status, Timestamp};
use crate::store::fixture;

pub(in crate::buyer) fn signed() -> Signed {
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
    order.agreed = Some(Agreed {
        amount: Amount::from_raw(1),
        invoice: Account::from_bytes([9; 32]),
        expires_at: Some(at),
        seller: Some(PublicKey::from_bytes([13; 32])),
    });
    order.accepted = true;
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
        SIGNED.put(batch, &key, &Kept { order, ..Kept::new(signed(), at, Amount::from_raw(1)) }).unwrap();
    }
    let bare_kept = Kept { block: signed(), order: None, at: None, amount: None, withdrawn_to: None };
    let withdrawn = Kept { withdrawn_to: Some(Account::from_bytes([14; 32])), ..bare_kept };
    for (place, kept) in [([15; 32], bare_kept), ([16; 32], withdrawn)] {
        SIGNED.put(batch, &(place, BlockHash::from_bytes([6; 32])), &kept).unwrap();
    }
    OPEN.put(batch, &full, &()).unwrap();
    FACTS.put(batch, &WALLET.to_owned(), &"nano_1".to_owned()).unwrap();
    FACTS.put(batch, &NETWORK.to_owned(), &"dev".to_owned()).unwrap();
    for seller in [None, Some(PublicKey::from_bytes([13; 32]))] {
        let order = if seller.is_some() { full } else { bare };
        SPENT.put(batch, &(at, order), &Spent { seller, amount: Amount::from_raw(1) }).unwrap();
    }
    WITHDRAWING.put(batch, &[16; 32], &BlockHash::from_bytes([6; 32])).unwrap();
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
    assert_eq!(counts, [7, 1, 4, 1]);
    assert_eq!(journal.spent(Timestamp::from_seconds(1_700_000_000)).unwrap().1.len(), 2);
    assert!(journal.withdrawal(&Account::from_bytes([16; 32])).unwrap().is_some());
    let bare = OrderId::from_bytes([1; 16]);
    assert_eq!(journal.payload(&bare).unwrap(), Some(json!({ "text": "one", "n": 1.5 })));
}

#[test]
fn a_journal_of_version_1_is_brought_here_and_what_it_paid_counts() {
    let dir = fixture::lay_out("buyer-1", bare, |_| {});
    for _ in 0..2 {
        let journal = Memory::open(dir.path()).unwrap();
        let (added, kept): (Vec<String>, Vec<String>) = fixture::records(&journal.store)
            .lines()
            .map(str::to_owned)
            .partition(|line| line.starts_with(&hex::encode([SPENT.id()])));
        assert_eq!(added.len(), 1);
        assert_eq!(kept.join("\n"), fixture::written("buyer-1").trim_end());
        let at = Timestamp::from_seconds(1_700_000_000);
        let spent = Spent { seller: None, amount: Amount::from_raw(1) };
        assert_eq!(journal.spent(at).unwrap(), (at, vec![(OrderId::from_bytes([2; 16]), spent)]));
        assert_eq!(journal.spent(at.plus(DAY)).unwrap().1, []);
        // A clock that was set back changes nothing.
        assert_eq!(journal.spent(Timestamp::from_seconds(0)).unwrap(), journal.spent(at).unwrap());
    }
}

#[test]
fn a_journal_is_one_seeds_and_one_networks() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Memory::open(dir.path()).unwrap();
    let (one, other) = (Account::from_bytes([1; 32]), Account::from_bytes([2; 32]));
    journal.ensure_ours(&other, Network::Live).unwrap();
    for _ in 0..2 {
        journal.own(&one, Network::Dev).unwrap();
    }
    let refused = journal.ensure_ours(&other, Network::Dev);
    assert!(matches!(refused, Err(OwnerError::OtherSeed { .. })));
    let refused = journal.ensure_ours(&one, Network::Live);
    assert!(matches!(refused, Err(OwnerError::OtherNetwork { .. })));
}
