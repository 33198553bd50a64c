//! What a relay keeps under a key, and how a delivery comes through all the same.

use std::collections::HashMap;
use std::sync::Mutex;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use nano_currency::{Account, Amount};
use serde_json::{Value, json};

use super::super::fixture::{bazaar, bot, buyer, job as described, kept};
use super::*;
use crate::client::wire::{Request, Response, Wire};
use crate::store::Batch;
use crate::worker::stage::{Lock, Stage};

/// A relay with one job, which tells every answer to a delivery again for its key, as deployed ones do.
#[derive(Debug)]
struct Keeping(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    status: &'static str,
    /// Body and answer by key.
    answers: HashMap<String, (Vec<u8>, (u16, Value))>,
    /// Names of payloads, in the order in which they came.
    payloads: Vec<String>,
    /// How many more deliveries are taken before the line breaks.
    takes: Option<usize>,
    /// How many more questions about the job something in front of it answers as if there were none.
    hidden: usize,
    /// How often it was asked for something that has no stranger's name in it.
    polls: usize,
}

impl Keeping {
    fn new(status: &'static str) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Kept { status, ..Kept::default() })))
    }

    fn set(&self, status: &'static str) {
        self.0.lock().unwrap().status = status;
    }

    fn payloads(&self) -> Vec<String> {
        self.0.lock().unwrap().payloads.clone()
    }
}

impl Kept {
    fn deliver(&mut self, request: Request) -> Result<(u16, Value), String> {
        match self.takes.as_mut() {
            Some(0) => return Err("the line is broken".to_owned()),
            Some(takes) => *takes -= 1,
            None => {}
        }
        let key = request.headers["x-idempotency-key"].to_str().unwrap().to_owned();
        assert!((1..=128).contains(&key.len()), "{key}");
        if let Some((body, answer)) = self.answers.get(&key) {
            let collision = (409, json!({ "error": "idempotency collision" }));
            return Ok(if *body == request.body { answer.clone() } else { collision });
        }
        let sent: Value = serde_json::from_slice(&request.body).unwrap();
        let answer = self.take(&sent["payload"]);
        self.answers.insert(key, (request.body, answer.clone()));
        Ok(answer)
    }

    fn take(&mut self, payload: &Value) -> (u16, Value) {
        let no = |words: &str| (409, json!({ "error": words }));
        let name = payload["payload_id"].as_str().unwrap().to_owned();
        let ends = payload["payload_kind"] == "deliverable";
        match self.status {
            "DELIVERED" => return no("job not mutable"),
            "CHARGE_CREATED" if ends => return no("job not paid"),
            _ if self.payloads.contains(&name) => return no("payload_id already used"),
            _ => {}
        }
        if ends {
            self.status = "DELIVERED";
        }
        self.payloads.push(name.clone());
        (200, json!({ "payload_id": name, "job_status": self.status }))
    }
}

impl Wire for Keeping {
    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, String>> {
        let mut kept = self.0.lock().unwrap();
        let answer = match request.target.as_str() {
            target if target.starts_with("/v0/poll") => {
                kept.polls += 1;
                Ok((200, json!({ "events": [], "last_acked_event_id": 0, "min_event_id_retained": 0 })))
            }
            target if target.starts_with("/v0/jobs/") && kept.hidden > 0 => {
                kept.hidden -= 1;
                Ok((404, json!({ "error": "job not found" })))
            }
            "/v0/jobs/job_1/deliver" => kept.deliver(request),
            "/v0/jobs/job_1" => Ok((200, described("job_1", kept.status, "pay_1"))),
            _ => Ok((200, bot(&buyer()))),
        };
        ready(answer.map(|(status, body): (u16, Value)| Response::json(status, &body))).boxed()
    }
}

/// One life, with a state of its own that heard of the job at this moment and owes this for it.
struct Life {
    bazaar: Bazaar,
    job: JobId,
    _dir: tempfile::TempDir,
}

fn life(relay: &Arc<Keeping>, seconds: i64, result: &str) -> Life {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(memory::open(dir.path()).unwrap());
    let bazaar = bazaar(Arc::clone(relay) as _, store);
    let lock = Lock { token: None, expires_at: Timestamp::from_seconds(1_780_000_000) };
    let job = kept(&bazaar, "job_1", Stage::Delivering { lock, round: 1, failed: false });
    let mut batch = Batch::default();
    let first_seen_at = Timestamp::from_seconds(seconds);
    let record = Record { first_seen_at, outcomes: 1, ..bazaar.record(job).unwrap() };
    JOBS.put(&mut batch, &job, &record).unwrap();
    memory::put_outcome(&mut batch, job, 1, &Outcome::Result(json!(result)));
    bazaar.store.commit(batch).unwrap();
    Life { bazaar, job, _dir: dir }
}

