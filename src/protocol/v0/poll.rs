//! Poll and acknowledgement: which page a cursor gets, and when it is too old for any.

use serde::{Deserialize, Serialize};

use super::{Event, Refusal};

/// The largest id that every client counts exactly: 2^53 - 1.
pub const EVENT_ID_MAX: u64 = 9_007_199_254_740_991;

/// The answer of a poll.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventPage {
    /// Ascending by id.
    pub events: Vec<Event>,
    /// The caller's acknowledged cursor.
    pub last_acked_event_id: u64,
    /// Where the caller's log begins.
    pub min_event_id_retained: u64,
}

/// A caller's own part of the log, seen at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stream {
    /// What it has acknowledged.
    pub acked: u64,
    /// The newest of its events that was removed; 0 if none was.
    pub removed: u64,
    /// The oldest of its events that is there.
    pub oldest: Option<u64>,
}

/// What a cursor gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Events after `after`.
    Page {
        /// The cursor that counts.
        after: u64,
        /// Where the caller's log begins.
        minimum: u64,
    },
    /// Nothing: events after the cursor were removed.
    Gone {
        /// Where the caller's log begins.
        minimum: u64,
    },
}

/// Decides about one poll. Only the caller's own events count: gaps, and what others have lost,
/// make no cursor too old.
#[must_use]
pub fn window(since: Option<u64>, stream: Stream) -> Window {
    let after = since.unwrap_or(stream.acked);
    let minimum = stream.minimum();
    if after < stream.removed { Window::Gone { minimum } } else { Window::Page { after, minimum } }
}

impl Stream {
    /// Where it begins: nothing of it was removed at or after this id. 0 while there was never anything.
    #[must_use]
    pub fn minimum(self) -> u64 {
        match (self.oldest, self.removed) {
            (None, 0) => 0,
            (None, removed) => removed + 1,
            (Some(oldest), 0) => oldest,
            (Some(oldest), removed) => oldest.max(removed + 1),
        }
    }

    /// Where an acknowledgement leaves the cursor: never back, and never past `newest`, the last
    /// event that anybody has got.
    ///
    /// # Errors
    /// If it would skip events that have not happened yet.
    pub fn acknowledge(self, up_to: u64, newest: u64) -> Result<u64, Refusal> {
        if up_to > newest.max(self.acked) {
            return Err(Refusal::invalid("up_to_event_id is beyond the newest event"));
        }
        Ok(self.acked.max(up_to))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Own events, those of them that were removed, a cursor, and what it gets.
    fn check(own: &[u64], removed: &[u64], cursor: u64, expected: Window) {
        let stream = stream(own, removed, 0);
        assert_eq!(window(Some(cursor), stream), expected, "{own:?} without {removed:?} after {cursor}");
        let acked = Stream { acked: cursor, ..stream };
        assert_eq!(window(None, acked), expected, "the same when it was acknowledged");
    }

    fn stream(own: &[u64], removed: &[u64], acked: u64) -> Stream {
        let oldest = own.iter().copied().filter(|id| !removed.contains(id)).min();
        Stream { acked, removed: removed.iter().copied().max().unwrap_or(0), oldest }
    }

    fn page(after: u64, minimum: u64) -> Window {
        Window::Page { after, minimum }
    }

    fn gone(minimum: u64) -> Window {
        Window::Gone { minimum }
    }

    #[test]
    fn the_contracts_table() {
        check(&[], &[], 0, page(0, 0));
        check(&[4], &[], 0, page(0, 4));
        check(&[1, 3], &[1], 0, gone(3));
        check(&[1, 3], &[1], 1, page(1, 3));
        check(&[2], &[2], 0, gone(3));
        check(&[2], &[2], 2, page(2, 3));
        check(&[1, 2, 3], &[2], 0, gone(3));
        check(&[1, 2, 3], &[3, 1], 2, gone(4));
    }

    #[test]
    fn a_cursor_that_is_named_counts_more_than_the_acknowledged_one() {
        let stream = stream(&[1, 2, 3], &[1], 3);
        assert_eq!(window(Some(0), stream), gone(2));
        assert_eq!(window(None, stream), page(3, 2));
    }

    #[test]
    fn nothing_is_acknowledged_before_it_happened() {
        let stream = Stream { acked: 5, removed: 0, oldest: None };
        assert_eq!(stream.acknowledge(3, 9), Ok(5));
        assert_eq!(stream.acknowledge(9, 9), Ok(9));
        assert_eq!(stream.acknowledge(10, 9).unwrap_err().code.status(), 400);
        assert_eq!(stream.acknowledge(5, 0), Ok(5), "what was acknowledged stays so");
    }

    proptest! {
        /// The one way out of 410 that clients know always leads out of it.
        #[test]
        fn after_the_resync_the_next_poll_has_a_page(acked in 0u64..50, removed in 0u64..50, oldest in prop::option::of(1u64..50)) {
            prop_assume!(removed == 0 || oldest != Some(removed));
            let stream = Stream { acked, removed, oldest };
            if let Window::Gone { minimum } = window(None, stream) {
                let newest = removed.max(oldest.unwrap_or(0));
                let acked = stream.acknowledge(minimum - 1, newest).unwrap();
                let resynced = window(None, Stream { acked, ..stream });
                prop_assert_eq!(resynced, page(acked, minimum));
                prop_assert!(oldest.is_none_or(|oldest| oldest > acked || oldest < removed));
            }
        }

        #[test]
        fn a_page_never_hides_a_removed_event(own in prop::collection::btree_set(1u64..40, 0..20), removed: prop::sample::Index, cursor in 0u64..40) {
            let own: Vec<u64> = own.into_iter().collect();
            let removed: Vec<u64> = own.iter().copied().take(removed.index(own.len() + 1)).collect();
            let stream = stream(&own, &removed, 0);
            let lost = removed.iter().any(|id| *id > cursor);
            prop_assert_eq!(matches!(window(Some(cursor), stream), Window::Gone { .. }), lost);
        }
    }
}
