//! One move: load, let time pass, decide, commit.
//!
//! Architecture invariant: no HTTP here, and no storage by name. The rules are `protocol`'s; what is
//! unique or ordered over all jobs is the storage's; this file only brings them together.

use std::sync::Arc;

use tracing::{error, warn};

use super::model::{Committed, JobCommit, JobPage, JobQuery, OfferPage, OfferQuery, OfferSave, Receipt};
use super::storage::{Storage, StorageError};
use crate::edge::{Clock, Entropy};
use crate::protocol::apply::{Rules, Unique};
use crate::protocol::limits::REQUEST_PAYLOAD_BYTES_MAX;
use crate::protocol::offer::OfferTerms;
use crate::protocol::{
    Caller, Change, Code, Command, Context, EventType, Job, JobId, Offer, OfferId, PublicKey, Refusal, apply,
    lapse,
};

/// How often a move is decided anew because somebody else moved the job in between. Two parties and
/// a sweeper cannot race more often than this without a fault of their own.
const ATTEMPTS_MAX: usize = 8;

/// What a relay does, apart from how it is asked.
#[derive(Debug, Clone)]
pub struct Service {
    storage: Arc<dyn Storage>,
    rules: Rules,
    clock: Clock,
    entropy: Entropy,
}

impl Service {
    /// A service on a storage.
    pub fn new(storage: Arc<dyn Storage>, rules: Rules, clock: Clock, entropy: Entropy) -> Self {
        Self { storage, rules, clock, entropy }
    }

