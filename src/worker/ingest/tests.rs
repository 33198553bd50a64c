//! The poller at the edge of its world.

use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use serde_json::json;

use super::*;
use crate::client::wire::{Request, Response};
use crate::client::{RelayClient, Wire};
use crate::edge::Clock;
use crate::protocol::signing::Signer;
use crate::store::{Batch, Keyspace};

const URL: &str = "http://127.0.0.1:9";

fn signer() -> Signer {
    Signer::from_seed(&[1; 32])
}

fn poller(client: RelayClient, store: Arc<Store>) -> (Ingest, mpsc::Receiver<Page>) {
    let entropy = Entropy::system();
    let (pages, handed) = mpsc::channel(1);
    let hints = Hints::new(mpsc::channel(1).1);
    let line = Arc::new(Line::new(client, entropy.clone()));
    let (min, max) = (Duration::from_millis(1), Duration::from_millis(1));
    (Ingest { line, store, pages, hints, min, max, entropy, registrar: None, look: None }, handed)
}

/// A relay with a new storage, which does not say so but by its epoch, and whose log is as long as the
/// old one was.
#[derive(Debug, Default)]
struct Replaced {
    asked: Mutex<Vec<String>>,
}

impl Wire for Replaced {
    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, String>> {
        if request.target.starts_with("/v1/jobs/") {
            self.asked.lock().unwrap().push(request.target);
            let gone = json!({ "error": { "code": "not_found", "message": "there is no such job" } });
            return ready(Ok(Response::json(404, &gone))).boxed();
        }
        let body = if request.target.starts_with("/v1/poll") {
            json!({
                "events": [], "head_event_id": 20, "last_acked_event_id": 0, "min_event_id_retained": 1,
                "epoch": "new"
            })
        } else {
            json!({ "jobs": [], "total": 0, "limit": 100, "offset": 0, "next_cursor": "c" })
        };
        self.asked.lock().unwrap().push(request.target);
        ready(Ok(Response::json(200, &body))).boxed()
    }
}

/// Known in others: a cursor without an epoch. After the server's storage was replaced, what is in the
/// beginning of its new log is ignored in silence by whoever asks for what comes after the old cursor.
#[tokio::test]
async fn a_new_epoch_makes_the_worker_look_at_all_jobs() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(memory::open(dir.path()).unwrap());
    let mut batch = Batch::default();
    for (name, value) in [(fact::EPOCH, "old"), (fact::CURSOR, "15"), (fact::SYNCED, "yes")] {
        memory::FACTS.put(&mut batch, &name.to_owned(), &value.to_owned()).unwrap();
    }
    let forgotten = JobId::from_random([1; 16]);
    OPEN.put(&mut batch, &forgotten, &()).unwrap();
    store.commit(batch).unwrap();
    let relay = Arc::new(Replaced::default());
    let client =
        RelayClient::over(Arc::clone(&relay) as _, URL, signer(), Clock::system(), Entropy::system())
            .unwrap();
    let (ingest, mut handed) = poller(client, store);
    let round = tokio::spawn(async move { ingest.round(&ingest.stored_mode().unwrap()).await });
    let (mut positions, mut gone) = (Vec::new(), Vec::new());
    while let Some(page) = handed.recv().await {
        for heard in page.heard {
            match heard {
                Heard::Cursor(position) => positions.push(position),
                Heard::Input(job, Input::Rejected(Call::Fetch, Rejection::Gone)) => gone.push(job),
                _ => {}
            }
        }
        page.durable.send(0).unwrap();
    }
    // Nobody waits for what the new storage does not have.
    assert_eq!(gone, [forgotten]);
    let Ok(Ok(round)) = round.await else { panic!("no round") };
    let place = (Epoch("new".to_owned()), EventId(20));
    assert_eq!(positions, [Position::Synced(Some(place.clone()))]);
    assert_eq!(round.mode, Mode::Events(place.0, place.1));
    let asked = relay.asked.lock().unwrap().clone();
    // A relay that compares epochs is told the old one, and refuses.
    assert!(asked[0].contains("since_event_id=15") && asked[0].contains("epoch=old"), "{asked:?}");
    assert!(
        asked.iter().any(|target| target.starts_with("/v1/jobs") && target.contains("cursor=start")),
        "{asked:?}"
    );
}

