//! Confirmations as they happen: the node's WebSocket, filtered to our accounts.
//!
//! What comes out are hints. A hint says *look now*, and is never a proof: the stream repeats
//! itself, loses things, and a stranger's node can say anything on it.
//!
//! One connection, one subscription. A second `subscribe` to the topic replaces the first and
//! leaves every earlier account deaf, so the list is changed by `update` (`accounts_add`,
//! `accounts_del`) and only a new connection subscribes. Most failures on this socket are silent:
//! every wish asks for an acknowledgement, and a connection that owes one for too long, or says
//! nothing at all, is given up for a new one. It never gives up for good.
//!
//! Pure parts: `frames` is what is written and read. Here is the waiting.

mod frames;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::{Account, BlockHash};
use frames::Frame;

pub use frames::GARBAGE_MAX;

/// Accounts that are listened for. A filter of as many is some 7 MB in all on its way to the node,
/// in a hundred frames; a seller with more open invoices than that finds the rest by polling.
pub const ACCOUNTS_MAX: usize = 100_000;

/// Accounts in one frame: some 70 KB, far below what any node takes at once (16 MiB).
const ACCOUNTS_PER_FRAME: usize = 1_000;

/// A confirmation is 1.5 KB; with every extra that another listener can make the node add, ten.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Changes that may be unacknowledged at a time: the hundred of a full list, and room for all
/// invoices that a busy seller opens while a node is slow.
const OWED_MAX: usize = 1_024;

/// The largest wait between two attempts: a node that is back is found within a minute.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// The first wait: a node that restarts is back within seconds.
const DELAY_MIN: Duration = Duration::from_millis(500);

/// How to listen to which node.
#[derive(Clone)]
pub struct StreamConfig {
    /// The node's address, `ws://` or `wss://`.
    pub url: String,
    /// The most accounts listened for; beyond it an account is answered with [`Event::Full`].
    pub accounts_max: usize,
    /// Until the connection stands, or a frame is written.
    pub connect_timeout: Duration,
    /// The node is greeted this often. After three greetings without a sign of life the
    /// connection is dead, and after two a wish that was not acknowledged is.
    pub ping_every: Duration,
}

impl StreamConfig {
    /// Listens to the node at `url`, and notices its death within a minute.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            accounts_max: ACCOUNTS_MAX,
            connect_timeout: Duration::from_secs(10),
            ping_every: Duration::from_secs(15),
        }
    }
}

/// Without the address, which may hold a provider's key.
impl fmt::Debug for StreamConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamConfig")
            .field("accounts_max", &self.accounts_max)
            .field("connect_timeout", &self.connect_timeout)
            .field("ping_every", &self.ping_every)
            .finish_non_exhaustive()
    }
}

/// A change of what is listened for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Listen for these too.
    Add(Vec<Account>),
    /// No longer for these.
    Remove(Vec<Account>),
}

