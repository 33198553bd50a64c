//! Everything that is real, in a world that is not: time, network, disks, processes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use mock_nano_rpc::node::{Node, Settings as NodeSettings};
use nano_worker::edge::{Clock, Entropy, monotonic};
use nano_worker::protocol::Timestamp;
use nano_worker::store::{Disk, Flushed, Writes};
use tokio::sync::broadcast;

use crate::bugs::{self, Bug};
use crate::log::Log;
use crate::net::Network;
use crate::oracle::{Oracle, Stage};
use crate::plan::{Broken, Host, Plan};
use crate::processes::{RelayProcess, WorkerProcess};
use crate::rng::Rng;

/// When every schedule begins, by a clock that is right.
const EPOCH: i64 = 1_900_000_000;

/// How long a machine has been up when a schedule begins.
const UPTIME: Duration = Duration::from_secs(100_000);

/// One schedule in progress.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) log: Log,
    pub(crate) network: Mutex<Network>,
    pub(crate) oracle: Mutex<Oracle>,
    pub(crate) node: Mutex<Node>,
    pub(crate) troubles: Mutex<Troubles>,
    pub(crate) relay: Mutex<RelayProcess>,
    pub(crate) workers: Vec<Mutex<WorkerProcess>>,
    pub(crate) relay_disk: OnceLock<Disk>,
    pub(crate) worker_disks: OnceLock<Vec<Disk>>,
    /// Says when an event at the relay has become durable. (A `watch` would wake its readers in an
    /// order of its own choice.)
    pub(crate) news: broadcast::Sender<()>,
    pub(crate) counts: Mutex<BTreeMap<&'static str, u64>>,
    lives: AtomicU64,
    began: std::time::Instant,
    me: Weak<Self>,
}

/// What is not as it should be, for now.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    pub(crate) clocks_ms: BTreeMap<Host, i64>,
    pub(crate) flush_ms: BTreeMap<Host, u64>,
    pub(crate) node_down: bool,
    pub(crate) node_delay_ms: u64,
    pub(crate) node_broken: Option<Broken>,
    pub(crate) healed: bool,
}

impl World {
    pub(crate) fn new(plan: Plan, keep_log: bool) -> Arc<Self> {
        let began_ms = EPOCH.unsigned_abs() * 1_000;
        let settings = NodeSettings { confirm_delay_ms: 300, ..NodeSettings::default() };
        let mut node = Node::new(settings, began_ms);
        node.upgrade_genesis(began_ms);
        let world = Arc::new_cyclic(|me| Self {
            log: Log::new(keep_log),
            network: Mutex::new(Network::new(&plan)),
            oracle: Mutex::new(Oracle::new(&plan)),
            node: Mutex::new(node),
            troubles: Mutex::default(),
            relay: Mutex::default(),
            workers: (0..plan.sellers()).map(|_| Mutex::default()).collect(),
            relay_disk: OnceLock::new(),
            worker_disks: OnceLock::new(),
            news: broadcast::Sender::new(16),
            counts: Mutex::default(),
            lives: AtomicU64::new(0),
            began: monotonic(),
            me: me.clone(),
            plan,
        });
        let disks = (0..world.plan.sellers()).map(|index| world.disk(Host::Worker(index))).collect();
        world.worker_disks.set(disks).unwrap();
        world.relay_disk.set(world.disk(Host::Relay)).unwrap();
        world
    }

    pub(crate) fn me(&self) -> Weak<Self> {
        self.me.clone()
    }

