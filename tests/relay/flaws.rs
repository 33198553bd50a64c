//! Flaws that others in this field are known for, each with a test that would find it in the relay.
//! `docs/known-flaws.md` has the whole list.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Answer, Market, Party, hash};

/// A race that is run once may be won by luck; each of these takes a few milliseconds.
const ROUNDS: u64 = 15;

/// Sends requests at the same moment, each on a connection of its own.
async fn at_once(requests: Vec<(&Party, String, Value)>) -> Vec<Answer> {
    let tasks: Vec<_> = requests
        .into_iter()
        .map(|(party, target, body)| {
            let party = party.clone();
            tokio::spawn(async move { party.post(&target, body).await })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

/// Exactly one succeeded, and the others were told why not.
#[track_caller]
fn one_won(answers: &[Answer]) -> usize {
    let won: Vec<usize> = (0..answers.len()).filter(|&number| answers[number].status == 200).collect();
    let texts: Vec<&str> = answers.iter().map(|answer| answer.text.as_str()).collect();
    assert_eq!(won.len(), 1, "{texts:?}");
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 409)), "{texts:?}");
    won[0]
}

impl Market {
    async fn accepted(&self, number: u64) -> String {
        let job = self.ask().await;
        self.quote(&job, number).await.expect(200);
        self.accept(&job).await.expect(200);
        job
    }

    async fn seen(&self, job: &str) -> Value {
        self.buyer.get(&format!("/v1/jobs/{job}")).await.expect(200)["job"].take()
    }

    /// The types of all events of a job, which only its seller reads from the first.
    async fn events(&self, job: &str) -> Vec<String> {
        let (mut types, mut since) = (Vec::new(), 0);
        loop {
            let page =
                self.seller.get(&format!("/v1/poll?since_event_id={since}&limit=100")).await.expect(200);
            let events = page["events"].as_array().unwrap();
            let Some(last) = events.last() else { return types };
            since = last["event_id"].as_u64().unwrap();
            types.extend(
                events
                    .iter()
                    .filter(|event| event["job_id"] == job)
                    .map(|event| event["type"].as_str().unwrap().to_owned()),
            );
        }
    }
}

/// Known in others: a row is read, the move decided, and the row written without the condition that it
/// is still what was read. Two payments of one job both succeed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_payments_at_once_one_succeeds() {
    let market = Market::open().await;
    for round in 0..ROUNDS {
        let job = market.accepted(round).await;
        let pay = |number| {
            (&market.buyer, format!("/v1/jobs/{job}/payment"), json!({"payment_tx_hash": hash(number)}))
        };
        let hashes = [3 * round, 3 * round + 1, 3 * round + 2];
        let answers = at_once(hashes.map(pay).into()).await;
        let won = one_won(&answers);
        assert_eq!(market.seen(&job).await["payment_tx_hash"], hash(hashes[won]));
        let events = market.events(&job).await;
        assert_eq!(events.iter().filter(|kind| *kind == "job.payment_submitted").count(), 1, "{events:?}");
    }
}

/// Known in others: the same, so that one payment is taken for two jobs.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_jobs_that_name_one_payment_at_once_one_gets_it() {
    let market = Market::open().await;
    for round in 0..ROUNDS {
        let jobs = [market.accepted(2 * round).await, market.accepted(2 * round + 1).await];
        let pay = |job: &String| {
            (&market.buyer, format!("/v1/jobs/{job}/payment"), json!({"payment_tx_hash": hash(round)}))
        };
        let answers = at_once(jobs.iter().map(pay).collect()).await;
        let won = one_won(&answers);
        answers[1 - won].clone().refused(409, "payment_hash_reused");
        assert_eq!(market.seen(&jobs[won]).await["payment_tx_hash"], hash(round));
        assert_eq!(market.seen(&jobs[1 - won]).await["payment_tx_hash"], Value::Null);
    }
}

