//! What is remembered of one purchase.

use std::fmt;
use std::str::FromStr;

use nano_currency::block::{Block, StateBlock};
use nano_currency::{Account, Amount, BlockHash};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::v0::Deal;
use crate::protocol::{JobId, OfferId, PublicKey, Status, Timestamp};
use crate::store::Key;

/// Lines of a purchase's history that are kept: the first ones tell the story.
const LINES_MAX: usize = 200;

/// Names a purchase in this journal, before the relay has named its job. Its hex is the stem of
/// the purchase's idempotency keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId([u8; 16]);

impl OrderId {
    /// The id of these bytes, random ones for a new purchase.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an order's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an order's id is 32 hex digits")]
pub struct OrderIdError;

impl FromStr for OrderId {
    type Err = OrderIdError;

    fn from_str(text: &str) -> Result<Self, OrderIdError> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| OrderIdError)?;
        Ok(Self(bytes))
    }
}

impl Serialize for OrderId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OrderId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Key for OrderId {
    fn encode(&self, bytes: &mut Vec<u8>) {
        self.0.encode(bytes);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Key::decode(bytes).map(Self)
    }
}

/// A move that was begun, written down before it is made, so that it can be finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Move {
    /// Ask for the job.
    Request,
    /// Agree to the quote.
    Accept,
    /// Publish a block and submit its hash.
    Pay,
    /// Submit a hash that somebody else published.
    Submit,
    /// Give the job up.
    Cancel,
}

/// What was agreed to: nothing else is ever paid, whatever the relay says later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreed {
    /// How much.
    pub amount: Amount,
    /// To whom.
    pub invoice: Account,
    /// Until when it could be agreed to.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// Who is paid; not written down by the first version.
    #[serde(default)]
    pub seller: Option<PublicKey>,
}

/// A signed block, as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed(pub StateBlock);

impl Serialize for Signed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Value::from(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Signed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match Block::from_json(&value).map_err(serde::de::Error::custom)? {
            Block::State(block) => Ok(Self(block)),
            Block::LegacySend(_)
            | Block::LegacyReceive(_)
            | Block::LegacyOpen(_)
            | Block::LegacyChange(_) => Err(serde::de::Error::custom("not a state block")),
        }
    }
}

/// The hash that tells the seller of the payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// As it goes to the relay.
    pub hash: String,
    /// Whether the relay has it.
    pub done: bool,
}

/// A line of a purchase's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub what: String,
}

/// One purchase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its name here.
    pub id: OrderId,
    /// What is bought.
    pub offer_id: Option<OfferId>,
    /// Its name at the relay, once that has answered.
    pub job_id: Option<JobId>,
    /// Whether this journal asked for the job. If not, others may have paid for it already.
    pub ours: bool,
    /// Up to this price the whole purchase is to be made without asking again.
    pub mandate: Option<Amount>,
    /// The move that was begun and not finished.
    pub begun: Option<Move>,
    /// What was agreed to.
    pub agreed: Option<Agreed>,
    /// Whether this journal has agreed to it, and the relay has let it: in time, then.
    #[serde(default)]
    pub accepted: bool,
    /// The index of the account that pays.
    pub account_index: u32,
    /// The block that pays.
    pub payment: Option<Signed>,
    /// Blocks that were to pay and provably never will.
    pub abandoned: Vec<BlockHash>,
    /// The hash for the relay.
    pub submission: Option<Submission>,
    /// Where the job was when last seen.
    pub status: Option<Status>,
    /// What was agreed to with a bot, if it is a purchase over /v0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deal: Option<Deal>,
    /// When it was begun.
    pub created_at: Timestamp,
    /// What happened, in order.
    pub history: Vec<Line>,
}

impl Order {
    /// A new purchase.
    #[must_use]
    pub const fn new(id: OrderId, created_at: Timestamp) -> Self {
        Self {
            id,
            offer_id: None,
            job_id: None,
            ours: true,
            mandate: None,
            begun: None,
            agreed: None,
            accepted: false,
            account_index: 0,
            payment: None,
            abandoned: Vec::new(),
            submission: None,
            status: None,
            deal: None,
            created_at,
            history: Vec::new(),
        }
    }

    /// The idempotency key of a move. `what` is what the same move may say differently another time,
    /// a corrected hash or reason: that is another request, not a repetition.
    #[must_use]
    pub fn key(&self, step: Move, what: &str) -> String {
        let step = match step {
            Move::Request => "request",
            Move::Accept => "accept",
            Move::Pay | Move::Submit => "payment",
            Move::Cancel => "cancel",
        };
        if what.is_empty() {
            return format!("{}-{step}", self.id);
        }
        format!("{}-{step}-{}", self.id, hex::encode(Sha256::digest(what.as_bytes())))
    }

    /// Adds a line to its history.
    pub fn note(&mut self, at: Timestamp, what: impl fmt::Display) {
        if self.history.len() < LINES_MAX {
            self.history.push(Line { at, what: what.to_string() });
        }
    }

    /// Whether the job has ended, as far as was seen.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.status.is_some_and(Status::is_final) || self.deal.as_ref().is_some_and(|deal| deal.over)
    }

    /// Whether something is left to do without being told.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.begun.is_some() || (self.mandate.is_some() && !self.is_over())
    }

    /// Whether money may have left for it.
    #[must_use]
    pub const fn may_be_paid(&self) -> bool {
        self.payment.is_some()
    }
}
