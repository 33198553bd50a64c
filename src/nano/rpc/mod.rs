//! Asking Nano nodes: typed calls over JSON-RPC, with bounds on everything.
//!
//! Reading order: [`config`] what a client may do, [`error`] how a call can fail, [`client`] the
//! calls, then the answers: [`blocks`], [`receivable`], [`accounts`], [`process`], [`status`].
//! Below them: [`breaker`] when a node is left alone, `endpoint` a node with its breaker,
//! `listing` how long lists are collected,
//! `transport` the one place that does I/O, `answer` how loosely written JSON is read.
//!
//! Two nodes of different make and the proxies before them were listened to. They agree on
//! little: numbers come as strings or not, nothing comes as `""`, `{}`, `[]` or a missing key,
//! errors come with status 200 or as plain text. So every argument goes out as a string, and every
//! answer is read as loosely as its meaning allows, and no looser: a call either returns what the
//! node said, or an error that means *unknown*. "Not found" is a value.

pub mod config;

pub mod error;

pub mod client;

pub mod blocks;

pub mod receivable;

pub mod accounts;

pub mod process;

pub mod status;

pub mod breaker;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

#[cfg(test)]
mod tests;

mod answer;
mod endpoint;
mod listing;
mod transport;

pub use accounts::{AccountInfo, Balance};
pub use blocks::{BlockInfo, Lookup, Payment, Subtype};
pub use client::Rpc;
pub use config::RpcConfig;
pub use error::{Failure, RpcError, RpcSetupError};
pub use process::Processed;
pub use receivable::{Receivable, Receivables};
pub use status::{BlockCount, Finding, Health, Quorum, Telemetry, Version};
pub use transport::Node;

/// Gives TLS its cryptography (rustls with ring). Safe to call more than once; [`Rpc::new`] does.
pub fn install_crypto() {
    // An error says that a provider is there already, which is what was wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
