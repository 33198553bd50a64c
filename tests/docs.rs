//! Documents that are printed from the code are what the code would print.
//!
//! `UPDATE_DOCS=1 cargo test --test docs` writes them anew.

#![expect(clippy::disallowed_methods, reason = "whether to write or to compare is said by the environment")]

use std::fs;
use std::path::Path;

use nano_worker::protocol::lifecycle::{markdown, mermaid};

#[test]
fn the_lifecycle_is_the_table() {
    let text = format!(
        "# The life of a job\n\n\
         Printed from `TRANSITIONS` in `src/protocol/lifecycle.rs`; change that, then run\n\
         `UPDATE_DOCS=1 cargo test --test docs`.\n\n\
         ```mermaid\n{}```\n\n{}",
        mermaid(),
        markdown()
    );
    check("docs/job-lifecycle.md", &text);
}

fn check(file: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected).expect("a writable clone");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == expected, "{file} is out of date: UPDATE_DOCS=1 cargo test --test docs\n{expected}");
}
