//! One schedule from its beginning to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use nano_worker::nano::{Account, Amount, BlockHash};
use nano_worker::protocol::{Job, JobId, Status};

use crate::bugs::Bug;
use crate::ends::invoice;
use crate::plan::{Fault, FaultKind, Host, Offer, Plan};
use crate::processes::Doom;
use crate::world::World;

/// Between two looks whether all is done.
const LOOK: Duration = Duration::from_secs(2);

/// How much longer it may take until what came late stands in a worker's books: the address of a job that
/// is over is looked at every ten minutes, once that has gone on for a while.
const BOOKS: Duration = Duration::from_secs(700);

/// What came of a schedule.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) violations: Vec<String>,
    pub(crate) log: Vec<String>,
    pub(crate) events: u64,
    pub(crate) handled: u32,
    pub(crate) ended: u32,
    /// How often the rarer things happened.
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// How long after everything was well the last paid job ended, in simulated time.
    pub(crate) recovered: Duration,
}

/// Runs a schedule on this thread.
pub(crate) fn run(plan: &Plan, keep_log: bool) -> Report {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::new(plan.clone(), keep_log);
        let recovered = story(&world).await;
        let oracle = world.lock_oracle();
        let mut counts = world.counts.lock().unwrap().clone();
        counts.insert("handlers started again", oracle.restarted.into());
        Report {
            violations: world.log.violations(),
            log: world.log.lines(),
            events: world.log.events(),
            handled: oracle.handled,
            ended: oracle.ended,
            counts,
            recovered,
        }
    })
}

async fn story(world: &Arc<World>) -> Duration {
    world.start_relay();
    for index in 0..world.plan.workers {
        world.prepare_worker(index);
        world.start_worker(index);
    }
    world.start_bots();
    for job in world.plan.jobs.clone() {
        world.start_buyer(job);
    }
    world.start_refunding();
    for fault in world.plan.faults.clone() {
        if world.has_failed() {
            return Duration::ZERO;
        }
        sleep_until(world, fault.at_ms).await;
        world.strike(fault);
    }
    while world.now_ms() < world.plan.heal_ms && !world.has_failed() {
        tokio::time::sleep(LOOK).await;
    }
    world.heal();
    let took = recover(world).await;
    if !world.has_failed() {
        world.bring_home().await;
    }
    took
}

async fn sleep_until(world: &World, at_ms: u64) {
    let left = at_ms.saturating_sub(world.now_ms());
    tokio::time::sleep(Duration::from_millis(left)).await;
}

