//! What a node says about itself, and whether it can be relied on.

use std::fmt;

use serde_json::Value;

use super::Failure;
use super::answer::{optional, required};
use super::transport::excerpt;
use crate::work::Difficulty;
use crate::{Amount, BlockHash, Network};

/// Blocks that are always on their way: published, and confirmed a moment later.
const LAG_BLOCKS: u64 = 16;

/// A node may be behind by this part of the ledger, one in ten thousand: minutes on a busy day.
const LAG_PART: u64 = 10_000;

/// What program a node is, and on which network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its maker and version: `Nano V28.0`, `RsNano 2.0`.
    pub vendor: String,
    /// Its network's name.
    pub network: String,
    /// Its network's first block.
    pub genesis: Option<BlockHash>,
}

impl Version {
    /// Whether the node is on this network, by name and, where it is fixed, by first block.
    #[must_use]
    pub fn is_on(&self, network: Network) -> bool {
        let same_genesis = match (self.genesis, network.genesis()) {
            (Some(theirs), Some(ours)) => theirs == ours,
            _ => true,
        };
        self.network == network.name() && same_genesis
    }
}

/// How many blocks a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockCount {
    /// In its ledger.
    pub count: u64,
    /// Of these, confirmed for good; older nodes do not say.
    pub cemented: Option<u64>,
    /// Waiting for a block before them.
    pub unchecked: u64,
}

/// The votes that a node hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    /// The weight of the representatives that are online.
    pub online_stake_total: Amount,
    /// The weight it takes to confirm a block.
    pub quorum_delta: Option<Amount>,
}

/// What the node's peers say about the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Telemetry {
    /// How many blocks they have.
    pub block_count: u64,
    /// Of these, confirmed for good.
    pub cemented_count: Option<u64>,
}

/// The work that a node asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveDifficulty {
    /// For sends and changes.
    pub send: Difficulty,
    /// For receives.
    pub receive: Difficulty,
}

/// Whether a node can be relied on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// What it is.
    pub version: Version,
    /// How far it is.
    pub blocks: BlockCount,
    /// What is wrong with it; nothing, if this is empty.
    pub findings: Vec<Finding>,
}

impl Health {
    /// Whether nothing is wrong with it.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Something that keeps a node from being relied on. Its text says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Payments there are not payments here.
    WrongNetwork {
        /// The network that was wanted.
        wanted: Network,
        /// The node's own name for its network.
        found: String,
    },
    /// Its peers have blocks that it has not: "block not found" and "nothing receivable" mean little.
    Behind {
        /// How many.
        blocks: u64,
    },
    /// It has blocks that it has not confirmed: payments stay unconfirmed.
    Unconfirmed {
        /// How many.
        blocks: u64,
    },
    /// It hears no votes, so it confirms nothing.
    NoVotes,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongNetwork { wanted, found } => write!(
                f,
                "the node is on the network {found:?}, not on {wanted}: name a node of the {wanted} network, or \
                 set the network to the node's"
            ),
            Self::Behind { blocks } => write!(
                f,
                "the node misses about {blocks} blocks that its peers have: wait until it has caught up, or put \
                 another node first"
            ),
            Self::Unconfirmed { blocks } => write!(
                f,
                "the node has about {blocks} blocks that it has not confirmed: wait until it has caught up, or put \
                 another node first"
            ),
            Self::NoVotes => f.write_str(
                "the node hears no representative vote, so it confirms nothing: check its peers and its firewall, \
                 or put another node first",
            ),
        }
    }
}

/// Judges a node. What it does not tell is not held against it, for proxies hide much.
#[must_use]
pub fn assess(
    wanted: Network,
    version: &Version,
    blocks: &BlockCount,
    quorum: Option<&Quorum>,
    telemetry: Option<&Telemetry>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !version.is_on(wanted) {
        findings.push(Finding::WrongNetwork { wanted, found: version.network.clone() });
    }
    if let Some(behind) = telemetry.and_then(|peers| lag(blocks.count, peers.block_count)) {
        findings.push(Finding::Behind { blocks: behind });
    }
    if let Some(open) = blocks.cemented.and_then(|cemented| lag(cemented, blocks.count)) {
        findings.push(Finding::Unconfirmed { blocks: open });
    }
    if quorum.is_some_and(|quorum| quorum.online_stake_total.is_zero()) {
        findings.push(Finding::NoVotes);
    }
    findings
}

/// By how much `has` is behind `of`, if it is by more than is usual.
fn lag(has: u64, of: u64) -> Option<u64> {
    let behind = of.saturating_sub(has);
    (behind > LAG_BLOCKS + of / LAG_PART).then_some(behind)
}

pub(super) fn read_version(answer: Result<Value, Failure>) -> Result<Version, Failure> {
    let answer = answer?;
    // Both are shown to people, so a stranger's node may not make them long or move the cursor.
    let label = |text: String| excerpt(text.as_bytes());
    Ok(Version {
        vendor: label(optional(&answer, "node_vendor").unwrap_or_default()),
        network: label(required(&answer, "network")?),
        genesis: optional(&answer, "network_identifier"),
    })
}

pub(super) fn read_block_count(answer: Result<Value, Failure>) -> Result<BlockCount, Failure> {
    let answer = answer?;
    Ok(BlockCount {
        count: required(&answer, "count")?,
        cemented: optional(&answer, "cemented"),
        unchecked: optional(&answer, "unchecked").unwrap_or(0),
    })
}

pub(super) fn read_quorum(answer: Result<Value, Failure>) -> Result<Quorum, Failure> {
    let answer = answer?;
    Ok(Quorum {
        online_stake_total: required(&answer, "online_stake_total")?,
        quorum_delta: optional(&answer, "quorum_delta"),
    })
}

pub(super) fn read_telemetry(answer: Result<Value, Failure>) -> Result<Telemetry, Failure> {
    let answer = answer?;
    Ok(Telemetry {
        block_count: required(&answer, "block_count")?,
        cemented_count: optional(&answer, "cemented_count"),
    })
}

pub(super) fn read_active_difficulty(answer: Result<Value, Failure>) -> Result<ActiveDifficulty, Failure> {
    let answer = answer?;
    let read = |name: &'static str| {
        let text: String = required(&answer, name)?;
        Difficulty::parse(&text).ok_or(Failure::Malformed(name))
    };
    let send = read("network_minimum")?;
    Ok(ActiveDifficulty { send, receive: read("network_receive_minimum").unwrap_or(send) })
}
