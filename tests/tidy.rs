//! Reads the source for what neither the compiler nor clippy checks: who names whom, who prints,
//! how long files grow, what the units promise. `tidy/rules.rs` has the rules.

#[path = "tidy/made_up.rs"]
mod made_up;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use nano_worker::points::POINTS;
use rules::Finding;

/// Folders that hold no text of ours.
const SKIPPED: &[&str] = &[".git", "target", "node_modules"];
/// What is read besides `.rs`.
const TEXTS: &[&str] = &["md", "toml", "service", "sh", "sql", "yml", "yaml", "json", "html", "txt"];
/// Files without a telling extension.
const NAMED: &[&str] = &["fuzz", "justfile", "mutants", "run", ".gitignore", ".editorconfig"];

#[test]
fn the_source_keeps_its_rules() {
    let mut found: Vec<Finding> = Vec::new();
    let (mut long, mut backoff) = (Vec::new(), Vec::new());
    let files = files();
    assert!(files.iter().any(|(path, _)| path == "src/lib.rs"), "read the wrong folder");
    for (path, text) in &files {
        found.extend(rules::any(path, text));
        if !path.ends_with(".rs") {
            continue;
        }
        found.extend(rules::rust(path, text));
        if rules::names_backoff(path, text) {
            backoff.push(path.as_str());
        }
        if text.lines().count() > rules::LINES_NOTED {
            long.push(format!("{:5} {path}", text.lines().count()));
        }
    }
    long.sort_by(|a, b| b.cmp(a));
    println!("files above {} lines: {}\n{}", rules::LINES_NOTED, long.len(), long.join("\n"));
    assert!(backoff.len() <= 1, "backoff has one home, so that replacing it is one file: {backoff:?}");
    let list: Vec<String> =
        found.iter().map(|finding| format!("{}: {}", finding.place, finding.message)).collect();
    assert!(list.is_empty(), "{} broken rules\n{}", list.len(), list.join("\n"));
}

#[test]
fn every_crash_point_is_listed_and_stands_in_one_place() {
    let mut stand: Vec<String> = Vec::new();
    for (_, text) in files().iter().filter(|(path, _)| path.starts_with("src/")) {
        let points = text.split("crash_point!(\"").skip(1);
        stand.extend(points.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
    }
    stand.sort_unstable();
    let mut listed: Vec<&str> = POINTS.iter().map(|point| point.name).collect();
    listed.sort_unstable();
    assert_eq!(stand, listed, "left: what stands in src/, right: what src/points.rs lists");
}

/// The points' macro is nothing without this feature, and what people build has none of the
/// features of test dependencies.
#[test]
fn what_people_build_has_no_crash_points() {
    let manifest = read(&root().join("Cargo.toml"));
    let lines: Vec<&str> = manifest.lines().filter(|line| line.starts_with("fail =")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let tests = manifest.find("[dev-dependencies]").expect("there are tests");
    for line in lines {
        let for_tests = manifest.find(line).expect("it was just found") > tests;
        assert_eq!(line.contains("failpoints"), for_tests, "{line}");
    }
}

#[test]
fn the_architecture_names_every_folder() {
    let map = read(&root().join("ARCHITECTURE.md"));
    for entry in fs::read_dir(root().join("src")).expect("src is there") {
        let name = entry.expect("src can be read").file_name().into_string().expect("names are UTF-8");
        assert!(map.contains(&format!("src/{name}")), "ARCHITECTURE.md does not mention src/{name}");
    }
}

#[test]
fn the_currency_depends_on_nothing_of_ours() {
    let manifest = read(&root().join("src/nano/Cargo.toml"));
    for ours in ["nano-worker", "mock-nano-rpc", "path = \".."] {
        assert!(!manifest.contains(ours), "src/nano/Cargo.toml names {ours}");
    }
    assert!(!read(&root().join("mock-nano-rpc/Cargo.toml")).contains("nano-worker"));
}

#[test]
fn the_units_keep_their_promises() {
    let common = [
        "Type=notify",
        "NotifyAccess=main",
        "WatchdogSec=",
        "Restart=always",
        "RestartSec=",
        "StartLimitIntervalSec=0",
        "TimeoutStopSec=",
        "KillMode=mixed",
        "DynamicUser=yes",
        "StateDirectory=",
        "StateDirectoryMode=0700",
        "UMask=0077",
        "LimitCORE=0",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ExecStart=/usr/local/bin/",
    ];
    let secrets = ["LoadCredential=key:", "LoadCredential=seed:"];
    for (unit, wanted) in
        [("worker.service", &secrets[..]), ("worker@.service", &secrets[..]), ("relay.service", &[])]
    {
        let text = read(&root().join("systemd").join(unit));
        for flag in common.iter().chain(wanted) {
            assert!(text.lines().any(|line| line.starts_with(flag)), "{unit} lacks {flag}");
        }
        // The environment of a process is no place for a secret, and a unit file is readable by all.
        assert!(!text.lines().any(|line| line.starts_with("Environment")), "{unit} sets an environment");
    }
}

/// Every text of the repository with its path from the root, in a fixed order.
fn files() -> Vec<(String, String)> {
    let mut folders = vec![root()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder that was just listed") {
            let path = entry.expect("a readable entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            if path.is_dir() {
                folders.extend((!SKIPPED.contains(&name)).then_some(path));
            } else if extension == "rs" || TEXTS.contains(&extension) || NAMED.contains(&name) {
                let inside = path.strip_prefix(root()).expect("found below the root");
                found.push((inside.to_string_lossy().into_owned(), read(&path)));
            }
        }
    }
    found.sort();
    found
}

/// Recorded answers may hold any bytes; what is not UTF-8 in them breaks no rule of ours.
fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
