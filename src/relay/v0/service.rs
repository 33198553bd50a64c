//! What a bot can ask for: load, let time pass, decide by `protocol::v0`, settle.
//!
//! Architecture invariant: no HTTP here, and no storage by name.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::super::model::Receipt;
use super::super::service::unavailable as log_failure;
use super::super::storage::{Storage, StorageError};
use super::model::{Found, Settled, Settlement, Stall};
use crate::edge::{Clock, Entropy};
use crate::nano::Amount;
use crate::protocol::Timestamp;
use crate::protocol::v0::apply::{address_taken, payload_taken};
use crate::protocol::v0::lists::{JobQuery, PayloadQuery, PollQuery, job_cursor};
use crate::protocol::v0::payload::PayloadPage;
use crate::protocol::v0::poll::{Window, window};
use crate::protocol::v0::refusal::Code;
use crate::protocol::v0::search::OfferQuery;
use crate::protocol::v0::{
    Bot, BotId, Caller, Change, Command, Docket, EventPage, Job, JobDraft, JobId, Listing, Moment, News,
    Notice, Offer, OfferCommand, OfferDraft, OfferId, Payload, PayloadId, Refusal, Registration, apply,
    lapse,
};

/// How often a request is decided anew because somebody else was faster. Two parties and a sweeper
/// cannot race more often than this without a fault of their own.
const ATTEMPTS_MAX: usize = 8;

/// How long a count of everything is shown: a market in numbers need not be of this second.
const STATS_TTL: Duration = Duration::from_secs(5);

/// A body of JSON, as it is sent and as it is kept.
type Text = Result<String, Refusal>;

/// What a relay does for bots, apart from how it is asked.
#[derive(Debug, Clone)]
pub(in crate::relay) struct BazaarService {
    storage: Arc<dyn Storage>,
    clock: Clock,
    entropy: Entropy,
    /// The last count of everything, and when it was taken.
    stats: Arc<Mutex<Option<(Timestamp, String)>>>,
}

