//! Every recorded answer to a call that the client makes is read, and says what was recorded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nano_currency::block::{Block, StateBlock, StateFields};
use nano_currency::rpc::{
    BlockInfo, Failure, HistoryQuery, Lookup, Processed, Rpc, RpcConfig, RpcError, Subtype,
};
use nano_currency::work::{Difficulty, Work};
use nano_currency::{Account, Amount, BlockHash, Network, PrivateKey};
use serde_json::Value;

use crate::support::{Hand, Reply, Server, recordings, replay};

/// Replays all recordings in one file and counts those that were checked, by action.
async fn check(file: &str, expected: &[(&str, usize)]) {
    let next = Arc::new(Mutex::new(Reply::Bytes(Vec::new())));
    let server = {
        let next = Arc::clone(&next);
        Server::start(move |_| next.lock().unwrap().clone()).await
    };
    let hand = Hand::default();
    let rpc = Rpc::new(&RpcConfig { timeout: Duration::from_secs(5), ..hand.config([server.url.as_str()]) })
        .unwrap();
    let mut counts = BTreeMap::new();
    let recordings = recordings(file);
    for entry in recordings.iter().filter(|entry| entry["request"]["action"].is_string()) {
        *next.lock().unwrap() = replay(entry);
        // Nodes that refuse are asked again at once: an hour has passed for the client.
        hand.turn_ms(3_600_000);
        let action = entry["request"]["action"].as_str().unwrap();
        let checked = match action {
            "block_info" => block_info(&rpc, entry).await,
            "block_confirm" => block_confirm(&rpc, entry).await,
            "blocks_info" => blocks_info(&rpc, entry).await,
            "accounts_receivable" | "accounts_pending" => receivable(&rpc, entry).await,
            "accounts_balances" => balances(&rpc, entry).await,
            "account_info" => account_info(&rpc, entry).await,
            "account_history" => history(&rpc, entry).await,
            "accounts_frontiers" => frontiers(&rpc, entry).await,
            "receivable_exists" => exists(&rpc, entry).await,
            "process" => process(&rpc, entry).await,
            "work_generate" => work_generate(&rpc, entry).await,
            "version" | "block_count" | "confirmation_quorum" | "telemetry" | "active_difficulty" => {
                status(&rpc, entry).await
            }
            _ => continue,
        };
        checked.unwrap_or_else(|problem| panic!("{file} {}: {problem}", entry["file"]));
        *counts.entry(action).or_insert(0) += 1;
    }
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected, "{file}");
}

#[tokio::test]
async fn what_the_cpp_node_said() {
    let expected = [
        ("account_history", 9),
        ("account_info", 10),
        ("accounts_balances", 5),
        ("accounts_frontiers", 1),
        ("accounts_pending", 1),
        ("accounts_receivable", 42),
        ("active_difficulty", 1),
        ("block_confirm", 3),
        ("block_count", 3),
        ("block_info", 44),
        ("blocks_info", 20),
        ("confirmation_quorum", 2),
        ("process", 32),
        ("receivable_exists", 6),
        ("telemetry", 1),
        ("version", 2),
        ("work_generate", 4),
    ];
    check("captures", &expected).await;
}

#[tokio::test]
async fn what_rsnano_said() {
    let expected = [
        ("account_history", 9),
        ("account_info", 10),
        ("accounts_balances", 4),
        ("accounts_frontiers", 1),
        ("accounts_pending", 1),
        ("accounts_receivable", 34),
        ("active_difficulty", 1),
        ("block_confirm", 3),
        ("block_count", 2),
        ("block_info", 41),
        ("blocks_info", 20),
        ("confirmation_quorum", 1),
        ("process", 29),
        ("receivable_exists", 5),
        ("telemetry", 1),
        ("version", 1),
        ("work_generate", 3),
    ];
    check("captures-rsnano", &expected).await;
}

type Checked = Result<(), String>;

fn ensure(holds: bool, what: impl std::fmt::Display) -> Checked {
    if holds { Ok(()) } else { Err(what.to_string()) }
}

