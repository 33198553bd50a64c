//! The relay's news: hints wake it, polling alone is enough.
//!
//! Every page is handed to the loop together with the position behind it; only when both are
//! durable is the page acknowledged, or the next one asked for.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;

mod pages;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::pages::{is_cursor_too_old, last_listing, position_of};
pub(super) use self::pages::{list, next_listing};
use super::calls::Line;
use super::engine::{Heard, Position};
use super::hints::Hints;
use super::input::{Call, Input, Rejection};
use super::look::{self, Look};
use super::memory::{self, JOBS, OFFERS, OPEN, fact};
use super::offers::Registrar;
use crate::client::{CallError, EventsQuery, Pace};
use crate::edge::{self, Entropy};
use crate::points::crash_point;
use crate::protocol::limits::{EVENTS_PER_PAGE_MAX, JOBS_PER_PAGE_MAX};
use crate::protocol::{Code, Epoch, Event, EventId, EventType, Job, JobId, Status};
use crate::store::{Store, StoreError};

/// Acknowledgements are bookkeeping for the relay: our own cursor is what counts, so one now and
/// then is enough.
const ACK_INTERVAL: Duration = Duration::from_secs(5);

/// Looks at a job whose description cannot be read: a proxy may have cut one, hardly three.
const LOOKS_MAX: u32 = 3;

/// Open jobs beyond which no news are asked for: each is a few kilobytes of memory.
pub(super) const OPEN_JOBS_MAX: usize = 100_000;

/// How often one look by hand may begin anew: the first of all looks does, and a log may end meanwhile.
const RESYNCS_MAX: u32 = 3;

/// How long to wait for open jobs to end when there are too many.
const FULL_DELAY: Duration = Duration::from_secs(5);

/// The least time between two looks: when a hint follows a hint, one look serves several.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// What the loop is told, and asked to confirm once it is durable.
#[derive(Debug)]
pub(super) struct Page {
    /// In order.
    pub(super) heard: Vec<Heard>,
    /// Told the number of open jobs once everything is durable.
    pub(super) durable: oneshot::Sender<usize>,
}

/// What the poller needs.
#[derive(Debug)]
pub(super) struct Ingest {
    pub(super) line: Arc<Line>,
    pub(super) store: Arc<Store>,
    pub(super) pages: mpsc::Sender<Page>,
    pub(super) hints: Hints,
    pub(super) min: Duration,
    pub(super) max: Duration,
    pub(super) entropy: Entropy,
    /// Registers the offers again on a relay that has forgotten them.
    pub(super) registrar: Option<Registrar>,
    /// Looks for used addresses, before the first quote and where the relay has forgotten them.
    pub(super) look: Option<Look>,
}

/// Where the poller is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mode {
    /// Nothing is known of this relay yet, or what was known no longer holds.
    Resync,
    /// Following the event log.
    Events(Epoch, EventId),
    /// Following the job listing, on a relay without an event log.
    Listing(String),
}

/// Why a round brought nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum RoundError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The loop has ended.
    #[error("the worker is stopping")]
    Stopping,
}

/// What a round brought.
struct Round {
    mode: Mode,
    /// Whether something was new.
    news: bool,
    /// Whether there is certainly more.
    more: bool,
    open: usize,
    /// Whether everything was looked at.
    resynced: bool,
}

