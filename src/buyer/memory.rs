//! The journal: the buyer's keyspaces, in one list; their numbers are for ever.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod letters;

use std::path::Path;
use std::sync::Arc;

use nano_currency::rpc::Subtype;
use nano_currency::{Account, Amount, BlockHash, Network};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::order::{Order, OrderId, Signed};
use super::policy::{DAY, Spent};
use crate::points::crash_point;
use crate::protocol::{JobId, Timestamp};
use crate::store::{Batch, Blobs, Keyspace, Migration, OpenError, Options, Store, StoreError};

/// The version of this list. 2: what was spent, and when, is written down apart.
const SCHEMA: u32 = 2;

/// The way here from each earlier version.
const MIGRATIONS: &[Migration] = &[Migration { from: 1, change: note_what_was_spent }];

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
/// Single facts: whose journal this is, and on which network.
const FACTS: Keyspace<String, String> = Keyspace::new(7, "facts", 1);
/// What was signed away for purchases, by time: what policies count.
const SPENT: Keyspace<(Timestamp, OrderId), Spent> = Keyspace::new(8, "spent", 1);
/// The place of each account's withdrawal whose end nobody was told of yet.
const WITHDRAWING: Keyspace<[u8; 32], BlockHash> = Keyspace::new(9, "withdrawing", 1);

/// The fact that names the seed by its first account, which is public.
const WALLET: &str = "wallet";

/// The fact that names the network.
const NETWORK: &str = "network";

/// A signed block and why it was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The block.
    pub block: Signed,
    /// The purchase that it pays; none for a receive or a withdrawal.
    pub order: Option<OrderId>,
    /// When it was signed; not known of blocks of the first version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// How much it moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// Where the account was emptied to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn_to: Option<Account>,
}

impl Kept {
    /// A block that was signed for what nobody asked for by name.
    #[must_use]
    pub const fn new(block: Signed, at: Timestamp, amount: Amount) -> Self {
        Self { block, order: None, at: Some(at), amount: Some(amount), withdrawn_to: None }
    }

    /// As `process` wants it named.
    #[must_use]
    pub fn subtype(&self) -> Subtype {
        match self.block.0.fields.previous {
            _ if self.order.is_some() || self.withdrawn_to.is_some() => Subtype::Send,
            BlockHash::ZERO => Subtype::Open,
            _ => Subtype::Receive,
        }
    }

    fn place(&self) -> ([u8; 32], BlockHash) {
        (*self.block.0.fields.account.as_bytes(), self.block.0.fields.previous)
    }
}

