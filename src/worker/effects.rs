//! One small function per effect: the machine's hands.
//!
//! Nothing here decides. What an effect leads to goes back to the loop as the next input.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use nano_currency::Amount;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::counterpart::Counterpart;
use super::engine::Heard;
use super::executor::{self, Cage, Handler, HandlerKind, Purpose, Run};
use super::input::{Call, Effect, Input, Outcome, Rejection};
use super::lease::Lease;
use super::memory::{self, JOBS, REQUESTS};
use super::payment::Invoice;
use super::stage::Lock;
use super::{keeper, watch};
use crate::client::LockRequest;
use crate::edge::{Clock, Tasks};
use crate::points::crash_point;
use crate::protocol::job::JobError;
use crate::protocol::limits::{LOCK_TTL, REASON_CHARS_MAX};
use crate::protocol::{Job, JobId, OfferId, apply};
use crate::store::{self, Store, StoreError};

/// How an offer's jobs are run here.
#[derive(Debug, Clone)]
pub(super) struct Service {
    /// What runs.
    pub(super) handler: Handler,
    /// Places to run at the same time.
    pub(super) places: Arc<Semaphore>,
    /// Places to be asked for a price at the same time.
    pub(super) pricing_places: Arc<Semaphore>,
}

/// The services by offer; grows when an offer is registered.
pub(super) type Services = Arc<RwLock<HashMap<OfferId, Service>>>;

/// Performs effects.
#[derive(Debug, Clone)]
pub(super) struct Hands {
    pub(super) relay: Counterpart,
    pub(super) store: Arc<Store>,
    pub(super) services: Services,
    pub(super) heard: mpsc::Sender<Heard>,
    pub(super) watch: mpsc::Sender<watch::Wish>,
    /// Who renews locks; in /v0 there are none.
    pub(super) keeper: Option<mpsc::Sender<keeper::Wish>>,
    pub(super) holder: String,
    pub(super) lock_ttl: Duration,
    pub(super) quote_ttl: Option<Duration>,
    pub(super) clock: Clock,
    /// Handlers and calls in progress.
    pub(super) tasks: Tasks,
    /// No further handler is started once this is cancelled.
    pub(super) drain: CancellationToken,
    /// Everything stops.
    pub(super) stop: CancellationToken,
    pub(super) desk: Arc<Desk>,
    pub(super) cage: Arc<Cage>,
}

/// What is in progress, by job.
#[derive(Debug, Default)]
pub(super) struct Desk {
    places: Mutex<BTreeMap<JobId, Place>>,
    handlers: Mutex<BTreeMap<JobId, CancellationToken>>,
    lease_starts: Mutex<BTreeMap<JobId, Duration>>,
    /// Of each lock that is held: cancelled when it is lost, once that is said.
    leases: Mutex<BTreeMap<JobId, CancellationToken>>,
}

#[derive(Debug)]
enum Place {
    Awaited(CancellationToken),
    Held(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit),
}

/// How often to look whether there is room again.
const ROOM_LOOK: Duration = Duration::from_secs(2);

