//! Where a test lets a process die: every boundary at which something is written or sent.
//!
//! A point is an `abort`, as sudden as a kill and at a known place. In what users build there is no
//! trace of it: the macro is nothing without the feature of `fail` that only the tests turn on.
//! `tests/crash_points.rs` kills every program at every point and looks at the whole history;
//! `tests/tidy.rs` holds [`POINTS`] against the source, both ways.

/// A boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Program, place, what: as `FAILPOINTS` names it.
    pub name: &'static str,
    /// What has happened there and what has not.
    pub boundary: &'static str,
}

/// Dies here if a test wants it.
macro_rules! crash_point {
    ($name:literal) => {{
        fn reached() {
            fail::fail_point!($name, |_| std::process::abort());
        }
        reached();
    }};
}

pub(crate) use crash_point;

/// Takes the points from the variable `FAILPOINTS` of the environment, in the format of `fail`; for
/// the beginning of a program. Nothing where they are compiled out.
pub fn arm() {
    if fail::has_failpoints() {
        // Its drop would disarm them.
        std::mem::forget(fail::FailScenario::setup());
    }
}

/// Whether this build has them.
#[must_use]
pub const fn are_compiled_in() -> bool {
    fail::has_failpoints()
}

const fn at(name: &'static str, boundary: &'static str) -> Point {
    Point { name, boundary }
}