/// The body as JSON, or the failure that the client must report instead.
fn body(entry: &Value) -> Result<Value, String> {
    let text = entry["raw_body"].as_str().unwrap();
    if entry["http_status"] != 200 {
        return Err(format!("answers with status {}", entry["http_status"]));
    }
    let body: Value = serde_json::from_str(text).unwrap();
    match body["error"].as_str() {
        Some(error) => Err(format!("says: {error}")),
        None => Ok(body),
    }
}

/// Both must have failed, and for the same reason.
fn same_failure(wanted: &str, error: &RpcError) -> Checked {
    ensure(error.failure.to_string().starts_with(wanted), format!("{error}, but wanted: {wanted}"))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn hashes_of(request: &Value) -> Vec<BlockHash> {
    let list = request["hashes"].as_array().map_or_else(Vec::new, Clone::clone);
    list.iter().map(|hash| hash.as_str().unwrap().parse().unwrap_or(BlockHash::ZERO)).collect()
}

/// The accounts asked for; a misspelled one cannot be asked for, so the burn account takes its place.
fn accounts_of(request: &Value) -> Vec<Account> {
    let list = request["accounts"].as_array().map_or_else(Vec::new, Clone::clone);
    list.iter().map(|account| account.as_str().unwrap().parse().unwrap_or(Account::BURN)).collect()
}

async fn block_info(rpc: &Rpc, entry: &Value) -> Checked {
    let hash = text(&entry["request"], "hash").parse().unwrap_or(BlockHash::ZERO);
    match (body(entry), rpc.block_info(&hash).await) {
        (Ok(body), Ok(Some(info))) => same_block(&body, &info),
        (Err(wanted), Ok(None)) => ensure(wanted == "says: Block not found", wanted),
        (Err(wanted), Err(error)) => same_failure(&wanted, &error),
        (_, other) => Err(format!("{other:?}")),
    }
}

fn same_block(body: &Value, info: &BlockInfo) -> Checked {
    let inner: Value = match &body["contents"] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        contents => contents.clone(),
    };
    ensure(info.block_account.to_string() == text(body, "block_account"), "block_account")?;
    ensure(info.amount.map(|amount| amount.to_string()).as_deref() == body["amount"].as_str(), "amount")?;
    // The client reads it from the signed contents, the node prints it beside them.
    ensure(info.balance.to_string() == text(body, "balance"), "balance")?;
    ensure(info.height.to_string() == text(body, "height"), "height")?;
    ensure(info.confirmed == (body["confirmed"] == "true"), "confirmed")?;
    ensure(info.subtype.map(Subtype::name) == body["subtype"].as_str(), "subtype")?;
    let destination = match (text(&inner, "type"), text(body, "subtype")) {
        ("send", _) => Some(text(&inner, "destination")),
        ("state", "send") => Some(text(&inner, "link_as_account")),
        _ => None,
    };
    let paid = info.payment();
    ensure(paid.map(|paid| paid.destination.to_string()).as_deref() == destination, "destination")?;
    ensure(paid.is_none_or(|paid| paid.payer == info.block_account), "payer")?;
    ensure(info.is_signed() == (body["subtype"] != "epoch"), "signature")
}

async fn block_confirm(rpc: &Rpc, entry: &Value) -> Checked {
    let hash = text(&entry["request"], "hash").parse().unwrap();
    match (body(entry), rpc.block_confirm(&hash).await) {
        (Ok(body), Ok(true)) => ensure(body["started"] == "1", "not started"),
        (Err(wanted), Ok(false)) => ensure(wanted == "says: Block not found", wanted),
        (_, other) => Err(format!("{other:?}")),
    }
}

