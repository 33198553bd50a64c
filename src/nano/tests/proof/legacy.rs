//! Payments that stand on blocks from before 2018.

use std::collections::BTreeSet;

use nano_currency::block::{Block, LegacyChange, LegacyOpen, LegacyReceive, LegacySend, Subtype};
use nano_currency::network::Rules;
use nano_currency::proof::{BLOCKS_MAX, Evidence, ProofError, Unprovable, balance_after, prove, wanted};
use nano_currency::seed::Signature;
use nano_currency::work::Work;
use nano_currency::{Amount, BlockHash, PrivateKey};

use crate::support::{account, claim, dev, evidence, fields, key, raw, sign};

const UNSIGNED: Signature = Signature([0; 64]);
const WORK: Work = Work::new(7);

fn sealed(block: Block, key: &PrivateKey) -> Block {
    let signature = key.sign(block.hash().as_bytes());
    match block {
        Block::State(block) => Block::State(block),
        Block::LegacySend(block) => Block::LegacySend(LegacySend { signature, ..block }),
        Block::LegacyReceive(block) => Block::LegacyReceive(LegacyReceive { signature, ..block }),
        Block::LegacyOpen(block) => Block::LegacyOpen(LegacyOpen { signature, ..block }),
        Block::LegacyChange(block) => Block::LegacyChange(LegacyChange { signature, ..block }),
    }
}

fn genesis() -> Block {
    let owner = account(8);
    let source = BlockHash::from_bytes(*owner.as_bytes());
    let open = LegacyOpen { source, representative: owner, account: owner, signature: UNSIGNED, work: WORK };
    sealed(Block::LegacyOpen(open), &key(8))
}

fn send(previous: &Block, to: u8, balance: Amount, from: u8) -> Block {
    let (previous, destination) = (previous.hash(), account(to));
    let send = LegacySend { previous, destination, balance, signature: UNSIGNED, work: WORK };
    sealed(Block::LegacySend(send), &key(from))
}

fn open(source: &Block, owner: u8) -> Block {
    let (source, account) = (source.hash(), account(owner));
    let open = LegacyOpen { source, representative: account, account, signature: UNSIGNED, work: WORK };
    sealed(Block::LegacyOpen(open), &key(owner))
}

fn receive(previous: &Block, source: &Block, owner: u8) -> Block {
    let (previous, source) = (previous.hash(), source.hash());
    let receive = LegacyReceive { previous, source, signature: UNSIGNED, work: WORK };
    sealed(Block::LegacyReceive(receive), &key(owner))
}

fn change(previous: &Block, owner: u8) -> Block {
    let (previous, representative) = (previous.hash(), account(9));
    let change = LegacyChange { previous, representative, signature: UNSIGNED, work: WORK };
    sealed(Block::LegacyChange(change), &key(owner))
}

fn rules() -> Rules {
    Rules { genesis: Some(genesis().hash()), ..dev() }
}

fn left(spent: u128) -> Amount {
    Amount::from_raw(u128::MAX - spent)
}

/// Genesis pays account 1 in two parts, 70 and 30 raw; it opens, changes, receives, and pays 40.
fn story() -> (Vec<Block>, Block) {
    let genesis = genesis();
    let first = send(&genesis, 1, left(70), 8);
    let second = send(&first, 1, left(100), 8);
    let opened = open(&first, 1);
    let changed = change(&opened, 1);
    let received = receive(&changed, &second, 1);
    let payment = Block::State(sign(fields(received.hash(), 60, *account(2).as_bytes())));
    (vec![genesis, first, second, opened, changed, received], payment)
}

#[test]
fn a_state_send_after_legacy_blocks_is_proven_from_all_of_them() {
    let (before, payment) = story();
    let claim = claim(payment);
    let proven = prove(&claim, &evidence(before.iter().copied()), &rules()).unwrap();
    assert_eq!((proven.amount, proven.to), (raw(40), account(2)));
    // Without any one of them it is not.
    for gone in &before {
        let rest = before.iter().filter(|block| *block != gone).copied();
        let missing = BTreeSet::from([gone.hash()]);
        assert_eq!(prove(&claim, &evidence(rest), &rules()), Err(ProofError::Missing(missing)));
    }
}

