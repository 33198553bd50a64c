//! Accounts: a public key, and the `nano_` address that people see.

use std::fmt;
use std::str::FromStr;

use blake2::Blake2b;
use blake2::digest::{Digest, consts::U5};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The 32 characters of an address, five bits each; `0`, `2`, `l` and `v` are absent.
const ALPHABET: &[u8; 32] = b"13456789abcdefghijkmnopqrstuwxyz";

/// 260 bits of key (four of them padding) in five-bit characters.
const KEY_CHARS: usize = 52;

/// 40 bits of checksum in five-bit characters.
const CHECKSUM_CHARS: usize = 8;

/// An account: an Ed25519-Blake2b public key.
///
/// Reads `nano_` and `xrb_` addresses, writes `nano_`. Two accounts are the same when their keys
/// are, whatever the prefix was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account([u8; 32]);

impl Account {
    /// The account whose key is all zeros; nobody can spend from it.
    pub const BURN: Self = Self([0; 32]);

    /// The account of a public key.
    #[must_use]
    pub const fn from_bytes(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// Its public key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads an address: exactly `nano_` or `xrb_` and 60 lower-case characters.
    ///
    /// # Errors
    /// Names the first rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, AccountError> {
        let body =
            text.strip_prefix("nano_").or_else(|| text.strip_prefix("xrb_")).ok_or(AccountError::Prefix)?;
        if body.chars().count() != KEY_CHARS + CHECKSUM_CHARS {
            return Err(AccountError::Length);
        }
        let mut values = [0u8; KEY_CHARS + CHECKSUM_CHARS];
        for (value, character) in values.iter_mut().zip(body.chars()) {
            *value = decode(character).ok_or(AccountError::Alphabet(character))?;
        }
        // The first character carries four bits of padding above the key's topmost bit.
        if values[0] > 1 {
            return Err(AccountError::PaddingBits);
        }
        let key: [u8; 32] = pack(&values[..KEY_CHARS]);
        let checksum: [u8; 5] = pack(&values[KEY_CHARS..]);
        if checksum != checksum_of(&key) {
            return Err(AccountError::Checksum);
        }
        Ok(Self(key))
    }

    /// A payment link for wallets: `nano:ADDRESS?amount=RAW`.
    #[must_use]
    pub fn payment_uri(&self, amount: crate::Amount) -> String {
        format!("nano:{self}?amount={amount}")
    }
}

/// Which rule of an address a text breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// Neither `nano_` nor `xrb_`.
    #[error("a Nano address begins with nano_ or xrb_")]
    Prefix,
    /// Not 60 characters after the prefix.
    #[error("a Nano address has 60 characters after its prefix")]
    Length,
    /// A character that addresses do not use.
    #[error("the character {0:?} does not occur in Nano addresses")]
    Alphabet(char),
    /// The first character is neither `1` nor `3`.
    #[error("the first character after the prefix is 1 or 3")]
    PaddingBits,
    /// A typing error.
    #[error("the checksum does not match: the address is mistyped")]
    Checksum,
}

fn decode(character: char) -> Option<u8> {
    let position = ALPHABET.iter().position(|&known| char::from(known) == character)?;
    u8::try_from(position).ok()
}

/// Packs five-bit values, most significant first, into the last `8 * N` bits of their sequence.
fn pack<const N: usize>(values: &[u8]) -> [u8; N] {
    let mut bytes = [0u8; N];
    for (index, value) in values.iter().rev().enumerate() {
        for bit in 0..5 {
            let place = index * 5 + bit;
            if value >> bit & 1 == 1 && place < N * 8 {
                bytes[N - 1 - place / 8] |= 1 << (place % 8);
            }
        }
    }
    bytes
}

/// The reverse of [`pack`]: `chars` characters of five bits, padded with zeros in front.
fn unpack(bytes: &[u8], chars: usize, text: &mut String) {
    for index in (0..chars).rev() {
        let mut value = 0usize;
        for bit in 0..5 {
            let place = index * 5 + bit;
            if place < bytes.len() * 8 {
                let byte = bytes[bytes.len() - 1 - place / 8];
                value |= usize::from(byte >> (place % 8) & 1) << bit;
            }
        }
        text.push(char::from(ALPHABET[value]));
    }
}

fn checksum_of(key: &[u8; 32]) -> [u8; 5] {
    let mut checksum: [u8; 5] = Blake2b::<U5>::digest(key).into();
    checksum.reverse();
    checksum
}

/// The `nano_` address.
impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(65);
        text.push_str("nano_");
        unpack(&self.0, KEY_CHARS, &mut text);
        unpack(&checksum_of(&self.0), CHECKSUM_CHARS, &mut text);
        f.write_str(&text)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Account {
    type Err = AccountError;

    fn from_str(text: &str) -> Result<Self, AccountError> {
        Self::parse(text)
    }
}

impl Serialize for Account {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Account {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
