//! Seeds as people make them, bring them and take them away; and the terminal on which they are asked.
//!
//! Architecture invariant: a seed or a passphrase never comes by an argument or, by our doing, by the
//! environment. Arguments name files.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::config::sealed::{self, SealError};
use crate::config::{Env, Secret, SecretError, SecretRef};
use crate::edge::Entropy;
use crate::nano::Seed;
use crate::nano::seed::SeedError;

/// Bytes of a seed that is brought: 24 words have 215, encrypted and armored some 700.
const SEED_BYTES_MAX: usize = 4_096;

/// Bytes of a line that is typed.
const LINE_BYTES_MAX: usize = 1_024;

/// Whether a seed is written encrypted.
#[derive(Debug, Clone, Args)]
pub(super) struct Sealing {
    /// Encrypt it with a passphrase, which is asked for on the terminal
    #[arg(long)]
    pub(super) encrypt: bool,
    /// Where the passphrase is instead: file:PATH or credential:NAME
    #[arg(long, value_name = "REF", requires = "encrypt")]
    pub(super) passphrase: Option<String>,
}

/// Why a seed could not be made, brought or taken away.
#[derive(Debug, thiserror::Error)]
pub(super) enum VaultError {
    #[error(transparent)]
    Seed(#[from] SeedError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the seed cannot be encrypted")]
    Seal(#[from] SealError),
    #[error("there is no terminal to ask for a passphrase: name one with --passphrase file:PATH")]
    NoTerminal,
    #[error("the passphrases differ")]
    Different,
    #[error("no seed was given")]
    Nothing,
    #[error("cannot read the seed from standard input")]
    Input(#[source] io::Error),
}

impl VaultError {
    /// With its causes, in one line.
    pub(super) fn text(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

/// The environment, and the person at the terminal.
pub(super) fn env() -> Env {
    Env::system().with_person(ask)
}

/// A new seed: 64 hex digits, or a phrase of 12 or 24 words.
pub(super) fn new_seed(words: Option<&str>) -> Result<Secret, VaultError> {
    let entropy = Zeroizing::new(Entropy::system().bytes::<32>());
    match words {
        None => Ok(Secret::new(hex::encode(*entropy))),
        Some("12") => Ok(Secret::new(Seed::phrase(&entropy[..16])?.to_string())),
        Some(_) => Ok(Secret::new(Seed::phrase(&*entropy)?.to_string())),
    }
}

/// A seed that somebody has: in a file, encrypted or not, or on standard input for `-`.
pub(super) fn bring(from: &str) -> Result<Secret, VaultError> {
    let seed = match from {
        "-" if io::stdin().is_terminal() => ask("seed (64 hex digits or the phrase; it is not shown): "),
        "-" => Some(piped()?),
        path => Some(SecretRef::File(PathBuf::from(path)).resolve(&env())?),
    };
    let seed = seed.filter(|seed| !seed.expose().is_empty()).ok_or(VaultError::Nothing)?;
    Seed::parse(seed.expose())?;
    Ok(seed)
}

/// What is written to a file for a seed.
pub(super) fn content(seed: &Secret, sealing: &Sealing) -> Result<Zeroizing<String>, VaultError> {
    if !sealing.encrypt {
        return Ok(Zeroizing::new(format!("{}\n", seed.expose())));
    }
    let passphrase = match &sealing.passphrase {
        Some(text) => SecretRef::parse_passphrase(text, Path::new(""))?.resolve(&env())?,
        None => {
            let first = ask("new passphrase: ").ok_or(VaultError::NoTerminal)?;
            let second = ask("the same again: ").ok_or(VaultError::NoTerminal)?;
            if first.expose() != second.expose() {
                return Err(VaultError::Different);
            }
            first
        }
    };
    Ok(Zeroizing::new(sealed::seal(seed.expose(), &passphrase)?))
}

/// What to say of a seed that stands in the environment itself.
pub(super) fn warning(env: &Env) -> Option<&'static str> {
    let value = Zeroizing::new(env.get("NANO_SEED")?);
    let is_reference = SecretRef::parse(&value, Path::new("")).is_ok();
    (!is_reference).then_some(
        "warning: the seed itself stands in NANO_SEED, which every program that is started beside this one \
         inherits: keep it in a file and write NANO_SEED=file:PATH",
    )
}

fn piped() -> Result<Secret, VaultError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(SEED_BYTES_MAX));
    io::stdin().take(SEED_BYTES_MAX as u64).read_to_end(&mut bytes).map_err(VaultError::Input)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| VaultError::Nothing)?;
    Ok(Secret::new(text.to_owned()))
}

/// Asks the person at the terminal, without showing what they type; nobody, if there is no terminal.
fn ask(question: &str) -> Option<Secret> {
    let stdin = io::stdin();
    if !stdin.is_terminal() || !io::stderr().is_terminal() {
        return None;
    }
    let mut terminal = io::stderr();
    write!(terminal, "{question}").and_then(|()| terminal.flush()).ok()?;
    let shown = tcgetattr(&stdin).ok()?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &hidden).ok()?;
    // Past the buffer of the standard input, which nobody wipes.
    let mut line = Zeroizing::new([0; LINE_BYTES_MAX]);
    let read = rustix::io::read(&stdin, line.as_mut_slice());
    let restored = tcsetattr(&stdin, OptionalActions::Now, &shown);
    writeln!(terminal).ok()?;
    restored.ok()?;
    let text = std::str::from_utf8(line.get(..read.ok()?)?).ok()?;
    Some(Secret::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_in_the_environment_is_warned_of_and_a_reference_is_not() {
        let env = |value: &'static str| Env::from_fn(move |name| (name == "NANO_SEED").then(|| value.into()));
        assert!(warning(&env("5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e")).is_some());
        assert!(warning(&env("file:seed")).is_none() && warning(&env("credential:seed")).is_none());
        assert!(warning(&Env::from_fn(|_| None)).is_none());
    }
}
