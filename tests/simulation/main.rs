//! The whole system on one thread, with one clock and one network, and nothing of it by chance.
//!
//! What is real, what is simulated, and how a failure is replayed: docs/simulation.md.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a simulation that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "how many schedules were run, and which failed, must be seen")]

mod accounts;
mod bot_proofs;
mod bots;
mod bugs;
mod buyers;
mod coins;
mod corpus;
mod drive;
mod ends;
mod life;
mod log;
mod net;
mod oracle;
mod plan;
mod processes;
mod proofs;
mod rng;
mod run;
mod world;
