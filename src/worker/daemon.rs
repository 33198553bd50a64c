//! The one loop, and the order in which its tasks begin and end.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::coins::{self, Purse};
use super::control::{Answering, Source};
use super::counterpart::{self, Counterpart, Listening};
use super::ears::Ears;
use super::effects::{Desk, Hands, Services};
use super::engine::{Effects, Engine, Heard};
use super::executor::Cage;
use super::failure::StartError;
use super::identity::identify;
use super::ingest::Page;
use super::input::Effect;
use super::keeper::Keeper;
use super::look::Look;
use super::nodes::Jury;
use super::offers::{self, OfferError, Registered};
use super::parts::Parts;
use super::recover::Recovery;
use super::restore;
use super::settings::{OfferSettings, Settings};
use super::stage::Stage;
use super::wallet::Wallet;
use super::{backups, boundaries, executor, outage, watch};
use crate::edge::{self, Clock, Entropy};
use crate::points::crash_point;
use crate::protocol::{JobId, OfferId, Timestamp};
use crate::store::Store;

/// Inputs decided in one commit: more would only make the first of them wait.
const INPUTS_PER_TURN: usize = 512;

/// Inputs that may wait for the loop: a few turns; whoever has more to say waits.
const INPUTS_MAX: usize = 4_096;

/// Wishes that may wait for the watch.
const WISHES_MAX: usize = 1_024;

/// The longest sleep of the loop: a clock that jumped forward is noticed this soon.
const SLEEP_MAX: Duration = Duration::from_secs(30);

/// How often a recovery looks whether it is over.
const RECOVERY_LOOK: Duration = Duration::from_millis(100);

/// Between two signs of life: systemd waits for many seconds.
const BEAT: Duration = Duration::from_secs(1);

/// How long killed handlers and broken-off calls may take to end.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// Runs the worker until `shutdown`, then drains it.
///
/// If the disk fails, all work stops, and this waits until the disk is well.
///
/// # Errors
/// If it cannot start, or its store failed. After [`StartError::Anew`] another process can go on.
pub async fn run(settings: Settings, parts: Parts, shutdown: CancellationToken) -> Result<(), StartError> {
    live(settings, parts, shutdown, None).await
}

/// [`run`], on a store that is open, with the purse of that store, and without waiting for a disk:
/// for simulations.
///
/// # Errors
/// As [`run`].
pub async fn run_on(
    store: Arc<Store>,
    purse: Option<Arc<Purse>>,
    settings: Settings,
    parts: Parts,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    until_stopped(store, purse, settings, parts, &shutdown, None).await
}

/// Goes on with every open job, without taking new ones, until all of them wait for others or
/// `patience` is over.
///
/// # Errors
/// As [`run`].
pub async fn recover_once(
    settings: Settings,
    parts: Parts,
    shutdown: CancellationToken,
    patience: Duration,
) -> Result<(), StartError> {
    let recovery = Recovery::new(edge::monotonic(), patience);
    live(settings, parts, shutdown, Some(recovery)).await
}

async fn live(
    settings: Settings,
    parts: Parts,
    shutdown: CancellationToken,
    recovery: Option<Recovery>,
) -> Result<(), StartError> {
    let (dir, clock) = (settings.state_dir.clone(), parts.clock.clone());
    let waits = recovery.is_none();
    let mut answering = None;
    let ended = match restore::open(&settings, &parts.clock) {
        Ok(store) => {
            let store = Arc::new(store);
            let purse = Purse::open(Arc::clone(&store), &settings, &parts).map(Arc::new).ok();
            let source = Source::Store(Arc::clone(&store), purse.clone());
            answering = Some(Answering::start(&dir, source, parts.clock.clone()));
            until_stopped(store, purse, settings, parts, &shutdown, recovery).await
        }
        Err(error) => Err(error.into()),
    };
    let result = match ended {
        Err(error) if waits && error.is_disk() => {
            // A write that failed may leave contradictions: the next life shall not trust what opens.
            if error.is_damage() {
                restore::suspect(&dir, &error.to_string());
            }
            outage::wait(&dir, error, &mut answering, &clock, &shutdown).await
        }
        ended => ended,
    };
    if let Some(answering) = answering {
        answering.end().await;
    }
    result
}

