//! `watch`: a wake-up for each wake of the relay, and nothing else; polling is for whoever is woken.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::exit::{Exit, Failure};
use super::output::{Output, warn};
use super::run::{on_signal, parts};
use super::{block_on, files};
use crate::client::Hint;
use crate::worker;

/// Hints that may wait: one is as good as many.
const HINTS_MAX: usize = 64;

pub(super) fn run(config: &Path, command: &[OsString], timeout: u64, out: Output) -> Result<Exit, Failure> {
    let settings = files::settings(config)?;
    block_on(async {
        let shutdown = on_signal()?;
        let (sender, hints) = mpsc::channel(HINTS_MAX);
        let listening = worker::hints(&settings, &parts(), sender, shutdown.clone());
        let listening = listening.map_err(worker::StartError::from)?;
        let patience = Duration::from_secs(timeout);
        tokio::join!(listening, wake(hints, command, patience, &shutdown, out));
        Ok(Exit::Done)
    })?
}

/// Also when the connection is there again: what was told meanwhile was told to nobody.
async fn wake(
    mut hints: mpsc::Receiver<Hint>,
    command: &[OsString],
    patience: Duration,
    shutdown: &CancellationToken,
    out: Output,
) {
    while let Some(first) = hints.recv().await {
        let mut why = reason(&first);
        while let Ok(hint) = hints.try_recv() {
            why = reason(&hint).or(why);
        }
        let Some(why) = why else { continue };
        let Some((program, arguments)) = command.split_first() else {
            out.answer(&json!({ "event": "wake", "why": why }), format_args!("wake: {why}"));
            continue;
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = run_command(program, arguments, patience) => {}
        }
    }
}

const fn reason(hint: &Hint) -> Option<&'static str> {
    match hint {
        Hint::Connected => Some("connected"),
        Hint::NewJob { .. } | Hint::JobUpdated { .. } => Some("news"),
        Hint::Lost => None,
    }
}

/// A command that fails, or takes too long, is the command's affair: the next wake runs it again.
async fn run_command(program: &OsString, arguments: &[OsString], patience: Duration) {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let ended = async { command.spawn()?.wait().await };
    let name = program.display();
    match tokio::time::timeout(patience, ended).await {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => warn(format_args!("worker: {name}: {status}")),
        Ok(Err(error)) => warn(format_args!("worker: {name} cannot be run: {error}")),
        Err(_) => warn(format_args!("worker: {name} took too long and was killed")),
    }
}
