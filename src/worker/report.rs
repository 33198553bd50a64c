//! What people ask of a worker's state, answered as JSON: from a running daemon or a store at rest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::coins::Errand;
use super::look;
use super::memory::{self, Record};
use super::memory::{
    CLAIMS, HISTORY, INVOICES, JOBS, MONEY, OFFERS, OPEN, OUTCOMES, OWED, RECENT, REQUESTS, STALLS, TICKETS,
    fact,
};
use super::money::Piece;
use super::payment::Verdict;
use super::stage::Stage;
use crate::nano::{Account, Amount, BlockHash};
use crate::protocol::{JobId, OfferId};
use crate::store::{Store, StoreError};

/// Jobs in one list: what a person reads.
const JOBS_MAX: usize = 1_000;

/// Payments that nobody can tell of which `status` names one by one.
const UNKNOWN_MAX: usize = 10;

/// Debts that `status` names one by one; `wallet balance` names all.
const OWED_SHOWN_MAX: usize = 10;

/// A question about the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Question {
    /// How it goes.
    Status,
    /// The jobs, newest first.
    Jobs {
        /// Only those to which something is owed.
        open: bool,
        /// How many at most.
        limit: usize,
    },
    /// One job, with its history.
    Job {
        /// Which.
        id: JobId,
    },
    /// What is known of the payment of one job, or of an address, and of some blocks.
    Payment {
        /// The job.
        job: Option<JobId>,
        /// Or its address.
        account: Option<Account>,
        /// Blocks that may have been counted for a job.
        blocks: Vec<BlockHash>,
    },
    /// The invoice addresses that were used.
    Wallet,
    /// Something to be done with the coins: the purse does it, and says what it does meanwhile.
    Coins(Errand),
    /// A backup; its answer is not JSON but the backup itself.
    Backup,
}

/// Answers a question.
///
/// # Errors
/// If the store fails.
pub fn answer(store: &Store, question: &Question) -> Result<Value, StoreError> {
    match question {
        Question::Status => status(store),
        Question::Jobs { open, limit } => jobs(store, *open, (*limit).min(JOBS_MAX)),
        Question::Job { id } => job(store, *id),
        Question::Payment { job, account, blocks } => payment(store, *job, *account, blocks),
        Question::Wallet => wallet(store),
        Question::Backup | Question::Coins(_) => Ok(Value::Null),
    }
}

fn status(store: &Store) -> Result<Value, StoreError> {
    let open = memory::open_jobs(store)?;
    let mut stages = serde_json::Map::new();
    for record in open.values() {
        let count = stages.get(record.stage.name()).and_then(Value::as_u64).unwrap_or(0);
        stages.insert(record.stage.name().to_owned(), json!(count + 1));
    }
    let mut offers = OFFERS
        .all(store)
        .map(|entry| entry.map(|(name, offer)| json!({ "name": name, "offer_id": offer.offer_id })))
        .collect::<Result<Vec<_>, _>>()?;
    for entry in STALLS.all(store) {
        let (name, stall) = entry?;
        offers.push(json!({ "name": name, "offer_id": stall.current.map(|placed| placed.offer_id) }));
    }
    Ok(json!({
        "open_jobs": open.len(),
        "free_bytes": crate::store::free_bytes(store.dir()).ok(),
        "short_of_room": crate::store::is_short(store.dir()),
        "stages": stages,
        "unknown_payments": unknown_payments(&open),
        "payment_outcomes": noted(store, fact::ODDITIES)?,
        "owed_back": owed_back(store)?,
        "events_passed_over": memory::passed_over(store)?,
        "nodes": noted(store, fact::NODES)?,
        "offers": offers,
        "offers_refused": noted(store, fact::REFUSED)?,
        "seller_pubkey": memory::fact(store, fact::SELLER)?,
        "first_account": memory::fact(store, fact::WALLET)?,
        "holder": memory::fact(store, fact::HOLDER)?,
        "next_index": memory::fact(store, fact::NEXT_INDEX)?.and_then(|text| text.parse::<u32>().ok()),
        "epoch": memory::fact(store, fact::EPOCH)?,
        "looked": !look::is_due(store)?,
        "restored": noted(store, fact::RESTORED)?,
        "backup": noted(store, fact::BACKUP)?,
        "cursor": memory::fact(store, fact::CURSOR)?.and_then(|text| text.parse::<u64>().ok()),
    }))
}