/// A worker that has looked for used addresses, but has not yet listed any jobs, meets a new storage: the
/// indices that another worker of its seed has used meanwhile are known to nobody.
#[tokio::test]
async fn a_storage_that_is_replaced_before_the_first_list_is_noticed() {
    for (epoch, replaced) in [("old", true), ("new", false)] {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(memory::open(dir.path()).unwrap());
        let mut batch = Batch::default();
        for (name, value) in [(fact::EPOCH, epoch), (fact::LOOKED, "yes")] {
            memory::FACTS.put(&mut batch, &name.to_owned(), &value.to_owned()).unwrap();
        }
        store.commit(batch).unwrap();
        let relay = Arc::new(Replaced::default());
        let client = RelayClient::over(relay, URL, signer(), Clock::system(), Entropy::system()).unwrap();
        let (ingest, mut handed) = poller(client, store);
        assert_eq!(ingest.stored_mode().unwrap(), Mode::Resync, "an epoch alone is no position");
        let round = tokio::spawn(async move { ingest.round(&Mode::Resync).await });
        let mut doubts = 0;
        while let Some(page) = handed.recv().await {
            doubts += page.heard.iter().filter(|heard| matches!(heard, Heard::Replaced)).count();
            page.durable.send(0).unwrap();
        }
        assert!(round.await.unwrap().is_ok());
        assert_eq!(doubts, usize::from(replaced));
    }
}

/// The answer to a registration was lost, and a job that asked for the offer was passed over meanwhile. Now
/// the offer's name is known.
#[tokio::test]
async fn jobs_of_an_offer_that_had_no_name_are_looked_for_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(memory::open(dir.path()).unwrap());
    let mut batch = Batch::default();
    for (name, value) in
        [(fact::EPOCH, "new"), (fact::CURSOR, "15"), (fact::SYNCED, "yes"), (fact::UNHEARD, "an offer")]
    {
        memory::put_fact(&mut batch, name, value).unwrap();
    }
    store.commit(batch).unwrap();
    let relay = Arc::new(Replaced::default());
    let wire = Arc::clone(&relay) as _;
    let client = RelayClient::over(wire, URL, signer(), Clock::system(), Entropy::system()).unwrap();
    let (ingest, mut handed) = poller(client, store);
    let mode = ingest.stored_mode().unwrap();
    assert_eq!(mode, Mode::Resync);
    let round = tokio::spawn(async move {
        let round = ingest.round(&mode).await;
        (round.is_ok(), ingest.stored_mode().unwrap())
    });
    while let Some(page) = handed.recv().await {
        page.durable.send(0).unwrap();
    }
    let after = Mode::Events(Epoch("new".to_owned()), EventId(15));
    assert_eq!(round.await.unwrap(), (true, after));
    let asked = relay.asked.lock().unwrap().clone();
    assert!(asked.iter().any(|target| target.starts_with("/v1/jobs?")), "{asked:?}");
}

/// A worker whose poller has ended would only seem to work.
#[tokio::test]
async fn a_store_that_cannot_be_read_ends_the_worker_and_not_only_the_poller() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(memory::open(dir.path()).unwrap());
    let newer: Keyspace<String, String> = Keyspace::new(memory::FACTS.id(), "newer", 200);
    let mut batch = Batch::default();
    newer.put(&mut batch, &fact::CURSOR.to_owned(), &"7".to_owned()).unwrap();
    store.commit(batch).unwrap();
    let client = RelayClient::new(URL, signer(), Clock::system(), Entropy::system()).unwrap();
    let (ingest, mut handed) = poller(client, store);
    let running = tokio::spawn(ingest.run(CancellationToken::new()));
    let page: Page = handed.recv().await.unwrap();
    assert!(matches!(page.heard[..], [Heard::Broken(StoreError::Record { .. })]), "{:?}", page.heard);
    // The loop ends, and with it whoever waits for its word.
    drop(page);
    running.await.unwrap();
}
