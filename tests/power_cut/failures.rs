//! A disk that is full, read-only or broken: nothing is done without durability, everybody is told,
//! and all goes on by itself once the disk is well.

use std::io::Read as _;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nano_worker::protocol::{Job, Status};
use rustix::io::Errno;
use serde_json::Value;

use crate::recorder::Recorder;
use crate::world::{OfferText, PRICE, World, text};

/// How long nothing must happen to count as never.
const A_WHILE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_disk_is_full_goes_on_when_there_is_room() {
    check_worker("wc", Errno::NOSPC).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_disk_fills_up_within_a_write_goes_on_when_there_is_room() {
    check_worker("wch", Errno::NOSPC).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_disk_is_read_only_goes_on_when_it_is_not() {
    check_worker("wcsu", Errno::ROFS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_disk_does_not_sync_goes_on_when_it_does() {
    check_worker("s", Errno::IO).await;
}

/// A worker whose state directory's calls can be made to fail.
struct Seller {
    world: World,
    recorder: Recorder,
    _own: tempfile::TempDir,
    worker: crate::world::Process,
}

impl Seller {
    async fn new() -> Self {
        let world = World::new().await;
        let own = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(&world.path("state-one"), own.path());
        let config = world.configure("one", &OfferText::default());
        let env = recorder.env();
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let worker = world.run_worker_with("one", &config, &env);
        Self { world, recorder, _own: own, worker }
    }

    fn status(&self) -> Value {
        let (_, answer) = self.world.ask_worker("one", &["status", "--json"]);
        serde_json::from_str(&answer).unwrap_or_default()
    }

    async fn seen(&self, job: &Job) -> Job {
        self.world.buyer.job(&job.job_id).await.unwrap()
    }
}

async fn check_worker(calls: &str, error: Errno) {
    let mut seller = Seller::new().await;
    let first = seller.world.buy(&text("before")).await;
    let paid = seller.world.accepted(&text("meanwhile")).await;
    seller.recorder.fail(calls, error);
    let asked = seller.world.request(&text("asked meanwhile")).await;
    let hash = seller.world.pay(&paid, PRICE);
    seller.world.submit(&paid, &hash).await;
    seller
        .world
        .eventually("word of the outage", async || (!seller.status()["outage"].is_null()).then_some(()))
        .await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(seller.seen(&paid).await.status, Status::Accepted, "{}", seller.world.logs());
    assert_eq!(seller.world.runs_of(&paid), 0);
    assert_eq!(seller.world.buyer.job(&asked).await.unwrap().status, Status::Requested);

    seller.recorder.heal();
    seller.world.wait(paid.job_id, Status::Delivered).await;
    seller.world.wait(asked, Status::Quoted).await;
    assert_eq!((seller.world.runs_of(&first), seller.world.runs_of(&paid)), (1, 1));
    assert_eq!(seller.status()["running"], true);
    // It never ended: nobody started it again.
    seller.worker.signal(rustix::process::Signal::TERM);
    assert!(seller.worker.wait().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_whose_disk_is_full_refuses_all_and_goes_on_when_there_is_room() {
    check_relay("wc", Errno::NOSPC).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_whose_disk_does_not_sync_refuses_all_and_goes_on_when_it_does() {
    check_relay("s", Errno::IO).await;
}

async fn check_relay(calls: &str, error: Errno) {
    let mut world = World::new().await;
    world.kill_relay();
    let own = tempfile::tempdir().unwrap();
    let recorder = Recorder::new(&world.path("relay"), own.path());
    let mut relay = start_relay(&world, &recorder);
    let _worker = world.start_worker("one", &OfferText::default());
    world.buy(&text("before")).await;
    let kept = world.accepted(&text("meanwhile")).await;
    recorder.fail(calls, error);
    let offer = kept.offer_id;
    let refused = world.buyer.create_job(&offer, &text("refused")).await.unwrap_err();
    assert_eq!(refused.status(), Some(503), "{refused}");
    world
        .eventually("word of the outage", async || {
            let (status, body) = get(&world, "/health")?;
            (status == 200 && body.contains("failed")).then_some(())
        })
        .await;
    assert_eq!(get(&world, "/readyz").unwrap().0, 503);
    let refused = world.buyer.job(&kept.job_id).await.unwrap_err();
    assert_eq!(refused.status(), Some(503), "{refused}");

    recorder.heal();
    let found = world.again(async || world.buyer.job(&kept.job_id).await).await;
    assert_eq!(found.status, Status::Accepted);
    let hash = world.pay(&kept, PRICE);
    world.submit(&kept, &hash).await;
    world.wait(kept.job_id, Status::Delivered).await;
    assert_eq!(world.runs_of(&kept), 1);
    assert!(relay.try_wait().unwrap().is_none(), "it never ends");
    relay.kill().unwrap();
    relay.wait().unwrap();
}

fn start_relay(world: &World, recorder: &Recorder) -> Child {
    let log = std::fs::File::create(world.path("recorded-relay.log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_relay"))
        .args(["serve", "--listen", &world.relay_address.to_string(), "--data"])
        .arg(world.path("relay"))
        .envs(recorder.env())
        .env("RELAY_RATE_LIMIT_ENABLED", "false")
        .env("RELAY_SWEEP_INTERVAL_MS", "100")
        .env("RUST_LOG", "warn")
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// The status and the body of a bare request.
fn get(world: &World, path: &str) -> Option<(u16, String)> {
    use std::io::Write as _;
    let mut stream = TcpStream::connect(world.relay_address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer))
}

/// A disk of its own, small enough to be filled. Making one is for root alone.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(place: &std::path::Path, megabytes: u32) -> Option<Self> {
        std::fs::create_dir(place).unwrap();
        let size = format!("size={megabytes}m");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(place).output();
        done.is_ok_and(|done| done.status.success()).then(|| Self(place.to_owned()))
    }

    fn fill(&self, megabytes: usize) {
        std::fs::write(self.0.join("filler"), vec![1; megabytes << 20]).unwrap();
    }

    /// Takes every byte that is left.
    fn fill_up(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.0.join("more")).unwrap();
        while file.write_all(&[1; 4_096]).is_ok() {}
    }

    fn clear(&self, name: &str) {
        std::fs::remove_file(self.0.join(name)).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still have it open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_little_room_nothing_new_is_quoted_and_what_was_is_finished() {
    let world = World::new().await;
    let Some(disk) = SmallDisk::mount(&world.path("state-one"), 160) else {
        println!("not tried: this user may not mount a disk to fill");
        return;
    };
    let _worker = world.start_worker("one", &OfferText::default());
    let begun = world.accepted(&text("begun")).await;
    disk.fill(110);
    let status =
        || -> Value { serde_json::from_str(&world.ask_worker("one", &["status", "--json"]).1).unwrap() };
    assert_eq!(status()["short_of_room"], true);
    let asked = world.request(&text("asked")).await;
    let hash = world.pay(&begun, PRICE);
    world.submit(&begun, &hash).await;
    world.wait(begun.job_id, Status::Delivered).await;
    assert_eq!(world.buyer.job(&asked).await.unwrap().status, Status::Requested);
    disk.clear("filler");
    world.wait(asked, Status::Quoted).await;

    let paid = world.again(async || world.buyer.accept(&asked).await).await;
    disk.fill_up();
    let hash = world.pay(&paid, PRICE);
    world.submit(&paid, &hash).await;
    // sled may have room left in its file, so the last of it is used up by more jobs.
    for number in 0..400 {
        if !status()["outage"].is_null() {
            break;
        }
        world.request(&text(&format!("{number} {}", "x".repeat(30_000)))).await;
    }
    world.eventually("word of the outage", async || (!status()["outage"].is_null()).then_some(())).await;
    disk.clear("more");
    world.wait(paid.job_id, Status::Delivered).await;
    assert_eq!((world.runs_of(&begun), world.runs_of(&paid)), (1, 1));
}
