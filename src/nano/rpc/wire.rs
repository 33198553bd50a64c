//! Another way to a node than a socket: for simulations.

use std::fmt;
use std::pin::Pin;

/// Status and body, or nothing if the connection failed or broke.
pub type Reply = Option<(u16, Vec<u8>)>;

/// Carries requests to nodes.
pub trait Wire: fmt::Debug + Send + Sync {
    /// One request to the node at `url`, and its answer.
    fn call(&self, url: &str, body: String) -> Pin<Box<dyn Future<Output = Reply> + Send>>;
}
