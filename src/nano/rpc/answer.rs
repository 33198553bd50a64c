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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;
    use crate::rpc::blocks::{read_block_info, read_blocks_info};
    use crate::rpc::process::read_processed;
    use crate::rpc::receivable::read_receivable;
    use crate::rpc::transport::classify;
    use crate::rpc::{HistoryQuery, Lookup, accounts, history, status};
    use crate::{Account, BlockHash};

    #[test]
    fn a_number_that_has_lost_digits_is_no_text() {
        let read = |value: Value| text(&value).map(Cow::into_owned);
        assert_eq!(read(json!(u64::MAX)), Some(u64::MAX.to_string()));
        assert_eq!(read(json!(-5)), Some("-5".to_owned()));
        assert_eq!(read(json!(1e30)), None);
        assert_eq!(read(json!(0.5)), None);
    }

    #[test]
    fn an_empty_list_has_three_spellings_and_a_text_is_none() {
        for nothing in [json!(""), json!([]), json!({})] {
            assert!(entries(&json!({ "blocks": nothing }), "blocks").is_ok_and(|list| list.is_empty()));
        }
        for something in [json!("x"), json!(["x"]), json!(null), json!(0)] {
            let answer = json!({ "blocks": something });
            assert!(matches!(entries(&answer, "blocks"), Err(Failure::Malformed("blocks"))), "{answer}");
        }
    }

    /// Names that the readers look for, the hash and the account that are asked about among them.
    fn name() -> impl Strategy<Value = String> {
        let names = "blocks blocks_not_found balances balance amount source contents type subtype confirmed height \
                     block_account frontier block_count history frontiers exists hash work count cemented network error link previous";
        let mut names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
        names.extend([BlockHash::ZERO.to_string(), Account::BURN.to_string()]);
        prop_oneof![4 => proptest::sample::select(names), 1 => any::<String>()]
    }

    fn scalar() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            name().prop_map(Value::from),
            any::<u128>().prop_map(|number| Value::from(number.to_string())),
            Just(json!("")),
            Just(json!("state")),
            Just(json!("send")),
        ]
    }

    fn garbage() -> impl Strategy<Value = Value> {
        scalar().prop_recursive(4, 64, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec((name(), inner), 0..6)
                    .prop_map(|entries| Value::Object(Map::from_iter(entries))),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// And what is read from garbage never says that somebody paid.
        #[test]
        fn garbage_is_read_without_a_panic(answer in garbage()) {
            let read = || classify(200, &reqwest::header::HeaderMap::new(), answer.to_string().as_bytes());
            let hash = BlockHash::ZERO;
            prop_assert!(!matches!(read_block_info(hash, read()), Ok(Some(_))));
            if let Ok(found) = read_blocks_info(&[hash], read()) {
                prop_assert_eq!(found.len(), 1);
                prop_assert!(!matches!(found[&hash], Lookup::Found(_)));
            }
            if let Ok(found) = read_receivable(&[Account::BURN], read()) {
                prop_assert_eq!(found.len(), 1);
            }
            let _ = (accounts::read_balances(read()), accounts::read_account_info(read()));
            let _ = (read_processed(read()), status::read_version(read()), status::read_block_count(read()));
            let _ = (status::read_quorum(read()), status::read_telemetry(read()));
            let _ = status::read_active_difficulty(read());
            let query = HistoryQuery { account: Account::BURN, head: None, forward: false, count: 1 };
            let _ = (history::read_history(&query, read()), history::read_frontiers(read()));
            let _ = (history::read_exists(read()), history::read_receipts(&[hash], read()));
        }

        #[test]
        fn bytes_are_read_without_a_panic(status: u16, body: Vec<u8>) {
            let read = classify(status, &reqwest::header::HeaderMap::new(), &body);
            prop_assert!(status == 200 || read.is_err());
        }
    }
}
