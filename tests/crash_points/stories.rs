//! Sales of every shape, as a buyer sees them who goes on whatever dies.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nano_worker::client::{CallError, LockRequest, OffersQuery, RelayClient};
use nano_worker::nano::{Account, Amount};
use nano_worker::protocol::apply::Outcome;
use nano_worker::protocol::{Code, Job, JobId, Offer, OfferId, Status};
use serde_json::json;

use crate::lane::{Lane, key};
use crate::process::PATIENCE;
use crate::seller::{LOCK_TTL, PRICE, Seller, offer};
use crate::workers::{DRAINED, INTERRUPT};

/// What happens while the worker is to die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// All goes well; the handler may or may not run twice.
    Sale { idempotent: bool },
    /// The handler fails.
    Fails,
    /// The handler names the price.
    Priced,
    /// The handler names none.
    Refused,
    /// The buyer pays in two parts.
    Parts,
    /// The buyer gives the quoted job up.
    Canceled,
    /// The buyer gives up a job for which a quote is on its way.
    Unheard,
    /// The handler outlives a renewal of its lock.
    Slow,
    /// Another worker of the seller delivers while the handler runs.
    Rival,
    /// Another worker of the seller delivers while payment is awaited.
    Elsewhere,
    /// An earlier life was killed while the handler ran.
    Strays,
    /// The offers in the configuration have changed since the earlier life.
    Reoffered,
    /// So has the one whose registration the earlier life did not hear the answer to.
    Rewritten,
    /// The state of the earlier life is gone.
    StateLost,
    /// The worker is told to stop while the handler runs.
    Stopped,
    /// It is `worker recover` that dies.
    Recovering,
    /// It is `worker wallet sweep` that dies.
    Sweeping,
    /// It is `worker refund` that dies.
    Refunding,
    /// The worker sends back by itself.
    Returning,
    /// Too little was paid when the buyer gives the job up.
    Owing,
}

/// How a job has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Delivered,
    /// With this error.
    Failed(&'static str),
    /// Delivered, or failed because the handler may have run.
    DeliveredOrInterrupted,
    /// Failed by its handler, or because that may have run.
    FailedOrInterrupted,
    Canceled,
    Expired,
    /// By another worker of the seller, whatever ran here.
    Elsewhere,
}

/// A job, how it has to end, what was paid for it, and how often its handler may have started.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) job: JobId,
    pub(crate) end: End,
    pub(crate) paid: Amount,
    pub(crate) starts_max: usize,
}

/// How long it took from the worker's death to the end of the job that it left.
pub(crate) type Recovery = Option<Duration>;

pub(crate) struct Story<'a> {
    pub(crate) seller: &'a Seller,
    pub(crate) lane: &'a Lane,
    pub(crate) buyer: RelayClient,
    /// Where each job was when last seen: it never goes back.
    seen: Mutex<BTreeMap<JobId, Status>>,
    /// Whether the point lies between a durable attempt and a stored outcome.
    may_interrupt: bool,
    /// Whether the drain that the point belongs to has ended.
    is_drained: bool,
}

pub(crate) const ECHO: &str = "cat";

/// Enough for a worker that starts to send a quote and to hear that it is not wanted any more.
const UNHEARD_WAIT: Duration = Duration::from_secs(1);

impl<'a> Story<'a> {
    pub(crate) fn new(seller: &'a Seller, point: &str) -> Self {
        let (lane, seen) = (&*seller.lane, Mutex::default());
        let (may_interrupt, is_drained) = (INTERRUPT.contains(&point), DRAINED.contains(&point));
        Self { seller, lane, buyer: lane.client(key()), seen, may_interrupt, is_drained }
    }

