//! The relay, in whichever dialect it is spoken to, and what differs by it when a worker starts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::calls::Line;
use super::hints::Hints;
use super::ingest::{Ingest, Page};
use super::look::Look;
use super::offers::{self, Registered, Registrar};
use super::parts::Parts;
use super::settings::{Dialect, OfferSettings, Settings};
use super::v0::bazaar::Bazaar;
use super::v0::news::News;
use super::v0::stalls;
use super::watch;
use crate::client::{Hint, RelayUrlError, socket, v0};
use crate::edge::{Entropy, Tasks};
use crate::protocol::OfferId;
use crate::store::{Store, StoreError};

/// Hints that may wait: one is as good as many.
const HINTS_MAX: usize = 64;

/// Who is at the other end.
#[derive(Debug, Clone)]
pub(super) enum Counterpart {
    /// A relay of /v1.
    V1(Arc<Line>),
    /// A relay of /v0.
    V0(Arc<Bazaar>),
}

impl Counterpart {
    /// As it is configured. Connects to nothing yet.
    pub(super) fn open(
        settings: &Settings,
        parts: &Parts,
        store: &Arc<Store>,
        holder: &str,
    ) -> Result<Self, RelayUrlError> {
        let entropy = parts.entropy.clone();
        Ok(match &settings.dialect {
            Dialect::V1 => Self::V1(Arc::new(Line::new(parts.client(settings)?, entropy))),
            Dialect::V0(bot) => {
                let client = parts.bot(settings, bot)?;
                let (store, holder) = (Arc::clone(store), holder.to_owned());
                Self::V0(Arc::new(Bazaar::new(
                    client,
                    store,
                    holder,
                    settings.quote_ttl,
                    bot.links.clone(),
                    entropy,
                )))
            }
        })
    }
}

/// Listens for the relay's wake-ups until `shutdown`, connecting again and again.
///
/// # Errors
/// If the relay's address cannot be used.
pub fn hints(
    settings: &Settings,
    parts: &Parts,
    hints: mpsc::Sender<Hint>,
    shutdown: CancellationToken,
) -> Result<impl Future<Output = ()> + use<>, RelayUrlError> {
    let (line, bot) = match &settings.dialect {
        Dialect::V1 => (Some(parts.client(settings)?), None),
        Dialect::V0(bot) => (None, Some(parts.bot(settings, bot)?)),
    };
    Ok(async move {
        if let Some(client) = line {
            socket::run(client, hints, shutdown).await;
        } else if let Some(client) = bot {
            v0::stream::run(client, hints, shutdown).await;
        }
    })
}

/// What is known of the offers that were registered before, without asking anybody.
pub(super) fn known(
    store: &Store,
    settings: &Settings,
) -> Result<HashMap<OfferId, OfferSettings>, StoreError> {
    match settings.dialect {
        Dialect::V1 => offers::known(store, &settings.offers),
        Dialect::V0(_) => stalls::known(store, &settings.offers),
    }
}

/// What listens for news.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) relay: Counterpart,
    pub(super) store: Arc<Store>,
    pub(super) pages: mpsc::Sender<Page>,
    pub(super) watch: mpsc::Sender<watch::Wish>,
    pub(super) min: Duration,
    pub(super) max: Duration,
    pub(super) entropy: Entropy,
    pub(super) offers: Vec<OfferSettings>,
    pub(super) registered: mpsc::Sender<Registered>,
}

impl Listening {
    /// Registers the offers, looks for addresses, then listens for news, in this order: a job of an
    /// offer that is not yet known to be ours would be passed over. A recovery takes no new jobs, so
    /// it only looks.
    pub(super) fn begin(self, tasks: &Tasks, look: Look, recovers: bool, drain: &CancellationToken) {
        let (hint_sender, hints) = mpsc::channel(HINTS_MAX);
        let hints = Hints::new(hints);
        let Self { relay, store, pages, watch, min, max, entropy, offers, registered } = self;
        let drain = drain.clone();
        match relay {
            Counterpart::V1(line) => {
                if !recovers {
                    tasks.spawn(socket::run(line.client.clone(), hint_sender, drain.clone()));
                }
                let registrar = Registrar {
                    line: Arc::clone(&line),
                    store: Arc::clone(&store),
                    offers,
                    entropy: entropy.clone(),
                    registered,
                    again: Mutex::default(),
                };
                let registrar = Some(registrar);
                let look = Some(look);
                let ingest = Ingest { line, store, pages, hints, min, max, entropy, registrar, look };
                tasks.spawn(listen_in_v1(ingest, recovers, drain));
            }
            Counterpart::V0(bazaar) => {
                if !recovers {
                    tasks.spawn(v0::stream::run(bazaar.client.clone(), hint_sender, drain.clone()));
                }
                let registrar = stalls::Registrar {
                    bazaar: Arc::clone(&bazaar),
                    store: Arc::clone(&store),
                    offers,
                    entropy: entropy.clone(),
                    registered,
                };
                let news = News { bazaar, pages, hints, watch: Some(watch), min, max, entropy };
                tasks.spawn(listen_in_v0(news, registrar, look, store, recovers, drain));
            }
        }
    }
}

async fn listen_in_v1(ingest: Ingest, recovers: bool, drain: CancellationToken) {
    let begun = async {
        let registered = match &ingest.registrar {
            Some(registrar) if !recovers => registrar.begin().await,
            _ => true,
        };
        registered && ingest.look_first().await.is_ok()
    };
    if before(begun, &drain).await && !recovers {
        ingest.run(drain).await;
    }
}

async fn listen_in_v0(
    news: News,
    registrar: stalls::Registrar,
    look: Look,
    store: Arc<Store>,
    recovers: bool,
    drain: CancellationToken,
) {
    let begun =
        async { (recovers || registrar.begin().await) && news.look_first(&look, &store).await.is_ok() };
    if before(begun, &drain).await && !recovers {
        tokio::join!(registrar.keep(drain.clone()), news.run(drain));
    }
}

async fn before(begun: impl Future<Output = bool>, drain: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        begun = begun => begun,
        () = drain.cancelled() => false,
    }
}
