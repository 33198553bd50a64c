//! Buyers, good and bad. They speak through the real client.

use std::sync::Arc;
use std::time::Duration;

use mock_nano_rpc::node::Node;
use nano_worker::client::{CallError, OffersQuery, RelayClient};
use nano_worker::nano::{Account, Amount, BlockHash};
use nano_worker::protocol::signing::Signer;
use nano_worker::protocol::{Job, JobId, OfferId, Status};
use serde_json::json;

use crate::coins::TAKEN_BACK;
use crate::life::Life;
use crate::net::Line;
use crate::plan::{self, Host, Manner};
use crate::rng::Rng;
use crate::world::World;

/// Between two looks at a job.
const LOOK: Duration = Duration::from_secs(2);

/// One buyer of one job.
struct Buyer {
    world: Arc<World>,
    plan: plan::Job,
    client: RelayClient,
    rng: Rng,
}

/// The quote, as far as it matters.
struct Quote {
    job: JobId,
    account: Account,
    price: u128,
}

/// Why a buyer stops.
enum Over {
    /// The job has ended, or is known no longer.
    Ended,
    /// There is no time for anything new.
    Late,
}

impl World {
    pub(crate) fn start_buyer(self: &Arc<Self>, plan: plan::Job) {
        // Nobody kills a buyer here.
        let life = Life::new(|_| ());
        let line = Line { world: self.me(), from: Host::Buyers, life };
        let seed: [u8; 32] = [100 + u8::try_from(plan.number).unwrap(); 32];
        let signer = Signer::from_seed(&seed);
        let (clock, entropy) = (self.clock(Host::Buyers), self.entropy(Host::Buyers));
        let client = RelayClient::over(Arc::new(line), "http://relay", signer, clock, entropy).unwrap();
        let rng = Rng::named(self.plan.seed, &format!("buyer {}", plan.number));
        let mut buyer = Buyer { world: Arc::clone(self), plan, client, rng };
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(plan.at_ms)).await;
            drop(buyer.buy().await);
        });
    }
}

impl Buyer {
    async fn buy(&mut self) -> Result<(), Over> {
        let job = self.request().await?;
        if self.plan.manner == Manner::CancelsEarly {
            self.pause(5_000).await;
            return self.cancel(job).await;
        }
        let quote = self.wait_for_quote(job).await?;
        self.pause(3_000).await;
        let accepted = self.again(|client| async move { client.accept(&job).await }).await?;
        self.ensure(matches!(accepted.status, Status::Accepted | Status::Running))?;
        self.world.say(|| format!("buyer {} has accepted {job}", self.plan.number));
        self.pause(3_000).await;
        self.pay(&quote).await?;
        self.wait_for_end(job).await
    }

    async fn request(&mut self) -> Result<JobId, Over> {
        let payload = json!({ "number": self.plan.number });
        let mut tries = 0;
        loop {
            let offer = self.find_offer().await?;
            tries += 1;
            let key = format!("job-{}-{tries}", self.plan.number);
            let created = self
                .again(|client| {
                    let (client, payload) = (client.with_key(&*key), payload.clone());
                    async move { client.create_job(&offer, &payload).await }
                })
                .await;
            match created {
                Ok(job) => return Ok(job.job_id),
                // The relay has forgotten the offer in between.
                Err(Over::Ended) => tokio::time::sleep(LOOK).await,
                Err(over) => return Err(over),
            }
        }
    }

