//! The relay dies at each of its points while bots trade over /v0: what was answered stays so, and
//! happens once.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nano_worker::client::CallError;
use nano_worker::client::v0::{BotClient, Key, PollQuery, Rates};
use nano_worker::edge::{Clock, Entropy};
use nano_worker::protocol::v0::apply::{PaymentSent, ReissueRequest};
use nano_worker::protocol::v0::payload::{Address, Kind, read, write};
use nano_worker::protocol::v0::{
    BotKeys, Charge, ChargeId, Event, Evidence, Job, JobDraft, JobId, Offer, OfferDraft, OfferStatus,
    PayloadId, Sealed, Status, charge,
};

use crate::lane::{Lane, key};
use crate::process::{PATIENCE, Process};
use crate::{all, report, wanted};

/// How often a point is passed before the relay dies there: each time is another move of the trade.
const OCCASIONS: &[(&str, &[u32])] = &[
    ("relay/v0/decided", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14]),
    ("relay/v0/committed", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14]),
    ("relay/v0/clearing", &[0, 1]),
    ("relay/v0/cleared", &[0, 1]),
    ("relay/answer/made", &[0, 3, 6, 11, 17]),
    ("relay/answer/durable", &[0, 3, 6, 11, 17]),
    ("relay/nonce/committed", &[0, 5]),
    ("relay/claim/made", &[0, 2, 4, 8]),
    ("relay/ack/decided", &[0]),
    ("relay/ack/committed", &[0]),
    ("relay/hint/due", &[0, 2]),
];

struct Run {
    point: &'static str,
    passes: u32,
    twice: bool,
}

impl Run {
    fn name(&self) -> String {
        let path = if self.twice { "Twice" } else { "Run" };
        format!("{} over /v0 after {} {path}", self.point, self.passes)
    }

    fn points(&self) -> String {
        match self.passes {
            0 => format!("{}=return", self.point),
            passes => format!("{}={passes}*off->return", self.point),
        }
    }
}

/// Whether a point is passed only by what bots do.
pub(crate) fn is_bots(point: &str) -> bool {
    point.starts_with("relay/v0/")
}

fn runs() -> Vec<Run> {
    let occasions =
        OCCASIONS.iter().flat_map(|(point, passes)| passes.iter().map(move |&passes| (*point, passes)));
    occasions
        .flat_map(|(point, passes)| [false, true].map(|twice| Run { point, passes, twice }))
        .filter(|run| wanted(&run.name()))
        .collect()
}

async fn tend(lane: &Lane, run: &Run, deaths: &AtomicU32) {
    loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let Some(status) = lane.relay().as_mut().and_then(Process::ended) else { continue };
        assert_eq!(status.signal(), Some(6), "the relay did not die of the point: {status}");
        let first = deaths.fetch_add(1, Ordering::SeqCst) == 0;
        if run.twice && first {
            lane.start_relay_with(&run.points(), None);
        } else {
            lane.restart_relay();
        }
    }
}

