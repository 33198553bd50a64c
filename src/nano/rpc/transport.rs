//! One node's endpoint: a request goes out, a bounded answer comes in.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, Url, redirect};
use serde_json::Value;

use super::wire::Wire;
use super::{Failure, RpcConfig, RpcSetupError};

/// Of a body that is no answer, as much goes into the error as tells a proxy from a node.
const EXCERPT_CHARS: usize = 120;

/// One node.
#[derive(Clone)]
pub struct Node {
    way: Way,
    url: Url,
    name: String,
    response_bytes_max: usize,
}

/// How requests get there.
#[derive(Clone)]
pub(super) enum Way {
    Sockets(Client),
    Wire(Arc<dyn Wire>),
}

impl Node {
    /// The way that all nodes share.
    pub(super) fn way(config: &RpcConfig) -> Result<Way, RpcSetupError> {
        if let Some(wire) = &config.wire {
            return Ok(Way::Wire(Arc::clone(wire)));
        }
        let https = config.urls.iter().any(|url| Url::parse(url).is_ok_and(|url| url.scheme() == "https"));
        super::trusting(Client::builder(), https)?
            .connect_timeout(config.connect_timeout)
            // A proxy from the environment would see every call, and a redirect repeats it elsewhere.
            .no_proxy()
            .redirect(redirect::Policy::none())
            .build()
            .map(Way::Sockets)
            .map_err(RpcSetupError::Client)
    }

    /// The node at `url`, or `None` if that is no address for HTTP.
    pub(super) fn new(way: Way, url: &str, config: &RpcConfig) -> Option<Self> {
        let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let name = format!("{}://{}{port}", url.scheme(), url.host_str()?);
        Some(Self { way, url, name, response_bytes_max: config.response_bytes_max })
    }

    /// Its scheme, host and port: fit for logs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends one request and reads the answer's JSON. An `error` in it is a failure.
    ///
    /// # Errors
    /// As [`Failure`] has it; the whole takes at most `timeout`.
    pub async fn ask(&self, request: &Value, timeout: Duration) -> Result<Value, Failure> {
        let lost = |error: reqwest::Error| {
            if error.is_timeout() {
                Failure::Timeout(timeout)
            } else {
                Failure::Transport(error.without_url())
            }
        };
        let client = match &self.way {
            Way::Sockets(client) => client,
            Way::Wire(wire) => return self.ask_over(&**wire, request, timeout).await,
        };
        let response = client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .timeout(timeout)
            .body(request.to_string())
            .send()
            .await
            .map_err(lost)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = self.read(response).await?.map_err(lost)?;
        classify(status, &headers, &body)
    }

    async fn ask_over(&self, wire: &dyn Wire, request: &Value, timeout: Duration) -> Result<Value, Failure> {
        let call = wire.call(self.url.as_str(), request.to_string());
        let reply = tokio::time::timeout(timeout, call).await.map_err(|_| Failure::Timeout(timeout))?;
        let (status, body) = reply.ok_or(Failure::Broken)?;
        classify(status, &HeaderMap::new(), &body)
    }

    /// The body, given up as soon as it is too large.
    async fn read(&self, mut response: Response) -> Result<Result<Vec<u8>, reqwest::Error>, Failure> {
        let too_large = Failure::TooLarge { bytes_max: self.response_bytes_max };
        if response.content_length().is_some_and(|length| length > self.response_bytes_max as u64) {
            return Err(too_large);
        }
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > self.response_bytes_max => {
                    return Err(too_large);
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(Ok(body)),
                Err(error) => return Ok(Err(error)),
            }
        }
    }
}

/// Without the path and query of its address, which may hold a key.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.name).finish()
    }
}

/// What status and body amount to.
pub(super) fn classify(status: u16, headers: &HeaderMap, body: &[u8]) -> Result<Value, Failure> {
    if status == 429 {
        return Err(Failure::RateLimited { wait: retry_after(headers) });
    }
    if status != 200 {
        let text = excerpt(body);
        // A common proxy refuses what its owner did not permit with status 500, and serves the rest.
        let forbidden = status == 500 && text.starts_with("{\"error\"") && text.contains("not allowed");
        return Err(if forbidden { Failure::Node(text) } else { Failure::Status { status, text } });
    }
    let not_json = |_| Failure::NotJson { text: excerpt(body) };
    let answer: Value = serde_json::from_slice(body).map_err(not_json)?;
    match answer.get("error") {
        Some(Value::String(text)) if text.is_empty() => Ok(answer),
        Some(Value::String(text)) => Err(Failure::Node(excerpt(text.as_bytes()))),
        Some(other) => Err(Failure::Node(excerpt(other.to_string().as_bytes()))),
        None => Ok(answer),
    }
}

/// The seconds of `Retry-After`. Its other form, a date, would need a clock that agrees with
/// theirs; it counts as none.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The beginning of a body, on one line and printable.
pub(super) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(EXCERPT_CHARS * 4)]);
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let line: String = printable.take(EXCERPT_CHARS).collect();
    let line = line.trim();
    if line.is_empty() { "(nothing)".to_owned() } else { line.to_owned() }
}
