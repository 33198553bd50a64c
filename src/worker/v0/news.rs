//! News from a relay of /v0: poll, persist, acknowledge; wake-ups say when, polling alone is enough.
//!
//! The relay keeps the cursor. A page is acknowledged when everything it led to is durable, and asked
//! for again until then, so that a relay that was set back, or an acknowledgement that was lost, only
//! makes us hear things twice. Where somebody else has acknowledged more, our own cursor counts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::bazaar::{Bazaar, is_about_us};
use super::flaws::{can_name_job, doubt, glance, is_gone};
use super::lists::{LISTS, ours};
use super::ticket::job_id;
use crate::client::v0::{Class, Events};
use crate::client::{CallError, Pace};
use crate::edge::{self, Entropy};
use crate::points::crash_point;
use crate::protocol::v0::limits::ID_BYTES_MAX;
use crate::protocol::v0::{self, Event, Job as V0Job, Moment, News as Told, Status};
use crate::protocol::{Epoch, EventId, JobId};
use crate::store::Store;
use crate::store::StoreError;
use crate::worker::engine::{Heard, Position};
use crate::worker::hints::Hints;
use crate::worker::ingest::{OPEN_JOBS_MAX, Page, RoundError};
use crate::worker::input::{Call, Input, Rejection};
use crate::worker::look::{self, Look};
use crate::worker::memory::{self, JOBS, OPEN, STALLS, TICKETS, fact};
use crate::worker::watch::Wish;

/// Events of one page: each may need a payload, of which the relay gives five in a second, and the
/// whole page waits for all of them.
const EVENTS_PER_PAGE: usize = 50;

/// Jobs that are looked at before what was found is kept: whatever fails then is repeated for no more
/// than these, so that a line that is mostly broken still brings all of a page in the end.
const LOOKS_KEPT: usize = 8;

/// Pages of one list: two hundred thousand jobs, where a relay keeps those of a month. A list that
/// leads back into itself must end somewhere.
const LIST_PAGES_MAX: usize = 1_000;

/// How long to wait for open jobs to end when there are too many.
const FULL_DELAY: Duration = Duration::from_secs(5);

/// How often open jobs are looked at whose time is up: the deployed relays notice it only when asked.
const OVERDUE_LOOK: Duration = Duration::from_secs(20);

/// Overdue jobs looked at in one go.
const OVERDUE_MAX: usize = 50;

/// How long after its time a job is looked at: clocks differ.
const OVERDUE_AFTER: Duration = Duration::from_secs(2);

/// The log of a relay of /v0 has no epoch; this stands for it in our own facts.
pub(super) const EPOCH: &str = "v0";

/// What the poller needs.
#[derive(Debug)]
pub(in crate::worker) struct News {
    pub(in crate::worker) bazaar: Arc<Bazaar>,
    pub(in crate::worker) pages: mpsc::Sender<Page>,
    pub(in crate::worker) hints: Hints,
    /// Whom a payment that was sent concerns; nobody, when only one look is taken.
    pub(in crate::worker) watch: Option<mpsc::Sender<Wish>>,
    pub(in crate::worker) min: Duration,
    pub(in crate::worker) max: Duration,
    pub(in crate::worker) entropy: Entropy,
}

/// What a round brought.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// The last event, if there was one.
    pub(super) last: Option<u64>,
    /// Whether there is certainly more.
    pub(super) more: bool,
    pub(super) open: usize,
    /// Whether the cursor did not hold, so that everything was looked at.
    pub(super) resynced: bool,
}

/// What one look at a job showed.
enum Found {
    /// The job, if it is ours and can be read.
    Job(Option<Box<Heard>>),
    /// That the relay has no such job, or none of ours.
    Gone,
}

impl News {
    /// Polls until `shutdown`.
    pub(in crate::worker) async fn run(mut self, shutdown: CancellationToken) {
        tokio::select! {
            biased;
            () = self.follow() => {}
            () = shutdown.cancelled() => {}
        }
    }

