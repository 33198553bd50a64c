//! Nano, the currency: what a block, an address and an amount are, and how to ask a node.
//!
//! Reading order: [`amount`], [`account`], [`seed`], [`block`], [`work`], [`network`],
//! [`draft`], [`proof`], [`quorum`], then
//! [`rpc`] and [`stream`], the only modules here that wait for anything.
//!
//! Architecture invariant: nothing in this crate knows what a job, an offer or a relay is, and
//! nothing but [`rpc`] and [`stream`] does I/O. It is a crate of its own, not only a folder, because two
//! packages stand on it: the worker's and the mock ledger's.

pub mod amount;

pub mod account;

pub mod seed;

pub mod block;

pub mod work;

pub mod network;

pub mod draft;

pub mod proof;

pub mod quorum;

pub mod rpc;

pub mod stream;

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;

pub use account::Account;
pub use amount::Amount;
pub use block::BlockHash;
pub use network::Network;
pub use rpc::Rpc;
pub use seed::{PrivateKey, Seed};
