//! Bringing the coins home: received on the invoices they were paid to, sent on, sent back.
//!
//! Reading order: [`journal`] is what must survive, `whose` says which accounts may be touched,
//! `chain` is the walk along one account, `round` the walk over all of them, and `books` answers
//! what there is and what there was.
//!
//! Architecture invariant: a block is durable before it is published, and for one place in a chain
//! there is only ever one block of ours. Where a chain goes on is for the ledger to say: whatever was
//! interrupted is found there, or is published once more as it is. And an invoice is left alone while
//! its job is open, so that whoever judges its payment sees it as the buyer left it.

pub mod journal;

mod auto;

mod books;

mod chain;

mod debts;

mod desk;

mod fates;

mod goal;

mod leave;

mod line;

mod publish;

mod round;

mod whose;

use std::sync::Arc;
use std::time::Duration;

use nano_currency::amount::RAW_PER_XNO;
use nano_currency::rpc::work::WorkError;
use nano_currency::rpc::{Rpc, RpcConfig, RpcError, RpcSetupError, WorkSources};
use nano_currency::seed::SeedError;
use nano_currency::{Account, Amount, Network};
use tokio::sync::Mutex;

use super::accounts::Accounts;
use super::memory::{self, fact};
use super::nodes::{Jury, NodesError};
use super::parts::Parts;
use super::settings::{OfferSettings, Settings};
use crate::edge::{self, Clock, Entropy};
use crate::protocol::JobId;
use crate::store::{Store, StoreError};

pub use self::desk::{Errand, Tell, on_schedule};

/// Blocks in an hour unless it is said otherwise: a receive and a send for 2,500 invoices.
const WORK_PER_HOUR: u32 = 5_000;

/// What is smaller is left unless it is said otherwise: a millionth of an XNO.
const RECEIVE_MIN: Amount = Amount::from_raw(1_000_000_000_000_000_000_000_000);

/// What was configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletSettings {
    /// Where everything is sent.
    pub sweep_to: Option<Account>,
    /// Who votes with what is still on invoices; each account for itself if absent.
    pub representative: Option<Account>,
    /// How often coins are brought home by themselves.
    pub every: Option<Duration>,
    /// Blocks signed in an hour at most.
    pub work_per_hour_max: u32,
    /// What is smaller is not received.
    pub receive_min: Amount,
    /// Who is asked for work after the nodes.
    pub work_servers: Vec<String>,
    /// Whether our own cores work if nobody else does.
    pub work_here: bool,
    /// What is sent back without anybody's doing.
    pub refunds: RefundSettings,
}

/// What is sent back without anybody's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefundSettings {
    /// Whether anything is.
    pub auto: bool,
    /// The largest amount for one payment.
    pub each_max: Amount,
    /// The most in any 24 hours, what people had sent back included.
    pub day_max: Amount,
}

impl Default for RefundSettings {
    fn default() -> Self {
        Self {
            auto: false,
            each_max: Amount::from_raw(RAW_PER_XNO),
            day_max: Amount::from_raw(10 * RAW_PER_XNO),
        }
    }
}

impl Default for WalletSettings {
    fn default() -> Self {
        Self {
            sweep_to: None,
            representative: None,
            every: None,
            work_per_hour_max: WORK_PER_HOUR,
            receive_min: RECEIVE_MIN,
            work_servers: Vec::new(),
            work_here: true,
            refunds: RefundSettings::default(),
        }
    }
}

