//! Blocks: what an account says about itself, hashed and signed.

mod legacy;
mod subtype;

use std::fmt;
use std::str::FromStr;

use blake2::Blake2b;
use blake2::digest::{Digest, consts::U32};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::seed::Signature;
use crate::work::Work;
use crate::{Account, Amount, PrivateKey};

pub use legacy::{LegacyChange, LegacyOpen, LegacyReceive, LegacySend};
pub use subtype::{Subtype, UnknownSubtype};

/// Before the fields of a state block: 32 bytes with the value 6 (Nano documentation, "Blocks").
const STATE_PREAMBLE: [u8; 32] = {
    let mut bytes = [0; 32];
    bytes[31] = 6;
    bytes
};

/// The name of a block: Blake2b-256 of its contents.
///
/// Reads exactly 64 hex digits of any case, writes upper case: a hash is one key, however a buyer
/// or a node spelled it. (A node pads shorter text; we refuse it.)
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockHash([u8; 32]);

impl BlockHash {
    /// Stands for "no block": the `previous` of an account's first block.
    pub const ZERO: Self = Self([0; 32]);

    /// The hash with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 hex digits.
    ///
    /// # Errors
    /// If the text is anything else.
    pub fn parse(text: &str) -> Result<Self, BlockHashError> {
        let mut bytes = [0u8; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| BlockHashError)?;
        Ok(Self(bytes))
    }
}

/// The text is not a block hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a block hash is 64 hex digits")]
pub struct BlockHashError;

impl fmt::Display for BlockHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode_upper(self.0))
    }
}

impl fmt::Debug for BlockHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for BlockHash {
    type Err = BlockHashError;

    fn from_str(text: &str) -> Result<Self, BlockHashError> {
        Self::parse(text)
    }
}

impl Serialize for BlockHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BlockHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a state block says, before it is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateFields {
    /// Whose chain it is on.
    pub account: Account,
    /// The block before it, or [`BlockHash::ZERO`] for the first.
    pub previous: BlockHash,
    /// Who votes with the balance.
    pub representative: Account,
    /// The balance after this block.
    pub balance: Amount,
    /// Send: the destination's key. Receive: the hash of the send. Change: zeros.
    pub link: [u8; 32],
}

impl StateFields {
    /// Blake2b-256 over preamble, account, previous, representative, balance (big-endian), link.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        let hash = Blake2b::<U32>::new()
            .chain_update(STATE_PREAMBLE)
            .chain_update(self.account.as_bytes())
            .chain_update(self.previous.as_bytes())
            .chain_update(self.representative.as_bytes())
            .chain_update(self.balance.raw().to_be_bytes())
            .chain_update(self.link)
            .finalize();
        BlockHash(hash.into())
    }

    /// What its work is computed for: `previous`, or the account's key for a first block.
    #[must_use]
    pub fn work_root(&self) -> &[u8; 32] {
        if self.previous == BlockHash::ZERO { self.account.as_bytes() } else { self.previous.as_bytes() }
    }

    /// The block, signed by the account's key, with its work.
    #[must_use]
    pub fn sign(self, key: &PrivateKey, work: Work) -> StateBlock {
        let signature = key.sign(self.hash().as_bytes());
        StateBlock { fields: self, signature, work }
    }
}

/// A signed state block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateBlock {
    /// What it says.
    pub fields: StateFields,
    /// By the account's key (an epoch block: by the epoch's signer).
    pub signature: Signature,
    /// Its proof of work.
    pub work: Work,
}

impl StateBlock {
    /// Its name.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        self.fields.hash()
    }

    /// Whether the account's own key signed it.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.signature.verifies(&self.fields.account, self.hash().as_bytes())
    }
}

/// A block's contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// Every block since 2018.
    State(StateBlock),
    /// The one older kind that pays somebody.
    LegacySend(LegacySend),
    /// Takes a payment.
    LegacyReceive(LegacyReceive),
    /// Takes a payment as an account's first block.
    LegacyOpen(LegacyOpen),
    /// Names another representative.
    LegacyChange(LegacyChange),
}

