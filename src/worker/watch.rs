//! Gathers facts about payments: few calls, however many invoices are open.

mod ask;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use nano_currency::{Account, BlockHash};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::ask::ask;
use super::ears::Ears;
use super::engine::Heard;
use super::nodes::Jury;
use super::payment::{Facts, Invoice};
use crate::edge::Clock;
use crate::protocol::{JobId, Timestamp};

/// Jobs looked at in one round: what a node answers in one call.
const JOBS_PER_ROUND: usize = 1_000;

/// Rounds at a time, so that one call that hangs does not keep the other jobs waiting.
const ROUNDS_MAX: usize = 4;

/// Blocks of one job that is over which are remembered as told: an honest payer makes a few, and who
/// sends more dust has the same blocks asked about again.
const KNOWN_MAX: usize = 4_096;

/// Delays between looks at one invoice: soon after the buyer acted, then ever more rarely.
const OPEN_DELAYS: Delays = Delays { first: Duration::from_millis(250), last: Duration::from_secs(30) };

/// The same for jobs that ended unpaid: most late payments come soon after the end. In /v0 whoever pays
/// late still waits for the result, for which there is time only until the job itself is over.
const LAPSED_DELAYS: Delays = Delays { first: Duration::from_secs(10), last: Duration::from_secs(60) };

/// The same for jobs of which nothing is owed but money back: nobody waits by the minute, and these are
/// all jobs of a week.
const OVER_DELAYS: Delays = Delays { first: Duration::from_secs(10), last: Duration::from_secs(600) };

/// A wish of the machine's.
#[derive(Debug)]
pub enum Wish {
    /// Watch an invoice; replaces an earlier wish for the same job.
    Watch {
        /// For which job.
        job: JobId,
        /// What to look for.
        invoice: Invoice,
        /// What the buyer submitted.
        submitted: Option<String>,
        /// Whether the job has ended.
        lapsed: bool,
        /// Whether nothing that comes can change how.
        over: bool,
    },
    /// Look now, if it is watched: somebody says to have paid.
    Look(JobId),
    /// Stop.
    Unwatch(JobId),
}

#[derive(Debug, Clone, Copy)]
struct Delays {
    first: Duration,
    last: Duration,
}

/// What is watched for one job.
#[derive(Debug, Clone)]
struct Watched {
    invoice: Invoice,
    submitted: Hash,
    lapsed: bool,
    delays: Delays,
    delay: Duration,
    due: Timestamp,
    /// Whether a round is looking at it.
    asked: bool,
    /// When the last round began to.
    looked: Option<Timestamp>,
    /// Whether something has happened since.
    hinted: bool,
    /// Blocks that were reported for a job that is over: each is told once.
    known: BTreeSet<BlockHash>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    None,
    Malformed,
    Some(BlockHash),
}

/// One job's question to a round.
#[derive(Debug, Clone)]
struct Question {
    job: JobId,
    invoice: Invoice,
    submitted: Hash,
    lapsed: bool,
    known: BTreeSet<BlockHash>,
}

impl Question {
    const fn hash(&self) -> Option<BlockHash> {
        match self.submitted {
            Hash::Some(hash) => Some(hash),
            Hash::None | Hash::Malformed => None,
        }
    }
}

