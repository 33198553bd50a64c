//! What the program ends with.

use std::fmt;

use serde_json::{Value, json};

use crate::store::OpenError;
use crate::worker::StartError;
use crate::worker::restore::RestoreError;
use crate::worker::wallet::WalletError;

/// How the program ended. The numbers are for scripts, so they never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Done,
    Other,
    Usage,
    Config,
    InUse,
    State,
    Unreachable,
    CheckFailed,
    NeedsPerson,
    NotFound,
    Exists,
    Interrupted,
}

/// All of them, in the order of their numbers.
pub(super) const ALL: [Exit; 12] = [
    Exit::Done,
    Exit::Other,
    Exit::Usage,
    Exit::Config,
    Exit::InUse,
    Exit::State,
    Exit::Unreachable,
    Exit::CheckFailed,
    Exit::NeedsPerson,
    Exit::NotFound,
    Exit::Exists,
    Exit::Interrupted,
];

/// What `--help` says about them.
pub(super) const HELP: &str = "\
Exit codes: 0 done; 1 failed otherwise; 2 wrong command line; 3 configuration; 4 state in use;
5 state unusable or another's; 6 relay or node unreachable; 7 a check failed; 8 a person must
decide; 9 no such thing; 10 would overwrite; 130 interrupted.";

impl Exit {
    /// Its number.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Other => 1,
            Self::Usage => 2,
            Self::Config => 3,
            Self::InUse => 4,
            Self::State => 5,
            Self::Unreachable => 6,
            Self::CheckFailed => 7,
            Self::NeedsPerson => 8,
            Self::NotFound => 9,
            Self::Exists => 10,
            Self::Interrupted => 130,
        }
    }

    /// Its name in JSON.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Other => "failed",
            Self::Usage => "usage",
            Self::Config => "config",
            Self::InUse => "state_in_use",
            Self::State => "state",
            Self::Unreachable => "unreachable",
            Self::CheckFailed => "check_failed",
            Self::NeedsPerson => "needs_person",
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::Interrupted => "interrupted",
        }
    }

    /// When it happens, and what to do.
    pub(super) const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "Done. For `run`: it was told to stop and has stopped cleanly.",
            Self::Other => "Something else failed; the message says what.",
            Self::Usage => "The command line is wrong; `--help` shows what is right.",
            Self::Config => {
                "The configuration is wrong or missing, or the relay refused an offer for good at the start. \
                 Starting again changes nothing until it is corrected; `config check` names every problem."
            }
            Self::InUse => "Another worker has the state directory.",
            Self::State => {
                "The state directory or the backup cannot be used: damaged, newer than this program, not there, \
                 or another key's, seed's or network's."
            }
            Self::Unreachable => {
                "The relay or the node could not be asked, or `recover` did not get done in time; try again later."
            }
            Self::CheckFailed => "`check`: at least one thing would keep the daemon from working.",
            Self::NeedsPerson => {
                "`recover`, `refund` or the wallet: something needs a person, say money that is owed back."
            }
            Self::NotFound => "There is no job of this id.",
            Self::Exists => "The file, or for `restore` a state, is there already and is not overwritten.",
            Self::Interrupted => "Stopped with Ctrl-C before the end.",
        }
    }
}

/// Why a verb did not do what it was asked.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    error: anyhow::Error,
    hint: Option<String>,
    details: Value,
}

impl Failure {
    /// Something failed.
    pub(super) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into(), hint: None, details: Value::Null }
    }

    /// Something failed, in words.
    pub(super) fn text(exit: Exit, text: impl fmt::Display) -> Self {
        Self::new(exit, anyhow::anyhow!("{text}"))
    }

    /// Something failed that has no number of its own.
    pub(super) fn other(error: impl Into<anyhow::Error>) -> Self {
        Self::new(Exit::Other, error)
    }

    /// What to do about it.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// More for machines.
    pub(super) fn details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    /// As JSON.
    pub(super) fn to_json(&self) -> Value {
        json!({ "error": {
            "code": self.exit.name(),
            "exit_code": self.exit.code(),
            "message": chain(self.error.as_ref()),
            "hint": self.hint,
            "details": self.details,
        } })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&chain(self.error.as_ref()))?;
        match &self.hint {
            Some(hint) => write!(f, "\n{hint}"),
            None => Ok(()),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::InUse(_) => Self::new(Exit::InUse, error)
                .hint("stop the other worker, or give this one a [state] dir of its own"),
            error if error.is_damage() => Self::new(Exit::State, error).hint(
                "`worker run` moves it aside and makes it anew from the last backup, the relay and the chain",
            ),
            error => Self::new(Exit::State, error),
        }
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Open(error) => error.into(),
            error => Self::new(Exit::State, error),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Open(error) => error.into(),
            StartError::Wallet(WalletError::WrongSeed { .. }) => Self::new(Exit::State, error)
                .hint("name the seed that this state was made with in nano.seed, or another [state] dir"),
            StartError::OtherSeller { .. } => Self::new(Exit::State, error)
                .hint("name the key that this state was made with in relay.key, or another [state] dir"),
            StartError::OtherNetwork { .. } => Self::new(Exit::State, error)
                .hint("name the network that this state was made on in nano.network, or another [state] dir"),
            StartError::RelayUrl(_) | StartError::Nodes(_) | StartError::Offer(_) => {
                Self::new(Exit::Config, error)
            }
            StartError::Store(_) | StartError::Wallet(_) | StartError::Engine(_) | StartError::Restore(_) => {
                Self::new(Exit::State, error)
            }
            StartError::Anew | StartError::System(_) => Self::other(error),
        }
    }
}

/// An error with its causes, none of them said twice.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of `docs/exit-codes.md`.
    fn table() -> String {
        let rows = ALL.map(|exit| format!("| {} | `{}` | {} |\n", exit.code(), exit.name(), exit.meaning()));
        format!("| code | name | meaning |\n|---|---|---|\n{}", rows.concat())
    }

    #[test]
    fn every_exit_code_is_its_own_and_in_the_help() {
        let mut codes = ALL.map(Exit::code).to_vec();
        codes.dedup();
        assert_eq!(codes.len(), ALL.len());
        assert!(codes.is_sorted());
        for code in codes {
            let said = format!(" {code} ");
            assert!(HELP.replace('\n', " ").contains(&said), "{code} is not in the help");
        }
    }

    #[test]
    fn the_document_has_the_table() {
        let text = include_str!("../../../docs/exit-codes.md");
        assert!(text.contains(&table()), "docs/exit-codes.md is out of date; it should hold\n{}", table());
    }
}
