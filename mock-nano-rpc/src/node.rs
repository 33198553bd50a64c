//! A node around the ledger: elections, what it has heard, and how honestly it answers.
//!
//! Still pure: `now_ms` is Unix time in milliseconds and always an argument.

use std::collections::VecDeque;

use nano_currency::block::StateFields;
use nano_currency::{Account, Amount, BlockHash};

use crate::block::Block;
use crate::faucet::{self, FaucetError};
use crate::faults::{Faults, Lies, Mode, Stats};
use crate::ledger::{Ledger, Refusal, RollbackError, Stored, dev_genesis_key};
use crate::proxy::Proxy;

/// Finished elections that `confirmation_history` remembers; the node keeps 2,048.
const ELECTIONS_MAX: usize = 2_048;

/// News that nobody has collected; with a listener they are collected after every call.
const NEWS_MAX: usize = 200_000;

/// How the node behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Whose manners it has.
    pub mode: Mode,
    /// Whether actions that need `enable_control` are answered.
    pub control_enabled: bool,
    /// How long an election takes.
    pub confirm_delay_ms: u64,
    /// Whether elections end at all.
    pub hold_confirmations: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { mode: Mode::Cpp, control_enabled: true, confirm_delay_ms: 0, hold_confirmations: false }
    }
}

/// Something that WebSocket listeners may want to hear.
#[derive(Debug, Clone)]
pub struct News {
    /// What happened.
    pub kind: NewsKind,
    /// To which block.
    pub hash: BlockHash,
    /// The block, as it was then.
    pub stored: Stored,
    /// When, in Unix milliseconds.
    pub at_ms: u64,
    /// How long the election took.
    pub duration_ms: u64,
}

/// What happened to a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewsKind {
    /// It was added.
    Arrived,
    /// Its own election ended.
    ConfirmedByQuorum,
    /// It was final already, or became so under another one.
    ConfirmedByHeight,
}

/// One finished election.
#[derive(Debug, Clone, Copy)]
pub struct Election {
    /// The winner.
    pub hash: BlockHash,
    /// When it ended, in Unix milliseconds.
    pub ended_ms: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// The weight behind it.
    pub tally: Amount,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    at_ms: u64,
    began_ms: u64,
    hash: BlockHash,
}

/// The node.
#[derive(Debug)]
pub struct Node {
    /// What is true.
    pub ledger: Ledger,
    /// How it behaves.
    pub settings: Settings,
    /// What goes wrong.
    pub faults: Faults,
    /// What it does not tell as it is.
    pub lies: Lies,
    /// The proxy in front of it, if its manners are a proxy's.
    pub proxy: Proxy,
    /// What it was asked.
    pub stats: Stats,
    /// When it began, in Unix milliseconds.
    pub started_ms: u64,
    /// Whether it hears any votes.
    voting: bool,
    /// While the node is cut off: the ledger as the rest of the network has it.
    network: Option<Box<Ledger>>,
    dues: VecDeque<Due>,
    news: VecDeque<News>,
    elections: VecDeque<Election>,
}

impl Node {
    /// A node of a fresh development network.
    #[must_use]
    pub fn new(settings: Settings, now_ms: u64) -> Self {
        Self {
            ledger: Ledger::dev(now_ms / 1_000),
            settings,
            faults: Faults::default(),
            lies: Lies::default(),
            proxy: Proxy::default(),
            stats: Stats::default(),
            started_ms: now_ms,
            voting: true,
            network: None,
            dues: VecDeque::new(),
            news: VecDeque::new(),
            elections: VecDeque::new(),
        }
    }

    /// Raises the genesis account to epoch 2, as every account on the live network has been: its
    /// payments, and all that follow from them, then need today's work.
    pub fn upgrade_genesis(&mut self, now_ms: u64) {
        let account = dev_genesis_key().account();
        for epoch in [1, 2] {
            if let Some(block) = faucet::upgrade(&self.ledger, &account, epoch)
                && let Ok(hash) = self.ledger.process(block, now_ms / 1_000)
            {
                self.ledger.confirm(&hash);
            }
        }
    }

    /// Adds a block, announces it, and begins its election; blocks that waited for it follow.
    ///
    /// # Errors
    /// The first rule it breaks. A block with a missing predecessor is kept until that comes.
    pub fn publish(&mut self, block: Block, now_ms: u64) -> Result<BlockHash, Refusal> {
        match self.ledger.process(block, now_ms / 1_000) {
            Ok(hash) => {
                if let Some(network) = &mut self.network {
                    // The network may know better; then this node will find out when it is back.
                    let _: Result<_, Refusal> = network.process(block, now_ms / 1_000);
                }
                self.arrived(hash, now_ms);
                self.publish_waiting(hash, now_ms);
                Ok(hash)
            }
            Err(refusal) => {
                if let Some(needs) = needed(&block, refusal) {
                    self.ledger.keep_unchecked(block, needs, now_ms / 1_000);
                }
                Err(refusal)
            }
        }
    }

