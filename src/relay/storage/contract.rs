//! One suite that every storage must pass: what the relay relies on, and nothing of how it is kept.

pub(super) mod bazaar;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::Storage;
use crate::protocol::apply::{Rules, Unique};
use crate::protocol::offer::{OfferTerms, PricingMode};
use crate::protocol::{
    Change, Code, EventId, EventType, Job, JobId, Offer, OfferId, PublicKey, Refusal, Status, Timestamp,
};
use crate::relay::model::{
    Claim, Claimed, Committed, EventQuery, Horizon, JobCommit, JobOrder, JobQuery, OfferQuery, OfferSave,
    Receipt, Reply, ReplyBody, Role,
};

const SELLER: PublicKey = PublicKey::from_bytes([1; 32]);
const BUYER: PublicKey = PublicKey::from_bytes([2; 32]);
const STRANGER: PublicKey = PublicKey::from_bytes([3; 32]);
const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

/// Checks a storage; `open` opens an empty one.
pub(super) async fn check<Opened: Future<Output = Arc<dyn Storage>>>(open: impl Fn() -> Opened) {
    a_commit_on_an_old_state_is_lost(&*open().await).await;
    what_is_unique_is_taken_once(&*open().await).await;
    of_many_commits_at_once_one_is_done(open().await).await;
    commits_are_ordered_under_concurrency(open().await).await;
    pages_have_what_they_should(&*open().await).await;
    a_poller_misses_no_move(open().await).await;
    answers_are_kept_with_what_they_say(&*open().await).await;
    nonces_are_used_once(&*open().await).await;
    offers_are_saved_and_found(&*open().await).await;
    the_log_forgets_from_the_front(&*open().await).await;
    due_jobs_are_found_in_time(&*open().await).await;
    news_comes_after_the_barrier(&*open().await).await;
    payloads_are_written_once_and_whole(&*open().await).await;
    readers_get_no_more_than_they_ask_for(&*open().await).await;
    forgetting_is_done_in_steps(&*open().await).await;
    a_key_that_is_used_again_keeps_its_new_answer(&*open().await).await;
    offers_are_searched_and_paged(&*open().await).await;
    bazaar::check(open).await;
}

pub(super) fn job(number: u8) -> Job {
    serde_json::from_value(json!({
        "job_id": JobId::from_random([number; 16]), "offer_id": OfferId::from_random([9; 16]),
        "seller_pubkey": SELLER, "buyer_pubkey": BUYER, "status": "requested",
        "request_payload": {"number": number}, "created_at": NOW, "updated_at": NOW
    }))
    .unwrap()
}

fn change(job: Job, event: Option<EventType>, unique: Option<Unique>) -> Change {
    Change { job, event, unique }
}

async fn commit(
    storage: &dyn Storage,
    change: &Change,
    expected: Option<Timestamp>,
    receipt: Option<&Receipt>,
) -> Committed {
    let rules = Rules::default();
    storage.commit(JobCommit { change, expected, receipt, rules: &rules, now: NOW }).await.unwrap()
}

/// Commits what must succeed.
pub(super) async fn put(
    storage: &dyn Storage,
    job: Job,
    expected: Option<Timestamp>,
    event: EventType,
) -> Job {
    match commit(storage, &change(job, Some(event), None), expected, None).await {
        Committed::Done(job) => *job,
        other => panic!("{other:?}"),
    }
}

async fn a_commit_on_an_old_state_is_lost(storage: &dyn Storage) {
    let first = put(storage, job(1), None, EventType::Requested).await;
    assert!(first.updated_at >= NOW);
    assert_eq!(storage.job(first.job_id).await.unwrap().as_ref(), Some(&first));
    let quoted = Job { status: Status::Quoted, quote_expires_at: Some(NOW), ..first.clone() };
    let second = put(storage, quoted.clone(), Some(first.updated_at), EventType::Quoted).await;
    assert!(second.updated_at > first.updated_at);
    for (lost, expected) in [(quoted, Some(first.updated_at)), (job(1), None), (job(2), Some(NOW))] {
        let lost = commit(storage, &change(lost, Some(EventType::Quoted), None), expected, None).await;
        assert_eq!(lost, Committed::Lost);
    }
    assert_eq!(storage.job(first.job_id).await.unwrap(), Some(second));
    assert_eq!(storage.log().await.unwrap().head, EventId(2));
}

