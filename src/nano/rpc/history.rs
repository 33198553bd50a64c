//! What a node says about the past of an account: for ledgers, and for finding one's own way back.

use serde_json::Value;

use super::Failure;
use super::answer::{entries, flag, is_nothing, optional, required, text};
use super::blocks::Subtype;
use crate::{Account, Amount, BlockHash};

/// Which part of an account's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Whose.
    pub account: Account,
    /// Where to begin; at the newest block, or the first if `forward`, when absent.
    pub head: Option<BlockHash>,
    /// From old to new.
    pub forward: bool,
    /// So many blocks; a proxy may give fewer.
    pub count: u32,
}

/// A part of an account's chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryPage {
    /// Its blocks, in the order of the question.
    pub entries: Vec<HistoryEntry>,
    /// The `head` of the next page; none if this is the last.
    pub next: Option<BlockHash>,
}

/// One block of an account, as a node tells it; nothing of this is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The block.
    pub hash: BlockHash,
    /// Its place in the chain, from 1.
    pub height: u64,
    /// Whether the network has decided for it.
    pub confirmed: bool,
    /// What it does; legacy kinds are named alike. None if the node calls it something unknown.
    pub subtype: Option<Subtype>,
    /// How much it moved.
    pub amount: Option<Amount>,
    /// Who was paid, or who paid; only for what moved money.
    pub counterparty: Option<Account>,
    /// The send that a receive took.
    pub source: Option<BlockHash>,
    /// The balance after it, where the block itself names it.
    pub balance: Option<Amount>,
    /// Who votes from then on, where the block names it.
    pub representative: Option<Account>,
    /// When this node first saw it, in seconds since 1970; not when it was paid.
    pub local_timestamp: Option<u64>,
}

/// What a node knows of one block beside the block: whether it was received, and from whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Whether it still waits for its receiver. `false` does not mean that it is confirmed.
    pub receivable: bool,
    /// The confirmed block that took it.
    pub received_by: Option<BlockHash>,
    /// For a block that took something: who had sent it.
    pub sender: Option<Account>,
}

/// Reads one page. An account without a block has no history, which one kind of node calls an
/// error.
pub(super) fn read_history(
    query: &HistoryQuery,
    answer: Result<Value, Failure>,
) -> Result<HistoryPage, Failure> {
    let answer = match answer {
        Err(Failure::Node(text)) if text == "Account not found" => return Ok(HistoryPage::default()),
        answer => answer?,
    };
    let list = match answer.get("history") {
        Some(Value::Array(list)) => list.as_slice(),
        Some(value) if is_nothing(value) => &[],
        Some(_) | None => return Err(Failure::Malformed("history")),
    };
    let entries = list.iter().map(read_entry).collect::<Result<_, _>>()?;
    let next = optional(&answer, if query.forward { "next" } else { "previous" });
    Ok(HistoryPage { entries, next: next.filter(|hash| *hash != BlockHash::ZERO) })
}

fn read_entry(value: &Value) -> Result<HistoryEntry, Failure> {
    let kind = optional::<String>(value, "type").unwrap_or_default();
    let subtype: Option<Subtype> =
        if kind == "state" { optional(value, "subtype") } else { kind.parse().ok() };
    let receives = matches!(subtype, Some(Subtype::Receive | Subtype::Open));
    let moves = receives || subtype == Some(Subtype::Send);
    let source = optional(value, if kind == "state" { "link" } else { "source" });
    Ok(HistoryEntry {
        hash: required(value, "hash")?,
        height: required(value, "height")?,
        confirmed: flag(value, "confirmed"),
        subtype,
        amount: optional(value, "amount"),
        counterparty: optional(value, "account").filter(|_| moves),
        source: source.filter(|_| receives),
        balance: optional(value, "balance"),
        representative: optional(value, "representative"),
        local_timestamp: optional(value, "local_timestamp"),
    })
}

