//! A method for each of the contract's routes.
//!
//! Answers are read leniently: unknown fields are ignored, the additions may be missing, and one
//! job of a page that cannot be read does not hide the others.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;

use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::CallError;
use super::rest::{RelayClient, Signed};
use crate::protocol::apply::Outcome;
use crate::protocol::event::EventPage;
use crate::protocol::offer::{OfferTerms, PricingMode};
use crate::protocol::{
    Actor, Epoch, EventId, EventType, Job, JobId, Offer, OfferId, PublicKey, Status, Timestamp,
};

/// Which offers to list; the default is the relay's: active ones, newest first.
#[derive(Debug, Clone, Default)]
pub struct OffersQuery {
    /// Part of the title or the description.
    pub text: Option<String>,
    /// All of them must be there.
    pub tags: Vec<String>,
    /// Only this seller's.
    pub seller: Option<PublicKey>,
    /// Only with prices of this kind.
    pub pricing_mode: Option<PricingMode>,
    /// Active ones, or those that are not.
    pub active: Option<bool>,
    /// Only of sellers who are connected.
    pub online_only: bool,
    /// How many at most, 1 to 100.
    pub limit: Option<usize>,
    /// How many to pass over.
    pub offset: Option<usize>,
}

/// Which jobs to list.
#[derive(Debug, Clone, Default)]
pub struct JobsQuery {
    /// Only with one of these; any, if there is none.
    pub statuses: Vec<Status>,
    /// Only where we are the seller, or the buyer.
    pub role: Option<Actor>,
    /// How many at most, 1 to 100.
    pub limit: Option<usize>,
    /// How many to pass over.
    pub offset: Option<usize>,
    /// Only those that changed after this moment, oldest change first.
    pub updated_after: Option<Timestamp>,
    /// In place of the two above: `start`, or the `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// A page of offers.
#[derive(Debug, Clone)]
pub struct OfferPage {
    /// Those that could be read.
    pub offers: Vec<Offer>,
    /// How many could not.
    pub unreadable: usize,
    /// How many there are on all pages, if the relay says so.
    pub total: Option<u64>,
}

/// A page of jobs.
#[derive(Debug, Clone)]
pub struct JobPage {
    /// Those that could be read.
    pub jobs: Vec<Job>,
    /// How many could not.
    pub unreadable: usize,
    /// How many there are on all pages, if the relay says so.
    pub total: Option<u64>,
    /// Where to go on, on relays that have cursors.
    pub next_cursor: Option<String>,
}

/// A wish for the execution lock.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LockRequest {
    /// Which of the seller's processes.
    pub holder: String,
    /// For how long, 10 to 600.
    pub ttl_seconds: u64,
    /// The payment that the seller found by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_tx_hash: Option<String>,
}

/// From where, and what, to read of the event log.
#[derive(Debug, Clone, Default)]
pub struct EventsQuery {
    /// After this event; after the acknowledged one, if absent.
    pub since: Option<EventId>,
    /// The life of the storage that `since` belongs to.
    pub epoch: Option<Epoch>,
    /// Only of these types; all, if there is none.
    pub types: Vec<EventType>,
    /// How many at most, 1 to 200.
    pub limit: Option<usize>,
}

/// A relay that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Whether it says that it is well.
    pub ok: bool,
    /// How many seconds its clock is ahead of ours, as far as a header in whole seconds tells.
    pub skew_seconds: Option<i64>,
    /// How long the answer took.
    pub took: Duration,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default, alias = "jobs")]
    offers: Vec<Value>,
    #[serde(default)]
    total: Option<u64>,
    #[serde(default)]
    next_cursor: Option<String>,
}

