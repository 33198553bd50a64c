//! Every problem by its path, every override, and no secret in any of it.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

pub(super) const SECRET: &str = "abababababababababababababababababababababababababababababababab";

/// A configuration that has everything it needs, and a place to break it.
pub(super) const WHOLE: &str = r#"
[relay]
url = "https://relay.example.org"
key = "env:KEY"
[nano]
network = "dev"
seed = "env:SEED"
rpc = ["http://127.0.0.1:7076"]
[[offers]]
title = "Word count"
price_xno = "0.001"
[offers.handler]
command = ["sh"]
"#;

pub(super) fn env(extra: &[(&str, &str)]) -> Env {
    let mut values: HashMap<String, String> = HashMap::from([
        ("KEY".to_owned(), SECRET.to_owned()),
        ("SEED".to_owned(), SECRET.to_owned()),
        ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
    ]);
    values.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Env::from_fn(move |name| values.get(name).cloned())
}

pub(super) fn read(text: &str, extra: &[(&str, &str)]) -> Result<Settings, Problems> {
    parse(text, Path::new("/etc/worker"), &env(extra))
}

/// Breaks the whole configuration at one place; the one problem must be at `path`.
#[track_caller]
pub(super) fn check(from: &str, to: &str, path: &str) {
    assert!(WHOLE.contains(from), "{from}");
    check_text(&WHOLE.replace(from, to), &[], path);
}

#[track_caller]
pub(super) fn check_text(text: &str, extra: &[(&str, &str)], path: &str) {
    let problems = read(text, extra).expect_err(text);
    let paths: Vec<&str> = problems.list().iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, [path], "{problems}");
    assert!(!problems.to_string().contains(SECRET), "{problems}");
}

#[test]
fn a_command_has_limits_and_a_url_has_none() {
    let limits =
        |text: &str| read(&WHOLE.replace("command = [\"sh\"]", text), &[]).unwrap().offers[0].handler.limits;
    assert_eq!(limits("command = [\"sh\"]"), Limits::default());
    let all = "command = [\"sh\"]\nnice = 0\nmemory_max_mib = 64\ncpu_percent = 150\ntasks_max = 32";
    let expected =
        Limits { nice: 0, memory_max: Some(64 << 20), cpu_percent: Some(150), tasks_max: Some(32) };
    assert_eq!(limits(all), expected);
    check("command = [\"sh\"]", "command = [\"sh\"]\nnice = 20", "offers[0].handler.nice");
    check("command = [\"sh\"]", "command = [\"sh\"]\nmemory_max_mib = 0", "offers[0].handler.memory_max_mib");
    check("command = [\"sh\"]", "url = \"http://a\"\ncpu_percent = 50", "offers[0].handler.cpu_percent");
}

#[test]
fn the_whole_configuration_is_read() {
    let settings = read(WHOLE, &[]).unwrap();
    assert_eq!(settings.network, Network::Dev);
    assert_eq!(settings.state_dir, Path::new("/etc/worker/state"));
    assert_eq!(settings.offers.len(), 1);
    let offer = &settings.offers[0];
    assert_eq!(offer.terms.pricing, Pricing::Fixed(Amount::parse_xno("0.001").unwrap()));
    assert!(!offer.terms.idempotent);
    assert_eq!((settings.poll_min, settings.poll_max), (Duration::from_millis(500), Duration::from_secs(60)));
}

#[test]
fn every_default_is_in_the_commented_file() {
    let extra = [("SELLER_PRIVKEY", SECRET), ("NANO_SEED", SECRET)];
    let (shown, bare) = (read(DEFAULT, &extra).unwrap(), read(WHOLE, &[]).unwrap());
    assert_eq!(
        (shown.poll_min, shown.poll_max, shown.lock_ttl, shown.quote_ttl, shown.drain),
        (bare.poll_min, bare.poll_max, bare.lock_ttl, bare.quote_ttl, bare.drain)
    );
    assert_eq!((shown.state_dir, shown.account_index_start), (bare.state_dir, bare.account_index_start));
    let (shown, bare) = (&shown.offers[0], &bare.offers[0]);
    assert_eq!((&shown.terms, shown.max_parallel), (&bare.terms, bare.max_parallel));
    assert_eq!(shown.handler.timeout, bare.handler.timeout);
}

