//! The lifecycle of one job in the worker: pure, and the heart of the whole.
//!
//! The driver's contract: take one input, [`step`], store the stage and make it durable, only then
//! perform the effects in order; the outcome of each effect is a later input. Recovery is
//! [`Input::Resumed`], not a second program.
//!
//! An effect may be performed twice (the worker died after it, before the next stage was durable).
//! For three of them that must not matter, so their stage says *attempted* first: consuming an
//! index and claiming a block commit together with the stage; a handler that may have run is only
//! run again if its offer says that this is safe.

mod ends;
mod revive;
mod seen;

use ends::{ended, vanished};
use seen::seen;

use super::input::{Call, Context, Effect, Input, Outcome, Rejection};
use super::payment::{Invoice, PaymentError, Verdict};
use super::stage::{Ending, Lock, Paid, Plan, Stage};
use crate::protocol::Timestamp;
use crate::protocol::job::JobError;
use crate::protocol::limits::{LOCK_TTL, REASON_CHARS_MAX};
use serde_json::{Value, json};
use std::time::Duration;

/// Address indices tried for one quote: more means that the relay is wrong, not that we are unlucky.
const INDEX_TRIES_MAX: u8 = 32;

/// How long to wait before a refused call is tried again: the other side has to change its mind.
const RECONSIDER: Duration = Duration::from_secs(30);

/// Longer than a worker that was killed or cut off needs to be back: as long as the usual lock.
const PATIENCE: Duration = LOCK_TTL;

/// What one input led to.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Where the worker is with the job now.
    pub stage: Stage,
    /// What to do once that is durable.
    pub effects: Vec<Effect>,
    /// Whether the input meant nothing here; then nothing has to be stored.
    pub ignored: bool,
}

impl Step {
    fn to(stage: Stage, effects: Vec<Effect>) -> Self {
        Self { stage, effects, ignored: false }
    }

    /// The input means nothing in this stage.
    fn ignored(stage: Stage) -> Self {
        Self { stage, effects: Vec::new(), ignored: true }
    }
}

/// Decides what follows from one input.
#[must_use]
pub fn step(stage: Stage, input: Input, context: &Context) -> Step {
    match input {
        Input::Resumed => resumed(stage, context),
        Input::Due => due(stage, context),
        Input::Seen(sighting) => seen(stage, sighting, context),
        Input::Priced(_) | Input::PriceRefused(_) | Input::IndexTaken(_) => quoting(stage, input),
        Input::Judged(verdict) => judged(stage, verdict, context),
        Input::Claimed => claimed(stage),
        Input::ClaimRefused(_) => claim_refused(stage),
        Input::Placed => placed(stage),
        Input::Locked(lock) => locked(stage, lock, context),
        Input::LeaseLost => lease_lost(stage, context),
        Input::ReviveWanted => revive::wanted(stage, context),
        Input::Finished(outcome) => finished(stage, outcome),
        Input::Done(call) => done(stage, call),
        Input::Rejected(call, why) => rejected(stage, call, why, context),
    }
}

/// When the stage wants [`Input::Due`].
#[must_use]
pub fn next_deadline(stage: &Stage, context: &Context) -> Option<Timestamp> {
    match stage {
        Stage::Blocked { until, .. } | Stage::Lapsed { until, .. } => Some(*until),
        // Without a hash the relay lets the job expire; with one, only we can end it.
        Stage::Awaiting { submitted: Some(_), since, .. } => Some(since.plus(context.payment_window)),
        _ => None,
    }
}

/// Whether an input can lead to a start of the handler without anything more from outside. Who is about to
/// end leaves it unheard: the stage is what the next life goes on from.
#[must_use]
pub const fn may_start(stage: &Stage, input: &Input) -> bool {
    match input {
        Input::Placed => matches!(stage, Stage::Queued { .. } | Stage::Ready { .. }),
        Input::Locked(_) => matches!(stage, Stage::Locking { plan: Plan::Run { .. } }),
        _ => false,
    }
}

