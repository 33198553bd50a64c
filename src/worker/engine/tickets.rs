//! Jobs of /v0: as any other, with a ticket beside the record.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::input::{Call, Input, Pricing, Rejection};
use super::super::memory::{Record, TICKETS};
use super::super::stage::Stage;
use super::super::v0::{Shown, Ticket};
use super::{Engine, EngineError, Turn};
use crate::protocol::{JobId, Status, v0};
use crate::store::{Store, StoreError};

/// The tickets of open jobs.
pub(super) fn of_open(
    store: &Store,
    open: &BTreeMap<JobId, Record>,
) -> Result<BTreeMap<JobId, Ticket>, StoreError> {
    let mut tickets = BTreeMap::new();
    for job in open.keys() {
        if let Some(ticket) = TICKETS.get(store, job)? {
            tickets.insert(*job, ticket);
        }
    }
    Ok(tickets)
}

impl Engine {
    pub(super) fn hear_shown(&mut self, shown: Shown, turn: &mut Turn) -> Result<(), EngineError> {
        let Shown { job, ticket, refusal } = shown;
        let known = match self.tickets.get(&job.job_id) {
            Some(known) => Some(known.clone()),
            None => TICKETS.get(&self.store, &job.job_id)?,
        };
        if known.as_ref().is_some_and(|known| known.job_id != ticket.job_id) {
            tracing::error!(job_id = %job.job_id, name = %ticket.job_id, "two jobs have the same id here: this one is left alone");
            return Ok(());
        }
        if known.as_ref().is_some_and(|known| !known.is_same_deal(&ticket)) {
            tracing::error!(job_id = %job.job_id, name = %ticket.job_id, "the relay shows another buyer, offer or price than before: what it shows is left alone");
            return Ok(());
        }
        if known.as_ref().is_some_and(|known| is_of_before(&job, &ticket, known, turn)) {
            tracing::debug!(job_id = %job.job_id, "an expiry of before the charge was made again is no news");
            self.answer_who_waits(job.job_id, turn);
            return Ok(());
        }
        let refusal = refusal.or_else(|| self.price_fault(&job, &ticket));
        self.hear_job(&job, true, refusal, turn)?;
        // It was not taken, or it is over.
        if !self.open.contains_key(&job.job_id) {
            return Ok(());
        }
        let wanted = known.as_ref().is_some_and(|known| known.revival_wanted);
        let expired = job.status == Status::Expired;
        let unread = known.as_ref().map_or(ticket.unread, |known| known.unread);
        let ticket = Ticket { revival_wanted: wanted && !expired, unread, ..ticket };
        self.keep_ticket(job.job_id, ticket, turn)?;
        if wanted && expired {
            turn.inputs.push_back((job.job_id, Input::ReviveWanted));
        }
        Ok(())
    }

    /// What is no news may have been the answer to a call, and nothing else will be: the call is made
    /// again, after a while.
    fn answer_who_waits(&self, job: JobId, turn: &mut Turn) {
        let call = match self.open.get(&job).map(|record| &record.stage) {
            Some(Stage::Locking { .. }) => Call::Lock,
            Some(Stage::Delivering { .. }) => Call::Deliver,
            _ => return,
        };
        turn.inputs.push_back((job, Input::Rejected(call, Rejection::State)));
    }

    /// What was asked for before the expiry waits for it: until then the old charge can be paid.
    pub(super) fn hear_wanted(&mut self, job: JobId, turn: &mut Turn) -> Result<(), EngineError> {
        let (Some(record), Some(ticket)) = (self.open.get(&job), self.tickets.get(&job)) else {
            return Ok(());
        };
        if record.status == Status::Expired {
            turn.inputs.push_back((job, Input::ReviveWanted));
            return Ok(());
        }
        self.keep_ticket(job, Ticket { revival_wanted: true, ..ticket.clone() }, turn)
    }

    /// Whether a job can only be left: nobody knows what was asked for.
    pub(super) fn is_unread(&self, job: JobId) -> bool {
        self.tickets.get(&job).is_some_and(|ticket| ticket.unread)
    }

    fn keep_ticket(&mut self, job: JobId, ticket: Ticket, turn: &mut Turn) -> Result<(), EngineError> {
        if self.tickets.get(&job) != Some(&ticket) {
            TICKETS.put(&mut turn.batch, &job, &ticket)?;
            self.tickets.insert(job, ticket);
        }
        Ok(())
    }

    /// A charge is over exactly the price of its job, which the relay took from our offer.
    fn price_fault(&self, job: &crate::protocol::Job, ticket: &Ticket) -> Option<String> {
        let Pricing::Fixed(price) = self.terms.get(&job.offer_id)?.pricing else { return None };
        (ticket.price_raw != price.to_string())
            .then(|| format!("the offer costs {price} raw, and not {}", bounded_digits(&ticket.price_raw)))
    }
}

/// How much later than a charge's end an expiry is surely no earlier charge's: clocks are wrong by less,
/// and no look is told so late.
const STALE_FOR: Duration = Duration::from_secs(3_600);

/// Whether an expiry is that of a charge which was made again since: looks can be told out of order,
/// and a charge that is made again always ends later. Once that one or the job itself is over,
/// whatever is shown counts: a relay that was set back to an older copy has lost the later charge.
fn is_of_before(job: &crate::protocol::Job, shown: &Ticket, known: &Ticket, turn: &Turn) -> bool {
    let Some((before, since)) = shown.charge_expires_at.zip(known.charge_expires_at) else { return false };
    let until = since.plus(STALE_FOR).min(shown.job_expires_at);
    job.status == Status::Expired && before < since && v0::Moment::from(turn.now) < until
}

fn bounded_digits(text: &str) -> String {
    text.chars().take(40).collect()
}
