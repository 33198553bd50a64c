//! Nano's networks: how to tell them apart, and how much work each asks for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::work::Difficulty;
use crate::{Account, BlockHash};

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

/// Owner of the live network's first block.
const LIVE_GENESIS_ACCOUNT: &str = "nano_3t6k35gi95xu6tergt6p69ck76ogmitsa8mnijtpxm9fkcm736xtoncuohr3";

/// Signed the live network's second epoch.
const LIVE_EPOCH_2_SIGNER: &str = "nano_3qb6o6i1tkzr6jwr5s7eehfxwg9x6eemitdinbpi7u8bjjwsgqfj4wzser3x";

/// Owner of the development network's first block; its key is public.
const DEV_GENESIS_ACCOUNT: &str = "nano_3e3j5tkog48pnny9dmfzj1r16pg8t1e76dz5tmac6iq689wyjfpiij4txtdo";

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

    /// What its blocks are tested by. Work is not tested unless the caller asks for it.
    ///
    /// The live network's first epoch was signed by its genesis account, the second by a key of
    /// its own; the development network's genesis account signs both (`nano/secure/common.cpp` of
    /// the C++ node). The other networks were begun anew more than once, so nothing is fixed.
    #[must_use]
    pub fn rules(self) -> Rules {
        let signers = match self {
            Self::Live => [Some(LIVE_GENESIS_ACCOUNT), Some(LIVE_EPOCH_2_SIGNER)],
            Self::Dev => [Some(DEV_GENESIS_ACCOUNT); 2],
            Self::Beta | Self::Test => [None; 2],
        };
        Rules {
            genesis: self.genesis(),
            epoch_signers: signers.map(|signer| signer.and_then(|text| text.parse().ok())),
            work_min: None,
        }
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

/// What a network's blocks are tested by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The hash of its first block, which alone holds money from nowhere.
    pub genesis: Option<BlockHash>,
    /// Who signs the blocks that raise accounts to epochs 1 and 2, where that is known.
    pub epoch_signers: [Option<Account>; 2],
    /// The least work of any block that pays, if that is to be tested too. A block that the
    /// network confirmed has it, so this only tells a clumsy forgery earlier.
    pub work_min: Option<Difficulty>,
}

impl Rules {
    /// Who signs the epoch that a link stands for; `None` if it stands for none.
    #[must_use]
    pub fn epoch_of(&self, link: &[u8; 32]) -> Option<Option<Account>> {
        let epoch = EPOCH_LINKS.iter().position(|text| link[..14] == text[..] && link[14..] == [0; 18])?;
        Some(self.epoch_signers[epoch])
    }
}

/// The links of epoch blocks: texts, padded with zeros.
const EPOCH_LINKS: [&[u8; 14]; 2] = [b"epoch v1 block", b"epoch v2 block"];

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
