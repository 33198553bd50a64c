//! A whole purchase in one go, and what to do with an interrupted one.

use nano_currency::Amount;
use serde_json::Value;

use super::Buyer;
use super::error::BuyError;
use super::order::{Move, Order};
use super::plan::{Next, next, read_quote};
use super::progress::{Progress, Watch};
use crate::protocol::{Job, OfferId, Status};

/// Steps that one purchase may take: a job's life has fewer, and a relay that moves a job to and
/// fro is not followed for ever.
const STEPS_MAX: usize = 32;

/// What a buyer tells a seller whose price is too high.
const TOO_EXPENSIVE: &str = "the price is above the buyer's limit";

/// What a buyer tells a seller whom a policy is against; not which rule, nor how much is left.
const FORBIDDEN: &str = "the buyer's policy is against it";

impl Buyer {
    /// Buys: asks, waits for the quote, agrees if it is at most `max`, pays, waits for the end.
    ///
    /// Returns the job, delivered or failed.
    ///
    /// # Errors
    /// [`BuyError`]; what was begun stays in the journal.
    pub async fn buy(
        &self,
        offer: OfferId,
        payload: &Value,
        max: Amount,
        account_index: u32,
        watch: Watch<'_>,
    ) -> Result<Job, BuyError> {
        let (mut order, job) = self.request(offer, payload, Some(max), account_index).await?;
        watch(&Progress::Requested { job_id: job.job_id });
        self.pursue(&mut order, job, watch).await
    }

    /// Goes on with a purchase that has a mandate, from wherever its job is.
    ///
    /// # Errors
    /// [`BuyError`]; what was begun stays in the journal.
    pub async fn pursue(&self, order: &mut Order, mut job: Job, watch: Watch<'_>) -> Result<Job, BuyError> {
        let max = order.mandate;
        for _ in 0..STEPS_MAX {
            job = match next(order, &job) {
                Next::AwaitQuote => {
                    let patience = self.manners().quote_patience;
                    let quoted = |job: &Job| job.status != Status::Requested;
                    self.wait_until(order, patience, "the seller's quote", quoted, watch).await?
                }
                Next::Accept => self.agree(order, &job, max, watch).await?,
                Next::Pay => self.pay(order, &job, max, watch).await?,
                Next::AwaitResult => self.wait(order, watch).await?,
                Next::Over if matches!(job.status, Status::Canceled | Status::Expired) => {
                    return Err(self.over(order, &job).await?);
                }
                Next::Over => return Ok(job),
            };
        }
        Err(BuyError::TimedOut { waiting_for: "an end of the job's moves", seconds: 0 })
    }

    /// Waits until the job has ended.
    ///
    /// # Errors
    /// [`BuyError`]
    pub async fn wait(&self, order: &mut Order, watch: Watch<'_>) -> Result<Job, BuyError> {
        let patience = self.manners().result_patience;
        let ended = |job: &Job| job.status.is_final();
        self.wait_until(order, patience, "the seller's result", ended, watch).await
    }

    /// Finishes what was begun: the rest of a purchase with a mandate, or the one move that was
    /// interrupted.
    ///
    /// # Errors
    /// [`BuyError`]; what was begun stays in the journal.
    pub async fn resume(&self, order: &mut Order, watch: Watch<'_>) -> Result<Option<Job>, BuyError> {
        let job = if order.job_id.is_none() {
            let payload = self.memory().payload(&order.id)?.unwrap_or_default();
            self.finish_request(order, &payload, watch).await?
        } else {
            self.job_of(order).await?
        };
        if order.begun == Some(Move::Cancel) {
            return self.cancel(order, None).await.map(Some);
        }
        if order.mandate.is_some() {
            return self.pursue(order, job, watch).await.map(Some);
        }
        let job = match order.begun {
            None | Some(Move::Request | Move::Cancel) => job,
            Some(Move::Accept) => {
                let max = order.agreed.map(|agreed| agreed.amount);
                self.accept(order, &job, max).await?
            }
            Some(Move::Pay) => self.pay(order, &job, None, watch).await?,
            Some(Move::Submit) => match order.submission.clone() {
                Some(submission) => self.submit(order, submission.hash, watch).await?,
                None => job,
            },
        };
        Ok(Some(job))
    }

    async fn agree(
        &self,
        order: &mut Order,
        job: &Job,
        max: Option<Amount>,
        watch: Watch<'_>,
    ) -> Result<Job, BuyError> {
        if let Ok(quote) = read_quote(job, &self.relay().public_key()) {
            watch(&Progress::Quoted { amount: quote.amount, invoice: quote.invoice });
        }
        match self.accept(order, job, max).await {
            Ok(job) => {
                watch(&Progress::Accepted);
                Ok(job)
            }
            Err(BuyError::Quote(error)) => {
                let reason = if error.is_price() { Some(TOO_EXPENSIVE) } else { None };
                self.decline(order, reason, &error).await;
                Err(error.into())
            }
            Err(BuyError::Policy(error)) => {
                self.decline(order, Some(FORBIDDEN), &error).await;
                Err(error.into())
            }
            Err(error) => Err(error),
        }
    }

    /// Tells the seller that there will be no payment. If the relay does not hear it, the quote
    /// expires all the same.
    async fn decline(&self, order: &mut Order, reason: Option<&str>, error: &(dyn std::fmt::Display + Sync)) {
        if let Err(error) = self.cancel(order, reason).await {
            tracing::debug!(%error, "could not cancel");
        }
        if let Err(error) = self.give_up(order, error) {
            tracing::warn!(%error, "could not note the end of the purchase");
        }
    }
}
