//! Why the daemon ends without being told to, and what whoever started it should do then.

use super::engine::EngineError;
use super::nodes::NodesError;
use super::restore::RestoreError;
use super::wallet::WalletError;
use crate::client::RelayUrlError;
use crate::store::{OpenError, StoreError};

/// Why the daemon does not start, or had to stop. Its store is whole: starting it again is safe.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory cannot be used.
    #[error("the state directory cannot be used")]
    Open(#[from] OpenError),
    /// The store failed.
    #[error("the store failed; start again once the disk is well")]
    Store(#[from] StoreError),
    /// The wallet cannot be used.
    #[error("the wallet cannot be used")]
    Wallet(#[from] WalletError),
    /// A decision could not be stored.
    #[error("a decision could not be stored")]
    Engine(#[from] EngineError),
    /// The state is another seller's.
    #[error("the state directory belongs to the relay key {found}, not to {ours}")]
    OtherSeller {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        ours: String,
    },
    /// The state was made on another network: what is paid there may be worth nothing here.
    #[error("the state directory was made on the network {found}, and nano.network is {ours}")]
    OtherNetwork {
        /// Where it was made.
        found: String,
        /// What is configured.
        ours: String,
    },
    /// The state directory cannot be used, or not be mended.
    #[error("the state directory cannot be used")]
    Restore(#[source] RestoreError),
    /// The relay's address cannot be used.
    #[error("relay.url cannot be used")]
    RelayUrl(#[from] RelayUrlError),
    /// The nodes cannot be asked as it is configured.
    #[error(transparent)]
    Nodes(#[from] NodesError),
    /// The relay refused an offer for good.
    #[error("an offer was refused")]
    Offer(String),
    /// The disk had failed and is well again; only another process can open the store.
    #[error("the disk takes writes again: start anew")]
    Anew,
    /// A thread or a socket could not be made.
    #[error("the system refused a thread or a socket")]
    System(#[from] std::io::Error),
}

impl StartError {
    /// Whether the disk refused: once it is well, another process can go on, and this one cannot.
    #[must_use]
    pub fn is_disk(&self) -> bool {
        match self {
            Self::Open(error) => error.is_disk(),
            Self::Store(error)
            | Self::Wallet(WalletError::Store(error))
            | Self::Engine(EngineError::Store(error) | EngineError::Wallet(WalletError::Store(error))) => {
                error.is_disk()
            }
            _ => false,
        }
    }

    /// Whether it stopped because the store is damaged: then it is to be read to its end at the next
    /// start, and to be made anew if that fails.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Store(error)
            | Self::Wallet(WalletError::Store(error))
            | Self::Engine(EngineError::Store(error) | EngineError::Wallet(WalletError::Store(error))) => {
                error.is_damage()
            }
            _ => false,
        }
    }
}

impl From<RestoreError> for StartError {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Open(error) => Self::Open(error),
            RestoreError::Store(error) => Self::Store(error),
            error => Self::Restore(error),
        }
    }
}
