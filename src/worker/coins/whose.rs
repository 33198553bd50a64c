//! Which of our accounts may be touched, and for whom their coins are.

use std::sync::{Mutex, PoisonError};

use nano_currency::Account;
use serde::Serialize;

use super::CoinsError;
use crate::protocol::{JobId, Status};
use crate::store::{Store, StoreError};
use crate::worker::accounts::Accounts;
use crate::worker::look;
use crate::worker::memory::{self, CLAIMS, INVOICES, JOBS, MONEY, Record, TICKETS, fact};
use crate::worker::stage::{Ending, Stage};

/// An account of ours, and what it was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) account: Account,
    pub(super) index: u32,
    pub(super) job: Option<JobId>,
    pub(super) claim: Claim,
}

/// For whom the coins on an account are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Claim {
    /// The job is open: nothing is touched.
    Open,
    /// It is not a job that this worker does, and whether it is over only another worker of the seed knows:
    /// nothing is touched unless somebody says so.
    Others,
    /// The job was delivered, says the relay, and this state did not do that: another worker of the seed
    /// did, or a life that is forgotten. They were earned, as far as they are no more than the price.
    Presumed,
    /// They were earned.
    Ours,
    /// The buyer got nothing for them.
    Buyers,
}

impl Claim {
    /// Whether what is there may be moved.
    pub(super) const fn is_settled(self) -> bool {
        matches!(self, Self::Ours | Self::Buyers)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Others => "others",
            Self::Presumed => "presumed",
            Self::Ours => "ours",
            Self::Buyers => "buyers",
        }
    }
}

/// Every account that was given away, by index.
pub(super) fn accounts(store: &Store) -> Result<Vec<Own>, StoreError> {
    let mut all = Vec::new();
    for entry in INVOICES.all(store) {
        let (key, issued) = entry?;
        let account = Account::from_bytes(key);
        let (job, claim) = claim(store, issued.job_id, &account)?;
        all.push(Own { account, index: issued.index, job, claim });
    }
    all.sort_unstable_by_key(|own| own.index);
    Ok(all)
}

/// The account of a job.
pub(super) fn account_of(store: &Store, job: JobId) -> Result<Option<Own>, StoreError> {
    Ok(accounts(store)?.into_iter().find(|own| own.job == Some(job)))
}

/// For which job an account is, if it is for that which it was consumed for, and whose its coins are.
pub(super) fn claim(
    store: &Store,
    job: Option<JobId>,
    account: &Account,
) -> Result<(Option<JobId>, Claim), StoreError> {
    // Used before by a job that the relay does not show: nobody knows how that ended, nor whether it has.
    let Some(id) = job else { return Ok((None, Claim::Others)) };
    Ok(match JOBS.get(store, &id)? {
        Some(record) if !record.owns(account) => (None, Claim::Others),
        Some(record) if may_revive(store, id, &record)? => (job, Claim::Open),
        // Over /v0 another worker may charge for it again.
        Some(Record {
            status: Status::Expired, stage: Stage::Ended { ending: Ending::Elsewhere }, ..
        }) if TICKETS.contains(store, &id)? => (job, Claim::Others),
        // What this state has counted is in its books, and so is what of it is owed back.
        Some(record) if record.is_earned_elsewhere() && has_counted(store, id)? => (job, Claim::Ours),
        Some(record) => (job, of_record(&record)),
        // Seen in the look, and yet to be heard of.
        None if memory::fact(store, fact::SYNCED)?.is_none() => (job, Claim::Open),
        // Another worker's of the same seed: its address is noted, and only who serves the job knows
        // whether it has ended.
        None => (job, Claim::Others),
    })
}

/// A job of /v0 that expired unpaid may be charged for again: until it cannot be, what came for it is
/// a part of its price.
pub(super) fn may_revive(store: &Store, job: JobId, record: &Record) -> Result<bool, StoreError> {
    if !record.stage.is_expired() {
        return Ok(false);
    }
    Ok(TICKETS.get(store, &job)?.is_some_and(|ticket| !ticket.unread))
}

fn of_record(record: &Record) -> Claim {
    match &record.stage {
        // What comes late is in the books before anything is done with it.
        Stage::Lapsed { .. } => Claim::Buyers,
        Stage::Ended { ending } => match ending {
            // Another worker does the job; until it is known to have ended there, only that one knows,
            // and of one that failed there only that one knows for which payments.
            Ending::Elsewhere if record.is_for_nothing() => Claim::Buyers,
            Ending::Elsewhere if record.status == Status::Delivered => Claim::Presumed,
            Ending::Elsewhere => Claim::Others,
            // Nobody was asked to pay for it here: what comes all the same came for another worker's quote.
            Ending::Refused => Claim::Others,
            Ending::Delivered | Ending::Failed => Claim::Ours,
            Ending::Canceled { .. } | Ending::Expired { .. } | Ending::Vanished { .. } | Ending::PaidLate => {
                Claim::Buyers
            }
        },
        _ => Claim::Open,
    }
}

