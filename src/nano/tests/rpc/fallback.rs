//! Several nodes, and nodes that rest: who is asked, who is left alone, and what is reported.

use std::time::Duration;

use nano_currency::rpc::{Failure, Rpc, RpcConfig, RpcError};
use nano_currency::work::Difficulty;
use serde_json::json;

use crate::nasty::{HTML, JSON, version};
use crate::support::{Hand, Reply, Server, client, http, ok};

#[tokio::test]
async fn the_next_node_is_asked() {
    let second = Server::saying(ok(&version())).await;
    let refusal = ok(&json!({ "error": "Unknown command" }));
    for reply in [http(502, "", HTML), http(429, "", ""), refusal, Reply::Bytes(Vec::new())] {
        let first = Server::saying(reply).await;
        let rpc = client([first.url.as_str(), second.url.as_str()]);
        assert_eq!(rpc.version().await.unwrap().network, "dev");
        assert_eq!(first.requests().len(), 1);
    }
}

#[tokio::test]
async fn the_first_nodes_failure_is_reported() {
    let first = Server::saying(http(503, "", HTML)).await;
    let second = Server::saying(http(404, "", "")).await;
    let error = client([first.url.as_str(), second.url.as_str()]).version().await.expect_err("both fail");
    assert_eq!(error.node, first.url);
    assert!(matches!(error.failure, Failure::Status { status: 503, .. }), "{error}");
}

#[tokio::test]
async fn a_failing_node_rests_and_is_tried_again() {
    let hand = Hand::default();
    let first = Server::saying(http(502, "", HTML)).await;
    let second = Server::saying(ok(&version())).await;
    let rpc = Rpc::new(&hand.config([first.url.as_str(), second.url.as_str()])).unwrap();
    for _ in 0..10 {
        rpc.version().await.unwrap();
    }
    assert_eq!((first.requests().len(), second.requests().len()), (3, 10));
    hand.turn_ms(1_000);
    for _ in 0..10 {
        rpc.version().await.unwrap();
    }
    assert_eq!((first.requests().len(), second.requests().len()), (4, 20));

    // Clones share the record, and so does a client of the first node alone.
    let alone = rpc.clone().each().next().unwrap();
    let error: RpcError = alone.version().await.expect_err("it rests");
    assert!(matches!(error.failure, Failure::Resting { .. }), "{error}");
    assert_eq!(error.failure.wait(), Some(Duration::from_secs(2)));
    assert_eq!(first.requests().len(), 4);
}

/// That a node rests is what came of an earlier failure; what fails now says more.
#[tokio::test]
async fn a_failure_is_reported_rather_than_a_rest() {
    let resting = Server::saying(http(429, "Retry-After: 60\r\n", "")).await;
    let refusing = Server::saying(ok(&json!({ "error": "RPC control is disabled" }))).await;
    let rpc = client([resting.url.as_str(), refusing.url.as_str()]);
    let first = rpc.version().await.expect_err("limited");
    assert!(matches!(first.failure, Failure::RateLimited { .. }), "{first}");
    let second = rpc.version().await.expect_err("refused");
    assert_eq!(second.node, refusing.url);
    assert!(matches!(second.failure, Failure::Node(_)), "{second}");
}

#[tokio::test]
async fn a_rate_limited_node_rests_as_long_as_it_asked() {
    let hand = Hand::default();
    let server = Server::saying(http(429, "Retry-After: 40\r\n", "")).await;
    let rpc = Rpc::new(&hand.config([server.url.as_str()])).unwrap();
    for turned_ms in [0, 39_999, 1] {
        hand.turn_ms(turned_ms);
        rpc.version().await.expect_err("limited");
    }
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_refusal_is_no_reason_to_rest() {
    let disabled = ok(&json!({ "error": "RPC control is disabled" }));
    let forbidden = http(500, JSON, "{\"error\":\"Action version not allowed\"}");
    for reply in [disabled, forbidden, http(422, "", "Failed"), ok(&json!({}))] {
        let server = Server::saying(reply).await;
        let rpc = server.client();
        for _ in 0..10 {
            rpc.version().await.expect_err("refused");
        }
        assert_eq!(server.requests().len(), 10);
    }
}

/// A node that cannot finish a proof of work in time still knows its ledger.
#[tokio::test]
async fn slow_work_is_no_reason_to_rest() {
    let server = Server::start(|request| match request["action"].as_str() {
        Some("work_generate") => Reply::Stall(Vec::new()),
        _ => ok(&version()),
    })
    .await;
    let config = Hand::default().config([server.url.as_str()]);
    let rpc = Rpc::new(&RpcConfig { work_timeout: Duration::from_millis(20), ..config }).unwrap();
    for _ in 0..5 {
        let error = rpc.work_generate(&[0; 32], Difficulty::new(1)).await.expect_err("too slow");
        assert!(matches!(error.failure, Failure::Timeout(_)), "{error}");
    }
    assert!(rpc.version().await.is_ok());
}

/// One that answers nothing in time is not asked for everything again.
#[tokio::test]
async fn a_node_that_is_silent_rests() {
    let server = Server::start(|_| Reply::Stall(Vec::new())).await;
    let config = Hand::default().config([server.url.as_str()]);
    let rpc = Rpc::new(&RpcConfig { timeout: Duration::from_millis(20), ..config }).unwrap();
    for _ in 0..5 {
        rpc.version().await.expect_err("too slow");
    }
    assert_eq!(server.requests().len(), 3);
}
