//! What is wrong with one thing of one buyer must not keep the news of all others waiting.
//!
//! Names and payloads are made by buyers, and the deployed relays take nearly any. A relay that is away,
//! that limits, or that does not accept us, is everybody's concern and is waited for; what only this
//! thing's own name or content can have caused is not.

use std::time::Duration;

use super::bazaar::is_about_us;
use crate::client::CallError;
use crate::client::v0::{BotClient, Class, PollQuery, is_addressable};
use crate::protocol::v0::{JobId, OfferId, PayloadId};

/// Looks at a thing whose description cannot be had: a proxy may have cut one, hardly three.
const LOOKS_MAX: u32 = 3;

/// Before a thing that was not found is looked for again: a gateway, or a copy of the relay that lags
/// behind, may have answered.
const DOUBT: Duration = Duration::from_secs(1);

/// Looks at one thing, again after `pause` if the answer was none. The outer error is a relay that may
/// do better later; the inner one is this thing's own. That it is gone is believed the second time.
pub(super) async fn tolerant<T, F>(
    client: &BotClient,
    pause: Duration,
    look: impl Fn() -> F,
) -> Result<Result<T, CallError>, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    match glance(client, pause, &look).await? {
        Err(flaw) if is_gone(&flaw) => {
            doubt(client).await?;
            glance(client, pause, &look).await
        }
        found => Ok(found),
    }
}

/// The same, and a thing that is gone is so at once: for who looks again after [`doubt`]. Before the last
/// look the relay has made sense about something else, so that a line which garbles everything costs
/// nobody a job.
pub(super) async fn glance<T, F>(
    client: &BotClient,
    pause: Duration,
    look: impl Fn() -> F,
) -> Result<Result<T, CallError>, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let mut looks = 1;
    loop {
        match look().await {
            Ok(found) => return Ok(Ok(found)),
            Err(error) if !is_its_own(&error) => return Err(error),
            Err(error) if looks == LOOKS_MAX || is_gone(&error) => return Ok(Err(error)),
            Err(_) if looks + 1 == LOOKS_MAX => ensure_sense(client).await?,
            Err(_) => tokio::time::sleep(pause).await,
        }
        looks += 1;
    }
}

/// Between two looks at what was not found: a pause, and a relay that makes sense after it.
pub(super) async fn doubt(client: &BotClient) -> Result<(), CallError> {
    tokio::time::sleep(DOUBT).await;
    ensure_sense(client).await
}

/// That the relay understands, and is understood, where no buyer's names are in the way. The next event
/// may be one that is too long: no page of a proxy's is that.
async fn ensure_sense(client: &BotClient) -> Result<(), CallError> {
    match client.poll(&PollQuery { limit: Some(1), ..PollQuery::default() }).await {
        Ok(_) | Err(CallError::TooLong { .. }) => Ok(()),
        Err(error) if matches!(error.class(), Class::Gone { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether there is no such thing, or none of ours.
pub(super) fn is_gone(error: &CallError) -> bool {
    matches!(error, CallError::Refused(refused) if matches!(refused.status, 403 | 404)) && is_its_own(error)
}

/// Whether another thing may fare better with the same relay.
fn is_its_own(error: &CallError) -> bool {
    match error {
        CallError::Malformed { .. } | CallError::TooLong { .. } => true,
        CallError::Refused(_) => error.class() != Class::Retry && !is_about_us(error),
        CallError::RateLimited { .. } | CallError::Unavailable { .. } | CallError::Transport { .. } => false,
    }
}

/// Whether a job can be asked for by its name.
pub(super) fn can_name_job(id: &JobId) -> bool {
    id.is_valid() && is_addressable(id.as_str())
}

/// Whether a payload can be asked for by its name.
pub(super) fn can_name_payload(id: &PayloadId) -> bool {
    id.is_valid() && is_addressable(id.as_str())
}

/// Whether an offer can be asked for by its name.
pub(super) fn can_name_offer(id: &OfferId) -> bool {
    id.is_valid() && is_addressable(id.as_str())
}
