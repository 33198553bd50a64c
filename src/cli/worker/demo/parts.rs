//! Who this program can be besides itself: the demo starts it under the name of the part.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use mock_nano_rpc::{Config, MockNode};
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Env;

/// The variable that names the demo's own process.
pub(super) const DEMO: &str = "WORKER_DEMO_PROCESS";

/// A part, by the name that the process is started under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Part {
    Node,
    Relay,
    Worker,
    Buyer,
}

impl Part {
    pub(super) const ALL: [Self; 4] = [Self::Node, Self::Relay, Self::Worker, Self::Buyer];

    /// The name of its process.
    pub(super) const fn process(self) -> &'static str {
        match self {
            Self::Node => "demo-node",
            Self::Relay => "demo-relay",
            Self::Worker => "demo-worker",
            Self::Buyer => "demo-buyer",
        }
    }

    /// The name in the story.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Relay => "relay",
            Self::Worker => "worker",
            Self::Buyer => "buyer",
        }
    }

    /// The part that this process was started as, if it was.
    pub(in super::super) fn of_this_process() -> Option<Self> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the name of the process is no argument that clap knows"
        )]
        let name = std::env::args_os().next()?;
        Self::ALL.into_iter().find(|part| name == part.process())
    }

    /// Ties this process to the demo and plays the part; `None` if it is the worker's own program.
    pub(in super::super) fn play(self) -> Option<ExitCode> {
        // Even a demo that is killed leaves no process behind.
        let _ = set_parent_process_death_signal(Some(Signal::TERM));
        // One that died before that line gives no signal any more.
        if Env::system().get(DEMO).is_some_and(|demo| demo != parent()) {
            return Some(ExitCode::FAILURE);
        }
        match self {
            Self::Node => Some(node()),
            Self::Relay => Some(crate::cli::relay::main()),
            Self::Buyer => Some(crate::cli::buyer::main().into()),
            Self::Worker => None,
        }
    }
}

fn parent() -> String {
    rustix::process::getppid().map_or(0, |parent| parent.as_raw_nonzero().get()).to_string()
}

/// The ledger of a development network, with a faucet, until SIGTERM.
fn node() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(serve_node())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            super::super::output::warn(format_args!("node: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn serve_node() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mock = MockNode::start(Config { listen, ..Config::default() }).await?;
    let mut out = io::stdout();
    writeln!(out, "node listening on {}", mock.rpc_url())?;
    out.flush()?;
    terminate.recv().await;
    mock.stop().await;
    Ok(())
}
