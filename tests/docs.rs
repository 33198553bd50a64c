//! Documents that are printed from the code are what the code would print.
//!
//! `UPDATE_DOCS=1 cargo test --test docs` writes them anew.

#![expect(clippy::disallowed_methods, reason = "whether to write or to compare is said by the environment")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nano_worker::protocol::{lifecycle, v0};
use nano_worker::worker::oddity::{self, Oddity};

#[test]
fn the_lifecycle_is_the_table() {
    let text = table(
        "The life of a job",
        "src/protocol/lifecycle.rs",
        &lifecycle::mermaid(),
        &lifecycle::markdown(),
    );
    check("docs/job-lifecycle.md", &text);
}

#[test]
fn the_lifecycle_of_v0_is_its_table() {
    let text = table(
        "The life of a /v0 job",
        "src/protocol/v0/lifecycle.rs",
        &v0::lifecycle::mermaid(),
        &v0::lifecycle::markdown(),
    );
    check("docs/job-lifecycle-v0.md", &text);
}

/// What stands before the table of odd payments, and after it.
const ODD_HEAD: &str = include_str!("fixtures/odd-payments-head.md");
const ODD_TAIL: &str = include_str!("fixtures/odd-payments-tail.md");

#[test]
fn the_odd_payments_are_the_rules() {
    check("docs/odd-payments.md", &format!("{ODD_HEAD}\n{}\n{ODD_TAIL}", oddity::markdown()));
}

#[test]
fn every_odd_payment_has_a_test_of_its_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("tests/payments/odd.rs")).expect("the tests");
    let tests: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("async fn ")).collect();
    for oddity in Oddity::ALL {
        assert!(tests.iter().any(|test| test.contains(oddity.name())), "{}", oddity.name());
    }
}

fn table(title: &str, file: &str, mermaid: &str, markdown: &str) -> String {
    format!(
        "# {title}\n\n\
         Printed from `TRANSITIONS` in `{file}`; change that, then run\n\
         `UPDATE_DOCS=1 cargo test --test docs`.\n\n\
         ```mermaid\n{mermaid}```\n\n{markdown}"
    )
}

#[test]
fn the_edge_cases_are_the_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = BTreeSet::new();
    for folder in ["src", "tests", "mock-nano-rpc/tests"] {
        collect(&root.join(folder), &mut tests);
    }
    let document = fs::read_to_string(root.join("docs/nano-edge-cases.md")).unwrap_or_default();
    let named: BTreeSet<String> =
        document.split('`').filter(|word| is_case(word)).map(str::to_owned).collect();
    assert_eq!(named, tests, "docs/nano-edge-cases.md and the tests differ");
    for case in 1..=25 {
        assert!(
            tests.iter().any(|test| test.contains(&format!("edge_{case:02}_"))),
            "no test of case {case}"
        );
    }
}

/// Flaws in `docs/known-flaws.md`: none is forgotten, and each has a test that is there.
const KNOWN_FLAWS: usize = 20;

#[test]
fn every_known_flaw_has_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/known-flaws.md")).expect("the document");
    let rows: Vec<&str> =
        document.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| |")).collect();
    assert_eq!(rows.len(), KNOWN_FLAWS);
    for (number, row) in (1..).zip(rows) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [first, flaw, instead, tests] = cells[..] else { panic!("not four cells: {row}") };
        assert!(first == number.to_string() && !flaw.is_empty() && !instead.is_empty(), "{row}");
        let named: Vec<&str> = tests.split('`').filter(|word| word.contains("::")).collect();
        assert!(!named.is_empty(), "no test of flaw {number}");
        for test in named {
            assert_eq!(missing(root, test), None, "of flaw {number}");
        }
    }
}

/// What is wrong with `path::name` as the name of a test, if something is.
fn missing(root: &Path, test: &str) -> Option<String> {
    let (path, name) = test.split_once("::")?;
    let Ok(text) = fs::read_to_string(root.join(path)) else { return Some(format!("{path} is no file")) };
    let Some(at) = text.find(&format!("fn {name}(")) else { return Some(format!("{test} is not there")) };
    // A suite's parts are called by a test instead of being one.
    let part = path.ends_with("storage/contract.rs") && text.matches(&format!("{name}(")).count() >= 2;
    let attributes = text[..at].rsplit("\n\n").next().unwrap_or_default();
    let is_test = attributes.contains("#[test]") || attributes.contains("#[tokio::test");
    (!is_test && !part).then(|| format!("{test} is no test"))
}

#[test]
fn a_test_that_is_gone_is_missed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(missing(root, "tests/docs.rs::a_test_that_is_gone_is_missed"), None);
    for wrong in ["tests/docs.rs::gone", "tests/gone.rs::a_test", "tests/docs.rs::missing"] {
        assert!(missing(root, wrong).is_some(), "{wrong}");
    }
}

fn is_case(word: &str) -> bool {
    word.starts_with("edge_") && word.len() > "edge_00_".len()
}

fn collect(folder: &Path, tests: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the tree").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            let names = text.split("fn ").filter_map(|rest| rest.split('(').next());
            tests.extend(names.filter(|name| is_case(name)).map(str::to_owned));
        }
    }
}

fn check(file: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected).expect("a writable clone");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == expected, "{file} is out of date: UPDATE_DOCS=1 cargo test --test docs\n{expected}");
}
