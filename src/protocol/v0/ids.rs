//! Names that clients make up: any text that is not empty, each kind its own.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::limits::ID_BYTES_MAX;

macro_rules! text_kind {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The name with this text; whether it can be one is for [`Self::is_valid`] to say.
            #[must_use]
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// Its text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether there is a text, and no longer one than a relay keeps.
            #[must_use]
            pub fn is_valid(&self) -> bool {
                (1..=ID_BYTES_MAX).contains(&self.0.len())
            }

            /// Whether the deployed client would take it: visible ASCII of few kinds.
            #[must_use]
            pub fn is_plain(&self) -> bool {
                is_plain(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_kind! {
    /// Names a job; the buyer makes it.
    JobId
}

text_kind! {
    /// Names an offer; the relay makes it.
    OfferId
}

text_kind! {
    /// Names a payload; its sender makes it.
    PayloadId
}

text_kind! {
    /// Names a charge; the seller makes it.
    ChargeId
}

impl OfferId {
    /// The name that a relay gives: the nanoseconds of its making, and eight random bytes.
    #[must_use]
    pub fn made(at: super::Moment, random: [u8; 8]) -> Self {
        Self(format!("offer_{:019}_{:016x}", at.nanos(), u64::from_be_bytes(random)))
    }
}

/// A letter or digit, then up to 127 of those and `_`, `.`, `:`, `-`.
fn is_plain(text: &str) -> bool {
    text.len() <= 128
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_those_that_the_deployed_client_takes() {
        for (text, plain) in [
            ("job_01HXJOB123", true),
            ("a", true),
            ("A.b:c-d_9", true),
            ("", false),
            ("_a", false),
            ("a b", false),
            ("a/b", false),
            ("ä", false),
        ] {
            assert_eq!(JobId::new(text).is_plain(), plain, "{text}");
        }
        assert!(JobId::new("a".repeat(128)).is_plain());
        assert!(!JobId::new("a".repeat(129)).is_plain());
    }

    #[test]
    fn a_relays_offer_has_this_shape() {
        let id = OfferId::made("2026-02-01T12:00:00.5Z".parse().unwrap(), [0, 1, 2, 3, 4, 5, 6, 255]);
        assert_eq!(id.as_str(), "offer_1769947200500000000_00010203040506ff");
        assert!(id.is_plain());
    }

    #[test]
    fn a_name_that_a_relay_keeps_is_there_and_bounded() {
        for (bytes, valid) in [(0, false), (1, true), (256, true), (257, false)] {
            let text = "|".repeat(bytes);
            assert_eq!(JobId::new(text.clone()).is_valid(), valid, "{bytes} bytes");
            assert_eq!(PayloadId::new(text.clone()).is_valid(), valid, "{bytes} bytes");
            assert_eq!(ChargeId::new(text.clone()).to_string(), text);
        }
        assert!(!JobId::new("é".repeat(129)).is_valid(), "bytes count, not letters");
    }
}
