//! The seller's daemon: outbound only, durable before it acts, at home in systemd.
//!
//! Reading order: [`stage`], [`input`] and [`machine`] are the lifecycle of one job, pure.
//! [`payment`] and [`lease`] are its two hard questions, pure too; [`oddity`] and [`money`] say what
//! becomes of money that came otherwise than it should. [`engine`] drives the machine
//! for all jobs, one commit for many inputs. Around it stand the tasks that wait: `ingest` for
//! news, [`watch`] for payments, [`keeper`] for locks, [`executor`] for handlers, `effects` for
//! everything that is sent. [`coins`] brings home what was paid. [`report`] and [`control`] answer questions; [`recover`] and [`poll`]
//! are for sellers who go step by step.
//!
//! Architecture invariant: it never names the relay's code, and nothing is sent, started or
//! acknowledged before the state that says so is durable.

pub mod stage;

pub mod input;

pub mod machine;

pub mod payment;

pub mod oddity;

pub mod money;

pub mod explain;

pub mod lease;

pub mod terms;

pub mod memory;

pub mod accounts;

pub mod wallet;

pub mod coins;

pub mod backup;

pub mod backups;

pub mod restore;

pub mod engine;

pub mod settings;

pub mod nodes;

pub mod ears;

pub mod watch;

pub mod keeper;

pub mod executor;

mod boundaries;

mod calls;

mod counterpart;

pub mod v0;

mod effects;

mod hints;

mod ingest;

mod look;

mod offers;

pub mod report;

pub mod control;

pub mod recover;

pub mod rescan;

pub mod poll;

mod daemon;

mod identity;

mod parts;

mod failure;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

mod outage;

pub use counterpart::hints;
pub use daemon::{recover_once, run, run_on};
pub use failure::StartError;
pub use look::{Looked, Seen};
pub use parts::{Parts, Wires};
pub use settings::Settings;
