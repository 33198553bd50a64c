//! One signed request to a relay, and the bounds on its answer.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{CallError, read_http_date, read_retry_after};
use super::wire::{self, Wire};
use crate::edge::{Clock, Entropy};
use crate::nano::rpc::{NoCertificates, trusting};
use crate::protocol::signing::{
    NONCE_HEADER, PUBKEY_HEADER, SIGNATURE_HEADER, Signer, TIMESTAMP_HEADER, canonical,
};
use crate::protocol::{PublicKey, Timestamp};

/// Reaching another continent takes half a second; with lost packets, a few more.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A relay answers in milliseconds; the largest page over a slow line takes seconds. What takes
/// longer is stuck, and the caller has better things to do.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// A line that says nothing for so long has died, and who polls is deaf until that is noticed. A slow
/// one has the whole time of a call, as long as something comes.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Connections are kept idle for no longer: of several that died together, only one is waited for.
pub(super) const IDLE_MAX: Duration = SILENCE_MAX;

/// The largest answer that is read: a full page of jobs, each with the largest request, result and
/// error (100 × 328 KiB), and room for the rest.
pub const RESPONSE_BYTES_MAX: usize = 40 << 20;

/// Connections kept open while idle: what one busy worker uses at once.
const IDLE_CONNECTIONS_MAX: usize = 64;

/// A party's line to one relay. Cheap to clone; all clones share their connections.
#[derive(Clone)]
pub struct RelayClient {
    inner: Arc<Inner>,
    tag: Tag,
}

struct Inner {
    way: Way,
    base: Url,
    signer: Signer,
    clock: Clock,
    entropy: Entropy,
}

/// How requests get there.
enum Way {
    Sockets(Client),
    Wire(Arc<dyn Wire>),
}

/// What a request carries besides its signature.
#[derive(Debug, Clone, Default)]
struct Tag {
    idempotency_key: Option<String>,
    request_id: Option<String>,
}

/// The relay's address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RelayUrlError {
    /// It is no URL, or not one of HTTP.
    #[error("a relay's address is an http:// or https:// URL, like https://relay.example.org")]
    NotHttp,
    /// There is nobody to trust.
    #[error(transparent)]
    NoCertificates(#[from] NoCertificates),
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}

/// Whether a request says who sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signed {
    Yes,
    /// The few public routes: no nonce is spent on them.
    No,
}

/// An answer with a 2xx status.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) date: Option<Timestamp>,
    pub(super) body: Vec<u8>,
}

impl RelayClient {
    /// A client of the relay at `url` that signs as `signer`. Connects to nothing yet.
    ///
    /// # Errors
    /// If the address cannot be used.
    pub fn new(url: &str, signer: Signer, clock: Clock, entropy: Entropy) -> Result<Self, RelayUrlError> {
        let base = parse_base(url)?;
        let mut http = trusting(Client::builder(), base.scheme() == "https")?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .read_timeout(SILENCE_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .pool_idle_timeout(IDLE_MAX);
        if is_loopback(&base) {
            // What runs on this machine is not behind the proxy that the environment names.
            http = http.no_proxy();
        }
        let http = http.build().map_err(RelayUrlError::Client)?;
        Ok(Self::on(Way::Sockets(http), base, signer, clock, entropy))
    }

    /// A client of the relay at the other end of `wire`.
    ///
    /// # Errors
    /// If the address cannot be used.
    pub fn over(
        wire: Arc<dyn Wire>,
        url: &str,
        signer: Signer,
        clock: Clock,
        entropy: Entropy,
    ) -> Result<Self, RelayUrlError> {
        Ok(Self::on(Way::Wire(wire), parse_base(url)?, signer, clock, entropy))
    }

    fn on(way: Way, base: Url, signer: Signer, clock: Clock, entropy: Entropy) -> Self {
        let inner = Inner { way, base, signer, clock, entropy };
        Self { inner: Arc::new(inner), tag: Tag::default() }
    }

    /// The same line, for calls that the relay is to carry out once, however often they are sent.
    #[must_use]
    pub fn with_key(&self, idempotency_key: impl Into<String>) -> Self {
        let mut client = self.clone();
        client.tag.idempotency_key = Some(idempotency_key.into());
        client
    }

    /// The same line, for calls that both logs know by `request_id`.
    #[must_use]
    pub fn with_request_id(&self, request_id: impl Into<String>) -> Self {
        let mut client = self.clone();
        client.tag.request_id = Some(request_id.into());
        client
    }

    /// Who signs.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.inner.signer.public_key()
    }

