//! Keeps locks renewed, on a thread of its own.
//!
//! It has its own runtime and its own connections: neither a handler that burns all processors nor
//! a node that answers slowly can make it late.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::engine::Heard;
use super::input::Input;
use super::lease::Lease;
use crate::client::{LockRequest, RelayClient};
use crate::edge::{Apart, Clock, Tasks};
use crate::points::crash_point;
use crate::protocol::JobId;

/// Wishes that may wait: each is handled in microseconds.
const WISHES_MAX: usize = 1_024;

/// The longest sleep: after the machine itself has slept, a lost lease is noticed this soon.
const LOOK: Duration = Duration::from_secs(2);

/// A wish of the machine's.
#[derive(Debug)]
pub enum Wish {
    /// Keep a job's lock.
    Hold {
        /// Whose.
        job: JobId,
        /// As its holder counts it.
        lease: Lease,
        /// The lock's token.
        token: Option<u64>,
        /// Cancelled when it is lost. That ends what runs under it, whatever the loop is waiting for: to
        /// end it tells nobody anything.
        lost: CancellationToken,
    },
    /// Let it run out.
    Release(JobId),
}

/// The thread, and the way to it.
#[derive(Debug)]
pub struct Keeper {
    wishes: mpsc::Sender<Wish>,
    thread: Apart,
}

/// What the thread needs.
#[derive(Debug, Clone)]
struct Renewal {
    client: RelayClient,
    clock: Clock,
    holder: String,
    ttl: Duration,
    heard: mpsc::Sender<Heard>,
}

impl Keeper {
    /// Starts the thread. `client` must not share its connections with anybody.
    ///
    /// # Errors
    /// If the thread or its runtime cannot be made.
    pub fn start(
        tasks: &Tasks,
        client: RelayClient,
        clock: Clock,
        holder: String,
        ttl: Duration,
        heard: mpsc::Sender<Heard>,
        shutdown: CancellationToken,
    ) -> io::Result<Self> {
        let (wishes, receiver) = mpsc::channel(WISHES_MAX);
        let renewal = Renewal { client, clock, holder, ttl, heard };
        let thread = tasks.apart("lease-keeper", run(renewal, receiver, shutdown))?;
        Ok(Self { wishes, thread })
    }

    /// The way to it.
    #[must_use]
    pub fn wishes(&self) -> mpsc::Sender<Wish> {
        self.wishes.clone()
    }

    /// Waits for the thread to end, after its `shutdown`.
    pub async fn join(self) {
        self.thread.join().await;
    }
}

async fn run(renewal: Renewal, mut wishes: mpsc::Receiver<Wish>, shutdown: CancellationToken) {
    let mut held: HashMap<JobId, AbortHandle> = HashMap::new();
    let mut renewals = JoinSet::new();
    loop {
        let wish = tokio::select! {
            biased;
            () = shutdown.cancelled() => None,
            wish = wishes.recv() => wish,
        };
        // Those that have ended make room.
        while renewals.try_join_next().is_some() {}
        match wish {
            Some(Wish::Hold { job, lease, token, lost }) => {
                let task = renewals.spawn(keep(renewal.clone(), job, lease, token, lost));
                if let Some(before) = held.insert(job, task) {
                    before.abort();
                }
            }
            Some(Wish::Release(job)) => {
                if let Some(task) = held.remove(&job) {
                    task.abort();
                }
            }
            None => return,
        }
    }
}

/// Renews one lock until it is lost; then says so, once.
async fn keep(renewal: Renewal, job: JobId, mut lease: Lease, token: Option<u64>, lost: CancellationToken) {
    let mut next = lease.renew_at();
    loop {
        sleep_until(&renewal.clock, next.min(lease.lost_at())).await;
        if lease.is_lost(renewal.clock.uptime()) {
            break;
        }
        let sent = renewal.clock.uptime();
        match tokio::time::timeout(lease.call_timeout(sent), renew(&renewal, job, token)).await {
            Ok(Renewed::Yes) => {
                lease.since = sent;
                next = lease.renew_at();
                tracing::debug!(job_id = %job, "lock renewed");
            }
            Ok(Renewed::No(why)) => {
                tracing::warn!(job_id = %job, why, "the relay does not renew the lock");
                break;
            }
            Ok(Renewed::Unanswered(why)) => {
                tracing::warn!(job_id = %job, why, "lock not renewed yet");
                next = lease.retry_at(renewal.clock.uptime());
            }
            Err(_) => {
                tracing::warn!(job_id = %job, "lock not renewed yet: no answer in time");
                next = lease.retry_at(renewal.clock.uptime());
            }
        }
    }
    // In this order: a handler that ends by it is heard of afterwards, as one that has lost its lock and
    // not as one that has failed. A loop that waits for its disk may have no room for news: with the first
    // try to tell it this has its place in the queue, and the handler does not wait.
    let mut telling = std::pin::pin!(renewal.heard.send(Heard::Input(job, Input::LeaseLost)));
    let told = telling.as_mut().now_or_never();
    lost.cancel();
    // If nobody listens any more, the worker is stopping and its handlers with it.
    if told.is_none() {
        drop(telling.await);
    }
}

enum Renewed {
    Yes,
    No(String),
    Unanswered(String),
}

/// A renewal with another token is a new lock: somebody else had it in between.
async fn renew(renewal: &Renewal, job: JobId, token: Option<u64>) -> Renewed {
    let wish = LockRequest {
        holder: renewal.holder.clone(),
        ttl_seconds: renewal.ttl.as_secs(),
        payment_tx_hash: None,
    };
    crash_point!("worker/send/renew");
    let answer = renewal.client.lock(&job, &wish).await;
    crash_point!("worker/answer/renew");
    match answer {
        Ok(renewed) if token.is_some_and(|token| renewed.lock_token != token) => {
            Renewed::No(format!("its token is {} now", renewed.lock_token))
        }
        Ok(_) => Renewed::Yes,
        Err(error) if error.is_retryable() || error.status() == Some(401) => {
            Renewed::Unanswered(error.to_string())
        }
        Err(error) => Renewed::No(error.to_string()),
    }
}

/// Timers stand still while the machine sleeps, leases do not: so it looks again and again.
async fn sleep_until(clock: &Clock, at: Duration) {
    loop {
        let left = at.saturating_sub(clock.uptime());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}