    async fn follow(&mut self) {
        let mut idle = Pace::new(self.min, self.max, self.entropy.clone());
        let mut failing = Pace::new(self.min, self.max, self.entropy.clone());
        let mut overdue_at = edge::monotonic();
        let mut resynced = false;
        loop {
            let round = async {
                let round = self.round(true).await?;
                if edge::monotonic() >= overdue_at {
                    overdue_at = edge::monotonic() + OVERDUE_LOOK;
                    self.look_at_overdue().await?;
                }
                Ok::<_, RoundError>(round)
            };
            let wait = match round.await {
                Ok(round) => {
                    // A relay whose log never holds would be listed again and again without a pause.
                    let circling = round.resynced && resynced;
                    resynced = round.resynced;
                    if !resynced {
                        failing.reset();
                    }
                    if round.last.is_some() {
                        idle.reset();
                    }
                    match round {
                        _ if circling => failing.next_delay().max(self.min),
                        Round { open, .. } if open >= OPEN_JOBS_MAX => FULL_DELAY,
                        Round { more: true, .. } => Duration::ZERO,
                        // Wakes say when to look; the slow poll is for the ones that were lost.
                        _ if self.hints.flow => self.max.min(OVERDUE_LOOK),
                        _ => idle.next_delay().max(self.min).min(OVERDUE_LOOK.max(self.min)),
                    }
                }
                Err(RoundError::Stopping) => return,
                Err(RoundError::Store(error)) => {
                    drop(self.hand_over(vec![Heard::Broken(error)]).await);
                    return;
                }
                Err(RoundError::Call(error)) => {
                    tracing::warn!(%error, "no news from the relay");
                    self.make_known(&error).await;
                    failing.next_delay_after(error.retry_after()).max(self.min)
                }
            };
            if !self.hints.wait(wait).await {
                return;
            }
        }
    }

    /// Looks for used addresses if this state has not yet.
    pub(in crate::worker) async fn look_first(&self, look: &Look, store: &Store) -> Result<(), RoundError> {
        if !look::is_due(store)? {
            return Ok(());
        }
        for page in look.run().await {
            self.hand_over(vec![Heard::Looked(page)]).await?;
        }
        Ok(())
    }

    /// A relay whose storage was replaced knows nobody.
    async fn make_known(&self, error: &CallError) {
        if is_about_us(error) && error.says("unknown bot") {
            self.bazaar.renew().await;
        }
    }

    /// One page: heard, durable, then acknowledged. A cursor that is too old is healed on the way, and
    /// jobs that came before their offer had a name are looked for first.
    pub(super) async fn round(&self, acknowledge: bool) -> Result<Round, RoundError> {
        let synced = memory::fact(&self.bazaar.store, fact::SYNCED)?.is_some();
        let unheard = self.unheard().await?;
        if synced {
            self.hear_unheard(unheard).await?;
        } else {
            self.resync(None).await?;
            self.are_heard(unheard).await?;
        }
        match self.page(acknowledge).await {
            Err(RoundError::Call(error)) => match error.class() {
                Class::Gone { min_event_id_retained } => {
                    tracing::warn!(%error, "the cursor no longer holds: all jobs are looked at again");
                    self.resync(Some(min_event_id_retained)).await?;
                    Ok(Round { more: true, resynced: true, ..Round::default() })
                }
                _ => Err(error.into()),
            },
            round => round,
        }
    }

    async fn page(&self, acknowledge: bool) -> Result<Round, RoundError> {
        let (page, limit) = match self.next_events().await? {
            Events::Page(page, limit) => (page, limit),
            Events::TooLong(glimpse) => return self.pass_over(glimpse, acknowledge).await,
        };
        let more = page.events.len() >= limit;
        let acked = page.last_acked_event_id;
        let Some(last) = page.events.last().map(|event| event.event_id) else {
            return Ok(Round::default());
        };
        let (mut heard, paid) = self.jobs_of(page.events).await?;
        heard.push(Heard::Cursor(Position::Events(Epoch(EPOCH.to_owned()), EventId(last))));
        let open = self.hand_over(heard).await?;
        self.hurry(paid).await;
        if acknowledge && last > acked {
            self.acknowledge(last).await?;
        }
        Ok(Round { last: Some(last), more, open, resynced: false })
    }

