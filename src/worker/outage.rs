//! The disk has failed: nothing is believed, nothing is done, until it takes writes again.
//!
//! After a failed write or sync the kernel may have dropped pages and still show them, and sled's
//! memory is ahead of its files. So the daemon has been stopped, its handlers killed, and whoever
//! called it waits here; then a *new process* opens the store as it is on the disk. A store that
//! has failed cannot be closed in an orderly way, and only the end of a process lets go of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::StartError;
use super::control::{Answering, Source};
use super::daemon::notify;
use crate::edge::Clock;
use crate::store;

/// Between two tries: long enough for a disk that fails at once, short against a lock's time.
const PAUSE: Duration = Duration::from_secs(2);

/// Waits until the disk under `dir` takes writes again; the error itself if `shutdown` came first.
pub(super) async fn wait(
    dir: &Path,
    why: StartError,
    answering: &mut Option<Answering>,
    clock: &Clock,
    shutdown: &CancellationToken,
) -> Result<(), StartError> {
    let text = chain(&why);
    tracing::error!(error = %text, dir = %dir.display(), "the disk has failed: all work has stopped until it takes writes again");
    let status = format!("stopped, waiting for the disk: {text}");
    let source = Source::Outage(text);
    match answering {
        Some(answering) => answering.turn_to(source),
        None => *answering = Some(Answering::start(dir, source, clock.clone())),
    }
    tokio::select! {
        biased;
        () = tried(dir, &status) => {
            tracing::info!("the disk takes writes again: starting anew");
            Err(StartError::Anew)
        }
        () = shutdown.cancelled() => Err(why),
    }
}

async fn tried(dir: &Path, status: &str) {
    loop {
        // The main loop lives: it only waits.
        notify(&[sd_notify::NotifyState::Watchdog, sd_notify::NotifyState::Status(status)]);
        tokio::time::sleep(PAUSE).await;
        let dir: PathBuf = dir.to_owned();
        match tokio::task::spawn_blocking(move || store::probe(&dir)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::debug!(%error, "the disk still refuses"),
            Err(error) => tracing::error!(%error, "the disk could not be tried"),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
