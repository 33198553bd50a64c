//! One look at the relay by hand, for sellers who are woken by a heartbeat instead of running a
//! daemon.
//!
//! What is new is decided and durable before it is acknowledged, as in the daemon. What follows
//! from the decisions is left to the next recovery or run, which finds it in the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;

use super::counterpart::Counterpart;
use super::daemon;
use super::engine::{Engine, Heard};
use super::failure::StartError;
use super::hints::Hints;
use super::identity::identify;
use super::ingest::{Ingest, Page, RoundError};
use super::input::Effect;
use super::look::Look;
use super::memory::{self, JOBS, TICKETS, fact};
use super::nodes::Jury;
use super::offers::{self, OfferError, Refusals};
use super::parts::Parts;
use super::restore;
use super::settings::{Dialect, Settings};
use super::v0::news::News as Bulletin;
use super::v0::stalls::{self, Shop};
use super::wallet::Wallet;
use crate::client::CallError;
use crate::edge::{self, Clock};
use crate::protocol::v0;
use crate::protocol::{EventId, JobId, OfferId, Status};
use crate::store::{Store, StoreError};

/// How long the offers' registration may take: whoever polls by hand comes again.
const REGISTRATION: Duration = Duration::from_secs(20);

/// How long the first look of a new or restored state may take.
const LOOK: Duration = Duration::from_secs(60);

/// What is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// For what is new. Without the acknowledgement the relay tells it again, until [`acknowledge`].
    News {
        /// Whether the relay is told once it is durable.
        acknowledge: bool,
    },
    /// To go on where the log of a relay of /v0 begins now, and for what is new there.
    Resync {
        /// Whether all jobs are looked at first, so that nothing is missed.
        careful: bool,
    },
}

/// What one look brought.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Polled {
    /// Every job that something new was heard of.
    pub news: Vec<News>,
    /// Up to here everything is durable, and may be acknowledged.
    pub last_event_id: Option<u64>,
}

/// Something new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct News {
    /// Which job.
    pub job_id: JobId,
    /// What the buyer calls it, in /v0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<v0::JobId>,
    /// Of which offer.
    pub offer_id: OfferId,
    /// Where it is on the relay.
    pub status: Status,
    /// What is owed to it now.
    pub stage: String,
}

/// Why there are no news.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// The state or the configuration cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The relay gave no answer, or none that helps.
    #[error("the relay could not be asked")]
    Relay(#[source] CallError),
    /// The first look at relay and chain was not possible in time.
    #[error("relay or node did not say which addresses were used before")]
    Unlooked,
    /// The offers could not be registered in time.
    #[error("the relay did not take the offers in time")]
    Slow,
    /// What is not durable here must not be acknowledged.
    #[error("here everything is durable up to event {durable}, and not up to {wanted}")]
    Ahead {
        /// Up to where it is.
        durable: u64,
        /// What was to be acknowledged.
        wanted: u64,
    },
    /// A relay of /v1 is resynced by itself, and knows its sellers by their offers.
    #[error("only a relay of /v0 needs this: set relay.dialect = \"v0\"")]
    OnlyV0,
}

impl From<StoreError> for PollError {
    fn from(error: StoreError) -> Self {
        Self::Start(error.into())
    }
}

