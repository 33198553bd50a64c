//! `run`: the daemon.

use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::{Exit, Failure, chain};
use super::files;
use crate::worker::{self, Parts, StartError, restore};

/// How often one process makes a damaged store anew: what damages it again and again is not the
/// store's past.
const REBUILDS_MAX: u32 = 3;

/// Runs until SIGTERM or Ctrl-C, which end it cleanly. Damage that is met on the way is mended by
/// starting over: the next life reads the whole store, and makes it anew if it must.
pub(super) fn run(config: &Path) -> Result<Exit, Failure> {
    let mut rebuilds = 0;
    loop {
        let mut settings = files::settings(config)?;
        settings.launcher = launcher();
        let dir = settings.state_dir.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let ended = runtime.map_err(Failure::other)?.block_on(async {
            let shutdown = on_signal()?;
            Ok::<_, Failure>(worker::run(settings, parts(), shutdown).await)
        })?;
        match ended {
            Err(StartError::Anew) => return Err(Failure::other(crate::cli::start_anew())),
            Err(error) if error.is_damage() => {
                restore::suspect(&dir, &chain(&error));
                rebuilds += 1;
                if rebuilds > REBUILDS_MAX {
                    return Err(error.into());
                }
                tracing::error!(error = chain(&error), "damage was met in the store: starting over");
            }
            ended => return Ok(ended.map(|()| Exit::Done)?),
        }
    }
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