    /// The relay's address.
    #[must_use]
    pub fn url(&self) -> &str {
        self.inner.base.as_str()
    }

    pub(super) fn signer(&self) -> &Signer {
        &self.inner.signer
    }

    /// What stands in for sockets, if something does.
    pub(super) fn wire(&self) -> Option<&Arc<dyn Wire>> {
        match &self.inner.way {
            Way::Sockets(_) => None,
            Way::Wire(wire) => Some(wire),
        }
    }

    pub(super) fn entropy(&self) -> &Entropy {
        &self.inner.entropy
    }

    pub(super) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// The address of a path on this relay, which may itself live below a path.
    pub(super) fn address(&self, path: &str, query: &[(&str, String)]) -> Url {
        let mut url = self.inner.base.clone();
        let path = format!("{}{path}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// Sends one request and reads its answer.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
        signed: Signed,
    ) -> Result<Answer, CallError> {
        let body = body.map(Value::to_string).unwrap_or_default().into_bytes();
        let headers = self.headers(&method, &url, &body, signed)?;
        let answer = match &self.inner.way {
            Way::Sockets(http) => {
                let request = http.request(method.clone(), url.clone()).headers(headers).body(body);
                match request.send().await {
                    Ok(response) => self.read(response).await,
                    Err(error) => return Err(CallError::transport(error)),
                }
            }
            Way::Wire(wire) => {
                let target = target(&url);
                let request = wire::Request { method: method.clone(), target, headers, body };
                self.carry(wire.call(request)).await
            }
        };
        if let Err(error) = &answer {
            tracing::debug!(method = %method, path = url.path(), request_id = self.tag.request_id, %error, "call failed");
        }
        answer
    }

    fn headers(
        &self,
        method: &Method,
        url: &Url,
        body: &[u8],
        signed: Signed,
    ) -> Result<HeaderMap, CallError> {
        let mut headers = match signed {
            Signed::Yes => self.signature(method, url, body)?,
            Signed::No => HeaderMap::new(),
        };
        let tags = [("idempotency-key", &self.tag.idempotency_key), ("x-request-id", &self.tag.request_id)];
        for (name, value) in tags {
            if let Some(value) = value {
                let value = value.parse().map_err(|error| CallError::malformed(0, error))?;
                headers.insert(name, value);
            }
        }
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(headers)
    }

    async fn carry(
        &self,
        call: impl Future<Output = Result<wire::Response, String>>,
    ) -> Result<Answer, CallError> {
        let lost = |reason| CallError::Transport { reason, source: None };
        let answer = tokio::time::timeout(TIMEOUT, call).await;
        let response = answer.unwrap_or_else(|_| Err("no answer in time".to_owned())).map_err(lost)?;
        self.answer(response.status, &response.headers, response.body)
    }

    fn signature(&self, method: &Method, url: &Url, body: &[u8]) -> Result<HeaderMap, CallError> {
        let target = target(url);
        let timestamp = self.now().seconds().to_string();
        let nonce = hex::encode(self.inner.entropy.bytes::<16>());
        let text = canonical(method.as_str(), &target, &timestamp, &nonce, body);
        let signer = &self.inner.signer;
        let mut headers = HeaderMap::with_capacity(4);
        let lines = [
            (PUBKEY_HEADER, signer.public_key().to_string()),
            (TIMESTAMP_HEADER, timestamp),
            (NONCE_HEADER, nonce),
            (SIGNATURE_HEADER, signer.sign(text.as_bytes())),
        ];
        for (name, value) in lines {
            // Digits all of them, so this cannot fail.
            let value = value.parse().map_err(|error| CallError::malformed(0, error))?;
            headers.insert(name, value);
        }
        Ok(headers)
    }

    async fn read(&self, mut response: reqwest::Response) -> Result<Answer, CallError> {
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(CallError::transport)? {
            if body.len() + chunk.len() > RESPONSE_BYTES_MAX {
                return Err(CallError::malformed(status, format!("more than {RESPONSE_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        self.answer(status, &headers, body)
    }

    fn answer(&self, status: u16, headers: &HeaderMap, body: Vec<u8>) -> Result<Answer, CallError> {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let retry_after = header(RETRY_AFTER).and_then(|text| read_retry_after(text, self.now()));
        let date = header(DATE).and_then(read_http_date);
        if !(200..300).contains(&status) {
            return Err(CallError::from_answer(status, retry_after, &body));
        }
        Ok(Answer { status, date, body })
    }
}

impl Answer {
    /// The whole body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        serde_json::from_slice(&self.body).map_err(|error| CallError::malformed(self.status, error))
    }

    /// One field of the body, as in `{"job": …}`.
    pub(super) fn field<T: DeserializeOwned>(&self, name: &str) -> Result<T, CallError> {
        let mut body: Value = self.json()?;
        let field = body.get_mut(name).map(Value::take).unwrap_or_default();
        serde_json::from_value(field)
            .map_err(|error| CallError::malformed(self.status, format!("{name}: {error}")))
    }
}

/// Its address and its public half.
impl fmt::Debug for RelayClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayClient({} as {})", self.inner.base, self.public_key())
    }
}

/// Path and query, as they are signed and sent.
pub(super) fn target(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

pub(super) fn parse_base(url: &str) -> Result<Url, RelayUrlError> {
    let mut base: Url = url.trim().parse().map_err(|_| RelayUrlError::NotHttp)?;
    if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
        return Err(RelayUrlError::NotHttp);
    }
    base.set_query(None);
    base.set_fragment(None);
    Ok(base)
}

pub(super) fn is_loopback(base: &Url) -> bool {
    let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> Result<RelayClient, RelayUrlError> {
        RelayClient::new(url, Signer::from_seed(&[7; 32]), Clock::system(), Entropy::system())
    }

    #[test]
    fn only_http_is_spoken() {
        for url in ["", "relay.example.org", "ftp://example.org", "ws://example.org", "file:///etc"] {
            assert!(client(url).is_err(), "{url}");
        }
        assert!(client("https://relay.example.org").is_ok());
    }

    #[test]
    fn a_relay_may_live_below_a_path() {
        let client = client("http://127.0.0.1:1/under/here/?x=1#y").unwrap();
        let url = client.address("/v1/jobs", &[("status", "quoted,accepted".to_owned())]);
        assert_eq!(url.as_str(), "http://127.0.0.1:1/under/here/v1/jobs?status=quoted%2Caccepted");
    }

    #[test]
    fn what_is_signed_is_what_is_sent() {
        let client = client("http://127.0.0.1:1").unwrap();
        let url = client.address("/v1/offers", &[("q", "ä b&c".to_owned())]);
        let headers = client.signature(&Method::GET, &url, b"").unwrap();
        let text = |name| headers.get(name).unwrap().to_str().unwrap();
        let target = format!("{}?{}", url.path(), url.query().unwrap());
        let signed = canonical("GET", &target, text(TIMESTAMP_HEADER), text(NONCE_HEADER), b"");
        let verified = crate::protocol::signing::verifies(
            &client.public_key(),
            signed.as_bytes(),
            text(SIGNATURE_HEADER),
        );
        assert!(verified);
    }

    #[test]
    fn the_key_is_not_shown() {
        let shown = format!("{:?}", client("http://127.0.0.1:1").unwrap());
        assert!(!shown.contains(&"07".repeat(32)), "{shown}");
    }
}
