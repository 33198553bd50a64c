//! The requests recorded from the Rust port, to the mock in the port's manners.

use mock_nano_rpc::Mode;
use mock_nano_rpc::tree::Tree;

use crate::common::story::{Narrator, first_network};
use crate::common::{Capture, call, captures, captures_rsnano, harvest, same_shape};
use crate::replay::recorded_network;

/// Answers that are not alike, and why.
const NOT_ALIKE: &[(u32, &str)] = &[
    (186, "the port overlooks text after the JSON, and so does the mock; the recording has a date"),
    (155, "the port refused a block before this one"),
    (133, "a null among the texts, which a tree of texts cannot hold"),
    (134, "as above"),
    (138, "the port's own version fields"),
    (140, "the port's order of quorum fields"),
    (145, "the port leaves out or reorders statistics of elections"),
    (231, "the port's own form of roots"),
];

/// Up to number 214: later ones stand on blocks that the port refused to take as texts, and so on
/// a chain that was not recorded.
#[tokio::test(flavor = "multi_thread")]
async fn the_port_is_answered_as_recorded() {
    let mock = recorded_network(true).await;
    mock.mode(Mode::RsNano);
    let narrator = Narrator::new(harvest(&captures()));
    let mut story = first_network().into_iter().peekable();
    let mut differences = Vec::new();
    for capture in captures_rsnano().iter().filter(|capture| capture.number() < 215) {
        while let Some(event) = story.next_if(|event| event.before <= capture.number() && event.before < 199)
        {
            narrator.tell(&mock, &event);
        }
        if NOT_ALIKE.iter().any(|(number, _)| *number == capture.number()) {
            continue;
        }
        if let Some(difference) = difference(&mock, capture).await {
            differences.push(format!("{}: {difference}", capture.file));
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

async fn difference(mock: &mock_nano_rpc::MockNode, capture: &Capture) -> Option<String> {
    let body = capture.request_body()?;
    let method = capture.text("method").unwrap_or("POST");
    let path = capture.text("path").unwrap_or("/");
    let (status, headers, body) =
        call(mock.rpc_address(), method, path, "Connection: close\r\n", &body).await;
    let theirs = capture.text("raw_body").unwrap_or_default();
    if status.to_string() != capture.text("http_status").unwrap_or_default() {
        return Some(format!("status {status}, body {body}\n--- theirs {theirs}"));
    }
    let recorded: Vec<&str> = capture
        .tree
        .get("headers")
        .map(Tree::items)
        .unwrap_or_default()
        .iter()
        .map(|pair| pair.items()[0].as_text())
        .collect();
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    if names != recorded {
        return Some(format!("headers {names:?}, not {recorded:?}"));
    }
    let same = match (Tree::parse(body.as_bytes()), Tree::parse(theirs.as_bytes())) {
        (Ok(ours), Ok(theirs)) => same_shape(&ours, &theirs),
        (Err(_), Err(_)) => reason(&body) == reason(theirs),
        _ => false,
    };
    (!same).then(|| format!("\n--- ours\n{body}\n--- theirs\n{theirs}"))
}

/// A rejection without the list of all actions and without places in the text.
fn reason(text: &str) -> &str {
    if text.starts_with("Failed to parse the request body as JSON: ") {
        return "not JSON";
    }
    let text = text.split(", expected one of `account_info`").next().unwrap_or_default();
    let text = text.split(" at line ").next().unwrap_or_default();
    text.split(": invalid type: integer `1`, expected variant").next().unwrap_or_default()
}
