//! The relay's news, as a fuzzer makes them up.

use super::*;
use crate::protocol::Timestamp;
use crate::protocol::event::EventPage;

/// Cursors of listings: the next one is another, and it can be read.
pub(crate) fn cursors(cursor: &str, page: &str) {
    let Some(page) = crate::client::fuzzing::job_page(page.as_bytes()) else { return };
    let next = next_listing(cursor, &page);
    assert_ne!(next.as_deref(), Some(cursor));
    for made in [next, last_listing(&page)].into_iter().flatten() {
        if page.next_cursor.as_ref() != Some(&made) {
            let after = made.strip_prefix("after:").and_then(|text| text.parse::<Timestamp>().ok());
            let last = page.jobs.iter().map(|job| job.updated_at).max();
            assert!(after.is_some() && after <= last, "{made}");
        }
    }
}

/// Events: the job that one carries is read as the relay wrote it, or not at all.
pub(crate) fn events(data: &[u8]) {
    let Ok(page) = serde_json::from_slice::<EventPage>(data) else { return };
    for event in page.events {
        assert!(EventType::parse(&event.kind).is_none_or(|kind| kind.name() == event.kind));
        let Some(job) = carried(event.data.clone()) else { continue };
        assert_eq!(carried(serde_json::json!({ "job": job })), Some(job));
    }
}
