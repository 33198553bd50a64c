//! The relay's list of jobs, page by page.

use std::time::Duration;

use crate::client::{CallError, JobPage, JobsQuery};
use crate::protocol::limits::JOBS_PER_PAGE_MAX;
use crate::protocol::{Actor, Code, Epoch, EventId, Status, Timestamp};
use crate::worker::calls::Line;

/// How far back a listing by timestamp is repeated: commits may become visible out of order.
const LISTING_OVERLAP: Duration = Duration::from_secs(30);

/// One page of the seller's jobs in the order of their changes. `cursor` is the relay's own, or
/// `after:TIMESTAMP` for relays that know only timestamps.
pub(in crate::worker) async fn list(
    line: &Line,
    cursor: &str,
    statuses: &[Status],
) -> Result<JobPage, CallError> {
    let mut query = JobsQuery {
        role: Some(Actor::Seller),
        statuses: statuses.to_vec(),
        limit: Some(JOBS_PER_PAGE_MAX),
        ..JobsQuery::default()
    };
    match cursor.strip_prefix("after:").map(str::parse::<Timestamp>) {
        Some(Ok(after)) => query.updated_after = Some(after),
        _ => {
            query.cursor = Some(cursor.to_owned());
            // A relay without cursors ignores them and sorts by this.
            query.updated_after = (cursor == "start").then(|| Timestamp::from_micros(0));
        }
    }
    line.once(&|| line.client.jobs(&query)).await
}

pub(super) fn is_cursor_too_old(error: &CallError) -> bool {
    error.code() == Some(Code::CursorTooOld) || error.status() == Some(410)
}

/// A 410 says where the log is now.
pub(super) fn position_of(error: &CallError) -> Option<(Epoch, EventId)> {
    let CallError::Refused(refused) = error else { return None };
    let epoch = refused.details.get("epoch")?.as_str()?.to_owned();
    Some((Epoch(epoch), EventId(refused.details.get("head_event_id")?.as_u64()?)))
}

/// The cursor of the next page, if there certainly is one.
pub(in crate::worker) fn next_listing(cursor: &str, page: &JobPage) -> Option<String> {
    if page.jobs.len() + page.unreadable < JOBS_PER_PAGE_MAX {
        return None;
    }
    let next = page.next_cursor.clone().or_else(|| {
        let last = page.jobs.iter().map(|job| job.updated_at).max()?;
        // Jobs that tie with the last one may be on the next page: one microsecond is seen twice.
        Some(format!("after:{}", last.minus(Duration::from_micros(1))))
    })?;
    (next != cursor).then_some(next)
}

/// Where a later look begins, after the last page.
pub(super) fn last_listing(page: &JobPage) -> Option<String> {
    page.next_cursor.clone().or_else(|| {
        let last = page.jobs.iter().map(|job| job.updated_at).max()?;
        Some(format!("after:{}", last.minus(LISTING_OVERLAP)))
    })
}
