//! `backup` and `restore`: the state as a file of text, and back.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use serde_json::json;

use super::ask::is_store;
use super::exit::{Exit, Failure};
use super::files;
use super::output::Output;
use super::run::parts;
use crate::store::StoreError;
use crate::worker::backup::{Export, write_file};
use crate::worker::control::{self, AskError};
use crate::worker::restore::{self, RestoreError};
use crate::worker::{backups, memory};

/// Pieces between the socket and the file.
const PIECES_MAX: usize = 4;

pub(super) fn backup(config: &Path, target: Option<PathBuf>, out: Output) -> Result<Exit, Failure> {
    let dir = files::state_dir(config)?;
    let target = match target {
        Some(target) => target,
        None => {
            let place = files::backup_dir(config)?;
            backups::make_dir(&place).map_err(Failure::other)?;
            backups::next_file(&place, parts().clock.now()).map_err(Failure::other)?
        }
    };
    match from_daemon(&dir, &target, out) {
        Err(AskFailure::Ask(AskError::NotRunning)) => at_rest(&dir, &target, out),
        Err(AskFailure::Ask(error)) => Err(Failure::other(error)),
        Err(AskFailure::Other(failure)) => Err(failure),
        Ok(exit) => Ok(exit),
    }
}

enum AskFailure {
    Ask(AskError),
    Other(Failure),
}

/// The daemon holds the store, so it is asked, and goes on with its work.
fn from_daemon(dir: &Path, target: &Path, out: Output) -> Result<Exit, AskFailure> {
    let (sender, pieces) = mpsc::sync_channel(PIECES_MAX);
    let dir = dir.to_owned();
    let asking = thread::spawn(move || {
        let take = |piece| sender.send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into());
        super::block_on(control::ask_backup(&dir, take))
    });
    // Nothing is written before there is an answer.
    let written = pieces.recv().ok().map(|first| {
        let mut first = Some(first);
        write(target, || Ok(first.take().or_else(|| pieces.recv().ok())), out)
    });
    drop(pieces);
    let asked = asking.join().map_err(|_| AskFailure::Other(Failure::other(anyhow::anyhow!("no answer"))))?;
    match (asked.map_err(AskFailure::Other)?, written) {
        // What could not be written is why the daemon was not listened to any longer.
        (_, Some(Err(failure))) => Err(AskFailure::Other(failure)),
        (Err(error), _) => Err(AskFailure::Ask(error)),
        (Ok(()), Some(written)) => written.map_err(AskFailure::Other),
        (Ok(()), None) => Err(AskFailure::Ask(AskError::Refused("it said nothing".to_owned()))),
    }
}

fn at_rest(dir: &Path, target: &Path, out: Output) -> Result<Exit, Failure> {
    if !is_store(dir) {
        return Err(Failure::text(Exit::State, format!("{} holds no worker's state", dir.display()))
            .hint("there is nothing to back up; `worker run` makes it"));
    }
    let store = memory::open(dir)?;
    let wrong = |error: StoreError| Failure::new(Exit::State, error);
    let mut export = Export::begin(&store, parts().clock.now()).map_err(wrong)?;
    write(target, || export.next_lines(), out)
}

fn write(
    target: &Path,
    mut lines: impl FnMut() -> Result<Option<Vec<u8>>, StoreError>,
    out: Output,
) -> Result<Exit, Failure> {
    if target == Path::new("-") {
        let mut stdout = io::stdout().lock();
        while let Some(lines) = lines().map_err(|error| Failure::new(Exit::State, error))? {
            stdout.write_all(&lines).map_err(Failure::other)?;
        }
        stdout.flush().map_err(Failure::other)?;
        return Ok(Exit::Done);
    }
    if target.exists() {
        return Err(Failure::text(
            Exit::Exists,
            format!("{} is there already and is not overwritten", target.display()),
        )
        .hint("name another file with --out FILE"));
    }
    let header = write_file(target, lines).map_err(Failure::other)?;
    out.answer(
        &json!({ "written": target, "created_at": header.created_at }),
        format_args!("{} is written, and reads back whole", target.display()),
    );
    Ok(Exit::Done)
}

pub(super) fn restore(config: &Path, file: &Path, replace: bool, out: Output) -> Result<Exit, Failure> {
    let settings = files::settings(config)?;
    let restored = restore::restore(&settings, file, replace, parts().clock.now());
    let (header, aside) = restored.map_err(|error| match error {
        RestoreError::NotEmpty(_) => Failure::new(Exit::Exists, error)
            .hint("--replace moves it aside and restores; stop the worker first"),
        error => error.into(),
    })?;
    let moved = aside.as_ref().map(|aside| format!("\nwhat was there is now in {}", aside.display()));
    out.answer(
        &json!({ "restored": file, "created_at": header.created_at, "aside": aside }),
        format_args!(
            "the state of {} is restored into {}{}\n`worker run` looks at relay and chain for what happened \
             since, before it quotes anything",
            header.created_at,
            settings.state_dir.display(),
            moved.unwrap_or_default()
        ),
    );
    Ok(Exit::Done)
}