async fn what_is_unique_is_taken_once(storage: &dyn Storage) {
    let (one, two) = (
        put(storage, job(1), None, EventType::Requested).await,
        put(storage, job(2), None, EventType::Requested).await,
    );
    for unique in [Unique::PaymentHash("AB".to_owned()), Unique::Invoice(SELLER, "nano_x".to_owned())] {
        let one = storage.job(one.job_id).await.unwrap().unwrap();
        let taking = change(one.clone(), None, Some(unique.clone()));
        let done = commit(storage, &taking, Some(one.updated_at), None).await;
        let Committed::Done(again) = done else { panic!("{done:?}") };
        // The same job may take it again.
        let same = commit(
            storage,
            &change((*again).clone(), None, Some(unique.clone())),
            Some(again.updated_at),
            None,
        )
        .await;
        assert!(matches!(same, Committed::Done(_)), "{same:?}");
        let other = change(two.clone(), None, Some(unique.clone()));
        assert_eq!(commit(storage, &other, Some(two.updated_at), None).await, Committed::Taken(unique));
    }
    let elsewhere = Unique::Invoice(STRANGER, "nano_x".to_owned());
    let done = commit(storage, &change(two.clone(), None, Some(elsewhere)), Some(two.updated_at), None).await;
    assert!(matches!(done, Committed::Done(_)), "{done:?}");
}

/// Known in others: a row is read, the move decided, and the row written without the condition that it is
/// still what was read.
async fn of_many_commits_at_once_one_is_done(storage: Arc<dyn Storage>) {
    let at_once = async |changes: Vec<(Change, Timestamp)>| {
        let tasks: Vec<_> = changes
            .into_iter()
            .map(|(change, expected)| {
                let storage = Arc::clone(&storage);
                tokio::spawn(async move { commit(&*storage, &change, Some(expected), None).await })
            })
            .collect();
        let (mut done, mut not) = (0, Vec::new());
        for task in tasks {
            match task.await.unwrap() {
                Committed::Done(_) => done += 1,
                other => not.push(other),
            }
        }
        assert_eq!(done, 1, "{not:?}");
        not
    };
    for round in 0..25 {
        let mut jobs = Vec::new();
        for number in 0..4 {
            jobs.push(put(&*storage, job(round * 4 + number), None, EventType::Requested).await);
        }
        let before = jobs[0].clone();
        let moves = [Status::Canceled, Status::Running, Status::Delivered, Status::Delivered].map(|status| {
            let moved = Job { status, ..before.clone() };
            (change(moved, Some(EventType::Running), None), before.updated_at)
        });
        let not = at_once(moves.into()).await;
        assert!(not.iter().all(|lost| *lost == Committed::Lost), "{not:?}");
        let hash = Unique::PaymentHash(format!("{round}"));
        let paid = jobs.drain(1..).map(|job| (change(job.clone(), None, Some(hash.clone())), job.updated_at));
        let not = at_once(paid.collect()).await;
        assert!(not.iter().all(|taken| *taken == Committed::Taken(hash.clone())), "{not:?}");
    }
}