/// Offers.
impl RelayClient {
    /// `GET /v1/offers`, unsigned.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn offers(&self, query: &OffersQuery) -> Result<OfferPage, CallError> {
        let mut pairs = Vec::new();
        push(&mut pairs, "q", query.text.clone());
        push(&mut pairs, "tags", (!query.tags.is_empty()).then(|| query.tags.join(",")));
        push(&mut pairs, "seller_pubkey", query.seller);
        push(&mut pairs, "pricing_mode", query.pricing_mode.map(mode_name));
        push(&mut pairs, "active", query.active);
        push(&mut pairs, "online_only", query.online_only.then_some(true));
        push(&mut pairs, "limit", query.limit);
        push(&mut pairs, "offset", query.offset);
        let url = self.address("/v1/offers", &pairs);
        let page: Page = self.send(Method::GET, url, None, Signed::No).await?.json()?;
        let (offers, unreadable) = readable(page.offers);
        Ok(OfferPage { offers, unreadable, total: page.total })
    }

    /// `GET /v1/offers/{id}`, unsigned.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn offer(&self, id: &OfferId) -> Result<Offer, CallError> {
        let url = self.address(&format!("/v1/offers/{id}"), &[]);
        self.send(Method::GET, url, None, Signed::No).await?.field("offer")
    }

    /// `POST /v1/offers`
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn create_offer(&self, terms: &OfferTerms) -> Result<Offer, CallError> {
        self.mutate(Method::POST, "/v1/offers", &json!(terms)).await?.field("offer")
    }

    /// `PATCH /v1/offers/{id}` with the fields of `changes`.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn patch_offer(&self, id: &OfferId, changes: &Value) -> Result<Offer, CallError> {
        self.mutate(Method::PATCH, &format!("/v1/offers/{id}"), changes).await?.field("offer")
    }
}

/// Jobs, for both parties.
impl RelayClient {
    /// `GET /v1/jobs`
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn jobs(&self, query: &JobsQuery) -> Result<JobPage, CallError> {
        let mut pairs = Vec::new();
        let names: Vec<&str> = query.statuses.iter().map(|status| status.name()).collect();
        push(&mut pairs, "status", (!names.is_empty()).then(|| names.join(",")));
        push(&mut pairs, "role", query.role.and_then(role_name));
        push(&mut pairs, "limit", query.limit);
        push(&mut pairs, "offset", query.offset);
        push(&mut pairs, "updated_after", query.updated_after);
        push(&mut pairs, "cursor", query.cursor.clone());
        let url = self.address("/v1/jobs", &pairs);
        let page: Page = self.send(Method::GET, url, None, Signed::Yes).await?.json()?;
        let (jobs, unreadable) = readable(page.offers);
        Ok(JobPage { jobs, unreadable, total: page.total, next_cursor: page.next_cursor })
    }

    /// `GET /v1/jobs/{id}`
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn job(&self, id: &JobId) -> Result<Job, CallError> {
        let url = self.address(&format!("/v1/jobs/{id}"), &[]);
        self.send(Method::GET, url, None, Signed::Yes).await?.field("job")
    }

    async fn job_verb(&self, id: &JobId, verb: &str, body: &Value) -> Result<Job, CallError> {
        self.mutate(Method::POST, &format!("/v1/jobs/{id}/{verb}"), body).await?.field("job")
    }

    async fn mutate(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<super::rest::Answer, CallError> {
        self.send(method, self.address(path, &[]), Some(body), Signed::Yes).await
    }
}

/// Moves of the buyer.
impl RelayClient {
    /// `POST /v1/jobs`
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn create_job(&self, offer: &OfferId, payload: &Value) -> Result<Job, CallError> {
        let body = json!({ "offer_id": offer, "request_payload": payload });
        self.mutate(Method::POST, "/v1/jobs", &body).await?.field("job")
    }

    /// `POST /v1/jobs/{id}/accept`
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn accept(&self, id: &JobId) -> Result<Job, CallError> {
        self.job_verb(id, "accept", &json!({})).await
    }

    /// `POST /v1/jobs/{id}/payment`
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn payment(&self, id: &JobId, payment_tx_hash: &str) -> Result<Job, CallError> {
        self.job_verb(id, "payment", &json!({ "payment_tx_hash": payment_tx_hash })).await
    }

    /// `POST /v1/jobs/{id}/cancel`
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn cancel(&self, id: &JobId, reason: Option<&str>) -> Result<Job, CallError> {
        let body = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
        self.job_verb(id, "cancel", &body).await
    }
}

/// Moves of the seller.
impl RelayClient {
    /// `POST /v1/jobs/{id}/quote`
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn quote(
        &self,
        id: &JobId,
        amount_raw: &str,
        invoice_address: &str,
        expires_at: Option<Timestamp>,
    ) -> Result<Job, CallError> {
        let mut body = json!({ "quote_amount_raw": amount_raw, "quote_invoice_address": invoice_address });
        if let Some(expires_at) = expires_at {
            body["quote_expires_at"] = json!(expires_at);
        }
        self.job_verb(id, "quote", &body).await
    }