/// Watches until `shutdown`; facts go to `heard`. Nothing is believed while a node that answers is
/// on another network.
pub async fn run(
    jury: Arc<Jury>,
    mut ears: Ears,
    clock: Clock,
    mut wishes: mpsc::Receiver<Wish>,
    heard: mpsc::Sender<Heard>,
    shutdown: CancellationToken,
) {
    let mut list = List::default();
    let mut rounds = JoinSet::new();
    // The loop that hears may itself be waiting for us to take a wish, so neither waits for the
    // other: what it has not yet heard is kept here, at most one answer for each open question.
    let mut unheard: VecDeque<Heard> = VecDeque::new();
    // Whoever configured a node that cannot be used learns it now, not with the first payment.
    rounds.spawn(ask(Arc::clone(&jury), Vec::new()));
    loop {
        while rounds.len() < ROUNDS_MAX
            && unheard.is_empty()
            && let Some(questions) = list.take_due(clock.now())
        {
            rounds.spawn(ask(Arc::clone(&jury), questions));
        }
        for (account, listen) in list.changes.drain(..) {
            ears.want(account, listen);
        }
        ears.flush();
        let idle = rounds.len() < ROUNDS_MAX && unheard.is_empty();
        let wait = if idle { list.wait(clock.now()) } else { None };
        tokio::select! {
            biased;
            wish = wishes.recv() => match wish {
                Some(wish) => list.obey(wish, clock.now()),
                None => return,
            },
            Some(round) = rounds.join_next() => {
                let Ok(round) = round else {
                    tracing::error!("a round of questions failed");
                    list.forget_questions();
                    continue;
                };
                for (job, facts) in round {
                    list.told(job, &facts);
                    list.answered(job, clock.now());
                    unheard.push_back(Heard::Facts(job, facts));
                }
                unheard.extend(jury.news().map(|news| Heard::Nodes(news.to_string())));
            }
            slot = heard.reserve(), if !unheard.is_empty() => match (slot, unheard.pop_front()) {
                (Ok(slot), Some(facts)) => slot.send(facts),
                _ => return,
            },
            account = ears.hint() => list.hasten(&account, clock.now()),
            () = sleep(wait) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Who is watched, and when each is due. Pure: `now` is an argument.
#[derive(Debug, Default)]
struct List {
    jobs: HashMap<JobId, Watched>,
    due: BTreeSet<(Timestamp, JobId)>,
    /// Whose invoice each account is: each is one job's.
    accounts: HashMap<Account, JobId>,
    /// Accounts to be listened for, or no longer; taken after every change.
    changes: Vec<(Account, bool)>,
}

impl List {
    fn obey(&mut self, wish: Wish, now: Timestamp) {
        match wish {
            Wish::Watch { job, invoice, submitted, lapsed, over } => {
                self.remove(job);
                let submitted = match submitted.map(|text| BlockHash::parse(&text)) {
                    None => Hash::None,
                    Some(Err(_)) => Hash::Malformed,
                    Some(Ok(hash)) => Hash::Some(hash),
                };
                let delays = match (lapsed, over) {
                    (false, _) => OPEN_DELAYS,
                    (true, false) => LAPSED_DELAYS,
                    (true, true) => OVER_DELAYS,
                };
                let delay = delays.first;
                // A hash was submitted because somebody has just paid.
                let due = if matches!(submitted, Hash::Some(_)) && !lapsed { now } else { now.plus(delay) };
                self.due.insert((due, job));
                self.accounts.insert(invoice.account, job);
                self.changes.push((invoice.account, true));
                let watched = Watched {
                    invoice,
                    submitted,
                    lapsed,
                    delays,
                    delay,
                    due,
                    asked: false,
                    looked: None,
                    hinted: false,
                    known: BTreeSet::new(),
                };
                self.jobs.insert(job, watched);
            }
            Wish::Look(job) => {
                if let Some(account) = self.jobs.get(&job).map(|watched| watched.invoice.account) {
                    self.hasten(&account, now);
                }
            }
            Wish::Unwatch(job) => {
                self.remove(job);
            }
        }
    }

    fn remove(&mut self, job: JobId) -> Option<Watched> {
        let watched = self.jobs.remove(&job)?;
        self.due.remove(&(watched.due, job));
        self.accounts.remove(&watched.invoice.account);
        self.changes.push((watched.invoice.account, false));
        Some(watched)
    }

    /// The jobs that are due and not being asked about; each is due again later.
    fn take_due(&mut self, now: Timestamp) -> Option<Vec<Question>> {
        let due: Vec<JobId> = self
            .due
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(JOBS_PER_ROUND)
            .map(|(_, job)| *job)
            .collect();
        let mut questions = Vec::new();
        for job in due {
            let Some(watched) = self.jobs.get_mut(&job) else { continue };
            self.due.remove(&(watched.due, job));
            watched.due = now.plus(watched.delay);
            watched.delay = (watched.delay * 2).min(watched.delays.last);
            self.due.insert((watched.due, job));
            if !std::mem::replace(&mut watched.asked, true) {
                watched.looked = Some(now);
                let Watched { invoice, submitted, lapsed, .. } = *watched;
                questions.push(Question { job, invoice, submitted, lapsed, known: watched.known.clone() });
            }
        }
        (!questions.is_empty()).then_some(questions)
    }

    /// What waits for a job that is over waits for long, and is not asked about with every look.
    fn told(&mut self, job: JobId, facts: &Facts) {
        let Some(watched) = self.jobs.get_mut(&job).filter(|watched| watched.lapsed && facts.lapsed) else {
            return;
        };
        let room = KNOWN_MAX.saturating_sub(watched.known.len());
        let found = facts.found.iter().filter(|block| block.confirmed).map(|block| block.hash);
        watched.known.extend(found.take(room));
    }

    fn answered(&mut self, job: JobId, now: Timestamp) {
        if let Some(watched) = self.jobs.get_mut(&job) {
            watched.asked = false;
            if watched.due < now {
                self.due.remove(&(watched.due, job));
                watched.due = now.plus(watched.delay);
                self.due.insert((watched.due, job));
            }
            // The answer may be older than what has happened meanwhile.
            if std::mem::take(&mut watched.hinted) {
                let account = watched.invoice.account;
                self.hasten(&account, now);
            }
        }
    }

    /// Something happened to an account: its job is looked at now. However many hints a stranger
    /// causes, no more often than a job that is new.
    fn hasten(&mut self, account: &Account, now: Timestamp) {
        let Some(job) = self.accounts.get(account).copied() else { return };
        let Some(watched) = self.jobs.get_mut(&job) else { return };
        if watched.asked {
            watched.hinted = true;
            return;
        }
        let soonest = watched.looked.map_or(now, |looked| looked.plus(OPEN_DELAYS.first).max(now));
        if soonest < watched.due {
            self.due.remove(&(watched.due, job));
            watched.due = soonest;
            watched.delay = OPEN_DELAYS.first;
            self.due.insert((soonest, job));
        }
    }

    /// Nobody knows which jobs a lost round was about, so any may be asked about again.
    fn forget_questions(&mut self) {
        for watched in self.jobs.values_mut() {
            watched.asked = false;
        }
    }

    fn wait(&self, now: Timestamp) -> Option<Duration> {
        self.due.first().map(|(at, _)| at.since(now))
    }
}

#[cfg(test)]
mod tests;
