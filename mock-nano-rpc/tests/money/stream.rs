//! The stream of confirmations against the mock's WebSocket, and against worse ones.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use mock_nano_rpc::{Config, MockNode};
use nano_currency::stream::{Event, StreamConfig, StreamError, Wish, run};
use nano_currency::{Account, Amount, BlockHash, PrivateKey};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Far longer than anything takes, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(20);

/// Short enough to wait for a hint that does not come.
const SILENCE: Duration = Duration::from_millis(200);

struct Listener {
    wishes: mpsc::Sender<Wish>,
    events: mpsc::Receiver<Event>,
    _task: JoinHandle<()>,
}

impl Listener {
    fn new(config: StreamConfig) -> Self {
        let (wishes, heard) = mpsc::channel(16);
        let (told, events) = mpsc::channel(64);
        let task = tokio::spawn(run(config, |_| Duration::from_millis(20), heard, told));
        Self { wishes, events, _task: task }
    }

    fn to(url: &str) -> Self {
        Self::new(StreamConfig { ping_every: Duration::from_millis(100), ..StreamConfig::new(url) })
    }

    async fn add(&self, accounts: &[Account]) {
        self.wishes.send(Wish::Add(accounts.to_vec())).await.unwrap();
    }

    async fn next(&mut self) -> Event {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event").expect("it runs")
    }

    async fn listening(&mut self) {
        loop {
            if matches!(self.next().await, Event::Listening) {
                return;
            }
        }
    }

    async fn hint(&mut self) -> (Account, BlockHash) {
        match self.next().await {
            Event::Hint { account, hash } => (account, hash),
            other => panic!("{other:?}"),
        }
    }

    async fn lost(&mut self) -> StreamError {
        loop {
            if let Event::Lost { error, .. } = self.next().await {
                return error;
            }
        }
    }

    async fn hears_nothing(&mut self) -> bool {
        tokio::time::timeout(SILENCE, self.events.recv()).await.is_err()
    }
}

fn account(number: u8) -> Account {
    PrivateKey::from_bytes([number; 32]).account()
}

async fn mock() -> MockNode {
    MockNode::start(Config::default()).await.unwrap()
}

fn pay(mock: &MockNode, number: u8) -> BlockHash {
    mock.fund(&account(number), Amount::from_raw(1)).unwrap()
}

