//! The rule book of a payment, rule by rule, and what must hold for all facts.

use proptest::prelude::*;

use super::*;

fn account(byte: u8) -> Account {
    Account::from_bytes([byte; 32])
}

fn invoice() -> Invoice {
    Invoice { index: 1, account: account(1), price: Amount::from_raw(100) }
}

fn block(number: u8, raw: u128) -> BlockFact {
    BlockFact {
        hash: BlockHash::from_bytes([number; 32]),
        send: Some((account(1), Amount::from_raw(raw))),
        confirmed: true,
        claimed_elsewhere: false,
        received: false,
        from: None,
    }
}

fn facts(submitted: Submitted, found: Vec<BlockFact>) -> Facts {
    Facts { submitted, found, unknown: None, lapsed: false }
}

#[test]
fn only_a_payment_that_is_there_is_odd() {
    let short =
        |paid| PaymentError::AmountMismatch { paid: Amount::from_raw(paid), price: Amount::from_raw(9) };
    let odd = [
        (short(1), Some(Oddity::Underpaid)),
        (short(0), None),
        (PaymentError::OtherInvoice(account(2)), Some(Oddity::HashOfOtherInvoice)),
        (PaymentError::Late, Some(Oddity::PaidLate)),
        (PaymentError::NotFound, None),
        (PaymentError::Unconfirmed, None),
        (PaymentError::NotSend, None),
        (PaymentError::AddressMismatch(account(2)), None),
        (PaymentError::HashReused, None),
    ];
    for (error, expected) in odd {
        assert_eq!(error.oddity(), expected, "{error}");
    }
}

fn check(facts: &Facts, expected: &str) {
    assert_eq!(text(&judge(&invoice(), facts)), expected, "{facts:?}");
}

fn text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Settled { blocks, total } => format!("settled {total} in {}", blocks.len()),
        Verdict::Unpaid(reason) => reason.code().to_owned(),
        Verdict::Unknown(_) => "unknown".to_owned(),
    }
}

fn submitted(block: BlockFact, expected: &str) {
    check(&facts(Submitted::Found(block), vec![]), expected);
}

#[test]
fn edge_03_a_submitted_hash_counts_though_the_account_shows_nothing() {
    submitted(block(1, 100), "settled 100 in 1");
}

#[test]
fn edge_04_parts_count_together() {
    check(&facts(Submitted::None, vec![block(1, 60), block(2, 40)]), "settled 100 in 2");
    check(&facts(Submitted::Found(block(1, 60)), vec![block(2, 40)]), "settled 100 in 2");
    check(&facts(Submitted::Found(block(1, 60)), vec![block(2, 39)]), "payment.amount_mismatch");
}

#[test]
fn too_little_is_said_to_be_too_little_and_not_to_be_nothing() {
    for submitted in [Submitted::None, Submitted::NotFound, Submitted::Malformed] {
        check(&facts(submitted, vec![block(1, 99)]), "payment.amount_mismatch");
        check(&facts(submitted, vec![]), "payment.not_found");
    }
}

#[test]
fn edge_05_an_overpayment_is_a_payment_and_its_whole_amount_is_kept() {
    submitted(block(1, 250), "settled 250 in 1");
    submitted(block(1, u128::MAX), &format!("settled {} in 1", u128::MAX));
}

#[test]
fn edge_06_a_payment_after_the_end_is_late_and_not_lost() {
    let lapsed = Facts { lapsed: true, ..facts(Submitted::None, vec![block(1, 100)]) };
    check(&lapsed, "payment.late");
    check(&Facts { lapsed: true, ..facts(Submitted::None, vec![]) }, "payment.not_found");
}

#[test]
fn edge_07_an_unconfirmed_block_pays_nothing_yet() {
    submitted(BlockFact { confirmed: false, ..block(1, 100) }, "payment.unconfirmed");
}

#[test]
fn edge_08_a_block_that_vanished_is_not_paid_yet_and_never_final() {
    check(&facts(Submitted::NotFound, vec![]), "payment.not_found");
    check(&facts(Submitted::NotFound, vec![block(2, 100)]), "settled 100 in 1");
}

#[test]
fn edge_09_a_hash_pays_once() {
    submitted(BlockFact { claimed_elsewhere: true, ..block(1, 100) }, "payment.hash_reused");
    check(&facts(Submitted::Found(block(1, 60)), vec![block(1, 60)]), "payment.amount_mismatch");
    check(&facts(Submitted::Malformed, vec![]), "payment.not_found");
}

#[test]
fn edge_10_the_wrong_destination_pays_somebody_else() {
    submitted(
        BlockFact { send: Some((account(2), Amount::from_raw(100))), ..block(1, 0) },
        "payment.address_mismatch",
    );
}

#[test]
fn edge_11_what_is_no_send_pays_nobody() {
    submitted(BlockFact { send: None, ..block(1, 0) }, "payment.not_send");
}

#[test]
fn edge_15_what_a_node_cannot_tell_is_unknown_and_not_unpaid() {
    for found in [vec![], vec![block(1, 99)]] {
        let silent = Facts { unknown: Some("no answer".to_owned()), ..facts(Submitted::NotFound, found) };
        check(&silent, "unknown");
    }
    let enough =
        Facts { unknown: Some("half".to_owned()), ..facts(Submitted::NotFound, vec![block(1, 100)]) };
    check(&enough, "settled 100 in 1");
}

#[test]
fn edge_25_equal_payments_are_two_blocks() {
    check(&facts(Submitted::None, vec![block(1, 50), block(2, 50)]), "settled 100 in 2");
}

