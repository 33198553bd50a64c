//! What a node says about a block.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::Failure;
use super::answer::{absent, entries, flag, optional, required, text};
use crate::block::Block;
use crate::{Account, Amount, BlockHash};

/// What a state block does, in a node's words. Legacy blocks have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subtype {
    /// Money leaves the account.
    Send,
    /// Money arrives, in an account's first block too.
    Receive,
    /// An account's first block; some programs name it so.
    Open,
    /// Only the representative changes.
    Change,
    /// The network's own upgrade mark on the account.
    Epoch,
}

impl Subtype {
    const ALL: [Self; 5] = [Self::Send, Self::Receive, Self::Open, Self::Change, Self::Epoch];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Open => "open",
            Self::Change => "change",
            Self::Epoch => "epoch",
        }
    }
}

impl fmt::Display for Subtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text is no subtype's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a subtype is one of send, receive, open, change and epoch")]
pub struct UnknownSubtype;

impl FromStr for Subtype {
    type Err = UnknownSubtype;

    fn from_str(text: &str) -> Result<Self, UnknownSubtype> {
        Self::ALL.into_iter().find(|subtype| subtype.name() == text).ok_or(UnknownSubtype)
    }
}

/// One block, as a node describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockInfo {
    /// The hash that was asked for. Where we can recompute it, `contents` hash to it.
    pub hash: BlockHash,
    /// Whose chain it is on: the payer of a send.
    pub block_account: Account,
    /// How much it moved; nodes leave it out when the block before was pruned.
    pub amount: Option<Amount>,
    /// The account's balance after it; from the signed contents where those are readable.
    pub balance: Amount,
    /// Its place in the account's chain, from 1.
    pub height: u64,
    /// Whether the network has decided for it. Before that it can still vanish.
    pub confirmed: bool,
    /// What was signed.
    pub contents: Block,
    /// Only on state blocks.
    pub subtype: Option<Subtype>,
    /// When this node first saw it, in seconds since 1970; "0" after some bootstraps. Never a
    /// proof of when somebody paid.
    pub local_timestamp: Option<u64>,
}

/// Money that went from one account to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payment {
    /// Who paid.
    pub payer: Account,
    /// Who was paid.
    pub destination: Account,
    /// How much.
    pub amount: Amount,
}

impl BlockInfo {
    /// The payment it is: only a send is one, and only if the node knows its amount.
    ///
    /// The `link` of a state block is a destination on sends alone; on a receive it is a block's
    /// hash, on a change it is the burn account, and both can be spelled as an address.
    #[must_use]
    pub fn payment(&self) -> Option<Payment> {
        let destination = match &self.contents {
            Block::State(block) if self.subtype == Some(Subtype::Send) => {
                Account::from_bytes(block.fields.link)
            }
            Block::LegacySend(block) => block.destination,
            Block::State(_) | Block::LegacyOther => return None,
        };
        Some(Payment { payer: self.block_account, destination, amount: self.amount? })
    }

    /// Whether the payer signed it. A node cannot forge this, as it can `confirmed` and `amount`.
    ///
    /// Epoch blocks are signed by the network's key and legacy blocks other than sends are not
    /// read, so this is `false` for both.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        match &self.contents {
            Block::State(block) => block.is_signed(),
            Block::LegacySend(block) => {
                block.signature.verifies(&self.block_account, block.hash().as_bytes())
            }
            Block::LegacyOther => false,
        }
    }

    fn read(hash: BlockHash, value: &Value) -> Result<Self, Failure> {
        let contents = value.get("contents").ok_or(Failure::Malformed("contents"))?;
        let contents = Block::from_json(contents).map_err(|error| Failure::Malformed(error.0))?;
        if contents.hash().is_some_and(|recomputed| recomputed != hash) {
            return Err(Failure::Malformed("contents that belong to the hash"));
        }
        let block_account: Account = required(value, "block_account")?;
        let balance = match &contents {
            Block::State(block) if block.fields.account != block_account => {
                return Err(Failure::Malformed("block_account"));
            }
            Block::State(block) => block.fields.balance,
            Block::LegacySend(block) => block.balance,
            Block::LegacyOther => required(value, "balance")?,
        };
        Ok(Self {
            hash,
            block_account,
            amount: optional(value, "amount"),
            balance,
            height: required(value, "height")?,
            confirmed: flag(value, "confirmed"),
            contents,
            subtype: optional(value, "subtype"),
            local_timestamp: optional(value, "local_timestamp"),
        })
    }
}

/// What became of one hash in a question about many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The node knows the block.
    Found(Box<BlockInfo>),
    /// The node does not know it, now: it may come, and it may have been here before.
    NotFound,
    /// The node said nothing usable about it: unknown, which is not the same as not found.
    Unclear(&'static str),
}

impl Lookup {
    /// The block, if it was found.
    #[must_use]
    pub fn found(&self) -> Option<&BlockInfo> {
        match self {
            Self::Found(info) => Some(info),
            Self::NotFound | Self::Unclear(_) => None,
        }
    }
}

pub(super) fn read_block_info(
    hash: BlockHash,
    answer: Result<Value, Failure>,
) -> Result<Option<BlockInfo>, Failure> {
    absent(answer, BLOCK_NOT_FOUND)?.map(|value| BlockInfo::read(hash, &value)).transpose()
}

/// What the node says when there is no such block.
pub(super) const BLOCK_NOT_FOUND: &str = "Block not found";

/// Sorts an answer about many hashes by hash. Keys come in the case of the request, or not.
pub(super) fn read_blocks_info(
    hashes: &[BlockHash],
    answer: Result<Value, Failure>,
) -> Result<BTreeMap<BlockHash, Lookup>, Failure> {
    let answer = answer?;
    let unmentioned = |hash: &BlockHash| (*hash, Lookup::Unclear("entry"));
    let mut lookups: BTreeMap<_, _> = hashes.iter().map(unmentioned).collect();
    for (key, value) in entries(&answer, "blocks")? {
        let Ok(hash) = BlockHash::parse(key) else { continue };
        if let Some(lookup) = lookups.get_mut(&hash) {
            *lookup = match BlockInfo::read(hash, value) {
                Ok(info) => Lookup::Found(Box::new(info)),
                Err(Failure::Malformed(what)) => Lookup::Unclear(what),
                Err(other) => return Err(other),
            };
        }
    }
    let missing = answer.get("blocks_not_found").and_then(Value::as_array).into_iter().flatten();
    for hash in missing.filter_map(text).filter_map(|text| BlockHash::parse(&text).ok()) {
        if let Some(lookup) = lookups.get_mut(&hash) {
            *lookup = Lookup::NotFound;
        }
    }
    Ok(lookups)
}
