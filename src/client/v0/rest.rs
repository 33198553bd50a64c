//! One request, signed by a bot, and the bounds on its answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::error::{CallError, Head, read_http_date, read_retry_after};
use super::super::pace::RETRY_AFTER_MAX;
use super::super::rest::{
    CONNECT_TIMEOUT, IDLE_MAX, RelayUrlError, SILENCE_MAX, TIMEOUT, is_loopback, parse_base, target,
};
use super::super::wire::{self, Wire};
use super::limit::{Bucket, Limiter, Rates};
use crate::edge::{Clock, Entropy};
use crate::nano::rpc::trusting;
use crate::protocol::Timestamp;
use crate::protocol::v0::signing::{IDEMPOTENCY_HEADER, sign};
use crate::protocol::v0::{BotId, BotKeys, Moment};

/// The largest answer that is read: a page of 200 offers or events, each with the longest texts, has
/// less than half of this; a payload has 88 KiB.
pub const RESPONSE_BYTES_MAX: usize = 4 << 20;

/// Connections kept open while idle: a paced client has few requests at once.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// When a relay limits and does not say for how long.
const REST: Duration = Duration::from_secs(2);

/// A bot's line to one relay. Cheap to clone; all clones share connections and pace.
#[derive(Clone)]
pub struct BotClient {
    inner: Arc<Inner>,
}

struct Inner {
    way: Way,
    base: Url,
    keys: BotKeys,
    limiter: Limiter,
    clock: Clock,
    entropy: Entropy,
}

/// How requests get there.
enum Way {
    Sockets {
        /// For answers that end.
        calls: Client,
        /// For streams, which do not.
        streams: Client,
    },
    Wire(Arc<dyn Wire>),
}

/// What is to be sent.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) bucket: Option<Bucket>,
    pub(super) key: Option<&'a str>,
    pub(super) body: Vec<u8>,
    /// The few public routes are asked without a signature.
    pub(super) signed: bool,
}

impl Ask<'static> {
    pub(super) fn get(url: Url, bucket: Option<Bucket>) -> Self {
        Self { method: Method::GET, url, bucket, key: None, body: Vec::new(), signed: true }
    }
}

/// An answer with a 2xx status.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) date: Option<Timestamp>,
    pub(super) body: Vec<u8>,
}

impl BotClient {
    /// A client of the relay at `url` that signs with `keys` and keeps to `rates`. Connects to
    /// nothing yet.
    ///
    /// # Errors
    /// If the address cannot be used.
    pub fn new(
        url: &str,
        keys: BotKeys,
        rates: Rates,
        clock: Clock,
        entropy: Entropy,
    ) -> Result<Self, RelayUrlError> {
        let base = parse_base(url)?;
        let builder = || {
            let http = trusting(Client::builder(), base.scheme() == "https")?
                .connect_timeout(CONNECT_TIMEOUT)
                .redirect(reqwest::redirect::Policy::none())
                .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
                .pool_idle_timeout(IDLE_MAX);
            // What runs on this machine is not behind the proxy that the environment names.
            Ok::<_, RelayUrlError>(if is_loopback(&base) { http.no_proxy() } else { http })
        };
        let calls =
            builder()?.timeout(TIMEOUT).read_timeout(SILENCE_MAX).build().map_err(RelayUrlError::Client)?;
        let streams = builder()?.build().map_err(RelayUrlError::Client)?;
        Ok(Self::on(Way::Sockets { calls, streams }, base, keys, rates, clock, entropy))
    }

    /// A client of the relay at the other end of `wire`.
    ///
    /// # Errors
    /// If the address cannot be used.
    pub fn over(
        wire: Arc<dyn Wire>,
        url: &str,
        keys: BotKeys,
        rates: Rates,
        clock: Clock,
        entropy: Entropy,
    ) -> Result<Self, RelayUrlError> {
        Ok(Self::on(Way::Wire(wire), parse_base(url)?, keys, rates, clock, entropy))
    }

    fn on(way: Way, base: Url, keys: BotKeys, rates: Rates, clock: Clock, entropy: Entropy) -> Self {
        let limiter = Limiter::new(rates);
        Self { inner: Arc::new(Inner { way, base, keys, limiter, clock, entropy }) }
    }

    /// Who signs.
    #[must_use]
    pub fn bot_id(&self) -> BotId {
        self.inner.keys.bot_id()
    }

