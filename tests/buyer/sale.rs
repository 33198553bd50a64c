//! A purchase at the real relay, from a seller who does everything right.

use std::time::Duration;

use nano_worker::buyer::Buyer;
use nano_worker::buyer::progress::unwatched;
use nano_worker::client::{JobsQuery, LockRequest, RelayClient};
use nano_worker::edge::{Clock, Entropy};
use nano_worker::nano::Amount;
use nano_worker::protocol::apply::Outcome;
use nano_worker::protocol::offer::{OfferTerms, PricingMode};
use nano_worker::protocol::signing::Signer;
use nano_worker::protocol::{Actor, Status};
use nano_worker::relay;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::scene::Scene;
use super::shop::invoice;

async fn sell(seller: RelayClient) {
    let query = JobsQuery { role: Some(Actor::Seller), ..JobsQuery::default() };
    loop {
        for job in seller.jobs(&query).await.unwrap().jobs {
            match job.status {
                Status::Requested => {
                    seller.quote(&job.job_id, "1000", &invoice(0).to_string(), None).await.unwrap();
                }
                Status::Accepted if job.payment_tx_hash.is_some() => {
                    let wish =
                        LockRequest { holder: "h".to_owned(), ttl_seconds: 60, ..LockRequest::default() };
                    let locked = seller.lock(&job.job_id, &wish).await.unwrap();
                    let outcome = Outcome::Result(json!({ "text": "done" }));
                    seller.deliver(&job.job_id, &outcome, Some(locked.lock_token)).await.unwrap();
                }
                _ => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_real_relay_sells_what_the_shop_of_these_tests_does() {
    let mut scene = Scene::set(10_000).await;
    let dir = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    scene.shop.url = format!("http://{}", listener.local_addr().unwrap());
    let mut config = relay::Config::new(dir.path());
    config.rates = None;
    let relay = tokio::spawn(relay::run(listener, config, CancellationToken::new()));
    let signer = Signer::from_seed(&[8; 32]);
    let seller = RelayClient::new(&scene.shop.url, signer, Clock::system(), Entropy::system()).unwrap();
    let terms = OfferTerms {
        title: "Word count".to_owned(),
        description: "Counts words.".to_owned(),
        tags: vec![],
        pricing_mode: PricingMode::Quote,
        fixed_price_raw: None,
        active: true,
    };
    let offer = seller.create_offer(&terms).await.unwrap();
    let selling = tokio::spawn(sell(seller.clone()));
    let buyer: Buyer = scene.buyer();
    let max = Amount::from_raw(1_000);
    let job = buyer.buy(offer.offer_id, &json!("words"), max, 0, &unwatched).await.unwrap();
    assert_eq!((job.status, job.result_payload), (Status::Delivered, json!({ "text": "done" })));
    assert_eq!(scene.sent_to(&invoice(0)), [max]);
    assert!(seller.health().await.unwrap().skew_seconds.unwrap().abs() <= 2);
    selling.abort();
    relay.abort();
}
