//! Idempotency keys: once, whatever happens.

use serde_json::json;

use crate::support::{Answer, Market, Party, Relay, quoted_offer};

async fn keyed(party: &Party, target: &str, body: &str, key: &str) -> Answer {
    party.send("POST", target, body, &[("Idempotency-Key", key)]).await
}

/// Known in others: a signed request that has an idempotency key crashes the server.
#[tokio::test]
async fn the_same_request_gets_the_same_answer_also_after_a_restart() {
    let market = Market::open().await;
    let body = json!({"offer_id": market.offer, "request_payload": {"n": 1}}).to_string();
    let first = keyed(&market.buyer, "/v1/jobs", &body, "k1").await;
    assert_eq!((first.status, first.header("idempotency-key")), (201, Some("k1")));
    assert_eq!(first.header("idempotency-replayed"), None);
    // What happens to the job since does not change what was answered.
    let id = first.body["job"]["job_id"].as_str().unwrap();
    market.quote(id, 5).await.expect(200);
    let again = keyed(&market.buyer, "/v1/jobs", &body, "k1").await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, Some("true")));
    assert_eq!(again.text, first.text);
    let other = json!({"offer_id": market.offer, "request_payload": {"n": 2}}).to_string();
    keyed(&market.buyer, "/v1/jobs", &other, "k1").await.refused(409, "idempotency_conflict");
    // Another party's key of the same name is another key.
    keyed(&market.stranger, "/v1/jobs", &other, "k1").await.expect(201);
    let relay = Relay::in_dir(market.relay.stop().await, |_| {}).await;
    let again = keyed(&relay.party(2), "/v1/jobs", &body, "k1").await;
    assert_eq!(again.text, first.text);
    let jobs = relay.party(2).get("/v1/jobs").await.expect(200);
    assert_eq!(jobs["total"], 1);
}

#[tokio::test]
async fn final_refusals_are_kept_and_others_are_not() {
    let market = Market::open().await;
    let job = market.ask().await;
    let accept = format!("/v1/jobs/{job}/accept");
    keyed(&market.buyer, &accept, "{}", "early").await.refused(409, "invalid_state");
    market.quote(&job, 1).await.expect(200);
    let again = keyed(&market.buyer, &accept, "{}", "early").await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    again.refused(409, "invalid_state");
    keyed(&market.buyer, &accept, "{}", "late").await.expect(200);
    keyed(&market.buyer, "/v1/jobs", "{", "bad").await.refused(400, "validation_error");
    assert_eq!(
        keyed(&market.buyer, "/v1/jobs", "{", "bad").await.header("idempotency-replayed"),
        Some("true")
    );
    let long = "k".repeat(129);
    keyed(&market.buyer, &accept, "{}", &long).await.refused(400, "validation_error");
    let large = json!({"offer_id": market.offer, "request_payload": "x".repeat(70_000)}).to_string();
    for _ in 0..2 {
        let answer = keyed(&market.buyer, "/v1/jobs", &large, "large").await;
        assert_eq!(answer.header("idempotency-replayed"), None);
        answer.refused(413, "payload_too_large");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_make_one_offer() {
    let relay = Relay::start().await;
    let body = quoted_offer().to_string();
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (party, body) = (relay.party(1), body.clone());
            tokio::spawn(async move { keyed(&party, "/v1/offers", &body, "same").await })
        })
        .collect();
    let mut made = std::collections::BTreeSet::new();
    for task in tasks {
        let answer = task.await.unwrap();
        match answer.status {
            201 => drop(made.insert(answer.text)),
            _ => drop(answer.refused(409, "idempotency_in_progress")),
        }
    }
    assert_eq!(made.len(), 1, "{made:?}");
    let found = crate::support::exchange(&relay.addr, "GET", "/v1/offers", b"", &[]).await.expect(200);
    assert_eq!(found["total"], 1);
}

#[tokio::test]
async fn an_acknowledgement_and_a_changed_offer_are_kept_too() {
    let market = Market::open().await;
    let job = market.ask().await;
    let first = keyed(&market.seller, "/v1/poll/ack", "{\"up_to_event_id\":1}", "a").await.expect(200);
    market.quote(&job, 1).await.expect(200);
    keyed(&market.seller, "/v1/poll/ack", "{\"up_to_event_id\":2}", "b").await.expect(200);
    assert_eq!(keyed(&market.seller, "/v1/poll/ack", "{\"up_to_event_id\":1}", "a").await.expect(200), first);
    let offer = format!("/v1/offers/{}", market.offer);
    let change = |title: &str, key: &'static str| {
        let (party, offer) = (market.seller.clone(), offer.clone());
        let body = json!({ "title": title }).to_string();
        async move { party.send("PATCH", &offer, &body, &[("Idempotency-Key", key)]).await.expect(200) }
    };
    let first = change("One", "o1").await;
    change("Two", "o2").await;
    assert_eq!(change("One", "o1").await, first);
    let now = market.seller.get(&offer).await.expect(200);
    assert_eq!(now["offer"]["title"], "Two");
}

#[tokio::test]
async fn numbers_are_shown_as_they_were_sent() {
    let market = Market::open().await;
    // A quick parser reads some of these as their neighbour.
    let payload = "[229.31038504253453,0.1,1.5e-7,9007199254740993,18446744073709551615,-1]";
    let body = format!("{{\"offer_id\":\"{}\",\"request_payload\":{payload}}}", market.offer);
    let first = keyed(&market.buyer, "/v1/jobs", &body, "numbers").await;
    assert!(first.text.contains(payload), "{}", first.text);
    assert_eq!(keyed(&market.buyer, "/v1/jobs", &body, "numbers").await.text, first.text);
    let id = first.body["job"]["job_id"].as_str().unwrap();
    assert_eq!(market.seller.get(&format!("/v1/jobs/{id}")).await.text, first.text);
}