fn resumed(stage: Stage, context: &Context) -> Step {
    match stage {
        Stage::Fresh | Stage::Quoted { .. } | Stage::Ended { .. } => Step::ignored(stage),
        Stage::Pricing => Step::to(stage, vec![Effect::AskPrice]),
        Stage::Indexing { price, .. } => Step::to(stage, vec![Effect::TakeIndex { price }]),
        Stage::Quoting { invoice, .. } => Step::to(stage, vec![Effect::SendQuote(invoice)]),
        Stage::Refusing { ref reason } => {
            let effects = vec![Effect::SendRefusal(reason.clone())];
            Step::to(stage, effects)
        }
        Stage::Awaiting { invoice, ref submitted, .. } => {
            let effects = vec![watch(invoice, submitted.clone(), false)];
            Step::to(stage, effects)
        }
        Stage::Lapsed { invoice, ref submitted, .. } => {
            let effects = vec![watch(invoice, submitted.clone(), true)];
            Step::to(stage, effects)
        }
        // The lock of an earlier life may still be ours: asking for it again is how to find out.
        Stage::Queued { paid } | Stage::Ready { paid, .. } => go_run(paid),
        // Unless it would only be failed, and somebody may be about to come back for it.
        Stage::Blocked { plan: Plan::Fail { .. }, until } if context.idempotent && context.now < until => {
            Step::ignored(stage)
        }
        Stage::Locking { plan } | Stage::Blocked { plan, .. } => go_for(plan),
        Stage::Running { paid, .. } => {
            let mut step = go_for(rerun_or_fail(paid, context));
            step.effects.insert(0, Effect::KillStrays);
            step
        }
        Stage::Stopping { plan } => {
            let mut step = go_for(plan);
            step.effects.insert(0, Effect::KillStrays);
            step
        }
        Stage::Reviving { invoice, .. } => Step::to(stage, vec![Effect::Revive(invoice)]),
        Stage::Delivering { lock, round, .. } => {
            Step::to(stage, vec![Effect::Hold(lock), Effect::Deliver { lock, round }])
        }
    }
}

fn due(stage: Stage, context: &Context) -> Step {
    match stage {
        Stage::Blocked { plan, until } if context.now >= until => go_for(plan),
        Stage::Lapsed { ending, until, .. } if context.now >= until => ended(ending, vec![Effect::Unwatch]),
        Stage::Awaiting { invoice, submitted: Some(hash), since, verdict }
            if context.now >= since.plus(context.payment_window) =>
        {
            window_closed(invoice, hash, verdict, context)
        }
        other => Step::ignored(other),
    }
}

/// The submitted hash has had its time. Only a node's word may end the job: if there is none, or the
/// payment is there and only has to settle, the time starts anew.
fn window_closed(invoice: Invoice, hash: String, verdict: Option<Verdict>, context: &Context) -> Step {
    let reason = match verdict {
        Some(Verdict::Unpaid(reason)) if reason != PaymentError::Unconfirmed => reason,
        verdict => {
            let effects = vec![watch(invoice, Some(hash.clone()), false)];
            return Step::to(
                Stage::Awaiting { invoice, submitted: Some(hash), since: context.now, verdict },
                effects,
            );
        }
    };
    let mut step = go_for(Plan::Fail { error: unpaid_error(&reason) });
    step.effects.insert(0, Effect::Unwatch);
    step
}

fn quoting(stage: Stage, input: Input) -> Step {
    match (stage, input) {
        (Stage::Pricing, Input::Priced(price)) => {
            Step::to(Stage::Indexing { price, tries: 1 }, vec![Effect::TakeIndex { price }])
        }
        (Stage::Fresh | Stage::Pricing, Input::PriceRefused(reason)) => refuse(&reason),
        (Stage::Indexing { tries, .. }, Input::IndexTaken(invoice)) => {
            Step::to(Stage::Quoting { invoice, tries }, vec![Effect::SendQuote(invoice)])
        }
        (other, _) => Step::ignored(other),
    }
}

