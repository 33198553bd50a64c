//! The driver of the machine, without waiting: inputs in, one atomic batch, effects out.
//!
//! One loop owns it. It takes many inputs at once, so that a busy worker pays for one flush of the
//! disk where a naive one would pay for hundreds.

mod deadlines;
mod money;
mod others;
mod revived;
mod tickets;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use nano_currency::{Account, Amount, BlockHash};

use self::deadlines::Deadlines;
use self::money::{After, Tally};
use self::others::Vain;
use super::input::{Context, Effect, Input, Sighting};
use super::look::Looked;
use super::machine::{self, Step};
use super::memory::{self, CLAIMS, Entry, HISTORY, JOBS, OPEN, RECENT, REQUESTS, Record, fact};
use super::money::Piece;
use super::payment::{Facts, Invoice};
use super::stage::Stage;
use super::terms::Terms;
use super::v0::{Shown, Ticket};
use super::wallet::{Wallet, WalletError};
use crate::points::crash_point;
use crate::protocol::limits::PAYMENT_HASH_CHARS_MAX;
use crate::protocol::{Epoch, EventId, Job, JobId, OfferId, Status, Timestamp};
use crate::store::{Batch, Store, StoreError};

/// Lines kept of one job's history: a job that makes more is going in circles, and its first lines
/// say why.
const LINES_MAX: u32 = 1_000;

/// Characters of one line of history: a sentence and an address.
pub(super) const LINE_CHARS_MAX: usize = 500;

/// Characters of a position in the relay's news that are remembered; ours have under a hundred.
const POSITION_CHARS_MAX: usize = 4_096;

/// How soon a deadline that meant nothing may come again: never in a tight circle.
const DEADLINE_AGAIN: Duration = Duration::from_secs(1);

/// What the loop hears.
#[derive(Debug)]
pub enum Heard {
    /// The relay showed a job.
    Job {
        /// As it was shown.
        job: Box<Job>,
        /// Whether its request was shown too.
        whole: bool,
    },
    /// A relay of /v0 showed a job.
    Shown(Box<Shown>),
    /// The buyer would still pay for a job of /v0.
    Wanted(JobId),
    /// Everything up to this event was heard before this.
    Cursor(Position),
    /// What is known of a payment.
    Facts(JobId, Facts),
    /// What people should know of the nodes, as JSON, because it has changed.
    Nodes(String),
    /// Addresses that were used before this state was.
    Looked(Looked),
    /// An event was too long to be read, and its job was looked at instead.
    PassedOver,
    /// The relay has another storage than before, and may have forgotten which addresses were used.
    Replaced,
    /// Somebody met a store that cannot be read.
    Broken(StoreError),
    /// Anything else that concerns one job.
    Input(JobId, Input),
}

/// How far the relay's news have been heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// In the event log of one epoch.
    Events(Epoch, EventId),
    /// In the job listing, for relays without an event log.
    Listing(String),
    /// All jobs on the relay were listed once, up to this event.
    Synced(Option<(Epoch, EventId)>),
    /// Nowhere yet; used addresses are looked for in this epoch.
    Epoch(Epoch),
}

/// Why the worker must stop. What it has promised is in its store; it goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The wallet failed.
    #[error("the wallet failed")]
    Wallet(#[from] WalletError),
}

/// What has been decided and is now to be done, once the store is durable.
pub type Effects = Vec<(JobId, Effect)>;

/// All open jobs and the rules they follow.
#[derive(Debug)]
pub struct Engine {
    store: Arc<Store>,
    wallet: Wallet,
    terms: HashMap<OfferId, Terms>,
    holder: String,
    open: BTreeMap<JobId, Record>,
    /// Of open jobs of /v0.
    tickets: BTreeMap<JobId, Ticket>,
    deadlines: Deadlines,
    /// Jobs whose time to be paid is over, and until when one more look at each is waited for.
    closing: BTreeMap<JobId, Timestamp>,
    /// Jobs that are over and may still be paid for.
    after: After,
    /// How many payments were odd.
    tally: Tally,
    /// Quotes that wait for their index until the used ones are known. A life that ends before that
    /// finds their stages.
    unindexed: Vec<(JobId, Amount)>,
}

/// One commit in the making.
struct Turn {
    now: Timestamp,
    batch: Batch,
    claims: HashMap<BlockHash, JobId>,
    pieces: BTreeMap<(JobId, BlockHash), Piece>,
    /// Jobs whose time to be paid for late is over.
    lapsed: BTreeSet<JobId>,
    inputs: VecDeque<(JobId, Input)>,
    effects: Effects,
}

