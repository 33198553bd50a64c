//! The decision behind every move: the table, and its guards.

use std::time::Duration;

use nano_currency::{Account, BlockHash};
use serde_json::Value;

use super::limits::{
    ACCEPT_TTL, ERROR_BYTES_MAX, HOLDER_CHARS_MAX, INVOICE_CHARS_MAX, LOCK_TTL, LOCK_TTL_MAX, LOCK_TTL_MIN,
    PAYMENT_HASH_CHARS_MAX, QUOTE_TTL, QUOTE_TTL_MAX, REASON_CHARS_MAX, RESULT_PAYLOAD_BYTES_MAX,
    RESULT_URL_CHARS_MAX,
};
use super::offer::{ensure_amount, ensure_chars, same_amount};
use super::{Actor, Code, EventType, Job, PublicKey, Refusal, Status, Timestamp, Verb, lifecycle};

/// Who makes a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Whoever signed the request.
    Party(PublicKey),
    /// Time.
    Clock,
}

/// A move that somebody wants to make.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Name a price and an invoice address.
    Quote {
        /// The price in raw.
        amount_raw: String,
        /// Where to pay.
        invoice_address: String,
        /// Until when it may be accepted; 15 minutes if absent.
        expires_at: Option<Timestamp>,
    },
    /// Say why there will be no quote.
    Refuse {
        /// For the buyer to read.
        reason: String,
    },
    /// Agree to the quote.
    Accept,
    /// Submit the hash of the paying block.
    Pay {
        /// As the buyer sent it.
        payment_tx_hash: String,
    },
    /// Take or renew the execution lock.
    Lock {
        /// Which of the seller's processes; absent in clients that know only the key.
        holder: Option<String>,
        /// For how long; 5 minutes if absent.
        ttl: Option<Duration>,
        /// The payment that the seller found by itself.
        payment_tx_hash: Option<String>,
    },
    /// Give the lock up.
    Unlock {
        /// Who holds it.
        holder: String,
        /// Which lock is meant.
        lock_token: u64,
    },
    /// Hand over the result or the error.
    Deliver {
        /// One of the three kinds.
        outcome: Outcome,
        /// Which lock the caller relies on.
        lock_token: Option<u64>,
    },
    /// Give the job up.
    Cancel {
        /// For the seller to read.
        reason: Option<String>,
    },
    /// Let a time limit pass.
    Expire,
}

/// How a job ends for the buyer.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The result itself.
    Result(Value),
    /// Where the result is.
    ResultUrl(String),
    /// What went wrong.
    Error(Value),
}

impl Command {
    /// The row's verb on the table.
    #[must_use]
    pub const fn verb(&self) -> Verb {
        match self {
            Self::Quote { .. } => Verb::Quote,
            Self::Refuse { .. } => Verb::Refuse,
            Self::Accept => Verb::Accept,
            Self::Pay { .. } => Verb::Pay,
            Self::Lock { .. } => Verb::Lock,
            Self::Unlock { .. } => Verb::Unlock,
            Self::Deliver { outcome: Outcome::Error(_), .. } => Verb::Fail,
            Self::Deliver { .. } => Verb::Deliver,
            Self::Cancel { .. } => Verb::Cancel,
            Self::Expire => Verb::Expire,
        }
    }
}

/// What a decision depends on besides the job.
#[derive(Debug, Clone)]
pub struct Context<'a> {
    /// The moment of the decision.
    pub now: Timestamp,
    /// The relay's settings.
    pub rules: &'a Rules,
    /// The price of the job's offer, if it is fixed.
    pub fixed_price_raw: Option<&'a str>,
}

/// The relay's settings that decide about jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Whether addresses, hashes and prices are checked as Nano's, or kept as opaque text.
    pub nano_checks: bool,
    /// How long a quote stands by default.
    pub quote_ttl: Duration,
    /// How long an accepted job waits for its payment hash.
    pub accept_ttl: Duration,
    /// How long a lock lives by default.
    pub lock_ttl: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self { nano_checks: true, quote_ttl: QUOTE_TTL, accept_ttl: ACCEPT_TTL, lock_ttl: LOCK_TTL }
    }
}

