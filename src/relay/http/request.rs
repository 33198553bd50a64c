//! A signed request, checked in the contract's order: size, headers, signature, skew, nonce, rate.

#[cfg(any(test, fuzzing))]
pub(in crate::relay) mod fuzzing;

use std::net::IpAddr;
use std::time::Duration;

use axum::RequestPartsExt as _;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Path, Request};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, Method, request::Parts};
use futures_util::StreamExt as _;
use sha2::{Digest as _, Sha256};

use super::super::model::Claim;
use super::super::ratelimit::Kind;
use super::super::server::App;
use super::super::service::unavailable;
use super::reply::Refused;
use crate::protocol::limits::{BODY_BYTES_MAX, IDEMPOTENCY_KEY_CHARS_MAX, SKEW_MAX};
use crate::protocol::signing::{
    self, NONCE_HEADER, PUBKEY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, is_nonce,
};
use crate::protocol::{Code, JobId, OfferId, PublicKey, Refusal, Timestamp};

/// How long a body may take to arrive: 300 KiB over a slow telephone line.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);
/// How much of a body that is too large is read, so that its sender gets to read the answer.
const DRAIN_BYTES_MAX: usize = 1 << 20;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(in crate::relay) struct Peer(pub(in crate::relay) IpAddr);

/// A request that was signed by `party`, just now and for the first time.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) party: PublicKey,
    pub(super) body: Bytes,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    target: String,
    method: Method,
    id: Option<String>,
}

impl Signed {
    /// The id in the path.
    pub(super) fn job_id(&self) -> Result<JobId, Refusal> {
        parse_id(self.id.as_deref(), "job_id")
    }

    /// The id in the path.
    pub(super) fn offer_id(&self) -> Result<OfferId, Refusal> {
        parse_id(self.id.as_deref(), "offer_id")
    }

    /// The idempotency key, and what it stands for.
    pub(super) fn claim(&self) -> Result<Option<Claim>, Refusal> {
        let Some(key) = self.headers.get("idempotency-key") else { return Ok(None) };
        let key = key.to_str().unwrap_or_default();
        if key.is_empty() || key.len() > IDEMPOTENCY_KEY_CHARS_MAX {
            let message = format!("1 to {IDEMPOTENCY_KEY_CHARS_MAX} visible characters");
            return Err(Refusal::field("Idempotency-Key", message));
        }
        let mut hash = Sha256::new();
        for part in [self.method.as_str().as_bytes(), b"\n", self.target.as_bytes(), b"\n", &self.body] {
            hash.update(part);
        }
        Ok(Some(Claim { party: self.party, key: key.to_owned(), request_hash: hex::encode(hash.finalize()) }))
    }
}

pub(super) fn parse_id<T: std::str::FromStr<Err: std::fmt::Display>>(
    text: Option<&str>,
    field: &str,
) -> Result<T, Refusal> {
    text.unwrap_or_default().parse().map_err(|error: T::Err| Refusal::field(field, error.to_string()))
}

impl FromRequest<App> for Signed {
    type Rejection = Refused;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refused> {
        let (mut parts, body) = request.into_parts();
        let body = read_body(&parts.headers, body).await?;
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let now = app.clock.now();
        let ip = client_ip(app, &parts);
        let signature = check_signature(&parts, &target, &body, now);
        if signature.is_err() {
            // The answer is about the signature, but guessing at signatures counts like requests do.
            drop(app.limiter.check(Kind::Ip(ip), now));
        }
        let (party, nonce) = signature?;
        let first = app.storage.spend_nonce(party, &nonce, now, app.config.nonce_ttl).await;
        if !first.map_err(|error| unavailable(&error))? {
            return Err(Refusal::new(Code::NonceReplay, "the nonce was used before").into());
        }
        app.limiter.check(Kind::Ip(ip), now)?;
        app.limiter.check(Kind::Key(party), now)?;
        if parts.method == Method::POST && matches!(parts.uri.path(), "/v1/jobs" | "/v1/offers") {
            app.limiter.check(Kind::Strict(party), now)?;
        }
        let id = parts.extract::<Path<String>>().await.ok().map(|Path(id)| id);
        let query = parts.uri.query().map(str::to_owned);
        Ok(Self { party, body, query, target, id, method: parts.method, headers: parts.headers })
    }
}

