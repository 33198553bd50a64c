//! Lists of jobs and offers, and the log: nothing missed, nothing twice.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Market, Relay, exchange, quoted_offer};

fn ids(page: &Value) -> Vec<String> {
    let jobs = page["jobs"].as_array().unwrap();
    jobs.iter().map(|job| job["job_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn jobs_are_listed_newest_first_or_by_update() {
    let market = Market::open().await;
    let mut asked = Vec::new();
    for _ in 0..5 {
        asked.push(market.ask().await);
    }
    market.quote(&asked[1], 1).await.expect(200);
    market.stranger.post("/v1/jobs", json!({"offer_id": market.offer})).await.expect(201);
    let newest = market.buyer.get("/v1/jobs?limit=2&offset=1").await.expect(200);
    assert_eq!(ids(&newest), [asked[3].clone(), asked[2].clone()]);
    assert_eq!((&newest["total"], &newest["limit"], &newest["offset"]), (&json!(5), &json!(2), &json!(1)));
    assert!(newest.get("next_cursor").is_none());
    assert_eq!(market.seller.get("/v1/jobs").await.expect(200)["total"], 6);
    assert_eq!(market.seller.get("/v1/jobs?role=buyer").await.expect(200)["total"], 0);
    let quoted = market.seller.get("/v1/jobs?status=quoted,accepted&role=seller").await.expect(200);
    assert_eq!((ids(&quoted), &quoted["total"]), (vec![asked[1].clone()], &json!(1)));

    let mut cursor = "start".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = market.seller.get(&format!("/v1/jobs?cursor={cursor}&limit=2")).await.expect(200);
        cursor = page["next_cursor"].as_str().unwrap().to_owned();
        if ids(&page).is_empty() {
            break;
        }
        seen.extend(ids(&page));
    }
    assert_eq!(seen.len(), 6);
    assert_eq!(seen.last(), ids(&newest_by_update(&market).await).last());
    market.quote(&asked[0], 2).await.expect(200);
    let page = market.seller.get(&format!("/v1/jobs?cursor={cursor}")).await.expect(200);
    assert_eq!(ids(&page), [asked[0].clone()]);
    let after = page["jobs"][0]["updated_at"].as_str().unwrap();
    let none = market.seller.get(&format!("/v1/jobs?updated_after={after}")).await.expect(200);
    assert_eq!((ids(&none).len(), &none["total"], none["next_cursor"].is_string()), (0, &json!(0), true));
    for query in
        ["status=gone", "role=judge", "limit=0", "limit=101", "cursor=x", "updated_after=now", "offset=-1"]
    {
        market.buyer.get(&format!("/v1/jobs?{query}")).await.refused(400, "validation_error");
    }
}

async fn newest_by_update(market: &Market) -> Value {
    market.seller.get("/v1/jobs?updated_after=2001-01-01T00:00:00Z").await.expect(200)
}

/// Known in others: a cursor that is a timestamp loses jobs that tie, or that commit out of order.
#[tokio::test(flavor = "multi_thread")]
async fn a_poller_misses_nothing_under_concurrency() {
    let market = std::sync::Arc::new(Market::open().await);
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let market = std::sync::Arc::clone(&market);
            tokio::spawn(async move {
                let mut made = Vec::new();
                for _ in 0..15 {
                    made.push(market.ask().await);
                }
                made
            })
        })
        .collect();
    let (mut seen, mut last) = (BTreeSet::new(), String::new());
    let mut cursor = "start".to_owned();
    let mut idle = 0;
    while idle < 3 {
        let page = market.seller.get(&format!("/v1/jobs?cursor={cursor}&limit=7")).await.expect(200);
        cursor = page["next_cursor"].as_str().unwrap().to_owned();
        for job in page["jobs"].as_array().unwrap() {
            let updated_at = job["updated_at"].as_str().unwrap().to_owned();
            assert!(updated_at > last, "{updated_at} after {last}");
            last = updated_at;
            assert!(seen.insert(job["job_id"].as_str().unwrap().to_owned()));
        }
        let running = writers.iter().any(|writer| !writer.is_finished());
        idle = if running || !ids(&page).is_empty() { 0 } else { idle + 1 };
    }
    let mut made = BTreeSet::new();
    for writer in writers {
        made.extend(writer.await.unwrap());
    }
    assert_eq!(seen, made);
}

