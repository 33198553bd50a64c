//! Blocks that break one rule each, and what the node says.

use mock_nano_rpc::block::Block;
use mock_nano_rpc::faucet::{seal, solve};
use mock_nano_rpc::ledger::{dev_genesis_key, epoch_link};
use mock_nano_rpc::node::{Node, Settings};
use mock_nano_rpc::rpc::{self, Args};
use mock_nano_rpc::tree::Tree;
use nano_currency::block::{LegacySend, StateFields};
use nano_currency::seed::Signature;
use nano_currency::work::Work;
use nano_currency::{Account, Amount, BlockHash, PrivateKey};

const NOW_MS: u64 = 1_795_231_102_000;

fn node() -> Node {
    let mut node = Node::new(Settings::default(), NOW_MS);
    node.upgrade_genesis(NOW_MS);
    node
}

fn key(number: u8) -> PrivateKey {
    PrivateKey::from_bytes([number; 32])
}

/// A payment of 10 raw waits for key 1; its hash and the open block that would take it.
fn waiting(node: &mut Node) -> (BlockHash, StateFields) {
    let hash = node.pay(&key(1).account(), Amount::from_raw(10), 1, NOW_MS).unwrap()[0];
    let open = StateFields {
        account: key(1).account(),
        previous: BlockHash::ZERO,
        representative: key(1).account(),
        balance: Amount::from_raw(10),
        link: *hash.as_bytes(),
    };
    (hash, open)
}

fn answer(node: &mut Node, block: &Block, more: &[(&str, &str)]) -> Tree {
    let mut call = Tree::object().with("action", "process").with("json_block", "true");
    for (key, value) in more {
        call.push(key, *value);
    }
    let call = call.with("block", block.print());
    rpc::answer(node, "process", &Args(&call), NOW_MS).unwrap_or_else(|error| error.to_tree())
}

fn check(node: &mut Node, fields: StateFields, signer: u8, expected: &str) {
    let block = seal(&node.ledger, &key(signer), fields);
    let before = node.ledger.clone();
    let answer = answer(node, &block, &[]);
    assert_eq!(answer.text_of("error"), Some(expected), "{fields:?}");
    assert_eq!(node.ledger.block_count(), before.block_count());
    assert_eq!(node.ledger.total(), before.total());
}

#[test]
fn each_rule_is_named_when_it_is_broken() {
    let mut node = node();
    let (_, open) = waiting(&mut node);
    let unknown = BlockHash::from_bytes([9; 32]);
    check(&mut node, open, 2, "Bad signature");
    check(&mut node, StateFields { previous: unknown, ..open }, 1, "Gap previous block");
    check(&mut node, StateFields { link: [9; 32], ..open }, 1, "Gap source block");
    check(&mut node, StateFields { link: [0; 32], ..open }, 1, "Gap source block");
    check(&mut node, StateFields { account: key(2).account(), ..open }, 2, "Unreceivable");
    let greedy = StateFields { balance: Amount::from_raw(11), ..open };
    check(&mut node, greedy, 1, "Balance and amount delta do not match");
    let opened = seal(&node.ledger, &key(1), open);
    assert_eq!(answer(&mut node, &opened, &[]).text_of("hash"), Some(opened.hash().to_string().as_str()));
    assert_eq!(answer(&mut node, &opened, &[]).text_of("error"), Some("Old block"));
    check(&mut node, StateFields { representative: key(2).account(), ..open }, 1, "Fork");
    let twice = StateFields { previous: opened.hash(), balance: Amount::from_raw(20), ..open };
    check(&mut node, twice, 1, "Unreceivable");
    let richer = StateFields { link: [0; 32], ..twice };
    check(&mut node, richer, 1, "Balance and amount delta do not match");
}

#[test]
fn work_is_judged_twice() {
    let mut node = node();
    let (_, open) = waiting(&mut node);
    let taken = seal(&node.ledger, &key(1), open);
    answer(&mut node, &taken, &[]);
    let send = StateFields {
        previous: taken.hash(),
        balance: Amount::from_raw(1),
        link: *key(2).account().as_bytes(),
        ..open
    };
    let thresholds = node.ledger.network().work();
    let with = |work: Work| Block::State(send.sign(&key(1), work));
    let none =
        (0..).map(Work::new).find(|work| work.difficulty(send.work_root()) < thresholds.receive).unwrap();
    assert_eq!(
        answer(&mut node, &with(none), &[]).text_of("error"),
        Some("Block work is less than threshold")
    );
    // Enough to be looked at and for a receive, not for a send.
    let low = (0..)
        .map(Work::new)
        .find(|work| (thresholds.receive..thresholds.send).contains(&work.difficulty(send.work_root())))
        .unwrap();
    assert_eq!(answer(&mut node, &with(low), &[]).text_of("error"), Some("Block work is insufficient"));
    let enough = solve(send.work_root(), thresholds.send, 0);
    assert!(answer(&mut node, &with(enough), &[]).get("hash").is_some());
}

