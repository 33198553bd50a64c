//! The event log as a party reads it, and who is told that there is news.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::json;
use tokio::sync::watch;

use super::model::{Cursor, EventQuery, LogEntry, LogRecord, LogState, Receipt};
use super::service::unavailable;
use super::storage::{Storage, StorageError};
use crate::points::crash_point;
use crate::protocol::event::EventPage;
use crate::protocol::{Code, Event, EventId, EventType, Job, PublicKey, Refusal};

/// Entries that are read at once to find out whom to tell.
const ENTRIES_PER_READ: usize = 500;

/// What a party asks of the log.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) party: PublicKey,
    /// After which event; what was acknowledged if absent.
    pub(super) since: Option<EventId>,
    pub(super) epoch: Option<String>,
    pub(super) kinds: Vec<EventType>,
    pub(super) limit: usize,
}

/// One page of a party's events.
pub(super) async fn page(storage: &dyn Storage, request: &Request) -> Result<EventPage, Refusal> {
    // In this order: whoever goes on from the head that is named here has missed no event, and what
    // retention removes meanwhile is seen as removed, never as a gap.
    let cursor = storage.cursor(request.party).await.map_err(|error| unavailable(&error))?;
    let after = request.since.unwrap_or(cursor.acked);
    let log = storage.log().await.map_err(|error| unavailable(&error))?;
    let events = read(storage, request, after).await.map_err(|error| unavailable(&error))?;
    let now = storage.cursor(request.party).await.map_err(|error| unavailable(&error))?;
    ensure_reachable(after, request.epoch.as_deref(), &log, now)?;
    Ok(EventPage {
        events,
        last_acked_event_id: cursor.acked,
        min_event_id_retained: log.min_retained,
        head_event_id: log.head,
        epoch: log.epoch,
    })
}

/// Moves a party's cursor forward, not beyond the last event.
pub(super) async fn acknowledge(
    storage: &dyn Storage,
    party: PublicKey,
    up_to: EventId,
    receipt: Option<&Receipt>,
) -> Result<EventId, Refusal> {
    let log = storage.log().await.map_err(|error| unavailable(&error))?;
    if up_to > log.head {
        return Err(Refusal::field("up_to_event_id", format!("the last event is {}", log.head)));
    }
    storage.acknowledge(party, up_to, receipt).await.map_err(|error| unavailable(&error))
}

async fn read(storage: &dyn Storage, request: &Request, after: EventId) -> Result<Vec<Event>, StorageError> {
    let query =
        EventQuery { party: request.party, after, kinds: request.kinds.clone(), limit: request.limit };
    Ok(storage.events(&query).await?.into_iter().map(|(entry, job)| on_wire(&entry, &job)).collect())
}

/// That nothing after the cursor is gone.
fn ensure_reachable(
    after: EventId,
    epoch: Option<&str>,
    log: &LogState,
    cursor: Cursor,
) -> Result<(), Refusal> {
    let reason = if epoch.is_some_and(|epoch| epoch != log.epoch.0) {
        "the cursor belongs to another life of this relay's storage"
    } else if after > log.head {
        "the cursor is beyond the last event"
    } else if after < cursor.forgotten {
        "events after the cursor have been removed"
    } else {
        return Ok(());
    };
    Err(Refusal::new(Code::CursorTooOld, reason).with_details(json!({
        "min_event_id_retained": log.min_retained,
        "head_event_id": log.head,
        "epoch": log.epoch,
        "suggested_resync": true
    })))
}

fn on_wire(entry: &LogEntry, job: &Job) -> Event {
    let mut fields = json!(job);
    if let Some(fields) = fields.as_object_mut() {
        fields.remove("result_payload");
        if entry.kind != EventType::Requested {
            fields.remove("request_payload");
        }
    }
    Event {
        event_id: entry.event_id,
        job_id: entry.job_id,
        kind: entry.kind.name().to_owned(),
        created_at: entry.created_at,
        data: json!({ "job": fields }),
    }
}

/// Tells parties of this process that the log has news for them; what it is, they read themselves.
#[derive(Debug, Default)]
pub(super) struct Tail {
    parties: Mutex<HashMap<PublicKey, watch::Sender<EventId>>>,
}

impl Tail {
    /// The last event for a party that has become durable since it asked; 0 if none has.
    pub(super) fn subscribe(&self, party: PublicKey) -> watch::Receiver<EventId> {
        let mut parties = self.parties.lock().unwrap_or_else(PoisonError::into_inner);
        parties.retain(|_, sender| sender.receiver_count() > 0);
        parties.entry(party).or_insert_with(|| watch::channel(EventId(0)).0).subscribe()
    }

    /// Follows the log until its storage is closed.
    pub(super) async fn follow(&self, storage: &dyn Storage) -> Result<(), StorageError> {
        let mut heads = storage.heads();
        let mut seen = *heads.borrow_and_update();
        while heads.changed().await.is_ok() {
            let head = *heads.borrow_and_update();
            crash_point!("relay/hint/due");
            while seen < head {
                let entries = storage.entries(seen, ENTRIES_PER_READ).await?;
                // Retention may have removed what nobody listened to.
                let Some(last) = entries.last() else { break };
                let last = last.event_id();
                // Entries beyond the head are not durable yet; their own wake-up follows.
                entries.iter().filter(|entry| entry.event_id() <= head).for_each(|entry| self.tell(entry));
                seen = last.min(head);
            }
            seen = head;
        }
        Ok(())
    }

    fn tell(&self, entry: &LogRecord) {
        let parties = self.parties.lock().unwrap_or_else(PoisonError::into_inner);
        for reader in entry.readers() {
            if let Some(sender) = parties.get(&reader) {
                sender.send_replace(entry.event_id());
            }
        }
    }
}
