//! Conversations over the WebSocket, with a real client.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use mock_nano_rpc::MockNode;
use mock_nano_rpc::tree::{Style, Tree};
use nano_currency::{Account, Amount};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::common::story::Narrator;
use crate::common::{captures, harvest};
use crate::replay::recorded_network;

/// Far longer than any frame takes, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(20);

/// Short enough to wait for a frame that does not come.
const SILENCE: Duration = Duration::from_millis(150);

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn connect(mock: &MockNode) -> Self {
        Self(tokio_tungstenite::connect_async(mock.ws_url().unwrap()).await.unwrap().0)
    }

    async fn send(&mut self, frame: &str) {
        self.0.send(Message::text(frame)).await.unwrap();
    }

    /// The next frame; none if there is the end, or silence.
    async fn hear(&mut self) -> Option<Tree> {
        self.hear_within(PATIENCE).await
    }

    async fn hears_nothing(&mut self) -> bool {
        self.hear_within(SILENCE).await.is_none()
    }

    async fn hear_within(&mut self, patience: Duration) -> Option<Tree> {
        let message = tokio::time::timeout(patience, self.0.next()).await.ok()??.ok()?;
        let text = message.into_text().ok()?;
        let tree = Tree::parse(text.as_bytes()).unwrap();
        assert_eq!(text.as_str(), tree.write(Style::Pretty), "frames are pretty");
        Some(tree)
    }

    async fn is_closed(&mut self) -> bool {
        matches!(tokio::time::timeout(PATIENCE, self.0.next()).await, Ok(None | Some(Err(_))))
    }
}

/// Without the times and tallies that no two runs share.
fn timeless(tree: &Tree) -> Tree {
    match tree {
        Tree::Object(entries) => Tree::Object(
            entries
                .iter()
                .map(|(key, value)| {
                    let varies = matches!(
                        key.as_str(),
                        "time" | "duration" | "tally" | "final" | "local_timestamp" | "work" | "signature"
                    );
                    (key.clone(), if varies { Tree::from("") } else { timeless(value) })
                })
                .collect(),
        ),
        other => other.clone(),
    }
}

/// Says what the recorded client said, lets happen what was announced to it, and hears the same.
async fn converse(number: u32) {
    let all = captures();
    let narrator = Narrator::new(harvest(&all));
    let mock = recorded_network(true).await;
    let mut story = narrator.tell_until(&mock, &all, number);
    let capture = all.iter().find(|capture| capture.number() == number).unwrap();
    let mut client = Client::connect(&mock).await;
    let mut heard_of = HashSet::new();
    for step in capture.frames() {
        let frame = step.get("frame").unwrap();
        match step.text_of("dir") {
            Some("send") => client.send(&text_of(frame)).await,
            Some("recv") if matches!(frame, Tree::Text(_)) => {
                assert!(client.is_closed().await, "{number}: the node hangs up");
                return;
            }
            Some("recv") => {
                if let Some(hash) = announced(frame) {
                    if !heard_of.insert(hash) {
                        let hash = hash.parse().unwrap();
                        mock.with(|node, now_ms| node.request_confirmation(&hash, now_ms));
                    }
                    while mock.with(|node, _| node.ledger.block(&hash.parse().unwrap()).is_none()) {
                        narrator.tell(&mock, &story.next().unwrap());
                    }
                }
                let heard = loop {
                    let heard = client.hear().await.unwrap_or_else(|| panic!("{number}: silence"));
                    // Between two recorded frames other blocks may have been announced.
                    if announced(&heard) == announced(frame) {
                        break heard;
                    }
                };
                assert_eq!(timeless(&heard), timeless(frame), "{number}");
            }
            _ => {}
        }
    }
}

fn text_of(frame: &Tree) -> String {
    match frame {
        Tree::Text(text) => text.clone(),
        other => other.write(Style::Compact),
    }
}

