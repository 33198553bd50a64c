//! The one place where the node, its listeners and the clock meet.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

use crate::node::{News, Node};

/// News that a WebSocket reader may be behind; a slower one is cut off. A script that pays ten
/// thousand times in one call makes twenty thousand of them at once.
const NEWS_BEHIND_MAX: usize = 32_768;

/// Connections at a time, of both kinds: far above what tests open, below what a process may.
const CONNECTIONS_MAX: usize = 512;

/// The longest sleep between two looks at the elections.
const TICK_MAX: Duration = Duration::from_secs(3_600);

/// What all connections share.
#[derive(Debug)]
pub struct Host {
    node: Mutex<Node>,
    news: broadcast::Sender<Arc<News>>,
    wake: Notify,
    /// A moment at which time stands still, in Unix milliseconds; zero while it runs.
    stopped_at_ms: AtomicU64,
    /// One permit per open connection.
    pub(crate) slots: Arc<Semaphore>,
    /// Cancelled when everything shall end.
    pub(crate) shutdown: CancellationToken,
}

impl Host {
    /// A host of this node.
    #[must_use]
    pub fn new(node: Node) -> Self {
        Self {
            node: Mutex::new(node),
            news: broadcast::Sender::new(NEWS_BEHIND_MAX),
            wake: Notify::new(),
            stopped_at_ms: AtomicU64::new(0),
            slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            shutdown: CancellationToken::new(),
        }
    }

    /// Does something with the node, at this moment; then tells the listeners what happened.
    pub fn with<R>(&self, act: impl FnOnce(&mut Node, u64) -> R) -> R {
        let result = self.with_quietly(act);
        self.wake.notify_one();
        result
    }

    /// Stops the clock at a moment in Unix milliseconds, or lets it run.
    pub fn stop_clock(&self, at_ms: Option<u64>) {
        self.stopped_at_ms.store(at_ms.unwrap_or(0), Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// The time, in Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        match self.stopped_at_ms.load(Ordering::Relaxed) {
            0 => now_ms(),
            at_ms => at_ms,
        }
    }

    /// News from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Arc<News>> {
        self.news.subscribe()
    }

    /// Ends elections when their time comes, until shutdown.
    pub(crate) async fn hold_elections(&self) {
        loop {
            let next = self.with_quietly(Node::tick);
            let sleep = match next {
                Some(at_ms) => Duration::from_millis(at_ms.saturating_sub(self.now_ms())).min(TICK_MAX),
                None => TICK_MAX,
            };
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// As [`Host::with`], but without waking the elections, which would wake themselves.
    fn with_quietly<R>(&self, act: impl FnOnce(&mut Node, u64) -> R) -> R {
        let mut node = self.lock();
        let result = act(&mut node, self.now_ms());
        // Still under the lock, so that news keep their order.
        for item in node.take_news() {
            // Nobody listening is no failure.
            let _: Result<_, _> = self.news.send(Arc::new(item));
        }
        result
    }

    /// A panic in one call leaves a ledger that was valid before and after each step.
    fn lock(&self) -> MutexGuard<'_, Node> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Unix time in milliseconds.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