    /// Makes one move of a job, and returns the job afterwards.
    ///
    /// A limit that has passed is committed first, so that whoever comes too late leaves the job
    /// expired behind.
    ///
    /// # Errors
    /// The refusal that the caller is to see.
    pub async fn command(
        &self,
        caller: PublicKey,
        id: JobId,
        command: &Command,
        receipt: Option<&Receipt>,
    ) -> Result<Job, Refusal> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(job) = self.storage.job(id).await.map_err(|error| unavailable(&error))? else {
                return Err(no_such_job());
            };
            let price = self.fixed_price(&job, command).await?;
            let context =
                Context { now: self.clock.now(), rules: &self.rules, fixed_price_raw: price.as_deref() };
            let job = match lapse(&job, &context) {
                None => job,
                Some(change) => match self.commit(&change, Some(&job), None, &context).await? {
                    Some(job) => job,
                    None => continue,
                },
            };
            let change = apply(&job, Caller::Party(caller), command, &context)?;
            if let Some(job) = self.commit(&change, Some(&job), receipt, &context).await? {
                return Ok(job);
            }
        }
        Err(Refusal::new(Code::Unavailable, "the job is being moved by others; try again"))
    }

    /// The job, for one of its parties.
    ///
    /// # Errors
    /// If there is none, or the caller is no party to it.
    pub async fn job(&self, caller: PublicKey, id: JobId) -> Result<Job, Refusal> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(job) = self.storage.job(id).await.map_err(|error| unavailable(&error))? else {
                return Err(no_such_job());
            };
            if !job.has_party(&caller) {
                return Err(Refusal::new(Code::Forbidden, "you are not a party to this job"));
            }
            match self.expire(&job).await? {
                Expiry::NotDue => return Ok(job),
                Expiry::Done(job) => return Ok(*job),
                Expiry::Lost => {}
            }
        }
        Err(Refusal::new(Code::Unavailable, "the job is being moved by others; try again"))
    }

    /// A new job for an offer.
    ///
    /// # Errors
    /// If there is no such offer, it is not active, or the request is too large.
    pub async fn create_job(
        &self,
        buyer: PublicKey,
        offer_id: OfferId,
        request: serde_json::Value,
        receipt: Option<&Receipt>,
    ) -> Result<Job, Refusal> {
        let bytes = request.to_string().len();
        if bytes > REQUEST_PAYLOAD_BYTES_MAX {
            let message =
                format!("request_payload: at most {REQUEST_PAYLOAD_BYTES_MAX} bytes of JSON, not {bytes}");
            return Err(Refusal::new(Code::PayloadTooLarge, message));
        }
        self.ensure_room()?;
        let offer = self.offer(offer_id).await?;
        if !offer.terms.active {
            return Err(Refusal::invalid_state("the offer takes no new jobs"));
        }
        let context = Context { now: self.clock.now(), rules: &self.rules, fixed_price_raw: None };
        let job = self.requested(&offer, buyer, request, &context);
        let change = Change { job, event: Some(EventType::Requested), unique: None };
        match self.commit(&change, None, receipt, &context).await? {
            Some(job) => Ok(job),
            None => Err(Refusal::new(Code::Unavailable, "the job's name was taken; try again")),
        }
    }

    /// What is begun needs room until it ends; the last room is for what has begun.
    fn ensure_room(&self) -> Result<(), Refusal> {
        if self.storage.is_short() {
            warn!("there is little room on the disk: nothing new is taken until there is");
            return Err(Refusal::new(Code::Unavailable, "the relay has no room for anything new; try later"));
        }
        Ok(())
    }

    fn requested(
        &self,
        offer: &Offer,
        buyer: PublicKey,
        request: serde_json::Value,
        context: &Context<'_>,
    ) -> Job {
        let job_id = JobId::from_random(self.entropy.bytes());
        Job::requested(job_id, offer.offer_id, offer.seller_pubkey, buyer, request, context.now)
    }

    /// Lets a job's time limit pass, if it is due; for the sweeper.
    ///
    /// # Errors
    /// If the storage fails.
    pub async fn sweep(&self, id: JobId) -> Result<(), Refusal> {
        let Some(job) = self.storage.job(id).await.map_err(|error| unavailable(&error))? else {
            return Ok(());
        };
        if matches!(self.expire(&job).await?, Expiry::NotDue) {
            // Written under other rules; without this it would be looked at in every sweep.
            self.storage.reschedule(id, &self.rules).await.map_err(|error| unavailable(&error))?;
        }
        Ok(())
    }

    async fn expire(&self, job: &Job) -> Result<Expiry, Refusal> {
        let context = Context { now: self.clock.now(), rules: &self.rules, fixed_price_raw: None };
        let Some(change) = lapse(job, &context) else { return Ok(Expiry::NotDue) };
        let committed = self.commit(&change, Some(job), None, &context).await?;
        Ok(committed.map_or(Expiry::Lost, |job| Expiry::Done(Box::new(job))))
    }

    /// `None` if the race was lost.
    async fn commit(
        &self,
        change: &Change,
        before: Option<&Job>,
        receipt: Option<&Receipt>,
        context: &Context<'_>,
    ) -> Result<Option<Job>, Refusal> {
        let expected = before.map(|job| job.updated_at);
        let commit = JobCommit { change, expected, receipt, rules: context.rules, now: context.now };
        match self.storage.commit(commit).await.map_err(|error| unavailable(&error))? {
            Committed::Done(job) => {
                if let Some(event) = change.event {
                    super::metrics::event(event);
                }
                Ok(Some(*job))
            }
            Committed::Lost => Ok(None),
            Committed::Taken(Unique::PaymentHash(_)) => {
                Err(Refusal::new(Code::PaymentHashReused, "the payment hash is on another job"))
            }
            Committed::Taken(Unique::Invoice(..)) => {
                Err(Refusal::field("quote_invoice_address", "you have used this address on another job"))
            }
        }
    }

    async fn fixed_price(&self, job: &Job, command: &Command) -> Result<Option<String>, Refusal> {
        if !matches!(command, Command::Quote { .. }) {
            return Ok(None);
        }
        let offer = self.storage.offer(job.offer_id).await.map_err(|error| unavailable(&error))?;
        Ok(offer.and_then(|offer| offer.terms.fixed_price_raw))
    }

    /// One page of a party's jobs.
    ///
    /// # Errors
    /// If the storage fails.
    pub async fn jobs(&self, query: &JobQuery) -> Result<JobPage, Refusal> {
        self.storage.jobs(query).await.map_err(|error| unavailable(&error))
    }

    /// An offer.
    ///
    /// # Errors
    /// If there is none.
    pub async fn offer(&self, id: OfferId) -> Result<Offer, Refusal> {
        let offer = self.storage.offer(id).await.map_err(|error| unavailable(&error))?;
        offer.ok_or_else(|| Refusal::new(Code::NotFound, "there is no such offer"))
    }

    /// One page of offers.
    ///
    /// # Errors
    /// If the storage fails.
    pub async fn offers(&self, query: &OfferQuery) -> Result<OfferPage, Refusal> {
        self.storage.offers(query).await.map_err(|error| unavailable(&error))
    }

    /// A new offer.
    ///
    /// # Errors
    /// If its terms break a rule.
    pub async fn create_offer(
        &self,
        seller: PublicKey,
        terms: OfferTerms,
        receipt: Option<&Receipt>,
    ) -> Result<Offer, Refusal> {
        terms.check()?;
        self.ensure_room()?;
        let offer = Offer {
            offer_id: OfferId::from_random(self.entropy.bytes()),
            seller_pubkey: seller,
            terms,
            created_at: self.clock.now(),
        };
        let save = OfferSave { offer: &offer, expected: None, receipt };
        if self.storage.save_offer(save).await.map_err(|error| unavailable(&error))? {
            return Ok(offer);
        }
        Err(Refusal::new(Code::Unavailable, "the offer's name was taken; try again"))
    }

    /// Changes an offer's terms; jobs that were quoted keep their price.
    ///
    /// # Errors
    /// If there is none, it is another's, or the terms afterwards break a rule.
    pub async fn change_offer(
        &self,
        seller: PublicKey,
        id: OfferId,
        change: impl Fn(&mut OfferTerms) -> Result<(), Refusal>,
        receipt: Option<&Receipt>,
    ) -> Result<Offer, Refusal> {
        for _ in 0..ATTEMPTS_MAX {
            let before = self.offer(id).await?;
            if before.seller_pubkey != seller {
                return Err(Refusal::new(Code::Forbidden, "it is another seller's offer"));
            }
            let mut offer = before.clone();
            change(&mut offer.terms)?;
            offer.terms.check()?;
            let save = OfferSave { offer: &offer, expected: Some(&before), receipt };
            if self.storage.save_offer(save).await.map_err(|error| unavailable(&error))? {
                return Ok(offer);
            }
        }
        Err(Refusal::new(Code::Unavailable, "the offer is being changed by others; try again"))
    }
}

enum Expiry {
    NotDue,
    Done(Box<Job>),
    Lost,
}

fn no_such_job() -> Refusal {
    Refusal::new(Code::NotFound, "there is no such job")
}

/// What a stranger learns of a failed storage; the log learns why.
pub(super) fn unavailable(error: &StorageError) -> Refusal {
    error!(error = error as &dyn std::error::Error, "the storage failed");
    Refusal::new(Code::Unavailable, "the relay cannot read or write its storage")
}
