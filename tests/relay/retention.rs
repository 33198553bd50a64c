//! What a /v0 relay forgets, and what its bots see of that; what happens once, and what is kept of it.

use std::sync::Arc;
use std::time::Duration;

use nano_worker::edge::Clock;
use nano_worker::protocol::v0::payload::Kind;
use nano_worker::protocol::{PublicKey, Timestamp};
use nano_worker::relay::model::{Claim, Claimed, Horizon};
use nano_worker::relay::storage::Storage;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::Relay;
use crate::traders::{Bot, Market, nonce, now, offer, refused, types};
use nano_worker::protocol::v0::signing::sign;

async fn market() -> (Market, Arc<dyn Storage>) {
    let (relay, storage) = Relay::on_storage().await;
    (Market::on(relay).await, storage)
}

/// Removes all events from before now.
async fn forget(storage: &Arc<dyn Storage>) {
    let events = Clock::system().now();
    let never = Timestamp::default();
    while storage.forget(Horizon { nonces: never, answers: never, events }, 100).await.unwrap() {}
}

/// What a cursor gets: `Ok` with the minimum and the events, or `Err` with the minimum of a 410.
async fn look(bot: &Bot, cursor: u64) -> Result<(u64, Vec<u64>), u64> {
    let told = bot.get(&format!("/v0/poll?since_event_id={cursor}")).await;
    let minimum = told.body["min_event_id_retained"].as_u64().unwrap();
    if told.status == 410 {
        refused(&told, 410, "cursor too old");
        assert_eq!((&told.body["code"], &told.body["suggested_resync"]), (&json!("gone"), &json!(true)));
        return Err(minimum);
    }
    let events = told.expect(200)["events"].as_array().unwrap().clone();
    Ok((minimum, events.iter().map(|event| event["event_id"].as_u64().unwrap()).collect()))
}

