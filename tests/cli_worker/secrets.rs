//! Secrets are made, kept and used without being seen.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use nano_worker::nano::Seed;

use super::bench::{Bench, KEY, SEED};

#[test]
fn new_secrets_are_their_owners_and_shown_only_on_demand() {
    let bench = Bench::new();
    assert_eq!(bench.worker(&["config", "init"]).code, 0);
    for (verb, file) in [("wallet", "seed"), ("key", "seller.key")] {
        let made = bench.worker(&[verb, "new", "--json"]);
        assert_eq!(made.code, 0, "{made:?}");
        let secret = fs::read_to_string(bench.path(file)).unwrap();
        assert_eq!(secret.trim().len(), 64);
        assert!(!made.out.contains(secret.trim()) && !made.err.contains(secret.trim()));
        assert_eq!(fs::metadata(bench.path(file)).unwrap().permissions().mode() & 0o777, 0o600);
        let again = bench.worker(&[verb, "new"]);
        assert_eq!(again.code, 10, "{again:?}");
        assert_eq!(fs::read_to_string(bench.path(file)).unwrap(), secret, "a secret was overwritten");
    }
    assert_eq!(fs::metadata(bench.path("worker.toml")).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(bench.path("worker.toml")).unwrap();
    assert_eq!(bench.worker(&["config", "init"]).code, 10);
    assert_eq!(fs::read_to_string(bench.path("worker.toml")).unwrap(), text);
    // The default configuration is one that works, once its secrets are there.
    assert_eq!(bench.worker(&["config", "check"]).code, 0);
    let shown = bench.worker(&["wallet", "new", "--out", "other", "--show"]);
    assert!(shown.out.contains(fs::read_to_string(bench.path("other")).unwrap().trim()));
}

#[test]
fn phrases_have_the_words_that_were_asked_for() {
    let bench = Bench::new();
    for count in [12, 24] {
        let file = format!("words-{count}");
        let made = bench.worker(&["wallet", "new", "--words", &count.to_string(), "--out", &file, "--json"]);
        let phrase = fs::read_to_string(bench.path(&file)).unwrap();
        assert_eq!(phrase.split_whitespace().count(), count);
        let account = Seed::parse(&phrase).unwrap().account(0).unwrap();
        assert_eq!(made.json()["first_account"], account.to_string());
    }
}

#[test]
fn a_seed_that_others_may_read_is_refused() {
    let bench = Bench::new();
    bench.set_up("http://127.0.0.1:1", "http://127.0.0.1:1");
    fs::set_permissions(bench.path("seed"), fs::Permissions::from_mode(0o644)).unwrap();
    for verb in ["run", "check"] {
        let ended = bench.worker(&[verb]);
        let said = format!("{}{}", ended.out, ended.err);
        assert!(matches!(ended.code, 3 | 7) && said.contains("chmod 600"), "{ended:?}");
        assert!(!said.contains(SEED));
    }
}

#[test]
fn a_seed_in_the_configuration_is_refused_and_not_repeated() {
    let bench = Bench::new();
    bench.set_up("http://127.0.0.1:1", "http://127.0.0.1:1");
    bench.edit("worker.toml", "file:seed", SEED);
    for verb in [&["run"][..], &["check"], &["config", "show"], &["wallet", "new"]] {
        let ended = bench.worker(verb);
        assert!(matches!(ended.code, 3 | 7), "{ended:?}");
        assert!(!format!("{ended:?}").contains(SEED), "{verb:?}");
    }
}

#[test]
fn no_verb_shows_a_secret_however_much_is_logged() {
    let bench = Bench::new();
    bench.set_up("http://127.0.0.1:1", "http://user:hunter2@127.0.0.1:1/?token=hunter2");
    let daemon = bench.daemon();
    let verbs: [&[&str]; 10] = [
        &["config", "check"],
        &["config", "show"],
        &["check"],
        &["status"],
        &["jobs", "list"],
        &["wallet", "list"],
        &["wallet", "address", "3"],
        &["key", "show"],
        &["recover", "--dry-run"],
        &["poll"],
    ];
    let mut said = String::new();
    for verb in verbs {
        for form in [None, Some("--json")] {
            let mut line = verb.to_vec();
            line.extend(form);
            let ended = super::bench::ended(bench.command(&line).env("RUST_LOG", "trace"));
            said += &format!("{}{}", ended.out, ended.err);
        }
    }
    daemon.stop();
    said += &bench.log();
    assert!(said.contains("worker ready"), "the log is not where it was looked for");
    for secret in [SEED, KEY, "hunter2"] {
        assert!(!said.contains(secret) && !said.contains(&secret.to_uppercase()), "{secret} was shown");
    }
}
