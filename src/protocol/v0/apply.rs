//! The decision behind every move of a job: the table, and its guards.

use serde::{Deserialize, Serialize};

use super::charge::is_digits;
use super::job::{ensure_canonical, ensure_short};
use super::lifecycle::transition;
use super::limits::{CHARGE_TTL_MAX, NOTE_BYTES_MAX, SENT_AHEAD_MAX};
use super::payload::{Kind, Sealed};
use super::{
    Actor, Bot, BotId, Charge, Docket, Evidence, Job, Moment, News, Notice, Payload, Refusal, Status, Verb,
};

/// Who makes a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Whoever signed the request.
    Bot(BotId),
    /// Time.
    Clock,
}

/// A move that somebody wants to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Attach a signed charge.
    Charge(Charge),
    /// Tell that the charge was paid.
    PaymentSent(PaymentSent),
    /// Ask for another charge.
    ReissueRequest(ReissueRequest),
    /// Attach another charge to a job that expired.
    Reissue(Charge),
    /// Declare the charge paid.
    MarkPaid(Evidence),
    /// Hand over a sealed payload.
    Deliver {
        /// What was sent.
        sealed: Sealed,
        /// The buyer that the job names, so that the right key is used.
        buyer: Box<Bot>,
    },
    /// Give the job up.
    Cancel,
    /// Leave the market for good, and this job with it.
    Revoke,
    /// Let a time limit pass.
    Expire,
}

/// What a buyer says about its payment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PaymentSent {
    /// The block that pays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_block_hash: Option<String>,
    /// How much it sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount_raw_sent: Option<String>,
    /// When it was sent; a canonical moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<String>,
    /// For the seller to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a buyer says when it wants another charge.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReissueRequest {
    /// For the seller to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Until when the buyer would like to have time; a canonical moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_expires_at: Option<String>,
}

impl Command {
    /// The verb on the table. A sealed payload that is no deliverable is a message.
    #[must_use]
    pub fn verb(&self) -> Verb {
        match self {
            Self::Charge(_) => Verb::Charge,
            Self::PaymentSent(_) => Verb::PaymentSent,
            Self::ReissueRequest(_) => Verb::ReissueRequest,
            Self::Reissue(_) => Verb::Reissue,
            Self::MarkPaid(_) => Verb::MarkPaid,
            Self::Deliver { sealed, .. } if sealed.payload_kind == Kind::Message.name() => Verb::Message,
            Self::Deliver { .. } => Verb::Deliver,
            Self::Cancel => Verb::Cancel,
            Self::Revoke => Verb::Revoke,
            Self::Expire => Verb::Expire,
        }
    }
}

/// A move that was allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The job afterwards, one revision on; the same one if only somebody was told something.
    pub docket: Docket,
    /// Who is to be told what.
    pub notices: Vec<Notice>,
    /// A payload to keep; its name must be new to its recipient, otherwise [`payload_taken`].
    pub payload: Option<Payload>,
    /// An address that no other live job of the seller may have, otherwise [`address_taken`].
    pub address: Option<(BotId, String)>,
    /// The moment that the answer to a buyer's word names.
    pub heard_at: Option<Moment>,
}

/// What a storage's contradiction about an address means to the seller.
#[must_use]
pub fn address_taken() -> Refusal {
    Refusal::conflict("charge address already in use")
}

/// What a storage's contradiction about a payload's name means to its sender.
#[must_use]
pub fn payload_taken() -> Refusal {
    Refusal::conflict("payload_id already used")
}

/// Decides about one move.
///
/// Checks in this order: the form of what was sent (400), the party (403), the state (409), and
/// last what the moment has to do with it. The caller lets time pass first, by [`lapse`].
///
/// # Errors
/// The refusal that the caller is to see.
pub fn apply(docket: &Docket, caller: Caller, command: &Command, now: Moment) -> Result<Change, Refusal> {
    ensure_form(command, now)?;
    let actor = ensure_party(&docket.job, caller, command.verb())?;
    let to = ensure_on_table(docket, actor, command.verb())?;
    let job = Job { status: to, ..docket.job.clone() };
    let after = Docket { job, revision: docket.revision + 1, ..docket.clone() };
    let mut change =
        Change { docket: after, notices: Vec::new(), payload: None, address: None, heard_at: None };
    match command {
        Command::Charge(charge) => {
            set_charge(&mut change, charge);
            let news = News::ChargeCreated { job_id: docket.job.job_id.clone(), charge: charge.clone() };
            change.tell_buyer(news);
        }
        Command::Reissue(charge) => {
            set_charge(&mut change, charge);
            change.docket.ended_at = None;
            let news = News::ChargeReissued { job_id: docket.job.job_id.clone(), charge: charge.clone() };
            change.tell_buyer(news);
        }
        Command::PaymentSent(sent) => payment_sent(&mut change, sent, now)?,
        Command::ReissueRequest(request) => reissue_request(&mut change, request, now),
        Command::MarkPaid(evidence) => mark_paid(&mut change, evidence, now)?,
        Command::Deliver { sealed, buyer } => deliver(&mut change, sealed, buyer, now)?,
        Command::Cancel => {
            let news = cancel(&mut change, now);
            change.notices.push(Notice { to: docket.job.seller_bot_id, news });
        }
        Command::Revoke => {
            let news = cancel(&mut change, now);
            change.notices = news.for_both(&docket.job);
        }
        Command::Expire => expire(&mut change, docket, now)?,
    }
    Ok(change)
}

