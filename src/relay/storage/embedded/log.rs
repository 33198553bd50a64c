//! The event log: who reads what, how far they have come, and what is forgotten.

use std::collections::HashMap;

use super::Embedded;
use super::guards::put_answer;
use super::keys::{ACKED, AnswerBody, EVENTS, EVENTS_OF_PARTY, FORGOTTEN, JOBS};
use crate::points::crash_point;
use crate::protocol::{EventId, EventType, Job, PublicKey, Timestamp};
use crate::relay::model::{Cursor, EventQuery, LogEntry, LogRecord, LogState, Receipt};
use crate::store::{Batch, StoreError};

impl Embedded {
    pub(super) fn log_state(&self) -> Result<LogState, StoreError> {
        // The head first: an event that is appended in between makes the log look shorter, not torn.
        // What a reader can see counts, also in the instant before its writer has noted the number.
        let last = EVENTS.all(&self.store).next_back().transpose()?.map(|(id, _)| id);
        let head = self.counters().head.max(last.unwrap_or_default());
        let first = EVENTS.all(&self.store).next().transpose()?.map(|(id, _)| id);
        let min_retained = first.unwrap_or(EventId(head.0 + 1));
        Ok(LogState { min_retained, head: head.max(EventId(min_retained.0 - 1)), epoch: self.epoch.clone() })
    }

    pub(super) fn events_of(&self, query: &EventQuery) -> Result<Vec<(LogEntry, Job)>, StoreError> {
        let mut found = Vec::new();
        let from = (query.party, query.after);
        for entry in EVENTS_OF_PARTY.prefix_after(&self.store, &query.party, &from) {
            let (_, LogRecord::Job(entry)) = entry? else { continue };
            if !query.kinds.is_empty() && !query.kinds.contains(&entry.kind) {
                continue;
            }
            if let Some(record) = JOBS.get(&self.store, &entry.job_id)? {
                // A record has no payloads: they are kept beside it.
                let job = record.job;
                let job = if entry.kind == EventType::Requested { self.with_request(job)? } else { job };
                found.push((entry, job));
            }
            if found.len() >= query.limit {
                break;
            }
        }
        Ok(found)
    }

    pub(super) fn entries_after(&self, after: EventId, limit: usize) -> Result<Vec<LogRecord>, StoreError> {
        EVENTS.after(&self.store, &after).take(limit).map(|entry| entry.map(|(_, entry)| entry)).collect()
    }

    pub(super) fn cursor_of(&self, party: &PublicKey) -> Result<Cursor, StoreError> {
        Ok(Cursor {
            acked: ACKED.get(&self.store, party)?.unwrap_or_default(),
            forgotten: FORGOTTEN.get(&self.store, party)?.unwrap_or_default(),
        })
    }

    pub(super) fn ack(
        &self,
        party: &PublicKey,
        up_to: EventId,
        receipt: Option<&Receipt>,
    ) -> Result<EventId, StoreError> {
        let _turn = self.store.writer();
        let current = ACKED.get(&self.store, party)?.unwrap_or_default();
        let acked = current.max(up_to);
        let mut batch = Batch::default();
        if acked > current {
            ACKED.put(&mut batch, party, &acked)?;
        }
        if let Some(receipt) = receipt {
            put_answer(&mut batch, receipt, AnswerBody::Acked(acked))?;
        }
        crash_point!("relay/ack/decided");
        self.store.commit(batch)?;
        crash_point!("relay/ack/committed");
        Ok(acked)
    }

    /// Removes events before `horizon`, at most `limit`; whether the limit was reached.
    pub(super) fn forget_events(&self, horizon: Timestamp, limit: usize) -> Result<bool, StoreError> {
        let _turn = self.store.writer();
        let mut batch = Batch::default();
        let mut newest: HashMap<PublicKey, EventId> = HashMap::new();
        let mut removed = 0;
        for entry in EVENTS.all(&self.store).take(limit) {
            let (id, entry) = entry?;
            if entry.created_at() >= horizon {
                break;
            }
            for reader in entry.readers() {
                EVENTS_OF_PARTY.remove(&mut batch, &(reader, id));
                newest.insert(reader, id);
            }
            EVENTS.remove(&mut batch, &id);
            removed += 1;
        }
        for (party, id) in newest {
            FORGOTTEN.put(&mut batch, &party, &id)?;
        }
        self.store.commit(batch)?;
        Ok(removed == limit)
    }
}