/// What is wanted of a page of jobs.
#[derive(Serialize)]
struct Jobs {
    jobs: Vec<Job>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct Offers<T> {
    offers: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

impl BazaarService {
    pub(in crate::relay) fn new(storage: Arc<dyn Storage>, clock: Clock, entropy: Entropy) -> Self {
        Self { storage, clock, entropy, stats: Arc::default() }
    }

    /// What is begun needs room until it ends; the last room is for what has begun.
    fn ensure_room(&self) -> Result<(), Refusal> {
        if self.storage.is_short() {
            return Err(Refusal::new(Code::Unavailable, "the relay has no room for anything new; try later"));
        }
        Ok(())
    }

    fn now(&self) -> (Timestamp, Moment) {
        let now = self.clock.now();
        (now, now.into())
    }

    /// A bot, if it has registered.
    pub(in crate::relay) async fn known(&self, id: BotId) -> Result<Option<Bot>, Refusal> {
        self.storage.bot(id).await.map_err(|error| unavailable(&error))
    }

    /// Writes down a sign of life, at most once a minute. Whoever changes the bot meanwhile does so too.
    pub(in crate::relay) async fn seen(&self, bot: Bot) -> Result<(), Refusal> {
        let (at, now) = self.now();
        let Some(seen) = bot.seen(now) else { return Ok(()) };
        let settlement = Settlement { bot: Some((Some(bot), seen)), ..Settlement::at(at) };
        self.storage.settle(settlement).await.map(drop).map_err(|error| unavailable(&error))
    }

    pub(in crate::relay) async fn register(
        &self,
        registration: &Registration,
        claimed: &str,
        receipt: &Receipt,
    ) -> Text {
        for _ in 0..ATTEMPTS_MAX {
            let (at, now) = self.now();
            let fresh = registration.bot(claimed, now)?;
            let before = self.known(fresh.bot_id).await?;
            let bot = match &before {
                None => fresh,
                Some(known) => {
                    known.again(&fresh)?;
                    known.seen(now).unwrap_or_else(|| known.clone())
                }
            };
            let text = text(&bot)?;
            let settlement = Settlement { bot: Some((before, bot)), ..Settlement::at(at) };
            if let Some(text) = self.settle(settlement, receipt, text).await? {
                return Ok(text);
            }
        }
        Err(busy())
    }

    pub(in crate::relay) async fn bot(&self, id: &str) -> Text {
        text(&self.find_bot(id).await?)
    }

    async fn find_bot(&self, id: &str) -> Result<Bot, Refusal> {
        let Ok(id) = id.parse() else { return Err(Refusal::not_found("bot not found")) };
        self.known(id).await?.ok_or_else(|| Refusal::not_found("bot not found"))
    }

    pub(in crate::relay) async fn rename(
        &self,
        caller: BotId,
        id: &str,
        name: &str,
        receipt: &Receipt,
    ) -> Text {
        ensure_self(caller, id)?;
        for _ in 0..ATTEMPTS_MAX {
            let before = self.find_bot(id).await?;
            let bot = before.named(name)?;
            let text = text(&bot)?;
            let settlement =
                Settlement { bot: Some((Some(before), bot)), ..Settlement::at(self.clock.now()) };
            if let Some(text) = self.settle(settlement, receipt, text).await? {
                return Ok(text);
            }
        }
        Err(busy())
    }

    /// Leaves for good: with the bot go its open offers and its unpaid jobs, in one settlement.
    pub(in crate::relay) async fn revoke(&self, caller: BotId, id: &str, receipt: &Receipt) -> Text {
        ensure_self(caller, id)?;
        for _ in 0..ATTEMPTS_MAX {
            let (at, now) = self.now();
            let before = self.find_bot(id).await?;
            let bot = before.left(now);
            let text = json!({"bot_id": caller, "revoked": true, "revoked_at": bot.revoked_at}).to_string();
            let mut settlement = Settlement { bot: Some((Some(before), bot)), ..Settlement::at(at) };
            let open = self.storage.open_offers(caller, now).await.map_err(|error| unavailable(&error))?;
            for listing in open {
                let Some(offer) = listing.offer.revoked(now) else { continue };
                let news = News::OfferCancelled { offer_id: offer.offer_id.clone(), cancelled_at: now };
                settlement.notices.push(Notice { to: caller, news });
                settlement.offers.push((Some(listing.clone()), Listing { offer, ..listing }));
            }
            let unpaid = self.storage.unpaid(caller).await.map_err(|error| unavailable(&error))?;
            for docket in unpaid {
                let expired = lapse(&docket, now);
                let cancelled = || apply(&docket, Caller::Bot(caller), &Command::Revoke, now);
                settlement.jobs.push(expired.map_or_else(cancelled, Ok)?);
            }
            if let Some(text) = self.settle(settlement, receipt, text).await? {
                return Ok(text);
            }
        }
        Err(busy())
    }

    pub(in crate::relay) async fn create_offer(
        &self,
        seller: BotId,
        draft: &OfferDraft,
        receipt: &Receipt,
    ) -> Text {
        self.ensure_room()?;
        let (at, now) = self.now();
        let listing = draft.offer(OfferId::made(now, self.entropy.bytes()), seller, now)?;
        let text = self.shown(&listing.offer, now).await?;
        let settlement = Settlement { offers: vec![(None, listing)], ..Settlement::at(at) };
        self.settle(settlement, receipt, text).await?.ok_or_else(busy)
    }

    pub(in crate::relay) async fn offer(&self, id: &OfferId) -> Text {
        let listing = self.find_listing(id).await?.ok_or_else(|| Refusal::not_found("offer not found"))?;
        self.shown(&listing.offer, self.now().1).await
    }

    pub(in crate::relay) async fn move_offer(
        &self,
        caller: BotId,
        id: &OfferId,
        command: OfferCommand,
        receipt: &Receipt,
    ) -> Text {
        for _ in 0..ATTEMPTS_MAX {
            let (at, now) = self.now();
            let before = self.find_listing(id).await?.ok_or_else(|| Refusal::not_found("offer not found"))?;
            let offer = before.offer.apply(caller, command, now)?.unwrap_or_else(|| before.offer.clone());
            let text = self.shown(&offer, now).await?;
            let after = Listing { offer, ..before.clone() };
            let settlement = Settlement { offers: vec![(Some(before), after)], ..Settlement::at(at) };
            if let Some(text) = self.settle(settlement, receipt, text).await? {
                return Ok(text);
            }
        }
        Err(busy())
    }

    pub(in crate::relay) async fn offers(&self, query: &OfferQuery) -> Text {
        let now = self.now().1;
        let (found, next_cursor) = self.search(query, now).await?;
        let mut offers = Vec::with_capacity(found.len());
        for stall in found {
            offers.push(self.with_seller(&stall.listing.offer, now).await?);
        }
        text(&Offers { offers, next_cursor })
    }

    /// The market, as strangers see it.
    pub(in crate::relay) async fn market(&self, query: &OfferQuery) -> Text {
        let now = self.now().1;
        let (found, next_cursor) = self.search(query, now).await?;
        let mut offers = Vec::with_capacity(found.len());
        for stall in found {
            offers.push(self.in_market(&stall, now).await?);
        }
        text(&Offers { offers, next_cursor })
    }

    pub(in crate::relay) async fn market_offer(&self, id: &OfferId) -> Text {
        let now = self.now().1;
        let gone = || Refusal::not_found("offer not found");
        let stall = self.storage.stall(id).await.map_err(|error| unavailable(&error))?.ok_or_else(gone)?;
        stall.listing.offer.ensure_active(now).map_err(|_| gone())?;
        Ok(self.in_market(&stall, now).await?.to_string())
    }

    async fn search(&self, query: &OfferQuery, now: Moment) -> Result<(Vec<Stall>, Option<String>), Refusal> {
        self.storage.market(query, now).await.map_err(|error| unavailable(&error))
    }

    /// The market in numbers, counted anew after a while: anybody may ask, as often as he likes.
    pub(in crate::relay) async fn stats(&self) -> Text {
        let (at, now) = self.now();
        let known = self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((counted, text)) = known
            && at.since(counted) < STATS_TTL
        {
            return Ok(text);
        }
        let tally = self.storage.tally(now).await.map_err(|error| unavailable(&error))?;
        let text = json!({
            "offers": tally.offers,
            "jobs": tally.jobs,
            "xno_transferred": Amount::from_raw(tally.transferred_raw).to_xno().to_string(),
            "agents_online": tally.online,
        });
        let text = text.to_string();
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, text.clone()));
        Ok(text)
    }

