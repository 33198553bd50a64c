//! The /v0 half: which offers stand now, and how much there is of everything.
//!
//! What stands is kept in memory, by age: offers that were taken back or are over are looked at by no
//! search, however many there are. It is read from the disk when the storage is opened.

use std::collections::{BTreeMap, HashMap};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Embedded;
use super::bazaar::nanos;
use super::keys::{BAZAAR_JOBS, BAZAAR_OFFERS, BAZAAR_OFFERS_OF, PURCHASES, SUMS};
use crate::nano::Amount;
use crate::protocol::v0::search::OfferQuery;
use crate::protocol::v0::{Bot, BotId, Job, Listing, Moment, Offer, OfferId, OfferStatus};
use crate::relay::v0::model::{Stall, Tally};
use crate::store::{Batch, Store, StoreError};

/// Offers that are taken from the list in one go, so that its lock is held for microseconds.
const CHUNK: usize = 256;
/// How long an offer whose time is over stays on the list: longer than clocks are set back.
const EXPIRED_MARGIN: Duration = Duration::from_secs(86_400);
/// How long a bot counts as there after it was last heard of; signs of life are noted once a minute.
const ONLINE: Duration = Duration::from_secs(300);

/// An offer's place: the nanosecond of its making, and its name.
type Place = (u64, String);

/// What stands, and who is there.
#[derive(Debug, Default)]
pub(super) struct Standing {
    offers: BTreeMap<Place, Stands>,
    /// When each bot was last heard of by this process.
    bots: HashMap<[u8; 32], u64>,
}

#[derive(Debug)]
struct Stands {
    until: u64,
    active: bool,
}

/// What all jobs came to, ended and forgotten ones included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sums {
    jobs: u64,
    transferred_raw: Amount,
}

impl Standing {
    /// The offers that stand in a store.
    pub(super) fn read(store: &Store) -> Result<Self, StoreError> {
        let mut standing = Self::default();
        for entry in BAZAAR_OFFERS.all(store) {
            standing.note(&entry?.1.offer);
        }
        Ok(standing)
    }

    /// Notes an offer as it is now.
    pub(super) fn note(&mut self, offer: &Offer) {
        let place = (nanos(offer.created_at), offer.offer_id.to_string());
        let active = match offer.status {
            OfferStatus::Active => true,
            OfferStatus::Paused => false,
            OfferStatus::Cancelled | OfferStatus::Expired => {
                self.offers.remove(&place);
                return;
            }
        };
        let until = offer.expires_at.map_or(u64::MAX, nanos);
        self.offers.insert(place, Stands { until, active });
    }

    /// Notes a sign of life.
    pub(super) fn heard_of(&mut self, bot: &Bot) {
        if let Some(at) = bot.last_seen_at {
            self.bots.insert(*bot.bot_id.as_bytes(), nanos(at));
        }
    }

    /// Forgets an offer that was removed.
    pub(super) fn forget(&mut self, offer: &Offer) {
        self.offers.remove(&(nanos(offer.created_at), offer.offer_id.to_string()));
    }

    /// The newest before a place.
    fn before(&self, place: Option<&Place>) -> Vec<Place> {
        let older = match place {
            Some(place) => self.offers.range(..place.clone()),
            None => self.offers.range::<Place, _>(..),
        };
        older.rev().take(CHUNK).map(|(place, _)| place.clone()).collect()
    }

    fn count(&mut self, now: Moment) -> (u64, u64) {
        let (at, long_over) = (nanos(now), nanos(now.minus(EXPIRED_MARGIN)));
        self.offers.retain(|_, stands| stands.until >= long_over);
        let silent = nanos(now.minus(ONLINE));
        self.bots.retain(|_, heard| *heard >= silent);
        let active = self.offers.values().filter(|stands| stands.active && at <= stands.until).count();
        (active as u64, self.bots.len() as u64)
    }
}

impl Embedded {
    pub(super) fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_purchases(&self, listing: Listing) -> Result<Stall, StoreError> {
        let purchases = self.purchases(&listing.offer.offer_id)?;
        Ok(Stall { listing, purchases })
    }

    fn purchases(&self, id: &OfferId) -> Result<u64, StoreError> {
        Ok(PURCHASES.get(&self.store, &id.to_string())?.unwrap_or(0))
    }

    pub(super) fn find_stall(&self, id: &OfferId) -> Result<Option<Stall>, StoreError> {
        self.find_listing(id)?.map(|listing| self.with_purchases(listing)).transpose()
    }

    pub(super) fn open_offers_of(&self, seller: &BotId, now: Moment) -> Result<Vec<Listing>, StoreError> {
        let mut open = Vec::new();
        for entry in BAZAAR_OFFERS_OF.prefix(&self.store, seller.as_bytes()) {
            let ((_, id), ()) = entry?;
            let stands = |listing: &Listing| {
                matches!(listing.offer.at(now).status, OfferStatus::Active | OfferStatus::Paused)
            };
            open.extend(self.find_listing(&OfferId::new(id))?.filter(stands));
        }
        Ok(open)
    }

