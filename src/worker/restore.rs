//! A state directory whose store is gone or damaged gets another one: from a backup, or empty.
//!
//! What is missing in it is learned again by `look` before anything is quoted, and
//! from the relay as all news are. What was there before is moved aside, never deleted.

mod begun;
mod patience;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use self::begun::Begun;
use self::patience::Patience;
use super::backup::{self, Header, ReadError};
use super::backups;
use super::identity;
use super::memory::{self, FACTS, fact};
use super::settings::Settings;
use crate::edge::Clock;
use crate::protocol::Timestamp;
use crate::store::{Key, OpenError, Store, StoreError, aside, probe};

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
    let _patience = Patience::ask();
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
    let Some(Damage { why, begun, .. }) = find_damage(&settings.state_dir)? else { return Ok(None) };
    let from = candidates(settings, begun.as_ref()).into_iter().find(|file| check(file, settings).is_ok());
    Ok(Some(Rebuilt { why, from }))
}

/// Why a store cannot be used.
struct Damage {
    why: String,
    /// It was being filled from a backup: nothing is in it that is not there.
    incomplete: bool,
    /// What an earlier life has begun to do about it, or a person.
    begun: Option<Begun>,
}

impl Damage {
    const fn of(why: String) -> Self {
        Self { why, incomplete: false, begun: None }
    }
}

