//! What the purse can be asked to do, and the schedule on which it is asked.

use std::sync::Arc;
use std::time::Duration;

use nano_currency::Account;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::whose::{self, Claim};
use super::{CoinsError, Purse};
use crate::protocol::JobId;
use crate::store::Batch;
use crate::worker::memory::{self, fact};

/// How soon a round that failed is tried again, and the longest sleep: a clock that was set is
/// noticed this soon.
const LOOK: Duration = Duration::from_secs(600);

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
                self.elsewhere.ensure(&self.store, &self.seed, to)?;
                Ok(self.round(Some(to), owed, dry_run, tell).await?.to_json(dry_run))
            }
            Errand::Refund { job, to, dry_run } => {
                let own = whose::account_of(&self.store, job)?.ok_or(CoinsError::NoJob(job))?;
                let why = match own.claim {
                    Claim::Buyers => None,
                    Claim::Open => Some("is open: cancel it, or wait until it has ended"),
                    Claim::Ours if whose::has_failed(&self.store, job)? => None,
                    Claim::Ours => Some("was delivered: what it brought is yours"),
                };
                if let Some(why) = why {
                    return Err(CoinsError::NotRefundable { job, why });
                }
                if let Some(to) = to {
                    whose::ensure_elsewhere(&self.store, &self.seed, self.index_start, to)?;
                }
                Ok(self.send_back(own, to, dry_run, tell).await?.to_json(dry_run))
            }
        }
    }

    fn brought(&self) -> Result<(), CoinsError> {
        let mut batch = Batch::default();
        memory::put_fact(&mut batch, fact::BROUGHT, &self.clock.now().to_string())?;
        Ok(self.store.commit(batch)?)
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
        self.brought()
    }
}

/// Brings the coins home whenever it is due, until `stop`. What fails is said, and is tried again.
pub(in crate::worker) async fn on_schedule(purse: Option<Arc<Purse>>, stop: CancellationToken) {
    let Some(purse) = purse else { return };
    let Some(every) = purse.settings.every else { return };
    let rounds = async {
        loop {
            let wait = match purse.due_in(every) {
                Ok(Duration::ZERO) => {
                    if let Err(error) = purse.bring().await {
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
    };
    tokio::select! {
        biased;
        () = rounds => {}
        () = stop.cancelled() => {}
    }
}
