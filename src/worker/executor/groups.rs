//! One control group for each run of a handler, below the group that the service manager gave away.
//!
//! systemd gives a service its own subtree with `Delegate=` and marks it. The daemon moves into
//! `daemon` there, and handlers live in `handlers/job-…` beside it: a group of its own makes a limit
//! count for the whole job, and ends all of it at once. Groups that were not given away are never
//! touched.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cage::Limits;
use crate::protocol::JobId;

/// Where control groups of version 2 are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// By what systemd marks a group that it has given away.
const MARK: &str = "user.delegate";

/// A quarter of what the daemon has by default: it comes first when all processors are busy.
const HANDLERS_WEIGHT: &str = "25";

/// The period over which processor time is counted, in microseconds; the kernel's own default.
const CPU_PERIOD_US: u64 = 100_000;

/// How often the removal of a group is tried: its processes are killed, but take a moment to die.
const REMOVAL_TRIES: u32 = 25;

/// How long between two tries.
const REMOVAL_DELAY: Duration = Duration::from_millis(20);

/// The place for the groups of handlers.
#[derive(Debug)]
pub(super) struct Groups {
    handlers: PathBuf,
}

impl Groups {
    /// The groups below this process's own, if that was given away.
    pub(super) fn find() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let own = Path::new(MOUNT).join(own);
        if !is_given_away(&own) {
            return None;
        }
        Self::set_up(&own).inspect_err(|error| tracing::warn!(%error, "handlers get no control groups")).ok()
    }

    /// Makes `own` ready: a group with controlled groups below it may hold no process itself.
    fn set_up(own: &Path) -> io::Result<Self> {
        let daemon = own.join("daemon");
        make(&daemon)?;
        fs::write(daemon.join("cgroup.procs"), "0")?;
        let groups = Self { handlers: own.join("handlers") };
        make(&groups.handlers)?;
        for group in [own, &groups.handlers] {
            for controller in ["+cpu", "+memory", "+pids"] {
                // What is missing is missed when a limit needs it.
                let _ = fs::write(group.join("cgroup.subtree_control"), controller);
            }
        }
        let _ = fs::write(groups.handlers.join("cpu.weight"), HANDLERS_WEIGHT);
        groups.sweep()?;
        Ok(groups)
    }

    /// Ends what an earlier life of the daemon left.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.handlers)? {
            let path = entry?.path();
            if path.is_dir() {
                JobGroup { path }.kill();
            }
        }
        Ok(())
    }

    /// A group with these limits.
    pub(super) fn make(&self, job: JobId, limits: Limits) -> io::Result<JobGroup> {
        let group = JobGroup { path: self.handlers.join(format!("job-{job}")) };
        make(&group.path)?;
        group.set(limits)?;
        Ok(group)
    }
}

/// The group of one run.
#[derive(Debug)]
pub(super) struct JobGroup {
    path: PathBuf,
}

impl JobGroup {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn set(&self, limits: Limits) -> io::Result<()> {
        if let Some(bytes) = limits.memory_max {
            self.write("memory.max", &bytes.to_string())?;
            // What does not fit must not push the rest of the machine to the disk. Without swap the
            // file is absent.
            let _ = self.write("memory.swap.max", "0");
            self.write("memory.oom.group", "1")?;
        }
        if let Some(percent) = limits.cpu_percent {
            self.write("cpu.max", &format!("{} {CPU_PERIOD_US}", percent * CPU_PERIOD_US / 100))?;
        }
        if let Some(tasks) = limits.tasks_max {
            self.write("pids.max", &tasks.to_string())?;
        }
        Ok(())
    }

    fn write(&self, name: &str, value: &str) -> io::Result<()> {
        fs::write(self.path.join(name), value)
    }

    /// Whether the kernel has killed something in it for want of memory.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.and_then(|count| count.trim().parse().ok()).is_some_and(|count: u64| count > 0)
    }

    /// Kills everything in it, also what has left the handler's process group.
    pub(super) fn kill(&self) {
        if let Err(error) = self.write("cgroup.kill", "1") {
            tracing::warn!(%error, group = %self.path.display(), "a control group cannot be killed");
        }
    }

    /// Kills and removes it.
    pub(super) async fn close(self) {
        self.kill();
        for _ in 0..REMOVAL_TRIES {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            tokio::time::sleep(REMOVAL_DELAY).await;
        }
        tracing::warn!(group = %self.path.display(), "a control group cannot be removed yet");
    }
}

fn is_given_away(group: &Path) -> bool {
    let mut value = [0; 8];
    let length = rustix::fs::getxattr(group, MARK, &mut value);
    length.is_ok_and(|length| value.get(..length) == Some(b"1".as_slice()))
}

fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> JobId {
        JobId::from_random([4; 16])
    }

    #[test]
    fn limits_are_written_as_the_kernel_reads_them() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("daemon")).unwrap();
        let groups = Groups::set_up(place.path()).unwrap();
        let limits =
            Limits { nice: 0, memory_max: Some(64 << 20), cpu_percent: Some(150), tasks_max: Some(32) };
        let group = groups.make(job(), limits).unwrap();
        assert_eq!(group.path(), place.path().join(format!("handlers/job-{}", job())));
        for (name, value) in [
            ("memory.max", "67108864"),
            ("memory.swap.max", "0"),
            ("memory.oom.group", "1"),
            ("cpu.max", "150000 100000"),
            ("pids.max", "32"),
        ] {
            assert_eq!(fs::read_to_string(group.path().join(name)).unwrap(), value, "{name}");
        }
        let weight = fs::read_to_string(place.path().join("handlers/cpu.weight")).unwrap();
        assert_eq!(weight, HANDLERS_WEIGHT);
        assert!(!group.ran_out_of_memory());
        let events = "low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\noom_group_kill 1\n";
        fs::write(group.path().join("memory.events"), events).unwrap();
        assert!(group.ran_out_of_memory());
    }

    #[test]
    fn a_group_that_nobody_gave_away_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        assert!(!is_given_away(place.path()));
        assert!(!is_given_away(Path::new("/nonexistent")));
    }

    /// The kernel's own groups, where this machine lets a test make one.
    #[tokio::test]
    async fn closing_a_group_ends_all_that_is_in_it() {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
        let name = format!("nano-worker-test-{}", std::process::id());
        let place = mount.and_then(|line| line.split(' ').nth(1)).map(|mount| Path::new(mount).join(name));
        let Some(place) = place.filter(|place| fs::create_dir(place).is_ok()) else {
            println!("skipped: no control group can be made here");
            return;
        };
        let group = JobGroup { path: place.clone() };
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "echo 0 > \"$0\"/cgroup.procs; setsid sleep 600 & echo in; wait"])
            .arg(&place)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 3]).unwrap();
        group.close().await;
        assert!(!child.wait().unwrap().success());
        assert!(!place.exists());
    }
}
