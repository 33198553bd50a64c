//! The processes: a relay and four workers, two of which share a key and one of which speaks /v0;
//! whoever ends is started again.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::dice::Dice;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

/// Between an end that nobody asked for and the next start, as a service manager would leave.
const RESTART_DELAY: Duration = Duration::from_millis(300);

/// The shortest lock there is.
pub(crate) const LOCK_TTL: Duration = Duration::from_secs(10);

/// Where distributions put the library that bends a process's clock.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];

/// Who is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Relay,
    /// Number 0 and 1 are one seller, with one key and one seed; 2 is another.
    Worker(usize),
    /// A worker that speaks /v0.
    Bot,
}

pub(crate) const PARTS: [Part; 5] =
    [Part::Relay, Part::Worker(0), Part::Worker(1), Part::Worker(2), Part::Bot];

/// How long a charge over /v0 stands: so shortly that some are paid when they are over.
const CHARGE_TTL: Duration = Duration::from_secs(20);

impl Part {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Relay => "relay".to_owned(),
            Self::Worker(number) => format!("worker-{number}"),
            Self::Bot => "bot".to_owned(),
        }
    }

    /// The key that signs, and the seed of the wallet.
    pub(crate) fn seller_byte(self) -> u8 {
        match self {
            Self::Bot => 3,
            Self::Worker(2) => 2,
            Self::Relay | Self::Worker(_) => 1,
        }
    }
}

/// Where everything is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) relay: SocketAddr,
    /// What workers are told that the relay and the node are.
    pub(crate) relay_url: String,
    pub(crate) node_url: String,
}

impl Place {
    /// The configuration of a worker.
    pub(crate) fn config(&self, part: Part) -> PathBuf {
        self.dir.join(format!("{}.toml", part.name()))
    }
}

/// One process, through all its lives.
#[derive(Debug)]
pub(crate) struct Actor {
    pub(crate) part: Part,
    place: Place,
    child: Option<Child>,
    back_at: Option<Instant>,
    /// Seconds by which its clock is wrong in its next life.
    pub(crate) skew: i64,
    pub(crate) ends: Vec<String>,
}

impl Actor {
    pub(crate) fn new(part: Part, place: &Place) -> Self {
        match part {
            Part::Relay => {}
            Part::Worker(number) => configure(part, number, place),
            Part::Bot => configure_bot(place),
        }
        let mut actor =
            Self { part, place: place.clone(), child: None, back_at: None, skew: 0, ends: Vec::new() };
        actor.start();
        actor
    }

    fn start(&mut self) {
        self.back_at = None;
        let log = |suffix: &str| {
            let path = self.place.dir.join(format!("{}.{suffix}", self.part.name()));
            fs::OpenOptions::new().create(true).append(true).open(path).unwrap()
        };
        let mut command = self.command();
        if self.skew != 0
            && let Some(library) = faketime()
        {
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME", format!("{:+}", self.skew))
                // Only a clock on the wall can be wrong.
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        let child = command.stdin(Stdio::null()).stdout(log("out")).stderr(log("log")).spawn();
        self.child = Some(child.unwrap());
    }

    fn command(&self) -> Command {
        match self.part {
            Part::Relay => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
                command
                    .args(["serve", "--listen", &self.place.relay.to_string(), "--data"])
                    .arg(self.place.dir.join("relay"))
                    .env("RELAY_RATE_LIMIT_ENABLED", "false")
                    .env("RELAY_SWEEP_INTERVAL_MS", "200")
                    .env("RUST_LOG", "info");
                command
            }
            Part::Worker(_) | Part::Bot => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
                command.args(["run", "--config"]).arg(self.place.config(self.part)).env("RUST_LOG", "info");
                // Its descriptors are counted from outside.
                command.env("UNSHIELDED", "1");
                command
            }
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.child.is_some()
    }

    fn pid(&self) -> Option<Pid> {
        self.child.as_ref().map(Pid::from_child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // It may just have ended.
            let _ = kill_process(pid, signal);
        }
    }

