//! Jobs that were given up because another worker of the same seller does them.

use super::super::memory::{JOBS, Record};
use super::super::stage::{Ending, Stage};
use super::{Engine, EngineError, Turn};
use crate::protocol::{JobId, Status};

impl Engine {
    /// Notes how a job ended that another worker has done. Where both give away the same addresses, what
    /// came for it is left alone until then.
    pub(super) fn note_others_end(
        &mut self,
        job: JobId,
        record: Record,
        status: Status,
        turn: &mut Turn,
    ) -> Result<(), EngineError> {
        let is_others = matches!(record.stage, Stage::Ended { ending: Ending::Elsewhere });
        if !is_others || record.status.is_final() || !status.is_final() {
            return Ok(());
        }
        // What comes late is entered on the record that is watched.
        let record = Record { status, ..self.after.record(&job).cloned().unwrap_or(record) };
        JOBS.put(&mut turn.batch, &job, &record)?;
        self.after.note_status(&job, status);
        Ok(())
    }
}
