//! The shape of a job on the wire.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{JobId, OfferId, PublicKey, Status, Timestamp};

/// A job, as both parties see it.
///
/// Fields that a relay may lack default to null, so that a worker reads relays without them.
/// Amounts, addresses and hashes stay the text that was sent: the relay may be told to treat them
/// as opaque, and a party checks them before it relies on them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its name.
    pub job_id: JobId,
    /// What was asked for.
    pub offer_id: OfferId,
    /// Who works.
    pub seller_pubkey: PublicKey,
    /// Who pays.
    pub buyer_pubkey: PublicKey,
    /// Where it is.
    pub status: Status,
    /// What the buyer wrote; any JSON.
    #[serde(default)]
    pub request_payload: Value,
    /// The price in raw, decimal digits.
    #[serde(default)]
    pub quote_amount_raw: Option<String>,
    /// Where to pay.
    #[serde(default)]
    pub quote_invoice_address: Option<String>,
    /// Until when the quote may be accepted.
    #[serde(default)]
    pub quote_expires_at: Option<Timestamp>,
    /// The hash of the paying block, as submitted.
    #[serde(default)]
    pub payment_tx_hash: Option<String>,
    /// Whose key holds the execution lock.
    #[serde(default)]
    pub lock_owner: Option<PublicKey>,
    /// Until when the lock holds.
    #[serde(default)]
    pub lock_expires_at: Option<Timestamp>,
    /// Which of the seller's processes holds the lock, if it said.
    #[serde(default)]
    pub lock_holder: Option<String>,
    /// How many holders there have been; 0 before the first.
    #[serde(default)]
    pub lock_token: u64,
    /// The result, if delivered; any JSON but null.
    #[serde(default)]
    pub result_payload: Value,
    /// Where the result is, if it is too large to carry.
    #[serde(default)]
    pub result_url: Option<String>,
    /// `{code, message, details}`, if it failed.
    #[serde(default)]
    pub error: Value,
    /// Why it was given up.
    #[serde(default)]
    pub cancel_reason: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last changed; strictly increasing over the whole relay.
    pub updated_at: Timestamp,
}

impl Job {
    /// A job as it begins: what `buyer` asks `seller` for at `now`, and nothing else yet.
    #[must_use]
    pub fn requested(
        job_id: JobId,
        offer_id: OfferId,
        seller: PublicKey,
        buyer: PublicKey,
        request: Value,
        now: Timestamp,
    ) -> Self {
        Self {
            job_id,
            offer_id,
            seller_pubkey: seller,
            buyer_pubkey: buyer,
            status: Status::Requested,
            request_payload: request,
            quote_amount_raw: None,
            quote_invoice_address: None,
            quote_expires_at: None,
            payment_tx_hash: None,
            lock_owner: None,
            lock_expires_at: None,
            lock_holder: None,
            lock_token: 0,
            result_payload: Value::Null,
            result_url: None,
            error: Value::Null,
            cancel_reason: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// Whether somebody's lock is live at `now`.
    #[must_use]
    pub fn is_locked(&self, now: Timestamp) -> bool {
        self.lock_expires_at.is_some_and(|expiry| now < expiry)
    }

    /// Whether `key` is one of the two parties.
    #[must_use]
    pub fn has_party(&self, key: &PublicKey) -> bool {
        self.seller_pubkey == *key || self.buyer_pubkey == *key
    }
}

/// The error of a failed job, as our worker writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// For programs: `handler_failed`, `worker_interrupted`, `payment.…`.
    pub code: String,
    /// For people.
    pub message: String,
    /// More for programs; an object or null.
    #[serde(default)]
    pub details: Value,
}
