//! A flaw that others are known for, and that only a bad line shows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mock_nano_rpc::{Config, MockNode};
use nano_worker::client::RelayClient;
use nano_worker::edge::Entropy;
use nano_worker::nano::Account;
use nano_worker::protocol::{Job, Offer, Status};
use serde_json::json;

use crate::cast::{self, Actor, Part, Place};
use crate::dice::Dice;
use crate::link::{Link, Weather};
use crate::shop::PRICE;

/// Longer than a dead connection may go unnoticed, on a machine that does ten other things.
const PATIENCE: Duration = Duration::from_secs(120);

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
    let started = Instant::now();
    let offer = loop {
        match buyer.offers(&Default::default()).await {
            Ok(page) if !page.offers.is_empty() => break page.offers[0].clone(),
            _ => assert!(started.elapsed() < PATIENCE, "nothing is offered"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
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
