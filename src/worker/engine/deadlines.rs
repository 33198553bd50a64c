//! When which job is to be looked at again, if nothing happens to it before.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::super::input::{Effect, Input};
use super::super::stage::Stage;
use super::{Engine, Turn};
use crate::protocol::{JobId, Timestamp};

/// How long a look may take that decides whether a job was paid in time: after that what was seen before
/// decides. Nodes are given up long before.
const LAST_LOOK: Duration = Duration::from_secs(60);

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

impl Engine {
    /// A job whose time to be paid is over is looked at once more before that is held against it: the last
    /// look may be half a minute old, and much more if the process was stopped. Whether it waits for that.
    pub(super) fn looks_once_more(&mut self, job: JobId, turn: &mut Turn) -> bool {
        let Some(Stage::Awaiting { invoice, submitted, .. }) =
            self.open.get(&job).map(|record| &record.stage)
        else {
            return false;
        };
        let (invoice, submitted) = (*invoice, submitted.clone());
        let until = match self.closing.get(&job) {
            Some(until) if *until <= turn.now => return false,
            Some(until) => *until,
            None => {
                turn.effects.push((job, Effect::Watch { invoice, submitted, lapsed: false, over: false }));
                turn.now.plus(LAST_LOOK)
            }
        };
        self.closing.insert(job, until);
        self.deadlines.set(job, Some(until));
        true
    }

    /// The look that was waited for has come, and its verdict is known.
    pub(super) fn has_looked(&mut self, job: JobId, turn: &mut Turn) {
        if self.closing.remove(&job).is_some() {
            turn.inputs.push_back((job, Input::Due));
        }
    }
}
