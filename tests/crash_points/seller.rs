//! A seller whose worker dies at a point, and is brought back along a path.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nano_worker::client::{JobsQuery, RelayClient};
use nano_worker::nano::{Account, Amount, Seed};
use nano_worker::protocol::{Actor, Status, Timestamp};

use crate::lane::{Lane, key, log};
use crate::process::{Process, secret};

pub(crate) const PRICE: Amount = Amount::from_raw(1_000_000_000_000_000_000_000_000_000);

/// The shortest lock that a relay gives.
pub(crate) const LOCK_TTL: Duration = Duration::from_secs(10);

/// How often the worker is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// How a worker that died is brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// `worker run` again.
    Run,
    /// `worker recover`, then `worker run`.
    Recover,
    /// `worker run`, once its locks have expired.
    LockExpired,
    /// The relay is killed as well, and both come back.
    RelayToo,
    /// It dies once more at the same point, if it gets there, before it comes back.
    Twice,
}

impl Path {
    pub(crate) const ALL: [Self; 5] =
        [Self::Run, Self::Recover, Self::LockExpired, Self::RelayToo, Self::Twice];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nobody minds whether it runs.
    Unwatched,
    /// It runs, and is to die of the point.
    Armed,
    /// It died, and is being brought back.
    Down,
    /// It runs again, and may die of the point once more.
    ArmedAgain,
    /// It runs again, and must not die any more.
    Back,
}

struct Life {
    process: Option<Process>,
    phase: Phase,
    died_at: Option<Instant>,
    deaths: u32,
}

pub(crate) struct Seller {
    pub(crate) lane: Arc<Lane>,
    pub(crate) home: PathBuf,
    pub(crate) client: RelayClient,
    points: String,
    path: Path,
    life: Mutex<Life>,
}

impl Seller {
    pub(crate) fn new(lane: &Arc<Lane>, points: &str, path: Path) -> Self {
        let (home, own) = (lane.home(), key());
        secret(&home.join("seller.key"), &hex::encode(own));
        secret(&home.join("seed"), &hex::encode(key()));
        let life = Life { process: None, phase: Phase::Unwatched, died_at: None, deaths: 0 };
        let client = lane.client(own);
        let (lane, points) = (Arc::clone(lane), points.to_owned());
        Self { lane, home, client, points, path, life: Mutex::new(life) }
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap()
    }

    /// Writes the configuration. Of `offers` each is the text after `[[offers]]`.
    pub(crate) fn configure(&self, offers: &[String]) {
        let (relay, node) = (self.lane.relay_address, self.lane.node.rpc_url());
        let offers: String = offers.iter().map(|offer| format!("[[offers]]\n{offer}\n")).collect();
        let text = format!(
            "[relay]\nurl = \"http://{relay}\"\nkey = \"file:seller.key\"\n\
             [nano]\nnetwork = \"dev\"\nseed = \"file:seed\"\nrpc = [\"{node}\"]\n\
             [state]\ndir = \"state\"\n[polling]\nmin_ms = 50\nmax_ms = 1000\n\
             [lock]\nttl_seconds = {}\n[shutdown]\ndrain_seconds = 20\n{offers}",
            LOCK_TTL.as_secs()
        );
        fs::write(self.home.join("worker.toml"), text).unwrap();
    }

    pub(crate) fn handler(&self, script: &str) {
        let noted = format!("[ \"$PURPOSE\" = quote ] || echo \"$JOB_ID $ATTEMPT\" >> ran\n{script}\n");
        fs::write(self.home.join("handler.sh"), noted).unwrap();
    }

    fn spawn(&self, verb: &[&str], points: &str) -> Process {
        let child = self
            .lane
            .program(env!("CARGO_BIN_EXE_worker"))
            .args(verb)
            .arg("--config")
            .arg(self.home.join("worker.toml"))
            .env("RUST_LOG", "info")
            .env("FAILPOINTS", points)
            .stdin(Stdio::null())
            .stdout(log(&self.home, "worker"))
            .stderr(log(&self.home, "worker"))
            .spawn()
            .unwrap();
        Process { child }
    }

    fn run(&self, points: &str) -> Process {
        self.spawn(&["run"], points)
    }

    /// A life that nobody watches, before the one that is to die.
    pub(crate) fn live(&self) {
        self.live_until("");
    }

    /// The same, to die of other points.
    pub(crate) fn live_until(&self, points: &str) {
        let process = self.run(points);
        let mut life = self.life();
        life.process = Some(process);
        life.phase = Phase::Unwatched;
    }

    /// A life that must not end.
    pub(crate) fn live_on(&self) {
        let process = self.run("");
        let mut life = self.life();
        life.process = Some(process);
        life.phase = Phase::Back;
    }

    /// Whether that life is over.
    pub(crate) fn is_dead(&self) -> bool {
        self.life().process.as_mut().is_none_or(|process| process.ended().is_some())
    }