/// Counts an unsigned request.
pub(super) fn check_stranger(app: &App, parts: &Parts) -> Result<(), Refusal> {
    app.limiter.check(Kind::Ip(client_ip(app, parts)), app.clock.now())
}

pub(super) async fn read_body(headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        drain(body).await;
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIMEOUT, collect(body)).await {
        Ok(result) => result,
        Err(_) => Err(Refusal::new(Code::Validation, "the body did not arrive in time")),
    }
}

async fn collect(body: Body) -> Result<Bytes, Refusal> {
    let mut stream = body.into_data_stream();
    let mut collected = Vec::new();
    while let Some(data) = stream.next().await {
        let data = data.map_err(|_| Refusal::new(Code::Validation, "the body broke off"))?;
        if collected.len() + data.len() > BODY_BYTES_MAX {
            drain(Body::from_stream(stream)).await;
            return Err(too_large());
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.into())
}

async fn drain(body: Body) {
    let mut stream = body.into_data_stream();
    let mut seen = 0;
    let reading = async {
        while let Some(Ok(data)) = stream.next().await {
            seen += data.len();
            if seen > DRAIN_BYTES_MAX {
                break;
            }
        }
    };
    // Whoever is slower than this does not need the answer.
    drop(tokio::time::timeout(Duration::from_secs(1), reading).await);
}

fn too_large() -> Refusal {
    Refusal::new(Code::PayloadTooLarge, format!("a body has at most {BODY_BYTES_MAX} bytes"))
}

fn check_signature(
    parts: &Parts,
    target: &str,
    body: &[u8],
    now: Timestamp,
) -> Result<(PublicKey, String), Refusal> {
    let header = |name: &str| {
        let value = parts.headers.get(name).and_then(|value| value.to_str().ok());
        value.ok_or_else(|| unsigned(&format!("the header {name} is missing")))
    };
    let key: PublicKey =
        header(PUBKEY_HEADER)?.parse().map_err(|error| unsigned(&format!("{PUBKEY_HEADER}: {error}")))?;
    let timestamp = header(TIMESTAMP_HEADER)?;
    let seconds = seconds(timestamp).ok_or_else(|| unsigned(&format!("{TIMESTAMP_HEADER}: UNIX seconds")))?;
    let nonce = header(NONCE_HEADER)?;
    if !is_nonce(nonce) {
        return Err(unsigned(&format!("{NONCE_HEADER}: 32 to 64 lower-case hex digits")));
    }
    let text = signing::canonical(parts.method.as_str(), target, timestamp, nonce, body);
    if !signing::verifies(&key, text.as_bytes(), header(SIGNATURE_HEADER)?) {
        return Err(unsigned("the signature does not belong to this request"));
    }
    let skew = now.seconds().abs_diff(seconds);
    if skew > SKEW_MAX.as_secs() {
        let message = format!("your clock is {skew} s off; at most {} s are allowed", SKEW_MAX.as_secs());
        let details = serde_json::json!({"server_time": now.seconds()});
        return Err(Refusal::new(Code::TimestampSkew, message).with_details(details));
    }
    Ok((key, nonce.to_owned()))
}

fn seconds(text: &str) -> Option<i64> {
    // Twelve digits last for thirty thousand years, and never overflow.
    let plain = (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn unsigned(message: &str) -> Refusal {
    Refusal::new(Code::InvalidSignature, message)
}

pub(super) fn client_ip(app: &App, parts: &Parts) -> IpAddr {
    let forwarded = || {
        let header = parts.headers.get_all("x-forwarded-for").iter().next_back()?;
        header.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
    };
    let direct = parts.extensions.get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0);
    if app.config.trust_forwarded_for { forwarded().unwrap_or(direct) } else { direct }
}
