//! Jobs that asked for an offer before it had a name here.
//!
//! An offer is on the market from the moment when the relay has made it; its name is known here when the
//! answer is, or when the offer is found by what it says, and news are heard meanwhile. A job of a name
//! that nobody knows is passed over, and the relay does not tell of it again. So with each new name it is
//! written that such jobs may wait, and whoever hears the news looks for them once.

use std::collections::BTreeSet;

use super::news::News;
use crate::points::crash_point;
use crate::protocol::v0::Status;
use crate::store::{Batch, StoreError};
use crate::worker::ingest::RoundError;
use crate::worker::memory::{self, fact};

impl News {
    /// The newest offer of which jobs may be unheard. The loop was told its terms before this can be
    /// read, and hears what it was told before any page that is handed over afterwards.
    pub(super) async fn unheard(&self) -> Result<Option<String>, StoreError> {
        let _turn = self.bazaar.unheard.lock().await;
        memory::fact(&self.bazaar.store, fact::UNHEARD)
    }

    /// Looks for the jobs that were passed over. What cannot be listed keeps no news waiting: the next
    /// round tries again.
    pub(super) async fn hear_unheard(&self, unheard: Option<String>) -> Result<(), RoundError> {
        if unheard.is_none() {
            return Ok(());
        }
        match self.list_all(Status::Requested, &mut BTreeSet::new()).await {
            Ok(()) => Ok(self.are_heard(unheard).await?),
            Err(RoundError::Call(error)) => {
                tracing::warn!(%error, "jobs of a new offer cannot be looked for yet");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// All jobs were looked at that were there when this was read. An offer that has got its name
    /// meanwhile has jobs of its own.
    pub(super) async fn are_heard(&self, unheard: Option<String>) -> Result<(), StoreError> {
        let Some(unheard) = unheard else { return Ok(()) };
        crash_point!("worker/bazaar/unheard");
        let _turn = self.bazaar.unheard.lock().await;
        if memory::fact(&self.bazaar.store, fact::UNHEARD)? == Some(unheard) {
            let mut batch = Batch::default();
            memory::forget_fact(&mut batch, fact::UNHEARD);
            self.bazaar.store.commit(batch)?;
        }
        Ok(())
    }
}
