//! The real programs, in processes that are not.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures_util::FutureExt as _;
use hyper_util::service::TowerToHyperService;
use mock_nano_rpc::node::{Node, Settings as NodeSettings};
use mock_nano_rpc::rpc::{self, Args};
use mock_nano_rpc::tree::{Style, Tree};
use nano_worker::client::wire::{Request, Response};
use nano_worker::edge::Tasks;
use nano_worker::nano::{Amount, Network};
use nano_worker::protocol::offer::{OfferTerms, PricingMode};
use nano_worker::protocol::signing::Signer;
use nano_worker::relay::config::{Config, Rates};
use nano_worker::relay::storage::embedded::Embedded;
use nano_worker::relay::{self};
use nano_worker::store::{Batch, Keyspace};
use nano_worker::worker::backups::BackupSettings;
use nano_worker::worker::coins::Purse;
use nano_worker::worker::executor::{Function, Handler, HandlerKind, Purpose, Run};
use nano_worker::worker::input::Pricing;
use nano_worker::worker::memory::{self, RegisteredOffer};
use nano_worker::worker::nodes::Certainty;
use nano_worker::worker::settings::OfferSettings;
use nano_worker::worker::terms::{Accepts, Terms};
use nano_worker::worker::{Parts, Settings, Wires};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::accounts;
use crate::bugs::Bug;
use crate::coins;
use crate::life::{Death, Life};
use crate::net::Line;
use crate::plan::{self, Broken, Host, Offer};
use crate::world::World;

/// What an offer of fixed price costs.
pub(crate) const PRICE: u128 = 1_000_000;

/// How long a handler may take.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the service manager waits before it starts a program again.
const RESTART: Duration = Duration::from_secs(1);

type App = TowerToHyperService<axum::Router>;

/// The relay, if it runs.
#[derive(Default)]
pub(crate) struct RelayProcess {
    life: Option<Arc<Life>>,
    app: Option<App>,
    /// What its next death will be like.
    doom: Doom,
}

/// A worker, if it runs.
#[derive(Default)]
pub(crate) struct WorkerProcess {
    life: Option<Arc<Life>>,
    purse: Option<Arc<Purse>>,
    shutdown: CancellationToken,
    number: u64,
    doom: Doom,
}

/// What a death will be like.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Doom {
    pub(crate) down: Duration,
    pub(crate) spared: usize,
    pub(crate) wipes: bool,
}

impl RelayProcess {
    pub(crate) fn life(&self) -> Option<Arc<Life>> {
        self.life.clone()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.is_alive())
    }
}

impl WorkerProcess {
    pub(crate) fn purse(&self) -> Option<Arc<Purse>> {
        self.purse.clone()
    }

    pub(crate) fn life(&self) -> Option<Arc<Life>> {
        self.life.clone()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.is_alive())
    }
}

/// The relay.
impl World {
    pub(crate) fn start_relay(self: &Arc<Self>) {
        let me = self.me();
        let life = Life::new(move |death| {
            if let Some(world) = me.upgrade() {
                world.relay_died(death);
            }
        });
        let entropy = self.entropy(Host::Relay);
        let storage = Embedded::in_memory(self.relay_disk(), &entropy).expect("the relay's store opens");
        let mut config = Config::new("unused");
        config.event_retention = Duration::from_secs(self.plan.retention_s);
        config.rules.accept_ttl = Duration::from_secs(self.plan.accept_ttl_s);
        config.rates = self.plan.limited.then(Rates::default);
        let relay = relay::Relay::with_parts(Arc::new(storage), config, self.clock(Host::Relay), entropy);
        let (router, background) = relay.without_sockets(CancellationToken::new());
        let mut process = self.relay.lock().unwrap();
        *process = RelayProcess {
            life: Some(Arc::clone(&life)),
            app: Some(TowerToHyperService::new(router)),
            doom: Doom::default(),
        };
        drop(process);
        let (me, same) = (self.me(), Arc::clone(&life));
        life.spawn(async move {
            let ended = background.await;
            if let Some(world) = me.upgrade().filter(|_| same.is_alive()) {
                world.violation(format!("the relay stopped by itself: {ended:?}"));
            }
        });
        self.say(|| "relay starts".to_owned());
    }

    fn relay_died(self: &Arc<Self>, death: Death) {
        let doom = std::mem::take(&mut self.relay.lock().unwrap().doom);
        if death == Death::Circling {
            self.violation("the relay goes round in circles");
        }
        if doom.wipes {
            self.relay_disk().wipe();
            self.lock_oracle().relay_replaced();
        } else {
            self.relay_disk().crash(doom.spared);
        }
        let doom = self.doomed(doom);
        self.count(if doom.wipes { "relays replaced" } else { "relays killed" });
        self.say(|| format!("relay dies{}", if doom.wipes { " and loses everything" } else { "" }));
        let me = self.me();
        tokio::spawn(async move {
            tokio::time::sleep(doom.down).await;
            if let Some(world) = me.upgrade().filter(|world| !world.relay.lock().unwrap().is_up()) {
                world.start_relay();
            }
        });
    }

