//! How a job ends: by the buyer, by time, by another worker, or by a relay that forgets it.

use super::{Step, revive, watch};
use crate::protocol::Status;
use crate::worker::input::{Context, Effect, Pricing, Sighting};
use crate::worker::payment::Invoice;
use crate::worker::stage::{Ending, Plan, Stage};

pub(super) fn seen_finished(stage: Stage, status: Status, context: &Context) -> Step {
    let delivered = status == Status::Delivered;
    match stage {
        Stage::Ended { .. } => Step::ignored(stage),
        // /v0 calls delivered also what ended with an error.
        Stage::Delivering { failed, .. }
        | Stage::Locking { plan: Plan::Deliver { failed, .. } }
        | Stage::Blocked { plan: Plan::Deliver { failed, .. }, .. }
            if !delivered || !failed || context.revives =>
        {
            let ours = if delivered && !failed { Ending::Delivered } else { Ending::Failed };
            ended(ours, vec![Effect::Release])
        }
        // The error that was to be told came too late: another worker had a result.
        Stage::Delivering { .. }
        | Stage::Locking { plan: Plan::Deliver { .. } }
        | Stage::Blocked { plan: Plan::Deliver { .. }, .. } => {
            ended(Ending::Elsewhere, vec![Effect::Release])
        }
        Stage::Running { .. } | Stage::Stopping { .. } => {
            ended(Ending::Elsewhere, vec![Effect::Kill, Effect::Release])
        }
        _ => ended(Ending::Elsewhere, vec![Effect::Unwatch, Effect::Release, Effect::FreePlace]),
    }
}

pub(super) fn seen_ended(
    stage: Stage,
    sighting: Sighting,
    ending: fn(bool) -> Ending,
    context: &Context,
) -> Step {
    let expired = sighting.status == Status::Expired;
    match (stage, sighting.invoice) {
        // It was paid in time, and the relay was told too late: it may take another quote.
        (
            Stage::Locking { plan: Plan::Run { paid, .. } }
            | Stage::Blocked { plan: Plan::Run { paid, .. }, .. },
            _,
        ) if expired && context.revives => revive::told_late(paid.invoice),
        // Our record of its quote is lost, or another worker of this seller made it. The money may have
        // come, or may come, all the same; and whatever was asked, it is not ours to keep.
        (Stage::Fresh | Stage::Pricing | Stage::Indexing { .. }, Some(invoice)) => {
            lapse(at_our_price(invoice, context), sighting.submitted, ending(false), context)
        }
        // It was quoted by another worker of this seller, or in a life that is forgotten: on that address.
        (Stage::Quoting { invoice, .. }, Some(shown)) if shown.account != invoice.account => {
            lapse(at_our_price(shown, context), sighting.submitted, ending(false), context)
        }
        (Stage::Refusing { .. }, Some(shown)) => {
            lapse(at_our_price(shown, context), sighting.submitted, ending(false), context)
        }
        // It was never quoted: whatever comes to the address that it was to have is not for it.
        (Stage::Quoting { .. }, None) => ended(ending(false), vec![]),
        (stage, _) => ended_as_recorded(stage, ending, context),
    }
}

/// What it says of the price is the relay's word alone: where paying it late revives the job, it is not
/// done for less than we would have asked.
fn at_our_price(invoice: Invoice, context: &Context) -> Invoice {
    match context.pricing {
        Pricing::Fixed(price) if context.revives => Invoice { price: invoice.price.max(price), ..invoice },
        _ => invoice,
    }
}

fn ended_as_recorded(stage: Stage, ending: fn(bool) -> Ending, context: &Context) -> Step {
    match stage {
        Stage::Ended { .. } | Stage::Lapsed { .. } => Step::ignored(stage),
        // The expiry that it is to be revived from, heard again; a cancellation ends it.
        Stage::Reviving { invoice, ending: was, until } => match ending(true) {
            Ending::Expired { .. } => Step::ignored(Stage::Reviving { invoice, ending: was, until }),
            _ => revive::not_taken(invoice, was, until),
        },
        Stage::Refusing { .. } => ended(Ending::Refused, vec![]),
        Stage::Quoting { invoice, .. } | Stage::Quoted { invoice } => {
            lapse(invoice, None, ending(false), context)
        }
        Stage::Awaiting { invoice, submitted, .. } => lapse(invoice, submitted, ending(false), context),
        Stage::Running { .. } | Stage::Stopping { .. } => {
            ended(ending(true), vec![Effect::Kill, Effect::Release])
        }
        Stage::Queued { .. }
        | Stage::Ready { .. }
        | Stage::Locking { plan: Plan::Run { .. } | Plan::Deliver { .. } }
        | Stage::Blocked { plan: Plan::Run { .. } | Plan::Deliver { .. }, .. }
        | Stage::Delivering { .. } => ended(ending(true), vec![Effect::Release, Effect::FreePlace]),
        Stage::Fresh
        | Stage::Pricing
        | Stage::Indexing { .. }
        | Stage::Locking { plan: Plan::Fail { .. } }
        | Stage::Blocked { plan: Plan::Fail { .. }, .. } => ended(ending(false), vec![Effect::Release]),
    }
}

/// The relay knows the job no longer; the money may come, or have come, all the same.
pub(super) fn vanished(stage: Stage, context: &Context) -> Step {
    match stage {
        Stage::Lapsed { .. } => Step::ignored(stage),
        Stage::Reviving { invoice, ending, until } => revive::not_taken(invoice, ending, until),
        Stage::Quoted { invoice } => lapse(invoice, None, Ending::Vanished { paid: false }, context),
        Stage::Awaiting { invoice, submitted, .. } => {
            lapse(invoice, submitted, Ending::Vanished { paid: false }, context)
        }
        Stage::Running { .. } | Stage::Stopping { .. } => {
            ended(Ending::Vanished { paid: true }, vec![Effect::Kill, Effect::Release])
        }
        other => {
            let ending = Ending::Vanished { paid: other.is_paid() };
            ended(ending, vec![Effect::Unwatch, Effect::Release, Effect::FreePlace])
        }
    }
}

/// It ended unpaid; a payment may still be under way.
fn lapse(invoice: Invoice, submitted: Option<String>, ending: Ending, context: &Context) -> Step {
    let until = context.now.plus(context.lapsed_watch);
    let effects = vec![watch(invoice, submitted.clone(), true)];
    Step::to(Stage::Lapsed { invoice, submitted, ending, until }, effects)
}

pub(super) fn ended(ending: Ending, effects: Vec<Effect>) -> Step {
    Step::to(Stage::Ended { ending }, effects)
}
