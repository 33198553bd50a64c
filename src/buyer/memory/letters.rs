//! The journal of /v0: which purchase a bot's job is, and the letters that were read.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Memory;
use crate::buyer::order::{Order, OrderId};
use crate::buyer::v0::Letter;
use crate::points::crash_point;
use crate::protocol::v0::payload::Kind;
use crate::protocol::v0::{JobId, PayloadId};
use crate::store::{Batch, Blobs, Keyspace, StoreError};

/// Which purchase a bot's job is.
const BY_BOTS_JOB: Keyspace<String, OrderId> = Keyspace::new(20, "by-bots-job", 1);
/// Every letter, by its job and its name. Both are strangers' texts of any length, and so hashed.
const LETTERS: Keyspace<([u8; 32], [u8; 32]), Head> = Keyspace::new(21, "letters", 1);
/// What they say.
const BODIES: Blobs<([u8; 32], [u8; 32])> = Blobs::new(22, "bodies");

/// A letter without its body.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Head {
    payload_id: PayloadId,
    kind: Kind,
    written_at: String,
}

/// Adds to a batch what finds a purchase by its bot's job.
pub(super) fn index(batch: &mut Batch, order: &Order) -> Result<(), StoreError> {
    match &order.deal {
        Some(deal) => BY_BOTS_JOB.put(batch, &deal.job_id.to_string(), &order.id),
        None => Ok(()),
    }
}

impl Memory {
    /// The purchase that a bot's job is.
    ///
    /// # Errors
    /// If the store fails.
    pub fn order_of_bots(&self, job: &JobId) -> Result<Option<Order>, StoreError> {
        match BY_BOTS_JOB.get(&self.store, &job.to_string())? {
            Some(id) => self.order(&id),
            None => Ok(None),
        }
    }

    /// Whether a letter was kept.
    ///
    /// # Errors
    /// If the store fails.
    pub fn has_letter(&self, job: &JobId, payload: &PayloadId) -> Result<bool, StoreError> {
        LETTERS.contains(&self.store, &key(job, payload))
    }

    /// Keeps a letter. It is durable after the next barrier.
    ///
    /// # Errors
    /// If the store fails.
    pub fn keep_letter(&self, letter: &Letter) -> Result<(), StoreError> {
        let key = key(&letter.job_id, &letter.payload_id);
        if LETTERS.contains(&self.store, &key)? {
            return Ok(());
        }
        let (payload_id, written_at) = (letter.payload_id.clone(), letter.written_at.clone());
        let mut batch = Batch::default();
        LETTERS.put(&mut batch, &key, &Head { payload_id, kind: letter.kind, written_at })?;
        BODIES.put(&mut batch, &key, letter.body.as_bytes());
        crash_point!("buyer/v0/read");
        self.store.commit(batch)?;
        crash_point!("buyer/v0/kept");
        Ok(())
    }

    /// The letters of a job.
    ///
    /// # Errors
    /// If the store fails.
    pub fn letters(&self, job: &JobId) -> Result<Vec<Letter>, StoreError> {
        let mut letters = Vec::new();
        for entry in LETTERS.prefix(&self.store, &hash(job.as_str())) {
            let (key, Head { payload_id, kind, written_at }) = entry?;
            let body = BODIES.get(&self.store, &key)?.unwrap_or_default();
            let body = String::from_utf8(body).map_err(|_| StoreError::Record {
                keyspace: "bodies",
                reason: "it is not UTF-8".to_owned(),
            })?;
            letters.push(Letter { payload_id, job_id: job.clone(), kind, written_at, body });
        }
        letters.sort_by(|one, other| one.written_at.cmp(&other.written_at));
        Ok(letters)
    }
}

fn key(job: &JobId, payload: &PayloadId) -> ([u8; 32], [u8; 32]) {
    (hash(job.as_str()), hash(payload.as_str()))
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}
