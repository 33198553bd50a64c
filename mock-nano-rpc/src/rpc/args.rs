//! Reading arguments as leniently as the node does, and failing with its words.

use std::borrow::Cow;

use nano_currency::{Account, Amount, BlockHash, PrivateKey};

use crate::block::{Block, parse_padded_hash};
use crate::tree::Tree;

/// A text under `error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RpcError(Cow<'static, str>);

impl RpcError {
    /// Malformed JSON, and every argument that is missing.
    pub const PARSE: Self = Self::new("Unable to parse JSON");
    /// No such action.
    pub const UNKNOWN_COMMAND: Self = Self::new("Unknown command");
    /// The action needs `enable_control`.
    pub const CONTROL_DISABLED: Self = Self::new("RPC control is disabled");
    /// A hash that is not on the ledger.
    pub const BLOCK_NOT_FOUND: Self = Self::new("Block not found");
    /// An account without a block.
    pub const ACCOUNT_NOT_FOUND: Self = Self::new("Account not found");
    /// Not a hash, to the actions that take one.
    pub const INVALID_HASH: Self = Self::new("Invalid block hash");
    /// Not a hash, to the actions that take many.
    pub const BAD_HASH: Self = Self::new("Bad hash number");
    /// Not an address.
    pub const BAD_ACCOUNT: Self = Self::new("Bad account number");
    /// Not a block.
    pub const INVALID_BLOCK: Self = Self::new("Block is invalid");

    /// An error with this text.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// An error with the text of another one.
    #[must_use]
    pub fn from_text(text: impl ToString) -> Self {
        Self(Cow::Owned(text.to_string()))
    }

    /// The answer that carries it.
    #[must_use]
    pub fn to_tree(&self) -> Tree {
        Tree::object().with("error", self.0.as_ref())
    }
}

/// The arguments of one call.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a>(pub &'a Tree);

impl<'a> Args<'a> {
    /// A scalar that must be there.
    pub(super) fn required(self, key: &str) -> Result<&'a str, RpcError> {
        self.0.text_of(key).ok_or(RpcError::PARSE)
    }

    /// A scalar that may be there.
    pub(super) fn optional(self, key: &str) -> Option<&'a str> {
        self.0.text_of(key)
    }

    /// The items of an array that must be there; a text counts as an empty one.
    pub(super) fn items(self, key: &str) -> Result<&'a [Tree], RpcError> {
        self.0.get(key).map(Tree::items).ok_or(RpcError::PARSE)
    }

    /// A boolean: anything but true, false, 1 and 0 silently means the default.
    pub(super) fn flag_or(self, key: &str, default: bool) -> bool {
        match self.0.text_of(key).map(str::trim) {
            Some("true" | "1") => true,
            Some("false" | "0") => false,
            _ => default,
        }
    }

    /// A boolean that is false by default.
    pub(super) fn flag(self, key: &str) -> bool {
        self.flag_or(key, false)
    }

    /// A hash, short ones padded.
    pub(super) fn hash(self, key: &str) -> Result<BlockHash, RpcError> {
        parse_padded_hash(self.required(key)?).ok_or(RpcError::INVALID_HASH)
    }

    /// The account under `account`.
    pub(super) fn account(self) -> Result<Account, RpcError> {
        read_account(self.required("account")?).map(|(account, _)| account)
    }

    /// A limit; absent and -1 mean none.
    pub(super) fn count(self) -> Result<usize, RpcError> {
        self.number("count", "Invalid count limit", usize::MAX)
    }

    /// How many to leave out.
    pub(super) fn offset(self) -> Result<usize, RpcError> {
        self.number("offset", "Invalid offset", 0)
    }

    /// The least amount; absent means none.
    pub(super) fn threshold(self) -> Result<Amount, RpcError> {
        match self.optional("threshold") {
            None => Ok(Amount::ZERO),
            Some(text) => read_raw(text).ok_or(RpcError::new("Bad threshold number")),
        }
    }

    /// A private key of 64 hex digits.
    pub(super) fn private_key(self) -> Result<PrivateKey, RpcError> {
        parse_padded_hash(self.required("key")?)
            .map(|key| PrivateKey::from_bytes(*key.as_bytes()))
            .ok_or(RpcError::new("Bad private key"))
    }

    /// The block under `block`: an object with `json_block`, a text that holds JSON without.
    pub(super) fn block(self) -> Result<Block, RpcError> {
        let block = self.0.get("block").ok_or(RpcError::PARSE)?;
        let read = if self.flag("json_block") {
            Block::read(block)
        } else {
            Tree::parse(block.as_text().as_bytes()).ok().and_then(|inner| Block::read(&inner))
        };
        read.ok_or(RpcError::INVALID_BLOCK)
    }

    fn number(self, key: &str, error: &'static str, default: usize) -> Result<usize, RpcError> {
        match self.optional(key) {
            None => Ok(default),
            Some("-1") => Ok(usize::MAX),
            Some(text) => text.trim().parse().map_err(|_| RpcError::new(error)),
        }
    }
}

/// Reads an address; true beside it for the old spelling with a dash, which only nodes accept.
pub(crate) fn read_account(text: &str) -> Result<(Account, bool), RpcError> {
    if let Ok(account) = text.parse() {
        return Ok((account, false));
    }
    ["nano-", "xrb-"]
        .into_iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .or_else(|| text.strip_prefix("node_"))
        .and_then(|body| format!("nano_{body}").parse().ok())
        .map(|account| (account, !text.starts_with("node_")))
        .ok_or(RpcError::BAD_ACCOUNT)
}

/// Reads raw as the node does: an empty text is zero, a leading space is overlooked.
pub(super) fn read_raw(text: &str) -> Option<Amount> {
    if text.is_empty() {
        return Some(Amount::ZERO);
    }
    text.trim_start_matches(' ').parse().ok()
}
