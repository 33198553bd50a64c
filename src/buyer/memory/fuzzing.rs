//! The buyer's records, as a fuzzer makes them up.

use super::{BY_JOB, FACTS, OPEN, ORDERS, SIGNED, SPENT, WITHDRAWING};

/// Reads a record of the keyspace with this number.
pub(crate) fn records(which: u8, key: &[u8], value: &[u8]) {
    ORDERS.fuzz(which, key, value);
    BY_JOB.fuzz(which, key, value);
    SIGNED.fuzz(which, key, value);
    OPEN.fuzz(which, key, value);
    FACTS.fuzz(which, key, value);
    SPENT.fuzz(which, key, value);
    WITHDRAWING.fuzz(which, key, value);
}
