//! Every row of the error table, and the order of the checks.

use serde_json::{Value, json};

use crate::support::{Market, Party, Relay, address, exchange, hash, long, now, quoted_offer};

#[tokio::test]
async fn what_is_not_signed_well_is_401() {
    let relay = Relay::start().await;
    let party = relay.party(1);
    let target = "/v1/jobs?limit=1";
    let signed = || party.signed("GET", target, "");
    let ask = |headers: Vec<(String, String)>| {
        let addr = relay.addr.clone();
        async move { exchange(&addr, "GET", target, b"", &headers).await }
    };
    ask(signed()).await.expect(200);
    for place in 0..4 {
        let mut missing = signed();
        missing.remove(place);
        ask(missing).await.refused(401, "auth.invalid_signature");
        for wrong in ["", "zz", &"A".repeat(64), &"a".repeat(200)] {
            let mut headers = signed();
            headers[place].1 = wrong.to_owned();
            ask(headers).await.refused(401, "auth.invalid_signature");
        }
    }
    let mut upper = signed();
    upper[3].1 = upper[3].1.to_uppercase();
    ask(upper).await.refused(401, "auth.invalid_signature");
    // Signed for another path, query, method or body.
    for (method, other, body) in [
        ("GET", "/v1/jobs", ""),
        ("GET", "/v1/jobs?limit=2", ""),
        ("POST", target, ""),
        ("GET", target, "{}"),
    ] {
        ask(party.signed(method, other, body)).await.refused(401, "auth.invalid_signature");
    }
    for (offset, fine) in [(-58, true), (58, true), (-62, false), (62, false), (-1_000_000, false)] {
        let nonce = format!("{:032x}", offset + 2_000_000);
        let answer = ask(party.signed_at("GET", target, "", now() + offset, &nonce)).await;
        if fine { drop(answer.expect(200)) } else { drop(answer.refused(401, "auth.timestamp_skew")) }
    }
}

#[tokio::test]
async fn a_nonce_is_used_once_also_after_a_restart_and_by_failures() {
    let relay = Relay::start().await;
    let (party, target) = (relay.party(1), "/v1/jobs/no-uuid");
    let signed = party.signed("GET", target, "");
    // A stranger's bad signature does not burn it.
    let mut broken = signed.clone();
    broken[3].1 = "0".repeat(128);
    exchange(&relay.addr, "GET", target, b"", &broken).await.refused(401, "auth.invalid_signature");
    exchange(&relay.addr, "GET", target, b"", &signed).await.refused(400, "validation_error");
    exchange(&relay.addr, "GET", target, b"", &signed).await.refused(401, "auth.nonce_replay");
    let relay = Relay::in_dir(relay.stop().await, |_| {}).await;
    exchange(&relay.addr, "GET", target, b"", &signed).await.refused(401, "auth.nonce_replay");
    // Another key may use the same nonce.
    let other = relay.party(2).signed_at("GET", target, "", now(), &signed[2].1);
    exchange(&relay.addr, "GET", target, b"", &other).await.refused(400, "validation_error");
}

