//! Proof of work: what it must be, whether some is enough, and more of it.

use nano_currency::Network;
use nano_currency::work::{Difficulty, Work};

use super::{Answer, Args, RpcError};
use crate::faucet::solve;
use crate::node::Node;
use crate::tree::Tree;

/// Tries that one call may cost, on average: some seconds. The development network asks for
/// about a thousand; a node refuses what is far above its network's threshold too.
const TRIES_MAX: u64 = 1 << 24;

/// `work_generate`: needs no ledger, so that nobody waits for it.
///
/// # Errors
/// If control is off, or hash or difficulty cannot be used.
pub(crate) fn generate(args: &Args<'_>, control_enabled: bool, network: Network) -> Answer {
    if !control_enabled {
        return Err(RpcError::CONTROL_DISABLED);
    }
    let hash = args.hash("hash")?;
    let threshold = difficulty(args)?.unwrap_or(network.work().send);
    if threshold.expected_tries() > TRIES_MAX {
        return Err(RpcError::new("Difficulty out of valid range"));
    }
    let work = solve(hash.as_bytes(), threshold, 0);
    let reached = work.difficulty(hash.as_bytes());
    Ok(Tree::object()
        .with("hash", Tree::text(hash))
        .with("work", Tree::text(work))
        .with("difficulty", Tree::text(reached))
        .with("multiplier", multiplier(reached, network.work().send)))
}

pub(super) fn validate(args: &Args<'_>, network: Network) -> Answer {
    let hash = args.hash("hash")?;
    let work = read_hex(args.required("work")?).map(Work::new).ok_or(RpcError::new("Bad work"))?;
    let reached = work.difficulty(hash.as_bytes());
    let yes_no = |yes: bool| if yes { "1" } else { "0" };
    let mut answer = Tree::object();
    if let Some(wanted) = difficulty(args)? {
        answer.push("valid", yes_no(reached >= wanted));
    }
    Ok(answer
        .with("valid_all", yes_no(reached >= network.work().send))
        .with("valid_receive", yes_no(reached >= network.work().receive))
        .with("difficulty", Tree::text(reached))
        .with("multiplier", multiplier(reached, network.work().send)))
}

pub(super) fn active_difficulty(node: &Node) -> Tree {
    let thresholds = node.ledger.network().work();
    Tree::object()
        .with("deprecated", "1")
        .with("network_minimum", Tree::text(thresholds.send))
        .with("network_receive_minimum", Tree::text(thresholds.receive))
        .with("network_current", Tree::text(thresholds.send))
        .with("network_receive_current", Tree::text(thresholds.receive))
        .with("multiplier", "1")
}

fn difficulty(args: &Args<'_>) -> Result<Option<Difficulty>, RpcError> {
    let read = |text| read_hex(text).map(Difficulty::new).ok_or(RpcError::new("Bad difficulty"));
    args.optional("difficulty").map(read).transpose()
}

fn read_hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

/// How many times the work of the threshold: the ratio of what is left above each.
#[expect(clippy::cast_precision_loss, reason = "the node computes this in floating point too")]
pub(super) fn multiplier(reached: Difficulty, base: Difficulty) -> String {
    let ratio = base.get().wrapping_neg() as f64 / reached.get().wrapping_neg() as f64;
    format!("{ratio:.15}")
}
