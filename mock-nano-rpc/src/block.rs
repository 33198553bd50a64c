//! Blocks of all five kinds, legacy ones included, as a node reads, hashes and prints them.
//!
//! The kinds are the currency crate's; how a node reads and writes them is told here, for it is
//! more lenient than a client may be.

pub use nano_currency::block::{LegacyChange, LegacyOpen, LegacyReceive, LegacySend};

use nano_currency::block::{StateBlock, StateFields};
use nano_currency::seed::Signature;
use nano_currency::work::Work;
use nano_currency::{Account, Amount, BlockHash};

use crate::tree::Tree;

/// A signed block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// The universal kind.
    State(StateBlock),
    /// Pays `destination`; names only the balance that is left.
    Send(LegacySend),
    /// Takes a legacy send.
    Receive(LegacyReceive),
    /// Takes a legacy send as an account's first block.
    Open(LegacyOpen),
    /// Names another representative.
    Change(LegacyChange),
}

impl Block {
    /// Its name.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        match self {
            Self::State(block) => block.hash(),
            Self::Send(block) => block.hash(),
            Self::Receive(block) => block.hash(),
            Self::Open(block) => block.hash(),
            Self::Change(block) => block.hash(),
        }
    }

    /// The block before it; [`BlockHash::ZERO`] for a first block.
    #[must_use]
    pub const fn previous(&self) -> BlockHash {
        match self {
            Self::State(block) => block.fields.previous,
            Self::Send(block) => block.previous,
            Self::Receive(block) => block.previous,
            Self::Open(_) => BlockHash::ZERO,
            Self::Change(block) => block.previous,
        }
    }

    /// What its work is computed for.
    #[must_use]
    pub fn work_root(&self) -> &[u8; 32] {
        match self {
            Self::State(block) => block.fields.work_root(),
            Self::Send(block) => block.previous.as_bytes(),
            Self::Receive(block) => block.previous.as_bytes(),
            Self::Open(block) => block.account.as_bytes(),
            Self::Change(block) => block.previous.as_bytes(),
        }
    }

    /// Its proof of work.
    #[must_use]
    pub const fn work(&self) -> Work {
        match self {
            Self::State(block) => block.work,
            Self::Send(block) => block.work,
            Self::Receive(block) => block.work,
            Self::Open(block) => block.work,
            Self::Change(block) => block.work,
        }
    }

    /// Its signature.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        match self {
            Self::State(block) => &block.signature,
            Self::Send(block) => &block.signature,
            Self::Receive(block) => &block.signature,
            Self::Open(block) => &block.signature,
            Self::Change(block) => &block.signature,
        }
    }

    /// The representative it names; legacy sends and receives name none.
    #[must_use]
    pub const fn representative(&self) -> Option<Account> {
        match self {
            Self::State(block) => Some(block.fields.representative),
            Self::Open(block) => Some(block.representative),
            Self::Change(block) => Some(block.representative),
            Self::Send(_) | Self::Receive(_) => None,
        }
    }

    /// The value of `type`.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::State(_) => "state",
            Self::Send(_) => "send",
            Self::Receive(_) => "receive",
            Self::Open(_) => "open",
            Self::Change(_) => "change",
        }
    }

    /// Reads the JSON of a block; `None` where a node says `Block is invalid`.
    #[must_use]
    pub fn read(json: &Tree) -> Option<Self> {
        let signature = Signature::parse(json.text_of("signature")?)?;
        let work = read_work(json.text_of("work")?)?;
        match json.text_of("type")? {
            "state" => read_state(json, signature, work).map(Self::State),
            "send" => Some(Self::Send(LegacySend {
                previous: read_hash(json, "previous")?,
                destination: read_account(json, "destination")?,
                balance: Amount::from_raw(u128::from_str_radix(json.text_of("balance")?, 16).ok()?),
                signature,
                work,
            })),
            "receive" => Some(Self::Receive(LegacyReceive {
                previous: read_hash(json, "previous")?,
                source: read_hash(json, "source")?,
                signature,
                work,
            })),
            "open" => Some(Self::Open(LegacyOpen {
                source: read_hash(json, "source")?,
                representative: read_account(json, "representative")?,
                account: read_account(json, "account")?,
                signature,
                work,
            })),
            "change" => Some(Self::Change(LegacyChange {
                previous: read_hash(json, "previous")?,
                representative: read_account(json, "representative")?,
                signature,
                work,
            })),
            _ => None,
        }
    }

    /// Its JSON, in the node's order of fields.
    #[must_use]
    pub fn print(&self) -> Tree {
        let tree = Tree::object().with("type", self.type_name());
        let (signature, work) = (Tree::text(self.signature()), Tree::text(self.work()));
        match self {
            Self::State(block) => tree
                .with("account", Tree::text(block.fields.account))
                .with("previous", Tree::text(block.fields.previous))
                .with("representative", Tree::text(block.fields.representative))
                .with("balance", Tree::text(block.fields.balance))
                .with("link", hex::encode_upper(block.fields.link))
                .with("link_as_account", Tree::text(Account::from_bytes(block.fields.link)))
                .with("signature", signature)
                .with("work", work),
            Self::Send(block) => tree
                .with("previous", Tree::text(block.previous))
                .with("destination", Tree::text(block.destination))
                .with("balance", format!("{:032X}", block.balance.raw()))
                .with("work", work)
                .with("signature", signature),
            Self::Receive(block) => tree
                .with("previous", Tree::text(block.previous))
                .with("source", Tree::text(block.source))
                .with("work", work)
                .with("signature", signature),
            Self::Open(block) => tree
                .with("source", Tree::text(block.source))
                .with("representative", Tree::text(block.representative))
                .with("account", Tree::text(block.account))
                .with("work", work)
                .with("signature", signature),
            Self::Change(block) => tree
                .with("previous", Tree::text(block.previous))
                .with("representative", Tree::text(block.representative))
                .with("work", work)
                .with("signature", signature),
        }
    }
}

/// Reads hex of up to 64 digits as a number, as the node does: short text is padded on the left.
#[must_use]
pub fn parse_padded_hash(text: &str) -> Option<BlockHash> {
    if text.is_empty() || text.len() > 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    BlockHash::parse(&format!("{text:0>64}")).ok()
}

fn read_state(json: &Tree, signature: Signature, work: Work) -> Option<StateBlock> {
    Some(StateBlock {
        fields: StateFields {
            account: read_account(json, "account")?,
            previous: read_hash(json, "previous")?,
            representative: read_account(json, "representative")?,
            balance: json.text_of("balance")?.parse().ok()?,
            // The node reads a link as an address first, then as hex.
            link: match json.text_of("link")?.parse::<Account>() {
                Ok(account) => *account.as_bytes(),
                Err(_) => *read_hash(json, "link")?.as_bytes(),
            },
        },
        signature,
        work,
    })
}

fn read_hash(json: &Tree, key: &str) -> Option<BlockHash> {
    parse_padded_hash(json.text_of(key)?)
}

fn read_account(json: &Tree, key: &str) -> Option<Account> {
    json.text_of(key)?.parse().ok()
}

fn read_work(text: &str) -> Option<Work> {
    if text.is_empty() || text.len() > 16 {
        return None;
    }
    u64::from_str_radix(text, 16).ok().map(Work::new)
}
