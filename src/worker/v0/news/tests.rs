//! What one buyer can send, and what all the others still get.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use nano_currency::Account;
use serde_json::{Value, json};

use std::sync::Mutex;

use super::super::fixture::{Scripted, bazaar, buyer, job, seller};
use super::super::stalls::{Placed, Stall};
use super::*;
use crate::client::v0::rest::RESPONSE_BYTES_MAX;
use crate::client::wire::{Request, Response, Wire};
use crate::store::Batch;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use reqwest::header::HeaderMap;

/// A poller in front of a relay, with an offer that is served.
fn news<W: Wire + 'static>(relay: &Arc<W>, dir: &std::path::Path) -> (News, mpsc::Receiver<Page>) {
    let store = Arc::new(memory::open(dir).unwrap());
    let mut batch = Batch::default();
    let placed = Placed { offer_id: v0::OfferId::new("offer_1"), price_raw: "1000".to_owned() };
    let stall = Stall { pending: None, current: Some(placed), former: Vec::new() };
    STALLS.put(&mut batch, &"offer".to_owned(), &stall).unwrap();
    memory::put_fact(&mut batch, fact::SYNCED, "yes").unwrap();
    store.commit(batch).unwrap();
    let (pages, handed) = mpsc::channel(1);
    let hints = Hints::new(mpsc::channel(1).1);
    let (min, max) = (Duration::from_millis(1), Duration::from_millis(1));
    let bazaar = Arc::new(bazaar(Arc::clone(relay) as _, store));
    (News { bazaar, pages, hints, watch: None, min, max, entropy: Entropy::system() }, handed)
}

/// Takes everything, and keeps it.
fn taken(mut handed: mpsc::Receiver<Page>) -> tokio::task::JoinHandle<Vec<Heard>> {
    tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(page) = handed.recv().await {
            all.extend(page.heard);
            page.durable.send(0).unwrap();
        }
        all
    })
}

/// What a poller in front of this relay hands over while somebody does something with it.
async fn heard<W: Wire + 'static>(relay: &Arc<W>, asks: impl AsyncFnOnce(&News)) -> Vec<Heard> {
    let dir = tempfile::tempdir().unwrap();
    let (news, handed) = news(relay, dir.path());
    let all = taken(handed);
    asks(&news).await;
    drop(news);
    all.await.unwrap()
}

/// A round that succeeds.
async fn good_round(news: &News) -> Round {
    news.round(true).await.unwrap_or_else(|error| panic!("{error:?}"))
}

/// A round that fails as long as the relay does.
async fn failed_round(news: &News) {
    assert!(matches!(news.round(true).await, Err(RoundError::Call(_))));
}

/// A look at all jobs that succeeds.
async fn resync(news: &News) {
    news.resync(None).await.unwrap_or_else(|error| panic!("{error:?}"));
}

async fn addresses(news: &News) -> Option<HashMap<Account, JobId>> {
    news.bazaar.addresses(1_000).await.unwrap_or_else(|error| panic!("{error:?}"))
}

/// Each job by its name, and why it cannot be served.
fn shown(heard: &[Heard]) -> Vec<(&str, Option<&str>)> {
    let shown = heard.iter().filter_map(|heard| match heard {
        Heard::Shown(shown) => Some((shown.ticket.job_id.as_str(), shown.refusal.as_deref())),
        _ => None,
    });
    shown.collect()
}

const NAMES: [&str; 8] = [".", "..", "x\t", "\r\n", "html", "conflict", "gone", "last"];

