//! Bugs that are put in on purpose, to see that they are found.

use nano_worker::nano::{Account, Amount};
use nano_worker::store::Writes;
use serde_json::{Value, json};

use crate::plan::Host;

/// Bugs to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The worker's barrier returns before anything is on the disk.
    WorkerSkipsBarrier,
    /// The relay's does.
    RelaySkipsBarrier,
    /// Which indices are used is lost in every crash of the worker.
    IndexForgotten,
    /// Which blocks are claimed is lost too.
    ClaimsForgotten,
    /// The node says that everything is confirmed.
    NodeLies,
    /// A handler that must not be repeated passes for one that may.
    RunsAgain,
    /// A handler that may be repeated passes for one that must not.
    NeverRepeats,
    /// The clock of the leases stands still, so that they are believed in for ever.
    LeaseEternal,
    /// No payment is ever found.
    NeverPaid,
    /// A part of the network stays cut off.
    NeverHeals,
    /// What has died is not started again.
    StaysDown,
    /// A worker's disk says that it fails.
    WorkerDiskFails,
    /// The relay's does.
    RelayDiskFails,
    /// A task wakes itself for ever.
    Circles,
    /// Which blocks were signed is lost in every crash of the worker, and none arrives at first.
    CoinsForgotten,
    /// Coins are sent where nobody said.
    SweepsAway,
    /// Coins are too small to be received, whatever they are.
    ReceivesNothing,
    /// A worker does not wait for its disk once it awaits a payment.
    WorkerTires,
    /// The workers are shown nothing of what buyers pay.
    Overlooks,
    /// Something else is written than should be.
    Writes(Wrong),
}

/// What is wrong in what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// A new job is there as if it had been quoted.
    RelayBegins,
    /// A quoted job is there as if it had been accepted.
    RelayStatus,
    /// A job that runs has the time at which it began.
    RelayTime,
    /// A job that runs has another payment than was submitted.
    RelayPayment,
    /// A job that has ended has no lock's number.
    RelayToken,
    /// A job that was quoted is lost.
    RelayLoses,
    /// A job that was quoted cannot be read.
    RelayGarbles,
    /// Offers are forgotten.
    RelayOffers,
    /// What was paid was paid to another account.
    WorkerAccount,
    /// What is run costs more.
    WorkerPrice,
    /// Claims are not written.
    WorkerClaims,
    /// A cursor that is not written.
    WorkerCursor,
    /// Jobs that were canceled were delivered, and nothing is owed.
    WorkerEarns,
    /// All that comes is owed back.
    WorkerOwes,
    /// Jobs have ended as soon as they are paid for.
    WorkerEnds,
    /// Every outcome is that the work was interrupted.
    WorkerInterrupts,
    /// Every outcome is that the handler failed.
    WorkerFails,
    /// Every outcome is another job's result.
    WorkerMixes,
    /// Nothing is ever owed back.
    WorkerForgives,
    /// What is owed back is not on the list of what has to go back.
    WorkerUnlists,
}

/// Changes what one program writes.
pub(crate) fn spoil(bug: Bug, host: Host, writes: &mut Writes) {
    let Bug::Writes(wrong) = bug else { return };
    match host {
        Host::Relay => writes.iter_mut().for_each(|write| spoil_relay(wrong, write)),
        _ => spoil_worker(wrong, writes),
    }
}