    async fn find_offer(&mut self) -> Result<OfferId, Over> {
        loop {
            let page =
                self.again(|client| async move { client.offers(&OffersQuery::default()).await }).await?;
            let found = page.offers.iter().find(|offer| offer.terms.title == self.plan.offer.name());
            match found {
                Some(offer) => return Ok(offer.offer_id),
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }

    async fn wait_for_quote(&mut self, job: JobId) -> Result<Quote, Over> {
        loop {
            let seen = self.again(|client| async move { client.job(&job).await }).await?;
            match seen.status {
                Status::Requested => tokio::time::sleep(LOOK).await,
                Status::Quoted => {
                    let account = seen.quote_invoice_address.as_deref().unwrap_or_default();
                    let price = seen.quote_amount_raw.as_deref().unwrap_or_default();
                    let account = Account::parse(account).expect("a quote has an address");
                    return Ok(Quote { job, account, price: price.parse().expect("a quote has a price") });
                }
                _ => return Err(Over::Ended),
            }
        }
    }

    async fn pay(&mut self, quote: &Quote) -> Result<(), Over> {
        use Manner::*;
        let Quote { account, price, job } = *quote;
        match self.plan.manner {
            Honest => self.submit(job, self.send(account, price)).await,
            Silent => {
                self.send(account, price);
                Ok(())
            }
            Parts => {
                let first = self.send(account, price / 3);
                self.send(account, price - price / 3);
                self.submit(job, first).await
            }
            Underpays => self.submit(job, self.send(account, price - 1)).await,
            PaysTwice => {
                self.send(account, price);
                self.submit(job, self.send(account, price)).await
            }
            TopsUp => {
                let first = self.send(account, price / 2);
                self.submit(job, first).await?;
                self.pause(20_000).await;
                self.send(account, price - price / 2);
                Ok(())
            }
            StealsHash => {
                let hash = self.others_payment(account);
                self.submit(job, hash).await?;
                self.pause(8_000).await;
                if self.rng.chance(500) {
                    self.send(account, price);
                }
                Ok(())
            }
            InventsHash => {
                self.submit(job, BlockHash::from_bytes([0xab; 32])).await?;
                self.pause(8_000).await;
                if self.rng.chance(500) {
                    self.send(account, price);
                }
                Ok(())
            }
            CancelsLate => {
                self.send(account, price);
                self.pause(1_500).await;
                self.cancel(job).await
            }
            NeverPays | CancelsEarly => Ok(()),
            PaysLate => {
                tokio::time::sleep(Duration::from_secs(self.world.plan.accept_ttl_s + 20)).await;
                self.ensure_time()?;
                self.send(account, price);
                Ok(())
            }
            DoubleSpends => {
                let hash = self.send(account, price);
                self.submit(job, hash).await?;
                self.take_back(&hash);
                Ok(())
            }
            Dust => {
                for _ in 0..9 {
                    self.send(account, 1);
                }
                self.submit(job, self.send(account, price)).await
            }
        }
    }

    fn send(&self, account: Account, raw: u128) -> BlockHash {
        let pay = |node: &mut Node, now_ms| node.pay(&account, Amount::from_raw(raw), 1, now_ms);
        let hashes = self.world.with_node(pay).expect("there is money for everybody");
        let hash = hashes.first().copied().unwrap_or(BlockHash::ZERO);
        self.world.lock_oracle().ends.sent(account, hash, Amount::from_raw(raw));
        self.world.say(|| format!("buyer {} sends {raw} to {account} in {hash}", self.plan.number));
        hash
    }

    fn take_back(&self, hash: &BlockHash) {
        let number = self.plan.number;
        self.world.with_node(|node, now_ms| {
            let redirected = node.redirected(hash, &TAKEN_BACK);
            let taken = redirected.is_ok_and(|block| node.replace(block, now_ms).is_ok());
            self.world.say(|| format!("buyer {number} takes {hash} back: {taken}"));
        });
    }

    /// The newest payment to somebody else.
    fn others_payment(&self, account: Account) -> BlockHash {
        self.world.with_node(|node, _| {
            let genesis = mock_nano_rpc::ledger::dev_genesis_key().account();
            let mut block = node.ledger.head(&genesis);
            while let Some(stored) = block {
                if stored.destination.is_some_and(|destination| destination != account) {
                    return stored.block.hash();
                }
                block = node.ledger.block(&stored.block.previous());
            }
            BlockHash::from_bytes([0xcd; 32])
        })
    }

    async fn submit(&self, job: JobId, hash: BlockHash) -> Result<(), Over> {
        self.again(|client| async move { client.payment(&job, &hash.to_string()).await }).await.map(drop)
    }

    async fn cancel(&self, job: JobId) -> Result<(), Over> {
        self.again(|client| async move { client.cancel(&job, None).await }).await.map(drop)
    }

    async fn wait_for_end(&self, job: JobId) -> Result<(), Over> {
        loop {
            let seen: Job = self.again(|client| async move { client.job(&job).await }).await?;
            if seen.status.is_final() {
                let number = self.plan.number;
                self.world.say(|| format!("buyer {number} sees {job} {}", seen.status));
                return Ok(());
            }
            tokio::time::sleep(LOOK * 2).await;
        }
    }

    /// Asks until the relay has answered.
    async fn again<T, F>(&self, call: impl Fn(RelayClient) -> F) -> Result<T, Over>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        loop {
            self.ensure_time()?;
            match call(self.client.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_retryable() || error.status() == Some(401) => {
                    tokio::time::sleep(LOOK).await;
                }
                Err(_) => return Err(Over::Ended),
            }
        }
    }

    async fn pause(&mut self, max_ms: u64) {
        let ms = self.rng.below(max_ms);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    /// When everything is well again, nobody begins anything new.
    fn ensure_time(&self) -> Result<(), Over> {
        if self.world.lock_troubles().healed { Err(Over::Late) } else { Ok(()) }
    }

    fn ensure(&self, condition: bool) -> Result<(), Over> {
        if condition { Ok(()) } else { Err(Over::Ended) }
    }
}
