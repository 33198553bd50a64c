//! A directory with a worker's files in it, and the real binary to use on them.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Long enough for a machine that does ten other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The seller's seed and key: what no output may hold.
pub(crate) const SEED: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddee01";
pub(crate) const KEY: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

pub(crate) struct Bench {
    dir: tempfile::TempDir,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn edit(&self, name: &str, old: &str, new: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(old), "{name} has no {old}");
        self.write(name, &text.replace(old, new));
    }

    /// Writes a secret for its owner only.
    pub(crate) fn secret(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        self.write(name, text);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A seller of word counts.
    pub(crate) fn set_up(&self, relay: &str, node: &str) {
        self.secret("seed", SEED);
        self.secret("seller.key", KEY);
        self.write(
            "worker.toml",
            &format!(
                "[relay]\nurl = \"{relay}\"\nkey = \"file:seller.key\"\n\
                 [nano]\nnetwork = \"dev\"\nseed = \"file:seed\"\nrpc = [\"{node}\"]\n\
                 [polling]\nmin_ms = 50\nmax_ms = 1000\n\
                 [[offers]]\ntitle = \"Word count\"\nprice_xno = \"0.001\"\n\
                 [offers.handler]\ncommand = [\"wc\", \"-w\"]\n"
            ),
        );
    }

    /// The binary in this directory, with nothing of the tester's environment but the path.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
        command.args(arguments).current_dir(self.dir.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("TMPDIR", self.dir.path());
        // Tests look at it from outside, whoever runs them.
        command.stdin(Stdio::null()).env("UNSHIELDED", "1");
        command
    }

    pub(crate) fn worker(&self, arguments: &[&str]) -> Ended {
        ended(&mut self.command(arguments))
    }

    /// A daemon whose log goes to `worker.log`.
    pub(crate) fn daemon(&self) -> Daemon {
        self.daemon_with(&["run"])
    }

    pub(crate) fn daemon_with(&self, arguments: &[&str]) -> Daemon {
        let log = fs::File::create(self.path("worker.log")).unwrap();
        let mut command = self.command(arguments);
        let child =
            command.env("RUST_LOG", "trace").stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let daemon = Daemon(child);
        self.eventually("a daemon that answers", || self.path("state/worker.sock").exists());
        daemon
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("worker.log")).unwrap()
    }

    pub(crate) fn eventually(&self, what: &str, check: impl Fn() -> bool) {
        let started = Instant::now();
        while !check() {
            assert!(started.elapsed() < PATIENCE, "there is never {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub(crate) fn ended(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A process that is killed when the test ends.
pub(crate) struct Daemon(pub(crate) Child);

impl Daemon {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.0.id().cast_signed()).unwrap(), signal).unwrap();
    }

    /// Its exit code; -1 if a signal ended it.
    pub(crate) fn wait(&mut self) -> i32 {
        let started = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(started.elapsed() < PATIENCE, "the process does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.wait(), 0, "SIGTERM is an order to stop, not a failure");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
