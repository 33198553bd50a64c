//! Builds the library that is preloaded, and says how to run a process under it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where one recording begins and ends up.
pub(crate) struct Recorder {
    /// Everything below it is recorded.
    pub(crate) root: PathBuf,
    /// The recording.
    pub(crate) tape: PathBuf,
    /// What is written here is a mark on the tape.
    pub(crate) mark: PathBuf,
    /// While it names calls and an error number, these calls fail.
    pub(crate) fault: PathBuf,
}

impl Recorder {
    /// A recorder of `root`, with its own files in `dir`.
    pub(crate) fn new(root: &Path, dir: &Path) -> Self {
        let file = |name: &str| dir.join(name);
        Self { root: root.to_owned(), tape: file("tape"), mark: file("mark"), fault: file("fault") }
    }

    /// What a process needs to be recorded.
    pub(crate) fn env(&self) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        vec![
            ("LD_PRELOAD", text(library())),
            ("POWER_DIR", text(&self.root)),
            ("POWER_LOG", text(&self.tape)),
            ("POWER_MARK", text(&self.mark)),
            ("POWER_FAULT", text(&self.fault)),
        ]
    }

    /// From now on, calls of these letters (see `recorder.c`) fail with an error number.
    pub(crate) fn fail(&self, calls: &str, error: rustix::io::Errno) {
        let next = self.fault.with_extension("next");
        std::fs::write(&next, format!("{calls} {}", error.raw_os_error())).unwrap();
        std::fs::rename(next, &self.fault).unwrap();
    }

    /// The disk is well again.
    pub(crate) fn heal(&self) {
        std::fs::remove_file(&self.fault).unwrap();
    }
}

/// Compiled once per run, with the compiler that Rust links with.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = dir.join(format!("recorder-{}.so", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power_cut/recorder.c");
        let done = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
            .args([&path, &source])
            .arg("-ldl")
            .status()
            .expect("a C compiler, which Rust needs for linking anyway");
        assert!(done.success());
        path
    })
}
