//! A state directory whose store is gone or damaged gets another one: from a backup, or empty.
//!
//! What is missing in it is learned again by `look` before anything is quoted, and
//! from the relay as all news are. What was there before is moved aside, never deleted.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::backup::{self, Header, ReadError};
use super::backups;
use super::identity;
use super::memory::{self, FACTS, fact};
use super::settings::Settings;
use crate::edge::Clock;
use crate::protocol::Timestamp;
use crate::store::{Batch, Key, OpenError, Store, StoreError, aside, probe};

/// Damaged stores that are kept before a person must look: something destroys them, and they fill
/// the disk.
const ASIDE_MAX: usize = 16;

/// How the directory of a damaged store begins.
const CORRUPT: &str = "store.corrupt-";

/// How that of a store begins that was replaced by hand.
const REPLACED: &str = "store.replaced-";

/// A file that says that the next start must read the whole store.
const SUSPECT: &str = "suspect";

/// Held by whoever replaces a store, so that two who start at once do not both.
const LOCK: &str = "restore.lock";

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It does not open, and not for damage.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The new store failed.
    #[error("the new store failed")]
    Store(#[from] StoreError),
    /// The directory cannot be changed.
    #[error("the state directory {0} cannot be changed")]
    Directory(PathBuf, #[source] io::Error),
    /// The backup is not one to take.
    #[error("{0} cannot be restored")]
    Backup(PathBuf, #[source] ReadError),
    /// There is a store with something in it.
    #[error("{0} holds a state already")]
    NotEmpty(PathBuf),
    /// Too many were damaged.
    #[error(
        "{count} damaged stores were moved aside in {dir}: something destroys them; look at the disk, then move \
         those directories away"
    )]
    TooMany {
        /// Where.
        dir: PathBuf,
        /// How many.
        count: usize,
    },
}

/// What would be done about a damaged store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Why.
    pub why: String,
    /// The backup that would be taken; absent if there was none.
    pub from: Option<PathBuf>,
}

/// Opens the store. One that is damaged is moved aside and replaced by the last good backup, or by
/// an empty one where there is none.
///
/// # Errors
/// If the directory cannot be used, or cannot be mended.
pub fn open(settings: &Settings, clock: &Clock) -> Result<Store, RestoreError> {
    let dir = &settings.state_dir;
    if find_damage(dir)?.is_some() {
        let _lock = lock(dir)?;
        // Whoever held the lock may have mended it, and be running on it.
        if let Some(damage) = find_damage(dir)? {
            // A disk that refuses makes a good store look damaged.
            probe(dir).map_err(|source| OpenError::Directory { dir: dir.clone(), source })?;
            rebuild(settings, &damage, clock.now())?;
        }
    }
    Ok(memory::open(dir)?)
}

/// What [`open`] would do about a damaged store; `None` if it is well.
///
/// # Errors
/// If it does not open for another reason.
pub fn diagnose(settings: &Settings) -> Result<Option<Rebuilt>, RestoreError> {
    let Some(Damage { why, .. }) = find_damage(&settings.state_dir)? else { return Ok(None) };
    let from = candidates(settings).into_iter().find(|file| check(file, settings).is_ok());
    Ok(Some(Rebuilt { why, from }))
}

/// Why a store cannot be used.
struct Damage {
    why: String,
    /// It was being filled from a backup: nothing is in it that is not there.
    incomplete: bool,
}