/// The payments about which the nodes do not agree, or say nothing.
fn unknown_payments(open: &BTreeMap<JobId, Record>) -> Value {
    let unknown: Vec<Value> = open
        .iter()
        .filter_map(|(job, record)| match &record.stage {
            Stage::Awaiting { verdict: Some(Verdict::Unknown(why)), .. } => {
                Some(json!({ "job_id": job, "why": why }))
            }
            _ => None,
        })
        .collect();
    json!({ "count": unknown.len(), "first": unknown.into_iter().take(UNKNOWN_MAX).collect::<Vec<_>>() })
}

/// What is owed back, block by block.
fn owed_back(store: &Store) -> Result<Value, StoreError> {
    let (mut total, mut count, mut first) = (Amount::ZERO, 0_u64, Vec::new());
    for entry in OWED.all(store) {
        let ((job, hash), ()) = entry?;
        let Some(piece) = MONEY.get(store, &(job, hash))? else { continue };
        total = total.saturating_add(piece.due());
        count += 1;
        if first.len() < OWED_SHOWN_MAX {
            first.push(debt(job, hash, &piece));
        }
    }
    Ok(json!({ "count": count, "raw": total, "xno": total.to_xno(), "first": first }))
}

/// A block that came, and what is owed back of it.
pub(super) fn debt(job: JobId, hash: BlockHash, piece: &Piece) -> Value {
    json!({
        "job_id": job,
        "block": hash,
        "amount_raw": piece.amount,
        "from": piece.from,
        "account": piece.account,
        "at": piece.at,
        "owed_raw": piece.owed.map(|owed| owed.amount),
        "why": piece.owed.map(|owed| owed.why),
        "due_raw": piece.due(),
        "returned_raw": piece.returned,
        "sent_back_by": piece.back,
    })
}

/// A fact that is JSON; null if there is none.
fn noted(store: &Store, name: &str) -> Result<Value, StoreError> {
    let text = memory::fact(store, name)?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

fn jobs(store: &Store, open: bool, limit: usize) -> Result<Value, StoreError> {
    let mut list = Vec::new();
    for entry in RECENT.all(store).rev() {
        if list.len() == limit {
            break;
        }
        let ((_, id), ()) = entry?;
        if open && !OPEN.contains(store, &id)? {
            continue;
        }
        if let Some(record) = JOBS.get(store, &id)? {
            list.push(summary(store, id, &record)?);
        }
    }
    Ok(json!({ "jobs": list }))
}

fn summary(store: &Store, id: JobId, record: &Record) -> Result<Value, StoreError> {
    let ending = match &record.stage {
        Stage::Ended { ending } | Stage::Lapsed { ending, .. } => Some(ending.name()),
        _ => None,
    };
    let mut summary = json!({
        "job_id": id,
        "offer_id": record.offer_id,
        "buyer_pubkey": record.buyer_pubkey,
        "status": record.status,
        "stage": record.stage.name(),
        "ending": ending,
        "payment_outcomes": record.oddities,
        "first_seen_at": record.first_seen_at,
        "changed_at": record.changed_at,
    });
    if let Some(ticket) = TICKETS.get(store, &id)? {
        summary["name"] = json!(ticket.job_id);
        summary["buyer_bot_id"] = json!(ticket.buyer_bot_id);
    }
    Ok(summary)
}

fn job(store: &Store, id: JobId) -> Result<Value, StoreError> {
    let Some(record) = JOBS.get(store, &id)? else { return Ok(Value::Null) };
    let history =
        HISTORY.prefix(store, &id).map(|entry| entry.map(|(_, line)| line)).collect::<Result<Vec<_>, _>>()?;
    let parse = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).ok();
    let mut answer = summary(store, id, &record)?;
    answer["owes"] = json!(record.stage);
    answer["request"] = json!(REQUESTS.get(store, &id)?.and_then(parse));
    answer["outcome"] = json!(OUTCOMES.get(store, &(id, record.outcomes))?.and_then(parse));
    answer["history"] = json!(history);
    answer["claimed_blocks"] = json!(claims_of(store, id)?);
    answer["money"] = money(store, id)?;
    Ok(answer)
}

