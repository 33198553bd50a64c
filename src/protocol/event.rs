//! The event log, as a party reads it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Epoch, EventId, JobId, Timestamp};

/// What happened to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventType {
    /// The buyer asked.
    #[serde(rename = "job.requested")]
    Requested,
    /// The seller quoted.
    #[serde(rename = "job.quoted")]
    Quoted,
    /// The buyer accepted.
    #[serde(rename = "job.accepted")]
    Accepted,
    /// The buyer submitted a payment hash.
    #[serde(rename = "job.payment_submitted")]
    PaymentSubmitted,
    /// The seller took the lock.
    #[serde(rename = "job.running")]
    Running,
    /// The seller delivered.
    #[serde(rename = "job.delivered")]
    Delivered,
    /// The seller delivered an error.
    #[serde(rename = "job.failed")]
    Failed,
    /// The buyer cancelled, or the seller refused.
    #[serde(rename = "job.canceled")]
    Canceled,
    /// A time limit passed.
    #[serde(rename = "job.expired")]
    Expired,
}

impl EventType {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Requested,
        Self::Quoted,
        Self::Accepted,
        Self::PaymentSubmitted,
        Self::Running,
        Self::Delivered,
        Self::Failed,
        Self::Canceled,
        Self::Expired,
    ];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requested => "job.requested",
            Self::Quoted => "job.quoted",
            Self::Accepted => "job.accepted",
            Self::PaymentSubmitted => "job.payment_submitted",
            Self::Running => "job.running",
            Self::Delivered => "job.delivered",
            Self::Failed => "job.failed",
            Self::Canceled => "job.canceled",
            Self::Expired => "job.expired",
        }
    }

    /// The type with this name on the wire.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place; grows with commit order.
    pub event_id: EventId,
    /// The job it is about.
    pub job_id: JobId,
    /// What happened. A text, so that a reader survives types it does not know.
    #[serde(rename = "type")]
    pub kind: String,
    /// When.
    pub created_at: Timestamp,
    /// `{"job": …}`: the job as it is now, without its result, and with its request only on
    /// `job.requested`. Other relays may send anything or nothing.
    #[serde(default)]
    pub data: Value,
}

/// The answer of `GET /v1/poll`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventPage {
    /// Ascending by id.
    pub events: Vec<Event>,
    /// The caller's acknowledged cursor.
    pub last_acked_event_id: EventId,
    /// The first event that retention has not removed.
    pub min_event_id_retained: EventId,
    /// The last event there is.
    pub head_event_id: EventId,
    /// Which life of the storage these ids belong to.
    pub epoch: Epoch,
}
