//! One test for each rule: what breaks it is refused under its name.

use std::collections::BTreeSet;

use nano_currency::block::{Block, LegacySend, StateFields, Subtype};
use nano_currency::network::Rules;
use nano_currency::proof::{Claim, Evidence, ProofError, prove, wanted};
use nano_currency::seed::Signature;
use nano_currency::work::{Difficulty, Work};
use nano_currency::{Amount, BlockHash, Network};
use serde_json::{Value, json};

use crate::support::{account, claim, dev, evidence, fields, judge, key, pair, raw, sign};

const EPOCH_2: &[u8; 14] = b"epoch v2 block";

fn epoch_link() -> [u8; 32] {
    let mut link = [0; 32];
    link[..14].copy_from_slice(EPOCH_2);
    link
}

/// The development network's genesis account signs its epochs; its key is public.
fn epoch_key() -> nano_currency::PrivateKey {
    let hex = "34F0A37AAD20F4A260F0A5B3CB3D7FB50673212263E58A380BC10474BB039CE4";
    nano_currency::PrivateKey::from_bytes(*BlockHash::parse(hex).unwrap().as_bytes())
}

#[test]
fn a_payment_in_order_is_proven() {
    let (before, send) = pair();
    let said = Claim { amount: Some(raw(40)), subtype: Some(Subtype::Send), ..claim(Block::State(send)) };
    for claim in [said, claim(Block::State(send))] {
        let proven = judge(&claim, &[Block::State(before)]).unwrap();
        assert_eq!(
            (proven.hash, proven.from, proven.to, proven.amount),
            (send.hash(), account(1), account(2), raw(40))
        );
    }
}

/// Only then is the block before it worth asking for.
#[test]
fn what_can_be_a_send_by_itself() {
    let (before, send) = pair();
    let legacy = |previous| {
        let (destination, balance, work) = (account(2), raw(1), Work::new(7));
        Block::LegacySend(LegacySend { previous, destination, balance, signature: Signature([0; 64]), work })
    };
    for (block, may) in [
        (Block::State(send), true),
        (Block::State(before), false),
        (legacy(before.hash()), true),
        (legacy(BlockHash::ZERO), false),
    ] {
        assert_eq!(claim(block).may_be_a_send(), may, "{block:?}");
    }
    let change = Block::from_json(&json!({
        "type": "change", "previous": before.hash(), "representative": account(3), "signature": "0".repeat(128),
        "work": "0000000000000007",
    }));
    assert!(!claim(change.unwrap()).may_be_a_send());
}

#[test]
fn evidence_knows_how_much_it_is() {
    let (before, send) = pair();
    let mut evidence = Evidence::new();
    assert!(evidence.is_empty());
    assert_eq!(evidence.len(), 0);
    for _ in 0..2 {
        evidence.add(Block::State(before));
    }
    assert!(!evidence.is_empty() && evidence.len() == 1);
    assert!(evidence.get(&before.hash()).is_some() && evidence.get(&send.hash()).is_none());
}

#[test]
fn the_hash_must_be_the_contents() {
    let (before, send) = pair();
    let claimed = BlockHash::from_bytes([1; 32]);
    let lie = Claim { hash: claimed, ..claim(Block::State(send)) };
    let error = judge(&lie, &[Block::State(before)]).unwrap_err();
    assert_eq!(error, ProofError::Hash { claimed, found: send.hash() });
    assert!(error.is_lie());
}

#[test]
fn the_account_must_be_the_contents_own() {
    let (before, send) = pair();
    let lie = Claim { account: account(3), ..claim(Block::State(send)) };
    let error = judge(&lie, &[Block::State(before)]).unwrap_err();
    assert_eq!(error, ProofError::Account { claimed: account(3), found: account(1) });
}

#[test]
fn the_signature_must_be_the_accounts() {
    let (before, send) = pair();
    let by_another = send.fields.sign(&key(3), Work::new(7));
    let error = judge(&claim(Block::State(by_another)), &[Block::State(before)]).unwrap_err();
    assert_eq!(error, ProofError::Signature);
    assert!(error.is_lie());
}

