//! What the node says about accounts.

use nano_currency::{Account, Amount, BlockHash};

use super::args::read_account;
use super::receivable::total;
use super::{Answer, Args, RpcError};
use crate::ledger::Stored;
use crate::node::Node;
use crate::tree::Tree;

pub(super) fn account_info(node: &Node, args: &Args<'_>) -> Answer {
    let account = args.account()?;
    let state = node.ledger.account(&account).ok_or(RpcError::ACCOUNT_NOT_FOUND)?;
    let head = node.ledger.head(&account).ok_or(RpcError::ACCOUNT_NOT_FOUND)?;
    let confirmed = node.ledger.confirmed_head(&account);
    let include_confirmed = args.flag("include_confirmed");
    let lie = node.lies.about(&state.frontier).and_then(|lie| lie.head_balance);
    let mut info = Tree::object()
        .with("frontier", Tree::text(state.frontier))
        .with("open_block", Tree::text(state.open))
        .with("representative_block", Tree::text(representative_block(node, head)))
        .with("balance", Tree::text(lie.unwrap_or(head.balance)));
    if include_confirmed {
        info.push("confirmed_balance", Tree::text(balance_of(confirmed)));
    }
    let confirmed_frontier = confirmed.map_or(BlockHash::ZERO, |stored| stored.block.hash());
    let (height_name, frontier_name) = match include_confirmed {
        true => ("confirmed_height", "confirmed_frontier"),
        false => ("confirmation_height", "confirmation_height_frontier"),
    };
    info.push("modified_timestamp", Tree::text(head.local_timestamp));
    info.push("block_count", Tree::text(head.height));
    info.push("account_version", Tree::text(head.epoch));
    info.push(height_name, Tree::text(state.confirmed_height));
    info.push(frontier_name, Tree::text(confirmed_frontier));
    if args.flag("representative") {
        info.push("representative", Tree::text(head.representative));
        if include_confirmed {
            let representative = confirmed.map_or(Account::BURN, |stored| stored.representative);
            info.push("confirmed_representative", Tree::text(representative));
        }
    }
    if args.flag("weight") {
        info.push("weight", Tree::text(node.ledger.weight(&account)));
    }
    if args.flag_or("receivable", args.flag("pending")) {
        push_receivable(&mut info, "", total(node, &account, false));
        if include_confirmed {
            push_receivable(&mut info, "confirmed_", total(node, &account, true));
        }
    }
    Ok(info)
}

pub(super) fn account_balance(node: &Node, args: &Args<'_>) -> Answer {
    Ok(balances(node, &args.account()?, args.flag_or("include_only_confirmed", true)))
}

pub(super) fn accounts_balances(node: &Node, args: &Args<'_>) -> Answer {
    let only_confirmed = args.flag_or("include_only_confirmed", true);
    for_each_account(args, "balances", |account| Ok(balances(node, account, only_confirmed)))
}

pub(super) fn accounts_frontiers(node: &Node, args: &Args<'_>) -> Answer {
    for_each_account(args, "frontiers", |account| {
        let state = node.ledger.account(account).ok_or(RpcError::ACCOUNT_NOT_FOUND)?;
        Ok(Tree::text(state.frontier))
    })
}

pub(super) fn account_block_count(node: &Node, args: &Args<'_>) -> Answer {
    let head = node.ledger.head(&args.account()?).ok_or(RpcError::ACCOUNT_NOT_FOUND)?;
    Ok(Tree::object().with("block_count", Tree::text(head.height)))
}

pub(super) fn account_representative(node: &Node, args: &Args<'_>) -> Answer {
    let head = node.ledger.head(&args.account()?).ok_or(RpcError::ACCOUNT_NOT_FOUND)?;
    Ok(Tree::object().with("representative", Tree::text(head.representative)))
}

pub(super) fn account_weight(node: &Node, args: &Args<'_>) -> Answer {
    Ok(Tree::object().with("weight", Tree::text(node.ledger.weight(&args.account()?))))
}

/// One entry per account under `name`; what has none stands under `errors`. Keys repeat the
/// request's text.
fn for_each_account(
    args: &Args<'_>,
    name: &str,
    entry: impl Fn(&Account) -> Result<Tree, RpcError>,
) -> Answer {
    let (mut entries, mut errors) = (Tree::object(), Tree::object());
    for text in args.items("accounts")?.iter().map(Tree::as_text) {
        match read_account(text).and_then(|(account, _)| entry(&account)) {
            Ok(value) => entries.push(text, value),
            Err(error) => errors.push(text, error.to_string()),
        }
    }
    let mut answer = Tree::object();
    if entries != Tree::object() || errors == Tree::object() {
        answer.push(name, entries);
    }
    if errors != Tree::object() {
        answer.push("errors", errors);
    }
    Ok(answer)
}

fn balances(node: &Node, account: &Account, only_confirmed: bool) -> Tree {
    let head = match only_confirmed {
        true => node.ledger.confirmed_head(account),
        false => node.ledger.head(account),
    };
    let mut answer = Tree::object().with("balance", Tree::text(balance_of(head)));
    push_receivable(&mut answer, "", total(node, account, only_confirmed));
    answer
}

fn balance_of(stored: Option<&Stored>) -> Amount {
    stored.map_or(Amount::ZERO, |stored| stored.balance)
}

/// The amount under its old name and its new one.
fn push_receivable(answer: &mut Tree, prefix: &str, amount: Amount) {
    answer.push(format_args!("{prefix}pending"), Tree::text(amount));
    answer.push(format_args!("{prefix}receivable"), Tree::text(amount));
}

/// The newest block that names a representative.
fn representative_block(node: &Node, head: &Stored) -> BlockHash {
    let mut stored = head;
    while stored.block.representative().is_none() {
        match node.ledger.block(&stored.block.previous()) {
            Some(previous) => stored = previous,
            None => break,
        }
    }
    stored.block.hash()
}
