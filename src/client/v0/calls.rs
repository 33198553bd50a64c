//! A method for each of the contract's routes that a seller or a buyer needs.
//!
//! Answers are read leniently: unknown fields are ignored, and one entry of a list that cannot be
//! read does not hide the others. An answer about another thing than was asked for is none.

use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::calls::{Health, readable};
use super::super::error::CallError;
use super::error::Key;
use super::limit::Bucket;
use super::rest::{Answer, Ask, BotClient, bytes};
use crate::protocol::v0::apply::{PaymentSent, ReissueRequest};
use crate::protocol::v0::job::JobPage;
use crate::protocol::v0::lists::{Fetched, Role};
use crate::protocol::v0::payload::PayloadPage;
use crate::protocol::v0::poll::EVENT_ID_MAX;
use crate::protocol::v0::search::Sort;
use crate::protocol::v0::{
    Bot, BotId, Charge, EventPage, Evidence, Job, JobDraft, JobId, Moment, Offer, OfferCommand, OfferDraft,
    OfferId, Payload, PayloadId, Registration, Sealed, Status,
};

/// Which offers to list; the default is the relay's: active ones, newest first.
#[derive(Debug, Clone, Default)]
pub struct OffersQuery {
    /// Words that all occur.
    pub text: Option<String>,
    /// Tags that are all there.
    pub tags: Vec<String>,
    /// Only this seller's.
    pub seller: Option<BotId>,
    /// Only one's own.
    pub mine: bool,
    /// Those that take no jobs now as well.
    pub include_paused: bool,
    /// In which order.
    pub sort: Option<Sort>,
    /// How many at most, 1 to 200.
    pub limit: Option<usize>,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

/// A page of offers.
#[derive(Debug, Clone)]
pub struct OfferPage {
    /// Those that could be read.
    pub offers: Vec<Offer>,
    /// How many could not.
    pub unreadable: usize,
    /// Where to go on, if there is more.
    pub next_cursor: Option<String>,
}

/// An offer as anybody sees it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MarketOffer {
    /// Its name.
    pub offer_id: OfferId,
    /// What the seller calls itself.
    #[serde(default)]
    pub seller_bot_name: Option<String>,
    /// One line.
    pub title: String,
    /// Some more.
    pub description: String,
    /// What it is found by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The price in raw.
    pub price_raw: String,
    /// How soon after the payment the result is promised.
    pub turnaround_seconds: u64,
    /// How often it was paid for.
    #[serde(default)]
    pub purchase_count: u64,
    /// What requests look like.
    #[serde(default)]
    pub request_schema_hint: Option<String>,
    /// When the seller was last heard of.
    #[serde(default)]
    pub seller_last_seen_at: Option<Moment>,
}

/// A page of the market.
#[derive(Debug, Clone)]
pub struct MarketPage {
    /// Those that could be read.
    pub offers: Vec<MarketOffer>,
    /// How many could not.
    pub unreadable: usize,
    /// Where to go on, if there is more.
    pub next_cursor: Option<String>,
}

/// Which jobs to list.
#[derive(Debug, Clone)]
pub struct JobsQuery {
    /// On which side.
    pub role: Role,
    /// Only with one of these; any, if there is none.
    pub statuses: Vec<Status>,
    /// Made at this moment or later.
    pub created_since: Option<Moment>,
    /// How many at most, 1 to 200.
    pub limit: Option<usize>,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

/// Which payloads to list.
#[derive(Debug, Clone)]
pub struct PayloadsQuery {
    /// Fetched before, or not.
    pub status: Fetched,
    /// Of which job; of all, if absent.
    pub job_id: Option<JobId>,
    /// How many at most, 1 to 200.
    pub limit: Option<usize>,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

/// From where, and what, to read of the event log.
#[derive(Debug, Clone, Default)]
pub struct PollQuery {
    /// After this event; after the acknowledged one, if absent.
    pub since: Option<u64>,
    /// Only these types; all, if there is none.
    pub types: Vec<String>,
    /// How many at most, 1 to 200.
    pub limit: Option<usize>,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Delivered {
    /// The payload that was handed over.
    pub payload_id: PayloadId,
    /// Where the job is now, if it moved.
    #[serde(default)]
    pub job_status: Option<Status>,
    /// When it was delivered, if it was.
    #[serde(default)]
    pub delivered_at: Option<Moment>,
}

/// The relay took note of a payment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Sent {
    /// For which job.
    pub job_id: JobId,
    /// When it was sent.
    pub sent_at: Moment,
}

/// The relay took note of a wish for another charge.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Requested {
    /// For which job.
    pub job_id: JobId,
    /// When it was asked for.
    pub requested_at: Moment,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default, alias = "jobs", alias = "payloads")]
    offers: Vec<Value>,
    #[serde(default)]
    next_cursor: Option<String>,
}

