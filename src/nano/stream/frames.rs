//! What is written to the node's WebSocket, and what is read from it.

use serde_json::{Value, json};

use crate::{Account, BlockHash};

/// Frames in a row that make no sense. One may be a new kind of news; this many are no node.
pub const GARBAGE_MAX: usize = 16;

/// Answered by every node, whatever was subscribed to.
pub(super) const PING: &str = r#"{"action":"ping"}"#;

/// What a frame means to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// A wish was heard.
    Acknowledged,
    /// A block was confirmed: whose, and whom it may pay.
    Confirmed { hash: BlockHash, parties: [Option<Account>; 2] },
    /// Something else that nodes say.
    Other,
    /// Nothing that nodes say.
    Garbage,
}

/// The one subscription of a connection. Its options are given even for no accounts, because
/// without them there is nothing that could be updated; an empty list lets nothing pass.
pub(super) fn subscribe(accounts: &[Account]) -> String {
    // Booleans must be booleans: one kind of node hangs up on "true". The block is included
    // unless that is refused, and the filter needs it.
    json!({
        "action": "subscribe",
        "topic": "confirmation",
        "ack": true,
        "options": { "accounts": accounts },
    })
    .to_string()
}

/// A change of it.
pub(super) fn update(added: &[Account], removed: &[Account]) -> String {
    let mut options = json!({});
    if !added.is_empty() {
        options["accounts_add"] = json!(added);
    }
    if !removed.is_empty() {
        options["accounts_del"] = json!(removed);
    }
    json!({ "action": "update", "topic": "confirmation", "ack": true, "options": options }).to_string()
}

pub(super) fn read(bytes: &[u8]) -> Frame {
    let Ok(Value::Object(frame)) = serde_json::from_slice(bytes) else { return Frame::Garbage };
    match frame.get("ack").and_then(Value::as_str) {
        Some("subscribe" | "update") => return Frame::Acknowledged,
        Some(_) => return Frame::Other,
        None => {}
    }
    match frame.get("topic").and_then(Value::as_str) {
        Some("confirmation") => confirmation(frame.get("message").unwrap_or(&Value::Null)),
        Some(_) => Frame::Other,
        None => Frame::Garbage,
    }
}

fn confirmation(message: &Value) -> Frame {
    let account = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
    let Some(hash) = message["hash"].as_str().and_then(|text| text.parse().ok()) else {
        return Frame::Garbage;
    };
    Frame::Confirmed {
        hash,
        parties: [account(&message["account"]), account(&message["block"]["link_as_account"])],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_pinned() {
        assert_eq!(
            subscribe(&[Account::BURN]),
            r#"{"action":"subscribe","topic":"confirmation","ack":true,"options":{"accounts":["nano_1111111111111111111111111111111111111111111111111111hifc8npp"]}}"#
        );
        assert_eq!(
            subscribe(&[]),
            r#"{"action":"subscribe","topic":"confirmation","ack":true,"options":{"accounts":[]}}"#
        );
        assert_eq!(
            update(&[Account::BURN], &[]),
            r#"{"action":"update","topic":"confirmation","ack":true,"options":{"accounts_add":["nano_1111111111111111111111111111111111111111111111111111hifc8npp"]}}"#
        );
        assert_eq!(
            update(&[], &[Account::BURN]),
            r#"{"action":"update","topic":"confirmation","ack":true,"options":{"accounts_del":["nano_1111111111111111111111111111111111111111111111111111hifc8npp"]}}"#
        );
    }

    #[test]
    fn what_is_read() {
        let hash = BlockHash::from_bytes([7; 32]);
        let news = |message: Value| {
            read(json!({ "topic": "confirmation", "message": message }).to_string().as_bytes())
        };
        assert_eq!(
            news(json!({ "hash": hash, "account": Account::BURN, "block": { "link_as_account": "nano_1" } })),
            Frame::Confirmed { hash, parties: [Some(Account::BURN), None] }
        );
        assert_eq!(news(json!({ "hash": hash })), Frame::Confirmed { hash, parties: [None; 2] });
        assert_eq!(news(json!({ "hash": "7" })), Frame::Garbage);
        assert_eq!(news(json!(null)), Frame::Garbage);
        assert_eq!(read(br#"{"topic":"confirmation"}"#), Frame::Garbage);
        assert_eq!(read(br#"{"ack":"subscribe","time":"1"}"#), Frame::Acknowledged);
        assert_eq!(read(br#"{"ack":"pong","time":"1"}"#), Frame::Other);
        assert_eq!(read(br#"{"topic":"vote","message":{}}"#), Frame::Other);
        for garbage in ["", "[]", "{", "null", "{}", "\"confirmation\"", "\u{0}"] {
            assert_eq!(read(garbage.as_bytes()), Frame::Garbage, "{garbage:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }
    }
}
