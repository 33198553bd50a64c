//! The walk over all accounts, within an hour's allowance of work.

use std::collections::BTreeMap;
use std::time::Duration;

use nano_currency::rpc::Receivable;
use nano_currency::work::{Difficulty, Rate, Work, sample, threads};
use nano_currency::{Account, Amount};
use serde_json::{Value, json};

use super::chain::{Chain, Walked, again};
use super::debts::{Debt, Laden};
use super::desk::Tell;
use super::goal::Goal;
use super::journal::{Does, OwnBlock};
use super::whose::{self, Claim, Own};
use super::{CoinsError, Purse};
use crate::edge;
use crate::worker::memory::COINS;

/// Accounts asked about at a time: what a node answers in one call.
const ACCOUNTS_PER_CALL: usize = 1_000;

/// The span that the allowance is for.
const HOUR: Duration = Duration::from_secs(3_600);

/// Work that takes fewer tries is done before anybody could read how long it takes.
const EASY_TRIES: u64 = 1 << 20;

/// Tries by which our own speed is measured: some tens of milliseconds.
const SAMPLE_TRIES: u64 = 50_000;

/// A search that takes longer is announced.
const WORTH_SAYING: Duration = Duration::from_secs(5);

/// How many blocks may still be signed in this hour.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u32,
    refused: bool,
}

impl Allowance {
    /// Takes one; false if there is none.
    pub(super) const fn take(&mut self) -> bool {
        if self.left == 0 {
            self.refused = true;
            return false;
        }
        self.left -= 1;
        true
    }

    pub(super) const fn is_left(&self) -> bool {
        self.left > 0
    }
}

/// What a round did, or would do.
#[derive(Debug, Default)]
pub(super) struct Report {
    blocks: Vec<OwnBlock>,
    left: Vec<(Own, String)>,
    problems: Vec<(Own, String)>,
    bounded: bool,
}

impl Report {
    /// Whether nothing of it needs another look.
    pub(super) fn to_json(&self, dry_run: bool) -> Value {
        let sum = |does: Does| -> Amount {
            self.blocks.iter().filter(|block| block.does == does).map(|block| block.amount).sum()
        };
        let list = |list: &[(Own, String)]| -> Vec<Value> {
            let entry = |(own, why): &(Own, String)| json!({ "index": own.index, "account": own.account, "job_id": own.job, "why": why });
            list.iter().map(entry).collect()
        };
        json!({
            "dry_run": dry_run,
            "blocks": self.blocks.iter().map(row).collect::<Vec<_>>(),
            "received_raw": sum(Does::Receive),
            "swept_raw": sum(Does::Sweep),
            "refunded_raw": sum(Does::Refund),
            "left": list(&self.left),
            "problems": list(&self.problems),
            "bounded": self.bounded,
        })
    }
}

/// A block as it is shown. The hash of one that was only laid out is already its own.
pub(super) fn row(block: &OwnBlock) -> Value {
    json!({
        "at": block.at,
        "does": block.does.name(),
        "job_id": block.job,
        "index": block.index,
        "account": block.block.0.fields.account,
        "amount_raw": block.amount,
        "amount_xno": block.amount.to_xno(),
        "counter_account": block.counter,
        "block": block.hash(),
        "refund_of": block.of,
        "fate": block.fate,
    })
}

/// Why coins are left that are another worker's, or nobody knows whose.
const fn others(own: &Own) -> &'static str {
    match own.job {
        Some(_) => "another worker of the seed may do its job: sweep with --owed if none does",
        None => "no job is known for which it was given away: sweep with --owed if another worker has none",
    }
}

impl Purse {
    /// Receives on all accounts that may be touched, and sends it on if `to` says where. What is
    /// the buyers' goes with the rest only if `owed`.
    pub(super) async fn round(
        &self,
        to: Option<Account>,
        owed: bool,
        dry_run: bool,
        tell: Tell<'_>,
    ) -> Result<Report, CoinsError> {
        let mut report = Report::default();
        let mut goals = Vec::new();
        let mut laden = self.laden().await?;
        report.left = self.notice(&mut laden).await?;
        for (own, holds, waiting) in laden {
            let debts = if owed { Vec::new() } else { self.debts(&own)? };
            if own.claim.is_settled() && !debts.is_empty() {
                let sum: Amount = debts.iter().map(|debt| debt.due).sum();
                let why = format!("{sum} raw are owed back: `worker refund`, or sweep with --owed");
                report.left.push((own, why));
            }
            // Whoever says so moves what nobody has looked into.
            let is_ordered = to.is_some() && owed;
            match (own.claim, to) {
                (Claim::Open, _) => report.left.push((own, "its job is open".to_owned())),
                (Claim::Others, _) if !is_ordered => report.left.push((own, others(&own).to_owned())),
                (Claim::Presumed, to) if !is_ordered => match self.doubt(&own, &waiting).await? {
                    Some(why) => report.left.push((own, why)),
                    None => {
                        let goal = to.map_or(Goal::Receive, |to| Goal::Sweep { to, all: false });
                        goals.push((own, goal, debts, waiting));
                    }
                },
                (Claim::Buyers, Some(_)) if !owed => {
                    if debts.is_empty() && !holds.is_zero() {
                        let why = "what it holds was not earned: `worker refund`, or sweep with --owed";
                        report.left.push((own, why.to_owned()));
                    }
                }
                (_, Some(to)) => goals.push((own, Goal::Sweep { to, all: owed }, debts, waiting)),
                (_, None) if waiting.is_empty() => {}
                (_, None) => goals.push((own, Goal::Receive, debts, waiting)),
            }
        }
        self.walk_all(goals, dry_run, &mut report, tell).await?;
        Ok(report)
    }

