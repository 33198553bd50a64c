//! Processes that a handler started and left behind.
//!
//! Its process group is killed as a whole. What left the group is found by the `JOB_ID` in its
//! environment: this process adopts the orphans of its children, so it finds them among its own.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, waitpid};

use crate::protocol::JobId;

/// Looks for what is left of one run: what was killed is gone within a few of them.
const ROUNDS_MAX: u32 = 200;

/// Between two of them, for what was killed to die.
const ROUND_DELAY: Duration = Duration::from_millis(5);

/// Looks for what is left of an earlier life; a second one finds what forked during the first.
const LOOKS_MAX: u32 = 20;

/// Processes whose children are asked for: a handler with more is stopped by its own limits first.
const DESCENDANTS_MAX: usize = 65_536;

/// Lets the orphans of handlers become children of this process, so that they can be found and
/// killed. For the daemon's start.
pub fn adopt_orphans() {
    let me = rustix::process::getpid();
    if let Err(error) = rustix::process::set_child_subreaper(Some(me)) {
        tracing::warn!(%error, "orphans of handlers will not be adopted");
    }
}

/// Kills a whole process group.
pub(super) fn kill_group(leader: Option<u32>) {
    let group = leader.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(group) = group {
        // It fails when nobody is left, which is what is wanted.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Kills what the job's handler left below this process, and waits until nothing of it is found.
///
/// The children of what dies become ours only once it is dead, so one look is not enough.
pub(super) async fn kill_strays_among_children(job: JobId) {
    for _ in 0..ROUNDS_MAX {
        let strays: Vec<i32> = descendants().into_iter().filter(|&pid| belongs_to(pid, job)).collect();
        if strays.is_empty() {
            return;
        }
        strays.into_iter().for_each(|pid| kill_and_reap(pid, job));
        tokio::time::sleep(ROUND_DELAY).await;
    }
    tracing::warn!(job_id = %job, "processes that the handler left behind do not die");
}

/// Kills what an earlier life of this worker may have left running for a job, wherever it is.
pub fn kill_strays(job: JobId) {
    // Who forks while it is being killed is found by the next look.
    for _ in 0..LOOKS_MAX {
        let strays: Vec<i32> = all_processes().into_iter().filter(|&pid| belongs_to(pid, job)).collect();
        if strays.is_empty() {
            return;
        }
        strays.into_iter().for_each(|pid| kill_and_reap(pid, job));
    }
}

fn kill_and_reap(pid: i32, job: JobId) {
    let Some(process) = Pid::from_raw(pid) else { return };
    if kill_process(process, Signal::KILL).is_ok() {
        tracing::warn!(job_id = %job, pid, "killed a process that the handler left behind");
    }
    // Only our own children need it, and may not be dead yet; then the next look reaps them.
    let _ = waitpid(Some(process), WaitOptions::NOHANG);
}

/// All processes below this one.
fn descendants() -> Vec<i32> {
    let me = rustix::process::getpid().as_raw_nonzero().get();
    let mut found = children(me);
    let mut next = 0;
    while let Some(&pid) = found.get(next).filter(|_| next < DESCENDANTS_MAX) {
        found.extend(children(pid));
        next += 1;
    }
    // Whoever was orphaned between two of these lists is in this one.
    found.extend(children(me));
    found.sort_unstable();
    found.dedup();
    found
}

/// The children of a process, whichever of its threads started or adopted them.
fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
    lists.flat_map(|list| numbers(&list)).collect()
}

fn numbers(list: &str) -> Vec<i32> {
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn all_processes() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

fn belongs_to(pid: i32, job: JobId) -> bool {
    let wanted = format!("JOB_ID={job}");
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environment| environment.split(|&byte| byte == 0).any(|entry| entry == wanted.as_bytes()))
}