/// The expiry that is due at `now`, if one is: to be committed before anything else is decided
/// about the job.
#[must_use]
pub fn lapse(docket: &Docket, now: Moment) -> Option<Change> {
    apply(docket, Caller::Clock, &Command::Expire, now).ok()
}

impl Change {
    fn tell_buyer(&mut self, news: News) {
        self.notices.push(Notice { to: self.docket.job.buyer_bot_id, news });
    }

    fn tell_seller(&mut self, news: News) {
        self.notices.push(Notice { to: self.docket.job.seller_bot_id, news });
    }
}

fn ensure_form(command: &Command, now: Moment) -> Result<(), Refusal> {
    match command {
        Command::Charge(charge) | Command::Reissue(charge) => {
            charge.check()?;
            let Some(expiry) = charge.expires_at() else { return Ok(()) };
            ensure_ahead(
                expiry,
                now,
                CHARGE_TTL_MAX,
                "charge_expires_at in past",
                "charge_expires_at too far",
            )
        }
        Command::PaymentSent(sent) => {
            ensure_short([&sent.payment_block_hash, &sent.amount_raw_sent])?;
            ensure_note(sent.note.as_ref())?;
            if sent.amount_raw_sent.as_deref().is_some_and(|amount| !is_digits(amount)) {
                return Err(Refusal::invalid("invalid amount_raw_sent"));
            }
            match ensure_canonical(sent.sent_at.as_deref(), "invalid sent_at")? {
                Some(sent_at) if sent_at > now.plus(SENT_AHEAD_MAX) => {
                    Err(Refusal::invalid("sent_at in future"))
                }
                _ => Ok(()),
            }
        }
        Command::ReissueRequest(request) => {
            ensure_note(request.note.as_ref())?;
            let wish = request.requested_expires_at.as_deref();
            ensure_canonical(wish, "invalid requested_expires_at").map(drop)
        }
        Command::MarkPaid(evidence) => evidence.check(),
        Command::Deliver { sealed, .. } => sealed.check(&[Kind::Deliverable, Kind::Message]).map(drop),
        Command::Cancel | Command::Revoke | Command::Expire => Ok(()),
    }
}

/// That an expiry lies ahead, and not further than `most`.
pub(super) fn ensure_ahead(
    expiry: Moment,
    now: Moment,
    most: std::time::Duration,
    past: &'static str,
    far: &'static str,
) -> Result<(), Refusal> {
    if expiry <= now {
        return Err(Refusal::invalid(past));
    }
    if expiry > now.plus(most) {
        return Err(Refusal::invalid(far));
    }
    Ok(())
}

fn ensure_note(note: Option<&String>) -> Result<(), Refusal> {
    match note {
        Some(note) if note.len() > NOTE_BYTES_MAX => Err(Refusal::invalid("note too long")),
        _ => Ok(()),
    }
}

fn ensure_party(job: &Job, caller: Caller, verb: Verb) -> Result<Actor, Refusal> {
    let Caller::Bot(bot) = caller else { return Ok(Actor::Clock) };
    let moves =
        |actor| super::lifecycle::TRANSITIONS.iter().any(|row| row.verb == verb && row.actor == actor);
    if bot == job.seller_bot_id && moves(Actor::Seller) {
        return Ok(Actor::Seller);
    }
    if bot == job.buyer_bot_id && moves(Actor::Buyer) {
        return Ok(Actor::Buyer);
    }
    Err(Refusal::forbidden(match (moves(Actor::Seller), moves(Actor::Buyer)) {
        (true, false) => "not the seller",
        (false, true) => "not the buyer",
        _ => "not a party to the job",
    }))
}

/// That the table has the move, and that nothing in the job is against it.
fn ensure_on_table(docket: &Docket, actor: Actor, verb: Verb) -> Result<Status, Refusal> {
    let job = &docket.job;
    let Some(row) = transition(job.status, actor, verb) else {
        return Err(Refusal::conflict(off_the_table(job.status, verb)));
    };
    match verb {
        Verb::Charge | Verb::Cancel if job.charge.is_some() => {
            Err(Refusal::conflict("charge already attached"))
        }
        Verb::Reissue if job.paid_at.is_some() => Err(Refusal::conflict("job already paid")),
        _ => Ok(row.to),
    }
}

