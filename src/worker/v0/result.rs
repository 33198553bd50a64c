//! What a handler reads and writes, as the text inside a sealed payload.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::protocol::v0::{JobId, PayloadId};
use crate::worker::input::Outcome;

/// The longest text of one payload, as JSON escapes it: a sealed payload has 65,536 bytes, and names,
/// signature and seal around the text have less than two thousand.
const TEXT_BYTES_MAX: usize = 62_000;

/// What is to be handed over, in order: a file, messages that are parts, and the deliverable that ends
/// the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delivery {
    /// A text that is too long for one payload, and that is not split: its name, and itself.
    pub(super) file: Option<(String, String)>,
    /// Parts of a text that is too long for one payload, to be joined in this order.
    pub(super) parts: Vec<Letter>,
    /// The result itself, the list of its parts, or where it is.
    pub(super) last: Letter,
}

/// One text and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) id: PayloadId,
    pub(super) body: String,
}

/// The request as the handler gets it: an object or a list if the buyer wrote one, otherwise the text
/// as it is, so that a number or a quotation stays what the buyer wrote.
pub(super) fn request(body: &str) -> Value {
    match serde_json::from_str::<Value>(body) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
        _ => Value::String(body.to_owned()),
    }
}

/// An outcome as texts. Their names follow from the job and the outcome, so that every life gives
/// them the same ones. A text that is too long is split, unless `link` says where one with its hash
/// is to be found, and under which name.
pub(super) fn delivery(
    job: &JobId,
    outcome: &Outcome,
    link: impl Fn(&str) -> Option<(String, String)>,
) -> Delivery {
    let text = text(outcome);
    let hash = hex::encode(Sha256::digest(&text));
    let name = |what: &str| payload_id(job, &format!("{what}_{}", &hash[..16]));
    if escaped(&text) <= TEXT_BYTES_MAX {
        return Delivery { file: None, parts: Vec::new(), last: Letter { id: name("result"), body: text } };
    }
    if let Some((file, url)) = link(&hash) {
        let list = json!({ "url": url, "bytes": text.len(), "sha256": hash });
        let last = Letter { id: name("result"), body: list.to_string() };
        return Delivery { file: Some((file, text)), parts: Vec::new(), last };
    }
    let pieces = pieces(&text);
    let count = pieces.len();
    let parts: Vec<Letter> = pieces
        .into_iter()
        .enumerate()
        .map(|(place, body)| Letter { id: name(&format!("part{}of{count}", place + 1)), body })
        .collect();
    let ids: Vec<&PayloadId> = parts.iter().map(|part| &part.id).collect();
    let list = json!({ "parts": ids, "bytes": text.len(), "sha256": hash });
    let last = Letter { id: name("result"), body: list.to_string() };
    Delivery { file: None, parts, last }
}

/// The message that tells why there will be no charge.
pub(super) fn refusal(job: &JobId, reason: &str) -> Letter {
    Letter { id: payload_id(job, "refusal"), body: json!({ "refused": reason }).to_string() }
}

/// A text is handed over as it is, everything else as JSON; an error under that name. What a handler
/// printed that was no JSON is a text, too.
fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Result(Value::String(text)) => text.clone(),
        Outcome::Result(Value::Object(fields)) if fields.len() == 1 => match fields.get("text") {
            Some(Value::String(text)) => text.clone(),
            _ => Value::Object(fields.clone()).to_string(),
        },
        Outcome::Result(value) => value.to_string(),
        Outcome::Error(error) => json!({ "error": error }).to_string(),
    }
}

/// A name that the deployed client takes, whatever the buyer called the job.
fn payload_id(job: &JobId, what: &str) -> PayloadId {
    let job = hex::encode(&Sha256::digest(job.as_str())[..8]);
    PayloadId::new(format!("pay_{job}_{what}"))
}

/// How long a text is as JSON.
fn escaped(text: &str) -> usize {
    text.chars().map(escaped_char).sum()
}

const fn escaped_char(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        other => other.len_utf8(),
    }
}

