//! The cases of [`super::edge`] that concern the nodes themselves and the proxies before them.

use nano_currency::Network;
use nano_currency::rpc::{Failure, Finding, Lookup};
use serde_json::{Value, json};

use crate::edge::{but, described, hash, payee, read, send};
use crate::support::{Server, client, http, ok};

#[tokio::test]
async fn edge_12_each_node_can_be_asked_alone() {
    let honest = Server::saying(ok(&json!({ "error": "Block not found" }))).await;
    let lying = Server::saying(ok(&described(&send(), "send"))).await;
    let rpc = client([lying.url.as_str(), honest.url.as_str()]);
    let mut said = Vec::new();
    for node in rpc.each() {
        said.push(node.block_info(&send().hash()).await.unwrap().is_some());
    }
    assert_eq!(said, [true, false]);
}

/// A node with these numbers, asked whether it can be relied on for the live network.
async fn health(version: Value, blocks: Value, quorum: Value, telemetry: Value) -> Vec<Finding> {
    let server = Server::start(move |request| match request["action"].as_str() {
        Some("version") => ok(&version),
        Some("block_count") => ok(&blocks),
        Some("confirmation_quorum") => ok(&quorum),
        _ => ok(&telemetry),
    })
    .await;
    server.client().health(Network::Live).await.unwrap().findings
}

#[tokio::test]
async fn edge_15_a_node_that_is_not_synchronised_is_known_by_its_numbers() {
    let live = json!({ "network": "live", "network_identifier": Network::Live.genesis(), "node_vendor": "Nano V28.0" });
    let blocks = json!({ "count": "200000000", "unchecked": "3", "cemented": "199999900" });
    let (quorum, peers) = (json!({ "online_stake_total": "9" }), json!({ "block_count": "200000050" }));
    let refused = json!({ "error": "Action telemetry not allowed" });
    let good = [(quorum.clone(), peers.clone()), (refused.clone(), refused)];
    for (quorum, peers) in good {
        assert_eq!(health(live.clone(), blocks.clone(), quorum, peers).await, []);
    }

    let early = json!({ "count": "150000000", "cemented": "100000000" });
    let findings = health(live.clone(), early, quorum.clone(), peers.clone()).await;
    assert_eq!(
        findings,
        [Finding::Behind { blocks: 50_000_050 }, Finding::Unconfirmed { blocks: 50_000_000 }]
    );
    let deaf =
        health(live.clone(), blocks.clone(), json!({ "online_stake_total": "0" }), peers.clone()).await;
    assert_eq!(deaf, [Finding::NoVotes]);
    for changed in [json!({ "network": "beta" }), json!({ "network_identifier": hash(1) })] {
        let findings =
            health(but(live.clone(), changed), blocks.clone(), quorum.clone(), peers.clone()).await;
        assert!(
            matches!(findings[..], [Finding::WrongNetwork { wanted: Network::Live, .. }]),
            "{findings:?}"
        );
        assert!(findings[0].to_string().contains("name a node of the live network"), "{}", findings[0]);
    }
}

#[tokio::test]
async fn edge_16_what_proxies_add_is_overlooked_and_what_they_cut_is_not_made_up() {
    let extras = json!({ "requestsLimit": "10", "requestsRemaining": 3, "requestLimitReset": null });
    let info = read(&send(), but(described(&send(), "send"), extras.clone())).await.unwrap();
    assert!(info.is_some());
    // The list of hashes was cut: what the answer does not mention is unknown, not missing.
    let answer = but(json!({ "blocks": {}, "blocks_not_found": [hash(1)] }), extras);
    let server = Server::saying(ok(&answer)).await;
    let found = server.client().blocks_info(&[hash(1), hash(2)]).await.unwrap();
    assert_eq!(found[&hash(1)], Lookup::NotFound);
    assert!(matches!(found[&hash(2)], Lookup::Unclear(_)));
    let limited =
        Server::saying(http(429, "Content-Type: text/html\r\n", "You are making requests too fast")).await;
    let error = limited.client().block_info(&hash(1)).await.expect_err("limited");
    assert!(matches!(error.failure, Failure::RateLimited { wait: None }), "{error}");
}

#[tokio::test]
async fn edge_17_html_half_answers_and_silence_are_unknown_and_not_unpaid() {
    for (status, body) in
        [(200, "<!DOCTYPE html>"), (502, "<html>"), (520, ""), (200, ""), (200, "{\"blocks\":{"), (302, "")]
    {
        let server = Server::saying(http(status, "Location: http://127.0.0.1:1/\r\n", body)).await;
        let rpc = server.client();
        assert!(rpc.block_info(&hash(1)).await.is_err(), "{status} {body}");
        assert!(rpc.blocks_info(&[hash(1)]).await.is_err(), "{status} {body}");
        assert!(rpc.receivable_of(&[payee()]).await.is_err(), "{status} {body}");
    }
}
