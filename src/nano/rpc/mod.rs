//! Asking Nano nodes: typed calls over JSON-RPC, with bounds on everything.
//!
//! Reading order: [`config`] what a client may do, [`error`] how a call can fail, [`client`] the
//! calls, then the answers: [`blocks`], [`receivable`], [`accounts`], [`process`], [`history`],
//! [`status`]; [`work`] finds work wherever there is some, [`panel`] asks several nodes at once.
//! Below them: [`breaker`] when a node is left alone, [`budget`] how often it is asked, `endpoint`
//! a node with both, `listing` how long lists are collected, `ledger` the calls about the past,
//! `head` where one's own next block goes,
//! `transport` the one place that does I/O, `wire` what stands in for it, `answer` how loosely
//! written JSON is read.
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

pub mod history;

pub mod status;

pub mod work;

pub mod panel;

pub mod breaker;

pub mod budget;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

#[cfg(test)]
mod tests;

mod answer;
mod endpoint;
mod head;
mod ledger;
mod listing;
mod tls;
mod transport;
mod wire;

pub use accounts::{AccountInfo, Balance};
pub use blocks::{BlockInfo, Lookup, Payment, Subtype};
pub use client::Rpc;
pub use config::RpcConfig;
pub use error::{Failure, RpcError, RpcSetupError};
pub use history::{HistoryEntry, HistoryPage, HistoryQuery, Receipt};
pub use panel::{Panel, PanelConfig};
pub use process::Processed;
pub use receivable::{Receivable, Receivables};
pub use status::{BlockCount, Finding, Health, Quorum, Telemetry, Version};
pub use tls::{NoCertificates, install_crypto, machines_trust, trusting};
pub use transport::Node;
pub use wire::{Reply, Wire};
pub use work::WorkSources;
