//! One round of questions, and the facts that come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nano_currency::quorum::{Verdict, Word};
use nano_currency::rpc::Receivables;
use nano_currency::rpc::panel::{Listed, Round};
use nano_currency::{Account, Amount, BlockHash};

use super::{Hash, Question};
use crate::points::crash_point;
use crate::protocol::JobId;
use crate::worker::nodes::{Jury, disagreement};
use crate::worker::payment::{BlockFact, Facts, PARTS_MAX, Submitted};

/// One round, if the nodes are on the right network; otherwise all is unknown.
pub(super) async fn ask(jury: Arc<Jury>, questions: Vec<Question>) -> Vec<(JobId, Facts)> {
    if questions.is_empty() {
        if let Some(why) = jury.closed().await {
            tracing::error!("{why}");
        }
        return Vec::new();
    }
    crash_point!("worker/send/payment");
    let Some(why) = jury.closed().await else {
        let facts = ask_all(&jury, questions).await;
        crash_point!("worker/answer/payment");
        return facts;
    };
    tracing::error!("{why}");
    let unknown = |question: &Question| Facts {
        submitted: Submitted::NotFound,
        found: Vec::new(),
        unknown: Some(why.clone()),
        lapsed: question.lapsed,
    };
    questions.iter().map(|question| (question.job, unknown(question))).collect()
}

/// All submitted hashes in one call to each node, all accounts in one, and the blocks found on them
/// in one; and for both of the blocks one call more, for the blocks before them.
async fn ask_all(jury: &Jury, questions: Vec<Question>) -> Vec<(JobId, Facts)> {
    let submitted = jury.blocks(&submitted_hashes(&questions)).await;
    let accounts: Vec<Account> = questions
        .iter()
        .filter(|question| !may_settle_alone(jury, question, &submitted))
        .map(|question| question.invoice.account)
        .collect();
    let listed = if accounts.is_empty() { Listed::default() } else { jury.listed(&accounts).await };
    let on_accounts: BTreeSet<BlockHash> = questions
        .iter()
        .filter_map(|question| listed.lists.get(&question.invoice.account).map(|list| parts(list, question)))
        .flatten()
        .collect();
    let found = jury.blocks(&on_accounts.into_iter().collect::<Vec<_>>()).await;
    let alone: Vec<BlockHash> = questions
        .iter()
        .filter(|question| may_settle_alone(jury, question, &submitted))
        .filter_map(Question::hash)
        .collect();
    // Who has received what counts nothing, so nobody else is asked if this fails.
    let receipts = match alone.is_empty() {
        true => BTreeMap::new(),
        false => jury.rpc().receipts(&alone).await.unwrap_or_default(),
    };
    questions
        .iter()
        .map(|question| {
            let mut facts = facts(jury, question, &submitted, &listed, &found);
            if let Submitted::Found(block) = &mut facts.submitted {
                block.received = receipts.get(&block.hash).is_some_and(|receipt| !receipt.receivable);
            }
            (question.job, facts)
        })
        .collect()
}

fn submitted_hashes(questions: &[Question]) -> Vec<BlockHash> {
    let hashes: BTreeSet<BlockHash> = questions.iter().filter_map(Question::hash).collect();
    hashes.into_iter().collect()
}

/// Whether the submitted block alone pays the invoice: then there is nothing to look for on the
/// account. While it is not confirmed the buyer may have paid by another one.
fn may_settle_alone(jury: &Jury, question: &Question, submitted: &Round) -> bool {
    let Some(hash) = question.hash().filter(|_| !question.lapsed) else { return false };
    matches!(
        submitted.verdict(&hash, jury.quorum_for(question.invoice.price)).agreed(),
        Some(Word::Sent { to, amount, confirmed: true, .. })
            if *to == question.invoice.account && *amount >= question.invoice.price
    )
}

/// The fewest blocks that cover the price: the largest first, so that dust cannot hide a payment. Of
/// a job that is over all that are new, since any of them may be owed back.
fn parts(list: &Receivables, question: &Question) -> Vec<BlockHash> {
    let price = if question.lapsed { Amount::MAX } else { question.invoice.price };
    let mut blocks: Vec<(Amount, BlockHash)> = list
        .blocks
        .iter()
        .filter(|block| !question.known.contains(&block.hash))
        .map(|block| (block.amount.unwrap_or(Amount::MAX), block.hash))
        .collect();
    blocks.sort_unstable_by(|one, other| other.cmp(one));
    let mut sum = Amount::ZERO;
    let mut parts = Vec::new();
    for (amount, hash) in blocks {
        if sum >= price || parts.len() == PARTS_MAX {
            break;
        }
        // A node that lists bare hashes leaves the amount to the look-up.
        sum = if amount == Amount::MAX { sum } else { sum.saturating_add(amount) };
        parts.push(hash);
    }
    parts
}

fn facts(jury: &Jury, question: &Question, submitted: &Round, listed: &Listed, found: &Round) -> Facts {
    let quorum = jury.quorum_for(question.invoice.price);
    let mut facts =
        Facts { submitted: Submitted::None, found: Vec::new(), unknown: None, lapsed: question.lapsed };
    facts.submitted = match question.submitted {
        Hash::None => Submitted::None,
        Hash::Malformed => Submitted::Malformed,
        Hash::Some(hash) => match read(&hash, submitted, quorum) {
            Reading::Fact(fact) => Submitted::Found(fact),
            Reading::NotFound => Submitted::NotFound,
            Reading::Unclear(reason) => {
                facts.unknown = Some(reason);
                Submitted::NotFound
            }
        },
    };
    // The first reason is the one that the others follow from.
    if let Some(list) = listed.lists.get(&question.invoice.account) {
        if !list.complete {
            facts.unknown.get_or_insert_with(|| incomplete(listed));
        }
        for hash in parts(list, question) {
            match read(&hash, found, quorum) {
                Reading::Fact(fact) => facts.found.push(fact),
                // Listed a moment ago and gone now: rolled back.
                Reading::NotFound => {}
                Reading::Unclear(reason) => drop(facts.unknown.get_or_insert(reason)),
            }
        }
    }
    facts
}

/// Why nobody can say that there is nothing more.
fn incomplete(listed: &Listed) -> String {
    match listed.silent.first() {
        Some((node, why)) => format!("what waits for the account is not known: {node}: {why}"),
        None => "the account has more sends than a node's answer can list".to_owned(),
    }
}

enum Reading {
    Fact(BlockFact),
    NotFound,
    Unclear(String),
}

fn read(hash: &BlockHash, round: &Round, quorum: usize) -> Reading {
    let word = match round.verdict(hash, quorum) {
        Verdict::Agreed { word, .. } => word,
        Verdict::Unknown { said } => return Reading::Unclear(disagreement(&said, quorum)),
    };
    let (from, send, confirmed) = match word {
        Word::Sent { from, to, amount, confirmed } => (Some(from), Some((to, amount)), confirmed),
        Word::NoPayment { confirmed } => (None, None, confirmed),
        Word::NotFound => return Reading::NotFound,
    };
    Reading::Fact(BlockFact { hash: *hash, from, send, confirmed, claimed_elsewhere: false, received: false })
}
