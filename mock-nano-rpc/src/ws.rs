//! The node's WebSocket: the topics `confirmation` and `new_unconfirmed_block`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use nano_currency::Account;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::accept::accept;
use crate::block::Block;
use crate::host::Host;
use crate::node::{News, NewsKind};
use crate::rpc::read_account;
use crate::tree::{Style, Tree};

/// A subscription of 10,000 addresses is some 700 KiB.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes that may wait for a slow reader before the connection is given up.
const WRITE_BUFFER_MAX: usize = 8 * 1024 * 1024;

/// How long one frame may wait for a reader who does not read.
const SEND_PATIENCE: Duration = Duration::from_secs(2);

/// Accepts connections until shutdown.
pub(crate) async fn run(listener: TcpListener, host: Arc<Host>) {
    accept(listener, host, |stream, host| async move { serve(stream, &host).await }).await;
}

/// One listener: its wishes in, news out. Dropping the socket without a close frame is how the
/// node ends a conversation.
async fn serve(stream: TcpStream, host: &Host) {
    // News are small and each is waited for.
    let _: std::io::Result<()> = stream.set_nodelay(true);
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_write_buffer_size(WRITE_BUFFER_MAX);
    let Ok(mut socket) = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await else {
        return;
    };
    let mut news = host.listen();
    let mut listener = Listener::default();
    loop {
        let reply = tokio::select! {
            // News first: a wish counts from when it is heard, not for what happened before.
            biased;
            item = news.recv() => match item {
                Ok(item) => listener.hear(&item),
                // Too far behind: the rest of the news would have holes.
                Err(RecvError::Lagged(_) | RecvError::Closed) => return,
            },
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => match listener.obey(text.as_bytes(), host.now_ms()) {
                    Ok(reply) => reply,
                    Err(Malformed) => return,
                },
                Some(Ok(Message::Binary(bytes))) => match listener.obey(&bytes, host.now_ms()) {
                    Ok(reply) => reply,
                    Err(Malformed) => return,
                },
                Some(Ok(_)) => None,
                Some(Err(_)) | None => return,
            },
        };
        let Some(reply) = reply else { continue };
        let sending = socket.send(Message::text(reply.write(Style::Pretty)));
        if !matches!(timeout(SEND_PATIENCE, sending).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// The frame is not JSON; the node closes without a word.
struct Malformed;

/// What one connection wants to hear.
#[derive(Debug, Default)]
struct Listener {
    confirmation: Option<Subscription>,
    unconfirmed: bool,
}

/// What it wants to hear about confirmations.
#[derive(Debug)]
struct Subscription {
    /// Whether `options` were given: without them there is nothing to update.
    updatable: bool,
    /// Only these, if any were named.
    accounts: Option<HashSet<Account>>,
    include_block: bool,
    include_election_info: bool,
    include_sideband_info: bool,
}

impl Listener {
    /// Does what a frame asks; most failures are silent.
    fn obey(&mut self, frame: &[u8], now_ms: u64) -> Result<Option<Tree>, Malformed> {
        let call = Tree::parse(frame).map_err(|_| Malformed)?;
        let action = call.text_of("action").unwrap_or_default();
        if action == "ping" {
            return Ok(Some(acknowledge("pong", &call, now_ms)));
        }
        let done = match (action, call.text_of("topic").unwrap_or_default()) {
            ("subscribe", "confirmation") => {
                self.confirmation = Some(Subscription::read(call.get("options")));
                true
            }
            ("subscribe", "new_unconfirmed_block") => {
                self.unconfirmed = true;
                true
            }
            ("unsubscribe", "confirmation") => self.confirmation.take().is_some(),
            ("unsubscribe", "new_unconfirmed_block") => std::mem::take(&mut self.unconfirmed),
            ("update", "confirmation") => {
                self.confirmation.as_mut().is_some_and(|known| known.update(call.get("options")))
            }
            _ => false,
        };
        let wanted = matches!(call.text_of("ack"), Some("true" | "1"));
        Ok((done && wanted).then(|| acknowledge(action, &call, now_ms)))
    }

    /// The message about this, if it is wanted.
    fn hear(&self, news: &News) -> Option<Tree> {
        match news.kind {
            NewsKind::Arrived => self.unconfirmed.then(|| arrival(news)),
            NewsKind::ConfirmedByQuorum | NewsKind::ConfirmedByHeight => {
                self.confirmation.as_ref().filter(|wish| wish.covers(news)).map(|wish| wish.message(news))
            }
        }
    }
}

impl Subscription {
    fn read(options: Option<&Tree>) -> Self {
        let flag = |key, default| match options.and_then(|options| options.text_of(key)) {
            Some("true" | "1") => true,
            Some("false" | "0") => false,
            _ => default,
        };
        let accounts = options.and_then(|options| options.get("accounts"));
        Self {
            updatable: options.is_some(),
            accounts: accounts.map(|accounts| read_accounts(accounts).collect()),
            include_block: flag("include_block", true),
            include_election_info: flag("include_election_info", false),
            include_sideband_info: flag("include_sideband_info", false),
        }
    }

    fn update(&mut self, options: Option<&Tree>) -> bool {
        let (Some(options), true) = (options, self.updatable) else { return false };
        let accounts = self.accounts.get_or_insert_default();
        if let Some(added) = options.get("accounts_add") {
            accounts.extend(read_accounts(added));
        }
        for gone in options.get("accounts_del").into_iter().flat_map(read_accounts) {
            accounts.remove(&gone);
        }
        true
    }

    /// A filter reads the block, so without `include_block` it lets nothing pass; it looks at
    /// account and link, so legacy blocks never pass.
    fn covers(&self, news: &News) -> bool {
        let Some(accounts) = &self.accounts else { return true };
        match &news.stored.block {
            Block::State(state) if self.include_block => {
                accounts.contains(&state.fields.account)
                    || accounts.contains(&Account::from_bytes(state.fields.link))
            }
            _ => false,
        }
    }

    fn message(&self, news: &News) -> Tree {
        let kind = match news.kind {
            NewsKind::ConfirmedByQuorum => "active_quorum",
            NewsKind::ConfirmedByHeight | NewsKind::Arrived => "active_confirmation_height",
        };
        let mut message = Tree::object()
            .with("account", Tree::text(news.stored.account))
            .with("amount", Tree::text(news.stored.amount))
            .with("hash", Tree::text(news.hash))
            .with("confirmation_type", kind);
        if self.include_election_info {
            message.push("election_info", election_info(news));
        }
        if self.include_block {
            message.push("block", block_with_subtype(news));
        }
        if self.include_sideband_info {
            let sideband = Tree::object()
                .with("height", Tree::text(news.stored.height))
                .with("local_timestamp", Tree::text(news.stored.local_timestamp));
            message.push("sideband", sideband);
        }
        Tree::object()
            .with("topic", "confirmation")
            .with("time", Tree::text(news.at_ms))
            .with("message", message)
    }
}

fn arrival(news: &News) -> Tree {
    Tree::object()
        .with("topic", "new_unconfirmed_block")
        .with("time", Tree::text(news.at_ms))
        .with("hash", Tree::text(news.hash))
        .with("message", block_with_subtype(news))
}

fn election_info(news: &News) -> Tree {
    // Nobody votes on what is final already.
    let (tally, voters) = match news.kind {
        NewsKind::ConfirmedByQuorum => (nano_currency::Amount::MAX, "2"),
        NewsKind::ConfirmedByHeight | NewsKind::Arrived => (nano_currency::Amount::ZERO, "0"),
    };
    Tree::object()
        .with("duration", Tree::text(news.duration_ms))
        .with("time", Tree::text(news.at_ms))
        .with("tally", Tree::text(tally))
        .with("final", Tree::text(tally))
        .with("blocks", "1")
        .with("voters", voters)
        .with("request_count", "0")
}

/// Unlike `block_info`, the WebSocket puts the subtype inside the block.
fn block_with_subtype(news: &News) -> Tree {
    let block = news.stored.block.print();
    match news.stored.block {
        Block::State(_) => block.with("subtype", news.stored.kind.name()),
        _ => block,
    }
}

fn acknowledge(action: &str, call: &Tree, now_ms: u64) -> Tree {
    let ack = Tree::object().with("ack", action).with("time", Tree::text(now_ms));
    match call.text_of("id") {
        Some(id) => ack.with("id", id),
        None => ack,
    }
}

/// Addresses that cannot be read are left out in silence.
fn read_accounts(accounts: &Tree) -> impl Iterator<Item = Account> {
    accounts.items().iter().filter_map(|text| read_account(text.as_text()).ok()).map(|(account, _)| account)
}
