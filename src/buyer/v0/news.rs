//! The events of a bot and the letters in them: fetched, opened, believed or not, kept, and only then
//! acknowledged.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::error::BuyError;
use super::super::progress::unwatched;
use super::super::{Buyer, Order};
use crate::client::v0::{Class, Events, PayloadsQuery};
use crate::client::{CallError, Hint};
use crate::points::crash_point;
use crate::protocol::v0::lists::Fetched;
use crate::protocol::v0::payload::{Kind, read};
use crate::protocol::v0::{JobId, News, PayloadId};

/// Events of one page.
const PAGE: usize = 100;

/// Pages of one look: a buyer has few events, and a relay that tells ever more is left for a while.
const PAGES_MAX: usize = 20;

/// Hints that wait to be heard: one is as good as many.
pub(super) const HINTS_MAX: usize = 4;

/// A text that its seller has signed for one of our jobs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Its name.
    pub payload_id: PayloadId,
    /// The job that it belongs to.
    pub job_id: JobId,
    /// What it is for.
    pub kind: Kind,
    /// When the seller says that it was written; any text.
    pub written_at: String,
    /// What it says.
    pub body: String,
}

/// Its size; not what it says.
impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Letter({} {}, {} bytes)", self.kind, self.payload_id, self.body.len())
    }
}

impl Buyer {
    /// Takes what the relay has told since the last time: letters are kept before the relay may forget
    /// that it told of them.
    pub(super) async fn take_news(&self) -> Result<(), BuyError> {
        let bot = self.bot()?;
        for _ in 0..PAGES_MAX {
            crash_point!("buyer/v0/poll");
            let page = match self.call(&unwatched, || bot.poll_any(None, PAGE)).await {
                Ok(Events::Page(page, _)) => page,
                Ok(Events::TooLong(event)) => {
                    tracing::warn!(?event.event_id, "an event is too long to be read: looking through all letters");
                    self.take_letters(None).await?;
                    // Whose place cannot be read stays; then the letters are the news.
                    let Some(id) = event.event_id else { return Ok(()) };
                    self.acknowledge(id).await?;
                    continue;
                }
                Err(error) => match error.class() {
                    Class::Gone { min_event_id_retained } => {
                        self.resync(min_event_id_retained).await?;
                        continue;
                    }
                    _ => return Err(BuyError::relay("ask for news")(error)),
                },
            };
            let Some(last) = page.events.last().map(|event| event.event_id) else { return Ok(()) };
            for event in &page.events {
                if let Some(News::PayloadAvailable { job_id, payload_id, .. }) = event.news() {
                    self.take_letter(&job_id, &payload_id).await?;
                }
            }
            self.acknowledge(last).await?;
        }
        Ok(())
    }

    async fn acknowledge(&self, up_to: u64) -> Result<(), BuyError> {
        let bot = self.bot()?;
        self.memory().durable().await?;
        crash_point!("buyer/v0/ack");
        let acked = self.call(&unwatched, || bot.ack(up_to)).await;
        crash_point!("buyer/v0/acked");
        acked.map(drop).map_err(BuyError::relay("acknowledge news"))
    }

    /// Events were removed before they were read: all letters that there are may be new.
    async fn resync(&self, minimum: u64) -> Result<(), BuyError> {
        tracing::warn!(minimum, "the relay has removed events: looking through all letters");
        self.take_letters(None).await?;
        self.acknowledge(minimum.saturating_sub(1)).await
    }

    /// Takes all letters, or all of one job.
    pub(super) async fn take_letters(&self, job_id: Option<&JobId>) -> Result<(), BuyError> {
        let (bot, mut cursor) = (self.bot()?, None);
        for _ in 0..PAGES_MAX {
            let query = PayloadsQuery {
                status: Fetched::All,
                job_id: job_id.cloned(),
                limit: Some(PAGE),
                cursor: cursor.take(),
            };
            let listed = self.call(&unwatched, || bot.payloads(&query)).await;
            let (page, _) = listed.map_err(BuyError::relay("list letters"))?;
            for head in &page.payloads {
                self.take_letter(&head.job_id, &head.payload_id).await?;
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        self.memory().durable().await?;
        Ok(())
    }

    /// Fetches and keeps one letter. One that cannot be believed is noted, and no reason to stop.
    async fn take_letter(&self, job_id: &JobId, payload_id: &PayloadId) -> Result<(), BuyError> {
        // A letter of a job that this journal does not know was for an earlier one, or for nobody.
        let Some(mut order) = self.memory().order_of_bots(job_id)? else { return Ok(()) };
        if self.memory().has_letter(job_id, payload_id)? {
            return self.note_result(&mut order, payload_id);
        }
        let bot = self.bot()?;
        let fetched = self.call(&unwatched, || bot.payload(payload_id)).await;
        let payload = match fetched {
            Ok(payload) => payload,
            Err(error @ CallError::Refused(_)) => return self.disbelieve(&mut order, payload_id, &error),
            Err(error) => return Err(BuyError::relay("fetch a letter")(error)),
        };
        let Some(deal) = &order.deal else { return Ok(()) };
        if payload.job_id != *job_id || payload.sender_bot_id != deal.seller {
            return self.disbelieve(&mut order, payload_id, &"it is another's, or of another job");
        }
        let letter = match read(bot.keys(), &payload, &deal.seller_key) {
            Ok(letter) => letter,
            Err(fault) => return self.disbelieve(&mut order, payload_id, &fault),
        };
        let letter = Letter {
            payload_id: payload_id.clone(),
            job_id: job_id.clone(),
            kind: payload.payload_kind,
            written_at: letter.written_at,
            body: letter.body,
        };
        self.memory().keep_letter(&letter)?;
        self.note_result(&mut order, payload_id)
    }

    /// Notes the result in its purchase, if the letter is one.
    fn note_result(&self, order: &mut Order, payload_id: &PayloadId) -> Result<(), BuyError> {
        let Some(deal) = &mut order.deal else { return Ok(()) };
        let letters = self.memory().letters(&deal.job_id)?;
        let results = letters.iter().filter(|letter| letter.kind == Kind::Deliverable);
        let Some(result) = results.map(|letter| &letter.payload_id).find(|id| *id == payload_id) else {
            return Ok(());
        };
        if deal.result.is_some() {
            return Ok(());
        }
        deal.result = Some(result.clone());
        order.note(self.clock().now(), "result read");
        Ok(self.memory().note(order)?)
    }

    fn disbelieve(
        &self,
        order: &mut Order,
        payload_id: &PayloadId,
        why: &dyn std::fmt::Display,
    ) -> Result<(), BuyError> {
        tracing::warn!(%payload_id, %why, "a letter is not believed");
        let why = format!("{why}");
        let Some(deal) = &mut order.deal else { return Ok(()) };
        deal.disbelieved = Some(why.clone());
        order.note(self.clock().now(), format_args!("letter {payload_id} is not believed: {why}"));
        Ok(self.memory().note(order)?)
    }
}

/// Waits for a wake-up, or until it is time to look anyway.
pub(super) async fn wake(
    hints: &mut tokio::sync::mpsc::Receiver<Hint>,
    mut stream: std::pin::Pin<&mut impl Future<Output = ()>>,
    pause: Duration,
) {
    let until = tokio::time::sleep(pause);
    tokio::pin!(until);
    loop {
        tokio::select! {
            () = &mut until => return,
            hint = hints.recv() => match hint {
                Some(Hint::NewJob { .. }) => return,
                Some(_) => {}
                None => { until.as_mut().await; return }
            },
            () = stream.as_mut() => { until.as_mut().await; return }
        }
    }
}
