//! Sockets, and the end.

use std::future::pending;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::config::Config;
use super::crowd::Crowd;
use super::events::Tail;
use super::http::{Peer, measures, router};
use super::patience::Patient;
use super::presence::{Local, Presence};
use super::ratelimit::Limiter;
use super::service::Service;
use super::storage::embedded::Embedded;
use super::storage::{Storage, StorageError};
use super::v0::service::BazaarService;
use super::{metrics, sweeper};
use crate::edge::{Clock, Entropy};
use crate::points::crash_point;
use crate::store::OpenError;

/// How long a connection may take to send a request's head, or stay idle between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request's head, and of what is read ahead: a query and a dozen headers are a few
/// thousand.
const HEAD_BYTES_MAX: usize = 64 * 1_024;
/// How long requests that run may go on after the end was asked for.
const DRAIN_MAX: Duration = Duration::from_secs(9);
/// How long a new connection has for its first request while the relay drains.
/// Clients send it at once, but one on a busy machine may be kept from it for a while.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(2);
/// How much longer, so that what has come is looked at once more: a process that was stopped finds all
/// its timers over before it has looked at a single socket.
const LAST_LOOK: Duration = Duration::from_millis(50);
/// How long to wait when the system refuses another connection, for lack of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a relay ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its state cannot be opened.
    #[error("cannot open the relay's state")]
    Open(#[from] OpenError),
    /// Its storage failed; it may work again after a restart.
    #[error("the storage failed while the relay was running")]
    Storage(#[from] StorageError),
}

impl RunError {
    /// Whether the disk refused: once it is well, another process can go on, and this one cannot.
    #[must_use]
    pub fn is_disk(&self) -> bool {
        match self {
            Self::Open(error) => error.is_disk(),
            Self::Storage(error) => error.is_disk(),
        }
    }
}

/// Opens the state, and serves on `listener` until `shutdown`, and then until running requests end.
///
/// # Errors
/// If the state cannot be opened, or the storage fails.
pub async fn run(listener: TcpListener, config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    Relay::open(config)?.serve(listener, shutdown).await
}

/// A relay whose state is open.
#[derive(Debug)]
pub struct Relay {
    storage: Arc<dyn Storage>,
    config: Config,
    clock: Clock,
    entropy: Entropy,
    measures: Option<TcpListener>,
}

impl Relay {
    /// Opens the state that the settings name.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(config: Config) -> Result<Self, RunError> {
        let entropy = Entropy::system();
        let storage = Embedded::open(&config.data_dir, config.cache_bytes, &entropy)?;
        Ok(Self::with_parts(Arc::new(storage), config, Clock::system(), entropy))
    }

    /// A relay on any storage, clock and randomness.
    pub fn with_parts(storage: Arc<dyn Storage>, config: Config, clock: Clock, entropy: Entropy) -> Self {
        Self { storage, config, clock, entropy, measures: None }
    }

    /// The same, with its measures on an address of their own.
    #[must_use]
    pub fn with_measures_on(self, listener: TcpListener) -> Self {
        Self { measures: Some(listener), ..self }
    }

    /// Serves on `listener` until `shutdown`, and then until running requests end.
    ///
    /// # Errors
    /// If the storage fails.
    pub async fn serve(mut self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), RunError> {
        metrics::start();
        let measures = self.measures.take();
        let app = self.into_app(shutdown.child_token());
        let result = tokio::select! {
            () = accept(&listener, &app) => Ok(()),
            () = show_measures(measures, &app) => Ok(()),
            result = background(&app) => result,
        };
        app.shutdown.cancel();
        crash_point!("relay/stop/draining");
        drain(&listener, &app).await;
        crash_point!("relay/stop/drained");
        // What nobody waited for, such as used nonces, should be found again all the same.
        let last = app.storage.durable().await;
        let ended = result.and(last);
        if ended.as_ref().is_err_and(StorageError::is_disk) {
            // Closing it would write and wait again, on a disk that has failed; the process ends soon.
            std::mem::forget(Arc::clone(&app.storage));
        }
        ended.map_err(RunError::from)
    }

    /// The relay without sockets: what answers requests, and what it does by itself until
    /// `shutdown` or until its storage fails.
    pub fn without_sockets(
        self,
        shutdown: CancellationToken,
    ) -> (Router, impl Future<Output = Result<(), RunError>> + Send + 'static) {
        let app = self.into_app(shutdown);
        (router(app.clone()), async move { background(&app).await.map_err(RunError::from) })
    }

    fn into_app(self, shutdown: CancellationToken) -> App {
        let Self { storage, config, clock, entropy, measures: _ } = self;
        App(Arc::new(Shared {
            service: Service::new(Arc::clone(&storage), config.rules.clone(), clock.clone(), entropy.clone()),
            limiter: Limiter::new(config.rates, config.bazaar_rates),
            bazaar: BazaarService::new(Arc::clone(&storage), clock.clone(), entropy.clone()),
            presence: Arc::new(Local::default()),
            tail: Tail::default(),
            streams: TaskTracker::new(),
            connections: Arc::new(Semaphore::new(config.connections_max)),
            // Behind a proxy all come from one place.
            crowd: (!config.trust_forwarded_for).then(|| Arc::new(Crowd::new(config.connections_max))),
            storage,
            config,
            clock,
            entropy,
            shutdown,
        }))
    }
}

