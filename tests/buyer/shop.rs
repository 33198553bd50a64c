//! A relay and its seller in one: jobs move by the protocol's own table, the seller answers at
//! once, and both can be told to fail, to lie and to lose answers.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Request, Response};
use nano_worker::edge::Clock;
use nano_worker::nano::{Account, Amount, Seed};
use nano_worker::protocol::apply::{Outcome, Rules};
use nano_worker::protocol::signing::{self, Signer};
use nano_worker::protocol::{
    Caller, Code, Command, Context, Job, JobId, Offer, PublicKey, Refusal, Status, Timestamp, apply,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) const OFFER: &str = "7f0c2b0e-4a51-4d0e-9e0b-1c1f6a3b2d10";

/// What the seller does with a request.
#[derive(Clone)]
pub(crate) enum Manner {
    /// Quotes at once and delivers as soon as it is told of a payment.
    Prompt,
    /// Quotes, but the quote is over almost at once.
    Brief,
    /// Refuses.
    Refusing(&'static str),
    /// Quotes, and fails the job after the payment.
    Failing,
    /// Quotes, and never delivers.
    Silent,
}

/// What happens to a call in place of its answer.
#[derive(Clone)]
pub(crate) struct Fault {
    /// Only to calls whose path ends like this.
    pub(crate) path: &'static str,
    /// Whether the call is carried out all the same.
    pub(crate) carried_out: bool,
    pub(crate) status: u16,
    pub(crate) body: &'static str,
}

pub(crate) struct Shelf {
    pub(crate) jobs: HashMap<JobId, Job>,
    pub(crate) manner: Manner,
    pub(crate) price: Amount,
    pub(crate) faults: VecDeque<Fault>,
    /// Calls that were carried out, by path.
    pub(crate) carried_out: Vec<String>,
    pub(crate) delay: Duration,
    /// Changes every job that is shown.
    pub(crate) lie: Option<fn(&mut Job)>,
    answers: HashMap<(PublicKey, String), (Vec<u8>, u16, String)>,
    clock: i64,
}

#[derive(Clone)]
pub(crate) struct Shop {
    pub(crate) url: String,
    shelf: Arc<Mutex<Shelf>>,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shelf = Shelf {
            jobs: HashMap::new(),
            manner: Manner::Prompt,
            price: Amount::from_raw(1_000),
            faults: VecDeque::new(),
            carried_out: Vec::new(),
            delay: Duration::ZERO,
            lie: None,
            answers: HashMap::new(),
            clock: Clock::system().now().micros(),
        };
        let shop = Self { url, shelf: Arc::new(Mutex::new(shelf)) };
        let app = Router::new().fallback(answer).with_state(shop.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        shop
    }

    pub(crate) fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap()
    }

    pub(crate) fn fault(&self, path: &'static str, carried_out: bool, status: u16, body: &'static str) {
        self.shelf().faults.push_back(Fault { path, carried_out, status, body });
    }

    /// The invoice of each job that was quoted.
    pub(crate) fn invoices(&self) -> Vec<(Job, Account)> {
        let shelf = self.shelf();
        let invoice = |job: &Job| Some((job.clone(), job.quote_invoice_address.as_ref()?.parse().ok()?));
        shelf.jobs.values().filter_map(invoice).collect()
    }

    pub(crate) fn only_job(&self) -> Job {
        let shelf = self.shelf();
        assert_eq!(shelf.jobs.len(), 1);
        shelf.jobs.values().next().unwrap().clone()
    }
}

fn seller() -> Signer {
    Signer::from_seed(&[8; 32])
}

pub(crate) fn invoice(number: usize) -> Account {
    Seed::Hex([9; 32]).account(u32::try_from(number).unwrap()).unwrap()
}

async fn answer(State(shop): State<Shop>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let delay = shop.shelf().delay;
    tokio::time::sleep(delay).await;
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let target = parts.uri.path_and_query().unwrap().as_str();
    let key = header("x-molt-pubkey").parse::<PublicKey>().ok();
    let text = signing::canonical(
        parts.method.as_str(),
        target,
        header(signing::TIMESTAMP_HEADER),
        header(signing::NONCE_HEADER),
        &body,
    );
    let signed = key.filter(|key| signing::verifies(key, text.as_bytes(), header("x-molt-signature")));
    let (status, text) = shop.shelf().serve(parts.uri.path(), signed, header("idempotency-key"), &body);
    Response::builder().status(status).body(Body::from(text)).unwrap()
}

impl Shelf {
    fn serve(&mut self, path: &str, key: Option<PublicKey>, idempotency: &str, body: &[u8]) -> (u16, String) {
        let fault = self.faults.iter().position(|fault| path.ends_with(fault.path));
        let fault = fault.and_then(|place| self.faults.remove(place));
        if let Some(fault) = fault.as_ref().filter(|fault| !fault.carried_out) {
            return (fault.status, fault.body.to_owned());
        }
        let answer = self.once(path, key, idempotency, body);
        match fault {
            Some(fault) => (fault.status, fault.body.to_owned()),
            None => answer,
        }
    }

