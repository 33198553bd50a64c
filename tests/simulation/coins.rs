//! The seller's coins: what may be published, and where every coin is in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mock_nano_rpc::ledger::dev_genesis_key;
use nano_worker::nano::block::{Block, StateBlock};
use nano_worker::nano::{Account, Amount, BlockHash};
use nano_worker::protocol::{JobId, Status};
use nano_worker::store::Disk;
use nano_worker::worker::Settings;
use nano_worker::worker::coins::{Errand, Purse, RefundSettings, WalletSettings};
use serde_json::Value;

use crate::bugs::Bug;
use crate::life::Life;
use crate::oracle::{self, Oracle, Stage};
use crate::plan::{Coins, Host};
use crate::world::World;

/// Where the coins are brought.
const HOME: Account = Account::from_bytes([0x77; 32]);

/// Where a buyer sends what he takes back.
pub(crate) const TAKEN_BACK: Account = Account::from_bytes([9; 32]);

/// The workers' keyspace of blocks that they signed.
pub(crate) const JOURNAL: u8 = 11;

/// How long it is tried to bring the last coins home: a worker that was to die may still do so, and
/// needs a minute and a half to be back.
const HOMEWARD: Duration = Duration::from_secs(300);

/// Between two tries: elections have ended.
const PAUSE: Duration = Duration::from_secs(2);

/// How long one errand may take when nothing goes wrong any more.
const ERRAND: Duration = Duration::from_secs(120);

/// What has left the workers for the chain: the one block for each place, by worker.
pub(crate) type Published = BTreeMap<(usize, Account, BlockHash), StateBlock>;

/// How a worker is told to handle its coins.
pub(crate) fn settings(coins: Option<Coins>, life: u64, bug: Option<Bug>) -> WalletSettings {
    let Some(coins) = coins else { return WalletSettings::default() };
    let elsewhere = Account::from_bytes([0x66; 32]);
    WalletSettings {
        sweep_to: Some(if bug == Some(Bug::SweepsAway) { elsewhere } else { HOME }),
        // Somebody changes it from life to life: a block decided anew would be another one.
        representative: Some(Account::from_bytes([u8::try_from(life % 200).unwrap() + 1; 32])),
        every: Some(Duration::from_secs(coins.every_s)),
        receive_min: Amount::from_raw(if bug == Some(Bug::ReceivesNothing) { u128::MAX } else { 1 }),
        work_here: false,
        refunds: RefundSettings { auto: coins.auto, each_max: Amount::MAX, day_max: Amount::MAX },
        ..WalletSettings::default()
    }
}

/// Whose the coins of an ended job are.
fn are_the_buyers(stage: &Stage) -> bool {
    matches!(stage.ending.name.as_str(), "canceled" | "expired" | "vanished" | "paid_late")
}

impl Oracle {
    /// A block leaves a worker; `rest` is what stays of all that came to its account if it goes back, and
    /// `home` all that has come home from there if it goes home.
    fn publishes(
        &mut self,
        index: usize,
        block: &StateBlock,
        sends: bool,
        (rest, home): (Amount, Amount),
        disk: &Disk,
    ) -> Option<String> {
        let (account, previous) = (block.fields.account, block.fields.previous);
        let hash = block.hash();
        let what = format!("worker {index} publishes {hash} on {account}");
        let place = [&[JOURNAL], &account.as_bytes()[..], previous.as_bytes()].concat();
        let kept = disk.durable(&place).map(|bytes| oracle::read::<Value>(&bytes));
        let kept = kept.and_then(|kept| Some(Block::from_json(&kept["block"]).ok()?.hash()));
        if kept != Some(hash) {
            return Some(format!("{what}, which is not durable"));
        }
        let first = self.published.entry((index, account, previous)).or_insert(*block).hash();
        if first != hash {
            return Some(format!("{what} in the place of {first}"));
        }
        // The relay's word counts: a worker may be wrong about the jobs of another one with its indices.
        let own = self.accounts.get(&(index, account.as_bytes().to_vec()));
        let quoted = self.quoted.get(&account.to_string());
        if let (Some(job), None) = (quoted, own) {
            return Some(format!("{what}, and has never heard of {job}, for which it was quoted"));
        }
        let shown = quoted.filter(|job| self.jobs.contains_key(job));
        let job = shown.or(own).copied()?;
        if let Some(open) = self.jobs.get(&job).filter(|job| !job.status.is_final()) {
            return Some(format!("{what}, while {job} is {}", open.status));
        }
        let to = Account::from_bytes(block.fields.link);
        let (away, back) = (to == HOME, to == dev_genesis_key().account());
        let (status, price) = self.jobs.get(&job).map(|job| (job.status, job.quote_amount_raw.clone()))?;
        let price = price.and_then(|raw| Amount::parse_raw(&raw).ok()).unwrap_or(Amount::ZERO);
        let unpaid = self.jobs.get(&job).and_then(|job| job.error["code"].as_str());
        let unpaid = unpaid.is_some_and(|code| code.starts_with("payment."));
        let got_nothing = matches!(status, Status::Canceled | Status::Expired) || unpaid;
        match sends {
            true if !away && !back => Some(format!("{what}, which sends to {to}")),
            true if away && got_nothing => Some(format!("{what}, which takes what is {job}'s buyer's")),
            true if away && home > price.saturating_add(DUST) => {
                Some(format!("{what}, and takes {home} for {job}, which cost {price}"))
            }
            true if back && status == Status::Delivered && rest < price => {
                Some(format!("{what}, which gives away what was earned with {job}"))
            }
            _ => None,
        }
    }