/// Known in others: `min_confirmations = 0` is taken for a wish, and a block pays that no one has confirmed.
#[test]
fn nobody_can_ask_for_unconfirmed_payments() {
    check("network = \"dev\"", "min_confirmations = 0", "nano.min_confirmations");
}

#[test]
fn each_problem_is_named_by_its_path() {
    check("url = \"https://relay.example.org\"", "", "relay.url");
    check("https://relay.example.org", "ftp://relay.example.org", "relay.url");
    check("key = \"env:KEY\"", "", "relay.key");
    check("env:KEY", "env:NOBODY", "relay.key");
    check("env:KEY", SECRET, "relay.key");
    check("env:SEED", SECRET, "nano.seed");
    check("env:SEED", "file:/nonexistent/seed", "nano.seed");
    check("\"dev\"", "\"mainnet\"", "nano.network");
    check("rpc = [\"http://127.0.0.1:7076\"]", "", "nano.rpc");
    check("[\"http://127.0.0.1:7076\"]", "[]", "nano.rpc");
    check("[\"http://127.0.0.1:7076\"]", "[\"http://a\", \"b\"]", "nano.rpc[1]");
    check("network = \"dev\"", "account_index_start = 4294967296", "nano.account_index_start");
    check("network = \"dev\"", "min_confirmations = 0", "nano.min_confirmations");
    check("network = \"dev\"", "verify = \"hope\"", "nano.verify");
    check("network = \"dev\"", "quorum = 0", "nano.quorum");
    check("network = \"dev\"", "quorum = 2", "nano.quorum");
    check("network = \"dev\"", "requests_per_second = 0", "nano.requests_per_second");
    check("network = \"dev\"", "websocket = [\"http://a\"]", "nano.websocket[0]");
    let policy = |rule: &str| format!("[[nano.policy]]\n{rule}\n[[offers]]\ntitle");
    for (rule, path) in [
        ("above_xno = \"1\"", "nano.policy[0].quorum"),
        ("quorum = 1", "nano.policy[0].above_raw"),
        ("quorum = 2\nabove_xno = \"1\"", "nano.policy[0].quorum"),
        ("quorum = 1\nabove_xno = \"a lot\"", "nano.policy[0].above_xno"),
        ("quorum = 1\nabove_xno = \"1\"\nabove_raw = \"1\"", "nano.policy[0]"),
    ] {
        check("[[offers]]\ntitle", &policy(rule), path);
    }
    // Two addresses of one host are one node.
    let twice = "[\"http://127.0.0.1:7076/a\", \"http://127.0.0.1:7076/b\"]\nquorum = 2";
    check("[\"http://127.0.0.1:7076\"]", twice, "nano.quorum");
    check("[nano]", "[lock]\nttl_seconds = 9\n[nano]", "lock.ttl_seconds");
    check("[nano]", "[lock]\nttl_seconds = 601\n[nano]", "lock.ttl_seconds");
    check("[nano]", "[polling]\nmin_ms = 100\nmax_ms = 99\n[nano]", "polling.max_ms");
    check("[nano]", "[quote]\nttl_seconds = 3601\n[nano]", "quote.ttl_seconds");
    check("[nano]", "[quote]\npayment_window_seconds = 0\n[nano]", "quote.payment_window_seconds");
    check("[nano]", "[shutdown]\ndrain_seconds = 3601\n[nano]", "shutdown.drain_seconds");
    check("title = \"Word count\"", "", "offers[0].title");
    check("price_xno = \"0.001\"", "", "offers[0].price_raw");
    check("price_xno = \"0.001\"", "price_xno = \"0.001\"\nprice_raw = \"1\"", "offers[0]");
    check("price_xno = \"0.001\"", "price_xno = \"0\"", "offers[0].price_xno");
    check("price_xno = \"0.001\"", "price_raw = \"0\"", "offers[0].price_raw");
    check("price_xno = \"0.001\"", "price_raw = \"-1\"", "offers[0].price_raw");
    check("price_xno = \"0.001\"", "price_xno = \"0.001\"\npricing_mode = \"quote\"", "offers[0]");
    check(
        "price_xno = \"0.001\"",
        "price_xno = \"0.001\"\nmax_request_bytes = 65537",
        "offers[0].max_request_bytes",
    );
    check("command = [\"sh\"]", "", "offers[0].handler");
    check("command = [\"sh\"]", "command = []", "offers[0].handler.command");
    check("command = [\"sh\"]", "command = [\"no-such-program\"]", "offers[0].handler.command");
    check("command = [\"sh\"]", "command = [\"/etc/passwd\"]", "offers[0].handler.command");
    check("command = [\"sh\"]", "url = \"unix:/x\"", "offers[0].handler.url");
    check("command = [\"sh\"]", "command = [\"sh\"]\nurl = \"http://a\"", "offers[0].handler");
    check(
        "command = [\"sh\"]",
        "command = [\"sh\"]\ntimeout_seconds = 0",
        "offers[0].handler.timeout_seconds",
    );
    check("command = [\"sh\"]", "command = [\"sh\"]\nmax_parallel = 0", "offers[0].handler.max_parallel");
    check("command = [\"sh\"]", "command = [\"sh\"]\nidempotentt = true", "offers[0].handler.idempotentt");
}

