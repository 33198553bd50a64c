//! The relay over real sockets.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "relay/again.rs"]
mod again;
#[path = "relay/bazaar.rs"]
mod bazaar;
#[path = "relay/bots.rs"]
mod bots;
#[path = "relay/broken.rs"]
mod broken;
#[path = "relay/flaws.rs"]
mod flaws;
#[path = "relay/lists.rs"]
mod lists;
#[path = "relay/live.rs"]
mod live;
#[path = "relay/operators.rs"]
mod operators;
#[path = "relay/process.rs"]
mod process;
#[path = "relay/rejects.rs"]
mod rejects;
#[path = "relay/requests.rs"]
mod requests;
#[path = "relay/retention.rs"]
mod retention;
#[path = "relay/sale.rs"]
mod sale;
#[path = "relay/sodium.rs"]
mod sodium;
#[path = "relay/support.rs"]
mod support;
#[path = "relay/table.rs"]
mod table;
#[path = "relay/traders.rs"]
mod traders;
