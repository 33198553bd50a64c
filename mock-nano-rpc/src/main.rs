//! The mock node as a process of its own.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use mock_nano_rpc::node::Settings;
use mock_nano_rpc::{Config, MockNode, Mode};
use tokio::signal::unix::{SignalKind, signal};

/// A Nano node for tests: a real ledger of a development network, scripted over POST /_control.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Options {
    /// Where RPC calls come in; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7076")]
    listen: SocketAddr,
    /// Where WebSocket listeners connect; without it there is none.
    #[arg(long)]
    ws_listen: Option<SocketAddr>,
    /// Whose manners it has: cpp, rsnano, proxy or v22.
    #[arg(long, default_value_t)]
    mode: Mode,
    /// How long a block stays unconfirmed, in milliseconds.
    #[arg(long, default_value_t = 0)]
    confirm_delay_ms: u64,
    /// Refuse the calls that a node answers only with enable_control.
    #[arg(long)]
    no_control: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody reads a standard error that is closed.
            drop(writeln!(io::stderr(), "mock-nano-rpc: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let settings = Settings {
        mode: options.mode,
        control_enabled: !options.no_control,
        confirm_delay_ms: options.confirm_delay_ms,
        ..Settings::default()
    };
    let config =
        Config { listen: options.listen, ws_listen: options.ws_listen, settings, ..Config::default() };
    let listens = options.listen;
    let mock = MockNode::start(config).await.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot listen: {error}; {listens} or --ws-listen is taken, name a free port"),
        )
    })?;
    announce(&mock)?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    mock.stop().await;
    Ok(())
}

/// The lines that whoever started this process waits for.
fn announce(mock: &MockNode) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "mock-nano-rpc listening on {}", mock.rpc_url())?;
    if let Some(url) = mock.ws_url() {
        writeln!(out, "websocket on {url}")?;
    }
    out.flush()
}
