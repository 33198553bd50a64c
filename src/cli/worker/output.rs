//! What is printed: text for people, one JSON document for machines.

use std::fmt::Display;
use std::io::{self, Write as _};

use clap::CommandFactory as _;
use serde_json::Value;

use super::args::Args;
use super::exit::{Exit, Failure};

/// Where answers go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether machines read it.
    pub(super) const fn is_json(self) -> bool {
        self.json
    }

    /// Prints an answer: the value for machines, the text for people.
    pub(super) fn answer(self, value: &Value, text: impl Display) {
        if self.json { line(value) } else { line(text) }
    }

    /// Prints why there is none. Machines find it where they look for the answer.
    pub(super) fn failure(self, failure: &Failure) {
        if self.json {
            line(failure.to_json());
        } else {
            warn(format_args!("worker: {failure}"));
        }
    }
}

/// A line for people beside the answer, which is on standard output.
pub(super) fn warn(text: impl Display) {
    // Nobody reads a standard error that is closed.
    drop(writeln!(io::stderr(), "{text}"));
}

/// A line of standard output. Whoever has closed it wants no more, which is no failure.
pub(super) fn line(text: impl Display) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// Prints completions.
pub(super) fn completions(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "worker", &mut script);
    bytes(&script)
}

/// Prints the manual page.
pub(super) fn man() -> Result<Exit, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Args::command().after_help(clap::builder::Resettable::Reset))
        .render(&mut page)
        .map_err(Failure::other)?;
    page.extend_from_slice(b".SH \"EXIT STATUS\"\n");
    for exit in super::exit::ALL {
        let meaning = exit.meaning().replace('-', "\\-").replace('`', "");
        page.extend_from_slice(format!(".TP\n\\fB{}\\fR\n{meaning}\n", exit.code()).as_bytes());
    }
    bytes(&page)
}

fn bytes(bytes: &[u8]) -> Result<Exit, Failure> {
    drop(io::stdout().write_all(bytes));
    Ok(Exit::Done)
}
