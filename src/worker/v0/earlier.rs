//! Offers of an earlier life, whose state is gone or was put back: found again by what they say.
//!
//! The relay still has them, and jobs of them that wait. So before the first look at all jobs, each
//! job's offer is asked for, in whatever state it is; the offer of the configuration with its title
//! serves it, at the price that it had, as it would have if nothing had been lost. What stands beside
//! the offers of today is taken back, so that nobody asks at yesterday's price any more.

use std::collections::HashSet;
use std::time::Duration;

use super::bazaar::Bazaar;
use super::flaws::{can_name_offer, tolerant};
use super::lists::ours;
use super::stalls::{PlaceError, Placed, Stall, remember, says_the_same, take_back};
use crate::client::CallError;
use crate::client::v0::OffersQuery;
use crate::protocol::v0::limits::PAGE_MAX;
use crate::protocol::v0::{Offer, OfferDraft, OfferId, Status};
use crate::store::{Store, StoreError};
use crate::worker::memory::{self, STALLS, fact};
use crate::worker::settings::OfferSettings;

/// Pages of offers that stand: a thousand offers are more than a configuration makes in a month.
const OFFER_PAGES_MAX: usize = 5;

/// Pages of jobs that may still need an offer: as many as the first look at all jobs reads.
const JOB_PAGES_MAX: usize = 1_000;

/// Offers asked for: the deployed relays answer two in a second, and whoever polls by hand waits for
/// all of them.
const OFFERS_LOOKED_MAX: usize = 32;

/// Before an offer whose description cannot be read is asked for again.
const PAUSE: Duration = Duration::from_millis(500);

/// The states of jobs that may still be charged for, paid, or charged for again.
const UNDONE: [Status; 4] = [Status::Requested, Status::ChargeCreated, Status::Paid, Status::Expired];

/// Looks for the offers of an earlier life, if this state may have had one that it does not know.
pub(super) async fn recall(
    bazaar: &Bazaar,
    store: &Store,
    offers: &[OfferSettings],
) -> Result<(), PlaceError> {
    if memory::fact(store, fact::SYNCED)?.is_some() {
        return Ok(());
    }
    take_back_others(bazaar, store, offers).await?;
    for id in unknown_offers(bazaar, store).await? {
        let Some(found) = on_relay(bazaar, &id).await? else {
            tracing::warn!(offer_id = %id, "the relay has jobs of an offer that it does not have: they are left alone");
            continue;
        };
        match whose(offers, &found) {
            Some(offer) => adopt(store, offer, &found).await?,
            None => tracing::warn!(
                offer_id = %id,
                title = found.title,
                "jobs of an offer that the configuration does not have are left alone: give one offer this title, and they are served"
            ),
        }
    }
    Ok(())
}

/// The offer of the configuration that an offer on the relay is, or was: the one that says the same,
/// else the only one with its title.
fn whose<'a>(offers: &'a [OfferSettings], found: &Offer) -> Option<&'a OfferSettings> {
    pick(offers, |offer| offer.draft.as_ref(), found)
}

fn pick<'a, T>(offers: &'a [T], draft: impl Fn(&T) -> Option<&OfferDraft>, found: &Offer) -> Option<&'a T> {
    let says = |offer: &&T| draft(offer).is_some_and(|ours| says_the_same(ours, found));
    let mut titled =
        offers.iter().filter(|offer| draft(offer).is_some_and(|ours| ours.title.trim() == found.title));
    let same = offers.iter().find(says);
    same.or_else(|| titled.next().filter(|_| titled.next().is_none()))
}

/// Ours that stand, that this state does not know, and that say something else than it does now.
async fn take_back_others(
    bazaar: &Bazaar,
    store: &Store,
    offers: &[OfferSettings],
) -> Result<(), PlaceError> {
    let (own, known) = (bazaar.client.bot_id(), known(store)?);
    let mut query =
        OffersQuery { mine: true, include_paused: true, limit: Some(PAGE_MAX), ..OffersQuery::default() };
    for _ in 0..OFFER_PAGES_MAX {
        let page = bazaar.client.offers(&query).await?;
        for found in page.offers {
            let is_earlier = found.seller_bot_id == own && !known.contains(&found.offer_id);
            if is_earlier && whose(offers, &found).is_some() {
                take_back(bazaar, &found.offer_id).await?;
                tracing::info!(offer_id = %found.offer_id, title = found.title, "offer of an earlier life taken back");
            }
        }
        match page.next_cursor {
            Some(next) => query.cursor = Some(next),
            None => break,
        }
    }
    Ok(())
}