/// Known in others: the same, so that two results are delivered for one job.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_deliveries_at_once_one_succeeds() {
    let market = Market::open().await;
    for round in 0..ROUNDS {
        let job = market.paid(round).await;
        market.lock(&job, "worker-1").await.expect(200);
        let deliver = |body| (&market.seller, format!("/v1/jobs/{job}/deliver"), body);
        let answers = at_once(vec![
            deliver(json!({"result_payload": 0, "lock_token": 1})),
            deliver(json!({"result_payload": 1, "lock_token": 1})),
            deliver(json!({"error": {"code": "handler_failed", "message": "2"}, "lock_token": 1})),
        ])
        .await;
        let won = one_won(&answers);
        let seen = market.seen(&job).await;
        if won == 2 {
            assert_eq!((&seen["status"], &seen["error"]["message"]), (&json!("failed"), &json!("2")));
        } else {
            assert_eq!((&seen["status"], &seen["result_payload"]), (&json!("delivered"), &json!(won)));
        }
        let events = market.events(&job).await;
        let ends = events.iter().filter(|kind| ["job.delivered", "job.failed"].contains(&kind.as_str()));
        assert_eq!(ends.count(), 1, "{events:?}");
    }
}

/// Known in others: the same, so that a buyer cancels a job and the seller locks it, and both succeed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_cancel_and_a_lock_at_once_one_succeeds() {
    let market = Market::open().await;
    for round in 0..ROUNDS {
        let job = market.paid(round).await;
        let lock = (&market.seller, format!("/v1/jobs/{job}/lock"), json!({"holder": "worker-1"}));
        let cancel = (&market.buyer, format!("/v1/jobs/{job}/cancel"), json!({}));
        // Whoever is started first wins more often.
        let (requests, first) =
            if round % 2 == 0 { (vec![lock, cancel], 0) } else { (vec![cancel, lock], 1) };
        let won = one_won(&at_once(requests).await) ^ first;
        assert_eq!(market.seen(&job).await["status"], ["running", "canceled"][won]);
    }
}

/// Known in others: the same, so that two holders lock one job.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_holders_that_lock_at_once_one_succeeds() {
    let market = Market::open().await;
    for round in 0..ROUNDS {
        let job = market.paid(round).await;
        let lock =
            |holder: &str| (&market.seller, format!("/v1/jobs/{job}/lock"), json!({ "holder": holder }));
        let holders = ["worker-0", "worker-1", "worker-2"];
        let won = one_won(&at_once(holders.map(lock).into()).await);
        let seen = market.seen(&job).await;
        assert_eq!((&seen["lock_holder"], &seen["lock_token"]), (&json!(holders[won]), &json!(1)));
    }
}

/// Known in others: a set that changes is paged by offset. What leaves the set moves the rest forward,
/// a job slips through between two pages, and the position moves past it. Here a page begins behind the
/// last job of the one before, whatever has happened meanwhile.
#[tokio::test]
async fn no_job_slips_through_when_the_set_changes_between_two_pages() {
    let market = Market::open().await;
    let mut asked = Vec::new();
    for _ in 0..8 {
        asked.push(market.ask().await);
    }
    let ids = |page: &Value| -> Vec<String> {
        let jobs = page["jobs"].as_array().unwrap();
        jobs.iter().map(|job| job["job_id"].as_str().unwrap().to_owned()).collect()
    };
    let open = "/v1/jobs?status=requested&role=seller&limit=2";
    let (mut by_offset, mut by_cursor) = (BTreeSet::new(), BTreeSet::new());
    let (mut offset, mut cursor) = (0, "start".to_owned());
    let mut gone = BTreeSet::new();
    loop {
        by_offset.extend(ids(&market.seller.get(&format!("{open}&offset={offset}")).await.expect(200)));
        offset += 2;
        let page = market.seller.get(&format!("{open}&cursor={cursor}")).await.expect(200);
        cursor = page["next_cursor"].as_str().unwrap().to_owned();
        let found = ids(&page);
        if found.is_empty() {
            break;
        }
        // Both that were just seen leave the set, and the last of those that are left changes nothing.
        for job in found {
            market.buyer.post(&format!("/v1/jobs/{job}/cancel"), json!({})).await.expect(200);
            gone.insert(job.clone());
            by_cursor.insert(job);
        }
        if gone.len() == 2 {
            asked.push(market.ask().await);
        }
    }
    let all: BTreeSet<String> = asked.into_iter().collect();
    assert_eq!(by_cursor, all, "a job slipped through");
    assert!(by_offset.len() < all.len(), "an offset would have found all, so this shows nothing");
}