fn announced(frame: &Tree) -> Option<&str> {
    frame.get("message").and_then(|message| message.text_of("hash")).or(frame.text_of("hash"))
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_conversations_are_repeated() {
    for number in [199, 200, 201, 202, 203, 204] {
        Box::pin(converse(number)).await;
    }
}

async fn fresh() -> (MockNode, Client) {
    let mock = recorded_network(true).await;
    let client = Client::connect(&mock).await;
    (mock, client)
}

fn account(number: u8) -> Account {
    nano_currency::PrivateKey::from_bytes([number; 32]).account()
}

fn subscribe(options: &str) -> String {
    format!(r#"{{"action":"subscribe","topic":"confirmation","ack":true{options}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn edge_18_a_second_subscribe_replaces_the_filter() {
    let (mock, mut client) = fresh().await;
    for number in [1, 2] {
        client.send(&subscribe(&format!(r#","options":{{"accounts":["{}"]}}"#, account(number)))).await;
        assert_eq!(client.hear().await.unwrap().text_of("ack"), Some("subscribe"));
    }
    mock.fund(&account(1), Amount::from_raw(1)).unwrap();
    let hash = mock.fund(&account(2), Amount::from_raw(1)).unwrap();
    let heard = client.hear().await.unwrap();
    assert_eq!(announced(&heard), Some(hash.to_string().as_str()));
    assert!(client.hears_nothing().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn edge_18_filters_that_let_nothing_pass_are_silent() {
    let cases = [
        r#","options":{"accounts":[]}"#.to_owned(),
        format!(r#","options":{{"accounts":["{}"],"include_block":"false"}}"#, account(1)),
        r#","options":{"accounts":["nano_1bad"]}"#.to_owned(),
    ];
    let (mock, mut client) = fresh().await;
    for options in cases {
        client.send(&subscribe(&options)).await;
        assert_eq!(client.hear().await.unwrap().text_of("ack"), Some("subscribe"));
        mock.fund(&account(1), Amount::from_raw(1)).unwrap();
        assert!(client.hears_nothing().await, "{options}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_frames_and_pings_are_answered() {
    let (_mock, mut client) = fresh().await;
    client.0.send(Message::binary(br#"{"action":"ping"}"#.to_vec())).await.unwrap();
    assert_eq!(client.hear().await.unwrap().text_of("ack"), Some("pong"));
    client.0.send(Message::Ping(b"hi"[..].into())).await.unwrap();
    let pong = client.0.next().await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong(b"hi"[..].into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn edge_18_a_confirmed_block_is_announced_again_when_asked_for() {
    let (mock, mut client) = fresh().await;
    let hash = mock.fund(&account(1), Amount::from_raw(1)).unwrap();
    client.send(&subscribe("")).await;
    client.hear().await.unwrap();
    let body = format!(r#"{{"action":"block_confirm","hash":"{hash}"}}"#);
    crate::common::post(mock.rpc_address(), "/", &body).await;
    let heard = client.hear().await.unwrap();
    let kind = heard.get("message").and_then(|message| message.text_of("confirmation_type"));
    assert_eq!(kind, Some("active_confirmation_height"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_announced_is_already_visible() {
    let (mock, mut client) = fresh().await;
    client.send(&subscribe("")).await;
    client.hear().await.unwrap();
    for _ in 0..20 {
        let hash = mock.fund(&account(1), Amount::from_raw(1)).unwrap();
        client.hear().await.unwrap();
        let body = format!(r#"{{"action":"block_info","hash":"{hash}"}}"#);
        let info = crate::common::post(mock.rpc_address(), "/", &body).await;
        assert_eq!(info.text_of("confirmed"), Some("true"));
    }
}

/// A reader who falls too far behind would miss news without knowing; it is cut off instead.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_does_not_read_is_cut_off() {
    let (mock, mut client) = fresh().await;
    client.send(&subscribe("")).await;
    client.hear().await.unwrap();
    mock.dust(&account(1), Amount::from_raw(1), 12_000).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut heard = 0;
    let ending = async {
        while let Some(Ok(_)) = client.0.next().await {
            heard += 1;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ending).await.expect("the node hangs up");
    assert!(heard < 12_000, "{heard}");
}