    /// The jobs of a worker whose coins may be sent back: all of them, or what was not needed.
    fn refundable(&self, index: usize, with_rest: bool) -> Vec<JobId> {
        let ended = self.stages[&index].iter();
        let ended = ended.filter(|(_, stage)| stage.name == "ended" && (with_rest || are_the_buyers(stage)));
        ended.map(|(job, _)| *job).collect()
    }

    /// All accounts that were given away.
    fn invoices(&self) -> impl Iterator<Item = Account> {
        self.accounts.keys().map(|(_, account)| Account::from_bytes(account.as_slice().try_into().unwrap()))
    }

    /// The accounts of ended jobs, and whether their coins are the buyers'.
    fn at_rest(&self, index: usize) -> Vec<(Account, JobId, bool)> {
        let own = self.accounts.iter().filter(|((worker, _), _)| *worker == index);
        own.filter_map(|((_, account), job)| {
            let stage = self.stages[&index].get(job).filter(|stage| stage.name == "ended")?;
            // Given up, and not yet ended by the worker that does it; or nobody will know how.
            let shown = self.jobs.get(job).or_else(|| self.lost.get(job));
            let is_open = shown.is_some_and(|job| !job.status.is_final());
            if stage.ending.name == "elsewhere" && is_open {
                return None;
            }
            let account = Account::from_bytes(account.as_slice().try_into().unwrap());
            if self.quoted.get(&account.to_string()).is_some_and(|quoted| quoted != job) {
                return None;
            }
            Some((account, *job, are_the_buyers(stage)))
        })
        .collect()
    }
}

/// What the buyers who bury an invoice in dust send beside the price.
const DUST: Amount = Amount::from_raw(9);

impl World {
    /// The purse of one life of a worker.
    pub(crate) fn purse(
        &self,
        store: &Arc<nano_worker::store::Store>,
        settings: &Settings,
        parts: &nano_worker::worker::Parts,
    ) -> Option<Arc<Purse>> {
        self.plan.coins?;
        Some(Arc::new(Purse::open(Arc::clone(store), settings, parts).expect("the state is this seed's")))
    }

    /// A call leaves a process for the node.
    pub(crate) fn asked(&self, from: Host, body: &str) {
        let Host::Worker(index) = from else { return };
        if !body.contains("\"process\"") {
            return;
        }
        let call: Value = serde_json::from_str(body).unwrap();
        let Ok(Block::State(block)) = Block::from_json(&call["block"]) else { return };
        let sends = call["subtype"] == "send";
        self.count(if sends { "blocks sent" } else { "blocks received" });
        self.say(|| format!("worker {index} publishes {} on {}", block.hash(), block.fields.account));
        if sends && Account::from_bytes(block.fields.link) == dev_genesis_key().account() {
            self.count("blocks sent back");
        }
        self.forget_dead(index, &block);
        let sums = (self.rest_after(&block), self.home_after(&block));
        let found = self.lock_oracle().publishes(index, &block, sends, sums, self.worker_disk(index));
        if let Some(what) = found {
            self.violation(what);
        }
    }

    /// What receives a send that another worker of the seed has received already can never be on the
    /// ledger: the node refuses it for good, and its place is free.
    fn forget_dead(&self, index: usize, block: &StateBlock) {
        let place = (index, block.fields.account, block.fields.previous);
        let Some(first) = self.lock_oracle().published.get(&place).copied() else { return };
        let link = BlockHash::from_bytes(first.fields.link);
        let is_dead = self.with_node(|node, _| {
            let waits = node.ledger.receivables(&place.1).any(|(send, _)| *send == link);
            let receives = node.ledger.block(&link).is_some();
            receives && !waits && node.ledger.block(&first.hash()).is_none()
        });
        if is_dead {
            self.lock_oracle().published.remove(&place);
        }
    }

    /// What is on an account once a block is there, and what has come home from it.
    fn rest_after(&self, block: &StateBlock) -> Amount {
        self.with_node(|node, _| {
            let account = block.fields.account;
            let waits = node.ledger.receivables(&account).map(|(_, send)| send.amount);
            let home = node.ledger.receivables(&HOME).filter(|(_, send)| send.source == account);
            waits.chain(home.map(|(_, send)| send.amount)).chain([block.fields.balance]).sum()
        })
    }