#[test]
fn what_an_account_holds_after_a_legacy_block_is_proven_from_all_of_them() {
    let (blocks, _) = story();
    let all = evidence(blocks.clone());
    let after = |block: &Block| balance_after(block.hash(), &account(1), &all, &rules());
    let held = [after(&blocks[3]), after(&blocks[4]), after(&blocks[5])];
    assert_eq!(held, [Ok(raw(70)), Ok(raw(70)), Ok(raw(100))]);
    let strangers = balance_after(blocks[5].hash(), &account(2), &all, &rules());
    assert_eq!(strangers, Err(ProofError::PreviousAccount(blocks[5].hash())));
    let some = balance_after(blocks[5].hash(), &account(1), &evidence([blocks[5]]), &rules());
    assert!(matches!(some, Err(ProofError::Missing(_))), "{some:?}");
}

#[test]
fn each_round_of_fetching_asks_for_all_that_is_known_to_be_missing() {
    let (before, payment) = story();
    let claim = claim(payment);
    let mut known = Evidence::new();
    let mut rounds = Vec::new();
    loop {
        let missing = wanted([&claim], &known, &rules());
        if missing.is_empty() {
            break;
        }
        rounds.push(missing.len());
        for block in before.iter().filter(|block| missing.contains(&block.hash())) {
            known.add(*block);
        }
    }
    assert_eq!(rounds, [1, 2, 2, 1]);
    assert_eq!(known.len(), before.len());
    assert!(prove(&claim, &known, &rules()).is_ok());
}

#[test]
fn a_legacy_send_is_a_payment() {
    let (mut before, _) = story();
    let received = before[5];
    let payment = send(&received, 2, raw(60), 1);
    let proven = prove(&claim(payment), &evidence(before.iter().copied()), &rules()).unwrap();
    assert_eq!((proven.from, proven.to, proven.amount), (account(1), account(2), raw(40)));

    let stolen = send(&received, 2, raw(60), 3);
    let refused = prove(&claim(stolen), &evidence(before.iter().copied()), &rules());
    assert_eq!(refused, Err(ProofError::Signature));
    let too_much = send(&received, 2, raw(101), 1);
    let refused = prove(&claim(too_much), &evidence(before.iter().copied()), &rules());
    assert_eq!(refused, Err(ProofError::Balances(too_much.hash())));
    let nothing = send(&received, 2, raw(100), 1);
    let refused = prove(&claim(nothing), &evidence(before.iter().copied()), &rules());
    assert_eq!(refused, Err(ProofError::NothingMoved));
    before.clear();
}

#[test]
fn the_other_legacy_kinds_pay_nobody() {
    let (before, _) = story();
    let evidence = evidence(before.iter().copied());
    let kinds = [(3, Subtype::Receive), (4, Subtype::Change), (5, Subtype::Receive)];
    for (index, kind) in kinds {
        assert_eq!(prove(&claim(before[index]), &evidence, &rules()), Err(ProofError::NotASend(kind)));
    }
}

#[test]
fn money_from_nowhere_is_the_genesis_blocks_alone() {
    let (before, payment) = story();
    let evidence = evidence(before);
    let refused = prove(&claim(payment), &evidence, &dev());
    assert_eq!(refused, Err(ProofError::Unprovable(Unprovable::Genesis)));
}

#[test]
fn what_another_account_was_sent_is_not_received() {
    let genesis = genesis();
    let to_another = send(&genesis, 3, left(70), 8);
    let opened = open(&to_another, 1);
    let payment = Block::State(sign(fields(opened.hash(), 60, *account(2).as_bytes())));
    let refused = prove(&claim(payment), &evidence([genesis, to_another, opened]), &rules());
    assert_eq!(refused, Err(ProofError::Balances(to_another.hash())));
}

#[test]
fn a_chain_without_end_is_unprovable_by_name() {
    // The story itself takes seven looks: the first send is needed twice.
    for (more, expected) in
        [(BLOCKS_MAX - 7, Ok(raw(40))), (BLOCKS_MAX - 6, Err(ProofError::Unprovable(Unprovable::TooDeep)))]
    {
        let (mut before, _) = story();
        let mut last = before[5];
        for _ in 0..more {
            last = change(&last, 1);
            before.push(last);
        }
        let payment = Block::State(sign(fields(last.hash(), 60, *account(2).as_bytes())));
        let proven = prove(&claim(payment), &evidence(before), &rules());
        assert_eq!(proven.map(|proven| proven.amount), expected, "{more}");
    }
}