/// Whether this state has counted something of a job's.
fn has_counted(store: &Store, job: JobId) -> Result<bool, StoreError> {
    for entry in MONEY.prefix(store, &job) {
        let ((_, hash), _) = entry?;
        if CLAIMS.get(store, &hash)? == Some(job) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Nothing is moved by a state that may not know all its jobs.
pub(super) fn ensure_looked(store: &Store) -> Result<(), CoinsError> {
    if look::is_due(store)? { Err(CoinsError::NotLooked) } else { Ok(()) }
}

/// Coins must not go in a circle, nor arrive where a payment is awaited. Whoever sends again and again
/// asks about the same account.
#[derive(Debug)]
pub(super) struct Elsewhere {
    index_start: u32,
    /// How far beyond the next index it looks.
    gap: u32,
    /// The account of last time, and before which index it is none of ours.
    cleared: Mutex<Option<(Account, u32)>>,
}

impl Elsewhere {
    pub(super) const fn new(index_start: u32, gap: u32) -> Self {
        Self { index_start, gap, cleared: Mutex::new(None) }
    }

    pub(super) fn ensure(&self, store: &Store, accounts: &Accounts, to: Account) -> Result<(), CoinsError> {
        if INVOICES.contains(store, &memory::account_key(&to))? {
            return Err(CoinsError::OurInvoice(to));
        }
        let next = memory::fact(store, fact::NEXT_INDEX)?.and_then(|text| text.parse().ok());
        let next = next.unwrap_or(self.index_start).max(self.index_start);
        let end = next.saturating_add(self.gap);
        let mut cleared = self.cleared.lock().unwrap_or_else(PoisonError::into_inner);
        let from = cleared.filter(|(known, _)| *known == to).map_or(next, |(_, before)| next.max(before));
        for index in from..end {
            if accounts.get(index)? == to {
                return Err(CoinsError::OurInvoice(to));
            }
        }
        *cleared = Some((to, end));
        Ok(())
    }
}

/// Whether a job ended with an error: then sending back is the seller's to decide.
pub(super) fn has_failed(store: &Store, job: JobId) -> Result<bool, StoreError> {
    let record = JOBS.get(store, &job)?;
    Ok(record.is_some_and(|record| match record.stage {
        Stage::Ended { ending: Ending::Failed } => true,
        Stage::Ended { ending: Ending::Elsewhere } => record.status == Status::Failed,
        _ => false,
    }))
}

/// Whether the relay has lost a job: nobody knows whether another worker of the seed had done it.
pub(super) fn has_vanished(store: &Store, job: JobId) -> Result<bool, StoreError> {
    let record = JOBS.get(store, &job)?;
    Ok(record.is_some_and(|record| match &record.stage {
        Stage::Ended { ending } | Stage::Lapsed { ending, .. } => matches!(ending, Ending::Vanished { .. }),
        _ => false,
    }))
}

#[cfg(test)]
mod tests {
    use nano_currency::{Amount, BlockHash};

    use super::*;
    use crate::protocol::v0::{self, BotId, Moment};
    use crate::protocol::{OfferId, PublicKey, Timestamp};
    use crate::store::Batch;
    use crate::worker::memory::IssuedInvoice;
    use crate::worker::money::Piece;
    use crate::worker::payment::Invoice;
    use crate::worker::v0::Ticket;

    fn lapsed(ending: Ending) -> Record {
        let at = Timestamp::from_seconds(1);
        let account = Account::from_bytes([1; 32]);
        let invoice = Invoice { index: 0, account, price: Amount::from_raw(1_000) };
        Record {
            offer_id: OfferId::from_random([1; 16]),
            buyer_pubkey: PublicKey::from_bytes([2; 32]),
            status: Status::Expired,
            stage: Stage::Lapsed { invoice, submitted: None, ending, until: at },
            first_seen_at: at,
            changed_at: at,
            lines: 0,
            outcomes: 0,
            invoice: Some(invoice),
            unquoted: false,
            unpaid: false,
            oddities: Vec::new(),
        }
    }

    fn piece(account: Account) -> Piece {
        Piece {
            amount: Amount::from_raw(1_000),
            from: None,
            account,
            index: 0,
            at: Timestamp::from_seconds(1),
            late: false,
            owed: None,
            back: None,
            returned: Amount::ZERO,
        }
    }

    fn ticket(unread: bool) -> Ticket {
        Ticket {
            job_id: v0::JobId::new("job_1"),
            offer_id: v0::OfferId::new("offer_1"),
            buyer_bot_id: BotId::from_bytes([2; 32]),
            price_raw: "1000".to_owned(),
            job_expires_at: Moment::from_nanos(0),
            charge_expires_at: None,
            revival_wanted: false,
            unread,
        }
    }

    #[test]
    fn what_came_for_a_job_that_another_worker_does_is_left_alone_until_that_has_ended() {
        for (status, expected) in [
            (Status::Accepted, Claim::Others),
            (Status::Running, Claim::Others),
            (Status::Delivered, Claim::Presumed),
            (Status::Failed, Claim::Others),
            (Status::Canceled, Claim::Buyers),
            (Status::Expired, Claim::Buyers),
        ] {
            let stage = Stage::Ended { ending: Ending::Elsewhere };
            let record = Record { status, stage, ..lapsed(Ending::Delivered) };
            assert_eq!(of_record(&record), expected, "{status}");
            let refused = Record { stage: Stage::Ended { ending: Ending::Refused }, ..record.clone() };
            assert_eq!(of_record(&refused), Claim::Others, "{status}");
            // Over /v0 an expired job may be charged for again.
            let dir = tempfile::tempdir().unwrap();
            let store = memory::open(dir.path()).unwrap();
            let (job, mut batch) = (JobId::from_random([1; 16]), Batch::default());
            JOBS.put(&mut batch, &job, &record).unwrap();
            TICKETS.put(&mut batch, &job, &ticket(false)).unwrap();
            store.commit(batch).unwrap();
            let over_v0 = if status == Status::Expired { Claim::Others } else { expected };
            let account = Account::from_bytes([1; 32]);
            assert_eq!(claim(&store, Some(job), &account).unwrap(), (Some(job), over_v0), "{status}");
            // What this state has counted is in its books.
            let (hash, mut batch) = (BlockHash::from_bytes([7; 32]), Batch::default());
            MONEY.put(&mut batch, &(job, hash), &piece(account)).unwrap();
            CLAIMS.put(&mut batch, &hash, &job).unwrap();
            store.commit(batch).unwrap();
            let is_earned = matches!(status, Status::Delivered | Status::Failed);
            let counted = if is_earned { Claim::Ours } else { over_v0 };
            assert_eq!(claim(&store, Some(job), &account).unwrap(), (Some(job), counted), "{status}");
            let unpaid = Record { unpaid: true, ..record };
            let expected = if status == Status::Failed { Claim::Buyers } else { expected };
            assert_eq!(of_record(&unpaid), expected, "{status}");
        }
    }

    #[test]
    fn an_address_beside_a_jobs_invoice_is_not_that_jobs() {
        let dir = tempfile::tempdir().unwrap();
        let store = memory::open(dir.path()).unwrap();
        let (job, unknown) = (JobId::from_random([1; 16]), JobId::from_random([2; 16]));
        let [mine, beside, others] = [1, 2, 3].map(|number| Account::from_bytes([number; 32]));
        let mut batch = Batch::default();
        for (index, account, job_id) in [(0, beside, job), (1, mine, job), (2, others, unknown)] {
            let issued = IssuedInvoice { index, job_id: Some(job_id) };
            INVOICES.put(&mut batch, &memory::account_key(&account), &issued).unwrap();
        }
        let delivered = Stage::Ended { ending: Ending::Delivered };
        JOBS.put(&mut batch, &job, &Record { stage: delivered, ..lapsed(Ending::Delivered) }).unwrap();
        store.commit(batch).unwrap();
        // Before the jobs were heard of, an unknown one may be this worker's own.
        assert_eq!(claim(&store, Some(unknown), &others).unwrap(), (Some(unknown), Claim::Open));
        let mut batch = Batch::default();
        memory::put_fact(&mut batch, fact::SYNCED, "yes").unwrap();
        store.commit(batch).unwrap();
        let found: Vec<_> = accounts(&store).unwrap().iter().map(|own| (own.job, own.claim)).collect();
        assert_eq!(found, [(None, Claim::Others), (Some(job), Claim::Ours), (Some(unknown), Claim::Others)]);
        assert_eq!(account_of(&store, job).unwrap().map(|own| own.index), Some(1));

        // A record of an earlier version, which did not write down the invoice, and of one without any.
        for (unquoted, expected) in [(false, (Some(job), Claim::Buyers)), (true, (None, Claim::Others))] {
            let canceled = Stage::Ended { ending: Ending::Canceled { paid: false } };
            let record = Record { stage: canceled, invoice: None, unquoted, ..lapsed(Ending::Delivered) };
            let mut batch = Batch::default();
            JOBS.put(&mut batch, &job, &record).unwrap();
            store.commit(batch).unwrap();
            assert_eq!(claim(&store, Some(job), &mine).unwrap(), expected);
        }
    }

    #[test]
    fn what_came_for_a_job_that_may_come_back_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let store = memory::open(dir.path()).unwrap();
        let job = JobId::from_random([1; 16]);
        let expired = Ending::Expired { paid: false };
        let canceled = Ending::Canceled { paid: false };
        for (ending, ticket, expected) in [
            (&expired, None, Claim::Buyers),
            (&expired, Some(ticket(false)), Claim::Open),
            (&canceled, Some(ticket(false)), Claim::Buyers),
            (&expired, Some(ticket(true)), Claim::Buyers),
        ] {
            let mut batch = Batch::default();
            JOBS.put(&mut batch, &job, &lapsed(ending.clone())).unwrap();
            if let Some(ticket) = &ticket {
                TICKETS.put(&mut batch, &job, ticket).unwrap();
            }
            store.commit(batch).unwrap();
            let account = Account::from_bytes([1; 32]);
            assert_eq!(
                claim(&store, Some(job), &account).unwrap(),
                (Some(job), expected),
                "{ending:?} {ticket:?}"
            );
        }
    }
}
