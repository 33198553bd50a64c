//! The life of a job against models that were written from its rules and not from its code: the
//! relay's table move by move, and the worker's machine by what it promises.
//!
//! The walks are random and shrink. A fixed set of them is counted into `docs/lifecycle-coverage.md`,
//! and a row of the table or an arm of the machine that none of them takes fails the test.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "whether to write the document is said by the environment, and tests stop where they fail"
)]

mod coverage;
mod job;
mod stage;
