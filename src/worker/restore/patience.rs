//! A store that is large takes long to be read and made anew. The service manager is asked to wait: who is
//! killed for being slow begins from nothing each time.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::worker::daemon::notify;

/// How often it is asked.
const EVERY: Duration = Duration::from_secs(20);

/// How long it is to wait each time, in microseconds: some askings may come late.
const MORE_MICROS: u32 = 120_000_000;

/// How often at most, which is two hours in all: what hangs must not be waited for without end.
const TIMES_MAX: u32 = 360;

/// Asks for patience until it is dropped.
#[derive(Debug)]
pub(super) struct Patience(#[expect(dead_code, reason = "its drop ends the thread")] Option<SyncSender<()>>);

impl Patience {
    /// Begins to ask, after a while. Without a thread nobody is asked, and nothing else changes.
    pub(super) fn ask() -> Self {
        let (sender, ended) = sync_channel::<()>(0);
        let asking = move || {
            for _ in 0..TIMES_MAX {
                match ended.recv_timeout(EVERY) {
                    Err(RecvTimeoutError::Timeout) => notify(&[NotifyState::ExtendTimeoutUsec(MORE_MICROS)]),
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name("patience".to_owned()).spawn(asking);
        Self(thread.is_ok().then_some(sender))
    }
}
