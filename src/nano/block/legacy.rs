//! The four kinds of block from before 2018. They are on the ledger for ever: a payment may be
//! one, and the block before a payment may be one.
//!
//! They are hashed without a preamble, and name neither the account (but for `open`) nor, apart
//! from `send`, the balance.

use blake2::Blake2b;
use blake2::digest::{Digest, consts::U32};
use serde_json::Value;

use super::{BlockError, BlockHash, field};
use crate::seed::Signature;
use crate::work::Work;
use crate::{Account, Amount};

/// A legacy `send`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LegacySend {
    /// The block before it.
    pub previous: BlockHash,
    /// Who is paid.
    pub destination: Account,
    /// The sender's balance after it; 32 hex digits on the wire.
    pub balance: Amount,
    /// By the sender, who is named only beside the block.
    pub signature: Signature,
    /// Its proof of work.
    pub work: Work,
}

/// A legacy `receive`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LegacyReceive {
    /// The block before it.
    pub previous: BlockHash,
    /// The send that it takes.
    pub source: BlockHash,
    /// By the receiver, who is named only beside the block.
    pub signature: Signature,
    /// Its proof of work.
    pub work: Work,
}

/// A legacy `open`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LegacyOpen {
    /// The send that it takes; a network's first block names its own account instead.
    pub source: BlockHash,
    /// Who votes with the balance.
    pub representative: Account,
    /// Whose chain it begins.
    pub account: Account,
    /// By that account.
    pub signature: Signature,
    /// Its proof of work.
    pub work: Work,
}

/// A legacy `change`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LegacyChange {
    /// The block before it.
    pub previous: BlockHash,
    /// Who votes from now on.
    pub representative: Account,
    /// By the account, which is named only beside the block.
    pub signature: Signature,
    /// Its proof of work.
    pub work: Work,
}

impl LegacySend {
    /// Blake2b-256 over previous, destination, balance (big-endian).
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        digest(&[self.previous.as_bytes(), self.destination.as_bytes(), &self.balance.raw().to_be_bytes()])
    }

    pub(super) fn from_json(contents: &Value) -> Result<Self, BlockError> {
        Ok(Self {
            previous: field(contents, "previous", |text| text.parse().ok())?,
            destination: field(contents, "destination", |text| text.parse().ok())?,
            balance: field(contents, "balance", |text| {
                let mut bytes = [0u8; 16];
                hex::decode_to_slice(text, &mut bytes).ok()?;
                Some(Amount::from_raw(u128::from_be_bytes(bytes)))
            })?,
            signature: field(contents, "signature", Signature::parse)?,
            work: field(contents, "work", Work::parse)?,
        })
    }
}

impl LegacyReceive {
    /// Blake2b-256 over previous and source.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        digest(&[self.previous.as_bytes(), self.source.as_bytes()])
    }

    pub(super) fn from_json(contents: &Value) -> Result<Self, BlockError> {
        Ok(Self {
            previous: field(contents, "previous", |text| text.parse().ok())?,
            source: field(contents, "source", |text| text.parse().ok())?,
            signature: field(contents, "signature", Signature::parse)?,
            work: field(contents, "work", Work::parse)?,
        })
    }
}

impl LegacyOpen {
    /// Blake2b-256 over source, representative, account.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        digest(&[self.source.as_bytes(), self.representative.as_bytes(), self.account.as_bytes()])
    }

    pub(super) fn from_json(contents: &Value) -> Result<Self, BlockError> {
        Ok(Self {
            source: field(contents, "source", |text| text.parse().ok())?,
            representative: field(contents, "representative", |text| text.parse().ok())?,
            account: field(contents, "account", |text| text.parse().ok())?,
            signature: field(contents, "signature", Signature::parse)?,
            work: field(contents, "work", Work::parse)?,
        })
    }
}

impl LegacyChange {
    /// Blake2b-256 over previous and representative.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        digest(&[self.previous.as_bytes(), self.representative.as_bytes()])
    }

    pub(super) fn from_json(contents: &Value) -> Result<Self, BlockError> {
        Ok(Self {
            previous: field(contents, "previous", |text| text.parse().ok())?,
            representative: field(contents, "representative", |text| text.parse().ok())?,
            signature: field(contents, "signature", Signature::parse)?,
            work: field(contents, "work", Work::parse)?,
        })
    }
}

fn digest(parts: &[&[u8]]) -> BlockHash {
    let mut hasher = Blake2b::<U32>::new();
    for part in parts {
        hasher.update(part);
    }
    BlockHash(hasher.finalize().into())
}