pub(crate) async fn again<T>(call: impl AsyncFn() -> Result<T, CallError>) -> T {
    let started = Instant::now();
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => assert!(error.is_retryable() && started.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn bot(lane: &Lane) -> BotClient {
    let url = format!("http://{}", lane.relay_address);
    let keys = BotKeys::from_seeds(&key(), &key());
    BotClient::new(&url, keys, Rates::UNLIMITED, Clock::system(), Entropy::system()).unwrap()
}

/// Two bots, and everything that was answered to them.
struct Trade {
    seller: BotClient,
    buyer: BotClient,
    offer: Offer,
    drafts: Vec<(JobDraft, Job)>,
    charges: Vec<(Charge, Job)>,
}

pub(crate) fn sealed(from: &BotClient, to: &BotClient, job_id: &JobId, name: &str, kind: Kind) -> Sealed {
    let (payload_id, recipient_key) = (PayloadId::new(name), to.keys().sealing_key());
    let address = Address {
        payload_id: &payload_id,
        job_id,
        kind,
        recipient: to.bot_id(),
        recipient_key: &recipient_key,
    };
    write(from.keys(), address, name, from.now(), &Entropy::system().bytes()).unwrap()
}

fn offer() -> OfferDraft {
    OfferDraft {
        title: "Echo".to_owned(),
        description: "Says it again".to_owned(),
        tags: vec!["echo".to_owned()],
        price_raw: "1000".to_owned(),
        turnaround_seconds: 60,
        ..OfferDraft::default()
    }
}

impl Trade {
    async fn open(lane: &Lane) -> Self {
        let (seller, buyer) = (bot(lane), bot(lane));
        again(async || seller.register().await).await;
        again(async || buyer.register().await).await;
        let draft = offer();
        let offer = again(async || seller.create_offer(&draft, &Key::new("offer")).await).await;
        Self { seller, buyer, offer, drafts: Vec::new(), charges: Vec::new() }
    }

    async fn ask(&mut self, name: &str) -> Job {
        let job_id = JobId::new(name);
        let request_payload =
            sealed(&self.buyer, &self.seller, &job_id, &format!("pay_{name}"), Kind::Request);
        let draft =
            JobDraft { offer_id: self.offer.offer_id.clone(), request_payload, job_id, job_expires_at: None };
        let job = again(async || self.buyer.create_job(&draft).await).await;
        self.drafts.push((draft, job.clone()));
        job
    }

    fn signed(&self, job: &Job, number: u8, stands: Duration) -> Charge {
        let (parties, expires_at) = (charge::Parties::of(job), self.seller.now().plus(stands));
        let address = nano_worker::nano::Account::from_bytes([number; 32]).to_string();
        let id = ChargeId::new(format!("chg_{number}"));
        charge::sign(self.seller.keys(), parties, id, &address, &job.price_raw, expires_at)
    }

    async fn charge(&mut self, job: &Job, number: u8, stands: Duration) {
        let charge = self.signed(job, number, stands);
        let key = Key::new(charge.charge_id.as_str());
        let job = again(async || self.seller.charge(&job.job_id, &charge, &key).await).await;
        assert_eq!(job.charge.as_ref(), Some(&charge));
        self.charges.push((charge, job));
    }

    async fn pay_and_deliver(&self, id: &JobId) {
        let (seller, buyer) = (&self.seller, &self.buyer);
        let key = |what: &str| Key::new(format!("{what}:{id}"));
        let sent = PaymentSent { payment_block_hash: Some("AB".to_owned()), ..PaymentSent::default() };
        again(async || buyer.payment_sent(id, &sent, &key("sent")).await).await;
        let paid = again(async || seller.mark_paid(id, &Evidence::default(), &key("paid")).await).await;
        assert_eq!(paid.status, Status::Paid);
        let result = sealed(seller, buyer, id, &format!("res_{id}"), Kind::Deliverable);
        again(async || seller.deliver(id, &result, &key("deliver")).await).await;
        let fetched = again(async || buyer.payload(&result.payload_id).await).await;
        assert_eq!(
            read(buyer.keys(), &fetched, &seller.keys().signing_key()).unwrap().body,
            format!("res_{id}")
        );
    }
}

async fn tell(lane: &Lane, deaths: &AtomicU32) -> Trade {
    let mut trade = Trade::open(lane).await;
    let first = trade.ask("job_1").await;
    let news = events(&trade.seller).await;
    again(async || trade.seller.ack(news.last().unwrap().event_id).await).await;
    trade.charge(&first, 1, PATIENCE).await;
    trade.pay_and_deliver(&first.job_id).await;
    // A refusal is kept as well.
    let late = Key::new("late");
    for _ in 0..2 {
        let refused = again(async || match trade.buyer.cancel_job(&first.job_id, &late).await {
            Err(error) if error.says("job not mutable") => Ok(()),
            Err(error) => Err(error),
            Ok(job) => panic!("cancelled: {job:?}"),
        });
        refused.await;
    }
    // A charge that nobody pays in time; the sweeper is first to see that.
    let second = trade.ask("job_2").await;
    trade.charge(&second, 2, Duration::from_millis(900)).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let expired = async || match trade.seller.job(&second.job_id).await {
        Ok(job) if job.status != Status::Expired => {
            Err(CallError::Unavailable { status: 503, retry_after: None })
        }
        job => job,
    };
    again(expired).await;
    let wish = ReissueRequest::default();
    again(async || trade.buyer.request_reissue(&second.job_id, &wish, &Key::new("again")).await).await;
    let fresh = trade.signed(&second, 3, PATIENCE);
    again(async || trade.seller.reissue(&second.job_id, &fresh, &Key::new("fresh")).await).await;
    trade.pay_and_deliver(&second.job_id).await;
    // And one that is given up.
    let third = trade.ask("job_3").await;
    again(async || trade.buyer.cancel_job(&third.job_id, &Key::new("no more")).await).await;
    let started = Instant::now();
    while deaths.load(Ordering::SeqCst) == 0 {
        assert!(started.elapsed() < PATIENCE, "no death at the point");
        again(async || trade.buyer.offer(&trade.offer.offer_id).await).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    trade
}

/// Everything that a bot was ever told.
async fn events(bot: &BotClient) -> Vec<Event> {
    let query = PollQuery { since: Some(0), limit: Some(200), ..PollQuery::default() };
    again(async || bot.poll(&query).await).await.events
}

fn types(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.event_type.as_str()).collect()
}

/// Nothing was taken back, and nothing happened twice.
async fn judge(trade: &Trade) {
    let (seller, buyer) = (&trade.seller, &trade.buyer);
    let draft = offer();
    let offer = again(async || seller.create_offer(&draft, &Key::new("offer")).await).await;
    assert_eq!(offer, trade.offer, "the first answer is told again");
    let query = nano_worker::client::v0::OffersQuery { mine: true, ..Default::default() };
    let mine = again(async || seller.offers(&query).await).await.offers;
    assert!(mine.len() == 1 && mine[0].status == OfferStatus::Active, "{mine:?}");
    for (draft, job) in &trade.drafts {
        assert_eq!(again(async || buyer.create_job(draft).await).await, *job);
    }
    for (charge, job) in &trade.charges {
        let key = Key::new(charge.charge_id.as_str());
        assert_eq!(again(async || seller.charge(&job.job_id, charge, &key).await).await, *job);
    }
    for (name, status) in
        [("job_1", Status::Delivered), ("job_2", Status::Delivered), ("job_3", Status::Cancelled)]
    {
        assert_eq!(again(async || seller.job(&JobId::new(name)).await).await.status, status, "{name}");
    }
    let (sold, bought) = (events(seller).await, events(buyer).await);
    assert_eq!(
        types(&sold),
        [
            "job.requested",
            "job.payment_sent",
            "job.requested",
            "job.expired",
            "job.charge_reissue_requested",
            "job.payment_sent",
            "job.requested",
            "job.cancelled"
        ]
    );
    assert_eq!(
        types(&bought),
        [
            "job.charge_created",
            "job.paid",
            "job.payload_available",
            "job.charge_created",
            "job.expired",
            "job.charge_reissued",
            "job.paid",
            "job.payload_available"
        ]
    );
    let mut ids: Vec<u64> = sold.iter().chain(&bought).map(|event| event.event_id).collect();
    ids.sort_unstable();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "an id was given twice: {ids:?}");
    let cursor = again(async || seller.poll(&PollQuery::default()).await).await.last_acked_event_id;
    assert_eq!(cursor, sold[0].event_id, "what was acknowledged stays so");
}

async fn check(lane: &Lane, run: &Run) {
    let deaths = AtomicU32::new(0);
    lane.start_relay_with(&run.points(), None);
    let trade = tokio::select! {
        trade = tell(lane, &deaths) => trade,
        () = tend(lane, run, &deaths) => return,
    };
    lane.restart_relay();
    judge(&trade).await;
    *lane.relay() = None;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_dies_while_bots_trade_takes_nothing_back() {
    let (started, runs) = (Instant::now(), runs());
    let count = runs.len();
    let lanes = async |_: &(), run: &Run| check(&Arc::new(Lane::new().await), run).await;
    let failures = all(runs, Run::name, async || (), lanes, |_: &()| String::new()).await;
    report(OCCASIONS.len(), count, "2 paths and their moments", &failures, started);
}