    async fn in_market(&self, stall: &Stall, now: Moment) -> Result<serde_json::Value, Refusal> {
        let offer = self.with_seller(&stall.listing.offer, now).await?;
        let mut shown = json!({ "offer_id": offer.offer_id });
        let fields = [
            ("seller_bot_name", json!(offer.seller_bot_name)),
            ("title", json!(offer.title)),
            ("description", json!(offer.description)),
            ("tags", json!(offer.tags)),
            ("price_raw", json!(offer.price_raw)),
            ("turnaround_seconds", json!(offer.turnaround_seconds)),
            ("purchase_count", json!(stall.purchases)),
            ("created_at", json!(offer.created_at)),
            ("request_schema_hint", json!(stall.listing.request_schema_hint)),
        ];
        if let Some(object) = shown.as_object_mut() {
            let sent = fields.into_iter().filter(|(_, value)| !value.is_null());
            object.extend(sent.map(|(name, value)| (name.to_owned(), value)));
            object.insert("seller_last_seen_at".to_owned(), json!(offer.seller_last_seen_at));
        }
        Ok(shown)
    }

    async fn shown(&self, offer: &Offer, now: Moment) -> Text {
        text(&self.with_seller(offer, now).await?)
    }

    /// The offer as time has left it, with what is known about its seller.
    async fn with_seller(&self, offer: &Offer, now: Moment) -> Result<Offer, Refusal> {
        let seller = self.known(offer.seller_bot_id).await?;
        let (seller_bot_name, seller_last_seen_at) =
            seller.map_or((None, None), |seller| (seller.bot_name, seller.last_seen_at));
        Ok(Offer { seller_bot_name, seller_last_seen_at, ..offer.at(now) })
    }

