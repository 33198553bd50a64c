//! Around every mutation: its idempotency key, then its rate. So a replay costs nothing, and what
//! was refused for its rate is not remembered.

use std::time::Duration;

use super::super::super::idempotency::{Begun, begin};
use super::super::super::model::{Claim, Receipt, ReplyBody};
use super::super::super::ratelimit::Bucket;
use super::super::super::server::App;
use super::answer::{Handled, Refused, json};
use super::request::Signed;
use crate::protocol::Code as CoreCode;
use crate::protocol::v0::Refusal;
use crate::protocol::v0::limits::IDEMPOTENCY_TTL;
use crate::protocol::v0::refusal::Code;

/// How long a second request with a key waits before it looks again whether the first has its answer.
const TURN_PAUSE: Duration = Duration::from_millis(10);
/// How often it looks: together longer than a disk at work makes the first one wait.
const TURNS_MAX: usize = 500;

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
    let running = match begin_in_turn(app, signed.claim(key)?).await? {
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

/// Claims a key. Who comes second while the first still runs waits for its answer, a while.
async fn begin_in_turn(app: &App, claim: Claim) -> Result<Begun, Refusal> {
    for _ in 0..TURNS_MAX {
        match begin(&app.storage, &app.clock, IDEMPOTENCY_TTL, claim.clone()).await {
            Err(refusal) if refusal.code == CoreCode::IdempotencyInProgress => {
                tokio::time::sleep(TURN_PAUSE).await;
            }
            begun => return begun.map_err(not_begun),
        }
    }
    Err(Refusal::new(Code::Unavailable, "the first request with this key is still running; try again"))
}

fn not_begun(refusal: crate::protocol::Refusal) -> Refusal {
    match refusal.code {
        CoreCode::IdempotencyConflict => Refusal::conflict("idempotency collision"),
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
