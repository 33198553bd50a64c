//! A result that is too long for letters: where it is, how long, and its hash, in the seller's word.

use serde::{Deserialize, Serialize};

/// What stands in place of such a result. The letter is sealed and signed, so that the hash is the
/// seller's; whoever serves the file is anybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Where it is.
    pub url: String,
    /// How long it is.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
}

impl Link {
    /// The link that a result is, if it is one and nothing else.
    #[must_use]
    pub fn of(result: &str) -> Option<Self> {
        serde_json::from_str(result).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_link_is_one() {
        let whole = r#"{"url":"https://example.org/r","bytes":5,"sha256":"ab"}"#;
        assert_eq!(Link::of(whole).map(|link| link.bytes), Some(5));
        for other in [
            "",
            "5",
            r#"{"url":"x","bytes":5}"#,
            r#"{"url":"x","bytes":-5,"sha256":"ab"}"#,
            r#"{"url":"x","bytes":5,"sha256":"ab","more":1}"#,
        ] {
            assert_eq!(Link::of(other), None, "{other}");
        }
    }
}
