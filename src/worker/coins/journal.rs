//! Blocks of the worker's own, kept before anybody else sees them.

use nano_currency::block::{Block, StateBlock};
use nano_currency::rpc::Subtype;
use nano_currency::{Account, Amount, BlockHash};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::protocol::{JobId, Timestamp};

/// A place in an account's chain: the account, and the block before.
pub(in crate::worker) type Place = ([u8; 32], BlockHash);

/// A signed block, why it was signed, and what a bookkeeper asks about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnBlock {
    /// The block, with its work.
    pub block: Signed,
    /// What it does.
    pub does: Does,
    /// How much it moves.
    pub amount: Amount,
    /// Where the coins came from or went to, if that is known.
    pub counter: Option<Account>,
    /// The index of its account.
    pub index: u32,
    /// The job whose invoice the account is.
    pub job: Option<JobId>,
    /// When it was signed.
    pub at: Timestamp,
    /// The payment that it sends back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<BlockHash>,
    /// What has become of it.
    #[serde(default, skip_serializing_if = "Fate::is_open")]
    pub fate: Fate,
}

/// What has become of a block of ours, as far as that has been looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is to be published, or was.
    #[default]
    Open,
    /// The network has decided for it.
    Confirmed,
    /// The chain goes on past its place without it, by this block.
    Displaced(BlockHash),
}

impl Fate {
    const fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }
}

/// A block of ours that the network refused for good, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    /// The block.
    pub block: OwnBlock,
    /// Why.
    pub why: String,
    /// When it was given up.
    pub at: Timestamp,
}

/// What a block of ours does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Does {
    /// Takes what was sent.
    Receive,
    /// Sends all there is to the seller's own account.
    Sweep,
    /// Sends back to a buyer.
    Refund,
}

impl Does {
    /// Its name, as it is stored and printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Sweep => "sweep",
            Self::Refund => "refund",
        }
    }
}

impl OwnBlock {
    /// The block's name.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        self.block.0.hash()
    }

    /// Whether it may be on the ledger, now or later.
    pub(in crate::worker) const fn may_be_there(&self) -> bool {
        !matches!(self.fate, Fate::Displaced(_))
    }

    /// Where it stands.
    pub(in crate::worker) const fn place(&self) -> Place {
        (*self.block.0.fields.account.as_bytes(), self.block.0.fields.previous)
    }

    /// As `process` wants it named.
    #[must_use]
    pub fn subtype(&self) -> Subtype {
        match self.does {
            Does::Receive if self.block.0.fields.previous == BlockHash::ZERO => Subtype::Open,
            Does::Receive => Subtype::Receive,
            Does::Sweep | Does::Refund => Subtype::Send,
        }
    }
}

/// A signed state block; stored in the form in which nodes take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed(pub StateBlock);

impl Serialize for Signed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Value::from(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Signed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let contents = Value::deserialize(deserializer)?;
        match Block::from_json(&contents).map_err(serde::de::Error::custom)? {
            Block::State(block) => Ok(Self(block)),
            _ => Err(serde::de::Error::custom("not a state block")),
        }
    }
}

#[cfg(test)]
mod tests {
    use nano_currency::Seed;
    use nano_currency::block::StateFields;
    use nano_currency::work::Work;

    use super::*;

    #[test]
    fn a_kept_block_reads_back_with_its_hash_and_its_signature() {
        let key = Seed::parse(&"5e".repeat(32)).unwrap().key(7).unwrap();
        let fields = StateFields {
            account: key.account(),
            previous: BlockHash::ZERO,
            representative: key.account(),
            balance: Amount::from_raw(5),
            link: [3; 32],
        };
        let block = Signed(fields.sign(&key, Work::new(0x00ff)));
        let own = OwnBlock {
            block,
            does: Does::Receive,
            amount: Amount::from_raw(5),
            counter: Some(Account::from_bytes([4; 32])),
            index: 7,
            job: Some(JobId::from_random([1; 16])),
            at: Timestamp::from_seconds(1_700_000_000),
            of: None,
            fate: Fate::Open,
        };
        let text = serde_json::to_string(&own).unwrap();
        let read: OwnBlock = serde_json::from_str(&text).unwrap();
        assert_eq!(read, own);
        assert!(read.block.0.is_signed());
        assert_eq!(read.subtype(), Subtype::Open);
        assert!(serde_json::from_str::<OwnBlock>(&text.replace("\"state\"", "\"send\"")).is_err());
    }
}
