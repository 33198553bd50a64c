//! The journal: the buyer's keyspaces, in one list; their numbers are for ever.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

use std::path::Path;
use std::sync::Arc;

use nano_currency::{Account, BlockHash};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::order::{Order, OrderId, Signed};
use crate::points::crash_point;
use crate::protocol::JobId;
use crate::store::{Batch, Blobs, Keyspace, OpenError, Options, Store, StoreError};

/// The version of this list.
const SCHEMA: u32 = 1;

/// Memory for pages: a purchase is a few kilobytes.
const CACHE_BYTES: u64 = 4 << 20;

/// Every purchase.
const ORDERS: Keyspace<OrderId, Order> = Keyspace::new(1, "orders", 1);
/// Which purchase a job is.
const BY_JOB: Keyspace<JobId, OrderId> = Keyspace::new(2, "by-job", 1);
/// What was asked for, as JSON, until the relay has named the job.
const PAYLOADS: Blobs<OrderId> = Blobs::new(6, "payloads");
/// The one block that was signed for each place in each chain: account, and the block before.
const SIGNED: Keyspace<([u8; 32], BlockHash), Kept> = Keyspace::new(4, "signed", 1);
/// The purchases that may be interrupted.
const OPEN: Keyspace<OrderId, ()> = Keyspace::new(5, "open", 1);

/// A signed block and why it was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The block.
    pub block: Signed,
    /// The purchase that it pays; none for a receive.
    pub order: Option<OrderId>,
}

/// The journal of one state directory.
#[derive(Debug, Clone)]
pub struct Memory {
    store: Arc<Store>,
}

impl Memory {
    /// Opens the journal in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// As [`Store::open`]; another buyer with the same directory is one reason.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let options = Options { kind: "buyer", schema: SCHEMA, cache_bytes: CACHE_BYTES };
        Ok(Self { store: Arc::new(Store::open(dir, options)?) })
    }

    /// A purchase.
    ///
    /// # Errors
    /// If the store fails.
    pub fn order(&self, id: &OrderId) -> Result<Option<Order>, StoreError> {
        ORDERS.get(&self.store, id)
    }

    /// The purchase that a job is.
    ///
    /// # Errors
    /// If the store fails.
    pub fn order_of(&self, job: &JobId) -> Result<Option<Order>, StoreError> {
        match BY_JOB.get(&self.store, job)? {
            Some(id) => self.order(&id),
            None => Ok(None),
        }
    }

    /// What a purchase asks for.
    ///
    /// # Errors
    /// If the store fails.
    pub fn payload(&self, id: &OrderId) -> Result<Option<Value>, StoreError> {
        let bytes = PAYLOADS.get(&self.store, id)?;
        bytes.map(|bytes| serde_json::from_slice(&bytes).map_err(|error| unreadable(&error))).transpose()
    }

    /// The purchases that were interrupted, oldest first.
    ///
    /// # Errors
    /// If the store fails.
    pub fn interrupted(&self) -> Result<Vec<Order>, StoreError> {
        let mut orders = Vec::new();
        for entry in OPEN.all(&self.store) {
            if let Some(order) = self.order(&entry?.0)?.filter(Order::is_interrupted) {
                orders.push(order);
            }
        }
        orders.sort_by_key(|order| order.created_at);
        Ok(orders)
    }

    /// The block that was signed for the place after `previous`.
    ///
    /// # Errors
    /// If the store fails.
    pub fn signed_after(&self, account: &Account, previous: &BlockHash) -> Result<Option<Kept>, StoreError> {
        SIGNED.get(&self.store, &(*account.as_bytes(), *previous))
    }

    /// The block of an account with this hash, if it was signed here.
    ///
    /// # Errors
    /// If the store fails.
    pub fn signed_as(&self, account: &Account, hash: &BlockHash) -> Result<Option<Kept>, StoreError> {
        for entry in SIGNED.prefix(&self.store, account.as_bytes()) {
            let (_, kept) = entry?;
            if kept.block.0.hash() == *hash {
                return Ok(Some(kept));
            }
        }
        Ok(None)
    }

    /// Writes a new purchase with what it asks for.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn begin(&self, order: &Order, payload: &Value) -> Result<(), StoreError> {
        let mut batch = self.put(order)?;
        PAYLOADS.put(&mut batch, &order.id, payload.to_string().as_bytes());
        crash_point!("buyer/journal/begin");
        self.store.commit_durable(batch).await?;
        crash_point!("buyer/journal/begun");
        Ok(())
    }

    /// Writes a purchase, and returns once it would survive a power cut.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn save(&self, order: &Order) -> Result<(), StoreError> {
        crash_point!("buyer/journal/save");
        self.store.commit_durable(self.put(order)?).await?;
        crash_point!("buyer/journal/saved");
        Ok(())
    }

    /// Writes a purchase that may be lost again: what it says can be found out once more.
    ///
    /// # Errors
    /// If the store fails.
    pub fn note(&self, order: &Order) -> Result<(), StoreError> {
        crash_point!("buyer/journal/note");
        self.store.commit(self.put(order)?)?;
        crash_point!("buyer/journal/noted");
        Ok(())
    }

    /// Waits until all that was noted would survive a power cut.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn durable(&self) -> Result<(), StoreError> {
        self.store.durable().await
    }

    /// Writes a signed block, with the purchase that it pays, before it leaves the process.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn keep(&self, block: &Signed, order: Option<&Order>) -> Result<(), StoreError> {
        let mut batch = match order {
            Some(order) => self.put(order)?,
            None => Batch::default(),
        };
        let place = (*block.0.fields.account.as_bytes(), block.0.fields.previous);
        SIGNED.put(&mut batch, &place, &Kept { block: *block, order: order.map(|order| order.id) })?;
        crash_point!("buyer/journal/keep");
        self.store.commit_durable(batch).await?;
        crash_point!("buyer/journal/kept");
        Ok(())
    }

    fn put(&self, order: &Order) -> Result<Batch, StoreError> {
        let mut batch = Batch::default();
        ORDERS.put(&mut batch, &order.id, order)?;
        if let Some(job_id) = &order.job_id {
            BY_JOB.put(&mut batch, job_id, &order.id)?;
            PAYLOADS.remove(&self.store, &mut batch, &order.id)?;
        }
        if order.is_interrupted() {
            OPEN.put(&mut batch, &order.id, &())?;
        } else {
            OPEN.remove(&mut batch, &order.id);
        }
        Ok(batch)
    }
}

fn unreadable(error: &serde_json::Error) -> StoreError {
    StoreError::Record { keyspace: "payloads", reason: error.to_string() }
}

#[cfg(test)]
mod fixture;
