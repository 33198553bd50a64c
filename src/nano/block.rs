//! Blocks: what an account says about itself, hashed and signed.

use std::fmt;
use std::str::FromStr;

use blake2::Blake2b;
use blake2::digest::{Digest, consts::U32};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::seed::Signature;
use crate::work::Work;
use crate::{Account, Amount, PrivateKey};

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

/// A `send` from before state blocks. Still on the ledger, still a payment.
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

impl LegacySend {
    /// Blake2b-256 over previous, destination, balance (big-endian); without a preamble.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        let hash = Blake2b::<U32>::new()
            .chain_update(self.previous.as_bytes())
            .chain_update(self.destination.as_bytes())
            .chain_update(self.balance.raw().to_be_bytes())
            .finalize();
        BlockHash(hash.into())
    }
}

/// A block's contents, as far as a seller has to understand them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// Every block since 2018.
    State(StateBlock),
    /// The one older kind that pays somebody.
    LegacySend(LegacySend),
    /// A legacy `receive`, `open` or `change`: never a payment.
    LegacyOther,
}

impl Block {
    /// Its hash, recomputed; `None` for the legacy kinds that we do not read.
    #[must_use]
    pub fn hash(&self) -> Option<BlockHash> {
        match self {
            Self::State(block) => Some(block.hash()),
            Self::LegacySend(block) => Some(block.hash()),
            Self::LegacyOther => None,
        }
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
                "send" => legacy_send_from_json(contents).map(Self::LegacySend),
                "receive" | "open" | "change" => Ok(Self::LegacyOther),
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
    let link = match contents.get("link").and_then(Value::as_str) {
        Some(link) => *BlockHash::parse(link).map_err(|_| BlockError("link"))?.as_bytes(),
        None => *field(contents, "link_as_account", |text| text.parse::<Account>().ok())?.as_bytes(),
    };
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

fn legacy_send_from_json(contents: &Value) -> Result<LegacySend, BlockError> {
    Ok(LegacySend {
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