/// Bots.
impl BotClient {
    /// `POST /v0/bots`: makes these keys known. The same keys may do so again.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn register(&self) -> Result<Bot, CallError> {
        let registration = Registration::of(self.keys());
        let bot: Bot = self.post(&["v0", "bots"], &self.nonce(), Some(&registration)).await?.json()?;
        ensure(bot.bot_id == self.bot_id(), bot)
    }

    /// `GET /v0/bots/{id}`. Its key is the one that its name follows from.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn bot(&self, id: &BotId) -> Result<Bot, CallError> {
        let bot: Bot = self.get(&["v0", "bots", &id.to_string()], &[], None).await?.json()?;
        ensure(bot.bot_id == *id && BotId::of(&bot.signing_pubkey_ed25519) == *id, bot)
    }

    /// `POST /v0/bots/{id}/name` of oneself; an empty name takes the name away.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn rename(&self, name: &str) -> Result<Bot, CallError> {
        let (id, body) = (self.bot_id().to_string(), json!({ "bot_name": name }));
        self.post(&["v0", "bots", &id, "name"], &self.nonce(), Some(&body)).await?.json()
    }

    /// `POST /v0/bots/{id}/revoke` of oneself: for ever.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn revoke(&self) -> Result<(), CallError> {
        let id = self.bot_id().to_string();
        self.post(&["v0", "bots", &id, "revoke"], &self.nonce(), None::<&()>).await.map(drop)
    }
}

/// Offers.
impl BotClient {
    /// `POST /v0/offers`
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn create_offer(&self, draft: &OfferDraft, key: &Key) -> Result<Offer, CallError> {
        self.post(&["v0", "offers"], &key.to_string(), Some(draft)).await?.json()
    }

    /// `GET /v0/offers`
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn offers(&self, query: &OffersQuery) -> Result<OfferPage, CallError> {
        let mut pairs = query.pairs();
        push(&mut pairs, "mine", query.mine.then_some(true));
        push(&mut pairs, "include_paused", query.include_paused.then_some(true));
        let page: Page = self.get(&["v0", "offers"], &pairs, Some(Bucket::Offers)).await?.json()?;
        let (offers, unreadable) = readable(page.offers);
        Ok(OfferPage { offers, unreadable, next_cursor: page.next_cursor })
    }

    /// `GET /v0/offers/{id}`, in whatever state.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn offer(&self, id: &OfferId) -> Result<Offer, CallError> {
        let offer: Offer =
            self.get(&["v0", "offers", id.as_str()], &[], Some(Bucket::Offers)).await?.json()?;
        ensure(offer.offer_id == *id, offer)
    }

    /// `POST /v0/offers/{id}/cancel`, `pause` or `resume`: each may be repeated.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn change_offer(&self, id: &OfferId, command: OfferCommand) -> Result<Offer, CallError> {
        let verb = match command {
            OfferCommand::Cancel => "cancel",
            OfferCommand::Pause => "pause",
            OfferCommand::Resume => "resume",
        };
        let offer: Offer =
            self.post(&["v0", "offers", id.as_str(), verb], &self.nonce(), None::<&()>).await?.json()?;
        ensure(offer.offer_id == *id, offer)
    }

    /// `GET /market/offers`, unsigned.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn market(&self, query: &OffersQuery) -> Result<MarketPage, CallError> {
        let url = self.address(&["market", "offers"], &query.pairs())?;
        let ask = Ask { signed: false, ..Ask::get(url, Some(Bucket::Offers)) };
        let page: Page = self.send(ask).await?.json()?;
        let (offers, unreadable) = readable(page.offers);
        Ok(MarketPage { offers, unreadable, next_cursor: page.next_cursor })
    }
}

/// Jobs, for both parties.
impl BotClient {
    /// `GET /v0/jobs/{id}`
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn job(&self, id: &JobId) -> Result<Job, CallError> {
        let answer = self.get(&["v0", "jobs", id.as_str()], &[], None).await?;
        self.job_in(&answer, id)
    }