/// What all requests of a relay share.
#[derive(Debug, Clone)]
pub(super) struct App(Arc<Shared>);

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) service: Service,
    pub(super) bazaar: BazaarService,
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    pub(super) limiter: Limiter,
    pub(super) presence: Arc<dyn Presence>,
    pub(super) tail: Tail,
    pub(super) shutdown: CancellationToken,
    /// Connections and WebSockets that are to end before the process does.
    pub(super) streams: TaskTracker,
    connections: Arc<Semaphore>,
    crowd: Option<Arc<Crowd>>,
}

impl App {
    /// Whether the end was asked for.
    pub(super) fn is_draining(&self) -> bool {
        self.shutdown.is_cancelled()
    }
}

/// Ends only when the storage fails.
async fn background(app: &App) -> Result<(), StorageError> {
    let sweeping = async {
        sweeper::run(app).await?;
        pending().await
    };
    let telling = async {
        app.tail.follow(&*app.storage).await?;
        pending().await
    };
    tokio::select! {
        biased;
        result = sweeping => result,
        result = telling => result,
    }
}

/// Takes connections until the end is asked for.
async fn accept(listener: &TcpListener, app: &App) {
    let router = router(app.clone());
    tokio::select! {
        () = app.shutdown.cancelled() => {}
        () = take_connections(listener, app, &router) => {}
    }
}

/// Never ends by itself.
async fn show_measures(listener: Option<TcpListener>, app: &App) {
    match listener {
        Some(listener) => take_connections(&listener, app, &measures()).await,
        None => pending().await,
    }
}

async fn take_connections(listener: &TcpListener, app: &App, router: &Router) {
    loop {
        let Ok(permit) = Arc::clone(&app.connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let place = app.crowd.as_ref().map(|crowd| crowd.enter(peer.ip()));
                if matches!(place, Some(None)) {
                    debug!(%peer, "its network holds its share of connections");
                    continue;
                }
                let connection = connection(stream, Peer(peer.ip()), app.clone(), router.clone());
                app.streams.spawn(async move {
                    connection.await;
                    drop((permit, place));
                });
                metrics::connections(app.streams.len());
            }
            Err(error) => {
                warn!(%error, "a connection could not be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: Peer, app: App, router: Router) {
    // Answers are written whole; waiting for more would only delay them.
    drop(stream.set_nodelay(true));
    let inner = TowerToHyperService::new(router);
    let spoken = Arc::new(AtomicBool::new(false));
    let speaks = Arc::clone(&spoken);
    let service = service_fn(move |mut request: Request<Incoming>| {
        speaks.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(peer);
        hyper::service::Service::call(&inner, request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Patient::new(stream)), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    // What has arrived is read first: after a pause of the machine both may be true at once.
    let result = tokio::select! {
        biased;
        result = connection.as_mut() => result,
        () = finished(&app, &spoken) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(%error, "a connection broke off");
    }
}

/// When the end was asked for, and the client of a new connection has had time for a first request:
/// it should be told to go elsewhere, not be cut off.
async fn finished(app: &App, spoken: &AtomicBool) {
    app.shutdown.cancelled().await;
    if !spoken.load(Ordering::Relaxed) {
        tokio::time::sleep(FIRST_REQUEST_GRACE).await;
        tokio::time::sleep(LAST_LOOK).await;
    }
}

/// Waits for running requests; whoever comes meanwhile is told to go elsewhere.
async fn drain(listener: &TcpListener, app: &App) {
    info!(connections = app.streams.len(), "draining");
    app.streams.close();
    let router = router(app.clone());
    tokio::select! {
        () = app.streams.wait() => {}
        () = tokio::time::sleep(DRAIN_MAX) => warn!(left = app.streams.len(), "some requests did not end in time"),
        () = take_connections(listener, app, &router) => {}
    }
}