/// What the deployed relays say about a move that cannot be made from here.
const fn off_the_table(status: Status, verb: Verb) -> &'static str {
    match verb {
        Verb::PaymentSent => "job not payable",
        Verb::ReissueRequest => "job not reissuable",
        Verb::Reissue => "job not expired",
        _ if status.is_terminal() => "job not mutable",
        Verb::Charge if matches!(status, Status::ChargeCreated) => "charge already attached",
        Verb::Charge | Verb::MarkPaid => "job not chargeable",
        Verb::Deliver => "job not paid",
        Verb::Cancel => "job not cancellable",
        Verb::Message | Verb::Revoke | Verb::Expire => "job not mutable",
    }
}

fn set_charge(change: &mut Change, charge: &Charge) {
    let job = &mut change.docket.job;
    job.charge = Some(charge.clone());
    change.address = Some((job.seller_bot_id, charge.address.clone()));
}

/// That the charge may still be paid; exactly at its expiry it may.
fn ensure_charge_stands(job: &Job, now: Moment) -> Result<(), Refusal> {
    match job.charge.as_ref().and_then(Charge::expires_at) {
        Some(expiry) if now > expiry => Err(Refusal::conflict("charge expired")),
        _ => Ok(()),
    }
}

fn payment_sent(change: &mut Change, sent: &PaymentSent, now: Moment) -> Result<(), Refusal> {
    ensure_charge_stands(&change.docket.job, now)?;
    let sent_at = sent.sent_at.as_deref().and_then(|text| Moment::canonical(text).ok()).unwrap_or(now);
    change.heard_at = Some(sent_at);
    let job = &change.docket.job;
    change.tell_seller(News::PaymentSent {
        job_id: job.job_id.clone(),
        buyer_bot_id: job.buyer_bot_id,
        sent_at,
        payment_block_hash: sent.payment_block_hash.clone(),
        amount_raw_sent: sent.amount_raw_sent.clone(),
        note: sent.note.clone(),
    });
    Ok(())
}

fn reissue_request(change: &mut Change, request: &ReissueRequest, now: Moment) {
    change.heard_at = Some(now);
    let job = &change.docket.job;
    change.tell_seller(News::ReissueRequested {
        job_id: job.job_id.clone(),
        buyer_bot_id: job.buyer_bot_id,
        requested_at: now,
        note: request.note.clone(),
        requested_expires_at: request.requested_expires_at.clone(),
    });
}

fn mark_paid(change: &mut Change, evidence: &Evidence, now: Moment) -> Result<(), Refusal> {
    ensure_charge_stands(&change.docket.job, now)?;
    change.docket.job.paid_at = Some(now);
    change.docket.evidence = Some(evidence.clone());
    let job_id = change.docket.job.job_id.clone();
    change.tell_buyer(News::Paid { job_id, paid_at: now, evidence: evidence.clone() });
    Ok(())
}

fn deliver(change: &mut Change, sealed: &Sealed, buyer: &Bot, now: Moment) -> Result<(), Refusal> {
    let kind = sealed.check(&[Kind::Deliverable, Kind::Message])?;
    let job = &mut change.docket.job;
    let payload = envelope(sealed, kind, job, job.seller_bot_id, buyer, now)?;
    if kind == Kind::Deliverable {
        job.delivered_at = Some(now);
        change.docket.ended_at = Some(now);
    }
    let job_id = job.job_id.clone();
    let payload_id = payload.payload_id.clone();
    change.tell_buyer(News::PayloadAvailable { job_id, payload_id, payload_kind: kind });
    change.payload = Some(payload);
    Ok(())
}

/// The payload that a recipient fetches, if it is sealed for that recipient's key.
pub(super) fn envelope(
    sealed: &Sealed,
    kind: Kind,
    job: &Job,
    sender: BotId,
    recipient: &Bot,
    now: Moment,
) -> Result<Payload, Refusal> {
    if sealed.recipient_kid != recipient.encryption_kid {
        return Err(Refusal::invalid("recipient_kid mismatch"));
    }
    Ok(Payload {
        payload_id: sealed.payload_id.clone(),
        job_id: job.job_id.clone(),
        sender_bot_id: sender,
        recipient_bot_id: recipient.bot_id,
        payload_kind: kind,
        enc_alg: sealed.enc_alg.clone(),
        recipient_kid: sealed.recipient_kid.clone(),
        ciphertext_b64: sealed.ciphertext_b64.clone(),
        created_at: now,
    })
}

fn cancel(change: &mut Change, now: Moment) -> News {
    change.docket.ended_at = Some(now);
    News::Cancelled { job_id: change.docket.job.job_id.clone(), cancelled_at: now }
}

fn expire(change: &mut Change, before: &Docket, now: Moment) -> Result<(), Refusal> {
    if before.job.stands_until().is_none_or(|until| now <= until) {
        return Err(Refusal::conflict("its time has not passed"));
    }
    change.docket.ended_at = Some(now);
    let news = News::Expired {
        job_id: before.job.job_id.clone(),
        expired_at: now,
        previous_status: before.job.status,
    };
    change.notices = news.for_both(&before.job);
    Ok(())
}

#[cfg(test)]
mod tests;
