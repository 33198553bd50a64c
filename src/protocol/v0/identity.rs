//! Who a bot is: its two keys, and the names that follow from them.

use std::fmt;
use std::str::FromStr;

use crypto_box::SecretKey;
use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL_NOPAD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// Bytes of either public key.
const KEY_BYTES: usize = 32;
/// How much of its key's hash a key's own short name shows.
const KID_BYTES: usize = 16;

/// A bot: its keys. Wiped when dropped; shows only the name that everybody knows.
#[derive(Clone)]
pub struct BotKeys {
    signing: SigningKey,
    sealing: SecretKey,
}

impl BotKeys {
    /// The bot with these two 32-byte secrets.
    #[must_use]
    pub fn from_seeds(signing: &[u8; KEY_BYTES], sealing: &[u8; KEY_BYTES]) -> Self {
        Self { signing: SigningKey::from_bytes(signing), sealing: SecretKey::from(*sealing) }
    }

    /// Its name.
    #[must_use]
    pub fn bot_id(&self) -> BotId {
        BotId::of(&self.signing_key())
    }

    /// What its signatures are checked with.
    #[must_use]
    pub fn signing_key(&self) -> SigningPublicKey {
        SigningPublicKey(self.signing.verifying_key().to_bytes())
    }

    /// What its payloads are sealed for.
    #[must_use]
    pub fn sealing_key(&self) -> SealingPublicKey {
        SealingPublicKey(*self.sealing.public_key().as_bytes())
    }

    /// Signs a text, in base64url.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        encode_base64(&self.signing.sign(text.as_bytes()).to_bytes())
    }

    /// A secret that nobody else can make, the same whenever it is made for the same text: what a
    /// box is sealed with, so that the same text is sealed into the same bytes by a later life.
    #[must_use]
    pub fn ephemeral(&self, text: &str) -> [u8; KEY_BYTES] {
        let secret = zeroize::Zeroizing::new(self.sealing.to_bytes());
        Sha256::new().chain_update(b"sealed box\0").chain_update(*secret).chain_update(text).finalize().into()
    }

    pub(super) const fn sealing_secret(&self) -> &SecretKey {
        &self.sealing
    }
}

impl fmt::Debug for BotKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BotKeys({})", self.bot_id())
    }
}

/// The name of a bot: the hash of its signing key, so that nobody else can have it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BotId([u8; KEY_BYTES]);

/// The text is no name of a bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a bot's name is a b and 52 lower-case base32 digits")]
pub struct BotIdError;

impl BotId {
    /// The name that goes with a signing key.
    #[must_use]
    pub fn of(key: &SigningPublicKey) -> Self {
        Self(Sha256::digest(key.0).into())
    }

    /// The name with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Display for BotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&multibase32(&self.0))
    }
}

impl fmt::Debug for BotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for BotId {
    type Err = BotIdError;

    fn from_str(text: &str) -> Result<Self, BotIdError> {
        let digits = text.strip_prefix('b').ok_or(BotIdError)?;
        if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(BotIdError);
        }
        let bytes = BASE32_NOPAD.decode(digits.to_ascii_uppercase().as_bytes()).map_err(|_| BotIdError)?;
        bytes.try_into().map(Self).map_err(|_| BotIdError)
    }
}

impl Serialize for BotId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BotId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a public key is 32 bytes in base64url")]
pub struct KeyError;