#[test]
fn work_is_tested_where_it_is_asked_for() {
    let (before, send) = pair();
    let evidence = evidence([Block::State(before)]);
    let strict = Rules { work_min: Some(Difficulty::new(u64::MAX)), ..dev() };
    let error = prove(&claim(Block::State(send)), &evidence, &strict).unwrap_err();
    assert!(matches!(error, ProofError::Work { .. }), "{error}");
    let easy = Rules { work_min: Some(Difficulty::new(0)), ..dev() };
    assert!(prove(&claim(Block::State(send)), &evidence, &easy).is_ok());
}

#[test]
fn a_first_block_pays_nobody() {
    let first = Block::State(sign(fields(BlockHash::ZERO, 0, *account(2).as_bytes())));
    let as_send = Claim { subtype: Some(Subtype::Send), ..claim(first) };
    assert_eq!(judge(&as_send, &[]), Err(ProofError::FirstBlock));
    assert_eq!(judge(&claim(first), &[]), Err(ProofError::NotASend(Subtype::Receive)));
    let fields = LegacySend {
        previous: BlockHash::ZERO,
        destination: account(2),
        balance: Amount::ZERO,
        signature: Signature([0; 64]),
        work: Work::new(0),
    };
    let signature = key(1).sign(fields.hash().as_bytes());
    let legacy = Block::LegacySend(LegacySend { signature, ..fields });
    assert_eq!(judge(&claim(legacy), &[]), Err(ProofError::FirstBlock));
}

#[test]
fn only_a_send_is_a_payment() {
    let (before, _) = pair();
    let cases = [
        (100, [0; 32], Subtype::Change),
        (140, [6; 32], Subtype::Receive),
        // A receive of nothing: the link names a block.
        (100, [6; 32], Subtype::Receive),
    ];
    for (balance, link, subtype) in cases {
        let block = Block::State(sign(fields(before.hash(), balance, link)));
        let error = judge(&claim(block), &[Block::State(before)]).unwrap_err();
        assert_eq!(error, ProofError::NotASend(subtype));
        assert!(!error.is_lie());
        let lie = Claim { subtype: Some(Subtype::Send), ..claim(block) };
        let error = judge(&lie, &[Block::State(before)]).unwrap_err();
        assert_eq!(error, ProofError::Subtype { claimed: Subtype::Send, proven: subtype });
        assert!(error.is_lie());
    }
}

#[test]
fn an_epoch_block_is_the_networks_and_no_payment() {
    let (before, _) = pair();
    let upgrade = fields(before.hash(), 100, epoch_link());
    let signed = Block::State(upgrade.sign(&epoch_key(), Work::new(7)));
    let blocks = [Block::State(before)];
    assert_eq!(judge(&claim(signed), &blocks), Err(ProofError::NotASend(Subtype::Epoch)));
    let forged = Block::State(sign(upgrade));
    assert_eq!(judge(&claim(forged), &blocks), Err(ProofError::Signature));

    // Paying the address that the link spells is a payment, by the account itself.
    let payment = fields(before.hash(), 60, epoch_link());
    assert_eq!(judge(&claim(Block::State(sign(payment))), &blocks).unwrap().amount, raw(40));
    let by_the_network = Block::State(payment.sign(&epoch_key(), Work::new(7)));
    assert_eq!(judge(&claim(by_the_network), &blocks), Err(ProofError::Signature));

    // And a payment made on top of an epoch block is proven as any other.
    let send = fields(signed.hash(), 30, *account(2).as_bytes());
    assert_eq!(judge(&claim(Block::State(sign(send))), &[signed]).unwrap().amount, raw(70));
}

#[test]
fn the_epoch_of_an_account_that_was_never_opened() {
    let upgrade = StateFields { representative: account(9), ..fields(BlockHash::ZERO, 0, epoch_link()) };
    let signed = Block::State(upgrade.sign(&epoch_key(), Work::new(7)));
    assert_eq!(judge(&claim(signed), &[]), Err(ProofError::NotASend(Subtype::Epoch)));
    let forged = Block::State(sign(upgrade));
    assert_eq!(judge(&claim(forged), &[]), Err(ProofError::Signature));
}

