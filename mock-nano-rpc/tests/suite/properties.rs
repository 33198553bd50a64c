//! What holds whatever happens: no raw is made or lost, and a rollback undoes exactly.

use mock_nano_rpc::block::Block;
use mock_nano_rpc::faucet::seal;
use mock_nano_rpc::ledger::Ledger;
use mock_nano_rpc::ledger::dev_genesis_key;
use mock_nano_rpc::tree::{Style, Tree};
use nano_currency::block::StateFields;
use nano_currency::{Account, Amount, BlockHash, PrivateKey};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Move {
    Send { from: u8, to: u8, share: u8 },
    Receive { who: u8 },
    Change { who: u8, to: u8 },
    Confirm { block: u8 },
    Rollback { block: u8 },
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => (0..4u8, 0..4u8, 1..=255u8).prop_map(|(from, to, share)| Move::Send { from, to, share }),
        3 => (0..4u8).prop_map(|who| Move::Receive { who }),
        1 => (0..4u8, 0..4u8).prop_map(|(who, to)| Move::Change { who, to }),
        1 => any::<u8>().prop_map(|block| Move::Confirm { block }),
        1 => any::<u8>().prop_map(|block| Move::Rollback { block }),
    ];
    prop::collection::vec(one, 0..40)
}

fn key(number: u8) -> PrivateKey {
    if number == 0 { dev_genesis_key() } else { PrivateKey::from_bytes([number; 32]) }
}

/// The block that a move makes on this ledger, if it makes one.
fn block(ledger: &Ledger, what: &Move) -> Option<Block> {
    let (who, fields) = match *what {
        Move::Send { from, to, share } => {
            let before = ledger.balance(&key(from).account());
            let amount = Amount::from_raw(before.raw() / 256 * u128::from(share) + 1);
            (from, next(ledger, from, before.checked_sub(amount)?, *key(to).account().as_bytes())?)
        }
        Move::Receive { who } => {
            let account = key(who).account();
            let (hash, receivable) = ledger.receivables(&account).next()?;
            let balance = ledger.balance(&account).checked_add(receivable.amount)?;
            (who, first_or_next(ledger, who, balance, *hash.as_bytes()))
        }
        Move::Change { who, to } => {
            let account = key(who).account();
            let fields = next(ledger, who, ledger.balance(&account), [0; 32])?;
            (who, StateFields { representative: key(to).account(), ..fields })
        }
        Move::Confirm { .. } | Move::Rollback { .. } => return None,
    };
    Some(seal(ledger, &key(who), fields))
}

fn next(ledger: &Ledger, who: u8, balance: Amount, link: [u8; 32]) -> Option<StateFields> {
    ledger.head(&key(who).account())?;
    Some(first_or_next(ledger, who, balance, link))
}

fn first_or_next(ledger: &Ledger, who: u8, balance: Amount, link: [u8; 32]) -> StateFields {
    let account = key(who).account();
    let head = ledger.head(&account);
    StateFields {
        account,
        previous: head.map_or(BlockHash::ZERO, |head| head.block.hash()),
        representative: head.map_or(Account::BURN, |head| head.representative),
        balance,
        link,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_raw_is_made_or_lost(moves in moves()) {
        let mut ledger = Ledger::dev(0);
        let mut hashes = Vec::new();
        for what in &moves {
            if let Some(block) = block(&ledger, what) {
                hashes.push(ledger.process(block, 0).expect("the move keeps every rule"));
            }
            let chosen = |index: u8| hashes.get(usize::from(index) % hashes.len().max(1)).copied();
            match *what {
                Move::Confirm { block } => {
                    if let Some(hash) = chosen(block) {
                        ledger.confirm(&hash);
                    }
                }
                Move::Rollback { block } => {
                    if let Some(hash) = chosen(block) {
                        let _: Result<_, _> = ledger.rollback(&hash, true);
                    }
                }
                _ => {}
            }
            prop_assert_eq!(ledger.total(), Some(Amount::MAX));
        }
    }

    #[test]
    fn a_rollback_undoes_exactly(before in moves(), after in moves()) {
        let mut ledger = Ledger::dev(0);
        for what in &before {
            if let Some(block) = block(&ledger, what) {
                ledger.process(block, 0).expect("the move keeps every rule");
            }
        }
        let original = ledger.clone();
        let mut added = Vec::new();
        for what in &after {
            if let Some(block) = block(&ledger, what) {
                added.push(ledger.process(block, 0).expect("the move keeps every rule"));
                if let Move::Confirm { .. } = what {
                    ledger.confirm(added.last().expect("one was just added"));
                }
            }
        }
        for hash in added {
            if ledger.block(&hash).is_some() {
                ledger.rollback(&hash, true).expect("it is on the ledger");
            }
        }
        prop_assert_eq!(ledger, original);
    }

    #[test]
    fn a_block_is_read_as_it_is_printed(moves in moves()) {
        let ledger = Ledger::dev(0);
        for what in &moves {
            if let Some(block) = block(&ledger, what) {
                let printed = block.print().write(Style::Pretty);
                prop_assert_eq!(Block::read(&Tree::parse(printed.as_bytes()).expect("JSON")), Some(block));
            }
        }
    }

    #[test]
    fn json_survives_both_styles(text in "\\PC*", key in "[a-z/\"\\\\]{0,8}") {
        let tree = Tree::object().with(&key, text.as_str()).with("list", vec![Tree::from("x")]);
        for style in [Style::Pretty, Style::Compact, Style::Relayed] {
            prop_assert_eq!(Tree::parse(tree.write(style).as_bytes()).expect("JSON"), tree.clone());
        }
    }
}
