//! What follows from what the relay shows of a job.

use nano_currency::Amount;

use super::ends::{ended, seen_ended, seen_finished};
use super::{Step, interrupted, patience, rerun_or_fail, watch};
use crate::protocol::Status;
use crate::worker::input::{Context, Effect, Pricing, Sighting};
use crate::worker::payment::Invoice;
use crate::worker::stage::{Ending, Stage};

pub(super) fn seen(stage: Stage, sighting: Sighting, context: &Context) -> Step {
    match sighting.status {
        Status::Requested => seen_requested(stage, context),
        Status::Quoted => seen_quoted(stage, &sighting, context),
        Status::Accepted => seen_accepted(stage, sighting, context),
        Status::Running => seen_running(stage, &sighting, context),
        Status::Delivered | Status::Failed => seen_finished(stage, sighting.status, context),
        Status::Canceled => seen_ended(stage, sighting, |paid| Ending::Canceled { paid }, context),
        Status::Expired => seen_ended(stage, sighting, |paid| Ending::Expired { paid }, context),
    }
}

fn seen_requested(stage: Stage, context: &Context) -> Step {
    match (stage, context.pricing) {
        (Stage::Fresh, Pricing::Fixed(price)) => {
            Step::to(Stage::Indexing { price, tries: 1 }, vec![Effect::TakeIndex { price }])
        }
        (Stage::Fresh, Pricing::Ask) => Step::to(Stage::Pricing, vec![Effect::AskPrice]),
        // Old news, or the relay went back to an older copy of itself: the same quote is safe to repeat.
        (Stage::Quoted { invoice }, _) => {
            Step::to(Stage::Quoting { invoice, tries: 1 }, vec![Effect::SendQuote(invoice)])
        }
        (other, _) => Step::ignored(other),
    }
}

/// An invoice of ours that our own record does not know: what it says of the price is the relay's
/// word alone, so it is only believed if it is not less than we would have asked.
fn adoptable(sighting: &Sighting, context: &Context) -> Option<Invoice> {
    let least = match context.pricing {
        Pricing::Fixed(price) => price,
        Pricing::Ask => Amount::from_raw(1),
    };
    sighting.invoice.filter(|invoice| invoice.price >= least)
}

fn seen_quoted(stage: Stage, sighting: &Sighting, context: &Context) -> Step {
    match (stage, adoptable(sighting, context)) {
        // Ours, from an earlier life or with its answer lost.
        (Stage::Fresh, Some(invoice)) => Step::to(Stage::Quoted { invoice }, vec![]),
        (Stage::Quoting { invoice, .. }, _) if is_ours(sighting, &invoice) => {
            Step::to(Stage::Quoted { invoice }, vec![])
        }
        // Another worker of this seller was faster, but its invoice is on our seed: it can be ours too.
        (Stage::Pricing | Stage::Indexing { .. } | Stage::Quoting { .. }, Some(invoice)) => {
            Step::to(Stage::Quoted { invoice }, vec![])
        }
        (
            Stage::Fresh
            | Stage::Pricing
            | Stage::Indexing { .. }
            | Stage::Quoting { .. }
            | Stage::Refusing { .. },
            None,
        ) => ended(Ending::Elsewhere, vec![]),
        (other, _) => Step::ignored(other),
    }
}

/// Whether the job's invoice is the one that our own record holds; the price is not looked at,
/// because the record's is the one that counts.
fn is_ours(sighting: &Sighting, invoice: &Invoice) -> bool {
    sighting.invoice.is_some_and(|seen| seen.account == invoice.account)
}

fn seen_accepted(stage: Stage, sighting: Sighting, context: &Context) -> Step {
    match (stage, adoptable(&sighting, context)) {
        // What was quoted stands in our own record; the relay's copy is only a reminder.
        (Stage::Quoted { invoice }, _) => await_payment(invoice, sighting.submitted, context),
        (Stage::Quoting { invoice, .. }, _) if is_ours(&sighting, &invoice) => {
            await_payment(invoice, sighting.submitted, context)
        }
        // What expired stands again: our record says what was asked.
        (Stage::Reviving { invoice, .. }, _) => await_payment(invoice, sighting.submitted, context),
        (Stage::Lapsed { invoice, .. }, _) if context.revives && is_ours(&sighting, &invoice) => {
            await_payment(invoice, sighting.submitted, context)
        }
        // While our quote was under way the buyer accepted another worker's.
        (Stage::Fresh | Stage::Quoting { .. }, Some(invoice)) => {
            await_payment(invoice, sighting.submitted, context)
        }
        (
            Stage::Fresh
            | Stage::Pricing
            | Stage::Indexing { .. }
            | Stage::Quoting { .. }
            | Stage::Refusing { .. },
            _,
        ) => ended(Ending::Elsewhere, vec![]),
        (Stage::Awaiting { invoice, submitted: None, .. }, _) if sighting.submitted.is_some() => {
            await_payment(invoice, sighting.submitted, context)
        }
        (other, _) => Step::ignored(other),
    }
}

fn await_payment(invoice: Invoice, submitted: Option<String>, context: &Context) -> Step {
    let effects = vec![watch(invoice, submitted.clone(), false)];
    Step::to(Stage::Awaiting { invoice, submitted, since: context.now, verdict: None }, effects)
}

/// Somebody holds, or held, the lock. Where that cannot have been us, the job may have been started
/// elsewhere, and is only run here if that is safe.
fn seen_running(stage: Stage, sighting: &Sighting, context: &Context) -> Step {
    let until = sighting.lock_expires_at.unwrap_or(context.now);
    match stage {
        Stage::Fresh => match adoptable(sighting, context) {
            Some(invoice) if context.idempotent => {
                await_payment(invoice, sighting.submitted.clone(), context)
            }
            _ => {
                let until = until.plus(patience(&interrupted(), context));
                Step::to(Stage::Blocked { plan: interrupted(), until }, vec![])
            }
        },
        Stage::Awaiting { invoice, submitted, verdict, since }
            if context.idempotent || is_own_mark(sighting, context) =>
        {
            Step::ignored(Stage::Awaiting { invoice, submitted, verdict, since })
        }
        Stage::Reviving { invoice, .. } if is_own_mark(sighting, context) => {
            await_payment(invoice, sighting.submitted.clone(), context)
        }
        Stage::Awaiting { .. }
        | Stage::Quoting { .. }
        | Stage::Quoted { .. }
        | Stage::Pricing
        | Stage::Indexing { .. }
        | Stage::Refusing { .. }
        | Stage::Reviving { .. } => {
            let until = until.plus(patience(&interrupted(), context));
            Step::to(Stage::Blocked { plan: interrupted(), until }, vec![Effect::Unwatch])
        }
        Stage::Queued { paid } if !sighting.locked_by_us => {
            Step::to(Stage::Blocked { plan: rerun_or_fail(paid, context), until }, vec![Effect::FreePlace])
        }
        Stage::Blocked { plan, until: before } if !sighting.locked_by_us => {
            let until = until.plus(patience(&plan, context));
            if until > before {
                Step::to(Stage::Blocked { plan, until }, vec![])
            } else {
                Step::ignored(Stage::Blocked { plan, until: before })
            }
        }
        other => Step::ignored(other),
    }
}

/// Where jobs are revived, a lock is the mark that a job is paid. Nobody but this state sets it, and a
/// stage of before a run says that no handler was started: the mark was under way when the job was
/// taken for expired. The payment is found again, and the lock's own answer says whether the mark is
/// of before this state was restored.
const fn is_own_mark(sighting: &Sighting, context: &Context) -> bool {
    context.revives && sighting.locked_by_us
}
