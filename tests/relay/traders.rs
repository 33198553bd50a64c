//! Bots that sign and seal, and a market of two of them.

use std::time::Duration;

use nano_worker::edge::{Clock, Entropy};
use nano_worker::protocol::v0::payload::{Address, Kind, write};
use nano_worker::protocol::v0::signing::sign;
use nano_worker::protocol::v0::{BotKeys, ChargeId, Job, JobId, Moment, PayloadId, Registration, charge};
use serde_json::{Value, json};

use crate::support::{Answer, Relay, address, exchange};

/// A registered bot, and where it is registered.
pub(crate) struct Bot {
    pub(crate) addr: String,
    pub(crate) keys: BotKeys,
}

pub(crate) fn now() -> Moment {
    Clock::system().now().into()
}

pub(crate) fn nonce() -> String {
    hex::encode(Entropy::system().bytes::<8>())
}

impl Bot {
    pub(crate) fn new(relay: &Relay, number: u8) -> Self {
        Self { addr: relay.addr.clone(), keys: BotKeys::from_seeds(&[number; 32], &[number + 50; 32]) }
    }

    pub(crate) async fn registered(relay: &Relay, number: u8) -> Self {
        let bot = Self::new(relay, number);
        bot.post("/v0/bots", json!(Registration::of(&bot.keys))).await.expect(200);
        bot
    }

    pub(crate) fn id(&self) -> String {
        self.keys.bot_id().to_string()
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, "", None, now(), &nonce()).await
    }

    pub(crate) async fn post(&self, target: &str, body: Value) -> Answer {
        self.keyed(target, &body.to_string(), &nonce()).await
    }

    pub(crate) async fn keyed(&self, target: &str, body: &str, key: &str) -> Answer {
        self.send("POST", target, body, Some(key), now(), &nonce()).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        body: &str,
        key: Option<&str>,
        at: Moment,
        nonce: &str,
    ) -> Answer {
        let signed = sign(&self.keys, method, target, body.as_bytes(), at, nonce);
        let mut headers: Vec<_> = signed.map(|(name, value)| (name.to_owned(), value)).into();
        headers.extend(key.map(|key| ("X-Idempotency-Key".to_owned(), key.to_owned())));
        exchange(&self.addr, method, target, body.as_bytes(), &headers).await
    }

    pub(crate) fn sealed(&self, to: &Self, job: &str, payload: &str, kind: Kind, body: &str) -> Value {
        let (payload_id, job_id) = (PayloadId::new(payload), JobId::new(job));
        let address = Address {
            payload_id: &payload_id,
            job_id: &job_id,
            kind,
            recipient: to.keys.bot_id(),
            recipient_key: &to.keys.sealing_key(),
        };
        json!(write(&self.keys, address, body, now(), &Entropy::system().bytes()).unwrap())
    }
}

#[track_caller]
pub(crate) fn refused(answer: &Answer, status: u16, message: &str) {
    assert_eq!((answer.status, answer.body["error"].as_str()), (status, Some(message)), "{}", answer.text);
    assert_eq!(answer.body["message"], answer.body["error"]);
    assert!(answer.body["code"].is_string());
}

pub(crate) fn offer() -> Value {
    json!({"title": "Nano summary", "description": "Summarize a Nano paper", "tags": ["nano", "summary"],
           "price_raw": "1000000", "turnaround_seconds": 3600, "request_schema_hint": "a text"})
}

/// A seller with an offer, and a buyer.
pub(crate) struct Market {
    pub(crate) relay: Relay,
    pub(crate) seller: Bot,
    pub(crate) buyer: Bot,
    pub(crate) offer: String,
}

impl Market {
    pub(crate) async fn open() -> Self {
        Self::on(Relay::start().await).await
    }

    pub(crate) async fn on(relay: Relay) -> Self {
        let (seller, buyer) = (Bot::registered(&relay, 1).await, Bot::registered(&relay, 2).await);
        let made = seller.post("/v0/offers", offer()).await.expect(200);
        Self { relay, seller, buyer, offer: made["offer_id"].as_str().unwrap().to_owned() }
    }

    pub(crate) fn request(&self, job: &str) -> Value {
        let payload = self.buyer.sealed(&self.seller, job, &format!("pay_{job}"), Kind::Request, "do it");
        json!({"job_id": job, "offer_id": self.offer, "request_payload": payload})
    }

    pub(crate) async fn ask(&self, job: &str) -> Answer {
        self.buyer.send("POST", "/v0/jobs", &self.request(job).to_string(), None, now(), &nonce()).await
    }

    pub(crate) fn charge(&self, job: &Value, number: u64, expires_in: Duration) -> Value {
        let job: Job = serde_json::from_value(job.clone()).unwrap();
        let expires_at = now().plus(expires_in);
        let id = ChargeId::new(format!("chg_{}", job.job_id));
        let parties = charge::Parties::of(&job);
        json!(charge::sign(&self.seller.keys, parties, id, &address(number), "1000000", expires_at))
    }

    pub(crate) async fn charged(&self, job: &str, number: u64) -> Value {
        let asked = self.ask(job).await.expect(200);
        let charge = self.charge(&asked, number, Duration::from_secs(600));
        self.seller.post(&format!("/v0/jobs/{job}/charge"), charge).await.expect(200)
    }

    pub(crate) async fn deliver(&self, job: &str, payload: &str, kind: Kind) -> Answer {
        let payload = self.seller.sealed(&self.buyer, job, payload, kind, "five bullets");
        self.seller.post(&format!("/v0/jobs/{job}/deliver"), json!({ "payload": payload })).await
    }
}

pub(crate) fn types(page: &Value) -> Vec<&str> {
    page["events"].as_array().unwrap().iter().map(|event| event["event_type"].as_str().unwrap()).collect()
}
