//! One function per effect, in the words of /v0; what each leads to is the machine's next input.
//!
//! Every call is safe to repeat. By its key an answer that was lost is told again; where the relay has
//! used the key up, or has done what was asked for and says that it cannot be done, the job itself is
//! looked at, and what it shows is what counts.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, Notify, Semaphore};

use super::flaws::{doubt, is_gone};
use super::letters::Bots;
use super::links::Links;
use super::result::{self, Delivery, Letter};
use super::ticket::{Shown, Ticket};
use crate::client::v0::{BotClient, Class, Key};
use crate::client::{CallError, Pace};
use crate::edge::Entropy;
use crate::points::crash_point;
use crate::protocol::v0::payload::Kind;
use crate::protocol::v0::{self, Charge, ChargeId, Job as V0Job, Moment, Status as V0Status, charge};
use crate::protocol::{JobId, Timestamp};
use crate::store::{Store, StoreError};
use crate::worker::engine::Heard;
use crate::worker::input::{Call, Input, Outcome, Rejection};
use crate::worker::memory::{self, JOBS, Record, TICKETS};
use crate::worker::payment::Invoice;

/// Calls in flight: the pace lets fewer than this through in a second.
const CALLS_MAX: usize = 16;

/// The first delay before a failed call is repeated.
const RETRY_MIN: Duration = Duration::from_millis(100);

/// The longest: the relay's return must not be waited out for much longer than this.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// A relay that does not accept our signature needs a person (a clock, a key), who needs a while.
const UNAUTHORIZED_DELAY: Duration = Duration::from_secs(60);

/// How long a charge stands unless it is configured: as in the deployed client.
const CHARGE_TTL: Duration = Duration::from_secs(1_800);

/// Charges that are made soon after each other expire at the same moment, so that a repeated one is
/// the same: within this part of their time.
const EXPIRY_STEPS: u32 = 16;

/// A job that is over this soon is not charged for again.
const REVIVAL_MARGIN: Duration = Duration::from_secs(10);

/// The way to a relay of /v0.
#[derive(Debug)]
pub(in crate::worker) struct Bazaar {
    pub(in crate::worker) client: BotClient,
    pub(super) store: Arc<Store>,
    pub(super) bots: Bots,
    /// Told when a relay that knew nobody knows us again: it has none of our offers.
    pub(super) renewed: Notify,
    /// Held from when it is written that an offer's jobs may be unheard until the loop knows its terms,
    /// and by whoever reads or takes back what was written.
    pub(super) unheard: Mutex<()>,
    pub(super) holder: String,
    charge_ttl: Duration,
    links: Option<Links>,
    entropy: Entropy,
    permits: Semaphore,
}

