//! Tidy on texts made up for it: each rule bites where it should and nowhere else.

use crate::rules;
use crate::source::{paths, production, tokens};

/// Checks a file of one doc line and `text`; `expected` is the start of each finding's message, in order.
fn check(path: &str, text: &str, expected: &[&str]) {
    let text = format!("//! What it is for.\n{text}\n");
    let found = rules::rust(path, &text);
    let messages: Vec<&str> = found.iter().map(|finding| finding.message.as_str()).collect();
    let fits =
        messages.len() == expected.len() && messages.iter().zip(expected).all(|(a, b)| a.starts_with(b));
    assert!(fits, "{path}\n{text}\nfound {messages:?}\nexpected {expected:?}");
}

#[test]
fn worker_and_relay_never_name_each_other() {
    check("src/worker/mod.rs", "use crate::relay::service;", &["`worker` must not name `relay`"]);
    check("src/worker/effects.rs", "use crate::{edge::Clock, relay};", &["`worker` must not name `relay`"]);
    check("src/worker/deep/er.rs", "use super::super::super::relay::X;", &["`worker` must not name `relay`"]);
    check("src/worker/effects.rs", "fn f() { crate::relay::run(); }", &["`worker` must not name `relay`"]);
    check(
        "src/worker/effects.rs",
        "use nano_worker as w;\nfn f() { nano_worker::relay::run() }",
        &["`worker` must"],
    );
    check(
        "src/worker/a.rs",
        "#[cfg(test)]\nmod tests { use super::super::super::relay::X; }",
        &["`worker` must"],
    );
    check("src/worker/a.rs", "mod tests { use super::super::relay::X; }", &[]);
    check("src/relay/service.rs", "use crate::worker::machine;", &["`relay` must not name `worker`"]);
    check("src/relay/service.rs", "use crate::client::Rest;", &["`relay` must not name `client`"]);
    check("src/worker/mod.rs", "// use crate::relay::X;\n/* crate::relay::X /* */ */", &[]);
    check(
        "src/worker/mod.rs",
        "const A: &str = \"crate::relay::X\"; const B: &str = r#\"crate::relay\" ::X\"#;",
        &[],
    );
    check("src/worker/mod.rs", "use crate::client::relay::Name; use crate::store::Store;", &[]);
}

#[test]
fn the_currency_is_one_thing_under_two_names() {
    let expected = &["`relay` must not name `nano::rpc`"];
    check("src/relay/service.rs", "use crate::nano::rpc::Rpc;", expected);
    check("src/relay/service.rs", "use nano_currency::rpc::Rpc;", expected);
    check("src/relay/service.rs", "use crate::nano::{self, amount};\nfn f() { nano::rpc::call() }", expected);
    check("src/relay/service.rs", "use crate::nano::{Amount, rpc::{A, B}};", &[expected[0], expected[0]]);
    check("src/relay/service.rs", "use crate::nano as n;\nfn f() { n::rpc::call() }", expected);
    check("src/relay/service.rs", "use crate::nano::{self as n};\nfn f() { n::rpc::call() }", expected);
    check("src/relay/service.rs", "use nano_currency::Account;", &[]);
    check("src/protocol/job.rs", "use nano_currency::Amount;", &[]);
    check("src/nano/block.rs", "use crate::account::Account; use super::work::Work;", &[]);
    check("src/nano/block.rs", "use nano_worker::protocol::Job;", &["`nano` must not name `protocol`"]);
}