    pub(in crate::relay) async fn create_job(
        &self,
        buyer: BotId,
        draft: &JobDraft,
        receipt: &Receipt,
    ) -> Text {
        self.ensure_room()?;
        for _ in 0..ATTEMPTS_MAX {
            let (at, now) = self.now();
            draft.check(now)?;
            let listing = self.find_listing(&draft.offer_id).await?;
            let seller = match &listing {
                Some(listing) => self.known(listing.offer.seller_bot_id).await?,
                None => None,
            };
            let change =
                draft.job(buyer, listing.as_ref().map(|listing| &listing.offer), seller.as_ref(), now)?;
            if self.find(&draft.job_id).await?.is_some() {
                return Err(Refusal::conflict("job_id already exists"));
            }
            let text = text(&change.docket.job)?;
            // The offer is named as it is, so that none is sold that was taken back meanwhile.
            let offers = listing.map(|listing| (Some(listing.clone()), listing)).into_iter().collect();
            let settlement = Settlement { offers, jobs: vec![change], ..Settlement::at(at) };
            if let Some(text) = self.settle(settlement, receipt, text).await? {
                return Ok(text);
            }
        }
        Err(busy())
    }

    pub(in crate::relay) async fn job(&self, caller: BotId, id: &JobId) -> Text {
        let docket = self.current(id).await?.ok_or_else(no_such_job)?;
        if !docket.job.has_party(&caller) {
            return Err(Refusal::forbidden("not a party to the job"));
        }
        text(&docket.job)
    }

    pub(in crate::relay) async fn jobs(&self, caller: BotId, query: &JobQuery) -> Text {
        let listed = self.storage.dockets(caller, query).await.map_err(|error| unavailable(&error))?;
        let mut jobs = Vec::with_capacity(listed.items.len());
        for docket in listed.items {
            let current = self.current(&docket.job.job_id).await?;
            jobs.push(current.unwrap_or(docket).job);
        }
        let next_cursor = listed.next.map(|(at, id)| job_cursor(at, &JobId::new(id)));
        text(&Jobs { jobs, next_cursor })
    }

    /// Makes one move of a job. `command` is given the job, because some need to know its buyer.
    pub(in crate::relay) async fn command(
        &self,
        caller: BotId,
        id: &JobId,
        order: &Order,
        receipt: &Receipt,
    ) -> Text {
        for _ in 0..ATTEMPTS_MAX {
            let docket = self.current(id).await?.ok_or_else(no_such_job)?;
            let command = self.resolve(order, &docket.job).await?;
            let (at, now) = self.now();
            let change = apply(&docket, Caller::Bot(caller), &command, now)?;
            let text = answer(&command, &change)?;
            let settlement = Settlement { jobs: vec![change], ..Settlement::at(at) };
            if let Some(text) = self.settle(settlement, receipt, text).await? {
                return Ok(text);
            }
        }
        Err(busy())
    }

    async fn resolve(&self, order: &Order, job: &Job) -> Result<Command, Refusal> {
        Ok(match order {
            Order::Plain(command) => command.clone(),
            Order::Deliver(sealed) => {
                let buyer = self.known(job.buyer_bot_id).await?.ok_or_else(no_such_job)?;
                Command::Deliver { sealed: sealed.clone(), buyer: Box::new(buyer) }
            }
        })
    }

    /// Lets a job's time pass, if it is over; for the sweeper.
    pub(in crate::relay) async fn sweep(&self, id: &JobId) -> Result<(), Refusal> {
        self.current(id).await.map(drop)
    }