/// All of them.
#[rustfmt::skip]
pub const POINTS: &[Point] = &[
    at("worker/start/noted", "whose state it is was written, not yet durable"),
    at("worker/start/durable", "that is durable, nothing was begun"),
    at("worker/start/resumed", "what the last life left open was taken up"),
    at("worker/turn/decided", "inputs were decided, nothing is written"),
    at("worker/turn/committed", "a turn is written, not yet durable"),
    at("worker/turn/durable", "a turn is durable, none of its effects was begun"),
    at("worker/turn/acted", "all effects of a turn were begun"),
    at("worker/page/durable", "a page of news is durable, its reader does not know"),
    at("worker/index/taken", "an address index is consumed in memory"),
    at("worker/index/recognised", "an address of an earlier state was seen, in memory"),
    at("worker/claim/made", "blocks are claimed for a job, in memory"),
    at("worker/money/reckoned", "what is owed back of a job's money is decided, in memory"),
    at("worker/outcome/kept", "a handler's outcome is in the batch"),
    at("worker/committed/ask-price", "the decision to ask for a price is not durable"),
    at("worker/committed/send-quote", "the decision to quote is not durable"),
    at("worker/committed/send-refusal", "the decision to refuse is not durable"),
    at("worker/committed/fetch", "the decision to look at a job is not durable"),
    at("worker/committed/revive", "the decision to quote an expired job again is not durable"),
    at("worker/committed/watch", "the decision to watch an invoice is not durable"),
    at("worker/committed/unwatch", "the decision to watch no longer is not durable"),
    at("worker/committed/await-place", "the decision to wait for a place is not durable"),
    at("worker/committed/free-place", "the decision to free a place is not durable"),
    at("worker/committed/take-lock", "the decision to lock is not durable"),
    at("worker/committed/hold", "the decision to keep a lock is not durable"),
    at("worker/committed/release", "the decision to let a lock go is not durable"),
    at("worker/committed/execute", "the decision to run the handler is not durable"),
    at("worker/committed/kill", "the decision to kill the handler is not durable"),
    at("worker/committed/kill-strays", "the decision to kill an earlier life's handler is not durable"),
    at("worker/committed/deliver", "the decision to deliver is not durable"),
    at("worker/durable/ask-price", "a price is to be asked for, durably"),
    at("worker/durable/send-quote", "a quote is to be sent, durably"),
    at("worker/durable/send-refusal", "a refusal is to be sent, durably"),
    at("worker/durable/fetch", "a job is to be looked at, durably"),
    at("worker/durable/revive", "an expired job is to be quoted again, durably"),
    at("worker/durable/watch", "an invoice is to be watched, durably"),
    at("worker/durable/unwatch", "an invoice is to be watched no longer, durably"),
    at("worker/durable/await-place", "a place is to be waited for, durably"),
    at("worker/durable/free-place", "a place is to be freed, durably"),
    at("worker/durable/take-lock", "the lock is to be taken, durably"),
    at("worker/durable/hold", "the lock is to be kept, durably"),
    at("worker/durable/release", "the lock is to be let go, durably"),
    at("worker/durable/execute", "the attempt is counted, durably"),
    at("worker/durable/kill", "the handler is to be killed, durably"),
    at("worker/durable/kill-strays", "an earlier life's handler is to be killed, durably"),
    at("worker/durable/deliver", "the outcome is stored, durably"),
    at("worker/send/quote", "before a quote is sent"),
    at("worker/send/refuse", "before a refusal is sent"),
    at("worker/send/fetch", "before a job is asked for"),
    at("worker/send/lock", "before the lock is asked for"),
    at("worker/send/deliver", "before the outcome is sent"),
    at("worker/send/renew", "before the lock is renewed"),
    at("worker/send/poll", "before news are asked for"),
    at("worker/send/ack", "before news are acknowledged"),
    at("worker/send/payment", "before the nodes are asked about payments"),
    at("worker/send/offer", "a new offer is noted durably, and not yet sent"),
    at("worker/send/change", "before an offer is changed"),
    at("worker/send/withdrawal", "before an offer is withdrawn"),
    at("worker/answer/quote", "the relay has the quote, the worker has not noted it"),
    at("worker/answer/refuse", "the relay has the refusal, the worker has not noted it"),
    at("worker/answer/fetch", "a job was shown, the worker has not noted it"),
    at("worker/answer/lock", "the lock is ours, the worker has not noted it"),
    at("worker/answer/deliver", "the relay has the outcome, the worker has not noted it"),
    at("worker/answer/renew", "the lock was renewed, the worker has not noted it"),
    at("worker/answer/poll", "news were told, the worker has not noted them"),
    at("worker/answer/ack", "the relay has the acknowledgement"),
    at("worker/answer/payment", "the nodes have told, the worker has not noted it"),
    at("worker/answer/offer", "the relay has the offer, the worker does not know its id"),
    at("worker/answer/change", "the relay has the change, the worker has not noted it"),
    at("worker/answer/withdrawal", "the relay has withdrawn it, the worker has not noted it"),
    at("worker/offer/written", "an offer's record is written, not yet durable"),
    at("worker/handler/start", "the handler is about to start"),
    at("worker/handler/started", "the handler runs"),
    at("worker/handler/killed", "the handler was told to end"),
    at("worker/handler/finished", "the handler has ended, its outcome is in memory"),
    at("worker/handler/priced", "the handler has named a price, in memory"),
    at("worker/money/noticed", "what came unnoticed is in the books, nothing was done with it"),
    at("worker/money/settled", "a refund is known to be confirmed, and counted"),
    at("worker/coins/signed", "a block of our own is signed, not yet written"),
    at("worker/coins/kept", "that block is durable, nobody else has seen it"),
    at("worker/coins/published", "the network has the block, nobody here has noted it"),
    at("worker/bazaar/registering", "before the bot makes itself known"),
    at("worker/bazaar/registered", "the relay knows the bot"),
    at("worker/bazaar/offer", "a new offer of /v0 is noted durably, and not yet sent"),
    at("worker/bazaar/offered", "the relay has the offer, the worker does not know its name"),
    at("worker/bazaar/written", "an offer's record is written, not yet durable"),
    at("worker/bazaar/named", "a new offer's name is durable, the loop does not know its terms"),
    at("worker/bazaar/unheard", "the jobs that came before an offer's name were looked at, that they may wait still stands"),
    at("worker/bazaar/change", "before an offer is paused or resumed"),
    at("worker/bazaar/changed", "the relay has paused or resumed it"),
    at("worker/bazaar/withdraw", "before an offer is taken back"),
    at("worker/bazaar/withdrawn", "the relay has taken it back, the worker has not noted it"),
    at("worker/bazaar/poll", "before events are asked for"),
    at("worker/bazaar/polled", "events were told, the worker has not noted them"),
    at("worker/bazaar/opened", "a request is fetched and opened, in memory"),
    at("worker/bazaar/pinned", "whom a job's letters are sealed for is written, not yet durable"),
    at("worker/bazaar/ack", "a page is durable, and not yet acknowledged"),
    at("worker/bazaar/acked", "the relay has the acknowledgement"),
    at("worker/bazaar/charge", "a charge is signed, and not yet sent"),
    at("worker/bazaar/charged", "the relay has the charge, the worker has not noted it"),
    at("worker/bazaar/revive", "another charge is signed, and not yet sent"),
    at("worker/bazaar/revived", "the relay has the other charge, the worker has not noted it"),
    at("worker/bazaar/refuse", "before a buyer is told why there is no charge"),
    at("worker/bazaar/refused", "the relay has the message, the worker has not noted it"),
    at("worker/bazaar/mark", "before a job is marked as paid"),
    at("worker/bazaar/marked", "the job is marked as paid, the worker has not noted it"),
    at("worker/bazaar/linked", "a long result is where it is served, and its link not yet sent"),
    at("worker/bazaar/part", "before a part of a result is sent"),
    at("worker/bazaar/parted", "the relay has a part of the result"),
    at("worker/bazaar/deliver", "before the deliverable is sent"),
    at("worker/bazaar/delivered", "the relay has the deliverable, the worker has not noted it"),
    at("worker/bazaar/look", "before a job of /v0 is asked for"),
    at("worker/bazaar/looked", "a job of /v0 was shown, the worker has not noted it"),
    at("worker/stop/draining", "no work is begun any more"),
    at("worker/stop/stopping", "what still runs is broken off"),
    at("worker/stop/stopped", "all tasks have ended"),
    at("worker/stop/durable", "the last barrier has returned"),

    at("relay/start/noted", "a new storage has its epoch, not yet durable"),
    at("relay/nonce/decided", "a nonce is new, and not yet written"),
    at("relay/nonce/committed", "a nonce is spent, not yet durable"),
    at("relay/claim/made", "an idempotency key is claimed, in memory"),
    at("relay/job/decided", "a move with its event and its answer is not yet written"),
    at("relay/job/committed", "a move is written, not yet durable"),
    at("relay/offer/decided", "an offer is not yet written"),
    at("relay/offer/committed", "an offer is written, not yet durable"),
    at("relay/refusal/decided", "a refusal for an idempotency key is not yet written"),
    at("relay/refusal/committed", "that refusal is written, not yet durable"),
    at("relay/ack/decided", "an acknowledgement is not yet written"),
    at("relay/ack/committed", "an acknowledgement is written, not yet durable"),
    at("relay/answer/made", "an answer is made, what it says is not yet durable"),
    at("relay/answer/durable", "what an answer says is durable, it is not yet sent"),
    at("relay/hint/due", "an event is durable, nobody was told of it"),
    at("relay/sweep/due", "a job's time is up, and nothing was done about it"),
    at("relay/sweep/expired", "the job is expired, not yet durable"),
    at("relay/sweep/forgetting", "old records are chosen, not yet removed"),
    at("relay/sweep/forgotten", "old records are removed, not yet durable"),
    at("relay/v0/decided", "a /v0 request with its news and its answer is not yet written"),
    at("relay/v0/committed", "a /v0 request is written, not yet durable"),
    at("relay/v0/clearing", "what is over is chosen, not yet removed"),
    at("relay/v0/cleared", "what is over is removed, not yet durable"),
    at("relay/stop/draining", "no connection is taken any more"),
    at("relay/stop/drained", "all connections have ended"),

    at("buyer/journal/begin", "a purchase is not yet written"),
    at("buyer/journal/begun", "a purchase is durable, nobody was asked"),
    at("buyer/journal/save", "a step is decided, not yet written"),
    at("buyer/journal/saved", "a step is durable, and not yet taken"),
    at("buyer/journal/keep", "a block is signed, not yet written"),
    at("buyer/journal/kept", "a signed block is durable, and not yet published"),
    at("buyer/journal/note", "something was learnt, not yet written"),
    at("buyer/journal/noted", "something learnt is written, not yet durable"),
    at("buyer/send/request", "before a job is asked for"),
    at("buyer/send/accept", "before the quote is agreed to"),
    at("buyer/send/block", "before a block is published"),
    at("buyer/send/payment", "before the payment's hash is sent"),
    at("buyer/send/cancel", "before a job is given up"),
    at("buyer/v0/request", "before a bot is asked for a job"),
    at("buyer/v0/requested", "the relay has the bot's job, the journal has not noted it"),
    at("buyer/v0/tell", "before a bot's relay is told of the payment"),
    at("buyer/v0/told", "the relay has the word of the payment, the journal has not noted it"),
    at("buyer/v0/wish", "before another charge is asked for"),
    at("buyer/v0/wished", "the relay has that wish, the journal has not noted it"),
    at("buyer/v0/poll", "before a bot's news are asked for"),
    at("buyer/v0/read", "a letter is opened and believed, not yet written"),
    at("buyer/v0/kept", "a letter is written, not yet durable"),
    at("buyer/v0/ack", "letters are durable, the relay does not know"),
    at("buyer/v0/acked", "the relay has the acknowledgement of letters"),
    at("buyer/v0/cancel", "before a bot's job is given up"),
    at("buyer/v0/cancelled", "the relay has that, the journal has not noted it"),
    at("buyer/answer/request", "the relay has the job, the journal has not"),
    at("buyer/answer/accept", "the relay has the agreement, the journal has not"),
    at("buyer/answer/block", "the network has the block, the journal has not noted it"),
    at("buyer/answer/payment", "the relay has the hash, the journal has not noted it"),
    at("buyer/answer/cancel", "the relay has the cancellation, the journal has not noted it"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_tests_have_them_and_each_has_one_name() {
        assert!(are_compiled_in());
        let names: BTreeSet<_> = POINTS.iter().map(|point| point.name).collect();
        assert_eq!(names.len(), POINTS.len());
    }
}