/// Waits until nothing is owed, which must not take longer than [`bound`].
async fn recover(world: &Arc<World>) -> Duration {
    let began = world.elapsed();
    let bound = bound(&world.plan);
    let mut last = Duration::ZERO;
    loop {
        if world.has_failed() {
            return Duration::ZERO;
        }
        let took = world.elapsed().saturating_sub(began);
        let owed = world.owed();
        if owed.is_empty() {
            return last;
        }
        if owed.iter().any(|(more, _)| more.is_zero()) {
            last = took;
        }
        let overdue: Vec<_> = owed.into_iter().filter(|(more, _)| took > bound + *more).collect();
        if !overdue.is_empty() {
            for (more, what) in overdue {
                world.violation(format!("{what}, {} s after all was well", (bound + more).as_secs()));
            }
            return took;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The longest that a paid job may take to end once everything is well.
///
/// A program that was down is up again, another holder's lock has run out, a call or a look that was
/// put off for as long as is ever done has been made, a few times in a row; and every job has run
/// as long as a handler may, one after the other.
fn bound(plan: &Plan) -> Duration {
    let lock = Duration::from_secs(plan.lock_ttl_s);
    let handlers = Duration::from_secs(65) * u32::try_from(plan.jobs.len() + plan.bots.len()).unwrap();
    let put_off = Duration::from_secs(60) * 4;
    let polls = Duration::from_millis(plan.poll_max_ms) * 2;
    Duration::from_secs(90) + lock + lock + handlers + put_off + polls
}

impl World {
    /// Whether to stop here. What follows from a bug that was put in is of interest too.
    fn has_failed(&self) -> bool {
        self.log.has_failed() && self.plan.bug.is_none()
    }

    fn strike(self: &Arc<Self>, fault: Fault) {
        self.say(|| format!("fault {:?}", fault.kind));
        let now_ms = self.now_ms();
        match fault.kind {
            FaultKind::Crash { host, after_effects, down_ms, spared } => {
                let doom = Doom { down: Duration::from_millis(down_ms), spared, wipes: false };
                match host {
                    Host::Worker(index) => self.crash_worker(index, after_effects, doom),
                    Host::Relay => self.crash_relay(after_effects, doom),
                    Host::Node | Host::Buyers => {
                        self.lock_troubles().node_down = true;
                        self.after(down_ms, |world| world.lock_troubles().node_down = false);
                    }
                }
            }
            FaultKind::Stop { host: Host::Worker(index), down_ms } => {
                self.stop_worker(index, Duration::from_millis(down_ms));
            }
            FaultKind::Stop { .. } => {}
            FaultKind::Replace { after_effects, down_ms } => {
                let doom = Doom { down: Duration::from_millis(down_ms), spared: 0, wipes: true };
                self.crash_relay(after_effects, doom);
            }
            FaultKind::Partition { one, other, for_ms } => {
                self.network.lock().unwrap().cut(one, other, now_ms + for_ms);
            }
            FaultKind::Clock { host, by_ms } => self.set_clock(host, by_ms),
            FaultKind::Unsynced { for_ms } => {
                self.with_node(|node, _| node.set_unsynced(true));
                self.after(for_ms, |world| world.with_node(|node, _| node.set_unsynced(false)));
            }
            FaultKind::Unconfirmed { for_ms } => {
                self.with_node(|node, _| node.settings.hold_confirmations = true);
                self.after(for_ms, |world| {
                    world.with_node(|node, _| node.settings.hold_confirmations = false);
                });
            }
            FaultKind::NodeSlow { for_ms, delay_ms } => {
                self.lock_troubles().node_delay_ms = delay_ms;
                self.after(for_ms, |world| world.lock_troubles().node_delay_ms = 0);
            }
            FaultKind::NodeBroken { for_ms, how } => {
                self.lock_troubles().node_broken = Some(how);
                self.after(for_ms, |world| world.lock_troubles().node_broken = None);
            }
            FaultKind::SlowDisk { host, for_ms, flush_ms } => {
                self.lock_troubles().flush_ms.insert(host, flush_ms);
                self.after(for_ms, move |world| {
                    world.lock_troubles().flush_ms.retain(|slow, _| *slow != host)
                });
            }
        }
    }

    fn after(self: &Arc<Self>, ms: u64, act: impl FnOnce(&World) + Send + 'static) {
        let me = self.me();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            if let Some(world) = me.upgrade() {
                act(&world);
            }
        });
    }

    /// A relay whose clock jumps ahead ends all locks at once, and no holder is told: what runs then may
    /// run beside another's for a moment. What must not start twice must not all the same.
    fn set_clock(&self, host: Host, by_ms: i64) {
        let before_ms = self.lock_troubles().clocks_ms.insert(host, by_ms).unwrap_or(0);
        let margin_ms = i64::try_from(self.plan.lock_ttl_s).unwrap() * 1_000 / 10;
        if host == Host::Relay && by_ms - before_ms > margin_ms {
            self.lock_oracle().locks_ran_out();
        }
    }

    /// From now on nothing goes wrong any more.
    fn heal(self: &Arc<Self>) {
        self.say(|| "all is well from now on".to_owned());
        self.set_clock(Host::Relay, 0);
        if !self.has_bug(Bug::NeverHeals) {
            self.network.lock().unwrap().heal();
        }
        {
            let mut troubles = self.lock_troubles();
            troubles.clocks_ms.clear();
            troubles.flush_ms.clear();
            troubles.node_down = self.has_bug(Bug::NeverPaid);
            troubles.node_delay_ms = 0;
            troubles.node_broken = None;
            troubles.healed = true;
        }
        self.with_node(|node, _| {
            node.set_unsynced(false);
            node.settings.hold_confirmations = false;
        });
    }

    /// What has not been done yet, though it could be; and how much longer than the bound it may take.
    fn owed(&self) -> Vec<(Duration, String)> {
        let mut owed = Vec::new();
        if !self.relay.lock().unwrap().is_up() {
            owed.push("the relay is down".to_owned());
        }
        let (jobs, offers) = {
            let oracle = self.lock_oracle();
            (oracle.jobs.clone(), oracle.offers.clone())
        };
        for offer in Offer::ALL.iter().filter(|offer| !offers.contains(offer.name())) {
            owed.push(format!("the offer {} is not on the relay", offer.name()));
        }
        let mut stolen = BTreeSet::new();
        let mut late = Vec::new();
        for job in jobs.values() {
            let Some((account, price)) = invoice(job) else { continue };
            let open = matches!(job.status, Status::Accepted | Status::Running);
            let paid = self.payments(&account);
            if job.payment_tx_hash.is_none() && paid.iter().any(|(hash, _)| is_on_another(&jobs, job, hash)) {
                stolen.insert(job.job_id);
                if open {
                    late.push((
                        self.stolen_more(),
                        format!("{} is paid, cannot be locked, and {}", job.job_id, job.status),
                    ));
                }
            } else if open && paid.iter().map(|(_, amount)| *amount).sum::<Amount>() >= price {
                owed.push(format!("{} is paid and {}", job.job_id, job.status));
            }
        }
        owed.extend(self.owed_by_bots());
        for (index, worker) in self.workers.iter().enumerate() {
            if !worker.lock().unwrap().is_up() {
                owed.push(format!("worker {index} is down"));
            }
            for (job, what) in self.unfinished(index) {
                match stolen.contains(&job) {
                    true => late.push((self.stolen_more(), what)),
                    false => owed.push(what),
                }
            }
        }
        late.extend(self.unbooked().into_iter().map(|what| (BOOKS, what)));
        late.extend(owed.into_iter().map(|what| (Duration::ZERO, what)));
        late
    }

    /// A job that cannot be locked ends when its time to be paid has passed.
    fn stolen_more(&self) -> Duration {
        Duration::from_secs(self.plan.accept_ttl_s) + BOOKS
    }

    /// The confirmed payments to an account.
    pub(crate) fn payments(&self, account: &Account) -> Vec<(BlockHash, Amount)> {
        self.with_node(|node, _| {
            let hashes: Vec<_> = node.ledger.receivables(account).map(|(hash, _)| *hash).collect();
            let blocks = hashes.iter().filter_map(|hash| Some((*hash, node.ledger.block(hash)?)));
            blocks.filter(|(_, block)| block.confirmed).map(|(hash, block)| (hash, block.amount)).collect()
        })
    }

    /// Jobs for which a worker still has something to do that waits for nobody.
    fn unfinished(&self, index: usize) -> Vec<(JobId, String)> {
        let stages = self.lock_oracle().stages[&index].clone();
        let waits = |stage: &str| matches!(stage, "fresh" | "quoted" | "awaiting" | "lapsed" | "ended");
        let unfinished = stages.iter().filter(|(_, stage)| !waits(&stage.name));
        unfinished
            .map(|(job, stage)| (*job, format!("worker {index} owes {job} something: {}", stage.name)))
            .collect()
    }
}

/// Whether a hash stands on another job.
///
/// Where it does, and the job it pays has none, the contract leaves the seller no way to lock: a hash
/// is on one job only. Such a job ends when its time to be paid has passed, and the worker says that
/// money is owed back.
fn is_on_another(jobs: &BTreeMap<JobId, Job>, job: &Job, hash: &BlockHash) -> bool {
    let text = hash.to_string();
    let mut others = jobs.values().filter(|other| other.job_id != job.job_id);
    others.any(|other| other.payment_tx_hash.as_deref() == Some(text.as_str()))
}
