//! Offers on a relay of /v0: made once, made anew before they expire or when they have changed.
//!
//! An offer there cannot be changed, and ends after a month. So one offer of the configuration is a
//! row of offers on the relay, and jobs of all of them are served, each at the price of its own.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use nano_currency::Amount;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::bazaar::{Bazaar, is_about_us};
use super::earlier::recall;
use super::ticket::offer_id;
use crate::client::v0::{Class, Key, OffersQuery};
use crate::client::{CallError, Pace};
use crate::edge::Entropy;
use crate::points::crash_point;
use crate::protocol::OfferId;
use crate::protocol::v0::limits::PAGE_MAX;
use crate::protocol::v0::{self, Moment, Offer, OfferCommand, OfferDraft, OfferStatus};
use crate::store::{Batch, Store, StoreError};
use crate::worker::input::Pricing;
use crate::worker::memory::{self, STALLS, fact};
use crate::worker::offers::{LOOK, OfferError, Refusals, Registered};
use crate::worker::settings::OfferSettings;

/// How long an offer is made for: the month that relays take, less what clocks may be off.
const OFFER_TTL: Duration = Duration::from_secs(30 * 86_400 - 3_600);

/// An offer that ends sooner than this is made anew: a seller may be on a long weekend.
const RENEW_BEFORE: Duration = Duration::from_secs(4 * 86_400);

/// Earlier offers whose jobs are still served: jobs last a month, so more than a few were changed
/// far too often.
const FORMER_MAX: usize = 32;

/// The first delay before a failed registration is repeated.
const RETRY_MIN: Duration = Duration::from_millis(500);

/// The longest.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// An offer of the configuration, as it is and was on the relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stall {
    /// The key and the whole text of one that is being made; its answer is awaited.
    pub pending: Option<(String, OfferDraft)>,
    /// The one that takes jobs.
    pub current: Option<Placed>,
    /// Earlier ones, newest first.
    pub former: Vec<Placed>,
}

/// One offer on the relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Its name there.
    pub offer_id: v0::OfferId,
    /// Its price, in raw.
    pub price_raw: String,
}

impl Placed {
    pub(super) fn of(offer: &Offer) -> Self {
        Self { offer_id: offer.offer_id.clone(), price_raw: offer.price_raw.clone() }
    }
}

impl Stall {
    pub(super) const fn empty() -> Self {
        Self { pending: None, current: None, former: Vec::new() }
    }

    /// All that have a name.
    pub(super) fn placed(&self) -> impl Iterator<Item = &Placed> {
        self.current.iter().chain(&self.former)
    }

    /// With another offer in place of the current one.
    fn with(mut self, placed: Placed) -> Self {
        if let Some(before) = self.current.replace(placed) {
            self.former.insert(0, before);
        }
        let current = self.current.as_ref().map(|placed| placed.offer_id.clone());
        self.former.retain(|former| Some(&former.offer_id) != current.as_ref());
        self.former.truncate(FORMER_MAX);
        Self { pending: None, ..self }
    }

    /// With one more that took jobs before those that are known.
    pub(super) fn with_earlier(mut self, placed: Placed) -> Self {
        let known = self.placed().any(|other| other.offer_id == placed.offer_id);
        if !known {
            self.former.push(placed);
            self.former.truncate(FORMER_MAX);
        }
        self
    }
}

/// Registers the bot and its offers, and keeps them there.
#[derive(Debug)]
pub(in crate::worker) struct Registrar {
    pub(in crate::worker) bazaar: Arc<Bazaar>,
    pub(in crate::worker) store: Arc<Store>,
    pub(in crate::worker) offers: Vec<OfferSettings>,
    pub(in crate::worker) entropy: Entropy,
    /// Where the loop hears of it.
    pub(in crate::worker) registered: mpsc::Sender<Registered>,
}

impl Registrar {
    /// Registers all for the first time and tells the loop; whether to go on. The loop hears of a refusal,
    /// and ends unless somebody's paid job would end with it.
    pub(in crate::worker) async fn begin(&self) -> bool {
        match register(&self.shop(), &mut Refusals::end()).await {
            Err(refused @ OfferError::Call { .. }) => {
                self.registered.send(Err(refused)).await.is_ok() && self.register().await
            }
            registered => self.tell(registered).await,
        }
    }

    /// Registers all and tells the loop; whether to go on. What is refused is left out until the next look.
    async fn register(&self) -> bool {
        self.tell(register(&self.shop(), &mut Refusals::are_left_out()).await).await
    }

