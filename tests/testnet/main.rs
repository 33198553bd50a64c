//! One whole sale on a real node that the environment names: `docs/testnet.md`.
//!
//! Without a node it says so, and rehearses on the mock ledger instead: it starts that, and itself
//! once more with the environment that a person would set. So what a person would run is tested
//! although no test may need the network.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this program reads its environment, waits, prints, and stops where it cannot go on"
)]

mod given;
mod sale;

use std::process::{Command, ExitCode};

use mock_nano_rpc::ledger::dev_genesis_key;
use mock_nano_rpc::{Config, MockNode};
use nano_worker::nano::{Amount, Seed};

use given::Given;

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        println!("a_whole_sale: test");
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let ended = match Given::read() {
        Ok(Some(given)) => runtime.block_on(sale::play(&given)),
        Ok(None) => {
            println!("testnet: skipped on a real node: NANO_RPC_URL is not set (docs/testnet.md)");
            runtime.block_on(rehearse())
        }
        Err(problem) => Err(problem),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            println!("testnet: FAILED: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// The same, on a ledger of our own: from a seed that holds money, and from the key of a private
/// network's first account. And what is missing is said.
async fn rehearse() -> Result<(), String> {
    let seed = "7e".repeat(32);
    let funded = Config { ws_listen: Some("127.0.0.1:0".parse().unwrap()), ..Config::default() };
    let mock = MockNode::start(funded).await.unwrap();
    let account = Seed::parse(&seed).unwrap().account(0).unwrap();
    let named = [("NANO_RPC_URL", mock.rpc_url()), ("NANO_WS_URL", mock.ws_url().unwrap())];
    expect(&named, false, "NANO_TEST_SEED")?;
    let with_seed = [&named[..], &[("NANO_TEST_SEED", seed.clone())]].concat();
    expect(&with_seed, false, &format!("send {account}"))?;
    mock.fund(&account, Amount::parse_xno("0.1").unwrap()).unwrap();
    expect(&with_seed, true, "the whole sale took")?;
    let private = MockNode::start(Config::default()).await.unwrap();
    let key = hex::encode(dev_genesis_key().expose());
    expect(&[("NANO_RPC_URL", private.rpc_url()), ("NANO_GENESIS_KEY", key)], true, "the whole sale took")
}

/// Starts this program as a person would, and looks at what it says.
fn expect(environment: &[(&str, String)], succeeds: bool, says: &str) -> Result<(), String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    for name in given::NAMES {
        command.env_remove(name);
    }
    let ended = command.envs(environment.iter().map(|(name, value)| (name, value))).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    if ended.status.success() == succeeds && said.contains(says) {
        println!("testnet: rehearsed: {says:?}");
        return Ok(());
    }
    Err(format!("the rehearsal for {says:?} ended with {}:\n{said}", ended.status))
}
