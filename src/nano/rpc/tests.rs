//! What is said about nodes and their failures, and where it turns.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};

use super::config::RESPONSE_BYTES_MAX;
use super::status::assess;
use super::transport::{classify, excerpt};
use super::*;
use crate::{Account, Amount, Network};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_failure_says_whether_the_node_is_well_and_when_to_ask_again() {
    let text = || "x".to_owned();
    let status = |status| Failure::Status { status, text: text() };
    for (failure, is_answer, wait) in [
        (Failure::Node(text()), true, None),
        (Failure::Malformed("hash"), true, None),
        (Failure::TooLarge { bytes_max: 1 }, true, None),
        (status(400), true, None),
        (status(422), true, None),
        (status(500), false, None),
        (Failure::Timeout(seconds(1)), false, None),
        (Failure::NotJson { text: text() }, false, None),
        (Failure::RateLimited { wait: None }, false, None),
        (Failure::RateLimited { wait: Some(seconds(7)) }, false, Some(seconds(7))),
        (Failure::Resting { wait: seconds(3) }, false, Some(seconds(3))),
    ] {
        assert_eq!((failure.is_answer(), failure.wait()), (is_answer, wait), "{failure:?}");
    }
    for (failure, unknown) in [
        (Failure::Node("Unknown command".to_owned()), true),
        (Failure::Node("Bad account number".to_owned()), false),
        (Failure::Status { status: 422, text: "unknown variant `x`".to_owned() }, true),
        (Failure::Status { status: 422, text: "missing field".to_owned() }, false),
        (Failure::Status { status: 400, text: "unknown variant `x`".to_owned() }, false),
    ] {
        assert_eq!(failure.is_unknown_command(), unknown, "{failure:?}");
    }
    let error = RpcError { node: "http://n".to_owned(), failure: Failure::Node("no".to_owned()) };
    assert_eq!(
        (error.to_string(), error.source().is_none()),
        ("nano node http://n: says: no".to_owned(), true)
    );
}

#[tokio::test]
async fn a_broken_connection_is_the_source_of_its_error() {
    let rpc = Rpc::new(&RpcConfig::new(["http://127.0.0.1:1/key"], || Duration::ZERO)).unwrap();
    let error = rpc.version().await.unwrap_err();
    assert!(matches!(error.failure, Failure::Transport(_)) && error.source().is_some());
    assert_eq!(error.to_string(), "nano node http://127.0.0.1:1: cannot be reached");
}

#[test]
fn status_and_body_amount_to_an_answer_or_a_failure() {
    let mut headers = HeaderMap::new();
    headers.insert(RETRY_AFTER, HeaderValue::from_static(" 7 "));
    let read = |status, body: &str| match classify(status, &headers, body.as_bytes()) {
        Ok(answer) => answer.to_string(),
        Err(failure) => format!("{failure:?}"),
    };
    for (status, body, expected) in [
        (200, "{\"a\":1}", "{\"a\":1}"),
        (200, "{\"error\":\"\"}", "{\"error\":\"\"}"),
        (200, "{\"error\":\"no\"}", "Node(\"no\")"),
        (200, "{\"error\":7}", "Node(\"7\")"),
        (200, "<html>", "NotJson { text: \"<html>\" }"),
        (201, "{}", "Status { status: 201, text: \"{}\" }"),
        (429, "{}", "RateLimited { wait: Some(7s) }"),
        (500, "{\"error\":\"x not allowed\"}", "Node(\"{\\\"error\\\":\\\"x not allowed\\\"}\")"),
        (500, "{\"error\":\"x\"}", "Status { status: 500, text: \"{\\\"error\\\":\\\"x\\\"}\" }"),
        (500, "not allowed", "Status { status: 500, text: \"not allowed\" }"),
        (
            403,
            "{\"error\":\"not allowed\"}",
            "Status { status: 403, text: \"{\\\"error\\\":\\\"not allowed\\\"}\" }",
        ),
    ] {
        assert_eq!(read(status, body), expected);
    }
    assert_eq!(excerpt(b" \t\n"), "(nothing)");
    assert_eq!(excerpt(b" a\nb\x1b[2J "), "a b [2J");
    // A character has up to four bytes.
    assert_eq!(excerpt("\u{1f980}".repeat(500).as_bytes()), "\u{1f980}".repeat(120));
}

