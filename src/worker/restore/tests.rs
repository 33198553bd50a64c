//! Harm of every kind to a store with a record of every kind.

mod cuts;

use super::*;
use crate::client::v0::Rates;
use crate::config::Env;
use crate::protocol::v0::BotKeys;
use crate::store::{Batch, fixture};
use crate::worker::backups::BackupSettings;
use crate::worker::settings::{self, BazaarSettings, Dialect};

const SECRET: &str = "abababababababababababababababababababababababababababababababab";

/// Places in the file at which each kind of harm is done.
const PLACES: usize = 40;

fn settings(dir: &Path) -> Settings {
    let text = r#"
        relay = { url = "http://127.0.0.1:1", key = "env:KEY" }
        nano = { network = "dev", seed = "env:SEED", rpc = ["http://127.0.0.1:1"] }
        offers = [{ title = "Word count", price_xno = "1", handler = { command = ["sh"] } }]
    "#;
    let env = Env::from_fn(|name| match name {
        "KEY" | "SEED" => Some(SECRET.to_owned()),
        "PATH" => Some("/usr/bin:/bin".to_owned()),
        _ => None,
    });
    let mut settings = settings::parse(text, dir, &env).unwrap();
    settings.state_dir = dir.join("state");
    settings.backup = BackupSettings { dir: dir.join("copies"), every: None, keep: 3 };
    settings
}

/// The state of the fixture as these settings' own, with what is in it and what its backup holds.
fn state(dir: &Path, settings: &Settings) -> (String, String) {
    let fixture = fixture::lay_out("worker-2", |_| unreachable!("the fixture is there"), |_| {});
    copy(fixture.path(), &settings.state_dir);
    let store = memory::open(&settings.state_dir).unwrap();
    let mut batch = Batch::default();
    memory::put_fact(&mut batch, fact::WALLET, &settings.accounts.get(0).unwrap().to_string()).unwrap();
    memory::put_fact(&mut batch, fact::SELLER, &identity::name(settings)).unwrap();
    store.commit(batch).unwrap();
    store.durable_blocking().unwrap();
    backups::make(&store, &settings.backup, Timestamp::from_seconds(1_700_000_000)).unwrap();
    assert!(dir.join("copies").is_dir());
    let whole = fixture::records(&store);
    let saved: Vec<&str> = whole
        .lines()
        .filter(|line| !is_of_another_life(&hex::decode(line.split(' ').next().unwrap()).unwrap()))
        .collect();
    (whole.clone(), saved.join("\n"))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn clock() -> Clock {
    Clock::from_fn(|| Timestamp::from_seconds(1_700_000_000))
}

fn asides(dir: &Path) -> usize {
    damaged_stores(dir).unwrap()
}

/// Without the note of where the state came from.
fn records(store: &Store) -> String {
    let note = hex::encode([&[FACTS.id()], fact::RESTORED.as_bytes()].concat());
    let text = fixture::records(store);
    text.lines().filter(|line| !line.starts_with(&note)).collect::<Vec<_>>().join("\n")
}

#[test]
fn whatever_is_damaged_the_state_is_whole_or_its_backup_or_empty_and_the_damage_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let original = settings(dir.path());
    let (whole, saved) = state(dir.path(), &original);
    let (mut unharmed, mut rebuilt) = (0, 0);
    for place in 0..PLACES {
        for kind in 0..3 {
            let case = format!("place {place} kind {kind}");
            let copied = tempfile::tempdir().unwrap();
            copy(dir.path(), copied.path());
            let settings = settings(copied.path());
            harm(&settings.state_dir.join("db"), place, kind);
            if place % 4 == 3 {
                fs::remove_dir_all(&settings.backup.dir).unwrap();
            }
            // What a running worker does when it meets damage that opening did not show.
            suspect(&settings.state_dir, "said the last life");
            let store = open(&settings, &clock()).unwrap_or_else(|error| panic!("{case}: {error:?}"));
            let found = fixture::records(&store);
            if found == whole {
                unharmed += 1;
                assert_eq!(asides(&settings.state_dir), 0, "{case}");
                continue;
            }
            rebuilt += 1;
            assert_eq!(asides(&settings.state_dir), 1, "{case}");
            let expected = if place % 4 == 3 { "" } else { saved.as_str() };
            assert!(records(&store) == expected, "{case}: {} records", found.lines().count());
            assert_eq!(memory::fact(&store, fact::LOOKED).unwrap(), None, "{case}");
            assert!(!settings.state_dir.join(SUSPECT).exists(), "{case}");
        }
    }
    assert!(rebuilt > PLACES, "{unharmed} unharmed, {rebuilt} made anew");
}