    /// Tells it, and a second sale after it: whoever has recovered goes on selling.
    pub(crate) async fn tell(&self, shape: Shape) -> (Vec<Told>, Recovery) {
        let mut told = match shape {
            Shape::Sale { idempotent } => self.sale(idempotent).await,
            Shape::Fails => self.fails().await,
            Shape::Priced => self.priced().await,
            Shape::Refused => self.refused().await,
            Shape::Parts => self.parts().await,
            Shape::Canceled => self.canceled().await,
            Shape::Unheard => self.unheard().await,
            Shape::Slow => self.slow().await,
            Shape::Rival => self.rival().await,
            Shape::Elsewhere => self.elsewhere().await,
            Shape::Strays => self.strays().await,
            Shape::Reoffered => self.reoffered().await,
            Shape::Rewritten => self.rewritten().await,
            Shape::StateLost => self.state_lost().await,
            Shape::Stopped => self.stopped().await,
            Shape::Recovering => self.recovering().await,
            Shape::Sweeping => self.sweeping().await,
            Shape::Refunding => self.refunding().await,
            Shape::Returning => self.returning().await,
            Shape::Owing => self.owing().await,
        };
        let recovery = self.seller.since_death();
        self.eventually("death at the point", async || self.seller.has_died().then_some(())).await;
        self.eventually("return", async || self.seller.is_back().then_some(())).await;
        if shape == Shape::Sweeping {
            self.swept().await;
        }
        if matches!(shape, Shape::Refunding | Shape::Returning | Shape::Owing) {
            self.refunded(told[0].job).await;
        }
        if shape == Shape::Refused {
            // It names no price for anybody.
            return (told, recovery);
        }
        self.seller.handler(if shape == Shape::Priced { PRICED } else { ECHO });
        let job = self.accepted("Echo").await;
        self.pay(&job, PRICE).await;
        let end = if self.seller.dies_twice() { self.usual_end() } else { End::Delivered };
        told.push(self.ended(&job, end, PRICE, 1).await);
        (told, recovery)
    }

    /// Of a sale into which a death may fall: on the path with two of them, any sale.
    fn usual_end(&self) -> End {
        if self.may_interrupt { End::DeliveredOrInterrupted } else { End::Delivered }
    }

    async fn sale(&self, idempotent: bool) -> Vec<Told> {
        self.seller.configure(&[offer("Echo", idempotent)]);
        self.seller.handler(ECHO);
        self.seller.arm();
        let job = self.accepted("Echo").await;
        self.pay(&job, PRICE).await;
        let (end, starts) = if idempotent { (End::Delivered, 3) } else { (self.usual_end(), 1) };
        vec![self.ended(&job, end, PRICE, starts).await]
    }

    async fn fails(&self) -> Vec<Told> {
        self.seller.configure(&[offer("Echo", false)]);
        self.seller.handler("exit 1");
        self.seller.arm();
        let job = self.accepted("Echo").await;
        self.pay(&job, PRICE).await;
        let end = if self.may_interrupt { End::FailedOrInterrupted } else { End::Failed("handler_failed") };
        vec![self.ended(&job, end, PRICE, 1).await]
    }

    async fn priced(&self) -> Vec<Told> {
        self.seller.configure(&[priced_offer()]);
        self.seller.handler(PRICED);
        self.seller.arm();
        let job = self.accepted("Echo").await;
        self.pay(&job, PRICE).await;
        vec![self.ended(&job, self.usual_end(), PRICE, 1).await]
    }

    async fn refused(&self) -> Vec<Told> {
        self.seller.configure(&[priced_offer()]);
        self.seller.handler("echo '{\"refuse\": \"not today\"}'");
        self.seller.arm();
        let job = self.request("Echo").await;
        vec![self.ended_as(job, End::Canceled, Amount::ZERO, 0).await]
    }

    async fn parts(&self) -> Vec<Told> {
        self.seller.configure(&[offer("Echo", false)]);
        self.seller.handler(ECHO);
        self.seller.arm();
        let job = self.accepted("Echo").await;
        let rest = Amount::from_raw(1);
        self.lane.node.fund(&invoice(&job), rest).unwrap();
        self.pay(&job, PRICE.checked_sub(rest).unwrap()).await;
        vec![self.ended(&job, self.usual_end(), PRICE, 1).await]
    }

    async fn canceled(&self) -> Vec<Told> {
        self.seller.configure(&[offer("Echo", false)]);
        self.seller.handler(ECHO);
        self.seller.arm();
        let job = self.request("Echo").await;
        self.reaches(job, Status::Quoted).await;
        self.cancel(job).await;
        vec![self.ended_as(job, End::Canceled, Amount::ZERO, 0).await]
    }

    /// The quote is decided and never sent; the buyer gives up; then it is sent. The news of the
    /// cancellation may be faster than the answer to the quote: then there is another job.
    async fn unheard(&self) -> Vec<Told> {
        self.seller.configure(&[offer("Echo", false)]);
        self.seller.handler(ECHO);
        let mut told = Vec::new();
        while !self.seller.has_died() && told.len() < 20 {
            self.seller.kill();
            self.seller.live_until("worker/send/quote=return");
            let job = self.request("Echo").await;
            self.eventually("end of the first life", async || self.seller.is_dead().then_some(())).await;
            self.cancel(job).await;
            told.push(self.ended_as(job, End::Canceled, Amount::ZERO, 0).await);
            self.seller.arm();
            tokio::time::sleep(UNHEARD_WAIT).await;
        }
        told
    }

