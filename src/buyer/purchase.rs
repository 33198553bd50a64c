//! The steps of a purchase at the relay, each written down before it is taken.

use std::future::Future;
use std::time::Duration;

use nano_currency::Amount;
use nano_currency::rpc::RpcError;
use serde_json::Value;

use super::Buyer;
use super::error::BuyError;
use super::order::{Move, Order, OrderId, Submission};
use super::paying::ensure_accepted;
use super::plan::{judge_payment, judge_quote, read_quote};
use super::progress::{Progress, Watch, unwatched};
use crate::client::{CallError, Pace};
use crate::points::crash_point;
use crate::protocol::{Code, Job, JobId, OfferId, Status, Timestamp};

/// The first pause before a call is repeated.
const RETRY_MIN: Duration = Duration::from_millis(200);

/// The longest: somebody waits in front of a terminal.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// How often a payment is looked after while the seller waits for its confirmation.
const NURSE_EVERY: Duration = Duration::from_secs(5);

/// Tries of one step, until patience ends.
pub(super) struct Tries<'a> {
    buyer: &'a Buyer,
    pace: Pace,
    until: Timestamp,
}

impl Tries<'_> {
    /// Pauses before another try; `false` once patience has ended.
    pub(super) async fn again(&mut self, retry_after: Option<Duration>) -> bool {
        let delay = self.pace.next_delay_after(retry_after);
        if self.buyer.clock().now().plus(delay) > self.until {
            return false;
        }
        tokio::time::sleep(delay).await;
        true
    }
}

/// Steps.
impl Buyer {
    /// Asks for a job. With a `mandate`, `resume` makes the whole purchase up to that price.
    ///
    /// # Errors
    /// [`BuyError`]
    pub async fn request(
        &self,
        offer: OfferId,
        payload: &Value,
        mandate: Option<Amount>,
        account_index: u32,
    ) -> Result<(Order, Job), BuyError> {
        let now = self.clock().now();
        let mut order = Order::new(OrderId::from_bytes(self.entropy().bytes()), now);
        order.offer_id = Some(offer);
        order.mandate = mandate;
        order.account_index = account_index;
        order.begun = Some(Move::Request);
        order.note(now, "requesting");
        self.memory().begin(&order, payload).await?;
        let job = self.finish_request(&mut order, payload, &unwatched).await?;
        Ok((order, job))
    }

    pub(super) async fn finish_request(
        &self,
        order: &mut Order,
        payload: &Value,
        watch: Watch<'_>,
    ) -> Result<Job, BuyError> {
        let Some(offer) = order.offer_id else {
            return Err(BuyError::Quote(super::plan::QuoteError::Missing));
        };
        let relay = self.relay().with_key(order.key(Move::Request, ""));
        crash_point!("buyer/send/request");
        let asked = self.call(watch, || relay.create_job(&offer, payload)).await;
        crash_point!("buyer/answer/request");
        let job = match asked {
            Ok(job) => job,
            Err(error) => {
                if matches!(error, CallError::Refused(_)) {
                    self.give_up(order, &error)?;
                }
                return Err(BuyError::relay("request the job")(error));
            }
        };
        if job.buyer_pubkey != self.relay().public_key() || job.offer_id != offer {
            return Err(BuyError::OtherJob(job.job_id));
        }
        if let Some(other) = self.memory().order_of(&job.job_id)?.filter(|other| other.id != order.id) {
            // Taken up by its job's name while this record did not know it: that one goes on, since
            // it may hold the payment.
            self.give_up(order, &format_args!("continued as {}", other.id))?;
            *order = other;
            return Ok(job);
        }
        order.job_id = Some(job.job_id);
        order.begun = None;
        self.seen(order, &job, "requested")?;
        watch(&Progress::Requested { job_id: job.job_id });
        Ok(job)
    }

    /// The purchase that a job is; one that this journal does not know is taken up.
    ///
    /// # Errors
    /// [`BuyError`]
    pub async fn take_up(&self, job_id: &JobId, account_index: u32) -> Result<(Order, Job), BuyError> {
        let job = self.call(&unwatched, || self.relay().job(job_id)).await;
        let job = job.map_err(BuyError::relay("look at the job"))?;
        if job.job_id != *job_id {
            return Err(BuyError::OtherJob(*job_id));
        }
        if let Some(mut order) = self.memory().order_of(job_id)? {
            if order.payment.is_none() {
                order.account_index = account_index;
            }
            order.status = Some(job.status);
            return Ok((order, job));
        }
        let mut order = Order::new(OrderId::from_bytes(self.entropy().bytes()), self.clock().now());
        order.ours = false;
        order.offer_id = Some(job.offer_id);
        order.job_id = Some(*job_id);
        order.account_index = account_index;
        self.seen(&mut order, &job, "taken up")?;
        Ok((order, job))
    }

