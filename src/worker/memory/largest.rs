//! The largest record of each stage fits the store, whatever a stranger says or sends: one that did not
//! would end every life that meets its job.

use nano_currency::{Account, Amount, BlockHash};

use super::fixture::stages;
use super::*;
use crate::protocol::job::JobError;
use crate::protocol::limits::{PAYMENT_HASH_CHARS_MAX, REASON_CHARS_MAX};
use crate::store::VALUE_BYTES_MAX;
use crate::worker::engine::LINE_CHARS_MAX;
use crate::worker::payment::{Invoice, PARTS_MAX, PaymentError, Verdict};
use crate::worker::stage::{Ending, Lock, Paid, Plan};

const LATE: Timestamp = Timestamp::from_seconds(253_402_300_799);

/// The character whose JSON form is the longest.
fn text(chars: usize) -> String {
    "\u{1}".repeat(chars)
}

fn invoice() -> Invoice {
    Invoice { index: u32::MAX, account: Account::from_bytes([9; 32]), price: Amount::MAX }
}

fn blocks() -> Vec<BlockHash> {
    vec![BlockHash::from_bytes([255; 32]); PARTS_MAX]
}

fn paid() -> Paid {
    Paid {
        invoice: invoice(),
        total: Amount::MAX,
        blocks: blocks(),
        hash_submitted: false,
        attempts: u32::MAX,
    }
}

fn lock() -> Lock {
    Lock { token: Some(u64::MAX), expires_at: LATE }
}

fn verdict(verdict: Verdict) -> Verdict {
    let account = Account::from_bytes([9; 32]);
    match verdict {
        Verdict::Settled { .. } => Verdict::Settled { blocks: blocks(), total: Amount::MAX },
        Verdict::Unknown(_) => Verdict::Unknown(text(LINE_CHARS_MAX)),
        Verdict::Unpaid(error) => Verdict::Unpaid(match error {
            PaymentError::AddressMismatch(_) => PaymentError::AddressMismatch(account),
            PaymentError::OtherInvoice(_) => PaymentError::OtherInvoice(account),
            PaymentError::AmountMismatch { .. } => {
                PaymentError::AmountMismatch { paid: Amount::MAX, price: Amount::MAX }
            }
            PaymentError::NotFound
            | PaymentError::Unconfirmed
            | PaymentError::NotSend
            | PaymentError::HashReused
            | PaymentError::Late => error,
        }),
    }
}

/// What is to be told is this program's own words, with an account or two amounts.
fn plan(plan: Plan) -> Plan {
    match plan {
        Plan::Run { .. } => Plan::Run { paid: paid(), placed: false },
        Plan::Fail { error: JobError { code, .. } } => {
            Plan::Fail { error: JobError { code, message: text(LINE_CHARS_MAX), details: json_details() } }
        }
        Plan::Deliver { .. } => Plan::Deliver { round: u32::MAX, failed: false },
    }
}

fn json_details() -> serde_json::Value {
    serde_json::json!({ "outcome": Oddity::HashOfOtherInvoice, "paid_raw": Amount::MAX, "price_raw": Amount::MAX })
}

/// The same stage with the most in it that it can have.
fn largest(stage: Stage) -> Stage {
    let submitted = Some(text(PAYMENT_HASH_CHARS_MAX));
    match stage {
        Stage::Fresh | Stage::Pricing | Stage::Ended { .. } => stage,
        Stage::Indexing { .. } => Stage::Indexing { price: Amount::MAX, tries: u8::MAX },
        Stage::Quoting { .. } => Stage::Quoting { invoice: invoice(), tries: u8::MAX },
        Stage::Refusing { .. } => Stage::Refusing { reason: text(REASON_CHARS_MAX) },
        Stage::Quoted { .. } => Stage::Quoted { invoice: invoice() },
        Stage::Awaiting { verdict: said, .. } => {
            Stage::Awaiting { invoice: invoice(), submitted, since: LATE, verdict: said.map(verdict) }
        }
        Stage::Queued { .. } => Stage::Queued { paid: paid() },
        Stage::Locking { plan: wanted } => Stage::Locking { plan: plan(wanted) },
        Stage::Blocked { plan: wanted, .. } => Stage::Blocked { plan: plan(wanted), until: LATE },
        Stage::Ready { .. } => Stage::Ready { paid: paid(), lock: lock() },
        Stage::Running { .. } => Stage::Running { paid: paid(), lock: lock(), attempt: u32::MAX },
        Stage::Stopping { plan: wanted } => Stage::Stopping { plan: plan(wanted) },
        Stage::Delivering { .. } => Stage::Delivering { lock: lock(), round: u32::MAX, failed: false },
        Stage::Lapsed { ending, .. } => Stage::Lapsed { invoice: invoice(), submitted, ending, until: LATE },
        Stage::Reviving { ending, .. } => Stage::Reviving { invoice: invoice(), ending, until: Some(LATE) },
    }
}

#[test]
fn the_largest_record_of_each_stage_fits_the_store() {
    let reviving =
        Stage::Reviving { invoice: invoice(), ending: Ending::Expired { paid: false }, until: None };
    let mut names = std::collections::BTreeSet::new();
    for stage in stages().into_iter().chain([reviving]) {
        names.insert(stage.name());
        let record = Record {
            offer_id: OfferId::from_random([255; 16]),
            buyer_pubkey: PublicKey::from_bytes([255; 32]),
            status: Status::Requested,
            first_seen_at: LATE,
            changed_at: LATE,
            lines: u32::MAX,
            outcomes: u32::MAX,
            invoice: Some(invoice()),
            unquoted: true,
            unpaid: true,
            oddities: Oddity::ALL.to_vec(),
            stage: largest(stage),
        };
        let job = JobId::from_random([1; 16]);
        JOBS.put(&mut Batch::default(), &job, &record).unwrap();
        // With room for what a later version may add.
        let bytes = serde_json::to_vec(&record).unwrap().len();
        assert!(bytes < VALUE_BYTES_MAX * 3 / 4, "{}: {bytes}", record.stage.name());
    }
    assert_eq!(names.len(), 17, "a stage is missing");
}