    /// A job as time has left it.
    async fn current(&self, id: &JobId) -> Result<Option<Docket>, Refusal> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(docket) = self.find(id).await? else { return Ok(None) };
            let (at, now) = self.now();
            let Some(change) = lapse(&docket, now) else { return Ok(Some(docket)) };
            let expired = change.docket.clone();
            let settlement = Settlement { jobs: vec![change], ..Settlement::at(at) };
            let settled = self.storage.settle(settlement).await.map_err(|error| unavailable(&error))?;
            if settled == Settled::Done {
                return Ok(Some(expired));
            }
        }
        Err(busy())
    }

    pub(in crate::relay) async fn payload(&self, caller: BotId, id: &PayloadId) -> Text {
        let found = self.storage.fetch(caller, id, self.now().1).await;
        match found.map_err(|error| unavailable(&error))? {
            Found::Yours(payload) => text::<Payload>(&payload),
            Found::Others => Err(Refusal::forbidden("not the recipient")),
            Found::Nothing => Err(Refusal::not_found("payload not found")),
        }
    }

    pub(in crate::relay) async fn payloads(&self, caller: BotId, query: &PayloadQuery) -> Text {
        let listed = self.storage.payloads(caller, query).await.map_err(|error| unavailable(&error))?;
        let next_cursor = listed.next.map(|(at, id)| query.cursor(at, &PayloadId::new(id)));
        text(&PayloadPage { payloads: listed.items, next_cursor })
    }

    pub(in crate::relay) async fn poll(&self, caller: BotId, query: &PollQuery) -> Text {
        let (stream, events) =
            self.storage.stream(caller, query).await.map_err(|error| unavailable(&error))?;
        match window(query.since, stream) {
            Window::Gone { minimum } => Err(Refusal::gone(minimum)),
            Window::Page { minimum, .. } => {
                text(&EventPage { events, last_acked_event_id: stream.acked, min_event_id_retained: minimum })
            }
        }
    }

    /// Keeps a refusal that no retry would change.
    pub(in crate::relay) async fn keep(&self, refusal: &Refusal, receipt: &Receipt) -> Result<(), Refusal> {
        let answer = Some((receipt, refusal.to_body().to_string()));
        let settlement = Settlement { answer, ..Settlement::at(self.clock.now()) };
        self.storage.settle(settlement).await.map(drop).map_err(|error| unavailable(&error))
    }

    /// Writes a settlement with its answer; nothing if it has to be decided anew.
    async fn settle(
        &self,
        settlement: Settlement<'_>,
        receipt: &Receipt,
        text: String,
    ) -> Result<Option<String>, Refusal> {
        let settlement = Settlement { answer: Some((receipt, text.clone())), ..settlement };
        match self.storage.settle(settlement).await.map_err(|error| unavailable(&error))? {
            Settled::Done => Ok(Some(text)),
            Settled::Lost => Ok(None),
            Settled::AddressTaken => Err(address_taken()),
            Settled::PayloadTaken => Err(payload_taken()),
        }
    }

    async fn find(&self, id: &JobId) -> Result<Option<Docket>, Refusal> {
        self.storage.docket(id).await.map_err(|error| unavailable(&error))
    }

    async fn find_listing(&self, id: &OfferId) -> Result<Option<Listing>, Refusal> {
        self.storage.listing(id).await.map_err(|error| unavailable(&error))
    }
}

/// A move as it was asked for; what it needs to know of the job is added later.
#[derive(Debug)]
pub(in crate::relay) enum Order {
    /// Complete.
    Plain(Command),
    /// A sealed payload for whoever the job's buyer is.
    Deliver(crate::protocol::v0::Sealed),
}

fn answer(command: &Command, change: &Change) -> Text {
    let job = &change.docket.job;
    match command {
        Command::PaymentSent(_) => Ok(json!({"job_id": job.job_id, "sent_at": change.heard_at}).to_string()),
        Command::ReissueRequest(_) => {
            Ok(json!({"job_id": job.job_id, "requested_at": change.heard_at}).to_string())
        }
        Command::Deliver { sealed, .. } => {
            let mut told = json!({"payload_id": sealed.payload_id, "job_status": job.status});
            if let (Some(at), Some(fields)) = (job.delivered_at, told.as_object_mut()) {
                fields.insert("delivered_at".to_owned(), json!(at));
            }
            Ok(told.to_string())
        }
        _ => text(job),
    }
}

fn ensure_self(caller: BotId, id: &str) -> Result<(), Refusal> {
    if caller.to_string() == id { Ok(()) } else { Err(Refusal::forbidden("not your own bot")) }
}

fn no_such_job() -> Refusal {
    Refusal::not_found("job not found")
}

fn busy() -> Refusal {
    Refusal::new(Code::Unavailable, "others are changing the same; try again")
}

fn text<T: Serialize>(value: &T) -> Text {
    // Shapes with text keys only always serialize; a client should still get an answer.
    serde_json::to_string(value).map_err(|_| Refusal::new(Code::Unavailable, "the answer cannot be written"))
}

/// What a stranger learns of a failed storage; the log learns why.
pub(in crate::relay) fn unavailable(error: &StorageError) -> Refusal {
    Refusal::new(Code::Unavailable, log_failure(error).message)
}