/// Whether the store opens and, if an earlier life found damage in it, can be read to its end.
fn find_damage(dir: &Path) -> Result<Option<Damage>, RestoreError> {
    let damage = |why: String| Ok(Some(Damage { why, incomplete: false }));
    // Settings without data, or data without settings: a move that was interrupted.
    let (settings, data) = (dir.join("conf").exists(), dir.join("db").exists());
    if aside::is_there(dir) && settings != data {
        return damage("half of the store is missing".to_owned());
    }
    let store = match memory::open(dir) {
        Ok(store) => store,
        Err(error) if error.is_damage() => {
            let incomplete = matches!(error, OpenError::Incomplete(_));
            return Ok(Some(Damage { why: chain(&error), incomplete }));
        }
        Err(error) => return Err(error.into()),
    };
    let suspect = dir.join(SUSPECT);
    if !suspect.exists() {
        return Ok(None);
    }
    match memory::read_all(&store) {
        Ok(()) => {
            tracing::info!("the store was read to its end and is whole");
            fs::remove_file(&suspect).map_err(|error| RestoreError::Directory(dir.to_owned(), error))?;
            Ok(None)
        }
        Err(error) if error.is_damage() => damage(chain(&error)),
        Err(error) => Err(error.into()),
    }
}

/// Makes the next start read the whole store: damage was met in it.
pub fn suspect(dir: &Path, why: &str) {
    if let Err(error) = fs::write(dir.join(SUSPECT), why) {
        tracing::error!(%error, "the damage could not be noted");
    }
}

fn rebuild(settings: &Settings, damage: &Damage, now: Timestamp) -> Result<(), RestoreError> {
    let Damage { why, incomplete } = damage;
    let dir = &settings.state_dir;
    tracing::error!(dir = %dir.display(), why, "the store is damaged: it is moved aside and made anew");
    let aside = match incomplete {
        // Nothing was in it that is not in its backup.
        true => {
            let place = put_aside(dir, REPLACED, now)?;
            fs::remove_dir_all(&place).map_err(|error| RestoreError::Directory(dir.clone(), error))?;
            None
        }
        false => Some(put_aside(dir, CORRUPT, now)?),
    };
    if let Err(error) = fs::remove_file(dir.join(SUSPECT))
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(RestoreError::Directory(dir.clone(), error));
    }
    let from = candidates(settings).into_iter().find(|file| match check(file, settings) {
        Ok(_) => true,
        Err(error) => {
            tracing::error!(file = %file.display(), error = chain(&error), "the backup is passed over");
            false
        }
    });
    let note = json!({ "at": now, "why": why, "from": from, "aside": aside });
    match &from {
        Some(file) => fill(dir, file, settings, &note)?,
        None => start_empty(dir, &note)?,
    }
    tracing::warn!(
        from = from.map_or_else(|| "nothing".to_owned(), |file| file.display().to_string()),
        aside = aside.map(|aside| aside.display().to_string()),
        "the store was made anew; relay and chain are looked at before anything is quoted"
    );
    Ok(())
}

/// The backups, newest first.
fn candidates(settings: &Settings) -> Vec<PathBuf> {
    let mut files = backups::list(&settings.backup.dir).unwrap_or_else(|error| {
        tracing::error!(dir = %settings.backup.dir.display(), %error, "the backups cannot be listed");
        Vec::new()
    });
    files.reverse();
    files
}

/// Takes a backup back by hand.
///
/// # Errors
/// If the backup is not one to take, or there is a state already and `replace` does not allow to
/// move it aside.
pub fn restore(
    settings: &Settings,
    file: &Path,
    replace: bool,
    now: Timestamp,
) -> Result<(Header, Option<PathBuf>), RestoreError> {
    let dir = &settings.state_dir;
    let header = check(file, settings)?;
    make_dir(dir)?;
    let _lock = lock(dir)?;
    let mut aside = None;
    if aside::is_there(dir) {
        if !replace && !is_bare(dir)? {
            return Err(RestoreError::NotEmpty(dir.clone()));
        }
        // A store that another process has open must not be moved under it.
        if let Err(error @ OpenError::InUse(_)) = memory::open(dir) {
            return Err(error.into());
        }
        aside = Some(put_aside(dir, REPLACED, now)?);
    }
    let note = json!({ "at": now, "why": "by hand", "from": file, "aside": aside });
    fill(dir, file, settings, &note)?;
    Ok((header, aside))
}