    async fn slow(&self) -> Vec<Told> {
        self.seller.configure(&[offer("Echo", false)]);
        self.seller.handler(&format!("sleep {}; cat", LOCK_TTL.as_secs() / 2));
        self.seller.arm();
        let job = self.accepted("Echo").await;
        self.pay(&job, PRICE).await;
        vec![self.ended(&job, End::Failed("worker_interrupted"), PRICE, 1).await]
    }

    async fn rival(&self) -> Vec<Told> {
        self.seller.configure(&[offer("Echo", false)]);
        self.seller.handler("sleep 30; cat");
        self.seller.arm();
        let job = self.accepted("Echo").await;
        self.pay(&job, PRICE).await;
        self.started(job.job_id).await;
        let running = self.reaches(job.job_id, Status::Running).await;
        self.deliver_elsewhere(&running).await;
        vec![self.ended(&job, End::Elsewhere, PRICE, 1).await]
    }

    async fn elsewhere(&self) -> Vec<Told> {
        self.seller.configure(&[offer("Echo", false)]);
        self.seller.handler(ECHO);
        self.seller.arm();
        let job = self.accepted("Echo").await;
        // A block that nobody here knows: the other worker is to have seen it.
        let wish = LockRequest {
            holder: "rival".to_owned(),
            ttl_seconds: LOCK_TTL.as_secs(),
            payment_tx_hash: Some(hex::encode_upper(key())),
        };
        let locked = self.again(async || self.seller.client.lock(&job.job_id, &wish).await).await;
        self.deliver_elsewhere(&locked).await;
        vec![self.ended(&job, End::Elsewhere, Amount::ZERO, 0).await]
    }

    async fn strays(&self) -> Vec<Told> {
        self.seller.configure(&[offer("Echo", false)]);
        self.seller.handler("sleep 30; cat");
        self.seller.live();
        let job = self.accepted("Echo").await;
        self.pay(&job, PRICE).await;
        self.started(job.job_id).await;
        self.seller.kill();
        self.seller.arm();
        vec![self.ended(&job, End::Failed("worker_interrupted"), PRICE, 1).await]
    }

    async fn reoffered(&self) -> Vec<Told> {
        self.seller.configure(&[offer("Echo", false), offer("Other", false), offer("Unheard", false)]);
        self.seller.handler(ECHO);
        // The relay has the third offer, and the worker never hears of it.
        self.seller.live_until("worker/answer/offer=2*off->return");
        self.eventually("end of the first life", async || self.seller.is_dead().then_some(())).await;
        self.offer("Unheard").await;
        let changed = offer("Echo", false).replace("Says it again.", "Says it once more.");
        self.seller.configure(&[changed]);
        self.seller.arm();
        self.eventually("change and withdrawal", async || {
            let offers = self.offers(true).await?;
            let [offer] = offers.as_slice() else { return None };
            (offer.terms.description == "Says it once more.").then_some(())
        })
        .await;
        let withdrawn = self.eventually("the withdrawn offers", async || self.offers(false).await).await;
        assert_eq!(withdrawn.len(), 2, "{withdrawn:?}");
        vec![]
    }

    async fn rewritten(&self) -> Vec<Told> {
        self.seller.configure(&[offer("Echo", false)]);
        self.seller.handler(ECHO);
        self.seller.live_until("worker/answer/offer=return");
        self.eventually("end of the first life", async || self.seller.is_dead().then_some(())).await;
        let changed = offer("Echo", false).replace("Says it again.", "Says it once more.");
        self.seller.configure(&[changed]);
        self.seller.arm();
        self.eventually("change", async || {
            let offers = self.offers(true).await?;
            let [offer] = offers.as_slice() else { panic!("an offer is there twice: {offers:?}") };
            (offer.terms.description == "Says it once more.").then_some(())
        })
        .await;
        vec![]
    }

