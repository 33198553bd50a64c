//! The stream of confirmations before nodes that answer late, wrongly, or not at all.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise")]

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use nano_currency::stream::{Event, GARBAGE_MAX, StreamConfig, StreamError, Wish, run};
use nano_currency::{Account, BlockHash};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

/// Greetings come this often, so that silence is noticed within a test's patience.
const PING_EVERY: Duration = Duration::from_millis(40);

/// What a test waits for at most; nothing here takes a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// A listener, and the node it listens to.
struct Scene {
    node: TcpListener,
    wishes: mpsc::Sender<Wish>,
    events: mpsc::Receiver<Event>,
    listener: JoinHandle<()>,
}

impl Scene {
    async fn open(change: impl FnOnce(&mut StreamConfig)) -> Self {
        let node = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = StreamConfig::new(format!("ws://{}", node.local_addr().unwrap()));
        config.ping_every = PING_EVERY;
        change(&mut config);
        let (wishes, receiver) = mpsc::channel(16);
        let (sender, events) = mpsc::channel(16);
        let listener = tokio::spawn(run(config, |_| Duration::from_millis(1), receiver, sender));
        Self { node, wishes, events, listener }
    }

    /// The next connection, as the node sees it.
    async fn connection(&self) -> Peer {
        let (socket, _) = within(self.node.accept()).await.unwrap();
        Peer(within(accept_async(socket)).await.unwrap())
    }

    /// The next connection, which is listened to.
    async fn listening(&mut self) -> Peer {
        let mut peer = self.connection().await;
        peer.acknowledge().await;
        assert!(matches!(self.event().await, Event::Listening));
        peer
    }

    async fn event(&mut self) -> Event {
        within(self.events.recv()).await.expect("another event")
    }

    async fn lost(&mut self) -> StreamError {
        match self.event().await {
            Event::Lost { error, .. } => error,
            other => panic!("{other:?}"),
        }
    }

