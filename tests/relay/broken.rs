//! A storage that fails: told as such, with nothing of why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nano_worker::edge::{Clock, Entropy};
use nano_worker::protocol::apply::Rules;
use nano_worker::protocol::v0::lists::{PayloadQuery, PollQuery};
use nano_worker::protocol::v0::payload::PayloadHead;
use nano_worker::protocol::v0::poll::Stream;
use nano_worker::protocol::v0::{self, Bot, BotId, Docket, Listing, Moment, PayloadId};
use nano_worker::protocol::{Epoch, EventId, Job, JobId, Offer, OfferId, PublicKey, Refusal, Timestamp};
use nano_worker::relay::model::{
    Claim, Claimed, Committed, Cursor, EventQuery, Horizon, JobCommit, JobPage, JobQuery, LogEntry,
    LogRecord, LogState, OfferPage, OfferQuery, OfferSave, Receipt,
};
use nano_worker::relay::storage::{Answer, Storage, StorageError};
use nano_worker::relay::v0::model::{Bazaar, Found, Page, Settled, Settlement, Stall, Tally};
use nano_worker::relay::{Config, Relay as Server};
use nano_worker::store::StoreError;
use tokio::sync::watch;

use crate::support::{Party, exchange, quoted_offer};

/// Empty, until it breaks, or has little room.
#[derive(Debug)]
struct Fragile {
    broken: AtomicBool,
    short: AtomicBool,
    heads: watch::Sender<EventId>,
}

impl Fragile {
    fn new() -> Arc<Self> {
        let (broken, short) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { broken, short, heads: watch::channel(EventId(0)).0 })
    }

    fn or<T: Send + 'static>(&self, answer: T) -> Answer<'_, T> {
        let broken = self.broken.load(Ordering::SeqCst);
        let error = || StorageError::from(StoreError::NotDurable("sector 7 is gone".to_owned()));
        Box::pin(std::future::ready(if broken { Err(error()) } else { Ok(answer) }))
    }
}

#[rustfmt::skip]
impl Bazaar for Fragile {
    fn bot(&self, _: BotId) -> Answer<'_, Option<Bot>> { self.or(None) }
    fn listing<'a>(&'a self, _: &'a v0::OfferId) -> Answer<'a, Option<Listing>> { self.or(None) }
    fn stall<'a>(&'a self, _: &'a v0::OfferId) -> Answer<'a, Option<Stall>> { self.or(None) }
    fn market<'a>(&'a self, _: &'a v0::search::OfferQuery, _: Moment) -> Answer<'a, (Vec<Stall>, Option<String>)> { self.or((vec![], None)) }
    fn open_offers(&self, _: BotId, _: Moment) -> Answer<'_, Vec<Listing>> { self.or(vec![]) }
    fn tally(&self, _: Moment) -> Answer<'_, Tally> { self.or(Tally::default()) }
    fn docket<'a>(&'a self, _: &'a v0::JobId) -> Answer<'a, Option<Docket>> { self.or(None) }
    fn dockets<'a>(&'a self, _: BotId, _: &'a v0::lists::JobQuery) -> Answer<'a, Page<Docket>> { self.or(Page { items: vec![], next: None }) }
    fn unpaid(&self, _: BotId) -> Answer<'_, Vec<Docket>> { self.or(vec![]) }
    fn overdue(&self, _: Moment, _: usize) -> Answer<'_, Vec<v0::JobId>> { self.or(vec![]) }
    fn fetch<'a>(&'a self, _: BotId, _: &'a PayloadId, _: Moment) -> Answer<'a, Found> { self.or(Found::Nothing) }
    fn payloads<'a>(&'a self, _: BotId, _: &'a PayloadQuery) -> Answer<'a, Page<PayloadHead>> { self.or(Page { items: vec![], next: None }) }
    fn stream<'a>(&'a self, _: BotId, _: &'a PollQuery) -> Answer<'a, (Stream, Vec<v0::Event>)> { self.or((Stream::default(), vec![])) }
    fn clear(&self, _: Moment, _: usize) -> Answer<'_, bool> { self.or(false) }
    fn settle<'a>(&'a self, _: Settlement<'a>) -> Answer<'a, Settled> { self.or(Settled::Done) }
}