async fn blocks_info(rpc: &Rpc, entry: &Value) -> Checked {
    let hashes = hashes_of(&entry["request"]);
    let wanted = body(entry);
    if hashes.is_empty() {
        // Nothing to ask for, so nothing is asked.
        return ensure(rpc.blocks_info(&hashes).await.unwrap().is_empty(), "an answer to no question");
    }
    let body = match (wanted, rpc.blocks_info(&hashes).await) {
        (Ok(body), Ok(found)) => (body, found),
        (Err(wanted), Ok(found)) => {
            // One call for all failed, so each was asked for alone, and the recording said the same.
            let all_missing = found.values().all(|lookup| *lookup == Lookup::NotFound);
            return ensure(wanted == "says: Block not found" && all_missing, wanted);
        }
        (Err(wanted), Err(error)) => return same_failure(&wanted, &error),
        (Ok(_), Err(error)) => return Err(error.to_string()),
    };
    let (body, found) = body;
    let listed = |hash: &BlockHash| {
        let blocks = body["blocks"].as_object()?;
        blocks.iter().find(|(key, _)| key.eq_ignore_ascii_case(&hash.to_string())).map(|(_, block)| block)
    };
    for hash in &hashes {
        match (listed(hash), &found[hash]) {
            (Some(block), Lookup::Found(info)) => same_block(block, info)?,
            (None, Lookup::NotFound) => {
                let missing = body["blocks_not_found"].as_array().expect("a list of missing blocks");
                ensure(missing.iter().any(|listed| *listed == hash.to_string()), "not listed as missing")?;
            }
            (_, lookup) => return Err(format!("{hash}: {lookup:?}")),
        }
    }
    ensure(found.len() <= hashes.len(), "more blocks than hashes")
}

async fn receivable(rpc: &Rpc, entry: &Value) -> Checked {
    let accounts = accounts_of(&entry["request"]);
    let threshold = entry["request"]["threshold"].as_str().and_then(|text| text.parse().ok());
    let (body, found) = match (body(entry), rpc.accounts_receivable(&accounts, threshold).await) {
        (Ok(body), Ok(found)) => (body, found),
        (Err(wanted), Err(error)) => return same_failure(&wanted, &error),
        (wanted, found) => return Err(format!("{wanted:?} {found:?}")),
    };
    for account in &accounts {
        let list = &found[account];
        let recorded = &body["blocks"][account.to_string()];
        let count =
            recorded.as_array().map(Vec::len).or_else(|| recorded.as_object().map(serde_json::Map::len));
        ensure(list.len() == count.unwrap_or(0), format!("{account} has {} blocks", list.len()))?;
        for block in list {
            let recorded = &recorded[block.hash.to_string()];
            let amount = recorded.as_str().or_else(|| recorded["amount"].as_str());
            ensure(block.amount.map(|amount| amount.to_string()).as_deref() == amount, "amount")?;
            let source = recorded["source"].as_str();
            ensure(block.source.map(|source| source.to_string()).as_deref() == source, "source")?;
        }
    }
    Ok(())
}

async fn balances(rpc: &Rpc, entry: &Value) -> Checked {
    let accounts = accounts_of(&entry["request"]);
    let (body, found) = match (body(entry), rpc.accounts_balances(&accounts).await) {
        (Ok(body), Ok(found)) => (body, found),
        (Err(wanted), Err(error)) => return same_failure(&wanted, &error),
        (wanted, found) => return Err(format!("{wanted:?} {found:?}")),
    };
    let recorded = body["balances"].as_object().unwrap();
    ensure(recorded.len() == found.len() && !found.is_empty(), "number of balances")?;
    for (address, balance) in recorded {
        let read = found[&address.parse::<Account>().unwrap()];
        ensure(read.balance.to_string() == text(balance, "balance"), "balance")?;
        ensure(read.receivable.to_string() == text(balance, "receivable"), "receivable")?;
    }
    Ok(())
}

async fn account_info(rpc: &Rpc, entry: &Value) -> Checked {
    let account = text(&entry["request"], "account").parse().unwrap_or(Account::BURN);
    let (body, info) = match (body(entry), rpc.account_info(&account).await) {
        (Ok(body), Ok(Some(info))) => (body, info),
        (Err(wanted), Ok(None)) => return ensure(wanted == "says: Account not found", wanted),
        (Err(wanted), Err(error)) => return same_failure(&wanted, &error),
        (wanted, found) => return Err(format!("{wanted:?} {found:?}")),
    };
    ensure(info.frontier.to_string() == text(&body, "frontier"), "frontier")?;
    ensure(info.balance.to_string() == text(&body, "balance"), "balance")?;
    ensure(info.block_count.to_string() == text(&body, "block_count"), "block_count")?;
    let confirmed = body["confirmed_height"].as_str().or_else(|| body["confirmation_height"].as_str());
    ensure(info.confirmed_height.map(|height| height.to_string()).as_deref() == confirmed, "height")?;
    let frontier =
        body["confirmed_frontier"].as_str().or_else(|| body["confirmation_height_frontier"].as_str());
    let read = info.confirmed_frontier.unwrap_or(BlockHash::ZERO).to_string();
    ensure(Some(read.as_str()) == frontier, "confirmed frontier")?;
    let balance = info.confirmed_balance.map(|balance| balance.to_string());
    ensure(balance.as_deref() == body["confirmed_balance"].as_str(), "confirmed balance")
}

