//! PAID, which only the seller can say, and which stands for the machine's lock.

use sha2::{Digest as _, Sha256};

use super::bazaar::{Bazaar, Stop, refused};
use super::ticket::Ticket;
use crate::client::CallError;
use crate::client::v0::Key;
use crate::points::crash_point;
use crate::protocol::v0::{Evidence, Job as V0Job, Moment, Status as V0Status};
use crate::protocol::{JobId, Timestamp};
use crate::store::{Batch, StoreError};
use crate::worker::engine::Heard;
use crate::worker::input::{Call, Input, Rejection};
use crate::worker::memory::{self, CLAIMS, MONEY, Record, UNMARKED, fact};
use crate::worker::stage::{Lock, Paid, Plan, Stage};

/// A lock that another life had before this one: /v0 counts no holders, so that this stands for any.
const SECOND_HOLDER: u64 = 2;

impl Bazaar {
    /// Marks a job as paid: from then on the charge can expire no more, and the job is ours to do.
    pub(in crate::worker) async fn lock(&self, job: JobId) -> Heard {
        let locked = self.try_lock(job).await;
        locked.unwrap_or_else(|stop| refused(job, Call::Lock, stop))
    }

    async fn try_lock(&self, job: JobId) -> Result<Heard, Stop> {
        let (ticket, record) = (self.ticket(job)?, self.record(job)?);
        let mut is_forgotten = self.may_be_forgotten(job)?;
        let found = if !self.is_proven(job, &record)? {
            self.look(job, &ticket).await?
        } else if !is_forgotten {
            self.mark(job, &ticket, &evidence(&record)).await?
        } else {
            let found = self.look(job, &ticket).await?;
            if found.status == V0Status::ChargeCreated {
                self.note_unmarked(job).await?;
                is_forgotten = false;
                self.mark(job, &ticket, &evidence(&record)).await?
            } else {
                found
            }
        };
        let expires_at = Timestamp::from(ticket.job_expires_at);
        Ok(match found.status {
            V0Status::Paid => {
                let token = is_forgotten.then_some(SECOND_HOLDER);
                Heard::Input(job, Input::Locked(Lock { token, expires_at }))
            }
            V0Status::Requested | V0Status::ChargeCreated => {
                Heard::Input(job, Input::Rejected(Call::Lock, Rejection::State))
            }
            V0Status::Delivered | V0Status::Cancelled | V0Status::Expired => self.heard(&found),
        })
    }

