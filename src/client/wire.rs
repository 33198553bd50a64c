//! Another way to a relay than a socket: for simulations.

use std::fmt;

use futures_util::future::BoxFuture;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::sync::mpsc;

use super::Hint;

/// A request as it would be sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is to be done.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// Signature, keys and the like.
    pub headers: HeaderMap,
    /// JSON, or nothing.
    pub body: Vec<u8>,
}

/// An answer as it would arrive.
#[derive(Debug, Clone)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// What came with it.
    pub headers: HeaderMap,
    /// JSON, or whatever something on the way has made of it.
    pub body: Vec<u8>,
}

impl Response {
    /// An answer with nothing but this to say.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self { status, headers: HeaderMap::new(), body: body.to_string().into_bytes() }
    }
}

/// Carries requests to a relay. What it loses never comes back.
pub trait Wire: fmt::Debug + Send + Sync {
    /// One request, and its answer; an error is a connection that failed or broke.
    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, String>>;
    /// Tells hints until nobody wants them; unless it can, it has none to tell.
    fn hints(&self, hints: mpsc::Sender<Hint>) -> BoxFuture<'static, ()> {
        Box::pin(async move { hints.closed().await })
    }
}
