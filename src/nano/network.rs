//! Nano's networks: how to tell them apart, and how much work each asks for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::BlockHash;
use crate::work::Difficulty;

/// One of Nano's networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Real money.
    Live,
    /// The public beta network.
    Beta,
    /// The public or a private test network.
    Test,
    /// A private development network; its genesis key is public.
    Dev,
}

/// Work asked for by an epoch-2 ledger; `lib/config.cpp` of the C++ node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkThresholds {
    /// For accounts not yet upgraded to epoch 2, and for legacy blocks.
    pub epoch_1: Difficulty,
    /// For sends and changes.
    pub send: Difficulty,
    /// For receives and epoch blocks; also the entry check of every state block.
    pub receive: Difficulty,
}

impl Network {
    /// All of them, the one with real money first.
    pub const ALL: [Self; 4] = [Self::Live, Self::Beta, Self::Test, Self::Dev];

    /// The thresholds in force on it.
    #[must_use]
    pub const fn work(self) -> WorkThresholds {
        match self {
            Self::Live | Self::Test => WorkThresholds {
                epoch_1: Difficulty::new(0xffff_ffc0_0000_0000),
                send: Difficulty::new(0xffff_fff8_0000_0000),
                receive: Difficulty::new(0xffff_fe00_0000_0000),
            },
            Self::Beta => WorkThresholds {
                epoch_1: Difficulty::new(0xffff_f000_0000_0000),
                send: Difficulty::new(0xffff_f000_0000_0000),
                receive: Difficulty::new(0xffff_e000_0000_0000),
            },
            Self::Dev => WorkThresholds {
                epoch_1: Difficulty::new(0xfe00_0000_0000_0000),
                send: Difficulty::new(0xffc0_0000_0000_0000),
                receive: Difficulty::new(0xf000_0000_0000_0000),
            },
        }
    }

    /// The hash of its first block, where it is fixed for ever; `version` calls it
    /// `network_identifier`.
    #[must_use]
    pub fn genesis(self) -> Option<BlockHash> {
        let text = match self {
            Self::Live => "991CF190094C00F0B68E2E5F75F6BEE95A2E0BD93CEAA4A6734DB9F19B728948",
            Self::Dev => "04270D7F11C4B2B472F2854C5A59F2A7E84226CE9ED799DE75744BD7D85FC9D9",
            Self::Beta | Self::Test => return None,
        };
        BlockHash::parse(text).ok()
    }

    /// Its name, as a node's `version` and our configuration write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Beta => "beta",
            Self::Test => "test",
            Self::Dev => "dev",
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text is no network's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a network is one of live, beta, test and dev")]
pub struct UnknownNetwork;

impl FromStr for Network {
    type Err = UnknownNetwork;

    fn from_str(text: &str) -> Result<Self, UnknownNetwork> {
        Self::ALL.into_iter().find(|network| network.name() == text).ok_or(UnknownNetwork)
    }
}