macro_rules! public_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name([u8; KEY_BYTES]);

        impl $name {
            /// The key with these bytes; whether they are a point is for their use to find out.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; KEY_BYTES] {
                &self.0
            }

            /// Its short name.
            #[must_use]
            pub fn kid(&self) -> String {
                multibase32(&Sha256::digest(self.0)[..KID_BYTES])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&encode_base64(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        /// Takes padded standard base64 as well, as the deployed relays do.
        impl FromStr for $name {
            type Err = KeyError;

            fn from_str(text: &str) -> Result<Self, KeyError> {
                let bytes = decode_base64_or_padded(text).ok_or(KeyError)?;
                bytes.try_into().map(Self).map_err(|_| KeyError)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

public_key! {
    /// Checks a bot's signatures (Ed25519).
    SigningPublicKey
}

public_key! {
    /// Seals payloads for a bot (X25519).
    SealingPublicKey
}

impl SigningPublicKey {
    /// Whether its bot signed `text`; the signature is base64url of 64 bytes, written the one way.
    #[must_use]
    pub fn verifies(&self, text: &str, signature: &str) -> bool {
        let Some(signature) = decode_signature(signature) else { return false };
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(text.as_bytes(), &signature).is_ok())
    }
}

/// A signature in base64url, if the text is one.
pub(super) fn decode_signature(text: &str) -> Option<Signature> {
    decode_base64(text).and_then(|bytes| Signature::from_slice(&bytes).ok())
}

/// Base64url without padding.
#[must_use]
pub fn encode_base64(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

/// Reads base64url without padding, and no other way to write the same bytes.
#[must_use]
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()
}

fn decode_base64_or_padded(text: &str) -> Option<Vec<u8>> {
    decode_base64(text).or_else(|| BASE64.decode(text.as_bytes()).ok())
}

fn multibase32(bytes: &[u8]) -> String {
    format!("b{}", BASE32_NOPAD.encode(bytes).to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known() -> BotKeys {
        let seed = std::array::from_fn(|index| u8::try_from(index).unwrap());
        BotKeys::from_seeds(&seed, &seed)
    }

    #[test]
    fn the_names_of_a_known_bot() {
        let bot = known();
        assert_eq!(bot.signing_key().to_string(), "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg");
        assert_eq!(bot.sealing_key().to_string(), "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8");
        assert_eq!(bot.bot_id().to_string(), "bkzdvvj2umnduyauf35o36k6kw462mujvra46tn3uqgzovmihocga");
        assert_eq!(bot.signing_key().kid(), "bkzdvvj2umnduyauf35o36k6kw4");
        assert_eq!(bot.sealing_key().kid(), "b53oyqpnavfcrle64bi4ola73o4");
    }

    #[test]
    fn base32_of_counted_bytes() {
        let bytes = |from: u8| std::array::from_fn(|index| from + u8::try_from(index).unwrap());
        let first = BotId::from_bytes(bytes(0)).to_string();
        let second = BotId::from_bytes(bytes(32)).to_string();
        assert_eq!(first, "baaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq");
        assert_eq!(second, "beaqseizeeutcokbjfivsyljof4ydcmrtgq2tmnzyhe5dwpb5hy7q");
    }

    #[test]
    fn padded_keys_become_the_usual_ones() {
        let key: SigningPublicKey = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=".parse().unwrap();
        assert_eq!(key, known().signing_key());
        for text in [
            "",
            "A6EH",
            "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=",
            "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbh",
        ] {
            assert_eq!(text.parse::<SigningPublicKey>(), Err(KeyError), "{text}");
        }
    }

    #[test]
    fn a_bot_shows_no_secret() {
        assert_eq!(format!("{:?}", known()), format!("BotKeys({})", known().bot_id()));
    }

    /// Boxes and names on links that were given away are made from it, so that it may never change.
    #[test]
    fn the_secret_for_a_box_follows_from_the_sealing_key_and_the_text() {
        let made = |keys: &BotKeys, text: &str| hex::encode(keys.ephemeral(text));
        let known = known();
        assert_eq!(made(&known, "pay_1"), "eec26460ee63b21be693cc222b1ec7d26fe1c235f3bdbf747da1acde76518f19");
        assert_eq!(made(&known, ""), "c0a87c4e525e022d6f7a830b2682e394aed4048617cc512240c0f57e4f2d14b8");
        let stranger =
            BotKeys::from_seeds(&std::array::from_fn(|index| u8::try_from(index).unwrap()), &[9; 32]);
        assert_ne!(made(&stranger, "pay_1"), made(&known, "pay_1"));
    }

    #[test]
    fn names_and_keys_show_their_text_and_are_their_bytes() {
        let bytes = std::array::from_fn(|index| u8::try_from(index).unwrap());
        let (id, key) = (BotId::from_bytes(bytes), SigningPublicKey::from_bytes(bytes));
        assert_eq!((id.as_bytes(), key.as_bytes()), (&bytes, &bytes));
        assert_eq!(format!("{id:?}"), "baaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq");
        assert_eq!(format!("{key:?}"), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");
        assert_eq!(serde_json::to_value(id).unwrap(), id.to_string());
        assert_eq!(serde_json::from_value::<BotId>(id.to_string().into()).unwrap(), id);
        let no_digit = id.to_string().replace('y', "1");
        for bad in ["", "b", "aaaa", &no_digit, &id.to_string()[1..], &format!("{id}a")] {
            assert_eq!(bad.parse::<BotId>(), Err(BotIdError), "{bad}");
            assert!(serde_json::from_value::<BotId>(bad.into()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn names_and_keys_survive_their_text(bytes: [u8; 32]) {
            let (id, key) = (BotId::from_bytes(bytes), SealingPublicKey::from_bytes(bytes));
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(key.to_string().parse(), Ok(key));
            prop_assert_eq!(BASE64.encode(&bytes).parse(), Ok(key));
            prop_assert_eq!(id.to_string().len(), 53);
            prop_assert_eq!(key.kid().len(), 27);
            prop_assert!(id.to_string().to_uppercase().parse::<BotId>().is_err());
        }

        #[test]
        fn every_text_stands_for_itself_only(text in "[A-Za-z0-9_-]{0,48}") {
            if let Some(bytes) = decode_base64(&text) {
                prop_assert_eq!(encode_base64(&bytes), text);
            }
        }

        #[test]
        fn what_was_signed_verifies_and_nothing_else(seed: [u8; 32], text: String, other: String) {
            let bot = BotKeys::from_seeds(&seed, &seed);
            let signature = bot.sign(&text);
            prop_assert!(bot.signing_key().verifies(&text, &signature));
            prop_assert!(text == other || !bot.signing_key().verifies(&other, &signature));
            let padded = format!("{signature}==");
            prop_assert!(!bot.signing_key().verifies(&text, &padded));
        }

        #[test]
        fn garbage_never_panics(text: String, bytes: [u8; 32]) {
            let _ = text.parse::<BotId>();
            let _ = format!("b{text}").parse::<BotId>();
            let _ = text.parse::<SealingPublicKey>();
            let _ = SigningPublicKey::from_bytes(bytes).verifies(&text, &text);
        }
    }
}
