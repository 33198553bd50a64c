//! One sale, and what both sides see of it.

use serde_json::json;

use crate::support::Market;

#[tokio::test]
async fn a_job_is_asked_for_quoted_paid_run_and_delivered() {
    let market = Market::open().await;
    let job = market.paid(1).await;
    let locked = market.lock(&job, "worker-1").await.expect(200);
    assert_eq!(locked["job"]["status"], "running");
    assert_eq!(locked["job"]["lock_token"], 1);
    let delivered =
        market.deliver(&job, json!({"result_payload": {"words": 3}, "lock_token": 1})).await.expect(200);
    assert_eq!(delivered["job"]["status"], "delivered");
    let seen = market.buyer.get(&format!("/v1/jobs/{job}")).await.expect(200);
    assert_eq!(seen["job"]["result_payload"], json!({"words": 3}));
    assert_eq!(seen["job"]["request_payload"], json!({"text": "a b c"}));
    assert_eq!(seen, delivered);

    let types = |page: &serde_json::Value| -> Vec<String> {
        let events = page["events"].as_array().unwrap();
        events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    };
    let all = [
        "job.requested",
        "job.quoted",
        "job.accepted",
        "job.payment_submitted",
        "job.running",
        "job.delivered",
    ];
    let page = market.seller.get("/v1/poll").await.expect(200);
    assert_eq!(types(&page), all);
    assert_eq!(page["events"][0]["data"]["job"]["request_payload"], json!({"text": "a b c"}));
    assert!(page["events"][5]["data"]["job"].get("result_payload").is_none());
    assert_eq!(page["events"][0]["data"]["job"]["status"], "delivered");
    assert_eq!(types(&market.buyer.get("/v1/poll").await.expect(200)), all[1..]);
    assert!(types(&market.stranger.get("/v1/poll").await.expect(200)).is_empty());

    let head = page["head_event_id"].as_u64().unwrap();
    let acked = market.seller.post("/v1/poll/ack", json!({"up_to_event_id": head})).await.expect(200);
    assert_eq!(acked, json!({"last_acked_event_id": head}));
    assert!(types(&market.seller.get("/v1/poll").await.expect(200)).is_empty());
    let dir = market.relay.stop().await;
    assert!(dir.path().join("data").exists());
}