#[tokio::test]
async fn every_route_answers_with_a_request_id_and_strangers_are_refused() {
    let relay = Relay::start().await;
    let id = "7f0c2b0e-4a51-4d0e-9e0b-1c1f6a3b2d10";
    let signed_routes = [
        ("POST", "/v1/offers"),
        ("PATCH", &format!("/v1/offers/{id}")),
        ("POST", "/v1/jobs"),
        ("GET", "/v1/jobs"),
        ("GET", &format!("/v1/jobs/{id}")),
        ("POST", &format!("/v1/jobs/{id}/quote")),
        ("POST", &format!("/v1/jobs/{id}/refuse")),
        ("POST", &format!("/v1/jobs/{id}/accept")),
        ("POST", &format!("/v1/jobs/{id}/payment")),
        ("POST", &format!("/v1/jobs/{id}/lock")),
        ("DELETE", &format!("/v1/jobs/{id}/lock")),
        ("POST", &format!("/v1/jobs/{id}/deliver")),
        ("POST", &format!("/v1/jobs/{id}/cancel")),
        ("GET", "/v1/poll"),
        ("POST", "/v1/poll/ack"),
        ("GET", "/v1/events"),
    ];
    for (method, target) in signed_routes {
        let answer = exchange(&relay.addr, method, target, b"", &[]).await;
        assert_eq!(answer.header("x-request-id").map(str::len), Some(32), "{target}");
        answer.refused(401, "auth.invalid_signature");
    }
    for (target, status) in [
        ("/health", 200),
        ("/healthz", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/openapi.json", 200),
        ("/docs", 200),
        ("/v1/offers", 200),
        ("/ws/seller", 400),
        ("/nothing", 404),
        ("/v1/nothing", 404),
    ] {
        let own = [("X-Request-Id".to_owned(), "mine-1".to_owned())];
        let answer = exchange(&relay.addr, "GET", target, b"", &own).await;
        assert_eq!((answer.status, answer.header("x-request-id")), (status, Some("mine-1")), "{target}");
        if status >= 400 {
            assert!(answer.body["error"]["code"].is_string(), "{target}");
        }
    }
    exchange(&relay.addr, "PUT", "/v1/jobs", b"", &[]).await.refused(404, "not_found");
    let health = exchange(&relay.addr, "GET", "/health", b"", &[]).await;
    assert_eq!(health.body, json!({"ok": true}));
    let metrics = exchange(&relay.addr, "GET", "/metrics", b"", &[]).await;
    assert!(metrics.text.contains("relay_requests_total"), "{}", metrics.text);
}

#[tokio::test]
async fn bad_bodies_are_400_and_large_ones_413() {
    let market = Market::open().await;
    let seller = &market.seller;
    let post = |body: String| async move { seller.send("POST", "/v1/offers", &body, &[]).await };
    let deep = format!("{{\"title\":{}{}}}", "[".repeat(64), "]".repeat(64));
    for body in ["x", "[]", "{\"title\":1,\"title\":2}", "{\"title\":\"\\u0000\"}", &deep, "", "{}"] {
        post(body.to_owned()).await.refused(400, "validation_error");
    }
    let fields = |name: &str, value: Value| {
        let mut offer = quoted_offer();
        offer[name] = value;
        offer
    };
    let wrong = [
        ("title", json!("")),
        ("title", json!(long(121))),
        ("title", json!(5)),
        ("description", json!(long(2001))),
        ("tags", json!(vec!["t"; 17])),
        ("tags", json!([long(33)])),
        ("tags", json!("text")),
        ("pricing_mode", json!("auction")),
        ("fixed_price_raw", json!("5")),
        ("active", json!("yes")),
    ];
    for (name, value) in wrong {
        let details = post(fields(name, value.clone()).to_string()).await.refused(400, "validation_error");
        assert_eq!(details["issues"][0]["field"], name, "{value}");
    }
    post(fields("title", json!(long(120))).to_string()).await.expect(201);
    post(fields("unknown", json!({"a": 1})).to_string()).await.expect(201);

    let payload = |bytes: usize| json!({"offer_id": market.offer, "request_payload": "x".repeat(bytes - 2)});
    market.buyer.post("/v1/jobs", payload(65_536)).await.expect(201);
    market.buyer.post("/v1/jobs", payload(65_537)).await.refused(413, "payload_too_large");
    // Size comes before signature.
    let huge = "x".repeat(307_201);
    exchange(&market.relay.addr, "POST", "/v1/jobs", huge.as_bytes(), &[])
        .await
        .refused(413, "payload_too_large");
    let chunked = [("Transfer-Encoding".to_owned(), "chunked".to_owned())];
    let answer = send_chunked(&market.relay.addr, &chunked).await;
    assert!(answer.contains(" 413 "), "{answer}");
    let full = format!("{{\"pad\":\"{}\"}}", "x".repeat(307_200 - 10));
    market.buyer.send("POST", "/v1/jobs", &full, &[]).await.refused(400, "validation_error");
}

async fn send_chunked(addr: &str, _: &[(String, String)]) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let head = "POST /v1/jobs HTTP/1.1\r\nHost: r\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 100_000, "y".repeat(100_000));
    for _ in 0..4 {
        drop(stream.write_all(chunk.as_bytes()).await);
    }
    drop(stream.write_all(b"0\r\n\r\n").await);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn values_of_moves_are_checked_after_the_state() {
    let market = Market::open().await;
    let job = market.ask().await;
    let quote =
        |amount: &str, address: String| json!({"quote_amount_raw": amount, "quote_invoice_address": address});
    let at = |verb: &str| format!("/v1/jobs/{job}/{verb}");
    for body in [
        quote("", address(1)),
        quote("1.5", address(1)),
        quote(&"1".repeat(41), address(1)),
        quote("1", "nano_nonsense".to_owned()),
        quote("1", long(129)),
        json!({"quote_amount_raw": "1", "quote_invoice_address": address(1), "quote_expires_at": "tomorrow"}),
        json!({"quote_amount_raw": "1", "quote_invoice_address": address(1), "quote_expires_at": "2001-01-01T00:00:00Z"}),
        json!({"quote_amount_raw": "1", "quote_invoice_address": address(1), "quote_expires_at": "2101-01-01T00:00:00Z"}),
    ] {
        market.seller.post(&at("quote"), body).await.refused(400, "validation_error");
    }
    market.quote(&job, 1).await.expect(200);
    market.quote(&job, 1).await.refused(409, "invalid_state");
    let second = market.ask().await;
    market.quote(&second, 1).await.refused(400, "validation_error");
    // The same account in its older spelling is the same address.
    let older = quote("1000", address(1).replace("nano_", "xrb_"));
    let target = format!("/v1/jobs/{second}/quote");
    market.seller.post(&target, older).await.refused(400, "validation_error");
    market.quote(&second, 2).await.expect(200);
    for job in [&job, &second] {
        market.accept(job).await.expect(200);
    }
    market
        .buyer
        .post(&at("payment"), json!({"payment_tx_hash": "abc"}))
        .await
        .refused(400, "validation_error");
    let paid = market
        .buyer
        .post(&at("payment"), json!({"payment_tx_hash": hash(171).to_lowercase()}))
        .await
        .expect(200);
    assert_eq!(paid["job"]["payment_tx_hash"], hash(171));
    market.pay(&job, 172).await.refused(409, "invalid_state");
    market.pay(&second, 171).await.refused(409, "payment_hash_reused");

    for ttl in [9, 601] {
        market.seller.post(&at("lock"), json!({"ttl_seconds": ttl})).await.refused(400, "validation_error");
    }
    market.lock(&job, "one").await.expect(200);
    market.lock(&job, "two").await.refused(409, "lock_conflict");
    market.lock(&job, "one").await.expect(200);
    market.deliver(&job, json!({"result_payload": 1, "error": 2})).await.refused(400, "validation_error");
    market.deliver(&job, json!({})).await.refused(400, "validation_error");
    market.deliver(&job, json!({"result_payload": 1, "lock_token": 2})).await.refused(409, "lock_lost");
    market
        .deliver(&job, json!({"result_payload": "x".repeat(262_143)}))
        .await
        .refused(413, "payload_too_large");
    market.deliver(&job, json!({"error": "x".repeat(8_191)})).await.refused(413, "payload_too_large");
    let unlock = json!({"holder": "one", "lock_token": 1}).to_string();
    market.seller.send("DELETE", &at("lock"), &unlock, &[]).await.expect(200);
    market.seller.send("DELETE", &at("lock"), &unlock, &[]).await.refused(409, "lock_lost");
    assert_eq!(market.lock(&job, "two").await.expect(200)["job"]["lock_token"], 2);
    market.deliver(&job, json!({"result_payload": "x".repeat(262_142), "lock_token": 2})).await.expect(200);
}

#[tokio::test]
async fn jobs_are_for_their_parties_and_offers_for_their_seller() {
    let market = Market::open().await;
    let job = market.ask().await;
    market.stranger.get(&format!("/v1/jobs/{job}")).await.refused(403, "forbidden");
    market.stranger.post(&format!("/v1/jobs/{job}/cancel"), json!({})).await.refused(403, "forbidden");
    let unknown = "/v1/jobs/7f0c2b0e-4a51-4d0e-9e0b-1c1f6a3b2d10";
    market.buyer.get(unknown).await.refused(404, "not_found");
    market.buyer.post(&format!("{unknown}/accept"), json!({})).await.refused(404, "not_found");
    market
        .buyer
        .post("/v1/jobs", json!({"offer_id": "7f0c2b0e-4a51-4d0e-9e0b-1c1f6a3b2d10"}))
        .await
        .refused(404, "not_found");
    market.buyer.post("/v1/jobs", json!({"offer_id": "x"})).await.refused(400, "validation_error");
    let offer = format!("/v1/offers/{}", market.offer);
    let change = |party: &Party, body: Value| {
        let (party, offer) = (party.clone(), offer.clone());
        async move { party.send("PATCH", &offer, &body.to_string(), &[]).await }
    };
    change(&market.buyer, json!({"active": false})).await.refused(403, "forbidden");
    change(&market.seller, json!({"pricing_mode": "fixed"})).await.refused(400, "validation_error");
    change(&market.seller, json!({"active": false, "title": "Closed"})).await.expect(200);
    market.buyer.post("/v1/jobs", json!({"offer_id": market.offer})).await.refused(409, "invalid_state");
    let found = exchange(&market.relay.addr, "GET", "/v1/offers", b"", &[]).await.expect(200);
    assert_eq!(found["total"], 0);
    let found = exchange(&market.relay.addr, "GET", "/v1/offers?active=false&q=cLoS&tags=text", b"", &[])
        .await
        .expect(200);
    assert_eq!(found["offers"][0]["title"], "Closed");
    let one = exchange(&market.relay.addr, "GET", &offer, b"", &[]).await.expect(200);
    assert_eq!(one["offer"], found["offers"][0]);
}

#[tokio::test]
async fn a_fixed_price_is_kept_and_opaque_texts_are_kept_when_told() {
    let market = Market::open().await;
    let fixed = json!({"title": "T", "description": "D", "pricing_mode": "fixed", "fixed_price_raw": "1000"});
    let offer = market.seller.post("/v1/offers", fixed).await.expect(201);
    let job =
        market.buyer.post("/v1/jobs", json!({"offer_id": offer["offer"]["offer_id"]})).await.expect(201);
    let path = format!("/v1/jobs/{}/quote", job["job"]["job_id"].as_str().unwrap());
    let quote = |amount: &str| json!({"quote_amount_raw": amount, "quote_invoice_address": address(9)});
    market.seller.post(&path, quote("999")).await.refused(400, "validation_error");
    market.seller.post(&path, quote("1000")).await.expect(200);

    let market = Market::on(Relay::with(|config| config.rules.nano_checks = false).await).await;
    let job = market.ask().await;
    let quote = json!({"quote_amount_raw": "1", "quote_invoice_address": "anything"});
    market.seller.post(&format!("/v1/jobs/{job}/quote"), quote).await.expect(200);
    market.accept(&job).await.expect(200);
    let paid = market
        .buyer
        .post(&format!("/v1/jobs/{job}/payment"), json!({"payment_tx_hash": "aBc"}))
        .await
        .expect(200);
    assert_eq!(paid["job"]["payment_tx_hash"], "aBc");
}

#[tokio::test]
async fn too_many_requests_are_told_when_to_come_back() {
    let rates = nano_worker::relay::config::Rates { strict_max: 2, ..Default::default() };
    let relay = Relay::with(|config| config.rates = Some(rates)).await;
    let party = relay.party(1);
    for _ in 0..2 {
        party.post("/v1/offers", quoted_offer()).await.expect(201);
    }
    let answer = party.post("/v1/offers", quoted_offer()).await;
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&seconds), "{seconds}");
    answer.refused(429, "rate_limited");
    party.get("/v1/jobs").await.expect(200);
    relay.party(2).post("/v1/offers", quoted_offer()).await.expect(201);
}

