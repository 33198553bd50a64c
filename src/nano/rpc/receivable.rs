//! What was sent to an account and not yet received by it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Failure;
use super::answer::{entries, is_nothing, optional, text};
use crate::{Account, Amount, BlockHash};

/// One send that waits for its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receivable {
    /// The send.
    pub hash: BlockHash,
    /// How much it brings; missing where a node lists bare hashes.
    pub amount: Option<Amount>,
    /// Who sent it, if the node said so.
    pub source: Option<Account>,
}

/// All sends that wait for one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receivables {
    /// The sends, in the order of their hashes.
    pub blocks: Vec<Receivable>,
    /// Whether these are all. If not, the list was too long to be read and the smallest sends
    /// are missing: enough here is enough, too little here is *unknown*.
    pub complete: bool,
}

impl Receivables {
    /// The sum of all amounts that are known.
    #[must_use]
    pub fn total(&self) -> Amount {
        self.blocks.iter().filter_map(|block| block.amount).sum()
    }
}

/// Reads any of the three shapes for every account that was asked for; an account that is not
/// mentioned has nothing.
pub(super) fn read_receivable(
    accounts: &[Account],
    answer: Result<Value, Failure>,
) -> Result<BTreeMap<Account, Vec<Receivable>>, Failure> {
    let answer = answer?;
    let mut lists: BTreeMap<_, _> = accounts.iter().map(|account| (*account, Vec::new())).collect();
    for (key, value) in entries(&answer, "blocks")? {
        let Some(list) = Account::parse(key).ok().and_then(|account| lists.get_mut(&account)) else {
            continue;
        };
        *list = read_list(value)?;
    }
    Ok(lists)
}

/// A list of hashes, a map of hash to amount, or a map of hash to amount and source. An entry
/// whose hash cannot be read names no block, so it is passed over.
fn read_list(value: &Value) -> Result<Vec<Receivable>, Failure> {
    let mut list: Vec<Receivable> = match value {
        _ if is_nothing(value) => Vec::new(),
        Value::Array(hashes) => {
            let hashes = hashes.iter().filter_map(text).filter_map(|text| BlockHash::parse(&text).ok());
            hashes.map(|hash| Receivable { hash, amount: None, source: None }).collect()
        }
        Value::Object(map) => map.iter().filter_map(|(key, value)| read_entry(key, value)).collect(),
        _ => return Err(Failure::Malformed("list of receivable blocks")),
    };
    list.sort_by_key(|receivable| receivable.hash);
    Ok(list)
}

fn read_entry(key: &str, value: &Value) -> Option<Receivable> {
    let hash = BlockHash::parse(key).ok()?;
    let bare = || text(value)?.parse().ok();
    Some(Receivable {
        hash,
        amount: optional(value, "amount").or_else(bare),
        source: optional(value, "source"),
    })
}
