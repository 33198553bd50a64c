//! Blocks of one's own: what was recorded and published elsewhere is built again, byte for byte,
//! and no plan makes or loses money.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use nano_currency::block::{Block, StateFields, Subtype};
use nano_currency::draft::{AccountState, DraftError, Limits, plan_receive, plan_sweep};
use nano_currency::rpc::Receivable;
use nano_currency::work::Work;
use nano_currency::{Account, Amount, BlockHash, Network, PrivateKey};
use proptest::prelude::*;
use serde_json::Value;

fn fixture(name: &str) -> Value {
    let path = format!("{}/../../tests/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The account before a block, from what is told of the block.
fn before(fields: &StateFields, subtype: &str, amount: Amount) -> AccountState {
    let balance = match subtype {
        "send" => fields.balance.checked_add(amount),
        "receive" | "open" => fields.balance.checked_sub(amount),
        _ => Some(fields.balance),
    };
    AccountState {
        account: fields.account,
        frontier: fields.previous,
        balance: balance.unwrap(),
        representative: fields.representative,
    }
}

fn rebuilt(fields: &StateFields, subtype: &str, amount: Amount) -> StateFields {
    let state = before(fields, subtype, amount);
    let draft = match subtype {
        "send" => state.send(Account::from_bytes(fields.link), amount),
        "receive" | "open" => state.receive(BlockHash::from_bytes(fields.link), amount),
        _ => state.change(fields.representative),
    };
    let draft = draft.unwrap();
    assert_eq!(draft.amount, if subtype == "change" { Amount::ZERO } else { amount });
    let first = fields.previous == BlockHash::ZERO;
    assert_eq!(draft.subtype.name(), if first { "open" } else { subtype });
    assert_eq!(state.after(&draft.fields).frontier, draft.hash());
    draft.fields
}

#[test]
fn what_nodes_recorded_is_built_again() {
    let mut kinds = std::collections::BTreeMap::new();
    for file in ["captures", "captures-rsnano"] {
        for entry in fixture(file).as_array().unwrap() {
            let body = entry["raw_body"].as_str().unwrap_or_default();
            let Ok(info) = serde_json::from_str::<Value>(body) else { continue };
            let Ok(Block::State(block)) = Block::from_json(&info["contents"]) else { continue };
            let Some(subtype) = info["subtype"].as_str().filter(|subtype| *subtype != "epoch") else {
                continue;
            };
            let amount = info["amount"].as_str().unwrap().parse().unwrap();
            let fields = rebuilt(&block.fields, subtype, amount);
            assert_eq!(fields, block.fields, "{}", entry["file"]);
            assert_eq!(fields.hash().to_string(), entry["request"]["hash"].as_str().unwrap().to_uppercase());
            *kinds.entry(subtype.to_owned()).or_insert(0) += 1;
        }
    }
    let kinds: Vec<(String, i32)> = kinds.into_iter().collect();
    assert!(kinds.iter().all(|(_, count)| *count > 3), "{kinds:?}");
    assert_eq!(kinds.len(), 3, "send, receive, change: {kinds:?}");
}

/// Independent implementations agree on these hashes and signatures.
#[test]
fn published_vectors_are_built_again() {
    let mut built = 0;
    for entry in fixture("nano")["blocks"].as_array().unwrap() {
        let text = |name: &str| entry["block"][name].as_str().unwrap();
        let fields = StateFields {
            account: text("account").parse().unwrap(),
            previous: text("previous").parse().unwrap(),
            representative: text("representative").parse().unwrap(),
            balance: text("balance").parse().unwrap(),
            link: *BlockHash::parse(text("link")).unwrap().as_bytes(),
        };
        let Some(private) = entry["private"].as_str() else { continue };
        let key = PrivateKey::from_bytes(*BlockHash::parse(private).unwrap().as_bytes());
        let first = fields.previous == BlockHash::ZERO;
        let subtype = if first { "open" } else { "send" };
        let amount = if first { fields.balance } else { Amount::from_raw(1) };
        if amount.is_zero() || fields.link == [0; 32] {
            continue;
        }
        let draft = rebuilt(&fields, subtype, amount);
        assert_eq!(draft.hash().to_string(), entry["hash"].as_str().unwrap());
        assert_eq!(
            draft.sign(&key, Work::new(0)).signature.to_string(),
            entry["signature"].as_str().unwrap()
        );
        built += 1;
    }
    assert!(built >= 3, "{built}");
}

fn account(number: u8) -> Account {
    PrivateKey::from_bytes([number; 32]).account()
}

fn raw(amount: u128) -> Amount {
    Amount::from_raw(amount)
}

fn opened(balance: u128) -> AccountState {
    AccountState {
        frontier: BlockHash::from_bytes([1; 32]),
        balance: raw(balance),
        ..AccountState::unopened(account(1), account(9))
    }
}

#[test]
fn what_does_not_add_up_is_refused_by_name() {
    let (fresh, full) = (AccountState::unopened(account(1), account(9)), opened(10));
    let send = BlockHash::from_bytes([2; 32]);
    assert_eq!(fresh.send(account(2), raw(1)), Err(DraftError::Unopened));
    assert_eq!(fresh.change(account(2)), Err(DraftError::Unopened));
    assert_eq!(fresh.receive(send, raw(0)), Err(DraftError::Nothing));
    assert_eq!(fresh.receive(BlockHash::ZERO, raw(1)), Err(DraftError::NoSource));
    assert_eq!(full.send(account(2), raw(0)), Err(DraftError::Nothing));
    assert_eq!(full.send(account(2), raw(11)), Err(DraftError::NotEnough { have: raw(10), asked: raw(11) }));
    assert_eq!(full.receive(send, Amount::MAX), Err(DraftError::TooMuch));
    let limits = Limits { blocks_max: 9, amount_min: raw(0) };
    assert_eq!(plan_sweep(full, &[], account(1), &limits).unwrap_err(), DraftError::ToItself);
    assert!(full.send(account(2), raw(10)).unwrap().fields.balance.is_zero());
}

#[test]
fn another_representative_is_named_in_a_block_that_moves_nothing() {
    let state = opened(10);
    let change = state.change(account(2)).unwrap();
    assert_eq!(
        (change.fields.representative, change.fields.balance, change.fields.link),
        (account(2), raw(10), [0; 32])
    );
    assert_eq!(state.after(&change.fields).representative, account(2));
}

#[test]
fn what_can_be_taken_is_taken_and_sent_home() {
    let list = [3u8, 2, 4, 1].map(|number| Receivable {
        hash: BlockHash::from_bytes([number; 32]),
        amount: Some(raw(u128::from(number - 1))),
        source: None,
    });
    let limits = |blocks_max| Limits { blocks_max, amount_min: raw(2) };
    let hash = |number| BlockHash::from_bytes([number; 32]);
    let taken = |plan: &nano_currency::draft::Plan| -> Vec<u128> {
        plan.blocks.iter().map(|block| block.amount.raw()).collect()
    };
    let plan = plan_receive(opened(10), &list, &limits(9)).unwrap();
    assert_eq!((taken(&plan), &plan.left), (vec![3, 2], &vec![hash(2), hash(1)]));
    let plan = plan_receive(opened(10), &list, &limits(1)).unwrap();
    assert_eq!((taken(&plan), plan.state.balance), (vec![3], raw(13)));
    let plan = plan_sweep(opened(10), &list, account(2), &limits(2)).unwrap();
    assert_eq!((taken(&plan), plan.state.balance), (vec![3, 13], raw(0)));
    let plan = plan_sweep(opened(10), &list, account(2), &limits(0)).unwrap();
    assert_eq!((taken(&plan), plan.left.len()), (vec![], 4));
}

#[test]
fn receives_need_less_work_than_sends() {
    let thresholds = Network::Live.work();
    let state = opened(10);
    let receive = state.receive(BlockHash::from_bytes([2; 32]), raw(1)).unwrap();
    assert_eq!(receive.threshold(&thresholds), thresholds.receive);
    assert_eq!(state.send(account(2), raw(1)).unwrap().threshold(&thresholds), thresholds.send);
    assert_eq!(state.change(account(2)).unwrap().threshold(&thresholds), thresholds.send);
}

fn receivables() -> impl Strategy<Value = Vec<Receivable>> {
    let one = (any::<u8>(), proptest::option::of(0u128..1_000)).prop_map(|(number, amount)| Receivable {
        hash: BlockHash::from_bytes([number.max(1); 32]),
        amount: amount.map(raw),
        source: None,
    });
    proptest::collection::vec(one, 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Coins in, out and kept: exact at every step. No send is taken twice, none is forgotten.
    #[test]
    fn a_plan_neither_makes_nor_loses_money(
        list in receivables(), held in 0u128..1_000, blocks_max in 0usize..25, amount_min in 0u128..500,
        is_open: bool,
    ) {
        let state = if is_open { opened(held) } else { AccountState::unopened(account(1), account(9)) };
        let limits = Limits { blocks_max, amount_min: raw(amount_min) };
        let plan = plan_sweep(state, &list, account(2), &limits).unwrap();
        prop_assert!(plan.blocks.len() <= blocks_max);
        let (mut at, mut taken) = (state, std::collections::BTreeSet::new());
        for block in &plan.blocks {
            let fields = &block.fields;
            prop_assert_eq!((fields.account, fields.previous), (at.account, at.frontier));
            match block.subtype {
                Subtype::Receive | Subtype::Open => {
                    let hash = BlockHash::from_bytes(fields.link);
                    prop_assert!(taken.insert(hash), "taken twice");
                    let known = list.iter().find(|known| known.hash == hash).unwrap();
                    prop_assert_eq!(known.amount, Some(block.amount));
                    prop_assert!(block.amount >= limits.amount_min);
                    prop_assert_eq!(at.balance.checked_add(block.amount), Some(fields.balance));
                    prop_assert_eq!(block.subtype == Subtype::Open, at.frontier == BlockHash::ZERO);
                }
                Subtype::Send => {
                    prop_assert_eq!(fields.link, *account(2).as_bytes());
                    prop_assert_eq!(at.balance.checked_sub(block.amount), Some(fields.balance));
                    prop_assert!(fields.balance.is_zero(), "a sweep leaves nothing");
                }
                other => prop_assert!(false, "{}", other),
            }
            at = at.after(fields);
        }
        prop_assert_eq!(at, plan.state);
        let named: std::collections::BTreeSet<BlockHash> = list.iter().map(|known| known.hash).collect();
        prop_assert!(plan.left.iter().all(|hash| taken.insert(*hash)), "left and taken");
        prop_assert_eq!(taken, named);
    }

    /// The same facts make the same plan, in whatever order they come.
    #[test]
    fn a_plan_is_made_again_after_a_crash(mut list in receivables()) {
        list.sort_by_key(|known| known.hash);
        list.dedup_by_key(|known| known.hash);
        let limits = Limits { blocks_max: 5, amount_min: raw(1) };
        let plan = plan_receive(opened(1), &list, &limits).unwrap();
        list.reverse();
        prop_assert_eq!(plan_receive(opened(1), &list, &limits).unwrap(), plan);
    }
}
