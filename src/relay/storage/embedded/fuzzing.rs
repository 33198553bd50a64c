//! The embedded storage's records, as a fuzzer makes them up.

use super::keys::*;

/// Reads a record of the keyspace with this number.
pub(crate) fn records(which: u8, key: &[u8], value: &[u8]) {
    NOTES.fuzz(which, key, value);
    COUNTERS.fuzz(which, key, value);
    JOBS.fuzz(which, key, value);
    JOBS_BY_CREATION.fuzz(which, key, value);
    JOBS_BY_UPDATE.fuzz(which, key, value);
    JOB_COUNTS.fuzz(which, key, value);
    DUE.fuzz(which, key, value);
    PAYMENTS.fuzz(which, key, value);
    INVOICES.fuzz(which, key, value);
    OFFERS.fuzz(which, key, value);
    OFFERS_BY_CREATION.fuzz(which, key, value);
    OFFERS_OF_SELLER.fuzz(which, key, value);
    EVENTS.fuzz(which, key, value);
    EVENTS_OF_PARTY.fuzz(which, key, value);
    ACKED.fuzz(which, key, value);
    FORGOTTEN.fuzz(which, key, value);
    NONCES.fuzz(which, key, value);
    ANSWERS.fuzz(which, key, value);
    ANSWERS_BY_END.fuzz(which, key, value);
    BOTS.fuzz(which, key, value);
    BAZAAR_OFFERS.fuzz(which, key, value);
    BAZAAR_OFFERS_OF.fuzz(which, key, value);
    BAZAAR_JOBS.fuzz(which, key, value);
    BAZAAR_JOBS_OF.fuzz(which, key, value);
    OVERDUE.fuzz(which, key, value);
    CHARGE_ADDRESSES.fuzz(which, key, value);
    PURCHASES.fuzz(which, key, value);
    PAYLOADS.fuzz(which, key, value);
    PAYLOADS_OF.fuzz(which, key, value);
    PAYLOAD_NAMES.fuzz(which, key, value);
}