    async fn wish(&self, wish: Wish) {
        self.wishes.send(wish).await.unwrap();
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

struct Peer(WebSocketStream<TcpStream>);

impl Peer {
    /// The next frame that is no greeting. Greetings are answered.
    async fn wish(&mut self) -> Value {
        loop {
            let frame = self.frame().await;
            if frame["action"] != "ping" {
                return frame;
            }
            self.say(json!({ "ack": "pong" })).await;
        }
    }

    async fn frame(&mut self) -> Value {
        loop {
            match within(self.0.next()).await.expect("another frame").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(_) => panic!("closed"),
                _ => {}
            }
        }
    }

    async fn say(&mut self, frame: Value) {
        // Who has hung up hears nothing.
        drop(self.0.send(Message::text(frame.to_string())).await);
    }

    async fn acknowledge(&mut self) -> Value {
        let wish = self.wish().await;
        self.say(json!({ "ack": wish["action"], "time": "1" })).await;
        wish
    }

    async fn is_closed(&mut self) -> bool {
        loop {
            match within(self.0.next()).await {
                None | Some(Err(_) | Ok(Message::Close(_))) => return true,
                Some(Ok(_)) => {}
            }
        }
    }
}

fn account(number: u32) -> Account {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    Account::from_bytes(key)
}

fn confirmation(hash: BlockHash, from: Account, to: Account) -> Value {
    json!({ "topic": "confirmation", "message":
        { "hash": hash, "account": from, "block": { "link_as_account": to } } })
}

fn count(list: &Value) -> usize {
    list.as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn a_subscription_is_changed_and_never_replaced() {
    let mut scene = Scene::open(|_| {}).await;
    let mut peer = scene.connection().await;
    let first = peer.acknowledge().await;
    assert_eq!((&first["action"], count(&first["options"]["accounts"])), (&json!("subscribe"), 0));
    assert!(matches!(scene.event().await, Event::Listening));
    scene.wish(Wish::Add(vec![account(1), account(2)])).await;
    let added = peer.acknowledge().await;
    assert_eq!(added["action"], "update");
    assert_eq!(added["options"]["accounts_add"], json!([account(1), account(2)]));
    scene.wish(Wish::Remove(vec![account(1), account(3)])).await;
    let removed = peer.acknowledge().await;
    assert_eq!(removed["options"], json!({ "accounts_del": [account(1)] }));
    let hash = BlockHash::from_bytes([7; 32]);
    // Of one that is no longer listened for, of a stranger, and to one of ours, from itself.
    peer.say(confirmation(hash, account(1), account(9))).await;
    let hash = BlockHash::from_bytes([8; 32]);
    peer.say(confirmation(hash, account(2), account(2))).await;
    let hash = BlockHash::from_bytes([9; 32]);
    peer.0.send(Message::binary(confirmation(hash, account(9), account(2)).to_string())).await.unwrap();
    for number in [8, 9] {
        match scene.event().await {
            Event::Hint { account: ours, hash } => {
                assert_eq!((ours, hash), (account(2), BlockHash::from_bytes([number; 32])));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_long_list_is_told_in_parts_and_nothing_is_promised_before_the_last() {
    let mut scene = Scene::open(|config| config.accounts_max = 2_500).await;
    scene.wish(Wish::Add((0..2_502).map(account).collect())).await;
    // Whatever the first connection was told, the second is told all of it.
    drop(scene.connection().await);
    let mut full = Vec::new();
    loop {
        match scene.event().await {
            Event::Full(account) => full.push(account),
            Event::Lost { .. } if full.len() == 2 => break,
            Event::Lost { .. } => drop(scene.connection().await),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(full, [account(2_500), account(2_501)]);
    let mut peer = scene.connection().await;
    let first = peer.wish().await;
    assert_eq!((&first["action"], count(&first["options"]["accounts"])), (&json!("subscribe"), 1_000));
    peer.say(json!({ "ack": "subscribe" })).await;
    let mut told = 1_000;
    for _ in 0..2 {
        let part = peer.wish().await;
        told += count(&part["options"]["accounts_add"]);
        assert!(scene.events.try_recv().is_err(), "not all of it is acknowledged");
        peer.say(json!({ "ack": "update" })).await;
    }
    assert_eq!(told, 2_500);
    assert!(matches!(scene.event().await, Event::Listening));
}

#[tokio::test]
async fn a_node_that_falls_silent_is_given_up_after_three_greetings() {
    let mut scene = Scene::open(|_| {}).await;
    let mut peer = scene.listening().await;
    for _ in 0..3 {
        assert_eq!(peer.frame().await["action"], "ping");
    }
    assert!(matches!(scene.lost().await, StreamError::Silent));
    // A sign of life, of whatever kind, and the count begins anew.
    let mut peer = scene.listening().await;
    for round in 0..9 {
        assert_eq!(peer.frame().await["action"], "ping");
        assert!(scene.events.try_recv().is_err(), "lost in round {round}");
        peer.say(json!({ "ack": "pong" })).await;
    }
}

#[tokio::test]
async fn a_wish_that_is_not_acknowledged_was_not_heard() {
    let mut scene = Scene::open(|_| {}).await;
    let mut peer = scene.connection().await;
    assert_eq!(peer.frame().await["action"], "subscribe");
    let answer = async {
        // Greetings are answered, the wish is not.
        for greeting in 0..2 {
            assert_eq!(peer.frame().await["action"], "ping", "{greeting}");
            peer.say(json!({ "ack": "pong" })).await;
        }
        peer
    };
    let (_peer, error) = tokio::join!(answer, scene.lost());
    assert!(matches!(error, StreamError::Unacknowledged), "{error:?}");
    // One that is acknowledged late is still heard.
    let mut peer = scene.connection().await;
    assert_eq!(peer.frame().await["action"], "subscribe");
    assert_eq!(peer.frame().await["action"], "ping");
    peer.say(json!({ "ack": "subscribe" })).await;
    assert!(matches!(scene.event().await, Event::Listening));
}

#[tokio::test]
async fn a_node_that_talks_nonsense_is_given_up_and_one_bad_frame_is_not_held_against_it() {
    let mut scene = Scene::open(|_| {}).await;
    let mut peer = scene.listening().await;
    scene.wish(Wish::Add(vec![account(1)])).await;
    peer.acknowledge().await;
    for _ in 0..2 {
        for _ in 1..GARBAGE_MAX {
            peer.say(json!({})).await;
        }
        // Nothing is lost yet, and what can be read makes up for it.
        peer.say(confirmation(BlockHash::from_bytes([7; 32]), account(2), account(1))).await;
        assert!(matches!(scene.event().await, Event::Hint { .. }));
    }
    for _ in 0..GARBAGE_MAX {
        peer.say(json!([])).await;
    }
    assert!(matches!(scene.lost().await, StreamError::Garbage));
    let mut peer = scene.listening().await;
    peer.say(json!({ "topic": "x".repeat(300_000) })).await;
    assert!(matches!(scene.lost().await, StreamError::TooLarge));
    let mut peer = scene.listening().await;
    peer.0.close(None).await.unwrap();
    assert!(matches!(scene.lost().await, StreamError::Closed));
}

#[tokio::test]
async fn a_node_that_is_not_there_is_tried_for_ever_with_a_count_that_begins_anew() {
    let node = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", node.local_addr().unwrap());
    let (attempts, mut tried) = mpsc::channel(64);
    let (_wishes, receiver) = mpsc::channel(1);
    let (sender, mut events) = mpsc::channel(64);
    let delay = move |attempt| {
        attempts.try_send(attempt).unwrap();
        Duration::from_millis(1)
    };
    tokio::spawn(run(StreamConfig::new(url), delay, receiver, sender));
    for _ in 0..12 {
        // It takes the connection, and says nothing of the kind that was asked for.
        drop(within(node.accept()).await.unwrap());
    }
    for attempt in 1..=12 {
        assert_eq!(within(tried.recv()).await, Some(attempt));
        assert!(matches!(within(events.recv()).await, Some(Event::Lost { .. })));
    }
    let (socket, _) = within(node.accept()).await.unwrap();
    let mut peer = Peer(accept_async(socket).await.unwrap());
    peer.acknowledge().await;
    assert!(matches!(within(events.recv()).await, Some(Event::Listening)));
    drop(peer);
    assert_eq!(within(tried.recv()).await, Some(1), "it stood");
}

#[tokio::test]
async fn a_frame_may_be_long() {
    let mut scene = Scene::open(|_| {}).await;
    let mut peer = scene.listening().await;
    scene.wish(Wish::Add(vec![account(1)])).await;
    peer.acknowledge().await;
    peer.say(json!({ "topic": "x".repeat(200_000) })).await;
    peer.say(confirmation(BlockHash::from_bytes([7; 32]), account(2), account(1))).await;
    assert!(matches!(scene.event().await, Event::Hint { .. }));
}

#[tokio::test]
async fn it_rests_between_attempts_and_takes_wishes_meanwhile() {
    let node = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = StreamConfig::new(format!("ws://{}", node.local_addr().unwrap()));
    config.accounts_max = 1;
    drop(node);
    let (wishes, receiver) = mpsc::channel(16);
    let (sender, mut events) = mpsc::channel(16);
    let listener = tokio::spawn(run(config, |_| Duration::from_secs(3_600), receiver, sender));
    assert!(matches!(within(events.recv()).await, Some(Event::Lost { .. })));
    let soon = tokio::time::timeout(Duration::from_millis(300), events.recv()).await;
    assert!(soon.is_err(), "an hour has not passed");
    wishes.send(Wish::Add(vec![account(1), account(2)])).await.unwrap();
    assert!(matches!(within(events.recv()).await, Some(Event::Full(full)) if full == account(2)));
    drop(wishes);
    within(listener).await.unwrap();
}

#[tokio::test]
async fn it_ends_with_the_wishes_and_with_the_listener_politely() {
    let mut scene = Scene::open(|_| {}).await;
    let mut peer = scene.listening().await;
    drop(scene.wishes);
    assert!(peer.is_closed().await);
    within(scene.listener).await.unwrap();
    // Nobody hears it: it has no reason to stay either.
    let scene = Scene::open(|_| {}).await;
    let mut peer = scene.connection().await;
    drop(scene.events);
    peer.acknowledge().await;
    within(scene.listener).await.unwrap();
    // Between two attempts, too.
    let Scene { node, wishes, mut events, listener } = Scene::open(|_| {}).await;
    drop(node);
    assert!(matches!(within(events.recv()).await, Some(Event::Lost { .. })));
    drop(wishes);
    drop(events);
    within(listener).await.unwrap();
}

#[tokio::test]
async fn an_address_that_is_none_is_said_to_be_none() {
    let mut scene = Scene::open(|config| config.url = "not an address".to_owned()).await;
    assert!(matches!(scene.lost().await, StreamError::Url));
    let mut scene = Scene::open(|config| config.url = "http://127.0.0.1:1".to_owned()).await;
    let error = scene.lost().await;
    assert!(matches!(error, StreamError::Url), "{error:?}");
    let shown = format!("{:?}", StreamConfig::new("wss://node.example/key-of-a-provider"));
    assert!(!shown.contains("provider") && shown.contains("accounts_max: 100000"), "{shown}");
}

/// A node that takes connections and never answers.
#[tokio::test]
async fn a_connection_that_does_not_come_about_is_given_up() {
    let mut scene = Scene::open(|config| config.connect_timeout = Duration::from_millis(50)).await;
    let _taken = within(scene.node.accept()).await.unwrap();
    assert!(matches!(scene.lost().await, StreamError::ConnectTimeout(_)));
}
