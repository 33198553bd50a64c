//! An event that is longer than what is read of an answer: passed over, and its job looked at instead.
//!
//! What is in an event is told by the job as well, except that a buyer says to have paid, which only
//! hurries us, and that it asks for another charge, which it can ask again in fewer words. So nothing is
//! lost but the text. It is said, and counted, each time.

use super::flaws::can_name_job;
use super::news::{EPOCH, News, Round, kept_name};
use crate::client::v0::Glimpse;
use crate::protocol::{Epoch, EventId};
use crate::worker::engine::{Heard, Position};
use crate::worker::ingest::RoundError;

impl News {
    /// Its job is looked at, or all jobs where it does not say whose it is. Whoever makes many of them
    /// has all jobs listed no more often than a relay whose log never holds.
    pub(super) async fn pass_over(&self, glimpse: Glimpse, acknowledge: bool) -> Result<Round, RoundError> {
        let name = glimpse.job_id.as_deref().and_then(kept_name).filter(can_name_job);
        tracing::error!(
            event_id = glimpse.event_id,
            job = ?name,
            "an event is too long to be read: it is passed over, and its job is looked at instead"
        );
        let mut heard = Vec::new();
        match &name {
            Some(name) => heard.extend(self.look_at(vec![name.clone()]).await?),
            None => self.look_at_all().await?,
        }
        let Some(last) = glimpse.event_id else {
            // Nobody can say what comes after it: until the relay forgets it, lists are the news.
            let open = self.hand_over(heard).await?;
            return Ok(Round { last: None, more: false, open, resynced: true });
        };
        heard.push(Heard::PassedOver);
        heard.push(Heard::Cursor(Position::Events(Epoch(EPOCH.to_owned()), EventId(last))));
        let open = self.hand_over(heard).await?;
        if acknowledge {
            self.acknowledge(last).await?;
        }
        Ok(Round { last: Some(last), more: true, open, resynced: name.is_none() })
    }
}
