//! The cases of [`super::edge`] that concern what waits for an account.

use nano_currency::rpc::{Failure, Lookup, Rpc, RpcConfig};
use nano_currency::{Account, Amount, BlockHash, PrivateKey};
use serde_json::{Value, json};

use crate::edge::{hash, payee, payer};
use crate::support::{Hand, Server, http, ok, recorded, replay};

/// What is receivable for the payee if the node answers so.
async fn receivable(blocks: Value) -> Result<Vec<(BlockHash, Option<u128>, Option<Account>)>, Failure> {
    let server = Server::saying(ok(&json!({ "blocks": blocks }))).await;
    let found = server.client().accounts_receivable(&[payee()], None).await.map_err(|error| error.failure)?;
    Ok(found[&payee()].iter().map(|one| (one.hash, one.amount.map(Amount::raw), one.source)).collect())
}

#[tokio::test]
async fn edge_01_nothing_comes_in_many_shapes() {
    let payee = payee().to_string();
    for nothing in [json!(""), json!({}), json!([])] {
        assert_eq!(receivable(nothing.clone()).await.unwrap(), []);
        assert_eq!(receivable(json!({ &payee: nothing })).await.unwrap(), []);

        let server = Server::saying(ok(&json!({ "blocks": nothing, "blocks_not_found": [hash(1)] }))).await;
        let found = server.client().blocks_info(&[hash(1)]).await.unwrap();
        assert_eq!(found[&hash(1)], Lookup::NotFound);

        let server = Server::saying(ok(&json!({ "balances": nothing }))).await;
        assert!(server.client().accounts_balances(&[Account::BURN]).await.unwrap().is_empty());
    }
    // No list at all is no answer, rather than an empty one.
    let server = Server::saying(ok(&json!({ "message": "busy" }))).await;
    let error = server.client().accounts_receivable(&[Account::BURN], None).await.expect_err("no blocks");
    assert!(matches!(error.failure, Failure::Malformed("blocks")), "{error}");
    assert!(matches!(receivable(json!({ payee: 7 })).await, Err(Failure::Malformed(_))));
}

#[tokio::test]
async fn edge_02_a_list_changes_its_shape_with_the_arguments() {
    let payee = payee().to_string();
    let source = payer().account();
    let shapes = [
        (json!([hash(1)]), (hash(1), None, None)),
        (json!({ hash(1).to_string(): "70" }), (hash(1), Some(70), None)),
        (json!({ hash(1).to_string(): 70 }), (hash(1), Some(70), None)),
        (
            json!({ hash(1).to_string(): { "amount": "70", "source": source } }),
            (hash(1), Some(70), Some(source)),
        ),
    ];
    for (shape, wanted) in shapes {
        assert_eq!(receivable(json!({ &payee: shape })).await.unwrap(), [wanted]);
    }
    // One bad entry spoils neither the others nor their order.
    let mixed = json!({ hash(2).to_string(): "seventy", "not a hash": "7", hash(1).to_string(): "70" });
    assert_eq!(
        receivable(json!({ payee: mixed })).await.unwrap(),
        [(hash(1), Some(70), None), (hash(2), None, None)]
    );
}

#[tokio::test]
async fn edge_04_every_part_of_a_payment_is_listed() {
    let server = Server::saying(replay(&recorded("282"))).await;
    let entry = recorded("282");
    let account = entry["request"]["accounts"][0].as_str().unwrap().parse().unwrap();
    let found = server.client().receivable_of(&[account]).await.unwrap();
    assert_eq!(found[&account].blocks.len(), 3);
    assert_eq!(found[&account].total().to_xno(), "1.5");
    assert!(found[&account].complete);
    // A threshold looks at each part alone, and would hide all three.
    assert_eq!(server.requests()[0].get("threshold"), None);
}

/// A node where `sends` wait for the payee: the n-th of n raw, but the last of a million XNO.
async fn dusty(sends: u32) -> Server {
    cut(sends, usize::MAX, true).await
}

/// The same behind a proxy that cuts lists by hash, and may know the account's total.
async fn cut(sends: u32, count: usize, total_known: bool) -> Server {
    let list = move |threshold: u128| {
        let amount = |index: u32| if index == sends { 10u128.pow(36) } else { u128::from(index) };
        let entry = |index: u32| {
            let mut bytes = [0x77; 32];
            bytes[..4].copy_from_slice(&index.to_be_bytes());
            let description = json!({ "amount": amount(index).to_string(), "source": payer().account() });
            (BlockHash::from_bytes(bytes).to_string(), description)
        };
        let listed = (1..=sends).filter(move |index| amount(*index) >= threshold);
        Value::Object(listed.map(entry).take(count).collect())
    };
    let total = (1..=sends).map(move |index| if index == sends { 10u128.pow(36) } else { u128::from(index) });
    let total: u128 = total.sum();
    Server::start(move |request| {
        if request["action"] == "accounts_balances" && !total_known {
            return http(500, "", "{\"error\":\"Action accounts_balances not allowed\"}");
        }
        if request["action"] == "accounts_balances" {
            let balance = json!({ "balance": "0", "pending": total.to_string() });
            return ok(&json!({ "balances": { payee().to_string(): balance } }));
        }
        let threshold = request["threshold"].as_str().map_or(0, |text| text.parse().unwrap());
        let blocks: serde_json::Map<_, _> = request["accounts"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|account| **account == json!(payee()))
            .map(|account| (account.as_str().unwrap().to_owned(), list(threshold)))
            .collect();
        ok(&json!({ "blocks": blocks }))
    })
    .await
}