fn harm(path: &Path, place: usize, kind: usize) {
    let mut bytes = fs::read(path).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let at = written * place / PLACES + place;
    match kind {
        0 => bytes[at] ^= 1 << (place % 8),
        1 => {
            let end = (at + 4_096).min(bytes.len());
            bytes[at..end].fill(0);
        }
        _ => bytes.truncate(at),
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_move_or_a_filling_that_was_interrupted_is_taken_up_again() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (_, saved) = state(dir.path(), &settings);
    // Killed between two renames: the settings of the store are the last to go.
    fs::rename(settings.state_dir.join("db"), dir.path().join("elsewhere")).unwrap();
    assert_eq!(records(&open(&settings, &clock()).unwrap()), saved);
    assert_eq!(asides(&settings.state_dir), 1);
    // Killed while records were brought in: what is half filled is in its backup.
    aside::move_aside(&settings.state_dir, "whole").unwrap();
    drop(memory::fill(&settings.state_dir, memory::SCHEMA).unwrap());
    assert_eq!(records(&open(&settings, &clock()).unwrap()), saved);
    assert_eq!(asides(&settings.state_dir), 1, "a half filled store is no evidence");
}

#[test]
fn a_damaged_backup_is_passed_over_for_an_older_one() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (_, saved) = state(dir.path(), &settings);
    let newer = settings.backup.dir.join(backups::file_name(Timestamp::from_seconds(1_700_000_001)));
    let good = backups::list(&settings.backup.dir).unwrap().remove(0);
    let text = fs::read_to_string(&good).unwrap();
    fs::write(newer, &text[..text.len() - 10]).unwrap();
    fs::write(settings.state_dir.join("db"), b"nothing of a store").unwrap();
    assert_eq!(diagnose(&settings).unwrap().unwrap().from, Some(good.clone()));
    let store = open(&settings, &clock()).unwrap();
    assert_eq!(records(&store), saved);
    let note = memory::fact(&store, fact::RESTORED).unwrap().unwrap();
    assert!(note.contains(good.to_str().unwrap()), "{note}");
}

/// In /v0 the seller is a bot, whose name is no key.
#[test]
fn a_bot_takes_its_own_backup_back_and_no_other_bot_does() {
    let dir = tempfile::tempdir().unwrap();
    let bot = |seed: u8| {
        let keys = BotKeys::from_seeds(&[seed; 32], &[seed; 32]);
        let dialect = Dialect::V0(Box::new(BazaarSettings { keys, rates: Rates::UNLIMITED, links: None }));
        Settings { dialect, ..settings(dir.path()) }
    };
    let (_, saved) = state(dir.path(), &bot(1));
    let copy = backups::list(&bot(1).backup.dir).unwrap().remove(0);
    let other = check(&copy, &bot(2));
    assert!(matches!(other, Err(RestoreError::Backup(_, ReadError::OtherSeller { .. }))), "{other:?}");
    let (header, aside) = restore(&bot(1), &copy, true, Timestamp::from_seconds(1_700_000_001)).unwrap();
    assert_eq!(header.seller, Some(identity::name(&bot(1))));
    assert!(aside.is_some());
    let store = memory::open(&dir.path().join("state")).unwrap();
    assert_eq!(records(&store), saved);
}

#[test]
fn a_disk_that_destroys_every_store_is_not_filled_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let break_it = || fs::write(settings.state_dir.join("db"), b"nothing of a store").unwrap();
    drop(memory::open(&settings.state_dir).unwrap());
    for _ in 0..ASIDE_MAX {
        break_it();
        drop(open(&settings, &clock()).unwrap());
    }
    break_it();
    let refused = open(&settings, &clock());
    assert!(matches!(refused, Err(RestoreError::TooMany { count: ASIDE_MAX, .. })), "{refused:?}");
    assert_eq!(asides(&settings.state_dir), ASIDE_MAX);
}