    /// `GET /v0/jobs`, newest first, and how many of the page could not be read.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn jobs(&self, query: &JobsQuery) -> Result<(JobPage, usize), CallError> {
        let role = match query.role {
            Role::Buyer => "buyer",
            Role::Seller => "seller",
        };
        let mut pairs = vec![("role", role.to_owned())];
        pairs.extend(query.statuses.iter().map(|status| ("status", status.name().to_owned())));
        push(&mut pairs, "created_since", query.created_since);
        push(&mut pairs, "limit", query.limit);
        push(&mut pairs, "cursor", query.cursor.clone());
        let page: Page = self.get(&["v0", "jobs"], &pairs, None).await?.json()?;
        let (jobs, unreadable) = readable(page.offers);
        Ok((JobPage { jobs, next_cursor: page.next_cursor }, unreadable))
    }

    fn job_in(&self, answer: &Answer, id: &JobId) -> Result<Job, CallError> {
        let job: Job = answer.json()?;
        let (me, same) = (self.bot_id(), job.job_id == *id);
        ensure(same && job.has_party(&me), job)
    }

    async fn move_job(
        &self,
        id: &JobId,
        verb: &[&str],
        key: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Answer, CallError> {
        self.post(&[&["v0", "jobs", id.as_str()], verb].concat(), key, body).await
    }
}

/// Moves of the buyer.
impl BotClient {
    /// `POST /v0/jobs`: the job's name is its key, so that a relay which was busy has used it up.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn create_job(&self, draft: &JobDraft) -> Result<Job, CallError> {
        let answer = self.post(&["v0", "jobs"], draft.job_id.as_str(), Some(draft)).await?;
        self.job_in(&answer, &draft.job_id)
    }

    /// `POST /v0/jobs/{id}/cancel`
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn cancel_job(&self, id: &JobId, key: &Key) -> Result<Job, CallError> {
        let answer = self.move_job(id, &["cancel"], &key.to_string(), None::<&()>).await?;
        self.job_in(&answer, id)
    }

    /// `POST /v0/jobs/{id}/payment_sent`
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn payment_sent(&self, id: &JobId, sent: &PaymentSent, key: &Key) -> Result<Sent, CallError> {
        self.move_job(id, &["payment_sent"], &key.to_string(), Some(sent)).await?.json()
    }

    /// `POST /v0/jobs/{id}/charge/reissue_request`
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn request_reissue(
        &self,
        id: &JobId,
        wish: &ReissueRequest,
        key: &Key,
    ) -> Result<Requested, CallError> {
        self.move_job(id, &["charge", "reissue_request"], &key.to_string(), Some(wish)).await?.json()
    }
}

/// Moves of the seller.
impl BotClient {
    /// `POST /v0/jobs/{id}/charge`
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn charge(&self, id: &JobId, charge: &Charge, key: &Key) -> Result<Job, CallError> {
        let answer = self.move_job(id, &["charge"], &key.to_string(), Some(charge)).await?;
        self.job_in(&answer, id)
    }

    /// `POST /v0/jobs/{id}/charge/reissue`
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn reissue(&self, id: &JobId, charge: &Charge, key: &Key) -> Result<Job, CallError> {
        let answer = self.move_job(id, &["charge", "reissue"], &key.to_string(), Some(charge)).await?;
        self.job_in(&answer, id)
    }

    /// `POST /v0/jobs/{id}/mark_paid`
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn mark_paid(&self, id: &JobId, evidence: &Evidence, key: &Key) -> Result<Job, CallError> {
        let answer = self.move_job(id, &["mark_paid"], &key.to_string(), Some(evidence)).await?;
        self.job_in(&answer, id)
    }

    /// `POST /v0/jobs/{id}/deliver`: a deliverable, or a message.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn deliver(&self, id: &JobId, payload: &Sealed, key: &Key) -> Result<Delivered, CallError> {
        let body = json!({ "payload": payload });
        let delivered: Delivered =
            self.move_job(id, &["deliver"], &key.to_string(), Some(&body)).await?.json()?;
        ensure(delivered.payload_id == payload.payload_id, delivered)
    }
}