#[tokio::test]
async fn offers_are_searched() {
    let relay = Relay::start().await;
    for (number, title) in ["Alpha", "Beta", "Gamma"].into_iter().enumerate() {
        let mut offer = quoted_offer();
        offer["title"] = json!(title);
        offer["tags"] = json!(["text", format!("n{number}")]);
        relay.party(if number == 2 { 2 } else { 1 }).post("/v1/offers", offer).await.expect(201);
    }
    let titles = |query: String| {
        let addr = relay.addr.clone();
        async move {
            let page = exchange(&addr, "GET", &format!("/v1/offers{query}"), b"", &[]).await.expect(200);
            let offers = page["offers"].as_array().unwrap();
            let titles: Vec<_> =
                offers.iter().map(|offer| offer["title"].as_str().unwrap().to_owned()).collect();
            (titles.join(" "), page["total"].as_u64().unwrap())
        }
    };
    let key = relay.party(1).key();
    for (query, wanted, total) in [
        (String::new(), "Gamma Beta Alpha", 3),
        ("?limit=1&offset=1".to_owned(), "Beta", 3),
        ("?q=ALPHA".to_owned(), "Alpha", 1),
        ("?q=counts".to_owned(), "Gamma Beta Alpha", 3),
        ("?tags=text,n1".to_owned(), "Beta", 1),
        (format!("?seller_pubkey={key}"), "Beta Alpha", 2),
        ("?pricing_mode=fixed".to_owned(), "", 0),
        ("?online_only=true".to_owned(), "", 0),
    ] {
        assert_eq!(titles(query.clone()).await, (wanted.to_owned(), total), "{query}");
    }
}

#[tokio::test]
async fn the_log_is_read_from_a_cursor_that_only_grows() {
    let market = Market::open().await;
    let job = market.paid(1).await;
    let page = market.seller.get("/v1/poll?limit=1").await.expect(200);
    assert_eq!(page["events"].as_array().unwrap().len(), 1);
    assert_eq!(page["events"][0]["job_id"], job.as_str());
    assert_eq!((&page["last_acked_event_id"], &page["min_event_id_retained"]), (&json!(0), &json!(1)));
    let epoch = page["epoch"].as_str().unwrap();
    let rest = market
        .seller
        .get(&format!("/v1/poll?since_event_id=1&epoch={epoch}&types=job.accepted,job.quoted"))
        .await
        .expect(200);
    assert_eq!(rest["events"].as_array().unwrap().len(), 2);
    let ack = |id: u64| market.seller.post("/v1/poll/ack", json!({ "up_to_event_id": id }));
    assert_eq!(ack(3).await.expect(200)["last_acked_event_id"], 3);
    assert_eq!(ack(2).await.expect(200)["last_acked_event_id"], 3);
    ack(5).await.refused(400, "validation_error");
    market.seller.post("/v1/poll/ack", json!({})).await.refused(400, "validation_error");
    let left = market.seller.get("/v1/poll").await.expect(200);
    assert_eq!(left["events"][0]["event_id"], 4);
    for query in ["since_event_id=5", "epoch=other"] {
        let details = market.seller.get(&format!("/v1/poll?{query}")).await.refused(410, "cursor_too_old");
        assert_eq!(
            details,
            json!({"min_event_id_retained": 1, "head_event_id": 4, "epoch": epoch, "suggested_resync": true})
        );
    }
    for query in ["since_event_id=x", "types=job.lost", "limit=201"] {
        market.seller.get(&format!("/v1/poll?{query}")).await.refused(400, "validation_error");
    }
}

#[tokio::test]
async fn what_retention_removed_is_410_and_an_acknowledgement_heals_it() {
    let relay = Relay::with(|config| {
        config.event_retention = Duration::from_millis(300);
        config.sweep_interval = Duration::from_millis(100);
    })
    .await;
    let market = Market::on(relay).await;
    market.ask().await;
    // The sweeper removes the only event of the seller.
    let mut answer = market.seller.get("/v1/poll").await;
    for _ in 0..50 {
        if answer.status == 410 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        answer = market.seller.get("/v1/poll").await;
    }
    let details = answer.refused(410, "cursor_too_old");
    assert_eq!((&details["min_event_id_retained"], &details["head_event_id"]), (&json!(2), &json!(1)));
    // The buyer lost nothing: the event was no news to him.
    market.buyer.get("/v1/poll").await.expect(200);
    market.seller.post("/v1/poll/ack", json!({"up_to_event_id": 1})).await.expect(200);
    market.seller.get("/v1/poll").await.expect(200);
}

#[tokio::test]
async fn the_sweeper_expires_without_a_reader() {
    let relay = Relay::with(|config| {
        config.rules.accept_ttl = Duration::from_millis(300);
        config.rules.quote_ttl = Duration::from_millis(400);
        config.sweep_interval = Duration::from_millis(100);
    })
    .await;
    let market = Market::on(relay).await;
    let (quoted, accepted, paid) = (market.ask().await, market.ask().await, market.paid(1).await);
    market.quote(&quoted, 2).await.expect(200);
    market.quote(&accepted, 3).await.expect(200);
    market.accept(&accepted).await.expect(200);
    tokio::time::sleep(Duration::from_millis(900)).await;
    // The list does not expire anything itself.
    let expired = market.buyer.get("/v1/jobs?status=expired").await.expect(200);
    let expired: BTreeSet<_> = ids(&expired).into_iter().collect();
    assert_eq!(expired, BTreeSet::from([quoted, accepted]));
    let kept = market.buyer.get(&format!("/v1/jobs/{paid}")).await.expect(200);
    assert_eq!(kept["job"]["status"], "accepted");
}