/// So many blocks of one raw each.
fn crumbs(count: u16) -> Vec<BlockFact> {
    let crumb = |number: u16| {
        let mut hash = [0; 32];
        hash[..2].copy_from_slice(&number.to_be_bytes());
        BlockFact { hash: BlockHash::from_bytes(hash), ..block(0, 1) }
    };
    (0..count).map(crumb).collect()
}

/// What is counted is named in the job's record, which has a bound.
#[test]
fn of_too_many_blocks_the_fewest_count_that_cover_the_price() {
    let price = |raw| Invoice { price: Amount::from_raw(raw), ..invoice() };
    let judged = |raw, found| text(&judge(&price(raw), &facts(Submitted::None, found)));
    assert_eq!(judged(100, crumbs(256)), "settled 256 in 256", "as many as can be named");
    assert_eq!(judged(100, crumbs(257)), "settled 100 in 100");
    let large = BlockFact { send: Some((account(1), Amount::from_raw(50))), ..crumbs(400).remove(399) };
    let Verdict::Settled { blocks, total } =
        judge(&price(100), &facts(Submitted::None, [crumbs(300), vec![large]].concat()))
    else {
        panic!("not settled");
    };
    assert_eq!((blocks.len(), total.raw()), (51, 100));
    let expected: Vec<_> = std::iter::once(large.hash).chain(crumbs(50).iter().map(|one| one.hash)).collect();
    assert_eq!(blocks, expected, "the largest first, and by hash where they are equal");
    assert_eq!(judged(256, crumbs(300)), "settled 256 in 256");
    let short = judge(&price(257), &facts(Submitted::None, crumbs(300)));
    let (paid, price) = (Amount::from_raw(256), Amount::from_raw(257));
    assert_eq!(short, Verdict::Unpaid(PaymentError::AmountMismatch { paid, price }));
}

#[test]
fn an_invoice_over_nothing_is_not_paid_by_nothing() {
    let free = Invoice { price: Amount::ZERO, ..invoice() };
    assert!(!matches!(judge(&free, &facts(Submitted::None, vec![])), Verdict::Settled { .. }));
}

fn any_block() -> impl Strategy<Value = BlockFact> {
    (0u8..5, 0u128..80, 0u8..8, any::<bool>(), any::<bool>()).prop_map(
        |(number, raw, kind, confirmed, claimed_elsewhere)| BlockFact {
            hash: BlockHash::from_bytes([number; 32]),
            send: match kind {
                0 => None,
                1 => Some((account(2), Amount::from_raw(raw))),
                _ => Some((account(1), Amount::from_raw(raw))),
            },
            confirmed,
            claimed_elsewhere,
            received: false,
            from: None,
        },
    )
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let submitted = prop_oneof![
        Just(Submitted::None),
        Just(Submitted::Malformed),
        Just(Submitted::NotFound),
        any_block().prop_map(Submitted::Found),
    ];
    (submitted, proptest::collection::vec(any_block(), 0..6), any::<bool>(), any::<bool>()).prop_map(
        |(submitted, found, unknown, lapsed)| Facts {
            submitted,
            found,
            unknown: unknown.then(|| "no answer".to_owned()),
            lapsed,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_is_settled_is_paid_by_blocks_that_count_each_once(facts in any_facts()) {
        let verdict = judge(&invoice(), &facts);
        let mut all = facts.found.clone();
        if let Submitted::Found(block) = facts.submitted {
            all.insert(0, block);
        }
        match verdict {
            Verdict::Settled { blocks, total } => {
                prop_assert!(!facts.lapsed);
                prop_assert!(total >= invoice().price);
                let mut distinct = blocks.clone();
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert_eq!(distinct.len(), blocks.len());
                let mut sum = 0;
                for hash in &blocks {
                    // The first description of a block that counts is the one that is counted.
                    let block = all.iter().find(|block| {
                        block.hash == *hash
                            && block.confirmed
                            && !block.claimed_elsewhere
                            && block.send.is_some_and(|(to, _)| to == account(1))
                    });
                    prop_assert!(block.is_some(), "{hash} does not count");
                    sum += block.unwrap().send.unwrap().1.raw();
                }
                prop_assert_eq!(total.raw(), sum);
            }
            Verdict::Unpaid(reason) => {
                prop_assert!(facts.unknown.is_none() || reason == PaymentError::Late, "{reason:?}");
            }
            Verdict::Unknown(_) => prop_assert!(facts.unknown.is_some()),
        }
    }
}

#[test]
fn a_verdict_is_said_in_words() {
    for (verdict, expected) in [
        (
            Verdict::Settled {
                blocks: vec![block(1, 60).hash, block(2, 40).hash],
                total: Amount::from_raw(100),
            },
            "paid 100 raw in 2 block(s)",
        ),
        (Verdict::Unpaid(PaymentError::NotSend), "payment.not_send: the block is not a send"),
        (Verdict::Unknown("down".to_owned()), "wallet.rpc_unavailable: down"),
    ] {
        assert_eq!(verdict.to_string(), expected);
    }
}

#[test]
fn every_reason_has_its_code() {
    let amount = PaymentError::AmountMismatch { paid: Amount::ZERO, price: Amount::from_raw(1) };
    for (reason, code) in [
        (PaymentError::NotFound, "not_found"),
        (PaymentError::Unconfirmed, "unconfirmed"),
        (PaymentError::NotSend, "not_send"),
        (PaymentError::AddressMismatch(account(1)), "address_mismatch"),
        (PaymentError::HashReused, "hash_reused"),
        (amount, "amount_mismatch"),
        (PaymentError::Late, "late"),
    ] {
        assert_eq!(reason.code(), format!("payment.{code}"));
    }
}
