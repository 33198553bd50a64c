//! A handler's output, as a fuzzer makes it up.

use serde_json::Value;

use super::to_result;
use crate::protocol::limits::RESULT_PAYLOAD_BYTES_MAX;

/// What the buyer gets for this output, if it is not too large.
pub(crate) fn result_of(output: &[u8]) -> Option<Value> {
    let result = to_result(output).ok()?;
    assert!(result.to_string().len() <= RESULT_PAYLOAD_BYTES_MAX);
    Some(result)
}
