//! The seller's side of /v0: the same life of a job, in the words of the deployed relays.
//!
//! Reading order: `ticket` what /v0 calls a job and how the machine sees it, `result` what goes into
//! a sealed payload, `links` what is too long for one, `bazaar` one function per effect, `marks` the
//! one that says that a job is paid, `letters` sealed texts, `pins` for whom they are sealed, `lists`
//! the relay's lists of our jobs, `flaws` what is wrong with one thing only, `news` poll, persist,
//! acknowledge, `huge` events that are too long, `unheard` jobs that came before their offer had a name
//! here, `steps` the same by hand, `stalls` offers, `earlier` those of a life whose state is gone.
//!
//! Architecture invariant: nothing here decides about jobs. A charge is the machine's quote, the
//! relay's PAID is its lock, a reissued charge its revival; what has no counterpart in /v0 (accepting
//! a quote, renewing a lock, failing a job) is answered here.

pub(super) mod bazaar;

mod earlier;

mod flaws;

mod huge;

pub(super) mod letters;

mod links;

mod lists;

mod marks;

pub(super) mod news;

pub(super) mod result;

mod pins;

mod steps;

pub(super) mod stalls;

mod ticket;

mod unheard;

#[cfg(test)]
pub(super) mod fixture;

pub use links::Links;
pub use stalls::Stall;
pub use ticket::{NAME_PREFIX, Shown, Ticket, job_id};
