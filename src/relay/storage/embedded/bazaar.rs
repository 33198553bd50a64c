//! The /v0 half: bots, offers, jobs and payloads with their indexes, and one settlement for all.

use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};

use super::guards::put_answer;
use super::keys::{
    ACKED, AnswerBody, BAZAAR_JOBS, BAZAAR_JOBS_OF, BAZAAR_OFFERS, BAZAAR_OFFERS_OF, BOTS, CHARGE_ADDRESSES,
    COUNTERS, EVENTS, EVENTS_OF_PARTY, FORGOTTEN, OVERDUE, PAYLOAD_NAMES, PAYLOADS, PAYLOADS_OF, PURCHASES,
    SEALED, sealed_key, side,
};
use super::{Embedded, now};
use crate::points::crash_point;
use crate::protocol::v0::lists::{JobQuery, PayloadQuery, PollQuery};
use crate::protocol::v0::payload::{Kind, PayloadHead};
use crate::protocol::v0::poll::Stream;
use crate::protocol::v0::search::OfferQuery;
use crate::protocol::v0::{
    Bot, BotId, Change, Docket, Event, Job, JobId, Listing, Moment, Notice, OfferId, Payload, PayloadId,
    Status,
};
use crate::protocol::{EventId, Timestamp};
use crate::relay::model::{LogRecord, NoticeEntry};
use crate::relay::storage::Answer;
use crate::relay::v0::model::{Bazaar, Found, Page, Settled, Settlement, Stall, Tally, party};
use crate::store::{Batch, StoreError};

/// What a list of payloads needs to know of one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PayloadMark {
    pub(super) job_id: JobId,
    pub(super) kind: Kind,
    pub(super) fetched_at: Option<Moment>,
}

impl Embedded {
    fn settle_now(&self, settlement: &Settlement<'_>) -> Result<Settled, StoreError> {
        let _turn = self.store.writer();
        if let Some(lost) = self.contradiction(settlement)? {
            return Ok(lost);
        }
        let mut batch = Batch::default();
        if let Some((_, bot)) = &settlement.bot {
            BOTS.put(&mut batch, bot.bot_id.as_bytes(), bot)?;
        }
        for (_, listing) in &settlement.offers {
            put_listing(&mut batch, listing)?;
        }
        let mut counters = self.counters();
        for change in &settlement.jobs {
            self.put_job(&mut batch, change)?;
            for notice in &change.notices {
                counters.head = EventId(counters.head.0 + 1);
                append(&mut batch, counters.head, notice, settlement.now)?;
            }
        }
        for notice in &settlement.notices {
            counters.head = EventId(counters.head.0 + 1);
            append(&mut batch, counters.head, notice, settlement.now)?;
        }
        if let Some((receipt, text)) = &settlement.answer {
            put_answer(&mut batch, receipt, AnswerBody::Text(text.clone()))?;
        }
        COUNTERS.put(&mut batch, &(), &counters)?;
        crash_point!("relay/v0/decided");
        self.store.commit(batch)?;
        crash_point!("relay/v0/committed");
        self.set_counters(counters);
        let mut standing = self.standing();
        for (_, listing) in &settlement.offers {
            standing.note(&listing.offer);
        }
        if let Some((_, bot)) = &settlement.bot {
            standing.heard_of(bot);
        }
        Ok(Settled::Done)
    }

    /// What is no longer as it was when the settlement was decided.
    fn contradiction(&self, settlement: &Settlement<'_>) -> Result<Option<Settled>, StoreError> {
        if let Some((before, bot)) = &settlement.bot
            && BOTS.get(&self.store, bot.bot_id.as_bytes())? != *before
        {
            return Ok(Some(Settled::Lost));
        }
        for (before, listing) in &settlement.offers {
            if self.find_listing(&listing.offer.offer_id)? != *before {
                return Ok(Some(Settled::Lost));
            }
        }
        for change in &settlement.jobs {
            if let Some(lost) = self.job_contradiction(change)? {
                return Ok(Some(lost));
            }
        }
        Ok(None)
    }

