//! A program in a process group of its own, which does not outlive its job.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::cage::{Cage, Limits};
use super::groups::JobGroup;
use super::{OUTPUT_BYTES_MAX, Run, RunError, strays};
use crate::points::crash_point;
use crate::protocol::JobId;

/// Bytes of a handler's errors that are logged; what follows is read and dropped.
const STDERR_BYTES_MAX: usize = 64 * 1_024;

/// Between two tries to start a handler for which the machine has no room.
const START_DELAY: Duration = Duration::from_millis(500);

/// How long output may still come once the program has ended and its group is dead.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

/// What is started, and within which limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start<'a> {
    pub(super) program: &'a Path,
    pub(super) arguments: &'a [String],
    pub(super) directory: &'a Path,
    pub(super) limits: Limits,
}

pub(super) async fn run(
    cage: &Cage,
    start: &Start<'_>,
    timeout: Duration,
    run: &Run,
    stop: &CancellationToken,
) -> Result<Vec<u8>, RunError> {
    let group = cage.group(run.job_id, start.limits);
    let output = run_in(cage, group.as_ref(), start, timeout, run, stop).await;
    if let Some(group) = group {
        group.close().await;
    }
    output
}

async fn run_in(
    cage: &Cage,
    job_group: Option<&JobGroup>,
    start: &Start<'_>,
    timeout: Duration,
    run: &Run,
    stop: &CancellationToken,
) -> Result<Vec<u8>, RunError> {
    let mut child = start.begin(cage, job_group, run, timeout, stop).await?;
    crash_point!("worker/handler/started");
    let group = child.id();
    let input = feed(&mut child, run.request.clone());
    let log = log_errors(&mut child, run.job_id);
    let (output, overflow) = collect(&mut child);
    let ended = tokio::select! {
        status = child.wait() => match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => {
                tracing::warn!(job_id = %run.job_id, %status, "handler exited");
                Err(reason(status, job_group))
            }
            Err(error) => Err(RunError::Start(error)),
        },
        () = tokio::time::sleep(timeout) => Err(RunError::TimedOut(timeout.as_secs())),
        () = overflow.cancelled() => Err(RunError::TooLarge),
        () = stop.cancelled() => Err(RunError::Stopped),
    };
    // Also after a success: what the program left behind must not outlive the job.
    strays::kill_group(group);
    job_group.inspect(|group| group.kill());
    drop(child.wait().await);
    strays::kill_strays_among_children(run.job_id).await;
    input.abort();
    log.abort();
    let output = tokio::time::timeout(LAST_OUTPUT, output).await;
    ended?;
    match output {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(RunError::TooLarge),
        // A stray that left the group still holds the pipe: the output may be incomplete.
        Ok(Err(_)) | Err(_) => Err(RunError::Failed),
    }
}

/// Why a run that ended by itself has no result.
fn reason(status: ExitStatus, group: Option<&JobGroup>) -> RunError {
    match status.signal() {
        _ if group.is_some_and(JobGroup::ran_out_of_memory) => RunError::OutOfMemory,
        Some(signal) => RunError::Killed(signal),
        None => RunError::Failed,
    }
}

/// Whether a start failed because the machine had too little of something for a moment. After these
/// errors nothing has run: they come from making pipes and processes, before there is a handler.
fn may_start_later(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::AGAIN))
}

impl Start<'_> {
    /// Starts the program; while the machine has no room for it, waits as long as a run may take.
    async fn begin(
        &self,
        cage: &Cage,
        group: Option<&JobGroup>,
        run: &Run,
        patience: Duration,
        stop: &CancellationToken,
    ) -> Result<Child, RunError> {
        let mut waited = Duration::ZERO;
        loop {
            match self.spawn(cage, group, run) {
                Err(error) if may_start_later(&error) && waited < patience => {
                    tracing::warn!(job_id = %run.job_id, %error, "the handler cannot be started yet");
                }
                started => return started.map_err(RunError::Start),
            }
            tokio::select! {
                () = tokio::time::sleep(START_DELAY) => waited += START_DELAY,
                () = stop.cancelled() => return Err(RunError::Stopped),
            }
        }
    }

    fn spawn(&self, cage: &Cage, group: Option<&JobGroup>, run: &Run) -> std::io::Result<Child> {
        let mut command = Command::from(cage.command(self.program, self.limits, group));
        command
            .args(self.arguments)
            .current_dir(self.directory)
            .env_clear()
            .env("JOB_ID", run.job_id.to_string())
            .env("OFFER_ID", run.offer_id.to_string())
            .env("ATTEMPT", run.attempt.to_string())
            .env("PURPOSE", run.purpose.name())
            .env("LOCK_TOKEN", run.lock_token.map(|token| token.to_string()).unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command.spawn()
    }
}

/// A handler need not read its input, so a broken pipe is no error.
fn feed(child: &mut Child, request: Vec<u8>) -> JoinHandle<()> {
    let stdin = child.stdin.take();
    tokio::spawn(async move {
        if let Some(mut stdin) = stdin
            && stdin.write_all(&request).await.is_ok()
        {
            drop(stdin.shutdown().await);
        }
    })
}

/// Reads all output; `None` once there is too much of it, which also cancels the token.
fn collect(child: &mut Child) -> (JoinHandle<Option<Vec<u8>>>, CancellationToken) {
    let stdout = child.stdout.take();
    let overflow = CancellationToken::new();
    let task = tokio::spawn({
        let overflow = overflow.clone();
        async move {
            let mut bytes = Vec::new();
            if let Some(stdout) = stdout {
                let limit = OUTPUT_BYTES_MAX as u64 + 1;
                drop(stdout.take(limit).read_to_end(&mut bytes).await);
            }
            if bytes.len() > OUTPUT_BYTES_MAX {
                overflow.cancel();
                return None;
            }
            Some(bytes)
        }
    });
    (task, overflow)
}

/// The handler's errors are for the seller's log, never for the buyer.
fn log_errors(child: &mut Child, job: JobId) -> JoinHandle<()> {
    let stderr = child.stderr.take();
    tokio::spawn(async move {
        let Some(mut stderr) = stderr else { return };
        let text = read_some(&mut stderr).await;
        for line in String::from_utf8_lossy(&text).lines() {
            tracing::info!(job_id = %job, "handler: {line}");
        }
        // Whatever else it says must not fill the pipe and stop it.
        drop(tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await);
    })
}

async fn read_some(reader: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    drop(reader.take(STDERR_BYTES_MAX as u64).read_to_end(&mut bytes).await);
    bytes
}