    /// What comes after the relay's cursor, or after our own where somebody has acknowledged more. The
    /// relay does not say its cursor with an event that is too long, so ours counts then.
    async fn next_events(&self) -> Result<Events, RoundError> {
        let events = self.poll(None).await?;
        Ok(match (self.cursor()?, &events) {
            (Some(own), Events::Page(page, _)) if own < page.last_acked_event_id => {
                tracing::warn!(
                    own,
                    relay = page.last_acked_event_id,
                    "somebody acknowledged what was not heard here"
                );
                self.poll(Some(own)).await?
            }
            (Some(own), Events::TooLong(_)) => match self.poll(Some(own)).await? {
                // It comes before ours: the relay was set back, and what it tells now is news.
                Events::Page(page, _) if page.events.is_empty() => events,
                after => after,
            },
            _ => events,
        })
    }

    async fn poll(&self, since: Option<u64>) -> Result<Events, CallError> {
        crash_point!("worker/bazaar/poll");
        let events = self.bazaar.client.poll_any(since, EVENTS_PER_PAGE).await;
        crash_point!("worker/bazaar/polled");
        events
    }

    pub(super) fn cursor(&self) -> Result<Option<u64>, StoreError> {
        Ok(memory::fact(&self.bazaar.store, fact::CURSOR)?.and_then(|text| text.parse().ok()))
    }

    /// What is acknowledged here is durable.
    pub(super) async fn acknowledge(&self, up_to: u64) -> Result<(), CallError> {
        crash_point!("worker/bazaar/ack");
        let answer = self.bazaar.client.ack(up_to).await;
        crash_point!("worker/bazaar/acked");
        answer.map(drop)
    }

