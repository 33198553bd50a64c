//! A request signed by a bot: checked in the order that clients of the deployed relays see.

use std::net::IpAddr;

use axum::RequestPartsExt as _;
use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Request};
use axum::http::{HeaderMap, Method, request::Parts};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::super::super::model::Claim;
use super::super::super::ratelimit::{Allowance, Bucket, Kind};
use super::super::super::server::App;
use super::super::super::v0::model::party;
use super::super::super::v0::service::unavailable;
use super::super::request::{client_ip, read_body};
use super::answer::{Handled, Refused, json};
use crate::protocol::v0::limits::{BODY_BYTES_MAX, KEY_BYTES_MAX, NONCE_TTL};
use crate::protocol::v0::lists::Params;
use crate::protocol::v0::refusal::Code;
use crate::protocol::v0::signing::{
    BODY_SHA256_HEADER, BOT_ID_HEADER, Headers, IDEMPOTENCY_HEADER, Known, NONCE_HEADER, Presented,
    SIGNATURE_HEADER, TIMESTAMP_HEADER, examine,
};
use crate::protocol::v0::{Bot, BotId, Refusal, Registration};

/// Where a bot makes itself known: the one route whose caller need not be known.
const REGISTRATION: &str = "/v0/bots";

/// A request that was signed by `bot`, just now and for the first time.
#[derive(Debug)]
pub(in super::super) struct Signed {
    pub(super) bot: BotId,
    pub(super) body: Bytes,
    /// What the caller called itself, as it was sent.
    pub(super) claimed: String,
    /// From where it came.
    pub(super) ip: IpAddr,
    headers: HeaderMap,
    path: String,
    query: Vec<(String, String)>,
    method: Method,
    id: Option<String>,
}

impl Signed {
    /// The id in the path, decoded.
    pub(super) fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    pub(super) fn params(&self) -> Params<'_> {
        Params(&self.query)
    }

    /// The body, or nothing said in it if it is empty.
    pub(super) fn body<T: DeserializeOwned + Default>(&self) -> Result<T, Refusal> {
        if self.body.is_empty() { Ok(T::default()) } else { parse(&self.body) }
    }

    pub(super) fn idempotency_key(&self) -> Option<&str> {
        let key = self.headers.get(IDEMPOTENCY_HEADER).and_then(|key| key.to_str().ok());
        key.map(str::trim).filter(|key| !key.is_empty())
    }

    /// What a key stands for: the bot, method and path, and the body that came first.
    pub(super) fn claim(&self, key: &str) -> Result<Claim, Refusal> {
        if key.len() > KEY_BYTES_MAX {
            return Err(Refusal::invalid("idempotency key too long"));
        }
        let name = format!("{} {}\n{key}", self.method, self.path);
        Ok(Claim {
            party: party(&self.bot),
            key: hex::encode(Sha256::digest(name)),
            request_hash: hex::encode(Sha256::digest(&self.body)),
        })
    }

    /// Counts the request.
    pub(super) fn count(&self, app: &App, bucket: Bucket) -> Result<Option<Allowance>, Refused> {
        counted(app, Kind::Bot(bucket, party(&self.bot)))
    }

    /// Counts a request that changes nothing, and answers it.
    pub(super) async fn read(
        &self,
        app: &App,
        bucket: Option<Bucket>,
        text: impl Future<Output = Result<String, Refusal>>,
    ) -> Handled {
        let allowance = bucket.map(|bucket| self.count(app, bucket)).transpose()?.flatten();
        match text.await {
            Ok(text) => Ok(json(200, text, allowance)),
            Err(refusal) => Err(Refused::counted(refusal, allowance)),
        }
    }
}

pub(super) fn counted(app: &App, kind: Kind) -> Result<Option<Allowance>, Refused> {
    app.limiter.count(kind, app.clock.now()).map_err(|allowance| {
        Refused::counted(Refusal::new(Code::RateLimited, "rate limited"), Some(allowance))
    })
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::invalid("invalid json"))
}

pub(super) fn query_of(parts: &Parts) -> Result<Vec<(String, String)>, Refusal> {
    axum::extract::Query::try_from_uri(&parts.uri)
        .map(|axum::extract::Query(pairs)| pairs)
        .map_err(|_| Refusal::invalid("invalid query"))
}

impl FromRequest<App> for Signed {
    type Rejection = Refused;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refused> {
        let (mut parts, body) = request.into_parts();
        let body = read_body(&parts.headers, body).await?;
        if body.len() > BODY_BYTES_MAX {
            return Err(Refusal::new(Code::TooLarge, "body too large").into());
        }
        let checked = authenticate(app, &parts, &body).await;
        if checked.as_ref().is_err_and(|refusal| refusal.code == Code::Unauthorized) {
            // The answer is about the signature, but guessing at signatures counts like requests do.
            drop(app.limiter.check(Kind::Ip(client_ip(app, &parts)), app.clock.now()));
        }
        let (presented, bot) = checked?;
        let id = parts.extract::<Path<String>>().await.ok().map(|Path(id)| id);
        let (query, path) = (query_of(&parts)?, parts.uri.path().to_owned());
        let (claimed, ip) = (presented.bot_id, client_ip(app, &parts));
        Ok(Self { bot, body, claimed, ip, headers: parts.headers, path, query, method: parts.method, id })
    }
}

async fn authenticate(app: &App, parts: &Parts, body: &[u8]) -> Result<(Presented, BotId), Refusal> {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let headers = Headers {
        bot_id: header(BOT_ID_HEADER),
        timestamp: header(TIMESTAMP_HEADER),
        nonce: header(NONCE_HEADER),
        body_sha256: header(BODY_SHA256_HEADER),
        signature: header(SIGNATURE_HEADER),
    };
    let now = app.clock.now();
    let presented = examine(parts.method.as_str(), target, body, headers, now.into())?;
    let (known, bot) = look_up(app, parts, body, &presented).await?;
    let leaves = parts.method == Method::POST && parts.uri.path().ends_with("/revoke");
    let id = presented.verify(known, leaves)?;
    let first = app.storage.spend_nonce(party(&id), &presented.nonce, now, NONCE_TTL).await;
    if !first.map_err(|error| unavailable(&error))? {
        return Err(Refusal::unauthorized("nonce reuse"));
    }
    if let Some(bot) = bot {
        app.bazaar.seen(bot).await?;
    }
    Ok((presented, id))
}

/// The caller's key: the pinned one, or of a registration the one that is to be pinned.
async fn look_up(
    app: &App,
    parts: &Parts,
    body: &[u8],
    presented: &Presented,
) -> Result<(Known, Option<Bot>), Refusal> {
    let registers = parts.method == Method::POST && parts.uri.path() == REGISTRATION;
    let id = if registers {
        Some(BotId::of(&parse::<Registration>(body)?.signing_key()?))
    } else {
        presented.claimed()
    };
    let bot = match id {
        Some(id) => app.bazaar.known(id).await?,
        None => None,
    };
    let known = match &bot {
        Some(bot) if bot.revoked => Known::Revoked(bot.signing_pubkey_ed25519),
        Some(bot) => Known::Pinned(bot.signing_pubkey_ed25519),
        None if registers => Known::Pinned(parse::<Registration>(body)?.signing_key()?),
        None => Known::No,
    };
    // A registration is a sign of life only once its keys are found to be the pinned ones.
    Ok((known, bot.filter(|_| !registers)))
}
