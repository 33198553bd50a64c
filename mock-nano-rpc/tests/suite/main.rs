//! The mock against recordings of real nodes, against real clients, and against its own rules.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod binary;
mod common;
mod control;
mod process;
mod properties;
mod replay;
mod replay_rsnano;
mod websocket;
