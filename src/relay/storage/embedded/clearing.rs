//! The /v0 half: what need not be kept any longer.

use super::Embedded;
use super::bazaar::{PayloadMark, nanos, sides};
use super::keys::{
    BAZAAR_JOBS, BAZAAR_JOBS_OF, BAZAAR_OFFERS, BAZAAR_OFFERS_OF, PAYLOAD_NAMES, PAYLOADS, PAYLOADS_OF,
    PURCHASES,
};
use crate::protocol::v0::limits::{
    JOB_RETENTION, OFFER_RETENTION, PAYLOAD_FETCHED_RETENTION, PAYLOAD_RETENTION,
};
use crate::protocol::v0::{Docket, Moment, Offer, OfferStatus};
use crate::store::{Batch, StoreError};

impl Embedded {
    pub(super) fn clear_now(&self, now: Moment, limit: usize) -> Result<bool, StoreError> {
        let _turn = self.store.writer();
        let mut batch = Batch::default();
        let more = [
            self.clear_payloads(&mut batch, now, limit)?,
            self.clear_jobs(&mut batch, now, limit)?,
            self.clear_offers(&mut batch, now, limit)?,
        ];
        self.store.commit(batch)?;
        Ok(more.contains(&limit))
    }

    fn clear_payloads(&self, batch: &mut Batch, now: Moment, limit: usize) -> Result<usize, StoreError> {
        let mut removed = 0;
        for entry in PAYLOADS_OF.all(&self.store) {
            let ((bot, at, id), mark) = entry?;
            if removed == limit {
                break;
            }
            if payload_is_over(Moment::from_nanos(at.into()), &mark, now) {
                PAYLOADS_OF.remove(batch, &(bot, at, id.clone()));
                PAYLOAD_NAMES.remove(batch, &id);
                PAYLOADS.remove(batch, &(bot, id));
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn clear_jobs(&self, batch: &mut Batch, now: Moment, limit: usize) -> Result<usize, StoreError> {
        let mut removed = 0;
        for entry in BAZAAR_JOBS.all(&self.store) {
            let (id, docket) = entry?;
            if removed == limit {
                break;
            }
            if job_is_over(&docket, now) {
                for (bot, side) in sides(&docket.job) {
                    let made = nanos(docket.job.created_at);
                    BAZAAR_JOBS_OF.remove(batch, &((bot, side), made, id.clone()));
                }
                BAZAAR_JOBS.remove(batch, &id);
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn clear_offers(&self, batch: &mut Batch, now: Moment, limit: usize) -> Result<usize, StoreError> {
        let mut removed = 0;
        for entry in BAZAAR_OFFERS.all(&self.store) {
            let (id, listing) = entry?;
            if removed == limit {
                break;
            }
            if offer_is_over(&listing.offer, now) {
                BAZAAR_OFFERS_OF.remove(batch, &(*listing.offer.seller_bot_id.as_bytes(), id.clone()));
                PURCHASES.remove(batch, &id);
                BAZAAR_OFFERS.remove(batch, &id);
                removed += 1;
            }
        }
        Ok(removed)
    }
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