impl Hands {
    /// Begins one effect. Effects of different jobs go on side by side; a wish to the watch or the
    /// keeper is delivered in order, before the next effect of the same job begins.
    pub(super) async fn perform(&self, job: JobId, effect: Effect) {
        match effect {
            // These were part of the commit.
            Effect::TakeIndex { .. } | Effect::Claim { .. } | Effect::Keep(_) => {}
            Effect::AskPrice => self.spawn(job, |hands| async move { hands.ask_price(job).await }),
            Effect::SendQuote(invoice) => {
                self.spawn(job, move |hands| async move { hands.quote(job, invoice).await });
            }
            Effect::SendRefusal(reason) => {
                self.spawn(job, move |hands| async move { hands.refuse(job, reason).await });
            }
            Effect::Fetch => self.spawn(job, |hands| async move { hands.fetch(job).await }),
            Effect::Revive(invoice) => {
                self.spawn(job, move |hands| async move { hands.revive(job, invoice).await });
            }
            Effect::Watch { invoice, submitted, lapsed, over } => {
                self.wish_watch(watch::Wish::Watch { job, invoice, submitted, lapsed, over }).await;
            }
            Effect::Unwatch => self.wish_watch(watch::Wish::Unwatch(job)).await,
            Effect::AwaitPlace => self.await_place(job),
            Effect::FreePlace => self.free_place(job),
            Effect::TakeLock { payment } => {
                let payment = payment.map(|hash| hash.to_string());
                self.spawn(job, move |hands| async move { hands.take_lock(job, payment).await });
            }
            Effect::Hold(lock) => self.hold(job, lock).await,
            Effect::Release => {
                lock_map(&self.desk.lease_starts).remove(&job);
                lock_map(&self.desk.leases).remove(&job);
                self.wish_keeper(keeper::Wish::Release(job)).await;
            }
            Effect::Execute { attempt, token } => self.execute(job, attempt, token),
            Effect::Kill => self.kill(job),
            Effect::KillStrays => self.kill_strays(job),
            Effect::Deliver { lock, round } => {
                self.spawn(job, move |hands| async move { hands.deliver(job, lock, round).await });
            }
        }
    }

