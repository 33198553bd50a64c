//! The front door: a node on its own sockets, scripted in Rust.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use nano_currency::{Account, Amount, BlockHash};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::block::Block;
use crate::faucet::FaucetError;
use crate::faults::{Fault, Lie, Mode, Stats};
use crate::host::{Host, now_ms};
use crate::ledger::RollbackError;
use crate::node::{Node, RedirectError, ReplaceError, Settings};
use crate::{server, ws};

/// How a mock is started. The default listens on free ports of the loopback, with a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Where RPC calls come in.
    pub listen: SocketAddr,
    /// Where WebSocket listeners connect; nowhere if absent.
    pub ws_listen: Option<SocketAddr>,
    /// How the node behaves at first.
    pub settings: Settings,
    /// Whether the genesis account begins at epoch 2, as accounts on the live network are.
    /// Otherwise the ledger begins with nothing but its legacy genesis block.
    pub upgraded: bool,
    /// When the network began, in Unix milliseconds; now, if absent.
    pub began_ms: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            listen: loopback,
            ws_listen: Some(loopback),
            settings: Settings::default(),
            upgraded: true,
            began_ms: None,
        }
    }
}

/// A running mock. It ends when this is dropped; [`MockNode::stop`] also waits for that.
#[derive(Debug)]
pub struct MockNode {
    host: Arc<Host>,
    rpc: SocketAddr,
    ws: Option<SocketAddr>,
    tasks: JoinSet<()>,
}

impl MockNode {
    /// Starts a node on a fresh ledger.
    ///
    /// # Errors
    /// If an address cannot be listened on.
    pub async fn start(config: Config) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await?;
        let rpc = listener.local_addr()?;
        let began_ms = config.began_ms.unwrap_or_else(now_ms);
        let mut node = Node::new(config.settings, began_ms);
        if config.upgraded {
            node.upgrade_genesis(began_ms);
        }
        let host = Arc::new(Host::new(node));
        let mut tasks = JoinSet::new();
        let mut ws_address = None;
        if let Some(address) = config.ws_listen {
            let listener = TcpListener::bind(address).await?;
            ws_address = Some(listener.local_addr()?);
            tasks.spawn(ws::run(listener, Arc::clone(&host)));
        }
        tasks.spawn(server::run(listener, Arc::clone(&host)));
        let elections = Arc::clone(&host);
        tasks.spawn(async move { elections.hold_elections().await });
        Ok(Self { host, rpc, ws: ws_address, tasks })
    }

    /// Where it answers calls.
    #[must_use]
    pub const fn rpc_address(&self) -> SocketAddr {
        self.rpc
    }

    /// Where it answers calls, as clients take it.
    #[must_use]
    pub fn rpc_url(&self) -> String {
        format!("http://{}", self.rpc)
    }

    /// Where its WebSocket is, if it has one, as clients take it.
    #[must_use]
    pub fn ws_url(&self) -> Option<String> {
        self.ws.map(|address| format!("ws://{address}"))
    }

    /// Ends it, and returns when nothing of it runs any more.
    pub async fn stop(mut self) {
        self.host.shutdown.cancel();
        while self.tasks.join_next().await.is_some() {}
    }

    /// Does anything else with the node: `act` gets it and the time in Unix milliseconds.
    pub fn with<R>(&self, act: impl FnOnce(&mut Node, u64) -> R) -> R {
        self.host.with(act)
    }

    /// Stops the node's clock at a moment in Unix milliseconds, or lets it run.
    pub fn stop_clock(&self, at_ms: Option<u64>) {
        self.host.stop_clock(at_ms);
    }

    /// Pays an account; the hash of the payment.
    ///
    /// # Errors
    /// If the amount is nothing, or more than there is.
    pub fn fund(&self, account: &Account, amount: Amount) -> Result<BlockHash, FaucetError> {
        let hashes = self.with(|node, now_ms| node.pay(account, amount, 1, now_ms))?;
        hashes.first().copied().ok_or(FaucetError::NoGenesis)
    }

    /// Pays an account many times; the hashes of the payments.
    ///
    /// # Errors
    /// As [`MockNode::fund`].
    pub fn dust(
        &self,
        account: &Account,
        amount: Amount,
        count: usize,
    ) -> Result<Vec<BlockHash>, FaucetError> {
        self.with(|node, now_ms| node.pay(account, amount, count, now_ms))
    }

    /// Confirms a block now; false if it is unknown.
    pub fn confirm(&self, hash: &BlockHash) -> bool {
        self.with(|node, now_ms| node.confirm(hash, now_ms))
    }

    /// Keeps every election from ending, or lets them end.
    pub fn hold_confirmations(&self, hold: bool) {
        self.with(|node, _| node.settings.hold_confirmations = hold);
    }

    /// Makes elections take this long.
    pub fn confirmation_delay(&self, delay_ms: u64) {
        self.with(|node, _| node.settings.confirm_delay_ms = delay_ms);
    }

    /// Puts a block in the place of an unconfirmed one, which vanishes with its dependents.
    ///
    /// # Errors
    /// If the block in its place is final, or this one breaks a rule.
    pub fn fork(&self, block: Block) -> Result<BlockHash, ReplaceError> {
        self.with(|node, now_ms| node.replace(block, now_ms))
    }

    /// Redirects an unconfirmed payment of the faucet to another account: the payment vanishes,
    /// and all that depended on it. The hash of the new one.
    ///
    /// # Errors
    /// If it is not such a payment.
    pub fn double_spend(&self, hash: &BlockHash, account: &Account) -> Result<BlockHash, DoubleSpendError> {
        self.with(|node, now_ms| {
            let block = node.redirected(hash, account)?;
            Ok(node.replace(block, now_ms)?)
        })
    }

    /// Takes a block away, confirmed or not, with its dependents; the hashes that went.
    ///
    /// # Errors
    /// If it is unknown, or the genesis block.
    pub fn rollback(&self, hash: &BlockHash) -> Result<Vec<BlockHash>, RollbackError> {
        let gone = self.with(|node, _| node.ledger.rollback(hash, true))?;
        Ok(gone.iter().map(|stored| stored.block.hash()).collect())
    }

    /// Denies a block from now on.
    pub fn forget(&self, hash: BlockHash) {
        self.with(|node, _| node.lies.forget(hash));
    }

    /// Tells this about a block from now on.
    pub fn lie(&self, hash: BlockHash, lie: Lie) {
        self.with(|node, _| node.lies.tell(hash, lie));
    }

    /// Switches a fault on; false if too many are.
    pub fn fault(&self, fault: Fault) -> bool {
        self.with(|node, _| node.faults.add(fault))
    }

    /// Cuts the node off from its network, or reconnects it.
    pub fn unsynced(&self, unsynced: bool) {
        self.with(|node, _| node.set_unsynced(unsynced));
    }

    /// Changes its manners.
    pub fn mode(&self, mode: Mode) {
        self.with(|node, _| node.settings.mode = mode);
    }

    /// How often each action was called.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.with(|node, _| node.stats.clone())
    }

    /// Ends all faults and lies, and begins to count calls at zero.
    pub fn clear(&self) {
        self.with(|node, _| {
            node.faults.clear();
            node.lies.clear();
            node.stats.clear();
        });
    }
}

/// Why a payment cannot be spent twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DoubleSpendError {
    /// It is not the faucet's.
    #[error(transparent)]
    Redirect(#[from] RedirectError),
    /// It is final.
    #[error(transparent)]
    Replace(#[from] ReplaceError),
}

impl Drop for MockNode {
    fn drop(&mut self) {
        self.host.shutdown.cancel();
    }
}