    /// Time since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        monotonic().duration_since(self.began)
    }

    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap()
    }

    /// The time by a clock that is right, in Unix milliseconds.
    pub(crate) fn true_ms(&self) -> u64 {
        EPOCH.unsigned_abs() * 1_000 + self.now_ms()
    }

    /// The time by a host's own clock.
    pub(crate) fn wall(&self, host: Host) -> Timestamp {
        let off_ms = self.lock_troubles().clocks_ms.get(&host).copied().unwrap_or(0);
        let micros = EPOCH * 1_000_000 + i64::try_from(self.elapsed().as_micros()).unwrap() + off_ms * 1_000;
        Timestamp::from_micros(micros)
    }

    pub(crate) fn clock(&self, host: Host) -> Clock {
        let (wall, up) = (self.me(), self.me());
        let clock = Clock::from_fn(move || wall.upgrade().map(|world| world.wall(host)).unwrap_or_default());
        if self.has_bug(Bug::LeaseEternal) {
            return clock.with_uptime(|| UPTIME);
        }
        clock.with_uptime(move || UPTIME + up.upgrade().map(|world| world.elapsed()).unwrap_or_default())
    }

    /// Randomness of one life of a host.
    pub(crate) fn entropy(&self, host: Host) -> Entropy {
        let life = self.lives.fetch_add(1, Ordering::Relaxed);
        let rng = Mutex::new(Rng::named(self.plan.seed, &format!("{host:?} {life}")));
        Entropy::from_fn(move |bytes| rng.lock().unwrap().fill(bytes))
    }

    pub(crate) fn say(&self, line: impl FnOnce() -> String) {
        self.log.say(self.elapsed(), line);
    }

    pub(crate) fn count(&self, what: &'static str) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }

    pub(crate) fn violation(&self, what: impl Into<String>) {
        let what = what.into();
        self.say(|| format!("VIOLATION {what}"));
        self.log.violate(what);
    }

    pub(crate) fn lock_oracle(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock().unwrap()
    }

    pub(crate) fn lock_troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap()
    }

    /// Does something with the node, at this moment.
    pub(crate) fn with_node<R>(&self, act: impl FnOnce(&mut Node, u64) -> R) -> R {
        let now_ms = self.true_ms();
        let mut node = self.node.lock().unwrap();
        node.tick(now_ms);
        let result = act(&mut node, now_ms);
        drop(node.take_news());
        result
    }

    pub(crate) fn relay_disk(&self) -> &Disk {
        self.relay_disk.get().unwrap()
    }

    pub(crate) fn worker_disk(&self, worker: usize) -> &Disk {
        &self.worker_disks.get().unwrap()[worker]
    }

    fn disk(&self, host: Host) -> Disk {
        let (flush, watch) = (self.me(), self.me());
        let disk = Disk::new(
            move || match flush.upgrade() {
                Some(world) => world.flush(host),
                None => futures_util::future::pending().boxed(),
            },
            move |writes| {
                if let Some(world) = watch.upgrade() {
                    world.became_durable(host, writes);
                }
            },
        );
        match self.plan.bug {
            Some(bug) => disk.spoilt(move |writes| bugs::spoil(bug, host, writes)),
            None => disk,
        }
    }

    /// Takes as long as a flush takes.
    fn flush(&self, host: Host) -> BoxFuture<'static, Flushed> {
        let life = match host {
            Host::Worker(index) => self.workers[index].lock().unwrap().life(),
            _ => self.relay.lock().unwrap().life(),
        };
        let slow_ms = self.lock_troubles().flush_ms.get(&host).copied();
        let micros = slow_ms.map_or_else(|| self.network.lock().unwrap().flush_micros(), |ms| ms * 1_000);
        let pretends = match host {
            Host::Worker(index) => self.has_bug(Bug::WorkerSkipsBarrier) || self.is_impatient(index),
            _ => self.has_bug(Bug::RelaySkipsBarrier),
        };
        let fails = self.has_bug(match host {
            Host::Worker(_) => Bug::WorkerDiskFails,
            _ => Bug::RelayDiskFails,
        });
        async move {
            tokio::time::sleep(Duration::from_micros(micros)).await;
            match life.is_some_and(|life| life.effect()) {
                true if fails => Flushed::Failed,
                true if pretends => Flushed::Pretended,
                true => Flushed::Yes,
                false => Flushed::Failed,
            }
        }
        .boxed()
    }

    /// Whether a worker that awaits a payment waits for its disk no longer.
    fn is_impatient(&self, index: usize) -> bool {
        let awaits = |stages: &BTreeMap<_, Stage>| stages.values().any(|stage| stage.name == "awaiting");
        self.has_bug(Bug::WorkerTires) && self.lock_oracle().stages.get(&index).is_some_and(awaits)
    }

    fn became_durable(&self, host: Host, writes: &Writes) {
        let now_ms = self.now_ms();
        let mut oracle = self.lock_oracle();
        let found = match host {
            Host::Worker(index) => oracle.worker_wrote(index, writes, now_ms),
            _ => {
                let (news, found) = oracle.relay_wrote(writes, now_ms);
                if news {
                    // Perhaps nobody listens.
                    let _: Result<_, _> = self.news.send(());
                }
                found
            }
        };
        drop(oracle);
        for what in found {
            self.violation(what);
        }
    }

    pub(crate) fn has_bug(&self, bug: Bug) -> bool {
        self.plan.bug == Some(bug)
    }
}
