//! A small disk of its own for one worker's state, which can be full or read-only.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system in memory; it goes with this value.
#[derive(Debug)]
pub(crate) struct Disk {
    at: PathBuf,
}

/// Enough for the state of a few thousand jobs, little enough to be filled at once.
const SIZE: &str = "size=192m";

impl Disk {
    /// A disk at `at`, or why there is none.
    pub(crate) fn mount(at: &Path) -> Result<Self, String> {
        fs::create_dir(at).unwrap();
        let answer = Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(at).output();
        match answer {
            Ok(answer) if answer.status.success() => Ok(Self { at: at.to_owned() }),
            Ok(answer) => Err(String::from_utf8_lossy(&answer.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Leaves no room.
    pub(crate) fn fill(&self) -> &'static str {
        if let Ok(mut file) = fs::File::create(self.at.join("filler")) {
            let zeros = vec![0; 1 << 20];
            while file.write_all(&zeros).is_ok() {}
            // The last megabyte, too.
            while file.write_all(&[0]).is_ok() {}
        }
        "disk: full"
    }

    /// Lets nothing be written. Only a disk that nobody is writing to can become read-only.
    pub(crate) fn forbid(&self) -> &'static str {
        self.remount("remount,ro");
        "disk: read-only"
    }

    /// Whole again.
    pub(crate) fn free(&self) {
        self.remount("remount,rw");
        drop(fs::remove_file(self.at.join("filler")));
    }

    fn remount(&self, option: &str) {
        drop(Command::new("mount").args(["-o", option]).arg(&self.at).output());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.at).output());
    }
}