/// Whether the store opens and, if an earlier life found damage in it, can be read to its end.
fn find_damage(dir: &Path) -> Result<Option<Damage>, RestoreError> {
    let damage = |why: String| Ok(Some(Damage::of(why)));
    if let Some(begun) = Begun::read(dir)? {
        match progress(dir, &begun)? {
            Progress::Done => Begun::remove(dir)?,
            // A store that is away is opened by nobody before: an empty one would hide that it is.
            Progress::Under { incomplete } => {
                return Ok(Some(Damage { why: begun.why.clone(), incomplete, begun: Some(begun) }));
            }
        }
    }
    if is_half(dir) {
        return damage("half of the store is missing".to_owned());
    }
    let store = match memory::open(dir) {
        Ok(store) => store,
        Err(error) if error.is_damage() => {
            let incomplete = matches!(error, OpenError::Incomplete(_));
            return Ok(Some(Damage { incomplete, ..Damage::of(chain(&error)) }));
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

/// Settings without data, or data without settings: a move that was interrupted.
fn is_half(dir: &Path) -> bool {
    let (settings, data) = (dir.join("conf").exists(), dir.join("db").exists());
    aside::is_there(dir) && settings != data
}

/// How far a store has come that was begun to be made anew.
enum Progress {
    /// It bears the note of this very making.
    Done,
    Under {
        incomplete: bool,
    },
}

fn progress(dir: &Path, begun: &Begun) -> Result<Progress, RestoreError> {
    if !aside::is_there(dir) || is_half(dir) {
        return Ok(Progress::Under { incomplete: false });
    }
    let note = match memory::open(dir) {
        Ok(store) => memory::fact(&store, fact::RESTORED),
        Err(error) if error.is_damage() => {
            return Ok(Progress::Under { incomplete: matches!(error, OpenError::Incomplete(_)) });
        }
        Err(error) => return Err(error.into()),
    };
    match note {
        Ok(note) if begun.is_of(note.as_deref()) => Ok(Progress::Done),
        Err(error) if !error.is_damage() => Err(error.into()),
        Ok(_) | Err(_) => Ok(Progress::Under { incomplete: false }),
    }
}

/// Makes the next start read the whole store: damage was met in it.
pub fn suspect(dir: &Path, why: &str) {
    if let Err(error) = fs::write(dir.join(SUSPECT), why) {
        tracing::error!(%error, "the damage could not be noted");
    }
}

fn rebuild(settings: &Settings, damage: &Damage, now: Timestamp) -> Result<(), RestoreError> {
    let Damage { why, incomplete, begun } = damage;
    let dir = &settings.state_dir;
    tracing::error!(dir = %dir.display(), why, "the store is damaged: it is moved aside and made anew");
    let begun = match begun {
        Some(begun) => begun.clone(),
        None => Begun::write(dir, Begun { at: now, why: why.clone(), from: None })?,
    };
    let aside = clear(dir, &begun, *incomplete)?;
    if let Err(error) = fs::remove_file(dir.join(SUSPECT))
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(RestoreError::Directory(dir.clone(), error));
    }
    let from = candidates(settings, Some(&begun)).into_iter().find(|file| match check(file, settings) {
        Ok(_) => true,
        Err(error) => {
            tracing::error!(file = %file.display(), error = chain(&error), "the backup is passed over");
            false
        }
    });
    let note = begun.note(from.as_deref(), aside.as_deref());
    match &from {
        Some(file) => fill(dir, file, settings, &note)?,
        None => start_empty(dir, &note)?,
    }
    Begun::remove(dir)?;
    tracing::warn!(
        from = from.map_or_else(|| "nothing".to_owned(), |file| file.display().to_string()),
        aside = aside.map(|aside| aside.display().to_string()),
        "the store was made anew; relay and chain are looked at before anything is quoted"
    );
    Ok(())
}

/// Puts away what is there of a store, and says where it is, if it is kept. What an interrupted life has
/// put away already is where it would be put now.
fn clear(dir: &Path, begun: &Begun, incomplete: bool) -> Result<Option<PathBuf>, RestoreError> {
    let mut aside = None;
    if incomplete {
        // Nothing was in it that is not in its backup.
        let place = put_aside(dir, REPLACED, begun.at)?;
        fs::remove_dir_all(&place).map_err(|error| RestoreError::Directory(dir.to_owned(), error))?;
    } else if aside::is_any(dir) {
        aside = Some(put_aside(dir, begun.prefix(), begun.at)?);
    }
    let earlier = dir.join(name_aside(begun.prefix(), begun.at));
    Ok(aside.or_else(|| earlier.exists().then_some(earlier)))
}

/// The backup that somebody has chosen, if one was, and all of them, newest first.
fn candidates(settings: &Settings, begun: Option<&Begun>) -> Vec<PathBuf> {
    let mut files = backups::list(&settings.backup.dir).unwrap_or_else(|error| {
        tracing::error!(dir = %settings.backup.dir.display(), %error, "the backups cannot be listed");
        Vec::new()
    });
    files.extend(begun.and_then(|begun| begun.from.clone()));
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
    if aside::is_there(dir) {
        if !replace && !is_bare(dir)? {
            return Err(RestoreError::NotEmpty(dir.clone()));
        }
        // A store that another process has open must not be moved under it.
        if let Err(error @ OpenError::InUse(_)) = memory::open(dir) {
            return Err(error.into());
        }
    }
    let from = Some(std::path::absolute(file).unwrap_or_else(|_| file.to_owned()));
    let begun = Begun::write(dir, Begun { at: now, why: "by hand".to_owned(), from })?;
    let aside = if aside::is_any(dir) { Some(put_aside(dir, begun.prefix(), now)?) } else { None };
    fill(dir, file, settings, &begun.note(Some(file), aside.as_deref()))?;
    Begun::remove(dir)?;
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

/// As with a backup, a store that has not come to its end says so.
fn start_empty(dir: &Path, note: &serde_json::Value) -> Result<(), RestoreError> {
    let filling = memory::fill(dir, memory::SCHEMA)?;
    Ok(filling.finish(|batch| memory::put_fact(batch, fact::RESTORED, &note.to_string()))?)
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
    aside::move_aside(dir, &name_aside(prefix, now)).map_err(wrong)
}

fn name_aside(prefix: &str, at: Timestamp) -> String {
    format!("{prefix}{}", at.to_string().replace(':', "-"))
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
