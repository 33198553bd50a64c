//! The recorded requests once more, to the mock: its answers are the recorded ones, to the byte
//! where the ledger could be retold, in shape where it could not.

use std::ops::RangeInclusive;
use std::time::Duration;

use mock_nano_rpc::node::Settings;
use mock_nano_rpc::tree::Tree;
use mock_nano_rpc::{Config, MockNode};
use nano_currency::{Account, Amount};
use serde_json::json;

use crate::common::story::{BEGAN_MS, Event, Narrator, first_network};
use crate::common::{Capture, call, captures, exchange, harvest, same_shape};

/// How a recorded answer is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Exact,
    Shape,
    Skip,
}

/// Answers that are not the same bytes, and why.
const NOT_EXACT: &[(u32, Compare, &str)] = &[
    (52, Compare::Shape, "work is found by searching, and this node's wallet signs with randomness"),
    (53, Compare::Shape, "this node's wallet signs with randomness"),
    (130, Compare::Shape, "work is found by searching, and the search begins elsewhere"),
    (131, Compare::Shape, "as above"),
    (137, Compare::Shape, "a time"),
    (138, Compare::Shape, "node identity and times"),
    (140, Compare::Shape, "online weight is sampled, here it was an old sample"),
    (141, Compare::Skip, "the mock never bootstraps, so it has no attempts to tell of"),
    (142, Compare::Shape, "node identity"),
    (145, Compare::Shape, "times and tallies of elections"),
    (238, Compare::Shape, "the name of the voter"),
    (266, Compare::Shape, "this node's wallet signs with randomness"),
    (278, Compare::Shape, "thirty payments of unknown order: a like ledger is made"),
    (279, Compare::Shape, "as above"),
    (280, Compare::Shape, "as above"),
    (281, Compare::Shape, "as above"),
    (282, Compare::Shape, "payments of unknown predecessors: a like ledger is made"),
    (284, Compare::Exact, "the sum is the same on a like ledger"),
    (290, Compare::Shape, "the time of arrival"),
    (292, Compare::Shape, "the size of that ledger"),
    (293, Compare::Shape, "a self-send with an unknown predecessor: a like ledger is made"),
    (294, Compare::Shape, "as above"),
];

fn compare(number: u32) -> Compare {
    NOT_EXACT.iter().find(|(known, ..)| *known == number).map_or(Compare::Exact, |(_, compare, _)| *compare)
}

/// Sends a recorded request and compares the answers; a description of the difference, if any.
async fn difference(mock: &MockNode, capture: &Capture) -> Option<String> {
    let how = compare(capture.number());
    let body = capture.request_body().filter(|_| how != Compare::Skip)?;
    let method = capture.text("method").unwrap_or("POST");
    let path = capture.text("path").unwrap_or("/");
    let (status, headers, body) = call(mock.rpc_address(), method, path, "", &body).await;
    let theirs = capture.text("raw_body").unwrap_or_default();
    if status.to_string() != capture.text("http_status").unwrap_or_default() {
        return Some(format!("status {status}"));
    }
    let recorded: Vec<(String, String)> = capture
        .tree
        .get("headers")
        .map(Tree::items)
        .unwrap_or_default()
        .iter()
        .map(|pair| (pair.items()[0].as_text().to_owned(), pair.items()[1].as_text().to_owned()))
        .filter(|(name, _)| how == Compare::Exact || name != "Content-Length")
        .collect();
    let headers: Vec<_> =
        headers.into_iter().filter(|(name, _)| how == Compare::Exact || name != "Content-Length").collect();
    let same = match how {
        Compare::Exact => body == theirs,
        Compare::Shape => {
            same_shape(&Tree::parse(body.as_bytes()).unwrap(), &Tree::parse(theirs.as_bytes()).unwrap())
        }
        Compare::Skip => true,
    };
    if !same {
        return Some(format!("\n--- ours\n{body}\n--- theirs\n{theirs}"));
    }
    (headers != recorded).then(|| format!("headers {headers:?}, not {recorded:?}"))
}