    /// Puts a block in the place of the unconfirmed one that stands there, if one does: what
    /// stood there vanishes, and all that depended on it.
    ///
    /// # Errors
    /// If the block in its place is final, or the new one breaks a rule.
    pub fn replace(&mut self, block: Block, now_ms: u64) -> Result<BlockHash, ReplaceError> {
        if let Some(rival) = self.rival(&block) {
            self.ledger.rollback(&rival, false)?;
        }
        Ok(self.publish(block, now_ms)?)
    }

    /// A payment of the faucet once more, but to another account: its fork.
    ///
    /// # Errors
    /// If it is not a payment of the faucet.
    pub fn redirected(&self, hash: &BlockHash, account: &Account) -> Result<Block, RedirectError> {
        let stored = self.ledger.block(hash).ok_or(RedirectError::Unknown)?;
        match stored.block {
            Block::State(state) if stored.account == dev_genesis_key().account() => {
                let fields = StateFields { link: *account.as_bytes(), ..state.fields };
                Ok(faucet::seal(&self.ledger, &dev_genesis_key(), fields))
            }
            _ => Err(RedirectError::NotOurs),
        }
    }

    /// Pays an account from the genesis account; the hashes of the payments, in order.
    ///
    /// # Errors
    /// If it cannot make all of them; none was made then.
    pub fn pay(
        &mut self,
        account: &Account,
        amount: Amount,
        count: usize,
        now_ms: u64,
    ) -> Result<Vec<BlockHash>, FaucetError> {
        let truth = self.network.as_deref().unwrap_or(&self.ledger);
        let blocks = faucet::payments(truth, account, amount, count)?;
        // The faucet's own blocks break no rule.
        Ok(blocks.into_iter().filter_map(|block| self.publish_elsewhere(block, now_ms).ok()).collect())
    }

    /// Publishes a block as any other node would: where this one is cut off, it does not hear.
    fn publish_elsewhere(&mut self, block: Block, now_ms: u64) -> Result<BlockHash, Refusal> {
        let Some(network) = &mut self.network else { return self.publish(block, now_ms) };
        let hash = network.process(block, now_ms / 1_000)?;
        if !self.settings.hold_confirmations {
            network.confirm(&hash);
        }
        Ok(hash)
    }

    /// Whether the node hears votes: a representative is online, and the node is connected.
    #[must_use]
    pub const fn hears_votes(&self) -> bool {
        self.voting && !self.is_unsynced()
    }

    /// Takes the only representative off the network, or brings it back.
    pub const fn set_voting(&mut self, voting: bool) {
        self.voting = voting;
    }

    /// Whether the node is cut off from its network.
    #[must_use]
    pub const fn is_unsynced(&self) -> bool {
        self.network.is_some()
    }

    /// Cuts the node off: payments made from now on happen without it, and no votes reach it. Or
    /// reconnects it, and it catches up at once.
    pub fn set_unsynced(&mut self, unsynced: bool) {
        match (unsynced, self.network.take()) {
            (true, None) => self.network = Some(Box::new(self.ledger.clone())),
            (true, known) => self.network = known,
            (false, Some(network)) => self.ledger = *network,
            (false, None) => {}
        }
    }

    /// Ends a block's election now; false if the block is unknown.
    pub fn confirm(&mut self, hash: &BlockHash, now_ms: u64) -> bool {
        if self.ledger.block(hash).is_none() {
            return false;
        }
        self.conclude(hash, now_ms, now_ms);
        true
    }

    /// What `block_confirm` does: begins an election for an unconfirmed block, announces a
    /// confirmed one once more.
    pub fn request_confirmation(&mut self, hash: &BlockHash, now_ms: u64) {
        match self.ledger.block(hash) {
            Some(stored) if stored.confirmed => {
                let tally = Amount::ZERO;
                self.remember(Election { hash: *hash, ended_ms: now_ms, duration_ms: 0, tally });
                self.announce(NewsKind::ConfirmedByHeight, *hash, now_ms, 0);
            }
            Some(_) => self.begin_election(*hash, now_ms),
            None => {}
        }
    }

