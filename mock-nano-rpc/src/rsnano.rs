//! The manners of the Rust port: status codes, strict arguments, compact JSON, other orders.
//!
//! The ledger's answers are the reference node's; this file refuses what the port refuses, and
//! rearranges the rest.

use serde_json::{Map, Value};

use crate::block::{Block, parse_padded_hash};
use crate::rpc::{Answer, RpcError};
use crate::tree::Tree;

/// What the port says before the reason, where JSON is fine and its meaning is not.
const WRONG_DATA: &str = "Failed to deserialize the JSON body into the target type: ";

/// What it says before the reason where JSON is not even JSON.
const WRONG_SYNTAX: &str = "Failed to parse the request body as JSON: ";

/// Actions that the reference node knows and the port does not.
const UNKNOWN: [&str; 9] = [
    "accounts_pending",
    "block",
    "bootstrap_status",
    "epoch_upgrade",
    "krai_to_raw",
    "mrai_to_raw",
    "pending",
    "pending_exists",
    "rai_to_raw",
];

/// Arguments that must be there.
const REQUIRED: [(&str, &[&str]); 17] = [
    ("account_balance", &["account"]),
    ("account_history", &["account", "count"]),
    ("account_info", &["account"]),
    ("account_key", &["account"]),
    ("accounts_balances", &["accounts"]),
    ("accounts_frontiers", &["accounts"]),
    ("accounts_receivable", &["accounts"]),
    ("block_account", &["hash"]),
    ("block_confirm", &["hash"]),
    ("block_info", &["hash"]),
    ("blocks", &["hashes"]),
    ("blocks_info", &["hashes"]),
    ("process", &["block", "json_block"]),
    ("receivable", &["account"]),
    ("receivable_exists", &["hash"]),
    ("work_generate", &["hash"]),
    ("work_validate", &["hash", "work"]),
];

/// The port's order of the fields of a line of history.
const HISTORY_ORDER: [&str; 14] = [
    "local_timestamp",
    "height",
    "hash",
    "confirmed",
    "type",
    "subtype",
    "account",
    "amount",
    "work",
    "signature",
    "representative",
    "previous",
    "balance",
    "link",
];

/// A status and a text/plain body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// 400 or 422.
    pub status: u16,
    /// Why.
    pub why: String,
}

/// Reads a call as strictly as the port does.
///
/// # Errors
/// What it would reject.
pub fn read(body: &[u8]) -> Result<Tree, Rejection> {
    // It reads one value and overlooks what follows.
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
    let value = match values.next() {
        Some(Ok(value)) => value,
        Some(Err(error)) => return Err(Rejection { status: 400, why: format!("{WRONG_SYNTAX}{error}") }),
        None => {
            let why = format!("{WRONG_SYNTAX}EOF while parsing a value at line 1 column 0");
            return Err(Rejection { status: 400, why });
        }
    };
    let call = match value {
        Value::Object(call) => call,
        Value::Array(items) if !items.is_empty() => {
            return Err(data(format_args!(
                "[0]: invalid type: {}, expected variant identifier",
                kind(&items[0])
            )));
        }
        other => {
            return Err(data(format_args!(
                "invalid type: {}, expected internally tagged enum RpcCommand",
                kind(&other)
            )));
        }
    };
    ensure_one_action(body)?;
    ensure_meaningful(&call)?;
    let mut tree = Tree::parse(Value::Object(call).to_string().as_bytes())
        .map_err(|error| Rejection { status: 400, why: format!("{WRONG_SYNTAX}{error}") })?;
    if let Tree::Object(entries) = &mut tree {
        // A difficulty is a decimal number to it, and hex digits to the ledger's code.
        for (_, value) in entries.iter_mut().filter(|(key, _)| key == "difficulty") {
            if let Ok(difficulty) = value.as_text().parse::<u64>() {
                *value = Tree::Text(format!("{difficulty:x}"));
            }
        }
        // It answers with objects, asked or not, and knows no old names.
        entries.retain(|(key, _)| key != "json_block" && key != "pending");
    }
    tree.push("json_block", "true");
    Ok(tree)
}

/// Repeated keys are lost by reading, so they are looked for where none are lost.
fn ensure_one_action(body: &[u8]) -> Result<(), Rejection> {
    match Tree::parse(body) {
        Ok(Tree::Object(entries)) if entries.iter().filter(|(key, _)| key == "action").count() > 1 => {
            Err(data("duplicate field `action`"))
        }
        _ => Ok(()),
    }
}

fn data(why: impl std::fmt::Display) -> Rejection {
    Rejection { status: 422, why: format!("{WRONG_DATA}{why}") }
}

