//! `account_history`: a chain told from the account's side.

use nano_currency::BlockHash;

use super::{Answer, Args, RpcError};
use crate::block::Block;
use crate::ledger::{Kind, Stored, dev_genesis_key};
use crate::node::Node;
use crate::tree::Tree;

pub(super) fn account_history(node: &Node, args: &Args<'_>) -> Answer {
    let (raw, reverse) = (args.flag("raw"), args.flag("reverse"));
    // Without a head the account is needed; with one it follows from the block.
    let head = match args.optional("head") {
        Some(_) => Some(args.hash("head").and_then(|hash| found(node, hash))?),
        None => None,
    };
    let account = match head {
        Some(stored) => stored.account,
        None => args.account()?,
    };
    args.required("count")?;
    let (count, mut offset) = (args.count()?, args.offset()?);
    let start = head.or_else(|| match reverse {
        true => node.ledger.account(&account).and_then(|state| node.ledger.block(&state.open)),
        false => node.ledger.head(&account),
    });
    let mut history = Vec::new();
    let mut next = start.map(|stored| stored.block.hash());
    while let Some(stored) = next.and_then(|hash| node.ledger.block(&hash)) {
        if history.len() >= count {
            break;
        }
        if offset > 0 {
            offset -= 1;
        } else if let Some(entry) = entry(node, stored, raw) {
            history.push(entry);
        }
        next = follow(stored, reverse);
    }
    let mut answer =
        Tree::object().with("account", Tree::text(account)).with("history", Tree::Array(history));
    if let Some(hash) = next {
        answer.push(if reverse { "next" } else { "previous" }, Tree::text(hash));
    }
    Ok(answer)
}

fn found(node: &Node, hash: BlockHash) -> Result<&Stored, RpcError> {
    node.admitted(&hash).ok_or(RpcError::BLOCK_NOT_FOUND)
}

fn follow(stored: &Stored, reverse: bool) -> Option<BlockHash> {
    if reverse {
        return stored.successor;
    }
    Some(stored.block.previous()).filter(|previous| *previous != BlockHash::ZERO)
}

/// One line; none for what moved nothing, unless `raw`.
fn entry(node: &Node, stored: &Stored, raw: bool) -> Option<Tree> {
    let hash = stored.block.hash();
    let mut entry = match &stored.block {
        Block::State(state) if raw => raw_state(node, stored, state),
        _ if raw => raw_legacy(node, stored),
        _ => plain(node, stored)?,
    };
    entry.push("local_timestamp", Tree::text(stored.local_timestamp));
    entry.push("height", Tree::text(stored.height));
    entry.push("hash", Tree::text(hash));
    entry.push("confirmed", Tree::text(node.lies.confirmed(&hash, stored)));
    if raw {
        entry.push("work", Tree::text(stored.block.work()));
        entry.push("signature", Tree::text(stored.block.signature()));
    }
    Some(entry)
}

fn plain(node: &Node, stored: &Stored) -> Option<Tree> {
    let kind = match stored.kind {
        Kind::Send | Kind::Receive => stored.kind.name(),
        Kind::Change | Kind::Epoch => return None,
    };
    let entry = Tree::object().with("type", kind);
    Some(entry.with("account", other_side(node, stored)).with("amount", Tree::text(stored.amount)))
}

fn raw_state(node: &Node, stored: &Stored, state: &nano_currency::block::StateBlock) -> Tree {
    let entry = Tree::object()
        .with("type", "state")
        .with("representative", Tree::text(state.fields.representative))
        .with("link", hex::encode_upper(state.fields.link))
        .with("balance", Tree::text(state.fields.balance))
        .with("previous", Tree::text(state.fields.previous))
        .with("subtype", stored.kind.name());
    match stored.kind {
        Kind::Change => entry,
        Kind::Epoch => entry.with("account", Tree::text(dev_genesis_key().account())),
        Kind::Send | Kind::Receive => {
            entry.with("account", other_side(node, stored)).with("amount", Tree::text(stored.amount))
        }
    }
}

fn raw_legacy(node: &Node, stored: &Stored) -> Tree {
    let entry = Tree::object().with("type", stored.block.type_name());
    let moved = |entry: Tree| {
        entry.with("account", other_side(node, stored)).with("amount", Tree::text(stored.amount))
    };
    match &stored.block {
        Block::Send(send) => moved(entry)
            .with("destination", Tree::text(send.destination))
            .with("balance", Tree::text(send.balance))
            .with("previous", Tree::text(send.previous)),
        Block::Receive(receive) => moved(entry)
            .with("source", Tree::text(receive.source))
            .with("previous", Tree::text(receive.previous)),
        Block::Open(open) => moved(
            entry
                .with("representative", Tree::text(open.representative))
                .with("source", Tree::text(open.source))
                .with("opened", Tree::text(open.account)),
        ),
        Block::Change(change) => entry
            .with("representative", Tree::text(change.representative))
            .with("previous", Tree::text(change.previous)),
        Block::State(_) => entry,
    }
}

/// Who was paid, or who paid; the genesis account paid itself.
fn other_side(node: &Node, stored: &Stored) -> Tree {
    let payer = stored.source.and_then(|source| node.ledger.block(&source)).map(|send| send.account);
    Tree::text(stored.destination.or(payer).unwrap_or(stored.account))
}
