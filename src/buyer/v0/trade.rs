//! The steps of a purchase over /v0, each written down before it is taken.

use std::time::Duration;

use nano_currency::rpc::Subtype;
use nano_currency::{Amount, BlockHash};
use serde_json::{Value, json};

use super::super::Buyer;
use super::super::error::BuyError;
use super::super::fate::Known;
use super::super::memory::Kept;
use super::super::order::{Agreed, Move, Order, OrderId, Submission};
use super::super::plan::judge_moment;
use super::super::progress::{Progress, Watch, unwatched};
use super::judge::{ensure_same, judge_charge};
use super::{Deal, DealFault};
use crate::client::CallError;
use crate::client::v0::Key;
use crate::points::crash_point;
use crate::protocol::Timestamp;
use crate::protocol::v0::apply::{PaymentSent, ReissueRequest};
use crate::protocol::v0::payload::{Address, Kind, write};
use crate::protocol::v0::{Bot, Job, JobDraft, OfferId, OfferStatus, PayloadId, Status};

/// A job whose payment took longer than this to prepare is looked at once more before it is paid.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// Names of a job that a busy relay may use up before the buyer gives up.
const TURNS_MAX: u32 = 8;

impl Buyer {
    /// Asks for a job at an offer that costs at most `max`; `resume` makes the whole purchase.
    ///
    /// # Errors
    /// [`BuyError`]
    pub async fn ask_bot(
        &self,
        offer_id: &OfferId,
        body: &str,
        max: Amount,
        account_index: u32,
        watch: Watch<'_>,
    ) -> Result<Order, BuyError> {
        let bot = self.bot()?;
        let registered = self.call(watch, || bot.register()).await;
        registered.map_err(BuyError::relay("register"))?;
        let offer =
            self.call(watch, || bot.offer(offer_id)).await.map_err(BuyError::relay("look at the offer"))?;
        if offer.status != OfferStatus::Active {
            return Err(DealFault::Closed.into());
        }
        let price = Amount::parse_raw(&offer.price_raw).map_err(|_| DealFault::Price)?;
        // Only so written can a charge be for exactly this price.
        if price.is_zero() || price.to_string() != offer.price_raw {
            return Err(DealFault::Price.into());
        }
        if price > max {
            return Err(DealFault::TooExpensive { price, max }.into());
        }
        let seller = self.seller(&offer.seller_bot_id).await?;
        let mut order = Order::new(OrderId::from_bytes(self.entropy().bytes()), self.clock().now());
        let deal = Deal {
            job_id: Deal::job_name(&order.id, 0),
            offer_id: offer_id.clone(),
            seller: seller.bot_id,
            seller_key: seller.signing_pubkey_ed25519,
            price,
            turn: 0,
            charge: None,
            told: None,
            wished: None,
            status: None,
            result: None,
            disbelieved: None,
            over: false,
        };
        let draft = self.seal_request(&deal, &seller, body)?;
        order.account_index = account_index;
        order.mandate = Some(max);
        order.begun = Some(Move::Request);
        order.deal = Some(deal);
        order.note(self.clock().now(), "requesting");
        self.memory().begin(&order, &kept_request(body, &draft)).await?;
        self.finish_asking(&mut order, watch).await?;
        Ok(order)
    }

    async fn seller(&self, id: &crate::protocol::v0::BotId) -> Result<Bot, BuyError> {
        let bot = self.bot()?;
        let seller =
            self.call(&unwatched, || bot.bot(id)).await.map_err(BuyError::relay("look at the seller"))?;
        // The client has compared them; here it decides about money.
        let shown = seller.signing_pubkey_ed25519;
        if crate::protocol::v0::BotId::of(&shown) != *id {
            return Err(DealFault::Impostor { shown }.into());
        }
        Ok(seller)
    }

    fn seal_request(&self, deal: &Deal, seller: &Bot, body: &str) -> Result<JobDraft, BuyError> {
        let bot = self.bot()?;
        let payload_id = PayloadId::new(format!("pay_{}", deal.job_id));
        let address = Address {
            payload_id: &payload_id,
            job_id: &deal.job_id,
            kind: Kind::Request,
            recipient: seller.bot_id,
            recipient_key: &seller.encryption_pubkey_x25519,
        };
        let sealed = write(bot.keys(), address, body, self.clock().now().into(), &self.entropy().bytes());
        Ok(JobDraft {
            job_id: deal.job_id.clone(),
            offer_id: deal.offer_id.clone(),
            request_payload: sealed.map_err(|_| DealFault::TooLong)?,
            job_expires_at: None,
        })
    }

