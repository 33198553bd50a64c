//! Offers are registered once and remembered.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};

use super::calls::Line;
use super::effects::Service;
use super::memory::{self, OFFERS, RegisteredOffer, fact};
use super::settings::OfferSettings;
use super::terms::Terms;
use crate::client::{CallError, OffersQuery, Pace};
use crate::edge::{self, Entropy};
use crate::points::crash_point;
use crate::protocol::limits::OFFERS_PER_PAGE_MAX;
use crate::protocol::offer::OfferTerms;
use crate::protocol::{Offer, OfferId};
use crate::store::{Batch, Store, StoreError};

/// The first delay before a failed registration is repeated.
const RETRY_MIN: Duration = Duration::from_millis(500);

/// The longest.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// How often offers are looked at that the relay has, or has refused.
pub(super) const LOOK: Duration = Duration::from_secs(6 * 3_600);

/// How long offers that were refused are tried again while the news wait for it.
const AGAIN_MAX: Duration = Duration::from_secs(20);

/// Of a refusal this much is kept for people.
const WHY_CHARS_MAX: usize = 300;

/// Why an offer is not registered.
#[derive(Debug, thiserror::Error)]
pub(super) enum OfferError {
    #[error("the offer {name:?} is not registered")]
    Call {
        name: String,
        #[source]
        source: CallError,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What becomes of a registration when the relay refuses an offer for good.
#[derive(Debug)]
pub(super) struct Refusals {
    end: bool,
    /// The offers that were left out for it.
    left_out: Vec<LeftOut>,
}

/// An offer that goes without, and why.
#[derive(Debug, Serialize)]
struct LeftOut {
    name: String,
    why: String,
}

impl Refusals {
    /// It ends: at the start, where a mistake in the configuration is to be told.
    pub(super) const fn end() -> Self {
        Self { end: true, left_out: Vec::new() }
    }

    /// It goes on with the other offers: nobody's job may end because another offer is refused.
    pub(super) const fn are_left_out() -> Self {
        Self { end: false, left_out: Vec::new() }
    }

    /// Whether to go on without what was refused.
    pub(super) fn note(&mut self, error: OfferError) -> Result<(), OfferError> {
        match error {
            refused @ OfferError::Call { .. } if !self.end => {
                leave(&refused);
                let OfferError::Call { name, source } = refused else { return Ok(()) };
                let why = source.to_string().chars().take(WHY_CHARS_MAX).collect();
                self.left_out.push(LeftOut { name, why });
                Ok(())
            }
            error => Err(error),
        }
    }

    /// Writes down what was left out, for whoever asks how the worker does.
    pub(super) fn write_down(&self, store: &Store) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        match self.left_out.is_empty() {
            true if memory::fact(store, fact::REFUSED)?.is_none() => return Ok(()),
            true => memory::forget_fact(&mut batch, fact::REFUSED),
            false => memory::put_fact(&mut batch, fact::REFUSED, &json!(self.left_out).to_string())?,
        }
        store.commit(batch)
    }
}

/// Tells whoever reads the log that an offer is left out, and what to do.
pub(super) fn leave(refused: &OfferError) {
    if let OfferError::Call { name, source } = refused {
        tracing::error!(
            offer = name,
            error = %source,
            "the relay refuses this offer: the others go on; correct it in the configuration and start again, or wait until it is tried again within {} hours",
            LOOK.as_secs() / 3_600
        );
    }
}

/// The offers by their names on the relay.
pub(super) type Registered = Result<HashMap<OfferId, OfferSettings>, OfferError>;

/// Registers the offers: at the start, and again when the relay has forgotten them.
#[derive(Debug)]
pub(super) struct Registrar {
    pub(super) line: Arc<Line>,
    pub(super) store: Arc<Store>,
    pub(super) offers: Vec<OfferSettings>,
    pub(super) entropy: Entropy,
    /// Where the loop hears of it.
    pub(super) registered: mpsc::Sender<Registered>,
    /// When what was refused is tried again.
    pub(super) again: Mutex<Option<Instant>>,
}

impl Registrar {
    /// Registers the offers for the first time and tells the loop; whether to go on. The loop hears of a
    /// refusal, and ends unless somebody's paid job would end with it.
    pub(super) async fn begin(&self) -> bool {
        match register(&self.line, &self.store, &self.offers, &self.entropy, &mut Refusals::end()).await {
            Err(refused @ OfferError::Call { .. }) => {
                self.registered.send(Err(refused)).await.is_ok() && self.register().await
            }
            registered => self.tell(registered).await,
        }
    }

