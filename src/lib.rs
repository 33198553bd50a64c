//! The seller's side of a machine economy: take jobs, be paid in Nano, run once, deliver.
//!
//! Read in this order:
//!
//! 1. [`nano`]: the currency. Amounts, accounts, seeds, blocks, work, a node's RPC.
//! 2. [`protocol`]: what both sides agree on. The life of a job is one table.
//! 3. [`edge`], [`store`]: time and randomness; durable state behind one barrier. [`points`]: where
//!    tests let a process die.
//! 4. [`client`]: speaking to a relay.
//! 5. [`worker`]: the seller's daemon. A pure machine, and the loop that obeys it.
//! 6. [`relay`]: the server it talks to.
//! 7. [`buyer`]: the other half of a sale.
//! 8. [`config`], [`cli`]: what people write, and what they read.

pub use nano_currency as nano;

pub mod protocol;

pub mod edge;

pub mod points;

pub mod store;

pub mod client;

pub mod worker;

pub mod relay;

pub mod buyer;

pub mod config;

pub mod cli;

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
