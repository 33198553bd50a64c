//! What nodes and proxies may answer, as a fuzzer makes it up.

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::blocks::{BlockInfo, read_block_info, read_blocks_info};
use super::process::read_processed;
use super::receivable::read_receivable;
use super::transport::classify;
use super::{Failure, Lookup, Subtype, accounts, status};
use crate::block::Block;
use crate::work::Work;
use crate::{Account, BlockHash, Network};

/// Characters of a failure's text: an excerpt, and our own words around it.
const TEXT_CHARS_MAX: usize = 200;

/// Answers of nodes: every typed call reads them all. What is read belongs to what was asked for, no
/// failure is long or moves a cursor, and a payment is only what was signed and covered by its hash.
pub fn rpc_answers(data: &[u8]) {
    let Some((&first, body)) = data.split_first() else { return };
    // Most answers are good; the others are proxies'.
    let code = match first {
        b'4' => 429,
        b'5' => 500,
        b'3' => 302,
        _ => 200,
    };
    let read = || classify(code, &HeaderMap::new(), body);
    if let Err(failure) = read() {
        fits_a_log(&failure);
        assert!(code == 200 || !matches!(failure, Failure::NotJson { .. }));
    } else {
        assert_eq!(code, 200);
    }
    let answer = read().unwrap_or_default();
    one_block(&answer, read());
    many_blocks(&answer, &read);
    lists(&answer, &read);
    if let Ok(version) = status::read_version(read()) {
        assert!(version.network.chars().count() <= TEXT_CHARS_MAX);
        let on = Network::ALL.into_iter().filter(|network| version.is_on(*network));
        assert!(on.count() <= 1);
    }
    if let Ok(Some(info)) = accounts::read_account_info(read()) {
        assert_ne!(info.confirmed_frontier, Some(BlockHash::ZERO));
    }
    let _ = (read_processed(read()), status::read_block_count(read()), status::read_quorum(read()));
    let _ = (status::read_telemetry(read()), status::read_active_difficulty(read()));
    let _ = answer.get("work").and_then(Value::as_str).and_then(Work::parse);
}

fn fits_a_log(failure: &Failure) {
    let text = failure.to_string();
    assert!(text.chars().count() <= TEXT_CHARS_MAX && !text.contains(char::is_control), "{text:?}");
}

fn one_block(answer: &Value, read: Result<Value, Failure>) {
    // A hash that fits, if there is one: a node is asked for blocks that it knows.
    let contents = answer.get("contents").and_then(|contents| Block::from_json(contents).ok());
    let hash = contents.map_or(BlockHash::ZERO, |block| block.hash());
    if let Ok(Some(info)) = read_block_info(hash, read) {
        is_sound(hash, &info);
    }
}

fn is_sound(hash: BlockHash, info: &BlockInfo) {
    assert_eq!(info.hash, hash);
    assert_eq!(info.contents.hash(), hash);
    if let Block::State(block) = &info.contents {
        assert_eq!((block.fields.account, block.fields.balance), (info.block_account, info.balance));
    }
    let Some(payment) = info.payment() else { return };
    assert_eq!((payment.payer, Some(payment.amount)), (info.block_account, info.amount));
    match &info.contents {
        Block::State(block) => {
            assert_eq!(info.subtype, Some(Subtype::Send));
            assert_eq!(payment.destination.as_bytes(), &block.fields.link);
        }
        Block::LegacySend(block) => assert_eq!(payment.destination, block.destination),
        Block::LegacyReceive(_) | Block::LegacyOpen(_) | Block::LegacyChange(_) => {
            panic!("a legacy block that is no send is no payment")
        }
    }
}

fn many_blocks(answer: &Value, read: &impl Fn() -> Result<Value, Failure>) {
    let mut hashes = named::<BlockHash>(answer);
    hashes.push(BlockHash::ZERO);
    hashes.sort_unstable();
    hashes.dedup();
    let Ok(found) = read_blocks_info(&hashes, read()) else { return };
    assert!(found.keys().eq(&hashes));
    for (hash, lookup) in &found {
        if let Lookup::Found(info) = lookup {
            is_sound(*hash, info);
        }
    }
}

fn lists(answer: &Value, read: &impl Fn() -> Result<Value, Failure>) {
    let mut asked = named::<Account>(answer);
    asked.push(Account::BURN);
    asked.sort_unstable();
    asked.dedup();
    if let Ok(found) = read_receivable(&asked, read()) {
        assert!(found.keys().eq(&asked));
        assert!(found.values().all(|list| list.is_sorted_by_key(|receivable| receivable.hash)));
    }
    let _ = accounts::read_balances(read());
}

/// What the answer names: everybody asks for some of that.
fn named<T: std::str::FromStr>(answer: &Value) -> Vec<T> {
    let names = answer.get("blocks").and_then(Value::as_object).into_iter().flatten();
    names.filter_map(|(name, _)| name.parse().ok()).take(8).collect()
}