#[tokio::test]
async fn a_seller_may_bring_the_payment_with_the_lock() {
    let market = Market::open().await;
    let (paid, unpaid) = (market.paid(1).await, market.ask().await);
    market.quote(&unpaid, 2).await.expect(200);
    market.accept(&unpaid).await.expect(200);
    let lock = |number: u64| {
        let body = json!({"holder": "w", "payment_tx_hash": hash(number)});
        let (seller, target) = (market.seller.clone(), format!("/v1/jobs/{unpaid}/lock"));
        async move { seller.post(&target, body).await }
    };
    market.lock(&unpaid, "w").await.refused(409, "invalid_state");
    lock(1).await.refused(409, "payment_hash_reused");
    let job = lock(3).await.expect(200);
    assert_eq!((&job["job"]["payment_tx_hash"], &job["job"]["status"]), (&json!(hash(3)), &json!("running")));
    market.seller.get(&format!("/v1/jobs/{paid}")).await.expect(200);
}

#[tokio::test]
async fn what_strangers_make_up_is_neither_kept_nor_repeated() {
    let relay = Relay::start().await;
    exchange(&relay.addr, "MADEUP", "/v1/offers", b"", &[]).await.refused(404, "not_found");
    let metrics = exchange(&relay.addr, "GET", "/metrics", b"", &[]).await;
    assert!(!metrics.text.contains("MADEUP"), "{}", metrics.text);
    exchange(&relay.addr, "GET", "/v1/offers/%ff", b"", &[]).await.refused(400, "validation_error");
    let key = "k".repeat(140_000);
    let body = format!("{{\"{key}\":1,\"{key}\":2}}");
    let answer = relay.party(1).send("POST", "/v1/offers", &body, &[("Idempotency-Key", "k")]).await;
    assert!(answer.text.len() < 1_000, "{} bytes", answer.text.len());
    answer.refused(400, "validation_error");
    let far = format!("since_event_id={}", u64::MAX);
    relay.party(1).get(&format!("/v1/poll?{far}")).await.refused(410, "cursor_too_old");
}

