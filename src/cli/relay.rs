//! The `relay` program.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use super::Exit;
use crate::relay::config::Settings;
use crate::relay::{Relay, RunError, outage};

/// The server that buyers and sellers meet at.
#[derive(Debug, Parser)]
#[command(name = "relay", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve until SIGTERM or SIGINT (also without a verb).
    Serve(Serve),
}

#[derive(Debug, Args)]
struct Serve {
    /// Where to listen, such as 127.0.0.1:3000; port 0 takes any.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The state directory.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The settings; without it the defaults and the environment.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to write the log to standard error; RUST_LOG says how much.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    crate::points::arm();
    let cli = Cli::parse();
    let serve = match cli.verb {
        Some(Verb::Serve(serve)) => serve,
        None => cli.serve,
    };
    log_to_stderr(serve.log_format);
    let settings = match settings(&serve) {
        Ok(settings) => settings,
        Err(error) => return complain(&error, Exit::Usage),
    };
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .and_then(|runtime| runtime.block_on(run(settings)));
    match result {
        Ok(()) => Exit::Ok.into(),
        Err(error) => complain(&error, Exit::Failed),
    }
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    stop_on_signals(shutdown.clone())?;
    let listener = TcpListener::bind(&settings.listen).await.with_context(|| {
        format!("cannot listen on {}; name a free port with --listen 127.0.0.1:PORT", settings.listen)
    })?;
    let measures = match &settings.metrics_listen {
        Some(address) => Some(TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address} for measures; name a free port in NBR_METRICS_ADDR")
        })?),
        None => None,
    };
    let listener = listener.into_std()?;
    let spare = TcpListener::from_std(listener.try_clone()?)?;
    let dir = settings.config.data_dir.clone();
    let watchdog = tokio::spawn(watchdog());
    let result = serve(settings, TcpListener::from_std(listener)?, measures, shutdown.clone()).await;
    match result {
        Err(error) if error.is_disk() => {
            notify(&[NotifyState::Status("stopped, waiting for the disk")]);
            if outage::wait(spare, &dir, &error, &shutdown).await {
                return Err(super::start_anew()).context("cannot start anew");
            }
        }
        ended => {
            watchdog.abort();
            ended.map_err(advise)?;
        }
    }
    Ok(())
}

async fn serve(
    settings: Settings,
    listener: TcpListener,
    measures: Option<TcpListener>,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let address = listener.local_addr();
    let mut relay = Relay::open(settings.config)?;
    if let Some(measures) = measures {
        relay = relay.with_measures_on(measures);
    }
    if let Ok(address) = address
        && let Err(error) = announce(&format!("relay listening on http://{address}"))
    {
        warn!(%error, "nobody reads what is printed");
    }
    notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
    relay.serve(listener, shutdown).await
}

/// Nobody else has what a relay has, so what is damaged is left as it is, for a person to decide.
fn advise(error: RunError) -> anyhow::Error {
    let damaged = matches!(&error, RunError::Open(error) if error.is_damage());
    let error = anyhow::Error::new(error);
    if !damaged {
        return error;
    }
    error.context(
        "the relay's state is damaged; it is left where it is. Keep a copy of the directory. To go on without \
         it, name an empty directory with --data: workers and buyers notice that the relay is a new one, offers \
         are registered again, and what sellers were paid for is in their own state",
    )
}

fn settings(serve: &Serve) -> anyhow::Result<Settings> {
    let mut settings = read_settings(serve.config.as_deref())?;
    if let Some(listen) = &serve.listen {
        settings.listen.clone_from(listen);
    }
    if let Some(data) = &serve.data {
        settings.config.data_dir.clone_from(data);
    }
    Ok(settings)
}

fn read_settings(file: Option<&Path>) -> anyhow::Result<Settings> {
    #[expect(clippy::disallowed_methods, reason = "the environment is read here, once")]
    let env = |name: &str| std::env::var(name).ok();
    let Some(file) = file else { return Ok(Settings::resolve(None, env)?) };
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let dir = file.parent().unwrap_or(Path::new(""));
    Settings::resolve(Some((&text, dir)), env).with_context(|| file.display().to_string())
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => subscriber.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => subscriber.json().init(),
    }
}

/// On both outputs: scripts read the first, operators of the deployed relays wait for the second.
fn announce(line: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    // Whoever has closed it does not wait for it.
    drop(writeln!(std::io::stderr().lock(), "{line}"));
    Ok(())
}

#[expect(clippy::print_stderr, reason = "why the program ends is for the person who started it")]
fn complain(error: &anyhow::Error, exit: Exit) -> ExitCode {
    eprintln!("relay: {error:#}");
    exit.into()
}

fn stop_on_signals(shutdown: CancellationToken) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("stopping");
        notify(&[NotifyState::Stopping, NotifyState::Status("draining")]);
        shutdown.cancel();
    });
    Ok(())
}

/// Tells systemd that the runtime still turns, twice as often as it asks.
async fn watchdog() {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let mut interval = tokio::time::interval(period / 2);
    loop {
        interval.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "systemd could not be told");
    }
}
