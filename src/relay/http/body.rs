//! Bodies and query strings: read strictly, named field by field.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::protocol::limits::JSON_DEPTH_MAX;
use crate::protocol::{Code, Refusal};

/// Characters of a stranger's key that a refusal repeats: refusals are kept, and must stay small.
const KEY_CHARS_SHOWN: usize = 64;

/// A body's fields.
#[derive(Debug)]
pub(super) struct Fields(pub(super) Map<String, Value>);

impl Fields {
    /// Reads a body; an empty one has no fields.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(Map::new()));
        }
        match strict(body).map_err(|error| Refusal::new(Code::Validation, format!("the body: {error}")))? {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(Refusal::new(Code::Validation, "the body: an object is wanted")),
        }
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    /// Takes any JSON; absent is null.
    pub(super) fn value(&mut self, field: &str) -> Value {
        self.0.remove(field).unwrap_or_default()
    }

    /// Takes a text, if there is one; null is absent.
    pub(super) fn text(&mut self, field: &str) -> Result<Option<String>, Refusal> {
        match self.value(field) {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            _ => Err(Refusal::field(field, "must be a text")),
        }
    }

    /// Takes a text that must be there.
    pub(super) fn needed_text(&mut self, field: &str) -> Result<String, Refusal> {
        self.text(field)?.ok_or_else(|| Refusal::field(field, "is missing"))
    }

    /// Takes a text and reads it.
    pub(super) fn parsed<T: FromStr<Err: fmt::Display>>(
        &mut self,
        field: &str,
    ) -> Result<Option<T>, Refusal> {
        self.text(field)?
            .map(|text| text.parse().map_err(|error: T::Err| Refusal::field(field, error.to_string())))
            .transpose()
    }

    /// Takes a whole number that is not negative.
    pub(super) fn number(&mut self, field: &str) -> Result<Option<u64>, Refusal> {
        match self.value(field) {
            Value::Null => Ok(None),
            value => match value.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(Refusal::field(field, "must be a whole number, not negative")),
            },
        }
    }

    pub(super) fn needed_number(&mut self, field: &str) -> Result<u64, Refusal> {
        self.number(field)?.ok_or_else(|| Refusal::field(field, "is missing"))
    }

    pub(super) fn switch(&mut self, field: &str) -> Result<Option<bool>, Refusal> {
        match self.value(field) {
            Value::Null => Ok(None),
            Value::Bool(value) => Ok(Some(value)),
            _ => Err(Refusal::field(field, "must be true or false")),
        }
    }

    pub(super) fn texts(&mut self, field: &str) -> Result<Option<Vec<String>>, Refusal> {
        let wrong = || Refusal::field(field, "must be a list of texts");
        match self.value(field) {
            Value::Null => Ok(None),
            Value::Array(values) => values
                .into_iter()
                .map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong))
                .collect::<Result<_, _>>()
                .map(Some),
            _ => Err(wrong()),
        }
    }
}

/// What is wrong with one field, to be told together with what is wrong with others.
pub(super) fn error<T>(field: &Result<T, Refusal>) -> Option<Refusal> {
    field.as_ref().err().cloned()
}

/// A query string's parameters; unknown ones are ignored.
#[derive(Debug)]
pub(super) struct Params(BTreeMap<String, String>);

impl Params {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Refusal> {
        let query = query.unwrap_or_default();
        let uri = format!("/?{query}").parse().map_err(|_| malformed())?;
        let axum::extract::Query(pairs) =
            axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).map_err(|_| malformed())?;
        let mut params = BTreeMap::new();
        for (name, value) in pairs {
            if value.contains('\0') {
                return Err(Refusal::field(&start(&name), "no NUL characters"));
            }
            if params.insert(name.clone(), value).is_some() {
                return Err(Refusal::field(&start(&name), "is given twice"));
            }
        }
        Ok(Self(params))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    pub(super) fn parsed<T: FromStr<Err: fmt::Display>>(&self, name: &str) -> Result<Option<T>, Refusal> {
        self.text(name)
            .map(|text| text.parse().map_err(|error: T::Err| Refusal::field(name, error.to_string())))
            .transpose()
    }

