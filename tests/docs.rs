//! Documents that are printed from the code are what the code would print.
//!
//! `UPDATE_DOCS=1 cargo test --test docs` writes them anew.

#![expect(clippy::disallowed_methods, reason = "whether to write or to compare is said by the environment")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nano_worker::protocol::{lifecycle, v0};

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