async fn history(rpc: &Rpc, entry: &Value) -> Checked {
    let forward = entry["request"]["reverse"] == "true";
    let account = text(&entry["request"], "account").parse().unwrap();
    let page = rpc.account_history(&HistoryQuery { account, head: None, forward, count: 10 }).await;
    let (body, page) = match (body(entry), page) {
        (Ok(body), Ok(page)) => (body, page),
        // One kind of node calls it an error that an account has no history.
        (Err(wanted), Ok(page)) => {
            return ensure(wanted == "says: Account not found" && page.entries.is_empty(), wanted);
        }
        (Err(wanted), Err(error)) => return same_failure(&wanted, &error),
        (wanted, found) => return Err(format!("{wanted:?} {found:?}")),
    };
    let recorded = body["history"].as_array().map_or_else(Vec::new, Clone::clone);
    ensure(recorded.len() == page.entries.len(), "number of blocks")?;
    let next = body["previous"].as_str().or_else(|| body["next"].as_str());
    ensure(page.next.map(|hash| hash.to_string()).as_deref() == next, "next page")?;
    for (recorded, read) in recorded.iter().zip(&page.entries) {
        ensure(read.hash.to_string() == text(recorded, "hash"), "hash")?;
        ensure(read.height.to_string() == text(recorded, "height"), "height")?;
        ensure(read.confirmed == (recorded["confirmed"] == "true"), "confirmed")?;
        let kind = recorded["subtype"].as_str().or_else(|| recorded["type"].as_str());
        ensure(read.subtype.map(Subtype::name) == kind, "subtype")?;
        let moved = matches!(kind, Some("send" | "receive"));
        let (amount, other) = (recorded["amount"].as_str(), recorded["account"].as_str());
        ensure(read.amount.map(|amount| amount.to_string()).as_deref() == amount, "amount")?;
        let other = other.filter(|_| moved);
        ensure(read.counterparty.map(|other| other.to_string()).as_deref() == other, "account")?;
    }
    Ok(())
}

async fn frontiers(rpc: &Rpc, entry: &Value) -> Checked {
    let accounts = accounts_of(&entry["request"]);
    let found = rpc.accounts_frontiers(&accounts).await.map_err(|error| error.to_string())?;
    let body = body(entry)?;
    ensure(found.len() == body["frontiers"].as_object().unwrap().len(), "number of frontiers")?;
    for (account, hash) in found {
        ensure(body["frontiers"][account.to_string()] == hash.to_string(), "frontier")?;
    }
    Ok(())
}

async fn exists(rpc: &Rpc, entry: &Value) -> Checked {
    let hash = text(&entry["request"], "hash").parse().unwrap();
    match (body(entry), rpc.receivable_exists(&hash).await) {
        (Ok(body), Ok(Some(exists))) => ensure(exists == (body["exists"] == "1"), "exists"),
        (Err(wanted), Ok(None)) => ensure(wanted == "says: Block not found", wanted),
        (wanted, found) => Err(format!("{wanted:?} {found:?}")),
    }
}

/// Any block will do: the server has its answer ready.
fn any_block() -> StateBlock {
    let key = PrivateKey::from_bytes([1; 32]);
    let fields = StateFields {
        account: key.account(),
        previous: BlockHash::ZERO,
        representative: Account::BURN,
        balance: Amount::ZERO,
        link: [0; 32],
    };
    fields.sign(&key, Work::new(0))
}

