//! The /v0 half: what need not be kept any longer.

use std::sync::PoisonError;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Embedded;
use super::bazaar::{PayloadMark, nanos, sides};
use super::keys::{
    BAZAAR_JOBS, BAZAAR_JOBS_OF, BAZAAR_OFFERS, BAZAAR_OFFERS_OF, PAYLOAD_NAMES, PAYLOADS, PAYLOADS_OF,
    PURCHASES, SEALED, sealed_key,
};
use crate::points::crash_point;
use crate::protocol::v0::limits::{
    JOB_RETENTION, OFFER_RETENTION, PAYLOAD_FETCHED_RETENTION, PAYLOAD_RETENTION,
};
use crate::protocol::v0::{Docket, Moment, Offer, OfferStatus};
use crate::store::{Batch, Key, Keyspace, Store, StoreError};

/// Records that are looked at for each that may be removed in one go: the writer's turn is held
/// meanwhile, and most records are to stay.
const LOOKS_FOR_EACH: usize = 8;

/// Where the last look through each list ended; nothing to begin at its beginning.
#[derive(Debug, Default)]
pub(super) struct Places {
    payloads: Option<([u8; 32], u64, String)>,
    jobs: Option<String>,
    offers: Option<String>,
}

impl Embedded {
    pub(super) fn clear_now(&self, now: Moment, limit: usize) -> Result<bool, StoreError> {
        let _turn = self.store.writer();
        let mut places = self.clearing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Batch::default();
        places.payloads = self.clear_payloads(&mut batch, now, limit, places.payloads.as_ref())?;
        places.jobs = self.clear_jobs(&mut batch, now, limit, places.jobs.as_ref())?;
        places.offers = self.clear_offers(&mut batch, now, limit, places.offers.as_ref())?;
        crash_point!("relay/v0/clearing");
        self.store.commit(batch)?;
        crash_point!("relay/v0/cleared");
        Ok(places.payloads.is_some() || places.jobs.is_some() || places.offers.is_some())
    }

    fn clear_payloads(
        &self,
        batch: &mut Batch,
        now: Moment,
        limit: usize,
        from: Option<&([u8; 32], u64, String)>,
    ) -> Result<Option<([u8; 32], u64, String)>, StoreError> {
        let mut gone = Vec::new();
        let next = look_through(&self.store, &PAYLOADS_OF, from, limit, |key, mark| {
            let (bot, at, id) = key;
            let over = payload_is_over(Moment::from_nanos(i128::from(*at)), mark, now);
            if over {
                PAYLOADS_OF.remove(batch, key);
                PAYLOAD_NAMES.remove(batch, id);
                PAYLOADS.remove(batch, &(*bot, id.clone()));
                gone.push((*bot, id.clone()));
            }
            over
        })?;
        for key in &gone {
            SEALED.remove(&self.store, batch, &sealed_key(key))?;
        }
        Ok(next)
    }

    fn clear_jobs(
        &self,
        batch: &mut Batch,
        now: Moment,
        limit: usize,
        from: Option<&String>,
    ) -> Result<Option<String>, StoreError> {
        look_through(&self.store, &BAZAAR_JOBS, from, limit, |id, docket| {
            let over = job_is_over(docket, now);
            if over {
                for (bot, side) in sides(&docket.job) {
                    let made = nanos(docket.job.created_at);
                    BAZAAR_JOBS_OF.remove(batch, &((bot, side), made, id.clone()));
                }
                BAZAAR_JOBS.remove(batch, id);
            }
            over
        })
    }

    fn clear_offers(
        &self,
        batch: &mut Batch,
        now: Moment,
        limit: usize,
        from: Option<&String>,
    ) -> Result<Option<String>, StoreError> {
        look_through(&self.store, &BAZAAR_OFFERS, from, limit, |id, listing| {
            let over = offer_is_over(&listing.offer, now);
            if over {
                BAZAAR_OFFERS_OF.remove(batch, &(*listing.offer.seller_bot_id.as_bytes(), id.clone()));
                PURCHASES.remove(batch, id);
                BAZAAR_OFFERS.remove(batch, id);
                self.standing().forget(&listing.offer);
            }
            over
        })
    }
}

