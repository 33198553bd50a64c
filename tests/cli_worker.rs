//! The worker's command line, as a person or a script meets it: the real binary, its exit codes,
//! what it prints and what it must never print.

#![expect(
    clippy::disallowed_methods,
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    reason = "tests wait for processes by the clock, and live in files of their own"
)]

#[path = "cli_worker/bench.rs"]
mod bench;
#[path = "cli_worker/by_hand.rs"]
mod by_hand;
#[path = "cli_worker/coins.rs"]
mod coins;
#[path = "cli_worker/copies.rs"]
mod copies;
#[path = "cli_worker/demo.rs"]
mod demo;
#[path = "cli_worker/secrets.rs"]
mod secrets;
#[path = "cli_worker/state.rs"]
mod state;

use bench::Bench;

#[test]
fn all_problems_of_a_configuration_are_named_at_once() {
    let bench = Bench::new();
    bench.write(
        "worker.toml",
        "[relay]\nurl = \"ftp://x\"\nkeey = 1\n[nano]\nnetwork = \"moon\"\n[lock]\nttl_seconds = 1\n",
    );
    for verb in [&["config", "check"][..], &["config", "show"], &["run"], &["wallet", "address"]] {
        let ended = bench.worker(verb);
        assert_eq!(ended.code, 3, "{ended:?}");
        for problem in [
            "relay.url",
            "relay.key",
            "relay.keey",
            "nano.network",
            "nano.seed",
            "lock.ttl_seconds",
            "offers",
        ] {
            assert!(
                ended.err.contains(&format!("{problem}: ")),
                "{verb:?} does not name {problem}: {ended:?}"
            );
        }
        assert_eq!(ended.out, "", "a failure is no answer");
    }
    let ended = bench.worker(&["config", "check", "--json"]);
    let error = &ended.json()["error"];
    assert_eq!((ended.code, error["exit_code"].as_u64()), (3, Some(3)));
    assert!(error["details"]["problems"].as_array().unwrap().len() >= 7, "{error}");
}

#[test]
fn what_is_missing_is_said_with_what_to_do() {
    let bench = Bench::new();
    let ended = bench.worker(&["status"]);
    assert!(ended.code == 3 && ended.err.contains("worker config init"), "{ended:?}");
    let ended = bench.worker(&["config", "check", "--config", "elsewhere.toml"]);
    assert!(ended.code == 3 && ended.err.contains("elsewhere.toml"), "{ended:?}");
    bench.set_up("http://127.0.0.1:1", "http://127.0.0.1:1");
    for verb in [&["status"][..], &["jobs", "list"], &["wallet", "list"]] {
        let ended = bench.worker(verb);
        assert!(ended.code == 5 && ended.err.contains("holds no worker's state"), "{ended:?}");
    }
    assert!(!bench.path("state").exists(), "a question made a state directory");
}

#[test]
fn a_wrong_command_line_has_its_own_code() {
    let bench = Bench::new();
    for line in [
        &["fly"][..],
        &["jobs", "show", "x"],
        &["wallet", "address", "4294967296"],
        &["wallet", "new", "--words", "13"],
    ] {
        assert_eq!(bench.worker(line).code, 2, "{line:?}");
    }
}

#[test]
fn the_log_is_for_people_or_for_machines() {
    let bench = Bench::new();
    bench.set_up("http://127.0.0.1:1", "http://127.0.0.1:1");
    let ended = bench::ended(bench.command(&["status"]).env("RUST_LOG", "=noise="));
    assert!(ended.code == 2 && ended.err.contains("RUST_LOG"), "{ended:?}");
    let mut daemon = bench.daemon_with(&["run", "--log-format", "json"]);
    bench.eventually("a word from the daemon", || bench.log().contains("worker ready"));
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.wait(), 0);
    for line in bench.log().lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
}

#[test]
fn check_says_what_is_dead_and_what_to_do() {
    let bench = Bench::new();
    bench.set_up("http://127.0.0.1:1", "http://127.0.0.1:1");
    let ended = bench.worker(&["check", "--json"]);
    let checks = ended.json();
    let level = |what: &str| {
        let found = checks["checks"].as_array().unwrap().iter().find(|check| check["what"] == what);
        found.map(|check| check["level"].as_str().unwrap().to_owned())
    };
    assert_eq!(ended.code, 7);
    for what in ["relay", "node"] {
        assert_eq!(level(what).as_deref(), Some("fail"), "{checks}");
    }
    for what in ["config", "key", "seed", "state", "handler"] {
        assert_eq!(level(what).as_deref(), Some("ok"), "{checks}");
    }
    let failed = checks["checks"].as_array().unwrap().iter().filter(|check| check["level"] == "fail");
    assert!(
        failed.clone().count() == 2 && failed.into_iter().all(|check| check["todo"].is_string()),
        "{checks}"
    );
    assert!(!bench.path("state").exists(), "a check made a state directory");
}

#[test]
fn check_finds_a_handler_that_cannot_be_run() {
    let bench = Bench::new();
    bench.set_up("http://127.0.0.1:1", "http://127.0.0.1:1");
    bench.edit("worker.toml", "[\"wc\", \"-w\"]", "[\"./not-there\"]");
    let ended = bench.worker(&["check"]);
    assert!(ended.code == 7 && ended.out.contains("offers[0].handler.command"), "{ended:?}");
}

#[test]
fn completions_and_the_manual_page_know_every_verb() {
    let bench = Bench::new();
    let (script, page) = (bench.worker(&["completions", "bash"]).out, bench.worker(&["man"]).out);
    for verb in [
        "run",
        "recover",
        "backup",
        "restore",
        "check",
        "status",
        "jobs",
        "wallet",
        "poll",
        "config",
        "demo",
        "completions",
        "man",
    ] {
        assert!(script.contains(verb), "completions lack {verb}");
        assert!(page.contains(&format!("worker\\-{verb}(1)")), "the manual page lacks {verb}");
    }
    assert!(page.contains("EXIT STATUS") && page.contains("\\fB130\\fR"));
}
