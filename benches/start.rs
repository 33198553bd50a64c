//! How long a worker takes to start over a store full of finished jobs, beside the time it takes
//! to read the same files once from the page cache. `JOBS` in the environment changes the size.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints, and stops where it fails")]

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nano_worker::config::Env;
use nano_worker::edge::monotonic;
use nano_worker::nano::{Amount, BlockHash, Seed};
use nano_worker::protocol::{Job, JobId, OfferId, PublicKey, Status, Timestamp};
use nano_worker::store::Store;
use nano_worker::worker::engine::{Engine, Heard};
use nano_worker::worker::input::{Call, Effect, Input, Outcome};
use nano_worker::worker::memory;
use nano_worker::worker::oddity::Policy;
use nano_worker::worker::payment::{BlockFact, Facts, Submitted};
use nano_worker::worker::stage::Lock;
use nano_worker::worker::terms::{Accepts, Terms};
use nano_worker::worker::wallet::Wallet;
use serde_json::json;

/// Jobs that are decided in one commit while the store is filled.
const TOGETHER: usize = 500;

const OFFER: [u8; 16] = [9; 16];

fn main() {
    if let Some(dir) = Env::system().get("OPEN") {
        return start_once(Path::new(&dir));
    }
    let jobs = Env::system().get("JOBS").and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), jobs);
    let read = median(|| read_all(dir.path()).0);
    let mut resident = 0;
    let start = median(|| {
        let (took, kib) = start_in_a_fresh_process(dir.path());
        resident = kib;
        took
    });
    let mib = read_all(dir.path()).1 >> 20;
    println!("{jobs} finished jobs in {mib} MiB: start {start:?}, one pass over the files {read:?}");
    let ratio = start.as_secs_f64() / read.as_secs_f64();
    println!("start / one pass: {ratio:.2};  resident memory {resident} KiB");
}

/// A start as a daemon makes it: in a process that has not filled the store before.
fn start_in_a_fresh_process(dir: &Path) -> (Duration, u64) {
    let program = std::fs::read_link("/proc/self/exe").unwrap();
    let output = Command::new(program).env("OPEN", dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (micros, kib) = text.trim().split_once(' ').unwrap();
    (Duration::from_micros(micros.parse().unwrap()), kib.parse().unwrap())
}

/// What the fresh process does: prints microseconds and KiB.
fn start_once(dir: &Path) {
    let started = monotonic();
    let mut engine = open(dir);
    let effects = engine.resume(now()).unwrap();
    let took = monotonic() - started;
    assert!(effects.is_empty() && engine.open_count() == 0);
    println!("{} {}", took.as_micros(), resident_kib());
}

fn median(measure: impl FnMut() -> Duration) -> Duration {
    let mut times: Vec<Duration> = std::iter::repeat_with(measure).take(5).collect();
    times.sort_unstable();
    times[2]
}

fn now() -> Timestamp {
    Timestamp::from_seconds(1_800_000_000)
}

fn open(dir: &Path) -> Engine {
    let store: Arc<Store> = Arc::new(memory::open(dir).unwrap());
    let wallet = Wallet::open(&store, Seed::Hex([3; 32]), 0).unwrap();
    let terms = Terms {
        revives: false,
        pricing: nano_worker::worker::input::Pricing::Fixed(Amount::from_raw(1)),
        idempotent: false,
        accepts: Accepts::Any,
        request_bytes_max: 65_536,
        payment_window: Duration::from_secs(1_800),
        // The jobs are long over.
        payment: Policy { late_watch: Duration::ZERO, ..Policy::default() },
    };
    let terms = HashMap::from([(OfferId::from_bytes(OFFER), terms)]);
    Engine::open(store, wallet, terms, "holder".to_owned()).unwrap()
}

fn fill(dir: &Path, jobs: usize) {
    let mut engine = open(dir);
    let mut done = 0;
    while done < jobs {
        let count = TOGETHER.min(jobs - done);
        let ids: Vec<JobId> = (done..done + count).map(id).collect();
        finish(&mut engine, &ids);
        done += count;
    }
    assert_eq!(engine.open_count(), 0);
}

/// Takes jobs through their whole life, side by side.
fn finish(engine: &mut Engine, ids: &[JobId]) {
    let quoted =
        turn(engine, ids, |id| Heard::Job { job: Box::new(job(*id, Status::Requested)), whole: true });
    let mut invoices = HashMap::new();
    for (id, effect) in quoted {
        if let Effect::SendQuote(invoice) = effect {
            invoices.insert(id, invoice);
        }
    }
    turn(engine, ids, |id| Heard::Input(*id, Input::Done(Call::Quote)));
    turn(engine, ids, |id| {
        let mut accepted = job(*id, Status::Accepted);
        accepted.quote_amount_raw = Some(invoices[id].price.to_string());
        accepted.quote_invoice_address = Some(invoices[id].account.to_string());
        accepted.payment_tx_hash = Some(block(*id).to_string());
        Heard::Job { job: Box::new(accepted), whole: false }
    });
    turn(engine, ids, |id| {
        let paid = BlockFact {
            hash: block(*id),
            send: Some((invoices[id].account, invoices[id].price)),
            confirmed: true,
            claimed_elsewhere: false,
            received: false,
            from: None,
        };
        let facts = Facts { submitted: Submitted::Found(paid), found: vec![], unknown: None, lapsed: false };
        Heard::Facts(*id, facts)
    });
    turn(engine, ids, |id| Heard::Input(*id, Input::Placed));
    turn(engine, ids, |id| {
        Heard::Input(
            *id,
            Input::Locked(Lock { token: Some(1), expires_at: now().plus(Duration::from_secs(300)) }),
        )
    });
    turn(engine, ids, |id| Heard::Input(*id, Input::Finished(Outcome::Result(json!({ "text": "done" })))));
    turn(engine, ids, |id| Heard::Input(*id, Input::Done(Call::Deliver)));
}

fn turn(engine: &mut Engine, ids: &[JobId], heard: impl Fn(&JobId) -> Heard) -> Vec<(JobId, Effect)> {
    engine.take(ids.iter().map(heard).collect(), now()).unwrap()
}

fn id(number: usize) -> JobId {
    let mut bytes = [0u8; 16];
    // Spread over the key space, as random ids are.
    bytes[..8].copy_from_slice(&(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    JobId::from_random(bytes)
}

fn block(id: JobId) -> BlockHash {
    let mut bytes = [0u8; 32];
    bytes[..16].copy_from_slice(id.as_bytes());
    BlockHash::from_bytes(bytes)
}

fn job(job_id: JobId, status: Status) -> Job {
    let (seller, buyer) = (PublicKey::from_bytes([1; 32]), PublicKey::from_bytes([2; 32]));
    let request = json!({ "text": "a request of ordinary length" });
    Job { status, ..Job::requested(job_id, OfferId::from_bytes(OFFER), seller, buyer, request, now()) }
}

fn read_all(dir: &Path) -> (Duration, u64) {
    let started = monotonic();
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            bytes += std::hint::black_box(std::fs::read(path).unwrap()).len() as u64;
        }
    }
    (monotonic() - started, bytes)
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
