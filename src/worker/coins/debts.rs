//! What buyers are owed back, and the books in which it stands.

use std::collections::{BTreeMap, BTreeSet};

use nano_currency::quorum::Word;
use nano_currency::rpc::Receivable;
use nano_currency::{Account, Amount, BlockHash};

use super::chain::again;
use super::journal::{Does, OwnBlock};
use super::line::Line;
use super::whose::{self, Own};
use super::{CoinsError, Purse};
use crate::points::crash_point;
use crate::protocol::{JobId, OfferId};
use crate::store::Batch;
use crate::worker::memory::{CLAIMS, JOBS, MONEY, OWED, Record};
use crate::worker::money::{End, Part, Piece, give_back, reckon};
use crate::worker::oddity::Policy;
use crate::worker::offers;
use crate::worker::stage::{Ending, Stage};

/// Blocks proven in one round: what a node answers in one call.
const BLOCKS_PER_ROUND: usize = 1_000;

/// An account that holds something, or has something waiting: what it holds, and what waits.
pub(super) type Laden = (Own, Amount, Vec<Receivable>);

/// What is owed back of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Debt {
    /// The payment.
    pub(super) of: BlockHash,
    /// How much of it goes back in all.
    pub(super) owed: Amount,
    /// How much of that is not known to have gone back.
    pub(super) due: Amount,
    /// To whom, if nobody says otherwise.
    pub(super) from: Option<Account>,
}

impl Debt {
    fn of(hash: BlockHash, piece: &Piece) -> Option<Self> {
        let due = Some(piece.due()).filter(|due| !due.is_zero())?;
        Some(Self { of: hash, owed: piece.owed?.amount, due, from: piece.from })
    }
}

impl Debt {
    /// How much is left to be sent, by what was signed so far.
    pub(super) fn left(&self, sent: &BTreeMap<BlockHash, Amount>) -> Amount {
        let sent = sent.get(&self.of).copied().unwrap_or(Amount::ZERO);
        self.owed.checked_sub(sent).unwrap_or(Amount::ZERO)
    }
}

impl Purse {
    /// What is owed back on an account, and is not known to have been sent back.
    pub(super) fn debts(&self, own: &Own) -> Result<Vec<Debt>, CoinsError> {
        let Some(job) = own.job else { return Ok(Vec::new()) };
        let pieces = self.pieces(job)?;
        let here = pieces.iter().filter(|(_, piece)| piece.account == own.account);
        Ok(here.filter_map(|(hash, piece)| Debt::of(*hash, piece)).collect())
    }

    /// Everything that is owed back, by job.
    pub(super) fn all_debts(&self) -> Result<BTreeMap<JobId, Vec<(BlockHash, Piece)>>, CoinsError> {
        let mut all: BTreeMap<JobId, Vec<(BlockHash, Piece)>> = BTreeMap::new();
        for entry in OWED.all(&self.store) {
            let (key, ()) = entry?;
            if let Some(piece) = MONEY.get(&self.store, &key)? {
                all.entry(key.0).or_default().push((key.1, piece));
            }
        }
        Ok(all)
    }

    fn pieces(&self, job: JobId) -> Result<Vec<(BlockHash, Piece)>, CoinsError> {
        MONEY
            .prefix(&self.store, &job)
            .map(|entry| entry.map(|((_, hash), piece)| (hash, piece)))
            .map(|entry| Ok(entry?))
            .collect()
    }

    /// The payment of a job that failed is given back: a person has decided so.
    pub(super) async fn give_back(&self, own: &Own, dry_run: bool) -> Result<Vec<Debt>, CoinsError> {
        let Some(job) = own.job else { return Ok(Vec::new()) };
        let debts = {
            let _turn = self.store.writer();
            let mut parts = self.parts(job)?;
            let before = parts.clone();
            give_back(&mut parts);
            if !dry_run {
                self.put_changes(job, &before, &parts)?;
            }
            parts.iter().filter_map(|part| Debt::of(part.hash, &part.piece)).collect()
        };
        self.store.durable().await?;
        Ok(debts)
    }