/// A text in pieces that each fit a payload.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut length = 0;
    for character in text.chars() {
        let more = escaped_char(character);
        if length + more > TEXT_BYTES_MAX {
            pieces.push(String::new());
            length = 0;
        }
        length += more;
        if let Some(piece) = pieces.last_mut() {
            piece.push(character);
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::job::JobError;
    use crate::protocol::v0::payload::{Address, Kind, write};
    use crate::protocol::v0::{BotKeys, Moment};

    fn job() -> JobId {
        JobId::new("job_1")
    }

    fn no_link(_: &str) -> Option<(String, String)> {
        None
    }

    fn result(value: Value) -> Delivery {
        delivery(&job(), &Outcome::Result(value), no_link)
    }

    #[test]
    fn requests_are_texts_unless_they_are_documents() {
        assert_eq!(request("count me"), json!("count me"));
        assert_eq!(request("5"), json!("5"));
        assert_eq!(request("\"x\""), json!("\"x\""));
        assert_eq!(request(r#" {"text":"a"} "#), json!({ "text": "a" }));
        assert_eq!(request("[1]"), json!([1]));
        assert_eq!(request(""), json!(""));
    }

    #[test]
    fn a_short_result_is_one_payload_of_a_name_that_stays() {
        let told = result(json!("four words are here"));
        assert!(told.parts.is_empty());
        assert_eq!(told.last.body, "four words are here");
        assert_eq!(told, result(json!("four words are here")));
        assert_ne!(told.last.id, result(json!("three words are here")).last.id);
        assert_ne!(
            told.last.id,
            delivery(&JobId::new("job_2"), &Outcome::Result(json!("x")), no_link).last.id
        );
        assert_eq!(result(json!({ "words": 4 })).last.body, r#"{"words":4}"#);
        assert_eq!(result(json!({ "text": "4\n" })).last.body, "4\n");
        assert_eq!(result(json!({ "text": "4", "n": 4 })).last.body, r#"{"text":"4","n":4}"#);
        let error =
            JobError { code: "handler_failed".to_owned(), message: "m".to_owned(), details: Value::Null };
        let body = delivery(&job(), &Outcome::Error(error), no_link).last.body;
        assert_eq!(body, r#"{"error":{"code":"handler_failed","message":"m","details":null}}"#);
        assert_eq!(refusal(&job(), "no").body, r#"{"refused":"no"}"#);
    }

    #[test]
    fn a_long_result_can_be_a_link_with_its_hash() {
        let text = "x".repeat(TEXT_BYTES_MAX + 1);
        let link = |hash: &str| Some((format!("file-{hash}"), format!("https://example.org/{hash}")));
        let told = delivery(&job(), &Outcome::Result(json!(text)), link);
        let hash = hex::encode(Sha256::digest(&text));
        let told_of: Value = serde_json::from_str(&told.last.body).unwrap();
        assert_eq!(
            told_of,
            json!({ "url": format!("https://example.org/{hash}"), "bytes": text.len(), "sha256": hash })
        );
        assert_eq!((told.file, told.parts), (Some((format!("file-{hash}"), text)), vec![]));
        assert_eq!(delivery(&job(), &Outcome::Result(json!("short")), link).file, None);
    }

    fn seals(letter: &Letter) {
        assert!(letter.id.is_plain(), "{}", letter.id);
        let (keys, long) = (BotKeys::from_seeds(&[1; 32], &[2; 32]), JobId::new("\"".repeat(256)));
        let address = Address {
            payload_id: &letter.id,
            job_id: &long,
            kind: Kind::Message,
            recipient: keys.bot_id(),
            recipient_key: &keys.sealing_key(),
        };
        write(&keys, address, &letter.body, Moment::from_nanos(1), &[3; 32]).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        /// Whatever is in it, every part can be sealed, and together they are the text.
        #[test]
        fn a_long_result_is_its_parts(seed in "[a-zé\"\\\\\n\u{1}🦀]{1,40}", times in 4_000usize..9_000) {
            let text = seed.repeat(times);
            let told = result(json!(text));
            told.parts.iter().chain([&told.last]).for_each(seals);
            if told.parts.is_empty() {
                prop_assert_eq!(&told.last.body, &text);
            } else {
                let joined: String = told.parts.iter().map(|part| part.body.as_str()).collect();
                prop_assert!(joined == text);
                let list: Value = serde_json::from_str(&told.last.body).unwrap();
                prop_assert_eq!(&list["sha256"], &json!(hex::encode(Sha256::digest(&text))));
                let ids: Vec<&str> = told.parts.iter().map(|part| part.id.as_str()).collect();
                prop_assert_eq!(&list["parts"], &json!(ids));
                prop_assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len());
            }
        }
    }
}