fn money(store: &Store, id: JobId) -> Result<Value, StoreError> {
    let blocks = MONEY
        .prefix(store, &id)
        .map(|entry| entry.map(|((job, hash), piece)| debt(job, hash, &piece)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(json!(blocks))
}

/// Few people ask, so the claims of one job are found by looking at all.
fn claims_of(store: &Store, id: JobId) -> Result<Vec<String>, StoreError> {
    let mut blocks = Vec::new();
    for entry in CLAIMS.all(store) {
        let (block, job) = entry?;
        if job == id {
            blocks.push(block.to_string());
        }
    }
    Ok(blocks)
}

fn payment(
    store: &Store,
    job: Option<JobId>,
    account: Option<Account>,
    blocks: &[BlockHash],
) -> Result<Value, StoreError> {
    let issued = match account {
        Some(account) => INVOICES.get(store, &memory::account_key(&account))?,
        None => None,
    };
    let id = job.or(issued.and_then(|issued| issued.job_id));
    let mut claims = serde_json::Map::new();
    for block in blocks {
        if let Some(job) = CLAIMS.get(store, block)? {
            claims.insert(block.to_string(), json!(job));
        }
    }
    let record = match id {
        Some(id) => JOBS.get(store, &id)?.map(|record| (id, record)),
        None => None,
    };
    let Some((id, record)) = record else { return Ok(json!({ "job": null, "claims": claims })) };
    if job.is_some() || account.is_some() {
        claims.extend(claims_of(store, id)?.into_iter().map(|block| (block, json!(id))));
    }
    let mut answer = summary(store, id, &record)?;
    let invoice = record.stage.invoice().or(record.invoice.as_ref());
    answer["account"] = json!(match invoice {
        Some(invoice) => Some(invoice.account),
        None => account_of(store, id, &record)?,
    });
    answer["price_raw"] = json!(invoice.map(|invoice| invoice.price));
    let (submitted, believed) = match &record.stage {
        Stage::Awaiting { submitted, verdict, .. } => {
            (submitted.as_deref(), verdict.as_ref().map(ToString::to_string))
        }
        Stage::Lapsed { submitted, .. } => (submitted.as_deref(), None),
        _ => (None, None),
    };
    (answer["submitted"], answer["believed"]) = (json!(submitted), json!(believed));
    answer["offer"] = json!(offer_name(store, record.offer_id)?);
    answer["money"] = money(store, id)?;
    Ok(json!({ "job": answer, "claims": claims }))
}

/// What the configuration calls an offer; none if it has it no longer.
fn offer_name(store: &Store, id: OfferId) -> Result<Option<String>, StoreError> {
    for entry in OFFERS.all(store) {
        let (name, offer) = entry?;
        if offer.offer_id == Some(id) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Few people ask, so the address of a job that no longer needs it is found by looking at all.
fn account_of(store: &Store, id: JobId, record: &Record) -> Result<Option<Account>, StoreError> {
    for entry in INVOICES.all(store) {
        let (key, issued) = entry?;
        let account = Account::from_bytes(key);
        if issued.job_id == Some(id) && record.owns(&account) {
            return Ok(Some(account));
        }
    }
    Ok(None)
}

fn wallet(store: &Store) -> Result<Value, StoreError> {
    let mut invoices = Vec::new();
    for entry in INVOICES.all(store) {
        let (key, issued) = entry?;
        invoices.push((issued.index, Account::from_bytes(key), issued.job_id));
    }
    invoices.sort_unstable_by_key(|(index, ..)| *index);
    let list: Vec<Value> = invoices
        .into_iter()
        .map(|(index, account, job)| json!({ "index": index, "account": account, "job_id": job }))
        .collect();
    Ok(json!({ "invoices": list }))
}