#[rustfmt::skip]
impl Storage for Fragile {
    fn job(&self, _: JobId) -> Answer<'_, Option<Job>> { self.or(None) }
    fn commit<'a>(&'a self, _: JobCommit<'a>) -> Answer<'a, Committed> { self.or(Committed::Lost) }
    fn jobs<'a>(&'a self, _: &'a JobQuery) -> Answer<'a, JobPage> { self.or(JobPage { jobs: vec![], total: 0 }) }
    fn due(&self, _: Timestamp, _: usize) -> Answer<'_, Vec<JobId>> { self.or(vec![]) }
    fn reschedule<'a>(&'a self, _: JobId, _: &'a Rules) -> Answer<'a, ()> { self.or(()) }
    fn offer(&self, _: OfferId) -> Answer<'_, Option<Offer>> { self.or(None) }
    fn save_offer<'a>(&'a self, _: OfferSave<'a>) -> Answer<'a, bool> { self.or(true) }
    fn offers<'a>(&'a self, _: &'a OfferQuery) -> Answer<'a, OfferPage> { self.or(OfferPage { offers: vec![], total: 0 }) }
    fn log(&self) -> Answer<'_, LogState> {
        self.or(LogState { min_retained: EventId(1), head: EventId(0), epoch: Epoch("e".to_owned()) })
    }
    fn events<'a>(&'a self, _: &'a EventQuery) -> Answer<'a, Vec<(LogEntry, Job)>> { self.or(vec![]) }
    fn entries(&self, _: EventId, _: usize) -> Answer<'_, Vec<LogRecord>> { self.or(vec![]) }
    fn cursor(&self, _: PublicKey) -> Answer<'_, Cursor> { self.or(Cursor::default()) }
    fn acknowledge<'a>(&'a self, _: PublicKey, up_to: EventId, _: Option<&'a Receipt>) -> Answer<'a, EventId> { self.or(up_to) }
    fn heads(&self) -> watch::Receiver<EventId> { self.heads.subscribe() }
    fn spend_nonce<'a>(&'a self, _: PublicKey, _: &'a str, _: Timestamp, _: Duration) -> Answer<'a, bool> { self.or(true) }
    fn claim<'a>(&'a self, _: &'a Claim, _: Timestamp, _: Duration) -> Answer<'a, Claimed> { self.or(Claimed::Fresh) }
    fn release(&self, _: &Claim) {}
    fn record<'a>(&'a self, _: &'a Receipt, _: &'a Refusal) -> Answer<'a, ()> { self.or(()) }
    fn forget(&self, _: Horizon, _: usize) -> Answer<'_, bool> { self.or(false) }
    fn is_short(&self) -> bool { self.short.load(Ordering::SeqCst) }
    fn durable(&self) -> Answer<'_, ()> { self.or(()) }
}

#[tokio::test]
async fn a_failing_storage_is_503_and_ends_the_relay_with_an_error() {
    let storage = Fragile::new();
    let sweep_interval = Duration::from_secs(2);
    let config = Config { rates: None, sweep_interval, ..Config::new("nowhere") };
    let kept = Arc::clone(&storage);
    let server = Server::with_parts(kept, config, Clock::system(), Entropy::system());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let running = tokio::spawn(server.serve(listener, tokio_util::sync::CancellationToken::new()));
    let party = Party::new(&addr, 1);
    party.post("/v1/offers", quoted_offer()).await.expect(201);
    exchange(&addr, "GET", "/readyz", b"", &[]).await.expect(200);
    storage.broken.store(true, Ordering::SeqCst);
    let answers = [
        party.post("/v1/offers", quoted_offer()).await,
        party.get("/v1/jobs").await,
        party.get("/v1/poll").await,
        exchange(&addr, "GET", "/v1/offers", b"", &[]).await,
        exchange(&addr, "GET", "/readyz", b"", &[]).await,
    ];
    for answer in answers {
        assert!(answer.header("retry-after").is_some(), "{}", answer.headers);
        assert!(!answer.text.contains("sector"), "{}", answer.text);
        answer.refused(503, "unavailable");
    }
    exchange(&addr, "GET", "/health", b"", &[]).await.expect(200);
    // A supervisor starts it again; until then nobody is told what may be lost.
    assert!(running.await.unwrap().is_err());
}

/// The last room is for what has begun.
#[tokio::test]
async fn a_relay_with_little_room_takes_nothing_new_and_goes_on_with_what_has_begun() {
    let storage = Fragile::new();
    let config = Config { rates: None, ..Config::new("nowhere") };
    let server = Server::with_parts(Arc::clone(&storage) as _, config, Clock::system(), Entropy::system());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let shutdown = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(server.serve(listener, shutdown.clone()));
    let party = Party::new(&addr, 1);
    let id = JobId::from_random([1; 16]);
    let ask = serde_json::json!({ "offer_id": OfferId::from_random([1; 16]) });
    for short in [false, true, false] {
        storage.short.store(short, Ordering::SeqCst);
        let begun = [
            party.post(&format!("/v1/jobs/{id}/lock"), serde_json::json!({"holder": "one"})).await,
            party.post(&format!("/v1/jobs/{id}/deliver"), serde_json::json!({"result_payload": 1})).await,
            party.post(&format!("/v1/jobs/{id}/accept"), serde_json::json!({})).await,
            party.get(&format!("/v1/jobs/{id}")).await,
        ];
        for answer in begun {
            answer.refused(404, "not_found");
        }
        party.get("/v1/poll").await.expect(200);
        let (offer, job) =
            (party.post("/v1/offers", quoted_offer()).await, party.post("/v1/jobs", ask.clone()).await);
        if !short {
            offer.expect(201);
            job.refused(404, "not_found");
            continue;
        }
        for refused in [offer, job] {
            assert!(refused.header("retry-after").is_some(), "{}", refused.headers);
            refused.refused(503, "unavailable");
        }
    }
    shutdown.cancel();
    running.await.unwrap().unwrap();
}