    /// Sends back what is owed of one account's coins.
    pub(super) async fn send_back(
        &self,
        (own, debts, waiting): (Own, Vec<Debt>, Vec<Receivable>),
        to: Option<Account>,
        dry_run: bool,
        tell: Tell<'_>,
    ) -> Result<Report, CoinsError> {
        let mut report = Report::default();
        self.walk_all(vec![(own, Goal::Refund { to }, debts, waiting)], dry_run, &mut report, tell).await?;
        Ok(report)
    }

    async fn walk_all(
        &self,
        goals: Vec<(Own, Goal, Vec<Debt>, Vec<Receivable>)>,
        dry_run: bool,
        report: &mut Report,
        tell: Tell<'_>,
    ) -> Result<(), CoinsError> {
        let mut allowance = self.allowance()?;
        let count: usize = goals
            .iter()
            .map(|(_, goal, _, waiting)| waiting.len() + usize::from(!matches!(goal, Goal::Receive)))
            .sum();
        if count > 0 && !dry_run {
            tell(format!("{} accounts, about {count} blocks", goals.len()));
        }
        for (own, goal, debts, waiting) in goals {
            let chain = Chain::new(self, own, goal, debts, waiting, tell)?;
            let Walked { blocks, problem } = match dry_run {
                true => chain.plan().await?,
                false => chain.walk(&mut allowance).await?,
            };
            report.blocks.extend(blocks);
            report.problems.extend(problem.map(|why| (own, why)));
            if allowance.refused {
                report.bounded = true;
                tell("no more blocks in this hour: [wallet] work_per_hour_max".to_owned());
                break;
            }
        }
        Ok(())
    }

    /// The accounts that hold something or have something waiting; what they hold, what waits.
    pub(super) async fn laden(&self) -> Result<Vec<Laden>, CoinsError> {
        let mut laden = Vec::new();
        for part in whose::accounts(&self.store)?.chunks(ACCOUNTS_PER_CALL) {
            let accounts: Vec<Account> = part.iter().map(|own| own.account).collect();
            let balances = again(|| self.rpc.accounts_balances(&accounts)).await?;
            let mut waiting = self.waiting_for(&accounts).await?;
            for own in part {
                let holds = balances.get(&own.account).map_or(Amount::ZERO, |found| found.balance);
                let waiting = waiting.remove(&own.account).unwrap_or_default();
                if !holds.is_zero() || !waiting.is_empty() {
                    laden.push((*own, holds, waiting));
                }
            }
        }
        Ok(laden)
    }

    /// The confirmed sends that wait for accounts.
    pub(super) async fn waiting_for(
        &self,
        accounts: &[Account],
    ) -> Result<BTreeMap<Account, Vec<Receivable>>, CoinsError> {
        let lists = again(|| self.rpc.receivable_of(accounts)).await?;
        Ok(lists.into_iter().map(|(account, list)| (account, list.blocks)).collect())
    }

    /// What the blocks of the last hour leave of the hour's allowance.
    fn allowance(&self) -> Result<Allowance, CoinsError> {
        let (now, mut signed) = (self.clock.now(), 0_u32);
        for entry in COINS.all(&self.store) {
            let (_, kept) = entry?;
            signed = signed.saturating_add(u32::from(now.since(kept.at) < HOUR));
        }
        let left = self.settings.work_per_hour_max.saturating_sub(signed);
        Ok(Allowance { left, refused: false })
    }

    /// Work for the block after `root`, from whoever has some.
    pub(super) async fn work_for(
        &self,
        root: &[u8; 32],
        threshold: Difficulty,
        tell: Tell<'_>,
    ) -> Result<Work, CoinsError> {
        let start = self.entropy.number();
        let announce = || {
            if let Some(expected) = expected(root, threshold, start).filter(|time| *time > WORTH_SAYING) {
                tell(format!("this machine works for the next block: about {} s", expected.as_secs()));
            }
        };
        Ok(self.work.find(root, threshold, start, announce).await?.work)
    }
}

/// How long our own search will take, unless it is too short to be measured.
fn expected(root: &[u8; 32], threshold: Difficulty, start: u64) -> Option<Duration> {
    if threshold.expected_tries() < EASY_TRIES {
        return None;
    }
    let begun = edge::monotonic();
    let _ = sample(root, SAMPLE_TRIES, start);
    let took = edge::monotonic().saturating_duration_since(begun);
    Some(Rate::measured(SAMPLE_TRIES, took, threads())?.expected(threshold))
}