/// What the stream tells.
#[derive(Debug)]
pub enum Event {
    /// Connected, and the node has acknowledged every account: from now on nothing is missed
    /// until [`Event::Lost`]. What happened before is found by asking.
    Listening,
    /// Something happened to one of our accounts: ask about this block.
    Hint {
        /// Ours.
        account: Account,
        /// The block, by the node's word.
        hash: BlockHash,
    },
    /// The connection is gone. Another is made after `retry_in`.
    Lost {
        /// Why.
        error: StreamError,
        /// How long until the next attempt.
        retry_in: Duration,
    },
    /// The list is full: this account is not listened for and has to be asked about.
    Full(Account),
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The address is none.
    #[error("the address of the node's websocket is not a ws:// or wss:// URL")]
    Url,
    /// No connection in time.
    #[error("no connection within {} s", .0.as_secs_f32())]
    ConnectTimeout(Duration),
    /// No connection.
    #[error("the node's websocket cannot be reached")]
    Connect(#[source] Box<SocketError>),
    /// It broke.
    #[error("the connection broke")]
    Broken(#[source] Box<SocketError>),
    /// The node hung up.
    #[error("the node closed the connection")]
    Closed,
    /// A frame larger than any confirmation.
    #[error("the node sent a frame of more than {MESSAGE_BYTES_MAX} bytes")]
    TooLarge,
    /// Frame after frame that is nothing we know.
    #[error("the node sent {GARBAGE_MAX} frames in a row that make no sense")]
    Garbage,
    /// Open, but nobody there.
    #[error("the node has been silent, greetings included")]
    Silent,
    /// A wish was not acknowledged, so the node may not have heard it.
    #[error("the node did not acknowledge a change of the subscription")]
    Unacknowledged,
    /// A frame could not be written in time.
    #[error("the node does not read")]
    NotReading,
}

/// The wait before attempt `attempt`, from 1: anything up to a bound that doubles, so that a
/// thousand sellers do not return to a restarted node in the same moment. `random` is a random
/// number.
#[must_use]
pub fn full_jitter(attempt: u32, random: u64) -> Duration {
    let bound = DELAY_MIN.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(DELAY_MAX);
    let bound_ms = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(random % (bound_ms + 1))
}

/// Listens until the wishes end, or nobody hears the events any more. `delay` tells the wait
/// before the attempt with this number, which is 1 after a connection that stood; see
/// [`full_jitter`].
pub async fn run(
    config: StreamConfig,
    mut delay: impl FnMut(u32) -> Duration + Send,
    mut wishes: mpsc::Receiver<Wish>,
    events: mpsc::Sender<Event>,
) {
    let mut accounts = Accounts { list: BTreeSet::new(), max: config.accounts_max };
    let mut attempt = 0;
    loop {
        let ending = match connect(&config).await {
            Ok(socket) => {
                let mut session = Session::new(socket, &config, &events);
                let ending = session.run(&mut accounts, &mut wishes).await;
                if session.listened {
                    attempt = 0;
                }
                ending
            }
            Err(error) => Ending::Lost(error),
        };
        let Ending::Lost(error) = ending else { return };
        attempt = u32::saturating_add(attempt, 1);
        let retry_in = delay(attempt);
        if events.send(Event::Lost { error, retry_in }).await.is_err() {
            return;
        }
        if !rest(retry_in, &mut accounts, &mut wishes, &events).await {
            return;
        }
    }
}

/// Waits, and takes wishes meanwhile; false if there will be no more.
async fn rest(
    wait: Duration,
    accounts: &mut Accounts,
    wishes: &mut mpsc::Receiver<Wish>,
    events: &mpsc::Sender<Event>,
) -> bool {
    let sleep = tokio::time::sleep(wait);
    tokio::pin!(sleep);
    loop {
        tokio::select! {
            () = &mut sleep => return true,
            wish = wishes.recv() => {
                let Some(wish) = wish else { return false };
                let change = accounts.obey(wish);
                for account in change.refused {
                    if events.send(Event::Full(account)).await.is_err() {
                        return false;
                    }
                }
            }
        }
    }
}

/// What is listened for; bounded.
struct Accounts {
    list: BTreeSet<Account>,
    max: usize,
}

/// What a wish changed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Change {
    added: Vec<Account>,
    removed: Vec<Account>,
    refused: Vec<Account>,
}

impl Accounts {
    fn obey(&mut self, wish: Wish) -> Change {
        let mut change = Change::default();
        match wish {
            Wish::Add(accounts) => {
                for account in accounts {
                    if self.list.contains(&account) {
                        continue;
                    }
                    if self.list.len() >= self.max {
                        change.refused.push(account);
                    } else {
                        self.list.insert(account);
                        change.added.push(account);
                    }
                }
            }
            Wish::Remove(accounts) => {
                change.removed = accounts.into_iter().filter(|account| self.list.remove(account)).collect();
            }
        }
        change
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(config: &StreamConfig) -> Result<Socket, StreamError> {
    crate::rpc::install_crypto();
    let request = config.url.as_str().into_client_request().map_err(|_| StreamError::Url)?;
    if !matches!(request.uri().scheme_str(), Some("ws" | "wss")) {
        return Err(StreamError::Url);
    }
    let limits = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let connecting = connect_async_with_config(request, Some(limits), true);
    match timeout(config.connect_timeout, connecting).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(SocketError::Url(_))) => Err(StreamError::Url),
        Ok(Err(error)) => Err(StreamError::Connect(Box::new(error))),
        Err(_) => Err(StreamError::ConnectTimeout(config.connect_timeout)),
    }
}

/// How a session ends.
enum Ending {
    /// Another is to be made.
    Lost(StreamError),
    /// Nobody wants another.
    Done,
}

/// One connection, and its one subscription.
struct Session<'a> {
    socket: Socket,
    config: &'a StreamConfig,
    events: &'a mpsc::Sender<Event>,
    /// Greetings since the last sign of life.
    silent: u32,
    /// Wishes not yet acknowledged, oldest first, with the greetings since each.
    owed: VecDeque<u32>,
    garbage: usize,
    /// Whether every account was acknowledged once.
    listened: bool,
}

impl<'a> Session<'a> {
    fn new(socket: Socket, config: &'a StreamConfig, events: &'a mpsc::Sender<Event>) -> Self {
        Self { socket, config, events, silent: 0, owed: VecDeque::new(), garbage: 0, listened: false }
    }

    async fn run(&mut self, accounts: &mut Accounts, wishes: &mut mpsc::Receiver<Wish>) -> Ending {
        match self.listen(accounts, wishes).await {
            Ok(never) => match never {},
            Err(ending) => ending,
        }
    }

    async fn listen(
        &mut self,
        accounts: &mut Accounts,
        wishes: &mut mpsc::Receiver<Wish>,
    ) -> Result<std::convert::Infallible, Ending> {
        let list: Vec<Account> = accounts.list.iter().copied().collect();
        let (first, rest) = list.split_at(list.len().min(ACCOUNTS_PER_FRAME));
        self.ask(frames::subscribe(first)).await?;
        self.update(rest, &[]).await?;
        let mut greeting = interval(self.config.ping_every);
        greeting.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once, and nobody needs a greeting yet.
        greeting.tick().await;
        loop {
            tokio::select! {
                frame = self.socket.next() => self.hear(frame, accounts).await?,
                wish = wishes.recv() => {
                    let Some(wish) = wish else {
                        // Politeness; a node that is gone needs none.
                        let _ = timeout(self.config.connect_timeout, self.socket.close(None)).await;
                        return Err(Ending::Done);
                    };
                    let change = accounts.obey(wish);
                    // First, for the update may be the end of this connection.
                    for account in change.refused {
                        self.tell(Event::Full(account)).await?;
                    }
                    self.update(&change.added, &change.removed).await?;
                }
                _ = greeting.tick() => self.greet().await?,
            }
        }
    }

