//! Once: the same request again gets the answer of the first.

use std::sync::Arc;
use std::time::Duration;

use super::model::{Claim, Claimed, Receipt, Reply};
use super::service::unavailable;
use super::storage::Storage;
use crate::edge::Clock;
use crate::protocol::{Code, Refusal};

/// How long a running request keeps its claim, should its process die without giving it up: longer
/// than any request takes, shorter than a client's patience.
const LEASE: Duration = Duration::from_secs(30);

/// What to do with a request that carries a key.
#[derive(Debug)]
pub(super) enum Begun {
    /// It is the first: do it, and keep the answer.
    First(Running),
    /// It was done: say so again.
    Again(Reply),
}

/// A claim that ends with the request, also when its client goes away.
#[derive(Debug)]
pub(super) struct Running {
    storage: Arc<dyn Storage>,
    claim: Claim,
    ttl: Duration,
    clock: Clock,
}

impl Running {
    /// How to keep the answer with this status.
    pub(super) fn receipt(&self, status: u16) -> Receipt {
        Receipt { claim: self.claim.clone(), expires_at: self.clock.now().plus(self.ttl), status }
    }

    /// Keeps a refusal, if a retry would get it again.
    pub(super) async fn keep(&self, refusal: &Refusal) -> Result<(), Refusal> {
        if !refusal.code.is_final() {
            return Ok(());
        }
        let receipt = self.receipt(refusal.code.status());
        self.storage.record(&receipt, refusal).await.map_err(|error| unavailable(&error))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.storage.release(&self.claim);
    }
}

/// Claims a key, or finds what was said under it.
pub(super) async fn begin(
    storage: &Arc<dyn Storage>,
    clock: &Clock,
    ttl: Duration,
    claim: Claim,
) -> Result<Begun, Refusal> {
    let claimed = storage.claim(&claim, clock.now(), LEASE).await.map_err(|error| unavailable(&error))?;
    match claimed {
        Claimed::Fresh => {
            Ok(Begun::First(Running { storage: Arc::clone(storage), claim, ttl, clock: clock.clone() }))
        }
        Claimed::Answered(reply) => Ok(Begun::Again(reply)),
        Claimed::Running => {
            Err(Refusal::new(Code::IdempotencyInProgress, "the first request with this key is still running"))
        }
        Claimed::Conflict => {
            Err(Refusal::new(Code::IdempotencyConflict, "the key was used for another request"))
        }
    }
}