/// What a buyer may call its job, and what a relay may make of it.
fn odd_names(target: &str) -> (u16, Value) {
    let (path, _) = target.split_once('?').unwrap_or((target, ""));
    match path {
        "/v0/poll" => {
            let events: Vec<Value> = (1..)
                .zip(NAMES)
                .map(|(id, name)| {
                    json!({ "event_id": id, "event_type": "job.requested", "data": { "job_id": name } })
                })
                .collect();
            (200, json!({ "events": events, "last_acked_event_id": 0, "min_event_id_retained": 1 }))
        }
        "/v0/poll/ack" => (200, json!({ "last_acked_event_id": NAMES.len() })),
        "/v0/jobs/html" => (414, json!("too long")),
        "/v0/jobs/conflict" => (409, json!({ "error": "no" })),
        "/v0/jobs/gone" => (404, json!({ "error": "job not found" })),
        "/v0/jobs/last" => (200, job("last", "REQUESTED", "..")),
        _ => (500, json!({ "error": target })),
    }
}

#[tokio::test]
async fn a_job_that_cannot_be_asked_for_keeps_no_other_waiting() {
    let relay = Scripted::new(odd_names);
    let all = heard(&relay, async |news| assert_eq!(good_round(news).await.last, Some(8))).await;
    assert_eq!(shown(&all), [("last", Some("the request has a name that cannot be asked for"))]);
    let gone = |heard: &Heard| matches!(heard, Heard::Input(_, Input::Rejected(Call::Fetch, _)));
    assert_eq!(all.iter().filter(|heard| gone(heard)).count(), 1);
    assert_eq!(relay.asked("/v0/poll/ack"), 1);
    assert_eq!((relay.asked("/v0/jobs/html"), relay.asked("/v0/jobs/conflict")), (3, 3));
}

/// A relay whose jobs something in front of it does not find, the first time that it is asked.
fn unfound_once(target: &str) -> (u16, Value) {
    static LOOKS: AtomicUsize = AtomicUsize::new(0);
    match target {
        "/v0/jobs/last" if LOOKS.fetch_add(1, Ordering::Relaxed) == 0 => {
            (404, json!({ "error": "Not Found" }))
        }
        _ => odd_names(target),
    }
}

#[tokio::test]
async fn a_job_that_was_not_found_once_is_not_gone() {
    let relay = Scripted::new(unfound_once);
    let all = heard(&relay, async |news| assert_eq!(good_round(news).await.last, Some(8))).await;
    assert_eq!(shown(&all), [("last", Some("the request has a name that cannot be asked for"))]);
    let gone: Vec<JobId> = all.iter().filter_map(gone).collect();
    assert_eq!(gone, [job_id(&v0::JobId::new("gone"))]);
    assert_eq!((relay.asked("/v0/jobs/gone"), relay.asked("/v0/jobs/last")), (2, 2));
}

/// Which job a relay does not have any more.
fn gone(heard: &Heard) -> Option<JobId> {
    match heard {
        Heard::Input(job, Input::Rejected(Call::Fetch, Rejection::Gone)) => Some(*job),
        _ => None,
    }
}

/// Something in front of the relay finds nothing at all, after one page of events.
fn nowhere(target: &str) -> (u16, Value) {
    static POLLS: AtomicUsize = AtomicUsize::new(0);
    match target {
        target if target.starts_with("/v0/poll?") && POLLS.fetch_add(1, Ordering::Relaxed) == 0 => {
            odd_names(target)
        }
        _ => (404, json!({ "error": "Not Found" })),
    }
}

#[tokio::test]
async fn a_relay_that_finds_nothing_is_not_believed() {
    let relay = Scripted::new(nowhere);
    let all = heard(&relay, failed_round).await;
    assert_eq!((all.len(), relay.asked("/v0/poll/ack")), (0, 0));
}

/// A relay behind something that garbles a few answers of all kinds, in the middle of a page.
fn garbled(target: &str) -> (u16, Value) {
    static ANSWERS: AtomicUsize = AtomicUsize::new(0);
    match (ANSWERS.fetch_add(1, Ordering::Relaxed), target) {
        (2..7, _) => (200, json!("<html>")),
        (_, "/v0/jobs/first" | "/v0/jobs/last") => {
            (200, job(target.trim_start_matches("/v0/jobs/"), "REQUESTED", ".."))
        }
        (_, "/v0/poll/ack") => (200, json!({ "last_acked_event_id": 2 })),
        _ => {
            let events = [(1, "first"), (2, "last")].map(|(id, name)| {
                json!({ "event_id": id, "event_type": "job.requested", "data": { "job_id": name } })
            });
            (200, json!({ "events": events, "last_acked_event_id": 0, "min_event_id_retained": 1 }))
        }
    }
}