#[test]
fn all_problems_come_at_once() {
    let text = WHOLE.replace("https://relay", "relay").replace("\"dev\"", "\"x\"").replace("0.001", "-1");
    let problems = read(&text, &[]).unwrap_err();
    let mut paths: Vec<&str> = problems.list().iter().map(|problem| problem.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["nano.network", "offers[0].price_xno", "relay.url"]);
}

#[test]
fn two_offers_cannot_have_one_name() {
    let offer = WHOLE.split_once("[[offers]]").unwrap().1;
    check_text(&format!("{WHOLE}[[offers]]{offer}"), &[], "offers[1].name");
}

#[test]
fn the_environment_overrides_the_file() {
    let offers = r#"[{"title":"A","price_raw":"5","handler":{"command":["sh"]}}]"#;
    let other = "cd".repeat(32);
    let settings = read(
        WHOLE,
        &[
            ("RELAY_URL", "http://127.0.0.1:1"),
            ("SELLER_PRIVKEY", &other),
            ("NANO_SEED", &other),
            ("NANO_RPC_URL", "http://127.0.0.1:2"),
            ("NANO_NETWORK", "test"),
            ("NANO_ACCOUNT_INDEX_START", "9"),
            ("NANO_MIN_CONFIRMATIONS", "6"),
            ("POLL_INTERVAL_MS", "777"),
            ("SELLER_OFFERS_JSON", offers),
        ],
    )
    .unwrap();
    assert_eq!(settings.relay_url, "http://127.0.0.1:1");
    assert_eq!(settings.signer.public_key(), Signer::parse(&other).unwrap().public_key());
    assert_eq!(
        settings.accounts.get(0).unwrap(),
        nano_currency::Seed::parse(&other).unwrap().account(0).unwrap()
    );
    assert_eq!(settings.rpc, ["http://127.0.0.1:2"]);
    assert_eq!((settings.network, settings.account_index_start), (Network::Test, 9));
    assert_eq!(settings.poll_min, Duration::from_millis(777));
    assert_eq!(settings.offers[0].public.fixed_price_raw.as_deref(), Some("5"));
}

