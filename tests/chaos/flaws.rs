//! A flaw that others are known for, and that only a bad line shows; over both dialects.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mock_nano_rpc::{Config, MockNode};
use nano_worker::client::RelayClient;
use nano_worker::edge::Entropy;
use nano_worker::nano::Account;
use nano_worker::protocol::v0::payload::{Address, Kind, write};
use nano_worker::protocol::v0::{JobDraft, JobId, PayloadId};
use nano_worker::protocol::{Job, Offer, Status};
use serde_json::json;

use crate::bots;
use crate::cast::{self, Actor, Part, Place};
use crate::dice::Dice;
use crate::link::{Link, Weather};
use crate::shop::PRICE;

/// Longer than a dead connection may go unnoticed, on a machine that does ten other things.
const PATIENCE: Duration = Duration::from_secs(120);

/// The silence after which a connection is taken for dead, and some time to do the work.
const SOON: Duration = Duration::from_secs(20);

async fn buy(buyer: &RelayClient, node: &MockNode, offer: &Offer) -> Job {
    let job = buyer.create_job(&offer.offer_id, &json!({ "kind": "echo" })).await.unwrap();
    let started = Instant::now();
    let mut paid = false;
    loop {
        let seen = buyer.job(&job.job_id).await.unwrap();
        match seen.status {
            Status::Quoted => drop(buyer.accept(&job.job_id).await.unwrap()),
            Status::Accepted if !paid => {
                let account: Account = seen.quote_invoice_address.as_deref().unwrap().parse().unwrap();
                let hash = node.fund(&account, PRICE).unwrap();
                drop(buyer.payment(&job.job_id, &hash.to_string()).await.unwrap());
                paid = true;
            }
            status if status.is_final() => return seen,
            _ => {}
        }
        assert!(started.elapsed() < PATIENCE, "the worker is deaf: {seen:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Known in others: a connection that is half open, which nobody has ended and nobody answers, leaves
/// the daemon deaf for ever; so does an outage of more than ten tries to connect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_connection_does_not_leave_the_worker_deaf() {
    let dir = tempfile::tempdir().unwrap();
    let node = Arc::new(MockNode::start(Config::default()).await.unwrap());
    let relay = cast::free_address(&mut Dice::of(Entropy::system().number(), 0));
    let line = Link::to(relay).await;
    let place = Place { dir: dir.path().to_owned(), relay, relay_url: line.url(), node_url: node.rpc_url() };
    let _relay = Actor::new(Part::Relay, &place);
    let _worker = Actor::new(Part::Worker(2), &place);
    let buyer = crate::client(&format!("http://{relay}"), 9);
    let offer = within(PATIENCE, "offer", async || {
        buyer.offers(&Default::default()).await.ok()?.offers.into_iter().next()
    })
    .await;
    assert_eq!(buy(&buyer, &node, &offer).await.status, Status::Delivered);
    // Every connection that is open stays open, and nothing ever comes through it again.
    line.turn(Weather::BlackHole);
    tokio::time::sleep(Duration::from_secs(2)).await;
    line.turn(Weather::Fair);
    assert_eq!(buy(&buyer, &node, &offer).await.status, Status::Delivered);
    line.turn(Weather::Refuse);
    tokio::time::sleep(Duration::from_secs(5)).await;
    line.turn(Weather::Fair);
    assert_eq!(buy(&buyer, &node, &offer).await.status, Status::Delivered);
}

/// Until what a bot asks about is so; or it is said how long that took.
async fn within<T>(most: Duration, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < most, "no {what} after {most:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// All that a worker does at the relay waits for an answer, on connections that may have died.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_dead_connection_is_waited_for_and_not_for_long() {
    let dir = tempfile::tempdir().unwrap();
    let relay = cast::free_address(&mut Dice::of(Entropy::system().number(), 2));
    let line = Link::to(relay).await;
    let place = Place { dir: dir.path().to_owned(), relay, relay_url: line.url(), node_url: String::new() };
    let _relay = Actor::new(Part::Relay, &place);
    let client = crate::client(&line.url(), 9);
    let ask = async || client.offers(&Default::default()).await.ok();
    within(PATIENCE, "relay", ask).await;
    // Several at once, so that several connections are kept.
    futures_util::future::join_all([(); 4].map(|()| ask())).await;
    line.turn(Weather::BlackHole);
    let began = Instant::now();
    assert!(ask().await.is_none());
    line.turn(Weather::Fair);
    within(SOON.saturating_sub(began.elapsed()), "answer", ask).await;
}

/// Over /v0 nothing but asking brings news, and each connection that was kept may be a dead one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_hears_again_soon_after_all_its_connections_have_died() {
    let dir = tempfile::tempdir().unwrap();
    let node = Arc::new(MockNode::start(Config::default()).await.unwrap());
    let relay = cast::free_address(&mut Dice::of(Entropy::system().number(), 1));
    let line = Link::to(relay).await;
    let place = Place { dir: dir.path().to_owned(), relay, relay_url: line.url(), node_url: node.rpc_url() };
    let _relay = Actor::new(Part::Relay, &place);
    let _bot = Actor::new(Part::Bot, &place);
    let buyer = bots::client(&format!("http://{relay}"), bots::LOOKER);
    let offer = within(PATIENCE, "offer", async || {
        buyer.register().await.ok()?;
        buyer.offers(&Default::default()).await.ok()?.offers.pop()
    })
    .await;
    let charged = async |name: &str, most| {
        let job_id = JobId::new(name);
        let payload_id = PayloadId::new(format!("pay_{name}"));
        let key = bots::keys(Part::Bot.seller_byte()).sealing_key();
        let address = Address {
            payload_id: &payload_id,
            job_id: &job_id,
            kind: Kind::Request,
            recipient: offer.seller_bot_id,
            recipient_key: &key,
        };
        let sealed = write(buyer.keys(), address, "{}", buyer.now(), &Entropy::system().bytes()).unwrap();
        let offer_id = offer.offer_id.clone();
        let draft = JobDraft { job_id, offer_id, request_payload: sealed, job_expires_at: None };
        buyer.create_job(&draft).await.unwrap();
        within(most, "charge", async || buyer.job(&draft.job_id).await.ok()?.charge).await
    };
    // Several at once, so that several connections are kept.
    let first = ["job_1", "job_2", "job_3", "job_4"].map(|name| charged(name, PATIENCE));
    futures_util::future::join_all(first).await;
    line.turn(Weather::BlackHole);
    tokio::time::sleep(Duration::from_secs(1)).await;
    line.turn(Weather::Fair);
    charged("job_5", SOON).await;
}