    /// Agrees to the quote of `job`, if it is fair and at most `max`.
    ///
    /// # Errors
    /// [`BuyError`]
    pub async fn accept(&self, order: &mut Order, job: &Job, max: Option<Amount>) -> Result<Job, BuyError> {
        let us = self.relay().public_key();
        if job.status == Status::Accepted && order.agreed.is_some() {
            order.begun = None;
            order.accepted = true;
            self.seen(order, job, "accepted")?;
            return Ok(job.clone());
        }
        if job.status != Status::Quoted {
            return Err(BuyError::NotNow { status: job.status, wanted: "only a quoted job is accepted" });
        }
        let agreed = judge_quote(job, &us, max, self.clock().now())?;
        self.may_spend(order, &agreed)?;
        order.agreed = Some(agreed);
        order.begun = Some(Move::Accept);
        order.note(
            self.clock().now(),
            format_args!("accepting {} XNO to {}", agreed.amount.to_xno(), agreed.invoice),
        );
        self.memory().save(order).await?;
        let relay = self.relay().with_key(order.key(Move::Accept, ""));
        crash_point!("buyer/send/accept");
        let accepted = self.call(&unwatched, || relay.accept(&job.job_id)).await;
        crash_point!("buyer/answer/accept");
        let job = self.after(order, accepted, "accept the quote", |job| job.status != Status::Quoted).await?;
        order.begun = None;
        order.accepted = !matches!(job.status, Status::Canceled | Status::Expired);
        self.seen(order, &job, "accepted")?;
        if matches!(job.status, Status::Canceled | Status::Expired) {
            return Err(self.over(order, &job).await?);
        }
        judge_payment(&job, &us, &agreed, max)?;
        Ok(job)
    }

    /// Pays an accepted job and tells the relay: the block that was signed before, if one was.
    /// What was agreed to is paid; without an agreement, the quote, if it is at most `max`.
    ///
    /// # Errors
    /// [`BuyError`]
    pub async fn pay(
        &self,
        order: &mut Order,
        job: &Job,
        max: Option<Amount>,
        watch: Watch<'_>,
    ) -> Result<Job, BuyError> {
        if matches!(job.status, Status::Canceled | Status::Expired) {
            return Err(self.over(order, job).await?);
        }
        let started = matches!(job.status, Status::Running | Status::Delivered | Status::Failed);
        if started || job.payment_tx_hash.is_some() {
            order.begun = None;
            self.seen(order, job, "paid already")?;
            return Ok(job.clone());
        }
        ensure_accepted(job)?;
        let us = self.relay().public_key();
        let agreed = match order.agreed {
            Some(agreed) => agreed,
            None => read_quote(job, &us)?,
        };
        judge_payment(job, &us, &agreed, max)?;
        order.agreed = Some(agreed);
        let hash = self.publish_payment(order, &agreed, watch).await?;
        self.submit(order, hash.to_string(), watch).await
    }

    /// Tells the relay the hash of the payment.
    ///
    /// # Errors
    /// [`BuyError`]
    pub async fn submit(&self, order: &mut Order, hash: String, watch: Watch<'_>) -> Result<Job, BuyError> {
        let job_id = job_id(order)?;
        if order.payment.is_none_or(|block| block.0.hash().to_string() != hash) {
            // Somebody else published it; ours is in the journal with the block.
            order.begun = Some(Move::Submit);
            order.submission = Some(Submission { hash: hash.clone(), done: false });
            self.memory().save(order).await?;
        }
        let relay = self.relay().with_key(order.key(Move::Submit, &hash));
        crash_point!("buyer/send/payment");
        let submitted = self.call(watch, || relay.payment(&job_id, &hash)).await;
        crash_point!("buyer/answer/payment");
        let arrived = |job: &Job| job.payment_tx_hash.is_some() || job.status != Status::Accepted;
        let job = self.after(order, submitted, "submit the payment", arrived).await?;
        if matches!(job.status, Status::Canceled | Status::Expired) {
            return Err(self.over(order, &job).await?);
        }
        order.begun = None;
        order.submission = Some(Submission { hash, done: true });
        self.seen(order, &job, "payment submitted")?;
        watch(&Progress::Submitted);
        Ok(job)
    }

    /// Gives the job up.
    ///
    /// # Errors
    /// [`BuyError`]
    pub async fn cancel(&self, order: &mut Order, reason: Option<&str>) -> Result<Job, BuyError> {
        let job_id = job_id(order)?;
        order.begun = Some(Move::Cancel);
        order.mandate = None;
        order.note(self.clock().now(), "canceling");
        self.memory().save(order).await?;
        let relay = self.relay().with_key(order.key(Move::Cancel, reason.unwrap_or_default()));
        crash_point!("buyer/send/cancel");
        let canceled = self.call(&unwatched, || relay.cancel(&job_id, reason)).await;
        crash_point!("buyer/answer/cancel");
        let job = self.after(order, canceled, "cancel the job", |job| job.status.is_final()).await;
        order.begun = None;
        match job {
            Ok(job) => {
                self.seen(order, &job, "canceled")?;
                Ok(job)
            }
            Err(error) => {
                if matches!(&error, BuyError::Relay { source: CallError::Refused(_), .. }) {
                    self.memory().note(order)?;
                }
                Err(error)
            }
        }
    }

