//! The `worker` program: one file per verb.
//!
//! `args` is what may be written, `exit` what the program may end with, `files` where things
//! are. The verbs follow in the order in which a seller meets them.

mod args;

mod exit;

mod files;

mod log;
mod metrics;

mod output;

mod config;

mod keys;

mod coins;

mod rescan;

mod check;

mod run;

mod ask;

mod check_payment;

mod recover;

mod poll;

mod bot;

mod watch;

mod backup;

mod demo;

use std::process::ExitCode;

use clap::Parser as _;

use self::args::{Args, Command};
use self::exit::{Exit, Failure};
use self::output::Output;
use crate::worker::executor::{LAUNCHER, launch};

/// What a launcher that could not do its part ends with; few programs use it otherwise.
const NOT_LAUNCHED: u8 = 125;

/// Parses, dispatches, ends.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(ended) = demo::parts::Part::of_this_process().and_then(demo::parts::Part::play) {
        return ended;
    }
    if let Some(ended) = launch_handler() {
        return ended;
    }
    crate::points::arm();
    if let Err(error) = super::shield::raise() {
        output::warn(format_args!("warning: the memory of this process can be read by others: {error}"));
    }
    // Whatever is made from here on is for its owner alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let args = Args::parse();
    let out = Output::new(args.json);
    let ended = log::start(&args).and_then(|()| dispatch(args, out));
    let exit = ended.unwrap_or_else(|failure| {
        out.failure(&failure);
        failure.exit
    });
    ExitCode::from(exit.code())
}

/// The part of a handler's launcher, if this process was started as one.
fn launch_handler() -> Option<ExitCode> {
    #[expect(clippy::disallowed_methods, reason = "no argument of a launcher is one that clap knows")]
    let mut arguments = std::env::args_os();
    if arguments.next()? != LAUNCHER {
        return None;
    }
    output::warn(format_args!("the handler cannot be started: {}", launch(arguments)));
    Some(ExitCode::from(NOT_LAUNCHED))
}

fn dispatch(args: Args, out: Output) -> Result<Exit, Failure> {
    let config = args.config;
    match args.command {
        Command::Run => run::run(&config),
        Command::Recover { dry_run, patience } => recover::run(&config, dry_run, patience, out),
        Command::Poll { no_ack } => poll::run(&config, !no_ack, out),
        Command::Ack { up_to_event_id } => poll::acknowledge(&config, up_to_event_id, out),
        Command::Resync { fast: _, careful } => poll::resync(&config, careful, out),
        Command::Watch { timeout, command } => watch::run(&config, &command, timeout, out),
        Command::Register { name } => bot::register(&config, name.as_deref(), out),
        Command::Keys(verb) => bot::keys(&config, &verb, out),
        Command::Backup { out: target } => backup::backup(&config, target, out),
        Command::Restore { file, replace } => backup::restore(&config, &file, replace, out),
        Command::Check => check::run(&config, out),
        Command::Status => ask::status(&config, out),
        Command::Metrics => metrics::run(&config, out),
        Command::CheckPayment { subject } => check_payment::run(&config, &subject, out),
        Command::Jobs(verb) => ask::jobs(&config, verb, out),
        Command::Wallet(verb) => keys::wallet(&config, verb, out),
        Command::Refund { job, to } => coins::refund(&config, job, to, out),
        Command::Key(verb) => keys::key(&config, verb, out),
        Command::Config(verb) => config::run(&config, verb, out),
        Command::Demo => demo::run(out),
        Command::Completions { shell } => output::completions(shell),
        Command::Man => output::man(),
    }
}

/// For verbs that ask a few questions and end.
fn block_on<F: Future>(future: F) -> Result<F::Output, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(Failure::other)?.block_on(future))
}
