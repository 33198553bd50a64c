//! The log: to standard error, for people or machines.

use std::io;

use tracing_subscriber::EnvFilter;

use super::args::{Args, Command, LogFormat};
use super::exit::{Exit, Failure};
use crate::config::Env;

/// Starts it. A daemon tells what it does; a verb that prints is quiet unless something is wrong.
pub(super) fn start(args: &Args) -> Result<(), Failure> {
    let level = if matches!(args.command, Command::Run | Command::Recover { dry_run: false, .. }) {
        "info,sled=warn"
    } else {
        "error"
    };
    let wanted = Env::system().get("RUST_LOG").unwrap_or_else(|| level.to_owned());
    let filter = EnvFilter::try_new(wanted).map_err(|error| {
        Failure::new(Exit::Usage, anyhow::Error::new(error).context("RUST_LOG is not understood"))
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match args.log_format {
        LogFormat::Human => {
            let colours = io::IsTerminal::is_terminal(&io::stderr());
            log.with_ansi(colours).with_target(false).init();
        }
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}