async fn commits_are_ordered_under_concurrency(storage: Arc<dyn Storage>) {
    let tasks: Vec<_> = (0..40u8)
        .map(|number| {
            let storage = Arc::clone(&storage);
            tokio::spawn(
                async move { put(&*storage, job(number), None, EventType::Requested).await.updated_at },
            )
        })
        .collect();
    let mut moments = BTreeSet::new();
    for task in tasks {
        assert!(moments.insert(task.await.unwrap()), "two jobs changed at one moment");
    }
    // In the log's order they were updated in that order too.
    let entries = storage.entries(EventId(0), 100).await.unwrap();
    assert_eq!(
        entries.iter().map(|entry| entry.event_id().0).collect::<Vec<_>>(),
        (1..=40).collect::<Vec<_>>()
    );
    assert!(entries.iter().map(|entry| entry.created_at()).eq(moments));
}

async fn pages_have_what_they_should(storage: &dyn Storage) {
    for number in 1..=5 {
        put(storage, job(number), None, EventType::Requested).await;
    }
    let own = Job { seller_pubkey: BUYER, ..job(6) };
    put(storage, own, None, EventType::Requested).await;
    let second = storage.job(job(2).job_id).await.unwrap().unwrap();
    let canceled = Job { status: Status::Canceled, ..second.clone() };
    put(storage, canceled, Some(second.updated_at), EventType::Canceled).await;
    let list = async |party, role, statuses: &[Status], order, offset, limit| {
        let query = JobQuery { party, role, statuses: statuses.to_vec(), order, offset, limit };
        let page = storage.jobs(&query).await.unwrap();
        let numbers: Vec<_> =
            page.jobs.iter().map(|job| job.request_payload["number"].as_u64().unwrap()).collect();
        (numbers, page.total)
    };
    let start = JobOrder::UpdatedAfter(Timestamp::default());
    assert_eq!(list(SELLER, None, &[], JobOrder::Newest, 1, 3).await, (vec![4, 3, 2], 5));
    assert_eq!(list(BUYER, None, &[], JobOrder::Newest, 0, 9).await, (vec![6, 5, 4, 3, 2, 1], 6));
    assert_eq!(list(BUYER, Some(Role::Seller), &[], JobOrder::Newest, 0, 9).await, (vec![6], 1));
    assert_eq!(list(BUYER, Some(Role::Buyer), &[], JobOrder::Newest, 0, 1).await, (vec![6], 6));
    assert_eq!(list(SELLER, None, &[Status::Canceled], start, 0, 9).await, (vec![2], 1));
    let newest = JobOrder::Newest;
    assert_eq!(list(SELLER, None, &[Status::Canceled], newest, 0, 9).await, (vec![2], 1));
    assert_eq!(list(SELLER, None, &[Status::Requested], newest, 0, 9).await, (vec![5, 4, 3, 1], 4));
    assert_eq!(list(SELLER, None, &[], start, 0, 9).await, (vec![1, 3, 4, 5, 2], 5));
    assert_eq!(list(SELLER, None, &[], start, 1, 2).await, (vec![3, 4], 5));
    let fifth = storage.job(job(5).job_id).await.unwrap().unwrap().updated_at;
    assert_eq!(list(SELLER, None, &[], JobOrder::UpdatedAfter(fifth), 0, 9).await, (vec![2], 1));
    assert_eq!(list(STRANGER, None, &[], start, 0, 9).await, (vec![], 0));
}

/// Whoever goes on from the last `updated_at` it was shown sees every job as it is in the end.
async fn a_poller_misses_no_move(storage: Arc<dyn Storage>) {
    let movers: Vec<_> = (0..4u8)
        .map(|mover| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move {
                let mut jobs = Vec::new();
                for number in 0..5 {
                    jobs.push(put(&*storage, job(mover * 5 + number), None, EventType::Requested).await);
                }
                for round in 0..200 {
                    for job in &mut jobs {
                        let status = [Status::Quoted, Status::Accepted, Status::Running][round % 3];
                        let moved = Job { status, ..job.clone() };
                        *job = put(&*storage, moved, Some(job.updated_at), EventType::Quoted).await;
                    }
                }
                jobs
            })
        })
        .collect();
    let (mut seen, mut cursor) = (std::collections::BTreeMap::new(), Timestamp::default());
    loop {
        let ended = movers.iter().all(tokio::task::JoinHandle::is_finished);
        let order = JobOrder::UpdatedAfter(cursor);
        let query = JobQuery { party: SELLER, role: None, statuses: Vec::new(), order, offset: 0, limit: 5 };
        let page = storage.jobs(&query).await.unwrap();
        for job in &page.jobs {
            assert!(job.updated_at > cursor, "a page is not in order");
            cursor = job.updated_at;
            seen.insert(job.job_id.to_string(), job.updated_at);
        }
        if ended && page.jobs.is_empty() {
            break;
        }
    }
    for mover in movers {
        for job in mover.await.unwrap() {
            assert_eq!(seen.get(&job.job_id.to_string()), Some(&job.updated_at), "a move was missed");
        }
    }
}