    fn job_contradiction(&self, change: &Change) -> Result<Option<Settled>, StoreError> {
        let job_id = &change.docket.job.job_id;
        let before = self.find_docket(job_id)?.map(|docket| docket.revision);
        if before != change.docket.revision.checked_sub(1) {
            return Ok(Some(Settled::Lost));
        }
        if let Some((seller, address)) = &change.address {
            let owner = CHARGE_ADDRESSES.get(&self.store, &(*seller.as_bytes(), address.clone()))?;
            if owner.is_some_and(|owner| owner != *job_id) {
                return Ok(Some(Settled::AddressTaken));
            }
        }
        if let Some(payload) = &change.payload
            && PAYLOADS.contains(&self.store, &payload_key(payload))?
        {
            return Ok(Some(Settled::PayloadTaken));
        }
        Ok(None)
    }

    fn put_job(&self, batch: &mut Batch, change: &Change) -> Result<(), StoreError> {
        let (after, id) = (&change.docket, change.docket.job.job_id.to_string());
        let before = self.find_docket(&after.job.job_id)?;
        if let Some(before) = &before {
            if let Some(until) = before.job.stands_until() {
                OVERDUE.remove(batch, &(nanos(until), id.clone()));
            }
            if let Some(address) = held_address(&before.job) {
                CHARGE_ADDRESSES.remove(batch, &address);
            }
        } else {
            for (bot, side) in sides(&after.job) {
                BAZAAR_JOBS_OF.put(batch, &((bot, side), nanos(after.job.created_at), id.clone()), &())?;
            }
        }
        if let Some(until) = after.job.stands_until() {
            OVERDUE.put(batch, &(nanos(until), id.clone()), &())?;
        }
        if let Some(address) = held_address(&after.job) {
            CHARGE_ADDRESSES.put(batch, &address, &after.job.job_id)?;
        }
        self.count_purchase(batch, before.as_ref().map(|before| &before.job), &after.job)?;
        self.count_job(batch, before.as_ref().map(|before| &before.job), &after.job)?;
        if let Some(payload) = &change.payload {
            put_payload(batch, payload)?;
        }
        BAZAAR_JOBS.put(batch, &id, after)
    }

    fn count_purchase(&self, batch: &mut Batch, before: Option<&Job>, after: &Job) -> Result<(), StoreError> {
        let counts = |job: &Job| matches!(job.status, Status::Paid | Status::Delivered);
        let (before, after_counts) = (before.is_some_and(counts), counts(after));
        if before == after_counts {
            return Ok(());
        }
        let key = after.offer_id.to_string();
        let count = PURCHASES.get(&self.store, &key)?.unwrap_or(0);
        let count = if after_counts { count + 1 } else { count.saturating_sub(1) };
        PURCHASES.put(batch, &key, &count)
    }

    pub(super) fn find_listing(&self, id: &OfferId) -> Result<Option<Listing>, StoreError> {
        BAZAAR_OFFERS.get(&self.store, &id.to_string())
    }

    pub(super) fn find_docket(&self, id: &JobId) -> Result<Option<Docket>, StoreError> {
        BAZAAR_JOBS.get(&self.store, &id.to_string())
    }

    fn unpaid_of(&self, bot: &BotId) -> Result<Vec<Docket>, StoreError> {
        let mut found = Vec::new();
        for side in [side::SELLER, side::BUYER] {
            for entry in BAZAAR_JOBS_OF.prefix(&self.store, &(*bot.as_bytes(), side)) {
                let ((_, _, id), ()) = entry?;
                let docket = BAZAAR_JOBS.get(&self.store, &id)?;
                let open =
                    |docket: &Docket| matches!(docket.job.status, Status::Requested | Status::ChargeCreated);
                found.extend(docket.filter(open));
            }
        }
        Ok(found)
    }

