//! A Nano node for tests: a real ledger that answers as the real nodes do, and misbehaves on
//! request.
//!
//! Reading order: [`tree`] is the node's idea of JSON; [`block`] and [`ledger`] are the rules of
//! money; [`node`] adds elections and [`faucet`] money from nowhere; [`faults`] is what can go
//! wrong; [`rpc`] answers calls, [`rsnano`] and
//! [`proxy`] in other manners; [`control`] takes a script's orders; [`http`], `accept`, `server` and
//! `ws` are the wires; [`MockNode`] is the front door.
//!
//! Architecture invariant: only [`host`], `accept`, `server`, `ws` and [`mock`] know the clock or wait.
//! All else takes the time as an argument.

pub mod tree;

pub mod block;

pub mod ledger;

pub mod faucet;

pub mod node;

pub mod faults;

pub mod proxy;

pub mod rsnano;

pub mod rpc;

pub mod control;

pub mod http;

pub mod host;

mod accept;

mod server;

mod ws;

pub mod mock;

pub use faults::{Fault, FaultKind, Lie, Mode};
pub use mock::{Config, MockNode};
