//! What the node says about itself and its network.

use nano_currency::{Account, Amount, BlockHash};

use crate::ledger::dev_genesis_key;
use crate::node::Node;
use crate::tree::Tree;

/// As a build of the reference node on this compiler describes itself.
const BUILD_INFO: &str = r#""GNU C++ version " "12.2.0" "BOOST 108100" BUILT "Nov 21 2026""#;

/// Any key will do: nobody talks to this node but its tests.
const NODE_KEY: [u8; 32] = [0x4e; 32];

/// Weight below which a node does not believe that it hears the network; 60 million XNO.
const ONLINE_WEIGHT_MINIMUM: u128 = 60_000_000_000_000_000_000_000_000_000_000_000_000;

/// Per cent of the online weight that decide an election.
const QUORUM_PERCENT: u128 = 67;

pub(super) fn version(node: &Node) -> Tree {
    let network = node.ledger.network();
    Tree::object()
        .with("rpc_version", "1")
        .with("store_version", "24")
        .with("protocol_version", "21")
        .with("node_vendor", "Nano V28.0")
        .with("store_vendor", "LMDB 0.9.70")
        .with("network", network.name())
        .with("network_identifier", Tree::text(network.genesis().unwrap_or(BlockHash::ZERO)))
        .with("build_info", BUILD_INFO)
}

pub(super) fn block_count(node: &Node) -> Tree {
    Tree::object()
        .with("count", Tree::text(node.ledger.block_count()))
        .with("unchecked", Tree::text(node.ledger.unchecked().len()))
        .with("cemented", Tree::text(node.ledger.cemented_count()))
}

pub(super) fn frontier_count(node: &Node) -> Tree {
    Tree::object().with("count", Tree::text(node.ledger.accounts().count()))
}

pub(super) fn uptime(node: &Node, now_ms: u64) -> Tree {
    Tree::object().with("seconds", Tree::text(seconds_up(node, now_ms)))
}

pub(super) fn telemetry(node: &Node, now_ms: u64) -> Tree {
    let (_, node_id) = node_key();
    let signed_id = nano_currency::PrivateKey::from_bytes(NODE_KEY).sign(&now_ms.to_be_bytes());
    Tree::object()
        .with("block_count", Tree::text(node.ledger.block_count()))
        .with("cemented_count", Tree::text(node.ledger.cemented_count()))
        .with("unchecked_count", Tree::text(node.ledger.unchecked().len()))
        .with("account_count", Tree::text(node.ledger.accounts().count()))
        .with("bandwidth_cap", "10485760")
        .with("peer_count", "0")
        .with("protocol_version", "21")
        .with("uptime", Tree::text(seconds_up(node, now_ms)))
        .with("genesis_block", Tree::text(node.ledger.network().genesis().unwrap_or(BlockHash::ZERO)))
        .with("major_version", "28")
        .with("minor_version", "0")
        .with("patch_version", "0")
        .with("pre_release_version", "99")
        .with("maker", "0")
        .with("timestamp", Tree::text(now_ms))
        .with("active_difficulty", Tree::text(node.ledger.network().work().send))
        .with("node_id", node_id)
        .with("signature", Tree::text(signed_id))
}

pub(super) fn confirmation_quorum(node: &Node) -> Tree {
    let online = match node.hears_votes() {
        true => node.ledger.weight(&dev_genesis_key().account()),
        false => Amount::ZERO,
    };
    let trended = Amount::from_raw(ONLINE_WEIGHT_MINIMUM);
    Tree::object()
        .with("quorum_delta", Tree::text(per_cent(online.max(trended).raw(), QUORUM_PERCENT)))
        .with("online_weight_quorum_percent", Tree::text(QUORUM_PERCENT))
        .with("online_weight_minimum", Tree::text(ONLINE_WEIGHT_MINIMUM))
        .with("online_stake_total", Tree::text(online))
        .with("trended_stake_total", Tree::text(trended))
        .with("peers_stake_total", "0")
}

pub(super) fn representatives_online(node: &Node) -> Tree {
    let voter = Tree::text(dev_genesis_key().account());
    let online = if node.hears_votes() { vec![voter] } else { Vec::new() };
    Tree::object().with("representatives", online)
}

pub(super) fn available_supply(node: &Node) -> Tree {
    let kept = node.ledger.balance(&dev_genesis_key().account());
    let burned: Amount = node.ledger.receivables(&Account::BURN).map(|(_, burned)| burned.amount).sum();
    let available = Amount::MAX.raw() - kept.raw() - burned.raw();
    Tree::object().with("available", Tree::text(available))
}

pub(super) fn bootstrap_status() -> Tree {
    let nothing = ["clients", "connections", "idle", "target_connections", "pulls"]
        .into_iter()
        .fold(Tree::object(), |connections, name| connections.with(name, "0"));
    Tree::object()
        .with("bootstrap_threads", "1")
        .with("running_attempts_count", "0")
        .with("total_attempts_count", "0")
        .with("connections", nothing)
        .with("attempts", Tree::Array(Vec::new()))
}

pub(super) fn node_id() -> Tree {
    let (account, node_id) = node_key();
    Tree::object()
        .with("public", hex::encode_upper(account.as_bytes()))
        .with("as_account", Tree::text(account))
        .with("node_id", node_id)
}

fn node_key() -> (Account, String) {
    let account = nano_currency::PrivateKey::from_bytes(NODE_KEY).account();
    (account, account.to_string().replacen("nano_", "node_", 1))
}

fn seconds_up(node: &Node, now_ms: u64) -> u64 {
    now_ms.saturating_sub(node.started_ms) / 1_000
}

/// Without overflowing where the amount is near the whole supply.
const fn per_cent(amount: u128, percent: u128) -> u128 {
    amount / 100 * percent + amount % 100 * percent / 100
}
