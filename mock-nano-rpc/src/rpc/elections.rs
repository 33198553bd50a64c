//! Elections that run or have ended, and blocks that wait for another.

use nano_currency::BlockHash;

use super::blocks::block_text;
use super::{Answer, Args, RpcError};
use crate::block::{Block, parse_padded_hash};
use crate::ledger::{Stored, dev_genesis_key};
use crate::node::Node;
use crate::tree::Tree;

pub(super) fn confirmation_active(node: &Node) -> Tree {
    let roots: Vec<Tree> = active(node).map(|stored| Tree::from(qualified_root(&stored.block))).collect();
    let unconfirmed = roots.len();
    Tree::object()
        .with("confirmations", Tree::Array(roots))
        .with("unconfirmed", Tree::text(unconfirmed))
        .with("confirmed", "0")
}

pub(super) fn confirmation_info(node: &Node, args: &Args<'_>) -> Answer {
    let root = args.required("root")?;
    if root.len() != 128 || !root.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(RpcError::new("Invalid root hash"));
    }
    let stored = active(node)
        .find(|stored| qualified_root(&stored.block).eq_ignore_ascii_case(root))
        .ok_or(RpcError::new("Active confirmation not found"))?;
    let hash = stored.block.hash();
    let mut candidate = Tree::object().with("tally", "0");
    if args.flag_or("contents", true) {
        let block = stored.block.print();
        candidate.push("contents", if args.flag("json_block") { block } else { block_text(&block) });
    }
    if args.flag("representatives") {
        let voters = Tree::object().with(dev_genesis_key().account(), "0");
        candidate.push("representatives", voters);
    }
    Ok(Tree::object()
        .with("announcements", "0")
        .with("voters", "1")
        .with("last_winner", Tree::text(hash))
        .with("total_tally", "0")
        .with("final_tally", "0")
        .with("blocks", Tree::object().with(hash, candidate)))
}

pub(super) fn confirmation_history(node: &Node, args: &Args<'_>) -> Answer {
    let only = args.optional("hash").filter(|text| !text.is_empty());
    let only = match only {
        Some(text) => Some(parse_padded_hash(text).ok_or(RpcError::INVALID_HASH)?),
        None => None,
    };
    let elections: Vec<_> =
        node.elections().filter(|election| only.is_none_or(|hash| hash == election.hash)).collect();
    let durations: u64 = elections.iter().map(|election| election.duration_ms).sum();
    let mut stats = Tree::object().with("count", Tree::text(elections.len()));
    if let Some(average) = durations.checked_div(elections.len() as u64) {
        stats.push("average", Tree::text(average));
    }
    let lines = elections
        .iter()
        .map(|election| {
            let voters = if election.tally.is_zero() { "0" } else { "2" };
            Tree::object()
                .with("hash", Tree::text(election.hash))
                .with("duration", Tree::text(election.duration_ms))
                .with("time", Tree::text(election.ended_ms))
                .with("tally", Tree::text(election.tally))
                .with("final", Tree::text(election.tally))
                .with("blocks", "1")
                .with("voters", voters)
                .with("request_count", "0")
        })
        .collect::<Vec<_>>();
    Ok(Tree::object().with("confirmation_stats", stats).with("confirmations", lines))
}

pub(super) fn unchecked(node: &Node, args: &Args<'_>) -> Answer {
    let json_block = args.flag("json_block");
    let mut blocks = Tree::object();
    for (hash, waiting) in node.ledger.unchecked().take(args.count()?) {
        let block = waiting.block.print();
        blocks.push(hash, if json_block { block } else { block_text(&block) });
    }
    Ok(Tree::object().with("blocks", blocks))
}

pub(super) fn unchecked_get(node: &Node, args: &Args<'_>) -> Answer {
    let waiting = node.ledger.unchecked_block(&args.hash("hash")?).ok_or(RpcError::BLOCK_NOT_FOUND)?;
    let block = waiting.block.print();
    Ok(Tree::object()
        .with("modified_timestamp", Tree::text(waiting.local_timestamp))
        .with("contents", if args.flag("json_block") { block } else { block_text(&block) }))
}

/// Unconfirmed blocks whose predecessors are final: a node votes on nothing else.
fn active(node: &Node) -> impl Iterator<Item = &Stored> {
    let is_final = |hash: &BlockHash| node.ledger.block(hash).is_none_or(|stored| stored.confirmed);
    node.ledger
        .accounts()
        .filter_map(|(account, state)| match node.ledger.confirmed_head(account) {
            Some(head) => head.successor,
            None => Some(state.open),
        })
        .filter_map(|hash| node.ledger.block(&hash))
        .filter(move |stored| stored.source.as_ref().is_none_or(is_final))
}

/// Work root and previous, side by side.
fn qualified_root(block: &Block) -> String {
    format!("{}{}", hex::encode_upper(block.work_root()), block.previous())
}
