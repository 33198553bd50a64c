//! Signed requests: the canonical text, its headers, and who sent it.
//!
//! Ordinary Ed25519 with SHA-512 (RFC 8032), not Nano's variant.

use std::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::PublicKey;

/// Header with the signer's public key, 64 lower-case hex digits.
pub const PUBKEY_HEADER: &str = "x-molt-pubkey";
/// Header with the moment of signing, in UNIX seconds.
pub const TIMESTAMP_HEADER: &str = "x-molt-timestamp";
/// Header with a nonce, 32 to 64 lower-case hex digits, used once.
pub const NONCE_HEADER: &str = "x-molt-nonce";
/// Header with the signature, 128 lower-case hex digits.
pub const SIGNATURE_HEADER: &str = "x-molt-signature";

/// The text that is signed: five lines without a final newline.
///
/// `path_with_query` is exactly what goes on the wire.
#[must_use]
pub fn canonical(method: &str, path_with_query: &str, timestamp: &str, nonce: &str, body: &[u8]) -> String {
    let digest = hex::encode(Sha256::digest(body));
    format!("{method}\n{path_with_query}\n{timestamp}\n{nonce}\n{digest}")
}

/// Whether a nonce has the contract's form.
#[must_use]
pub fn is_nonce(text: &str) -> bool {
    (32..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Whether `key` signed `message`; `signature` is 128 lower-case hex digits.
#[must_use]
pub fn verifies(key: &PublicKey, message: &[u8], signature: &str) -> bool {
    if signature.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return false;
    }
    let mut bytes = [0u8; 64];
    if hex::decode_to_slice(signature, &mut bytes).is_err() {
        return false;
    }
    VerifyingKey::from_bytes(key.as_bytes())
        .is_ok_and(|verifier| verifier.verify_strict(message, &Signature::from_bytes(&bytes)).is_ok())
}

/// A party's secret key. Wiped when dropped; shows only its public half.
#[derive(Clone)]
pub struct Signer {
    key: SigningKey,
}

/// The text is no secret key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretKeyError {
    /// Neither 64 nor 128 hex digits.
    #[error("a private key is 64 hex digits, or 128 with its public key behind it")]
    Shape,
    /// 128 digits whose second half is another key's.
    #[error("the public key behind the private key does not belong to it")]
    Mismatch,
}

impl Signer {
    /// The key with this 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { key: SigningKey::from_bytes(seed) }
    }

    /// Reads 64 hex digits (the seed), or 128 (the seed and its public key). White space around
    /// them is ignored.
    ///
    /// # Errors
    /// Says what is wrong; never repeats the text.
    pub fn parse(text: &str) -> Result<Self, SecretKeyError> {
        let bytes = Zeroizing::new(hex::decode(text.trim()).map_err(|_| SecretKeyError::Shape)?);
        let (seed, public) = match bytes.len() {
            32 => (bytes.as_slice(), None),
            64 => (&bytes[..32], Some(&bytes[32..])),
            _ => return Err(SecretKeyError::Shape),
        };
        let seed = Zeroizing::new(<[u8; 32]>::try_from(seed).map_err(|_| SecretKeyError::Shape)?);
        let signer = Self::from_seed(&seed);
        if public.is_some_and(|public| public != signer.public_key().as_bytes()) {
            return Err(SecretKeyError::Mismatch);
        }
        Ok(signer)
    }

    /// Its public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from_bytes(self.key.verifying_key().to_bytes())
    }

    /// Signs a message: 128 lower-case hex digits.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> String {
        hex::encode(self.key.sign(message).to_bytes())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.public_key())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_canonical_text_is_pinned() {
        assert_eq!(
            canonical("GET", "/v1/jobs?limit=1", "1700000000", "ab", b""),
            "GET\n/v1/jobs?limit=1\n1700000000\nab\n\
             e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    /// RFC 8032, section 7.1, test 1.
    #[test]
    fn the_signature_is_standard_ed25519() {
        let signer =
            Signer::parse("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        assert_eq!(
            signer.public_key().to_string(),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        assert_eq!(
            signer.sign(b""),
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b\
             d25bf5f0595bbe24655141438e7a100b"
        );
    }

    #[test]
    fn a_long_key_must_match_its_public_half() {
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert!(Signer::parse(&format!("{seed}{public}\n")).is_ok());
        assert_eq!(Signer::parse(&format!("{seed}{seed}")).err(), Some(SecretKeyError::Mismatch));
        assert_eq!(Signer::parse("9d61").err(), Some(SecretKeyError::Shape));
        assert!(!format!("{:?}", Signer::parse(seed)).contains(seed));
    }

    proptest! {
        #[test]
        fn what_was_signed_verifies_and_nothing_else(seed: [u8; 32], message: Vec<u8>, other: Vec<u8>) {
            let signer = Signer::from_seed(&seed);
            let signature = signer.sign(&message);
            prop_assert!(verifies(&signer.public_key(), &message, &signature));
            prop_assert!(message == other || !verifies(&signer.public_key(), &other, &signature));
            prop_assert!(!verifies(&signer.public_key(), &message, &signature.to_uppercase()));
        }

        #[test]
        fn garbage_never_panics(key: [u8; 32], message: Vec<u8>, signature: String) {
            let _ = verifies(&PublicKey::from_bytes(key), &message, &signature);
            let _ = Signer::parse(&signature);
        }
    }
}