    fn doomed(&self, doom: Doom) -> Doom {
        let down = if self.has_bug(Bug::StaysDown) { Duration::from_secs(10_000_000) } else { doom.down };
        Doom { down, ..doom }
    }

    pub(crate) fn crash_relay(&self, effects: u64, doom: Doom) {
        let mut process = self.relay.lock().unwrap();
        process.doom = doom;
        let life = process.life();
        drop(process);
        if let Some(life) = life {
            life.light(effects);
        }
    }

    /// A request that has arrived at the relay.
    pub(crate) async fn deliver(self: &Arc<Self>, from: Host, request: Request) -> Result<Response, String> {
        let (life, app) = {
            let process = self.relay.lock().unwrap();
            (process.life(), process.app.clone())
        };
        let (Some(life), Some(app)) = (life.filter(|life| life.is_alive()), app) else {
            return Err("the connection was refused".to_owned());
        };
        let (answer, answered) = oneshot::channel();
        let (world, same) = (self.me(), Arc::clone(&life));
        life.spawn(async move {
            let known = world.upgrade().and_then(|world| world.known_by(&request));
            let response = serve(app, &request).await;
            if let Some(world) = world.upgrade()
                && same.effect()
            {
                world.answered(from, &request, &response, known);
                drop(answer.send(response));
            }
        });
        answered.await.map_err(|_| "the connection broke".to_owned())
    }
}

