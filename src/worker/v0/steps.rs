//! News by hand: one look for sellers who are woken by a heartbeat, and the two ways to go on when a
//! cursor no longer holds.

use super::news::News;
use crate::client::v0::Class;
use crate::protocol::{Epoch, EventId};
use crate::worker::engine::{Heard, Position};
use crate::worker::ingest::{OPEN_JOBS_MAX, RoundError};
use crate::worker::poll::Ask;

/// Pages of one look: who has more to hear looks again.
const PAGES_MAX: usize = 200;

impl News {
    /// Looks once and ends.
    pub(in crate::worker) async fn once(&self, ask: Ask) -> Result<(), RoundError> {
        match ask {
            Ask::News { acknowledge } => self.all(acknowledge).await,
            Ask::Resync { careful } => {
                let minimum = self.minimum().await?;
                match (careful, minimum) {
                    (true, minimum) => self.resync(minimum).await?,
                    (false, Some(minimum)) => self.skip_to(minimum).await?,
                    (false, None) => tracing::info!("the cursor holds: there is nothing to skip"),
                }
                self.all(true).await
            }
        }
    }

    /// Page after page; one page only if it is not acknowledged, for the next would be the same.
    async fn all(&self, acknowledge: bool) -> Result<(), RoundError> {
        let mut resynced = false;
        for _ in 0..PAGES_MAX {
            let round = self.round(acknowledge).await?;
            let heard = round.last.is_some();
            // A relay whose log never holds is not listed over and over.
            let circling = round.resynced && resynced;
            resynced = round.resynced;
            if circling || !round.more || round.open >= OPEN_JOBS_MAX || (heard && !acknowledge) {
                break;
            }
        }
        Ok(())
    }

    /// Where the log begins, if that is after the relay's cursor.
    async fn minimum(&self) -> Result<Option<u64>, RoundError> {
        match self.bazaar.client.poll_any(None, 1).await {
            Ok(_) => Ok(None),
            Err(error) => match error.class() {
                Class::Gone { min_event_id_retained } => Ok(Some(min_event_id_retained)),
                _ => Err(error.into()),
            },
        }
    }

    /// What happened before the log began is not looked at.
    async fn skip_to(&self, minimum: u64) -> Result<(), RoundError> {
        let base = minimum.saturating_sub(1);
        let position = Some((Epoch(super::news::EPOCH.to_owned()), EventId(base)));
        self.hand_over(vec![Heard::Cursor(Position::Synced(position))]).await?;
        Ok(self.acknowledge(base).await?)
    }
}