async fn ensure_same(mock: &MockNode, captures: &[Capture], numbers: RangeInclusive<u32>, story: Vec<Event>) {
    let narrator = Narrator::new(harvest(captures));
    let mut story = story.into_iter().peekable();
    let (mut differences, mut compared) = (Vec::new(), 0);
    for capture in captures.iter().filter(|capture| numbers.contains(&capture.number())) {
        while let Some(event) = story.next_if(|event| event.before <= capture.number()) {
            narrator.tell(mock, &event);
        }
        compared += 1;
        if let Some(difference) = difference(mock, capture).await {
            differences.push(format!("{}: {difference}", capture.file));
        }
    }
    assert!(compared > 0);
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

pub(crate) async fn recorded_network(control_enabled: bool) -> MockNode {
    let settings = Settings { control_enabled, ..Settings::default() };
    let config = Config { upgraded: false, began_ms: Some(BEGAN_MS), settings, ..Config::default() };
    MockNode::start(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_network_is_answered_as_recorded() {
    let mock = recorded_network(true).await;
    ensure_same(&mock, &captures(), 1..=246, first_network()).await;
}

/// The node without control and without a vote: nothing is ever confirmed.
#[tokio::test(flavor = "multi_thread")]
async fn the_network_without_votes_is_answered_as_recorded() {
    let mock = recorded_network(false).await;
    mock.hold_confirmations(true);
    mock.stop_clock(Some(1_795_231_295_000));
    mock.with(|node, _| node.set_voting(false));
    ensure_same(&mock, &captures(), 247..=266, Vec::new()).await;
}

/// Dust, parts, gaps and a payment to oneself, on a ledger like the recorded one.
#[tokio::test(flavor = "multi_thread")]
async fn crowded_accounts_are_answered_as_recorded() {
    let mock = recorded_network(true).await;
    let account = |text: &str| text.parse::<Account>().unwrap();
    let crowded = account("nano_3h96qandac8ff4xaxm7ide4srdoqw4ad3q3cxqxi79ecirmmwkfhe9eqirzo");
    mock.dust(&crowded, Amount::from_raw(1), 30).unwrap();
    mock.fund(&crowded, Amount::from_raw(2_000_000_000_000_000_000_000_000_000_053)).unwrap();
    let parts = account("nano_16r9dqyg9gxibbhtm81azu17wk91coreqyjifx83q4he1sfd9mehocagsica");
    mock.dust(&parts, Amount::from_raw(500_000_000_000_000_000_000_000_000_000), 3).unwrap();
    let all = captures();
    ensure_same(&mock, &all, 278..=284, Vec::new()).await;
    ensure_same(&mock, &all, 288..=292, Vec::new()).await;
    let genesis = mock.with(|node, _| *node.ledger.accounts().next().unwrap().0);
    let hash = mock.fund(&genesis, Amount::from_raw(1_000_000_000_000_000_000_000_000_000_000)).unwrap();
    let mut to_itself = all.into_iter().filter(|capture| capture.number() >= 293).collect::<Vec<_>>();
    to_itself[0].set_request(json!({"action": "block_info", "hash": hash, "json_block": "true"}));
    ensure_same(&mock, &to_itself, 293..=294, Vec::new()).await;
}

/// Bytes on the wire: one answer per connection whatever was asked, chunks, HTTP/1.0, garbage.
#[tokio::test(flavor = "multi_thread")]
async fn raw_bytes_are_answered_as_recorded() {
    let mock = recorded_network(true).await;
    mock.stop_clock(Some(BEGAN_MS + 3_000));
    let mut compared = 0;
    for capture in captures().iter().filter(|capture| capture.text("request_bytes").is_some()) {
        let theirs = capture.text("response_bytes").unwrap();
        if theirs == "<still open>" {
            continue;
        }
        let ours = exchange(mock.rpc_address(), capture.text("request_bytes").unwrap().as_bytes()).await;
        let ours = String::from_utf8(ours).unwrap() + "<EOF>";
        let uptime = without_uptime(&ours);
        assert_eq!(uptime, without_uptime(theirs), "{}", capture.file);
        compared += 1;
    }
    assert_eq!(compared, 9);
}

/// Leaves out the one number in those answers that is a time.
fn without_uptime(answer: &str) -> String {
    match answer.split_once("\"seconds\": \"") {
        Some((before, after)) => before.to_owned() + after.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => answer.to_owned(),
    }
}

/// A body that is shorter than promised is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_body_is_waited_for() {
    let mock = recorded_network(true).await;
    let captures = captures();
    let capture = captures.iter().find(|capture| capture.number() == 274).unwrap();
    let waiting = exchange(mock.rpc_address(), capture.text("request_bytes").unwrap().as_bytes());
    assert!(tokio::time::timeout(Duration::from_millis(300), waiting).await.is_err());
}

/// Nothing that was recorded is passed over in silence.
#[test]
fn every_recording_is_compared_or_has_a_reason() {
    const ELSEWHERE: &[(RangeInclusive<u32>, &str)] = &[
        (199..=204, "WebSocket conversations, in websocket.rs"),
        (267..=276, "raw bytes, above"),
        (277..=277, "HTTP callbacks: the mock makes no calls of its own"),
        (285..=287, "WebSocket conversations, in websocket.rs"),
        (295..=295, "a measurement, not an exchange"),
    ];
    for capture in captures() {
        let number = capture.number();
        let elsewhere = ELSEWHERE.iter().any(|(range, _)| range.contains(&number));
        let has_request = capture.request_body().is_some();
        assert!(has_request || elsewhere, "{} is compared nowhere", capture.file);
    }
}
