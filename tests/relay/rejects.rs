//! What a /v0 relay, or whoever reads what it carries, must reject: each with its status and message.

use std::time::Duration;

use nano_worker::protocol::Timestamp;
use nano_worker::protocol::v0::payload::{Kind, read};
use nano_worker::protocol::v0::signing::sign;
use nano_worker::protocol::v0::{BotKeys, Job, Moment, Payload, PayloadId, charge};
use nano_worker::relay::model::Horizon;
use serde_json::{Value, json};

use crate::support::{Answer, Relay, exchange};
use crate::traders::{Bot, Market, nonce, now, offer, refused};

/// One row: what it is about, what came back, and what had to.
type Row = (&'static str, Answer, u16, &'static str);

/// A signed request of which one thing is changed after it was signed.
async fn forged(bot: &Bot, header: &str, value: impl Fn(&str) -> String) -> Answer {
    let mut headers: Vec<(String, String)> = sign(&bot.keys, "GET", "/v0/poll", b"", now(), &nonce())
        .map(|(name, value)| (name.to_owned(), value))
        .into();
    for (name, text) in &mut headers {
        if name.eq_ignore_ascii_case(header) {
            *text = value(text);
        }
    }
    exchange(&bot.addr, "GET", "/v0/poll", b"", &headers).await
}

async fn signatures(bot: &Bot) -> Vec<Row> {
    let at = |seconds: i128| Moment::from_nanos(now().nanos() + seconds * 1_000_000_000);
    let send = async |at: Moment, nonce: &str| bot.send("GET", "/v0/poll", "", None, at, nonce).await;
    send(now(), "spent").await.expect(200);
    let elsewhere: Vec<(String, String)> = sign(&bot.keys, "GET", "/v0/poll?limit=1", b"", now(), &nonce())
        .map(|(name, value)| (name.to_owned(), value))
        .into();
    let signature = "X-NBR-Signature";
    let bad = "invalid signature";
    vec![
        (
            "a signature of another text",
            forged(bot, signature, |_| bot.keys.sign("another text")).await,
            401,
            bad,
        ),
        ("a padded signature", forged(bot, signature, |text| format!("{text}==")).await, 401, bad),
        ("a signature in hex", forged(bot, signature, |_| "ab".repeat(64)).await, 401, bad),
        ("no signature", forged(bot, signature, |_| String::new()).await, 401, "missing auth headers"),
        ("another query", exchange(&bot.addr, "GET", "/v0/poll?limit=2", b"", &elsewhere).await, 401, bad),
        ("too old", send(at(-301), &nonce()).await, 401, "stale timestamp"),
        ("too new", send(at(302), &nonce()).await, 401, "stale timestamp"),
        ("no moment", forged(bot, "X-NBR-Timestamp", |_| "now".to_owned()).await, 401, "invalid timestamp"),
        (
            "another zone",
            forged(bot, "X-NBR-Timestamp", |text| text.replace('Z', "+00:00")).await,
            401,
            "invalid timestamp",
        ),
        ("a nonce again", send(now(), "spent").await, 401, "nonce reuse"),
        (
            "another body",
            forged(bot, "X-NBR-Body-SHA256", |_| "00".repeat(32)).await,
            401,
            "body hash mismatch",
        ),
        ("nobody's name", forged(bot, "X-NBR-Bot-Id", |_| "bnobody".to_owned()).await, 401, "unknown bot"),
    ]
}

