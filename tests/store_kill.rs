//! Nothing that the store has called durable is lost to `kill -9`.
//!
//! The test starts itself again as a child that counts, and kills it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use nano_worker::config::Env;
use nano_worker::store::{Batch, Blobs, Keyspace, Migration, Options, Store};

const COUNTS: Keyspace<u64, u64> = Keyspace::new(1, "counts", 1);
const LAST: Keyspace<(), u64> = Keyspace::new(2, "last", 1);
const BLOBS: Blobs<u64> = Blobs::new(3, "blobs");

/// Where the child counts; absent in the parent.
const CHILD_DIR: &str = "STORE_KILL_DIR";

/// A count's blob is cut into two pieces.
const BLOB_BYTES: usize = 70_000;

fn open(dir: &Path) -> Store {
    Store::open(dir, Options { kind: "test", schema: 1, cache_bytes: 1 << 20 }).unwrap()
}

/// Counts for ever, each number in three places by one batch, and says each once it is durable.
#[test]
fn child() {
    let Some(dir) = Env::system().get(CHILD_DIR) else { return };
    let store = open(Path::new(&dir));
    let first = LAST.get(&store, &()).unwrap().unwrap_or(0) + 1;
    for number in first.. {
        let mut batch = Batch::default();
        COUNTS.put(&mut batch, &number, &number).unwrap();
        LAST.put(&mut batch, &(), &number).unwrap();
        BLOBS.put(&mut batch, &number, &[number.to_le_bytes()[0]; BLOB_BYTES]);
        store.commit(batch).unwrap();
        store.durable_blocking().unwrap();
        let mut out = std::io::stdout();
        out.write_all(format!("durable {number}\n").as_bytes()).unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn what_was_called_durable_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for life in 1..=8 {
        // Killed after ever more commits, and in the midst of the next one.
        acknowledged = count_and_kill(dir.path(), life * 7).max(acknowledged);
        let store = open(dir.path());
        let last = LAST.get(&store, &()).unwrap().unwrap();
        assert!(last >= acknowledged, "{acknowledged} was durable, and {last} is the last one found");
        for number in 1..=last {
            assert_eq!(COUNTS.get(&store, &number).unwrap(), Some(number), "life {life}");
            let blob = BLOBS.get(&store, &number).unwrap();
            assert_eq!(blob, Some(vec![number.to_le_bytes()[0]; BLOB_BYTES]), "life {life}");
        }
        assert_eq!(COUNTS.all(&store).count() as u64, last, "half a batch was kept");
    }
    assert!(acknowledged >= 8 * 7);
}

/// The last number that the child said was durable before it was killed.
fn count_and_kill(dir: &Path, commits: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = 0;
    let mut seen = 0;
    let numbers = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.rsplit_once("durable ")?.1.parse().ok());
    for number in numbers {
        said = number;
        seen += 1;
        if seen == commits {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    said
}

/// The child of the test below: it dies in the midst of its second step.
#[test]
fn migrating_child() {
    let Some(dir) = Env::system().get(MIGRATING_DIR) else { return };
    let dies = Migration {
        from: 2,
        change: |store, _| {
            // A step that has written something by itself before it dies.
            let mut batch = Batch::default();
            COUNTS.put(&mut batch, &2, &0)?;
            store.commit(batch)?;
            store.durable_blocking()?;
            std::process::abort()
        },
    };
    drop(Store::open_and_migrate(Path::new(&dir), third(), &[STEPS[0], dies]));
}

/// Where the second child migrates.
const MIGRATING_DIR: &str = "STORE_KILL_MIGRATING_DIR";

const STEPS: [Migration; 2] = [
    Migration { from: 1, change: |_, batch| COUNTS.put(batch, &1, &1) },
    Migration { from: 2, change: |_, batch| COUNTS.put(batch, &2, &2) },
];

fn third() -> Options<'static> {
    Options { kind: "test", schema: 3, cache_bytes: 1 << 20 }
}

#[test]
fn a_killed_migration_is_resumed_at_the_step_that_it_died_in() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "migrating_child"])
        .env(MIGRATING_DIR, dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(child.code(), None, "it was to die by a signal");
    let taken = Migration { from: 1, change: |_, _| unreachable!("it was taken by the child") };
    let store = Store::open_and_migrate(dir.path(), third(), &[taken, STEPS[1]]).unwrap();
    let counts: Vec<_> = COUNTS.all(&store).map(Result::unwrap).collect();
    assert_eq!(counts, [(1, 1), (2, 2)]);
}
