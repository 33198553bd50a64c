//! `run`: the daemon.

use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::{Exit, Failure};
use super::files;
use crate::worker::{self, Parts, StartError};

/// Runs until SIGTERM or Ctrl-C, which end it cleanly.
pub(super) fn run(config: &Path) -> Result<Exit, Failure> {
    let mut settings = files::settings(config)?;
    settings.launcher = launcher();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(Failure::other)?.block_on(async {
        let shutdown = on_signal()?;
        match worker::run(settings, parts(), shutdown).await {
            Err(StartError::Anew) => Err(Failure::other(crate::cli::start_anew())),
            ended => Ok(ended.map(|()| Exit::Done)?),
        }
    })
}

/// This program, also when its file has been replaced meanwhile.
pub(super) fn launcher() -> Option<PathBuf> {
    Some(PathBuf::from("/proc/self/exe"))
}

/// The machine's own clock and randomness.
pub(super) fn parts() -> Parts {
    Parts::system()
}

/// Cancelled by the first SIGTERM or SIGINT.
pub(super) fn on_signal() -> Result<CancellationToken, Failure> {
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::other)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::other)?;
    let shutdown = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        shutdown.cancel();
    });
    Ok(token)
}
