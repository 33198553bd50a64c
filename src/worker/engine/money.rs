//! What came to a job's invoice, how that was odd, and what of it is owed back; with the addresses of
//! jobs that are over, which are looked at for a while.

use std::collections::{BTreeMap, BTreeSet};

use nano_currency::{Account, Amount, BlockHash};

use super::super::input::{Effect, Input};
use super::super::memory::{self, AFTER, Entry, HISTORY, INVOICES, JOBS, MONEY, OWED, Record, fact};
use super::super::money::{End, Part, Piece, reckon};
use super::super::oddity::{Oddity, Policy};
use super::super::payment::{Facts, Invoice, PaymentError, Submitted, Verdict};
use super::super::stage::{Ending, Stage};
use super::{Effects, Engine, EngineError, LINES_MAX, Turn};
use crate::points::crash_point;
use crate::protocol::{JobId, Timestamp};
use crate::store::{Store, StoreError};

/// The jobs that are over and whose address is still looked at.
#[derive(Debug, Default)]
pub(super) struct After {
    jobs: BTreeMap<JobId, (Record, Timestamp)>,
    ends: BTreeSet<(Timestamp, JobId)>,
}

impl After {
    pub(super) fn open(store: &Store) -> Result<Self, StoreError> {
        let jobs = memory::after(store)?;
        let ends = jobs.iter().map(|(job, (_, until))| (*until, *job)).collect();
        Ok(Self { jobs, ends })
    }

    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.ends.first().map(|(until, _)| *until)
    }

    pub(super) fn record(&self, job: &JobId) -> Option<&Record> {
        self.jobs.get(job).map(|(record, _)| record)
    }

    pub(super) fn note(&mut self, job: &JobId, news: &Record) {
        if let Some((record, _)) = self.jobs.get_mut(job) {
            record.clone_from(news);
        }
    }

    fn insert(&mut self, job: JobId, record: Record, until: Timestamp) {
        self.remove(&job);
        self.ends.insert((until, job));
        self.jobs.insert(job, (record, until));
    }

    fn remove(&mut self, job: &JobId) -> Option<Record> {
        let (record, until) = self.jobs.remove(job)?;
        self.ends.remove(&(until, *job));
        Some(record)
    }
}

/// How many payments were odd in which way.
pub(super) type Tally = BTreeMap<Oddity, u64>;