async fn serve(app: App, request: &Request) -> Response {
    let mut wanted = axum::http::Request::builder().method(request.method.clone()).uri(&request.target);
    *wanted.headers_mut().unwrap() = request.headers.clone();
    let wanted = wanted.body(Body::from(request.body.clone())).unwrap();
    let answer = hyper::service::Service::call(&app, wanted).await.unwrap_or_else(|never| match never {});
    let (head, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body in memory is whole");
    Response { status: head.status.as_u16(), headers: head.headers, body: body.to_vec() }
}

/// The workers.
impl World {
    pub(crate) fn start_worker(self: &Arc<Self>, index: usize) {
        let me = self.me();
        let life = Life::new(move |death| {
            if let Some(world) = me.upgrade() {
                world.worker_died(index, death);
            }
        });
        let shutdown = CancellationToken::new();
        let number = {
            let mut process = self.workers[index].lock().unwrap();
            let number = process.number + 1;
            *process = WorkerProcess {
                life: Some(Arc::clone(&life)),
                purse: None,
                shutdown: shutdown.clone(),
                number,
                doom: Doom { down: RESTART, ..Doom::default() },
            };
            number
        };
        let host = Host::Worker(index);
        let bot = index >= self.plan.workers;
        let line = Arc::new(Line { world: self.me(), from: host, life: Arc::clone(&life) });
        let (spawner, me) = (Arc::clone(&life), self.me());
        let parts = Parts {
            clock: self.clock(host),
            entropy: self.entropy(host),
            tasks: Tasks::from_fn(move |task| spawner.spawn(task)),
            wires: Some(Wires { relay: Arc::clone(&line) as _, nodes: line }),
        };
        let mut settings = self.settings(index, &life);
        if bot {
            self.make_a_bot(&mut settings, number);
        }
        let store = memory::open_in_memory(self.worker_disk(index)).expect("the worker's store opens");
        let store = Arc::new(store);
        let purse = if bot { None } else { self.purse(&store, &settings, &parts) };
        self.workers[index].lock().unwrap().purse = purse.clone();
        let same = Arc::clone(&life);
        if number == 1 && self.has_bug(Bug::Circles) {
            life.spawn(async {
                loop {
                    tokio::task::yield_now().await;
                }
            });
        }
        self.say(|| format!("worker {index} starts"));
        life.spawn(async move {
            let ended = nano_worker::worker::run_on(store, purse, settings, parts, shutdown.clone()).await;
            let Some(world) = me.upgrade().filter(|_| same.is_alive()) else { return };
            match ended {
                Ok(()) if shutdown.is_cancelled() => world.say(|| format!("worker {index} has stopped")),
                ended => world.violation(format!("worker {index} stopped by itself: {ended:?}")),
            }
            same.die(Death::Killed);
        });
    }

    fn worker_died(self: &Arc<Self>, index: usize, death: Death) {
        let doom = std::mem::take(&mut self.workers[index].lock().unwrap().doom);
        if death == Death::Circling {
            self.violation(format!("worker {index} goes round in circles"));
        }
        let disk = self.worker_disk(index);
        disk.crash(doom.spared);
        if matches!(self.plan.bug, Some(Bug::IndexForgotten | Bug::ClaimsForgotten)) {
            disk.forget(b"\x01next_index");
            disk.forget(b"\x09");
        }
        if self.has_bug(Bug::ClaimsForgotten) {
            disk.forget(b"\x08");
        }
        if self.has_bug(Bug::CoinsForgotten) {
            disk.forget(&[coins::JOURNAL]);
        }

        self.lock_oracle().worker_died(index);
        let doom = self.doomed(doom);
        self.count("workers ended");
        self.say(|| format!("worker {index} dies"));
        let me = self.me();
        tokio::spawn(async move {
            tokio::time::sleep(doom.down).await;
            if let Some(world) = me.upgrade().filter(|world| !world.workers[index].lock().unwrap().is_up()) {
                world.start_worker(index);
            }
        });
    }

    pub(crate) fn crash_worker(&self, index: usize, effects: u64, doom: Doom) {
        let mut process = self.workers[index].lock().unwrap();
        process.doom = doom;
        let life = process.life();
        drop(process);
        if let Some(life) = life {
            life.light(effects);
        }
    }

    pub(crate) fn stop_worker(&self, index: usize, down: Duration) {
        let mut process = self.workers[index].lock().unwrap();
        process.doom = Doom { down, ..Doom::default() };
        let shutdown = process.shutdown.clone();
        drop(process);
        shutdown.cancel();
    }

    /// All workers are one seller's, and know their offers by the same keys: as after a state
    /// directory was lost but for its registrations.
    pub(crate) fn prepare_worker(self: &Arc<Self>, index: usize) {
        const OFFERS: Keyspace<String, RegisteredOffer> = Keyspace::new(10, "offers", 1);
        let store = memory::open_in_memory(self.worker_disk(index)).unwrap();
        let mut batch = Batch::default();
        for offer in Offer::ALL {
            let terms = json!(public(offer)).to_string();
            let key = format!("offer-{}", offer.name());
            let record = RegisteredOffer { offer_id: None, key, terms };
            OFFERS.put(&mut batch, &offer.name().to_owned(), &record).unwrap();
        }
        store.commit(batch).unwrap();
        store.durable_blocking().unwrap();
    }

    fn settings(self: &Arc<Self>, index: usize, life: &Arc<Life>) -> Settings {
        let plan = &self.plan;
        let number = self.workers[index].lock().unwrap().number;
        let start = if plan.same_indices { 0 } else { u32::try_from(index).unwrap() * 1_000_000 };
        Settings {
            relay_url: "http://relay".to_owned(),
            dialect: nano_worker::worker::settings::Dialect::V1,
            signer: Signer::from_seed(&[7; 32]),
            network: Network::Dev,
            accounts: accounts::workers(),
            rpc: vec!["http://node".to_owned()],
            certainty: Certainty::default(),
            websocket: Vec::new(),
            account_index_start: start,
            state_dir: PathBuf::from("unused"),
            poll_min: Duration::from_millis(500),
            poll_max: Duration::from_millis(plan.poll_max_ms),
            lock_ttl: Duration::from_secs(plan.lock_ttl_s),
            quote_ttl: Some(Duration::from_secs(plan.quote_ttl_s)),
            drain: Duration::from_secs(20),
            launcher: None,
            index_gap: 100,
            backup: BackupSettings { dir: PathBuf::from("unused"), every: None, keep: 1 },
            wallet: coins::settings(plan.coins, number, plan.bug),
            offers: Offer::ALL.into_iter().map(|offer| self.offer(offer, index, number, life)).collect(),
        }
    }

    fn offer(self: &Arc<Self>, offer: Offer, index: usize, number: u64, life: &Arc<Life>) -> OfferSettings {
        let (world, life) = (self.me(), Arc::clone(life));
        let function = Function::new(move |run| {
            let (world, life) = (world.clone(), Arc::clone(&life));
            async move {
                let world = world.upgrade()?;
                match run.purpose {
                    Purpose::Quote => quote(&run).await,
                    Purpose::Execute if life.effect() => world.work(index, number, offer, run).await,
                    Purpose::Execute => futures_util::future::pending().await,
                }
            }
            .boxed()
        });
        let pricing = match offer {
            Offer::Asked => Pricing::Ask,
            Offer::Idempotent | Offer::Once => Pricing::Fixed(Amount::from_raw(PRICE)),
        };
        OfferSettings {
            draft: None,
            name: offer.name().to_owned(),
            public: public(offer),
            terms: Terms {
                revives: false,
                pricing,
                idempotent: (offer.is_idempotent() && !self.has_bug(Bug::NeverRepeats))
                    || self.has_bug(Bug::RunsAgain),
                accepts: Accepts::Any,
                request_bytes_max: 65_536,
                payment_window: Duration::from_secs(self.plan.payment_window_s),
                payment: nano_worker::worker::oddity::Policy::default(),
            },
            handler: Handler {
                kind: HandlerKind::Function(function),
                timeout: HANDLER_TIMEOUT,
                limits: nano_worker::worker::executor::Limits::default(),
            },
            max_parallel: 1,
        }
    }

    /// One run of a handler.
    async fn work(self: Arc<Self>, worker: usize, life: u64, offer: Offer, run: Run) -> Option<Vec<u8>> {
        let job = self.job_of(&run)?;
        let durable = self.worker_disk(worker).clone();
        let found = self.with_node(|node, _| {
            self.lock_oracle().handler_starts(worker, life, offer, &run, &durable, &node.ledger)
        });
        self.say(|| format!("worker {worker} handler starts {} attempt {}", run.job_id, run.attempt));
        for what in found {
            self.violation(what);
        }
        let mut running = Running {
            world: Arc::clone(&self),
            job: run.job_id,
            worker,
            life,
            times_out: self.elapsed() + HANDLER_TIMEOUT,
            finished: false,
        };
        tokio::time::sleep(Duration::from_millis(job.work_ms)).await;
        running.finished = job.handler != plan::Handler::Hangs;
        match job.handler {
            plan::Handler::Succeeds => {
                self.say(|| format!("worker {worker} handler ends {}", run.job_id));
                Some(json!({ "done": job.number }).to_string().into_bytes())
            }
            plan::Handler::Fails => None,
            plan::Handler::Hangs => futures_util::future::pending().await,
        }
    }

    fn job_of(&self, run: &Run) -> Option<plan::Job> {
        let request: Value = serde_json::from_slice(&run.request).ok()?;
        let number = request["number"].as_u64()?;
        self.plan.jobs.iter().chain(&self.plan.bots).find(|job| job.number as u64 == number).copied()
    }
}

struct Running {
    world: Arc<World>,
    job: nano_worker::protocol::JobId,
    worker: usize,
    life: u64,
    times_out: Duration,
    /// Whether it has come to its own end before its time.
    finished: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        let finished = self.finished || self.world.elapsed() >= self.times_out;
        self.world.lock_oracle().handler_ended(self.job, self.worker, self.life, finished);
    }
}

