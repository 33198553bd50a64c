//! The processes of the demo.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::super::exit::{Exit, Failure};
use super::parts::{DEMO, Part};

/// Names of the environment that the processes see: none that could point to somebody's real money.
const ENVIRONMENT: [&str; 4] = ["PATH", "HOME", "TMPDIR", "LANG"];

/// How long a process may take to say that it is there, or to do one thing.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a process may take to end once it is told to.
const FAREWELL: Duration = Duration::from_secs(5);

/// A first line is an address; a longer one is something else.
const LINE_BYTES_MAX: u64 = 1_024;

/// Everybody who was started.
#[derive(Debug)]
pub(super) struct Cast {
    program: PathBuf,
    dir: PathBuf,
    running: Vec<Child>,
}

impl Cast {
    pub(super) fn new(dir: &Path) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(Failure::other)?;
        Ok(Self { program, dir: dir.to_owned(), running: Vec::new() })
    }

    /// Starts a part that stays, and returns the address at the end of its first line.
    pub(super) async fn start(&mut self, part: Part, arguments: &[&str]) -> Result<String, Failure> {
        let mut child =
            self.command(part, arguments)?.stdout(Stdio::piped()).spawn().map_err(Failure::other)?;
        let stdout = child.stdout.take();
        self.running.push(child);
        let mut line = String::new();
        if let Some(stdout) = stdout {
            let read = BufReader::new(stdout.take(LINE_BYTES_MAX)).read_line(&mut line).await;
            read.map_err(Failure::other)?;
        }
        match line.split_whitespace().last() {
            Some(address) => Ok(address.to_owned()),
            None => Err(Failure::text(Exit::Other, format!("the {} did not start", part.name()))),
        }
    }

    /// Starts a part that stays and says nothing.
    pub(super) fn start_silent(&mut self, part: Part, arguments: &[&str]) -> Result<(), Failure> {
        let child = self.command(part, arguments)?.stdout(Stdio::null()).spawn().map_err(Failure::other)?;
        self.running.push(child);
        Ok(())
    }

    /// Runs a part that does one thing and prints JSON.
    pub(super) async fn ask(&self, part: Part, arguments: &[&str]) -> Result<Value, Failure> {
        let running = self.command(part, arguments)?.stdout(Stdio::piped()).output();
        let verb = format!("{} {}", part.name(), arguments.first().unwrap_or(&""));
        let output = tokio::time::timeout(PATIENCE, running)
            .await
            .map_err(|_| Failure::text(Exit::Other, format!("`{verb}` took too long")))?
            .map_err(Failure::other)?;
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if output.status.success() {
            return Ok(answer);
        }
        let why = answer["error"]["message"].as_str().unwrap_or("see its log").to_owned();
        Err(Failure::text(Exit::Other, format!("`{verb}` failed: {why}")))
    }

    /// Ends everybody, the last one first, as the parts rely on those before them.
    pub(super) async fn dismiss(&mut self) {
        while let Some(mut child) = self.running.pop() {
            if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
                // Whoever has ended already needs no telling.
                let _ = kill_process(pid, Signal::TERM);
            }
            if tokio::time::timeout(FAREWELL, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
    }

    fn command(&self, part: Part, arguments: &[&str]) -> Result<Command, Failure> {
        let mut command = Command::new(&self.program);
        command.arg0(part.process()).args(arguments).env_clear().env("RUST_LOG", "warn");
        #[expect(clippy::disallowed_methods, reason = "the environment is passed on, not decided by")]
        let passed = ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.envs(passed).env(DEMO, std::process::id().to_string());
        command.stdin(Stdio::null()).stderr(self.log(part).map_err(Failure::other)?);
        // Ctrl-C is for the demo, which ends the others in order.
        command.current_dir(&self.dir).process_group(0).kill_on_drop(true);
        Ok(command)
    }

    fn log(&self, part: Part) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(self.dir.join(format!("{}.log", part.name())))
    }
}
