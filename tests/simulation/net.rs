//! The network: what is asked arrives late, twice, or not at all, and so does what is answered.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, pending};
use nano_worker::client::Hint;
use nano_worker::client::wire::{Request, Response, Wire};
use nano_worker::nano::rpc;
use std::pin::Pin;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use crate::life::Life;
use crate::plan::{Host, Net, Plan};
use crate::rng::Rng;
use crate::world::World;

/// What will become of the messages.
pub(crate) struct Network {
    net: Net,
    rng: Rng,
    disk: Rng,
    /// Until when (in milliseconds since the beginning) two hosts do not hear each other.
    cuts: BTreeMap<(Host, Host), u64>,
}

/// What becomes of one request and its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fate {
    there: Duration,
    back: Duration,
    lost: bool,
    answer_lost: bool,
    /// When it arrives a second time.
    again: Option<Duration>,
    /// Whether who loses something learns it soon.
    noticed: bool,
}

impl Network {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            net: plan.net,
            rng: Rng::named(plan.seed, "network"),
            disk: Rng::named(plan.seed, "disk"),
            cuts: BTreeMap::new(),
        }
    }

    fn delay(&mut self) -> Duration {
        let ms = match self.rng.chance(self.net.slow) {
            true => self.rng.pick(&[200, 2_000, 12_000, 40_000]),
            false => self.rng.between(1, 30),
        };
        Duration::from_millis(ms)
    }

    fn fate(&mut self) -> Fate {
        Fate {
            there: self.delay(),
            back: self.delay(),
            lost: self.rng.chance(self.net.lost),
            answer_lost: self.rng.chance(self.net.answer_lost),
            again: self.rng.chance(self.net.repeated).then(|| self.delay() * 3),
            noticed: self.rng.chance(500),
        }
    }

    pub(crate) fn loses_hint(&mut self) -> bool {
        self.rng.chance(self.net.hints_lost)
    }

    pub(crate) fn flush_micros(&mut self) -> u64 {
        self.disk.between(200, 6_000)
    }

    pub(crate) fn cut(&mut self, one: Host, other: Host, until_ms: u64) {
        let known = self.cuts.entry((one.min(other), one.max(other))).or_default();
        *known = until_ms.max(*known);
    }

    fn is_cut(&self, one: Host, other: Host, now_ms: u64) -> bool {
        self.cuts.get(&(one.min(other), one.max(other))).is_some_and(|until| now_ms < *until)
    }

    /// Messages arrive from now on.
    pub(crate) fn heal(&mut self) {
        self.net = Net::default();
        self.cuts.clear();
    }
}

/// One process's way out.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) world: Weak<World>,
    pub(crate) from: Host,
    pub(crate) life: Arc<Life>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line({:?})", self.from)
    }
}

impl Wire for Line {
    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, String>> {
        let Self { world, from, life } = self.clone();
        async move {
            let Some(world) = world.upgrade().filter(|_| life.effect()) else { return pending().await };
            world.sent(from, &request);
            let what = format!("{} {}", request.method, request.target);
            let fate = world.network.lock().unwrap().fate();
            tokio::time::sleep(fate.there).await;
            if fate.lost || world.is_cut(from, Host::Relay) {
                return lost(&world, from, &what, "lost", fate).await;
            }
            if let Some(later) = fate.again {
                let (world, request) = (Arc::clone(&world), request.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(later).await;
                    drop(world.deliver(from, request).await);
                });
            }
            let answer = world.deliver(from, request).await;
            tokio::time::sleep(fate.back).await;
            if fate.answer_lost || world.is_cut(from, Host::Relay) {
                return lost(&world, from, &what, "answer lost", fate).await;
            }
            let status = answer.as_ref().map_or(0, |answer| answer.status);
            world.say(|| format!("{from:?} -> relay {what} = {status}"));
            answer
        }
        .boxed()
    }

    fn hints(&self, hints: mpsc::Sender<Hint>) -> BoxFuture<'static, ()> {
        let Self { world, from, life } = self.clone();
        async move {
            let Some(mut news) = world.upgrade().map(|world| world.news.subscribe()) else { return };
            loop {
                if hints.send(Hint::Connected).await.is_err() {
                    return;
                }
                while !matches!(news.recv().await, Err(RecvError::Closed)) {
                    tokio::time::sleep(Duration::from_millis(3)).await;
                    let Some(world) = world.upgrade().filter(|_| life.effect()) else { return };
                    if world.is_cut(from, Host::Relay) || !world.relay.lock().unwrap().is_up() {
                        break;
                    }
                    let lost = world.network.lock().unwrap().loses_hint();
                    let hint = Hint::NewJob { job_id: None, event_id: None };
                    if !lost && let Err(mpsc::error::TrySendError::Closed(_)) = hints.try_send(hint) {
                        return;
                    }
                }
                if hints.send(Hint::Lost).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        }
        .boxed()
    }
}

impl rpc::Wire for Line {
    fn call(&self, _: &str, body: String) -> Pin<Box<dyn Future<Output = rpc::Reply> + Send>> {
        let Self { world, from, life } = self.clone();
        Box::pin(async move {
            let Some(world) = world.upgrade().filter(|_| life.effect()) else { return pending().await };
            world.asked(from, &body);
            let fate = world.network.lock().unwrap().fate();
            tokio::time::sleep(fate.there).await;
            if fate.lost || world.is_cut(from, Host::Node) {
                return if fate.noticed { None } else { pending().await };
            }
            let reply = world.ask_node(body).await;
            tokio::time::sleep(fate.back).await;
            if fate.answer_lost || world.is_cut(from, Host::Node) {
                return if fate.noticed { None } else { pending().await };
            }
            reply
        })
    }
}

async fn lost(world: &World, from: Host, what: &str, how: &str, fate: Fate) -> Result<Response, String> {
    world.say(|| format!("{from:?} -> relay {what} {how}"));
    if fate.noticed { Err("the connection broke".to_owned()) } else { pending().await }
}

impl World {
    fn is_cut(&self, one: Host, other: Host) -> bool {
        self.network.lock().unwrap().is_cut(one, other, self.now_ms())
    }
}