#[test]
fn decisions_touch_nothing_outside() {
    check("src/protocol/job.rs", "use crate::store::Store;", &["`protocol` must not name `store`"]);
    check("src/protocol/job.rs", "async fn f() { tokio::spawn(x) }", &["`protocol` must not name `tokio`"]);
    check(
        "src/protocol/lifecycle.rs",
        "use super::job::Job;",
        &["`protocol::lifecycle` must not name `protocol::job`"],
    );
    check("src/worker/machine.rs", "use tracing::info;", &["`worker::machine` must not name `tracing`"]);
    check("src/worker/payment.rs", "use crate::store::Store;", &["`worker::payment` must not name `store`"]);
    check("src/worker/effects.rs", "use tracing::info; use crate::store::Store;", &[]);
    check("src/store/mod.rs", "use crate::protocol::Job;", &["`store` must not name `protocol`"]);
    check("src/store/key.rs", "use crate::protocol::JobId; use nano_currency::BlockHash;", &[]);
    check("src/store/key.rs", "use crate::worker::Stage;", &["`store` must not name `worker`"]);
    check("src/protocol/lifecycle.rs", "#[cfg(test)]\nmod tests { use super::*; }", &[]);
    check("src/nano/rpc/mod.rs", "mod client;\npub use client::Rpc;", &[]);
    check(
        "src/relay/http/mod.rs",
        "use super::storage;\nfn f() { storage::open() }",
        &["`relay::http`", "`relay::http`"],
    );
    check("src/relay/http/jobs.rs", "use super::super::storage::Storage;", &["`relay::http` must not name"]);
    check("src/relay/service.rs", "use axum::Json;", &["`relay::service` must not name `axum`"]);
    check("src/bin/worker.rs", "use nano_worker::worker::run;", &["`bin` must not name `worker`"]);
    check("src/bin/worker.rs", "fn main() -> ExitCode { nano_worker::cli::worker::main() }", &[]);
    check("src/brand_new/mod.rs", "", &["`brand_new` has no row"]);
}

#[test]
fn sled_and_backoff_have_one_home() {
    check("src/relay/storage/embedded.rs", "use sled::Db;", &["only src/store names sled"]);
    check("tests/crash.rs", "fn f() { let db: ::sled::Db = open(); }", &["only src/store names sled"]);
    check("src/store/mod.rs", "use sled::{Db, Tree};", &[]);
    check("src/worker/ingest.rs", "use backoff::ExponentialBackoff;", &["only one module of src/client"]);
    check("src/client/backoff.rs", "use backoff::ExponentialBackoff;", &[]);
    check("src/worker/ingest.rs", "use crate::client::backoff::Delay;", &[]);
    assert!(rules::names_backoff("src/client/retry.rs", "use backoff as b;"));
    assert!(!rules::names_backoff("src/client/rest.rs", "use super::backoff::Delay; let backoff = 1;"));
}

#[test]
fn nothing_is_silenced_or_left_undone() {
    check("src/worker/a.rs", "fn f() { todo!() }", &["unfinished work"]);
    check("src/worker/a.rs", "fn f() { dbg!(1); unimplemented!() }", &["unfinished work", "unfinished work"]);
    check("src/worker/a.rs", "#[allow(dead_code)] fn f() {}", &["`allow` hides a lint"]);
    check("src/worker/a.rs", "#![allow(dead_code)]", &["`allow` hides a lint"]);
    check("src/worker/a.rs", "#[cfg_attr(test, allow(dead_code))] fn f() {}", &["`allow` hides a lint"]);
    check("tests/a.rs", "#[test]\n#[ignore] fn f() {}", &["a test that never runs"]);
    check("tests/a.rs", "#[test]\n#[ignore = \"slow\"] fn f() {}", &["a test that never runs"]);
    check("src/worker/a.rs", "#[expect(dead_code)] fn f() {}", &["`expect` without a reason"]);
    check("src/worker/a.rs", "#[expect(dead_code, reason = \"why\")] fn f() {}", &[]);
    check("src/worker/a.rs", "fn f() { self.allow(key); list([1, ignore]); x.expect(\"todo!\"); }", &[]);
}

#[test]
fn only_the_command_line_prints() {
    check("src/worker/a.rs", "fn f() { println!(\"x\") }", &["only src/cli and the binaries print"]);
    check("src/relay/a.rs", "fn f() { eprint!(\"x\") }", &["only src/cli and the binaries print"]);
    check("src/relay/a.rs", "fn f() { std::io::stdout().lock(); }", &["only src/cli and the binaries write"]);
    check("mock-nano-rpc/src/lib.rs", "fn f() { println!(\"x\") }", &["only src/cli and the binaries print"]);
    check("mock-nano-rpc/src/main.rs", "fn f() { println!(\"x\") }", &[]);
    check("src/cli/status.rs", "fn f() { println!(\"x\") }", &[]);
    check("src/worker/a.rs", "#[cfg(test)]\nmod tests { fn f() { println!(\"x\") } }", &[]);
    check("src/worker/a.rs", "#[cfg(test)]\nuse x;\nfn f() { println!(\"x\") }", &["only src/cli"]);
    check("src/worker/a.rs", "fn f(c: Command) { c.stdout(Stdio::piped()); }", &[]);
}