impl Engine {
    /// Takes up the jobs that an earlier life left open.
    ///
    /// # Errors
    /// If the store fails.
    pub fn open(
        store: Arc<Store>,
        wallet: Wallet,
        terms: HashMap<OfferId, Terms>,
        holder: String,
    ) -> Result<Self, EngineError> {
        let open = memory::open_jobs(&store)?;
        let (after, tally) = (After::open(&store)?, money::tally(&store)?);
        let tickets = tickets::of_open(&store, &open)?;
        let mut engine = Self {
            after,
            tally,
            store,
            wallet,
            terms,
            holder,
            open,
            tickets,
            deadlines: Deadlines::default(),
            closing: BTreeMap::new(),
            unindexed: Vec::new(),
        };
        let jobs: Vec<JobId> = engine.open.keys().copied().collect();
        for job in jobs {
            engine.note_deadline(job, Timestamp::default());
        }
        Ok(engine)
    }

    /// Replaces what is offered, once the relay knows it.
    pub fn set_terms(&mut self, terms: HashMap<OfferId, Terms>) {
        self.terms = terms;
    }

    /// How many jobs are open.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// The open jobs.
    pub fn open_jobs(&self) -> impl Iterator<Item = (&JobId, &Record)> {
        self.open.iter()
    }

    /// Whether something that was heard would start a handler.
    #[must_use]
    pub fn may_start(&self, heard: &Heard) -> bool {
        let Heard::Input(job, input) = heard else { return false };
        self.open.get(job).is_some_and(|record| machine::may_start(&record.stage, input))
    }

