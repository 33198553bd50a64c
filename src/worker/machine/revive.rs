//! How a job that expired unpaid gets another quote: with the same invoice, so that whatever was
//! sent before, too late or in parts, counts, and nothing is asked for twice.
//!
//! Whether the relay takes it is for the relay to say: the job may be over for good.

use super::ends::ended;
use super::{Step, watch};
use crate::protocol::Timestamp;
use crate::worker::input::{Context, Effect};
use crate::worker::payment::Invoice;
use crate::worker::stage::{Ending, Stage};

/// The whole price came after the expiry.
pub(super) fn paid_late(invoice: Invoice) -> Step {
    to(invoice, Ending::PaidLate, None)
}

/// The price came in time and was claimed, and the relay let the job expire before it knew.
pub(super) fn told_late(invoice: Invoice) -> Step {
    let mut step = to(invoice, Ending::Expired { paid: true }, None);
    step.effects.splice(0..0, [Effect::Release, Effect::FreePlace]);
    step
}

/// The buyer would still pay.
pub(super) fn wanted(stage: Stage, context: &Context) -> Step {
    match stage {
        Stage::Lapsed { invoice, ending: ending @ Ending::Expired { .. }, until, .. } if context.revives => {
            to(invoice, ending, Some(until))
        }
        other => Step::ignored(other),
    }
}

/// The relay does not take it: the job ends as it would have.
pub(super) fn not_taken(invoice: Invoice, ending: Ending, until: Option<Timestamp>) -> Step {
    match until {
        Some(until) => Step::to(
            Stage::Lapsed { invoice, submitted: None, ending, until },
            vec![watch(invoice, None, true)],
        ),
        None => ended(ending, vec![Effect::Unwatch]),
    }
}