/// The mock takes frames in order, and news from then on.
async fn settled() {
    tokio::time::sleep(SILENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_to_an_open_invoice_is_heard_of_at_once() {
    let mock = mock().await;
    let mut listener = Listener::to(&mock.ws_url().unwrap());
    listener.listening().await;
    listener.add(&[account(1)]).await;
    settled().await;
    let hash = pay(&mock, 1);
    assert_eq!(listener.hint().await, (account(1), hash));
    pay(&mock, 2);
    assert!(listener.hears_nothing().await);
}

/// A second subscription on the node's WebSocket replaces the first, and earlier invoices go deaf.
#[tokio::test(flavor = "multi_thread")]
async fn a_later_invoice_does_not_make_earlier_ones_deaf() {
    let mock = mock().await;
    let mut listener = Listener::to(&mock.ws_url().unwrap());
    listener.add(&[account(1)]).await;
    listener.listening().await;
    for number in 2..6 {
        listener.add(&[account(number)]).await;
    }
    settled().await;
    for number in 1..6 {
        let hash = pay(&mock, number);
        assert_eq!(listener.hint().await, (account(number), hash));
    }
    // And an invoice that is closed is not listened for any more, while the others are.
    listener.wishes.send(Wish::Remove(vec![account(3)])).await.unwrap();
    settled().await;
    pay(&mock, 3);
    let hash = pay(&mock, 4);
    assert_eq!(listener.hint().await, (account(4), hash));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_invoice_is_subscribed_to_again_after_a_reconnect() {
    let (listener, mut node) = against_a_script().await;
    let mut listener = listener;
    listener.add(&[account(1), account(2)]).await;
    let mut socket = node.accept().await;
    // As many as are known when the connection stands go into the subscription, others follow.
    let mut known = node_hears(&mut socket, 2).await;
    known.sort();
    let mut expected = [account(1), account(2)].map(|account| account.to_string());
    expected.sort();
    assert_eq!(known, expected);
    listener.add(&[account(3)]).await;
    node_hears(&mut socket, 1).await;
    drop(socket);
    let error = listener.lost().await;
    assert!(matches!(error, StreamError::Closed | StreamError::Broken(_)), "{error:?}");
    let mut socket = node.accept().await;
    let subscription = next_frame(&mut socket).await;
    assert_eq!(subscription["action"], "subscribe");
    assert_eq!(subscription["options"]["accounts"].as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reconnects_for_ever() {
    let (mut listener, mut node) = against_a_script().await;
    for _ in 0..20 {
        drop(node.accept().await);
        listener.lost().await;
    }
}

/// Open, and nobody there: three greetings without an answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_dead_but_open_is_given_up() {
    let (mut listener, mut node) = against_a_script().await;
    let _socket = node.accept().await;
    let error = listener.lost().await;
    assert!(matches!(error, StreamError::Silent | StreamError::Unacknowledged), "{error:?}");
    node.accept().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn death_is_noticed_within_a_minute_by_default() {
    let config = StreamConfig::new("ws://nobody");
    assert!(config.ping_every * 4 <= Duration::from_secs(60));
}

/// A node that talks about everything but our wishes has not heard them.
#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_is_never_acknowledged_ends_the_connection() {
    let (mut listener, mut node) = against_a_script().await;
    let mut socket = node.accept().await;
    let chatter = tokio::spawn(async move {
        while socket.send(Message::text(r#"{"ack":"pong"}"#)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let error = listener.lost().await;
    assert!(matches!(error, StreamError::Unacknowledged), "{error:?}");
    chatter.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_bounded_and_named() {
    for frame in ["", "nonsense", "[]", "{}", r#"{"topic":"confirmation","message":{"hash":"7"}}"#] {
        let (mut listener, mut node) = against_a_script().await;
        let mut socket = node.accept().await;
        for _ in 0..nano_currency::stream::GARBAGE_MAX {
            let _ = socket.send(Message::text(frame)).await;
        }
        let error = listener.lost().await;
        assert!(matches!(error, StreamError::Garbage), "{frame:?}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_without_end_is_refused_by_name() {
    let (mut listener, mut node) = against_a_script().await;
    let mut socket = node.accept().await;
    let _ = socket.send(Message::text("x".repeat(1 << 20))).await;
    let error = listener.lost().await;
    assert!(matches!(error, StreamError::TooLarge), "{error:?}");
}

/// A filter is a request; what passes it anyway is not ours and gives no hint.
#[tokio::test(flavor = "multi_thread")]
async fn news_of_strangers_are_no_hints() {
    let (mut listener, mut node) = against_a_script().await;
    listener.add(&[account(1)]).await;
    let mut socket = node.accept().await;
    node_hears(&mut socket, 1).await;
    let news = |number: u8, hash: u8| {
        let message = serde_json::json!({
            "account": account(9), "hash": BlockHash::from_bytes([hash; 32]),
            "block": { "link_as_account": account(number) },
        });
        Message::text(serde_json::json!({ "topic": "confirmation", "message": message }).to_string())
    };
    socket.send(news(2, 2)).await.unwrap();
    socket.send(news(1, 1)).await.unwrap();
    listener.listening().await;
    assert_eq!(listener.hint().await, (account(1), BlockHash::from_bytes([1; 32])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_list_says_who_is_left_out() {
    let mock = mock().await;
    let config = StreamConfig { accounts_max: 1, ..StreamConfig::new(mock.ws_url().unwrap()) };
    let mut listener = Listener::new(config);
    listener.listening().await;
    listener.add(&[account(1), account(2)]).await;
    assert!(matches!(listener.next().await, Event::Full(left) if left == account(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_invoices_are_listened_for_over_one_connection() {
    let mock = mock().await;
    let mut listener = Listener::to(&mock.ws_url().unwrap());
    let many: Vec<Account> = (0..5_000u32)
        .map(|number| {
            let mut key = [3; 32];
            key[..4].copy_from_slice(&number.to_be_bytes());
            Account::from_bytes(key)
        })
        .collect();
    listener.add(&many).await;
    listener.listening().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for account in [many[0], many[4_999]] {
        let hash = mock.fund(&account, Amount::from_raw(1)).unwrap();
        assert_eq!(listener.hint().await, (account, hash));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_none_is_named_and_not_shown() {
    let mut listener = Listener::to("http//key=secret");
    let error = listener.lost().await;
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    assert!(!format!("{:?}", StreamConfig::new("wss://node/key=secret")).contains("secret"));
}

/// It ends when nobody wishes for anything any more.
#[tokio::test(flavor = "multi_thread")]
async fn it_ends_with_its_wishes() {
    let mock = mock().await;
    let Listener { wishes, mut events, _task } = Listener::to(&mock.ws_url().unwrap());
    drop(wishes);
    let ended = tokio::time::timeout(PATIENCE, async { while events.recv().await.is_some() {} });
    ended.await.expect("it ends");
}

/// A node that does what the test says.
struct Script(TcpListener);

impl Script {
    async fn accept(&mut self) -> WebSocketStream<TcpStream> {
        let (stream, _) = tokio::time::timeout(PATIENCE, self.0.accept()).await.unwrap().unwrap();
        tokio_tungstenite::accept_async(stream).await.unwrap()
    }
}

async fn against_a_script() -> (Listener, Script) {
    let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("ws://{}", socket.local_addr().unwrap());
    (Listener::to(&url), Script(socket))
}

async fn next_frame(socket: &mut WebSocketStream<TcpStream>) -> serde_json::Value {
    let frame = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    serde_json::from_str(frame.to_text().unwrap()).unwrap()
}

/// Acknowledges what it hears until that many accounts were named; their addresses.
async fn node_hears(socket: &mut WebSocketStream<TcpStream>, count: usize) -> Vec<String> {
    let mut named = Vec::new();
    while named.len() < count {
        let frame = next_frame(socket).await;
        let action = frame["action"].as_str().unwrap().to_owned();
        for key in ["accounts", "accounts_add"] {
            let list = frame["options"][key].as_array().into_iter().flatten();
            named.extend(list.map(|account| account.as_str().unwrap().to_owned()));
        }
        socket.send(Message::text(format!(r#"{{"ack":"{action}"}}"#))).await.unwrap();
    }
    named
}
