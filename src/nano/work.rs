//! Proof of work: the price of a block in computation.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use blake2::Blake2b;
use blake2::digest::{Digest, consts::U8};

/// Nonces tried between two looks at the stop signs: about a millisecond.
const NONCES_PER_LOOK: u64 = 4_096;

/// How hard a work value was, or must be: the larger, the harder.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Difficulty(u64);

impl Difficulty {
    /// The difficulty with this 64-bit value.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// Its 64-bit value.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Nonces that must be tried on average to reach it.
    #[must_use]
    pub const fn expected_tries(self) -> u64 {
        let values = 1u128 << 64;
        let tries = values / (values - self.0 as u128);
        if tries > u64::MAX as u128 { u64::MAX } else { tries as u64 }
    }

    /// Reads 16 hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_u64(text).map(Self)
    }
}

/// 16 lower-case hex digits, as in `work_generate`.
impl fmt::Display for Difficulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Difficulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A nonce that was found for one root.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Work(u64);

impl Work {
    /// The work with this nonce.
    #[must_use]
    pub const fn new(nonce: u64) -> Self {
        Self(nonce)
    }

    /// Its nonce.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Reads 16 hex digits of any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_u64(text).map(Self)
    }

    /// What it is worth for `root`: Blake2b-64 of the nonce, little-endian, and the root.
    ///
    /// A block's root is its `previous`, or the account's public key for a first block.
    #[must_use]
    pub fn difficulty(self, root: &[u8; 32]) -> Difficulty {
        let hash = Blake2b::<U8>::new().chain_update(self.0.to_le_bytes()).chain_update(root).finalize();
        Difficulty(u64::from_le_bytes(hash.into()))
    }
}

fn parse_u64(text: &str) -> Option<u64> {
    (text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then(|| u64::from_str_radix(text, 16).ok())
        .flatten()
}

/// 16 lower-case hex digits, as the C++ node writes them.
impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How fast this machine searches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    tries_per_second: f64,
}

impl Rate {
    /// One thread made `tries` in `took`, and `threads` will search; `None` if no time passed.
    ///
    /// Threads that share a core are slower than that, so it is a hope rather than a promise.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an estimate needs no sixteenth digit")]
    pub fn measured(tries: u64, took: Duration, threads: usize) -> Option<Self> {
        let tries_per_second = tries as f64 * threads as f64 / took.as_secs_f64();
        (tries_per_second.is_finite() && tries_per_second > 0.0).then_some(Self { tries_per_second })
    }

    /// The time that work of this difficulty takes on average. Half of all searches are over in
    /// 0.7 of it, one in fifty takes four times as long.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an estimate needs no sixteenth digit")]
    pub fn expected(&self, threshold: Difficulty) -> Duration {
        let seconds = threshold.expected_tries() as f64 / self.tries_per_second;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

/// Tries `tries` nonces on this thread and returns the best difficulty: what a caller with a clock
/// measures its [`Rate`] by. A hundred thousand take some tens of milliseconds.
#[must_use]
pub fn sample(root: &[u8; 32], tries: u64, start: u64) -> Difficulty {
    let best = (0..tries).map(|step| Work(start.wrapping_add(step)).difficulty(root)).max();
    best.unwrap_or(Difficulty(0))
}

/// Tries that an estimate is measured by: some tens of milliseconds.
const SAMPLE_TRIES: u64 = 100_000;

/// How long [`solve`] will take on average, measured by a short search on this thread; `passed` tells
/// the time that has passed since some fixed moment. `None` where no time passed.
pub fn estimate(
    root: &[u8; 32],
    threshold: Difficulty,
    start: u64,
    passed: impl Fn() -> Duration,
) -> Option<Duration> {
    let begun = passed();
    let _ = sample(root, SAMPLE_TRIES, start);
    let took = passed().saturating_sub(begun);
    Some(Rate::measured(SAMPLE_TRIES, took, threads())?.expected(threshold))
}

/// The threads that [`solve`] uses.
#[must_use]
pub fn threads() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Searches for work on all cores; `None` once `cancel` is set.
///
/// Blocks the calling thread, so asynchronous callers put it on a blocking one. `start` is where
/// the search begins: a random number, unless a test wants the same answer twice.
#[must_use]
pub fn solve(root: &[u8; 32], threshold: Difficulty, start: u64, cancel: &AtomicBool) -> Option<Work> {
    let threads = threads() as u64;
    let found = AtomicBool::new(false);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for lane in 0..threads {
            let (sender, found) = (sender.clone(), &found);
            scope.spawn(move || {
                let first = start.wrapping_add(lane);
                if let Some(work) = solve_lane(root, threshold, first, threads, &[cancel, found]) {
                    found.store(true, Ordering::Relaxed);
                    // The receiver outlives this scope, so this cannot fail.
                    let _ = sender.send(work);
                }
            });
        }
        drop(sender);
        receiver.recv().ok()
    })
}

fn solve_lane(
    root: &[u8; 32],
    threshold: Difficulty,
    first: u64,
    step: u64,
    stops: &[&AtomicBool],
) -> Option<Work> {
    let mut nonce = first;
    loop {
        if stops.iter().any(|stop| stop.load(Ordering::Relaxed)) {
            return None;
        }
        for _ in 0..NONCES_PER_LOOK {
            let work = Work(nonce);
            if work.difficulty(root) >= threshold {
                return Some(work);
            }
            nonce = nonce.wrapping_add(step);
        }
    }
}
