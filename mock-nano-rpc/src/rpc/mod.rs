//! The node's actions: a request's tree in, an answer's tree out.
//!
//! One file per family. Fields are written in the node's order, every scalar as a text.

mod accounts;
mod args;
mod blocks;
mod elections;
mod history;
mod keys;
mod network;
mod process;
mod receivable;
pub(crate) mod work;

pub(crate) use args::read_account;
pub use args::{Args, RpcError};

use crate::node::Node;
use crate::tree::Tree;

/// What an action answers.
pub type Answer = Result<Tree, RpcError>;

/// Actions that need `enable_control` and that this ledger has no use for: it keeps no wallets.
const CONTROL_ONLY: [&str; 12] = [
    "account_create",
    "ledger",
    "password_change",
    "receive",
    "receive_minimum",
    "search_receivable",
    "search_receivable_all",
    "send",
    "stop",
    "unopened",
    "wallet_create",
    "wallet_info",
];

/// Answers an action.
///
/// # Errors
/// The text that the node puts under `error`.
pub fn answer(node: &mut Node, action: &str, args: &Args<'_>, now_ms: u64) -> Answer {
    match action {
        "account_balance" => accounts::account_balance(node, args),
        "account_block_count" => accounts::account_block_count(node, args),
        "account_get" => keys::account_get(args),
        "account_history" => history::account_history(node, args),
        "account_info" => accounts::account_info(node, args),
        "account_key" => keys::account_key(args),
        "account_representative" => accounts::account_representative(node, args),
        "account_weight" => accounts::account_weight(node, args),
        "accounts_balances" => accounts::accounts_balances(node, args),
        "accounts_frontiers" => accounts::accounts_frontiers(node, args),
        "accounts_pending" => receivable::accounts_receivable(node, args, true),
        "accounts_receivable" => receivable::accounts_receivable(node, args, false),
        "active_difficulty" => Ok(work::active_difficulty(node)),
        "available_supply" => Ok(network::available_supply(node)),
        "block" | "block_info" => blocks::block_info(node, args),
        "block_account" => blocks::block_account(node, args),
        "block_confirm" => blocks::block_confirm(node, args, now_ms),
        "block_count" => Ok(network::block_count(node)),
        "block_create" => process::block_create(node, args),
        "block_hash" => process::block_hash(args),
        "blocks" => blocks::blocks(node, args),
        "blocks_info" => blocks::blocks_info(node, args),
        "bootstrap_status" => Ok(network::bootstrap_status()),
        "confirmation_active" => Ok(elections::confirmation_active(node)),
        "confirmation_history" => elections::confirmation_history(node, args),
        "confirmation_info" => elections::confirmation_info(node, args),
        "confirmation_quorum" => Ok(network::confirmation_quorum(node)),
        "deterministic_key" => keys::deterministic_key(args),
        "epoch_upgrade" => process::epoch_upgrade(node, args, now_ms),
        "frontier_count" => Ok(network::frontier_count(node)),
        "key_expand" => keys::key_expand(args),
        "nano_to_raw" => keys::nano_to_raw(args),
        "node_id" => Ok(network::node_id()),
        "peers" => Ok(Tree::object().with("peers", Tree::object())),
        "pending" => receivable::receivable(node, args, true),
        "pending_exists" | "receivable_exists" => receivable::receivable_exists(node, args),
        "process" => process::process(node, args, now_ms),
        "raw_to_nano" => keys::raw_to_nano(args),
        "receivable" => receivable::receivable(node, args, false),
        "representatives_online" => Ok(network::representatives_online(node)),
        "sign" => keys::sign(args),
        "telemetry" => Ok(network::telemetry(node, now_ms)),
        "unchecked" => elections::unchecked(node, args),
        "unchecked_get" => elections::unchecked_get(node, args),
        "uptime" => Ok(network::uptime(node, now_ms)),
        "validate_account_number" => keys::validate_account_number(args),
        "version" => Ok(network::version(node)),
        "work_generate" => work::generate(args, node.settings.control_enabled, node.ledger.network()),
        "work_validate" => work::validate(args, node.ledger.network()),
        other if CONTROL_ONLY.contains(&other) && !node.settings.control_enabled => {
            Err(RpcError::CONTROL_DISABLED)
        }
        _ => Err(RpcError::UNKNOWN_COMMAND),
    }
}