    /// Runs a task to its input, unless everything stops first.
    fn spawn<F>(&self, job: JobId, task: impl FnOnce(Self) -> F)
    where
        F: Future<Output = Option<Heard>> + Send + 'static,
    {
        let (hands, future) = (self.clone(), task(self.clone()));
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                heard = future => {
                    if let Some(heard) = heard {
                        hands.say(heard).await;
                    }
                }
                () = hands.stop.cancelled() => tracing::debug!(job_id = %job, "left for the next life"),
            }
        });
    }

    async fn say(&self, heard: Heard) {
        // The loop listens until everything has stopped.
        drop(self.heard.send(heard).await);
    }

    async fn wish_watch(&self, wish: watch::Wish) {
        drop(self.watch.send(wish).await);
    }

    async fn wish_keeper(&self, wish: keeper::Wish) {
        if let Some(keeper) = &self.keeper {
            drop(keeper.send(wish).await);
        }
    }

    async fn quote(&self, job: JobId, invoice: Invoice) -> Option<Heard> {
        self.room().await;
        let line = match &self.relay {
            Counterpart::V0(bazaar) => return Some(bazaar.quote(job, invoice).await),
            Counterpart::V1(line) => line,
        };
        let (amount, address) = (invoice.price.to_string(), invoice.account.to_string());
        // A quote that the relay could not be told for long must not arrive expired. Another expiry
        // is another request, so it has a key of its own; the relay takes one quote whatever the key.
        let send = || async {
            let expires_at = self.quote_ttl.map(|ttl| self.clock.now().plus(ttl));
            let suffix = expires_at.map(|at| format!("-{}", at.micros())).unwrap_or_default();
            let key = format!("quote-{job}-{}{suffix}", invoice.index);
            let client = line.named(job, Call::Quote).with_key(key);
            client.quote(&job, &amount, &address, expires_at).await
        };
        let answer = line.repeat(job, Call::Quote, send).await;
        Some(Heard::Input(job, outcome_of(Call::Quote, answer)))
    }

    /// Waits for room on the disk: what is quoted may be paid, and what is paid has to be finished.
    async fn room(&self) {
        while store::is_short(self.store.dir()) {
            tracing::warn!("there is little room on the disk: nothing more is quoted until there is");
            tokio::time::sleep(ROOM_LOOK).await;
        }
    }

    async fn refuse(&self, job: JobId, reason: String) -> Option<Heard> {
        let reason: String = reason.replace('\0', " ").chars().take(REASON_CHARS_MAX).collect();
        let line = match &self.relay {
            Counterpart::V0(bazaar) => return Some(bazaar.refuse(job, reason).await),
            Counterpart::V1(line) => line,
        };
        let client = line.named(job, Call::Refuse).with_key(format!("refuse-{job}"));
        let answer = line.repeat(job, Call::Refuse, || client.refuse(&job, &reason)).await;
        Some(Heard::Input(job, outcome_of(Call::Refuse, answer)))
    }

    async fn fetch(&self, job: JobId) -> Option<Heard> {
        let line = match &self.relay {
            Counterpart::V0(bazaar) => return Some(bazaar.fetch(job).await),
            Counterpart::V1(line) => line,
        };
        let client = line.named(job, Call::Fetch);
        match line.repeat(job, Call::Fetch, || client.job(&job)).await {
            Ok(found) => Some(Heard::Job { job: Box::new(found), whole: true }),
            Err(why) => Some(Heard::Input(job, Input::Rejected(Call::Fetch, why))),
        }
    }

    /// In /v1 nothing that expired comes back.
    async fn revive(&self, job: JobId, invoice: Invoice) -> Option<Heard> {
        match &self.relay {
            Counterpart::V0(bazaar) => Some(bazaar.revive(job, invoice).await),
            Counterpart::V1(_) => Some(Heard::Input(job, Input::Rejected(Call::Revive, Rejection::State))),
        }
    }

    async fn take_lock(&self, job: JobId, payment: Option<String>) -> Option<Heard> {
        let line = match &self.relay {
            Counterpart::V0(bazaar) => return Some(bazaar.lock(job).await),
            Counterpart::V1(line) => line,
        };
        let wish = LockRequest {
            holder: self.holder.clone(),
            ttl_seconds: self.lock_ttl.as_secs(),
            payment_tx_hash: payment,
        };
        let client = line.named(job, Call::Lock);
        loop {
            let answer = line
                .repeat(job, Call::Lock, || async {
                    // The lease is counted from before the request that wins it.
                    lock_map(&self.desk.lease_starts).insert(job, self.clock.uptime());
                    client.lock(&job, &wish).await
                })
                .await;
            let input = match answer {
                Ok(locked) => {
                    let lock = self.lock_of(&locked);
                    // The answer may have been under way, or we asleep, until another could win it.
                    if self.lease_of(job, lock).is_lost(self.clock.uptime()) {
                        tracing::warn!(job_id = %job, "the lock was won, and lost before we heard of it");
                        continue;
                    }
                    Input::Locked(lock)
                }
                Err(why) => Input::Rejected(Call::Lock, why),
            };
            return Some(Heard::Input(job, input));
        }
    }

    fn lock_of(&self, job: &Job) -> Lock {
        Lock {
            token: (job.lock_token > 0).then_some(job.lock_token),
            expires_at: job.lock_expires_at.unwrap_or_else(|| self.clock.now().plus(self.lock_ttl)),
        }
    }

    fn lease_of(&self, job: JobId, lock: Lock) -> Lease {
        // A relay without tokens grants what it always grants.
        let ttl = if lock.token.is_some() { self.lock_ttl } else { LOCK_TTL };
        let since = lock_map(&self.desk.lease_starts).get(&job).copied();
        // From an earlier life: renewed at once.
        let since = since.unwrap_or_else(|| self.clock.uptime().saturating_sub(ttl / 3));
        Lease { since, ttl }
    }

    async fn hold(&self, job: JobId, lock: Lock) {
        let (lease, lost) = (self.lease_of(job, lock), CancellationToken::new());
        lock_map(&self.desk.leases).insert(job, lost.clone());
        self.wish_keeper(keeper::Wish::Hold { job, lease, token: lock.token, lost }).await;
    }

    async fn deliver(&self, job: JobId, lock: Lock, round: u32) -> Option<Heard> {
        let line = match &self.relay {
            Counterpart::V0(bazaar) => return Some(bazaar.deliver(job, round).await),
            Counterpart::V1(line) => line,
        };
        let outcome = match self.stored_outcome(job) {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::error!(job_id = %job, %error, "the outcome cannot be read back");
                return Some(Heard::Broken(error));
            }
        };
        let client = line.named(job, Call::Deliver).with_key(format!("deliver-{job}-{round}"));
        let answer = line.repeat(job, Call::Deliver, || client.deliver(&job, &outcome, lock.token)).await;
        Some(Heard::Input(job, outcome_of(Call::Deliver, answer)))
    }

    fn stored_outcome(&self, job: JobId) -> Result<apply::Outcome, StoreError> {
        let number = JOBS.get(&self.store, &job)?.map_or(0, |record| record.outcomes);
        Ok(match memory::outcome(&self.store, job, number)? {
            Outcome::Result(result) => apply::Outcome::Result(result),
            Outcome::Error(error) => apply::Outcome::Error(json!(error)),
        })
    }
}

