//! What the environment names.

use nano_worker::config::{Env, secret};
use nano_worker::nano::{Amount, PrivateKey, Seed};

/// Everything that is read.
pub(crate) const NAMES: [&str; 6] = [
    "NANO_RPC_URL",
    "NANO_WS_URL",
    "NANO_TEST_SEED",
    "NANO_GENESIS_KEY",
    "NANO_TEST_PRICE_XNO",
    "NANO_TEST_PATIENCE",
];

/// Dust, and more than a worker leaves lying: a hundred-thousandth of an XNO.
const PRICE_XNO: &str = "0.00001";

/// Seconds that one step may take: work for a block on one slow core takes minutes.
const PATIENCE: u64 = 900;

/// A node, and money on it.
pub(crate) struct Given {
    pub(crate) rpc: String,
    pub(crate) websocket: Option<String>,
    pub(crate) money: Money,
    pub(crate) price: Amount,
    pub(crate) patience: u64,
}

/// Where the buyer's money is.
pub(crate) enum Money {
    /// On the first account of a seed.
    Seed(Seed, String),
    /// On a private network's first account, which gives some.
    Genesis(PrivateKey),
}

impl Given {
    /// Nothing, if no node is named.
    pub(crate) fn read() -> Result<Option<Self>, String> {
        let env = Env::system();
        let [rpc, websocket, seed, genesis, price, patience] = NAMES.map(|name| env.get(name));
        let Some(rpc) = rpc else { return Ok(None) };
        let money = match (seed, genesis) {
            (Some(seed), _) => {
                let text = secret::from_env_value(&seed, std::path::Path::new(""), &env, None);
                let text = text.map_err(|error| format!("NANO_TEST_SEED: {error}"))?;
                let seed = Seed::parse(text.expose()).map_err(|error| format!("NANO_TEST_SEED: {error}"))?;
                Money::Seed(seed, text.expose().to_owned())
            }
            (None, Some(key)) => {
                let mut bytes = [0; 32];
                hex::decode_to_slice(key.trim(), &mut bytes)
                    .map_err(|_| "NANO_GENESIS_KEY is not 64 hex digits".to_owned())?;
                Money::Genesis(PrivateKey::from_bytes(bytes))
            }
            (None, None) => {
                return Err("a node is named, and no money: set NANO_TEST_SEED (a seed or file:PATH), or \
                            NANO_GENESIS_KEY on a private network"
                    .to_owned());
            }
        };
        let price = Amount::parse_xno(price.as_deref().unwrap_or(PRICE_XNO))
            .map_err(|error| format!("NANO_TEST_PRICE_XNO: {error}"))?;
        let patience = match patience {
            None => PATIENCE,
            Some(text) => text.parse().map_err(|_| "NANO_TEST_PATIENCE is no number".to_owned())?,
        };
        Ok(Some(Self { rpc, websocket, money, price, patience }))
    }
}