/// The offers of jobs that may need one, and that this state does not know; those of the newest jobs.
async fn unknown_offers(bazaar: &Bazaar, store: &Store) -> Result<Vec<OfferId>, PlaceError> {
    let (own, mut known, mut unknown) = (bazaar.client.bot_id(), known(store)?, Vec::new());
    let mut query = ours(&UNDONE);
    for _ in 0..JOB_PAGES_MAX {
        let page = bazaar.jobs_page(&query).await?;
        for job in page.jobs.into_iter().filter(|job| job.seller_bot_id == own) {
            if known.insert(job.offer_id.clone()) {
                unknown.push(job.offer_id);
            }
        }
        if unknown.len() > OFFERS_LOOKED_MAX {
            tracing::error!(
                at_most = OFFERS_LOOKED_MAX,
                "jobs of too many earlier offers: the oldest are left alone"
            );
            unknown.truncate(OFFERS_LOOKED_MAX);
            break;
        }
        match page.next_cursor {
            Some(next) => query.cursor = Some(next),
            None => break,
        }
    }
    Ok(unknown)
}

/// Every offer that this state serves.
fn known(store: &Store) -> Result<HashSet<OfferId>, StoreError> {
    let mut known = HashSet::new();
    for entry in STALLS.all(store) {
        let (_, stall) = entry?;
        known.extend(stall.current.into_iter().chain(stall.former).map(|placed| placed.offer_id));
    }
    Ok(known)
}

/// In whatever state; one with a name that cannot be asked for is not there.
async fn on_relay(bazaar: &Bazaar, id: &OfferId) -> Result<Option<Offer>, CallError> {
    if !can_name_offer(id) {
        return Ok(None);
    }
    let found = tolerant(&bazaar.client, PAUSE, || bazaar.client.offer(id)).await?;
    Ok(found.ok().filter(|offer| offer.seller_bot_id == bazaar.client.bot_id()))
}

async fn adopt(store: &Store, offer: &OfferSettings, found: &Offer) -> Result<(), StoreError> {
    let stall = STALLS.get(store, &offer.name)?.unwrap_or(Stall::empty());
    tracing::info!(offer = offer.name, offer_id = %found.offer_id, "offer of an earlier life found: its jobs are served");
    remember(store, &offer.name, stall.with_earlier(Placed::of(found))).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::v0::{BotId, Moment};

    fn draft(title: &str, price_raw: &str) -> OfferDraft {
        let tags = vec!["text".to_owned()];
        let (title, price_raw, description) =
            (title.to_owned(), price_raw.to_owned(), "some words".to_owned());
        OfferDraft { title, description, tags, price_raw, turnaround_seconds: 60, ..OfferDraft::default() }
    }

    fn found(title: &str, price_raw: &str) -> Offer {
        let (id, own) = (OfferId::new("offer_1"), BotId::from_bytes([1; 32]));
        draft(title, price_raw).offer(id, own, Moment::from_nanos(0)).unwrap().offer
    }

    #[test]
    fn an_offer_is_the_one_that_says_the_same_or_the_only_one_of_its_title() {
        let ours = [("count", "Count", "5"), ("cheap", "Sum", "6"), ("dear", "Sum", "7")]
            .map(|(name, title, price)| (name, draft(title, price)));
        let is = |title: &str, price: &str, expected: Option<&str>| {
            let found = found(title, price);
            assert_eq!(pick(&ours, |(_, draft)| Some(draft), &found).map(|(name, _)| *name), expected);
        };
        is("Count", "5", Some("count"));
        is("Count", "50", Some("count"));
        is("Sum", "7", Some("dear"));
        is("Sum", "6", Some("cheap"));
        // Nobody can say which of the two it was, and they may do different things.
        is("Sum", "8", None);
        is("count", "5", None);
    }
}