async fn keys(market: &Market) -> Vec<Row> {
    let (seller, buyer) = (&market.seller, &market.buyer);
    seller.keyed("/v0/offers", &offer().to_string(), "k").await.expect(200);
    let ask = async |bot: &Bot, body: &Value| {
        bot.send("POST", "/v0/jobs", &body.to_string(), None, now(), &nonce()).await
    };
    ask(buyer, &market.request("job_1")).await.expect(200);
    let third = Bot::registered(&market.relay, 3).await;
    let mut theirs = market.request("job_1");
    theirs["request_payload"]["payload_id"] = json!("pay_theirs");
    let mut reused = market.request("job_2");
    reused["request_payload"]["payload_id"] = json!("pay_job_1");
    vec![
        ("a key for another body", seller.keyed("/v0/offers", "{}", "k").await, 409, "idempotency collision"),
        (
            "a job's name for another body",
            ask(buyer, &market.request("job_1")).await,
            409,
            "idempotency collision",
        ),
        ("another's name for a job", ask(&third, &theirs).await, 409, "job_id already exists"),
        ("a payload's name for another text", ask(buyer, &reused).await, 409, "payload_id already used"),
    ]
}

async fn states(market: &Market) -> Vec<Row> {
    let (seller, buyer) = (&market.seller, &market.buyer);
    let job = market.charged("job_3", 1).await;
    let charge = market.charge(&job, 2, Duration::from_secs(600));
    let mut stranger = market.request("job_4");
    stranger["request_payload"]["recipient_kid"] = json!(buyer.keys.sealing_key().kid());
    let to_itself = json!({"payload": seller.sealed(seller, "job_3", "res_0", Kind::Message, "")});
    let ask = buyer.send("POST", "/v0/jobs", &stranger.to_string(), None, now(), &nonce()).await;
    let unpaid = market.deliver("job_3", "res_1", Kind::Deliverable).await;
    let again = seller.post("/v0/jobs/job_3/charge", charge.clone()).await;
    let not_counterparty = seller.post("/v0/jobs/job_3/deliver", to_itself).await;
    seller.post("/v0/jobs/job_3/mark_paid", json!({})).await.expect(200);
    market.deliver("job_3", "res_2", Kind::Message).await.expect(200);
    vec![
        ("a request for another's key", ask, 400, "recipient_kid mismatch"),
        ("a result for another's key", not_counterparty, 400, "recipient_kid mismatch"),
        ("a second charge", again, 409, "charge already attached"),
        (
            "a charge for what is paid",
            seller.post("/v0/jobs/job_3/charge", charge).await,
            409,
            "job not chargeable",
        ),
        ("a result before the payment", unpaid, 409, "job not paid"),
        (
            "a result's name again",
            market.deliver("job_3", "res_2", Kind::Deliverable).await,
            409,
            "payload_id already used",
        ),
        ("another's job", seller.post("/v0/jobs/job_3/cancel", json!({})).await, 403, "not the buyer"),
        ("no job", seller.get("/v0/jobs/job_0").await, 404, "job not found"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_must_reject_list() {
    let (relay, storage) = Relay::on_storage().await;
    let market = Market::on(relay).await;
    let mut rows = signatures(&market.seller).await;
    rows.extend(keys(&market).await);
    rows.extend(states(&market).await);
    let all = Horizon { nonces: Timestamp::default(), answers: Timestamp::default(), events: soon() };
    while storage.forget(all, 100).await.unwrap() {}
    rows.push((
        "a cursor before what was removed",
        market.seller.get("/v0/poll").await,
        410,
        "cursor too old",
    ));
    for (row, answer, status, message) in &rows {
        println!("{status} {message}: {row}");
        refused(answer, *status, message);
    }
    assert!(rows.len() >= 25);
}

/// After everything that has happened.
fn soon() -> Timestamp {
    Timestamp::from(now()).plus(Duration::from_secs(1))
}

/// What a relay cannot see, and must be rejected by whoever opens or pays it.
#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_reader_can_reject() {
    let market = Market::open().await;
    let (seller, buyer) = (&market.seller, &market.buyer);
    let job: Job = serde_json::from_value(market.charged("job_1", 1).await).unwrap();
    seller.post("/v0/jobs/job_1/mark_paid", json!({})).await.expect(200);
    market.deliver("job_1", "res_1", Kind::Message).await.expect(200);
    let honest: Payload = serde_json::from_value(buyer.get("/v0/payloads/res_1").await.expect(200)).unwrap();
    let key = seller.keys.signing_key();
    assert_eq!(read(&buyer.keys, &honest, &key).unwrap().body, "five bullets");
    let with = |change: &dyn Fn(&mut Payload)| {
        let mut payload = honest.clone();
        change(&mut payload);
        read(&buyer.keys, &payload, &key).unwrap_err().to_string()
    };
    let other = BotKeys::from_seeds(&[77; 32], &[78; 32]);
    let impostor = Bot { addr: String::new(), keys: BotKeys::from_seeds(&[79; 32], &[80; 32]) };
    let sealed = |from: &Bot, kind: Kind| {
        let sealed = from.sealed(buyer, "job_1", "res_1", kind, "six bullets");
        sealed["ciphertext_b64"].as_str().unwrap().to_owned()
    };
    let by_other = sealed(&impostor, Kind::Message);
    let of_kind = sealed(seller, Kind::Deliverable);
    for (told, message) in [
        (
            with(&|payload| payload.payload_id = PayloadId::new("res_2")),
            "the payload's inside names another payload",
        ),
        (
            with(&|payload| payload.job_id = nano_worker::protocol::v0::JobId::new("job_2")),
            "the payload's inside names another job",
        ),
        (
            with(&|payload| payload.ciphertext_b64.clone_from(&of_kind)),
            "the payload's inside names another kind",
        ),
        (
            with(&|payload| payload.ciphertext_b64.clone_from(&by_other)),
            "the payload's inside names another sender",
        ),
        (
            with(&|payload| payload.sender_bot_id = other.bot_id()),
            "the payload's inside names another sender",
        ),
        (
            read(&buyer.keys, &honest, &other.signing_key()).unwrap_err().to_string(),
            "the key is not the sender's",
        ),
        (read(&seller.keys, &honest, &key).unwrap_err().to_string(), "the payload is for another key"),
    ] {
        assert_eq!(told, message);
    }
    let verify = |job: &Job, key| {
        charge::verify(job, buyer.keys.bot_id(), &key, now()).map(drop).map_err(|fault| fault.to_string())
    };
    assert_eq!(verify(&job, key), Ok(()));
    let mut moved = job.clone();
    moved.charge.as_mut().unwrap().address = crate::support::address(9);
    assert_eq!(verify(&moved, key).unwrap_err(), "the charge's signature is not the seller's");
    assert_eq!(verify(&job, other.signing_key()).unwrap_err(), "the key is not the seller's");
    let mut signed_by_other = job.clone();
    let parties = charge::Parties::of(&job);
    let expires_at = now().plus(Duration::from_secs(600));
    let id = nano_worker::protocol::v0::ChargeId::new("chg");
    signed_by_other.charge =
        Some(charge::sign(&other, parties, id, &crate::support::address(9), "1000000", expires_at));
    assert_eq!(verify(&signed_by_other, key).unwrap_err(), "the charge's signature is not the seller's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_or_method_that_is_not_there_is_refused_in_the_dialects_form() {
    let market = Market::open().await;
    for (method, path, status, message) in [
        ("GET", "/v0/nothing", 404, "not found"),
        ("GET", "/v0", 404, "not found"),
        ("POST", "/v0/poll/batch", 404, "not found"),
        ("POST", "/v0/ack", 404, "not found"),
        ("PUT", "/v0/offers", 405, "method not allowed"),
        ("GET", "/v0/poll/ack", 405, "method not allowed"),
        ("POST", "/market/offers", 405, "method not allowed"),
    ] {
        let told = market.seller.send(method, path, "", Some("k"), now(), &nonce()).await;
        refused(&told, status, message);
        assert_eq!(told.header("content-type"), Some("application/json"));
    }
    // What is nobody's is refused as ever.
    exchange(&market.relay.addr, "GET", "/v2/offers", b"", &[]).await.refused(404, "not_found");
    exchange(&market.relay.addr, "DELETE", "/v1/offers", b"", &[]).await.refused(404, "not_found");
}