    /// When the next job wants to be woken.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let first = self.deadlines.first();
        [first, self.after.next_end()].into_iter().flatten().min()
    }

    /// Goes on with every open job, as after a crash.
    ///
    /// # Errors
    /// If the store fails.
    pub fn resume(&mut self, now: Timestamp) -> Result<Effects, EngineError> {
        let resumed = self.open.keys().map(|job| Heard::Input(*job, Input::Resumed)).collect();
        let mut effects = self.take(resumed, now)?;
        self.resume_after(&mut effects);
        Ok(effects)
    }

    /// Decides about everything that was heard and commits the decisions, whole or not at all.
    ///
    /// The effects must wait until [`Store::durable`] has returned.
    ///
    /// # Errors
    /// If the store fails; then nothing was decided, and the worker must stop.
    pub fn take(&mut self, heard: Vec<Heard>, now: Timestamp) -> Result<Effects, EngineError> {
        // What is sent back is written down by the purse, beside this.
        let store = Arc::clone(&self.store);
        let _turn = store.writer();
        let mut turn = Turn {
            now,
            batch: Batch::default(),
            claims: HashMap::new(),
            pieces: BTreeMap::new(),
            lapsed: BTreeSet::new(),
            inputs: VecDeque::new(),
            effects: Vec::new(),
        };
        self.wake_due(&mut turn)?;
        self.run_inputs(&mut turn)?;
        for heard in heard {
            self.hear(heard, &mut turn)?;
            self.run_inputs(&mut turn)?;
        }
        if !turn.batch.is_empty() {
            crash_point!("worker/turn/decided");
        }
        self.store.commit(turn.batch)?;
        Ok(turn.effects)
    }

    fn wake_due(&mut self, turn: &mut Turn) -> Result<(), EngineError> {
        self.end_after(turn);
        for job in self.deadlines.take_due(turn.now) {
            // What a state from a backup has yet to hear may be that the job has come back since.
            let is_lapsed = matches!(self.open.get(&job), Some(Record { stage: Stage::Lapsed { .. }, .. }));
            if is_lapsed && !self.is_synced()? {
                self.deadlines.set(job, Some(turn.now.plus(DEADLINE_AGAIN)));
                continue;
            }
            if !self.looks_once_more(job, turn) {
                turn.inputs.push_back((job, Input::Due));
            }
        }
        Ok(())
    }

    /// Whether this state has heard of all jobs that the relay has.
    fn is_synced(&self) -> Result<bool, StoreError> {
        Ok(memory::fact(&self.store, fact::SYNCED)?.is_some())
    }

    fn hear(&mut self, heard: Heard, turn: &mut Turn) -> Result<(), EngineError> {
        match heard {
            Heard::Job { job, whole } => self.hear_job(&job, whole, None, turn),
            Heard::Shown(shown) => self.hear_shown(*shown, turn),
            Heard::Wanted(job) => self.hear_wanted(job, turn),
            Heard::Cursor(position) => Ok(put_position(&mut turn.batch, &position)?),
            Heard::Facts(job, facts) => self.hear_facts(job, facts, turn),
            Heard::Nodes(report) => Ok(memory::put_fact(&mut turn.batch, fact::NODES, &report)?),
            Heard::Looked(looked) => self.hear_looked(&looked, turn),
            Heard::PassedOver => Ok(memory::count_passed_over(&self.store, &mut turn.batch)?),
            Heard::Replaced => Ok(self.wallet.doubt(&mut turn.batch)?),
            Heard::Broken(error) => Err(error.into()),
            Heard::Input(job, input) => {
                turn.inputs.push_back((job, input));
                Ok(())
            }
        }
    }

    fn hear_looked(&mut self, looked: &Looked, turn: &mut Turn) -> Result<(), EngineError> {
        self.wallet.note_looked(&self.store, &mut turn.batch, looked)?;
        if self.wallet.is_unsure() {
            return Ok(());
        }
        for (job, price) in std::mem::take(&mut self.unindexed) {
            let stage = self.open.get(&job).map(|record| &record.stage);
            if matches!(stage, Some(Stage::Indexing { .. })) {
                self.perform_local(job, Effect::TakeIndex { price }, turn)?;
            }
        }
        Ok(())
    }

    /// A job of an offer that is not ours to serve is left alone: another worker of the same seller
    /// may serve it.
    fn hear_job(
        &mut self,
        job: &Job,
        whole: bool,
        refusal: Option<String>,
        turn: &mut Turn,
    ) -> Result<(), EngineError> {
        let known = self.open.contains_key(&job.job_id);
        if !known {
            let used = self.recognise(job, turn)?;
            if let Some(record) = JOBS.get(&self.store, &job.job_id)? {
                return self.note_others_end(job, record, turn);
            }
            let Some(terms) = self.terms.get(&job.offer_id) else { return Ok(()) };
            // A job that has ended without us concerns us only for its address, noted above.
            if job.status.is_final() && used.is_none() {
                return Ok(());
            }
            if !whole && !job.status.is_final() {
                turn.effects.push((job.job_id, Effect::Fetch));
                return Ok(());
            }
            let invalid = refusal.or_else(|| terms.refusal(&job.request_payload));
            self.admit(job, turn)?;
            if let (Status::Requested, Some(reason)) = (job.status, invalid) {
                turn.inputs.push_back((job.job_id, Input::PriceRefused(reason)));
                return Ok(());
            }
        }
        let sighting = self.sighting(job, turn)?;
        if let Some(record) = self.open.get_mut(&job.job_id) {
            record.status = job.status;
            record.unpaid = others::is_unpaid(job);
            // Of a job that this state never quoted, and that others serve to its end.
            record.invoice = record.invoice.or(sighting.invoice);
        }
        turn.inputs.push_back((job.job_id, Input::Seen(sighting)));
        Ok(())
    }

    fn admit(&mut self, job: &Job, turn: &mut Turn) -> Result<(), EngineError> {
        let record = Record {
            offer_id: job.offer_id,
            buyer_pubkey: job.buyer_pubkey,
            status: job.status,
            stage: Stage::Fresh,
            first_seen_at: turn.now,
            changed_at: turn.now,
            lines: 0,
            outcomes: 0,
            invoice: None,
            unquoted: false,
            unpaid: false,
            oddities: Vec::new(),
        };
        // A `Value` always has a JSON form.
        let request = serde_json::to_vec(&job.request_payload).unwrap_or_default();
        REQUESTS.put(&mut turn.batch, &job.job_id, &request);
        RECENT.put(&mut turn.batch, &(turn.now, job.job_id), &())?;
        OPEN.put(&mut turn.batch, &job.job_id, &())?;
        // Whatever follows in this batch, no open job is without its record.
        JOBS.put(&mut turn.batch, &job.job_id, &record)?;
        self.open.insert(job.job_id, record);
        Ok(())
    }

    fn sighting(&mut self, job: &Job, turn: &mut Turn) -> Result<Sighting, EngineError> {
        Ok(Sighting {
            status: job.status,
            invoice: self.recognise(job, turn)?,
            submitted: job.payment_tx_hash.as_deref().map(|text| bounded(text, PAYMENT_HASH_CHARS_MAX)),
            locked_by_us: job.lock_holder.as_deref() == Some(self.holder.as_str()),
            lock_expires_at: job.lock_expires_at,
        })
    }

    /// The invoice of a job as the relay shows it, if its address is on our seed.
    fn recognise(&mut self, job: &Job, turn: &mut Turn) -> Result<Option<Invoice>, EngineError> {
        let account = job.quote_invoice_address.as_deref().and_then(|text| Account::parse(text).ok());
        let price = job.quote_amount_raw.as_deref().and_then(|text| Amount::parse_raw(text).ok());
        let (Some(account), Some(price)) = (account, price) else { return Ok(None) };
        let index = self.wallet.recognise(&self.store, &mut turn.batch, &account, job.job_id)?;
        Ok(index.map(|index| Invoice { index, account, price }))
    }

    fn claimant(&self, block: &BlockHash, turn: &Turn) -> Result<Option<JobId>, StoreError> {
        match turn.claims.get(block) {
            Some(job) => Ok(Some(*job)),
            None => CLAIMS.get(&self.store, block),
        }
    }

    /// Steps until nothing more follows. Each local effect answers with an input of its own, and no
    /// stage asks for a second one without hearing from outside, so this ends.
    fn run_inputs(&mut self, turn: &mut Turn) -> Result<(), EngineError> {
        while let Some((job, input)) = turn.inputs.pop_front() {
            self.run_input(job, input, turn)?;
        }
        Ok(())
    }

    fn run_input(&mut self, job: JobId, input: Input, turn: &mut Turn) -> Result<(), EngineError> {
        let Some(record) = self.open.get(&job) else { return Ok(()) };
        let context = self.context(job, record.offer_id, turn.now);
        let (what, vain) = (describe(&input), Vain::judge(&record.stage, &input));
        let Step { stage, effects, ignored } = machine::step(record.stage.clone(), input, &context);
        if ignored {
            tracing::debug!(job_id = %job, stage = stage.name(), input = what, "ignored");
            // The terms may have changed since the deadline was set: then it comes again, but later.
            if what == "deadline" {
                let soonest = turn.now.plus(DEADLINE_AGAIN);
                let at = machine::next_deadline(&record.stage, &context).map(|at| at.max(soonest));
                self.deadlines.set(job, at);
            }
            return Ok(());
        }
        tracing::info!(job_id = %job, stage = %stage, "{what}");
        self.change(job, stage, &what, turn)?;
        self.disown(job, vain);
        for effect in effects {
            self.perform_local(job, effect, turn)?;
        }
        self.finish_change(job, turn)
    }

    fn change(&mut self, job: JobId, stage: Stage, what: &str, turn: &mut Turn) -> Result<(), EngineError> {
        let Some(record) = self.open.get_mut(&job) else { return Ok(()) };
        if matches!(record.stage, Stage::Lapsed { .. }) && what == "deadline" {
            turn.lapsed.insert(job);
        }
        record.invoice = stage.invoice().copied().or(record.invoice);
        record.stage = stage;
        record.changed_at = turn.now;
        if record.lines < LINES_MAX {
            let entry =
                Entry { at: turn.now, what: bounded(what, LINE_CHARS_MAX), stage: record.stage.to_string() };
            HISTORY.put(&mut turn.batch, &(job, record.lines), &entry)?;
            record.lines += 1;
        }
        Ok(())
    }

    fn finish_change(&mut self, job: JobId, turn: &mut Turn) -> Result<(), EngineError> {
        let Some(record) = self.open.get(&job) else { return Ok(()) };
        JOBS.put(&mut turn.batch, &job, record)?;
        self.settle(job, turn)?;
        if self.open.get(&job).is_some_and(|record| record.stage.is_ended())
            && let Some(record) = self.open.remove(&job)
        {
            OPEN.remove(&mut turn.batch, &job);
            self.tickets.remove(&job);
            self.closing.remove(&job);
            self.begin_after(job, record, turn)?;
        }
        self.note_deadline(job, turn.now);
        Ok(())
    }

    /// Performs the effects that are part of the commit; the others wait for the barrier.
    fn perform_local(&mut self, job: JobId, effect: Effect, turn: &mut Turn) -> Result<(), EngineError> {
        match effect {
            Effect::TakeIndex { price } if self.wallet.is_unsure() => self.unindexed.push((job, price)),
            Effect::TakeIndex { price } => {
                let (index, account) = self.wallet.take(&mut turn.batch, job)?;
                crash_point!("worker/index/taken");
                turn.inputs.push_front((job, Input::IndexTaken(Invoice { index, account, price })));
            }
            Effect::Claim { blocks } => {
                let input = self.claim(job, &blocks, turn)?;
                if input == Input::Claimed {
                    self.note_claim(job, turn)?;
                }
                turn.inputs.push_front((job, input));
            }
            Effect::Keep(outcome) => {
                if let Some(record) = self.open.get_mut(&job) {
                    record.outcomes += 1;
                    memory::put_outcome(&mut turn.batch, job, record.outcomes, &outcome);
                    crash_point!("worker/outcome/kept");
                }
            }
            external => turn.effects.push((job, external)),
        }
        Ok(())
    }

    fn claim(&self, job: JobId, blocks: &[BlockHash], turn: &mut Turn) -> Result<Input, EngineError> {
        for block in blocks {
            if self.is_spent(job, block, turn)? {
                return Ok(Input::ClaimRefused(*block));
            }
        }
        for block in blocks {
            CLAIMS.put(&mut turn.batch, block, &job)?;
            turn.claims.insert(*block, job);
            self.forgive(job, block, turn)?;
        }
        crash_point!("worker/claim/made");
        Ok(Input::Claimed)
    }

    fn context(&self, job: JobId, offer: OfferId, now: Timestamp) -> Context {
        // An offer that was taken out of the configuration still has its jobs; the safe rules hold.
        let context = self
            .terms
            .get(&offer)
            .map_or_else(|| Terms::withdrawn().context(now), |terms| terms.context(now));
        let is_known = !self.is_unread(job);
        let (idempotent, revives) = (context.idempotent && is_known, context.revives && is_known);
        Context { idempotent, revives, ..context }
    }

    /// Sets the deadline of a job's stage, if it has one; one that has passed is due at once.
    fn note_deadline(&mut self, job: JobId, now: Timestamp) {
        let at = self.open.get(&job).and_then(|record| {
            machine::next_deadline(&record.stage, &self.context(job, record.offer_id, now))
        });
        self.deadlines.set(job, at);
    }
}