fn judged(stage: Stage, verdict: Verdict, context: &Context) -> Step {
    match (stage, verdict) {
        (Stage::Awaiting { invoice, submitted, since, .. }, Verdict::Settled { blocks, total }) => {
            let claim = Effect::Claim { blocks: blocks.clone() };
            let verdict = Some(Verdict::Settled { blocks, total });
            Step::to(Stage::Awaiting { invoice, submitted, since, verdict }, vec![claim])
        }
        (Stage::Awaiting { verdict: Some(known), invoice, submitted, since }, verdict)
            if known == verdict =>
        {
            Step::ignored(Stage::Awaiting { invoice, submitted, since, verdict: Some(known) })
        }
        (Stage::Awaiting { invoice, submitted, since, .. }, verdict) => {
            Step::to(Stage::Awaiting { invoice, submitted, since, verdict: Some(verdict) }, vec![])
        }
        (
            Stage::Lapsed { invoice, ending: Ending::Expired { .. }, .. },
            Verdict::Unpaid(PaymentError::Late),
        ) if context.revives => revive::paid_late(invoice),
        // That nobody has done it is not known of a job that the relay has lost.
        (
            Stage::Lapsed { ending: ending @ Ending::Vanished { .. }, .. },
            Verdict::Unpaid(PaymentError::Late),
        ) => ended(ending, vec![Effect::Unwatch]),
        (Stage::Lapsed { .. }, Verdict::Unpaid(PaymentError::Late)) => {
            ended(Ending::PaidLate, vec![Effect::Unwatch])
        }
        (other, _) => Step::ignored(other),
    }
}

fn claimed(stage: Stage) -> Step {
    match stage {
        Stage::Awaiting { invoice, submitted, verdict: Some(Verdict::Settled { blocks, total }), .. } => {
            let hash_submitted = submitted.is_some();
            let mut step = go_run(Paid { invoice, total, blocks, hash_submitted, attempts: 0 });
            step.effects.insert(0, Effect::Unwatch);
            step
        }
        other => Step::ignored(other),
    }
}

/// The facts said that nobody else had claimed the block, and that was no longer so: look again.
fn claim_refused(stage: Stage) -> Step {
    match stage {
        Stage::Awaiting { invoice, submitted, since, .. } => {
            let effects = vec![watch(invoice, submitted.clone(), false)];
            let verdict = Some(Verdict::Unpaid(PaymentError::HashReused));
            Step::to(Stage::Awaiting { invoice, submitted, since, verdict }, effects)
        }
        other => Step::ignored(other),
    }
}

fn placed(stage: Stage) -> Step {
    match stage {
        Stage::Queued { paid } => {
            let effects = vec![take_lock(&paid)];
            Step::to(Stage::Locking { plan: Plan::Run { paid, placed: true } }, effects)
        }
        Stage::Ready { paid, lock } => run(paid, lock, vec![]),
        other => Step::ignored(other),
    }
}

fn locked(stage: Stage, lock: Lock, context: &Context) -> Step {
    let Stage::Locking { plan } = stage else { return Step::ignored(stage) };
    match plan {
        // A second holder of the lock cannot know what the first one did.
        Plan::Run { paid, .. }
            if paid.attempts == 0 && lock.token.is_some_and(|token| token > 1) && !context.idempotent =>
        {
            let mut step = hand_over(Outcome::Error(interrupted_error()), lock);
            step.effects.push(Effect::FreePlace);
            step
        }
        Plan::Run { paid, placed: true } => run(paid, lock, vec![Effect::Hold(lock)]),
        Plan::Run { paid, placed: false } => {
            Step::to(Stage::Ready { paid, lock }, vec![Effect::Hold(lock), Effect::AwaitPlace])
        }
        Plan::Fail { error } => hand_over(Outcome::Error(error), lock),
        Plan::Deliver { round, failed } => Step::to(
            Stage::Delivering { lock, round, failed },
            vec![Effect::Hold(lock), Effect::Deliver { lock, round }],
        ),
    }
}

/// The attempt is counted, and durable, before the handler starts.
fn run(mut paid: Paid, lock: Lock, mut effects: Vec<Effect>) -> Step {
    paid.attempts = paid.attempts.saturating_add(1);
    let attempt = paid.attempts;
    effects.push(Effect::Execute { attempt, token: lock.token });
    Step::to(Stage::Running { paid, lock, attempt }, effects)
}

