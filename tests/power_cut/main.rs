//! The loss of power, and a disk that fails: what a real process writes and syncs is recorded call by
//! call, and the disk is rebuilt as it could look at any moment of it.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests wait for processes by the clock, stop where they fail, and say how much they tried"
)]

mod disk;
#[path = "../common/process.rs"]
mod process;
mod recorder;
mod tape;

#[path = "../e2e/world.rs"]
#[expect(dead_code, reason = "whole sales use the rest of it")]
mod world;

mod failures;
mod sale;
mod store;