    fn parts(&self, job: JobId) -> Result<Vec<Part>, CoinsError> {
        let part = |(hash, piece): (BlockHash, Piece)| {
            Ok(Part { hash, piece, counted: CLAIMS.get(&self.store, &hash)? == Some(job) })
        };
        self.pieces(job)?.into_iter().map(part).collect()
    }

    /// Writes down what was decided about a job's money, in the turn in which it was read.
    fn put_changes(&self, job: JobId, before: &[Part], after: &[Part]) -> Result<(), CoinsError> {
        let mut batch = Batch::default();
        for part in after.iter().filter(|part| !before.contains(part)) {
            MONEY.put(&mut batch, &(job, part.hash), &part.piece)?;
            if Debt::of(part.hash, &part.piece).is_some() {
                OWED.put(&mut batch, &(job, part.hash), &())?;
            }
        }
        Ok(self.store.commit(batch)?)
    }

    /// The rules of all offers that are ours.
    fn policies(&self) -> Result<BTreeMap<OfferId, Policy>, CoinsError> {
        let known = offers::known(&self.store, &self.offers)?;
        Ok(known.into_iter().map(|(offer, known)| (offer, known.terms.payment)).collect())
    }

    pub(super) fn policy_of(&self, offer: OfferId) -> Result<Policy, CoinsError> {
        Ok(self.policies()?.get(&offer).copied().unwrap_or_default())
    }

