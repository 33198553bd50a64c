//! Backups as a person meets them: what is taken back, what is refused and why, and how many there
//! are.

use std::fs;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::bench::{Bench, KEY, SEED};

const NOWHERE: &str = "http://127.0.0.1:1";

/// A bench whose daemon has run and stopped, and a backup of its state.
fn with_backup() -> (Bench, PathBuf, String) {
    let bench = Bench::new();
    bench.set_up(NOWHERE, NOWHERE);
    bench.daemon().stop();
    let file = bench.path("copy");
    let made = bench.worker(&["backup", "--out", "copy"]);
    assert_eq!(made.code, 0, "{made:?}");
    let text = fs::read_to_string(&file).unwrap();
    (bench, file, text)
}

/// What `status` says of the state; the free bytes of the disk are everybody's.
fn state(bench: &Bench) -> serde_json::Value {
    let mut status: serde_json::Value =
        serde_json::from_str(&bench.worker(&["status", "--json"]).out).unwrap();
    status["free_bytes"].take();
    status
}

/// The text with a last line that is right for it.
fn signed(lines: &[&str]) -> String {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let sum = hex::encode(Sha256::digest(body.as_bytes()));
    format!("{body}{{\"records\":{},\"sha256\":\"{sum}\"}}\n", lines.len() - 1)
}

#[test]
fn a_backup_is_private_text_without_secrets_and_is_not_overwritten() {
    use std::os::unix::fs::PermissionsExt as _;
    let (bench, file, text) = with_backup();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["format"], "nano-worker backup");
    assert_eq!(lines.last().unwrap()["records"], lines.len() - 2);
    assert!(!text.contains(SEED) && !text.contains(KEY));
    let again = bench.worker(&["backup", "--out", "copy"]);
    assert_eq!(again.code, 10, "{again:?}");
    assert_eq!(bench.worker(&["backup", "--out", "-"]).out.lines().count(), text.lines().count());
    // The time of its making is in the name, when the name is left to it.
    let named = bench.worker(&["backup", "--json"]).json();
    let named = named["written"].as_str().unwrap();
    assert!(named.contains("state/backups/worker-") && named.ends_with(".backup"), "{named}");
}

#[test]
fn what_is_no_whole_backup_of_this_seed_is_refused_by_name_and_nothing_is_changed() {
    let (bench, _, text) = with_backup();
    let lines: Vec<&str> = text.lines().collect();
    let body = &lines[..lines.len() - 1];
    let first = |from: &str, to: &str| {
        let changed = lines[0].replace(from, to);
        assert_ne!(changed, lines[0], "{from}");
        let mut all: Vec<&str> = body.to_vec();
        all[0] = &changed;
        signed(&all)
    };
    let last_but_one: String = body.iter().map(|line| format!("{line}\n")).collect();
    let altered = text.replacen("\"key\":\"", "\"key\":\"00", 1);
    let cases = [
        ("empty", String::new(), "no backup"),
        ("foreign", "hello\n".to_owned(), "no backup"),
        ("another format", first("nano-worker backup", "other"), "no backup"),
        ("cut in a line", text[..text.len() / 2].to_owned(), "its end is missing"),
        ("cut in the last line", text[..text.len() - 3].to_owned(), "its end is missing"),
        ("cut between lines", last_but_one, "its end is missing"),
        ("altered", altered, "it was altered"),
        ("longer", format!("{text}{}\n", body[1]), "it was altered"),
        ("no record", signed(&[lines[0], "{}"]), "it was altered"),
        ("newer format", first("\"version\":1", "\"version\":2"), "upgrade first"),
        ("newer schema", first("\"schema\":2", "\"schema\":3"), "upgrade first"),
        ("another network", first("\"dev\"", "\"live\""), "made on the network live"),
        ("another seed", first("\"first_account\":\"nano_", "\"first_account\":\"nano_1"), "another seed"),
        ("another key", first("\"seller\":\"", "\"seller\":\"0"), "relay key"),
    ];
    for (case, text, says) in cases {
        bench.write("bad", &text);
        let before = state(&bench);
        let ended = bench.worker(&["restore", "--replace", "bad"]);
        assert!(ended.code == 5 && ended.err.contains(says), "{case}: {ended:?}");
        assert_eq!(state(&bench), before, "{case}: the state was changed");
    }
    let missing = bench.worker(&["restore", "not-there"]);
    assert!(missing.code == 5 && missing.err.contains("cannot be read"), "{missing:?}");
}