fn ensure_meaningful(call: &Map<String, Value>) -> Result<(), Rejection> {
    let action = match call.get("action") {
        None => return Err(data("missing field `action`")),
        Some(Value::String(action)) => action.as_str(),
        Some(other) => {
            return Err(data(format_args!(
                "action: invalid type: {}, expected variant identifier",
                kind(other)
            )));
        }
    };
    if UNKNOWN.contains(&action) || !action.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
        return Err(unknown_action(action));
    }
    let required = REQUIRED.iter().find(|(known, _)| *known == action).map_or(&[][..], |(_, keys)| keys);
    for key in required {
        let value = call.get(*key).ok_or_else(|| data(format_args!("missing field `{key}`")))?;
        ensure_value(action, key, value)?;
    }
    for (key, value) in call.iter().filter(|(key, _)| !required.contains(&key.as_str())) {
        ensure_value(action, key, value)?;
    }
    Ok(())
}

/// The rejection of an action that is not one of the port's.
pub(crate) fn unknown_action(action: &str) -> Rejection {
    data(format_args!("action: unknown variant `{action}`, expected one of `account_info`, `process`"))
}

fn ensure_value(action: &str, key: &str, value: &Value) -> Result<(), Rejection> {
    match key {
        "hash" | "link" => {
            ensure_text(value, "a hex string containing 32 bytes", |text| parse_padded_hash(text).is_some())
        }
        "hashes" => ensure_each(value, |item| ensure_value(action, "hash", item)),
        "account" if action == "validate_account_number" => Ok(()),
        "account" => ensure_text(value, "an account in the form \"nano_...\"", |text| {
            crate::rpc::read_account(text).is_ok()
        }),
        "accounts" => ensure_each(value, |item| ensure_value(action, "account", item)),
        "root" => Err(data(format_args!("invalid type: {}, expected struct QualifiedRoot", kind(value)))),
        "threshold" | "amount" => ensure_text(value, "a 128bit decimal string", |text| {
            text.bytes().all(|byte| byte.is_ascii_digit())
        }),
        "count" | "offset" => match value {
            Value::String(text) if text.parse::<u64>().is_ok() => Ok(()),
            Value::String(_) => Err(data("\"expected \" u64")),
            other => Err(data(format_args!("invalid type: {}, expected u64", kind(other)))),
        },
        "difficulty" => match value {
            Value::String(text) if text.parse::<u64>().is_ok() => Ok(()),
            _ => Err(data("\"expected \" u64")),
        },
        "source" | "sorting" | "include_only_confirmed" | "include_active" | "receivable" => match value {
            Value::String(_) => Ok(()),
            other => Err(data(format_args!("invalid type: {}, expected bool", kind(other)))),
        },
        "subtype" => match value.as_str() {
            Some("send" | "receive" | "open" | "change" | "epoch" | "unknown") => Ok(()),
            other => Err(data(format_args!(
                "unknown variant `{}`, expected one of `send`, `receive`, `open`, `change`, `epoch`, `unknown`",
                other.unwrap_or_default()
            ))),
        },
        "block" => match value {
            Value::Object(block) => ensure_block(block),
            other => Err(data(format_args!(
                "invalid type: {}, expected internally tagged enum JsonBlock",
                kind(other)
            ))),
        },
        _ => Ok(()),
    }
}

fn ensure_block(block: &Map<String, Value>) -> Result<(), Rejection> {
    match ["type", "work", "signature"].into_iter().find(|key| !block.contains_key(*key)) {
        Some(missing) => Err(data(format_args!("missing field `{missing}`"))),
        None => Ok(()),
    }
}

fn ensure_each(value: &Value, ensure: impl Fn(&Value) -> Result<(), Rejection>) -> Result<(), Rejection> {
    match value {
        Value::Array(items) => items.iter().try_for_each(ensure),
        other => Err(data(format_args!("invalid type: {}, expected a sequence", kind(other)))),
    }
}

fn ensure_text(value: &Value, expected: &str, fits: impl Fn(&str) -> bool) -> Result<(), Rejection> {
    match value {
        Value::String(text) if fits(text) => Ok(()),
        Value::String(text) => Err(data(format_args!("invalid value: string {text:?}, expected {expected}"))),
        other => Err(data(format_args!("invalid type: {}, expected {expected}", kind(other)))),
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => format!("boolean `{value}`"),
        Value::Number(value) if value.is_f64() => format!("floating point `{value}`"),
        Value::Number(value) => format!("integer `{value}`"),
        Value::String(value) => format!("string {value:?}"),
        Value::Array(_) => "sequence".to_owned(),
        Value::Object(_) => "map".to_owned(),
    }
}

