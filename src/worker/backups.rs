//! Backups by themselves: how often, where, how many.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::backup::{BackupError, Export, made_at as read_made_at, write_file};
use super::memory::{self, fact};
use crate::edge::Clock;
use crate::protocol::Timestamp;
use crate::store::{Batch, Store};

/// How soon a backup that failed is tried again: whoever makes room should not wait a day.
const RETRY: Duration = Duration::from_secs(600);

/// The longest sleep: a clock that was set is noticed this soon.
const SLEEP_MAX: Duration = Duration::from_secs(600);

/// Entries of the directory that are looked at: a bound for a directory that is not ours alone.
const ENTRIES_MAX: usize = 10_000;

/// Between the names of two backups at least: what a timestamp tells apart.
const STEP: Duration = Duration::from_micros(1);

/// How files of ours begin and end.
const PREFIX: &str = "worker-";
const SUFFIX: &str = ".backup";

/// What was configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSettings {
    /// Where they are kept.
    pub dir: PathBuf,
    /// How often one is made; never by itself if absent.
    pub every: Option<Duration>,
    /// How many are kept.
    pub keep: usize,
}

/// The name of a backup made at a moment; names sort as their moments do.
#[must_use]
pub fn file_name(at: Timestamp) -> String {
    format!("{PREFIX}{}{SUFFIX}", at.to_string().replace(':', "-"))
}

/// The file of the next backup in a directory. Its name comes after all others, also where those were made
/// by a clock that was set back since: the newest is the one that is taken back, and must have what was
/// handed out last.
///
/// # Errors
/// If the directory cannot be read.
pub fn next_file(dir: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let newest = list(dir)?.last().and_then(|file| moment(file));
    Ok(dir.join(file_name(newest.map_or(now, |newest| newest.plus(STEP).max(now)))))
}

/// The backups in a directory, oldest first.
///
/// # Errors
/// If the directory cannot be read; one that is missing holds none.
pub fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries.take(ENTRIES_MAX) {
        let path = entry?.path();
        if moment(&path).is_some() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// When a backup was made, by its name.
fn moment(path: &Path) -> Option<Timestamp> {
    let name = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let (date, time) = name.split_once('T')?;
    format!("{date}T{}", time.replace('-', ":")).parse().ok()
}

/// Makes the directory of backups, for its owner only.
///
/// # Errors
/// If it cannot be made.
pub fn make_dir(dir: &Path) -> Result<(), BackupError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| BackupError::Write(dir.to_owned(), error))
}

/// Makes one now, and removes the oldest of those that are too many once it is verified.
///
/// # Errors
/// If it cannot be made; then none is removed.
pub fn make(store: &Store, settings: &BackupSettings, now: Timestamp) -> Result<PathBuf, BackupError> {
    make_dir(&settings.dir)?;
    let wrong = |error| BackupError::Write(settings.dir.clone(), error);
    let file = next_file(&settings.dir, now).map_err(wrong)?;
    let mut export = Export::begin(store, now)?;
    write_file(&file, || export.next_lines())?;
    let all = list(&settings.dir).map_err(wrong)?;
    let others: Vec<_> = all.into_iter().filter(|other| *other != file).collect();
    let kept = settings.keep.saturating_sub(1);
    for old in &others[..others.len().saturating_sub(kept)] {
        fs::remove_file(old).map_err(wrong)?;
    }
    Ok(file)
}

/// Makes them when they are due, until `stop`. What fails is said, and is tried again.
pub(super) async fn run(store: Arc<Store>, settings: BackupSettings, clock: Clock, stop: CancellationToken) {
    let Some(every) = settings.every else { return };
    loop {
        let wait = match due_in(&settings.dir, every, clock.now()) {
            Duration::ZERO => match make_and_note(&store, &settings, clock.now()).await {
                true => every,
                false => RETRY,
            },
            wait => wait,
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait.min(SLEEP_MAX)) => {}
        }
    }
}