#[tokio::test]
async fn an_operators_longer_defaults_are_for_those_who_name_none() {
    let relay = Relay::with(|config| {
        config.rules.quote_ttl = std::time::Duration::from_secs(7_200);
        config.rules.lock_ttl = std::time::Duration::from_secs(1_200);
    })
    .await;
    let market = Market::on(relay).await;
    let job = market.paid(1).await;
    market.seller.post(&format!("/v1/jobs/{job}/lock"), json!({})).await.expect(200);
}

#[tokio::test]
async fn all_wrong_fields_are_named_at_once() {
    let market = Market::open().await;
    let named = |details: Value| {
        let issues = details["issues"].as_array().unwrap().clone();
        issues.iter().map(|issue| issue["field"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let details = market.seller.post("/v1/offers", json!({"tags": 5})).await.refused(400, "validation_error");
    assert_eq!(named(details), ["title", "description", "pricing_mode", "tags"]);
    let mut offer = quoted_offer();
    (offer["title"], offer["tags"], offer["fixed_price_raw"]) = (json!(""), json!([""]), json!("1"));
    let details = market.seller.post("/v1/offers", offer).await.refused(400, "validation_error");
    assert_eq!(named(details), ["title", "tags", "fixed_price_raw"]);
    let quote = format!("/v1/jobs/{}/quote", market.ask().await);
    let details = market.seller.post(&quote, json!({})).await.refused(400, "validation_error");
    assert_eq!(named(details), ["quote_amount_raw", "quote_invoice_address"]);
}