async fn until_stopped(
    store: Arc<Store>,
    purse: Option<Arc<Purse>>,
    settings: Settings,
    parts: Parts,
    shutdown: &CancellationToken,
    recovery: Option<Recovery>,
) -> Result<(), StartError> {
    let holder = identify(&store, &settings, &parts)?;
    let mut wallet = Wallet::open(&store, settings.accounts.clone(), settings.account_index_start)?;
    wallet.look_first(&store)?;
    crash_point!("worker/start/noted");
    store.durable().await?;
    crash_point!("worker/start/durable");
    let kept = Arc::clone(&store);
    let purse = purse.filter(|_| recovery.is_none());
    let mut daemon = Daemon::start(settings, parts, store, holder, wallet, recovery).await?;
    daemon.hands.tasks.spawn(coins::on_schedule(purse, daemon.hands.stop.clone()));
    let ended = daemon.follow(shutdown).await;
    daemon.stop().await;
    if ended.as_ref().is_err_and(StartError::is_disk) {
        // Closing it would write and wait again, on a disk that has failed; the process ends soon.
        std::mem::forget(kept);
    }
    ended
}

struct Daemon {
    engine: Engine,
    store: Arc<Store>,
    hands: Hands,
    keeper: Option<Keeper>,
    clock: Clock,
    inputs: mpsc::Receiver<Heard>,
    pages: mpsc::Receiver<Page>,
    registered: mpsc::Receiver<Registered>,
    services: Services,
    drain_time: Duration,
    watchdog: Option<Duration>,
    beaten: Option<std::time::Instant>,
    recovery: Option<Recovery>,
}

impl Daemon {
    async fn start(
        settings: Settings,
        parts: Parts,
        store: Arc<Store>,
        holder: String,
        wallet: Wallet,
        recovery: Option<Recovery>,
    ) -> Result<Self, StartError> {
        executor::adopt_orphans();
        let relay = Counterpart::open(&settings, &parts, &store, &holder)?;
        let Parts { clock, entropy, tasks, wires } = parts.clone();
        let started = edge::monotonic();
        let rpc_clock = move || edge::monotonic().saturating_duration_since(started);
        let jury = || {
            let wire = wires.as_ref().map(|wires| Arc::clone(&wires.nodes));
            Jury::open(&settings, rpc_clock, wire)
        };
        // Its own client: what it finds out must not make the watch wait.
        let look = look_of(&settings, &store, &relay, jury()?, &entropy);
        if wallet.is_unsure() {
            tracing::warn!("this state is new or restored: used addresses are looked for before quoting");
        }

        let known = counterpart::known(&store, &settings)?;
        let engine = Engine::open(Arc::clone(&store), wallet, offers::terms(&known), holder.clone())?;
        let services: Services = Arc::new(RwLock::new(HashMap::new()));
        serve(&services, &known);

        let (heard, inputs) = mpsc::channel(INPUTS_MAX);
        let (watch_wishes, wishes) = mpsc::channel(WISHES_MAX);
        let (page_sender, pages) = mpsc::channel(1);
        let (registering, registered) = mpsc::channel(1);
        let (drain, stop) = (CancellationToken::new(), CancellationToken::new());

        let keeper = match &relay {
            // Its own client: its connections are its own.
            Counterpart::V1(_) => Some(Keeper::start(
                &tasks,
                parts.client(&settings)?,
                clock.clone(),
                holder.clone(),
                settings.lock_ttl,
                heard.clone(),
                stop.clone(),
            )?),
            Counterpart::V0(_) => None,
        };
        let hands = Hands {
            relay: relay.clone(),
            store: Arc::clone(&store),
            services: Arc::clone(&services),
            heard: heard.clone(),
            watch: watch_wishes.clone(),
            keeper: keeper.as_ref().map(Keeper::wishes),
            holder,
            lock_ttl: settings.lock_ttl,
            quote_ttl: settings.quote_ttl,
            clock: clock.clone(),
            tasks: tasks.clone(),
            drain: drain.clone(),
            stop: stop.clone(),
            desk: Arc::new(Desk::default()),
            cage: Arc::new(cage(settings.launcher.clone(), &settings.offers)),
        };
        // A wall clock that is set back would put all looks off; this one never jumps.
        let steady = Clock::from_fn(move || Timestamp::default().plus(rpc_clock()));
        let ears = Ears::open(&settings.websocket, &tasks, &entropy, &stop);
        tasks.spawn(watch::run(Arc::new(jury()?), ears, steady, wishes, heard, stop.clone()));
        let listening = Listening {
            relay,
            store: Arc::clone(&store),
            pages: page_sender,
            watch: watch_wishes,
            min: settings.poll_min,
            max: settings.poll_max,
            entropy,
            offers: settings.offers,
            registered: registering,
        };
        listening.begin(&tasks, look, recovery.is_some(), &drain);
        if recovery.is_none() {
            let store = Arc::clone(&store);
            tasks.spawn(backups::run(store, settings.backup.clone(), clock.clone(), stop.clone()));
        }
        Ok(Self {
            engine,
            store,
            hands,
            keeper,
            clock,
            inputs,
            pages,
            registered,
            services,
            drain_time: settings.drain,
            watchdog: sd_notify::watchdog_enabled(),
            beaten: None,
            recovery,
        })
    }