#[tokio::test]
async fn a_line_that_garbles_everything_for_a_while_costs_nobody_a_job() {
    let relay = Scripted::new(garbled);
    let mut rounds = 0;
    let all = heard(&relay, async |news| {
        while news.round(true).await.is_err() {
            rounds += 1;
            assert_eq!(relay.asked("/v0/poll/ack"), 0, "acknowledged after {rounds} rounds");
        }
    })
    .await;
    let nameless = Some("the request has a name that cannot be asked for");
    assert_eq!(shown(&all), [("first", nameless), ("last", nameless)]);
    assert!(rounds > 0 && relay.asked("/v0/poll/ack") == 1);
}

/// A relay that lists what cannot be asked for.
fn odd_list(target: &str) -> (u16, Value) {
    if target.starts_with("/v0/jobs?") {
        let long = "p".repeat(70_000);
        let jobs = [
            job("..", "REQUESTED", "pay_1"),
            job("x\t", "REQUESTED", "pay_1"),
            job(&long, "REQUESTED", "pay_1"),
            job("dots", "REQUESTED", ".."),
            job("tab", "REQUESTED", "pay\t1"),
            job("long", "REQUESTED", &long),
            job("html", "REQUESTED", "pay_html"),
            job("other", "REQUESTED", "pay_other"),
            job("conflict", "REQUESTED", "pay_conflict"),
            job("stranger", "REQUESTED", "pay_1"),
        ];
        return (200, json!({ "jobs": jobs }));
    }
    let payload = json!({
        "payload_id": "pay_1", "job_id": "stranger", "sender_bot_id": buyer().bot_id(),
        "recipient_bot_id": seller().bot_id(), "payload_kind": "request", "enc_alg": "x",
        "recipient_kid": "x", "ciphertext_b64": "", "created_at": "2026-02-01T12:00:00Z"
    });
    match target {
        "/v0/payloads/pay_1" | "/v0/payloads/pay_other" => (200, payload),
        "/v0/payloads/pay_conflict" => (409, json!({ "error": "no" })),
        "/v0/payloads/pay_html" => (431, json!("too long")),
        target if target.starts_with("/v0/poll") => {
            (200, json!({ "events": [], "last_acked_event_id": 0, "min_event_id_retained": 1 }))
        }
        // Its keys cannot be read.
        _ => (200, json!({})),
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_fetched_is_refused_and_not_asked_for_for_ever() {
    let relay = Scripted::new(odd_list);
    let all = heard(&relay, resync).await;
    let (nameless, unfetched) =
        (Some("the request has a name that cannot be asked for"), Some("the request cannot be fetched"));
    assert_eq!(
        shown(&all),
        [
            ("dots", nameless),
            ("tab", nameless),
            ("long", nameless),
            ("html", unfetched),
            ("other", unfetched),
            ("conflict", unfetched),
            ("stranger", Some("the buyer is not known")),
        ]
    );
    assert!(matches!(all.last(), Some(Heard::Cursor(Position::Synced(_)))));
}

/// What is wrong with the relay, or with us, is nobody's job's fault: everything is heard later.
#[tokio::test]
async fn what_concerns_everybody_is_waited_for() {
    fn busy(target: &str) -> (u16, Value) {
        if target.starts_with("/v0/jobs/") { (503, json!({})) } else { odd_names(target) }
    }
    fn stranger(target: &str) -> (u16, Value) {
        let unknown = json!({ "error": "unknown bot" });
        if target.starts_with("/v0/jobs/") { (401, unknown) } else { odd_names(target) }
    }
    fn revoked(target: &str) -> (u16, Value) {
        let revoked = json!({ "error": "bot revoked" });
        if target.starts_with("/v0/jobs/") { (403, revoked) } else { odd_names(target) }
    }
    for says in [busy, stranger, revoked] {
        let dir = tempfile::tempdir().unwrap();
        let relay = Scripted::new(says);
        let (news, handed) = news(&relay, dir.path());
        let all = taken(handed);
        assert!(matches!(news.round(true).await, Err(RoundError::Call(_))));
        drop(news);
        assert_eq!((all.await.unwrap().len(), relay.asked("/v0/poll/ack")), (0, 0));
    }
}

/// A log that holds no cursor, whatever is acknowledged, and a list that leads back into itself.
fn endless(target: &str) -> (u16, Value) {
    if target.starts_with("/v0/jobs?") {
        return (200, json!({ "jobs": [], "next_cursor": "again" }));
    }
    if target == "/v0/poll/ack" {
        return (200, json!({ "last_acked_event_id": 6 }));
    }
    (410, json!({ "error": "cursor too old", "min_event_id_retained": 7 }))
}

#[tokio::test]
async fn a_list_that_leads_back_into_itself_ends() {
    let relay = Scripted::new(endless);
    let all = heard(&relay, async |news| assert!(good_round(news).await.resynced)).await;
    assert_eq!(relay.asked("/v0/jobs?"), LISTS.len() * LIST_PAGES_MAX);
    assert!(matches!(all[..], [Heard::Cursor(_)]));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_never_holds_is_not_listed_without_a_pause() {
    fn never(target: &str) -> (u16, Value) {
        let (status, answer) = endless(target);
        if target.starts_with("/v0/jobs?") { (200, json!({ "jobs": [] })) } else { (status, answer) }
    }
    let dir = tempfile::tempdir().unwrap();
    let relay = Scripted::new(never);
    let (mut news, handed) = news(&relay, dir.path());
    let (hints, heard) = mpsc::channel(1);
    (news.hints, news.min, news.max) = (Hints::new(heard), Duration::from_secs(1), Duration::from_secs(8));
    let all = taken(handed);
    drop(tokio::time::timeout(Duration::from_secs(60), news.run(CancellationToken::new())).await);
    drop(hints);
    let rounds = relay.asked("/v0/jobs?") / LISTS.len();
    assert!((3..=60).contains(&rounds), "{rounds}");
    drop(all.await.unwrap());
}

/// A relay with a log and a list in which some entries are far too long.
#[derive(Debug, Default)]
struct Long {
    /// Each event's place, and itself.
    events: Vec<(u64, String)>,
    jobs: Vec<Value>,
    acked: Mutex<u64>,
    asked: Mutex<Vec<String>>,
}

impl Long {
    fn asked(&self, start: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|target| target.starts_with(start)).count()
    }

    fn answer(&self, target: &str, body: &[u8]) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let number = |name: &str| {
            let pair = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            pair.and_then(|text| text.parse::<u64>().ok())
        };
        let limit = usize::try_from(number("limit").unwrap_or(50)).unwrap();
        let mut acked = self.acked.lock().unwrap();
        match path {
            "/v0/poll" => {
                let since = number("since_event_id").unwrap_or(*acked);
                let page = self.events.iter().filter(|(id, _)| *id > since).take(limit);
                let events: Vec<&str> = page.map(|(_, text)| text.as_str()).collect();
                let events = events.join(",");
                format!(r#"{{"events":[{events}],"last_acked_event_id":{acked},"min_event_id_retained":1}}"#)
            }
            "/v0/poll/ack" => {
                let body: Value = serde_json::from_slice(body).unwrap();
                *acked = (*acked).max(body["up_to_event_id"].as_u64().unwrap());
                format!(r#"{{"last_acked_event_id":{acked}}}"#)
            }
            "/v0/jobs" => {
                let wanted: Vec<&str> =
                    query.split('&').filter_map(|pair| pair.strip_prefix("status=")).collect();
                let is_wanted = |job: &&Value| job["status"].as_str().is_some_and(|is| wanted.contains(&is));
                let jobs: Vec<&Value> = self.jobs.iter().filter(is_wanted).collect();
                let first = usize::try_from(number("cursor").unwrap_or(0)).unwrap();
                let page: Vec<&&Value> = jobs.iter().skip(first).take(limit).collect();
                let next = first + page.len();
                let next = (next < jobs.len()).then(|| next.to_string());
                json!({ "jobs": page, "next_cursor": next }).to_string()
            }
            "/v0/jobs/huge" => job("huge", "EXPIRED", &"p".repeat(RESPONSE_BYTES_MAX)).to_string(),
            path => job(path.strip_prefix("/v0/jobs/").unwrap(), "EXPIRED", "pay_1").to_string(),
        }
    }
}

impl Wire for Long {
    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, String>> {
        let body = self.answer(&request.target, &request.body).into_bytes();
        self.asked.lock().unwrap().push(request.target);
        ready(Ok(Response { status: 200, headers: HeaderMap::new(), body })).boxed()
    }
}

/// As the deployed relays write it, with a note of this many bytes.
fn noted(id: u64, job: &str, note: usize) -> (u64, String) {
    let note = "n".repeat(note);
    let data = format!(r#"{{"job_id":"{job}","note":"{note}"}}"#);
    (id, format!(r#"{{"event_id":{id},"event_type":"job.payment_sent","data":{data}}}"#))
}

/// Rounds until nothing is left: what was heard.
async fn all_rounds(relay: &Arc<Long>) -> Vec<Heard> {
    heard(relay, async |news| {
        for round in 0.. {
            assert!(round < 20, "it does not end");
            if good_round(news).await.last.is_none() {
                break;
            }
        }
    })
    .await
}

#[tokio::test]
async fn events_that_are_too_long_together_come_one_after_the_other() {
    let events = (1..=50).map(|id| noted(id, &format!("job_{id}"), RESPONSE_BYTES_MAX / 10)).collect();
    let relay = Arc::new(Long { events, ..Long::default() });
    let all = all_rounds(&relay).await;
    assert_eq!(shown(&all).len(), 50);
    assert_eq!(*relay.acked.lock().unwrap(), 50);
    assert!(!all.iter().any(|heard| matches!(heard, Heard::PassedOver)));
}

#[tokio::test]
async fn an_event_that_is_too_long_is_passed_over_and_its_job_is_looked_at() {
    let events = vec![
        noted(3, "before", 1),
        noted(5, "long", RESPONSE_BYTES_MAX),
        noted(6, &"j".repeat(RESPONSE_BYTES_MAX), 1),
        noted(9, "after", 1),
    ];
    let jobs = vec![job("listed", "EXPIRED", "pay_1")];
    let relay = Arc::new(Long { events, jobs, ..Long::default() });
    let all = all_rounds(&relay).await;
    let names: Vec<&str> = shown(&all).into_iter().map(|(name, _)| name).collect();
    // The one without a name leads to a look at all.
    assert_eq!(names, ["before", "long", "listed", "after"]);
    assert_eq!(*relay.acked.lock().unwrap(), 9);
    let positions: Vec<u64> = all
        .iter()
        .filter_map(|heard| match heard {
            Heard::Cursor(Position::Events(_, event)) => Some(event.0),
            _ => None,
        })
        .collect();
    assert_eq!(positions, [3, 5, 6, 9]);
    assert_eq!(all.iter().filter(|heard| matches!(heard, Heard::PassedOver)).count(), 2);
}

/// The line is tried before a job is given up, with the very event that is too long.
#[tokio::test(start_paused = true)]
async fn an_event_and_its_job_that_are_too_long_keep_nobody_waiting() {
    let events = vec![noted(5, "huge", RESPONSE_BYTES_MAX), noted(9, "after", 1)];
    let relay = Arc::new(Long { events, ..Long::default() });
    let all = all_rounds(&relay).await;
    assert_eq!(shown(&all).into_iter().map(|(name, _)| name).collect::<Vec<_>>(), ["after"]);
    assert_eq!(*relay.acked.lock().unwrap(), 9);
}

/// Its place stands behind its text: nothing can be passed over, and lists are the news.
#[tokio::test]
async fn an_event_whose_place_cannot_be_read_leads_to_looks_at_all_jobs_at_a_measured_pace() {
    let text = format!(r#"{{"data":{{"note":"{}"}},"event_id":5}}"#, "n".repeat(RESPONSE_BYTES_MAX));
    let jobs = vec![job("listed", "EXPIRED", "pay_1")];
    let relay = Arc::new(Long { events: vec![(5, text)], jobs, ..Long::default() });
    let all = heard(&relay, async |news| {
        let round = good_round(news).await;
        assert!(round.last.is_none() && round.resynced && !round.more);
    })
    .await;
    assert_eq!(shown(&all), [("listed", None)]);
    assert_eq!(*relay.acked.lock().unwrap(), 0);
}

#[tokio::test]
async fn a_list_with_a_job_that_is_too_long_ends_there_and_is_believed_until_then() {
    let long = "p".repeat(RESPONSE_BYTES_MAX / 10);
    let mut jobs: Vec<Value> =
        (0..30).map(|number| job(&format!("job_{number}"), "EXPIRED", &long)).collect();
    jobs.push(job("huge", "EXPIRED", &long.repeat(11)));
    jobs.push(job("older", "EXPIRED", ""));
    let relay = Arc::new(Long { jobs, ..Long::default() });
    let all = heard(&relay, async |news| {
        resync(news).await;
        assert_eq!(addresses(news).await, Some(HashMap::new()));
    })
    .await;
    assert_eq!(shown(&all).len(), 30);
    assert!(relay.asked("/v0/jobs?") < 150, "{}", relay.asked("/v0/jobs?"));
}

/// What can never be charged for is in none of the lists that matter most.
#[tokio::test]
async fn a_job_that_is_too_long_hides_none_that_is_charged_for_paid_or_done() {
    let mut jobs: Vec<Value> = ["REQUESTED", "EXPIRED", "CANCELLED"]
        .map(|status| job(&format!("huge {status}"), status, &"p".repeat(RESPONSE_BYTES_MAX)))
        .to_vec();
    let charged = [("PAID", 3), ("CHARGE_CREATED", 4), ("DELIVERED", 5)].map(|(status, number)| {
        let (name, address) = (status.to_lowercase(), Account::from_bytes([number; 32]));
        let mut older = job(&name, status, "..");
        older["charge"] = json!({
            "charge_id": "chg_1", "address": address.to_string(), "amount_raw": "1000",
            "charge_expires_at": "2026-02-01T14:00:00Z", "charge_sig_ed25519": "c2ln"
        });
        jobs.push(older);
        (address, job_id(&v0::JobId::new(name)))
    });
    let relay = Arc::new(Long { jobs, ..Long::default() });
    let all = heard(&relay, async |news| {
        resync(news).await;
        assert_eq!(addresses(news).await, Some(charged.into_iter().collect()));
    })
    .await;
    let mut names: Vec<&str> = shown(&all).into_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    assert_eq!(names, ["charge_created", "delivered", "paid"]);
}

/// The relay was set back, so that what comes next is before our own cursor; and it is too long.
#[tokio::test]
async fn an_event_that_is_too_long_is_heard_of_on_a_relay_that_was_set_back() {
    let events = vec![noted(5, "long", RESPONSE_BYTES_MAX), noted(9, "after", 1)];
    let relay = Arc::new(Long { events, ..Long::default() });
    let all = heard(&relay, async |news| {
        let mut batch = Batch::default();
        memory::put_fact(&mut batch, fact::CURSOR, "700").unwrap();
        news.bazaar.store.commit(batch).unwrap();
        for expected in [Some(5), Some(9), None] {
            assert_eq!(good_round(news).await.last, expected);
        }
    })
    .await;
    assert_eq!(shown(&all).into_iter().map(|(name, _)| name).collect::<Vec<_>>(), ["long", "after"]);
    assert_eq!(*relay.acked.lock().unwrap(), 9);
}
