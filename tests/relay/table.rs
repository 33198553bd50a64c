//! Every cell of the lifecycle's table: allowed, or refused exactly so.

use std::time::Duration;

use nano_worker::protocol::lifecycle::{Actor, Status, Verb, transition};
use serde_json::{Value, json};

use crate::support::{Answer, Market, Party, address, hash};

const VERBS: [Verb; 9] = [
    Verb::Quote,
    Verb::Refuse,
    Verb::Accept,
    Verb::Pay,
    Verb::Lock,
    Verb::Unlock,
    Verb::Deliver,
    Verb::Fail,
    Verb::Cancel,
];

#[tokio::test(flavor = "multi_thread")]
async fn every_cell_is_allowed_or_refused_exactly_so() {
    let market = Market::open().await;
    let mut number = 1_000;
    let mut allowed = 0;
    for status in Status::ALL {
        for paid in [false, true] {
            if paid && status != Status::Accepted {
                continue;
            }
            let mut job: Option<String> = None;
            for verb in VERBS {
                for (caller, role) in callers(&market) {
                    number += 1;
                    let id = match job.take() {
                        Some(id) => id,
                        None => bring(&market, status, paid, number).await,
                    };
                    let answer = attempt(caller, verb, &id, number).await;
                    let moved = answer.status == 200;
                    check(answer, status, paid, verb, role);
                    allowed += usize::from(moved);
                    if !moved {
                        job = Some(id);
                    }
                }
            }
        }
    }
    // Every row of the table by a party (the clock's are the sweeper's); paid and unpaid both cancel.
    assert_eq!(allowed, 12 + 1);
}

fn callers(market: &Market) -> [(&Party, Option<Actor>); 3] {
    [(&market.stranger, None), (&market.seller, Some(Actor::Seller)), (&market.buyer, Some(Actor::Buyer))]
}

#[track_caller]
fn check(answer: Answer, status: Status, paid: bool, verb: Verb, role: Option<Actor>) {
    let cell = format!("{status} (paid: {paid}) {verb} by {role:?}");
    let is_theirs =
        role.is_some_and(|role| Status::ALL.iter().any(|&from| transition(from, role, verb).is_some()));
    let got = (answer.status, answer.body["error"]["code"].as_str().unwrap_or("").to_owned());
    let refused = |status: u16, code: &str| (status, code.to_owned());
    if !is_theirs {
        assert_eq!(got, refused(403, "forbidden"), "{cell}");
        return;
    }
    let row = role.and_then(|role| transition(status, role, verb));
    let guarded = status == Status::Accepted && (verb == Verb::Lock && !paid || verb == Verb::Pay && paid);
    match row {
        Some(row) if !guarded => {
            assert_eq!(got, (200, String::new()), "{cell}: {}", answer.text);
            assert_eq!(answer.body["job"]["status"], row.to.name(), "{cell}");
        }
        _ => assert_eq!(got, refused(409, "invalid_state"), "{cell}"),
    }
}

async fn bring(market: &Market, status: Status, paid: bool, number: u64) -> String {
    let job = market.ask().await;
    let at = |verb: &str| format!("/v1/jobs/{job}/{verb}");
    match status {
        Status::Requested => return job,
        Status::Canceled => {
            market.buyer.post(&at("cancel"), json!({"reason": "changed my mind"})).await.expect(200);
            return job;
        }
        Status::Expired => {
            let soon = nano_worker::edge::Clock::system().now().plus(Duration::from_millis(300));
            let quote = json!({"quote_amount_raw": "1", "quote_invoice_address": address(number), "quote_expires_at": soon});
            market.seller.post(&at("quote"), quote).await.expect(200);
            tokio::time::sleep(Duration::from_millis(350)).await;
            // Whoever comes too late is refused, and leaves the job expired.
            market.accept(&job).await.refused(409, "invalid_state");
            let seen = market.buyer.get(&format!("/v1/jobs/{job}")).await.expect(200);
            assert_eq!(seen["job"]["status"], "expired");
            return job;
        }
        _ => {}
    }
    market.quote(&job, number).await.expect(200);
    if status == Status::Quoted {
        return job;
    }
    market.accept(&job).await.expect(200);
    if status == Status::Accepted && !paid {
        return job;
    }
    market.pay(&job, number).await.expect(200);
    if status == Status::Accepted {
        return job;
    }
    market.lock(&job, "holder").await.expect(200);
    match status {
        Status::Delivered => {
            drop(market.deliver(&job, json!({"result_url": "https://example.org/r"})).await.expect(200))
        }
        Status::Failed => drop(market.deliver(&job, json!({"error": {"code": "x"}})).await.expect(200)),
        _ => {}
    }
    job
}

async fn attempt(caller: &Party, verb: Verb, job: &str, number: u64) -> Answer {
    let number = number + 1_000_000;
    let (method, path, body): (_, _, Value) = match verb {
        Verb::Quote => {
            ("POST", "quote", json!({"quote_amount_raw": "5", "quote_invoice_address": address(number)}))
        }
        Verb::Refuse => ("POST", "refuse", json!({"reason": "not today"})),
        Verb::Accept => ("POST", "accept", json!({})),
        Verb::Pay => ("POST", "payment", json!({"payment_tx_hash": hash(number)})),
        Verb::Lock => ("POST", "lock", json!({"holder": "holder"})),
        Verb::Unlock => ("DELETE", "lock", json!({"holder": "holder", "lock_token": 1})),
        Verb::Deliver => ("POST", "deliver", json!({"result_payload": {"done": true}})),
        Verb::Fail => ("POST", "deliver", json!({"error": {"code": "x", "message": "y", "details": null}})),
        Verb::Cancel => ("POST", "cancel", json!({})),
        Verb::Expire => unreachable!("time makes no requests"),
    };
    caller.send(method, &format!("/v1/jobs/{job}/{path}"), &body.to_string(), &[]).await
}