    async fn hear(
        &mut self,
        frame: Option<Result<Message, SocketError>>,
        accounts: &Accounts,
    ) -> Result<(), Ending> {
        let message = match frame {
            Some(Ok(message)) => message,
            Some(Err(SocketError::Capacity(_))) => return Err(Ending::Lost(StreamError::TooLarge)),
            Some(Err(SocketError::ConnectionClosed)) | None => return Err(Ending::Lost(StreamError::Closed)),
            Some(Err(error)) => return Err(Ending::Lost(StreamError::Broken(Box::new(error)))),
        };
        self.silent = 0;
        let frame = match &message {
            Message::Text(text) => frames::read(text.as_bytes()),
            Message::Binary(bytes) => frames::read(bytes),
            Message::Close(_) => return Err(Ending::Lost(StreamError::Closed)),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
        };
        match frame {
            Frame::Acknowledged => {
                self.owed.pop_front();
                if self.owed.is_empty() && !self.listened {
                    self.listened = true;
                    self.tell(Event::Listening).await?;
                }
            }
            Frame::Confirmed { hash, parties } => {
                for account in parties.into_iter().flatten().collect::<BTreeSet<_>>() {
                    if accounts.list.contains(&account) {
                        self.tell(Event::Hint { account, hash }).await?;
                    }
                }
            }
            Frame::Other => {}
            Frame::Garbage => {
                self.garbage += 1;
                if self.garbage >= GARBAGE_MAX {
                    return Err(Ending::Lost(StreamError::Garbage));
                }
                return Ok(());
            }
        }
        self.garbage = 0;
        Ok(())
    }

    /// A greeting, which every node answers; and a look at what it owes.
    async fn greet(&mut self) -> Result<(), Ending> {
        if self.silent >= 3 {
            return Err(Ending::Lost(StreamError::Silent));
        }
        self.silent += 1;
        for age in &mut self.owed {
            *age += 1;
        }
        if self.owed.front().is_some_and(|age| *age >= 3) {
            return Err(Ending::Lost(StreamError::Unacknowledged));
        }
        self.write(frames::PING.to_owned()).await
    }

    /// Changes the subscription that there is.
    async fn update(&mut self, added: &[Account], removed: &[Account]) -> Result<(), Ending> {
        for part in removed.chunks(ACCOUNTS_PER_FRAME) {
            self.ask(frames::update(&[], part)).await?;
        }
        for part in added.chunks(ACCOUNTS_PER_FRAME) {
            self.ask(frames::update(part, &[])).await?;
        }
        Ok(())
    }

    async fn ask(&mut self, frame: String) -> Result<(), Ending> {
        if self.owed.len() >= OWED_MAX {
            return Err(Ending::Lost(StreamError::Unacknowledged));
        }
        self.owed.push_back(0);
        self.write(frame).await
    }

    async fn write(&mut self, frame: String) -> Result<(), Ending> {
        match timeout(self.config.connect_timeout, self.socket.send(Message::text(frame))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Ending::Lost(StreamError::Broken(Box::new(error)))),
            Err(_) => Err(Ending::Lost(StreamError::NotReading)),
        }
    }

    /// A listener that does not keep up slows the stream down; the node then cuts it off, and
    /// polling finds what was missed.
    async fn tell(&self, event: Event) -> Result<(), Ending> {
        self.events.send(event).await.map_err(|_| Ending::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_anything_up_to_a_bound_that_doubles() {
        assert_eq!(full_jitter(1, 0), Duration::ZERO);
        let longest: Vec<u128> = (1..10)
            .map(|attempt| {
                let bounds = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000];
                let bound = bounds[(attempt as usize - 1).min(7)];
                full_jitter(attempt, bound).as_millis()
            })
            .collect();
        assert_eq!(longest, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert!(full_jitter(u32::MAX, u64::MAX) <= DELAY_MAX);
    }

    #[test]
    fn the_list_is_bounded_and_says_who_is_left_out() {
        let account = |number| Account::from_bytes([number; 32]);
        let mut accounts = Accounts { list: BTreeSet::new(), max: 2 };
        let change = accounts.obey(Wish::Add(vec![account(1), account(1), account(2), account(3)]));
        assert_eq!((change.added.len(), change.refused), (2, vec![account(3)]));
        let change = accounts.obey(Wish::Remove(vec![account(1), account(3)]));
        assert_eq!(change.removed, [account(1)]);
        assert_eq!(accounts.obey(Wish::Add(vec![account(3)])).added, [account(3)]);
    }
}
