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
use super::lists::{LISTS, ours};
use super::stalls::{PlaceError, Placed, Shop, Stall, says_the_same, take_back};
use crate::client::CallError;
use crate::client::v0::OffersQuery;
use crate::protocol::v0::limits::PAGE_MAX;
use crate::protocol::v0::{Offer, OfferDraft, OfferId, Status};
use crate::store::{Store, StoreError};
use crate::worker::memory::{self, STALLS, fact};
use crate::worker::settings::OfferSettings;

/// Pages of offers that stand: a thousand offers are more than a configuration makes in a month.
const OFFER_PAGES_MAX: usize = 5;

/// Pages of one list of jobs that may still need an offer: as many as the first look at all jobs reads.
const JOB_PAGES_MAX: usize = 1_000;

/// Offers asked for: the deployed relays answer two in a second, and whoever polls by hand waits for
/// all of them.
const OFFERS_LOOKED_MAX: usize = 32;

/// Before an offer whose description cannot be read is asked for again.
const PAUSE: Duration = Duration::from_millis(500);

/// The states of jobs that may still be charged for, paid, or charged for again.
const UNDONE: [Status; 4] = [Status::Requested, Status::ChargeCreated, Status::Paid, Status::Expired];

/// Looks for the offers of an earlier life, if this state may have had one that it does not know.
pub(super) async fn recall(shop: &Shop<'_>) -> Result<(), PlaceError> {
    let Shop { bazaar, store, offers, .. } = *shop;
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
            Some(offer) => adopt(shop, offer, &found).await?,
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

/// The offers of jobs that may need one, and that this state does not know: first those of jobs that are
/// charged for or paid, the newest first.
async fn unknown_offers(bazaar: &Bazaar, store: &Store) -> Result<Vec<OfferId>, PlaceError> {
    let (own, mut known, mut unknown) = (bazaar.client.bot_id(), known(store)?, Vec::new());
    for status in LISTS.into_iter().filter(|status| UNDONE.contains(status)) {
        let mut query = ours(status);
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
                    "jobs of too many earlier offers: those of the least urgent and oldest are left alone"
                );
                unknown.truncate(OFFERS_LOOKED_MAX);
                return Ok(unknown);
            }
            match page.next_cursor {
                Some(next) => query.cursor = Some(next),
                None => break,
            }
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

async fn adopt(shop: &Shop<'_>, offer: &OfferSettings, found: &Offer) -> Result<(), StoreError> {
    let stall = STALLS.get(shop.store, &offer.name)?.unwrap_or(Stall::empty());
    tracing::info!(offer = offer.name, offer_id = %found.offer_id, "offer of an earlier life found: its jobs are served");
    shop.remember(&offer.name, stall.with_earlier(Placed::of(found))).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::super::fixture::{Scripted, bazaar, buyer, job, offers, seller};
    use super::*;
    use crate::client::v0::rest::RESPONSE_BYTES_MAX;
    use crate::edge::Entropy;
    use crate::protocol::v0::{BotId, Moment};
    use crate::store::Batch;

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

    fn shown(name: &str, title: &str, seller: BotId) -> (u16, Value) {
        let offer = Offer { offer_id: OfferId::new(name), seller_bot_id: seller, ..found(title, "5") };
        (200, json!(offer))
    }

    /// Jobs of all kinds of offers.
    fn relay(target: &str) -> (u16, Value) {
        let (own, other) = (seller().bot_id(), buyer().bot_id());
        let (path, _) = target.split_once('?').unwrap_or((target, ""));
        match path {
            "/v0/offers" => {
                let offers = [("stands", "Count"), ("standing", "Other")]
                    .map(|(name, title)| shown(name, title, own).1);
                (200, json!({ "offers": offers }))
            }
            "/v0/offers/stands/cancel" => shown("stands", "Count", own),
            "/v0/jobs" => {
                let names = ["old", "gone", "..", "html", "theirs", "other", "old"];
                let jobs = names.map(|name| {
                    let mut job = job("job_1", "REQUESTED", "pay_1");
                    job["offer_id"] = json!(name);
                    job
                });
                (200, json!({ "jobs": jobs }))
            }
            "/v0/offers/old" => shown("old", "Count", own),
            "/v0/offers/html" => (414, json!("too long")),
            "/v0/offers/theirs" => shown("theirs", "Count", other),
            "/v0/offers/other" => shown("other", "Other", own),
            "/v0/offers/gone" => (404, json!({ "error": "offer not found" })),
            // Before an answer is held against an offer, the line is tried.
            "/v0/poll" => {
                (200, json!({ "events": [], "last_acked_event_id": 0, "min_event_id_retained": 0 }))
            }
            path => panic!("{path}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_our_own_offers_of_todays_titles_are_found_again() {
        let (dir, offers) = (tempfile::tempdir().unwrap(), offers(&["Count"]));
        let store = Arc::new(memory::open(dir.path()).unwrap());
        let relay = Scripted::new(relay);
        let (bazaar, entropy) = (bazaar(Arc::clone(&relay) as _, Arc::clone(&store)), Entropy::system());
        let shop = Shop { bazaar: &bazaar, store: &store, offers: &offers, entropy: &entropy, told: None };
        recall(&shop).await.unwrap();
        let stall = STALLS.get(&store, &"Count".to_owned()).unwrap().unwrap();
        let placed = Placed { offer_id: OfferId::new("old"), price_raw: "5".to_owned() };
        assert_eq!(stall, Stall { former: vec![placed], ..Stall::empty() });
        let asked = |target: &str| relay.asked(target);
        assert_eq!((asked("/v0/offers/stands/cancel"), asked("/v0/offers/standing")), (1, 0));
        assert_eq!((asked("/v0/offers/old"), asked("/v0/offers/html")), (1, 3));
        // Whoever has seen all jobs has no earlier life that it does not know.
        let mut batch = Batch::default();
        memory::put_fact(&mut batch, fact::SYNCED, "yes").unwrap();
        store.commit(batch).unwrap();
        let before = asked("/");
        recall(&shop).await.unwrap();
        assert_eq!(asked("/"), before);
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_offers_are_asked_for_and_no_more() {
        fn many(target: &str) -> (u16, Value) {
            if target.starts_with("/v0/jobs?") {
                let jobs: Vec<Value> = (0..100)
                    .map(|number| {
                        let mut job = job("job_1", "PAID", "pay_1");
                        job["offer_id"] = json!(format!("offer_{number}"));
                        job
                    })
                    .collect();
                return (200, json!({ "jobs": jobs, "next_cursor": "again" }));
            }
            if target.starts_with("/v0/offers?") {
                return (200, json!({ "offers": [], "next_cursor": "again" }));
            }
            if target.starts_with("/v0/poll") {
                let page = json!({ "events": [], "last_acked_event_id": 0, "min_event_id_retained": 0 });
                return (200, page);
            }
            (404, json!({ "error": "offer not found" }))
        }
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(memory::open(dir.path()).unwrap());
        let relay = Scripted::new(many);
        let (bazaar, entropy) = (bazaar(Arc::clone(&relay) as _, Arc::clone(&store)), Entropy::system());
        let offers = offers(&["Count"]);
        let shop = Shop { bazaar: &bazaar, store: &store, offers: &offers, entropy: &entropy, told: None };
        recall(&shop).await.unwrap();
        assert_eq!(relay.asked("/v0/offers/"), 2 * OFFERS_LOOKED_MAX, "each twice");
        assert_eq!((relay.asked("/v0/jobs?"), relay.asked("/v0/offers?")), (1, OFFER_PAGES_MAX));
    }

    /// A stranger's job that nobody can charge for, and behind it one that is paid.
    #[tokio::test]
    async fn the_offer_of_a_paid_job_is_found_behind_a_job_that_is_too_long() {
        fn long(target: &str) -> (u16, Value) {
            let mut jobs = Vec::new();
            if target.contains("status=EXPIRED") {
                jobs.push(job("huge", "EXPIRED", &"p".repeat(RESPONSE_BYTES_MAX)));
            }
            if target.contains("status=PAID") {
                jobs.push(job("paid", "PAID", "pay_1"));
            }
            (200, json!({ "jobs": jobs }))
        }
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(memory::open(dir.path()).unwrap());
        let bazaar = bazaar(Scripted::new(long), Arc::clone(&store));
        let unknown = unknown_offers(&bazaar, &store).await.unwrap();
        assert_eq!(unknown, [OfferId::new("offer_1")]);
    }
}