impl Ingest {
    /// Polls until `shutdown`.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        tokio::select! {
            biased;
            () = self.follow() => {}
            () = shutdown.cancelled() => {}
        }
    }

    async fn follow(&mut self) {
        let mut mode = match self.stored_mode() {
            Ok(mode) => mode,
            Err(error) => return self.give_up(error).await,
        };
        let mut acked = Acked::default();
        let mut idle = Pace::new(self.min, self.max, self.entropy.clone());
        let mut resynced = false;
        let mut failing = Pace::new(self.min, self.max, self.entropy.clone());
        let mut looked = edge::monotonic();
        loop {
            let pause = BUSY_PAUSE.saturating_sub(edge::monotonic().saturating_duration_since(looked));
            tokio::time::sleep(pause).await;
            if let Some(registrar) = self.registrar.as_ref().filter(|registrar| registrar.is_due()) {
                if !registrar.try_again().await {
                    return;
                }
                // The relay may have had an offer of ours whose name we did not know.
                mode = Mode::Resync;
            }
            let round = self.round(&mode).await;
            looked = edge::monotonic();
            let wait = match round {
                Ok(round) => {
                    // A relay whose log never holds would be listed again and again without a pause.
                    let circling = round.resynced && resynced;
                    resynced = round.resynced;
                    if !resynced {
                        failing.reset();
                    }
                    mode = round.mode;
                    if round.news {
                        idle.reset();
                    }
                    self.acknowledge(&mode, &mut acked, round.more).await;
                    match round {
                        _ if circling => failing.next_delay(),
                        Round { open, .. } if open >= OPEN_JOBS_MAX => FULL_DELAY,
                        Round { more: true, .. } => Duration::ZERO,
                        // Hints say when to look; the slow poll is for the ones that were lost.
                        _ if self.hints.flow => self.max - self.max.mul_f64(0.1 * self.unit()),
                        _ => idle_delay(&mut idle, self.min),
                    }
                }
                Err(RoundError::Stopping) => return,
                Err(RoundError::Store(error)) => return self.give_up(error).await,
                Err(RoundError::Call(error)) => {
                    if is_cursor_too_old(&error) {
                        tracing::warn!(%error, "the cursor no longer holds: all jobs are looked at again");
                        let again = mode == Mode::Resync;
                        mode = Mode::Resync;
                        if !again {
                            continue;
                        }
                    }
                    tracing::warn!(%error, "no news from the relay");
                    self.line.close_for(error.retry_after());
                    failing.next_delay_after(error.retry_after())
                }
            };
            if !self.hints.wait(wait).await {
                return;
            }
        }
    }

    /// Asks until nothing is certainly new, acknowledges it if that is wanted, and ends.
    pub(super) async fn once(&self, acknowledge: bool) -> Result<(), RoundError> {
        let mut mode = self.stored_mode()?;
        let mut resyncs = 0;
        loop {
            let round = match self.round(&mode).await {
                Err(RoundError::Call(error)) if is_cursor_too_old(&error) && resyncs == 0 => {
                    resyncs += 1;
                    mode = Mode::Resync;
                    continue;
                }
                round => round?,
            };
            mode = round.mode;
            resyncs += u32::from(round.resynced);
            // A relay whose log never holds would be listed again and again.
            if !round.more || resyncs > RESYNCS_MAX || round.open >= OPEN_JOBS_MAX {
                break;
            }
        }
        if acknowledge {
            self.acknowledge(&mode, &mut Acked::default(), false).await;
        }
        Ok(())
    }

    /// A number from 0 to 1.
    fn unit(&self) -> f64 {
        f64::from(u16::try_from(self.entropy.number() % 1_000).unwrap_or(0)) / 1_000.0
    }

    /// The loop stops the worker: without news it would only seem to work.
    async fn give_up(&self, error: StoreError) {
        drop(self.hand_over(vec![Heard::Broken(error)]).await);
    }

    /// Looks for used addresses if this state has not yet.
    pub(super) async fn look_first(&self) -> Result<(), RoundError> {
        let Some(look) = &self.look else { return Ok(()) };
        if !look::is_due(&self.store)? {
            return Ok(());
        }
        // Whose addresses these are comes first: if the storage is another one when all jobs are listed
        // for the first time, nobody would notice. Later on the epoch belongs to the cursor.
        if memory::fact(&self.store, fact::SYNCED)?.is_none()
            && let Some((epoch, _)) = self.patient_head().await?
        {
            self.hand_over(vec![Heard::Cursor(Position::Epoch(epoch))]).await?;
        }
        for page in look.run().await {
            self.hand_over(vec![Heard::Looked(page)]).await?;
        }
        Ok(())
    }

    async fn patient_head(&self) -> Result<Option<(Epoch, EventId)>, RoundError> {
        let mut failing = Pace::new(self.min, self.max, self.entropy.clone());
        loop {
            match self.head().await {
                Err(RoundError::Call(error)) => {
                    tracing::warn!(%error, "nothing is quoted before the relay has answered");
                    tokio::time::sleep(failing.next_delay_after(error.retry_after())).await;
                }
                head => return head,
            }
        }
    }

    fn stored_mode(&self) -> Result<Mode, StoreError> {
        let epoch = memory::fact(&self.store, fact::EPOCH)?;
        let cursor = memory::fact(&self.store, fact::CURSOR)?.and_then(|text| text.parse().ok());
        let listing = memory::fact(&self.store, fact::LISTING)?;
        let unheard = memory::fact(&self.store, fact::UNHEARD)?.is_some();
        Ok(match (memory::fact(&self.store, fact::SYNCED)?, epoch, cursor, listing) {
            (None, ..) => Mode::Resync,
            _ if unheard => Mode::Resync,
            (_, Some(epoch), Some(cursor), _) => Mode::Events(Epoch(epoch), EventId(cursor)),
            (.., Some(listing)) => Mode::Listing(listing),
            _ => Mode::Resync,
        })
    }

    async fn round(&self, mode: &Mode) -> Result<Round, RoundError> {
        match mode {
            Mode::Resync => self.resync().await,
            Mode::Events(epoch, cursor) => self.events(epoch, *cursor).await,
            Mode::Listing(cursor) => self.listing(cursor).await,
        }
    }

    async fn events(&self, epoch: &Epoch, cursor: EventId) -> Result<Round, RoundError> {
        let query = EventsQuery {
            since: Some(cursor),
            epoch: Some(epoch.clone()),
            types: Vec::new(),
            limit: Some(EVENTS_PER_PAGE_MAX),
        };
        crash_point!("worker/send/poll");
        let page = self.line.once(&|| self.line.client.poll(&query)).await?;
        crash_point!("worker/answer/poll");
        if page.epoch != *epoch {
            tracing::warn!(old = %epoch, new = %page.epoch, "the relay's storage was replaced");
            return self.resync().await;
        }
        let full = page.events.len() >= EVENTS_PER_PAGE_MAX;
        let Some(last) = page.events.iter().map(|event| event.event_id).max() else {
            return Ok(Round {
                mode: Mode::Events(epoch.clone(), cursor),
                news: false,
                more: false,
                open: 0,
                resynced: false,
            });
        };
        // A relay that repeats itself must not be asked without a pause.
        let moved = last > cursor;
        let last = last.max(cursor);
        let mut heard = self.jobs_of(page.events).await?;
        heard.push(Heard::Cursor(Position::Events(epoch.clone(), last)));
        let open = self.hand_over(heard).await?;
        Ok(Round {
            mode: Mode::Events(epoch.clone(), last),
            news: moved,
            more: full && moved,
            open,
            resynced: false,
        })
    }

    /// The jobs behind the events: what the event carries, or a look at the relay.
    async fn jobs_of(&self, events: Vec<Event>) -> Result<Vec<Heard>, RoundError> {
        let mut heard = Vec::new();
        let mut missing = BTreeSet::new();
        for event in events {
            let whole = EventType::parse(&event.kind) == Some(EventType::Requested);
            match carried(event.data) {
                // A job that is new here is looked at before the position moves behind its event.
                Some(job) if job.job_id == event.job_id && (whole || !self.is_news(&job)?) => {
                    heard.push(Heard::Job { job: Box::new(job), whole });
                }
                _ => drop(missing.insert(event.job_id)),
            }
        }
        heard.extend(self.look_at(&missing.into_iter().collect::<Vec<_>>()).await?);
        Ok(heard)
    }

    /// Looks at jobs, one after the other. Those that are not there are looked for again at the end: a relay
    /// that is just being replaced must not end them by one answer.
    async fn look_at(&self, jobs: &[JobId]) -> Result<Vec<Heard>, RoundError> {
        let (mut heard, mut missed) = (Vec::new(), Vec::new());
        for job in jobs {
            match self.look(*job).await? {
                Some(Heard::Input(job, _)) => missed.push(job),
                found => heard.extend(found),
            }
        }
        if !missed.is_empty() {
            tokio::time::sleep(self.min).await;
        }
        for job in missed {
            heard.extend(self.look(job).await?);
        }
        Ok(heard)
    }

    /// Whether it is a job of one of our offers that we have not heard of and may still have to do.
    fn is_news(&self, job: &Job) -> Result<bool, StoreError> {
        if job.status.is_final() || JOBS.contains(&self.store, &job.job_id)? {
            return Ok(false);
        }
        for offer in OFFERS.all(&self.store) {
            if offer?.1.offer_id == Some(job.offer_id) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn look(&self, job: JobId) -> Result<Option<Heard>, RoundError> {
        let mut tries = 1;
        loop {
            match self.line.once(&|| self.line.client.job(&job)).await {
                Ok(job) => return Ok(Some(Heard::Job { job: Box::new(job), whole: true })),
                // If it is one of ours, the relay has forgotten it, and nobody waits for it any more.
                Err(error) if matches!(error.code(), Some(Code::NotFound | Code::Forbidden)) => {
                    return Ok(Some(Heard::Input(job, Input::Rejected(Call::Fetch, Rejection::Gone))));
                }
                // One job that cannot be read must not keep the news of all others waiting.
                Err(CallError::Malformed { status: 200, reason }) if tries == LOOKS_MAX => {
                    tracing::error!(job_id = %job, reason, "the job cannot be read and is passed over");
                    return Ok(None);
                }
                Err(CallError::Malformed { status: 200, .. }) => tokio::time::sleep(self.min).await,
                Err(error) => return Err(error.into()),
            }
            tries += 1;
        }
    }

    /// Looks at everything once, without asking anybody: what changed while nobody looked is
    /// decided like any other news. The position is taken first, so that what happens meanwhile is
    /// seen twice rather than not at all.
    async fn resync(&self) -> Result<Round, RoundError> {
        let head = self.head().await?;
        self.begin_again(head.as_ref()).await?;
        let synced = memory::fact(&self.store, fact::SYNCED)?.is_some();
        let mut seen = BTreeSet::new();
        let cursor = if synced {
            self.list_all(&OPEN_STATUSES, &mut seen).await?
        } else {
            // The first time, all jobs are looked at for the addresses that they used, before the
            // first new address is given to anybody.
            let used: Vec<Status> =
                Status::ALL.into_iter().filter(|status| *status != Status::Requested).collect();
            let cursor = self.list_all(&used, &mut seen).await?;
            self.list_all(&[Status::Requested], &mut seen).await?;
            cursor
        };
        let mut unseen = Vec::new();
        for entry in OPEN.all(&self.store) {
            let (job, ()) = entry?;
            unseen.extend(Some(job).filter(|job| !seen.contains(job)));
        }
        for jobs in unseen.chunks(JOBS_PER_PAGE_MAX) {
            let heard = self.look_at(jobs).await?;
            self.hand_over(heard).await?;
        }
        let mut rest = Vec::new();
        rest.push(Heard::Cursor(Position::Synced(head.clone())));
        let mode = match head {
            Some((epoch, event)) => Mode::Events(epoch, event),
            None => {
                rest.push(Heard::Cursor(Position::Listing(cursor.clone())));
                Mode::Listing(cursor)
            }
        };
        let open = self.hand_over(rest).await?;
        // Nobody registers an offer while all jobs are looked at.
        memory::are_heard(&self.store)?;
        Ok(Round { mode, news: true, more: true, open, resynced: true })
    }

    /// A relay whose storage was replaced knows none of our offers, and nobody could ask for a job; nor
    /// does it know our addresses, and another worker of our seed could be given the same. This comes
    /// before its jobs are looked at, and before the position that says that they were.
    async fn begin_again(&self, head: Option<&(Epoch, EventId)>) -> Result<(), RoundError> {
        let known = memory::fact(&self.store, fact::EPOCH)?;
        let synced = memory::fact(&self.store, fact::SYNCED)?.is_some();
        let Some((epoch, _)) = head else { return Ok(()) };
        let same = known.as_ref() == Some(&epoch.0);
        if same && synced {
            return Ok(());
        }
        // The first time nobody can tell whether the storage is the one that the offers were told.
        if let Some(registrar) = &self.registrar
            && !registrar.register().await
        {
            return Err(RoundError::Stopping);
        }
        if known.is_some() && !same {
            tracing::warn!(%epoch, "this relay has forgotten our addresses: they are looked for before quoting");
            self.hand_over(vec![Heard::Replaced]).await?;
            self.look_first().await?;
        }
        Ok(())
    }

    /// Hands over all jobs with one of these statuses; the cursor of the last page.
    async fn list_all(&self, statuses: &[Status], seen: &mut BTreeSet<JobId>) -> Result<String, RoundError> {
        let mut cursor = "start".to_owned();
        loop {
            let page = self.list(&cursor, statuses).await?;
            seen.extend(page.jobs.iter().map(|job| job.job_id));
            let next = next_listing(&cursor, &page);
            self.hand_over(page.jobs.into_iter().map(whole).collect()).await?;
            match next {
                Some(next) => cursor = next,
                None => return Ok(cursor),
            }
        }
    }

    /// Where the event log ends now; `None` on a relay without one.
    async fn head(&self) -> Result<Option<(Epoch, EventId)>, RoundError> {
        let query = EventsQuery { limit: Some(1), ..EventsQuery::default() };
        match self.line.once(&|| self.line.client.poll(&query)).await {
            Ok(page) => Ok(Some((page.epoch, page.head_event_id))),
            Err(error) if is_cursor_too_old(&error) => Ok(position_of(&error)),
            Err(error) if error.may_lack_route() => {
                tracing::info!("the relay has no event log: its job listing is followed");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn listing(&self, cursor: &str) -> Result<Round, RoundError> {
        let page = self.list(cursor, &[]).await?;
        let next = next_listing(cursor, &page);
        let (news, more) = (!page.jobs.is_empty(), next.is_some());
        let after = next.or_else(|| last_listing(&page)).unwrap_or_else(|| cursor.to_owned());
        let mut heard: Vec<Heard> = page.jobs.into_iter().map(whole).collect();
        let moved = after != cursor;
        if moved {
            heard.push(Heard::Cursor(Position::Listing(after.clone())));
        }
        let open = if heard.is_empty() { 0 } else { self.hand_over(heard).await? };
        Ok(Round {
            mode: Mode::Listing(after),
            news: news && moved,
            more: more && moved,
            open,
            resynced: false,
        })
    }

    async fn list(&self, cursor: &str, statuses: &[Status]) -> Result<crate::client::JobPage, RoundError> {
        Ok(list(&self.line, cursor, statuses).await?)
    }

    async fn hand_over(&self, heard: Vec<Heard>) -> Result<usize, RoundError> {
        let (durable, done) = oneshot::channel();
        self.pages.send(Page { heard, durable }).await.map_err(|_| RoundError::Stopping)?;
        done.await.map_err(|_| RoundError::Stopping)
    }

    /// What is acknowledged here is durable: `mode` comes from a round that waited for it.
    async fn acknowledge(&self, mode: &Mode, acked: &mut Acked, more: bool) {
        let Mode::Events(_, cursor) = mode else { return };
        let now = edge::monotonic();
        let too_soon = acked.at.is_some_and(|at| now.duration_since(at) < ACK_INTERVAL);
        if more || too_soon || acked.cursor == Some(*cursor) || *cursor == EventId(0) {
            return;
        }
        crash_point!("worker/send/ack");
        let answer = self.line.once(&|| self.line.client.ack(*cursor)).await;
        crash_point!("worker/answer/ack");
        match answer {
            Ok(_) => *acked = Acked { cursor: Some(*cursor), at: Some(now) },
            Err(error) => tracing::debug!(%error, "not acknowledged yet"),
        }
    }
}

/// What was acknowledged last, and when.
#[derive(Debug, Default)]
struct Acked {
    cursor: Option<EventId>,
    at: Option<std::time::Instant>,
}

/// The statuses of jobs that may still need us.
const OPEN_STATUSES: [Status; 4] = [Status::Requested, Status::Quoted, Status::Accepted, Status::Running];

/// Never less than the shortest delay: jitter spreads polls, it must not multiply them.
fn idle_delay(idle: &mut Pace, min: Duration) -> Duration {
    idle.next_delay().max(min)
}

fn whole(job: Job) -> Heard {
    Heard::Job { job: Box::new(job), whole: true }
}

fn carried(mut data: serde_json::Value) -> Option<Job> {
    serde_json::from_value(data.get_mut("job")?.take()).ok()
}

#[cfg(test)]
mod tests;
