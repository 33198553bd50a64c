//! Amounts of money, counted in raw.

use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Raw in one XNO: 10^30 (Nano documentation, "Units").
pub const RAW_PER_XNO: u128 = 10u128.pow(30);

/// Digits after the decimal point that one XNO can carry.
const XNO_DECIMALS: usize = 30;

/// The longest decimal text of a `u128`.
const RAW_DIGITS_MAX: usize = 39;

/// An amount in raw, the smallest unit: 0 to 2^128-1.
///
/// Its text form, in JSON too, is the decimal number of raw. Arithmetic is checked: there is no
/// `+` that could wrap.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(u128);

impl Amount {
    /// No money.
    pub const ZERO: Self = Self(0);
    /// 2^128-1 raw, more than the whole supply.
    pub const MAX: Self = Self(u128::MAX);

    /// An amount of `raw` raw.
    #[must_use]
    pub const fn from_raw(raw: u128) -> Self {
        Self(raw)
    }

    /// The number of raw.
    #[must_use]
    pub const fn raw(self) -> u128 {
        self.0
    }

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or `None` above 2^128-1 raw.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` below zero.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The sum, at most 2^128-1 raw: for totals that are compared with a price.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Reads a decimal number of raw: digits only, no sign, no leading zero.
    ///
    /// # Errors
    /// Names what is wrong with the text.
    pub fn parse_raw(text: &str) -> Result<Self, AmountError> {
        parse_digits(text).map(Self)
    }

    /// Reads a decimal number of XNO, exactly: `"1"`, `"0.001"`; at most 30 decimals.
    ///
    /// # Errors
    /// Names what is wrong with the text; nothing is ever rounded.
    pub fn parse_xno(text: &str) -> Result<Self, AmountError> {
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (text, None),
        };
        let whole = parse_digits(whole)?.checked_mul(RAW_PER_XNO).ok_or(AmountError::TooLarge)?;
        let Some(fraction) = fraction else { return Ok(Self(whole)) };
        if fraction.is_empty() {
            return Err(AmountError::Empty);
        }
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AmountError::NotDigits);
        }
        if fraction.len() > XNO_DECIMALS {
            return Err(AmountError::TooPrecise);
        }
        let padded = format!("{fraction:0<XNO_DECIMALS$}");
        let fraction: u128 = padded.parse().map_err(|_| AmountError::NotDigits)?;
        whole.checked_add(fraction).map(Self).ok_or(AmountError::TooLarge)
    }

    /// The exact decimal number of XNO, without trailing zeros: `"1.5"`.
    #[must_use]
    pub fn to_xno(self) -> String {
        let (whole, fraction) = (self.0 / RAW_PER_XNO, self.0 % RAW_PER_XNO);
        if fraction == 0 {
            return whole.to_string();
        }
        let digits = format!("{fraction:0>XNO_DECIMALS$}");
        format!("{whole}.{}", digits.trim_end_matches('0'))
    }
}

/// What is wrong with the text of an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// No digits where some must be.
    #[error("an amount needs digits before and after its point")]
    Empty,
    /// A sign, a space, an exponent, a comma or a letter.
    #[error("an amount is made of the digits 0 to 9 only")]
    NotDigits,
    /// `01`.
    #[error("an amount has no leading zero")]
    LeadingZero,
    /// Above 2^128-1 raw.
    #[error("an amount is at most 2^128-1 raw")]
    TooLarge,
    /// Below one raw.
    #[error("an amount in XNO has at most 30 decimals")]
    TooPrecise,
}

fn parse_digits(text: &str) -> Result<u128, AmountError> {
    if text.is_empty() {
        return Err(AmountError::Empty);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AmountError::NotDigits);
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(AmountError::LeadingZero);
    }
    if text.len() > RAW_DIGITS_MAX {
        return Err(AmountError::TooLarge);
    }
    text.parse().map_err(|_| AmountError::TooLarge)
}

/// Saturates at 2^128-1 raw.
impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::saturating_add)
    }
}

/// The decimal number of raw.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} raw", self.0)
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        Self::parse_raw(text)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
