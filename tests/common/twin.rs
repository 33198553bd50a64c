//! Two workers of one seller that serve the same offers.
//!
//! A worker registers offers of its own, so two that only share a key never meet over a job.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nano_worker::store::{Batch, Keyspace};
use nano_worker::worker::memory;

/// Copies the state of a worker that does not run for another one, which gets a name of its own: both
/// serve the same offers, and only the relay's lock stands between them.
pub(crate) fn make_twin(state: &Path, twin: &Path) {
    const FACTS: Keyspace<String, String> = Keyspace::new(1, "facts", 1);
    copy(state, twin);
    let store = memory::open(twin).unwrap();
    let mut batch = Batch::default();
    FACTS.remove(&mut batch, &"holder".to_owned());
    store.commit(batch).unwrap();
    store.durable_blocking().unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        let to = to.join(entry.file_name());
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