#[test]
fn a_backup_is_restored_where_nothing_is_and_never_under_a_running_worker() {
    let (bench, _, _) = with_backup();
    // A state in which nothing has happened is no reason to hesitate.
    assert_eq!(bench.worker(&["restore", "copy"]).code, 0);
    fs::remove_dir_all(bench.path("state")).unwrap();
    let ended = bench.worker(&["restore", "copy"]);
    assert!(ended.code == 0 && ended.out.contains("worker run"), "{ended:?}");
    let status = bench.worker(&["status", "--json"]).json();
    assert_eq!((status["looked"].as_bool(), status["holder"].as_str()), (Some(false), None));
    let daemon = bench.daemon();
    let ended = bench.worker(&["restore", "--replace", "copy"]);
    assert_eq!(ended.code, 4, "{ended:?}");
    daemon.stop();
}

#[test]
fn backups_are_made_by_themselves_and_only_the_newest_are_kept() {
    let bench = Bench::new();
    bench.set_up(NOWHERE, NOWHERE);
    bench.edit("worker.toml", "[polling]", "[backup]\ndir = \"copies\"\nkeep = 2\n[polling]");
    fs::create_dir(bench.path("copies")).unwrap();
    for day in 1..=3 {
        bench.write(&format!("copies/worker-2020-01-0{day}T00-00-00.000000Z.backup"), "old");
    }
    bench.write("copies/mine.txt", "not ours");
    let daemon = bench.daemon();
    let names = || {
        let entries = fs::read_dir(bench.path("copies")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    bench.eventually("a backup", || names().len() == 3);
    let names = names();
    assert!(names[0] == "mine.txt" && names[1].starts_with("worker-2020-01-03"), "{names:?}");
    bench.eventually("its note", || bench.worker(&["status"]).out.contains("last backup"));
    daemon.stop();
    let newest = format!("copies/{}", names[2]);
    assert_eq!(bench.worker(&["restore", &newest]).code, 0);
}

#[test]
fn a_backup_that_fails_is_a_warning_and_no_reason_to_stop() {
    let bench = Bench::new();
    bench.set_up(NOWHERE, NOWHERE);
    bench.write("no-directory", "");
    bench.edit("worker.toml", "[polling]", "[backup]\ndir = \"no-directory\"\n[polling]");
    let daemon = bench.daemon();
    bench.eventually("a warning", || bench.log().contains("no backup was made"));
    bench.eventually("its note", || bench.worker(&["status"]).out.contains("last backup  failed"));
    daemon.stop();
}

#[test]
fn a_newer_state_and_another_networks_are_refused_with_what_to_do() {
    let (bench, _, text) = with_backup();
    let lines: Vec<&str> = text.lines().collect();
    bench.edit("worker.toml", "\"dev\"", "\"test\"");
    let run = bench.worker(&["run"]);
    assert!(run.code == 5 && run.err.contains("nano.network"), "{run:?}");
    bench.edit("worker.toml", "\"test\"", "\"dev\"");
    assert!(lines.len() > 3);
    let store = nano_worker::store::Options { kind: "worker", schema: 2, cache_bytes: 1 << 20 };
    let newer = nano_worker::store::Options { schema: 99, ..store };
    let steps: Vec<_> =
        (2..99).map(|from| nano_worker::store::Migration { from, change: |_, _| Ok(()) }).collect();
    drop(nano_worker::store::Store::open_and_migrate(&bench.path("state"), newer, &steps).unwrap());
    for verb in [&["run"][..], &["status"], &["recover"], &["backup"]] {
        let ended = bench.worker(verb);
        assert!(ended.code == 5 && ended.err.contains("upgrade"), "{verb:?}: {ended:?}");
    }
    assert!(
        !bench
            .path("state")
            .read_dir()
            .unwrap()
            .flatten()
            .any(|entry| { entry.file_name().to_string_lossy().starts_with("store.corrupt") })
    );
}