    /// Registers the offers and tells the loop; whether to go on. What is refused is left out.
    pub(super) async fn register(&self) -> bool {
        let mut refusals = Refusals::are_left_out();
        let registered = register(&self.line, &self.store, &self.offers, &self.entropy, &mut refusals).await;
        self.try_again_later(!refusals.left_out.is_empty());
        self.tell(registered).await
    }

    async fn tell(&self, registered: Registered) -> bool {
        let failed = registered.is_err();
        self.registered.send(registered).await.is_ok() && !failed
    }

    fn try_again_later(&self, any: bool) {
        let at = any.then(|| edge::monotonic() + LOOK);
        *self.again.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Whether it is time to try again what was refused.
    pub(super) fn is_due(&self) -> bool {
        let again = *self.again.lock().unwrap_or_else(PoisonError::into_inner);
        again.is_some_and(|at| edge::monotonic() >= at)
    }

    /// Tries again what was refused, not for long, and tells the loop of what is registered then; whether
    /// to go on.
    pub(super) async fn try_again(&self) -> bool {
        let tried = tokio::time::timeout(AGAIN_MAX, self.register()).await;
        match tried {
            Ok(go_on) => go_on,
            Err(_) => {
                self.try_again_later(true);
                self.tell(known(&self.store, &self.offers).map_err(OfferError::from)).await
            }
        }
    }
}

/// What is known of the offers that were registered before, without asking anybody.
pub(super) fn known(
    store: &Store,
    offers: &[OfferSettings],
) -> Result<HashMap<OfferId, OfferSettings>, StoreError> {
    let mut known = HashMap::new();
    for offer in offers {
        if let Some(RegisteredOffer { offer_id: Some(id), .. }) = OFFERS.get(store, &offer.name)? {
            known.insert(id, offer.clone());
        }
    }
    Ok(known)
}

/// What decides about jobs, by offer.
pub(super) fn terms(known: &HashMap<OfferId, OfferSettings>) -> HashMap<OfferId, Terms> {
    known.iter().map(|(id, offer)| (*id, offer.terms.clone())).collect()
}

/// How jobs are run, by offer.
pub(super) fn service(offer: &OfferSettings) -> Service {
    Service {
        handler: offer.handler.clone(),
        places: Arc::new(Semaphore::new(offer.max_parallel)),
        pricing_places: Arc::new(Semaphore::new(offer.max_parallel)),
    }
}

/// Registers what is new, changes what was changed, withdraws what is gone; repeats until the relay
/// has answered.
pub(super) async fn register(
    line: &Line,
    store: &Store,
    offers: &[OfferSettings],
    entropy: &Entropy,
    refusals: &mut Refusals,
) -> Registered {
    let mut pace = Pace::new(RETRY_MIN, RETRY_MAX, entropy.clone());
    for offer in offers {
        loop {
            match register_one(line, store, offer, entropy).await {
                Err(OfferError::Call { source, name })
                    if source.is_retryable() || source.status() == Some(401) =>
                {
                    tracing::warn!(offer = name, error = %source, "not registered yet");
                    tokio::time::sleep(pace.next_delay_after(source.retry_after())).await;
                }
                Err(refused) => break refusals.note(refused)?,
                Ok(_) => break,
            }
        }
        pace.reset();
    }
    withdraw_others(line, store, offers).await?;
    refusals.write_down(store)?;
    Ok(known(store, offers)?)
}

async fn register_one(
    line: &Line,
    store: &Store,
    offer: &OfferSettings,
    entropy: &Entropy,
) -> Result<OfferId, OfferError> {
    let failed = |source| OfferError::Call { name: offer.name.clone(), source };
    let terms = json!(offer.public).to_string();
    match OFFERS.get(store, &offer.name)? {
        Some(RegisteredOffer { offer_id: Some(id), .. }) if !is_known(line, id).await.map_err(failed)? => {
            // The relay's storage was replaced: it is a new offer there.
            tracing::warn!(offer = offer.name, offer_id = %id, "the relay does not know the offer any more");
            create(line, store, offer, new_key(entropy)).await
        }
        Some(RegisteredOffer { offer_id: Some(id), terms: told, .. }) if told == terms => Ok(id),
        Some(RegisteredOffer { offer_id: Some(id), key, .. }) => {
            let changes = json!(offer.public);
            crash_point!("worker/send/change");
            match line.once(&|| line.client.patch_offer(&id, &changes)).await {
                Ok(_) => {
                    crash_point!("worker/answer/change");
                    remember(store, &offer.name, RegisteredOffer { offer_id: Some(id), key, terms }).await?;
                    Ok(id)
                }
                Err(error) if error.may_lack_route() => {
                    tracing::warn!(
                        offer = offer.name,
                        "the relay cannot change offers: it keeps the old text"
                    );
                    Ok(id)
                }
                Err(error) => Err(failed(error)),
            }
        }
        // An earlier life died before it heard the answer: the same key, so the same offer.
        Some(RegisteredOffer { offer_id: None, terms: told, key }) if told == terms => {
            create(line, store, offer, key).await
        }
        // An earlier life whose state is gone may have registered it: its jobs are ours to do.
        None => match find_own(line, offer).await.map_err(failed)? {
            Some(found) => adopt(line, store, offer, &found, new_key(entropy)).await,
            None => create(line, store, offer, new_key(entropy)).await,
        },
        // The same, and its terms were changed since: first the answer, then the change.
        Some(pending @ RegisteredOffer { offer_id: None, .. }) => {
            match id_of(line, &pending).await.map_err(failed)? {
                Some(id) => {
                    let known = RegisteredOffer { offer_id: Some(id), ..pending };
                    remember(store, &offer.name, known).await?;
                    Box::pin(register_one(line, store, offer, entropy)).await
                }
                None => create(line, store, offer, new_key(entropy)).await,
            }
        }
    }
}

/// Our own offer of this title on the relay: the one with the same terms, else the newest.
async fn find_own(line: &Line, offer: &OfferSettings) -> Result<Option<Offer>, CallError> {
    let query = OffersQuery {
        seller: Some(line.client.public_key()),
        active: Some(true),
        limit: Some(OFFERS_PER_PAGE_MAX),
        ..OffersQuery::default()
    };
    let page = line.once(&|| line.client.offers(&query)).await?;
    let ours = line.client.public_key();
    let own = page.offers.into_iter().filter(|found| found.seller_pubkey == ours);
    Ok(own
        .filter(|found| found.terms.title == offer.public.title)
        .max_by_key(|found| (found.terms == offer.public, found.created_at)))
}

async fn adopt(
    line: &Line,
    store: &Store,
    offer: &OfferSettings,
    found: &Offer,
    key: String,
) -> Result<OfferId, OfferError> {
    let failed = |source| OfferError::Call { name: offer.name.clone(), source };
    let (id, terms) = (found.offer_id, json!(offer.public).to_string());
    let changes = json!(offer.public);
    let same = found.terms == offer.public;
    match line
        .once(&|| async {
            if same { Ok(()) } else { line.client.patch_offer(&id, &changes).await.map(drop) }
        })
        .await
    {
        Ok(()) => {}
        Err(error) if error.may_lack_route() => {
            tracing::warn!(offer = offer.name, "the relay cannot change offers: it keeps the old text");
        }
        Err(error) => return Err(failed(error)),
    }
    remember(store, &offer.name, RegisteredOffer { offer_id: Some(id), key, terms }).await?;
    tracing::info!(offer = offer.name, offer_id = %id, "offer of an earlier life found");
    Ok(id)
}

/// Whether the relay knows an offer. One without the route for a single offer says the same as one
/// that has forgotten it, so then our own offers are listed.
async fn is_known(line: &Line, id: OfferId) -> Result<bool, CallError> {
    match line.once(&|| line.client.offer(&id)).await {
        Ok(_) => return Ok(true),
        Err(error) if !error.may_lack_route() => return Err(error),
        Err(_) => {}
    }
    for active in [true, false] {
        let query = OffersQuery {
            seller: Some(line.client.public_key()),
            active: Some(active),
            limit: Some(OFFERS_PER_PAGE_MAX),
            ..OffersQuery::default()
        };
        let page = line.once(&|| line.client.offers(&query)).await?;
        if page.offers.iter().any(|offer| offer.offer_id == id) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn create(
    line: &Line,
    store: &Store,
    offer: &OfferSettings,
    key: String,
) -> Result<OfferId, OfferError> {
    let terms = json!(offer.public).to_string();
    let pending = RegisteredOffer { offer_id: None, key: key.clone(), terms: terms.clone() };
    remember(store, &offer.name, pending).await?;
    crash_point!("worker/send/offer");
    let client = line.client.with_key(key.clone());
    let created = line
        .once(&|| client.create_offer(&offer.public))
        .await
        .map_err(|source| OfferError::Call { name: offer.name.clone(), source })?;
    crash_point!("worker/answer/offer");
    let done = RegisteredOffer { offer_id: Some(created.offer_id), key, terms };
    remember(store, &offer.name, done).await?;
    tracing::info!(offer = offer.name, offer_id = %created.offer_id, "offer registered");
    Ok(created.offer_id)
}

/// Offers that were taken out of the configuration take no new jobs.
async fn withdraw_others(line: &Line, store: &Store, offers: &[OfferSettings]) -> Result<(), OfferError> {
    let names: HashSet<&str> = offers.iter().map(|offer| offer.name.as_str()).collect();
    let gone: Vec<(String, RegisteredOffer)> = OFFERS
        .all(store)
        .filter(|entry| entry.as_ref().map_or(true, |(name, _)| !names.contains(name.as_str())))
        .collect::<Result<_, _>>()?;
    for (name, offer) in gone {
        match withdraw(line, &offer).await {
            Ok(()) => {
                crash_point!("worker/answer/withdrawal");
                tracing::info!(offer = name, "offer withdrawn");
                let mut batch = Batch::default();
                OFFERS.remove(&mut batch, &name);
                store.commit_durable(batch).await?;
            }
            Err(error) => tracing::warn!(offer = name, %error, "not withdrawn; the next start tries again"),
        }
    }
    Ok(())
}

async fn withdraw(line: &Line, offer: &RegisteredOffer) -> Result<(), CallError> {
    let Some(id) = id_of(line, offer).await? else { return Ok(()) };
    crash_point!("worker/send/withdrawal");
    let inactive = json!({ "active": false });
    line.once(&|| line.client.patch_offer(&id, &inactive)).await.map(drop)
}

/// The offer on the relay, if there is one. The answer to its registration may have been lost with
/// an earlier life, and the relay offers it all the same: the same key tells what was answered.
async fn id_of(line: &Line, offer: &RegisteredOffer) -> Result<Option<OfferId>, CallError> {
    if offer.offer_id.is_some() {
        return Ok(offer.offer_id);
    }
    // Terms that cannot be read were told to nobody.
    let Ok(terms) = serde_json::from_str::<OfferTerms>(&offer.terms) else { return Ok(None) };
    let client = line.client.with_key(offer.key.clone());
    match line.once(&|| client.create_offer(&terms)).await {
        Ok(created) => Ok(Some(created.offer_id)),
        Err(error) if error.is_retryable() || error.status() == Some(401) => Err(error),
        // It was refused, so it is not there.
        Err(_) => Ok(None),
    }
}

/// Writes down what is known of an offer. The relay takes requests for one from when it has made it: those
/// that were heard of before its id was known here were passed over, so with a new id it is written that
/// they are to be looked for.
async fn remember(store: &Store, name: &str, offer: RegisteredOffer) -> Result<(), StoreError> {
    let name = name.to_owned();
    let before = OFFERS.get(store, &name)?;
    if before.as_ref() == Some(&offer) {
        return Ok(());
    }
    let mut batch = Batch::default();
    if let Some(id) = offer.offer_id
        && before.and_then(|before| before.offer_id) != Some(id)
    {
        memory::put_fact(&mut batch, fact::UNHEARD, &id.to_string())?;
    }
    OFFERS.put(&mut batch, &name, &offer)?;
    store.commit(batch)?;
    crash_point!("worker/offer/written");
    store.durable().await
}

fn new_key(entropy: &Entropy) -> String {
    format!("offer-{}", hex::encode(entropy.bytes::<16>()))
}

#[cfg(test)]
mod tests;
