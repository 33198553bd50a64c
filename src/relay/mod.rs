//! The server that both sides talk to.
//!
//! Read in this order: [`config`] what an operator may say; [`model`] and [`storage`] what is kept, in
//! the domain's words; [`service`] one move of a job, from load to commit; `events`, `presence` who is
//! told, and who is there; `ratelimit`, `idempotency` what stands before a request; `http`, `ws`,
//! `sse` how it all looks on the wire; [`v0`] the same in the dialect of the deployed relays; `crowd`,
//! `patience` what one connection may take; `sweeper` what happens without a request; [`server`]
//! sockets, and the end; [`outage`] what is said while the disk refuses.
//!
//! Architecture invariants: nothing above [`storage`] assumes that this is the only process on it,
//! and no answer leaves before everything it was read from is durable.

pub mod config;

pub mod model;

pub mod storage;

pub mod v0;

pub mod service;

mod events;
mod presence;

mod idempotency;
mod ratelimit;

mod http;
mod metrics;
mod sse;
mod ws;

mod sweeper;

mod crowd;
mod patience;

pub mod server;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

pub mod outage;

pub use config::Config;
pub use server::{Relay, RunError, run};