fn lease_lost(stage: Stage, context: &Context) -> Step {
    match stage {
        Stage::Ready { paid, .. } => {
            let effects = vec![Effect::Release, Effect::FreePlace, take_lock(&paid)];
            Step::to(Stage::Locking { plan: Plan::Run { paid, placed: false } }, effects)
        }
        Stage::Running { paid, .. } => Step::to(
            Stage::Stopping { plan: rerun_or_fail(paid, context) },
            vec![Effect::Release, Effect::Kill],
        ),
        Stage::Delivering { round, failed, .. } => relock(round, failed),
        other => Step::ignored(other),
    }
}

fn finished(stage: Stage, outcome: Outcome) -> Step {
    match stage {
        Stage::Running { lock, .. } => {
            let mut step = hand_over(outcome, lock);
            step.effects.retain(|effect| !matches!(effect, Effect::Hold(_)));
            step
        }
        Stage::Stopping { plan } => go_for(plan),
        other => Step::ignored(other),
    }
}

fn done(stage: Stage, call: Call) -> Step {
    match (stage, call) {
        (Stage::Quoting { invoice, .. }, Call::Quote) => Step::to(Stage::Quoted { invoice }, vec![]),
        (Stage::Refusing { .. }, Call::Refuse) => ended(Ending::Refused, vec![]),
        (Stage::Delivering { failed, .. }, Call::Deliver) => {
            ended(if failed { Ending::Failed } else { Ending::Delivered }, vec![Effect::Release])
        }
        (other, _) => Step::ignored(other),
    }
}

fn rejected(stage: Stage, call: Call, why: Rejection, context: &Context) -> Step {
    match (stage, call, why) {
        (Stage::Ended { ending }, ..) => Step::ignored(Stage::Ended { ending }),
        // Nothing can be done about a relay that lacks the route: the request stays unquoted.
        (Stage::Refusing { .. }, Call::Refuse, Rejection::Gone) => ended(Ending::Refused, vec![]),
        (Stage::Reviving { invoice, ending, until }, Call::Revive, _) => {
            revive::not_taken(invoice, ending, until)
        }
        (stage, _, Rejection::Gone) => vanished(stage, context),
        (Stage::Quoting { invoice, tries }, Call::Quote, Rejection::AddressUsed)
            if tries < INDEX_TRIES_MAX =>
        {
            let price = invoice.price;
            Step::to(Stage::Indexing { price, tries: tries + 1 }, vec![Effect::TakeIndex { price }])
        }
        (Stage::Quoting { .. }, Call::Quote, Rejection::AddressUsed) => {
            refuse("the seller found no unused invoice address")
        }
        (Stage::Quoting { .. }, Call::Quote, Rejection::Invalid(reason)) => {
            refuse(&format!("the relay did not take the quote: {reason}"))
        }
        // Not for other calls: a look that is refused must not ask for the next one.
        (stage @ Stage::Quoting { .. }, Call::Quote, _)
        | (stage @ Stage::Refusing { .. }, Call::Refuse, _) => Step::to(stage, vec![Effect::Fetch]),
        (Stage::Locking { plan }, Call::Lock, why) => lock_rejected(plan, &why, context),
        (Stage::Delivering { round, failed: false, lock }, Call::Deliver, Rejection::Invalid(reason)) => {
            let round = round.saturating_add(1);
            let error = JobError {
                code: "handler_failed".to_owned(),
                message: format!("the relay did not take the result: {reason}"),
                details: Value::Null,
            };
            let effects = vec![Effect::Keep(Outcome::Error(error)), Effect::Deliver { lock, round }];
            Step::to(Stage::Delivering { lock, round, failed: true }, effects)
        }
        (Stage::Delivering { round: 1, failed, .. }, Call::Deliver, _) => relock(1, failed),
        // A new lock did not help: the relay has to change its mind, which takes it a while.
        (Stage::Delivering { round, failed, .. }, Call::Deliver, _) => {
            let plan = Plan::Deliver { round: round.saturating_add(1), failed };
            let until = context.now.plus(RECONSIDER);
            Step::to(Stage::Blocked { plan, until }, vec![Effect::Release, Effect::Fetch])
        }
        (other, ..) => Step::ignored(other),
    }
}

