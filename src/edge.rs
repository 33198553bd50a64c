//! Where time, randomness and tasks come in; everything else takes them as arguments.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio_util::task::TaskTracker;

use crate::protocol::Timestamp;

/// Tells the time.
#[derive(Clone)]
pub struct Clock {
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    uptime: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the one place where the clock is read")]
        Self::from_fn(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
        })
    }

    /// A clock that a test moves.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { now: Arc::new(now), uptime: Arc::new(uptime) }
    }

    /// The same clock with another [`Clock::uptime`].
    #[must_use]
    pub fn with_uptime(self, uptime: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { uptime: Arc::new(uptime), ..self }
    }

    /// The moment it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// Time since the machine was started, the time it slept included: what a lease is counted on,
    /// since a relay's clock goes on while this machine sleeps.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        (self.uptime)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock(..)")
    }
}

/// Time that never jumps, for measuring how long something took. It is the runtime's, so that a
/// runtime whose time is simulated is measured by that.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place where the clock is read")]
pub fn monotonic() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

type Fill = dyn Fn(&mut [u8]) + Send + Sync;

fn uptime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Makes randomness.
#[derive(Clone)]
pub struct Entropy(Arc<Fill>);

impl Entropy {
    /// The operating system's randomness.
    ///
    /// # Panics
    /// If the operating system has none: keys and nonces must not be made without it.
    #[must_use]
    pub fn system() -> Self {
        #[expect(clippy::expect_used, reason = "nothing safe can be done without randomness")]
        Self::from_fn(|bytes| getrandom::fill(bytes).expect("the operating system gives randomness"))
    }

    /// Randomness that a test chooses.
    pub fn from_fn(fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(fill))
    }

    /// `N` random bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.0)(&mut bytes);
        bytes
    }

    /// A random number.
    #[must_use]
    pub fn number(&self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy(..)")
    }
}

type Spawn = dyn Fn(BoxFuture<'static, ()>) + Send + Sync;

/// The one owner of everything that a process does at the same time.
///
/// Clones share it. Whoever simulates a process says how tasks are spawned, and so can end them all.
#[derive(Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    spawn: Option<Arc<Spawn>>,
}

/// A thread's place in the schedule: clearly before the rest of the daemon, behind what a machine
/// itself needs.
const NICE: i32 = -5;

/// A task that shares nothing with the others of its process; see [`Tasks::apart`].
#[derive(Debug)]
pub struct Apart(Option<JoinHandle<()>>);

impl Tasks {
    /// Tasks of the current runtime.
    #[must_use]
    pub fn system() -> Self {
        Self { tracker: TaskTracker::new(), spawn: None }
    }

    /// Tasks that a simulation runs.
    pub fn from_fn(spawn: impl Fn(BoxFuture<'static, ()>) + Send + Sync + 'static) -> Self {
        Self { tracker: TaskTracker::new(), spawn: Some(Arc::new(spawn)) }
    }

    /// Runs a task beside the others.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.tracker.track_future(task);
        match &self.spawn {
            Some(spawn) => spawn(task.boxed()),
            None => drop(tokio::spawn(task)),
        }
    }

    /// Runs a task on a thread and a runtime of its own, so that no other can make it late; in a
    /// simulation there is only one thread.
    ///
    /// # Errors
    /// If the thread or its runtime cannot be made.
    pub fn apart(&self, name: &str, task: impl Future<Output = ()> + Send + 'static) -> io::Result<Apart> {
        if self.spawn.is_some() {
            self.spawn(task);
            return Ok(Apart(None));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            rise();
            runtime.block_on(task);
        })?;
        Ok(Apart(Some(thread)))
    }

    /// Lets [`Tasks::wait`] return once all tasks have ended.
    pub fn close(&self) {
        self.tracker.close();
    }

    /// Waits until all tasks have ended, after [`Tasks::close`].
    pub async fn wait(&self) {
        self.tracker.wait().await;
    }
}

/// Puts this thread above everybody else's, where the system permits it. Handlers are below the
/// daemon in any case.
fn rise() {
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "a thread apart runs at the daemon's own priority");
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tasks({})", self.tracker.len())
    }
}

impl Apart {
    /// Waits for its end, without blocking the runtime.
    pub async fn join(self) {
        if let Some(thread) = self.0 {
            // A panic there has already ended what it did, which others were told or will see.
            let joined = tokio::task::spawn_blocking(move || drop(thread.join()));
            joined.await.unwrap_or_default();
        }
    }
}
