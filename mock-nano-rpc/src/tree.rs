//! JSON as the C++ node sees it: a tree of texts.
//!
//! The node keeps requests and answers in a Boost property tree, which knows neither numbers nor
//! booleans nor null, and which cannot tell an empty object from an empty text. That one
//! data structure explains most of what surprises a client.

use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A text, an ordered object in which keys may repeat, or an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// Any scalar.
    Text(String),
    /// In the order written.
    Object(Vec<(String, Tree)>),
    /// In the order written.
    Array(Vec<Tree>),
}

/// The two ways in which nodes write JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Four spaces, a final newline, and `""` for every empty collection.
    Pretty,
    /// No white space; `{}` and `[]`.
    Compact,
    /// No white space, but still `""` for every empty collection: what a proxy makes of the
    /// first.
    Relayed,
}

impl Tree {
    /// An object without entries.
    #[must_use]
    pub const fn object() -> Self {
        Self::Object(Vec::new())
    }

    /// A scalar, as the node writes it.
    #[must_use]
    pub fn text(value: impl fmt::Display) -> Self {
        Self::Text(value.to_string())
    }

    /// This object with one entry more; an array or a text stays as it is.
    #[must_use]
    pub fn with(mut self, key: impl fmt::Display, value: impl Into<Self>) -> Self {
        self.push(key, value);
        self
    }

    /// Adds an entry to an object.
    pub fn push(&mut self, key: impl fmt::Display, value: impl Into<Self>) {
        if let Self::Object(entries) = self {
            entries.push((key.to_string(), value.into()));
        }
    }

    /// The first entry with this key: where keys repeat, the first wins.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(entries) => entries.iter().find(|(known, _)| known == key).map(|(_, value)| value),
            Self::Text(_) | Self::Array(_) => None,
        }
    }

    /// The text of a scalar. A collection reads as an empty text, as it does in the node.
    #[must_use]
    pub fn as_text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Object(_) | Self::Array(_) => "",
        }
    }

    /// The scalar entry with this key.
    #[must_use]
    pub fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key).map(Self::as_text)
    }

    /// What an array holds; nothing for anything else.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            Self::Text(_) | Self::Object(_) => &[],
        }
    }

    /// Reads JSON; numbers, booleans and null become their texts.
    ///
    /// # Errors
    /// Where the text is not JSON.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// The JSON text in this style.
    #[must_use]
    pub fn write(&self, style: Style) -> String {
        let mut out = String::with_capacity(256);
        match style {
            Style::Pretty => {
                self.write_pretty(&mut out, 0);
                out.push('\n');
            }
            Style::Compact | Style::Relayed => self.write_compact(&mut out, style),
        }
        out
    }

    fn write_pretty(&self, out: &mut String, depth: usize) {
        match self {
            Self::Text(text) => write_text(out, text, Style::Pretty),
            Self::Object(entries) if entries.is_empty() => out.push_str("\"\""),
            Self::Array(items) if items.is_empty() => out.push_str("\"\""),
            Self::Object(entries) => {
                out.push('{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    new_line(out, index, depth + 1);
                    write_text(out, key, Style::Pretty);
                    out.push_str(": ");
                    value.write_pretty(out, depth + 1);
                }
                close(out, depth, '}');
            }
            Self::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    new_line(out, index, depth + 1);
                    item.write_pretty(out, depth + 1);
                }
                close(out, depth, ']');
            }
        }
    }

    fn write_compact(&self, out: &mut String, style: Style) {
        match self {
            Self::Object(entries) if entries.is_empty() && style == Style::Relayed => out.push_str("\"\""),
            Self::Array(items) if items.is_empty() && style == Style::Relayed => out.push_str("\"\""),
            Self::Text(text) => write_text(out, text, Style::Compact),
            Self::Object(entries) => {
                out.push('{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_text(out, key, Style::Compact);
                    out.push(':');
                    value.write_compact(out, style);
                }
                out.push('}');
            }
            Self::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write_compact(out, style);
                }
                out.push(']');
            }
        }
    }
}

fn new_line(out: &mut String, index: usize, depth: usize) {
    out.push_str(if index == 0 { "\n" } else { ",\n" });
    out.extend(std::iter::repeat_n("    ", depth));
}

fn close(out: &mut String, depth: usize, bracket: char) {
    out.push('\n');
    out.extend(std::iter::repeat_n("    ", depth));
    out.push(bracket);
}

/// Boost escapes the slash; nobody else does.
fn write_text(out: &mut String, text: &str, style: Style) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '/' if style == Style::Pretty => out.push_str("\\/"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control if control < ' ' => {
                // Writing to a String cannot fail.
                let _: fmt::Result = write!(out, "\\u{:04X}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

impl From<&str> for Tree {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Tree {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<Self>> for Tree {
    fn from(items: Vec<Self>) -> Self {
        Self::Array(items)
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::text(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::text(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::text(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::text(value))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::from("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Tree::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut object = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            object.push(entry);
        }
        Ok(Tree::Object(object))
    }
}