#[tokio::test]
async fn edge_19_a_payment_is_found_behind_ten_thousand_dust_sends() {
    let server = dusty(10_000).await;
    let found = server.client().receivable_of(&[payee()]).await.unwrap();
    let found = &found[&payee()];
    assert_eq!((found.blocks.len(), found.complete), (10_000, true));
    assert!(found.total() > Amount::from_raw(10u128.pow(36)));
    assert_eq!(server.requests()[0].get("count"), None);
}

#[tokio::test]
async fn edge_19_more_dust_than_can_be_read_hides_only_dust() {
    let server = dusty(10_000).await;
    let config = Hand::default().config([server.url.as_str()]);
    let config = RpcConfig { response_bytes_max: 1 << 20, ..config };
    let rpc = Rpc::new(&config).unwrap();
    // Among many accounts the one with the dust is found by halves; the others lose nothing.
    let mut accounts: Vec<Account> =
        (3..40).map(|byte| PrivateKey::from_bytes([byte; 32]).account()).collect();
    accounts.push(payee());
    let found = rpc.receivable_of(&accounts).await.unwrap();
    assert_eq!(found.len(), accounts.len());
    assert_eq!(found.values().filter(|list| list.complete).count(), accounts.len() - 1);
    let (dust, payment) = (&found[&payee()], Amount::from_raw(10u128.pow(36)));
    assert!(!dust.complete);
    // Nine thousand sends of a thousand raw and more do not fit; of a million raw there is one.
    assert_eq!(dust.blocks.iter().map(|block| block.amount).collect::<Vec<_>>(), [Some(payment)]);
    assert!(server.requests().len() < 40, "{} requests", server.requests().len());
}

#[tokio::test]
async fn edge_19_a_payment_is_found_behind_dust_and_a_proxy_that_cuts_lists() {
    let payment = Some(Amount::from_raw(10u128.pow(36)));
    for total_known in [true, false] {
        let server = cut(1_000, 25, total_known).await;
        let found = server.client().receivable_of(&[payee()]).await.unwrap();
        let list = &found[&payee()];
        assert!(list.blocks.iter().any(|block| block.amount == payment), "{total_known}");
        assert!(!list.complete, "{total_known}");
    }
    // What the thresholds bring to light can be all there is.
    let server = cut(26, 25, true).await;
    let found = server.client().receivable_of(&[payee()]).await.unwrap();
    assert_eq!((found[&payee()].blocks.len(), found[&payee()].complete), (26, true));
    assert_eq!(server.requests().len(), 3, "the list, the total, and one threshold");
}

#[tokio::test]
async fn edge_19_a_short_list_costs_one_call() {
    let server = dusty(9).await;
    assert!(server.client().receivable_of(&[payee()]).await.unwrap()[&payee()].complete);
    assert_eq!(server.requests().len(), 1);
    // A longer one is compared with the total, and if that is all, nothing more is asked.
    let server = dusty(10).await;
    assert!(server.client().receivable_of(&[payee()]).await.unwrap()[&payee()].complete);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn edge_19_many_accounts_go_in_batches() {
    let server = dusty(1).await;
    let mut accounts: Vec<Account> = (0..2_500u32)
        .map(|index| {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&index.to_be_bytes());
            Account::from_bytes(key)
        })
        .collect();
    accounts.push(payee());
    let found = server.client().receivable_of(&accounts).await.unwrap();
    assert_eq!(found.len(), accounts.len());
    assert_eq!(found[&payee()].blocks.len(), 1);
    let sizes: Vec<_> =
        server.requests().iter().map(|one| one["accounts"].as_array().unwrap().len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), accounts.len());
    assert!(sizes.iter().all(|size| *size <= 1_000), "{sizes:?}");
}

#[tokio::test]
async fn edge_25_equal_payments_differ_by_their_hashes() {
    let same = json!({ "amount": "70", "source": payer().account() });
    let list = json!({ hash(1).to_string(): same, hash(2).to_string(): same });
    let found = receivable(json!({ payee().to_string(): list })).await.unwrap();
    assert_eq!(found.iter().map(|entry| entry.0).collect::<Vec<_>>(), [hash(1), hash(2)]);
}

#[tokio::test]
async fn edge_19_an_answer_about_many_blocks_that_is_too_large_is_asked_for_in_halves() {
    let server = Server::start(|request| {
        let asked = request["hashes"].as_array().unwrap().iter();
        let padding = "x".repeat(1_000);
        let blocks = asked.map(|hash| (hash.as_str().unwrap().to_owned(), json!(padding)));
        ok(&json!({ "blocks": Value::Object(blocks.collect()) }))
    })
    .await;
    let config = Hand::default().config([server.url.as_str()]);
    let rpc = Rpc::new(&RpcConfig { response_bytes_max: 5_000, ..config }).unwrap();
    let hashes: Vec<BlockHash> = (0..16).map(hash).collect();
    assert_eq!(rpc.blocks_info(&hashes).await.unwrap().len(), 16);
    assert_eq!(server.requests().len(), 1 + 2 + 4);
    // One block alone that is too large cannot be made smaller.
    let rpc =
        Rpc::new(&RpcConfig { response_bytes_max: 500, ..Hand::default().config([server.url.as_str()]) });
    let error = rpc.unwrap().blocks_info(&hashes).await.expect_err("too large");
    assert!(matches!(error.failure, Failure::TooLarge { .. }), "{error}");
}