/// An answer in the port's order and spelling.
///
/// # Errors
/// Where the port has an error and the reference node an empty answer.
pub fn rearrange(action: &str, mut answer: Tree) -> Answer {
    match action {
        "account_info" => {
            let height = answer.text_of("confirmation_height").or(answer.text_of("confirmed_height"));
            let height = height.unwrap_or_default().to_owned();
            answer = without(answer, "confirmed_height");
            answer = without(answer, "confirmation_height");
            insert_after(&mut answer, "account_version", "confirmed_height", &height);
            insert_after(&mut answer, "account_version", "confirmation_height", &height);
            let late = [
                "confirmed_balance",
                "confirmed_pending",
                "confirmed_receivable",
                "confirmed_representative",
            ];
            move_last(&mut answer, &late);
        }
        "account_history" => {
            if answer.get("history").is_some_and(|history| history.items().is_empty()) {
                return Err(RpcError::ACCOUNT_NOT_FOUND);
            }
            for_each(&mut answer, "history", |line| {
                move_first(line, &HISTORY_ORDER);
            });
        }
        "active_difficulty" => {
            upper_case(&mut answer);
            answer.push("difficulty_trend", "1");
        }
        "blocks_info" => {
            for_each(&mut answer, "blocks", |info| {
                *info = without(std::mem::replace(info, Tree::object()), "pending")
            });
            sort_keys(&mut answer, "blocks");
        }
        "version" => {
            set(&mut answer, "node_vendor", "RsNano 2.0");
            set(&mut answer, "store_vendor", "lmdb-rkv 0.14.0");
            set(&mut answer, "build_info", "TODO get buildinfo");
        }
        "work_generate" => {
            move_first(&mut answer, &["work", "difficulty", "multiplier", "hash"]);
            decimal(&mut answer, "difficulty");
        }
        "work_validate" => decimal(&mut answer, "difficulty"),
        "validate_account_number" | "account_key" => answer = without(answer, "deprecated_account_format"),
        _ => {}
    }
    reprint_blocks(&mut answer);
    Ok(answer)
}

/// Blocks have their work in upper case, and legacy ones another order.
fn reprint_blocks(tree: &mut Tree) {
    match tree {
        Tree::Object(entries) => {
            if entries.iter().any(|(key, _)| key == "work") {
                entries.iter_mut().filter(|(key, _)| key == "work").for_each(|(_, work)| upper_case(work));
            }
            entries.iter_mut().for_each(|(_, value)| reprint_blocks(value));
            let order: &[&str] = match Block::read(tree) {
                Some(Block::Open(_)) => &["type", "account", "source", "representative", "signature", "work"],
                Some(Block::Change(_) | Block::Receive(_)) => {
                    &["type", "previous", "representative", "source", "signature", "work"]
                }
                _ => return,
            };
            move_first(tree, order);
        }
        Tree::Array(items) => items.iter_mut().for_each(reprint_blocks),
        Tree::Text(_) => {}
    }
}

fn upper_case(tree: &mut Tree) {
    match tree {
        Tree::Text(text) => text.make_ascii_uppercase(),
        Tree::Object(entries) => entries.iter_mut().for_each(|(_, value)| upper_case(value)),
        Tree::Array(items) => items.iter_mut().for_each(upper_case),
    }
}

fn without(tree: Tree, gone: &str) -> Tree {
    match tree {
        Tree::Object(entries) => Tree::Object(entries.into_iter().filter(|(key, _)| key != gone).collect()),
        other => other,
    }
}

fn insert_after(tree: &mut Tree, after: &str, key: &str, value: &str) {
    if let Tree::Object(entries) = tree {
        let place =
            entries.iter().position(|(known, _)| known == after).map_or(entries.len(), |place| place + 1);
        entries.insert(place, (key.to_owned(), Tree::from(value)));
    }
}

fn set(tree: &mut Tree, key: &str, value: &str) {
    if let Tree::Object(entries) = tree {
        entries.iter_mut().filter(|(known, _)| known == key).for_each(|(_, old)| *old = Tree::from(value));
    }
}

/// These keys first and in this order; the others follow in theirs.
fn move_first(tree: &mut Tree, keys: &[&str]) {
    if let Tree::Object(entries) = tree {
        entries.sort_by_key(|(key, _)| keys.iter().position(|first| first == key).unwrap_or(keys.len()));
    }
}

/// These keys last and in this order; the others keep theirs.
fn move_last(tree: &mut Tree, keys: &[&str]) {
    if let Tree::Object(entries) = tree {
        entries.sort_by_key(|(key, _)| keys.iter().position(|last| last == key).map_or(0, |place| place + 1));
    }
}

fn sort_keys(tree: &mut Tree, name: &str) {
    if let Tree::Object(entries) = tree {
        for (_, value) in entries.iter_mut().filter(|(key, _)| key == name) {
            if let Tree::Object(inner) = value {
                inner.sort_by(|(a, _), (b, _)| a.cmp(b));
                inner.dedup_by(|(a, _), (b, _)| a == b);
            }
        }
    }
}

fn for_each(tree: &mut Tree, name: &str, mut act: impl FnMut(&mut Tree)) {
    if let Tree::Object(entries) = tree {
        for (_, value) in entries.iter_mut().filter(|(key, _)| key == name) {
            match value {
                Tree::Object(inner) => inner.iter_mut().for_each(|(_, item)| act(item)),
                Tree::Array(items) => items.iter_mut().for_each(&mut act),
                Tree::Text(_) => {}
            }
        }
    }
}

/// The port writes a difficulty as a decimal number.
fn decimal(tree: &mut Tree, key: &str) {
    let value = tree.text_of(key).and_then(|text| u64::from_str_radix(text, 16).ok());
    if let Some(value) = value {
        set(tree, key, &value.to_string());
    }
}
