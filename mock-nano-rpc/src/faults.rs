//! Everything that can go wrong between a client and a node, each as a switch.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

use nano_currency::{Account, Amount, BlockHash};

use crate::ledger::Stored;

/// Faults that wait their turn; a script sets a handful.
const FAULTS_MAX: usize = 256;

/// Whose manners the mock has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The reference node, V28.
    #[default]
    Cpp,
    /// The Rust port: compact JSON, status codes, strict arguments.
    RsNano,
    /// A public proxy: caches, clamps counts, cuts lists, adds keys, limits rates.
    Proxy,
    /// The reference node before V23: accounts without receivables are there, and empty.
    V22,
}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        match text {
            "cpp" => Ok(Self::Cpp),
            "rsnano" => Ok(Self::RsNano),
            "proxy" => Ok(Self::Proxy),
            "v22" => Ok(Self::V22),
            _ => Err(UnknownMode),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpp => "cpp",
            Self::RsNano => "rsnano",
            Self::Proxy => "proxy",
            Self::V22 => "v22",
        })
    }
}

/// The text names no mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a mode is one of cpp, rsnano, proxy and v22")]
pub struct UnknownMode;

/// What is done to a call instead of answering it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// 429 as a proxy words it, with `Retry-After` in seconds if given.
    RateLimited {
        /// Seconds, or nothing.
        retry_after: Option<u64>,
    },
    /// 500 with a JSON error.
    ServerError,
    /// 500, as a proxy refuses an action.
    NotAllowed,
    /// 502 with a page of HTML.
    BadGateway,
    /// 200 with bytes that are not JSON.
    Garbage,
    /// 200 with an empty body.
    EmptyBody,
    /// A true answer that ends half way, its length announced in full.
    HalfBody,
    /// The connection is closed without an answer.
    Drop,
    /// The connection stays open without an answer.
    Hang,
    /// The answer comes late, by this many milliseconds.
    Slow {
        /// How late.
        delay_ms: u64,
    },
}

/// A fault, and which calls it hits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// Only to this action; to every one if absent.
    pub action: Option<String>,
    /// To so many calls; until cleared if absent.
    pub count: Option<u64>,
}

/// The faults that are switched on, first come first served.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Switches a fault on; false if there are too many.
    pub fn add(&mut self, fault: Fault) -> bool {
        let room = self.0.len() < FAULTS_MAX;
        if room && fault.count != Some(0) {
            self.0.push(fault);
        }
        room
    }

    /// What happens to this call; uses up one of a limited number.
    pub fn strike(&mut self, action: &str) -> Option<FaultKind> {
        let index =
            self.0.iter().position(|fault| fault.action.as_deref().is_none_or(|only| only == action))?;
        let fault = &mut self.0[index];
        let kind = fault.kind.clone();
        if let Some(count) = &mut fault.count {
            *count -= 1;
            if *count == 0 {
                self.0.remove(index);
            }
        }
        Some(kind)
    }

    /// Switches all of them off.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// What the node says about one block instead of the truth.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lie {
    /// Another amount.
    pub amount: Option<Amount>,
    /// Another destination.
    pub destination: Option<Account>,
    /// Another subtype.
    pub subtype: Option<String>,
    /// Another state of confirmation.
    pub confirmed: Option<bool>,
    /// Another account beside the block.
    pub account: Option<Account>,
    /// Another balance inside the block.
    pub balance: Option<Amount>,
    /// Another balance of the account while the block is its newest; the block itself is shown
    /// as it is.
    pub head_balance: Option<Amount>,
}

/// All that the node does not tell as it is.
#[derive(Debug, Default)]
pub struct Lies {
    lies: HashMap<BlockHash, Lie>,
    forgotten: HashSet<BlockHash>,
}

impl Lies {
    /// Tells a lie about a block from now on; an empty lie is the truth again.
    pub fn tell(&mut self, hash: BlockHash, lie: Lie) {
        if lie == Lie::default() {
            self.lies.remove(&hash);
        } else {
            self.lies.insert(hash, lie);
        }
    }

    /// Denies a block from now on, though it stays on the ledger.
    pub fn forget(&mut self, hash: BlockHash) {
        self.forgotten.insert(hash);
    }

    /// Whether the block is denied.
    #[must_use]
    pub fn is_forgotten(&self, hash: &BlockHash) -> bool {
        self.forgotten.contains(hash)
    }

    /// What is told about this block.
    #[must_use]
    pub fn about(&self, hash: &BlockHash) -> Option<&Lie> {
        self.lies.get(hash)
    }

    /// Whether the block passes for confirmed.
    #[must_use]
    pub fn confirmed(&self, hash: &BlockHash, stored: &Stored) -> bool {
        self.about(hash).and_then(|lie| lie.confirmed).unwrap_or(stored.confirmed)
    }

    /// The amount that is named for the block.
    #[must_use]
    pub fn amount(&self, hash: &BlockHash, amount: Amount) -> Amount {
        self.about(hash).and_then(|lie| lie.amount).unwrap_or(amount)
    }

    /// Returns to the truth.
    pub fn clear(&mut self) {
        self.lies.clear();
        self.forgotten.clear();
    }
}

/// How often each action was called.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Stats(BTreeMap<String, u64>);

impl Stats {
    /// Names that are counted one by one; strangers beyond that share a line.
    const NAMES_MAX: usize = 512;

    /// Counts a call.
    pub fn count(&mut self, action: &str) {
        let known = self.0.len() < Self::NAMES_MAX || self.0.contains_key(action);
        *self.0.entry(if known { action.to_owned() } else { "(other)".to_owned() }).or_default() += 1;
    }

    /// Calls of this action.
    #[must_use]
    pub fn of(&self, action: &str) -> u64 {
        self.0.get(action).copied().unwrap_or(0)
    }

    /// All calls.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Actions and their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(action, count)| (action.as_str(), *count))
    }

    /// Begins again at zero.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