    /// Somebody puts a copy of the state back that is older than the last job: that job is done, and
    /// its address is given to nobody else.
    async fn state_lost(&self) -> Vec<Told> {
        self.seller.configure(&[offer("Echo", false)]);
        self.seller.handler(ECHO);
        self.seller.live();
        self.accepted("Echo").await;
        self.seller.kill();
        let (state, copy) = (self.seller.home.join("state"), self.seller.home.join("copy"));
        let copied = std::process::Command::new("cp").arg("-a").args([&state, &copy]).status().unwrap();
        assert!(copied.success());
        self.seller.live();
        let forgotten = self.accepted("Echo").await;
        self.seller.kill();
        fs::remove_dir_all(&state).unwrap();
        fs::rename(&copy, &state).unwrap();
        self.seller.arm();
        self.pay(&forgotten, PRICE).await;
        let told = self.ended(&forgotten, self.usual_end(), PRICE, 1).await;
        let job = self.accepted("Echo").await;
        assert_ne!(invoice(&forgotten), invoice(&job), "an address was given twice");
        self.pay(&job, PRICE).await;
        vec![told, self.ended(&job, self.usual_end(), PRICE, 1).await]
    }

    async fn stopped(&self) -> Vec<Told> {
        self.seller.configure(&[offer("Echo", false)]);
        self.seller.handler("sleep 0.3; cat");
        self.seller.arm();
        let job = self.accepted("Echo").await;
        self.pay(&job, PRICE).await;
        self.started(job.job_id).await;
        self.seller.terminate();
        // Whoever has drained has handed over what its handler gave.
        let end = if self.is_drained { End::Delivered } else { End::DeliveredOrInterrupted };
        vec![self.ended(&job, end, PRICE, 1).await]
    }

    /// It was killed while it waited for the payment; the program that dies asks about its jobs.
    async fn recovering(&self) -> Vec<Told> {
        self.seller.configure(&[offer("Echo", false)]);
        self.seller.handler(ECHO);
        self.seller.live();
        let job = self.request("Echo").await;
        self.reaches(job, Status::Quoted).await;
        self.seller.kill();
        let job = self.accept(job).await;
        self.pay(&job, PRICE).await;
        self.seller.arm_verb(&["recover", "--patience", "15"]);
        vec![self.ended(&job, self.usual_end(), PRICE, 1).await]
    }
}

/// Where coins are brought.
const HOME: Account = Account::from_bytes([0x77; 32]);

/// The seller's coins.
impl Story<'_> {
    async fn sweeping(&self) -> Vec<Told> {
        self.seller.configure(&[offer("Echo", false)]);
        self.seller.handler(ECHO);
        self.seller.live();
        let job = self.accepted("Echo").await;
        self.pay(&job, PRICE).await;
        let told = self.ended(&job, End::Delivered, PRICE, 1).await;
        self.eventually("end of the job here", async || {
            let balance = self.seller.ask(&["wallet", "balance", "--json"])?;
            balance.contains("\"ours\"").then_some(())
        })
        .await;
        self.seller.kill();
        self.seller.arm_verb(&["wallet", "sweep", "--to", &HOME.to_string()]);
        vec![told]
    }

    /// Asked again, the daemon finishes what died, and does nothing twice.
    async fn swept(&self) {
        let sweep = ["wallet", "sweep", "--json", "--to", &HOME.to_string()];
        let arrived = || -> Vec<Amount> {
            self.lane.node.with(|node, _| {
                let invoice = |found: &Account| self.seller.owns(found);
                let list = node.ledger.receivables(&HOME);
                list.filter(|(_, send)| invoice(&send.source)).map(|(_, send)| send.amount).collect()
            })
        };
        self.eventually("end of the sweep", async || {
            // While no daemon runs, the verb sweeps by itself, and would keep the daemon from its state.
            self.seller.listens().then_some(())?;
            self.seller.ask(&sweep)?;
            (!arrived().is_empty()).then_some(())
        })
        .await;
        // Refused while the worker starts; then there is nothing left to do.
        self.eventually("second sweep", async || self.seller.ask(&sweep).map(drop)).await;
        assert_eq!(arrived(), [PRICE], "what was paid arrives once");
    }
}

const PRICED: &str = "if [ \"$PURPOSE\" = quote ]; then \
     echo '{\"price_raw\": \"1000000000000000000000000000\"}'; else cat; fi";

fn priced_offer() -> String {
    let fixed = format!("price_raw = \"{PRICE}\"");
    offer("Echo", false).replace(&fixed, "pricing_mode = \"quote\"")
}

