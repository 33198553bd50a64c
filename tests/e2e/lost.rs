//! Memory that is lost, old or damaged: what relay, chain and backups still know is enough.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use mock_nano_rpc::{Fault, FaultKind};
use nano_worker::edge::Entropy;
use nano_worker::nano::Account;
use nano_worker::protocol::{Job, JobId, Status};
use serde_json::{Value, json};

use crate::world::{OfferText, PRICE, Process, World, invoice, text};

/// Locks that run out soon, so that a job which may have run is decided soon.
fn short_locks() -> OfferText {
    OfferText { rest: "[lock]\nttl_seconds = 10".to_owned(), ..OfferText::default() }
}

impl World {
    fn state(&self) -> PathBuf {
        self.path("state-one")
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.ask_worker("one", &["status", "--json"]).1).unwrap()
    }

    async fn looked(&self) {
        self.eventually("the end of the look", async || {
            let (_, text) = self.ask_worker("one", &["status", "--json"]);
            let status: Value = serde_json::from_str(&text).ok()?;
            (status["looked"] == true).then_some(())
        })
        .await;
    }

    async fn ended(&self, job: JobId) -> Job {
        self.eventually("end of the job", async || {
            let job = self.buyer.job(&job).await.ok()?;
            job.status.is_final().then_some(job)
        })
        .await
    }
}

async fn paid(world: &World, payload: &str) -> Job {
    let job = world.accepted(&text(payload)).await;
    let hash = world.pay(&job, PRICE);
    world.submit(&job, &hash).await
}

