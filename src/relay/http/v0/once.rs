//! Around every mutation: its idempotency key, then its rate. So a replay costs nothing, and what
//! was refused for its rate is not remembered.

use super::super::super::idempotency::{Begun, begin};
use super::super::super::model::{Receipt, ReplyBody};
use super::super::super::ratelimit::Bucket;
use super::super::super::server::App;
use super::answer::{Handled, Refused, json};
use super::request::Signed;
use crate::protocol::Code as CoreCode;
use crate::protocol::v0::Refusal;
use crate::protocol::v0::limits::IDEMPOTENCY_TTL;
use crate::protocol::v0::refusal::Code;

/// Does a mutation under the key in its header, or says again what it answered the last time.
pub(super) async fn once<Work>(
    app: &App,
    signed: &Signed,
    bucket: Bucket,
    work: impl FnOnce(Receipt) -> Work,
) -> Handled
where
    Work: Future<Output = Result<String, Refusal>>,
{
    let key = signed.idempotency_key().ok_or_else(|| Refusal::invalid("missing idempotency key"))?;
    once_as(app, signed, key, bucket, work).await
}

/// The same under a key that is elsewhere.
pub(super) async fn once_as<Work>(
    app: &App,
    signed: &Signed,
    key: &str,
    bucket: Bucket,
    work: impl FnOnce(Receipt) -> Work,
) -> Handled
where
    Work: Future<Output = Result<String, Refusal>>,
{
    let claim = signed.claim(key)?;
    let begun = begin(&app.storage, &app.clock, IDEMPOTENCY_TTL, claim).await.map_err(not_begun)?;
    let running = match begun {
        Begun::Again(reply) => return Ok(json(reply.status, replayed(reply.body), None)),
        Begun::First(running) => running,
    };
    let allowance = signed.count(app, bucket)?;
    match work(running.receipt(200)).await {
        Ok(text) => Ok(json(200, text, allowance)),
        Err(refusal) => {
            if refusal.code.is_final() {
                app.bazaar.keep(&refusal, &running.receipt(refusal.code.status())).await?;
            }
            Err(Refused::counted(refusal, allowance))
        }
    }
}

fn not_begun(refusal: crate::protocol::Refusal) -> Refusal {
    match refusal.code {
        CoreCode::IdempotencyConflict => Refusal::conflict("idempotency collision"),
        CoreCode::IdempotencyInProgress => {
            Refusal::new(Code::Unavailable, "the first request with this key is still running; try again")
        }
        _ => Refusal::new(Code::Unavailable, refusal.message),
    }
}

fn replayed(body: ReplyBody) -> String {
    match body {
        ReplyBody::Text(text) => text,
        ReplyBody::Acked(id) => super::poll::acked(id),
        // The claims of bots are their own: nothing else was ever kept under them.
        ReplyBody::Job(_) | ReplyBody::Offer(_) | ReplyBody::Refused(_) => String::new(),
    }
}
