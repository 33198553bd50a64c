//! What the purse can be asked to do, and the schedule on which it is asked.

use std::sync::Arc;
use std::time::Duration;

use nano_currency::{Account, Amount};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::chain::again;
use super::journal::Does;
use super::whose::{self, Claim};
use super::{CoinsError, Purse};
use crate::protocol::JobId;
use crate::store::Batch;
use crate::worker::memory::{self, fact};

/// How soon a round that failed is tried again, and the longest sleep: a clock that was set is
/// noticed this soon.
const LOOK: Duration = Duration::from_secs(600);

/// How often it is looked for what is owed back: nobody is asked while nothing is.
const REFUND_LOOK: Duration = Duration::from_secs(60);

/// Says what is being done, line by line.
pub type Tell<'a> = &'a (dyn Fn(String) + Send + Sync);

/// Something to be done with the coins, or to be known of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "errand", rename_all = "snake_case")]
pub enum Errand {
    /// Take in what was sent to invoices.
    Receive {
        /// Only say what would be done.
        dry_run: bool,
    },
    /// Take it in and send it on.
    Sweep {
        /// Where to; where the configuration says if absent.
        to: Option<Account>,
        /// Also what buyers got nothing for.
        owed: bool,
        /// Only say what would be done.
        dry_run: bool,
    },
    /// Send back what was paid for one job.
    Refund {
        /// Which.
        job: JobId,
        /// Where to; to whom it came from if absent.
        to: Option<Account>,
        /// Only say what would be done.
        dry_run: bool,
    },
    /// Say what is there.
    Balance,
    /// Say what was done.
    History,
}

impl Purse {
    /// Runs an errand, after the one that is under way. Whoever drops this future stops it at once;
    /// what was kept is taken up by the next one.
    ///
    /// # Errors
    /// If it cannot be begun, or not be ended; what was done until then is done.
    pub async fn run(&self, errand: &Errand, tell: Tell<'_>) -> Result<Value, CoinsError> {
        if matches!(errand, Errand::History) {
            return self.history();
        }
        let _turn = self.turn.lock().await;
        if let Some(why) = self.jury.closed().await {
            return Err(CoinsError::Gate(why));
        }
        match *errand {
            Errand::History => self.history(),
            Errand::Balance => self.balance().await,
            Errand::Receive { dry_run } => {
                whose::ensure_looked(&self.store)?;
                Ok(self.round(None, true, dry_run, tell).await?.to_json(dry_run))
            }
            Errand::Sweep { to, owed, dry_run } => {
                whose::ensure_looked(&self.store)?;
                let to = to.or(self.settings.sweep_to).ok_or(CoinsError::NoDestination)?;
                self.elsewhere.ensure(&self.store, &self.accounts, to)?;
                Ok(self.round(Some(to), owed, dry_run, tell).await?.to_json(dry_run))
            }
            Errand::Refund { job, to, dry_run } => self.refund(job, to, dry_run, tell).await,
        }
    }