/// The beginning of somebody else's text: a record must fit the store whatever the relay says.
fn bounded(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

fn put_position(batch: &mut Batch, position: &Position) -> Result<(), StoreError> {
    match position {
        Position::Events(Epoch(text), _)
        | Position::Listing(text)
        | Position::Epoch(Epoch(text))
        | Position::Synced(Some((Epoch(text), _)))
            if text.len() > POSITION_CHARS_MAX =>
        {
            // The next life looks at everything again.
            tracing::warn!("the relay's position is too long to be remembered");
            Ok(())
        }
        Position::Events(epoch, event) => {
            memory::put_fact(batch, fact::EPOCH, &epoch.0)?;
            memory::put_fact(batch, fact::CURSOR, &event.to_string())
        }
        Position::Listing(cursor) => memory::put_fact(batch, fact::LISTING, cursor),
        Position::Epoch(epoch) => memory::put_fact(batch, fact::EPOCH, &epoch.0),
        Position::Synced(head) => {
            if let Some((epoch, event)) = head {
                memory::put_fact(batch, fact::EPOCH, &epoch.0)?;
                memory::put_fact(batch, fact::CURSOR, &event.to_string())?;
            }
            memory::put_fact(batch, fact::SYNCED, "yes")
        }
    }
}

/// An input as a line of history.
fn describe(input: &Input) -> String {
    match input {
        Input::Resumed => "worker started again".to_owned(),
        Input::Due => "deadline".to_owned(),
        Input::Seen(sighting) => format!("seen {}", sighting.status),
        Input::Priced(price) => format!("priced at {price} raw"),
        Input::PriceRefused(reason) => format!("refused: {reason}"),
        Input::IndexTaken(invoice) => format!("invoice {} is {}", invoice.index, invoice.account),
        Input::Judged(verdict) => verdict.to_string(),
        Input::Claimed => "payment claimed".to_owned(),
        Input::ClaimRefused(block) => format!("block {block} has paid for another job"),
        Input::Placed => "place to run".to_owned(),
        Input::Locked(lock) => match lock.token {
            Some(token) => format!("locked with token {token} until {}", lock.expires_at),
            None => format!("locked until {}", lock.expires_at),
        },
        Input::LeaseLost => "lock lost".to_owned(),
        Input::ReviveWanted => "the buyer would still pay".to_owned(),
        Input::Finished(super::input::Outcome::Result(_)) => "handler succeeded".to_owned(),
        Input::Finished(super::input::Outcome::Error(error)) => {
            format!("handler failed: {}: {}", error.code, error.message)
        }
        Input::Done(call) => format!("{} taken", call.name()),
        Input::Rejected(call, why) => format!("{} not taken: {why}", call.name()),
    }
}

#[cfg(test)]
mod tests;
