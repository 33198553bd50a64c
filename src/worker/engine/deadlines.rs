//! When which job is to be looked at again, if nothing happens to it before.

use std::collections::{BTreeSet, HashMap};

use crate::protocol::{JobId, Timestamp};

/// When which job wants to be woken: at most one moment for each.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    by_time: BTreeSet<(Timestamp, JobId)>,
    by_job: HashMap<JobId, Timestamp>,
}

impl Deadlines {
    pub(super) fn set(&mut self, job: JobId, at: Option<Timestamp>) {
        if let Some(before) = self.by_job.remove(&job) {
            self.by_time.remove(&(before, job));
        }
        if let Some(at) = at {
            self.by_job.insert(job, at);
            self.by_time.insert((at, job));
        }
    }

    pub(super) fn first(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// The jobs that are due, each of which is then without a deadline.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Vec<JobId> {
        let due: Vec<JobId> =
            self.by_time.iter().take_while(|(at, _)| *at <= now).map(|(_, job)| *job).collect();
        for job in &due {
            self.set(*job, None);
        }
        due
    }
}
