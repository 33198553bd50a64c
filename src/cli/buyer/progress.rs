//! A purchase as it happens: a spinner on a terminal, lines elsewhere, nothing with `--json`.

use std::io::{IsTerminal as _, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::buyer::Progress;
use crate::cli::{Output, remark};

/// How often the spinner turns: smooth, and idle in between.
const TICK: Duration = Duration::from_millis(120);

/// Shows what happens.
pub(super) enum Display {
    Spinner(ProgressBar),
    Lines,
    Nothing,
}

impl Display {
    pub(super) fn new(output: Output) -> Self {
        if output.json {
            return Self::Nothing;
        }
        if !stderr().is_terminal() {
            return Self::Lines;
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        Self::Spinner(bar)
    }

    pub(super) fn show(&self, progress: &Progress) {
        match self {
            Self::Spinner(bar) => {
                bar.enable_steady_tick(TICK);
                bar.println(line(progress));
                bar.set_message(line(progress));
            }
            Self::Lines => remark(line(progress)),
            Self::Nothing => {}
        }
    }

    pub(super) fn finish(&self) {
        if let Self::Spinner(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn line(progress: &Progress) -> String {
    match progress {
        Progress::Requested { job_id } => format!("requested job {job_id}"),
        Progress::Quoted { amount, invoice } => format!("quoted {} XNO to {invoice}", amount.to_xno()),
        Progress::Accepted => "accepted the quote".to_owned(),
        Progress::Receiving { amount } => format!("receiving {} XNO first", amount.to_xno()),
        Progress::Working => "searching the proof of work".to_owned(),
        Progress::WorkingHere { expected } => {
            format!("nobody else works for us: this machine does, for about {} s", expected.as_secs().max(1))
        }
        Progress::Withdrawn { amount, to } => format!("sent {} XNO to {to}", amount.to_xno()),
        Progress::Published { hash } => format!("published payment {hash}"),
        Progress::Submitted => "told the relay of the payment".to_owned(),
        Progress::Moved { status } => format!("the job is {status}"),
        Progress::Bots { what } => what.clone(),
        Progress::Retrying { reason } => format!("trying again: {reason}"),
    }
}
