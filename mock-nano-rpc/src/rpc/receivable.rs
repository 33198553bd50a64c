//! What accounts could receive: three shapes of one list, in the order of hashes.

use std::cmp::Reverse;

use nano_currency::{Account, Amount, BlockHash};

use super::args::read_account;
use super::{Answer, Args, RpcError};
use crate::faults::Mode;
use crate::ledger::Receivable;
use crate::node::Node;
use crate::tree::Tree;

/// Which receivables are listed, and in which shape.
#[derive(Clone, Copy)]
struct Wish {
    threshold: Amount,
    source: bool,
    min_version: bool,
    sorting: bool,
    seen: Seen,
}

/// Which unconfirmed payments are seen.
#[derive(Clone, Copy)]
struct Seen {
    only_confirmed: bool,
    active: bool,
}

/// One line of a list.
struct Line {
    hash: BlockHash,
    amount: Amount,
    value: Tree,
}

pub(super) fn accounts_receivable(node: &Node, args: &Args<'_>, old_name: bool) -> Answer {
    let wish = Wish::read(args)?;
    let count = args.count()?;
    let mut blocks = Tree::object();
    for text in args.items("accounts")?.iter().map(Tree::as_text) {
        let (account, _) = read_account(text)?;
        let mut lines: Vec<Line> = wish.lines(node, &account).take(count).collect();
        if wish.sorting {
            // The node cuts first and sorts after, and leaves equals in reverse.
            lines.reverse();
            lines.sort_by_key(|line| Reverse(line.amount));
        }
        if !lines.is_empty() || node.settings.mode == Mode::V22 {
            blocks.push(account, wish.shape(lines));
        }
    }
    Ok(deprecated(old_name).with("blocks", blocks))
}

pub(super) fn receivable(node: &Node, args: &Args<'_>, old_name: bool) -> Answer {
    let account = args.account()?;
    let wish = Wish { min_version: args.flag("min_version"), ..Wish::read(args)? };
    let (count, offset) = (args.count()?, args.offset()?);
    let mut lines: Vec<Line> = wish.lines(node, &account).collect();
    if wish.sorting {
        lines.sort_by_key(|line| Reverse(line.amount));
    }
    let lines = lines.into_iter().skip(offset).take(count).collect();
    Ok(deprecated(old_name).with("blocks", wish.shape(lines)))
}

pub(super) fn receivable_exists(node: &Node, args: &Args<'_>) -> Answer {
    let hash = args.hash("hash")?;
    let seen = Seen::read(args);
    let stored = node.admitted(&hash).ok_or(RpcError::BLOCK_NOT_FOUND)?;
    let open =
        stored.destination.is_some_and(|destination| node.ledger.receivable(&destination, &hash).is_some());
    let exists = open && seen.sees(node, &hash);
    Ok(Tree::object().with("exists", if exists { "1" } else { "0" }))
}

/// What an account could receive in all.
pub(super) fn total(node: &Node, account: &Account, only_confirmed: bool) -> Amount {
    let seen = Seen { only_confirmed, active: !only_confirmed };
    listed(node, account, seen).map(|(_, amount, _)| amount).sum()
}

impl Wish {
    fn read(args: &Args<'_>) -> Result<Self, RpcError> {
        Ok(Self {
            threshold: args.threshold()?,
            source: args.flag("source"),
            min_version: false,
            sorting: args.flag("sorting"),
            seen: Seen::read(args),
        })
    }

    /// Only hashes, since nothing else was asked for.
    const fn is_simple(&self) -> bool {
        self.threshold.is_zero() && !self.source && !self.min_version && !self.sorting
    }

    fn lines(self, node: &Node, account: &Account) -> impl Iterator<Item = Line> {
        listed(node, account, self.seen).filter(move |(_, amount, _)| *amount >= self.threshold).map(
            move |(hash, amount, receivable)| Line { hash, amount, value: self.value(amount, receivable) },
        )
    }

    fn value(&self, amount: Amount, receivable: &Receivable) -> Tree {
        let mut value = Tree::text(amount);
        if self.source || self.min_version {
            value = Tree::object().with("amount", value);
        }
        if self.source {
            value.push("source", Tree::text(receivable.source));
        }
        if self.min_version {
            value.push("min_version", Tree::text(receivable.epoch));
        }
        value
    }

    fn shape(&self, lines: Vec<Line>) -> Tree {
        if self.is_simple() {
            return Tree::Array(lines.into_iter().map(|line| Tree::text(line.hash)).collect());
        }
        Tree::Object(lines.into_iter().map(|line| (line.hash.to_string(), line.value)).collect())
    }
}

impl Seen {
    fn read(args: &Args<'_>) -> Self {
        Self {
            only_confirmed: args.flag_or("include_only_confirmed", true),
            active: args.flag("include_active"),
        }
    }

    /// A payment in an election, as every unconfirmed one here is, needs both switches.
    fn sees(self, node: &Node, hash: &BlockHash) -> bool {
        let unconfirmed_too = !self.only_confirmed && (self.active || node.settings.mode == Mode::RsNano);
        unconfirmed_too || node.ledger.block(hash).is_some_and(|stored| node.lies.confirmed(hash, stored))
    }
}

fn listed<'a>(
    node: &'a Node,
    account: &Account,
    seen: Seen,
) -> impl Iterator<Item = (BlockHash, Amount, &'a Receivable)> {
    node.ledger
        .receivables(account)
        .filter(move |(hash, _)| !node.lies.is_forgotten(hash) && seen.sees(node, hash))
        .map(|(hash, receivable)| (*hash, node.lies.amount(hash, receivable.amount), receivable))
}

fn deprecated(old_name: bool) -> Tree {
    if old_name { Tree::object().with("deprecated", "1") } else { Tree::object() }
}