    fn once(&mut self, path: &str, key: Option<PublicKey>, idempotency: &str, body: &[u8]) -> (u16, String) {
        if path == "/v1/offers" {
            return (200, json!({ "offers": [offer()], "limit": 20, "offset": 0, "total": 1 }).to_string());
        }
        let Some(key) = key else {
            return refused(&Refusal::new(Code::InvalidSignature, "not signed"));
        };
        let name = (key, idempotency.to_owned());
        if let Some(answer) = self.answers.get(&name).filter(|_| !idempotency.is_empty()) {
            let (first, status, text) = answer;
            if first != body {
                return refused(&Refusal::new(Code::IdempotencyConflict, "another request had this key"));
            }
            return (*status, text.clone());
        }
        let bytes = body.to_vec();
        let body: Value = if body.is_empty() { json!({}) } else { serde_json::from_slice(body).unwrap() };
        let answer = match self.call(path, key, &body) {
            Ok(mut job) => {
                if let Some(lie) = self.lie {
                    lie(&mut job);
                }
                (200, json!({ "job": job }).to_string())
            }
            Err(refusal) => refused(&refusal),
        };
        if !idempotency.is_empty() {
            self.answers.insert(name, (bytes, answer.0, answer.1.clone()));
            self.carried_out.push(path.to_owned());
        }
        answer
    }

    fn call(&mut self, path: &str, key: PublicKey, body: &Value) -> Result<Job, Refusal> {
        let parts: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
        let (id, verb) = match parts.as_slice() {
            ["jobs"] => return self.request(key, body),
            ["jobs", id] => (*id, ""),
            ["jobs", id, verb] => (*id, *verb),
            _ => return Err(Refusal::new(Code::NotFound, "no such route")),
        };
        let id = id.parse().map_err(|_| Refusal::new(Code::NotFound, "no such job"))?;
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let by = Caller::Party(key);
        match verb {
            "" => self.jobs.get(&id).cloned().ok_or_else(|| Refusal::new(Code::NotFound, "no such job")),
            "accept" => self.act(id, by, Command::Accept),
            "cancel" => self.act(id, by, Command::Cancel { reason: text("reason") }),
            "payment" => {
                let payment_tx_hash = text("payment_tx_hash").unwrap_or_default();
                let job = self.act(id, by, Command::Pay { payment_tx_hash })?;
                self.sell(id);
                Ok(job)
            }
            _ => Err(Refusal::new(Code::NotFound, "no such route")),
        }
    }

    fn request(&mut self, buyer: PublicKey, body: &Value) -> Result<Job, Refusal> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(self.jobs.len() as u64).to_be_bytes());
        let id = JobId::from_random(bytes);
        let now = self.now();
        let job: Job = serde_json::from_value(json!({
            "job_id": id, "offer_id": body["offer_id"], "seller_pubkey": seller().public_key(),
            "buyer_pubkey": buyer, "status": "requested", "request_payload": body["request_payload"],
            "created_at": now, "updated_at": now,
        }))
        .unwrap();
        let number = self.jobs.len();
        self.jobs.insert(id, job.clone());
        let by = Caller::Party(seller().public_key());
        let quote = |expires_at| Command::Quote {
            amount_raw: self.price.to_string(),
            invoice_address: invoice(number).to_string(),
            expires_at,
        };
        let command = match self.manner {
            Manner::Refusing(reason) => Command::Refuse { reason: reason.to_owned() },
            Manner::Brief => quote(Some(now.plus(Duration::from_secs(1)))),
            _ => quote(None),
        };
        self.act(id, by, command)?;
        Ok(job)
    }

    fn sell(&mut self, id: JobId) {
        let by = Caller::Party(seller().public_key());
        let request = self.jobs[&id].request_payload.clone();
        let outcome = match self.manner {
            Manner::Silent => return,
            Manner::Failing => Outcome::Error(json!({ "code": "handler_failed", "message": "it broke" })),
            _ => Outcome::Result(json!({ "text": format!("done: {request}") })),
        };
        let lock = Command::Lock { holder: Some("h".to_owned()), ttl: None, payment_tx_hash: None };
        self.act(id, by, lock).unwrap();
        self.act(id, by, Command::Deliver { outcome, lock_token: None }).unwrap();
    }

    fn act(&mut self, id: JobId, by: Caller, command: Command) -> Result<Job, Refusal> {
        let now = self.now();
        let rules = Rules::default();
        let context = Context { now, rules: &rules, fixed_price_raw: None };
        let job = self.jobs.get(&id).ok_or_else(|| Refusal::new(Code::NotFound, "no such job"))?;
        let mut job = apply(job, by, &command, &context)?.job;
        job.updated_at = now;
        self.jobs.insert(id, job.clone());
        Ok(job)
    }

    pub(crate) fn expire(&mut self, id: JobId) {
        self.jobs.get_mut(&id).unwrap().status = Status::Expired;
    }

    fn now(&mut self) -> Timestamp {
        self.clock = Clock::system().now().micros().max(self.clock + 1);
        Timestamp::from_micros(self.clock)
    }
}

fn refused(refusal: &Refusal) -> (u16, String) {
    (refusal.code.status(), refusal.to_body().to_string())
}

fn offer() -> Offer {
    serde_json::from_value(json!({
        "offer_id": OFFER, "seller_pubkey": seller().public_key(), "title": "Word count",
        "description": "Counts words.", "tags": ["text"], "pricing_mode": "quote",
        "created_at": "2026-01-29T10:00:00Z",
    }))
    .unwrap()
}