    /// Asks for the job that is in the journal: the same request, to the byte, however often.
    pub(super) async fn finish_asking(&self, order: &mut Order, watch: Watch<'_>) -> Result<Job, BuyError> {
        let bot = self.bot()?;
        loop {
            let deal = deal_of(order)?.clone();
            let (body, draft) = self.kept_request(order)?;
            crash_point!("buyer/v0/request");
            let asked = self.call(watch, || bot.create_job(&draft)).await;
            crash_point!("buyer/v0/requested");
            let job = match asked {
                Ok(job) => job,
                Err(error) if is_kept(&error) && deal.turn < TURNS_MAX => {
                    // Deployed relays keep such an answer under the job's name, for a month.
                    match self.call(watch, || bot.job(&deal.job_id)).await {
                        Ok(job) => job,
                        Err(CallError::Refused(refused)) if refused.status == 404 => {
                            self.take_another_name(order, &body).await?;
                            continue;
                        }
                        Err(_) => return Err(BuyError::relay("request the job")(error)),
                    }
                }
                Err(error) => {
                    if matches!(error, CallError::Refused(_)) {
                        self.end(order, "refused")?;
                    }
                    return Err(BuyError::relay("request the job")(error));
                }
            };
            ensure_same(&deal, &job, bot.bot_id())?;
            order.begun = None;
            self.saw(order, &job, "requested")?;
            watch(&Progress::Bots { what: format!("requested job {}", job.job_id) });
            return Ok(job);
        }
    }

    async fn take_another_name(&self, order: &mut Order, body: &str) -> Result<(), BuyError> {
        let (id, deal) = (order.id, deal_of(order)?.clone());
        let seller = self.seller(&deal.seller).await?;
        let turn = deal.turn + 1;
        let deal = Deal { turn, job_id: Deal::job_name(&id, turn), ..deal };
        let draft = self.seal_request(&deal, &seller, body)?;
        order.note(self.clock().now(), format_args!("asking again as {}", deal.job_id));
        order.deal = Some(deal);
        Ok(self.memory().begin_again(order, &kept_request(body, &draft)).await?)
    }

    fn kept_request(&self, order: &Order) -> Result<(String, JobDraft), BuyError> {
        let kept = self.memory().payload(&order.id)?.unwrap_or_default();
        let body = kept["body"].as_str().unwrap_or_default().to_owned();
        let draft = serde_json::from_value(kept["draft"].clone()).map_err(|_| DealFault::Unknown)?;
        Ok((body, draft))
    }

    /// The job as the relay shows it, if it is still what was asked for.
    pub(super) async fn bots_job(&self, order: &Order) -> Result<Job, BuyError> {
        let (bot, deal) = (self.bot()?, deal_of(order)?);
        let job = self.call(&unwatched, || bot.job(&deal.job_id)).await;
        let job = job.map_err(BuyError::relay("look at the job"))?;
        ensure_same(deal, &job, bot.bot_id())?;
        Ok(job)
    }

    /// Pays the charge of a job, with the block that was signed before, if one was, and tells the relay.
    pub(super) async fn pay_charge(
        &self,
        order: &mut Order,
        job: &Job,
        watch: Watch<'_>,
    ) -> Result<(), BuyError> {
        let us = self.bot()?.bot_id();
        let judged = judge_charge(deal_of(order)?, job, us, order.mandate, self.clock().now().into());
        let agreed = match (order.payment, order.agreed) {
            (Some(block), Some(agreed)) => {
                let hash = block.0.hash();
                // What has left counts, whatever is charged by now; what has not goes nowhere else.
                let same = |now: &Agreed| now.invoice == agreed.invoice && now.amount == agreed.amount;
                if self.known(&hash).await? == Known::No && !same(&judged?) {
                    return Err(DealFault::OtherCharge { block: hash }.into());
                }
                agreed
            }
            _ => {
                let agreed = judged?;
                watch(&Progress::Quoted { amount: agreed.amount, invoice: agreed.invoice });
                self.may_spend(order, &agreed)?;
                order.agreed = Some(agreed);
                order.begun = Some(Move::Pay);
                if let Some(deal) = &mut order.deal {
                    deal.charge.clone_from(&job.charge);
                }
                let (amount, invoice) = (agreed.amount.to_xno(), agreed.invoice);
                order.note(self.clock().now(), format_args!("paying {amount} XNO to {invoice}"));
                self.memory().save(order).await?;
                agreed
            }
        };
        let hash = self.publish_payment(order, &agreed, watch).await?;
        self.tell_bot(order, job, hash, watch).await
    }