    /// `POST /v1/jobs/{id}/refuse`: an addition; see [`CallError::may_lack_route`].
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn refuse(&self, id: &JobId, reason: &str) -> Result<Job, CallError> {
        self.job_verb(id, "refuse", &json!({ "reason": reason })).await
    }

    /// `POST /v1/jobs/{id}/lock`
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn lock(&self, id: &JobId, wish: &LockRequest) -> Result<Job, CallError> {
        self.job_verb(id, "lock", &json!(wish)).await
    }

    /// `DELETE /v1/jobs/{id}/lock`: an addition; see [`CallError::may_lack_route`].
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn unlock(&self, id: &JobId, holder: &str, lock_token: u64) -> Result<(), CallError> {
        let body = json!({ "holder": holder, "lock_token": lock_token });
        self.mutate(Method::DELETE, &format!("/v1/jobs/{id}/lock"), &body).await.map(drop)
    }

    /// `POST /v1/jobs/{id}/deliver`
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn deliver(
        &self,
        id: &JobId,
        outcome: &Outcome,
        lock_token: Option<u64>,
    ) -> Result<Job, CallError> {
        let mut body = match outcome {
            Outcome::Result(result) => json!({ "result_payload": result }),
            Outcome::ResultUrl(url) => json!({ "result_url": url }),
            Outcome::Error(error) => json!({ "error": error }),
        };
        if let Some(lock_token) = lock_token {
            body["lock_token"] = json!(lock_token);
        }
        self.job_verb(id, "deliver", &body).await
    }
}

/// The event log, and the relay itself.
impl RelayClient {
    /// `GET /v1/poll`: an addition; see [`CallError::may_lack_route`].
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn poll(&self, query: &EventsQuery) -> Result<EventPage, CallError> {
        let mut pairs = Vec::new();
        let types: Vec<&str> = query.types.iter().map(|kind| kind.name()).collect();
        push(&mut pairs, "since_event_id", query.since);
        push(&mut pairs, "epoch", query.epoch.clone());
        push(&mut pairs, "types", (!types.is_empty()).then(|| types.join(",")));
        push(&mut pairs, "limit", query.limit);
        let url = self.address("/v1/poll", &pairs);
        self.send(Method::GET, url, None, Signed::Yes).await?.json()
    }

    /// `POST /v1/poll/ack`: the cursor afterwards.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn ack(&self, up_to: EventId) -> Result<EventId, CallError> {
        let body = json!({ "up_to_event_id": up_to });
        self.mutate(Method::POST, "/v1/poll/ack", &body).await?.field("last_acked_event_id")
    }

    /// `GET /health`, and how the relay's clock compares with ours.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn health(&self) -> Result<Health, CallError> {
        let before = self.now();
        let answer = self.send(Method::GET, self.address("/health", &[]), None, Signed::No).await?;
        let took = self.now().since(before);
        let middle = before.plus(took / 2);
        let ok = answer.field("ok").unwrap_or(true);
        let skew_seconds = answer.date.map(|date| date.seconds() - middle.seconds());
        Ok(Health { ok, skew_seconds, took })
    }
}

fn push(pairs: &mut Vec<(&'static str, String)>, name: &'static str, value: Option<impl ToString>) {
    pairs.extend(value.map(|value| (name, value.to_string())));
}

const fn mode_name(mode: PricingMode) -> &'static str {
    match mode {
        PricingMode::Fixed => "fixed",
        PricingMode::Quote => "quote",
    }
}

const fn role_name(actor: Actor) -> Option<&'static str> {
    match actor {
        Actor::Seller => Some("seller"),
        Actor::Buyer => Some("buyer"),
        Actor::Clock => None,
    }
}

pub(super) fn readable<T: for<'de> Deserialize<'de>>(values: Vec<Value>) -> (Vec<T>, usize) {
    let all = values.len();
    let read: Vec<T> = values.into_iter().filter_map(|value| serde_json::from_value(value).ok()).collect();
    let unreadable = all - read.len();
    (read, unreadable)
}

#[cfg(test)]
mod tests;
