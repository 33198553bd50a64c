//! The units as systemd itself judges them: how exposed each service is, and whether it would start.

#![expect(
    clippy::disallowed_methods,
    reason = "whether a missing tool is a failure depends on the environment"
)]
#![expect(clippy::print_stdout, reason = "a skip must be seen, and so must the numbers")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// systemd calls anything below 2 fine; these reach 1.2, and a flag lost by accident shows.
const EXPOSURE_MAX: f64 = 1.5;
const UNITS: &[&str] = &["worker.service", "worker@.service", "relay.service"];

#[test]
fn every_unit_is_walled_in() {
    if !analyzer_is_there() {
        return;
    }
    for unit in UNITS {
        let exposure = exposure(&units().join(unit));
        println!("{unit}: {exposure}");
        assert!(exposure <= EXPOSURE_MAX, "{unit}: exposure {exposure} is above {EXPOSURE_MAX}");
    }
}

#[test]
fn a_lost_wall_would_be_seen() {
    if !analyzer_is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for a copy");
    let weak = folder.path().join("worker.service");
    let text = fs::read_to_string(units().join("worker.service")).expect("the unit");
    let lost = ["CapabilityBoundingSet=", "SystemCallFilter=", "PrivateUsers="];
    let kept = text.lines().filter(|line| !lost.iter().any(|flag| line.starts_with(flag)));
    fs::write(&weak, kept.collect::<Vec<_>>().join("\n")).expect("a writable folder");
    assert!(exposure(&weak) > EXPOSURE_MAX);
}

#[test]
fn every_unit_would_load() {
    if !analyzer_is_there() {
        return;
    }
    let machine = tempfile::tempdir().expect("a folder for a made-up machine");
    let (services, programs) =
        (machine.path().join("etc/systemd/system"), machine.path().join("usr/local/bin"));
    fs::create_dir_all(&services).expect("a writable folder");
    fs::create_dir_all(&programs).expect("a writable folder");
    for unit in UNITS {
        let text = fs::read_to_string(units().join(unit)).expect("the unit");
        fs::write(services.join(unit), text).expect("a writable folder");
    }
    for program in ["worker", "relay"] {
        executable(&programs.join(program));
    }
    for target in ["basic", "multi-user", "network-online", "shutdown", "sysinit"] {
        fs::write(services.join(format!("{target}.target")), "[Unit]\n").expect("a writable folder");
    }
    let root = format!("--root={}", machine.path().display());
    let answer = Command::new("systemd-analyze")
        .args([&root, "verify", "worker.service", "worker@alice.service", "relay.service"])
        .output()
        .expect("systemd-analyze runs");
    let complaints = String::from_utf8_lossy(&answer.stderr);
    let ours: Vec<&str> =
        complaints.lines().filter(|line| UNITS.iter().any(|unit| names(line, unit))).collect();
    assert!(answer.status.success() && ours.is_empty(), "{complaints}");
}

/// Whether a complaint is about `unit` or an instance of it.
fn names(line: &str, unit: &str) -> bool {
    line.contains(unit.trim_end_matches(".service"))
}

fn executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, "#!/bin/sh\n").expect("a writable folder");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("our own file");
}

/// The number at the end of `→ Overall exposure level for worker.service: 1.2 OK`.
fn exposure(unit: &Path) -> f64 {
    let answer = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(unit)
        .output()
        .expect("systemd-analyze runs");
    let text = String::from_utf8_lossy(&answer.stdout);
    let last = text.lines().rfind(|line| line.contains("Overall exposure level"));
    last.and_then(|line| line.rsplit_once(": "))
        .and_then(|(_, verdict)| verdict.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| {
            panic!("no verdict on {}: {text}{}", unit.display(), String::from_utf8_lossy(&answer.stderr))
        })
}

/// Elsewhere than in continuous integration a machine without systemd is no fault of the units.
fn analyzer_is_there() -> bool {
    // Version 250 is the first that judges files rather than running services.
    let answer = Command::new("systemd-analyze").arg("--version").output();
    let version = answer.ok().and_then(|answer| {
        String::from_utf8_lossy(&answer.stdout)
            .split_whitespace()
            .nth(1)
            .and_then(|word| word.parse::<u32>().ok())
    });
    let there = version.is_some_and(|version| version >= 250);
    let required = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(there || !required, "CI needs systemd-analyze of systemd 250 or newer, found {version:?}");
    if !there {
        println!("skipped: systemd-analyze of systemd 250 or newer is needed, found {version:?}");
    }
    there
}

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}
