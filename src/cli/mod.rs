//! One file per program; the only place that prints.
//!
//! `shield` and `vault` are for the programs that hold secrets.
//!
//! What a program was asked for goes to standard output, as text or with `--json` as one JSON
//! value; everything else goes to standard error. [`Exit`] says in a number how it went.

pub mod buyer;

pub mod relay;

pub mod worker;

mod shield;

mod vault;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing {
    //! The readers of this folder, for `crate::fuzzing`.
    pub(crate) use super::buyer::fuzzing::buyer_settings;
}

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use serde_json::{Value, json};

/// How a program ended, as other programs see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// All went well.
    Ok = 0,
    /// Something failed that has no number of its own.
    Failed = 1,
    /// The command or the configuration is wrong. (The parser of arguments uses 2 as well.)
    Usage = 2,
    /// The job was tried, and failed.
    JobFailed = 3,
    /// The job was refused or canceled, or has expired; nothing was paid.
    JobOver = 4,
    /// The quote is not one to pay: too expensive, expired, changed.
    Quote = 5,
    /// A payment may have been made and has not been settled: run `resume`, or look.
    Unsettled = 6,
    /// The account has too little money.
    Underfunded = 7,
    /// The relay refused, or cannot be reached.
    Relay = 8,
    /// No node answers; nothing was paid.
    Node = 9,
    /// Somebody took too long; run `resume` or `wait`.
    TimedOut = 10,
    /// The spending policy forbids it.
    Policy = 11,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failure, with its number and its name for programs.
#[derive(Debug)]
pub struct CliError {
    /// The number.
    pub exit: Exit,
    /// The name, for programs.
    pub code: &'static str,
    /// What happened, for people.
    pub message: String,
}

impl CliError {
    /// A failure.
    pub fn new(exit: Exit, code: &'static str, message: impl fmt::Display) -> Self {
        Self { exit, code, message: message.to_string() }
    }

    /// The command or the configuration is wrong.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }
}

/// Where answers go, and in which form.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// Whether programs read it.
    pub json: bool,
}

impl Output {
    /// Prints an answer: `text` for people, `value` for programs.
    pub fn answer(self, text: impl fmt::Display, value: impl FnOnce() -> Value) {
        if self.json {
            line(io::stdout(), value());
        } else {
            line(io::stdout(), text);
        }
    }

    /// Prints a failure, and gives its number.
    pub fn failure(self, error: &CliError) -> Exit {
        if self.json {
            line(io::stdout(), json!({ "error": { "code": error.code, "message": error.message } }));
        } else {
            line(io::stderr(), format_args!("error: {}", error.message));
        }
        error.exit
    }
}

/// Something for people who watch; never part of the answer.
pub fn remark(text: impl fmt::Display) {
    line(io::stderr(), text);
}

/// A reader who has gone away is no error of ours.
fn line(mut to: impl io::Write, text: impl fmt::Display) {
    let _ = writeln!(to, "{text}");
    let _ = to.flush();
}

/// Becomes a new process of the same program with the same arguments, under the same number, so that
/// a service manager need not act. Returns only if that fails.
///
/// A store that has failed is not closed in order: its threads may wait for ever, and its memory is
/// ahead of the disk. Nothing of it is left in the new process, and its files are unlocked.
fn start_anew() -> io::Error {
    use std::os::unix::process::CommandExt as _;
    #[expect(clippy::disallowed_methods, reason = "they are not parsed here, only handed on")]
    let mut arguments = std::env::args_os();
    // Not by name: the file may have been replaced by a newer version, which a restart is for.
    let mut command = std::process::Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).exec()
}

/// Sends the log to standard error; `RUST_LOG` sets its level, `default` without it.
pub fn init_log(default: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    // An error says that a log is there already, which is what was wanted.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .try_init();
}
