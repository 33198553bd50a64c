//! A process that can die between any two of its effects.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::task::AbortHandle;

/// Polls of one life: a process that needs more in a schedule of minutes goes round in circles.
const POLLS_MAX: u64 = 3_000_000;

/// One life of a process: from its start to its death.
pub(crate) struct Life {
    alive: AtomicBool,
    /// Effects until it dies; negative if it lives on.
    fuse: AtomicI64,
    polls: AtomicU64,
    tasks: Mutex<Vec<AbortHandle>>,
    /// What happens in the instant of its death.
    on_death: Box<dyn Fn(Death) + Send + Sync>,
}

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// It was killed.
    Killed,
    /// It went round in circles.
    Circling,
}

impl Life {
    pub(crate) fn new(on_death: impl Fn(Death) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            alive: AtomicBool::new(true),
            fuse: AtomicI64::new(-1),
            polls: AtomicU64::new(0),
            tasks: Mutex::default(),
            on_death: Box::new(on_death),
        })
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// Before each effect on the world; false if there is no process any more to have it.
    pub(crate) fn effect(&self) -> bool {
        if self.is_alive()
            && self.fuse.load(Ordering::Relaxed) >= 0
            && self.fuse.fetch_sub(1, Ordering::Relaxed) == 0
        {
            self.die(Death::Killed);
        }
        self.is_alive()
    }

    /// Lets it die after so many more effects.
    pub(crate) fn light(&self, effects: u64) {
        if effects == 0 {
            self.die(Death::Killed);
        } else {
            self.fuse.store(i64::try_from(effects).unwrap(), Ordering::Relaxed);
        }
    }

    pub(crate) fn die(&self, death: Death) {
        if self.alive.swap(false, Ordering::Relaxed) {
            (self.on_death)(death);
            for task in self.tasks.lock().unwrap().drain(..) {
                task.abort();
            }
        }
    }

    /// Runs a task that ends with this life, wherever it is.
    pub(crate) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        if self.is_alive() {
            let mortal = Mortal { life: Arc::clone(self), task: Box::pin(task) };
            let handle = tokio::spawn(mortal).abort_handle();
            self.tasks.lock().unwrap().push(handle);
        }
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Life(..)")
    }
}

struct Mortal {
    life: Arc<Life>,
    task: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Future for Mortal {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.life.effect() {
            return Poll::Ready(());
        }
        if self.life.polls.fetch_add(1, Ordering::Relaxed) == POLLS_MAX {
            self.life.die(Death::Circling);
            return Poll::Ready(());
        }
        self.task.as_mut().poll(context)
    }
}