#[test]
fn every_known_epoch_signer_can_be_read() {
    for network in [Network::Live, Network::Dev] {
        assert!(network.rules().epoch_signers.iter().all(Option::is_some), "{network}");
    }
    assert_eq!(dev().epoch_signers, [Some(epoch_key().account()); 2]);
    assert_eq!(dev().epoch_of(&epoch_link()), Some(Some(epoch_key().account())));
    assert_eq!(dev().epoch_of(&[0; 32]), None);
    // On the live network the second epoch has a signer of its own.
    let mut second = epoch_link();
    let live = Network::Live.rules();
    let mut first = [0; 32];
    first[..14].copy_from_slice(b"epoch v1 block");
    let signers = [first, second].map(|link| live.epoch_of(&link).flatten().unwrap().to_string());
    assert!(signers[0].starts_with("nano_3t6k35gi95xu") && signers[1].starts_with("nano_3qb6o6i1tkzr"));
    second[31] = 1;
    assert_eq!(live.epoch_of(&second), None, "all of a link counts");
}

#[test]
fn the_block_before_must_be_on_the_same_chain() {
    let foreign = StateFields { account: account(3), ..fields(BlockHash::ZERO, 1_000, [5; 32]) };
    let foreign = Block::State(foreign.sign(&key(3), Work::new(7)));
    let send = Block::State(sign(fields(foreign.hash(), 60, *account(2).as_bytes())));
    let error = judge(&claim(send), &[foreign]).unwrap_err();
    assert_eq!(error, ProofError::PreviousAccount(foreign.hash()));
    assert!(error.is_lie());
}

#[test]
fn the_nodes_own_words_must_be_the_blocks() {
    let (before, send) = pair();
    let lie = Claim { amount: Some(raw(41)), ..claim(Block::State(send)) };
    let error = judge(&lie, &[Block::State(before)]).unwrap_err();
    assert_eq!(error, ProofError::Amount { claimed: raw(41), proven: raw(40) });
    let lie = Claim { subtype: Some(Subtype::Receive), ..claim(Block::State(send)) };
    let error = judge(&lie, &[Block::State(before)]).unwrap_err();
    assert_eq!(error, ProofError::Subtype { claimed: Subtype::Receive, proven: Subtype::Send });
}

#[test]
fn what_is_missing_is_named_and_is_no_pass() {
    let (before, send) = pair();
    let claim = claim(Block::State(send));
    let missing = BTreeSet::from([before.hash()]);
    assert_eq!(judge(&claim, &[]), Err(ProofError::Missing(missing.clone())));
    assert_eq!(wanted([&claim, &claim], &Evidence::new(), &dev()), missing);
    assert!(wanted([&claim], &evidence([Block::State(before)]), &dev()).is_empty());
    // What can be no payment needs nothing.
    let first = crate::support::claim(Block::State(before));
    assert!(wanted([&first], &Evidence::new(), &dev()).is_empty());
}

#[test]
fn a_node_cannot_slip_in_another_previous_block() {
    let (before, send) = pair();
    let rich = Block::State(sign(fields(BlockHash::ZERO, 1_000_000, [5; 32])));
    let mut evidence = Evidence::new();
    let contents = |block: &Block| match block {
        Block::State(block) => Value::from(block),
        _ => Value::Null,
    };
    let refused = evidence.add_json(before.hash(), &contents(&rich));
    assert_eq!(refused, Err(ProofError::Hash { claimed: before.hash(), found: rich.hash() }));
    assert!(evidence.is_empty());
    evidence.add_json(before.hash(), &contents(&Block::State(before))).unwrap();
    assert_eq!(prove(&claim(Block::State(send)), &evidence, &dev()).unwrap().amount, raw(40));
}

#[test]
fn contents_that_spell_two_destinations_are_no_block() {
    let (_, send) = pair();
    let mut contents = Value::from(&send);
    contents["link_as_account"] = json!(account(3));
    let info = json!({ "block_account": account(1), "contents": contents });
    let error = Claim::read(send.hash(), &info).unwrap_err();
    assert!(matches!(error, ProofError::Unreadable(_)), "{error}");
    let info = json!({ "block_account": account(1), "contents": Value::from(&send), "subtype": "send", "amount": "40" });
    let read = Claim::read(send.hash(), &info).unwrap();
    assert_eq!((read.amount, read.subtype), (Some(raw(40)), Some(Subtype::Send)));
    assert_eq!(read.block, Block::State(send));
}