/// What a storage must ensure in the same transaction, because it concerns other jobs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Unique {
    /// No other job has this payment hash; otherwise `payment_hash_reused`.
    PaymentHash(String),
    /// The seller has used this address, here in its usual spelling, on no other job; otherwise a `validation_error`.
    Invoice(PublicKey, String),
}

/// A move that was allowed.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The job afterwards; `updated_at` is set by the storage, in commit order.
    pub job: Job,
    /// What to write into the log; a renewed lock is no news.
    pub event: Option<EventType>,
    /// What must hold over all jobs.
    pub unique: Option<Unique>,
}

/// Decides about one move.
///
/// Checks in the contract's order: party (403), state (409), values (400). The storage sets
/// `updated_at` and ensures [`Change::unique`].
///
/// # Errors
/// The refusal that the caller is to see.
pub fn apply(job: &Job, caller: Caller, command: &Command, context: &Context<'_>) -> Result<Change, Refusal> {
    let actor = ensure_party(job, caller, command.verb())?;
    let to = ensure_on_table(job, actor, command.verb())?;
    let mut change = Change { job: Job { status: to, ..job.clone() }, event: None, unique: None };
    match command {
        Command::Quote { amount_raw, invoice_address, expires_at } => {
            quote(&mut change, amount_raw, invoice_address, *expires_at, context)?;
        }
        Command::Refuse { reason } => {
            ensure_chars("reason", reason, REASON_CHARS_MAX)?;
            change.job.cancel_reason = Some(reason.clone());
            change.event = Some(EventType::Canceled);
        }
        Command::Accept => {
            ensure_quote_stands(job, context.now)?;
            change.event = Some(EventType::Accepted);
        }
        Command::Pay { payment_tx_hash } => pay(&mut change, payment_tx_hash, context)?,
        Command::Lock { holder, ttl, payment_tx_hash } => {
            lock(&mut change, job, holder.as_deref(), *ttl, payment_tx_hash.as_deref(), context)?;
        }
        Command::Unlock { holder, lock_token } => unlock(&mut change, holder, *lock_token)?,
        Command::Deliver { outcome, lock_token } => deliver(&mut change, outcome, *lock_token, context)?,
        Command::Cancel { reason } => {
            if let Some(reason) = reason.as_deref().filter(|reason| !reason.is_empty()) {
                ensure_chars("reason", reason, REASON_CHARS_MAX)?;
                change.job.cancel_reason = Some(reason.to_owned());
            }
            change.event = Some(EventType::Canceled);
        }
        Command::Expire => {
            ensure_lapsed(job, context)?;
            change.event = Some(EventType::Expired);
        }
    }
    Ok(change)
}

/// The expiry that is due at `context.now`, if one is: to be committed before anything else is
/// decided about the job.
#[must_use]
pub fn lapse(job: &Job, context: &Context<'_>) -> Option<Change> {
    apply(job, Caller::Clock, &Command::Expire, context).ok()
}

/// When a job expires unless somebody moves it.
#[must_use]
pub fn expires_at(job: &Job, rules: &Rules) -> Option<Timestamp> {
    match job.status {
        Status::Quoted => job.quote_expires_at,
        // Nothing has touched an accepted job without a hash since it was accepted.
        Status::Accepted if job.payment_tx_hash.is_none() => Some(job.updated_at.plus(rules.accept_ttl)),
        _ => None,
    }
}

