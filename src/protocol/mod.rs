//! What both sides agree on, byte for byte: the /v1 contract as types and decisions, and beside it
//! in `v0` the dialect of the deployed relays.
//!
//! Architecture invariant: no I/O, no clock, no randomness, and no name from the worker, the relay
//! or anything else to the right. `now` is an argument. The relay writes by these rules, the worker
//! distrusts by the same ones.

pub mod lifecycle;

pub mod table;

pub mod job;

pub mod apply;

pub mod offer;

pub mod event;

pub mod refusal;

pub mod signing;

pub mod limits;

pub mod time;

pub mod ids;

pub mod v0;

pub use apply::{Caller, Change, Command, Context, apply, lapse};
pub use event::{Event, EventType};
pub use ids::{Epoch, EventId, JobId, OfferId, PublicKey};
pub use job::Job;
pub use lifecycle::{Actor, Status, Verb};
pub use offer::Offer;
pub use refusal::{Code, Refusal};
pub use time::Timestamp;

#[cfg(test)]
mod tests;
