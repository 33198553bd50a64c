//! Pages that are longer than what is read of one answer: asked for again with fewer entries, down to
//! one; and what can be known of a single entry that is still too long.
//!
//! What makes an entry that long is a stranger's text, which the deployed relays take in any length.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::error::CallError;
use super::calls::{JobsQuery, PollQuery};
use super::rest::BotClient;
use crate::protocol::v0::EventPage;
use crate::protocol::v0::job::JobPage;
use crate::protocol::v0::poll::EVENT_ID_MAX;

/// By how much less is asked for next: a page of two hundred is down to one in five tries.
const SHRINK: usize = 4;

/// What a poll brought, however long the events are.
#[derive(Debug, Clone, PartialEq)]
pub enum Events {
    /// A page, and how many events it could have had.
    Page(EventPage, usize),
    /// The next event alone is longer than what is read of an answer.
    TooLong(Glimpse),
}

/// What could be read of an event that is too long: its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Glimpse {
    /// Its place.
    pub event_id: Option<u64>,
    /// Which job it is about.
    pub job_id: Option<String>,
}

impl BotClient {
    /// [`BotClient::poll`], for fewer events where they are too long together.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn poll_any(&self, since: Option<u64>, limit: usize) -> Result<Events, CallError> {
        let mut limit = limit;
        loop {
            let query = PollQuery { since, types: Vec::new(), limit: Some(limit) };
            match self.poll(&query).await {
                Err(CallError::TooLong { head, .. }) if limit <= 1 => {
                    return Ok(Events::TooLong(glimpse(head.bytes())));
                }
                Err(CallError::TooLong { .. }) => limit = less(limit),
                answer => return Ok(Events::Page(answer?, limit)),
            }
        }
    }

    /// [`BotClient::jobs`], fewer where they are too long together; nothing if the first of them alone
    /// is.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn jobs_any(&self, query: &JobsQuery) -> Result<Option<(JobPage, usize)>, CallError> {
        let mut query = query.clone();
        loop {
            match self.jobs(&query).await {
                Err(CallError::TooLong { .. }) if query.limit.is_some_and(|limit| limit <= 1) => {
                    return Ok(None);
                }
                Err(CallError::TooLong { .. }) => query.limit = Some(query.limit.map_or(1, less)),
                answer => return Ok(Some(answer?)),
            }
        }
    }
}

fn less(limit: usize) -> usize {
    (limit / SHRINK).max(1)
}

/// The first event of a page of which only the beginning is there. It is read by its structure, so
/// that no text in it can pass for its place.
fn glimpse(head: &[u8]) -> Glimpse {
    let seen = RefCell::new(Glimpse::default());
    let mut reader = serde_json::Deserializer::from_slice(head);
    // It ends in the middle, always; what was seen until then is what there is.
    drop(reader.deserialize_map(Within(Place::Page, &seen)));
    let seen = seen.into_inner();
    let event_id = seen.event_id.filter(|id| (1..=EVENT_ID_MAX).contains(id));
    Glimpse { event_id, ..seen }
}

#[derive(Clone, Copy)]
enum Place {
    Page,
    Events,
    Event,
    Data,
}

#[derive(Clone, Copy)]
struct Within<'a>(Place, &'a RefCell<Glimpse>);

impl<'de> DeserializeSeed<'de> for Within<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        match self.0 {
            Place::Events => reader.deserialize_seq(self),
            Place::Page | Place::Event | Place::Data => reader.deserialize_map(self),
        }
    }
}

impl<'de> Visitor<'de> for Within<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the beginning of a page of events")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(place, seen) = self;
        while let Some(name) = map.next_key::<String>()? {
            match (place, name.as_str()) {
                (Place::Page, "events") => map.next_value_seed(Within(Place::Events, seen))?,
                (Place::Event, "event_id") => seen.borrow_mut().event_id = Some(map.next_value()?),
                (Place::Event, "data") => map.next_value_seed(Within(Place::Data, seen))?,
                (Place::Data, "job_id") => seen.borrow_mut().job_id = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        // Only the first one was asked for.
        list.next_element_seed(Within(Place::Event, self.1))?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(head: &str, event_id: Option<u64>, job_id: Option<&str>) {
        let expected = Glimpse { event_id, job_id: job_id.map(str::to_owned) };
        assert_eq!(glimpse(head.as_bytes()), expected, "{head}");
    }

    #[test]
    fn the_beginning_of_an_event_is_enough() {
        check(
            r#"{"events":[{"event_id":7,"event_type":"job.payment_sent","data":{"job_id":"job_1","note":"xxx"#,
            Some(7),
            Some("job_1"),
        );
        check(r#"{"last_acked_event_id":3,"events":[{"event_id":7,"data":{"note":"xxx"#, Some(7), None);
        // Neither an escaped text nor another place can pass for it.
        check(r#"{"events":[{"data":{"event_id":9,"job_id":"j","note":"\"event_id\":8,"#, None, Some("j"));
        check(r#"{"event_id":9,"events":[{"event_type":"x"#, None, None);
        for head in [
            "",
            "[",
            "{}",
            "{\"events\":[]}",
            "{\"events\":[{\"event_id\":0,",
            "{\"events\":[{\"event_id\":99999999999999999,",
        ] {
            check(head, None, None);
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(head: Vec<u8>) {
            let _ = glimpse(&head);
        }
    }
}
