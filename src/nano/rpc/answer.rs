//! Reading JSON that nodes and proxies wrote: scalars as strings or not, nothing in many forms.

use std::borrow::Cow;
use std::str::FromStr;

use serde_json::Value;

use super::Failure;

/// A scalar's text: a string, a whole number or a boolean. A number too large for 64 bits has
/// lost digits on its way through a float, so it is no text.
pub(super) fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) if number.is_u64() || number.is_i64() => Some(Cow::Owned(number.to_string())),
        Value::Bool(truth) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
        Value::Number(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The scalar `name` of an object, read as a `T`; `None` if it is missing or no `T`.
pub(super) fn optional<T: FromStr>(object: &Value, name: &str) -> Option<T> {
    text(object.get(name)?)?.parse().ok()
}

/// The scalar `name` of an object, which must be a `T`.
pub(super) fn required<T: FromStr>(object: &Value, name: &'static str) -> Result<T, Failure> {
    optional(object, name).ok_or(Failure::Malformed(name))
}

/// The boolean `name`; missing and unreadable are `false`, so that nothing is confirmed by mistake.
pub(super) fn flag(object: &Value, name: &str) -> bool {
    object.get(name).and_then(text).is_some_and(|text| text == "true" || text == "1")
}

/// The entries of the object `name`. An empty one may come as `""` or `[]`.
pub(super) fn entries<'a>(
    object: &'a Value,
    name: &'static str,
) -> Result<Vec<(&'a str, &'a Value)>, Failure> {
    match object.get(name) {
        Some(Value::Object(map)) => Ok(map.iter().map(|(key, value)| (key.as_str(), value)).collect()),
        Some(value) if is_nothing(value) => Ok(Vec::new()),
        Some(_) | None => Err(Failure::Malformed(name)),
    }
}

/// Whether it is one of the ways of writing an empty collection.
pub(super) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// `None` when the node said one of `absences`: the thing asked about does not exist for it.
pub(super) fn absent(answer: Result<Value, Failure>, absence: &str) -> Result<Option<Value>, Failure> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(Failure::Node(text)) if text == absence => Ok(None),
        Err(failure) => Err(failure),
    }
}