    /// A number of 1 to `max`.
    pub(super) fn limit(&self, default: usize, max: usize) -> Result<usize, Refusal> {
        match self.text("limit").map(str::parse) {
            None => Ok(default),
            Some(Ok(limit)) if (1..=max).contains(&limit) => Ok(limit),
            Some(_) => Err(Refusal::field("limit", format!("a whole number from 1 to {max}"))),
        }
    }

    pub(super) fn offset(&self) -> Result<usize, Refusal> {
        match self.text("offset").map(str::parse::<u32>) {
            None => Ok(0),
            Some(Ok(offset)) => Ok(offset as usize),
            Some(Err(_)) => Err(Refusal::field("offset", "a whole number, not negative")),
        }
    }

    pub(super) fn switch(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.text(name) {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(_) => Err(Refusal::field(name, "true or false")),
        }
    }

    /// The parts of a list with commas.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        self.text(name).map_or_else(Vec::new, |text| {
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect()
        })
    }
}

/// The beginning of a caller's own word, as a refusal may repeat it.
pub(super) fn quoted(word: &str) -> String {
    format!("{:?}", start(word))
}

fn start(word: &str) -> String {
    word.chars().take(KEY_CHARS_SHOWN).collect()
}

fn malformed() -> Refusal {
    Refusal::new(Code::Validation, "the query string is malformed")
}

/// Parses JSON without duplicate keys, NUL characters, or more than 64 levels.
fn strict(body: &[u8]) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Strict { levels_left: JSON_DEPTH_MAX }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Strict {
    levels_left: usize,
}

impl Strict {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        let levels_left = self.levels_left.checked_sub(1);
        levels_left
            .map(|levels_left| Self { levels_left })
            .ok_or_else(|| E::custom(format!("more than {JSON_DEPTH_MAX} levels deep")))
    }
}

fn without_nul<E: serde::de::Error>(text: String) -> Result<String, E> {
    if text.contains('\0') { Err(E::custom("a NUL character in a text")) } else { Ok(text) }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        without_nul(value.to_owned()).map(Value::String)
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        without_nul(value).map(Value::String)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let key = without_nul(key)?;
            if fields.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {} is there twice", quoted(&key))));
            }
            fields.insert(key, map.next_value_seed(inner)?);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> String {
        format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1))
    }

    #[test]
    fn a_refusal_repeats_the_beginning_of_a_word() {
        let word = "ä".repeat(5_000);
        assert_eq!(quoted(&word), format!("\"{}\"", "ä".repeat(KEY_CHARS_SHOWN)));
        let long = "x".repeat(5_000);
        for query in [format!("{long}=1&{long}=2"), format!("{long}=%00")] {
            let refusal = Params::parse(Some(&query)).unwrap_err();
            assert!(refusal.message.len() < 2 * KEY_CHARS_SHOWN, "{}", refusal.message);
        }
    }

    #[test]
    fn what_is_not_strictly_json_is_refused() {
        let bad: &[&str] = &[
            "nonsense",
            "[]",
            "1",
            "{\"a\":1,\"a\":2}",
            "{\"a\":{\"b\":1,\"b\":1}}",
            "{\"a\":\"\\u0000\"}",
            "{\"\\u0000\":1}",
            "{\"a\":1}x",
            "{\"a\":1e999}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":NaN}",
            "{\"a\":1",
            &nested(65),
        ];
        for body in bad {
            let refusal = Fields::parse(body.as_bytes()).map(|_| ()).unwrap_err();
            assert_eq!(refusal.code, Code::Validation, "{body}");
        }
        assert!(Fields::parse(b"{\"a\":\"\xff\"}").is_err());
        for body in ["", " \n", "{}", "{\"unknown\":[1.5,-2,true,null]}", &nested(64)] {
            assert!(Fields::parse(body.as_bytes()).is_ok(), "{body}");
        }
    }

    #[test]
    fn query_strings_are_decoded_and_checked() {
        let params = Params::parse(Some("q=a%20b&limit=7&tags=x,%20y,,")).unwrap();
        assert_eq!(params.text("q"), Some("a b"));
        assert_eq!(params.limit(1, 10).unwrap(), 7);
        assert_eq!(params.list("tags"), ["x", "y"]);
        assert!(params.limit(1, 6).is_err());
        assert!(Params::parse(Some("a=1&a=2")).is_err());
        assert!(Params::parse(Some("a=%00")).is_err());
    }
}