    /// Looks through what stands, newest first, and no further than the page needs.
    pub(super) fn search(
        &self,
        query: &OfferQuery,
        now: Moment,
    ) -> Result<(Vec<Stall>, Option<String>), StoreError> {
        let mut found = Vec::new();
        let mut behind = query.behind().map(|(at, id)| (nanos(at), id.to_string()));
        if let Some(seller) = &query.seller {
            for listing in self.open_offers_of(seller, now)? {
                found.extend(self.answers(query, listing, now)?);
            }
        } else {
            'offers: loop {
                let places = self.standing().before(behind.as_ref());
                let Some(last) = places.last().cloned() else { break };
                for (_, id) in places {
                    if let Some(listing) = self.find_listing(&OfferId::new(id))? {
                        found.extend(self.answers(query, listing, now)?);
                    }
                    if query.is_full(&found) {
                        break 'offers;
                    }
                }
                query.prune(&mut found);
                behind = Some(last);
            }
        }
        let (listings, cursor) = query.page(found);
        let stalls = listings.into_iter().map(|listing| self.with_purchases(listing));
        Ok((stalls.collect::<Result<_, _>>()?, cursor))
    }

    fn answers(
        &self,
        query: &OfferQuery,
        listing: Listing,
        now: Moment,
    ) -> Result<Option<crate::protocol::v0::search::Found<Listing>>, StoreError> {
        let offer = listing.offer.at(now);
        let purchases = if query.counts_purchases() { self.purchases(&offer.offer_id)? } else { 0 };
        Ok(query.find(&offer, purchases, listing))
    }

    pub(super) fn take_stock(&self, now: Moment) -> Result<Tally, StoreError> {
        let (offers, online) = self.standing().count(now);
        let Sums { jobs, transferred_raw } = self.sums()?;
        Ok(Tally { offers, jobs, transferred_raw: transferred_raw.raw(), online })
    }

    fn sums(&self) -> Result<Sums, StoreError> {
        if let Some(sums) = SUMS.get(&self.store, &())? {
            return Ok(sums);
        }
        // A store from before there were sums; what it has forgotten does not count.
        let mut sums = Sums::default();
        for entry in BAZAAR_JOBS.all(&self.store) {
            sums.add(None, &entry?.1.job);
        }
        Ok(sums)
    }

    pub(super) fn count_job(
        &self,
        batch: &mut Batch,
        before: Option<&Job>,
        after: &Job,
    ) -> Result<(), StoreError> {
        let known = self.sums()?;
        let mut sums = known;
        sums.add(before, after);
        if sums == known { Ok(()) } else { SUMS.put(batch, &(), &sums) }
    }
}

impl Sums {
    fn add(&mut self, before: Option<&Job>, after: &Job) {
        self.jobs += u64::from(before.is_none());
        let was_paid = before.is_some_and(|before| before.paid_at.is_some());
        let amount = after.charge.as_ref().filter(|_| after.paid_at.is_some() && !was_paid);
        if let Some(amount) = amount.and_then(|charge| Amount::parse_raw(&charge.amount_raw).ok()) {
            self.transferred_raw = self.transferred_raw.saturating_add(amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::contract::bazaar::{NOW, bot, listing, now};
    use super::*;
    use crate::edge::Entropy;
    use crate::relay::storage::Storage as _;
    use crate::relay::v0::model::{Bazaar as _, Settled, Settlement};

    const TICK: Duration = Duration::from_nanos(1);

    fn offer(number: u64) -> Offer {
        let mut offer = listing().offer;
        offer.offer_id = OfferId::new(format!("offer_{number:03}"));
        offer.created_at = now().plus(Duration::from_nanos(number));
        offer
    }

    fn after(wait: Duration) -> Moment {
        now().plus(wait)
    }

    #[test]
    fn an_offer_stands_to_the_end_of_its_time_and_is_remembered_for_a_day_more() {
        let mut standing = Standing::default();
        let until = Duration::from_secs(60);
        standing.note(&Offer { expires_at: Some(after(until)), ..offer(1) });
        standing.note(&Offer { status: OfferStatus::Paused, ..offer(2) });
        assert_eq!(standing.count(after(until)).0, 1);
        assert_eq!(standing.count(after(until + TICK)).0, 0);
        standing.count(after(until + EXPIRED_MARGIN));
        assert_eq!(standing.count(after(until)).0, 1, "a clock that is set back shows it again");
        standing.count(after(until + EXPIRED_MARGIN + TICK));
        assert_eq!(standing.count(after(until)).0, 0);
        standing.note(&Offer { expires_at: None, ..offer(3) });
        assert_eq!(standing.count(after(until)).0, 1);
        standing.forget(&offer(3));
        assert_eq!(standing.count(after(until)).0, 0);
    }

    #[test]
    fn a_bot_is_there_for_five_minutes() {
        let mut standing = Standing::default();
        standing.heard_of(&bot(1));
        standing.heard_of(&Bot { last_seen_at: None, ..bot(2) });
        assert_eq!(standing.count(after(ONLINE)).1, 1);
        assert_eq!(standing.count(after(ONLINE + TICK)).1, 0);
    }

    #[test]
    fn what_stands_is_taken_in_chunks_the_newest_first() {
        let mut standing = Standing::default();
        for number in 0..300 {
            standing.note(&offer(number));
        }
        let newest = standing.before(None);
        assert_eq!((newest.len(), newest[0].1.as_str()), (CHUNK, "offer_299"));
        let rest = standing.before(newest.last());
        assert_eq!((rest.len(), rest[0].1.as_str()), (300 - CHUNK, "offer_043"));
        assert!(standing.before(rest.last()).is_empty());
    }

    #[tokio::test]
    async fn what_stands_is_known_again_in_the_next_life() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Embedded::open(dir.path(), 8 << 20, &Entropy::system()).unwrap();
        let storage = open();
        let offers = vec![(None, listing())];
        let settlement = Settlement { bot: Some((None, bot(1))), offers, ..Settlement::at(NOW) };
        assert_eq!(storage.settle(settlement).await.unwrap(), Settled::Done);
        assert_eq!(storage.standing().count(now()), (1, 1));
        storage.durable().await.unwrap();
        drop(storage);
        // Who is there is not written down.
        assert_eq!(open().standing().count(now()), (1, 0));
    }
}
