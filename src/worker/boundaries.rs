//! The crash points of effects and calls, by kind.

use super::engine::Effects;
use super::input::{Call, Effect};
use crate::points::crash_point;

/// A turn is written, and not yet durable.
pub(super) fn committed(effects: &Effects) {
    crash_point!("worker/turn/committed");
    for (_, effect) in effects {
        match effect {
            Effect::AskPrice => crash_point!("worker/committed/ask-price"),
            Effect::SendQuote(_) => crash_point!("worker/committed/send-quote"),
            Effect::SendRefusal(_) => crash_point!("worker/committed/send-refusal"),
            Effect::Fetch => crash_point!("worker/committed/fetch"),
            Effect::Revive(_) => crash_point!("worker/committed/revive"),
            Effect::Watch { .. } => crash_point!("worker/committed/watch"),
            Effect::Unwatch => crash_point!("worker/committed/unwatch"),
            Effect::AwaitPlace => crash_point!("worker/committed/await-place"),
            Effect::FreePlace => crash_point!("worker/committed/free-place"),
            Effect::TakeLock { .. } => crash_point!("worker/committed/take-lock"),
            Effect::Hold(_) => crash_point!("worker/committed/hold"),
            Effect::Release => crash_point!("worker/committed/release"),
            Effect::Execute { .. } => crash_point!("worker/committed/execute"),
            Effect::Kill => crash_point!("worker/committed/kill"),
            Effect::KillStrays => crash_point!("worker/committed/kill-strays"),
            Effect::Deliver { .. } => crash_point!("worker/committed/deliver"),
            // These were part of the commit.
            Effect::TakeIndex { .. } | Effect::Claim { .. } | Effect::Keep(_) => {}
        }
    }
}

/// The barrier has returned, and the effect is next.
pub(super) fn durable(effect: &Effect) {
    match effect {
        Effect::AskPrice => crash_point!("worker/durable/ask-price"),
        Effect::SendQuote(_) => crash_point!("worker/durable/send-quote"),
        Effect::SendRefusal(_) => crash_point!("worker/durable/send-refusal"),
        Effect::Fetch => crash_point!("worker/durable/fetch"),
        Effect::Revive(_) => crash_point!("worker/durable/revive"),
        Effect::Watch { .. } => crash_point!("worker/durable/watch"),
        Effect::Unwatch => crash_point!("worker/durable/unwatch"),
        Effect::AwaitPlace => crash_point!("worker/durable/await-place"),
        Effect::FreePlace => crash_point!("worker/durable/free-place"),
        Effect::TakeLock { .. } => crash_point!("worker/durable/take-lock"),
        Effect::Hold(_) => crash_point!("worker/durable/hold"),
        Effect::Release => crash_point!("worker/durable/release"),
        Effect::Execute { .. } => crash_point!("worker/durable/execute"),
        Effect::Kill => crash_point!("worker/durable/kill"),
        Effect::KillStrays => crash_point!("worker/durable/kill-strays"),
        Effect::Deliver { .. } => crash_point!("worker/durable/deliver"),
        Effect::TakeIndex { .. } | Effect::Claim { .. } | Effect::Keep(_) => {}
    }
}

/// A call to the relay is next.
pub(super) fn sending(call: Call) {
    match call {
        Call::Quote => crash_point!("worker/send/quote"),
        Call::Refuse => crash_point!("worker/send/refuse"),
        Call::Fetch => crash_point!("worker/send/fetch"),
        Call::Lock => crash_point!("worker/send/lock"),
        Call::Deliver => crash_point!("worker/send/deliver"),
        // Only /v0 has it, whose points are where it is sent.
        Call::Revive => {}
    }
}

/// The relay has taken a call.
pub(super) fn answered(call: Call) {
    match call {
        Call::Quote => crash_point!("worker/answer/quote"),
        Call::Refuse => crash_point!("worker/answer/refuse"),
        Call::Fetch => crash_point!("worker/answer/fetch"),
        Call::Lock => crash_point!("worker/answer/lock"),
        Call::Deliver => crash_point!("worker/answer/deliver"),
        Call::Revive => {}
    }
}