fn receipt(key: &str, request_hash: &str, expires_at: Timestamp) -> Receipt {
    let claim = Claim { party: BUYER, key: key.to_owned(), request_hash: request_hash.to_owned() };
    Receipt { claim, expires_at, status: 201 }
}

async fn answers_are_kept_with_what_they_say(storage: &dyn Storage) {
    let (lease, end) = (Duration::from_secs(30), NOW.plus(Duration::from_secs(100)));
    let receipt = receipt("k", "h", end);
    let claim = async |request_hash: &str, now| {
        let claim = Claim { request_hash: request_hash.to_owned(), ..receipt.claim.clone() };
        storage.claim(&claim, now, lease).await.unwrap()
    };
    assert_eq!(claim("h", NOW).await, Claimed::Fresh);
    assert_eq!(claim("h", NOW).await, Claimed::Running);
    assert_eq!(claim("other", NOW).await, Claimed::Conflict);
    storage.release(&receipt.claim);
    assert_eq!(claim("h", NOW).await, Claimed::Fresh);
    // A claim whose holder has died ends with its lease.
    assert_eq!(claim("h", NOW.plus(lease)).await, Claimed::Fresh);
    // A lost commit keeps no answer.
    let lost = commit(storage, &change(job(1), None, None), Some(NOW), Some(&receipt)).await;
    assert_eq!(lost, Committed::Lost);
    storage.release(&receipt.claim);
    assert_eq!(claim("h", NOW).await, Claimed::Fresh);
    let done = commit(storage, &change(job(1), Some(EventType::Requested), None), None, Some(&receipt)).await;
    let Committed::Done(made) = done else { panic!("{done:?}") };
    storage.release(&receipt.claim);
    let moved = Job { status: Status::Canceled, ..(*made).clone() };
    put(storage, moved, Some(made.updated_at), EventType::Canceled).await;
    let kept = Claimed::Answered(Reply { status: 201, body: ReplyBody::Job(made) });
    assert_eq!(claim("h", NOW).await, kept);
    assert_eq!(claim("other", NOW).await, Claimed::Conflict);
    assert_eq!(claim("other", end).await, Claimed::Fresh);
    storage.release(&receipt.claim);

    let refusal = Refusal::new(Code::NotFound, "none");
    storage.record(&receipt, &refusal).await.unwrap();
    let refused = Claimed::Answered(Reply { status: 201, body: ReplyBody::Refused(refusal) });
    assert_eq!(claim("h", NOW).await, refused);
    assert_eq!(storage.acknowledge(BUYER, EventId(1), Some(&receipt)).await.unwrap(), EventId(1));
    let acked = Claimed::Answered(Reply { status: 201, body: ReplyBody::Acked(EventId(1)) });
    assert_eq!(claim("h", NOW).await, acked);
    let horizon = Horizon { nonces: NOW, answers: end.plus(lease), events: Timestamp::default() };
    storage.forget(horizon, 100).await.unwrap();
    assert_eq!(claim("h", NOW).await, Claimed::Fresh);
}