    /// The jobs behind the events, each looked at once, and those whose buyers say that they paid.
    async fn jobs_of(&self, events: Vec<Event>) -> Result<(Vec<Heard>, Vec<JobId>), RoundError> {
        let (mut names, mut wanted, mut paid) = (Vec::new(), Vec::new(), Vec::new());
        for event in events {
            let Some(name) = name_in(&event) else { continue };
            match event.news() {
                Some(Told::PaymentSent { .. }) => paid.push(job_id(&name)),
                Some(Told::ReissueRequested { .. }) => wanted.push(job_id(&name)),
                _ => {}
            }
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let mut heard = self.look_at(names).await?;
        heard.extend(wanted.into_iter().map(Heard::Wanted));
        Ok((heard, paid))
    }

    /// Hands over what was found, once it is a few jobs; the cursor stays until all is.
    async fn keep_some(&self, heard: &mut Vec<Heard>) -> Result<(), RoundError> {
        if heard.len() >= LOOKS_KEPT {
            self.hand_over(std::mem::take(heard)).await?;
        }
        Ok(())
    }

    /// Looks at jobs, one after the other. Those that are not there are looked for again at the end, all
    /// after one pause: a relay that was set back does not keep the news waiting for each of them.
    pub(super) async fn look_at(&self, names: Vec<v0::JobId>) -> Result<Vec<Heard>, RoundError> {
        let (mut heard, mut missed) = (Vec::new(), Vec::new());
        for name in names {
            match self.look(&name).await? {
                Found::Job(shown) => heard.extend(shown.map(|shown| *shown)),
                Found::Gone => missed.push(name),
            }
            self.keep_some(&mut heard).await?;
        }
        if !missed.is_empty() {
            doubt(&self.bazaar.client).await?;
        }
        for name in missed {
            match self.look(&name).await? {
                Found::Job(shown) => heard.extend(shown.map(|shown| *shown)),
                // If it is one of ours, whatever it owes is owed to nobody.
                Found::Gone => {
                    let gone = Input::Rejected(Call::Fetch, Rejection::Gone);
                    heard.push(Heard::Input(job_id(&name), gone));
                }
            }
            self.keep_some(&mut heard).await?;
        }
        Ok(heard)
    }

    async fn look(&self, name: &v0::JobId) -> Result<Found, RoundError> {
        if !can_name_job(name) {
            tracing::error!(job = ?name, "a job with a name that cannot be asked for is passed over");
            return Ok(Found::Job(None));
        }
        match glance(&self.bazaar.client, self.min, || self.bazaar.client.job(name)).await? {
            Ok(job) => Ok(Found::Job(self.shown(job).await?.map(Box::new))),
            Err(flaw) if is_gone(&flaw) => Ok(Found::Gone),
            Err(flaw) => {
                tracing::error!(job = ?name, error = %flaw, "the job cannot be read and is passed over");
                Ok(Found::Job(None))
            }
        }
    }

    /// A job of ours, as the machine sees it; one that is new here and may have to be done, with its
    /// request.
    async fn shown(&self, job: V0Job) -> Result<Option<Heard>, RoundError> {
        if job.seller_bot_id != self.bazaar.client.bot_id() || !self.is_served(&job)? {
            return Ok(None);
        }
        // A list can hold what cannot be asked for, charged or delivered.
        if !can_name_job(&job.job_id) {
            tracing::error!(job = ?job.job_id, "a job with a name that cannot be asked for is passed over");
            return Ok(None);
        }
        let mut shown = self.bazaar.shown(&job);
        let new = !JOBS.contains(&self.bazaar.store, &shown.job.job_id)?;
        shown.ticket.unread = new;
        if new && self.may_be_done(&job) {
            match self.bazaar.request_of(&job, self.min).await? {
                Ok(request) => (shown.job.request_payload, shown.ticket.unread) = (request, false),
                Err(reason) => shown.refusal = Some(reason),
            }
        }
        Ok(Some(Heard::Shown(Box::new(shown))))
    }

    /// One that expired charged for can come back.
    fn may_be_done(&self, job: &V0Job) -> bool {
        let may_revive = job.charge.is_some() && self.bazaar.client.now() < job.job_expires_at;
        !job.status.is_terminal() || (job.status == Status::Expired && may_revive)
    }

    /// One of an offer that we do not serve may be another worker's of the same bot. What was taken on
    /// is ours, whatever has become of its offer since.
    fn is_served(&self, job: &V0Job) -> Result<bool, StoreError> {
        if JOBS.contains(&self.bazaar.store, &job_id(&job.job_id))? {
            return Ok(true);
        }
        for entry in STALLS.all(&self.bazaar.store) {
            let (_, stall) = entry?;
            if stall.current.iter().chain(&stall.former).any(|placed| placed.offer_id == job.offer_id) {
                return Ok(true);
            }
        }
        if !job.status.is_terminal() {
            tracing::warn!(job = ?job.job_id, offer_id = %job.offer_id, "a job of an offer that the configuration does not have is left alone");
        }
        Ok(false)
    }

    /// Looks at everything once, without asking anybody: what changed while nobody looked is decided
    /// like any other news. `minimum` is where the log begins now; without it, it is asked for first,
    /// so that what happens meanwhile is heard twice rather than not at all.
    pub(super) async fn resync(&self, minimum: Option<u64>) -> Result<(), RoundError> {
        let (base, is_behind) = match minimum {
            Some(minimum) => (minimum.saturating_sub(1), true),
            None => self.base().await?,
        };
        self.look_at_all().await?;
        let position = Some((Epoch(EPOCH.to_owned()), EventId(base)));
        self.hand_over(vec![Heard::Cursor(Position::Synced(position))]).await?;
        if is_behind {
            self.acknowledge(base).await?;
        }
        Ok(())
    }

    /// Everything that the relay has of us, and what we have open and it does not.
    pub(super) async fn look_at_all(&self) -> Result<(), RoundError> {
        let mut seen = BTreeSet::new();
        for status in LISTS {
            self.list_all(status, &mut seen).await?;
        }
        let mut unseen = Vec::new();
        for entry in OPEN.all(&self.bazaar.store) {
            let (job, ()) = entry?;
            if seen.contains(&job) {
                continue;
            }
            let Some(ticket) = TICKETS.get(&self.bazaar.store, &job)? else { continue };
            unseen.push(ticket.job_id);
        }
        let heard = self.look_at(unseen).await?;
        self.hand_over(heard).await.map(drop)
    }

    /// From where on news are heard, and whether the relay has to be told so.
    async fn base(&self) -> Result<(u64, bool), CallError> {
        match self.bazaar.client.poll_any(None, 1).await {
            Ok(Events::Page(page, _)) => Ok((page.last_acked_event_id, false)),
            Ok(Events::TooLong(glimpse)) => {
                Ok((glimpse.event_id.map_or(0, |id| id.saturating_sub(1)), false))
            }
            Err(error) => match error.class() {
                Class::Gone { min_event_id_retained } => Ok((min_event_id_retained.saturating_sub(1), true)),
                _ => Err(error),
            },
        }
    }

    pub(super) async fn list_all(
        &self,
        status: Status,
        seen: &mut BTreeSet<JobId>,
    ) -> Result<(), RoundError> {
        let mut query = ours(status);
        for _ in 0..LIST_PAGES_MAX {
            let page = self.bazaar.jobs_page(&query).await?;
            let mut heard = Vec::new();
            for job in page.jobs {
                if seen.insert(job_id(&job.job_id)) {
                    heard.extend(self.shown(job).await?);
                    self.keep_some(&mut heard).await?;
                }
            }
            self.hand_over(heard).await?;
            match page.next_cursor {
                Some(next) => query.cursor = Some(next),
                None => return Ok(()),
            }
        }
        tracing::error!(pages = LIST_PAGES_MAX, "the list of jobs has no end: the oldest are passed over");
        Ok(())
    }

    /// Looks at open jobs whose time is up, a few at a time.
    async fn look_at_overdue(&self) -> Result<(), RoundError> {
        let now = self.bazaar.client.now();
        let mut overdue = Vec::new();
        for entry in OPEN.all(&self.bazaar.store) {
            let (job, ()) = entry?;
            if self.is_overdue(job, now)?
                && let Some(ticket) = TICKETS.get(&self.bazaar.store, &job)?
            {
                overdue.push(ticket.job_id);
            }
            if overdue.len() == OVERDUE_MAX {
                break;
            }
        }
        let heard = self.look_at(overdue).await?;
        self.hand_over(heard).await.map(drop)
    }

    fn is_overdue(&self, job: JobId, now: Moment) -> Result<bool, StoreError> {
        let Some(record) = JOBS.get(&self.bazaar.store, &job)? else { return Ok(false) };
        let Some(ticket) = TICKETS.get(&self.bazaar.store, &job)? else { return Ok(false) };
        let until = match record.status {
            crate::protocol::Status::Accepted => ticket.stands_until(),
            _ => ticket.job_expires_at,
        };
        Ok(!record.status.is_final() && now > until.plus(OVERDUE_AFTER))
    }

    /// Whoever says to have paid is looked at now; the word itself counts for nothing.
    async fn hurry(&self, paid: Vec<JobId>) {
        let Some(watch) = &self.watch else { return };
        for job in paid {
            drop(watch.send(Wish::Look(job)).await);
        }
    }

    pub(super) async fn hand_over(&self, heard: Vec<Heard>) -> Result<usize, RoundError> {
        if heard.is_empty() {
            return Ok(0);
        }
        let (durable, done) = oneshot::channel();
        self.pages.send(Page { heard, durable }).await.map_err(|_| RoundError::Stopping)?;
        done.await.map_err(|_| RoundError::Stopping)
    }
}

/// The job that an event is about, whatever its type; a name that no relay keeps is nobody's.
fn name_in(event: &Event) -> Option<v0::JobId> {
    kept_name(event.data.get("job_id")?.as_str()?)
}

pub(super) fn kept_name(name: &str) -> Option<v0::JobId> {
    (1..=ID_BYTES_MAX).contains(&name.len()).then(|| v0::JobId::new(name))
}

#[cfg(test)]
mod tests;
