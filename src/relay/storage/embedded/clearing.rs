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
