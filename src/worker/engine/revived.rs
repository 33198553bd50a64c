//! Jobs of /v0 that expired unpaid and may yet be charged for again: what came for them counts when
//! they are, so that it is owed back only once they cannot be; and what went back never counts.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use nano_currency::BlockHash;

use super::super::coins::journal::Does;
use super::super::memory::{ASIDE, COINS, MONEY, OWED, Record};
use super::super::money::Piece;
use super::super::payment::{
    BlockFact, Facts, Invoice, PARTS_MAX, PaymentError, Submitted, Verdict, judge_by,
};
use super::super::stage::Stage;
use super::{Engine, EngineError, Turn};
use crate::protocol::JobId;
use crate::store::StoreError;

impl Engine {
    /// Whether a job has lapsed and is not over all the same.
    pub(super) fn may_revive(&self, job: JobId, record: &Record) -> bool {
        record.stage.is_expired() && self.tickets.get(&job).is_some_and(|ticket| !ticket.unread)
    }

    /// What a look amounts to, with what is in the books where that is needed: a look need not name
    /// again what was told before.
    pub(super) fn judge(
        &self,
        job: JobId,
        invoice: &Invoice,
        facts: &mut Facts,
        turn: &Turn,
    ) -> Result<Verdict, EngineError> {
        if let Submitted::Found(block) = &mut facts.submitted {
            block.claimed_elsewhere = self.is_spent(job, &block.hash, turn)?;
        }
        for block in &mut facts.found {
            block.claimed_elsewhere = self.is_spent(job, &block.hash, turn)?;
        }
        let least = self.policy_of(job).least(invoice.price);
        let verdict = judge_by(invoice, least, facts);
        let is_enough = matches!(verdict, Verdict::Settled { .. } | Verdict::Unpaid(PaymentError::Late));
        if is_enough || !self.counts_books(job) {
            return Ok(verdict);
        }
        self.add_books(job, facts, turn)?;
        Ok(judge_by(invoice, least, facts))
    }

    /// Adds what is in the books beside what was told: the largest first, and no more than can count.
    fn add_books(&self, job: JobId, facts: &mut Facts, turn: &Turn) -> Result<(), EngineError> {
        let told: BTreeSet<BlockHash> = facts.blocks().map(|block| block.hash).collect();
        let pieces = self.pieces_of(job, turn)?.into_iter().filter(|(hash, _)| !told.contains(hash));
        let mut pieces: Vec<(BlockHash, Piece)> = pieces.collect();
        pieces.sort_by_key(|(_, piece)| Reverse(piece.amount));
        let mut added = 0;
        for (hash, piece) in pieces {
            if added == PARTS_MAX {
                break;
            }
            if !self.is_spent(job, &hash, turn)? {
                facts.found.push(from_books(hash, &piece));
                added += 1;
            }
        }
        Ok(())
    }

    /// A charge that comes again is for the rest, whoever has received the first parts.
    fn counts_books(&self, job: JobId) -> bool {
        let Some(record) = self.open.get(&job) else { return false };
        let is_awaited = record.stage.is_expired() || matches!(record.stage, Stage::Awaiting { .. });
        is_awaited && self.tickets.contains_key(&job)
    }

    /// Whether a block has paid for another job, or has gone back or is about to.
    pub(super) fn is_spent(&self, job: JobId, block: &BlockHash, turn: &Turn) -> Result<bool, StoreError> {
        if self.claimant(block, turn)?.is_some_and(|other| other != job) {
            return Ok(true);
        }
        match self.piece(job, block, turn)? {
            Some(piece) => self.is_sent_back(block, &piece),
            None => Ok(false),
        }
    }

    /// A refund that was signed may be on the ledger before anybody has looked.
    fn is_sent_back(&self, block: &BlockHash, piece: &Piece) -> Result<bool, StoreError> {
        if piece.owed.is_none() {
            return Ok(false);
        }
        if !piece.returned.is_zero() {
            return Ok(true);
        }
        let account = piece.account.as_bytes();
        let kept = COINS.prefix(&self.store, account).map(|entry| Ok::<_, StoreError>(entry?.1));
        let given_up = ASIDE.prefix(&self.store, account).map(|entry| Ok::<_, StoreError>(entry?.1.block));
        for own in kept.chain(given_up) {
            let own = own?;
            if own.does == Does::Refund && own.of == Some(*block) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What is counted is earned, and owed back no longer.
    pub(super) fn forgive(&self, job: JobId, block: &BlockHash, turn: &mut Turn) -> Result<(), EngineError> {
        let Some(mut piece) = self.piece(job, block, turn)?.filter(|piece| piece.owed.is_some()) else {
            return Ok(());
        };
        piece.owed = None;
        OWED.remove(&mut turn.batch, &(job, *block));
        Ok(super::money::put_piece(turn, job, *block, piece)?)
    }

    fn piece(&self, job: JobId, block: &BlockHash, turn: &Turn) -> Result<Option<Piece>, StoreError> {
        match turn.pieces.get(&(job, *block)) {
            Some(piece) => Ok(Some(piece.clone())),
            None => MONEY.get(&self.store, &(job, *block)),
        }
    }
}

/// Nothing is in the books that the network has not settled.
fn from_books(hash: BlockHash, piece: &Piece) -> BlockFact {
    BlockFact {
        hash,
        from: piece.from,
        send: Some((piece.account, piece.amount)),
        confirmed: true,
        claimed_elsewhere: false,
        received: false,
    }
}
