//! Whole sales between real processes over real sockets: the worker's and the relay's binaries, and
//! a node's ledger.

mod world;

mod crashes;
mod handlers;
mod locks;
mod outages;
mod payments;
mod sale;
