//! Blocks coming in.

use nano_currency::block::StateFields;
use nano_currency::{Account, BlockHash};

use super::args::{read_account, read_raw};
use super::blocks::block_text;
use super::{Answer, Args, RpcError};
use crate::block::{Block, parse_padded_hash};
use crate::faucet::{seal, upgrade};
use crate::ledger::{Refusal, dev_genesis_key};
use crate::node::Node;
use crate::tree::Tree;

/// Accounts that one `epoch_upgrade` raises.
const UPGRADES_MAX: usize = 10_000;

pub(super) fn process(node: &mut Node, args: &Args<'_>, now_ms: u64) -> Answer {
    let force = args.flag("force");
    if force && !node.settings.control_enabled {
        return Err(RpcError::CONTROL_DISABLED);
    }
    let block = args.block()?;
    if let (Block::State(state), Some(subtype)) = (&block, args.optional("subtype"))
        && !subtype.is_empty()
    {
        node.ledger.ensure_subtype(state, subtype).map_err(RpcError::from_text)?;
    }
    if args.flag("async") {
        return process_async(node, block, now_ms);
    }
    let outcome = match node.publish(block, now_ms) {
        Err(Refusal::Fork) if force => node.replace(block, now_ms).map_err(RpcError::from_text),
        outcome => outcome.map_err(RpcError::from_text),
    };
    Ok(Tree::object().with("hash", Tree::text(outcome?)))
}

/// The caller hears only that the block was taken, not what became of it.
fn process_async(node: &mut Node, block: Block, now_ms: u64) -> Answer {
    if !matches!(block, Block::State(_)) {
        return Err(RpcError::new("Must set async to false for legacy blocks"));
    }
    match node.publish(block, now_ms) {
        Err(Refusal::WorkBelowEntry) => Err(RpcError::from_text(Refusal::WorkBelowEntry)),
        _ => Ok(Tree::object().with("started", "1")),
    }
}

pub(super) fn block_hash(args: &Args<'_>) -> Answer {
    Ok(Tree::object().with("hash", Tree::text(args.block()?.hash())))
}

pub(super) fn block_create(node: &Node, args: &Args<'_>) -> Answer {
    if !node.settings.control_enabled {
        return Err(RpcError::CONTROL_DISABLED);
    }
    if args.required("type")? != "state" {
        return Err(RpcError::new("Invalid block type"));
    }
    let key = args.private_key()?;
    let previous = parse_padded_hash(args.optional("previous").unwrap_or("0"))
        .ok_or(RpcError::new("Bad previous block number"))?;
    let fields = StateFields {
        account: key.account(),
        previous,
        representative: read_account(args.required("representative")?)
            .map(|(account, _)| account)
            .map_err(|_| RpcError::new("Bad representative account"))?,
        balance: read_raw(args.required("balance")?).ok_or(RpcError::new("Invalid balance number"))?,
        link: read_link(args)?,
    };
    let given = args.optional("work").and_then(|work| u64::from_str_radix(work, 16).ok());
    let block = match given {
        Some(nonce) if nonce != 0 => Block::State(fields.sign(&key, nano_currency::work::Work::new(nonce))),
        _ => seal(&node.ledger, &key, fields),
    };
    let printed = block.print();
    Ok(Tree::object()
        .with("hash", Tree::text(block.hash()))
        .with("difficulty", Tree::text(block.work().difficulty(block.work_root())))
        .with("block", if args.flag("json_block") { printed } else { block_text(&printed) }))
}

fn read_link(args: &Args<'_>) -> Result<[u8; 32], RpcError> {
    let text = ["link", "source", "destination"].into_iter().find_map(|key| args.optional(key));
    let text = text.ok_or(RpcError::new("Gap source block"))?;
    if let Ok((account, _)) = read_account(text) {
        return Ok(*account.as_bytes());
    }
    parse_padded_hash(text).map(|hash| *hash.as_bytes()).ok_or(RpcError::new("Bad link number"))
}

pub(super) fn epoch_upgrade(node: &mut Node, args: &Args<'_>, now_ms: u64) -> Answer {
    if !node.settings.control_enabled {
        return Err(RpcError::CONTROL_DISABLED);
    }
    let epoch = match args.required("epoch")? {
        "1" => 1,
        "2" => 2,
        _ => return Err(RpcError::new("Invalid epoch.")),
    };
    if args.private_key()?.account() != dev_genesis_key().account() {
        return Err(RpcError::new("Bad private key"));
    }
    let count = args.count()?.min(UPGRADES_MAX);
    let waiting: Vec<Account> = node
        .ledger
        .accounts()
        .filter(|(account, _)| node.ledger.head(account).is_some_and(|head| head.epoch + 1 == epoch))
        .map(|(account, _)| *account)
        .take(count)
        .collect();
    for account in waiting {
        if let Some(block) = upgrade(&node.ledger, &account, epoch) {
            // An account that moved on meanwhile is upgraded by the next call.
            let _: Result<BlockHash, Refusal> = node.publish(block, now_ms);
        }
    }
    Ok(Tree::object().with("started", "1"))
}