    /// Tells the relay of the payment. That the seller found it first, or that it is too late, is no
    /// failure: the next look at the job says so.
    async fn tell_bot(
        &self,
        order: &mut Order,
        job: &Job,
        hash: BlockHash,
        watch: Watch<'_>,
    ) -> Result<(), BuyError> {
        let Some(charge) = &job.charge else { return Ok(()) };
        let sent = PaymentSent {
            payment_block_hash: Some(hash.to_string()),
            amount_raw_sent: order.agreed.map(|agreed| agreed.amount.to_string()),
            ..PaymentSent::default()
        };
        let (bot, key) = (self.bot()?, format!("payment_sent:{}:{hash}:{}", job.job_id, charge.charge_id));
        crash_point!("buyer/v0/tell");
        let told = self.keyed(key, watch, async |key| bot.payment_sent(&job.job_id, &sent, key).await).await;
        crash_point!("buyer/v0/told");
        match told {
            Ok(_) => {}
            Err(error) if is_overtaken(&error) => {
                order.note(self.clock().now(), format_args!("not told: {error}"));
                return Ok(self.memory().note(order)?);
            }
            Err(error) => return Err(BuyError::relay("tell of the payment")(error)),
        }
        if let Some(deal) = &mut order.deal {
            deal.told = Some(charge.charge_id.clone());
        }
        order.begun = None;
        order.submission = Some(Submission { hash: hash.to_string(), done: true });
        self.saw(order, job, "told of the payment")?;
        watch(&Progress::Submitted);
        Ok(())
    }

    /// Asks for another charge, because the one that was paid is over.
    pub(super) async fn wish_charge(
        &self,
        order: &mut Order,
        job: &Job,
        watch: Watch<'_>,
    ) -> Result<(), BuyError> {
        let (Some(charge), Some(block)) = (&job.charge, &order.payment) else { return Ok(()) };
        let hash = block.0.hash();
        if self.known(&hash).await? == Known::No {
            // Nothing has left, and now nothing will.
            self.end(order, "expired")?;
            return Err(DealFault::Over { status: job.status, paid: None }.into());
        }
        let wish =
            ReissueRequest { note: Some(format!("paid by block {hash}")), ..ReissueRequest::default() };
        let (bot, key) = (self.bot()?, format!("reissue:{}:{}", job.job_id, charge.charge_id));
        crash_point!("buyer/v0/wish");
        let asked =
            self.keyed(key, watch, async |key| bot.request_reissue(&job.job_id, &wish, key).await).await;
        crash_point!("buyer/v0/wished");
        match asked {
            Ok(_) => {}
            Err(error) if error.says("job not reissuable") => return Ok(()),
            Err(error) => return Err(BuyError::relay("ask for another charge")(error)),
        }
        if let Some(deal) = &mut order.deal {
            deal.wished = Some(charge.charge_id.clone());
        }
        watch(&Progress::Bots { what: "asked for another charge".to_owned() });
        self.saw(order, job, "asked for another charge")
    }

    /// Gives a job up that has no charge yet.
    ///
    /// # Errors
    /// [`BuyError`]
    pub async fn cancel_at_bot(&self, order: &mut Order) -> Result<Job, BuyError> {
        let (bot, job_id) = (self.bot()?, deal_of(order)?.job_id.clone());
        order.begun = Some(Move::Cancel);
        self.memory().save(order).await?;
        let key = order.key(Move::Cancel, "");
        crash_point!("buyer/v0/cancel");
        let done = self.keyed(key, &unwatched, async |key| bot.cancel_job(&job_id, key).await).await;
        crash_point!("buyer/v0/cancelled");
        order.begun = None;
        let job = match done {
            Ok(job) => job,
            Err(error) => {
                self.memory().note(order)?;
                let job = self.bots_job(order).await?;
                if job.status != Status::Cancelled {
                    return Err(BuyError::relay("cancel the job")(error));
                }
                job
            }
        };
        self.saw(order, &job, "cancelled")?;
        self.end(order, "cancelled")?;
        Ok(job)
    }

