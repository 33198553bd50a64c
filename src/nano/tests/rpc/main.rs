//! The RPC client against recorded answers, nasty answers, and the cases a payment's verifier meets.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise")]

mod edge;
mod edge_lists;
mod edge_nodes;
mod fallback;
mod nasty;
mod recorded;
mod support;
mod ways;