    /// Whether this state has seen the payment. An error or a result may be owed to a job that only the
    /// relay has called paid, in words that it need not repeat: such a job is never marked as paid by us.
    fn is_proven(&self, job: JobId, record: &Record) -> Result<bool, StoreError> {
        if paid(record).is_some() {
            return Ok(true);
        }
        for entry in MONEY.prefix(&self.store, &job) {
            let ((_, block), _) = entry?;
            if CLAIMS.get(&self.store, &block)? == Some(job) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn mark(&self, job: JobId, ticket: &Ticket, evidence: &Evidence) -> Result<V0Job, CallError> {
        let body = serde_json::to_string(&evidence).unwrap_or_default();
        let hash = hex::encode(&Sha256::digest(body)[..8]);
        let base = format!("verified_paid:{job}:{hash}");
        let (name, base) = (&ticket.job_id, base.as_str());
        let send = move |key: Key| async move {
            crash_point!("worker/bazaar/mark");
            let answer = self.client.mark_paid(name, evidence, &key.renamed(base)).await;
            crash_point!("worker/bazaar/marked");
            answer
        };
        match self.repeat(job, send).await {
            Err(error) if error.status() == Some(409) => self.look(job, ticket).await,
            answer => answer,
        }
    }

    /// Whether a job may have been done already, in what a restored state does not remember: a handler is
    /// started once the job is marked as paid, and this state has not seen it unmarked. No clock can say
    /// which of the two came first.
    fn may_be_forgotten(&self, job: JobId) -> Result<bool, StoreError> {
        if memory::fact(&self.store, fact::RESTORED)?.is_none() {
            return Ok(false);
        }
        Ok(UNMARKED.get(&self.store, &job)?.is_none_or(|holder| holder != self.holder))
    }

    /// From here on a mark is this state's own, also in its next life. A state that is restored from this
    /// one is another holder.
    async fn note_unmarked(&self, job: JobId) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        UNMARKED.put(&mut batch, &job, &self.holder)?;
        self.store.commit(batch)?;
        self.store.durable().await
    }
}

/// What is known of the payment: of the stage that waits for the relay to know it too, so that it is
/// the same whenever it is sent.
fn evidence(record: &Record) -> Evidence {
    let Some(paid) = paid(record) else { return Evidence::default() };
    Evidence {
        verifier: Some("nano_rpc".to_owned()),
        payment_block_hash: paid.blocks.first().map(ToString::to_string),
        observed_at: Some(Moment::from(record.changed_at).to_string()),
        amount_raw_received: Some(paid.total.to_string()),
    }
}

/// What was claimed for a job that is to be marked.
const fn paid(record: &Record) -> Option<&Paid> {
    match &record.stage {
        Stage::Locking { plan: Plan::Run { paid, .. } }
        | Stage::Blocked { plan: Plan::Run { paid, .. }, .. } => Some(paid),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use nano_currency::{Account, Amount, BlockHash};
    use serde_json::json;
    use std::sync::Arc;

    use super::super::fixture::{Scripted, bazaar, job as described, kept};
    use super::*;
    use crate::protocol::job::JobError;
    use crate::worker::money::Piece;
    use crate::worker::payment::Invoice;

    const NAME: &str = "job_1";

    /// Marked as paid, by whichever life.
    fn marked(target: &str) -> (u16, serde_json::Value) {
        if target.ends_with("/mark_paid") {
            return (409, json!({ "error": "job not mutable" }));
        }
        // By a clock that goes far ahead of ours.
        let mut job = described(NAME, "PAID", "pay_1");
        job["paid_at"] = json!("2126-02-01T12:00:00Z");
        (200, job)
    }

    fn run() -> Plan {
        let account = Account::from_bytes([3; 32]);
        let invoice = Invoice { index: 1, account, price: Amount::from_raw(1_000) };
        let (total, blocks) = (invoice.price, vec![BLOCK]);
        Plan::Run { paid: Paid { invoice, total, blocks, hash_submitted: false, attempts: 0 }, placed: false }
    }

    fn fail() -> Plan {
        let error = JobError { code: "x".to_owned(), message: "y".to_owned(), details: json!(null) };
        Plan::Fail { error }
    }

    const BLOCK: BlockHash = BlockHash::from_bytes([4; 32]);

    /// A state with one job, which is to be locked for `plan`.
    struct State {
        _dir: tempfile::TempDir,
        relay: Arc<Scripted>,
        bazaar: Bazaar,
        job: JobId,
    }

    fn state(says: fn(&str) -> (u16, serde_json::Value), plan: Plan) -> State {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(memory::open(dir.path()).unwrap());
        let relay = Scripted::new(says);
        let bazaar = bazaar(Arc::clone(&relay) as _, store);
        let job = kept(&bazaar, NAME, Stage::Locking { plan });
        State { _dir: dir, relay, bazaar, job }
    }

    const NOTE: &str = r#"{"at":"2026-02-01T11:59:59Z"}"#;

    /// A state that was restored, in which a holder may have seen the job unmarked.
    fn restored(says: fn(&str) -> (u16, serde_json::Value), unmarked: Option<&str>) -> State {
        let state = state(says, run());
        let mut batch = Batch::default();
        memory::put_fact(&mut batch, fact::RESTORED, NOTE).unwrap();
        if let Some(holder) = unmarked {
            UNMARKED.put(&mut batch, &state.job, &holder.to_owned()).unwrap();
        }
        state.bazaar.store.commit(batch).unwrap();
        state
    }

    async fn token(State { bazaar, job, .. }: &State) -> Option<u64> {
        match bazaar.lock(*job).await {
            Heard::Input(_, Input::Locked(lock)) => lock.token,
            other => panic!("{other:?}"),
        }
    }

    /// It was seen as paid once, by a relay that was wrong.
    fn charged(target: &str) -> (u16, serde_json::Value) {
        let status = if target.ends_with("/mark_paid") { "PAID" } else { "CHARGE_CREATED" };
        (200, described(NAME, status, "pay_1"))
    }

    #[tokio::test]
    async fn what_nobody_has_seen_paid_is_not_marked_as_paid() {
        let deliver = Plan::Deliver { round: 2, failed: true };
        for plan in [fail(), deliver.clone()] {
            let State { relay, bazaar, job, .. } = state(charged, plan);
            let locked = bazaar.lock(job).await;
            assert!(
                matches!(locked, Heard::Input(_, Input::Rejected(Call::Lock, Rejection::State))),
                "{locked:?}"
            );
            assert_eq!(relay.asked("/v0/jobs/job_1/mark_paid"), 0);
        }
        // If the relay has marked it, its error can be handed over.
        let State { bazaar, job, .. } = state(marked, fail());
        assert!(matches!(bazaar.lock(job).await, Heard::Input(_, Input::Locked(_))));
        // What was claimed for it was seen, whatever is owed to it by now.
        for (claimant, marked) in [(JobId::from_random([9; 16]), 0), (job, 1)] {
            let State { relay, bazaar, job, .. } = state(charged, deliver.clone());
            let mut batch = Batch::default();
            CLAIMS.put(&mut batch, &BLOCK, &claimant).unwrap();
            MONEY.put(&mut batch, &(job, BLOCK), &piece()).unwrap();
            bazaar.store.commit(batch).unwrap();
            bazaar.lock(job).await;
            assert_eq!(relay.asked("/v0/jobs/job_1/mark_paid"), marked);
        }
    }

    fn piece() -> Piece {
        Piece {
            amount: Amount::from_raw(1_000),
            from: None,
            account: Account::from_bytes([3; 32]),
            index: 1,
            at: Timestamp::from_seconds(1),
            late: false,
            owed: None,
            back: None,
            returned: Amount::from_raw(0),
        }
    }

    /// The backup was made while the job waited for its payment. Since then it was marked and begun, by
    /// whatever clock: the state that was made anew finds the payment again, and must not begin it again.
    #[tokio::test]
    async fn a_job_that_a_restored_state_has_not_seen_unmarked_has_had_another_holder() {
        assert_eq!(token(&state(marked, run())).await, None);
        for (unmarked, expected) in [(None, Some(SECOND_HOLDER)), (Some("before"), Some(SECOND_HOLDER))] {
            let state = restored(marked, unmarked);
            for _ in 0..2 {
                assert_eq!(token(&state).await, expected);
            }
            assert_eq!(state.relay.asked("/v0/jobs/job_1/mark_paid"), 0);
        }
    }

    /// Its answer was lost, or the worker has died meanwhile.
    #[tokio::test]
    async fn a_mark_of_the_restored_state_itself_is_known_as_its_own() {
        assert_eq!(token(&restored(marked, Some("me"))).await, None);
        let state = restored(charged, None);
        assert_eq!(token(&state).await, None);
        assert_eq!(state.relay.asked("/v0/jobs/job_1/mark_paid"), 1);
        let noted = UNMARKED.get(&state.bazaar.store, &state.job).unwrap();
        assert_eq!(noted.as_deref(), Some("me"));
    }

    /// It is not known to be unmarked then: nothing is noted of it.
    #[tokio::test]
    async fn a_job_that_is_over_is_not_marked_by_a_restored_state() {
        fn over(_: &str) -> (u16, serde_json::Value) {
            (200, described(NAME, "EXPIRED", "pay_1"))
        }
        let state = restored(over, None);
        assert!(matches!(state.bazaar.lock(state.job).await, Heard::Shown(_)));
        assert_eq!(state.relay.asked("/v0/jobs/job_1/mark_paid"), 0);
        assert!(!UNMARKED.contains(&state.bazaar.store, &state.job).unwrap());
    }
}