async fn quote(run: &Run) -> Option<Vec<u8>> {
    tokio::time::sleep(Duration::from_millis(200)).await;
    let request: Value = serde_json::from_slice(&run.request).ok()?;
    let price = PRICE + u128::from(request["number"].as_u64()?);
    Some(json!({ "price_raw": price.to_string() }).to_string().into_bytes())
}

fn public(offer: Offer) -> OfferTerms {
    let fixed = offer != Offer::Asked;
    OfferTerms {
        title: offer.name().to_owned(),
        description: "work".to_owned(),
        tags: Vec::new(),
        pricing_mode: if fixed { PricingMode::Fixed } else { PricingMode::Quote },
        fixed_price_raw: fixed.then(|| PRICE.to_string()),
        active: true,
    }
}

/// The node.
impl World {
    pub(crate) async fn ask_node(&self, body: String) -> Option<(u16, Vec<u8>)> {
        let delay_ms = self.lock_troubles().node_delay_ms;
        if delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
        let troubles = self.lock_troubles();
        if troubles.node_down {
            return None;
        }
        match troubles.node_broken {
            None => {}
            Some(Broken::Garbage) => return Some((200, b"<html>".to_vec())),
            Some(Broken::Limited) => return Some((429, b"slow down".to_vec())),
            Some(Broken::Gateway) => return Some((502, b"bad gateway".to_vec())),
            Some(Broken::Empty) => return Some((200, b"{}".to_vec())),
        }
        drop(troubles);
        let call = Tree::parse(body.as_bytes()).ok()?;
        let action = call.text_of("action").unwrap_or_default().to_owned();
        if action == "process" && self.has_bug(Bug::CoinsForgotten) && !self.lock_troubles().healed {
            return None;
        }
        let lie = self.has_bug(Bug::NodeLies);
        let now_ms = self.now_ms();
        let answer = self.with_node(|node, true_ms| {
            self.lock_oracle().ends.heard(&node.ledger, now_ms);
            match self.has_bug(Bug::Overlooks) {
                true => rpc::answer(
                    &mut Node::new(NodeSettings::default(), true_ms),
                    &action,
                    &Args(&call),
                    true_ms,
                ),
                false => rpc::answer(node, &action, &Args(&call), true_ms),
            }
        });
        let mut text = answer.unwrap_or_else(|error| error.to_tree()).write(Style::Compact);
        if lie {
            text = text.replace("\"confirmed\":\"false\"", "\"confirmed\":\"true\"");
        }
        if self.plan.coins.is_some() && action == "process" {
            self.add_up();
        }
        Some((200, text.into_bytes()))
    }
}
