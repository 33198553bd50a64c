//! The other half of a sale: find, ask, accept, pay, wait; every step journaled first.
//!
//! Reading order: [`order`] what is remembered of one purchase, [`plan`] what comes next and
//! whether a quote may be paid, [`policy`] what may be spent, [`fate`] what became of a signed
//! block; [`memory`] the journal. Then what acts: [`purchase`] the steps at the relay, [`account`]
//! the chain of blocks that pays, `work` what a block costs in computation, `guard` the policy where
//! money is spent, [`paying`] one payment, [`buying`] all of it in one go, [`wallet`] what the
//! account does besides.
//!
//! Architecture invariant: a block is durable in the journal before it leaves the process, and no
//! second block is signed for a place in a chain, or for a job, while the first could still count.
//! A node or relay that does not answer makes a payment *unknown*, never *unpaid*.

pub mod order;

pub mod plan;

pub mod policy;

pub mod fate;

pub mod memory;

pub mod error;

pub mod progress;

pub mod purchase;

pub mod account;

mod work;

mod guard;

pub mod paying;

pub mod buying;

pub mod wallet;

pub mod v0;

#[cfg(any(test, fuzzing))]
pub(crate) use memory::fuzzing;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nano_currency::rpc::{Rpc, WorkSources};
use nano_currency::{Account, Network, Seed};

pub use error::BuyError;
pub use guard::{Guard, Person};
pub use memory::Memory;
pub use order::{Order, OrderId};
pub use progress::Progress;
use tokio::sync::OnceCell;

use crate::client::RelayClient;
use crate::client::v0::BotClient;
use crate::edge::{Clock, Entropy};

/// What a buyer is made of.
pub struct Parts {
    /// The line to the relay; its key is the buyer's name there.
    pub relay: RelayClient,
    /// The nodes that know the ledger.
    pub rpc: Rpc,
    /// Who does the work of hard blocks.
    pub work: WorkSources,
    /// Where the money is.
    pub seed: Seed,
    /// Whose rules for work apply.
    pub network: Network,
    /// The journal.
    pub memory: Memory,
    /// Tells the time.
    pub clock: Clock,
    /// Makes ids.
    pub entropy: Entropy,
    /// How patient to be.
    pub manners: Manners,
    /// What may be spent.
    pub guard: Guard,
}

/// How patient a buyer is.
#[derive(Debug, Clone, Copy)]
pub struct Manners {
    /// How long one step is tried while relay or node do not answer.
    pub step_patience: Duration,
    /// How long a seller may take with a quote.
    pub quote_patience: Duration,
    /// How long a paid job may take.
    pub result_patience: Duration,
    /// The first pause between two looks at a job.
    pub look_min: Duration,
    /// The longest: relays let a key ask once a second on average.
    pub look_max: Duration,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            step_patience: Duration::from_secs(60),
            quote_patience: Duration::from_secs(300),
            result_patience: Duration::from_secs(1_800),
            look_min: Duration::from_millis(50),
            look_max: Duration::from_secs(2),
        }
    }
}

/// Somebody who buys. Cheap to clone; all clones share the journal and the chains.
#[derive(Clone)]
pub struct Buyer {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    /// The newest block of each account that pays, and the turn to add to it.
    heads: Mutex<HashMap<Account, Arc<account::Chain>>>,
    /// That journal and nodes were found to be this seed's and network's.
    ours: OnceCell<()>,
    /// The turn to spend: between the look at what was spent and the note of what is.
    spending: tokio::sync::Mutex<()>,
    /// The line to a relay of /v0, for a buyer that speaks it.
    bot: Option<BotClient>,
}

impl Buyer {
    /// A buyer of these parts. Speaks to nobody yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self::with(parts, None)
    }

    fn with(parts: Parts, bot: Option<BotClient>) -> Self {
        let inner = Inner {
            parts,
            heads: Mutex::default(),
            ours: OnceCell::new(),
            spending: tokio::sync::Mutex::default(),
            bot,
        };
        Self { inner: Arc::new(inner) }
    }

    /// What is remembered.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.inner.parts.memory
    }

    /// The line to the relay.
    #[must_use]
    pub fn relay(&self) -> &RelayClient {
        &self.inner.parts.relay
    }

    fn rpc(&self) -> &Rpc {
        &self.inner.parts.rpc
    }

    fn manners(&self) -> &Manners {
        &self.inner.parts.manners
    }

    fn clock(&self) -> &Clock {
        &self.inner.parts.clock
    }

    fn entropy(&self) -> &Entropy {
        &self.inner.parts.entropy
    }
}

/// Its name at the relay; not its seed.
impl fmt::Debug for Buyer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buyer({})", self.relay().public_key())
    }
}

/// The same, since it holds the seed.
impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parts({} on {})", self.relay.public_key(), self.network)
    }
}