    /// Looks at the job until `done`, quickly first, then every now and then.
    ///
    /// # Errors
    /// [`BuyError`]
    pub async fn wait_until(
        &self,
        order: &mut Order,
        patience: Duration,
        waiting_for: &'static str,
        done: impl Fn(&Job) -> bool,
        watch: Watch<'_>,
    ) -> Result<Job, BuyError> {
        let until = self.clock().now().plus(patience);
        let mut pause = self.manners().look_min;
        let mut nursed = self.clock().now();
        loop {
            let job = self.job_of(order).await?;
            if order.status != Some(job.status) {
                watch(&Progress::Moved { status: job.status });
                self.seen(order, &job, job.status.name())?;
            }
            if done(&job) {
                return Ok(job);
            }
            let now = self.clock().now();
            if now >= until {
                return Err(BuyError::TimedOut { waiting_for, seconds: patience.as_secs() });
            }
            if job.status == Status::Accepted && now.since(nursed) >= NURSE_EVERY {
                self.nurse(order).await;
                nursed = now;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 8 / 5).min(self.manners().look_max);
        }
    }

    pub(super) async fn job_of(&self, order: &Order) -> Result<Job, BuyError> {
        let job_id = job_id(order)?;
        let job = self.call(&unwatched, || self.relay().job(&job_id)).await;
        let job = job.map_err(BuyError::relay("look at the job"))?;
        if job.job_id == job_id { Ok(job) } else { Err(BuyError::OtherJob(job_id)) }
    }

    /// What a job that was canceled or has expired means for a purchase.
    pub(super) async fn over(&self, order: &mut Order, job: &Job) -> Result<BuyError, BuyError> {
        let mut paid = None;
        if let Some(block) = &order.payment
            && self.known(&block.0.hash()).await? != super::fate::Known::No
        {
            paid = Some(block.0.hash());
        }
        order.begun = None;
        order.mandate = None;
        self.seen(order, job, job.status.name())?;
        let reason = job.cancel_reason.as_deref().map(crate::client::error::shorten);
        Ok(BuyError::Over { status: job.status, reason, paid })
    }

    /// Drops what was begun, because the relay refused it for good.
    pub(super) fn give_up(&self, order: &mut Order, why: &dyn std::fmt::Display) -> Result<(), BuyError> {
        order.begun = None;
        order.mandate = None;
        order.note(self.clock().now(), format_args!("given up: {why}"));
        Ok(self.memory().note(order)?)
    }

    fn seen(&self, order: &mut Order, job: &Job, what: &str) -> Result<(), BuyError> {
        order.status = Some(job.status);
        order.note(self.clock().now(), what);
        Ok(self.memory().note(order)?)
    }

    /// The answer to a move, or the job if the relay says that the move is no longer possible and
    /// the job is there already: an earlier try has arrived.
    async fn after(
        &self,
        order: &Order,
        answer: Result<Job, CallError>,
        doing: &'static str,
        arrived: impl Fn(&Job) -> bool,
    ) -> Result<Job, BuyError> {
        let error = match answer {
            Ok(job) if Some(job.job_id) == order.job_id => return Ok(job),
            Ok(job) => return Err(BuyError::OtherJob(job.job_id)),
            Err(error) => error,
        };
        if matches!(error.code(), Some(Code::InvalidState | Code::IdempotencyConflict)) {
            let job = self.job_of(order).await?;
            if arrived(&job) {
                return Ok(job);
            }
        }
        Err(BuyError::relay(doing)(error))
    }

    /// One call, repeated while the relay does not answer.
    pub(super) async fn call<T, F>(&self, watch: Watch<'_>, call: impl Fn() -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let mut tries = self.tries();
        loop {
            let error = match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_retryable() => error,
                Err(error) => return Err(error),
            };
            watch(&Progress::Retrying { reason: error.to_string() });
            if !tries.again(error.retry_after()).await {
                return Err(error);
            }
        }
    }

    /// One question to the nodes, repeated while none answers.
    pub(super) async fn ask<T, F>(&self, doing: &'static str, ask: impl Fn() -> F) -> Result<T, BuyError>
    where
        F: Future<Output = Result<T, RpcError>>,
    {
        let mut tries = self.tries();
        let mut told = false;
        loop {
            let error = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // Patience without a word looks like a program that hangs.
            if !std::mem::replace(&mut told, true) {
                let seconds = self.manners().step_patience.as_secs();
                tracing::warn!(%error, "no node answers; asking again for {seconds} s");
            }
            if error.failure.is_answer() || !tries.again(error.failure.wait()).await {
                return Err(BuyError::node(doing)(error));
            }
        }
    }

    pub(super) fn tries(&self) -> Tries<'_> {
        let pace = Pace::new(RETRY_MIN, RETRY_MAX, self.entropy().clone());
        Tries { buyer: self, pace, until: self.clock().now().plus(self.manners().step_patience) }
    }
}

fn job_id(order: &Order) -> Result<JobId, BuyError> {
    order
        .job_id
        .ok_or(BuyError::NotNow { status: Status::Requested, wanted: "the relay has not named it yet" })
}