    fn overdue_jobs(&self, at: Moment, limit: usize) -> Result<Vec<JobId>, StoreError> {
        let mut due = Vec::new();
        for entry in OVERDUE.all(&self.store).take(limit) {
            let ((until, id), ()) = entry?;
            if until >= nanos(at) {
                break;
            }
            due.push(JobId::new(id));
        }
        Ok(due)
    }

    fn fetch_payload(&self, bot: &BotId, id: &PayloadId, at: Moment) -> Result<Found, StoreError> {
        let _turn = self.store.writer();
        let key = (*bot.as_bytes(), id.to_string());
        let Some(mut payload) = PAYLOADS.get(&self.store, &key)? else {
            let taken = PAYLOAD_NAMES.contains(&self.store, &id.to_string())?;
            return Ok(if taken { Found::Others } else { Found::Nothing });
        };
        // Records of earlier versions carry it themselves.
        if let Some(sealed) = SEALED.get(&self.store, &sealed_key(&key))? {
            payload.ciphertext_b64 = String::from_utf8_lossy(&sealed).into_owned();
        }
        let mut batch = Batch::default();
        let mark = PayloadMark { fetched_at: Some(at), ..mark_of(&payload) };
        PAYLOADS_OF.put(&mut batch, &shelf_key(&payload), &mark)?;
        self.store.commit(batch)?;
        Ok(Found::Yours(Box::new(payload)))
    }

    /// Under the writer's turn, so that neither retention nor an acknowledgement comes in between.
    fn read_stream(&self, bot: &BotId, query: &PollQuery) -> Result<(Stream, Vec<Event>), StoreError> {
        let _turn = self.store.writer();
        let party = party(bot);
        let oldest = EVENTS_OF_PARTY.prefix(&self.store, &party).next().transpose()?;
        let stream = Stream {
            acked: ACKED.get(&self.store, &party)?.unwrap_or_default().0,
            removed: FORGOTTEN.get(&self.store, &party)?.unwrap_or_default().0,
            oldest: oldest.map(|((_, id), _)| id.0),
        };
        let after = (party, EventId(query.since.unwrap_or(stream.acked)));
        let mut events = Vec::new();
        for entry in EVENTS_OF_PARTY.prefix_after(&self.store, &party, &after) {
            let (_, LogRecord::Notice(entry)) = entry? else { continue };
            if query.types.is_empty() || query.types.iter().any(|name| name == entry.news.name()) {
                events.push(Event::new(entry.event_id.0, &entry.news));
            }
            if events.len() >= query.limit {
                break;
            }
        }
        Ok((stream, events))
    }
}

impl Bazaar for Embedded {
    fn bot(&self, id: BotId) -> Answer<'_, Option<Bot>> {
        now(BOTS.get(&self.store, id.as_bytes()))
    }

    fn listing<'a>(&'a self, id: &'a OfferId) -> Answer<'a, Option<Listing>> {
        now(self.find_listing(id))
    }

    fn stall<'a>(&'a self, id: &'a OfferId) -> Answer<'a, Option<Stall>> {
        now(self.find_stall(id))
    }

    fn market<'a>(&'a self, query: &'a OfferQuery, at: Moment) -> Answer<'a, (Vec<Stall>, Option<String>)> {
        now(self.search(query, at))
    }

    fn open_offers(&self, seller: BotId, at: Moment) -> Answer<'_, Vec<Listing>> {
        now(self.open_offers_of(&seller, at))
    }

    fn tally(&self, at: Moment) -> Answer<'_, Tally> {
        now(self.take_stock(at))
    }

    fn docket<'a>(&'a self, id: &'a JobId) -> Answer<'a, Option<Docket>> {
        now(self.find_docket(id))
    }

    fn dockets<'a>(&'a self, bot: BotId, query: &'a JobQuery) -> Answer<'a, Page<Docket>> {
        now(self.list_dockets(&bot, query))
    }

    fn unpaid(&self, bot: BotId) -> Answer<'_, Vec<Docket>> {
        now(self.unpaid_of(&bot))
    }

    fn overdue(&self, at: Moment, limit: usize) -> Answer<'_, Vec<JobId>> {
        now(self.overdue_jobs(at, limit))
    }

    fn fetch<'a>(&'a self, bot: BotId, id: &'a PayloadId, at: Moment) -> Answer<'a, Found> {
        now(self.fetch_payload(&bot, id, at))
    }

    fn payloads<'a>(&'a self, bot: BotId, query: &'a PayloadQuery) -> Answer<'a, Page<PayloadHead>> {
        now(self.list_payloads(&bot, query))
    }

    fn stream<'a>(&'a self, bot: BotId, query: &'a PollQuery) -> Answer<'a, (Stream, Vec<Event>)> {
        now(self.read_stream(&bot, query))
    }

    fn clear(&self, at: Moment, limit: usize) -> Answer<'_, bool> {
        now(self.clear_now(at, limit))
    }

    fn settle<'a>(&'a self, settlement: Settlement<'a>) -> Answer<'a, Settled> {
        std::future::ready(self.settle_now(&settlement).map_err(Into::into)).boxed()
    }
}