fn lock_rejected(plan: Plan, why: &Rejection, context: &Context) -> Step {
    let (plan, until) = match (plan, why) {
        (Plan::Run { paid, .. }, Rejection::LockConflict(until)) => (rerun_or_fail(paid, context), *until),
        (Plan::Run { paid, .. }, _) => (Plan::Run { paid, placed: false }, None),
        (plan, Rejection::LockConflict(until)) => {
            let patience = patience(&plan, context);
            (plan, until.map(|until| until.plus(patience)))
        }
        (plan, _) => (plan, None),
    };
    let soonest = context.now.plus(Duration::from_secs(1));
    let until = until.unwrap_or_else(|| context.now.plus(RECONSIDER)).max(soonest);
    Step::to(Stage::Blocked { plan, until }, vec![Effect::FreePlace, Effect::Fetch])
}

/// Towards running the handler. With a hash on the relay the job cannot expire, so it waits for a
/// place first and holds no lock meanwhile; without one, the lock secures it at once.
fn go_run(paid: Paid) -> Step {
    if paid.hash_submitted {
        return Step::to(Stage::Queued { paid }, vec![Effect::AwaitPlace]);
    }
    let effects = vec![take_lock(&paid)];
    Step::to(Stage::Locking { plan: Plan::Run { paid, placed: false } }, effects)
}

fn go_for(plan: Plan) -> Step {
    match plan {
        Plan::Run { paid, .. } => go_run(paid),
        plan => Step::to(Stage::Locking { plan }, vec![Effect::TakeLock { payment: None }]),
    }
}

fn relock(round: u32, failed: bool) -> Step {
    let plan = Plan::Deliver { round: round.saturating_add(1), failed };
    Step::to(Stage::Locking { plan }, vec![Effect::Release, Effect::TakeLock { payment: None }])
}

fn hand_over(outcome: Outcome, lock: Lock) -> Step {
    let failed = matches!(outcome, Outcome::Error(_));
    Step::to(
        Stage::Delivering { lock, round: 1, failed },
        vec![Effect::Keep(outcome), Effect::Hold(lock), Effect::Deliver { lock, round: 1 }],
    )
}

/// How long after its lock has run out a job is left to whoever held it. Who was paid for a job that
/// may be repeated comes back for it, and must not find it failed by another worker of the same
/// seller that does not know the invoice.
fn patience(plan: &Plan, context: &Context) -> Duration {
    match plan {
        Plan::Fail { .. } if context.idempotent => PATIENCE,
        _ => Duration::ZERO,
    }
}

/// What to do with a handler that may have run.
fn rerun_or_fail(paid: Paid, context: &Context) -> Plan {
    if context.idempotent { Plan::Run { paid, placed: false } } else { interrupted() }
}

fn interrupted() -> Plan {
    Plan::Fail { error: interrupted_error() }
}

fn interrupted_error() -> JobError {
    JobError {
        code: "worker_interrupted".to_owned(),
        message: "the work may have been started before and cannot be safely repeated".to_owned(),
        details: Value::Null,
    }
}

fn unpaid_error(reason: &PaymentError) -> JobError {
    let details = match (reason.oddity(), reason) {
        (Some(oddity), PaymentError::AmountMismatch { paid, price }) => {
            json!({ "outcome": oddity, "paid_raw": paid, "price_raw": price })
        }
        (Some(oddity), _) => json!({ "outcome": oddity }),
        (None, _) => Value::Null,
    };
    JobError { code: reason.code().to_owned(), message: reason.to_string(), details }
}

/// A handler may say a lot, or nothing; what the relay takes is what is kept.
fn refuse(reason: &str) -> Step {
    let reason = if reason.is_empty() { "the seller does not take this request" } else { reason };
    let reason: String = reason.replace('\0', " ").chars().take(REASON_CHARS_MAX).collect();
    let effects = vec![Effect::SendRefusal(reason.clone())];
    Step::to(Stage::Refusing { reason }, effects)
}

fn take_lock(paid: &Paid) -> Effect {
    let payment = if paid.hash_submitted { None } else { paid.blocks.first().copied() };
    Effect::TakeLock { payment }
}

const fn watch(invoice: Invoice, submitted: Option<String>, lapsed: bool) -> Effect {
    Effect::Watch { invoice, submitted, lapsed, over: false }
}

#[cfg(test)]
mod tests;