/// Asks once; what follows from the answers is decided and durable.
///
/// # Errors
/// If the state cannot be used, another process uses it, or the relay cannot be asked. What was
/// durable by then is kept.
pub async fn poll_once(settings: Settings, parts: Parts, ask: Ask) -> Result<Polled, PollError> {
    if matches!((&settings.dialect, ask), (Dialect::V1, Ask::Resync { .. })) {
        return Err(PollError::OnlyV0);
    }
    let store = Arc::new(restore::open(&settings, &parts.clock).map_err(StartError::from)?);
    let holder = identify(&store, &settings, &parts)?;
    let wallet = Wallet::open(&store, settings.accounts.clone(), settings.account_index_start);
    let mut wallet = wallet.map_err(StartError::from)?;
    wallet.look_first(&store)?;
    store.durable().await?;
    let relay = Counterpart::open(&settings, &parts, &store, &holder).map_err(StartError::from)?;

    // A relay that is not there is no reason to wait for the registration.
    let health = match &relay {
        Counterpart::V1(line) => line.client.health().await,
        Counterpart::V0(bazaar) => bazaar.client.health().await,
    };
    if let Err(error @ CallError::Transport { .. }) = health {
        return Err(PollError::Relay(error));
    }
    let registering = async {
        let entropy = &parts.entropy;
        let (offers, refusals) = (&settings.offers, &mut Refusals::end());
        match &relay {
            Counterpart::V1(line) => offers::register(line, &store, offers, entropy, refusals).await,
            Counterpart::V0(bazaar) => {
                // The engine is opened afterwards, with the terms of all of them.
                let shop = Shop { bazaar, store: &store, offers, entropy, told: None };
                stalls::register(&shop, refusals).await
            }
        }
    };
    let registered = tokio::time::timeout(REGISTRATION, registering).await.map_err(|_| PollError::Slow)?;
    let terms = offers::terms(&registered.map_err(offer_error)?);
    let look = first_look(&settings, &store, &relay, &parts)?;
    let engine = Engine::open(Arc::clone(&store), wallet, terms, holder).map_err(StartError::from)?;
    let clock = parts.clock.clone();
    let mut listener = Listener {
        engine,
        store: Arc::clone(&store),
        relay: relay.clone(),
        clock,
        heard_of: BTreeMap::new(),
    };

    let (page_sender, mut pages) = mpsc::channel(1);
    // The asker ends, drops its sender, and so ends whoever listens.
    let asking = ask_for(&settings, &parts, relay, Arc::clone(&store), page_sender, look, ask);
    let listening = async {
        while let Some(page) = pages.recv().await {
            listener.take(page).await?;
        }
        Ok(())
    };
    let (asked, listened): (Result<(), Option<RoundError>>, Result<(), PollError>) =
        tokio::join!(asking, listening);
    listened?;
    asked.map_err(|error| error.map_or(PollError::Unlooked, round_error))?;
    let news =
        listener.heard_of.into_iter().filter_map(|(job, status)| describe(&store, job, status).transpose());
    Ok(Polled { news: news.collect::<Result<_, _>>()?, last_event_id: cursor(&store)? })
}

/// Tells the relay up to which event everything is durable; the relay's cursor afterwards.
///
/// # Errors
/// If the state cannot be used, or is not as far, or the relay cannot be asked.
pub async fn acknowledge(settings: Settings, parts: Parts, up_to: u64) -> Result<u64, PollError> {
    let store = Arc::new(restore::open(&settings, &parts.clock).map_err(StartError::from)?);
    let holder = identify(&store, &settings, &parts)?;
    let durable = cursor(&store)?.unwrap_or(0);
    if up_to > durable {
        return Err(PollError::Ahead { durable, wanted: up_to });
    }
    let acked = match Counterpart::open(&settings, &parts, &store, &holder).map_err(StartError::from)? {
        Counterpart::V1(line) => line.client.ack(EventId(up_to)).await.map(|_| up_to),
        Counterpart::V0(bazaar) => bazaar.client.ack(up_to).await,
    };
    acked.map_err(PollError::Relay)
}

/// Makes a bot known to its relay, under a name for people if there is one.
///
/// # Errors
/// If the relay cannot be asked or refuses.
pub async fn register(settings: &Settings, parts: &Parts, name: Option<&str>) -> Result<v0::Bot, PollError> {
    let Dialect::V0(bot) = &settings.dialect else { return Err(PollError::OnlyV0) };
    let client = parts.bot(settings, bot).map_err(StartError::from)?;
    let registered = client.register().await.map_err(PollError::Relay)?;
    match name {
        Some(name) => client.rename(name).await.map_err(PollError::Relay),
        None => Ok(registered),
    }
}

fn cursor(store: &Store) -> Result<Option<u64>, StoreError> {
    Ok(memory::fact(store, fact::CURSOR)?.and_then(|text| text.parse().ok()))
}

