//! Several nodes, and how many of them must agree.

use std::time::Duration;

use mock_nano_rpc::{Lie, MockNode};
use nano_worker::nano::BlockHash;
use nano_worker::protocol::{Job, Status};
use serde_json::json;

use crate::world::{OfferText, PRICE, Process, World, invoice, raw, text, twin};

/// Long enough for a mistake to show.
const A_WHILE: Duration = Duration::from_millis(1_500);

/// A worker that asks this many more nodes, with these lines below `[nano]`.
async fn shop(more: usize, nano: &str) -> (World, Vec<MockNode>, Process) {
    let world = World::new().await;
    let mut others = Vec::new();
    for _ in 0..more {
        others.push(MockNode::start(twin()).await.unwrap());
    }
    let config = world.configure("one", &OfferText::default());
    let own = world.node.rpc_url();
    let all: Vec<String> = [own.clone()]
        .into_iter()
        .chain(others.iter().map(MockNode::rpc_url))
        .map(|url| format!("{url:?}"))
        .collect();
    let lines = std::fs::read_to_string(&config)
        .unwrap()
        .replace(&format!("rpc = [\"{own}\"]"), &format!("rpc = [{}]\n{nano}", all.join(", ")));
    std::fs::write(&config, lines).unwrap();
    let worker = world.run_worker("one", &config);
    (world, others, worker)
}

/// The same payment on every node.
fn pay(world: &World, others: &[MockNode], job: &Job) -> BlockHash {
    let hash = world.pay(job, PRICE);
    for other in others {
        assert_eq!(other.fund(&invoice(job), PRICE).unwrap(), hash);
    }
    hash
}

fn status(world: &World) -> serde_json::Value {
    serde_json::from_str(&world.ask_worker("one", &["status", "--json"]).1).unwrap()
}

#[tokio::test]
async fn a_liar_is_caught_put_aside_and_shown() {
    let (world, others, _worker) = shop(2, "quorum = 2").await;
    let job = world.accepted(&text("hello")).await;
    let hash = pay(&world, &others, &job);
    world.node.lie(hash, Lie { amount: Some(PRICE.checked_add(PRICE).unwrap()), ..Lie::default() });
    world.submit(&job, &hash).await;
    world.wait(job.job_id, Status::Delivered).await;
    let nodes = status(&world)["nodes"].clone();
    let liar = &nodes["lies"][0];
    assert_eq!((liar["hash"].as_str(), &nodes["quorum"]), (Some(hash.to_string().as_str()), &2.into()));
    assert!(liar["node"].as_str().is_some_and(|name| world.node.rpc_url().ends_with(name)), "{nodes}");
    let log = std::fs::read_to_string(world.path("one.log")).unwrap();
    assert!(log.contains("payment.proof_failed"), "{log}");
    // The honest two go on with the next job.
    let job = world.accepted(&text("again")).await;
    let hash = pay(&world, &others, &job);
    world.submit(&job, &hash).await;
    world.wait(job.job_id, Status::Delivered).await;
}

#[tokio::test]
async fn what_two_nodes_do_not_agree_about_is_unknown_until_they_do() {
    let (world, others, _worker) = shop(1, "quorum = 2").await;
    others[0].hold_confirmations(true);
    let job = world.accepted(&text("hello")).await;
    let hash = pay(&world, &others, &job);
    world.submit(&job, &hash).await;
    let unknown = world
        .eventually("unknown payment", async || {
            let unknown = status(&world)["unknown_payments"].clone();
            (unknown["count"] == 1).then_some(unknown)
        })
        .await;
    let why = unknown["first"][0]["why"].as_str().unwrap();
    assert!(why.contains("2 nodes do not agree") && why.contains("not confirmed"), "{why}");
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(world.runs_of(&job), 0);
    others[0].hold_confirmations(false);
    assert!(others[0].confirm(&hash));
    world.wait(job.job_id, Status::Delivered).await;
    assert_eq!(status(&world)["unknown_payments"]["count"], 0);
    let shown = world.ask_worker("one", &["jobs", "show", &job.job_id.to_string()]).1;
    assert!(shown.contains("2 nodes do not agree"), "{shown}");
}

