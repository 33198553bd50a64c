//! What one node's answer about one block is worth.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::block::{LegacyReceive, LegacySend, StateFields};
use crate::work::{Work, solve};
use crate::{Amount, PrivateKey};

fn payer() -> PrivateKey {
    PrivateKey::from_bytes([2; 32])
}

fn state() -> Block {
    let previous = BlockHash::from_bytes([3; 32]);
    let threshold = Network::Dev.work().send;
    let work = solve(previous.as_bytes(), threshold, 0, &AtomicBool::new(false)).unwrap();
    let (account, representative, balance) = (payer().account(), Account::BURN, Amount::from_raw(5));
    Block::State(
        StateFields { account, previous, representative, balance, link: [7; 32] }.sign(&payer(), work),
    )
}

fn legacy_send() -> Block {
    let (previous, destination) = (BlockHash::from_bytes([3; 32]), Account::from_bytes([7; 32]));
    let signature = payer().sign(b"");
    let (balance, work) = (Amount::from_raw(5), Work::new(0));
    Block::LegacySend(LegacySend { previous, destination, balance, signature, work })
}

fn legacy_receive() -> Block {
    let (previous, source) = (BlockHash::from_bytes([3; 32]), BlockHash::from_bytes([4; 32]));
    Block::LegacyReceive(LegacyReceive { previous, source, signature: payer().sign(b""), work: Work::new(0) })
}

fn info(contents: Block, subtype: Option<Subtype>, amount: Option<u128>) -> BlockInfo {
    BlockInfo {
        hash: contents.hash(),
        block_account: payer().account(),
        amount: amount.map(Amount::from_raw),
        balance: Amount::from_raw(5),
        height: 2,
        confirmed: true,
        contents,
        subtype,
        local_timestamp: None,
    }
}

/// What is made of an answer by a node that must prove it, or whose word is taken.
fn heard(trust: Trust, lookup: Option<&Lookup>) -> Result<Word, (bool, String)> {
    let config = PanelConfig { trust, ..PanelConfig::new(Network::Dev, 1, || Duration::ZERO) };
    let mut judge = Judge { config: &config, evidence: Evidence::new(), known: BTreeMap::new(), proofs: 0 };
    judge
        .word(BlockHash::from_bytes([8; 32]), lookup)
        .map_err(|objection| (matches!(objection, Objection::Lie(_)), objection.text()))
}

#[test]
fn a_send_whose_amount_a_node_does_not_know_is_unknown_and_not_nothing() {
    let word = |contents, subtype, amount| {
        heard(Trust::Rpc, Some(&Lookup::Found(Box::new(info(contents, subtype, amount)))))
    };
    let unknown = Err((false, "does not know the amount of a send".to_owned()));
    assert_eq!(word(state(), Some(Subtype::Send), None), unknown);
    assert_eq!(word(legacy_send(), None, None), unknown);
    let nothing = Ok(Word::NoPayment { confirmed: true });
    assert_eq!(word(state(), Some(Subtype::Receive), None), nothing);
    assert_eq!(word(state(), None, None), nothing);
    assert_eq!(word(legacy_receive(), None, None), nothing);
    let paid = |to| {
        let (from, amount) = (payer().account(), Amount::from_raw(9));
        Ok(Word::Sent { from, to, amount, confirmed: true })
    };
    let payee = Account::from_bytes([7; 32]);
    assert_eq!(word(state(), Some(Subtype::Send), Some(9)), paid(payee));
    assert_eq!(word(legacy_send(), None, Some(9)), paid(payee));
}

#[test]
fn what_cannot_be_read_is_no_lie_and_what_contradicts_itself_is_one() {
    let said = |lookup: Option<&Lookup>| heard(Trust::Proof, lookup);
    assert_eq!(said(Some(&Lookup::NotFound)), Ok(Word::NotFound));
    assert_eq!(said(None), Err((false, "left out".to_owned())));
    assert_eq!(said(Some(&Lookup::Unclear("height"))), Err((false, "no usable height".to_owned())));
    let (is_lie, why) = said(Some(&Lookup::Unclear("contents that belong to the hash"))).unwrap_err();
    assert!(is_lie && why.starts_with("a lie: what it gives for 0808"), "{why}");
}

#[test]
fn what_cannot_be_proven_yet_is_no_lie() {
    let found = |info: BlockInfo| heard(Trust::Proof, Some(&Lookup::Found(Box::new(info))));
    let honest = info(state(), Some(Subtype::Send), Some(9));
    let (is_lie, why) = found(honest.clone()).unwrap_err();
    assert!(!is_lie && why.contains("still missing: 1"), "{why}");
    let (is_lie, why) = found(BlockInfo { block_account: Account::BURN, ..honest }).unwrap_err();
    assert!(is_lie && why.starts_with("a lie: ") && why.len() > 20, "{why}");
}
