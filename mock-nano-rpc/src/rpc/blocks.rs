//! What the node says about blocks.

use nano_currency::{Account, BlockHash};

use super::{Answer, Args, RpcError};
use crate::block::{Block, parse_padded_hash};
use crate::ledger::{Kind, Stored};
use crate::node::Node;
use crate::tree::{Style, Tree};

pub(super) fn block_info(node: &Node, args: &Args<'_>) -> Answer {
    let hash = args.hash("hash")?;
    let stored = node.admitted(&hash).ok_or(RpcError::BLOCK_NOT_FOUND)?;
    Ok(describe(node, &hash, stored, args.flag("json_block")))
}

pub(super) fn blocks_info(node: &Node, args: &Args<'_>) -> Answer {
    let receivable = args.flag("receivable") || args.flag("pending");
    let (source, receive_hash) = (args.flag("source"), args.flag("receive_hash"));
    let (json_block, include_not_found) = (args.flag("json_block"), args.flag("include_not_found"));
    let (mut blocks, mut not_found) = (Tree::object(), Vec::new());
    for text in args.items("hashes")?.iter().map(Tree::as_text) {
        let hash = parse_padded_hash(text).ok_or(RpcError::BAD_HASH)?;
        let Some(stored) = node.admitted(&hash) else {
            if !include_not_found {
                return Err(RpcError::BLOCK_NOT_FOUND);
            }
            not_found.push(Tree::from(text));
            continue;
        };
        let mut info = describe(node, &hash, stored, json_block);
        if receivable {
            let open = if is_receivable(node, &hash, stored) { "1" } else { "0" };
            info.push("pending", open);
            info.push("receivable", open);
        }
        if receive_hash {
            info.push("receive_hash", Tree::text(confirmed_receiver(node, stored)));
        }
        if source {
            info.push("source_account", source_account(node, stored));
        }
        blocks.push(text, info);
    }
    let mut answer = Tree::object().with("blocks", blocks);
    if include_not_found {
        answer.push("blocks_not_found", Tree::Array(not_found));
    }
    Ok(answer)
}

pub(super) fn blocks(node: &Node, args: &Args<'_>) -> Answer {
    let json_block = args.flag("json_block");
    let mut blocks = Tree::object();
    for text in args.items("hashes")?.iter().map(Tree::as_text) {
        let hash = parse_padded_hash(text).ok_or(RpcError::BAD_HASH)?;
        let stored = node.admitted(&hash).ok_or(RpcError::BLOCK_NOT_FOUND)?;
        blocks.push(text, contents(node, &hash, stored, json_block));
    }
    Ok(Tree::object().with("blocks", blocks))
}

pub(super) fn block_account(node: &Node, args: &Args<'_>) -> Answer {
    let stored = node.admitted(&args.hash("hash")?).ok_or(RpcError::BLOCK_NOT_FOUND)?;
    Ok(Tree::object().with("account", Tree::text(stored.account)))
}

pub(super) fn block_confirm(node: &mut Node, args: &Args<'_>, now_ms: u64) -> Answer {
    let hash = args.hash("hash")?;
    if node.admitted(&hash).is_none() {
        return Err(RpcError::BLOCK_NOT_FOUND);
    }
    node.request_confirmation(&hash, now_ms);
    Ok(Tree::object().with("started", "1"))
}

/// One block in full, lies included.
fn describe(node: &Node, hash: &BlockHash, stored: &Stored, json_block: bool) -> Tree {
    let mut info = Tree::object()
        .with("block_account", Tree::text(named_account(node, hash, stored)))
        .with("amount", Tree::text(node.lies.amount(hash, stored.amount)))
        .with("balance", Tree::text(stored.balance))
        .with("height", Tree::text(stored.height))
        .with("local_timestamp", Tree::text(stored.local_timestamp))
        .with("successor", Tree::text(stored.successor.unwrap_or(BlockHash::ZERO)))
        .with("confirmed", Tree::text(node.lies.confirmed(hash, stored)))
        .with("contents", contents(node, hash, stored, json_block));
    if matches!(stored.block, Block::State(_)) {
        info.push("subtype", subtype(node, hash, stored));
    }
    info
}

pub(super) fn subtype(node: &Node, hash: &BlockHash, stored: &Stored) -> String {
    let lie = node.lies.about(hash).and_then(|lie| lie.subtype.clone());
    lie.unwrap_or_else(|| stored.kind.name().to_owned())
}

/// A block as an object, or as a text that holds one.
pub(super) fn contents(node: &Node, hash: &BlockHash, stored: &Stored, json_block: bool) -> Tree {
    let block = told(node, hash, stored.block).print();
    if json_block { block } else { block_text(&block) }
}

/// The text that stands for a block where `json_block` was not asked for.
pub(super) fn block_text(block: &Tree) -> Tree {
    Tree::from(block.write(Style::Pretty))
}

fn named_account(node: &Node, hash: &BlockHash, stored: &Stored) -> Account {
    node.lies.about(hash).and_then(|lie| lie.account).unwrap_or(stored.account)
}

/// The block with the destination and balance that are told for it.
fn told(node: &Node, hash: &BlockHash, mut block: Block) -> Block {
    let Some(lie) = node.lies.about(hash) else { return block };
    match &mut block {
        Block::State(state) => {
            state.fields.link = lie.destination.map_or(state.fields.link, |told| *told.as_bytes());
            state.fields.balance = lie.balance.unwrap_or(state.fields.balance);
        }
        Block::Send(send) => {
            send.destination = lie.destination.unwrap_or(send.destination);
            send.balance = lie.balance.unwrap_or(send.balance);
        }
        Block::Receive(_) | Block::Open(_) | Block::Change(_) => {}
    }
    block
}

/// The block that took a payment, once it is final.
fn confirmed_receiver(node: &Node, stored: &Stored) -> BlockHash {
    let is_final = |hash: &BlockHash| node.ledger.block(hash).is_some_and(|stored| stored.confirmed);
    stored.received_by.filter(is_final).unwrap_or(BlockHash::ZERO)
}

fn is_receivable(node: &Node, hash: &BlockHash, stored: &Stored) -> bool {
    stored.destination.is_some_and(|destination| node.ledger.receivable(&destination, hash).is_some())
}

/// The sender for what received something; "0" for all else.
fn source_account(node: &Node, stored: &Stored) -> Tree {
    match stored.source.and_then(|source| node.ledger.block(&source)) {
        Some(send) if stored.kind == Kind::Receive => Tree::text(send.account),
        _ => Tree::from("0"),
    }
}