/// Places and handlers.
impl Hands {
    fn await_place(&self, job: JobId) {
        let mut places = lock_map(&self.desk.places);
        if let Some(Place::Held(_)) = places.get(&job) {
            self.spawn(job, |_| async move { Some(Heard::Input(job, Input::Placed)) });
            return;
        }
        let given_up = CancellationToken::new();
        places.insert(job, Place::Awaited(given_up.clone()));
        drop(places);
        self.spawn(job, |hands| async move {
            let semaphore = match hands.service_of(job) {
                Ok(service) => service.map(|service| service.places),
                Err(error) => return Some(Heard::Broken(error)),
            };
            tokio::select! {
                biased;
                permit = acquire(semaphore) => hands.got_place(job, permit, &given_up),
                () = given_up.cancelled() => None,
                // What has not begun waits for the next life.
                () = hands.drain.cancelled() => None,
            }
        });
    }

    fn got_place(
        &self,
        job: JobId,
        permit: Option<OwnedSemaphorePermit>,
        given_up: &CancellationToken,
    ) -> Option<Heard> {
        let mut places = lock_map(&self.desk.places);
        if given_up.is_cancelled() || self.drain.is_cancelled() {
            return None;
        }
        match permit {
            Some(permit) => places.insert(job, Place::Held(permit)),
            // The offer is no longer served: the run itself will say so.
            None => places.remove(&job),
        };
        Some(Heard::Input(job, Input::Placed))
    }

    fn free_place(&self, job: JobId) {
        if let Some(Place::Awaited(given_up)) = lock_map(&self.desk.places).remove(&job) {
            given_up.cancel();
        }
    }

    fn service_of(&self, job: JobId) -> Result<Option<Service>, StoreError> {
        let Some(record) = JOBS.get(&self.store, &job)? else { return Ok(None) };
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        Ok(services.get(&record.offer_id).cloned())
    }

    /// What is to run, and how; `None` if the offer is no longer served.
    fn run_of(
        &self,
        job: JobId,
        attempt: u32,
        lock_token: Option<u64>,
        purpose: Purpose,
    ) -> Result<Option<(Service, Run)>, StoreError> {
        let Some(service) = self.service_of(job)? else { return Ok(None) };
        let Some(record) = JOBS.get(&self.store, &job)? else { return Ok(None) };
        let Some(request) = REQUESTS.get(&self.store, &job)? else { return Ok(None) };
        let offer_id = record.offer_id;
        Ok(Some((service, Run { job_id: job, offer_id, attempt, lock_token, purpose, request })))
    }

    fn execute(&self, job: JobId, attempt: u32, token: Option<u64>) {
        // What runs under a lock ends with it, though the loop may be waiting for the disk.
        let lost = lock_map(&self.desk.leases).get(&job).cloned().unwrap_or_default();
        let stop = lost.child_token();
        lock_map(&self.desk.handlers).insert(job, stop.clone());
        let place = lock_map(&self.desk.places).remove(&job);
        let hands = self.clone();
        // Not `spawn`: a handler is killed and waited for, never just forgotten.
        self.tasks.spawn(async move {
            let outcome = match hands.run_of(job, attempt, token, Purpose::Execute) {
                // That is said already, and what comes of this run counts for nothing.
                Ok(Some(_)) if stop.is_cancelled() => not_run("the lock was lost before the start"),
                Ok(Some((service, run))) => {
                    crash_point!("worker/handler/start");
                    executor::run(&hands.cage, &service.handler, &run, &stop).await
                }
                Ok(None) => not_run("the offer is no longer served"),
                // A store that cannot be read must not end a paid job.
                Err(error) => return hands.say(Heard::Broken(error)).await,
            };
            crash_point!("worker/handler/finished");
            drop(place);
            lock_map(&hands.desk.handlers).remove(&job);
            // After the end, what the handler did is for the next life to find out.
            if !hands.stop.is_cancelled() {
                hands.say(Heard::Input(job, Input::Finished(outcome))).await;
            }
        });
    }