fn ensure_party(job: &Job, caller: Caller, verb: Verb) -> Result<Actor, Refusal> {
    let Caller::Party(key) = caller else { return Ok(Actor::Clock) };
    let wanted: Vec<Actor> =
        lifecycle::TRANSITIONS.iter().filter(|row| row.verb == verb).map(|row| row.actor).collect();
    if key == job.seller_pubkey && wanted.contains(&Actor::Seller) {
        return Ok(Actor::Seller);
    }
    if key == job.buyer_pubkey && wanted.contains(&Actor::Buyer) {
        return Ok(Actor::Buyer);
    }
    Err(Refusal::new(
        Code::Forbidden,
        if job.has_party(&key) {
            format!("{verb} is the other party's move")
        } else {
            "you are not a party to this job".to_owned()
        },
    ))
}

fn ensure_on_table(job: &Job, actor: Actor, verb: Verb) -> Result<Status, Refusal> {
    match lifecycle::transition(job.status, actor, verb) {
        Some(row) => Ok(row.to),
        None => {
            Err(Refusal::invalid_state(format!("a job that is {} cannot be moved by {verb}", job.status))
                .with_details(serde_json::json!({"status": job.status})))
        }
    }
}

fn quote(
    change: &mut Change,
    amount_raw: &str,
    invoice: &str,
    expires_at: Option<Timestamp>,
    context: &Context<'_>,
) -> Result<(), Refusal> {
    ensure_amount("quote_amount_raw", amount_raw)?;
    ensure_chars("quote_invoice_address", invoice, INVOICE_CHARS_MAX)?;
    if expires_at.is_some_and(|expires_at| expires_at <= context.now) {
        return Err(Refusal::field("quote_expires_at", "must lie in the future"));
    }
    if expires_at.is_some_and(|expires_at| expires_at > context.now.plus(QUOTE_TTL_MAX)) {
        return Err(Refusal::field("quote_expires_at", "at most 60 minutes from now"));
    }
    // What the operator has set is not the seller's mistake.
    let expires_at = expires_at.unwrap_or_else(|| context.now.plus(context.rules.quote_ttl));
    if context.rules.nano_checks {
        let account = Account::parse(invoice)
            .map_err(|error| Refusal::field("quote_invoice_address", error.to_string()))?;
        if context.fixed_price_raw.is_some_and(|price| !same_amount(price, amount_raw)) {
            return Err(Refusal::field("quote_amount_raw", "must be the offer's fixed price"));
        }
        change.unique = Some(Unique::Invoice(change.job.seller_pubkey, account.to_string()));
    }
    change.job.quote_amount_raw = Some(amount_raw.to_owned());
    change.job.quote_invoice_address = Some(invoice.to_owned());
    change.job.quote_expires_at = Some(expires_at);
    change.event = Some(EventType::Quoted);
    Ok(())
}

fn ensure_quote_stands(job: &Job, now: Timestamp) -> Result<(), Refusal> {
    if job.quote_expires_at.is_some_and(|expiry| now >= expiry) {
        return Err(Refusal::invalid_state("the quote has expired"));
    }
    Ok(())
}

fn pay(change: &mut Change, hash: &str, context: &Context<'_>) -> Result<(), Refusal> {
    if change.job.payment_tx_hash.is_some() {
        return Err(Refusal::invalid_state("a payment hash was submitted before"));
    }
    set_payment(change, hash, context)?;
    change.event = Some(EventType::PaymentSubmitted);
    Ok(())
}

fn set_payment(change: &mut Change, hash: &str, context: &Context<'_>) -> Result<(), Refusal> {
    ensure_chars("payment_tx_hash", hash, PAYMENT_HASH_CHARS_MAX)?;
    if context.rules.nano_checks {
        let hash = BlockHash::parse(hash)
            .map_err(|error| Refusal::field("payment_tx_hash", error.to_string()))?
            .to_string();
        change.unique = Some(Unique::PaymentHash(hash.clone()));
        change.job.payment_tx_hash = Some(hash);
    } else {
        change.job.payment_tx_hash = Some(hash.to_owned());
    }
    Ok(())
}