impl Block {
    /// Its hash, recomputed.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        match self {
            Self::State(block) => block.hash(),
            Self::LegacySend(block) => block.hash(),
            Self::LegacyReceive(block) => block.hash(),
            Self::LegacyOpen(block) => block.hash(),
            Self::LegacyChange(block) => block.hash(),
        }
    }

    /// The block before it; [`BlockHash::ZERO`] for an account's first.
    #[must_use]
    pub const fn previous(&self) -> BlockHash {
        match self {
            Self::State(block) => block.fields.previous,
            Self::LegacySend(block) => block.previous,
            Self::LegacyReceive(block) => block.previous,
            Self::LegacyOpen(_) => BlockHash::ZERO,
            Self::LegacyChange(block) => block.previous,
        }
    }

    /// Its signature.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        match self {
            Self::State(block) => &block.signature,
            Self::LegacySend(block) => &block.signature,
            Self::LegacyReceive(block) => &block.signature,
            Self::LegacyOpen(block) => &block.signature,
            Self::LegacyChange(block) => &block.signature,
        }
    }

    /// Its proof of work.
    #[must_use]
    pub const fn work(&self) -> Work {
        match self {
            Self::State(block) => block.work,
            Self::LegacySend(block) => block.work,
            Self::LegacyReceive(block) => block.work,
            Self::LegacyOpen(block) => block.work,
            Self::LegacyChange(block) => block.work,
        }
    }

    /// What its work is computed for: the block before it, or the account's key for a first block.
    #[must_use]
    pub fn work_root(&self) -> &[u8; 32] {
        match self {
            Self::State(block) => block.fields.work_root(),
            Self::LegacySend(block) => block.previous.as_bytes(),
            Self::LegacyReceive(block) => block.previous.as_bytes(),
            Self::LegacyOpen(block) => block.account.as_bytes(),
            Self::LegacyChange(block) => block.previous.as_bytes(),
        }
    }

    /// Whose chain it is on, if the block itself says so: of the legacy kinds only `open` does.
    #[must_use]
    pub const fn account(&self) -> Option<Account> {
        match self {
            Self::State(block) => Some(block.fields.account),
            Self::LegacyOpen(block) => Some(block.account),
            Self::LegacySend(_) | Self::LegacyReceive(_) | Self::LegacyChange(_) => None,
        }
    }

    /// The balance after it, if the block itself says so.
    #[must_use]
    pub const fn balance(&self) -> Option<Amount> {
        match self {
            Self::State(block) => Some(block.fields.balance),
            Self::LegacySend(block) => Some(block.balance),
            Self::LegacyReceive(_) | Self::LegacyOpen(_) | Self::LegacyChange(_) => None,
        }
    }

    /// Whether `account` signed it.
    #[must_use]
    pub fn is_signed_by(&self, account: &Account) -> bool {
        self.signature().verifies(account, self.hash().as_bytes())
    }

    /// Reads the `contents` of `block_info`: an object, or a string that holds one (a proxy may
    /// not honour `json_block`).
    ///
    /// # Errors
    /// Names the field that is missing or malformed.
    pub fn from_json(contents: &Value) -> Result<Self, BlockError> {
        match contents {
            Value::String(text) => {
                let inner = serde_json::from_str(text).map_err(|_| BlockError("contents"))?;
                if matches!(inner, Value::Object(_)) {
                    Self::from_json(&inner)
                } else {
                    Err(BlockError("contents"))
                }
            }
            Value::Object(_) => match text_field(contents, "type")? {
                "state" => state_from_json(contents).map(Self::State),
                "send" => LegacySend::from_json(contents).map(Self::LegacySend),
                "receive" => LegacyReceive::from_json(contents).map(Self::LegacyReceive),
                "open" => LegacyOpen::from_json(contents).map(Self::LegacyOpen),
                "change" => LegacyChange::from_json(contents).map(Self::LegacyChange),
                _ => Err(BlockError("type")),
            },
            _ => Err(BlockError("contents")),
        }
    }
}

/// The JSON of a state block, as `process` with `json_block` takes it.
impl From<&StateBlock> for Value {
    fn from(block: &StateBlock) -> Self {
        let fields = &block.fields;
        json!({
            "type": "state",
            "account": fields.account,
            "previous": fields.previous,
            "representative": fields.representative,
            "balance": fields.balance,
            "link": hex::encode_upper(fields.link),
            "link_as_account": Account::from_bytes(fields.link),
            "signature": block.signature.to_string(),
            "work": block.work.to_string(),
        })
    }
}

/// The field of a block's JSON that is missing or malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the block's {0} is missing or malformed")]
pub struct BlockError(pub &'static str);

fn text_field<'a>(contents: &'a Value, name: &'static str) -> Result<&'a str, BlockError> {
    contents.get(name).and_then(Value::as_str).ok_or(BlockError(name))
}

fn field<T>(
    contents: &Value,
    name: &'static str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, BlockError> {
    read(text_field(contents, name)?).ok_or(BlockError(name))
}

fn state_from_json(contents: &Value) -> Result<StateBlock, BlockError> {
    let spelled = field(contents, "link_as_account", |text| text.parse::<Account>().ok());
    let link = match contents.get("link").and_then(Value::as_str) {
        Some(link) => *BlockHash::parse(link).map_err(|_| BlockError("link"))?.as_bytes(),
        None => *spelled?.as_bytes(),
    };
    // Who reads the one and signs or trusts the other would pay somebody else.
    if spelled.is_ok_and(|spelled| *spelled.as_bytes() != link) {
        return Err(BlockError("link_as_account"));
    }
    Ok(StateBlock {
        fields: StateFields {
            account: field(contents, "account", |text| text.parse().ok())?,
            previous: field(contents, "previous", previous_from_text)?,
            representative: field(contents, "representative", |text| text.parse().ok())?,
            balance: field(contents, "balance", |text| text.parse().ok())?,
            link,
        },
        signature: field(contents, "signature", Signature::parse)?,
        work: field(contents, "work", Work::parse)?,
    })
}

/// A first block's `previous` is written `0` by some wallets.
fn previous_from_text(text: &str) -> Option<BlockHash> {
    if text == "0" { Some(BlockHash::ZERO) } else { text.parse().ok() }
}
