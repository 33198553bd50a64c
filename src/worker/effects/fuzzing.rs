//! A handler's price, as a fuzzer makes it up.

use super::price_of;
use crate::protocol::{JobId, Timestamp};
use crate::worker::executor::fuzzing::result_of;
use crate::worker::input::{Input, Outcome};
use crate::worker::machine::step;
use crate::worker::stage::Stage;
use crate::worker::terms::Terms;

/// What the buyer is told when the handler's answer to a question for a price is this.
pub(crate) fn why_no_price(output: &[u8]) -> Option<String> {
    let input = price_of(JobId::from_bytes([1; 16]), Outcome::Result(result_of(output)?));
    if let Input::Priced(price) = &input {
        assert!(!price.is_zero());
    }
    let context = Terms::withdrawn().context(Timestamp::from_seconds(1_700_000_000));
    match step(Stage::Pricing, input, &context).stage {
        Stage::Refusing { reason } => Some(reason),
        _ => None,
    }
}