/// The contract's table, as far as a log from which only its beginning is removed gets there; the rest
/// of it is decided in `protocol::v0::poll`.
#[tokio::test(flavor = "multi_thread")]
async fn who_lost_events_is_told_and_nobody_else() {
    let (market, storage) = market().await;
    let (seller, buyer) = (&market.seller, &market.buyer);
    assert_eq!(look(seller, 0).await, Ok((0, vec![])), "an empty log");
    market.ask("job_1").await.expect(200);
    assert_eq!(look(buyer, 0).await, Ok((0, vec![])), "others' events are nobody else's");
    let job = market.ask("job_2").await.expect(200);
    market.ask("job_3").await.expect(200);
    let charge = market.charge(&job, 1, Duration::from_secs(600));
    seller.post("/v0/jobs/job_2/charge", charge).await.expect(200);
    assert_eq!(look(buyer, 0).await, Ok((4, vec![4])), "the first own event is the fourth");
    // Gone are 1, 2 and 3, all of them the seller's.
    let third = Bot::registered(&market.relay, 3).await;
    let cut = storage.entries(nano_worker::protocol::EventId(3), 1).await.unwrap()[0].created_at();
    let never = Timestamp::default();
    storage.forget(Horizon { nonces: never, answers: never, events: cut }, 100).await.unwrap();
    assert_eq!(look(seller, 0).await, Err(4));
    assert_eq!(look(seller, 2).await, Err(4));
    assert_eq!(look(seller, 3).await, Ok((4, vec![])), "a cursor at the watermark is fine");
    assert_eq!(look(buyer, 0).await, Ok((4, vec![4])), "what others lose is no loss");
    assert_eq!(look(&third, 0).await, Ok((0, vec![])));
    market.ask("job_4").await.expect(200);
    assert_eq!(look(seller, 0).await, Err(5));
    assert_eq!(look(seller, 3).await, Ok((5, vec![5])));
    // The only own event is gone.
    let cut = storage.entries(nano_worker::protocol::EventId(4), 1).await.unwrap()[0].created_at();
    storage.forget(Horizon { nonces: never, answers: never, events: cut }, 100).await.unwrap();
    assert_eq!(look(buyer, 0).await, Err(5));
    assert_eq!(look(buyer, 4).await, Ok((5, vec![])));
    // The way out that clients know.
    seller.post("/v0/poll/ack", json!({"up_to_event_id": 4})).await.expect(200);
    assert_eq!(types(&seller.get("/v0/poll").await.expect(200)), ["job.requested"]);
    forget(&storage).await;
    refused(&seller.get("/v0/poll").await, 410, "cursor too old");
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_go_a_week_after_they_were_last_fetched() {
    let (market, storage) = market().await;
    for job in ["job_1", "job_2"] {
        market.charged(job, if job == "job_1" { 1 } else { 2 }).await;
        market.seller.post(&format!("/v0/jobs/{job}/mark_paid"), json!({})).await.expect(200);
        market.deliver(job, &format!("res_{job}"), Kind::Deliverable).await.expect(200);
    }
    let buyer = &market.buyer;
    buyer.get("/v0/payloads/res_job_1").await.expect(200);
    let days = |days: u64| now().plus(Duration::from_secs(days * 86_400 + 5));
    let clear = async |at| while storage.clear(at, 100).await.unwrap() {};
    clear(days(6)).await;
    buyer.get("/v0/payloads/res_job_1").await.expect(200);
    clear(days(8)).await;
    refused(&buyer.get("/v0/payloads/res_job_1").await, 404, "payload not found");
    buyer.get("/v0/payloads/res_job_2").await.expect(200);
    let listed = buyer.get("/v0/payloads?status=all").await.expect(200);
    assert_eq!(listed["payloads"].as_array().unwrap().len(), 1);
    // Jobs go a month after their end.
    buyer.get("/v0/jobs/job_1").await.expect(200);
    clear(days(31)).await;
    refused(&buyer.get("/v0/jobs/job_1").await, 404, "job not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_at_once_happens_once_and_says_the_same() {
    let market = Market::open().await;
    let offer = offer().to_string();
    let request = market.request("job_1").to_string();
    let (seller, buyer) = (&market.seller, &market.buyer);
    let offers = futures_util::future::join_all((0..8).map(|_| seller.keyed("/v0/offers", &offer, "same")));
    let asks =
        (0..8).map(|_| async { buyer.send("POST", "/v0/jobs", &request, None, now(), &nonce()).await });
    let (offers, asks) = tokio::join!(offers, futures_util::future::join_all(asks));
    for answers in [offers, asks] {
        let first = answers[0].text.clone();
        for answer in answers {
            assert_eq!((answer.status, &answer.text), (200, &first));
        }
    }
    let mine = seller.get("/v0/offers?mine=true").await.expect(200);
    assert_eq!(mine["offers"].as_array().unwrap().len(), 2, "the market's own, and one more");
    assert_eq!(types(&seller.get("/v0/poll").await.expect(200)), ["job.requested"]);
}

/// What a retry could change is never kept: a 503 under a key, then the answer under the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_503_is_not_remembered() {
    let (market, storage) = market().await;
    let (seller, body) = (&market.seller, offer().to_string());
    let claim = Claim {
        party: PublicKey::from_bytes(*seller.keys.bot_id().as_bytes()),
        key: hex::encode(Sha256::digest("POST /v0/offers\nheld")),
        request_hash: hex::encode(Sha256::digest(&body)),
    };
    let now = Clock::system().now();
    let held = storage.claim(&claim, now, Duration::from_secs(60)).await.unwrap();
    assert_eq!(held, Claimed::Fresh, "the same request runs elsewhere");
    let told = seller.keyed("/v0/offers", &body, "held").await;
    assert_eq!((told.status, told.header("retry-after")), (503, Some("1")), "{}", told.text);
    storage.release(&claim);
    seller.keyed("/v0/offers", &body, "held").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_that_leaves_takes_its_unpaid_jobs_along() {
    let market = Market::open().await;
    let (seller, buyer) = (&market.seller, &market.buyer);
    market.ask("job_1").await.expect(200);
    market.charged("job_2", 2).await;
    market.charged("job_3", 3).await;
    seller.post("/v0/jobs/job_3/mark_paid", json!({})).await.expect(200);
    buyer.post(&format!("/v0/bots/{}/revoke", buyer.id()), json!({})).await.expect(200);
    let mut told = types(&seller.get("/v0/poll?types=job.cancelled").await.expect(200)).len();
    assert_eq!(told, 2);
    for (job, status) in [("job_1", "CANCELLED"), ("job_2", "CANCELLED"), ("job_3", "PAID")] {
        assert_eq!(seller.get(&format!("/v0/jobs/{job}")).await.expect(200)["status"], status);
        told += 1;
    }
    assert_eq!(told, 5);
    // Whoever has left hears nothing, and what was paid is still delivered.
    refused(&buyer.get("/v0/payloads").await, 403, "bot revoked");
    market.deliver("job_3", "res_3", Kind::Deliverable).await.expect(200);
    assert_eq!(seller.get(&format!("/v0/bots/{}", buyer.id())).await.expect(200)["revoked"], true);
    // The seller's own leaving takes paused offers along, too.
    seller.post(&format!("/v0/offers/{}/pause", market.offer), json!({})).await.expect(200);
    seller.post(&format!("/v0/bots/{}/revoke", seller.id()), json!({})).await.expect(200);
    let third = Bot::registered(&market.relay, 3).await;
    assert_eq!(third.get(&format!("/v0/offers/{}", market.offer)).await.expect(200)["status"], "CANCELLED");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_events_at_once_are_one_wake() {
    let market = Market::open().await;
    let mut request = "GET /v0/stream HTTP/1.1\r\nHost: relay\r\n".to_owned();
    for (name, value) in sign(&market.seller.keys, "GET", "/v0/stream", b"", now(), &nonce()) {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = TcpStream::connect(&market.relay.addr).await.unwrap();
    stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
    let mut heard = String::new();
    let mut bytes = [0; 4096];
    while !heard.contains(": connected") {
        let count = stream.read(&mut bytes).await.unwrap();
        heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    let asks = (0..5).map(|number| format!("job_{number}"));
    for job in asks.collect::<Vec<_>>() {
        market.ask(&job).await.expect(200);
    }
    // Longer than wakes are gathered, and than five requests take.
    let listening = async {
        loop {
            let count = stream.read(&mut bytes).await.unwrap();
            heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    };
    let _: Result<(), _> = tokio::time::timeout(Duration::from_secs(2), listening).await;
    let wakes = heard.matches("event: wake").count();
    assert!((1..=3).contains(&wakes), "{wakes} wakes for five events: {heard}");
}