    /// With what.
    #[must_use]
    pub fn keys(&self) -> &BotKeys {
        &self.inner.keys
    }

    /// The relay's address.
    #[must_use]
    pub fn url(&self) -> &str {
        self.inner.base.as_str()
    }

    /// The moment it is.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.inner.clock.now().into()
    }

    pub(super) fn timestamp(&self) -> Timestamp {
        self.inner.clock.now()
    }

    pub(super) fn entropy(&self) -> &Entropy {
        &self.inner.entropy
    }

    /// A text that is used once: of a request, or as the key of a mutation that may happen twice.
    pub(super) fn nonce(&self) -> String {
        hex::encode(self.inner.entropy.bytes::<16>())
    }

    /// What stands in for sockets, if something does.
    pub(super) fn wire(&self) -> Option<&Arc<dyn Wire>> {
        match &self.inner.way {
            Way::Sockets { .. } => None,
            Way::Wire(wire) => Some(wire),
        }
    }

    /// The address of a path on this relay, which may itself live below a path. What is not safe in
    /// a part of a path is escaped, and signed as it is escaped.
    pub(super) fn address(&self, parts: &[&str], query: &[(&str, String)]) -> Result<Url, CallError> {
        if !parts.iter().all(|part| is_addressable(part)) {
            return Err(CallError::malformed(0, "a name that no address can hold"));
        }
        let mut url = self.inner.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    /// Sends one request, when its turn has come, and reads its answer.
    pub(super) async fn send(&self, ask: Ask<'_>) -> Result<Answer, CallError> {
        if let Some(bucket) = ask.bucket {
            self.inner.limiter.slot(bucket).await?;
        }
        let headers = self.headers(&ask)?;
        let Ask { method, url, bucket, body, .. } = ask;
        let path = url.path().to_owned();
        let answer = match &self.inner.way {
            Way::Sockets { calls, .. } => {
                let request = calls.request(method, url).headers(headers).body(body);
                match request.send().await {
                    Ok(response) => self.read(response, bucket).await,
                    Err(error) => Err(CallError::transport(error)),
                }
            }
            Way::Wire(wire) => {
                let request = wire::Request { method, target: target(&url), headers, body };
                self.carry(wire.call(request), bucket).await
            }
        };
        if let Err(error) = &answer {
            tracing::debug!(path, %error, "call failed");
        }
        answer
    }

    /// Begins a stream: the answer's head, after which its body has no end.
    pub(super) async fn open(&self, ask: Ask<'_>) -> Result<reqwest::Response, CallError> {
        if let Some(bucket) = ask.bucket {
            self.inner.limiter.slot(bucket).await?;
        }
        let headers = self.headers(&ask)?;
        let Way::Sockets { streams, .. } = &self.inner.way else {
            return Err(CallError::malformed(0, "nothing streams here"));
        };
        let request = streams.request(ask.method, ask.url).headers(headers);
        let response = request.header("accept", "text/event-stream").send().await;
        let response = response.map_err(CallError::transport)?;
        if response.status().is_success() {
            return Ok(response);
        }
        match tokio::time::timeout(TIMEOUT, self.read(response, ask.bucket)).await {
            Ok(Err(error)) => Err(error),
            _ => Err(CallError::malformed(0, "no answer in time")),
        }
    }

    fn headers(&self, ask: &Ask<'_>) -> Result<HeaderMap, CallError> {
        let mut headers = HeaderMap::with_capacity(8);
        let mut insert = |name: &'static str, value: &str| {
            let value = HeaderValue::from_str(value).map_err(|error| CallError::malformed(0, error))?;
            headers.insert(name, value);
            Ok::<_, CallError>(())
        };
        if ask.signed {
            let Ask { method, url, body, .. } = ask;
            let signed =
                sign(&self.inner.keys, method.as_str(), &target(url), body, self.now(), &self.nonce());
            for (name, value) in &signed {
                insert(name, value)?;
            }
        }
        if let Some(key) = ask.key {
            insert(IDEMPOTENCY_HEADER, key)?;
        }
        if !ask.body.is_empty() {
            insert("content-type", "application/json")?;
        }
        Ok(headers)
    }

    async fn carry(
        &self,
        call: impl Future<Output = Result<wire::Response, String>>,
        bucket: Option<Bucket>,
    ) -> Result<Answer, CallError> {
        let lost = |reason| CallError::Transport { reason, source: None };
        let answer = tokio::time::timeout(TIMEOUT, call).await;
        let response = answer.unwrap_or_else(|_| Err("no answer in time".to_owned())).map_err(lost)?;
        if response.body.len() > RESPONSE_BYTES_MAX {
            return Err(too_long(response.status, &response.body));
        }
        self.answer(response.status, &response.headers, response.body, bucket)
    }

    async fn read(
        &self,
        mut response: reqwest::Response,
        bucket: Option<Bucket>,
    ) -> Result<Answer, CallError> {
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(CallError::transport)? {
            body.extend_from_slice(&chunk);
            if body.len() > RESPONSE_BYTES_MAX {
                return Err(too_long(status, &body));
            }
        }
        self.answer(status, &headers, body, bucket)
    }

    fn answer(
        &self,
        status: u16,
        headers: &HeaderMap,
        body: Vec<u8>,
        bucket: Option<Bucket>,
    ) -> Result<Answer, CallError> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let retry_after =
            header(RETRY_AFTER.as_str()).and_then(|text| read_retry_after(text, self.timestamp()));
        let left = header("x-ratelimit-remaining").and_then(|text| text.trim().parse().ok());
        if let Some(bucket) = bucket {
            match (status, left) {
                (429, _) => {
                    self.inner.limiter.refused(bucket, retry_after.unwrap_or(REST).min(RETRY_AFTER_MAX));
                }
                (_, Some(left)) => self.inner.limiter.told(bucket, left),
                _ => {}
            }
        }
        if !(200..300).contains(&status) {
            return Err(CallError::from_v0_answer(status, retry_after, &body));
        }
        let date = header(DATE.as_str()).and_then(read_http_date);
        Ok(Answer { status, date, body })
    }
}

