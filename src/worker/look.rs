//! The look before the first quote: which addresses of the seed were used in lives that this state
//! does not remember.
//!
//! A state that is new may be the second one of its seed, and one from a backup is older than the
//! truth. So every job that the relay still has is looked at for its address, and the chain for
//! addresses that have a history or wait for money. The next index is then raised above all of them.
//! Until that is durable no index is consumed and no news are heard.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use nano_currency::Account;
use nano_currency::rpc::RpcError;
use nano_currency::seed::SeedError;

use super::accounts::Accounts;
use super::calls::Line;
use super::counterpart::Counterpart;
use super::ingest;
use super::memory::{self, fact};
use super::nodes::Jury;
use crate::client::{CallError, Pace};
use crate::edge::Entropy;
use crate::protocol::{JobId, Status};
use crate::store::{Store, StoreError};

/// Accounts asked about at a time: what a node answers in one call.
const ACCOUNTS_PER_ROUND: u32 = 1_000;

/// Addresses handed to the loop at a time: one commit.
const SEEN_PER_PAGE: usize = 1_000;

/// Jobs of one seller at most: their addresses are in memory during the look, a hundred bytes each.
const JOBS_MAX: usize = 5_000_000;

/// The first delay before a look that failed is repeated.
const RETRY_MIN: Duration = Duration::from_millis(500);

/// The longest: quotes wait for the look.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// An address that was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its index.
    pub index: u32,
    /// Itself.
    pub account: Account,
    /// The job that has it; without one, no job of today's may have it either, and whose its coins are
    /// nobody knows.
    pub job: Option<JobId>,
}

/// What was found; the loop gets it in pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Addresses that were used.
    pub seen: Vec<Seen>,
    /// The next index, with the last page.
    pub next: Option<u32>,
}

