//! The state directory.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};

use super::Finding;
use crate::worker::control;

/// Less than this will be used up soon: a busy worker writes some megabytes an hour.
const FREE_BYTES_WARN: u64 = 1 << 30;

/// With less than this the store may fail at any commit.
const FREE_BYTES_MIN: u64 = 64 << 20;

/// The longest path that a Unix socket can have.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Entries that are looked at: the store has a dozen.
const ENTRIES_MAX: usize = 1_000;

pub(super) fn state(dir: &Path) -> Vec<Finding> {
    let place = nearest(dir);
    let mut findings = vec![usable(dir, &place)];
    findings.extend(open_to_others(dir));
    findings.extend(free_space(&place));
    if control::socket_path(dir).as_os_str().as_bytes().len() > SOCKET_PATH_BYTES_MAX {
        findings.push(Finding::warn(
            "state",
            "its path is too long for a socket: a running worker cannot be asked",
            "choose a [state] dir with a shorter path",
        ));
    }
    findings
}

/// The directory itself, or the one in which it will be made.
fn nearest(dir: &Path) -> PathBuf {
    dir.ancestors().find(|place| place.exists()).unwrap_or(Path::new("/")).to_owned()
}

fn usable(dir: &Path, place: &Path) -> Finding {
    if !place.is_dir() {
        let text = format!("{} is no directory", place.display());
        return Finding::fail("state", text, "choose another [state] dir");
    }
    if let Err(error) = access(place, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        let text = format!("{} is not ours to write: {error}", place.display());
        return Finding::fail("state", text, format!("chown {} to the worker's user", place.display()));
    }
    if place == dir {
        Finding::ok("state", dir.display().to_string())
    } else {
        Finding::ok("state", format!("{} will be made", dir.display()))
    }
}

fn open_to_others(dir: &Path) -> Option<Finding> {
    let mode = |path: &Path| fs::metadata(path).map(|found| found.permissions().mode() & 0o777).unwrap_or(0);
    let own = mode(dir);
    if own & 0o077 != 0 {
        return Some(Finding::warn(
            "state",
            format!("others may look into {} (mode {own:03o})", dir.display()),
            format!("chmod 700 {}", dir.display()),
        ));
    }
    let entries = fs::read_dir(dir).ok()?.take(ENTRIES_MAX).flatten().map(|entry| entry.path());
    let open = entries.filter(|path| path.is_file()).find(|path| mode(path) & 0o077 != 0)?;
    Some(Finding::warn(
        "state",
        format!("others may read {} (mode {:03o})", open.display(), mode(&open)),
        format!("chmod 600 {}", open.display()),
    ))
}

fn free_space(place: &Path) -> Option<Finding> {
    let found = statvfs(place).ok()?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let text = format!("{} MiB are free", free >> 20);
    Some(if free < FREE_BYTES_MIN {
        Finding::fail("disk", text, "make room before the store fails")
    } else if free < FREE_BYTES_WARN {
        Finding::warn("disk", text, "make room")
    } else {
        Finding::ok("disk", text)
    })
}