    /// The newest blocks of the accounts that hold something of jobs that are over, as far as that is told.
    async fn ends_of(&self, laden: &[Laden]) -> Result<BTreeMap<Account, BlockHash>, CoinsError> {
        let held = laden.iter().filter(|(own, holds, _)| own.claim.is_settled() && !holds.is_zero());
        let held: Vec<Account> = held.map(|(own, ..)| own.account).collect();
        let mut ends = BTreeMap::new();
        for accounts in held.chunks(BLOCKS_PER_ROUND) {
            match again(|| self.rpc.accounts_frontiers(accounts)).await {
                Ok(frontiers) => ends.extend(frontiers),
                // A proxy that does not let this question through: each chain is looked at by itself.
                Err(CoinsError::Node(error)) if error.failure.is_answer() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(ends)
    }

    /// Puts into the books what came to jobs that are over and was not noticed yet, before anything is
    /// done with it. What is not proven is left where it is; returned is which, and why.
    pub(super) async fn notice(&self, laden: &mut [Laden]) -> Result<Vec<(Own, String)>, CoinsError> {
        let policies = self.policies()?;
        let ends = self.ends_of(laden).await?;
        let mut unknown: BTreeMap<BlockHash, (Own, JobId)> = BTreeMap::new();
        for (own, holds, waiting) in laden.iter() {
            let Some(job) = own.job.filter(|_| own.claim.is_settled()) else { continue };
            let Some(record) = JOBS.get(&self.store, &job)? else { continue };
            let policy = policies.get(&record.offer_id).copied().unwrap_or_default();
            let dust = policy.dust_for(price(&record));
            let journal = self.journal_of(&own.account)?;
            let received = journal.iter().filter(|kept| kept.does == Does::Receive);
            let received = received.map(|kept| BlockHash::from_bytes(kept.block.0.fields.link));
            let strange = match holds.is_zero() || leads_to(&journal, ends.get(&own.account)) {
                true => Vec::new(),
                // Another wallet of the seed has received it, or a life that is forgotten.
                false => match self.line_of(&own.account).await? {
                    Ok(line) => line.strange_receives(dust).collect(),
                    Err(_) => Vec::new(),
                },
            };
            let waits = waiting.iter().filter(|send| send.amount.is_none_or(|amount| amount >= dust));
            for hash in waits.map(|send| send.hash).chain(received).chain(strange) {
                if !MONEY.contains(&self.store, &(job, hash))? {
                    unknown.insert(hash, (*own, job));
                }
            }
        }
        let mut unproven = Vec::new();
        let mut jobs = BTreeSet::new();
        let hashes: Vec<BlockHash> = unknown.keys().copied().collect();
        for hashes in hashes.chunks(BLOCKS_PER_ROUND) {
            let round = self.jury.blocks(hashes).await;
            let _turn = self.store.writer();
            let mut batch = Batch::default();
            for hash in hashes {
                let Some((own, job)) = unknown.get(hash) else { continue };
                // The engine may have seen it meanwhile.
                if MONEY.contains(&self.store, &(*job, *hash))? {
                    continue;
                }
                let claimed = CLAIMS.get(&self.store, hash)?;
                let word = round.verdict(hash, self.jury.quorum_for(Amount::MAX));
                match word.agreed() {
                    Some(Word::Sent { from, to, amount, confirmed: true })
                        if *to == own.account && claimed.is_none_or(|by| by == *job) =>
                    {
                        let piece = Piece {
                            amount: *amount,
                            from: Some(*from),
                            account: own.account,
                            index: own.index,
                            at: self.clock.now(),
                            late: true,
                            owed: None,
                            back: None,
                            returned: Amount::ZERO,
                        };
                        MONEY.put(&mut batch, &(*job, *hash), &piece)?;
                        jobs.insert(*job);
                    }
                    _ => unproven.push((*own, *hash)),
                }
            }
            self.store.commit(batch)?;
        }
        for job in jobs {
            self.reckon(job, &policies)?;
        }
        self.store.durable().await?;
        crash_point!("worker/money/noticed");
        let is_unproven = |own: &Own, hash: &BlockHash| unproven.contains(&(*own, *hash));
        for (own, _, waiting) in laden.iter_mut() {
            waiting.retain(|send| !is_unproven(own, &send.hash));
        }
        let told =
            |(own, hash): &(Own, BlockHash)| (*own, format!("the nodes do not prove the payment {hash}"));
        Ok(unproven.iter().map(told).collect())
    }

    /// Why it cannot be told that what an account holds was earned, by the chain on which it would be sent
    /// home: what another hand has received is in no book.
    pub(super) fn unbooked(&self, own: &Own, line: &Line) -> Result<Option<String>, CoinsError> {
        let Some(job) = own.job else { return Ok(None) };
        let Some(record) = JOBS.get(&self.store, &job)? else { return Ok(None) };
        let dust = self.policy_of(record.offer_id)?.dust_for(price(&record));
        for hash in line.strange_receives(dust) {
            if !MONEY.contains(&self.store, &(job, hash))? {
                let why = "was received by a block that this state did not make, and is in no book yet";
                return Ok(Some(format!("{hash} {why}: try again later")));
            }
        }
        Ok(None)
    }

    /// Decides about the money of a job that is over.
    fn reckon(&self, job: JobId, policies: &BTreeMap<OfferId, Policy>) -> Result<(), CoinsError> {
        let _turn = self.store.writer();
        let Some(record) = JOBS.get(&self.store, &job)? else { return Ok(()) };
        if whose::may_revive(&self.store, job, &record)? {
            return Ok(());
        }
        let Some(ending) = ending_of(&record) else { return Ok(()) };
        let policy = policies.get(&record.offer_id).copied().unwrap_or_default();
        let mut parts = self.parts(job)?;
        let before = parts.clone();
        let (status, for_nothing) = (record.status, record.is_for_nothing());
        reckon(&End { ending, status, for_nothing, price: price(&record), policy: &policy }, &mut parts);
        self.put_changes(job, &before, &parts)
    }
}

/// Whether a chain is ours from its first block to its newest.
fn leads_to(journal: &[OwnBlock], end: Option<&BlockHash>) -> bool {
    let mut previous = BlockHash::ZERO;
    // Each block is the next one of one other, so this ends.
    for _ in 0..journal.len() {
        let Some(next) = journal.iter().find(|own| own.block.0.fields.previous == previous) else { break };
        previous = next.hash();
        if end == Some(&previous) {
            return true;
        }
    }
    false
}

/// What a job cost; of one that an earlier version ended nobody knows, so nothing is too much.
fn price(record: &Record) -> Amount {
    record.invoice.map_or(Amount::MAX, |invoice| invoice.price)
}

const fn ending_of(record: &Record) -> Option<&Ending> {
    match &record.stage {
        Stage::Ended { ending } | Stage::Lapsed { ending, .. } => Some(ending),
        _ => None,
    }
}
