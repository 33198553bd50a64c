//! A whole purchase over /v0 in one go, from wherever it is.

use std::time::Duration;

use nano_currency::Amount;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::Buyer;
use super::super::error::BuyError;
use super::super::order::{Move, Order};
use super::super::progress::{Progress, Watch};
use super::DealFault;
use super::judge::{Next, next};
use super::news::{HINTS_MAX, Letter, wake};
use super::trade::deal_of;
use crate::client::v0::stream;
use crate::protocol::v0::payload::Kind;
use crate::protocol::v0::{Job, JobId, OfferId, PayloadId, Status};

/// Steps that one purchase may take: a job's life has fewer, and a relay that moves a job to and fro is
/// not followed for ever.
const STEPS_MAX: usize = 32;

/// How often a payment is looked after while the seller looks for it.
const NURSE_EVERY: Duration = Duration::from_secs(5);

/// What was bought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goods {
    /// The job at its end.
    pub job: Job,
    /// What the seller handed over, whole.
    pub result: String,
    /// What else the seller has written.
    pub messages: Vec<Letter>,
}

impl Buyer {
    /// Buys: asks, pays the seller's charge, waits for the result, reads it.
    ///
    /// # Errors
    /// [`BuyError`]; what was begun stays in the journal.
    pub async fn buy_from_bot(
        &self,
        offer: &OfferId,
        body: &str,
        max: Amount,
        account_index: u32,
        watch: Watch<'_>,
    ) -> Result<Goods, BuyError> {
        let mut order = self.ask_bot(offer, body, max, account_index, watch).await?;
        self.pursue_bot(&mut order, watch).await
    }

    /// Goes on with a purchase, from wherever its job is.
    ///
    /// # Errors
    /// [`BuyError`]; what was begun stays in the journal.
    pub async fn pursue_bot(&self, order: &mut Order, watch: Watch<'_>) -> Result<Goods, BuyError> {
        if order.begun == Some(Move::Request) {
            self.finish_asking(order, watch).await?;
        }
        let quote = self.manners().quote_patience;
        let patience = self.manners().result_patience;
        for _ in 0..STEPS_MAX {
            let job = self.bots_job(order).await?;
            match next(order, deal_of(order)?, &job) {
                Next::AwaitCharge => {
                    let charged = |job: &Job| job.status != Status::Requested;
                    self.await_bot(order, quote, "the seller's charge", charged, watch).await?
                }
                Next::Pay => self.pay_charge(order, &job, watch).await?,
                Next::AwaitResult => {
                    let moved = |job: &Job| !matches!(job.status, Status::ChargeCreated | Status::Paid);
                    self.await_bot(order, patience, "the seller's result", moved, watch).await?
                }
                Next::Wish => self.wish_charge(order, &job, watch).await?,
                Next::AwaitReissue => {
                    let charged = |job: &Job| job.status != Status::Expired;
                    self.await_bot(order, quote, "the seller's next charge", charged, watch).await?
                }
                Next::Collect => return self.collect(order, job).await,
                Next::Over => {
                    let paid = order.payment.map(|block| block.0.hash());
                    self.end(order, job.status.name())?;
                    return Err(DealFault::Over { status: job.status, paid }.into());
                }
            }
        }
        Err(BuyError::TimedOut { waiting_for: "an end of the job's moves", seconds: 0 })
    }

    /// Finishes what was begun; nothing was bought if that was to give the job up.
    ///
    /// # Errors
    /// [`BuyError`]; what was begun stays in the journal.
    pub async fn resume_bot(&self, order: &mut Order, watch: Watch<'_>) -> Result<Option<Goods>, BuyError> {
        if order.begun == Some(Move::Cancel) {
            self.cancel_at_bot(order).await?;
            return Ok(None);
        }
        self.pursue_bot(order, watch).await.map(Some)
    }

    /// The purchase that a job is.
    ///
    /// # Errors
    /// If this journal does not know it, or fails.
    pub fn order_at_bot(&self, job: &JobId) -> Result<Order, BuyError> {
        Ok(self.memory().order_of_bots(job)?.ok_or(DealFault::Unknown)?)
    }

    /// A purchase and its job, as it is now.
    ///
    /// # Errors
    /// [`BuyError`]
    pub async fn look_at_bots_job(&self, order: &mut Order) -> Result<Job, BuyError> {
        let job = self.bots_job(order).await?;
        self.saw(order, &job, job.status.name())?;
        Ok(job)
    }

    /// The result, read and durable.
    async fn collect(&self, order: &mut Order, job: Job) -> Result<Goods, BuyError> {
        self.hear(order).await?;
        let job_id = job.job_id.clone();
        let mut found = gather(&self.memory().letters(&job_id)?);
        if found.is_err() {
            // Their events may be gone, or were acknowledged by somebody with the same name.
            self.take_letters(Some(&job_id)).await?;
            self.refresh(order)?;
            found = gather(&self.memory().letters(&job_id)?);
        }
        self.memory().durable().await?;
        let (result, messages) = match found {
            Ok(found) => found,
            Err(missing) => {
                let why = deal_of(order)?.disbelieved.clone();
                return Err(DealFault::Disbelieved(why.unwrap_or_else(|| missing.to_owned())).into());
            }
        };
        if let Some(deal) = &mut order.deal {
            deal.status = Some(job.status);
        }
        self.end(order, "bought")?;
        self.memory().durable().await?;
        Ok(Goods { job, result, messages })
    }

    /// The result of a purchase, if it was read before; nobody is asked.
    ///
    /// # Errors
    /// If the journal fails, or the purchase is none at a bot.
    pub fn kept_result(&self, order: &Order) -> Result<Option<String>, BuyError> {
        let letters = self.memory().letters(&deal_of(order)?.job_id)?;
        Ok(gather(&letters).ok().map(|(result, _)| result))
    }