#[test]
fn a_node_is_judged_by_what_it_tells() {
    let version =
        |network: &str| Version { vendor: "V".to_owned(), network: network.to_owned(), genesis: None };
    let blocks = |count, cemented| BlockCount { count, cemented: Some(cemented), unchecked: 0 };
    let peers = |block_count| Telemetry { block_count, cemented_count: None };
    let judged = |blocks: &BlockCount, quorum: Option<&Quorum>, peers: Option<&Telemetry>| {
        assess(Network::Live, &version("live"), blocks, quorum, peers)
    };
    // Sixteen blocks and one in ten thousand are usual.
    for (of, has, behind) in
        [(100_000, 99_974, None), (100_000, 99_973, Some(27)), (10, 0, None), (17, 0, Some(17))]
    {
        let found = judged(&blocks(has, has), None, Some(&peers(of)));
        assert_eq!(found, behind.map(|blocks| Finding::Behind { blocks }).into_iter().collect::<Vec<_>>());
        let found = judged(&blocks(of, has), None, None);
        assert_eq!(
            found,
            behind.map(|blocks| Finding::Unconfirmed { blocks }).into_iter().collect::<Vec<_>>()
        );
    }
    for (stake, expected) in [(Amount::ZERO, vec![Finding::NoVotes]), (Amount::from_raw(1), vec![])] {
        let quorum = Quorum { online_stake_total: stake, quorum_delta: None };
        assert_eq!(judged(&blocks(1, 1), Some(&quorum), None), expected);
    }
    let elsewhere = assess(Network::Live, &version("test"), &blocks(1, 1), None, None);
    let [finding] = elsewhere.as_slice() else { panic!("{elsewhere:?}") };
    assert!(finding.to_string().starts_with("the node is on the network \"test\", not on live: "));
    let health = |findings| Health { version: version("live"), blocks: blocks(1, 1), findings };
    assert!(health(vec![]).is_good() && !health(elsewhere).is_good());
    let named = |genesis| Version { genesis, ..version("live") };
    assert!(named(Network::Live.genesis()).is_on(Network::Live));
    assert!(!named(Network::Dev.genesis()).is_on(Network::Live));
    assert!(!named(Network::Live.genesis()).is_on(Network::Dev));
}

#[test]
fn what_is_shown_of_a_node_is_no_key() {
    let config = RpcConfig::new(["https://node.example/api?key=secret"], || Duration::ZERO);
    let rpc = Rpc::new(&config).unwrap();
    let shown = format!("{config:?} {rpc:?} {:?}", rpc.nodes().collect::<Vec<_>>());
    assert!(!shown.contains("secret"), "{shown}");
    assert!(shown.contains("Node(\"https://node.example\")") && shown.contains("Rpc {"), "{shown}");
    assert!(format!("{config:?}").starts_with("RpcConfig"));
    assert_eq!(RESPONSE_BYTES_MAX, 8_388_608);
    let names: Vec<_> =
        rpc.each().map(|rpc| rpc.nodes().map(|node| node.name().to_owned()).collect::<Vec<_>>()).collect();
    assert_eq!(names, [vec!["https://node.example".to_owned()]]);
}

#[test]
fn subtypes_have_one_name_each() {
    for (subtype, name) in [
        (Subtype::Send, "send"),
        (Subtype::Receive, "receive"),
        (Subtype::Open, "open"),
        (Subtype::Change, "change"),
        (Subtype::Epoch, "epoch"),
    ] {
        assert_eq!((subtype.to_string().as_str(), name.parse()), (name, Ok(subtype)));
    }
    assert!("epoch_v1".parse::<Subtype>().is_err());
}

#[test]
fn receivables_are_summed_as_far_as_they_are_known() {
    let block = |amount| Receivable { hash: crate::BlockHash::ZERO, amount, source: Some(Account::BURN) };
    let some = |raw| Some(Amount::from_raw(raw));
    let list = Receivables { blocks: vec![block(some(3)), block(None), block(some(4))], complete: true };
    assert_eq!(list.total(), Amount::from_raw(7));
}

#[test]
fn accounts_without_a_block_are_no_failure_and_any_other_error_is() {
    let read = |answer: serde_json::Value| super::history::read_frontiers(Ok(answer));
    let none = "nano_1111111111111111111111111111111111111111111111111111hifc8npp";
    let (hash, absent) = ("AB".repeat(32), serde_json::json!({ none: "Account not found" }));
    assert_eq!(read(serde_json::json!({ "errors": absent })).unwrap().len(), 0);
    assert_eq!(read(serde_json::json!({ "frontiers": "" })).unwrap().len(), 0);
    assert_eq!(read(serde_json::json!({ "frontiers": { none: hash }, "errors": absent })).unwrap().len(), 1);
    assert!(read(serde_json::json!({ "frontiers": {}, "errors": { none: "Bad account number" } })).is_err());
    assert!(read(serde_json::json!({})).is_err());
}