fn to(invoice: Invoice, ending: Ending, until: Option<Timestamp>) -> Step {
    Step::to(Stage::Reviving { invoice, ending, until }, vec![Effect::Revive(invoice)])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{PRICE, context, invoice};
    use super::super::{next_deadline, step};
    use super::*;
    use crate::protocol::Status;
    use crate::worker::input::{Call, Input, Pricing, Rejection, Sighting};
    use crate::worker::payment::{PaymentError, Verdict};
    use crate::worker::stage::{Paid, Plan};
    use nano_currency::Amount;

    const UNTIL: Timestamp = Timestamp::from_seconds(900);

    fn lapsed(ending: Ending) -> Stage {
        Stage::Lapsed { invoice: invoice(1), submitted: None, ending, until: UNTIL }
    }

    fn expired() -> Stage {
        lapsed(Ending::Expired { paid: false })
    }

    fn reviving(ending: Ending, until: Option<Timestamp>) -> Stage {
        Stage::Reviving { invoice: invoice(1), ending, until }
    }

    fn seen(status: Status) -> Input {
        Input::Seen(Sighting {
            status,
            invoice: Some(invoice(1)),
            submitted: None,
            locked_by_us: false,
            lock_expires_at: None,
        })
    }

    fn run() -> Plan {
        let paid = Paid {
            invoice: invoice(1),
            total: invoice(1).price,
            blocks: vec![],
            hash_submitted: false,
            attempts: 0,
        };
        Plan::Run { paid, placed: false }
    }

    /// In /v0, where this happens.
    fn check(stage: Stage, input: Input, becomes: Stage, effects: &[Effect]) {
        let context = Context { revives: true, ..context(500, false) };
        let step = step(stage.clone(), input.clone(), &context);
        assert_eq!((&step.stage, step.effects.as_slice()), (&becomes, effects), "{stage} heard {input:?}");
        assert_eq!(step.ignored, stage == becomes && effects.is_empty(), "{stage} heard {input:?}");
    }

    #[test]
    fn what_came_late_is_asked_for_no_second_time() {
        let late = Input::Judged(Verdict::Unpaid(PaymentError::Late));
        let again = [Effect::Revive(invoice(1))];
        check(expired(), late.clone(), reviving(Ending::PaidLate, None), &again);
        check(expired(), Input::ReviveWanted, reviving(Ending::Expired { paid: false }, Some(UNTIL)), &again);
        // What the buyer gave up is over.
        let canceled = lapsed(Ending::Canceled { paid: false });
        check(canceled.clone(), Input::ReviveWanted, canceled.clone(), &[]);
        check(canceled, late.clone(), Stage::Ended { ending: Ending::PaidLate }, &[Effect::Unwatch]);
        // Nor is there such a thing in /v1.
        let ends = step(expired(), late, &context(500, false));
        assert_eq!(ends.stage, Stage::Ended { ending: Ending::PaidLate });
        let stays = step(expired(), Input::ReviveWanted, &context(500, false));
        assert!(stays.ignored && stays.stage == expired(), "{stays:?}");
    }

    #[test]
    fn what_may_be_revived_is_not_done_for_less_than_we_ask() {
        let named = |price: u128| Invoice { price: Amount::from_raw(price), ..invoice(1) };
        let ask = Context { pricing: Pricing::Ask, revives: true, ..context(500, false) };
        let over = |price, context: &Context| {
            let Input::Seen(sighting) = seen(Status::Expired) else { unreachable!() };
            let seen = Input::Seen(Sighting { invoice: Some(named(price)), ..sighting });
            match step(Stage::Fresh, seen, context).stage {
                Stage::Lapsed { invoice, .. } => invoice,
                other => panic!("{other}"),
            }
        };
        let ours = PRICE.raw();
        let fixed = Context { revives: true, ..context(500, false) };
        assert_eq!(over(ours - 1, &fixed), invoice(1), "a relay that says less");
        assert_eq!(over(ours + 1, &fixed), named(ours + 1), "an offer that was dearer then");
        assert_eq!(over(ours - 1, &ask), named(ours - 1), "only the handler would know");
        assert_eq!(over(ours - 1, &context(500, false)), named(ours - 1), "/v1 revives nothing");
    }

    #[test]
    fn a_relay_that_was_told_too_late_is_asked_again() {
        let effects = [Effect::Release, Effect::FreePlace, Effect::Revive(invoice(1))];
        let becomes = reviving(Ending::Expired { paid: true }, None);
        check(Stage::Locking { plan: run() }, seen(Status::Expired), becomes.clone(), &effects);
        let blocked = Stage::Blocked { plan: run(), until: UNTIL };
        check(blocked, seen(Status::Expired), becomes, &effects);
        let ended = Stage::Ended { ending: Ending::Canceled { paid: true } };
        let over = [Effect::Release, Effect::FreePlace];
        check(Stage::Locking { plan: run() }, seen(Status::Canceled), ended, &over);
    }

    #[test]
    fn a_new_quote_is_paid_for_like_the_first_one() {
        let awaiting = Stage::Awaiting {
            invoice: invoice(1),
            submitted: None,
            since: Timestamp::from_seconds(500),
            verdict: None,
        };
        let watch = [watch(invoice(1), None, false)];
        check(reviving(Ending::PaidLate, None), seen(Status::Accepted), awaiting.clone(), &watch);
        // Taken by an earlier life whose state is gone.
        check(expired(), seen(Status::Accepted), awaiting, &watch);
        let same = reviving(Ending::PaidLate, None);
        check(same.clone(), seen(Status::Expired), same.clone(), &[]);
        check(same.clone(), Input::Resumed, same.clone(), &[Effect::Revive(invoice(1))]);
        assert_eq!(next_deadline(&same, &context(500, false)), None);
    }

    /// The call that marks it as paid can outlast the expiry, and succeed once there is a new charge.
    #[test]
    fn a_job_that_is_marked_as_paid_while_it_is_revived_is_done() {
        let marked = |locked_by_us| {
            let Input::Seen(sighting) = seen(Status::Running) else { unreachable!() };
            Input::Seen(Sighting { locked_by_us, ..sighting })
        };
        let since = Timestamp::from_seconds(500);
        let awaiting = Stage::Awaiting { invoice: invoice(1), submitted: None, since, verdict: None };
        let told_late = reviving(Ending::Expired { paid: true }, None);
        check(told_late.clone(), marked(true), awaiting.clone(), &[watch(invoice(1), None, false)]);
        check(awaiting.clone(), marked(true), awaiting.clone(), &[]);
        // Somebody else's lock is another matter, and so is any in /v1.
        for (stage, locked_by_us, revives) in [(told_late, false, true), (awaiting, true, false)] {
            let context = Context { revives, ..context(500, false) };
            let step = step(stage, marked(locked_by_us), &context);
            assert!(matches!(step.stage, Stage::Blocked { plan: Plan::Fail { .. }, .. }), "{}", step.stage);
        }
    }

    #[test]
    fn what_is_not_taken_ends_as_it_would_have() {
        let paid = reviving(Ending::PaidLate, None);
        let over = Stage::Ended { ending: Ending::PaidLate };
        for why in [Rejection::State, Rejection::Gone, Rejection::Invalid("no".to_owned())] {
            check(paid.clone(), Input::Rejected(Call::Revive, why), over.clone(), &[Effect::Unwatch]);
        }
        check(paid, seen(Status::Canceled), over, &[Effect::Unwatch]);
        let unpaid = reviving(Ending::Expired { paid: false }, Some(UNTIL));
        let rejected = Input::Rejected(Call::Revive, Rejection::State);
        check(unpaid, rejected, expired(), &[watch(invoice(1), None, true)]);
        let due = Context { revives: true, now: UNTIL.plus(Duration::from_secs(1)), ..context(0, false) };
        let step = step(expired(), Input::Due, &due);
        assert_eq!(step.stage, Stage::Ended { ending: Ending::Expired { paid: false } });
    }
}