    /// One mutation, repeated while the relay does not answer, under a key of its own after each answer
    /// that a relay may have kept.
    async fn keyed<T>(
        &self,
        key: String,
        watch: Watch<'_>,
        call: impl AsyncFn(&Key) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let (mut key, mut tries) = (Key::new(key), self.tries());
        loop {
            let error = match call(&key).await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_retryable() => error,
                Err(error) => return Err(error),
            };
            watch(&Progress::Retrying { reason: error.to_string() });
            key = key.after(&error);
            if !tries.again(error.retry_after()).await {
                return Err(error);
            }
        }
    }

    /// Whether the job still waits for its payment; as [`Buyer::publish_payment`] asks every few seconds.
    pub(in crate::buyer) async fn look_at_charge(
        &self,
        order: &mut Order,
        agreed: &Agreed,
        looked: &mut Timestamp,
    ) -> Result<(), BuyError> {
        if self.clock().now().since(*looked) < STALE_AFTER {
            return Ok(());
        }
        let job = self.bots_job(order).await?;
        match job.status {
            Status::ChargeCreated => {}
            Status::Cancelled | Status::Expired => {
                return Err(DealFault::Over { status: job.status, paid: None }.into());
            }
            status => return Err(DealFault::NotNow { status, wanted: "only a charge is paid" }.into()),
        }
        let us = self.bot()?.bot_id();
        let now = judge_charge(deal_of(order)?, &job, us, order.mandate, self.clock().now().into())?;
        if now.invoice != agreed.invoice || now.amount != agreed.amount {
            return Err(DealFault::Terms { what: "another charge" }.into());
        }
        *looked = self.clock().now();
        Ok(())
    }

    /// Whether a block that was signed for a bot's job, and that no node has, may still be published.
    pub(in crate::buyer) async fn is_wanted_by_bot(
        &self,
        owner: &Order,
        kept: &Kept,
    ) -> Result<bool, BuyError> {
        debug_assert!(kept.subtype() == Subtype::Send);
        let Ok(deal) = deal_of(owner) else { return Ok(false) };
        if deal.over || self.bot().is_err() {
            // Whoever cannot ask the relay cannot say that the job waits.
            return Ok(false);
        }
        let job = match self.bots_job(owner).await {
            Ok(job) => job,
            Err(BuyError::Relay { source: CallError::Refused(_), .. } | BuyError::Deal(_)) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let told = deal.told.is_some();
        let Some(agreed) = owner.agreed else { return Ok(false) };
        match job.status {
            Status::Paid | Status::Delivered => Ok(told),
            Status::ChargeCreated if told => Ok(true),
            Status::ChargeCreated => {
                let same =
                    job.charge.as_ref().map(|charge| &charge.address) == Some(&agreed.invoice.to_string());
                if !same || judge_moment(&agreed, owner.accepted, self.clock().now()).is_err() {
                    return Ok(false);
                }
                match self.ensure_untouched(&agreed).await {
                    Ok(()) => Ok(true),
                    Err(BuyError::PaidElsewhere { .. }) => Ok(false),
                    Err(error) => Err(error),
                }
            }
            Status::Requested | Status::Cancelled | Status::Expired => Ok(false),
        }
    }

    pub(super) fn saw(&self, order: &mut Order, job: &Job, what: &str) -> Result<(), BuyError> {
        if let Some(deal) = &mut order.deal {
            deal.status = Some(job.status);
        }
        order.note(self.clock().now(), what);
        Ok(self.memory().note(order)?)
    }

    /// Nothing is left to do.
    pub(super) fn end(&self, order: &mut Order, what: &str) -> Result<(), BuyError> {
        if let Some(deal) = &mut order.deal {
            deal.over = true;
        }
        order.begun = None;
        order.mandate = None;
        order.note(self.clock().now(), what);
        Ok(self.memory().note(order)?)
    }
}

pub(super) fn deal_of(order: &Order) -> Result<&Deal, DealFault> {
    order.deal.as_ref().ok_or(DealFault::Unknown)
}

fn kept_request(body: &str, draft: &JobDraft) -> Value {
    json!({ "body": body, "draft": draft })
}

/// An answer that deployed relays keep under its key.
fn is_kept(error: &CallError) -> bool {
    matches!(error, CallError::RateLimited { .. } | CallError::Unavailable { .. })
}

/// The seller, or time, was faster.
fn is_overtaken(error: &CallError) -> bool {
    ["job not payable", "charge expired"].iter().any(|message| error.says(message))
}
