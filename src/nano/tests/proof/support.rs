//! A payer with a chain of his own, and the blocks that were recorded.

use nano_currency::block::{Block, StateBlock, StateFields};
use nano_currency::network::Rules;
use nano_currency::proof::{Claim, Evidence, ProofError, Proven, prove};
use nano_currency::work::Work;
use nano_currency::{Account, Amount, BlockHash, Network, PrivateKey};
use serde_json::Value;

pub(crate) fn key(number: u8) -> PrivateKey {
    PrivateKey::from_bytes([number; 32])
}

pub(crate) fn account(number: u8) -> Account {
    key(number).account()
}

pub(crate) fn raw(amount: u128) -> Amount {
    Amount::from_raw(amount)
}

pub(crate) fn dev() -> Rules {
    Network::Dev.rules()
}

/// A state block of account 1 with this balance and link.
pub(crate) fn fields(previous: BlockHash, balance: u128, link: [u8; 32]) -> StateFields {
    StateFields { account: account(1), previous, representative: account(9), balance: raw(balance), link }
}

pub(crate) fn sign(fields: StateFields) -> StateBlock {
    fields.sign(&key(1), Work::new(7))
}

/// The block that account 1 holds 100 raw after, and its payment of 40 raw to account 2.
pub(crate) fn pair() -> (StateBlock, StateBlock) {
    let before = sign(fields(BlockHash::ZERO, 100, [5; 32]));
    let send = sign(fields(before.hash(), 60, *account(2).as_bytes()));
    (before, send)
}

/// What an honest node says about account 1's block, as far as it says anything.
pub(crate) fn claim(block: Block) -> Claim {
    Claim { hash: block.hash(), block, account: account(1), amount: None, subtype: None }
}

pub(crate) fn evidence(blocks: impl IntoIterator<Item = Block>) -> Evidence {
    let mut evidence = Evidence::new();
    for block in blocks {
        evidence.add(block);
    }
    evidence
}

/// The verdict on a claim, given these other blocks.
pub(crate) fn judge(claim: &Claim, blocks: &[Block]) -> Result<Proven, ProofError> {
    prove(claim, &evidence(blocks.iter().copied()), &dev())
}

/// The recorded answers in one of the two files.
pub(crate) fn recordings(name: &str) -> Vec<Value> {
    let path = format!("{}/../../tests/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