#[tokio::test]
async fn a_dear_job_wants_more_nodes_than_a_cheap_one() {
    let rule = format!("quorum = 1\n[[nano.policy]]\nabove_raw = \"{}\"\nquorum = 3", PRICE.raw() - 1);
    let (world, others, _worker) = shop(2, &rule).await;
    let job = world.accepted(&text("hello")).await;
    let hash = pay(&world, &others, &job);
    others[1].lie(hash, Lie { confirmed: Some(false), ..Lie::default() });
    world.submit(&job, &hash).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(world.runs_of(&job), 0, "two of three are too few");
    others[1].lie(hash, Lie::default());
    world.wait(job.job_id, Status::Delivered).await;
}

fn explained(world: &World, subject: &str) -> serde_json::Value {
    serde_json::from_str(&world.ask_worker("one", &["check-payment", subject, "--json"]).1).unwrap()
}

/// The rules that do not hold of the only block.
fn broken(answer: &serde_json::Value) -> Vec<&str> {
    let rules = answer["blocks"][0]["rules"].as_array().unwrap();
    rules.iter().filter(|rule| rule["holds"] != true).map(|rule| rule["rule"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_believed_of_a_payment_is_explained_rule_by_rule() {
    let (world, _, _worker) = shop(0, "").await;
    let job = world.accepted(&text("hello")).await;
    world.node.hold_confirmations(true);
    let half = world.node.fund(&invoice(&job), raw(PRICE.raw() / 2)).unwrap();
    world.submit(&job, &half).await;
    let (id, address) = (job.job_id.to_string(), invoice(&job).to_string());
    world
        .eventually("unconfirmed payment", async || {
            let answer = explained(&world, &id);
            answer["job"]["believed"].as_str()?.starts_with("payment.unconfirmed").then_some(())
        })
        .await;
    for subject in [&id, &address, &half.to_string()] {
        let answer = explained(&world, subject);
        assert_eq!(answer["job"]["job_id"], id, "{answer}");
        assert_eq!(broken(&answer), ["confirmed", "amount"], "{answer}");
    }
    let text = world.ask_worker("one", &["check-payment", &half.to_string()]).1;
    assert!(text.contains("NO   confirmed"), "{text}");
    world.node.hold_confirmations(false);
    assert!(world.node.confirm(&half));
    world.pay(&job, PRICE);
    world.wait(job.job_id, Status::Delivered).await;
    let answer = explained(&world, &id);
    let job = &answer["job"];
    assert_eq!(job["payment_outcomes"], json!(["paid_in_parts", "overpaid"]), "{answer}");
    let debts = job["money"].as_array().unwrap().iter().filter(|block| block["why"] == "overpaid");
    let owed: Vec<&str> = debts.map(|block| block["due_raw"].as_str().unwrap()).collect();
    assert_eq!(owed, [(PRICE.raw() / 2).to_string()], "{answer}");
    let policy = &answer["policy"];
    assert_eq!((&policy["overpaid"], &policy["failed"]), (&json!("owe"), &json!("ask")), "{answer}");
    assert_eq!(policy["least_raw"], json!(PRICE), "{answer}");
    let text = world.ask_worker("one", &["check-payment", &id]).1;
    assert!(text.contains("was overpaid") && text.contains("owed back"), "{text}");
    let measures = world.ask_worker("one", &["metrics"]).1;
    assert!(measures.contains("worker_payment_outcomes_total{outcome=\"overpaid\"} 1\n"), "{measures}");
    assert!(measures.contains("worker_owed_back_blocks 1\n"), "{measures}");
    let stranger = world.node.fund(&nano_worker::nano::Account::from_bytes([9; 32]), PRICE).unwrap();
    let answer = explained(&world, &stranger.to_string());
    assert_eq!(broken(&answer), ["destination"], "{answer}");
    assert_eq!(world.ask_worker("one", &["check-payment", "nonsense"]).0, Some(2));
    let nobody = "00000000-0000-4000-8000-000000000000";
    assert_eq!(world.ask_worker("one", &["check-payment", nobody]).0, Some(9));
}
