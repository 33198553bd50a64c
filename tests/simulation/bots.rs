//! A seller over /v0 beside the others, and those who buy from it.
//!
//! The same worker, the same relay, disks and network; other words. What has to hold is the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nano_worker::client::CallError;
use nano_worker::client::v0::{BotClient, Key, OffersQuery, Rates};
use nano_worker::client::wire::Request;
use nano_worker::nano::{Account, Amount, BlockHash};
use nano_worker::protocol::v0::apply::PaymentSent;
use nano_worker::protocol::v0::lifecycle::TRANSITIONS;
use nano_worker::protocol::v0::payload::{Address, Kind, write};
use nano_worker::protocol::v0::{
    BotKeys, Docket, Job, JobDraft, JobId, OfferDraft, PayloadId, Status, charge,
};
use nano_worker::store::Disk;
use nano_worker::worker::Settings;
use nano_worker::worker::settings::{BazaarSettings, Dialect};
use nano_worker::worker::v0::job_id;
use serde_json::{Value, json};

use crate::accounts;
use crate::life::Life;
use crate::net::Line;
use crate::oracle::{Oracle, key, read, worker};
use crate::plan::{self, FIRST_OF_BOTS, Host, Manner, Offer};
use crate::processes::PRICE;
use crate::world::World;

/// Between two looks at a job.
const LOOK: Duration = Duration::from_secs(2);

/// What the relay has of bots.
#[derive(Debug, Default)]
pub(crate) struct Bazaar {
    /// How many offers were written.
    pub(crate) offered: usize,
    pub(crate) jobs: BTreeMap<String, Job>,
    /// For which job each address was charged, over all lives of the relay's storage.
    charged: BTreeMap<String, String>,
}

impl Bazaar {
    /// A job of /v0 has become durable.
    pub(crate) fn moved(&mut self, docket: Docket) -> Option<String> {
        let job = docket.job;
        let id = job.job_id.to_string();
        let mut found = None;
        if let Some(before) = self.jobs.get(&id)
            && !TRANSITIONS.iter().any(|row| row.from == before.status && row.to == job.status)
        {
            found = Some(format!("{id} went from {} to {}", before.status, job.status));
        }
        if let Some(charge) = &job.charge {
            if charge.amount_raw != job.price_raw {
                found = Some(format!("{id} costs {} and is charged {}", job.price_raw, charge.amount_raw));
            }
            let known = self.charged.entry(charge.address.clone()).or_insert(id.clone());
            if *known != id {
                found = Some(format!("{} is charged for {known} and {id}", charge.address));
            }
        }
        self.jobs.insert(id, job);
        found
    }

    pub(crate) fn relay_replaced(&mut self) {
        self.jobs.clear();
        self.offered = 0;
    }
}

impl Oracle {
    /// What a bot says before the state that says so is durable.
    pub(crate) fn unkept_by_a_bot(&self, disk: &Disk, request: &Request) -> Option<String> {
        let body = || serde_json::from_slice::<Value>(&request.body).unwrap_or_default();
        if request.target == "/v0/poll/ack" {
            let wanted = body()["up_to_event_id"].as_u64()?;
            let durable = disk.durable(&key(worker::FACTS, b"cursor"));
            let cursor = durable.and_then(|bytes| read::<String>(&bytes).parse().ok()).unwrap_or(0);
            return (wanted > cursor).then(|| format!("event {wanted} acknowledged, {cursor} durable"));
        }
        let (name, verb) = request.target.strip_prefix("/v0/jobs/")?.split_once('/')?;
        let job = job_id(&JobId::new(name));
        match verb {
            "charge" | "charge/reissue" => {
                let address = body()["address"].as_str()?.parse::<Account>().ok()?;
                let issued = disk.durable(&key(worker::INVOICES, address.as_bytes()));
                let owner = issued.map(|bytes| read::<Value>(&bytes)["job_id"].clone());
                (owner != Some(json!(job)))
                    .then(|| format!("charged {address} for {name}, which is not durably its own"))
            }
            "mark_paid" => {
                let hash: BlockHash = BlockHash::parse(body()["payment_block_hash"].as_str()?).ok()?;
                (self.claims.get(hash.as_bytes().as_slice()) != Some(&job))
                    .then(|| format!("{name} is called paid by {hash}, which is not durably claimed for it"))
            }
            "deliver" if body()["payload"]["payload_kind"] == "deliverable" => {
                let record = disk.durable(&key(worker::JOBS, job.as_bytes()));
                let record: Value = record.map(|bytes| read(&bytes)).unwrap_or_default();
                let number = record["outcomes"].as_u64().unwrap_or(0);
                let mut outcome = key(worker::OUTCOMES, job.as_bytes());
                outcome.extend(u32::try_from(number).unwrap().to_be_bytes());
                outcome.extend(0u16.to_be_bytes());
                (number == 0 || disk.durable(&outcome).is_none())
                    .then(|| format!("delivered {name}, whose outcome is not durable"))
            }
            _ => None,
        }
    }
}

