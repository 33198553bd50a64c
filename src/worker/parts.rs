//! What a worker is given from outside.

use std::sync::Arc;

use super::settings::{BazaarSettings, Settings};
use crate::client::v0::BotClient;
use crate::client::{RelayClient, RelayUrlError, Wire};
use crate::edge::{Clock, Entropy, Tasks};

/// What comes from outside: time, randomness, tasks, and the ways to others.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Tells the time.
    pub clock: Clock,
    /// Makes randomness.
    pub entropy: Entropy,
    /// Runs what goes on at the same time.
    pub tasks: Tasks,
    /// The ways to relay and nodes, where they are not sockets.
    pub wires: Option<Wires>,
}

/// Ways to others that are not sockets: for simulations.
#[derive(Debug, Clone)]
pub struct Wires {
    /// To the relay.
    pub relay: Arc<dyn Wire>,
    /// To the nodes.
    pub nodes: Arc<dyn nano_currency::rpc::Wire>,
}

impl Parts {
    /// The machine's own.
    #[must_use]
    pub fn system() -> Self {
        Self { clock: Clock::system(), entropy: Entropy::system(), tasks: Tasks::system(), wires: None }
    }

    /// A client of the relay.
    pub(super) fn client(&self, settings: &Settings) -> Result<RelayClient, RelayUrlError> {
        let (clock, entropy) = (self.clock.clone(), self.entropy.clone());
        match &self.wires {
            None => RelayClient::new(&settings.relay_url, settings.signer.clone(), clock, entropy),
            Some(wires) => {
                let wire = Arc::clone(&wires.relay);
                RelayClient::over(wire, &settings.relay_url, settings.signer.clone(), clock, entropy)
            }
        }
    }

    /// A client of a relay of /v0.
    pub(super) fn bot(&self, settings: &Settings, bot: &BazaarSettings) -> Result<BotClient, RelayUrlError> {
        let (url, keys) = (&settings.relay_url, bot.keys.clone());
        let (clock, entropy) = (self.clock.clone(), self.entropy.clone());
        match &self.wires {
            None => BotClient::new(url, keys, bot.rates, clock, entropy),
            Some(wires) => BotClient::over(Arc::clone(&wires.relay), url, keys, bot.rates, clock, entropy),
        }
    }
}