    /// What has come home from an account once a block is there that goes home.
    fn home_after(&self, block: &StateBlock) -> Amount {
        self.with_node(|node, _| {
            let account = block.fields.account;
            let home = node.ledger.receivables(&HOME).filter(|(_, send)| send.source == account);
            let home: Amount = home.map(|(_, send)| send.amount).sum();
            let is_next =
                node.ledger.account(&account).map(|state| state.frontier) == Some(block.fields.previous);
            let sent = node.ledger.balance(&account).checked_sub(block.fields.balance).filter(|_| is_next);
            home.saturating_add(sent.unwrap_or(Amount::ZERO))
        })
    }

    /// Somebody sends back what is the buyers', again and again, unless the workers do.
    pub(crate) fn start_refunding(self: &Arc<Self>) {
        let Some(coins) = self.plan.coins.filter(|coins| coins.refunds && !coins.auto) else { return };
        let me = self.me();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(coins.every_s)).await;
                let Some(world) = me.upgrade().filter(|world| !world.lock_troubles().healed) else { return };
                for index in 0..world.plan.workers {
                    let jobs = world.lock_oracle().refundable(index, false);
                    let Some((life, purse)) = world.hand(index).filter(|_| !jobs.is_empty()) else {
                        continue;
                    };
                    let task = async move {
                        for job in jobs {
                            // What fails now is tried again.
                            drop(purse.run(&Errand::Refund { job, to: None, dry_run: false }, &|_| ()).await);
                        }
                    };
                    life.spawn(task);
                }
            }
        });
    }

    fn hand(&self, index: usize) -> Option<(Arc<Life>, Arc<Purse>)> {
        let process = self.workers[index].lock().unwrap();
        Some((process.life().filter(|life| life.is_alive())?, process.purse()?))
    }

    /// When all is well, whoever asks for it gets every coin to where it belongs.
    pub(crate) async fn bring_home(self: &Arc<Self>) {
        let Some(coins) = self.plan.coins else { return };
        let end = self.elapsed() + HOMEWARD;
        while self.elapsed() < end {
            self.confirm_all();
            if self.astray(coins).is_empty() {
                return;
            }
            for index in 0..self.plan.workers {
                let Some((_, purse)) = self.hand(index) else { continue };
                let mut errands = vec![Errand::Sweep { to: None, owed: false, dry_run: false }];
                let refund = |job| Errand::Refund { job, to: None, dry_run: false };
                let jobs = self.lock_oracle().refundable(index, true);
                let jobs = jobs.into_iter().filter(|job| coins.refunds || !self.is_the_buyers(index, job));
                // By themselves they need a minute.
                if !coins.auto || self.elapsed() + HOMEWARD / 2 > end {
                    errands.extend(jobs.map(refund));
                }
                for errand in errands {
                    let done = tokio::time::timeout(ERRAND, purse.run(&errand, &|_| ())).await;
                    self.say(|| format!("worker {index} has run {errand:?}: {done:?}"));
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        for what in self.astray(coins) {
            self.violation(what);
        }
    }

    fn is_the_buyers(&self, index: usize, job: &JobId) -> bool {
        self.lock_oracle().stages[&index].get(job).is_some_and(are_the_buyers)
    }

    /// The coins of jobs that are over which are not where they belong.
    fn astray(&self, coins: Coins) -> Vec<String> {
        let mut astray = Vec::new();
        for index in 0..self.plan.workers {
            for (account, job, buyers) in self.lock_oracle().at_rest(index) {
                let left = self.kept(&account);
                // Dust is nobody's debt, and a buyer's account is not swept.
                let borne = if buyers { DUST } else { Amount::ZERO };
                if left > borne && (!buyers || coins.refunds) {
                    astray.push(format!("{left} raw for {job} are still on {account}"));
                }
            }
        }
        astray
    }

    /// What is on an account and what waits for it.
    fn kept(&self, account: &Account) -> Amount {
        self.with_node(|node, _| {
            let waits: Amount = node.ledger.receivables(account).map(|(_, send)| send.amount).sum();
            node.ledger.balance(account).saturating_add(waits)
        })
    }

    /// Elections that nobody began while the node was cut off end too.
    fn confirm_all(&self) {
        self.with_node(|node, now_ms| {
            let heads: Vec<BlockHash> = node.ledger.accounts().map(|(_, state)| state.frontier).collect();
            for head in heads {
                node.confirm(&head, now_ms);
            }
        });
    }

    /// Every coin that a buyer sent is on an invoice, at home, sent back, or taken back by him.
    pub(crate) fn add_up(&self) {
        let ours: BTreeSet<Account> = self.lock_oracle().invoices().collect();
        let genesis = dev_genesis_key().account();
        let places = ours.into_iter().map(|account| self.kept(&account));
        let kept: Amount = places.chain([self.kept(&HOME), self.kept(&TAKEN_BACK)]).sum();
        let (back, all, left) = self.with_node(|node, _| {
            let back: Amount = node.ledger.receivables(&genesis).map(|(_, send)| send.amount).sum();
            (back, node.ledger.total(), node.ledger.balance(&genesis))
        });
        let sum = kept.saturating_add(back).saturating_add(left);
        if all != Some(sum) {
            self.violation(format!("the coins do not add up: {sum} of {all:?}"));
        }
    }
}