    /// Sends back what is owed for a job. Of one that failed, whoever asks decides that all of it is.
    async fn refund(
        &self,
        job: JobId,
        to: Option<Account>,
        dry_run: bool,
        tell: Tell<'_>,
    ) -> Result<Value, CoinsError> {
        let own = whose::account_of(&self.store, job)?.ok_or(CoinsError::NoJob(job))?;
        let refused = |why| Err(CoinsError::NotRefundable { job, why });
        match own.claim {
            Claim::Open => return refused("is open: cancel it, or wait until it has ended"),
            Claim::Others => {
                return refused("is done by another worker of the seed, as far as is known here");
            }
            Claim::Presumed => {
                return refused(
                    "was delivered by another worker of the seed, or before the state was lost: what of its \
                     payments is owed back is not known here",
                );
            }
            Claim::Ours | Claim::Buyers => {}
        }
        if let Some(to) = to {
            self.elsewhere.ensure(&self.store, &self.accounts, to)?;
        }
        let waiting = self.waiting_for(&[own.account]).await?.remove(&own.account).unwrap_or_default();
        let accounts = [own.account];
        let balances = again(|| self.rpc.accounts_balances(&accounts)).await?;
        let holds = balances.get(&own.account).map_or(Amount::ZERO, |found| found.balance);
        let mut laden = [(own, holds, waiting)];
        let unproven = self.notice(&mut laden).await?;
        if let Some(problem) = self.look_at_refunds(&own).await? {
            tell(problem);
        }
        let [(_, _, waiting)] = laden;
        let debts = match whose::has_failed(&self.store, job)? {
            true => self.give_back(&own, dry_run).await?,
            false => self.debts(&own)?,
        };
        let sent_before = self.signed_of(&own.account)?;
        if sent_before.iter().any(|kept| kept.does == Does::Refund && kept.of.is_none()) {
            return refused("was refunded in part by an earlier version, which did not say for what");
        }
        if debts.is_empty() && !sent_before.iter().any(|kept| kept.does == Does::Refund) {
            return refused(match own.claim {
                Claim::Ours if unproven.is_empty() => "was delivered: what it brought is yours",
                _ => "has nothing that is known to be owed back",
            });
        }
        if to.is_none() {
            for payer in debts.iter().filter_map(|debt| debt.from) {
                self.elsewhere.ensure(&self.store, &self.accounts, payer)?;
            }
        }
        let report = self.send_back((own, debts, waiting), to, dry_run, tell).await?;
        let mut answer = report.to_json(dry_run);
        answer["owed_back_raw"] = json!(self.debts(&own)?.iter().map(|debt| debt.due).sum::<Amount>());
        Ok(answer)
    }

    /// Durable: a worker that is restarted again and again must not begin a round each time.
    async fn brought(&self) -> Result<(), CoinsError> {
        let mut batch = Batch::default();
        memory::put_fact(&mut batch, fact::BROUGHT, &self.clock.now().to_string())?;
        Ok(self.store.commit_durable(batch).await?)
    }

    /// How long until the next round; at once if there was none.
    fn due_in(&self, every: Duration) -> Result<Duration, CoinsError> {
        let last = memory::fact(&self.store, fact::BROUGHT)?;
        let last = last.and_then(|text| text.parse::<crate::protocol::Timestamp>().ok());
        Ok(last.map_or(Duration::ZERO, |last| every.saturating_sub(self.clock.now().since(last))))
    }

    async fn bring(&self) -> Result<(), CoinsError> {
        let errand = match self.settings.sweep_to {
            Some(_) => Errand::Sweep { to: None, owed: false, dry_run: false },
            None => Errand::Receive { dry_run: false },
        };
        let answer = self.run(&errand, &|line| tracing::info!("{line}")).await?;
        for problem in answer["problems"].as_array().into_iter().flatten() {
            tracing::warn!(account = %problem["account"], why = %problem["why"], "coins were not brought home");
        }
        self.brought().await
    }
}

/// Brings the coins home and sends back what is owed, as far as the seller wants it, until `stop`.
/// What fails is said, and is tried again.
pub async fn on_schedule(purse: Option<Arc<Purse>>, stop: CancellationToken) {
    let Some(purse) = purse else { return };
    let rounds = async { tokio::join!(purse.bring_again(), purse.refund_again()) };
    tokio::select! {
        biased;
        _ = rounds => {}
        () = stop.cancelled() => {}
    }
}

impl Purse {
    async fn bring_again(&self) {
        let Some(every) = self.settings.every else { return };
        loop {
            let wait = match self.due_in(every) {
                Ok(Duration::ZERO) => {
                    if let Err(error) = self.bring().await {
                        let cause = std::error::Error::source(&error).map(ToString::to_string);
                        tracing::warn!(%error, cause, "coins were not brought home");
                        LOOK.min(every)
                    } else {
                        every
                    }
                }
                Ok(wait) => wait,
                Err(_) => LOOK,
            };
            tokio::time::sleep(wait.min(LOOK)).await;
        }
    }

    async fn refund_again(&self) {
        if !self.settings.refunds.auto {
            return;
        }
        loop {
            match self.refund_owed(&|line| tracing::info!("{line}")).await {
                Ok(answer) => {
                    for problem in answer["problems"].as_array().into_iter().flatten() {
                        tracing::warn!(job_id = %problem["job_id"], why = %problem["why"], "not sent back");
                    }
                }
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, cause, "what is owed was not sent back");
                }
            }
            tokio::time::sleep(REFUND_LOOK).await;
        }
    }
}