/// Why a look failed; it is repeated.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("the relay was not asked for all jobs")]
    Relay(#[from] CallError),
    #[error("the relay has more than {JOBS_MAX} jobs of this seller")]
    TooMany,
    #[error("the node calls more than {JOBS_MAX} addresses used")]
    Endless,
    #[error("no node was asked for all addresses")]
    Node(#[from] RpcError),
    #[error("{0}")]
    Network(String),
    #[error("the node left accounts out of its answer")]
    Incomplete,
    #[error(transparent)]
    Seed(#[from] SeedError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a look needs.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) relay: Counterpart,
    pub(super) jury: Jury,
    pub(super) accounts: Accounts,
    pub(super) store: Arc<Store>,
    /// Where the configuration says that indices begin.
    pub(super) start: u32,
    /// Whether indices that this state has used are looked at too.
    pub(super) whole: bool,
    /// How many unused addresses in a row end the look.
    pub(super) gap: u32,
    pub(super) entropy: Entropy,
}

/// Whether a state has to be looked for first.
pub(super) fn is_due(store: &Store) -> Result<bool, StoreError> {
    Ok(memory::fact(store, fact::LOOKED)?.is_none())
}

impl Look {
    /// Looks until it has succeeded: relay and node may come back.
    pub(super) async fn run(&self) -> Vec<Looked> {
        let mut pace = Pace::new(RETRY_MIN, RETRY_MAX, self.entropy.clone());
        loop {
            match self.once().await {
                Ok((seen, next)) => {
                    tracing::info!(used = seen.len(), next_index = next, "looked for used addresses");
                    return pages(&seen, next);
                }
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(
                        %error,
                        cause,
                        "nothing is quoted before the addresses that were used are known"
                    );
                    tokio::time::sleep(pace.next_delay()).await;
                }
            }
        }
    }

    async fn once(&self) -> Result<(Vec<Seen>, u32), LookError> {
        if let Some(why) = self.jury.closed().await {
            return Err(LookError::Network(why));
        }
        let jobs = self.jobs().await?;
        let (from, had_some) = self.begin()?;
        let mut seen = Vec::new();
        let (mut index, mut end) = (from, from.saturating_add(self.gap));
        while index < end {
            let round = index..end.min(index.saturating_add(ACCOUNTS_PER_ROUND));
            index = round.end;
            for used in self.used_in(round, &jobs).await? {
                end = used.index.saturating_add(1).saturating_add(self.gap);
                seen.push(used);
            }
            if seen.len() > JOBS_MAX {
                return Err(LookError::Endless);
            }
        }
        // What another worker of the seed has quoted since the list was made is not the relay's past.
        if seen.iter().any(|seen| seen.job.is_none()) {
            let jobs = self.jobs().await?;
            for seen in &mut seen {
                seen.job = seen.job.or_else(|| jobs.get(&seen.account).copied());
            }
        }
        let next = next_index(from, had_some, seen.last().map(|seen| seen.index), self.gap);
        Ok((seen, next))
    }

    /// Where the look begins, and whether indices before that were used by this state.
    fn begin(&self) -> Result<(u32, bool), StoreError> {
        match memory::next_index(&self.store)? {
            Some(next) if !self.whole => Ok((next.max(self.start), true)),
            _ => Ok((self.start, false)),
        }
    }

    /// The addresses of all jobs that the relay has of us.
    async fn jobs(&self) -> Result<HashMap<Account, JobId>, LookError> {
        match &self.relay {
            Counterpart::V1(line) => jobs_of(line).await,
            Counterpart::V0(bazaar) => bazaar.addresses(JOBS_MAX).await?.ok_or(LookError::TooMany),
        }
    }
    /// Those of a range of indices that were used.
    async fn used_in(
        &self,
        range: std::ops::Range<u32>,
        jobs: &HashMap<Account, JobId>,
    ) -> Result<Vec<Seen>, LookError> {
        let accounts: Vec<(u32, Account)> =
            range.map(|index| Ok((index, self.accounts.get(index)?))).collect::<Result<_, SeedError>>()?;
        let asked: Vec<Account> = accounts.iter().map(|(_, account)| *account).collect();
        let used = self.used_on_chain(&asked).await?;
        let seen = accounts.into_iter().zip(used).filter_map(|((index, account), used)| {
            let job = jobs.get(&account).copied();
            (used || job.is_some()).then_some(Seen { index, account, job })
        });
        Ok(seen.collect())
    }

    /// Whether each account holds, awaits or has ever held anything.
    async fn used_on_chain(&self, accounts: &[Account]) -> Result<Vec<bool>, LookError> {
        let balances = self.jury.rpc().accounts_balances(accounts).await?;
        let mut used = Vec::new();
        for account in accounts {
            let balance = balances.get(account).ok_or(LookError::Incomplete)?;
            used.push(!balance.balance.is_zero() || !balance.receivable.is_zero());
        }
        let empty: Vec<Account> =
            accounts.iter().zip(&used).filter(|(_, used)| !**used).map(|(account, _)| *account).collect();
        let opened = self.opened(&empty).await?;
        for (account, used) in accounts.iter().zip(&mut used) {
            *used |= opened.get(account).copied().unwrap_or(false);
        }
        Ok(used)
    }

    /// Whether each account has a block: what it received may have been sent on. A proxy that does
    /// not let the question for many through is asked for each.
    async fn opened(&self, accounts: &[Account]) -> Result<BTreeMap<Account, bool>, LookError> {
        match self.jury.rpc().accounts_frontiers(accounts).await {
            Ok(frontiers) => {
                Ok(accounts.iter().map(|account| (*account, frontiers.contains_key(account))).collect())
            }
            Err(error) if error.failure.is_answer() => {
                let mut opened = BTreeMap::new();
                for account in accounts {
                    opened.insert(*account, self.jury.rpc().account_info(account).await?.is_some());
                }
                Ok(opened)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The same of a relay of /v1.
async fn jobs_of(line: &Line) -> Result<HashMap<Account, JobId>, LookError> {
    let mut jobs = HashMap::new();
    let mut cursor = "start".to_owned();
    let mut count = 0;
    loop {
        let page = ingest::list(line, &cursor, &Status::ALL).await?;
        count += page.jobs.len();
        for job in &page.jobs {
            let address = job.quote_invoice_address.as_deref();
            if let Some(account) = address.and_then(|text| Account::parse(text).ok()) {
                jobs.entry(account).or_insert(job.job_id);
            }
        }
        match ingest::next_listing(&cursor, &page) {
            Some(_) if count > JOBS_MAX => return Err(LookError::TooMany),
            Some(next) => cursor = next,
            None => return Ok(jobs),
        }
    }
}

/// Where quotes may go on. Indices behind the last one that left a trace may have been given away
/// too, to buyers who have not paid yet, so half of the gap is left out; the other half keeps the
/// next look, should this state be lost as well, from ending before it has come this far.
fn next_index(from: u32, had_some: bool, last: Option<u32>, gap: u32) -> u32 {
    match last {
        Some(last) => last.saturating_add(1).saturating_add(gap / 2),
        None if had_some => from.saturating_add(gap / 2),
        // Nothing was ever used: this is the first life.
        None => from,
    }
}

fn pages(seen: &[Seen], next: u32) -> Vec<Looked> {
    let mut pages: Vec<Looked> =
        seen.chunks(SEEN_PER_PAGE).map(|seen| Looked { seen: seen.to_vec(), next: None }).collect();
    pages.push(Looked { seen: Vec::new(), next: Some(next) });
    pages
}

#[cfg(test)]
mod tests;