    /// The loop: hear, decide, make durable, act.
    async fn follow(&mut self, shutdown: &CancellationToken) -> Result<(), StartError> {
        let resumed = self.engine.resume(self.clock.now())?;
        self.act(resumed).await?;
        crash_point!("worker/start/resumed");
        if self.recovery.is_some() {
            self.look_at_all().await;
        }
        self.tell_manager(sd_notify::NotifyState::Ready);
        tracing::info!(open_jobs = self.engine.open_count(), "worker ready");
        let mut draining = None;
        loop {
            if draining.is_some() && self.is_drained() {
                return Ok(());
            }
            if self
                .recovery
                .as_mut()
                .is_some_and(|recovery| recovery.is_over(&self.engine, edge::monotonic()))
            {
                return Ok(());
            }
            let mut heard = Vec::new();
            let mut pages = Vec::new();
            let wait = self.wait();
            // In this order: an offer must be known before the first page with its jobs is heard, or
            // they are passed over; pages come one at a time, so they keep nobody waiting.
            tokio::select! {
                biased;
                () = shutdown.cancelled(), if draining.is_none() => {
                    draining = Some(Box::pin(tokio::time::sleep(self.drain_time)));
                    self.begin_drain();
                }
                () = async { match &mut draining { Some(end) => end.await, None => std::future::pending().await } } => {
                    tracing::warn!("time to drain is over: what still runs is stopped");
                    return Ok(());
                }
                Some(offers) = self.registered.recv() => self.take_offers(offers)?,
                Some(page) = self.pages.recv() => {
                    pages.push(page);
                    // Whoever hands over jobs of a new offer relies on its terms, which were told before:
                    // also in the moment between the two looks above.
                    while let Ok(offers) = self.registered.try_recv() {
                        self.take_offers(offers)?;
                    }
                }
                count = self.inputs.recv_many(&mut heard, INPUTS_PER_TURN) => if count == 0 { return Ok(()) },
                () = tokio::time::sleep(wait) => {}
            }
            self.beat();
            let mut durable = Vec::new();
            for page in pages {
                heard.extend(page.heard);
                durable.push(page.durable);
            }
            if draining.is_some() {
                // What has not begun is left for the next life; it may have got its place or its lock before.
                heard.retain(|heard| !self.engine.may_start(heard));
            }
            let effects = self.engine.take(heard, self.clock.now())?;
            self.act(effects).await?;
            for page in durable {
                crash_point!("worker/page/durable");
                // Its asker may have been shut down.
                let _ = page.send(self.engine.open_count());
            }
        }
    }

    /// Tells the service manager that the loop goes round, once a second at most.
    fn beat(&mut self) {
        let now = edge::monotonic();
        if self.beaten.is_none_or(|at| now.saturating_duration_since(at) >= BEAT) {
            self.beaten = Some(now);
            self.tell_manager(sd_notify::NotifyState::Watchdog);
        }
    }

    fn tell_manager(&self, state: sd_notify::NotifyState<'_>) {
        let short = if crate::store::is_short(self.store.dir()) { ", little room on the disk" } else { "" };
        let status = format!("{} open jobs{short}", self.engine.open_count());
        notify(&[state, sd_notify::NotifyState::Status(&status)]);
    }

    /// Nothing is done before the decision to do it is durable.
    async fn act(&mut self, effects: Effects) -> Result<(), StartError> {
        boundaries::committed(&effects);
        self.store.durable().await?;
        crash_point!("worker/turn/durable");
        for (job, effect) in effects {
            boundaries::durable(&effect);
            self.hands.perform(job, effect).await;
        }
        crash_point!("worker/turn/acted");
        Ok(())
    }

    /// Whoever does not listen for news must ask for them.
    async fn look_at_all(&self) {
        let jobs: Vec<JobId> = self.engine.open_jobs().map(|(job, _)| *job).collect();
        for job in jobs {
            self.hands.perform(job, Effect::Fetch).await;
        }
    }