pub(super) fn tally(store: &Store) -> Result<Tally, StoreError> {
    let text = memory::fact(store, fact::ODDITIES)?;
    // A name that a later version knows is not worth a stop.
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

impl Engine {
    /// Goes on looking at the addresses of jobs that are over.
    pub(super) fn resume_after(&self, effects: &mut Effects) {
        for (job, (record, _)) in &self.after.jobs {
            if let Some(invoice) = record.invoice {
                effects.push((*job, Effect::Watch { invoice, submitted: None, lapsed: true, over: true }));
            }
        }
    }

    /// Looks no longer where it was looked at long enough.
    pub(super) fn end_after(&mut self, turn: &mut Turn) {
        while let Some((until, job)) = self.after.ends.first().copied()
            && until <= turn.now
        {
            self.after.remove(&job);
            AFTER.remove(&mut turn.batch, &job);
            turn.effects.push((job, Effect::Unwatch));
        }
    }

    pub(super) fn hear_facts(
        &mut self,
        job: JobId,
        mut facts: Facts,
        turn: &mut Turn,
    ) -> Result<(), EngineError> {
        let Some((invoice, is_over)) = self.invoice_of(job) else { return Ok(()) };
        facts.unknown = facts.unknown.map(|reason| super::bounded(&reason, super::LINE_CHARS_MAX));
        let mut verdict = self.judge(job, &invoice, &mut facts, turn)?;
        if let Verdict::Unpaid(PaymentError::AddressMismatch(other)) = verdict
            && self.is_invoice(&other)?
        {
            verdict = Verdict::Unpaid(PaymentError::OtherInvoice(other));
        }
        self.note_look(job, &facts, &verdict, turn)?;
        let is_paid = matches!(verdict, Verdict::Settled { .. });
        let counts = is_paid && !self.is_unread(job);
        if self.note_money(job, &invoice, &facts, counts, is_over, turn)? && is_over {
            self.settle(job, turn)?;
        }
        // A state that has yet to hear of all jobs may take for late what has paid since its backup. The
        // looks after that judge it again, by the books.
        let may_be_news = is_over && self.tickets.contains_key(&job) && !self.is_synced()?;
        // What pays for nothing that is known is not counted, and owed back when the job is over.
        if self.open.contains_key(&job) && counts == is_paid && !may_be_news {
            turn.inputs.push_back((job, Input::Judged(verdict)));
        }
        self.has_looked(job, turn);
        Ok(())
    }

    /// The invoice that is looked at for a job, and whether the job is over.
    fn invoice_of(&self, job: JobId) -> Option<(Invoice, bool)> {
        match self.open.get(&job) {
            Some(record) => {
                let is_over = matches!(record.stage, Stage::Lapsed { .. });
                record.stage.invoice().map(|invoice| (*invoice, is_over))
            }
            None => self.after.record(&job).and_then(|record| Some((record.invoice?, true))),
        }
    }

    pub(super) fn policy_of(&self, job: JobId) -> Policy {
        let offer = self.record(job).map(|record| record.offer_id);
        let terms = offer.and_then(|offer| self.terms.get(&offer));
        terms.map_or_else(Policy::default, |terms| terms.payment)
    }

    fn record(&self, job: JobId) -> Option<&Record> {
        self.open.get(&job).or_else(|| self.after.record(&job))
    }

    /// An address that was given away in this very commit has not been paid yet.
    fn is_invoice(&self, account: &Account) -> Result<bool, StoreError> {
        INVOICES.contains(&self.store, &memory::account_key(account))
    }

    /// What a look says besides its verdict.
    fn note_look(
        &mut self,
        job: JobId,
        facts: &Facts,
        verdict: &Verdict,
        turn: &mut Turn,
    ) -> Result<(), EngineError> {
        if matches!(verdict, Verdict::Unpaid(PaymentError::OtherInvoice(_))) {
            self.note_odd(job, Oddity::HashOfOtherInvoice, turn)?;
        }
        let before = self.open.get(&job).and_then(|record| match &record.stage {
            Stage::Awaiting { verdict, .. } => verdict.as_ref(),
            _ => None,
        });
        let was_there = matches!(before, Some(Verdict::Unpaid(PaymentError::Unconfirmed)));
        if was_there && facts.submitted == Submitted::NotFound && facts.unknown.is_none() {
            self.note_odd(job, Oddity::RolledBack, turn)?;
        }
        Ok(())
    }

    /// Keeps what came; whether something did. Dust is only kept where it counts.
    fn note_money(
        &mut self,
        job: JobId,
        invoice: &Invoice,
        facts: &Facts,
        counts: bool,
        late: bool,
        turn: &mut Turn,
    ) -> Result<bool, EngineError> {
        let dust = self.policy_of(job).dust_for(invoice.price);
        let mut is_new = false;
        for block in facts.blocks() {
            let Some((to, amount)) = block.send else { continue };
            if to != invoice.account || !block.confirmed || block.claimed_elsewhere {
                continue;
            }
            if amount < dust {
                self.note_odd(job, Oddity::Dust, turn)?;
            }
            let known = turn.pieces.contains_key(&(job, block.hash))
                || MONEY.contains(&self.store, &(job, block.hash))?;
            if known || (amount < dust && !counts) {
                continue;
            }
            if block.received && counts {
                self.note_odd(job, Oddity::AlreadyReceived, turn)?;
            }
            let piece = Piece {
                amount,
                from: block.from,
                account: invoice.account,
                index: invoice.index,
                at: turn.now,
                late,
                owed: None,
                back: None,
                returned: Amount::ZERO,
            };
            put_piece(turn, job, block.hash, piece)?;
            is_new = true;
        }
        Ok(is_new)
    }

    /// How a payment was odd that is being claimed.
    pub(super) fn note_claim(&mut self, job: JobId, turn: &mut Turn) -> Result<(), EngineError> {
        let Some(Record { stage, offer_id, .. }) = self.open.get(&job) else { return Ok(()) };
        let Stage::Awaiting { invoice, submitted, since, verdict: Some(Verdict::Settled { blocks, total }) } =
            stage
        else {
            return Ok(());
        };
        let window = self.terms.get(offer_id).map(|terms| terms.payment_window);
        let late = submitted.is_some() && window.is_some_and(|window| turn.now > since.plus(window));
        let odd = [
            (blocks.len() > 1, Oddity::PaidInParts),
            (*total > invoice.price, Oddity::Overpaid),
            (*total < invoice.price, Oddity::Underpaid),
            (submitted.is_none(), Oddity::PaidWithoutHash),
            (late, Oddity::PaidLate),
        ];
        for (is_so, oddity) in odd {
            if is_so {
                self.note_odd(job, oddity, turn)?;
            }
        }
        Ok(())
    }

    /// Says once for each job how its payment was odd: in its record and history, in the tally and in
    /// the log.
    fn note_odd(&mut self, job: JobId, oddity: Oddity, turn: &mut Turn) -> Result<(), EngineError> {
        let record = match self.open.get_mut(&job) {
            Some(record) => record,
            None => match self.after.jobs.get_mut(&job) {
                Some((record, _)) => record,
                None => return Ok(()),
            },
        };
        if record.oddities.contains(&oddity) {
            return Ok(());
        }
        record.oddities.push(oddity);
        if record.lines < LINES_MAX {
            let what = format!("payment outcome: {}", oddity.name());
            let entry = Entry { at: turn.now, what, stage: record.stage.to_string() };
            HISTORY.put(&mut turn.batch, &(job, record.lines), &entry)?;
            record.lines += 1;
        }
        JOBS.put(&mut turn.batch, &job, record)?;
        let count = self.tally.entry(oddity).or_default();
        *count = count.saturating_add(1);
        let text = serde_json::to_string(&self.tally).unwrap_or_default();
        memory::put_fact(&mut turn.batch, fact::ODDITIES, &text)?;
        tracing::info!(job_id = %job, outcome = oddity.name(), "a payment was odd");
        Ok(())
    }

    /// A job is over, or is over and has got something more: what of its money is owed back?
    pub(super) fn settle(&mut self, job: JobId, turn: &mut Turn) -> Result<(), EngineError> {
        let over = self.record(job).filter(|record| !self.may_revive(job, record));
        let Some((ending, invoice, record)) = over.and_then(end_of) else { return Ok(()) };
        let (status, for_nothing) = (record.status, record.is_for_nothing());
        let mut parts = Vec::new();
        for (hash, piece) in self.pieces_of(job, turn)? {
            let counted = self.claimant(&hash, turn)? == Some(job);
            parts.push(Part { hash, piece, counted });
        }
        let before: Vec<Piece> = parts.iter().map(|part| part.piece.clone()).collect();
        let policy = self.policy_of(job);
        let end = End { ending: &ending, status, for_nothing, price: invoice.price, policy: &policy };
        reckon(&end, &mut parts);
        for (Part { hash, piece, .. }, before) in parts.into_iter().zip(before) {
            let Some(owed) = piece.owed.filter(|_| piece != before) else { continue };
            tracing::warn!(
                job_id = %job, block = %hash, raw = %owed.amount, why = owed.why.name(),
                "money is owed back"
            );
            self.note_odd(job, owed.why, turn)?;
            OWED.put(&mut turn.batch, &(job, hash), &())?;
            put_piece(turn, job, hash, piece)?;
        }
        crash_point!("worker/money/reckoned");
        Ok(())
    }

    /// All that came to a job, this commit's news included.
    pub(super) fn pieces_of(
        &self,
        job: JobId,
        turn: &Turn,
    ) -> Result<BTreeMap<BlockHash, Piece>, StoreError> {
        let mut pieces = BTreeMap::new();
        for entry in MONEY.prefix(&self.store, &job) {
            let ((_, hash), piece) = entry?;
            pieces.insert(hash, piece);
        }
        let news = turn.pieces.iter().filter(|((of, _), _)| *of == job);
        pieces.extend(news.map(|((_, hash), piece)| (*hash, piece.clone())));
        Ok(pieces)
    }

    /// A job has ended: its address is looked at for a while, unless that was done already, or another
    /// worker of the seller was paid there.
    pub(super) fn begin_after(
        &mut self,
        job: JobId,
        record: Record,
        turn: &mut Turn,
    ) -> Result<(), EngineError> {
        let Some(invoice) = record.invoice.filter(|_| !turn.lapsed.contains(&job)) else { return Ok(()) };
        let is_others =
            matches!(record.stage, Stage::Ended { ending: Ending::Elsewhere }) && !record.is_for_nothing();
        if is_others && self.pieces_of(job, turn)?.is_empty() {
            return Ok(());
        }
        let watch = self.terms.get(&record.offer_id).map_or_else(Policy::default, |terms| terms.payment);
        if watch.late_watch.is_zero() {
            return Ok(());
        }
        let until = turn.now.plus(watch.late_watch);
        AFTER.put(&mut turn.batch, &job, &until)?;
        self.after.insert(job, record, until);
        turn.effects.push((job, Effect::Watch { invoice, submitted: None, lapsed: true, over: true }));
        Ok(())
    }
}

/// How a job ended, if it has.
fn end_of(record: &Record) -> Option<(Ending, Invoice, &Record)> {
    let (Stage::Ended { ending } | Stage::Lapsed { ending, .. }) = &record.stage else { return None };
    Some((ending.clone(), record.invoice?, record))
}

pub(super) fn put_piece(
    turn: &mut Turn,
    job: JobId,
    hash: BlockHash,
    piece: Piece,
) -> Result<(), StoreError> {
    MONEY.put(&mut turn.batch, &(job, hash), &piece)?;
    turn.pieces.insert((job, hash), piece);
    Ok(())
}