    fn shop(&self) -> Shop<'_> {
        Shop {
            bazaar: &self.bazaar,
            store: &self.store,
            offers: &self.offers,
            entropy: &self.entropy,
            told: Some(&self.registered),
        }
    }

    async fn tell(&self, registered: Registered) -> bool {
        let failed = registered.is_err();
        self.registered.send(registered).await.is_ok() && !failed
    }

    /// Looks after the offers until `shutdown`.
    pub(in crate::worker) async fn keep(&self, shutdown: CancellationToken) {
        let keeping = async {
            loop {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(LOOK) => {}
                    () = self.bazaar.renewed.notified() => {}
                }
                if !self.register().await {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = keeping => {}
        }
    }
}

/// What is known of the offers that were made before, without asking anybody.
pub(in crate::worker) fn known(
    store: &Store,
    offers: &[OfferSettings],
) -> Result<HashMap<OfferId, OfferSettings>, StoreError> {
    let mut known = HashMap::new();
    for offer in offers {
        let Some(stall) = STALLS.get(store, &offer.name)? else { continue };
        for placed in stall.placed() {
            let Ok(price) = Amount::parse_raw(&placed.price_raw) else { continue };
            let mut offer = offer.clone();
            offer.terms.pricing = Pricing::Fixed(price);
            known.insert(offer_id(&placed.offer_id), offer);
        }
    }
    Ok(known)
}

/// A registration under way.
#[derive(Clone, Copy)]
pub(in crate::worker) struct Shop<'a> {
    pub(in crate::worker) bazaar: &'a Bazaar,
    pub(in crate::worker) store: &'a Store,
    pub(in crate::worker) offers: &'a [OfferSettings],
    pub(in crate::worker) entropy: &'a Entropy,
    /// Where the loop hears of each offer as soon as it has a name, if there is a loop yet.
    pub(in crate::worker) told: Option<&'a mpsc::Sender<Registered>>,
}

impl Shop<'_> {
    /// Writes down what is known of an offer. With a new name it is written that its jobs may be unheard
    /// (see `unheard`), and the loop is told its terms at once: the offers after it may take long.
    pub(super) async fn remember(&self, name: &str, stall: Stall) -> Result<(), StoreError> {
        let name = name.to_owned();
        let before = STALLS.get(self.store, &name)?;
        if before.as_ref() == Some(&stall) {
            return Ok(());
        }
        let before = before.unwrap_or(Stall::empty());
        let is_known = |placed: &Placed| before.placed().any(|known| known.offer_id == placed.offer_id);
        let mut batch = Batch::default();
        STALLS.put(&mut batch, &name, &stall)?;
        let Some(new) = stall.placed().find(|placed| !is_known(placed)) else {
            return self.write(batch).await;
        };
        memory::put_fact(&mut batch, fact::UNHEARD, new.offer_id.as_str())?;
        let _turn = self.bazaar.unheard.lock().await;
        self.write(batch).await?;
        crash_point!("worker/bazaar/named");
        if let Some(told) = self.told {
            // Pages that are handed over after this are heard with these terms: the loop takes what it is
            // told of offers before any page. One that has ended needs none.
            drop(told.send(Ok(known(self.store, self.offers)?)).await);
        }
        Ok(())
    }

    async fn write(&self, batch: Batch) -> Result<(), StoreError> {
        self.store.commit(batch)?;
        crash_point!("worker/bazaar/written");
        self.store.durable().await
    }
}

/// Makes the bot and its offers known; repeats until the relay has answered. No offer waits for another
/// that the relay does not answer.
pub(in crate::worker) async fn register(shop: &Shop<'_>, refusals: &mut Refusals) -> Registered {
    let Shop { bazaar, store, offers, entropy, .. } = *shop;
    let mut pace = Pace::new(RETRY_MIN, RETRY_MAX, entropy.clone());
    loop {
        crash_point!("worker/bazaar/registering");
        let answer = bazaar.client.register().await;
        crash_point!("worker/bazaar/registered");
        match patiently(bazaar, &mut pace, "the bot itself", answer.map_err(PlaceError::Call)).await {
            Ok(true) => break,
            Ok(false) => {}
            Err(refused) => break refusals.note(refused)?,
        }
    }
    let mut waiting: VecDeque<&OfferSettings> = offers.iter().collect();
    while let Some(offer) = waiting.pop_front() {
        let placed = Placing { shop, offer }.place().await;
        match patiently(bazaar, &mut pace, &offer.name, placed).await {
            Ok(true) => {}
            Ok(false) => waiting.push_back(offer),
            Err(refused) => refusals.note(refused)?,
        }
    }
    loop {
        let answer = match recall(shop).await {
            // What the relay does not tell of an earlier life is no fault of this one's offers.
            Err(PlaceError::Call(error)) if error.class() == Class::Permanent && !is_about_us(&error) => {
                tracing::error!(%error, "the relay does not tell of earlier offers: their jobs are left alone");
                break;
            }
            answer => answer,
        };
        match patiently(bazaar, &mut pace, "earlier offers", answer).await {
            Ok(true) => break,
            Ok(false) => {}
            Err(refused) => break refusals.note(refused)?,
        }
    }
    withdraw_others(bazaar, store, offers).await?;
    refusals.write_down(store)?;
    Ok(known(store, offers)?)
}