fn is_done(heard: &Heard) -> bool {
    matches!(heard, Heard::Input(_, Input::Done(Call::Deliver)))
}

/// The parts of an earlier life were sealed at another moment, and are there all the same.
#[tokio::test]
async fn a_life_without_memory_ends_what_another_had_begun_to_hand_over() {
    let (relay, long) = (Keeping::new("PAID"), "x".repeat(150_000));
    relay.0.lock().unwrap().takes = Some(1);
    let first = life(&relay, 1_770_000_000, &long);
    tokio::select! {
        told = first.bazaar.deliver(first.job, 1) => panic!("{told:?}"),
        () = async {
            while relay.payloads().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        } => {}
    }
    relay.0.lock().unwrap().takes = None;
    let second = life(&relay, 1_770_000_100, &long);
    let told = second.bazaar.deliver(second.job, 1).await;
    assert!(is_done(&told), "{told:?}");
    assert_eq!(relay.payloads().len(), 4, "three parts and the list, each once");
}

/// That the job was not paid was true, and is not any more.
#[tokio::test]
async fn a_refusal_that_was_kept_is_not_asked_for_again() {
    let relay = Keeping::new("CHARGE_CREATED");
    let Life { bazaar, job, _dir } = life(&relay, 1_770_000_000, "four");
    let told = bazaar.deliver(job, 1).await;
    assert!(matches!(told, Heard::Input(_, Input::Rejected(Call::Deliver, Rejection::State))), "{told:?}");
    relay.set("PAID");
    let told = bazaar.deliver(job, 2).await;
    assert!(is_done(&told), "{told:?}");
    assert_eq!(relay.payloads().len(), 1);
}

/// A lost answer is told again; and whatever the attempt, there is one result.
#[tokio::test]
async fn a_result_is_handed_over_once() {
    let relay = Keeping::new("PAID");
    for _ in 0..2 {
        let Life { bazaar, job, _dir } = life(&relay, 1_770_000_000, "four");
        assert!(is_done(&bazaar.deliver(job, 1).await));
    }
    let Life { bazaar, job, _dir } = life(&relay, 1_770_000_000, "four");
    let told = bazaar.deliver(job, 2).await;
    let Heard::Shown(shown) = told else { panic!("{told:?}") };
    assert_eq!(shown.job.status, crate::protocol::Status::Delivered);
    assert_eq!(relay.payloads().len(), 1);
}

/// That a job is not there is believed the second time, of a relay that makes sense in between.
#[tokio::test]
async fn a_job_is_not_gone_because_it_was_not_found_once() {
    for (hidden, gone) in [(1, false), (2, true)] {
        let relay = Keeping::new("PAID");
        let Life { bazaar, job, _dir } = life(&relay, 1_770_000_000, "four");
        relay.0.lock().unwrap().hidden = hidden;
        let told = bazaar.fetch(job).await;
        let is_gone = matches!(told, Heard::Input(_, Input::Rejected(Call::Fetch, Rejection::Gone)));
        assert!(is_gone == gone && (gone || matches!(told, Heard::Shown(_))), "{told:?}");
        assert_eq!(relay.0.lock().unwrap().polls, 1);
        relay.0.lock().unwrap().hidden = hidden;
        let told = bazaar.deliver(job, 1).await;
        let is_gone = matches!(told, Heard::Input(_, Input::Rejected(Call::Deliver, Rejection::Gone)));
        assert!(is_gone == gone && (gone || is_done(&told)), "{told:?}");
    }
}

/// What expired is not charged for again once the job is over; but it may have come back before that, and
/// then it is not over.
#[tokio::test]
async fn a_job_that_is_over_is_looked_at_before_it_is_given_up() {
    for (status, rejected) in [("EXPIRED", true), ("DELIVERED", false), ("PAID", false)] {
        let relay = Keeping::new(status);
        let Life { bazaar, job, _dir } = life(&relay, 1_770_000_000, "four");
        let invoice = Invoice { index: 0, account: Account::from_bytes([1; 32]), price: Amount::from_raw(1) };
        let told = bazaar.revive(job, invoice).await;
        let is_rejected = matches!(told, Heard::Input(_, Input::Rejected(Call::Revive, Rejection::State)));
        assert!(is_rejected == rejected && (rejected || matches!(told, Heard::Shown(_))), "{told:?}");
    }
}