fn keys_of_the_bot() -> BotKeys {
    BotKeys::from_seeds(&[7; 32], &[8; 32])
}

impl World {
    pub(crate) fn start_bots(self: &Arc<Self>) {
        if self.plan.bots.is_empty() {
            return;
        }
        self.count("schedules with a bot");
        self.start_worker(self.plan.workers);
        for plan in self.plan.bots.clone() {
            self.start_buyer_from_bot(plan);
        }
    }

    /// Its coins are its own, and it has one offer.
    pub(crate) fn make_a_bot(&self, settings: &mut Settings, number: u64) {
        let rates = if self.plan.limited { Rates::DEPLOYED } else { Rates::UNLIMITED };
        let keys = keys_of_the_bot();
        settings.dialect = Dialect::V0(Box::new(BazaarSettings { keys, rates, links: None }));
        settings.accounts = accounts::bots();
        settings.account_index_start = 0;
        settings.offers.retain(|offer| offer.name == Offer::Once.name());
        for offer in &mut settings.offers {
            offer.terms.revives = true;
            offer.draft = Some(OfferDraft {
                title: offer.name.clone(),
                description: "work".to_owned(),
                tags: vec!["work".to_owned()],
                price_raw: PRICE.to_string(),
                turnaround_seconds: 3_600,
                ..OfferDraft::default()
            });
        }
        self.say(|| format!("life {number} of the bot"));
    }

    /// What a bot has not done yet, though it could.
    pub(crate) fn owed_by_bots(&self) -> Vec<String> {
        if self.plan.bots.is_empty() {
            return Vec::new();
        }
        let (jobs, offered, stages) = {
            let oracle = self.lock_oracle();
            let stages = oracle.stages[&self.plan.workers].clone();
            (oracle.bazaar.jobs.clone(), oracle.bazaar.offered, stages)
        };
        let mut owed = Vec::new();
        if offered == 0 {
            owed.push("the bot's offer is not on the relay".to_owned());
        }
        for (name, job) in &jobs {
            let ended = stages.get(&job_id(&job.job_id)).is_some_and(|stage| stage.name == "ended");
            // A refusal leaves it as it is: by a bot whose clock is behind by more than a charge stands, for
            // one.
            if job.status == Status::Requested && !ended {
                owed.push(format!("{name} was asked for, and neither charged for nor refused"));
            }
            let Some(account) = job.charge.as_ref().and_then(|charge| Account::parse(&charge.address).ok())
            else {
                continue;
            };
            let paid: Amount = self.payments(&account).into_iter().map(|(_, amount)| amount).sum();
            let open = match job.status {
                Status::ChargeCreated | Status::Paid => true,
                Status::Expired => !ended,
                Status::Requested | Status::Delivered | Status::Cancelled => false,
            };
            if open && paid >= Amount::from_raw(PRICE) {
                owed.push(format!("{name} is paid and {}", job.status));
            }
        }
        owed
    }

    fn start_buyer_from_bot(self: &Arc<Self>, plan: plan::Job) {
        // Nobody kills a buyer here.
        let life = Life::new(|_| ());
        let line = Line { world: self.me(), from: Host::Buyers, life };
        let number = u8::try_from(plan.number).unwrap();
        let keys = BotKeys::from_seeds(&[number; 32], &[number + 50; 32]);
        let (clock, entropy) = (self.clock(Host::Buyers), self.entropy(Host::Buyers));
        let rates = if self.plan.limited { Rates::DEPLOYED } else { Rates::UNLIMITED };
        let client = BotClient::over(Arc::new(line), "http://relay", keys, rates, clock, entropy).unwrap();
        let ephemeral = self.entropy(Host::Buyers).bytes();
        let buyer = Buyer { world: Arc::clone(self), plan, client, ephemeral };
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(plan.at_ms)).await;
            drop(buyer.buy().await);
        });
    }
}

/// One buyer of one job.
struct Buyer {
    world: Arc<World>,
    plan: plan::Job,
    client: BotClient,
    ephemeral: [u8; 32],
}

/// The job has ended, or is known no longer, or there is no time for anything new.
struct Over;

impl Buyer {
    async fn buy(&self) -> Result<(), Over> {
        let job = self.request().await?;
        let charged = self.charged(&job).await?;
        tokio::time::sleep(LOOK).await;
        self.pay(&charged).await?;
        loop {
            let seen = self.again(|| self.client.job(&job)).await?;
            if matches!(seen.status, Status::Delivered | Status::Cancelled) {
                self.world.count("jobs of bots ended");
                self.world.say(|| format!("buyer {} sees {job} {}", self.plan.number, seen.status));
                return Ok(());
            }
            tokio::time::sleep(LOOK * 2).await;
        }
    }

