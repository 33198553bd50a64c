//! Whole sales between real processes over real sockets: the worker's and the relay's binaries, and
//! a node's ledger.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests wait for processes by the clock, and stop where they fail"
)]

#[path = "../common/process.rs"]
mod process;
mod world;

mod bazaar;
mod bazaar_by_hand;
mod bazaar_whole;
mod certificates;
mod crashes;
mod flaws;
mod handlers;
mod leases;
mod locks;
mod lost;
mod outages;
mod panel;
mod payments;
mod sale;
#[path = "../common/twin.rs"]
mod twin;
mod watches;