    fn wait(&self) -> Duration {
        let due = self.engine.next_deadline().map(|at| at.since(self.clock.now()));
        let watchdog = self.watchdog.map(|interval| interval / 3);
        let recovery = self.recovery.as_ref().map(|_| RECOVERY_LOOK);
        [due, watchdog, recovery].into_iter().flatten().fold(SLEEP_MAX, Duration::min)
    }

    /// Whoever registers for the first time says so when an offer is refused for good, and goes on with
    /// the others unless this ends; whether it does is decided here, where jobs are begun.
    fn take_offers(&mut self, offers: Registered) -> Result<(), StartError> {
        match offers {
            Ok(registered) => {
                serve(&self.services, &registered);
                self.engine.set_terms(offers::terms(&registered));
                Ok(())
            }
            Err(OfferError::Store(error)) => Err(error.into()),
            Err(refused @ OfferError::Call { .. }) if self.is_at_work() => {
                offers::leave(&refused);
                Ok(())
            }
            Err(OfferError::Call { name, source }) => {
                Err(StartError::Offer(format!("{name}: {source}; correct it in the configuration")))
            }
        }
    }

    /// Whether an end would cost somebody who has paid.
    fn is_at_work(&self) -> bool {
        self.engine.open_jobs().any(|(_, record)| record.stage.is_owed())
    }

    fn begin_drain(&self) {
        tracing::info!(open_jobs = self.engine.open_count(), "stopping: running jobs are finished");
        self.tell_manager(sd_notify::NotifyState::Stopping);
        self.hands.drain.cancel();
        crash_point!("worker/stop/draining");
    }

    /// Whether nothing is under way that a few seconds more would finish.
    fn is_drained(&self) -> bool {
        self.engine.open_jobs().all(|(_, record)| {
            !matches!(record.stage, Stage::Running { .. } | Stage::Stopping { .. } | Stage::Delivering { .. })
        })
    }

    async fn stop(self) {
        let Self { hands, keeper, store, mut inputs, pages, .. } = self;
        hands.drain.cancel();
        hands.stop.cancel();
        hands.kill_all();
        crash_point!("worker/stop/stopping");
        hands.tasks.close();
        drop(pages);
        // Whoever still has something to say must not wait for us; it is said again in the next life.
        let drained = async { while inputs.recv().await.is_some() {} };
        tokio::select! {
            biased;
            () = hands.tasks.wait() => {}
            () = drained => {}
            () = tokio::time::sleep(STOP_WAIT) => tracing::warn!("some tasks did not end in time"),
        }
        drop(inputs);
        crash_point!("worker/stop/stopped");
        if let Some(keeper) = keeper {
            keeper.join().await;
        }
        if let Err(error) = store.durable().await {
            tracing::error!(%error, "the store failed at the end");
        }
        crash_point!("worker/stop/durable");
        tracing::info!("stopped");
    }
}

/// Limits that cannot be kept here are said at the start, not when a handler has broken them.
fn cage(launcher: Option<PathBuf>, offers: &[OfferSettings]) -> Cage {
    let cage = Cage::find(launcher);
    for offer in offers.iter().filter(|_| !cage.has_groups()) {
        let limits = offer.handler.limits;
        if limits.cpu_percent.is_some() || limits.tasks_max.is_some() {
            tracing::warn!(
                offer = offer.name,
                "cpu_percent and tasks_max need a delegated control group, as the systemd unit gives; they are not kept"
            );
        }
    }
    cage
}

/// The look for used addresses that this state needs, or will need.
pub(super) fn look_of(
    settings: &Settings,
    store: &Arc<Store>,
    relay: &Counterpart,
    jury: Jury,
    entropy: &Entropy,
) -> Look {
    Look {
        relay: relay.clone(),
        jury,
        accounts: settings.accounts.clone(),
        store: Arc::clone(store),
        start: settings.account_index_start,
        whole: false,
        gap: settings.index_gap,
        entropy: entropy.clone(),
    }
}

fn serve(services: &Services, offers: &HashMap<OfferId, OfferSettings>) {
    let mut services = services.write().unwrap_or_else(PoisonError::into_inner);
    for (id, offer) in offers {
        services.entry(*id).or_insert_with(|| offers::service(offer));
    }
}

pub(super) fn notify(state: &[sd_notify::NotifyState<'_>]) {
    // Without a service manager there is nobody to tell.
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager was not told");
    }
}