async fn nonces_are_used_once(storage: &dyn Storage) {
    let ttl = Duration::from_secs(600);
    let spend = async |party, nonce: &str, now| storage.spend_nonce(party, nonce, now, ttl).await.unwrap();
    assert!(spend(SELLER, "aa", NOW).await);
    assert!(!spend(SELLER, "aa", NOW).await);
    assert!(spend(SELLER, "ab", NOW).await);
    assert!(spend(BUYER, "aa", NOW).await);
    assert!(!spend(SELLER, "aa", NOW.plus(Duration::from_secs(599))).await);
    let horizon = Horizon { nonces: NOW, answers: NOW, events: Timestamp::default() };
    storage.forget(horizon, 100).await.unwrap();
    assert!(!spend(SELLER, "aa", NOW.plus(Duration::from_secs(599))).await);
    assert!(spend(SELLER, "aa", NOW.plus(Duration::from_secs(600))).await);
    // A clock that is set back makes no nonce fresh again.
    for (nonce, back) in [("ba", 1), ("bb", 299), ("bc", 300)] {
        assert!(spend(SELLER, nonce, NOW.plus(Duration::from_secs(back))).await);
        assert!(!spend(SELLER, nonce, NOW).await, "{back} s back");
    }
    let horizon = Horizon { nonces: NOW.plus(Duration::from_secs(3_600)), ..horizon };
    storage.forget(horizon, 100).await.unwrap();
    assert!(spend(SELLER, "aa", NOW.plus(Duration::from_secs(601))).await);
}

async fn offers_are_saved_and_found(storage: &dyn Storage) {
    let offer = |number: u8| Offer {
        offer_id: OfferId::from_random([number; 16]),
        seller_pubkey: if number == 3 { STRANGER } else { SELLER },
        terms: OfferTerms {
            title: format!("Offer {number}"),
            description: "d".to_owned(),
            tags: vec!["t".to_owned()],
            pricing_mode: PricingMode::Quote,
            fixed_price_raw: None,
            active: true,
        },
        created_at: NOW.plus(Duration::from_secs(number.into())),
    };
    for number in [1, 3, 2] {
        let offer = offer(number);
        assert!(
            storage.save_offer(OfferSave { offer: &offer, expected: None, receipt: None }).await.unwrap()
        );
    }
    let (before, mut after) = (offer(1), offer(1));
    after.terms.active = false;
    for wanted in [true, false] {
        let save = OfferSave { offer: &after, expected: Some(&before), receipt: None };
        assert_eq!(storage.save_offer(save).await.unwrap(), wanted);
    }
    assert_eq!(storage.offer(before.offer_id).await.unwrap(), Some(after.clone()));
    let all = OfferQuery { limit: 10, ..OfferQuery::default() };
    let page = storage.offers(&all).await.unwrap();
    assert_eq!((page.offers, page.total), (vec![offer(3), offer(2), after], 3));
    let some = OfferQuery { seller: Some(SELLER), active: Some(true), limit: 10, ..OfferQuery::default() };
    assert_eq!(storage.offers(&some).await.unwrap().offers, [offer(2)]);
}

