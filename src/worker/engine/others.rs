//! Jobs that were given up because another worker of the same seller does them, and addresses that are
//! those of other jobs.

use super::super::input::{Input, Rejection};
use super::super::memory::{JOBS, Record};
use super::super::payment::Invoice;
use super::super::stage::{Ending, Stage};
use super::{Engine, EngineError, Turn};
use crate::protocol::{Job, JobId, Status};

/// How the codes of errors begin that say why a payment was none.
const PAYMENT_ERRORS: &str = "payment.";

/// Whether a job failed for want of its payment, by the error that its buyer reads.
pub(super) fn is_unpaid(job: &Job) -> bool {
    let code = job.error.get("code").and_then(serde_json::Value::as_str);
    job.status == Status::Failed && code.is_some_and(|code| code.starts_with(PAYMENT_ERRORS))
}

/// An address that was consumed for a job, on which the relay does not have it.
#[derive(Debug)]
pub(super) struct Vain {
    consumed: Invoice,
    /// The job's true invoice, if that is ours.
    shown: Option<Invoice>,
}

impl Vain {
    /// What is heard about a job that is about to be quoted; nothing, if it may have been.
    pub(super) fn judge(stage: &Stage, input: &Input) -> Option<Self> {
        let Stage::Quoting { invoice: consumed, .. } = *stage else { return None };
        let shown = match input {
            Input::Seen(sighting) => sighting.invoice,
            // What the relay was told before it forgot the job stays unknown.
            Input::Rejected(_, Rejection::Gone) => return None,
            _ => None,
        };
        let is_on_it = shown.is_some_and(|shown| shown.account == consumed.account);
        (!is_on_it).then_some(Self { consumed, shown })
    }
}

impl Engine {
    /// The job goes on, or has ended, without the address that was consumed for it: what comes there is
    /// for another job, another worker's of the seed, and this one has nothing to do with it. Its index is
    /// consumed all the same.
    pub(super) fn disown(&mut self, job: JobId, vain: Option<Vain>) {
        let (Some(vain), Some(record)) = (vain, self.open.get_mut(&job)) else { return };
        let account = vain.consumed.account;
        if record.stage.invoice().is_some_and(|invoice| invoice.account == account) {
            return;
        }
        record.invoice = record.stage.invoice().copied().or(vain.shown);
        record.unquoted = true;
    }

    /// Notes how a job ended that another worker has done. Where both give away the same addresses, what
    /// came for it is left alone until then.
    pub(super) fn note_others_end(
        &mut self,
        job: &Job,
        record: Record,
        turn: &mut Turn,
    ) -> Result<(), EngineError> {
        let is_others = matches!(record.stage, Stage::Ended { ending: Ending::Elsewhere });
        if !is_others || record.status.is_final() || !job.status.is_final() {
            return Ok(());
        }
        // What comes late is entered on the record that is watched.
        let record = self.after.record(&job.job_id).cloned().unwrap_or(record);
        let record = Record { status: job.status, unpaid: is_unpaid(job), ..record };
        JOBS.put(&mut turn.batch, &job.job_id, &record)?;
        if record.is_for_nothing() && self.after.record(&job.job_id).is_none() {
            return self.begin_after(job.job_id, record, turn);
        }
        self.after.note(&job.job_id, &record);
        self.settle(job.job_id, turn)
    }
}
