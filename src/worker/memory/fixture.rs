//! The stores of released versions, read by this one.

use nano_currency::{Account, Amount, BlockHash};
use serde_json::json;

use super::*;
use crate::protocol::job::JobError;
use crate::store::fixture;
use crate::worker::payment::{Invoice, PaymentError, Verdict};
use crate::worker::stage::{Ending, Lock, Paid, Plan};

const AT: Timestamp = Timestamp::from_seconds(1_700_000_000);

fn invoice(index: u8) -> Invoice {
    Invoice {
        index: index.into(),
        account: Account::from_bytes([index; 32]),
        price: Amount::from_raw(10u128.pow(27)),
    }
}

fn paid() -> Paid {
    let blocks = vec![BlockHash::from_bytes([1; 32]), BlockHash::from_bytes([2; 32])];
    Paid { invoice: invoice(3), total: Amount::MAX, blocks, hash_submitted: true, attempts: 1 }
}

fn error() -> JobError {
    JobError { code: "handler_failed".to_owned(), message: "exit 1".to_owned(), details: json!({"n": 1.5}) }
}

fn verdicts() -> Vec<Option<Verdict>> {
    let address = PaymentError::AddressMismatch(Account::from_bytes([9; 32]));
    let amount = PaymentError::AmountMismatch { paid: Amount::from_raw(1), price: Amount::from_raw(2) };
    let mut verdicts = vec![
        None,
        Some(Verdict::Unknown("no answer".to_owned())),
        Some(Verdict::Settled { blocks: vec![BlockHash::from_bytes([1; 32])], total: Amount::MAX }),
    ];
    verdicts.extend(
        [
            PaymentError::NotFound,
            PaymentError::Unconfirmed,
            PaymentError::NotSend,
            address,
            PaymentError::HashReused,
            amount,
            PaymentError::Late,
        ]
        .map(|error| Some(Verdict::Unpaid(error))),
    );
    verdicts
}

/// One of each kind, with every value that a stored stage can hold.
pub(super) fn stages() -> Vec<Stage> {
    let lock = Lock { token: Some(1), expires_at: AT };
    let until = AT.plus(std::time::Duration::from_secs(60));
    let plans = [
        Plan::Run { paid: paid(), placed: false },
        Plan::Fail { error: error() },
        Plan::Deliver { round: 2, failed: true },
    ];
    let endings = [
        Ending::Delivered,
        Ending::Failed,
        Ending::Refused,
        Ending::Canceled { paid: false },
        Ending::Expired { paid: true },
        Ending::Elsewhere,
        Ending::Vanished { paid: true },
        Ending::PaidLate,
    ];
    let mut stages = vec![
        Stage::Fresh,
        Stage::Pricing,
        Stage::Indexing { price: Amount::from_raw(1), tries: 1 },
        Stage::Quoting { invoice: invoice(1), tries: 2 },
        Stage::Refusing { reason: "too long".to_owned() },
        Stage::Quoted { invoice: invoice(2) },
        Stage::Queued { paid: paid() },
        Stage::Ready { paid: paid(), lock },
        Stage::Running { paid: paid(), lock: Lock { token: None, ..lock }, attempt: 2 },
        Stage::Delivering { lock, round: 1, failed: false },
    ];
    let submitted = Some("not a hash".to_owned());
    stages.extend(verdicts().into_iter().map(|verdict| Stage::Awaiting {
        invoice: invoice(3),
        submitted: submitted.clone(),
        since: AT,
        verdict,
    }));
    for plan in plans {
        stages.push(Stage::Locking { plan: plan.clone() });
        stages.push(Stage::Blocked { plan: plan.clone(), until });
        stages.push(Stage::Stopping { plan });
    }
    for ending in endings {
        let lapsed = Stage::Lapsed { invoice: invoice(4), submitted: None, ending: ending.clone(), until };
        stages.extend([lapsed, Stage::Ended { ending }]);
    }
    stages
}