#[test]
fn a_bad_override_is_named_too() {
    for (name, value, path) in [
        ("RELAY_URL", "x", "relay.url"),
        ("NANO_MIN_CONFIRMATIONS", "0", "nano.min_confirmations"),
        ("NANO_MIN_CONFIRMATIONS", "-1", "NANO_MIN_CONFIRMATIONS"),
        ("POLL_INTERVAL_MS", "soon", "POLL_INTERVAL_MS"),
        ("NANO_NETWORK", "main", "nano.network"),
        ("NANO_RPC_URL", "node", "nano.rpc[0]"),
        ("SELLER_OFFERS_JSON", "{", "SELLER_OFFERS_JSON"),
        ("SELLER_OFFERS_PATH", "/nonexistent", "SELLER_OFFERS_PATH"),
        ("SELLER_PRIVKEY", "short", "relay.key"),
        ("NANO_SEED", "short", "nano.seed"),
    ] {
        check_text(WHOLE, &[(name, value)], path);
    }
    let misspelt = r#"[{"title":"A","price_raw":"5","handler":{"command":["sh"],"idempotentt":true}}]"#;
    check_text(WHOLE, &[("SELLER_OFFERS_JSON", misspelt)], "SELLER_OFFERS_JSON[0.handler.idempotentt]");
}

#[test]
fn relative_paths_start_at_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let secret = |name: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, SECRET).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    secret("key");
    secret("seed");
    let program = dir.path().join("run");
    std::fs::write(&program, "#!/bin/sh").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let text = WHOLE
        .replace("env:KEY", "file:key")
        .replace("env:SEED", "file:seed")
        .replace("[\"sh\"]", "[\"./run\"]")
        .replace("[nano]", "[state]\ndir = \"there\"\n[nano]");
    let settings = parse(&text, dir.path(), &env(&[])).unwrap();
    assert_eq!(settings.state_dir, dir.path().join("there"));
    let HandlerKind::Command { program: found, directory, .. } = &settings.offers[0].handler.kind else {
        panic!("no command")
    };
    assert_eq!(
        (found.canonicalize().unwrap(), directory.as_path()),
        (program.canonicalize().unwrap(), dir.path())
    );
}

#[test]
fn nothing_that_is_printed_holds_a_secret() {
    let settings = read(WHOLE, &[]).unwrap();
    let shown = format!("{settings:?}");
    assert!(!shown.to_lowercase().contains(SECRET), "{shown}");
    let (key, seed) = (format!("{SECRET}zz"), format!("{SECRET} nonsense"));
    let problems = read(WHOLE, &[("SELLER_PRIVKEY", &key), ("NANO_SEED", &seed)]).unwrap_err();
    assert!(!problems.to_string().contains(SECRET), "{problems}");
}

proptest! {
    #[test]
    fn garbage_never_panics(text: String, place in 0usize..300, value: String) {
        let _ = read(&text, &[]);
        let mut cut = WHOLE.to_owned();
        let place = place.min(cut.len());
        cut.insert_str(place, &text);
        let _ = read(&cut, &[("SELLER_OFFERS_JSON", &value), ("NANO_SEED", &value), ("SELLER_PRIVKEY", &value)]);
    }
}

#[test]
fn how_sure_one_wants_to_be_is_read() {
    let three = "[\"http://a\", \"http://b\", \"http://c\"]\nquorum = 2\nverify = \"rpc\"\n\
                 requests_per_second = 7\nwebsocket = [\"ws://a:7078\"]\n\
                 [[nano.policy]]\nabove_raw = \"5\"\nquorum = 3";
    let settings = read(&WHOLE.replace("[\"http://127.0.0.1:7076\"]", three), &[]).unwrap();
    let certainty = &settings.certainty;
    assert_eq!((certainty.quorum, certainty.quorum_for(Amount::from_raw(6))), (2, 3));
    assert_eq!(certainty.requests_per_second.map(std::num::NonZeroU32::get), Some(7));
    assert_eq!((certainty.trust, settings.websocket.len()), (nano_currency::rpc::panel::Trust::Rpc, 1));
    assert_eq!(read(WHOLE, &[]).unwrap().certainty, Certainty::default());
    let extra = [("SELLER_PRIVKEY", SECRET), ("NANO_SEED", SECRET)];
    assert_eq!(read(DEFAULT, &extra).unwrap().certainty, Certainty::default());
}