/// Whether a name can be a part of an address. Names in /v0 are any text, but a URL has no parts that
/// are empty or dots, and loses tabs and ends of lines, so that such a name would mean another thing.
#[must_use]
pub fn is_addressable(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(char::is_control)
}

fn too_long(status: u16, body: &[u8]) -> CallError {
    CallError::TooLong { status, head: Head::of(body) }
}

/// The bytes of a body, which are signed and sent as they are.
pub(super) fn bytes(body: &impl Serialize) -> Result<Vec<u8>, CallError> {
    serde_json::to_vec(body).map_err(|error| CallError::malformed(0, error))
}

impl Answer {
    /// The whole body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        serde_json::from_slice(&self.body).map_err(|error| self.unfit(error))
    }

    /// What is wrong with an answer that reads well but cannot be one to what was asked.
    pub(super) fn unfit(&self, reason: impl fmt::Display) -> CallError {
        CallError::malformed(self.status, reason)
    }
}

/// Its address and its name.
impl fmt::Debug for BotClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BotClient({} as {})", self.inner.base, self.bot_id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_what_was_meant_or_is_refused() {
        let keys = BotKeys::from_seeds(&[1; 32], &[1; 32]);
        let (url, clock, entropy) = ("http://127.0.0.1:9/base", Clock::system(), Entropy::system());
        let client = BotClient::new(url, keys, Rates::UNLIMITED, clock, entropy).unwrap();
        for name in ["", ".", "..", "x\t", "\nx", ".\r", "\t..", "\0", "x\u{7f}"] {
            let refused = client.address(&["v0", "jobs", name], &[]);
            assert!(matches!(refused, Err(CallError::Malformed { status: 0, .. })), "{name:?}: {refused:?}");
        }
        for name in ["job_1", "...", "%2e%2e", "a/../b", "a\\b", "?", "#", " ", "é", "%09"] {
            let url = client.address(&["v0", "jobs", name], &[]).unwrap();
            let parts: Vec<&str> = url.path_segments().unwrap().collect();
            assert_eq!(parts[..3], ["base", "v0", "jobs"], "{name:?}");
            let decoded = percent_decoded(parts[3]);
            assert_eq!((parts.len(), decoded.as_str(), url.query(), url.fragment()), (4, name, None, None));
        }
    }

    fn percent_decoded(part: &str) -> String {
        let query = format!("x={}", part.replace('+', "%2B"));
        let mut url = Url::parse("http://h/").unwrap();
        url.set_query(Some(&query));
        url.query_pairs().next().unwrap().1.into_owned()
    }
}