/// The buyer's moves.
impl Story<'_> {
    pub(crate) async fn accepted(&self, title: &str) -> Job {
        let job = self.request(title).await;
        self.accept(job).await
    }

    pub(crate) async fn request(&self, title: &str) -> JobId {
        let offer = self.offer(title).await;
        let buyer = self.buyer.with_key(hex::encode(key()));
        self.again(async || buyer.create_job(&offer, &json!({ "text": title })).await).await.job_id
    }

    async fn accept(&self, job: JobId) -> Job {
        self.reaches(job, Status::Quoted).await;
        let buyer = self.buyer.with_key(format!("accept-{job}"));
        self.again(async || buyer.accept(&job).await).await
    }

    pub(crate) async fn pay(&self, job: &Job, amount: Amount) {
        let hash = self.lane.node.fund(&invoice(job), amount).unwrap();
        let buyer = self.buyer.with_key(format!("pay-{hash}"));
        self.again(async || match buyer.payment(&job.job_id, &hash.to_string()).await {
            // A relay that died has not heard it, and the worker has found the payment by itself.
            Err(error) if error.code() == Some(Code::InvalidState) => {
                let job = buyer.job(&job.job_id).await?;
                assert!(Status::Running.reaches(job.status), "{job:?}");
                Ok(())
            }
            answer => answer.map(drop),
        })
        .await;
    }

    pub(crate) async fn cancel(&self, job: JobId) {
        let buyer = self.buyer.with_key(format!("cancel-{job}"));
        self.again(async || buyer.cancel(&job, None).await).await;
    }

    pub(crate) async fn offer(&self, title: &str) -> OfferId {
        self.eventually("an offer", async || {
            let offers = self.offers(true).await?;
            offers.iter().find(|offer| offer.terms.title == title).map(|offer| offer.offer_id)
        })
        .await
    }

    async fn offers(&self, active: bool) -> Option<Vec<Offer>> {
        let seller = Some(self.seller.client.public_key());
        let query = OffersQuery { seller, active: Some(active), ..OffersQuery::default() };
        Some(self.buyer.offers(&query).await.ok()?.offers)
    }

    async fn deliver_elsewhere(&self, locked: &Job) {
        let outcome = Outcome::Result(json!({ "text": "from elsewhere" }));
        let seller = self.seller.client.with_key(format!("rival-{}", locked.job_id));
        self.again(async || seller.deliver(&locked.job_id, &outcome, Some(locked.lock_token)).await).await;
    }

    /// Until the handler of a job has said that it runs.
    async fn started(&self, job: JobId) {
        let ran = self.seller.home.join("ran");
        self.eventually("start of the handler", async || {
            fs::read_to_string(&ran).ok()?.contains(&job.to_string()).then_some(())
        })
        .await;
    }

    pub(crate) async fn reaches(&self, job: JobId, status: Status) -> Job {
        self.eventually(status.name(), async || {
            let job = self.look(job).await?;
            assert!(job.status.reaches(status) || status.reaches(job.status), "{job:?}");
            (job.status == status || status.reaches(job.status)).then_some(job)
        })
        .await
    }

    /// The job as the relay shows it now, if it answers; nothing that was seen is taken back.
    async fn look(&self, job: JobId) -> Option<Job> {
        let found = self.buyer.job(&job).await.ok()?;
        let before = self.seen.lock().unwrap().insert(job, found.status);
        assert!(before.is_none_or(|before| before.reaches(found.status)), "it was {before:?}: {found:?}");
        Some(found)
    }

    pub(crate) async fn ended(&self, job: &Job, end: End, paid: Amount, starts_max: usize) -> Told {
        self.ended_as(job.job_id, end, paid, starts_max).await
    }

    pub(crate) async fn ended_as(&self, job: JobId, end: End, paid: Amount, starts_max: usize) -> Told {
        self.eventually("end of the job", async || self.look(job).await?.status.is_final().then_some(()))
            .await;
        Told { job, end, paid, starts_max }
    }

    pub(crate) async fn again<T>(&self, call: impl AsyncFn() -> Result<T, CallError>) -> T {
        let started = Instant::now();
        loop {
            match call().await {
                Ok(answer) => return answer,
                Err(error) => assert!(error.is_retryable() && started.elapsed() < PATIENCE, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn eventually<T>(&self, what: &str, find: impl AsyncFn() -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = find().await {
                return found;
            }
            assert!(started.elapsed() < PATIENCE, "no {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) fn invoice(job: &Job) -> Account {
    job.quote_invoice_address.as_deref().unwrap().parse().unwrap()
}
