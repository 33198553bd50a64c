//! Work from wherever there is some: a node, work servers, our own cores, in this order.
//!
//! Whatever comes back is tested before it is believed. Who stops waiting, by dropping the future,
//! stops the search: the cores at once, the others by `work_cancel`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;

use super::Rpc;
use crate::work::{Difficulty, Work, solve};

/// Who may be asked for work.
#[derive(Debug, Clone, Default)]
pub struct WorkSources {
    /// Nodes; public ones mostly refuse.
    pub nodes: Option<Rpc>,
    /// Servers that do nothing but work, and speak as a node does.
    pub servers: Option<Rpc>,
    /// Whether our own cores may search: at the live network's thresholds, for minutes.
    pub cpu: bool,
}

/// Where work came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// A node.
    Node,
    /// A work server.
    Server,
    /// Our own cores.
    Cpu,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Node => "the node",
            Self::Server => "the work servers",
            Self::Cpu => "this machine",
        })
    }
}

/// Work, and who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The work; worth the threshold.
    pub work: Work,
    /// Who did it.
    pub source: Source,
}

/// Nobody gave work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no work was found: {}", self.reasons())]
pub struct WorkError {
    /// Who was asked, and what came of it.
    pub failures: Vec<(Source, String)>,
}

impl WorkError {
    fn reasons(&self) -> String {
        if self.failures.is_empty() {
            return "nobody may be asked".to_owned();
        }
        let texts = self.failures.iter().map(|(source, why)| format!("{source}: {why}"));
        texts.collect::<Vec<_>>().join("; ")
    }
}

impl WorkSources {
    /// Finds work for `root` that is worth `threshold`. `start` is a random number, where our own
    /// search begins; `before_cpu` is called once before it does, to say how long it may take.
    ///
    /// # Errors
    /// If no source gives any.
    pub async fn find(
        &self,
        root: &[u8; 32],
        threshold: Difficulty,
        start: u64,
        before_cpu: impl FnOnce() + Send,
    ) -> Result<Found, WorkError> {
        let mut failures = Vec::new();
        for (source, rpc) in [(Source::Node, &self.nodes), (Source::Server, &self.servers)] {
            let Some(rpc) = rpc else { continue };
            match from_afar(rpc, root, threshold).await {
                Ok(work) => return Ok(Found { work, source }),
                Err(why) => failures.push((source, why)),
            }
        }
        if self.cpu {
            before_cpu();
            match from_cores(*root, threshold, start).await {
                Ok(work) => return Ok(Found { work, source: Source::Cpu }),
                Err(why) => failures.push((Source::Cpu, why)),
            }
        }
        Err(WorkError { failures })
    }
}

async fn from_afar(rpc: &Rpc, root: &[u8; 32], threshold: Difficulty) -> Result<Work, String> {
    let mut guard = Unwanted { rpc: Some(rpc.clone()), root: *root };
    let answer = rpc.work_generate(root, threshold).await;
    // Answered: there is nothing to cancel any more.
    guard.rpc = None;
    answer.map_err(|error| error.to_string())
}

/// Cancels a search elsewhere unless it was answered.
struct Unwanted {
    rpc: Option<Rpc>,
    root: [u8; 32],
}

impl Drop for Unwanted {
    fn drop(&mut self) {
        // Without a runtime this is the end of the program, and of the connection.
        if let (Some(rpc), Ok(runtime)) = (self.rpc.take(), Handle::try_current()) {
            let root = self.root;
            runtime.spawn(async move { rpc.work_cancel(&root).await });
        }
    }
}

async fn from_cores(root: [u8; 32], threshold: Difficulty, start: u64) -> Result<Work, String> {
    let cancel = Arc::new(AtomicBool::new(false));
    let _guard = StopSearch(Arc::clone(&cancel));
    let search = tokio::task::spawn_blocking(move || solve(&root, threshold, start, &cancel));
    match search.await {
        Ok(Some(work)) if work.difficulty(&root) >= threshold => Ok(work),
        Ok(_) => Err("the search was called off".to_owned()),
        Err(error) => Err(format!("the search failed: {error}")),
    }
}

struct StopSearch(Arc<AtomicBool>);

impl Drop for StopSearch {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