#[test]
fn the_clock_is_at_the_edge() {
    let expected = &["clock and randomness come from src/edge.rs"];
    check("src/worker/a.rs", "fn f() { std::time::Instant::now(); }", expected);
    check("src/relay/a.rs", "fn f() { SystemTime::now(); }", expected);
    check("src/relay/a.rs", "fn f() { getrandom::fill(&mut b); }", expected);
    check("src/edge.rs", "fn f() { SystemTime::now(); getrandom::fill(&mut b); }", &[]);
    check("src/worker/a.rs", "#[cfg(test)]\nfn f() { Instant::now(); }", &[]);
    check("tests/a.rs", "fn f() { Instant::now(); }", &[]);
}

#[test]
fn only_what_speaks_to_a_node_awaits() {
    check("src/nano/block.rs", "async fn f() { g().await; }", &["only rpc*.rs and stream.rs"]);
    check("src/nano/rpc.rs", "async fn f() { g().await; }", &[]);
    check("src/nano/rpc/calls.rs", "async fn f() { g().await; }", &[]);
    check("src/nano/tests/rpc/calls.rs", "async fn f() { g().await; }", &[]);
    check("src/worker/a.rs", "async fn f() { g().await; }", &[]);
}

#[test]
fn limits_say_why() {
    let limits = "src/protocol/limits.rs";
    check(limits, "/// A title fits on one line of a terminal.\npub const A: usize = 120;", &[]);
    check(
        limits,
        "/// A title fits on\n/// one line.\n#[doc(alias = \"x\")]\npub const A: usize = 120;",
        &[],
    );
    check(limits, "pub const A: usize = 120;", &["a limit without its reason"]);
    check(limits, "/// The title.\npub const A: usize = 120;", &["a limit without its reason"]);
    check("src/protocol/job.rs", "pub const A: usize = 120;", &[]);
}

#[test]
fn files_stay_small_and_say_what_they_are() {
    check("src/worker/a.rs", &"\n".repeat(700), &["702 lines; split it"]);
    check("src/bin/worker.rs", &"// x\n".repeat(50), &["a binary parses"]);
    check("src/lib.rs", "pub mod nano;\nfn f() {}", &["the crate's root is a map"]);
    assert_eq!(rules::rust("src/worker/a.rs", "use x::y;\n").len(), 1);
    assert_eq!(rules::rust("src/worker/a.rs", "").len(), 0);
}

#[test]
fn texts_name_no_machine_and_have_no_tabs() {
    let count = |path: &str, text: &str| rules::any(path, text).len();
    let place = concat!("/", "work/main/x");
    assert_eq!(count("README.md", place), 1);
    assert_eq!(count("tests/fixtures/a.json", place), 1);
    assert_eq!(count("README.md", &format!("see `src/nano{place}`")), 0);
    assert_eq!(count("src/a.rs", "\tx"), 1);
    assert_eq!(count("tests/fixtures/a.json", "\tx"), 0);
}

#[test]
fn literals_and_lifetimes_are_told_apart() {
    let words = |text: &'static str| tokens(text).iter().map(|token| token.text).collect::<Vec<_>>();
    assert_eq!(words(r#"a("x\"y", 'c', '\'', '\u{1F}', b'"', b"z")"#), words(r#"a("", , , , b, "")"#));
    assert_eq!(words("fn f<'a>(x: &'a str) {}").len(), words("fn f<a>(x: &a str) {}").len());
    assert_eq!(words("r##\"a\"#b\"## c br\"x\" r"), ["\"\"", "c", "\"\"", "r"]);
    assert_eq!(words("\"never closed"), ["\"\""]);
    assert_eq!(tokens("a\n\"x\ny\"\nb")[2].line, 4);
    assert_eq!(production(&tokens("a #[cfg(test)] #[x] fn f(a: [u8; 2]) { {} } b")).len(), 2);
    assert_eq!(paths(&tokens("Vec::<sled::Db>::new()"), &[])[1].segments, ["sled", "Db"]);
}
