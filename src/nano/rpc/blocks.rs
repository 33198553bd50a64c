//! What a node says about a block.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Failure;
use super::answer::{absent, entries, flag, optional, required, text};
use crate::block::Block;
pub use crate::block::{Subtype, UnknownSubtype};
use crate::proof::Claim;
use crate::{Account, Amount, BlockHash};

/// One block, as a node describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockInfo {
    /// The hash that was asked for; `contents` hash to it.
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
            Block::State(_) | Block::LegacyReceive(_) | Block::LegacyOpen(_) | Block::LegacyChange(_) => {
                return None;
            }
        };
        Some(Payment { payer: self.block_account, destination, amount: self.amount? })
    }

    /// Whether the account signed it. A node cannot forge this, as it can `confirmed` and `amount`.
    ///
    /// Epoch blocks are signed by the network's key, so this is `false` for them.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.contents.is_signed_by(&self.block_account)
    }

    /// What the node says, to be tested: [`crate::proof::prove`].
    #[must_use]
    pub const fn claim(&self) -> Claim {
        Claim {
            hash: self.hash,
            block: self.contents,
            account: self.block_account,
            amount: self.amount,
            subtype: self.subtype,
        }
    }

    fn read(hash: BlockHash, value: &Value) -> Result<Self, Failure> {
        let contents = value.get("contents").ok_or(Failure::Malformed("contents"))?;
        let contents = Block::from_json(contents).map_err(|error| Failure::Malformed(error.0))?;
        if contents.hash() != hash {
            return Err(Failure::Malformed(FORGED_CONTENTS));
        }
        let block_account: Account = required(value, "block_account")?;
        if contents.account().is_some_and(|account| account != block_account) {
            return Err(Failure::Malformed(FORGED_ACCOUNT));
        }
        let balance = match contents.balance() {
            Some(balance) => balance,
            None => required(value, "balance")?,
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

/// What a node cannot give when it says something else than the block it names.
const FORGED_CONTENTS: &str = "contents that belong to the hash";

/// What a node cannot give when it ascribes a block to a stranger.
const FORGED_ACCOUNT: &str = "block_account that is the contents' own";

impl Lookup {
    /// Whether the node contradicted itself: named a block and described another one, or ascribed
    /// it to an account that is not in it. An honest node never does.
    #[must_use]
    pub fn is_forged(&self) -> bool {
        matches!(self, Self::Unclear(what) if *what == FORGED_CONTENTS || *what == FORGED_ACCOUNT)
    }

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