fn lock(
    change: &mut Change,
    before: &Job,
    holder: Option<&str>,
    ttl: Option<Duration>,
    payment: Option<&str>,
    context: &Context<'_>,
) -> Result<(), Refusal> {
    if before.status == Status::Accepted && before.payment_tx_hash.is_none() && payment.is_none() {
        return Err(Refusal::invalid_state("no payment hash was submitted"));
    }
    let same_holder = before.lock_owner.is_some() && before.lock_holder.as_deref() == holder;
    if before.is_locked(context.now) && !same_holder {
        return Err(Refusal::new(Code::LockConflict, "another holder's lock is live")
            .with_details(serde_json::json!({"lock_expires_at": before.lock_expires_at})));
    }
    if let Some(holder) = holder {
        ensure_chars("holder", holder, HOLDER_CHARS_MAX)?;
    }
    if ttl.is_some_and(|ttl| !(LOCK_TTL_MIN..=LOCK_TTL_MAX).contains(&ttl)) {
        return Err(Refusal::field("ttl_seconds", "10 to 600"));
    }
    let ttl = ttl.unwrap_or(context.rules.lock_ttl);
    if let (Some(hash), None) = (payment, &before.payment_tx_hash) {
        set_payment(change, hash, context)?;
    }
    let job = &mut change.job;
    job.lock_owner = Some(job.seller_pubkey);
    job.lock_holder = holder.map(str::to_owned);
    job.lock_expires_at = Some(context.now.plus(ttl));
    if !same_holder {
        job.lock_token = before.lock_token.saturating_add(1);
    }
    if before.status != Status::Running {
        change.event = Some(EventType::Running);
    }
    Ok(())
}

fn unlock(change: &mut Change, holder: &str, lock_token: u64) -> Result<(), Refusal> {
    let job = &mut change.job;
    if job.lock_owner.is_none() || job.lock_holder.as_deref() != Some(holder) || job.lock_token != lock_token
    {
        return Err(Refusal::new(Code::LockLost, "the lock is not yours any more"));
    }
    job.lock_owner = None;
    job.lock_holder = None;
    job.lock_expires_at = None;
    Ok(())
}

fn deliver(
    change: &mut Change,
    outcome: &Outcome,
    lock_token: Option<u64>,
    context: &Context<'_>,
) -> Result<(), Refusal> {
    let live = change.job.is_locked(context.now);
    match lock_token {
        Some(token) if !live || token != change.job.lock_token => {
            return Err(Refusal::new(Code::LockLost, "the lock with this token is not live any more"));
        }
        None if !live => return Err(Refusal::invalid_state("the lock has expired: take it again first")),
        _ => {}
    }
    let job = &mut change.job;
    match outcome {
        Outcome::Result(result) => {
            ensure_bytes("result_payload", result, RESULT_PAYLOAD_BYTES_MAX)?;
            job.result_payload = result.clone();
            change.event = Some(EventType::Delivered);
        }
        Outcome::ResultUrl(url) => {
            ensure_chars("result_url", url, RESULT_URL_CHARS_MAX)?;
            if !url.starts_with("https://") && !url.starts_with("http://") {
                return Err(Refusal::field("result_url", "an http or https link"));
            }
            job.result_url = Some(url.clone());
            change.event = Some(EventType::Delivered);
        }
        Outcome::Error(error) => {
            ensure_bytes("error", error, ERROR_BYTES_MAX)?;
            job.error = error.clone();
            change.event = Some(EventType::Failed);
        }
    }
    Ok(())
}

fn ensure_bytes(field: &str, value: &Value, max: usize) -> Result<(), Refusal> {
    let bytes = value.to_string().len();
    if bytes > max {
        return Err(Refusal::new(
            Code::PayloadTooLarge,
            format!("{field}: at most {max} bytes of JSON, not {bytes}"),
        ));
    }
    Ok(())
}

fn ensure_lapsed(job: &Job, context: &Context<'_>) -> Result<(), Refusal> {
    match expires_at(job, context.rules) {
        Some(expiry) if context.now >= expiry => Ok(()),
        _ => Err(Refusal::invalid_state("its time has not passed")),
    }
}

#[cfg(test)]
mod tests;
