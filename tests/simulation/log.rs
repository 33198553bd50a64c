//! What happened, and what should not have.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The lines of one schedule.
#[derive(Debug)]
pub(crate) struct Log {
    lines: Option<Mutex<Vec<String>>>,
    violations: Mutex<Vec<String>>,
    events: AtomicU64,
}

impl Log {
    pub(crate) fn new(keep: bool) -> Self {
        Self { lines: keep.then(Mutex::default), violations: Mutex::default(), events: AtomicU64::new(0) }
    }

    /// Writes a line, if lines are kept.
    pub(crate) fn say(&self, at: Duration, line: impl FnOnce() -> String) {
        self.events.fetch_add(1, Ordering::Relaxed);
        if let Some(lines) = &self.lines {
            let text = format!("{:>10.3} {}", at.as_secs_f64(), line());
            lines.lock().unwrap().push(text);
        }
    }

    pub(crate) fn violate(&self, what: String) {
        self.violations.lock().unwrap().push(what);
    }

    pub(crate) fn has_failed(&self) -> bool {
        !self.violations.lock().unwrap().is_empty()
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.as_ref().map(|lines| lines.lock().unwrap().clone()).unwrap_or_default()
    }

    pub(crate) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }
}
