//! Offers, newest first.

use super::Embedded;
use super::guards::put_answer;
use super::keys::{AnswerBody, OFFERS, OFFERS_BY_CREATION, OFFERS_OF_SELLER};
use crate::points::crash_point;
use crate::protocol::OfferId;
use crate::relay::model::{OfferPage, OfferQuery, OfferSave};
use crate::store::{Batch, StoreError};

impl Embedded {
    pub(super) fn put_offer(&self, save: &OfferSave<'_>) -> Result<bool, StoreError> {
        let _turn = self.store.writer();
        let offer = save.offer;
        if OFFERS.get(&self.store, &offer.offer_id)?.as_ref() != save.expected {
            return Ok(false);
        }
        let mut batch = Batch::default();
        OFFERS.put(&mut batch, &offer.offer_id, offer)?;
        if save.expected.is_none() {
            let (at, id) = (offer.created_at, offer.offer_id);
            OFFERS_BY_CREATION.put(&mut batch, &(at, id), &())?;
            OFFERS_OF_SELLER.put(&mut batch, &(offer.seller_pubkey, at, id), &())?;
        }
        if let Some(receipt) = save.receipt {
            put_answer(&mut batch, receipt, AnswerBody::Offer(offer.clone()))?;
        }
        crash_point!("relay/offer/decided");
        self.store.commit(batch)?;
        crash_point!("relay/offer/committed");
        Ok(true)
    }

    pub(super) fn list_offers(&self, query: &OfferQuery) -> Result<OfferPage, StoreError> {
        let mut page = OfferPage { offers: Vec::new(), total: 0 };
        let ids: &mut dyn Iterator<Item = Result<OfferId, StoreError>> = match query.seller {
            Some(seller) => &mut OFFERS_OF_SELLER
                .prefix(&self.store, &seller)
                .rev()
                .map(|entry| entry.map(|((_, _, id), ())| id)),
            None => &mut OFFERS_BY_CREATION.all(&self.store).rev().map(|entry| entry.map(|((_, id), ())| id)),
        };
        for id in ids {
            let Some(offer) = OFFERS.get(&self.store, &id?)? else { continue };
            if !query.matches(&offer) {
                continue;
            }
            page.total += 1;
            if page.total > query.offset as u64 && page.offers.len() < query.limit {
                page.offers.push(offer);
            }
        }
        Ok(page)
    }
}