/// Whose journal it is not.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// The store failed.
    #[error("the journal failed")]
    Store(#[from] StoreError),
    /// The journal belongs to another seed.
    #[error("the journal belongs to another seed: its first account is {found}, not {ours}")]
    OtherSeed {
        /// The account that the journal knows.
        found: String,
        /// The account of this seed.
        ours: Account,
    },
    /// The journal was made on another network.
    #[error("the journal was made on the network {found}, and nano.network is {ours}")]
    OtherNetwork {
        /// Where it was made.
        found: String,
        /// What is configured.
        ours: Network,
    },
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
        Ok(Self { store: Arc::new(Store::open_and_migrate(dir, options, MIGRATIONS)?) })
    }

    /// The journal must be this seed's and network's, or nobody's yet.
    ///
    /// # Errors
    /// If it is another's, or the store fails.
    pub fn ensure_ours(&self, ours: &Account, network: Network) -> Result<(), OwnerError> {
        self.owner(ours, network).map(drop)
    }

    /// Notes whose journal this is, the first time.
    ///
    /// # Errors
    /// If it is another's, or the store fails.
    pub fn own(&self, ours: &Account, network: Network) -> Result<(), OwnerError> {
        let batch = self.owner(ours, network)?;
        Ok(self.store.commit(batch)?)
    }

    /// What is not written down yet of whose journal this is.
    fn owner(&self, ours: &Account, network: Network) -> Result<Batch, OwnerError> {
        let mut batch = Batch::default();
        match FACTS.get(&self.store, &WALLET.to_owned())? {
            Some(found) if found != ours.to_string() => {
                return Err(OwnerError::OtherSeed { found, ours: *ours });
            }
            Some(_) => {}
            None => FACTS.put(&mut batch, &WALLET.to_owned(), &ours.to_string())?,
        }
        match FACTS.get(&self.store, &NETWORK.to_owned())? {
            Some(found) if found != network.name() => {
                return Err(OwnerError::OtherNetwork { found, ours: network });
            }
            Some(_) => {}
            None => FACTS.put(&mut batch, &NETWORK.to_owned(), &network.name().to_owned())?,
        }
        Ok(batch)
    }

    /// What was spent within a [`DAY`], and the moment that counts as now: never before the last
    /// payment, so that a clock that is set back gives nothing back.
    ///
    /// # Errors
    /// If the store fails.
    pub fn spent(&self, now: Timestamp) -> Result<(Timestamp, Vec<(OrderId, Spent)>), StoreError> {
        let mut entries = SPENT.all(&self.store).rev();
        let Some(last) = entries.next().transpose()? else { return Ok((now, Vec::new())) };
        let now = now.max(last.0.0);
        let mut spent = Vec::new();
        for entry in std::iter::once(Ok(last)).chain(entries) {
            let ((at, order), amount) = entry?;
            if now.since(at) >= DAY {
                break;
            }
            spent.push((order, amount));
        }
        Ok((now, spent))
    }

    /// All blocks that were signed here for an account, oldest first where their times are known.
    ///
    /// # Errors
    /// If the store fails.
    pub fn blocks_of(&self, account: &Account) -> Result<Vec<Kept>, StoreError> {
        let all = SIGNED.prefix(&self.store, account.as_bytes()).map(|entry| Ok(entry?.1));
        let mut all = all.collect::<Result<Vec<Kept>, StoreError>>()?;
        all.sort_by_key(|kept| kept.at);
        Ok(all)
    }

    /// The withdrawal of an account whose end nobody was told of.
    ///
    /// # Errors
    /// If the store fails.
    pub fn withdrawal(&self, account: &Account) -> Result<Option<Kept>, StoreError> {
        match WITHDRAWING.get(&self.store, account.as_bytes())? {
            Some(previous) => self.signed_after(account, &previous),
            None => Ok(None),
        }
    }

    /// Notes that its end was told.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn told_of_withdrawal(&self, account: &Account) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        WITHDRAWING.remove(&mut batch, account.as_bytes());
        self.store.commit_durable(batch).await
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

    /// Writes a purchase that asks anew, in other words.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn begin_again(&self, order: &Order, payload: &Value) -> Result<(), StoreError> {
        let mut batch = self.put(order)?;
        PAYLOADS.remove(&self.store, &mut batch, &order.id)?;
        PAYLOADS.put(&mut batch, &order.id, payload.to_string().as_bytes());
        self.store.commit_durable(batch).await
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

    /// Writes a signed block, with the purchase that it pays and what that spends, before it leaves
    /// the process.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn keep(
        &self,
        kept: &Kept,
        order: Option<&Order>,
        spent: Option<(Timestamp, Spent)>,
    ) -> Result<(), StoreError> {
        let mut batch = match order {
            Some(order) => self.put(order)?,
            None => Batch::default(),
        };
        if let (Some(order), Some((at, spent))) = (kept.order, spent) {
            SPENT.put(&mut batch, &(at, order), &spent)?;
        }
        let (account, previous) = kept.place();
        if kept.withdrawn_to.is_some() {
            WITHDRAWING.put(&mut batch, &account, &previous)?;
        }
        SIGNED.put(&mut batch, &(account, previous), kept)?;
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
        letters::index(&mut batch, order)?;
        if order.is_interrupted() {
            OPEN.put(&mut batch, &order.id, &())?;
        } else {
            OPEN.remove(&mut batch, &order.id);
        }
        Ok(batch)
    }
}

/// Payments of the first version count from when their purchase was begun, at the latest.
fn note_what_was_spent(store: &Store, batch: &mut Batch) -> Result<(), StoreError> {
    for entry in ORDERS.all(store) {
        let (id, order) = entry?;
        let (Some(_), Some(agreed)) = (order.payment, order.agreed) else { continue };
        let signed = order.history.iter().rev().find(|line| line.what.ends_with(" signed"));
        let at = signed.map_or(order.created_at, |line| line.at);
        SPENT.put(batch, &(at, id), &Spent { seller: None, amount: agreed.amount })?;
    }
    Ok(())
}

fn unreadable(error: &serde_json::Error) -> StoreError {
    StoreError::Record { keyspace: "payloads", reason: error.to_string() }
}

#[cfg(test)]
pub(super) mod fixture;