fn put_listing(batch: &mut Batch, listing: &Listing) -> Result<(), StoreError> {
    let id = listing.offer.offer_id.to_string();
    BAZAAR_OFFERS_OF.put(batch, &(*listing.offer.seller_bot_id.as_bytes(), id.clone()), &())?;
    BAZAAR_OFFERS.put(batch, &id, listing)
}

fn put_payload(batch: &mut Batch, payload: &Payload) -> Result<(), StoreError> {
    PAYLOADS_OF.put(batch, &shelf_key(payload), &mark_of(payload))?;
    PAYLOAD_NAMES.put(batch, &payload.payload_id.to_string(), &())?;
    SEALED.put(batch, &sealed_key(&payload_key(payload)), payload.ciphertext_b64.as_bytes());
    PAYLOADS.put(batch, &payload_key(payload), &Payload { ciphertext_b64: String::new(), ..payload.clone() })
}

fn append(batch: &mut Batch, event_id: EventId, notice: &Notice, now: Timestamp) -> Result<(), StoreError> {
    let entry = NoticeEntry { event_id, to: notice.to, news: notice.news.clone(), created_at: now };
    let record = LogRecord::Notice(entry);
    EVENTS_OF_PARTY.put(batch, &(party(&notice.to), event_id), &record)?;
    EVENTS.put(batch, &event_id, &record)
}

fn mark_of(payload: &Payload) -> PayloadMark {
    PayloadMark { job_id: payload.job_id.clone(), kind: payload.payload_kind, fetched_at: None }
}

fn payload_key(payload: &Payload) -> ([u8; 32], String) {
    (*payload.recipient_bot_id.as_bytes(), payload.payload_id.to_string())
}

fn shelf_key(payload: &Payload) -> ([u8; 32], u64, String) {
    (*payload.recipient_bot_id.as_bytes(), nanos(payload.created_at), payload.payload_id.to_string())
}

pub(super) fn sides(job: &Job) -> [([u8; 32], u8); 2] {
    [(*job.seller_bot_id.as_bytes(), side::SELLER), (*job.buyer_bot_id.as_bytes(), side::BUYER)]
}

/// The address that nobody else of the seller's jobs may have while this one lives.
fn held_address(job: &Job) -> Option<([u8; 32], String)> {
    let charge = job.charge.as_ref().filter(|_| !job.status.is_terminal())?;
    Some((*job.seller_bot_id.as_bytes(), charge.address.clone()))
}

/// A moment as a key. What a relay writes lies after 1970, and 2^64 nanoseconds last until 2554.
pub(super) fn nanos(moment: Moment) -> u64 {
    u64::try_from(moment.nanos().max(0)).unwrap_or(u64::MAX)
}