fn first_look(
    settings: &Settings,
    store: &Arc<Store>,
    relay: &Counterpart,
    parts: &Parts,
) -> Result<Look, PollError> {
    let started = edge::monotonic();
    let clock = move || edge::monotonic().saturating_duration_since(started);
    let jury = Jury::open(settings, clock, None).map_err(StartError::from)?;
    Ok(daemon::look_of(settings, store, relay, jury, &parts.entropy))
}

async fn ask_for(
    settings: &Settings,
    parts: &Parts,
    relay: Counterpart,
    store: Arc<Store>,
    pages: mpsc::Sender<Page>,
    look: Look,
    ask: Ask,
) -> Result<(), Option<RoundError>> {
    let hints = Hints::new(mpsc::channel(1).1);
    let (min, max, entropy) = (settings.poll_min, settings.poll_max, parts.entropy.clone());
    match relay {
        Counterpart::V1(line) => {
            let look = Some(look);
            let ingest = Ingest { line, store, pages, hints, min, max, entropy, registrar: None, look };
            let looked = tokio::time::timeout(LOOK, ingest.look_first()).await;
            looked.map_err(|_| None)?.map_err(Some)?;
            ingest.once(ask != Ask::News { acknowledge: false }).await.map_err(Some)
        }
        Counterpart::V0(bazaar) => {
            let news = Bulletin { bazaar, pages, hints, watch: None, min, max, entropy };
            let looked = tokio::time::timeout(LOOK, news.look_first(&look, &store)).await;
            looked.map_err(|_| None)?.map_err(Some)?;
            news.once(ask).await.map_err(Some)
        }
    }
}

/// Decides as the daemon's loop does, except that only looks are performed.
struct Listener {
    engine: Engine,
    store: Arc<Store>,
    relay: Counterpart,
    clock: Clock,
    heard_of: BTreeMap<JobId, Status>,
}

impl Listener {
    async fn take(&mut self, page: Page) -> Result<(), PollError> {
        let mut heard = page.heard;
        while !heard.is_empty() {
            self.heard_of.extend(heard.iter().filter_map(|heard| match heard {
                Heard::Job { job, .. } => Some((job.job_id, job.status)),
                Heard::Shown(shown) => Some((shown.job.job_id, shown.job.status)),
                _ => None,
            }));
            let effects = self.engine.take(heard, self.clock.now()).map_err(StartError::from)?;
            heard = Vec::new();
            for (job, effect) in effects {
                if effect == Effect::Fetch {
                    heard.extend(self.look(job).await?);
                }
            }
        }
        self.store.durable().await?;
        // Its asker waits for this.
        let _ = page.durable.send(self.engine.open_count());
        Ok(())
    }

    async fn look(&self, job: JobId) -> Result<Option<Heard>, PollError> {
        let line = match &self.relay {
            Counterpart::V1(line) => line,
            Counterpart::V0(bazaar) => return Ok(Some(bazaar.fetch(job).await)),
        };
        match line.once(&|| line.client.job(&job)).await {
            Ok(job) => Ok(Some(Heard::Job { job: Box::new(job), whole: true })),
            // It is gone, or not ours: no news.
            Err(CallError::Refused(_)) => Ok(None),
            Err(error) => Err(PollError::Relay(error)),
        }
    }
}

/// A job that is nobody's of ours is no news.
fn describe(store: &Store, job_id: JobId, status: Status) -> Result<Option<News>, PollError> {
    let Some(record) = JOBS.get(store, &job_id)? else { return Ok(None) };
    let name = TICKETS.get(store, &job_id)?.map(|ticket| ticket.job_id);
    Ok(Some(News { job_id, name, offer_id: record.offer_id, status, stage: record.stage.to_string() }))
}

fn offer_error(error: OfferError) -> PollError {
    match error {
        OfferError::Store(error) => error.into(),
        OfferError::Call { source, .. } => PollError::Relay(source),
    }
}

fn round_error(error: RoundError) -> PollError {
    match error {
        RoundError::Call(error) => PollError::Relay(error),
        RoundError::Store(error) => error.into(),
        // The listener only stops before the asker if its store failed, which was reported above.
        RoundError::Stopping => PollError::Slow,
    }
}