/// When a backup was made, by the clock of that time: its name may be later.
fn made_at(file: &Path) -> Option<Timestamp> {
    read_made_at(file).or_else(|| moment(file))
}

fn due_in(dir: &Path, every: Duration, now: Timestamp) -> Duration {
    let newest = list(dir).ok().and_then(|files| files.last().and_then(|file| made_at(file)));
    // One from the future was made before the clock was set back.
    match newest.filter(|newest| newest.since(now) < every) {
        Some(newest) => newest.plus(every).since(now),
        None => Duration::ZERO,
    }
}

async fn make_and_note(store: &Arc<Store>, settings: &BackupSettings, now: Timestamp) -> bool {
    let (worked_on, plan) = (Arc::clone(store), settings.clone());
    let made = tokio::task::spawn_blocking(move || make(&worked_on, &plan, now)).await;
    let note = match made {
        Ok(Ok(file)) => {
            tracing::info!(file = %file.display(), "backup made");
            json!({ "at": now, "file": file, "error": null })
        }
        Ok(Err(error)) => {
            let why = chain(&error);
            tracing::warn!(error = why, dir = %settings.dir.display(), "no backup was made; the work goes on");
            json!({ "at": now, "file": null, "error": why })
        }
        // The process is ending.
        Err(_) => return false,
    };
    let mut batch = Batch::default();
    let noted = memory::put_fact(&mut batch, fact::BACKUP, &note.to_string());
    if let Err(error) = noted.and_then(|()| store.commit(batch)) {
        tracing::debug!(%error, "the backup was not noted");
    }
    note["error"].is_null()
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_when_and_sort_so() {
        let at = Timestamp::from_seconds(1_700_000_000);
        let (early, late) = (file_name(at), file_name(at.plus(Duration::from_millis(1))));
        assert!(early < late, "{early} {late}");
        assert_eq!(moment(Path::new(&late)), Some(at.plus(Duration::from_millis(1))));
        for name in ["worker-x.backup", "worker-.backup", "other", &format!("{early}.part")] {
            assert_eq!(moment(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn one_is_due_when_there_is_none_and_when_the_newest_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let (at, day) = (Timestamp::from_seconds(1_700_000_000), Duration::from_secs(86_400));
        assert_eq!(due_in(dir.path(), day, at), Duration::ZERO);
        fs::write(dir.path().join(file_name(at)), "").unwrap();
        let hour = Duration::from_secs(3_600);
        assert_eq!(due_in(dir.path(), day, at.plus(hour)), day - hour);
        assert_eq!(due_in(dir.path(), day, at.plus(day)), Duration::ZERO);
        assert_eq!(due_in(dir.path(), day, at.minus(day)), Duration::ZERO);
    }

    #[test]
    fn the_last_one_made_is_the_newest_whatever_the_clock_says() {
        let (dir, year) = (tempfile::tempdir().unwrap(), Duration::from_secs(365 * 86_400));
        let store = memory::open(&dir.path().join("state")).unwrap();
        let settings = BackupSettings { dir: dir.path().join("backups"), every: Some(year), keep: 2 };
        let now = Timestamp::from_seconds(1_700_000_000);
        let mut made = Vec::new();
        // By a clock that goes ahead, and then by one that was set back.
        for at in [now.plus(year), now, now, now.plus(Duration::from_secs(1))] {
            made.push(make(&store, &settings, at).unwrap());
            assert_eq!(list(&settings.dir).unwrap().last(), made.last());
        }
        assert_eq!(list(&settings.dir).unwrap(), made[2..]);
        let hour = Duration::from_secs(3_600);
        let since = now.plus(Duration::from_secs(1));
        assert_eq!(due_in(&settings.dir, hour, since), hour, "it was made now, whatever it is called");
        let late = make(&store, &settings, now.plus(year * 2)).unwrap();
        assert_eq!(moment(&late), Some(now.plus(year * 2)));
    }
}