async fn process(rpc: &Rpc, entry: &Value) -> Checked {
    let block = match Block::from_json(&entry["request"]["block"]) {
        Ok(Block::State(block)) => block,
        _ => any_block(),
    };
    let processed = match (body(entry), rpc.process(&block, Subtype::Send).await) {
        (Ok(body), Ok(Processed::Accepted(hash))) => {
            return ensure(hash.to_string() == text(&body, "hash"), "another hash");
        }
        (Ok(body), Err(error)) if body["started"] == "1" => {
            return ensure(matches!(error.failure, Failure::Malformed("hash")), error);
        }
        (Err(wanted), Ok(processed)) => (wanted, processed),
        (Err(wanted), Err(error)) => return same_failure(&wanted, &error),
        (wanted, processed) => return Err(format!("{wanted:?} {processed:?}")),
    };
    let wanted = match processed.0.as_str() {
        "says: Old block" => Processed::Old,
        "says: Fork" => Processed::Fork,
        "says: Gap previous block" => Processed::GapPrevious,
        "says: Gap source block" => Processed::GapSource,
        "says: Bad signature" => Processed::BadSignature,
        "says: Block work is less than threshold" => Processed::LowWork,
        "says: Block is invalid" => Processed::Invalid,
        "says: Unreceivable" => Processed::Unreceivable,
        "says: Balance and amount delta do not match" => Processed::BalanceMismatch,
        "says: Invalid block balance for given subtype" => Processed::SubtypeMismatch,
        "says: Invalid block subtype" => Processed::BadSubtype,
        other => return Err(format!("nothing is expected for: {other}")),
    };
    ensure(processed.1 == wanted, format!("{:?}", processed.1))
}

async fn work_generate(rpc: &Rpc, entry: &Value) -> Checked {
    let root = text(&entry["request"], "hash").parse().unwrap_or(BlockHash::ZERO);
    let asked = Difficulty::parse(text(&entry["request"], "difficulty"));
    let difficulty = asked.unwrap_or(Network::Dev.work().send);
    match (body(entry), rpc.work_generate(root.as_bytes(), difficulty).await) {
        (Ok(body), Ok(work)) => {
            ensure(work.difficulty(root.as_bytes()) >= difficulty, "too little work")?;
            ensure(work.to_string().eq_ignore_ascii_case(text(&body, "work")), "another work")
        }
        (Err(wanted), Err(error)) => same_failure(&wanted, &error),
        (wanted, found) => Err(format!("{wanted:?} {found:?}")),
    }
}

async fn status(rpc: &Rpc, entry: &Value) -> Checked {
    let body = body(entry)?;
    match text(&entry["request"], "action") {
        "version" => {
            let version = rpc.version().await.map_err(|error| error.to_string())?;
            ensure(version.is_on(Network::Dev) && !version.is_on(Network::Live), "network")?;
            ensure(version.vendor == text(&body, "node_vendor"), "vendor")
        }
        "block_count" => {
            let count = rpc.block_count().await.map_err(|error| error.to_string())?;
            ensure(count.count.to_string() == text(&body, "count"), "count")?;
            ensure(
                count.cemented.map(|n| n.to_string()).as_deref() == body["cemented"].as_str(),
                "cemented",
            )?;
            ensure(count.unchecked.to_string() == text(&body, "unchecked"), "unchecked")
        }
        "confirmation_quorum" => {
            let quorum = rpc.confirmation_quorum().await.map_err(|error| error.to_string())?;
            ensure(quorum.online_stake_total.to_string() == text(&body, "online_stake_total"), "online")
        }
        "telemetry" => {
            let telemetry = rpc.telemetry().await.map_err(|error| error.to_string())?;
            ensure(telemetry.block_count.to_string() == text(&body, "block_count"), "block_count")
        }
        "active_difficulty" => {
            let active = rpc.active_difficulty().await.map_err(|error| error.to_string())?;
            let dev = Network::Dev.work();
            ensure((active.send, active.receive) == (dev.send, dev.receive), "difficulty")
        }
        other => Err(format!("not a call about status: {other}")),
    }
}
