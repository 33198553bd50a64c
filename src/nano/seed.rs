//! Seeds and the keys that grow from them.

use std::fmt;

use bip39::{Language, Mnemonic};
use blake2::digest::Digest;
use blake2::{Blake2b, Blake2b512, digest::consts::U32};
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign, raw_verify};
use ed25519_dalek::{Signature as DalekSignature, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::Account;

/// Words in a phrase: BIP-39 knows 12, 15, 18, 21 and 24.
const WORDS_MIN: usize = 12;

/// SLIP-0010's domain text for Ed25519.
const SLIP10_KEY: &[u8] = b"ed25519 seed";

/// `44'` and Nano's registered coin type `165'` (SLIP-0044).
const BIP44_PATH: [u32; 2] = [44, 165];

/// SLIP-0010 knows only hardened children for Ed25519.
const HARDENED: u32 = 1 << 31;

/// The secret from which all of a wallet's keys are derived.
///
/// Wiped from memory when dropped; its `Debug` shows only its kind.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub enum Seed {
    /// 32 bytes; keys are Blake2b-256(seed, index), index 0 to 2^32-1.
    Hex([u8; 32]),
    /// The 64 bytes of a BIP-39 phrase; keys are SLIP-0010 `m/44'/165'/index'`, index 0 to 2^31-1.
    Bip39([u8; 64]),
}

impl Seed {
    /// Reads 64 hex digits, or a BIP-39 phrase of 12 to 24 English words (without a passphrase).
    /// White space around either is ignored.
    ///
    /// # Errors
    /// Says which form was taken and what is wrong; never repeats the text.
    pub fn parse(text: &str) -> Result<Self, SeedError> {
        let text = text.trim();
        if text.split_whitespace().nth(1).is_some() {
            return Self::from_phrase(text, "");
        }
        if text.len() != 64 {
            return Err(SeedError::Length);
        }
        let mut bytes = [0u8; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| SeedError::NotHex)?;
        Ok(Self::Hex(bytes))
    }

    /// The seed of a BIP-39 phrase of 12 to 24 English words and its passphrase (`""` for none).
    ///
    /// # Errors
    /// Names the rule of BIP-39 that the phrase breaks, and the place of an unknown word.
    pub fn from_phrase(phrase: &str, passphrase: &str) -> Result<Self, SeedError> {
        let words = phrase.split_whitespace().count();
        if words < WORDS_MIN {
            return Err(SeedError::WordCount(words));
        }
        let joined = Zeroizing::new(phrase.split_whitespace().collect::<Vec<_>>().join(" "));
        let normal = Zeroizing::new(joined.to_lowercase());
        let mnemonic =
            Mnemonic::parse_in(Language::English, normal.as_str()).map_err(|error| match error {
                bip39::Error::BadWordCount(count) => SeedError::WordCount(count),
                bip39::Error::UnknownWord(place) => SeedError::UnknownWord(place + 1),
                _ => SeedError::PhraseChecksum,
            })?;
        Ok(Self::Bip39(mnemonic.to_seed(passphrase)))
    }

    /// The BIP-39 phrase that stands for this entropy: 16 bytes make 12 words, 32 make 24.
    ///
    /// # Errors
    /// If there are fewer or more bytes than phrases are made of.
    pub fn phrase(entropy: &[u8]) -> Result<Zeroizing<String>, SeedError> {
        let mnemonic =
            Mnemonic::from_entropy_in(Language::English, entropy).map_err(|_| SeedError::Length)?;
        Ok(Zeroizing::new(mnemonic.to_string()))
    }

    /// The private key number `index`.
    ///
    /// # Errors
    /// A phrase's keys end at index 2^31-1.
    pub fn key(&self, index: u32) -> Result<PrivateKey, SeedError> {
        match self {
            Self::Hex(seed) => {
                let hash =
                    Blake2b::<U32>::new().chain_update(seed).chain_update(index.to_be_bytes()).finalize();
                Ok(PrivateKey(hash.into()))
            }
            Self::Bip39(_) if index >= HARDENED => Err(SeedError::IndexTooLarge),
            Self::Bip39(seed) => Ok(slip10(seed, &[BIP44_PATH[0], BIP44_PATH[1], index])),
        }
    }

    /// The account of key number `index`.
    ///
    /// # Errors
    /// As [`Seed::key`].
    pub fn account(&self, index: u32) -> Result<Account, SeedError> {
        Ok(self.key(index)?.account())
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hex(_) => "Seed::Hex(..)",
            Self::Bip39(_) => "Seed::Bip39(..)",
        })
    }
}

/// Why a seed cannot be read, or a key not be derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SeedError {
    /// Neither 64 characters nor several words.
    #[error("a seed is 64 hex digits or a BIP-39 phrase of 12 to 24 words")]
    Length,
    /// 64 characters that are not all hex digits.
    #[error("a seed of 64 characters holds hex digits only")]
    NotHex,
    /// BIP-39 knows 12, 15, 18, 21 and 24 words.
    #[error("a BIP-39 phrase has 12, 15, 18, 21 or 24 words, this one has {0}")]
    WordCount(usize),
    /// The word at this place, counted from 1, is not on the English list.
    #[error("word {0} of the phrase is not on BIP-39's English list")]
    UnknownWord(usize),
    /// All words are known, but they do not belong together.
    #[error("the phrase's checksum does not match: a word is wrong or out of place")]
    PhraseChecksum,
    /// A phrase's keys end at 2^31-1.
    #[error("a phrase's account index is at most 2147483647")]
    IndexTooLarge,
}

/// SLIP-0010: the Ed25519 key at a path of hardened indices.
fn slip10(seed: &[u8], path: &[u32]) -> PrivateKey {
    let mut node = hmac_sha512(SLIP10_KEY, &[seed]);
    for index in path {
        let (key, chain) = node.split_at(32);
        node = hmac_sha512(chain, &[&[0], key, &(index | HARDENED).to_be_bytes()]);
    }
    let mut key = [0u8; 32];
    key.copy_from_slice(&node[..32]);
    PrivateKey(key)
}

fn hmac_sha512(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 64]> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha512>::new_from_slice(key).expect("HMAC takes any key");
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// The private key of one account. Wiped when dropped, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct PrivateKey([u8; 32]);

impl PrivateKey {
    /// The key of these 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key's bytes: for known answers and exports, never for logs.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The account it opens: Ed25519 with Blake2b-512 in place of SHA-512.
    #[must_use]
    pub fn account(&self) -> Account {
        Account::from_bytes(VerifyingKey::from(&self.expand()).to_bytes())
    }

    /// Signs a message, deterministically.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        let expanded = self.expand();
        let public = VerifyingKey::from(&expanded);
        Signature(raw_sign::<Blake2b512>(&expanded, message, &public).to_bytes())
    }

    fn expand(&self) -> ExpandedSecretKey {
        let hash = Zeroizing::new(<[u8; 64]>::from(Blake2b512::digest(self.0)));
        ExpandedSecretKey::from_bytes(&hash)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// An Ed25519-Blake2b signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl Signature {
    /// Reads 128 hex digits of any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0u8; 64];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Whether `account` signed `message`.
    #[must_use]
    pub fn verifies(&self, account: &Account, message: &[u8]) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(account.as_bytes()) else { return false };
        raw_verify::<Blake2b512>(&key, message, &DalekSignature::from_bytes(&self.0)).is_ok()
    }
}

/// 128 upper-case hex digits, as nodes write them.
impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode_upper(self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