    pub(crate) fn kill(&self) {
        let mut life = self.life();
        life.phase = Phase::Unwatched;
        life.process = None;
    }

    pub(crate) fn terminate(&self) {
        if let Some(process) = &self.life().process {
            process.signal(rustix::process::Signal::TERM);
        }
    }

    /// The life that is to die of the point.
    pub(crate) fn arm(&self) {
        self.arm_verb(&["run"]);
    }

    pub(crate) fn arm_verb(&self, verb: &[&str]) {
        let process = self.spawn(verb, &self.points);
        let mut life = self.life();
        life.process = Some(process);
        life.phase = Phase::Armed;
    }

    /// What a verb of the worker's prints, if it ends well. Nobody opens the state of a worker that is
    /// about to start.
    pub(crate) fn ask(&self, verb: &[&str]) -> Option<String> {
        UnixStream::connect(self.home.join("state/worker.sock")).ok()?;
        let mut command = self.lane.program(env!("CARGO_BIN_EXE_worker"));
        let ended = command.args(verb).arg("--config").arg(self.home.join("worker.toml")).output().unwrap();
        ended.status.success().then(|| String::from_utf8(ended.stdout).unwrap())
    }

    /// Whether a daemon has its state and answers.
    pub(crate) fn listens(&self) -> bool {
        std::os::unix::net::UnixStream::connect(self.home.join("state/worker.sock")).is_ok()
    }

    /// Whether an account is one of the first of the seller's seed.
    pub(crate) fn owns(&self, account: &Account) -> bool {
        let seed = Seed::parse(fs::read_to_string(self.home.join("seed")).unwrap().trim()).unwrap();
        (0..20).any(|index| seed.account(index).unwrap() == *account)
    }

    /// Whether it may die of the point once more.
    pub(crate) fn dies_twice(&self) -> bool {
        self.path == Path::Twice
    }

    /// Whether it died of the point.
    pub(crate) fn has_died(&self) -> bool {
        self.life().deaths > 0
    }

    /// Whether it died and is back.
    pub(crate) fn is_back(&self) -> bool {
        matches!(self.life().phase, Phase::Back | Phase::ArmedAgain)
    }

    pub(crate) fn since_death(&self) -> Option<Duration> {
        self.life().died_at.map(|at| at.elapsed())
    }

    /// Brings the worker back when it has died; panics if it dies of anything else. Never ends.
    pub(crate) async fn tend(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let (phase, ended) = {
                let mut life = self.life();
                (life.phase, life.process.as_mut().and_then(Process::ended))
            };
            let Some(status) = ended.filter(|_| phase != Phase::Unwatched) else { continue };
            assert!(phase != Phase::Back, "the worker that came back ended: {status}");
            let signal = std::os::unix::process::ExitStatusExt::signal(&status);
            assert_eq!(signal, Some(6), "it did not die of the point: {status}");
            {
                let mut life = self.life();
                life.deaths += 1;
                life.died_at.get_or_insert_with(Instant::now);
                life.phase = Phase::Down;
                life.process = None;
            }
            let (process, next) = self.bring_back(phase).await;
            let mut life = self.life();
            life.process = Some(process);
            life.phase = next;
        }
    }

    async fn bring_back(&self, died_in: Phase) -> (Process, Phase) {
        if died_in == Phase::Armed {
            match self.path {
                Path::Run => {}
                Path::Recover => self.recover().await,
                Path::LockExpired => self.outlive_locks().await,
                Path::RelayToo => self.lane.restart_relay(),
                Path::Twice => return (self.run(&self.points), Phase::ArmedAgain),
            }
        }
        (self.run(""), Phase::Back)
    }

    async fn recover(&self) {
        let mut process = self.spawn(&["recover", "--patience", "15"], "");
        loop {
            if let Some(status) = process.ended() {
                // Done, or another try or a person is needed; but no failure.
                assert!(matches!(status.code(), Some(0 | 6 | 8)), "recover: {status}");
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until no lock of this seller is live.
    async fn outlive_locks(&self) {
        let query = JobsQuery {
            role: Some(Actor::Seller),
            statuses: vec![Status::Running],
            limit: Some(100),
            ..JobsQuery::default()
        };
        let page = self.client.jobs(&query).await.unwrap();
        let now = nano_worker::edge::Clock::system().now();
        let last = page.jobs.iter().filter_map(|job| job.lock_expires_at).max();
        let wait = last.map_or(Duration::ZERO, |at: Timestamp| at.since(now) + Duration::from_millis(200));
        tokio::time::sleep(wait).await;
    }
}

/// An offer with the price above and the handler of the folder.
pub(crate) fn offer(title: &str, idempotent: bool) -> String {
    format!(
        "title = \"{title}\"\ndescription = \"Says it again.\"\nprice_raw = \"{PRICE}\"\n\
         [offers.handler]\ncommand = [\"/bin/sh\", \"handler.sh\"]\nidempotent = {idempotent}\n"
    )
}