/// A lost wallet file restarts the index, an old address is handed out again, and yesterday's coins
/// pay today's job.
#[tokio::test]
async fn a_lost_state_hands_out_no_old_address_and_yesterdays_coins_pay_no_job_of_today() {
    for relay_is_lost_too in [false, true] {
        let mut world = World::new().await;
        let mut worker = world.start_worker("one", &OfferText::default());
        let mut old = BTreeSet::new();
        for number in 0..3 {
            old.insert(invoice(&world.buy(&json!(number)).await));
        }
        // Money waits at an address whose job has ended, and another one was never paid.
        let canceled = world.accepted(&text("canceled")).await;
        world.buyer.cancel(&canceled.job_id, None).await.unwrap();
        world.pay(&canceled, PRICE);
        old.insert(invoice(&canceled));
        let unpaid = world.accepted(&text("unpaid")).await;
        old.insert(invoice(&unpaid));
        worker.kill();
        fs::remove_dir_all(world.state()).unwrap();
        if relay_is_lost_too {
            world.kill_relay();
            fs::remove_dir_all(world.path("relay")).unwrap();
            world.start_relay();
        }
        let runs = world.runs().len();

        let _worker = world.start_worker("one", &OfferText::default());
        let mut new = BTreeSet::new();
        for number in 0..3 {
            let job = world.accepted(&json!({ "today": number })).await;
            let address = invoice(&job);
            assert!(!old.contains(&address), "{address} was handed out again");
            assert!(new.insert(address), "{address} was handed out twice");
            if number == 0 {
                // Yesterday's hash is no payment of today's either.
                let yesterday = world.pay(&canceled, PRICE);
                world.submit(&job, &yesterday).await;
            }
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(world.runs().len(), runs, "an old coin paid for a new job");
        // What is paid today is served today.
        world.buy(&text("today")).await;
    }
}

#[tokio::test]
async fn without_its_node_a_new_state_quotes_nothing_and_then_everything() {
    let world = World::new().await;
    let down = Fault { kind: FaultKind::ServerError, action: None, count: None };
    assert!(world.node.fault(down));
    let _worker = world.start_worker("one", &OfferText::default());
    let job = world.request(&text("hello")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.buyer.job(&job).await.unwrap().status, Status::Requested);
    assert_eq!(world.status()["looked"], false);
    world.node.clear();
    world.wait(job, Status::Quoted).await;
}

#[tokio::test]
async fn a_paid_job_survives_the_loss_of_all_memory_and_one_that_may_have_run_is_not_run_again() {
    let world = World::new().await;
    world.handler("echo \"$JOB_ID $ATTEMPT\" >> ran; test -e slow && sleep 30; cat");
    let mut worker = world.start_worker("one", &short_locks());
    let before = world.accepted(&text("paid before")).await;
    let meanwhile = world.accepted(&text("paid meanwhile")).await;
    fs::write(world.path("slow"), "").unwrap();
    let running = paid(&world, "running").await;
    world.wait(running.job_id, Status::Running).await;
    world.eventually("a start", async || (world.runs_of(&running) == 1).then_some(())).await;
    worker.kill();
    fs::remove_file(world.path("slow")).unwrap();
    fs::remove_dir_all(world.state()).unwrap();
    for job in [&before, &meanwhile] {
        let hash = world.pay(job, PRICE);
        world.submit(job, &hash).await;
    }
    let _worker = world.start_worker("one", &short_locks());
    for job in [before, meanwhile] {
        let job = world.wait(job.job_id, Status::Delivered).await;
        assert_eq!(world.runs_of(&job), 1);
    }
    let running = world.ended(running.job_id).await;
    assert_eq!((running.status, &running.error["code"]), (Status::Failed, &json!("worker_interrupted")));
    assert_eq!(world.runs_of(&running), 1);
}

#[tokio::test]
async fn a_restored_state_learns_what_happened_since_before_it_quotes() {
    let world = World::new().await;
    let mut worker = world.start_worker("one", &short_locks());
    let first = world.buy(&text("first")).await;
    let open = world.accepted(&text("open")).await;
    // While the daemon runs, into a file and onto standard output.
    let backup = world.path("copy.backup");
    let (code, out) = world.ask_worker("one", &["backup", "--out", backup.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{out}");
    let (code, out) = world.ask_worker("one", &["backup", "--out", "-"]);
    let at_once = fs::read_to_string(&backup).unwrap();
    // In between the daemon may have written something.
    assert!(code == Some(0) && out.ends_with("\"}\n"), "{out}");
    assert!(out.lines().count() >= at_once.lines().count());
    assert!(!at_once.contains(&hex::encode([3; 32])), "the seed is in it");

    let since = world.buy(&text("since")).await;
    let hash = world.pay(&open, PRICE);
    world.submit(&open, &hash).await;
    let open = world.wait(open.job_id, Status::Delivered).await;
    let later = world.accepted(&text("later")).await;
    let used: BTreeSet<Account> = [&first, &open, &since, &later].map(invoice).into();
    worker.kill();
    let (code, _) = world.ask_worker("one", &["restore", backup.to_str().unwrap()]);
    assert_eq!(code, Some(10), "a state was overwritten");
    let (code, out) = world.ask_worker("one", &["restore", "--replace", backup.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{out}");
    let aside = fs::read_dir(world.state()).unwrap().flatten();
    let aside = aside.filter(|entry| entry.file_name().to_string_lossy().starts_with("store.replaced-"));
    assert_eq!(aside.count(), 1);

    let _worker = world.start_worker("one", &short_locks());
    let hash = world.pay(&later, PRICE);
    world.submit(&later, &hash).await;
    world.wait(later.job_id, Status::Delivered).await;
    let new = world.buy(&text("new")).await;
    assert!(!used.contains(&invoice(&new)));
    for job in [&first, &open, &since, &later, &new] {
        assert_eq!(world.runs_of(job), 1, "{job:?}\n{}", world.logs());
    }
    assert_eq!(world.status()["restored"]["why"], "by hand");
}

/// Where jobs are when the worker is killed.
struct Scene {
    quoted: Job,
    paid: Job,
    running: Job,
    delivered: Job,
}

async fn scene(world: &World) -> (Scene, Process) {
    world.handler("echo \"$JOB_ID $ATTEMPT\" >> ran; test -e slow && sleep 30; cat");
    let worker = world.start_worker("one", &short_locks());
    let delivered = world.buy(&text("delivered")).await;
    world.looked().await;
    let quoted = world.accepted(&text("quoted")).await;
    let paid_later = world.accepted(&text("paid")).await;
    fs::write(world.path("slow"), "").unwrap();
    let running = paid(world, "running").await;
    world.eventually("a start", async || (world.runs_of(&running) == 1).then_some(())).await;
    (Scene { quoted, paid: paid_later, running, delivered }, worker)
}

/// What is done to the file.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Flip,
    Zero,
    Cut,
}

fn harm(path: &std::path::Path, harm: Harm, number: u64) {
    let mut bytes = fs::read(path).unwrap();
    // Where something is written: behind it, sled's file is empty.
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64 + 1;
    let at = usize::try_from(number % end).unwrap();
    match harm {
        Harm::Flip => bytes[at] ^= 1 << (number % 8),
        Harm::Zero => {
            let to = (at + 4_096).min(bytes.len());
            bytes[at..to].fill(0);
        }
        Harm::Cut => bytes.truncate(at),
    }
    fs::write(path, bytes).unwrap();
}

/// One scene is made and kept; each harm is done to a copy of its disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_store_is_made_anew_and_nothing_is_owed_lost_or_done_twice() {
    let number = Entropy::system().number();
    for (round, (how, with_backup)) in
        [(Harm::Flip, true), (Harm::Zero, false), (Harm::Cut, true), (Harm::Cut, false), (Harm::Flip, false)]
            .into_iter()
            .enumerate()
    {
        let seed = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round as u64);
        let case = format!("{how:?} {seed} backup: {with_backup}");
        let world = World::new().await;
        let (scene, mut worker) = scene(&world).await;
        if with_backup {
            let (code, out) = world.ask_worker("one", &["backup"]);
            assert_eq!(code, Some(0), "{out}");
        } else {
            let _ = fs::remove_dir_all(world.state().join("backups"));
        }
        // After the backup, so that it knows nothing of these.
        let late = world.accepted(&text("late")).await;
        worker.kill();
        fs::remove_file(world.path("slow")).unwrap();
        harm(&world.state().join("db"), how, seed >> 8);
        for job in [&scene.paid, &late] {
            let hash = world.pay(job, PRICE);
            world.submit(job, &hash).await;
        }
        let _worker = world.start_worker("one", &short_locks());
        for job in [&scene.paid, &late] {
            let job = world.wait(job.job_id, Status::Delivered).await;
            assert_eq!(world.runs_of(&job), 1, "{case}\n{}", world.logs());
        }
        let running = world.ended(scene.running.job_id).await;
        assert_eq!(running.error["code"], "worker_interrupted", "{case}");
        // A flipped bit may be where nothing is; a lost end never is.
        let restored = &world.status()["restored"];
        if matches!(how, Harm::Cut) {
            assert_eq!(restored["from"].is_string(), with_backup, "{case}: {restored}");
            let aside = restored["aside"].as_str().unwrap();
            assert!(aside.contains("store.corrupt-") && fs::metadata(aside).unwrap().is_dir(), "{case}");
        }
        let new = world.buy(&text("new")).await;
        let hash = world.pay(&scene.quoted, PRICE);
        world.submit(&scene.quoted, &hash).await;
        world.wait(scene.quoted.job_id, Status::Delivered).await;
        let jobs = [&scene.quoted, &scene.paid, &scene.running, &scene.delivered, &late, &new];
        let addresses: BTreeSet<Account> = jobs.map(invoice).into();
        assert_eq!(addresses.len(), jobs.len(), "{case}: an address was used twice");
        for job in jobs {
            assert_eq!(world.runs_of(job), 1, "{case}: {job:?}\n{}", world.logs());
        }
    }
}
