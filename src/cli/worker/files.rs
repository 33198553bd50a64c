//! Where things are: the configuration, the state directory, the secrets.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::exit::{Exit, Failure};
use super::output::warn;
use crate::cli::vault;
use crate::config::{Problems, Secret, SecretError, SecretRef};
use crate::worker::{Settings, settings};

/// The text of the configuration and the directory its paths start from.
pub(super) struct Written {
    pub(super) text: String,
    pub(super) base: PathBuf,
}

/// Reads the configuration without understanding it.
pub(super) fn read(path: &Path) -> Result<Written, Failure> {
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::text(Exit::Config, format!("there is no configuration {}", path.display()))
                .hint("write one with `worker config init`, or name one with --config FILE")
        }
        _ => Failure::new(
            Exit::Config,
            anyhow::Error::new(error).context(format!("cannot read the configuration {}", path.display())),
        ),
    })?;
    Ok(Written { text, base: base_of(path)? })
}

/// The directory that relative paths start from. Absolute, because a handler's program is looked up
/// from another directory than ours.
pub(super) fn base_of(path: &Path) -> Result<PathBuf, Failure> {
    let path = std::path::absolute(path).map_err(Failure::other)?;
    Ok(path.parent().unwrap_or(Path::new("/")).to_owned())
}

/// Reads and resolves the configuration.
pub(super) fn settings(path: &Path) -> Result<Settings, Failure> {
    let Written { text, base } = read(path)?;
    let env = vault::env();
    if let Some(warning) = vault::warning(&env) {
        warn(warning);
    }
    settings::parse(&text, &base, &env).map_err(|problems| wrong(path, &problems))
}

/// The seed as it was written, whatever else is wrong with the configuration.
pub(super) fn seed(path: &Path) -> Result<Secret, Failure> {
    let Written { text, base } = read(path)?;
    let document: toml::Table = text.parse().unwrap_or_default();
    let written = |key: &str| document.get("nano")?.get(key)?.as_str();
    let failed = |error: SecretError| Failure::new(Exit::Config, error);
    let passphrase = written("seed_passphrase").map(|text| SecretRef::parse_passphrase(text, &base));
    let passphrase = passphrase.transpose().map_err(failed)?;
    let seed = written("seed").ok_or_else(|| Failure::text(Exit::Config, "nano.seed names no seed"))?;
    let seed = SecretRef::parse(seed, &base).and_then(|seed| seed.unseal(&vault::env(), passphrase.as_ref()));
    seed.map_err(failed)
}

/// All problems of a configuration, as a failure.
pub(super) fn wrong(path: &Path, problems: &Problems) -> Failure {
    let lines: Vec<String> =
        problems.list().iter().map(|problem| format!("  {}: {}", problem.path, problem.message)).collect();
    let list: Vec<_> = problems
        .list()
        .iter()
        .map(|problem| json!({ "path": problem.path, "message": problem.message }))
        .collect();
    let text = format!("the configuration {} cannot be used\n{}", path.display(), lines.join("\n"));
    Failure::text(Exit::Config, text)
        .hint("`worker check` says what to do about each")
        .details(json!({ "problems": list }))
}

/// The state directory. Looking at it must not need the secrets or the handlers, so only this one
/// setting is read.
pub(super) fn state_dir(path: &Path) -> Result<PathBuf, Failure> {
    let Written { text, base } = read(path)?;
    let document: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        Failure::text(
            Exit::Config,
            format!("the configuration {} is no TOML: {}", path.display(), error.message()),
        )
    })?;
    let dir = document.get("state").and_then(|state| state.get("dir"));
    match dir.map(toml::Value::as_str) {
        None => Ok(base.join("state")),
        Some(Some(dir)) => Ok(base.join(dir)),
        Some(None) => Err(Failure::text(Exit::Config, "state.dir must be a text")),
    }
}

/// Where backups go, by this setting alone.
pub(super) fn backup_dir(path: &Path) -> Result<PathBuf, Failure> {
    let Written { text, base } = read(path)?;
    // What is no TOML was said when the state directory was asked for.
    let document: toml::Table = text.parse().unwrap_or_default();
    let dir = document.get("backup").and_then(|backup| backup.get("dir"));
    match dir.map(toml::Value::as_str) {
        None => Ok(state_dir(path)?.join("backups")),
        Some(Some(dir)) => Ok(base.join(dir)),
        Some(None) => Err(Failure::text(Exit::Config, "backup.dir must be a text")),
    }
}

/// Where the configuration says that the secret `table.key` is, if it says so.
pub(super) fn secret(path: &Path, table: &str, key: &str) -> Result<Option<SecretRef>, Failure> {
    let base = base_of(path)?;
    let Ok(text) = fs::read_to_string(path) else { return Ok(None) };
    let document: toml::Table = text.parse().unwrap_or_default();
    let written = document.get(table).and_then(|table| table.get(key)?.as_str());
    let secret = written.map(|written| SecretRef::parse(written, &base)).transpose();
    secret.map_err(|error| Failure::new(Exit::Config, error))
}

/// Where the configuration expects the secret `table.key`; `otherwise` beside it if it does not say.
pub(super) fn secret_file(path: &Path, table: &str, key: &str, otherwise: &str) -> Result<PathBuf, Failure> {
    let base = base_of(path)?;
    let Ok(text) = fs::read_to_string(path) else { return Ok(base.join(otherwise)) };
    let document: Option<toml::Table> = text.parse().ok();
    let written = document.as_ref().and_then(|document| document.get(table)?.get(key)?.as_str());
    match written.map(|written| SecretRef::parse(written, &base)) {
        None => Ok(base.join(otherwise)),
        Some(Ok(SecretRef::File(file))) => Ok(file),
        Some(_) => Err(Failure::text(
            Exit::Config,
            format!("{table}.{key} does not name a file; say where to write with --out FILE"),
        )),
    }
}

/// Writes a file that must not be there yet, for its owner only, and makes it durable.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::text(Exit::Exists, format!("{} is there already and is not overwritten", path.display()))
                .hint("keep it, or move it away first")
        }
        _ => Failure::other(anyhow::Error::new(error).context(format!("cannot write {}", path.display()))),
    })
}