#[test]
fn a_receive_needs_only_the_work_of_a_receive() {
    let mut node = node();
    let (_, open) = waiting(&mut node);
    let thresholds = node.ledger.network().work();
    let low = (0..)
        .map(Work::new)
        .find(|work| (thresholds.receive..thresholds.epoch_1).contains(&work.difficulty(open.work_root())))
        .unwrap();
    let block = Block::State(open.sign(&key(1), low));
    assert!(answer(&mut node, &block, &[]).get("hash").is_some());
}

#[test]
fn the_subtype_is_tested_first() {
    let mut node = node();
    let (_, open) = waiting(&mut node);
    let block = seal(&node.ledger, &key(1), open);
    let expect = |node: &mut Node, subtype: &str, error: &str| {
        assert_eq!(answer(node, &block, &[("subtype", subtype)]).text_of("error"), Some(error), "{subtype}");
    };
    expect(&mut node, "send", "Invalid block balance for given subtype");
    expect(&mut node, "change", "Invalid block balance for given subtype");
    expect(&mut node, "gift", "Invalid block subtype");
    assert!(answer(&mut node, &block, &[("subtype", "open")]).get("hash").is_some());
    assert_eq!(answer(&mut node, &block, &[("subtype", "receive")]).text_of("error"), Some("Old block"));
    let next = StateFields { previous: block.hash(), link: [0; 32], ..open };
    let next = seal(&node.ledger, &key(1), next);
    assert_eq!(
        answer(&mut node, &next, &[("subtype", "open")]).text_of("error"),
        Some("Invalid previous block for given subtype")
    );
    assert_eq!(
        answer(&mut node, &next, &[("subtype", "epoch")]).text_of("error"),
        Some("Invalid epoch link")
    );
}

#[test]
fn epochs_follow_in_order_and_are_the_networks_to_sign() {
    let mut node = Node::new(Settings::default(), NOW_MS);
    let (_, open) = waiting(&mut node);
    let opened = seal(&node.ledger, &key(1), open);
    answer(&mut node, &opened, &[]);
    let epoch = |number| StateFields { previous: opened.hash(), link: epoch_link(number), ..open };
    let by_owner = seal(&node.ledger, &key(1), epoch(1));
    assert_eq!(answer(&mut node, &by_owner, &[]).text_of("error"), Some("Bad signature"));
    let too_far = seal(&node.ledger, &dev_genesis_key(), epoch(2));
    assert_eq!(
        answer(&mut node, &too_far, &[]).text_of("error"),
        Some("This block cannot follow the previous block")
    );
    let right = seal(&node.ledger, &dev_genesis_key(), epoch(1));
    assert!(answer(&mut node, &right, &[("subtype", "epoch")]).get("hash").is_some());
}

#[test]
fn legacy_blocks_end_where_state_blocks_begin() {
    let mut node = node();
    let head = node.ledger.head(&dev_genesis_key().account()).unwrap().clone();
    let send = LegacySend {
        previous: head.block.hash(),
        destination: key(1).account(),
        balance: Amount::from_raw(1),
        signature: Signature([0; 64]),
        work: solve(head.block.hash().as_bytes(), node.ledger.network().work().epoch_1, 0),
    };
    let block = Block::Send(LegacySend { signature: dev_genesis_key().sign(send.hash().as_bytes()), ..send });
    assert_eq!(
        answer(&mut node, &block, &[]).text_of("error"),
        Some("This block cannot follow the previous block")
    );
}

#[test]
fn a_block_waits_for_its_source_and_follows_it() {
    let mut node = node();
    let genesis = dev_genesis_key();
    let head = node.ledger.head(&genesis.account()).unwrap().clone();
    let send = StateFields {
        account: genesis.account(),
        previous: head.block.hash(),
        representative: head.representative,
        balance: head.balance.checked_sub(Amount::from_raw(5)).unwrap(),
        link: *key(1).account().as_bytes(),
    };
    let send: Block = seal(&node.ledger, &genesis, send);
    let open = StateFields {
        account: key(1).account(),
        previous: BlockHash::ZERO,
        representative: Account::BURN,
        balance: Amount::from_raw(5),
        link: *send.hash().as_bytes(),
    };
    let open: Block = seal(&node.ledger, &key(1), open);
    assert_eq!(answer(&mut node, &open, &[("async", "true")]).text_of("started"), Some("1"));
    assert!(node.ledger.block(&open.hash()).is_none());
    assert!(answer(&mut node, &send, &[]).get("hash").is_some());
    assert!(node.ledger.block(&open.hash()).is_some_and(|stored| stored.confirmed));
}