fn spoil_relay(wrong: Wrong, write: &mut (Vec<u8>, Option<Vec<u8>>)) {
    let (key, value) = write;
    if wrong == Wrong::RelayOffers && key[0] == 12 {
        *value = None;
    }
    if key[0] != 3 {
        return;
    }
    let status = value.as_deref().map(|bytes| read(bytes)["job"]["status"].clone()).unwrap_or_default();
    match (wrong, status.as_str().unwrap_or_default()) {
        (Wrong::RelayLoses, "quoted") => *value = None,
        (Wrong::RelayGarbles, "quoted") => *value = Some(b"\x01{".to_vec()),
        (Wrong::RelayBegins, "requested") => {
            change(value, |record| record["job"]["status"] = json!("quoted"))
        }
        (Wrong::RelayStatus, "quoted") => change(value, |record| record["job"]["status"] = json!("accepted")),
        (Wrong::RelayTime, "running") => {
            change(value, |record| record["job"]["updated_at"] = record["job"]["created_at"].clone());
        }
        (Wrong::RelayPayment, "running") => {
            change(value, |record| record["job"]["payment_tx_hash"] = json!("AB".repeat(32)));
        }
        (Wrong::RelayToken, "delivered") => change(value, |record| record["job"]["lock_token"] = json!(0)),
        _ => {}
    }
}

fn spoil_worker(wrong: Wrong, writes: &mut Writes) {
    match wrong {
        Wrong::WorkerClaims => writes.retain(|(key, _)| key[0] != 8),
        Wrong::WorkerCursor => writes.retain(|(key, _)| key != b"\x01cursor"),
        Wrong::WorkerForgives | Wrong::WorkerUnlists => writes.retain(|(key, _)| key[0] != 13),
        _ => {}
    }
    for (_, value) in writes.iter_mut().filter(|(key, _)| key[0] == 12) {
        match wrong {
            Wrong::WorkerOwes => change(value, |piece| {
                piece["owed"] = json!({ "amount": piece["amount"], "why": "paid_for_nothing" });
            }),
            Wrong::WorkerEarns | Wrong::WorkerForgives => change(value, |piece| piece["owed"] = Value::Null),
            _ => {}
        }
    }
    let error = |code: &str| json!({ "error": { "code": code, "message": "made up", "details": null } });
    for (_, value) in writes.iter_mut().filter(|(key, _)| key[0] == 6) {
        let instead = match wrong {
            Wrong::WorkerInterrupts => error("worker_interrupted"),
            Wrong::WorkerFails => error("handler_failed"),
            Wrong::WorkerMixes => json!({ "result": { "done": 99 } }),
            _ => continue,
        };
        let text = instead.to_string().into_bytes();
        *value = Some([&u32::try_from(text.len()).unwrap().to_be_bytes(), text.as_slice()].concat());
    }
    for (_, value) in writes.iter_mut().filter(|(key, _)| key[0] == 2) {
        let stage = value.as_deref().map(|bytes| read(bytes)["stage"].clone()).unwrap_or_default();
        let ending = stage["ending"]["ending"].as_str();
        match (wrong, stage["stage"].as_str().unwrap_or_default(), ending.unwrap_or_default()) {
            (Wrong::WorkerAccount, "running", _) => change(value, |record| {
                record["stage"]["paid"]["invoice"]["account"] = json!(Account::from_bytes([5; 32]));
            }),
            (Wrong::WorkerPrice, "running", _) => change(value, |record| {
                record["stage"]["paid"]["invoice"]["price"] = json!(Amount::from_raw(u128::MAX));
            }),
            (Wrong::WorkerEarns, "ended" | "lapsed", "canceled" | "expired") => change(value, |record| {
                record["stage"] = json!({ "stage": "ended", "ending": { "ending": "delivered" } });
            }),
            (Wrong::WorkerEnds, "running", _) => change(value, |record| {
                record["stage"] = json!({ "stage": "ended", "ending": { "ending": "delivered" } });
            }),
            _ => {}
        }
    }
}

fn read(bytes: &[u8]) -> Value {
    serde_json::from_slice(&bytes[1..]).unwrap_or_default()
}

fn change(value: &mut Option<Vec<u8>>, change: impl FnOnce(&mut Value)) {
    if let Some(bytes) = value {
        let mut record = read(bytes);
        change(&mut record);
        bytes.truncate(1);
        bytes.extend(record.to_string().into_bytes());
    }
}