/// Payloads, the event log, and the relay itself.
impl BotClient {
    /// `GET /v0/payloads/{id}`: sealed still, and not believed yet.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn payload(&self, id: &PayloadId) -> Result<Payload, CallError> {
        let answer = self.get(&["v0", "payloads", id.as_str()], &[], Some(Bucket::Payloads)).await?;
        let payload: Payload = answer.json()?;
        ensure(payload.payload_id == *id, payload)
    }

    /// `GET /v0/payloads`, newest first, and how many of the page could not be read.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn payloads(&self, query: &PayloadsQuery) -> Result<(PayloadPage, usize), CallError> {
        let mut pairs = vec![("status", word(&query.status))];
        push(&mut pairs, "job_id", query.job_id.clone());
        push(&mut pairs, "limit", query.limit);
        push(&mut pairs, "cursor", query.cursor.clone());
        let page: Page = self.get(&["v0", "payloads"], &pairs, Some(Bucket::Payloads)).await?.json()?;
        let (payloads, unreadable) = readable(page.offers);
        Ok((PayloadPage { payloads, next_cursor: page.next_cursor }, unreadable))
    }

    /// `GET /v0/poll`: ids are positive and grow.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn poll(&self, query: &PollQuery) -> Result<EventPage, CallError> {
        let mut pairs = Vec::new();
        push(&mut pairs, "since_event_id", query.since);
        push(&mut pairs, "limit", query.limit);
        push(&mut pairs, "types", (!query.types.is_empty()).then(|| query.types.join(",")));
        let answer = self.get(&["v0", "poll"], &pairs, Some(Bucket::Poll)).await?;
        let page: EventPage = answer.json()?;
        let mut last = 0;
        for event in &page.events {
            if event.event_id <= last || event.event_id > EVENT_ID_MAX {
                return Err(answer.unfit("event ids are positive and grow"));
            }
            last = event.event_id;
        }
        Ok(page)
    }

    /// `POST /v0/poll/ack`: the cursor afterwards, which never goes back.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn ack(&self, up_to: u64) -> Result<u64, CallError> {
        #[derive(Deserialize)]
        struct Acked {
            last_acked_event_id: u64,
        }
        let (url, body) = (self.address(&["v0", "poll", "ack"], &[])?, json!({ "up_to_event_id": up_to }));
        let key = self.nonce();
        let acked: Acked = self.send(post(url, Bucket::Poll, &key, bytes(&body)?)).await?.json()?;
        Ok(acked.last_acked_event_id)
    }

    /// `GET /healthz`, unsigned, and how the relay's clock compares with ours.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn health(&self) -> Result<Health, CallError> {
        let before = self.timestamp();
        let ask = Ask { signed: false, ..Ask::get(self.address(&["healthz"], &[])?, None) };
        let answer = self.send(ask).await?;
        let took: Duration = self.timestamp().since(before);
        let middle = before.plus(took / 2);
        let skew_seconds = answer.date.map(|date| date.seconds() - middle.seconds());
        Ok(Health { ok: true, skew_seconds, took })
    }
}

impl BotClient {
    async fn get(
        &self,
        parts: &[&str],
        query: &[(&str, String)],
        bucket: Option<Bucket>,
    ) -> Result<Answer, CallError> {
        self.send(Ask::get(self.address(parts, query)?, bucket)).await
    }

    async fn post(
        &self,
        parts: &[&str],
        key: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Answer, CallError> {
        let (url, body) = (self.address(parts, &[])?, body.map(bytes).transpose()?);
        self.send(post(url, Bucket::Writes, key, body.unwrap_or_default())).await
    }
}

fn post(url: reqwest::Url, bucket: Bucket, key: &str, body: Vec<u8>) -> Ask<'_> {
    Ask { method: Method::POST, url, bucket: Some(bucket), key: Some(key), body, signed: true }
}

impl OffersQuery {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        push(&mut pairs, "q", self.text.clone());
        push(&mut pairs, "tags", (!self.tags.is_empty()).then(|| self.tags.join(",")));
        push(&mut pairs, "seller_bot_id", self.seller);
        push(&mut pairs, "sort", self.sort.map(|sort| word(&sort)));
        push(&mut pairs, "limit", self.limit);
        push(&mut pairs, "cursor", self.cursor.clone());
        pairs
    }
}

fn push(pairs: &mut Vec<(&'static str, String)>, name: &'static str, value: Option<impl ToString>) {
    pairs.extend(value.map(|value| (name, value.to_string())));
}

/// The name of a choice on the wire.
fn word(choice: &impl Serialize) -> String {
    serde_json::to_value(choice).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

fn ensure<T>(fits: bool, answer: T) -> Result<T, CallError> {
    if fits { Ok(answer) } else { Err(CallError::malformed(200, "an answer about something else")) }
}