async fn the_log_forgets_from_the_front(storage: &dyn Storage) {
    assert_eq!(storage.log().await.unwrap().min_retained, EventId(1));
    let first = put(storage, job(1), None, EventType::Requested).await;
    let moved = Job { status: Status::Quoted, ..first.clone() };
    let second = put(storage, moved, Some(first.updated_at), EventType::Quoted).await;
    let read = async |party| {
        let query = EventQuery { party, after: EventId(0), kinds: Vec::new(), limit: 10 };
        let events = storage.events(&query).await.unwrap();
        events.iter().map(|(entry, _)| entry.event_id.0).collect::<Vec<_>>()
    };
    assert_eq!((read(SELLER).await, read(BUYER).await, read(STRANGER).await), (vec![1, 2], vec![2], vec![]));
    let query = EventQuery { party: SELLER, after: EventId(0), kinds: vec![EventType::Requested], limit: 10 };
    let only = storage.events(&query).await.unwrap();
    assert_eq!((only.len(), &only[0].1.request_payload), (1, &json!({"number": 1})));
    assert_eq!(only[0].1.status, Status::Quoted);
    let horizon = Horizon { nonces: NOW, answers: NOW, events: second.updated_at };
    assert!(!storage.forget(horizon, 100).await.unwrap());
    assert_eq!((read(SELLER).await, read(BUYER).await), (vec![2], vec![2]));
    assert_eq!(storage.cursor(SELLER).await.unwrap().forgotten, EventId(1));
    assert_eq!(storage.cursor(BUYER).await.unwrap().forgotten, EventId(0));
    let log = storage.log().await.unwrap();
    assert_eq!((log.min_retained, log.head), (EventId(2), EventId(2)));
    let later = Horizon { events: second.updated_at.plus(Duration::from_secs(1)), ..horizon };
    storage.forget(later, 100).await.unwrap();
    let log = storage.log().await.unwrap();
    assert_eq!((log.min_retained, log.head), (EventId(3), EventId(2)));
    assert_eq!(storage.acknowledge(SELLER, EventId(2), None).await.unwrap(), EventId(2));
    assert_eq!(storage.acknowledge(SELLER, EventId(1), None).await.unwrap(), EventId(2));
}

async fn due_jobs_are_found_in_time(storage: &dyn Storage) {
    let expiry = NOW.plus(Duration::from_secs(10));
    let quoted = Job { status: Status::Quoted, quote_expires_at: Some(expiry), ..job(1) };
    let made = put(storage, quoted, None, EventType::Quoted).await;
    assert_eq!(storage.due(NOW, 10).await.unwrap(), []);
    assert_eq!(storage.due(expiry, 10).await.unwrap(), [made.job_id]);
    let accepted = Job { status: Status::Accepted, ..made.clone() };
    let accepted = put(storage, accepted, Some(made.updated_at), EventType::Accepted).await;
    assert_eq!(storage.due(expiry, 10).await.unwrap(), []);
    let rules = Rules { accept_ttl: Duration::from_secs(5), ..Rules::default() };
    storage.reschedule(made.job_id, &rules).await.unwrap();
    assert_eq!(storage.due(expiry, 10).await.unwrap(), [made.job_id]);
    let expired = Job { status: Status::Expired, ..accepted.clone() };
    put(storage, expired, Some(accepted.updated_at), EventType::Expired).await;
    assert_eq!(storage.due(expiry, 10).await.unwrap(), []);
}

async fn news_comes_after_the_barrier(storage: &dyn Storage) {
    let mut heads = storage.heads();
    assert_eq!(*heads.borrow_and_update(), EventId(0));
    put(storage, job(1), None, EventType::Requested).await;
    storage.durable().await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), heads.changed()).await.unwrap().unwrap();
    assert_eq!(*heads.borrow_and_update(), EventId(1));
    storage.durable().await.unwrap();
    assert!(!heads.has_changed().unwrap(), "nobody is woken without news");
}

async fn payloads_are_written_once_and_whole(storage: &dyn Storage) {
    let text = |length: usize| json!("x".repeat(length));
    let asked = Job { request_payload: text(65_000), ..job(1) };
    let made = put(storage, asked.clone(), None, EventType::Requested).await;
    assert_eq!(made.request_payload, asked.request_payload);
    let delivered = Job { status: Status::Delivered, result_payload: text(262_000), ..made.clone() };
    let first = put(storage, delivered, Some(made.updated_at), EventType::Delivered).await;
    assert_eq!(storage.job(made.job_id).await.unwrap().as_ref(), Some(&first));
    assert_eq!(first.result_payload, text(262_000));
    // Whoever writes the job again cannot change what it was asked for, or what was delivered.
    let forged = Job { result_payload: text(3), request_payload: text(4), ..first.clone() };
    put(storage, forged, Some(first.updated_at), EventType::Delivered).await;
    let job = storage.job(made.job_id).await.unwrap().unwrap();
    assert_eq!((&job.request_payload, &job.result_payload), (&asked.request_payload, &text(262_000)));
    // Events carry neither, but for the request to whoever has to do it.
    let query = EventQuery { party: SELLER, after: EventId(0), kinds: Vec::new(), limit: 10 };
    let events = storage.events(&query).await.unwrap();
    let requests: Vec<_> = events.iter().map(|(_, job)| !job.request_payload.is_null()).collect();
    assert_eq!(requests, [true, false, false]);
    assert!(events.iter().all(|(_, job)| job.result_payload.is_null()));
}