    /// Ends every election whose time has come; when the next one comes, in Unix milliseconds.
    pub fn tick(&mut self, now_ms: u64) -> Option<u64> {
        if self.settings.hold_confirmations || !self.hears_votes() {
            return None;
        }
        while let Some(index) = self.dues.iter().position(|due| due.at_ms <= now_ms) {
            if let Some(due) = self.dues.remove(index) {
                self.conclude(&due.hash, due.began_ms, now_ms);
            }
        }
        self.dues.iter().map(|due| due.at_ms).min()
    }

    /// What has happened since the last call.
    pub fn take_news(&mut self) -> Vec<News> {
        self.news.drain(..).collect()
    }

    /// Finished elections, oldest first.
    pub fn elections(&self) -> impl Iterator<Item = &Election> {
        self.elections.iter()
    }

    /// The block as the node admits to know it.
    #[must_use]
    pub fn admitted(&self, hash: &BlockHash) -> Option<&Stored> {
        if self.lies.is_forgotten(hash) { None } else { self.ledger.block(hash) }
    }

    fn arrived(&mut self, hash: BlockHash, now_ms: u64) {
        self.announce(NewsKind::Arrived, hash, now_ms, 0);
        self.begin_election(hash, now_ms);
    }

    fn begin_election(&mut self, hash: BlockHash, now_ms: u64) {
        let at_ms = now_ms.saturating_add(self.settings.confirm_delay_ms);
        if at_ms <= now_ms && !self.settings.hold_confirmations && self.hears_votes() {
            self.conclude(&hash, now_ms, now_ms);
        } else {
            self.dues.push_back(Due { at_ms, began_ms: now_ms, hash });
        }
    }

    fn publish_waiting(&mut self, hash: BlockHash, now_ms: u64) {
        let mut arrived = vec![hash];
        while let Some(needed) = arrived.pop() {
            for block in self.ledger.take_unchecked(&needed) {
                if let Ok(hash) = self.ledger.process(block, now_ms / 1_000) {
                    self.arrived(hash, now_ms);
                    arrived.push(hash);
                }
            }
        }
    }

    /// The block that stands where `block` would go.
    fn rival(&self, block: &Block) -> Option<BlockHash> {
        match (block, self.ledger.block(&block.previous())) {
            (_, Some(previous)) => previous.successor,
            (Block::State(state), None) if block.previous() == BlockHash::ZERO => {
                self.ledger.account(&state.fields.account).map(|state| state.open)
            }
            _ => None,
        }
    }

    fn conclude(&mut self, hash: &BlockHash, began_ms: u64, now_ms: u64) {
        let duration_ms = now_ms.saturating_sub(began_ms);
        for confirmed in self.ledger.confirm(hash) {
            let kind = match confirmed == *hash {
                true => NewsKind::ConfirmedByQuorum,
                false => NewsKind::ConfirmedByHeight,
            };
            let tally = Amount::MAX;
            self.remember(Election { hash: confirmed, ended_ms: now_ms, duration_ms, tally });
            self.announce(kind, confirmed, now_ms, duration_ms);
        }
    }

    fn remember(&mut self, election: Election) {
        if self.elections.len() == ELECTIONS_MAX {
            self.elections.pop_front();
        }
        self.elections.push_back(election);
    }

    fn announce(&mut self, kind: NewsKind, hash: BlockHash, at_ms: u64, duration_ms: u64) {
        let Some(stored) = self.ledger.block(&hash).cloned() else { return };
        if self.news.len() == NEWS_MAX {
            self.news.pop_front();
        }
        self.news.push_back(News { kind, hash, stored, at_ms, duration_ms });
    }
}

/// Why a block does not take the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplaceError {
    /// The other one has to stay.
    #[error(transparent)]
    Rollback(#[from] RollbackError),
    /// The new one breaks a rule.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Why a payment has no fork that the mock can sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    /// There is no such block.
    #[error("the block is not on the ledger")]
    Unknown,
    /// Only the genesis account's key is known here.
    #[error("the block is not a payment of the genesis account; give the other block itself")]
    NotOurs,
}

/// The hash that a refused block waits for.
fn needed(block: &Block, refusal: Refusal) -> Option<BlockHash> {
    match (refusal, block) {
        (Refusal::GapPrevious, _) => Some(block.previous()),
        (Refusal::GapSource, Block::State(state)) => Some(BlockHash::from_bytes(state.fields.link)),
        (Refusal::GapSource, Block::Open(open)) => Some(open.source),
        (Refusal::GapSource, Block::Receive(receive)) => Some(receive.source),
        _ => None,
    }
}
