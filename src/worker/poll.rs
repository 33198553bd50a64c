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

use super::calls::Line;
use super::counterpart::Counterpart;
use super::daemon;
use super::engine::{Engine, Heard};
use super::failure::StartError;
use super::identity::identify;
use super::ingest::{Ingest, Page, RoundError};
use super::input::Effect;
use super::look::Look;
use super::memory::JOBS;
use super::nodes::Jury;
use super::offers::{self, OfferError};
use super::parts::Parts;
use super::restore;
use super::settings::Settings;
use super::wallet::Wallet;
use crate::client::CallError;
use crate::edge::{self, Entropy};
use crate::protocol::{Job, JobId, OfferId, Status};
use crate::store::{Store, StoreError};

/// How long the offers' registration may take: whoever polls by hand comes again.
const REGISTRATION: Duration = Duration::from_secs(20);

/// How long the first look of a new or restored state may take.
const LOOK: Duration = Duration::from_secs(60);

/// Something new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct News {
    /// Which job.
    pub job_id: JobId,
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
}

impl From<StoreError> for PollError {
    fn from(error: StoreError) -> Self {
        Self::Start(error.into())
    }
}

/// Asks once; returns every job that something new was heard of.
///
/// # Errors
/// If the state cannot be used, another process uses it, or the relay cannot be asked. What was
/// durable by then is kept.
pub async fn poll_once(settings: Settings, parts: Parts) -> Result<Vec<News>, PollError> {
    let store = Arc::new(restore::open(&settings, &parts.clock).map_err(StartError::from)?);
    let holder = identify(&store, &settings, &parts)?;
    let wallet = Wallet::open(&store, settings.seed.clone(), settings.account_index_start);
    let mut wallet = wallet.map_err(StartError::from)?;
    wallet.look_first(&store)?;
    store.durable().await?;
    let client = parts.client(&settings);
    let Parts { clock, entropy, .. } = parts;
    let line = Arc::new(Line::new(client.map_err(StartError::from)?, entropy.clone()));

    // A relay that is not there is no reason to wait for the registration.
    if let Err(error @ CallError::Transport { .. }) = line.client.health().await {
        return Err(PollError::Relay(error));
    }
    let registering = offers::register(&line, &store, &settings.offers, &entropy);
    let registered = tokio::time::timeout(REGISTRATION, registering).await.map_err(|_| PollError::Slow)?;
    let terms = offers::terms(&registered.map_err(offer_error)?);
    let look = first_look(&settings, &store, &wallet, &line, &entropy)?;
    let mut engine = Engine::open(Arc::clone(&store), wallet, terms, holder).map_err(StartError::from)?;

    let (page_sender, mut pages) = mpsc::channel(1);
    let (_, hints) = mpsc::channel(1);
    let ingest = Ingest {
        line: Arc::clone(&line),
        store: Arc::clone(&store),
        pages: page_sender,
        hints,
        min: settings.poll_min,
        max: settings.poll_max,
        entropy,
        registrar: None,
    };
    // The asker ends, drops its sender, and so ends whoever listens.
    let asking = async move {
        let looked = tokio::time::timeout(LOOK, ingest.look_first(look)).await;
        looked.map_err(|_| None)?.map_err(Some)?;
        ingest.once().await.map_err(Some)
    };
    let mut news = BTreeMap::new();
    let listening = async {
        while let Some(page) = pages.recv().await {
            take(page, &mut engine, &store, &line, &clock, &mut news).await?;
        }
        Ok(())
    };
    let (asked, listened): (Result<(), Option<RoundError>>, Result<(), PollError>) =
        tokio::join!(asking, listening);
    listened?;
    asked.map_err(|error| error.map_or(PollError::Unlooked, round_error))?;
    news.into_iter().filter_map(|(job, status)| describe(&store, job, status).transpose()).collect()
}

fn first_look(
    settings: &Settings,
    store: &Store,
    wallet: &Wallet,
    line: &Arc<Line>,
    entropy: &Entropy,
) -> Result<Option<Look>, PollError> {
    let started = edge::monotonic();
    let clock = move || edge::monotonic().saturating_duration_since(started);
    let jury = Jury::open(settings, clock, None).map_err(StartError::from)?;
    let relay = Counterpart::V1(Arc::clone(line));
    Ok(daemon::look_of(settings, store, wallet, &relay, jury, entropy)?)
}

/// Decides about a page as the daemon's loop does, except that only looks are performed.
async fn take(
    page: Page,
    engine: &mut Engine,
    store: &Store,
    line: &Line,
    clock: &crate::edge::Clock,
    news: &mut BTreeMap<JobId, Status>,
) -> Result<(), PollError> {
    let mut heard = page.heard;
    while !heard.is_empty() {
        news.extend(heard.iter().filter_map(|heard| match heard {
            Heard::Job { job, .. } => Some((job.job_id, job.status)),
            _ => None,
        }));
        let effects = engine.take(heard, clock.now()).map_err(StartError::from)?;
        heard = Vec::new();
        for (job, effect) in effects {
            if effect == Effect::Fetch {
                heard.extend(look(line, job).await?);
            }
        }
    }
    store.durable().await?;
    // Its asker waits for this.
    let _ = page.durable.send(engine.open_count());
    Ok(())
}

async fn look(line: &Line, job: JobId) -> Result<Option<Heard>, PollError> {
    let found: Result<Job, CallError> = line.once(&|| line.client.job(&job)).await;
    match found {
        Ok(job) => Ok(Some(Heard::Job { job: Box::new(job), whole: true })),
        // It is gone, or not ours: no news.
        Err(CallError::Refused(_)) => Ok(None),
        Err(error) => Err(PollError::Relay(error)),
    }
}

/// A job that is nobody's of ours is no news.
fn describe(store: &Store, job_id: JobId, status: Status) -> Result<Option<News>, PollError> {
    let record = JOBS.get(store, &job_id)?;
    Ok(record.map(|record| News {
        job_id,
        offer_id: record.offer_id,
        status,
        stage: record.stage.to_string(),
    }))
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