async fn readers_get_no_more_than_they_ask_for(storage: &dyn Storage) {
    let expiry = NOW.plus(Duration::from_secs(10));
    let own = Job { seller_pubkey: BUYER, ..job(9) };
    let own = put(storage, own, None, EventType::Requested).await;
    put(storage, Job { status: Status::Canceled, ..own.clone() }, Some(own.updated_at), EventType::Canceled)
        .await;
    for number in 1..=3 {
        let at = expiry.minus(Duration::from_secs(number.into()));
        let quoted = Job { status: Status::Quoted, quote_expires_at: Some(at), ..job(number) };
        put(storage, quoted, None, EventType::Quoted).await;
    }
    let read = async |party, after, limit| {
        let query = EventQuery { party, after: EventId(after), kinds: Vec::new(), limit };
        let events = storage.events(&query).await.unwrap();
        events.iter().map(|(entry, _)| entry.event_id.0).collect::<Vec<_>>()
    };
    assert_eq!(read(SELLER, 0, 2).await, [3, 4]);
    assert_eq!(read(SELLER, 3, 10).await, [4, 5]);
    // Who buys from himself hears of each move once.
    assert_eq!(read(BUYER, 0, 10).await, [1, 2, 3, 4, 5]);
    let entries = storage.entries(EventId(1), 2).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.event_id().0).collect::<Vec<_>>(), [2, 3]);
    let due: Vec<JobId> = [3, 2].map(|number| job(number).job_id).into();
    assert_eq!(storage.due(expiry, 2).await.unwrap(), due);
    storage.reschedule(job(7).job_id, &Rules::default()).await.unwrap();
    assert_eq!(storage.cursor(BUYER).await.unwrap().acked, EventId(0));
    storage.acknowledge(BUYER, EventId(4), None).await.unwrap();
    assert_eq!(storage.cursor(BUYER).await.unwrap().acked, EventId(4));
    assert_eq!(storage.cursor(SELLER).await.unwrap().acked, EventId(0));
}

async fn forgetting_is_done_in_steps(storage: &dyn Storage) {
    let (ttl, later) = (Duration::from_secs(600), NOW.plus(Duration::from_secs(86_400)));
    let nothing = Horizon { nonces: NOW, answers: NOW, events: NOW };
    assert!(!storage.forget(nothing, 3).await.unwrap());
    // Three of each kind, one kind at a time: two, then the rest, then nothing.
    for number in 1..=3u8 {
        put(storage, job(number), None, EventType::Requested).await;
        storage.spend_nonce(SELLER, &format!("{number}"), NOW, ttl).await.unwrap();
        let refusal = Refusal::new(Code::NotFound, "none");
        storage.record(&receipt(&format!("{number}"), "h", NOW), &refusal).await.unwrap();
    }
    for horizon in [
        Horizon { nonces: later, ..nothing },
        Horizon { answers: later, ..nothing },
        Horizon { events: later, ..nothing },
    ] {
        assert!(storage.forget(horizon, 2).await.unwrap(), "{horizon:?}");
        assert!(!storage.forget(horizon, 2).await.unwrap(), "{horizon:?}");
        assert!(!storage.forget(horizon, 1).await.unwrap(), "{horizon:?}");
    }
    assert_eq!(storage.log().await.unwrap().min_retained, EventId(4));
}