fn fill(batch: &mut Batch) {
    for (name, value) in [
        (fact::CURSOR, "17"),
        (fact::EPOCH, "0a0b"),
        (fact::LISTING, "after:2023-11-14T22:13:20.000000Z"),
        (fact::NEXT_INDEX, "9"),
        (fact::HOLDER, "worker-00112233445566778899aabbccddeeff"),
        (fact::WALLET, "nano_1111111111111111111111111111111111111111111111111111hifc8npp"),
        (fact::SELLER, "0101010101010101010101010101010101010101010101010101010101010101"),
        (fact::SYNCED, "yes"),
        (fact::LOOKED, "yes"),
        (fact::RESTORED, r#"{"at":"2023-11-14T22:13:20.000000Z","from":"nothing"}"#),
        (fact::BACKUP, r#"{"at":"2023-11-14T22:13:20.000000Z","file":"/x","error":null}"#),
        (fact::NETWORK, "dev"),
    ] {
        put_fact(batch, name, value).unwrap();
    }
    for (number, stage) in (1u8..).zip(stages()) {
        let job = JobId::from_random([number; 16]);
        let record = Record {
            offer_id: OfferId::from_random([7; 16]),
            buyer_pubkey: PublicKey::from_bytes([8; 32]),
            status: Status::ALL[usize::from(number) % Status::ALL.len()],
            first_seen_at: AT,
            changed_at: AT,
            lines: 1,
            outcomes: u32::from(number <= 2),
            invoice: None,
            unquoted: false,
            unpaid: false,
            oddities: Vec::new(),
            stage,
        };
        if !record.stage.is_ended() {
            OPEN.put(batch, &job, &()).unwrap();
        }
        RECENT.put(batch, &(AT, job), &()).unwrap();
        let entry = Entry { at: AT, what: "seen".to_owned(), stage: record.stage.to_string() };
        HISTORY.put(batch, &(job, 0), &entry).unwrap();
        JOBS.put(batch, &job, &record).unwrap();
    }
    let (one, two) = (JobId::from_random([1; 16]), JobId::from_random([2; 16]));
    REQUESTS.put(batch, &one, br#"{"text":"one two"}"#);
    REQUESTS.put(batch, &two, &b"0123456789".repeat(7_000));
    put_outcome(batch, one, 1, &Outcome::Result(json!("two")));
    put_outcome(batch, two, 1, &Outcome::Error(error()));
    CLAIMS.put(batch, &BlockHash::from_bytes([1; 32]), &one).unwrap();
    for (index, job_id) in [(1u8, Some(one)), (2, None)] {
        INVOICES.put(batch, &[index; 32], &IssuedInvoice { index: index.into(), job_id }).unwrap();
    }
    for (name, offer_id) in [("Word count", Some(OfferId::from_random([7; 16]))), ("Other", None)] {
        let (key, terms) = ("offer-00".to_owned(), "{}".to_owned());
        OFFERS.put(batch, &name.to_owned(), &RegisteredOffer { offer_id, key, terms }).unwrap();
    }
}

fn bare(dir: &Path) -> Store {
    Store::open(dir, options(SCHEMA)).unwrap()
}

#[test]
fn a_fixture_of_this_version_reads_back_exactly() {
    let name = format!("worker-{SCHEMA}");
    let dir = fixture::lay_out(&name, bare, fill);
    let store = open(dir.path()).unwrap();
    assert_eq!(fixture::records(&store), fixture::written(&name));
    read_all(&store).unwrap();
    for (number, stage) in (1u8..).zip(stages()) {
        let job = JobId::from_random([number; 16]);
        assert_eq!(JOBS.get(&store, &job).unwrap().unwrap().stage, stage);
    }
}

#[test]
fn a_store_of_version_1_is_brought_here_with_every_record() {
    let dir = fixture::lay_out("worker-1", bare, |_| {});
    for _ in 0..2 {
        let store = open(dir.path()).unwrap();
        read_all(&store).unwrap();
        let looked = format!("{} v1 \"yes\"", hex::encode([&[FACTS.id()], fact::LOOKED.as_bytes()].concat()));
        let (added, kept): (Vec<String>, Vec<String>) =
            fixture::records(&store).lines().map(str::to_owned).partition(|line| *line == looked);
        assert_eq!(added.len(), 1);
        assert_eq!(kept.join("\n"), fixture::written("worker-1").trim_end());
    }
}
