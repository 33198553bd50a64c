//! Whose state it is, who may use it, and what can be asked of it.

use super::bench::{Bench, Daemon};

const NOWHERE: &str = "http://127.0.0.1:1";

/// A bench whose state was made by a daemon that has stopped.
fn with_state() -> Bench {
    let bench = Bench::new();
    bench.set_up(NOWHERE, NOWHERE);
    bench.daemon().stop();
    bench
}

#[test]
fn the_state_is_asked_through_the_daemon_and_at_rest() {
    let bench = Bench::new();
    bench.set_up(NOWHERE, NOWHERE);
    let daemon = bench.daemon();
    for running in [true, false] {
        if !running {
            daemon_stops(&bench);
        }
        let status = bench.worker(&["status", "--json"]);
        assert_eq!(status.code, 0, "{status:?}");
        assert_eq!(status.json()["running"], running);
        assert_eq!(status.json()["open_jobs"], 0);
        assert_eq!(bench.worker(&["jobs", "list"]).out, "no jobs\n");
        assert_eq!(bench.worker(&["wallet", "list", "--json"]).json()["invoices"], serde_json::json!([]));
        let job = bench.worker(&["jobs", "show", "00000000-0000-4000-8000-000000000000"]);
        assert_eq!((job.code, job.out.as_str()), (9, ""), "{job:?}");
        // What needs no secret works for whoever may read the state.
        let check = bench.worker(&["check"]);
        assert!(check.code == 7 && check.out.contains("ok   state"), "{check:?}");
    }
    drop(daemon);
}

fn daemon_stops(bench: &Bench) {
    let pid = std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let cwd = std::fs::read_link(entry.path().join("cwd")).ok()?;
        let pid = entry.file_name().to_str()?.parse::<i32>().ok()?;
        (cwd == bench.path("").canonicalize().unwrap()).then_some(pid)
    });
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid.unwrap()).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    bench.eventually("an end of the socket", || !bench.path("state/worker.sock").exists());
    bench.eventually("a store at rest", || bench.worker(&["status"]).code == 0);
}

#[test]
fn a_second_worker_on_the_same_state_is_refused() {
    let bench = Bench::new();
    bench.set_up(NOWHERE, NOWHERE);
    let daemon = bench.daemon();
    for verb in [&["run"][..], &["recover"], &["recover", "--dry-run"], &["poll"]] {
        let second = bench.worker(verb);
        assert_eq!(second.code, 4, "{verb:?}: {second:?}");
        assert!(second.err.contains("in use by another process"), "{second:?}");
    }
    daemon.stop();
}

#[test]
fn a_wrong_seed_or_key_for_the_state_is_refused_by_name() {
    let other = "11".repeat(32);
    for (file, setting, what) in [("seed", "nano.seed", "seed"), ("seller.key", "relay.key", "key")] {
        let bench = with_state();
        bench.secret(file, &other);
        for verb in [&["run"][..], &["poll"]] {
            let run = bench.worker(verb);
            assert!(run.code == 5 && run.err.contains(setting), "{verb:?}: {run:?}");
        }
        let check = bench.worker(&["check", "--json"]);
        let checks = check.json();
        let found = checks["checks"].as_array().unwrap().iter().find(|check| check["what"] == what).unwrap();
        assert!(check.code == 7 && found["level"] == "fail", "{checks}");
    }
}

#[test]
fn everything_in_the_state_directory_is_its_owners() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = with_state();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&bench.path("state")), 0o700);
    let files = std::fs::read_dir(bench.path("state")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.is_file()).collect();
    assert!(!files.is_empty());
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    std::fs::set_permissions(bench.path("state"), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(bench.worker(&["check"]).out.contains("chmod 700"));
}

#[test]
fn an_interrupt_stops_it_as_cleanly() {
    let bench = Bench::new();
    bench.set_up(NOWHERE, NOWHERE);
    let mut daemon: Daemon = bench.daemon();
    daemon.signal(rustix::process::Signal::INT);
    assert_eq!(daemon.wait(), 0);
}

#[test]
fn there_is_nothing_to_recover_where_nothing_was() {
    let bench = Bench::new();
    bench.set_up(NOWHERE, NOWHERE);
    assert_eq!(bench.worker(&["recover"]).out, "there is nothing to recover\n");
    assert!(!bench.path("state").exists(), "a recovery made a state directory");
    let poll = bench.worker(&["poll"]);
    assert_eq!(poll.code, 6, "{poll:?}");
}