    fn kill(&self, job: JobId) {
        match lock_map(&self.desk.handlers).get(&job) {
            Some(stop) => {
                stop.cancel();
                crash_point!("worker/handler/killed");
            }
            // It has just ended by itself, and its end is on its way.
            None => tracing::debug!(job_id = %job, "no handler to kill"),
        }
    }

    /// A function of this process has left nothing behind.
    fn kill_strays(&self, job: JobId) {
        let kind = self.service_of(job).ok().flatten().map(|service| service.handler.kind);
        if !matches!(kind, Some(HandlerKind::Function(_))) {
            executor::kill_strays(job);
        }
    }

    /// Kills all handlers: for the end of the process.
    pub(super) fn kill_all(&self) {
        for stop in lock_map(&self.desk.handlers).values() {
            stop.cancel();
        }
    }

    async fn ask_price(&self, job: JobId) -> Option<Heard> {
        let (service, run) = match self.run_of(job, 0, None, Purpose::Quote) {
            Ok(Some(found)) => found,
            Ok(None) => {
                let reason = "the offer is no longer served".to_owned();
                return Some(Heard::Input(job, Input::PriceRefused(reason)));
            }
            Err(error) => return Some(Heard::Broken(error)),
        };
        let _place = acquire(Some(service.pricing_places)).await;
        let outcome = executor::run(&self.cage, &service.handler, &run, &self.stop).await;
        crash_point!("worker/handler/priced");
        Some(Heard::Input(job, price_of(job, outcome)))
    }
}

/// What a handler answers when it is asked for a price.
#[derive(Deserialize)]
struct PriceAnswer {
    price_raw: Option<String>,
    refuse: Option<String>,
}

fn price_of(job: JobId, outcome: Outcome) -> Input {
    let Outcome::Result(answer) = outcome else {
        return Input::PriceRefused("the seller could not price this request".to_owned());
    };
    match serde_json::from_value::<PriceAnswer>(answer) {
        Ok(PriceAnswer { refuse: Some(reason), .. }) => Input::PriceRefused(reason),
        Ok(PriceAnswer { price_raw: Some(price), .. }) => match Amount::parse_raw(&price) {
            Ok(price) if !price.is_zero() => Input::Priced(price),
            _ => bad_price(job, "price_raw is no amount above zero"),
        },
        _ => bad_price(job, "neither price_raw nor refuse"),
    }
}

fn bad_price(job: JobId, why: &str) -> Input {
    tracing::error!(job_id = %job, why, "the handler's answer to PURPOSE=quote cannot be used");
    Input::PriceRefused("the seller could not price this request".to_owned())
}

fn not_run(why: &str) -> Outcome {
    Outcome::Error(JobError {
        code: "handler_failed".to_owned(),
        message: why.to_owned(),
        details: serde_json::Value::Null,
    })
}

async fn acquire(semaphore: Option<Arc<Semaphore>>) -> Option<OwnedSemaphorePermit> {
    semaphore?.acquire_owned().await.ok()
}

fn outcome_of<T>(call: Call, answer: Result<T, Rejection>) -> Input {
    match answer {
        Ok(_) => Input::Done(call),
        Err(why) => Input::Rejected(call, why),
    }
}

/// Each of these maps is whole between any two statements, so a panic elsewhere harms nothing.
fn lock_map<T>(map: &Mutex<T>) -> MutexGuard<'_, T> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