/// Why there is no input: the store failed, or what was asked for is over or elsewhere.
pub(super) enum Stop {
    Store(StoreError),
    Call(CallError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<CallError> for Stop {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl Bazaar {
    pub(in crate::worker) fn new(
        client: BotClient,
        store: Arc<Store>,
        holder: String,
        charge_ttl: Option<Duration>,
        links: Option<Links>,
        entropy: Entropy,
    ) -> Self {
        let charge_ttl = charge_ttl.unwrap_or(CHARGE_TTL);
        let permits = Semaphore::new(CALLS_MAX);
        Self {
            client,
            store,
            bots: Bots::default(),
            renewed: Notify::new(),
            unheard: Mutex::new(()),
            holder,
            charge_ttl,
            links,
            entropy,
            permits,
        }
    }

    /// The machine's view of a job, without its request.
    pub(super) fn shown(&self, job: &V0Job) -> Shown {
        Shown::of(job, None, &self.holder)
    }

    pub(super) fn heard(&self, job: &V0Job) -> Heard {
        Heard::Shown(Box::new(self.shown(job)))
    }

    /// Charges for a job.
    pub(in crate::worker) async fn quote(&self, job: JobId, invoice: Invoice) -> Heard {
        let ended = self.try_charge(job, invoice, Call::Quote).await;
        ended.unwrap_or_else(|stop| refused(job, Call::Quote, stop))
    }

    /// Charges again for a job that expired.
    pub(in crate::worker) async fn revive(&self, job: JobId, invoice: Invoice) -> Heard {
        let ended = self.try_charge(job, invoice, Call::Revive).await;
        ended.unwrap_or_else(|stop| refused(job, Call::Revive, stop))
    }

    async fn try_charge(&self, job: JobId, invoice: Invoice, call: Call) -> Result<Heard, Stop> {
        let ticket = self.ticket(job)?;
        let over = self.client.now().plus(REVIVAL_MARGIN) >= ticket.job_expires_at;
        if call == Call::Revive && over {
            // It may have come back before, by another worker or a life that is forgotten.
            let found = self.look(job, &ticket).await?;
            let is_over = matches!(found.status, V0Status::Expired | V0Status::Requested);
            let rejected = || Heard::Input(job, Input::Rejected(call, Rejection::State));
            return Ok(if is_over { rejected() } else { self.heard(&found) });
        }
        self.be_pinned(job, &ticket).await?;
        let (named, invoice) = (&ticket, &invoice);
        let send = move |key: Key| async move {
            let charge = self.charge_of(named, invoice);
            let key = key.renamed(charge.charge_id.as_str());
            if call == Call::Revive {
                crash_point!("worker/bazaar/revive");
                let answer = self.client.reissue(&named.job_id, &charge, &key).await;
                crash_point!("worker/bazaar/revived");
                answer
            } else {
                crash_point!("worker/bazaar/charge");
                let answer = self.client.charge(&named.job_id, &charge, &key).await;
                crash_point!("worker/bazaar/charged");
                answer
            }
        };
        match self.repeat(job, send).await {
            Ok(charged) => Ok(self.heard(&charged)),
            // Also when the address is taken: it may be this very job that has it. And when the charge is
            // faulty, which is checked first: one whose answer was lost may have been taken before.
            Err(error) if matches!(error.status(), Some(400 | 409 | 413 | 422)) => {
                let found = self.look(job, &ticket).await?;
                let rejected = match (call, found.status) {
                    (_, V0Status::Requested) if error.says("charge address already in use") => {
                        Rejection::AddressUsed
                    }
                    (_, V0Status::Requested) => Rejection::Invalid(words(&error)),
                    (Call::Revive, V0Status::Expired) if error.status() != Some(409) => {
                        Rejection::Invalid(words(&error))
                    }
                    (Call::Revive, V0Status::Expired) => Rejection::State,
                    _ => return Ok(self.heard(&found)),
                };
                Ok(Heard::Input(job, Input::Rejected(call, rejected)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A charge over exactly the price, on the job's own address.
    fn charge_of(&self, ticket: &Ticket, invoice: &Invoice) -> Charge {
        let step = i128::try_from((self.charge_ttl / EXPIRY_STEPS).as_nanos()).unwrap_or(1).max(1);
        let end = self.client.now().plus(self.charge_ttl).nanos();
        let end = Moment::from_nanos((end / step + 1) * step);
        let expires_at = end.min(ticket.job_expires_at);
        let address = invoice.account.to_string();
        let hash = Sha256::digest(format!("{}|{address}|{expires_at}", ticket.job_id));
        let id = ChargeId::new(format!("chg_{}", hex::encode(&hash[..8])));
        let parties = charge::Parties {
            job_id: ticket.job_id.as_str(),
            offer_id: ticket.offer_id.as_str(),
            seller: self.client.bot_id(),
            buyer: ticket.buyer_bot_id,
        };
        charge::sign(self.client.keys(), parties, id, &address, &invoice.price.to_string(), expires_at)
    }

    /// Tells the buyer why there will be no charge: /v0 has no refusal, but it has messages. The job
    /// then expires by itself.
    pub(in crate::worker) async fn refuse(&self, job: JobId, reason: String) -> Heard {
        let told = self.try_refuse(job, &reason).await;
        told.unwrap_or_else(|stop| refused(job, Call::Refuse, stop))
    }

    async fn try_refuse(&self, job: JobId, reason: &str) -> Result<Heard, Stop> {
        let (ticket, record) = (self.ticket(job)?, self.record(job)?);
        let letter = result::refusal(&ticket.job_id, reason);
        crash_point!("worker/bazaar/refuse");
        let told = self.hand_over(job, &ticket, Kind::Message, &letter, (record.first_seen_at, 0)).await?;
        crash_point!("worker/bazaar/refused");
        match told {
            Ok(()) => Ok(Heard::Input(job, Input::Done(Call::Refuse))),
            // It is over already, so that nobody waits for a reason.
            Err(error) if error.says("job not mutable") => Ok(Heard::Input(job, Input::Done(Call::Refuse))),
            Err(error) => Err(error.into()),
        }
    }

    /// Looks at a job.
    pub(in crate::worker) async fn fetch(&self, job: JobId) -> Heard {
        let found = async { Ok::<_, Stop>(self.look(job, &self.ticket(job)?).await?) };
        match found.await {
            Ok(found) => self.heard(&found),
            Err(stop) => refused(job, Call::Fetch, stop),
        }
    }

    /// Hands the stored outcome over: parts first, then the deliverable that ends the job.
    pub(in crate::worker) async fn deliver(&self, job: JobId, round: u32) -> Heard {
        let delivered = self.try_deliver(job, round).await;
        delivered.unwrap_or_else(|stop| refused(job, Call::Deliver, stop))
    }

    async fn try_deliver(&self, job: JobId, round: u32) -> Result<Heard, Stop> {
        let (ticket, record) = (self.ticket(job)?, self.record(job)?);
        let outcome: Outcome = memory::outcome(&self.store, job, record.outcomes)?;
        let delivery = self.delivery(&ticket.job_id, &outcome).await;
        // The moment of the job, and not of the delivery: a later round hands over the same bytes.
        let at = (record.first_seen_at, round);
        for part in &delivery.parts {
            crash_point!("worker/bazaar/part");
            let told = self.hand_over(job, &ticket, Kind::Message, part, at).await?;
            crash_point!("worker/bazaar/parted");
            if let Err(error) = told {
                return self.not_delivered(job, &ticket, error).await;
            }
        }
        crash_point!("worker/bazaar/deliver");
        let told = self.hand_over(job, &ticket, Kind::Deliverable, &delivery.last, at).await?;
        crash_point!("worker/bazaar/delivered");
        match told {
            Ok(()) => Ok(Heard::Input(job, Input::Done(Call::Deliver))),
            Err(error) => self.not_delivered(job, &ticket, error).await,
        }
    }

    /// What cannot be written to be served is split.
    async fn delivery(&self, job: &v0::JobId, outcome: &Outcome) -> Delivery {
        let keys = self.client.keys();
        let link = |hash: &str| {
            let name = Links::name(keys, job, hash);
            self.links.as_ref().map(|links| (name.clone(), links.url_of(&name)))
        };
        let delivery = result::delivery(job, outcome, link);
        let (Some(links), Some((name, text))) = (self.links.clone(), delivery.file.clone()) else {
            return delivery;
        };
        let written = tokio::task::spawn_blocking(move || links.publish(&name, &text)).await;
        crash_point!("worker/bazaar/linked");
        match written.map_err(std::io::Error::other).and_then(|written| written) {
            Ok(()) => delivery,
            Err(error) => {
                tracing::error!(job = %job, %error, "the result cannot be written to [results] dir: it is split");
                result::delivery(job, outcome, |_| None)
            }
        }
    }

    async fn not_delivered(&self, job: JobId, ticket: &Ticket, error: CallError) -> Result<Heard, Stop> {
        if error.status() != Some(409) {
            return Err(error.into());
        }
        let found = self.look(job, ticket).await?;
        Ok(match found.status {
            V0Status::Delivered | V0Status::Cancelled | V0Status::Expired => self.heard(&found),
            _ => Heard::Input(job, Input::Rejected(Call::Deliver, Rejection::State)),
        })
    }

    /// Seals and sends one payload; what the relay says against it. One that it has already is there.
    ///
    /// What was refused once may be taken in the next round, and a life without the memory of the one
    /// before seals at another moment, so that each of these is a request of its own. That nothing is
    /// handed over twice is for the payload's name to see to, and for the job's status.
    async fn hand_over(
        &self,
        job: JobId,
        ticket: &Ticket,
        kind: Kind,
        letter: &Letter,
        (at, round): (Timestamp, u32),
    ) -> Result<Result<(), CallError>, Stop> {
        let key = self.key_for(job, ticket).await?;
        let Ok(sealed) = self.sealed(ticket, &key, kind, letter, at.into()) else {
            let error = CallError::Refused(Box::new(crate::client::Refused {
                status: 413,
                code: "too_large".to_owned(),
                message: "the text is too long for a sealed payload".to_owned(),
                details: serde_json::Value::Null,
            }));
            return Ok(Err(error));
        };
        let hash = hex::encode(&Sha256::digest(&sealed.ciphertext_b64)[..8]);
        let (sealed, base) = (&sealed, &format!("{}.{round}.{hash}", letter.id));
        let send = move |key: Key| async move {
            let key = key.renamed(base);
            self.client.deliver(&ticket.job_id, sealed, &key).await
        };
        Ok(match self.repeat(job, send).await {
            Ok(_) => Ok(()),
            Err(error) if kind == Kind::Message && error.says("payload_id already used") => Ok(()),
            Err(error) => Err(error),
        })
    }

    /// The job as it is now.
    pub(super) async fn look(&self, job: JobId, ticket: &Ticket) -> Result<V0Job, CallError> {
        self.repeat(job, move |_| async move {
            crash_point!("worker/bazaar/look");
            let answer = self.client.job(&ticket.job_id).await;
            crash_point!("worker/bazaar/looked");
            answer
        })
        .await
    }

    pub(super) fn ticket(&self, job: JobId) -> Result<Ticket, StoreError> {
        TICKETS.get(&self.store, &job)?.ok_or_else(|| missing("tickets", job))
    }

    pub(super) fn record(&self, job: JobId) -> Result<Record, StoreError> {
        JOBS.get(&self.store, &job)?.ok_or_else(|| missing("jobs", job))
    }

    /// Repeats a call until the relay has answered it, one way or the other; that there is no such thing,
    /// twice.
    pub(super) async fn repeat<T, F>(&self, job: JobId, call: impl Fn(Key) -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let mut pace = Pace::new(RETRY_MIN, RETRY_MAX, self.entropy.clone());
        let (mut key, mut doubted) = (Key::new(""), false);
        loop {
            let answer = {
                // The semaphore is never closed.
                let _permit = self.permits.acquire().await.ok();
                call(key.clone()).await
            };
            let error = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            key = key.after(&error);
            match error.class() {
                Class::Retry | Class::RateLimited { .. } => {
                    tracing::warn!(job_id = %job, %error, "will be repeated");
                    tokio::time::sleep(pace.next_delay_after(error.retry_after())).await;
                }
                Class::Permanent if error.says("unknown bot") => self.register_again(&mut pace).await,
                Class::Permanent if is_about_us(&error) => {
                    tracing::error!(job_id = %job, %error, "the relay does not accept us: check the clock and the keys");
                    tokio::time::sleep(UNAUTHORIZED_DELAY).await;
                }
                // A relay that makes no sense is not believed, however often it is asked.
                Class::Permanent if is_gone(&error) && !doubted => {
                    tracing::warn!(job_id = %job, %error, "will be asked once more");
                    tokio::time::sleep(pace.next_delay()).await;
                    doubted = doubt(&self.client).await.is_ok();
                }
                Class::Gone { .. } | Class::Permanent => return Err(error),
            }
        }
    }

    /// A relay whose storage was replaced knows nobody.
    async fn register_again(&self, pace: &mut Pace) {
        self.renew().await;
        tokio::time::sleep(pace.next_delay()).await;
    }

    pub(super) async fn renew(&self) {
        tracing::warn!("the relay does not know this bot: it is registered again, with its offers");
        if let Err(error) = self.client.register().await {
            tracing::warn!(%error, "not registered");
        }
        // Whatever was answered: if only the answer was lost, nobody will say again that it is unknown.
        self.renewed.notify_one();
    }
}

/// Whether it is the caller that the relay refuses, whatever is asked for.
pub(super) fn is_about_us(error: &CallError) -> bool {
    error.status() == Some(401) || error.says("bot revoked")
}

/// What a definite refusal means to the machine.
pub(super) fn refused(job: JobId, call: Call, stop: Stop) -> Heard {
    let error = match stop {
        Stop::Store(error) => {
            tracing::error!(job_id = %job, %error, "the job cannot be read back");
            return Heard::Broken(error);
        }
        Stop::Call(error) => error,
    };
    let why = match error.status() {
        Some(403 | 404) => Rejection::Gone,
        Some(400 | 413 | 422) => Rejection::Invalid(words(&error)),
        _ => Rejection::State,
    };
    Heard::Input(job, Input::Rejected(call, why))
}

fn words(error: &CallError) -> String {
    match error {
        CallError::Refused(refused) => refused.message.clone(),
        other => other.to_string(),
    }
}

fn missing(keyspace: &'static str, job: JobId) -> StoreError {
    StoreError::Record { keyspace, reason: format!("the open job {job} is not in it") }
}

#[cfg(test)]
mod tests;
