//! Which sellers are connected now.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use crate::protocol::PublicKey;

/// Knows who is connected; several processes may share one later.
pub(super) trait Presence: fmt::Debug + Send + Sync {
    /// A seller has connected; it is there until what is returned is dropped.
    fn arrive(self: Arc<Self>, seller: PublicKey) -> Present;
    /// A connection has ended.
    fn leave(&self, seller: PublicKey);
    /// Everybody who is there.
    fn online(&self) -> BoxFuture<'_, HashSet<PublicKey>>;
}

/// One connection of a seller.
#[derive(Debug)]
pub(super) struct Present {
    presence: Arc<dyn Presence>,
    seller: PublicKey,
}

impl Drop for Present {
    fn drop(&mut self) {
        self.presence.leave(self.seller);
    }
}

/// The sellers of this process.
#[derive(Debug, Default)]
pub(super) struct Local(Mutex<HashMap<PublicKey, usize>>);

impl Presence for Local {
    fn arrive(self: Arc<Self>, seller: PublicKey) -> Present {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(seller).or_default() += 1;
        Present { presence: self, seller }
    }

    fn leave(&self, seller: PublicKey) {
        let mut connections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = connections.get_mut(&seller) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&seller);
            }
        }
    }

    fn online(&self) -> BoxFuture<'_, HashSet<PublicKey>> {
        let connections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ready(connections.keys().copied().collect()).boxed()
    }
}
