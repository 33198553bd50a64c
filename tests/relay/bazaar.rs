//! The dialect of the deployed relays, as their clients speak it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nano_worker::protocol::v0::payload::{Kind, read};
use nano_worker::protocol::v0::signing::sign;
use nano_worker::protocol::v0::{BotKeys, Job, Moment, Payload, Registration, charge};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Relay, exchange};
use crate::traders::{Bot, Market, nonce, now, offer, refused, types};

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_trade() {
    let market = Market::open().await;
    let (seller, buyer) = (&market.seller, &market.buyer);
    let found = buyer.get("/v0/offers?q=nano+summary&tags=NANO%2Csummary").await.expect(200);
    assert_eq!(found["offers"][0]["offer_id"], market.offer.as_str());
    let asked = market.ask("job_1").await.expect(200);
    assert_eq!((asked["status"].as_str(), asked["price_raw"].as_str()), (Some("REQUESTED"), Some("1000000")));

    let page = seller.get("/v0/poll?limit=100").await.expect(200);
    assert_eq!(types(&page), ["job.requested"]);
    let payload_id = page["events"][0]["data"]["request_payload_id"].as_str().unwrap().to_owned();
    let payload: Payload =
        serde_json::from_value(seller.get(&format!("/v0/payloads/{payload_id}")).await.expect(200)).unwrap();
    assert_eq!(read(&seller.keys, &payload, &buyer.keys.signing_key()).unwrap().body, "do it");
    refused(&buyer.get(&format!("/v0/payloads/{payload_id}")).await, 403, "not the recipient");
    let id = page["events"][0]["event_id"].as_u64().unwrap();
    let acked = seller.post("/v0/poll/ack", json!({"up_to_event_id": id})).await.expect(200);
    assert_eq!(acked, json!({"last_acked_event_id": id}));

    let charge = market.charge(&asked, 1, Duration::from_secs(600));
    seller.post("/v0/jobs/job_1/charge", charge).await.expect(200);
    let job: Job = serde_json::from_value(buyer.get("/v0/jobs/job_1").await.expect(200)).unwrap();
    let payable = charge::verify(&job, buyer.keys.bot_id(), &seller.keys.signing_key(), now()).unwrap();
    assert_eq!(payable.amount_raw, 1_000_000);
    let sent = buyer.keyed("/v0/jobs/job_1/payment_sent", "", "sent").await.expect(200);
    assert_eq!(sent["job_id"], "job_1");
    let evidence =
        json!({"verifier": "nano_rpc", "payment_block_hash": "AB", "amount_raw_received": "1000000"});
    let paid = seller.post("/v0/jobs/job_1/mark_paid", evidence).await.expect(200);
    assert_eq!(paid["status"], "PAID");
    let told = market.deliver("job_1", "msg_1", Kind::Message).await.expect(200);
    assert_eq!(told, json!({"payload_id": "msg_1", "job_status": "PAID"}));
    let told = market.deliver("job_1", "res_1", Kind::Deliverable).await.expect(200);
    assert_eq!((told["job_status"].as_str(), told["delivered_at"].is_string()), (Some("DELIVERED"), true));

    let page = buyer.get("/v0/poll").await.expect(200);
    let all = ["job.charge_created", "job.paid", "job.payload_available", "job.payload_available"];
    assert_eq!(types(&page), all);
    assert_eq!(types(&buyer.get("/v0/poll?types=job.paid").await.expect(200)), ["job.paid"]);
    assert_eq!(types(&seller.get("/v0/poll").await.expect(200)), ["job.payment_sent"]);
    let unfetched = buyer.get("/v0/payloads?limit=1").await.expect(200);
    assert_eq!(unfetched["payloads"][0]["payload_id"], "res_1");
    let cursor = unfetched["next_cursor"].as_str().unwrap();
    let rest = buyer.get(&format!("/v0/payloads?limit=1&cursor={cursor}")).await.expect(200);
    assert_eq!((rest["payloads"][0]["payload_id"].as_str(), rest.get("next_cursor")), (Some("msg_1"), None));
    let stand = exchange(&market.relay.addr, "GET", "/market/offers", b"", &[]).await.expect(200);
    assert_eq!(stand["offers"][0]["purchase_count"], 1);
    assert_eq!(stand["offers"][0]["request_schema_hint"], "a text");
    let listed = buyer.get("/v0/jobs?role=buyer&status=delivered").await.expect(200);
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bots_and_their_signatures() {
    let relay = Relay::start().await;
    let bot = Bot::new(&relay, 1);
    let registration = json!(Registration::of(&bot.keys));
    refused(&bot.get("/v0/poll").await, 401, "unknown bot");
    let first = bot.post("/v0/bots", registration.clone()).await.expect(200);
    assert_eq!(
        bot.post("/v0/bots", registration.clone()).await.expect(200)["created_at"],
        first["created_at"]
    );
    let other_seal = BotKeys::from_seeds(&[1; 32], &[9; 32]);
    let other = json!(Registration::of(&other_seal));
    refused(&bot.post("/v0/bots", other).await, 409, "bot_id already pinned");
    let mut bad = registration.clone();
    bad["signing_kid"] = json!("b");
    refused(&bot.post("/v0/bots", bad).await, 400, "signing_kid mismatch");

    let send = async |at: Moment, nonce: &str| bot.send("GET", "/v0/poll", "", None, at, nonce).await;
    send(now(), "once").await.expect(200);
    refused(&send(now(), "once").await, 401, "nonce reuse");
    let old = Moment::from_nanos(now().nanos() - 301_000_000_000);
    refused(&send(old, "old").await, 401, "stale timestamp");
    let target = "/v0/offers?q=a+b&tags=x%2Cy";
    bot.get(target).await.expect(200);
    let elsewhere = sign(&bot.keys, "GET", target, b"", now(), "elsewhere");
    let headers: Vec<_> = elsewhere.map(|(name, value)| (name.to_owned(), value)).into();
    refused(
        &exchange(&relay.addr, "GET", "/v0/offers?q=a%20b", b"", &headers).await,
        401,
        "invalid signature",
    );
    refused(&exchange(&relay.addr, "POST", target, b"x", &headers).await, 401, "body hash mismatch");
    refused(&exchange(&relay.addr, "GET", target, b"", &headers[1..]).await, 401, "missing auth headers");

    let id = bot.id();
    let named = bot.post(&format!("/v0/bots/{id}/name"), json!({"bot_name": " Ada "})).await.expect(200);
    assert_eq!(named["bot_name"], "Ada");
    let second = Bot::registered(&relay, 2).await;
    assert_eq!(second.get(&format!("/v0/bots/{id}")).await.expect(200)["bot_name"], "Ada");
    refused(&second.get("/v0/bots/bnobody").await, 404, "bot not found");
    refused(&second.post(&format!("/v0/bots/{id}/revoke"), json!({})).await, 403, "not your own bot");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_for_one_answer() {
    let market = Market::open().await;
    let (seller, buyer) = (&market.seller, &market.buyer);
    let body = offer().to_string();
    let first = seller.keyed("/v0/offers", &body, "k").await;
    assert_eq!(seller.keyed("/v0/offers", &body, "k").await.text, first.text);
    refused(&seller.keyed("/v0/offers", "{}", "k").await, 409, "idempotency collision");
    buyer.keyed("/v0/offers", &body, "k").await.expect(200);
    let bare = seller.send("POST", "/v0/offers", &body, None, now(), &nonce()).await;
    refused(&bare, 400, "missing idempotency key");

    let request = market.request("job_1").to_string();
    let ask = async |body: &str, key: Option<&str>| {
        buyer.send("POST", "/v0/jobs", body, key, now(), &nonce()).await
    };
    let asked = ask(&request, None).await;
    assert_eq!(ask(&request, Some("job_1")).await.text, asked.text);
    refused(&ask(&request, Some("other")).await, 409, "idempotency key mismatch");
    refused(&ask(&market.request("job_1").to_string(), None).await, 409, "idempotency collision");
    refused(&ask("{}", None).await, 400, "missing job_id");
    // Another bot's job of the same name is another job's name all the same.
    let third = Bot::registered(&market.relay, 3).await;
    let mut theirs = market.request("job_1");
    theirs["request_payload"]["payload_id"] = json!("pay_other");
    let told = third.send("POST", "/v0/jobs", &theirs.to_string(), None, now(), &nonce()).await;
    refused(&told, 409, "job_id already exists");

    // A refusal is kept as well, and said again in the same words.
    let early = seller.keyed("/v0/jobs/job_1/mark_paid", "", "early").await;
    refused(&early, 409, "job not chargeable");
    let charge = market.charge(&asked.body, 1, Duration::from_secs(600));
    seller.post("/v0/jobs/job_1/charge", charge).await.expect(200);
    assert_eq!(seller.keyed("/v0/jobs/job_1/mark_paid", "", "early").await.text, early.text);
    seller.keyed("/v0/jobs/job_1/mark_paid", "", "later").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_be_rejected_is() {
    let market = Market::open().await;
    let (seller, buyer) = (&market.seller, &market.buyer);
    let job = market.charged("job_1", 1).await;
    let charge = market.charge(&job, 2, Duration::from_secs(600));
    refused(&seller.post("/v0/jobs/job_1/charge", charge.clone()).await, 409, "charge already attached");
    refused(&buyer.post("/v0/jobs/job_1/charge", charge.clone()).await, 403, "not the seller");
    refused(&market.deliver("job_1", "res", Kind::Deliverable).await, 409, "job not paid");
    refused(&buyer.post("/v0/jobs/job_1/cancel", json!({})).await, 409, "job not cancellable");

    let two = market.ask("job_2").await.expect(200);
    let taken = market.charge(&two, 1, Duration::from_secs(600));
    refused(&seller.post("/v0/jobs/job_2/charge", taken).await, 409, "charge address already in use");
    let mut loose = market.charge(&two, 3, Duration::from_secs(600));
    loose["charge_expires_at"] = json!("2099-01-01T00:00:00.000Z");
    refused(&seller.post("/v0/jobs/job_2/charge", loose).await, 400, "invalid charge_expires_at");
    seller.post("/v0/jobs/job_1/mark_paid", json!({})).await.expect(200);
    market.deliver("job_1", "pay_a", Kind::Message).await.expect(200);
    refused(&market.deliver("job_1", "pay_a", Kind::Deliverable).await, 409, "payload_id already used");
    market.deliver("job_1", "pay_b", Kind::Deliverable).await.expect(200);
    refused(&market.deliver("job_1", "pay_c", Kind::Message).await, 409, "job not mutable");

    let with = |change: &dyn Fn(&mut Value)| {
        let mut request = market.request("job_9");
        change(&mut request);
        request
    };
    for (request, status, message) in [
        (with(&|r| r["offer_id"] = json!("offer_9")), 400, "offer not found"),
        (with(&|r| r["request_payload"]["recipient_kid"] = json!("b1")), 400, "recipient_kid mismatch"),
        (with(&|r| r["request_payload"]["enc_alg"] = json!("none")), 400, "invalid enc_alg"),
        (with(&|r| r["request_payload"]["payload_kind"] = json!("message")), 400, "invalid payload_kind"),
        (with(&|r| r["request_payload"]["ciphertext_b64"] = json!("AA==")), 400, "invalid ciphertext_b64"),
        (with(&|r| r["job_expires_at"] = json!("2099-01-01T00:00:00.000Z")), 400, "invalid job_expires_at"),
        (with(&|r| r["job_expires_at"] = json!("2099-01-01T00:00:00Z")), 400, "job_expires_at too far"),
    ] {
        // The job's name is its idempotency key, so that each try has a name of its own.
        let mut request = request;
        request["job_id"] = json!(format!("job_{}", nonce()));
        let told = buyer.send("POST", "/v0/jobs", &request.to_string(), None, now(), &nonce()).await;
        refused(&told, status, message);
    }
    let own = json!({"job_id": "own", "offer_id": market.offer,
        "request_payload": seller.sealed(seller, "own", "pay_own", Kind::Request, "")});
    let told = seller.send("POST", "/v0/jobs", &own.to_string(), None, now(), &nonce()).await;
    refused(&told, 409, "the offer is your own");
    refused(
        &seller.post("/v0/poll/ack", json!({"up_to_event_id": 999})).await,
        400,
        "up_to_event_id is beyond the newest event",
    );
    refused(&seller.post("/v0/poll/ack", json!({"up_to_event_id": -1})).await, 400, "invalid up_to_event_id");
    refused(&seller.get("/v0/poll?limit=0").await, 400, "invalid limit");
    refused(&seller.get("/v0/jobs").await, 400, "missing role");
    let huge = "x".repeat(140_000);
    assert_eq!(seller.keyed("/v0/offers", &huge, "huge").await.status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_expires_without_being_looked_at_and_gets_a_new_charge() {
    let market =
        Market::on(Relay::with(|config| config.sweep_interval = Duration::from_millis(100)).await).await;
    let (seller, buyer) = (&market.seller, &market.buyer);
    let asked = market.ask("job_1").await.expect(200);
    let charge = market.charge(&asked, 1, Duration::from_millis(300));
    seller.post("/v0/jobs/job_1/charge", charge).await.expect(200);
    let mut told = Vec::new();
    for _ in 0..100 {
        let page = seller.get("/v0/poll").await.expect(200);
        told = types(&page).into_iter().map(str::to_owned).collect();
        if told.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(told, ["job.requested", "job.expired"]);
    refused(&seller.post("/v0/jobs/job_1/mark_paid", json!({})).await, 409, "job not mutable");
    let wish = json!({"note": "a little longer"});
    buyer.post("/v0/jobs/job_1/charge/reissue_request", wish).await.expect(200);
    let charge = market.charge(&asked, 2, Duration::from_secs(600));
    let job = seller.post("/v0/jobs/job_1/charge/reissue", charge).await.expect(200);
    assert_eq!(job["status"], "CHARGE_CREATED");
    seller.post("/v0/jobs/job_1/mark_paid", json!({})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_takes_along_what_is_open() {
    let market = Market::open().await;
    let (seller, buyer) = (&market.seller, &market.buyer);
    market.charged("job_1", 1).await;
    market.charged("job_2", 2).await;
    seller.post("/v0/jobs/job_2/mark_paid", json!({})).await.expect(200);
    let revoke = format!("/v0/bots/{}/revoke", seller.id());
    let left = seller.keyed(&revoke, "", "k").await.expect(200);
    assert_eq!(left["revoked"], true);
    refused(&seller.get("/v0/poll").await, 403, "bot revoked");
    assert_eq!(seller.keyed(&revoke, "", "l").await.expect(200)["revoked_at"], left["revoked_at"]);
    assert_eq!(buyer.get("/v0/jobs/job_1").await.expect(200)["status"], "CANCELLED");
    assert_eq!(buyer.get("/v0/jobs/job_2").await.expect(200)["status"], "PAID");
    assert_eq!(buyer.get(&format!("/v0/offers/{}", market.offer)).await.expect(200)["status"], "CANCELLED");
    let page = buyer.get("/v0/poll?types=job.cancelled").await.expect(200);
    assert_eq!(types(&page), ["job.cancelled"]);
    refused(&market.ask("job_3").await, 409, "offer not active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_lost_events_is_told_and_the_resync_heals_it() {
    let market = Market::on(
        Relay::with(|config| {
            config.sweep_interval = Duration::from_millis(100);
            config.event_retention = Duration::from_secs(1);
        })
        .await,
    )
    .await;
    market.ask("job_1").await.expect(200);
    let seller = &market.seller;
    let mut told = seller.get("/v0/poll").await;
    for _ in 0..100 {
        if told.status == 410 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        told = seller.get("/v0/poll").await;
    }
    refused(&told, 410, "cursor too old");
    assert_eq!((&told.body["code"], &told.body["suggested_resync"]), (&json!("gone"), &json!(true)));
    let minimum = told.body["min_event_id_retained"].as_u64().unwrap();
    seller.post("/v0/poll/ack", json!({"up_to_event_id": minimum - 1})).await.expect(200);
    seller.get("/v0/poll").await.expect(200);
    // What the seller has lost is no loss of the buyer's.
    market.buyer.get("/v0/poll?since_event_id=0").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_are_told_and_a_429_is_not_remembered() {
    let market = Market::on(Relay::with(|config| config.rates = Some(Default::default())).await).await;
    let body = offer().to_string();
    let counter = AtomicU64::new(0);
    let write = async |key: String| market.seller.keyed("/v0/offers", &body, &key).await;
    let refusal = loop {
        let number = counter.fetch_add(1, Ordering::Relaxed);
        let told = write(number.to_string()).await;
        if told.status == 429 {
            break told;
        }
        assert_eq!(told.header("x-ratelimit-limit"), Some("5"));
        assert!(number < 50, "never limited");
    };
    refused(&refusal, 429, "rate limited");
    assert_eq!(refusal.header("x-ratelimit-remaining"), Some("0"));
    let wait: u64 = refusal.header("retry-after").unwrap().parse().unwrap();
    assert!(wait >= 1);
    tokio::time::sleep(Duration::from_secs(wait)).await;
    let number = counter.load(Ordering::Relaxed) - 1;
    write(number.to_string()).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_wakes_and_says_no_more() {
    let market = Market::open().await;
    let headers = sign(&market.seller.keys, "GET", "/v0/stream", b"", now(), &nonce());
    let mut request = "GET /v0/stream HTTP/1.1\r\nHost: relay\r\nAccept: text/event-stream\r\n".to_owned();
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = TcpStream::connect(&market.relay.addr).await.unwrap();
    stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
    let mut heard = String::new();
    let mut listen = async |until: &str| {
        let mut bytes = [0; 4096];
        while !heard.contains(until) {
            let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut bytes)).await;
            let count = read.unwrap().unwrap();
            assert!(count > 0, "the stream ended: {heard}");
            heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        heard.clone()
    };
    let head = listen(": connected\n\n").await;
    assert!(head.contains("text/event-stream") && head.contains("no-cache"), "{head}");
    market.ask("job_1").await.expect(200);
    let woken = listen("event: wake\n").await;
    let key = market.seller.keys.signing_key();
    assert!(
        listen("\"hint\"")
            .await
            .contains(&format!(r#"data: {{"hint":"poll","streams":["seller:ed25519:{key}"]}}"#)),
        "{woken}"
    );
    let other = market.buyer.get(&format!("/v0/stream?streams=seller%3Aed25519%3A{key}")).await;
    refused(&other, 403, "not your own stream");
    refused(&market.buyer.get("/v0/stream?streams=news").await, 400, "unknown stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_dialects_live_in_one_log() {
    let market = Market::open().await;
    let other = crate::support::Market::on(market.relay).await;
    let (seller, buyer) = (market.seller, market.buyer);
    let job = other.ask().await;
    let payload = buyer.sealed(&seller, "job_1", "pay_1", Kind::Request, "");
    let request = json!({"job_id": "job_1", "offer_id": market.offer, "request_payload": payload});
    buyer.send("POST", "/v0/jobs", &request.to_string(), None, now(), &nonce()).await.expect(200);
    let new = seller.get("/v0/poll").await.expect(200);
    let old = other.seller.get("/v1/poll").await.expect(200);
    assert_eq!(types(&new), ["job.requested"]);
    assert_eq!(old["events"][0]["job_id"], job.as_str());
    assert!(new["events"][0]["event_id"].as_u64() > old["events"][0]["event_id"].as_u64());
    // Neither dialect's keys, offers or jobs are the other's.
    assert_eq!(old["events"].as_array().unwrap().len(), 1);
}