/// Reads the newest blocks of those accounts that have one.
pub(super) fn read_frontiers(
    answer: Result<Value, Failure>,
) -> Result<std::collections::BTreeMap<Account, BlockHash>, Failure> {
    let answer = answer?;
    let errors = answer.get("errors").and_then(Value::as_object);
    // An account without a block is an error of its own, and where none has one there is no list.
    let is_absent = |error: &Value| text(error).is_some_and(|error| error == "Account not found");
    if !errors.is_none_or(|errors| errors.values().all(is_absent)) {
        return Err(Failure::Malformed("frontiers"));
    }
    if errors.is_some() && answer.get("frontiers").is_none() {
        return Ok(std::collections::BTreeMap::new());
    }
    let read = |(key, value): (&str, &Value)| Some((Account::parse(key).ok()?, text(value)?.parse().ok()?));
    Ok(entries(&answer, "frontiers")?.into_iter().filter_map(read).collect())
}

/// Reads whether a send waits; `None` if the node does not know it.
pub(super) fn read_exists(answer: Result<Value, Failure>) -> Result<Option<bool>, Failure> {
    let Some(answer) = super::answer::absent(answer, super::blocks::BLOCK_NOT_FOUND)? else {
        return Ok(None);
    };
    match answer.get("exists").and_then(text).as_deref() {
        Some("1" | "true") => Ok(Some(true)),
        Some("0" | "false") => Ok(Some(false)),
        _ => Err(Failure::Malformed("exists")),
    }
}

/// Reads what became of blocks; one that is not mentioned is not known.
pub(super) fn read_receipts(
    hashes: &[BlockHash],
    answer: Result<Value, Failure>,
) -> Result<std::collections::BTreeMap<BlockHash, Receipt>, Failure> {
    let answer = answer?;
    let read = |(key, value): (&str, &Value)| {
        let hash = BlockHash::parse(key).ok().filter(|hash| hashes.contains(hash))?;
        let receivable = ["receivable", "pending"].iter().any(|name| flag(value, name));
        let received_by = optional(value, "receive_hash").filter(|hash| *hash != BlockHash::ZERO);
        Some((hash, Receipt { receivable, received_by, sender: optional(value, "source_account") }))
    };
    Ok(entries(&answer, "blocks")?.into_iter().filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_history_is_told_from_no_answer() {
        let query = HistoryQuery { account: Account::BURN, head: None, forward: false, count: 10 };
        let read = |answer| read_history(&query, answer);
        let node = |text: &str| Err(Failure::Node(text.to_owned()));
        for nothing in [node("Account not found"), Ok(json!({ "history": "" })), Ok(json!({ "history": [] }))]
        {
            assert!(read(nothing).unwrap().entries.is_empty());
        }
        for unusable in [node("Bad account number"), Ok(json!({})), Ok(json!({ "history": "none" }))] {
            assert!(read(unusable).is_err());
        }
    }

    #[test]
    fn only_coins_that_move_have_another_side() {
        let entry = |subtype: &str| {
            let link = BlockHash::from_bytes([7; 32]);
            let value = json!({
                "type": "state", "subtype": subtype, "hash": link, "height": "2", "confirmed": "true",
                "account": Account::BURN, "link": link, "amount": "5"
            });
            let read = read_entry(&value).unwrap();
            (read.counterparty.is_some(), read.source.is_some())
        };
        assert_eq!(entry("send"), (true, false));
        assert_eq!(entry("receive"), (true, true));
        assert_eq!(entry("open"), (true, true));
        assert_eq!(entry("change"), (false, false));
        assert_eq!(entry("epoch"), (false, false));
    }

    #[test]
    fn who_took_a_send_is_a_block_and_not_nothing() {
        let [asked, other] = [1, 2].map(|byte| BlockHash::from_bytes([byte; 32]));
        let received_by = |receive_hash: BlockHash| {
            let block = json!({ "receivable": "1", "receive_hash": receive_hash });
            let answer = json!({ "blocks": { asked.to_string(): block.clone(), other.to_string(): block } });
            let receipts = read_receipts(&[asked], Ok(answer)).unwrap();
            assert_eq!(receipts.len(), 1, "what was not asked for is nothing");
            assert!(receipts[&asked].receivable);
            receipts[&asked].received_by
        };
        assert_eq!(received_by(other), Some(other));
        assert_eq!(received_by(BlockHash::ZERO), None);
    }
}