fn is_bare(dir: &Path) -> Result<bool, RestoreError> {
    match memory::open(dir) {
        Ok(store) => Ok(memory::is_bare(&store)?),
        Err(error) if error.is_damage() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Reads a backup to its end and sees whose it is.
///
/// # Errors
/// If it is not whole, not as it was made, or not of this seed, key and network.
pub fn check(file: &Path, settings: &Settings) -> Result<Header, RestoreError> {
    let wrong = |error| RestoreError::Backup(file.to_owned(), error);
    let header = backup::read(file, |_| Ok(())).map_err(wrong)?;
    let account = settings.accounts.get(0).map(|account| account.to_string()).unwrap_or_default();
    if let Some(found) = header.first_account.clone().filter(|found| *found != account) {
        return Err(wrong(ReadError::OtherSeed { found, ours: account }));
    }
    let seller = identity::name(settings);
    if let Some(found) = header.seller.clone().filter(|found| *found != seller) {
        return Err(wrong(ReadError::OtherSeller { found, ours: seller }));
    }
    let network = settings.network.name().to_owned();
    if let Some(found) = header.network.clone().filter(|found| *found != network) {
        return Err(wrong(ReadError::OtherNetwork { found, ours: network }));
    }
    Ok(header)
}

fn fill(dir: &Path, file: &Path, settings: &Settings, note: &serde_json::Value) -> Result<(), RestoreError> {
    let header = check(file, settings)?;
    let mut filling = memory::fill(dir, header.schema)?;
    let read = backup::read(
        file,
        |(key, value)| {
            if is_of_another_life(&key) { Ok(()) } else { filling.put(key, value) }
        },
    );
    // The file was whole a moment ago; only now is it certain that this was the same.
    read.map_err(|error| RestoreError::Backup(file.to_owned(), error))?;
    filling.finish(|batch| memory::put_fact(batch, fact::RESTORED, &note.to_string()))?;
    Ok(())
}

fn is_of_another_life(key: &[u8]) -> bool {
    fact::NOT_RESTORED.iter().any(|name| {
        let mut bytes = vec![FACTS.id()];
        (*name).to_owned().encode(&mut bytes);
        bytes == key
    })
}

fn start_empty(dir: &Path, note: &serde_json::Value) -> Result<(), RestoreError> {
    let store = memory::open(dir)?;
    let mut batch = Batch::default();
    memory::put_fact(&mut batch, fact::RESTORED, &note.to_string())?;
    store.commit(batch)?;
    Ok(store.durable_blocking()?)
}

fn put_aside(dir: &Path, prefix: &str, now: Timestamp) -> Result<PathBuf, RestoreError> {
    let wrong = |error| RestoreError::Directory(dir.to_owned(), error);
    let count = damaged_stores(dir).map_err(wrong)?;
    if prefix == CORRUPT && count >= ASIDE_MAX {
        return Err(RestoreError::TooMany { dir: dir.to_owned(), count });
    }
    if count >= ASIDE_MAX / 2 {
        tracing::warn!(count, dir = %dir.display(), "damaged stores pile up here: look at the disk");
    }
    aside::move_aside(dir, &format!("{prefix}{}", now.to_string().replace(':', "-"))).map_err(wrong)
}

fn damaged_stores(dir: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(dir)? {
        count += usize::from(entry?.file_name().to_string_lossy().starts_with(CORRUPT));
    }
    Ok(count)
}

fn make_dir(dir: &Path) -> Result<(), RestoreError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| RestoreError::Directory(dir.to_owned(), error))
}

fn lock(dir: &Path) -> Result<File, RestoreError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.join(LOCK))
        .map_err(|error| RestoreError::Directory(dir.to_owned(), error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(OpenError::InUse(dir.to_owned()).into()),
        Err(fs::TryLockError::Error(error)) => Err(RestoreError::Directory(dir.to_owned(), error)),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