    /// Asks under another name wherever the relay has forgotten the offer in between.
    async fn request(&self) -> Result<JobId, Over> {
        let (seller, mut tries) = (keys_of_the_bot(), 0);
        loop {
            self.again(|| self.client.register()).await?;
            let query = OffersQuery::default();
            let offers = self.again(|| self.client.offers(&query)).await?.offers;
            let Some(offer) = offers.first() else {
                tokio::time::sleep(LOOK).await;
                continue;
            };
            tries += 1;
            let id = JobId::new(format!("job_{}_{tries}", self.plan.number));
            let payload_id = PayloadId::new(format!("pay_{id}"));
            let address = Address {
                payload_id: &payload_id,
                job_id: &id,
                kind: Kind::Request,
                recipient: seller.bot_id(),
                recipient_key: &seller.sealing_key(),
            };
            let body = json!({ "number": self.plan.number }).to_string();
            let now = self.client.now();
            let request_payload = write(self.client.keys(), address, &body, now, &self.ephemeral).unwrap();
            let draft = JobDraft {
                job_id: id.clone(),
                offer_id: offer.offer_id.clone(),
                request_payload,
                job_expires_at: None,
            };
            let asked = self.again(|| self.client.create_job(&draft)).await;
            match asked {
                Ok(job) => return Ok(job.job_id),
                Err(Over) => {
                    self.ensure_time()?;
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }

    /// Once a careful buyer would pay.
    async fn charged(&self, job: &JobId) -> Result<Job, Over> {
        loop {
            let seen = self.again(|| self.client.job(job)).await?;
            if seen.status == Status::ChargeCreated {
                return Ok(seen);
            }
            if seen.status != Status::Requested {
                return Err(Over);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn pay(&self, job: &Job) -> Result<(), Over> {
        let Some(charge) = &job.charge else { return Err(Over) };
        let account = Account::parse(&charge.address).expect("a charge has an address");
        let (key, now) = (keys_of_the_bot().signing_key(), self.client.now());
        if self.plan.manner != Manner::PaysLate
            && let Err(error) = charge::verify(job, self.client.bot_id(), &key, now)
        {
            // A buyer whose clock is wrong believes no charge, and pays none.
            self.world.say(|| format!("buyer {} does not pay: {error}", self.plan.number));
            return Err(Over);
        }
        match self.plan.manner {
            Manner::Silent => drop(self.send(account, PRICE)),
            Manner::Parts => {
                self.send(account, PRICE / 3);
                self.tell(job, self.send(account, PRICE - PRICE / 3)).await?;
            }
            Manner::Underpays => self.tell(job, self.send(account, PRICE - 1)).await?,
            Manner::TopsUp => {
                self.tell(job, self.send(account, PRICE / 2)).await?;
                tokio::time::sleep(LOOK * 8).await;
                self.send(account, PRICE - PRICE / 2);
            }
            Manner::NeverPays => return Err(Over),
            Manner::PaysLate => {
                tokio::time::sleep(Duration::from_secs(self.world.plan.quote_ttl_s + 20)).await;
                self.ensure_time()?;
                self.send(account, PRICE);
            }
            _ => self.tell(job, self.send(account, PRICE)).await?,
        }
        Ok(())
    }

    fn send(&self, account: Account, raw: u128) -> BlockHash {
        let pay = |node: &mut mock_nano_rpc::node::Node, now_ms| {
            node.pay(&account, Amount::from_raw(raw), 1, now_ms)
        };
        let hashes = self.world.with_node(pay).expect("there is money for everybody");
        let hash = hashes.first().copied().unwrap_or(BlockHash::ZERO);
        self.world.say(|| format!("buyer {} sends {raw} to {account} in {hash}", self.plan.number));
        hash
    }

    /// What is said of a payment counts for nothing, so that a refusal does not either.
    async fn tell(&self, job: &Job, hash: BlockHash) -> Result<(), Over> {
        let sent = PaymentSent { payment_block_hash: Some(hash.to_string()), ..PaymentSent::default() };
        let key = Key::new(format!("sent:{hash}"));
        drop(self.again(|| self.client.payment_sent(&job.job_id, &sent, &key)).await);
        self.ensure_time()
    }

    /// Asks until the relay has answered; one that knows nobody is told who asks.
    async fn again<T, F>(&self, call: impl Fn() -> F) -> Result<T, Over>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        loop {
            self.ensure_time()?;
            match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.says("unknown bot") => drop(self.client.register().await),
                Err(error) if error.is_retryable() || error.status() == Some(401) => {}
                Err(_) => return Err(Over),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// When everything is well again, nobody begins anything new.
    fn ensure_time(&self) -> Result<(), Over> {
        if self.world.lock_troubles().healed { Err(Over) } else { Ok(()) }
    }
}

const _: () = assert!(FIRST_OF_BOTS < 150, "two keys of a buyer's are its number in a byte");
