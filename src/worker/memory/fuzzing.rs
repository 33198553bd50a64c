//! The worker's records, as a fuzzer makes them up.

use super::*;

/// Reads a record of the keyspace with this number.
pub(crate) fn records(which: u8, key: &[u8], value: &[u8]) {
    FACTS.fuzz(which, key, value);
    JOBS.fuzz(which, key, value);
    OPEN.fuzz(which, key, value);
    RECENT.fuzz(which, key, value);
    HISTORY.fuzz(which, key, value);
    CLAIMS.fuzz(which, key, value);
    INVOICES.fuzz(which, key, value);
    OFFERS.fuzz(which, key, value);
    COINS.fuzz(which, key, value);
    MONEY.fuzz(which, key, value);
    OWED.fuzz(which, key, value);
    AFTER.fuzz(which, key, value);
    ASIDE.fuzz(which, key, value);
    TICKETS.fuzz(which, key, value);
    STALLS.fuzz(which, key, value);
    PINS.fuzz(which, key, value);
    if which == OUTCOMES.id()
        && let Ok(outcome) = serde_json::from_slice::<StoredOutcome>(value)
    {
        let first = serde_json::to_vec(&outcome).expect("outcomes have a JSON form");
        let again: StoredOutcome = serde_json::from_slice(&first).expect("it was just written");
        assert_eq!(serde_json::to_vec(&again).ok(), Some(first));
    }
}