/// Looks through records behind `from` until enough are removed or looked at; where it stopped, unless
/// it came to the end.
fn look_through<K: Key, V: Serialize + DeserializeOwned>(
    store: &Store,
    keyspace: &Keyspace<K, V>,
    from: Option<&K>,
    limit: usize,
    mut remove: impl FnMut(&K, &V) -> bool,
) -> Result<Option<K>, StoreError> {
    let records = match from {
        Some(from) => keyspace.after(store, from),
        None => keyspace.all(store),
    };
    let mut removed = 0;
    for (looks, entry) in records.enumerate() {
        let (key, value) = entry?;
        removed += usize::from(remove(&key, &value));
        if removed >= limit || looks + 1 >= limit * LOOKS_FOR_EACH {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// A week after it was last fetched, and after a month in any case.
fn payload_is_over(made: Moment, mark: &PayloadMark, now: Moment) -> bool {
    now > made.plus(PAYLOAD_RETENTION)
        || mark.fetched_at.is_some_and(|fetched| now > fetched.plus(PAYLOAD_FETCHED_RETENTION))
}

fn job_is_over(docket: &Docket, now: Moment) -> bool {
    docket.ended_at.is_some_and(|ended| now > ended.plus(JOB_RETENTION))
}

fn offer_is_over(offer: &Offer, now: Moment) -> bool {
    let open = matches!(offer.at(now).status, OfferStatus::Active | OfferStatus::Paused);
    !open && now > offer.created_at.plus(OFFER_RETENTION)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::contract::bazaar::{NOW, listing, now, requested};
    use super::*;
    use crate::edge::Entropy;
    use crate::protocol::v0::payload::Kind;
    use crate::protocol::v0::{JobId, Listing, OfferId};
    use crate::relay::v0::model::{Bazaar as _, Settled, Settlement};

    const TICK: Duration = Duration::from_nanos(1);

    fn after(wait: Duration) -> Moment {
        now().plus(wait)
    }

    #[test]
    fn what_is_kept_for_a_time_is_kept_to_its_end() {
        let mark = |fetched_at| PayloadMark { job_id: JobId::new("one"), kind: Kind::Request, fetched_at };
        let payload =
            |fetched: Option<Duration>, wait| payload_is_over(now(), &mark(fetched.map(after)), after(wait));
        assert!(!payload(None, PAYLOAD_RETENTION));
        assert!(payload(None, PAYLOAD_RETENTION + TICK));
        assert!(!payload(Some(TICK), PAYLOAD_FETCHED_RETENTION + TICK));
        assert!(payload(Some(TICK), PAYLOAD_FETCHED_RETENTION + 2 * TICK));
        let job = |ended: Option<Duration>, wait| {
            job_is_over(&Docket { ended_at: ended.map(after), ..requested("one", 0).docket }, after(wait))
        };
        assert!(!job(None, 10 * JOB_RETENTION));
        assert!(!job(Some(TICK), JOB_RETENTION + TICK));
        assert!(job(Some(TICK), JOB_RETENTION + 2 * TICK));
        let offer = |status, expires: Option<Duration>, wait| {
            let offer = Offer { status, expires_at: expires.map(after), ..listing().offer };
            offer_is_over(&offer, after(wait))
        };
        let long = OFFER_RETENTION + TICK;
        assert!(!offer(OfferStatus::Active, None, 10 * long));
        assert!(!offer(OfferStatus::Paused, None, long));
        assert!(!offer(OfferStatus::Active, Some(long), long));
        assert!(offer(OfferStatus::Active, Some(TICK), long));
        assert!(!offer(OfferStatus::Cancelled, None, OFFER_RETENTION));
        assert!(offer(OfferStatus::Cancelled, None, long));
    }

    fn offers(count: usize) -> Vec<(Option<Listing>, Listing)> {
        let made = |number: usize| {
            let mut listing = listing();
            listing.offer.offer_id = OfferId::new(format!("offer_{number:02}"));
            (None, listing)
        };
        (0..count).map(made).collect()
    }

    /// The writer's turn is held meanwhile, so both what is removed and what is looked at are counted.
    #[tokio::test]
    async fn it_stops_after_enough_looks_and_goes_on_there() {
        let dir = tempfile::tempdir().unwrap();
        let storage = Embedded::open(dir.path(), 8 << 20, &Entropy::system()).unwrap();
        let settlement = Settlement { offers: offers(20), ..Settlement::at(NOW) };
        assert_eq!(storage.settle(settlement).await.unwrap(), Settled::Done);
        let look = |from: Option<String>| {
            let mut looks = 0;
            let next = look_through(&storage.store, &BAZAAR_OFFERS, from.as_ref(), 2, |_, _| {
                looks += 1;
                false
            });
            (looks, next.unwrap())
        };
        let (looks, next) = look(None);
        assert_eq!((looks, next.as_deref()), (2 * LOOKS_FOR_EACH, Some("offer_15")));
        assert_eq!(look(next), (4, None));
        let removed = look_through(&storage.store, &BAZAAR_OFFERS, None, 2, |_, _| true).unwrap();
        assert_eq!(removed.as_deref(), Some("offer_01"));
        // More is left as long as any of the lists was not looked through.
        assert!(storage.clear_now(now(), 2).unwrap());
        assert!(!storage.clear_now(now(), 2).unwrap());
    }

    #[tokio::test]
    async fn a_list_of_jobs_that_is_not_looked_through_is_more_to_be_done() {
        let dir = tempfile::tempdir().unwrap();
        let storage = Embedded::open(dir.path(), 8 << 20, &Entropy::system()).unwrap();
        let jobs = (0..9).map(|number| {
            let mut change = requested(&format!("job_{number}"), number);
            change.payload = None;
            change
        });
        let settlement = Settlement { jobs: jobs.collect(), ..Settlement::at(NOW) };
        assert_eq!(storage.settle(settlement).await.unwrap(), Settled::Done);
        assert!(storage.clear_now(now(), 1).unwrap());
        assert!(!storage.clear_now(now(), 1).unwrap());
    }
}