/// Whether it is done; a relay that may think better of it is given time.
async fn patiently<T>(
    bazaar: &Bazaar,
    pace: &mut Pace,
    name: &str,
    answer: Result<T, PlaceError>,
) -> Result<bool, OfferError> {
    match answer {
        Ok(_) => {
            pace.reset();
            Ok(true)
        }
        Err(PlaceError::Store(error)) => Err(error.into()),
        Err(PlaceError::Call(error)) if error.class() != Class::Permanent || is_about_us(&error) => {
            tracing::warn!(offer = name, %error, "not registered yet");
            // Its storage was replaced between the bot and the offer.
            if error.says("unknown bot") {
                bazaar.renew().await;
            }
            tokio::time::sleep(pace.next_delay_after(error.retry_after())).await;
            Ok(false)
        }
        Err(PlaceError::Call(source)) => Err(OfferError::Call { name: name.to_owned(), source }),
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One offer, on its way to the relay.
struct Placing<'a> {
    shop: &'a Shop<'a>,
    offer: &'a OfferSettings,
}

impl Placing<'_> {
    async fn place(&self) -> Result<(), PlaceError> {
        let stall = STALLS.get(self.shop.store, &self.offer.name)?.unwrap_or(Stall::empty());
        let there = match &stall.current {
            Some(current) => self.on_relay(&current.offer_id).await?,
            None => None,
        };
        match there {
            Some(there) if self.is_good(&there) => {
                self.set_active(&there).await?;
                // An earlier life may have died before it took this one back.
                match stall.former.first() {
                    Some(former) => self.take_back_if_open(&former.offer_id).await,
                    None => Ok(()),
                }
            }
            there => {
                let made = self.find_or_make(stall).await?;
                self.set_active(&made).await?;
                if let Some(old) = there.filter(|old| old.offer_id != made.offer_id) {
                    self.take_back_if_open(&old.offer_id).await?;
                }
                Ok(())
            }
        }
    }

    async fn on_relay(&self, id: &v0::OfferId) -> Result<Option<Offer>, CallError> {
        match self.shop.bazaar.client.offer(id).await {
            Ok(offer) => Ok(Some(offer)),
            Err(CallError::Refused(refused)) if refused.status == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether it says what the configuration says, and will for a while.
    fn is_good(&self, there: &Offer) -> bool {
        let soon = self.shop.bazaar.client.now().plus(RENEW_BEFORE);
        matches!(there.status, OfferStatus::Active | OfferStatus::Paused)
            && there.expires_at.is_none_or(|end| end > soon)
            && self.offer.draft.as_ref().is_some_and(|draft| says_the_same(draft, there))
    }

    /// An offer of an earlier life, whose state or whose answer is gone, is found by what it says.
    async fn find_or_make(&self, stall: Stall) -> Result<Offer, PlaceError> {
        let query =
            OffersQuery { mine: true, include_paused: true, limit: Some(PAGE_MAX), ..OffersQuery::default() };
        let own = self.shop.bazaar.client.bot_id();
        let page = self.shop.bazaar.client.offers(&query).await?;
        let mut taken = HashSet::new();
        for entry in STALLS.all(self.shop.store) {
            let (name, stall) = entry?;
            taken.extend(stall.current.filter(|_| name != self.offer.name).map(|placed| placed.offer_id));
        }
        let found = page.offers.into_iter().find(|offer| {
            offer.seller_bot_id == own && !taken.contains(&offer.offer_id) && self.is_good(offer)
        });
        let made = match found {
            Some(found) => found,
            None => self.make(&stall).await?,
        };
        self.remember(stall.with(Placed::of(&made))).await?;
        tracing::info!(offer = self.offer.name, offer_id = %made.offer_id, "offer registered");
        Ok(made)
    }

    async fn make(&self, stall: &Stall) -> Result<Offer, PlaceError> {
        let draft = self.offer.draft.clone().unwrap_or_default();
        let expires_at = self.shop.bazaar.client.now().plus(OFFER_TTL).to_string();
        let draft = OfferDraft { expires_at: Some(expires_at), ..draft };
        let same = |(_, told): &&(String, OfferDraft)| {
            OfferDraft { expires_at: None, ..told.clone() }
                == OfferDraft { expires_at: None, ..draft.clone() }
        };
        let (key, draft) = match stall.pending.as_ref().filter(same) {
            Some(pending) => pending.clone(),
            None => (format!("offer-{}", hex::encode(self.shop.entropy.bytes::<16>())), draft),
        };
        self.remember(Stall { pending: Some((key.clone(), draft.clone())), ..stall.clone() }).await?;
        crash_point!("worker/bazaar/offer");
        let answer = self.shop.bazaar.client.create_offer(&draft, &Key::new(key)).await;
        crash_point!("worker/bazaar/offered");
        if let Err(CallError::RateLimited { .. } | CallError::Unavailable { .. } | CallError::Refused(_)) =
            &answer
        {
            // The relay has used the key up; whether it made the offer, the next look at all of them says.
            self.remember(Stall { pending: None, ..stall.clone() }).await?;
        }
        Ok(answer?)
    }

    async fn set_active(&self, there: &Offer) -> Result<(), PlaceError> {
        let command = match (self.offer.public.active, there.status) {
            (true, OfferStatus::Paused) => OfferCommand::Resume,
            (false, OfferStatus::Active) => OfferCommand::Pause,
            _ => return Ok(()),
        };
        crash_point!("worker/bazaar/change");
        self.shop.bazaar.client.change_offer(&there.offer_id, command).await?;
        crash_point!("worker/bazaar/changed");
        Ok(())
    }

    async fn take_back_if_open(&self, id: &v0::OfferId) -> Result<(), PlaceError> {
        let old = self.on_relay(id).await?;
        match old.filter(|old| matches!(old.status, OfferStatus::Active | OfferStatus::Paused)) {
            Some(old) => Ok(take_back(self.shop.bazaar, &old.offer_id).await?),
            None => Ok(()),
        }
    }

    async fn remember(&self, stall: Stall) -> Result<(), StoreError> {
        self.shop.remember(&self.offer.name, stall).await
    }
}

/// As the relay would keep it: trimmed, and each tag once.
pub(super) fn says_the_same(draft: &OfferDraft, there: &Offer) -> bool {
    let now = Moment::from_nanos(0);
    draft.offer(there.offer_id.clone(), there.seller_bot_id, now).is_ok_and(|ours| {
        let ours = ours.offer;
        (&ours.title, &ours.description, &ours.tags, &ours.price_raw, ours.turnaround_seconds)
            == (&there.title, &there.description, &there.tags, &there.price_raw, there.turnaround_seconds)
    })
}

/// Takes an offer back; one that has ended by itself is as good.
pub(super) async fn take_back(bazaar: &Bazaar, id: &v0::OfferId) -> Result<(), CallError> {
    crash_point!("worker/bazaar/withdraw");
    let answer = bazaar.client.change_offer(id, OfferCommand::Cancel).await;
    crash_point!("worker/bazaar/withdrawn");
    match answer {
        Err(CallError::Refused(refused)) if matches!(refused.status, 404 | 409) => Ok(()),
        answer => answer.map(drop),
    }
}

/// Offers that were taken out of the configuration take no new jobs.
async fn withdraw_others(bazaar: &Bazaar, store: &Store, offers: &[OfferSettings]) -> Result<(), StoreError> {
    let names: HashSet<&str> = offers.iter().map(|offer| offer.name.as_str()).collect();
    let gone: Vec<(String, Stall)> = STALLS
        .all(store)
        .filter(|entry| entry.as_ref().map_or(true, |(name, _)| !names.contains(name.as_str())))
        .collect::<Result<_, _>>()?;
    for (name, stall) in gone {
        if let Some(current) = &stall.current
            && let Err(error) = take_back(bazaar, &current.offer_id).await
        {
            tracing::warn!(offer = name, %error, "not withdrawn; the next start tries again");
            continue;
        }
        tracing::info!(offer = name, "offer withdrawn");
        let mut batch = Batch::default();
        STALLS.remove(&mut batch, &name);
        store.commit_durable(batch).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
