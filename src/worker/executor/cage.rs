//! What keeps a handler from starving the daemon: it runs below it, within limits.
//!
//! A program is not started directly. This very program is, under the name [`LAUNCHER`]; it lowers
//! itself, sets its limits, enters its control group, and becomes the handler. So the handler never
//! runs a single instruction outside its cage, and nothing unsafe has to happen between fork and
//! exec.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, nice, setrlimit};

use super::groups::{Groups, JobGroup};
use crate::protocol::JobId;

/// The name under which this program is the launcher of handlers.
pub const LAUNCHER: &str = "handler-launcher";

/// What a handler adds to its chance of being chosen when the machine's memory is gone: half of the
/// scale, so that it goes long before the daemon and not before a program that leaks far more.
const OOM_SCORE: &str = "500";

/// How much of the machine a handler may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How far below the daemon it is scheduled: 0 to 19.
    pub nice: u8,
    /// Bytes of memory.
    pub memory_max: Option<u64>,
    /// Processor time in hundredths of one processor.
    pub cpu_percent: Option<u64>,
    /// Processes and threads.
    pub tasks_max: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { nice: 10, memory_max: None, cpu_percent: None, tasks_max: None }
    }
}

/// How handlers are kept apart on this machine.
#[derive(Debug, Default)]
pub struct Cage {
    launcher: Option<PathBuf>,
    groups: Option<Groups>,
}

impl Cage {
    /// The cage that this process can make: `launcher` is this very program, if it can be one; the
    /// control groups are those that the service manager has given away.
    #[must_use]
    pub fn find(launcher: Option<PathBuf>) -> Self {
        Self { groups: launcher.as_ref().and_then(|_| Groups::find()), launcher }
    }

    /// Whether limits of processor time and of processes can be kept here.
    #[must_use]
    pub const fn has_groups(&self) -> bool {
        self.groups.is_some()
    }

    /// The group of a job's run, if there are groups.
    pub(super) fn group(&self, job: JobId, limits: Limits) -> Option<JobGroup> {
        let made = self.groups.as_ref()?.make(job, limits);
        made.inspect_err(|error| tracing::warn!(job_id = %job, %error, "no control group for the handler"))
            .ok()
    }

    /// The beginning of the command that starts `program` in the cage.
    pub(super) fn command(
        &self,
        program: &Path,
        limits: Limits,
        group: Option<&JobGroup>,
    ) -> std::process::Command {
        let Some(launcher) = &self.launcher else { return std::process::Command::new(program) };
        let mut command = std::process::Command::new(launcher);
        // With a group the kernel counts all of the job's memory together, which is what was meant.
        let memory = limits.memory_max.filter(|_| group.is_none());
        command
            .arg0(LAUNCHER)
            .arg(limits.nice.to_string())
            .arg(memory.unwrap_or_default().to_string())
            .arg(group.map(JobGroup::path).unwrap_or(Path::new("")))
            .arg(program);
        command
    }
}

/// The launcher: does its part and becomes the handler. It returns only if it cannot, and says why.
///
/// `arguments` are those after the program's own name, as [`Cage`] writes them.
pub fn launch(arguments: impl Iterator<Item = OsString>) -> io::Error {
    match Launch::read(arguments) {
        Some(launch) => launch.perform(),
        None => io::Error::from(io::ErrorKind::InvalidInput),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Launch {
    nice: i32,
    memory: Option<u64>,
    group: Option<PathBuf>,
    program: OsString,
    arguments: Vec<OsString>,
}

impl Launch {
    fn read(mut arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        let nice = arguments.next()?.to_str()?.parse().ok()?;
        let memory = arguments.next()?.to_str()?.parse().ok().filter(|&bytes| bytes > 0);
        let group = arguments.next().filter(|path| !path.is_empty()).map(PathBuf::from);
        Some(Self { nice, memory, group, program: arguments.next()?, arguments: arguments.collect() })
    }

    fn perform(self) -> io::Error {
        if let Err(error) = self.confine() {
            return error;
        }
        std::process::Command::new(self.program).args(self.arguments).exec()
    }

    /// A limit that was asked for is kept or the handler does not start. Being lower than the daemon
    /// is a courtesy that a strict sandbox may forbid.
    fn confine(&self) -> io::Result<()> {
        if let Some(group) = &self.group {
            fs::write(group.join("cgroup.procs"), "0")?;
        }
        let _ = nice(self.nice);
        let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
        // A core dump would hold what the buyer wrote.
        setrlimit(Resource::Core, limit(0))?;
        if let Some(bytes) = self.memory {
            // Not the address space, of which many runtimes reserve far more than they ever use.
            setrlimit(Resource::Data, limit(bytes))?;
        }
        Ok(())
    }
}

const fn limit(value: u64) -> Rlimit {
    Rlimit { current: Some(value), maximum: Some(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_launcher_reads_what_the_cage_writes() {
        let cage = Cage { launcher: Some("/proc/self/exe".into()), groups: None };
        let limits = Limits { nice: 7, memory_max: Some(1 << 20), ..Limits::default() };
        let mut command = cage.command(Path::new("/bin/echo"), limits, None);
        command.args(["a", ""]);
        let launch = Launch::read(command.get_args().map(OsString::from)).unwrap();
        let expected = Launch {
            nice: 7,
            memory: Some(1 << 20),
            group: None,
            program: "/bin/echo".into(),
            arguments: vec!["a".into(), "".into()],
        };
        assert_eq!(launch, expected);
        assert_eq!(Launch::read(["x", "", "", "sh"].map(OsString::from).into_iter()), None);
        assert_eq!(Launch::read(["1", "0"].map(OsString::from).into_iter()), None);
    }

    #[test]
    fn without_a_launcher_the_program_itself_is_started() {
        let command = Cage::default().command(Path::new("/bin/echo"), Limits::default(), None);
        assert_eq!(command.get_program(), "/bin/echo");
        assert_eq!(command.get_args().count(), 0);
    }
}