    /// Takes the news, and what they say about this purchase.
    async fn hear(&self, order: &mut Order) -> Result<(), BuyError> {
        self.take_news().await?;
        self.refresh(order)
    }

    fn refresh(&self, order: &mut Order) -> Result<(), BuyError> {
        let kept = self.memory().order(&order.id)?;
        if let (Some(deal), Some(kept)) = (&mut order.deal, kept.and_then(|kept| kept.deal)) {
            deal.result = kept.result;
            deal.disbelieved = kept.disbelieved;
        }
        Ok(())
    }

    /// Looks at the job until `done`: when the relay says that there is something to see, and every now
    /// and then.
    async fn await_bot(
        &self,
        order: &mut Order,
        patience: Duration,
        waiting_for: &'static str,
        done: impl Fn(&Job) -> bool,
        watch: Watch<'_>,
    ) -> Result<(), BuyError> {
        let (hints, mut heard) = mpsc::channel(HINTS_MAX);
        let stream = stream::run(self.bot()?.clone(), hints, CancellationToken::new());
        tokio::pin!(stream);
        let until = self.clock().now().plus(patience);
        let mut pause = self.manners().look_min;
        let mut nursed = self.clock().now();
        loop {
            self.hear(order).await?;
            let job = self.bots_job(order).await?;
            if deal_of(order)?.status != Some(job.status) {
                watch(&Progress::Bots { what: format!("the job is {}", job.status) });
                self.saw(order, &job, job.status.name())?;
            }
            if done(&job) {
                return Ok(());
            }
            if job.status == Status::Requested
                && let Some(reason) = refusal(&self.memory().letters(&job.job_id)?)
            {
                self.cancel_at_bot(order).await?;
                return Err(DealFault::Refused(reason).into());
            }
            let now = self.clock().now();
            if now >= until {
                return Err(BuyError::TimedOut { waiting_for, seconds: patience.as_secs() });
            }
            if now.since(nursed) >= NURSE_EVERY {
                self.nurse(order).await;
                nursed = now;
            }
            wake(&mut heard, stream.as_mut(), pause).await;
            pause = (pause * 8 / 5).min(self.manners().look_max);
        }
    }
}

/// What a seller's letters come to: the result, and what is no part of it.
fn gather(letters: &[Letter]) -> Result<(String, Vec<Letter>), &'static str> {
    let result = letters.iter().find(|letter| letter.kind == Kind::Deliverable).ok_or("there is none")?;
    let message = |letter: &&Letter| letter.kind == Kind::Message;
    let Some(list) = parts(&result.body) else {
        return Ok((result.body.clone(), letters.iter().filter(message).cloned().collect()));
    };
    let mut text = String::new();
    for id in &list.parts {
        let part = letters.iter().filter(message).find(|letter| letter.payload_id == *id);
        text.push_str(&part.ok_or("a part of it is missing")?.body);
    }
    if text.len() != list.bytes || hex::encode(Sha256::digest(&text)) != list.sha256 {
        return Err("its parts are not the whole that the seller names");
    }
    let others = letters.iter().filter(message).filter(|letter| !list.parts.contains(&letter.payload_id));
    Ok((text, others.cloned().collect()))
}

/// A result that is too long for one letter: its parts are messages, and this is the list of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    parts: Vec<PayloadId>,
    bytes: usize,
    sha256: String,
}

fn parts(body: &str) -> Option<Parts> {
    serde_json::from_str(body).ok()
}

/// Why the seller will not do it, if it has said so.
fn refusal(letters: &[Letter]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Refused {
        refused: String,
    }
    letters.iter().find_map(|letter| {
        serde_json::from_str(&letter.body)
            .ok()
            .map(|Refused { refused }| crate::client::error::shorten(&refused))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn letter(id: &str, kind: Kind, body: &str) -> Letter {
        Letter {
            payload_id: PayloadId::new(id),
            job_id: JobId::new("job_1"),
            kind,
            written_at: "2026-02-01T12:00:00Z".to_owned(),
            body: body.to_owned(),
        }
    }

    #[test]
    fn a_result_in_parts_is_whole_or_none() {
        let (one, two) = (letter("one", Kind::Message, "first "), letter("two", Kind::Message, "second"));
        let note = letter("note", Kind::Message, "soon");
        let hash = hex::encode(Sha256::digest("first second"));
        let list = json!({"parts": ["one", "two"], "bytes": 12, "sha256": hash}).to_string();
        let list = letter("list", Kind::Deliverable, &list);
        let all = [two.clone(), note.clone(), one.clone(), list.clone()];
        assert_eq!(gather(&all), Ok(("first second".to_owned(), vec![note.clone()])));
        assert!(gather(&[one.clone(), list.clone()]).is_err());
        let other = Letter { body: "sec0nd".to_owned(), ..two };
        assert!(gather(&[one, other, list]).is_err());
        let plain = letter("plain", Kind::Deliverable, "done");
        assert_eq!(gather(&[plain, note.clone()]), Ok(("done".to_owned(), vec![note.clone()])));
        assert!(gather(&[note]).is_err());
    }

    #[test]
    fn only_a_refusal_is_one() {
        let told = |body: &str| refusal(&[letter("m", Kind::Message, body)]);
        assert_eq!(told(r#"{"refused":"too long"}"#).as_deref(), Some("too long"));
        assert_eq!(told("refused"), None);
        assert_eq!(told(r#"{"refused":"x","more":1}"#), None);
    }
}
