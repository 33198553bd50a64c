//! What happened on the recorded networks, told again block by block.
//!
//! The recordings show some blocks in full and others only by their hash. The keys are known,
//! signing is deterministic, and a hash covers nothing else than the fields below: so a chain
//! that is retold wrongly breaks at the next block that was recorded.

use std::collections::HashMap;

use mock_nano_rpc::MockNode;
use mock_nano_rpc::block::Block;
use mock_nano_rpc::faucet::seal;
use mock_nano_rpc::ledger::dev_genesis_key;
use mock_nano_rpc::rpc::{self, Args};
use nano_currency::block::{LegacySend, StateFields};
use nano_currency::seed::{PrivateKey, Seed};
use nano_currency::{Account, Amount, BlockHash};

use super::Capture;

/// The throw-away seed of the recorded network.
const SEED: &str = "1234567890ABCDEF1234567890ABCDEF1234567890ABCDEF1234567890ABCDEF";

/// The recorded network's first second.
pub(crate) const BEGAN_MS: u64 = 1_795_231_102_000;

/// One event: before the recording with this number, at this second of 17952xxxxx.
pub(crate) struct Event {
    pub(crate) before: u32,
    pub(crate) second: u64,
    pub(crate) what: What,
}

pub(crate) enum What {
    /// A block that was recorded in full, by the beginning of its hash.
    Known(&'static str),
    /// A legacy send of the genesis account: to the key, leaving what was less these raw.
    LegacySend(u32, u128),
    /// A send of key to key, of so many raw.
    Send(Who, Who, u128),
    /// The key receives everything it can, one block each.
    ReceiveAll(Who),
    /// The key receives its oldest payment.
    ReceiveFirst(Who),
    /// Only the clock moves on.
    Nothing,
    /// Elections no longer end.
    Hold,
    /// Elections end again, this one now.
    Confirm(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Genesis,
    Key(u32),
}

const XNO: u128 = 1_000_000_000_000_000_000_000_000_000_000;

const fn event(before: u32, second: u64, what: What) -> Event {
    Event { before, second: 1_795_231_000 + second, what }
}

/// Everything that happened on the first recorded network.
pub(crate) fn first_network() -> Vec<Event> {
    use What::{Confirm, Hold, Known, LegacySend, Nothing, ReceiveAll, ReceiveFirst, Send};
    use Who::{Genesis, Key};
    vec![
        event(5, 121, Nothing),
        event(9, 121, Nothing),
        event(11, 121, Known("1F8B4195")),
        event(12, 121, LegacySend(4, XNO)),
        event(12, 121, Known("8E23B734")),
        event(14, 121, Send(Genesis, Key(3), 1_000 * XNO)),
        event(14, 121, ReceiveAll(Key(3))),
        event(14, 121, Known("FEA5E819")),
        event(14, 122, Send(Key(3), Key(1), XNO + XNO / 4)),
        event(14, 122, Known("A9883F0B")),
        event(14, 122, Known("05B227E3")),
        event(14, 122, Send(Key(3), Key(0), 3 * XNO)),
        event(16, 122, Known("8BB83888")),
        event(16, 122, Known("CBE0E7A3")),
        event(16, 122, Known("D0B2DD02")),
        event(16, 122, Send(Key(3), Key(0), XNO / 10 * 7)),
        event(16, 123, Send(Key(3), Key(6), XNO)),
        event(16, 123, ReceiveAll(Key(6))),
        event(16, 123, Send(Key(6), Key(3), XNO)),
        event(199, 124, Known("D5C28565")),
        event(199, 125, Send(Key(3), Key(5), XNO)),
        event(199, 127, Send(Key(3), Key(1), 12 * XNO)),
        event(199, 127, Known("49D0E143")),
        event(199, 127, ReceiveFirst(Key(5))),
        event(200, 134, Known("C9494EB2")),
        event(200, 137, Known("76DAFBD4")),
        event(200, 140, Known("FB78FC63")),
        event(201, 146, Send(Key(3), Key(5), 4 * XNO)),
        event(202, 149, Known("42298628")),
        event(203, 153, Send(Key(3), Key(5), 5 * XNO)),
        event(204, 156, Known("1197ED77")),
        event(205, 160, Nothing),
        event(215, 165, Hold),
        event(215, 165, Known("05A3186C")),
        event(232, 166, Nothing),
        event(235, 167, Nothing),
        event(245, 168, Confirm("073944D8")),
    ]
}

/// Events that have not happened yet.
pub(crate) type Story = std::iter::Peekable<std::vec::IntoIter<Event>>;

/// Retells a network's events to a mock.
pub(crate) struct Narrator {
    pub(crate) known: HashMap<BlockHash, Block>,
    keys: HashMap<Account, PrivateKey>,
}

impl Narrator {
    pub(crate) fn new(known: HashMap<BlockHash, Block>) -> Self {
        let seed = Seed::parse(SEED).unwrap();
        let mut keys: HashMap<_, _> =
            (0..12).map(|index| seed.key(index).unwrap()).map(|key| (key.account(), key)).collect();
        keys.insert(dev_genesis_key().account(), dev_genesis_key());
        Self { known, keys }
    }

    pub(crate) fn known(&self, prefix: &str) -> Block {
        let found = self.known.iter().find(|(hash, _)| hash.to_string().starts_with(prefix));
        *found.unwrap_or_else(|| panic!("no recorded block {prefix}")).1
    }

    pub(crate) fn account(&self, who: Who) -> Account {
        match who {
            Who::Genesis => dev_genesis_key().account(),
            Who::Key(index) => Seed::parse(SEED).unwrap().account(index).unwrap(),
        }
    }

    /// Makes happen all that happened before the recording with this number: the events, and the
    /// blocks that were sent in by recorded calls. What is left of the story is returned.
    pub(crate) fn tell_until(&self, mock: &MockNode, captures: &[Capture], number: u32) -> Story {
        let mut story = first_network().into_iter().peekable();
        for capture in captures.iter().filter(|capture| capture.number() < number) {
            while let Some(event) = story.next_if(|event| event.before <= capture.number()) {
                self.tell(mock, &event);
            }
            let request = capture.tree.get("request");
            if let Some(request) = request.filter(|call| call.text_of("action") == Some("process")) {
                mock.with(|node, now_ms| {
                    let _: Result<_, _> = rpc::answer(node, "process", &Args(request), now_ms);
                });
            }
        }
        story
    }

    /// Makes an event happen.
    pub(crate) fn tell(&self, mock: &MockNode, event: &Event) {
        mock.stop_clock(Some(event.second * 1_000));
        match event.what {
            What::Known(prefix) => publish(mock, self.known(prefix)),
            What::LegacySend(to, amount) => publish(mock, self.legacy_send(mock, to, amount)),
            What::Send(from, to, amount) => {
                let (from, to) = (self.account(from), self.account(to));
                let balance =
                    mock.with(|node, _| node.ledger.balance(&from)).checked_sub(raw(amount)).unwrap();
                publish(mock, self.next(mock, from, balance, *to.as_bytes()));
            }
            What::ReceiveAll(who) => self.receive(mock, self.account(who), usize::MAX),
            What::ReceiveFirst(who) => self.receive(mock, self.account(who), 1),
            What::Nothing => {}
            What::Hold => mock.hold_confirmations(true),
            What::Confirm(prefix) => {
                assert!(mock.confirm(&self.known(prefix).hash()));
            }
        }
    }

    fn receive(&self, mock: &MockNode, account: Account, count: usize) {
        let mut open: Vec<_> = mock.with(|node, _| {
            node.ledger.receivables(&account).map(|(hash, receivable)| (*hash, receivable.amount)).collect()
        });
        open.sort_by_key(|(hash, _)| {
            mock.with(|node, _| node.ledger.block(hash).map(|stored| stored.height))
        });
        open.truncate(count);
        for (hash, amount) in open {
            let balance = mock.with(|node, _| node.ledger.balance(&account)).checked_add(amount).unwrap();
            publish(mock, self.next(mock, account, balance, *hash.as_bytes()));
        }
    }

    /// A state block on the end of an account's chain: recorded, if it was, else made again.
    fn next(&self, mock: &MockNode, account: Account, balance: Amount, link: [u8; 32]) -> Block {
        let fields = self.fields(mock, account, balance, link);
        match self.known.get(&fields.hash()) {
            Some(block) => *block,
            None => mock.with(|node, _| seal(&node.ledger, &self.keys[&account], fields)),
        }
    }

    fn fields(&self, mock: &MockNode, account: Account, balance: Amount, link: [u8; 32]) -> StateFields {
        let head = mock.with(|node, _| node.ledger.head(&account).cloned());
        StateFields {
            account,
            previous: head.as_ref().map_or(BlockHash::ZERO, |head| head.block.hash()),
            representative: head.map_or(dev_genesis_key().account(), |head| head.representative),
            balance,
            link,
        }
    }

    fn legacy_send(&self, mock: &MockNode, to: u32, amount: u128) -> Block {
        let genesis = dev_genesis_key();
        let head = mock.with(|node, _| node.ledger.head(&genesis.account()).cloned()).unwrap();
        let previous = head.block.hash();
        let unsigned = LegacySend {
            previous,
            destination: self.account(Who::Key(to)),
            balance: head.balance.checked_sub(raw(amount)).unwrap(),
            signature: genesis.sign(b""),
            work: mock.with(|node, _| {
                mock_nano_rpc::faucet::solve(previous.as_bytes(), node.ledger.network().work().epoch_1, 0)
            }),
        };
        Block::Send(LegacySend { signature: genesis.sign(unsigned.hash().as_bytes()), ..unsigned })
    }
}

pub(crate) fn publish(mock: &MockNode, block: Block) {
    mock.with(|node, now_ms| node.publish(block, now_ms)).unwrap_or_else(|refusal| {
        panic!("{refusal}: {}", block.print().write(mock_nano_rpc::tree::Style::Pretty))
    });
}

const fn raw(raw: u128) -> Amount {
    Amount::from_raw(raw)
}
