//! Processes that a handler started and left behind.
//!
//! Its process group is killed as a whole. What left the group is found by the `JOB_ID` in its
//! environment: this process adopts the orphans of its children, so it finds them among its own.

use std::fs;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, waitpid};

use crate::protocol::JobId;

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

/// Kills what the job's handler left among this process's children.
pub(super) fn kill_strays_among_children(job: JobId) {
    for pid in orphans() {
        if belongs_to(pid, job) {
            kill_and_reap(pid, job);
        }
    }
}

/// Kills what an earlier life of this worker may have left running for a job, wherever it is.
pub fn kill_strays(job: JobId) {
    for pid in all_processes() {
        if belongs_to(pid, job) {
            kill_and_reap(pid, job);
        }
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

/// The orphans that this process has adopted.
///
/// The kernel gives them to the process's first thread, while handlers belong to the threads that
/// started them; so its list is short, and one small file.
fn orphans() -> Vec<i32> {
    let me = rustix::process::getpid().as_raw_nonzero();
    let list = fs::read_to_string(format!("/proc/self/task/{me}/children")).unwrap_or_default();
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
