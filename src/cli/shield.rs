//! What keeps other programs from reading the memory of one that holds secrets.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::config::Env;

/// Set by tests that look at a process from outside; nothing in what users build.
const UNSHIELDED: &str = "UNSHIELDED";

/// No core is dumped, and no program of the same user, a handler say, reads our memory or our
/// environment or traces us, unless root does. For the beginning of a program, before it has read a
/// secret.
pub(super) fn raise() -> io::Result<()> {
    if crate::points::are_compiled_in() && Env::system().get(UNSHIELDED).is_some() {
        return Ok(());
    }
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn a_shielded_process_is_neither_dumped_nor_read() {
        raise().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), maximum: Some(0) });
    }
}
