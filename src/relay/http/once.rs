//! Around every mutation: its idempotency key.

use axum::http::HeaderValue;

use super::super::idempotency::{Begun, begin};
use super::super::model::{Receipt, Reply, ReplyBody};
use super::super::server::App;
use super::reply::{Handled, reply};
use super::request::Signed;
use crate::protocol::Refusal;

/// Does a mutation, or says again what it answered the last time.
///
/// `work` is given the receipt with which its commit keeps the answer.
pub(super) async fn once<Work>(
    app: &App,
    signed: &Signed,
    status: u16,
    work: impl FnOnce(Option<Receipt>) -> Work,
) -> Handled
where
    Work: Future<Output = Result<ReplyBody, Refusal>>,
{
    let Some(claim) = signed.claim()? else {
        let body = work(None).await?;
        return Ok(reply(&Reply { status, body }));
    };
    let key = claim.key.clone();
    let (answer, replayed) = match begin(&app.storage, &app.clock, app.config.idempotency_ttl, claim).await? {
        Begun::Again(answer) => (answer, true),
        Begun::First(running) => match work(Some(running.receipt(status))).await {
            Ok(body) => (Reply { status, body }, false),
            Err(refusal) => {
                running.keep(&refusal).await?;
                (Reply { status: refusal.code.status(), body: ReplyBody::Refused(refusal) }, false)
            }
        },
    };
    let mut response = reply(&answer);
    if let Ok(key) = HeaderValue::from_str(&key) {
        response.headers_mut().insert("idempotency-key", key);
    }
    if replayed {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}