/// Why an errand was not run, or not to its end. Whatever was journaled goes on with the next one.
#[derive(Debug, thiserror::Error)]
pub enum CoinsError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The seed has no such account.
    #[error("the seed has no such account")]
    Seed(#[from] SeedError),
    /// An address of a node or a work server cannot be used.
    #[error("nano.rpc or wallet.work_servers cannot be used")]
    Setup(#[from] RpcSetupError),
    /// The nodes cannot be asked together.
    #[error("nano.rpc cannot be used")]
    Nodes(#[from] NodesError),
    /// The state belongs to another seed.
    #[error("the state directory belongs to another seed: its first account is {found}, not {ours}")]
    WrongSeed {
        /// The account that the state knows.
        found: String,
        /// The account of this seed.
        ours: Account,
    },
    /// The state was made on another network.
    #[error("the state directory was made on the network {found}, and nano.network is {ours}")]
    OtherNetwork {
        /// Where it was made.
        found: String,
        /// What is configured.
        ours: Network,
    },
    /// No node answered.
    #[error("no node answers")]
    Node(#[from] RpcError),
    /// A node is not to be believed.
    #[error("{0}")]
    Gate(String),
    /// Nobody gave work.
    #[error("a block cannot be published without work")]
    Work(#[from] WorkError),
    /// It is not known yet which addresses were used.
    #[error(
        "relay and chain were not looked at for used addresses yet: start the worker, or `wallet rescan`"
    )]
    NotLooked,
    /// It was not said where to.
    #[error("it is not said where to send: set [wallet] sweep_to, or give --to ACCOUNT")]
    NoDestination,
    /// The coins would go where other coins wait to be brought home, or be taken for a payment.
    #[error("{0} is an invoice account of this very seed: send to an account that is not")]
    OurInvoice(Account),
    /// There is no such job.
    #[error("this worker knows no job {0}")]
    NoJob(JobId),
    /// That job's coins are not to be sent back.
    #[error("job {job} {why}")]
    NotRefundable {
        /// Which.
        job: JobId,
        /// Why not.
        why: &'static str,
    },
}

impl CoinsError {
    /// What kind of thing is wrong, for whoever has only the text.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Node(_) | Self::Gate(_) | Self::Work(_) => "unreachable",
            Self::Store(_) | Self::WrongSeed { .. } | Self::OtherNetwork { .. } | Self::NotLooked => "state",
            Self::Setup(_) | Self::Nodes(_) | Self::NoDestination | Self::OurInvoice(_) => "config",
            Self::NoJob(_) => "not_found",
            Self::NotRefundable { .. } => "needs_person",
            Self::Seed(_) => "failed",
        }
    }
}

/// The seller's coins: the one hand that moves them.
#[derive(Debug)]
pub struct Purse {
    store: Arc<Store>,
    accounts: Accounts,
    network: Network,
    rpc: Rpc,
    jury: Jury,
    work: WorkSources,
    settings: WalletSettings,
    offers: Vec<OfferSettings>,
    elsewhere: whose::Elsewhere,
    clock: Clock,
    entropy: Entropy,
    /// One errand at a time: two would sign for the same places.
    turn: Mutex<()>,
}

impl Purse {
    /// The purse of a state directory, whose store is open.
    ///
    /// # Errors
    /// If the state is another seed's or network's.
    pub fn open(store: Arc<Store>, settings: &Settings, parts: &Parts) -> Result<Self, CoinsError> {
        ensure_ours(&store, settings)?;
        let wire = parts.wires.as_ref().map(|wires| Arc::clone(&wires.nodes));
        let jury = Jury::open(settings, passed(), wire)?;
        let rpc = jury.rpc().clone();
        let servers = &settings.wallet.work_servers;
        let servers = match servers.is_empty() {
            true => None,
            false => Some(Rpc::new(&calls(servers.clone(), parts))?),
        };
        let work = WorkSources { nodes: Some(rpc.clone()), servers, cpu: settings.wallet.work_here };
        Ok(Self {
            store,
            accounts: settings.accounts.clone(),
            network: settings.network,
            jury,
            rpc,
            work,
            settings: settings.wallet.clone(),
            offers: settings.offers.clone(),
            elsewhere: whose::Elsewhere::new(settings.account_index_start, settings.index_gap),
            clock: parts.clock.clone(),
            entropy: parts.entropy.clone(),
            turn: Mutex::new(()),
        })
    }
}

/// The time since this was called.
fn passed() -> impl Fn() -> Duration + Clone + Send + Sync + 'static {
    let started = edge::monotonic();
    move || edge::monotonic().saturating_duration_since(started)
}

fn calls(urls: Vec<String>, parts: &Parts) -> RpcConfig {
    let mut config = RpcConfig::new(urls, passed());
    config.wire = parts.wires.as_ref().map(|wires| Arc::clone(&wires.nodes));
    config
}

/// A state that nobody has used yet is nobody's.
fn ensure_ours(store: &Store, settings: &Settings) -> Result<(), CoinsError> {
    let ours = settings.accounts.get(0)?;
    match memory::fact(store, fact::WALLET)? {
        Some(found) if found != ours.to_string() => return Err(CoinsError::WrongSeed { found, ours }),
        _ => {}
    }
    match memory::fact(store, fact::NETWORK)? {
        Some(found) if found != settings.network.name() => {
            Err(CoinsError::OtherNetwork { found, ours: settings.network })
        }
        _ => Ok(()),
    }
}