async fn a_key_that_is_used_again_keeps_its_new_answer(storage: &dyn Storage) {
    let end = |seconds| NOW.plus(Duration::from_secs(seconds));
    let lease = Duration::from_secs(30);
    let refusal = Refusal::new(Code::NotFound, "none");
    for seconds in [10, 1_000] {
        storage.record(&receipt("k", "h", end(seconds)), &refusal).await.unwrap();
    }
    let horizon = |answers| Horizon { nonces: NOW, answers, events: Timestamp::default() };
    let claim = receipt("k", "h", NOW).claim;
    // The first answer's end passes, the second's does not; what ends at the horizon is kept.
    for (answers, kept) in [(end(11), true), (end(1_000), true), (end(1_001), false)] {
        storage.forget(horizon(answers), 10).await.unwrap();
        let found = storage.claim(&claim, NOW, lease).await.unwrap();
        assert_eq!(matches!(found, Claimed::Answered(_)), kept, "{answers}");
    }
}

async fn offers_are_searched_and_paged(storage: &dyn Storage) {
    for number in 1..=5u8 {
        let terms = OfferTerms {
            title: format!("Title {number}"),
            description: format!("About {}", number % 2),
            tags: vec!["t".to_owned(), format!("tag {number}")],
            pricing_mode: if number == 1 { PricingMode::Fixed } else { PricingMode::Quote },
            fixed_price_raw: None,
            active: true,
        };
        let offer = Offer {
            offer_id: OfferId::from_random([number; 16]),
            seller_pubkey: if number > 3 { STRANGER } else { SELLER },
            terms,
            created_at: NOW.plus(Duration::from_secs(number.into())),
        };
        let receipt = receipt(&format!("{number}"), "h", NOW.plus(Duration::from_secs(9)));
        let save = OfferSave { offer: &offer, expected: None, receipt: Some(&receipt) };
        assert!(storage.save_offer(save).await.unwrap());
        let kept = storage.claim(&receipt.claim, NOW, Duration::from_secs(1)).await.unwrap();
        let body = ReplyBody::Offer(Box::new(offer));
        assert_eq!(kept, Claimed::Answered(Reply { status: 201, body }));
    }
    let search = async |query: OfferQuery| {
        let page = storage.offers(&query).await.unwrap();
        let title = |offer: &Offer| offer.terms.title.strip_prefix("Title ").unwrap().parse::<u8>().unwrap();
        (page.offers.iter().map(title).collect::<Vec<_>>(), page.total)
    };
    let all = || OfferQuery { limit: 10, ..OfferQuery::default() };
    assert_eq!(search(OfferQuery { offset: 1, limit: 2, ..all() }).await, (vec![4, 3], 5));
    assert_eq!(search(OfferQuery { offset: 4, ..all() }).await, (vec![1], 5));
    assert_eq!(search(OfferQuery { offset: 5, ..all() }).await, (vec![], 5));
    assert_eq!(search(OfferQuery { seller: Some(STRANGER), limit: 1, ..all() }).await, (vec![5], 2));
    assert_eq!(search(OfferQuery { text: Some("title 3".to_owned()), ..all() }).await, (vec![3], 1));
    assert_eq!(search(OfferQuery { text: Some("about 1".to_owned()), ..all() }).await, (vec![5, 3, 1], 3));
    let tags = vec!["t".to_owned(), "tag 2".to_owned()];
    assert_eq!(search(OfferQuery { tags, ..all() }).await, (vec![2], 1));
    let fixed = OfferQuery { pricing_mode: Some(PricingMode::Fixed), ..all() };
    assert_eq!(search(fixed).await, (vec![1], 1));
    let among = Some([SELLER].into());
    assert_eq!(search(OfferQuery { among, ..all() }).await, (vec![3, 2, 1], 3));
    assert_eq!(search(OfferQuery { active: Some(false), ..all() }).await, (vec![], 0));
}