    /// kill -9; it is back after `away`.
    pub(crate) fn kill(&mut self, away: Duration) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
        self.back_at = Some(Instant::now() + away);
    }

    /// Lets it open no further descriptors, or as many as usual.
    pub(crate) fn starve(&self, starve: bool) {
        let Some(pid) = self.pid() else { return };
        let open = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).map_or(0, Iterator::count);
        let current = if starve { open as u64 } else { 1_024 };
        let _ = prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(current), maximum: Some(4_096) });
    }

    /// Starts it again if it has ended and its time has come.
    pub(crate) fn look_after(&mut self) {
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait().unwrap()
        {
            self.ends.push(format!("{} ended by itself: {status}", self.part.name()));
            self.child = None;
            self.back_at = Some(Instant::now() + RESTART_DELAY);
        }
        if self.back_at.is_some_and(|at| Instant::now() >= at) {
            self.start();
        }
    }

    /// Whole again, from here on.
    pub(crate) fn heal(&mut self) {
        self.signal(Signal::CONT);
        self.starve(false);
        if self.skew != 0 {
            self.skew = 0;
            self.kill(Duration::ZERO);
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

pub(crate) fn faketime() -> Option<&'static str> {
    FAKETIME.into_iter().find(|path| Path::new(path).exists())
}

/// An address that a relay can come back to: below the range from which the kernel gives ports to
/// those who do not care, or somebody would have it while the relay is away.
pub(crate) fn free_address(dice: &mut Dice) -> SocketAddr {
    loop {
        let port = u16::try_from(dice.within(10_000..30_000)).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

fn configure(part: Part, number: usize, place: &Place) {
    // Workers that share a seed must share no address.
    let first_index = number * 1_000_000;
    let text = Written {
        state: format!("state-{number}"),
        nano: format!("account_index_start = {first_index}\n"),
        ..Written::default()
    };
    write_down(part, place, &text);
}

fn configure_bot(place: &Place) {
    let byte = Part::Bot.seller_byte();
    // The second key as `bots::keys` makes it.
    secret(&place.dir.join("sealing-key"), &hex::encode([byte + 100; 32]));
    let text = Written {
        state: "state-bot".to_owned(),
        // The relay here has no limits, and the more is sold the more can go wrong.
        relay: "dialect = \"v0\"\nsealing_key = \"file:sealing-key\"\npace = \"unlimited\"\n".to_owned(),
        rest: format!("[quote]\nttl_seconds = {}\n", CHARGE_TTL.as_secs()),
        offer: "description = \"Says it again.\"\ntags = [\"text\"]\n".to_owned(),
        ..Written::default()
    };
    write_down(Part::Bot, place, &text);
}

/// What differs between configurations.
#[derive(Debug, Default)]
struct Written {
    state: String,
    relay: String,
    nano: String,
    rest: String,
    offer: String,
}

fn write_down(part: Part, place: &Place, own: &Written) {
    let byte = part.seller_byte();
    let dir = &place.dir;
    secret(&dir.join(format!("key-{byte}")), &hex::encode([byte; 32]));
    secret(&dir.join(format!("seed-{byte}")), &hex::encode([byte + 100; 32]));
    fs::write(dir.join("handler.sh"), crate::shop::HANDLER).unwrap();
    let offer = |title: &str, idempotent: bool| {
        format!(
            "[[offers]]\ntitle = \"{title}\"\nprice_raw = \"{}\"\n{}[offers.handler]\n\
             command = [\"/bin/sh\", \"handler.sh\"]\ntimeout_seconds = 60\nidempotent = {idempotent}\n\
             max_parallel = 8\nmemory_max_mib = 96\n",
            crate::shop::PRICE,
            own.offer,
        )
    };
    let text = format!(
        "[relay]\nurl = \"{}\"\nkey = \"file:key-{byte}\"\n{}\
         [nano]\nnetwork = \"dev\"\nseed = \"file:seed-{byte}\"\nrpc = [\"{}\"]\n{}\
         [state]\ndir = \"{}\"\n[polling]\nmin_ms = 50\nmax_ms = 2000\n\
         [lock]\nttl_seconds = {}\n{}{}{}",
        place.relay_url,
        own.relay,
        place.node_url,
        own.nano,
        own.state,
        LOCK_TTL.as_secs(),
        own.rest,
        offer("once", false),
        offer("again", true),
    );
    fs::write(place.config(part), text).unwrap();
}

fn secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
