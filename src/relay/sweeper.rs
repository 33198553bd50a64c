//! What happens without a request: time limits pass, and old records are forgotten.

use tracing::{debug, warn};

use super::model::Horizon;
use super::server::App;
use super::storage::StorageError;
use crate::points::crash_point;
use crate::protocol::{Timestamp, v0};

/// Jobs that are looked at in one go.
const JOBS_PER_STEP: usize = 100;
/// Goes of one sweep; what is left waits for the next, so that requests are served in between.
const STEPS_MAX: usize = 20;
/// Records of each kind that are forgotten in one go, under the writer's turn.
const RECORDS_PER_STEP: usize = 500;

/// Sweeps until the relay stops.
///
/// # Errors
/// If the storage fails: the process should end then, and be started again.
pub(super) async fn run(app: &App) -> Result<(), StorageError> {
    let mut interval = tokio::time::interval(app.config.sweep_interval);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut cleared = app.clock.now();
    loop {
        tokio::select! {
            biased;
            () = app.shutdown.cancelled() => return Ok(()),
            _ = interval.tick() => {
                sweep(app).await?;
                clear_bazaar(app, &mut cleared).await?;
            }
        }
    }
}

async fn sweep(app: &App) -> Result<(), StorageError> {
    for _ in 0..STEPS_MAX {
        let due = app.storage.due(app.clock.now(), JOBS_PER_STEP).await?;
        for &id in &due {
            crash_point!("relay/sweep/due");
            if let Err(refusal) = app.service.sweep(id).await {
                warn!(job_id = %id, %refusal, "a job could not be expired");
            }
            crash_point!("relay/sweep/expired");
        }
        if due.len() < JOBS_PER_STEP {
            break;
        }
        tokio::task::yield_now().await;
    }
    expire_bazaar(app).await?;
    for _ in 0..STEPS_MAX {
        let now = app.clock.now();
        let horizon = Horizon {
            nonces: now.minus(app.config.nonce_ttl.max(v0::limits::NONCE_TTL)),
            answers: now,
            events: now.minus(app.config.event_retention),
        };
        crash_point!("relay/sweep/forgetting");
        if !app.storage.forget(horizon, RECORDS_PER_STEP).await? {
            break;
        }
        debug!("more is left to forget");
        tokio::task::yield_now().await;
    }
    super::metrics::upkeep();
    crash_point!("relay/sweep/forgotten");
    app.storage.durable().await
}

/// The same for the jobs of /v0: nobody has to look at one for it to expire.
async fn expire_bazaar(app: &App) -> Result<(), StorageError> {
    for _ in 0..STEPS_MAX {
        let due = app.storage.overdue(app.clock.now().into(), JOBS_PER_STEP).await?;
        for id in &due {
            if let Err(refusal) = app.bazaar.sweep(id).await {
                warn!(job_id = %id, %refusal, "a job could not be expired");
            }
        }
        if due.len() < JOBS_PER_STEP {
            break;
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Removes what is over, if the operator wants that, and as often as wanted.
async fn clear_bazaar(app: &App, cleared: &mut Timestamp) -> Result<(), StorageError> {
    let now = app.clock.now();
    let Some(interval) = app.config.bazaar_retention else { return Ok(()) };
    if now.since(*cleared) < interval {
        return Ok(());
    }
    for _ in 0..STEPS_MAX {
        if !app.storage.clear(now.into(), RECORDS_PER_STEP).await? {
            // Otherwise the next sweep goes on.
            *cleared = now;
            break;
        }
        tokio::task::yield_now().await;
    }
    app.storage.durable().await
}
