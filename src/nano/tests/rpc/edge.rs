//! The cases that a payment's verifier meets, one test each, as far as the client decides them.
//! The numbers are those of the list in the protocol notes; the missing ones are decisions about
//! jobs, which are made elsewhere.

use nano_currency::block::{Block, StateBlock, StateFields};
use nano_currency::rpc::{BlockInfo, Failure, Finding, Lookup, Payment, Processed, Rpc, Subtype};
use nano_currency::work::Work;
use nano_currency::{Account, Amount, BlockHash, Network, PrivateKey};
use serde_json::{Value, json};

use crate::support::{Hand, Server, client, http, ok, recorded, replay};

fn payer() -> PrivateKey {
    PrivateKey::from_bytes([1; 32])
}

fn payee() -> Account {
    PrivateKey::from_bytes([2; 32]).account()
}

/// A state block of the payer's whose link is `link`.
fn block(link: [u8; 32]) -> StateBlock {
    let fields = StateFields {
        account: payer().account(),
        previous: BlockHash::from_bytes([3; 32]),
        representative: Account::BURN,
        balance: Amount::from_raw(5),
        link,
    };
    fields.sign(&payer(), Work::new(0))
}

fn send() -> StateBlock {
    block(*payee().as_bytes())
}

/// What a node says about a block of the payer's.
fn described(block: &StateBlock, subtype: &str) -> Value {
    json!({
        "block_account": block.fields.account,
        "amount": "1000",
        "balance": block.fields.balance,
        "height": "2",
        "local_timestamp": "1795231121",
        "successor": BlockHash::ZERO,
        "confirmed": "true",
        "contents": Value::from(block),
        "subtype": subtype,
    })
}

/// The description with some of its fields replaced, or removed where they are `null`.
fn but(mut description: Value, changes: Value) -> Value {
    let fields = description.as_object_mut().unwrap();
    fields.extend(changes.as_object().unwrap().clone());
    fields.retain(|_, value| !value.is_null());
    description
}

/// What the client makes of a description of `block`.
async fn read(block: &StateBlock, description: Value) -> Result<Option<BlockInfo>, Failure> {
    let server = Server::saying(ok(&description)).await;
    server.client().block_info(&block.hash()).await.map_err(|error| error.failure)
}

/// What is receivable for the payee if the node answers so.
async fn receivable(blocks: Value) -> Result<Vec<(BlockHash, Option<u128>, Option<Account>)>, Failure> {
    let server = Server::saying(ok(&json!({ "blocks": blocks }))).await;
    let found = server.client().accounts_receivable(&[payee()], None).await.map_err(|error| error.failure)?;
    Ok(found[&payee()].iter().map(|one| (one.hash, one.amount.map(Amount::raw), one.source)).collect())
}

fn hash(byte: u8) -> BlockHash {
    BlockHash::from_bytes([byte; 32])
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
async fn edge_03_a_payment_already_received_is_found_by_its_hash() {
    let description = but(described(&send(), "send"), json!({ "receivable": "0", "successor": hash(9) }));
    let server = Server::start(move |request| match request["action"].as_str() {
        Some("accounts_receivable") => ok(&json!({ "blocks": "" })),
        _ => ok(&description),
    })
    .await;
    let rpc = server.client();
    assert_eq!(rpc.receivable_of(&[payee()]).await.unwrap()[&payee()].blocks, []);
    let info = rpc.block_info(&send().hash()).await.unwrap().expect("the block stays");
    assert_eq!(info.payment().map(|paid| paid.destination), Some(payee()));
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

#[tokio::test]
async fn edge_05_the_whole_amount_of_an_overpayment_is_kept() {
    let info =
        read(&send(), but(described(&send(), "send"), json!({ "amount": Amount::MAX }))).await.unwrap();
    assert_eq!(info.and_then(|info| info.payment()).map(|paid| paid.amount), Some(Amount::MAX));
}

#[tokio::test]
async fn edge_07_confirmed_is_what_says_true() {
    let yes = [json!("true"), json!(true), json!("1"), json!(1)];
    let no = [
        json!("false"),
        json!(false),
        json!("0"),
        json!("TRUE"),
        json!("yes"),
        json!(""),
        json!(null),
        json!({}),
    ];
    for (values, wanted) in [(yes.as_slice(), true), (no.as_slice(), false)] {
        for value in values {
            let info = read(&send(), but(described(&send(), "send"), json!({ "confirmed": value }))).await;
            assert_eq!(info.unwrap().unwrap().confirmed, wanted, "{value}");
        }
    }
}

#[tokio::test]
async fn edge_07_only_confirmed_sends_are_asked_for() {
    let server = Server::saying(ok(&json!({ "blocks": "" }))).await;
    server.client().receivable_of(&[payee()]).await.unwrap();
    assert_eq!(server.requests()[0]["include_only_confirmed"], "true");
}

#[tokio::test]
async fn edge_08_a_block_that_vanishes_is_a_value_again_and_again() {
    let unconfirmed = but(described(&send(), "send"), json!({ "confirmed": "false" }));
    let turn = std::sync::atomic::AtomicU64::new(0);
    let server = Server::start(move |_| match turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        1 => ok(&json!({ "error": "Block not found" })),
        _ => ok(&unconfirmed),
    })
    .await;
    let rpc = server.client();
    for known in [true, false, true] {
        assert_eq!(rpc.block_info(&send().hash()).await.unwrap().is_some(), known);
    }
}

#[tokio::test]
async fn edge_09_a_hash_is_one_key_however_it_is_spelled() {
    for spelled in [send().hash().to_string(), send().hash().to_string().to_lowercase()] {
        let server = Server::saying(ok(&json!({ "blocks": { spelled: described(&send(), "send") } }))).await;
        let found = server.client().blocks_info(&[send().hash()]).await.unwrap();
        assert!(found[&send().hash()].found().is_some());
    }
    // To a node a short hash is a number; here it is refused before anybody is asked.
    assert!(BlockHash::parse("ABC").is_err());
}

#[tokio::test]
async fn edge_10_the_destination_is_a_key_and_not_a_text() {
    let wanted = Payment { payer: payer().account(), destination: payee(), amount: Amount::from_raw(1_000) };
    let description = described(&send(), "send");
    let xrb = |value: &Value| json!(value.as_str().unwrap().replacen("nano_", "xrb_", 1));
    let mut contents = description["contents"].clone();
    contents["link_as_account"] = xrb(&contents["link_as_account"]);
    contents["account"] = xrb(&contents["account"]);
    let mut unlinked = contents.clone();
    unlinked.as_object_mut().unwrap().remove("link");
    for contents in [description["contents"].clone(), contents, unlinked] {
        let account = xrb(&description["block_account"]);
        let spelled = but(description.clone(), json!({ "contents": contents, "block_account": account }));
        assert_eq!(read(&send(), spelled).await.unwrap().unwrap().payment(), Some(wanted));
    }

    let entry = recorded("006");
    let server = Server::saying(replay(&entry)).await;
    let legacy = entry["request"]["hash"].as_str().unwrap().parse().unwrap();
    let info = server.client().block_info(&legacy).await.unwrap().unwrap();
    assert!(matches!(info.contents, Block::LegacySend(_)));
    let body: Value = serde_json::from_str(entry["raw_body"].as_str().unwrap()).unwrap();
    let paid = info.payment().expect("a legacy send pays");
    assert_eq!(json!(paid.destination), body["contents"]["destination"]);
    assert_eq!(json!(paid.payer), body["block_account"]);
}

#[tokio::test]
async fn edge_11_only_a_send_is_a_payment() {
    for subtype in ["receive", "open", "change", "epoch", "pay", "SEND", ""] {
        let info = read(&send(), described(&send(), subtype)).await.unwrap().unwrap();
        assert_eq!(info.payment(), None, "{subtype}");
    }
    let info = read(&send(), but(described(&send(), "send"), json!({ "subtype": null }))).await;
    assert_eq!(info.unwrap().unwrap().payment(), None);
    for legacy in ["002", "010", "011", "012"] {
        let entry = recorded(legacy);
        let server = Server::saying(replay(&entry)).await;
        let hash = entry["request"]["hash"].as_str().unwrap().parse().unwrap();
        let info = server.client().block_info(&hash).await.unwrap().unwrap();
        assert_eq!((info.contents, info.payment()), (Block::LegacyOther, None), "{legacy}");
    }
}

#[tokio::test]
async fn edge_12_what_can_be_checked_here_is_checked_here() {
    // Contents of another block, under the hash that was asked for.
    let other = block([9; 32]);
    let lie = read(&send(), described(&other, "send")).await;
    assert!(matches!(lie, Err(Failure::Malformed("contents that belong to the hash"))), "{lie:?}");
    // Somebody else's chain.
    let lie = read(&send(), but(described(&send(), "send"), json!({ "block_account": payee() }))).await;
    assert!(matches!(lie, Err(Failure::Malformed("block_account"))), "{lie:?}");
    // A balance beside the contents that is not the signed one.
    let lie = read(&send(), but(described(&send(), "send"), json!({ "balance": "0" }))).await;
    assert_eq!(lie.unwrap().unwrap().balance, Amount::from_raw(5));
    // A signature that is nobody's.
    let mut forged = send();
    forged.signature.0[0] ^= 1;
    assert!(!read(&send(), described(&forged, "send")).await.unwrap().unwrap().is_signed());
    assert!(read(&send(), described(&send(), "send")).await.unwrap().unwrap().is_signed());
    // In a question about many, the lie concerns itself only.
    let blocks = json!({
        send().hash().to_string(): described(&send(), "send"),
        hash(1).to_string(): described(&send(), "send"),
        hash(2).to_string(): "",
    });
    let server = Server::saying(ok(&json!({ "blocks": blocks }))).await;
    let found = server.client().blocks_info(&[hash(1), send().hash(), hash(2), hash(3)]).await.unwrap();
    assert!(found[&send().hash()].found().is_some());
    for unclear in [hash(1), hash(2), hash(3)] {
        assert!(matches!(found[&unclear], Lookup::Unclear(_)), "{:?}", found[&unclear]);
    }
}

#[tokio::test]
async fn edge_12_each_node_can_be_asked_alone() {
    let honest = Server::saying(ok(&json!({ "error": "Block not found" }))).await;
    let lying = Server::saying(ok(&described(&send(), "send"))).await;
    let rpc = client([lying.url.as_str(), honest.url.as_str()]);
    let mut said = Vec::new();
    for node in rpc.each() {
        said.push(node.block_info(&send().hash()).await.unwrap().is_some());
    }
    assert_eq!(said, [true, false]);
}

#[tokio::test]
async fn edge_13_contents_may_be_a_text() {
    let description = described(&send(), "send");
    let as_text = json!({ "contents": serde_json::to_string_pretty(&description["contents"]).unwrap() });
    let info = read(&send(), but(description, as_text)).await.unwrap().unwrap();
    assert_eq!(info.contents, Block::State(send()));
    for broken in [json!(""), json!("{"), json!("\"{}\""), json!([]), json!(null), json!({ "type": "state" })]
    {
        let read = read(&send(), but(described(&send(), "send"), json!({ "contents": broken }))).await;
        assert!(matches!(read, Err(Failure::Malformed(_))), "{broken}: {read:?}");
    }
}

#[tokio::test]
async fn edge_14_an_amount_is_exact_or_it_is_missing() {
    let exact =
        [json!("340282366920938463463374607431768211455"), json!("0"), json!(9_007_199_254_740_993u64)];
    for amount in exact {
        let info = read(&send(), but(described(&send(), "send"), json!({ "amount": amount })))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(info.amount.unwrap().to_string(), amount.to_string().trim_matches('"'));
    }
    let unusable =
        [json!(1e30), json!(1.5), json!("1e30"), json!("-1"), json!(-1), json!(""), json!("01"), json!(null)];
    for amount in unusable {
        let info = read(&send(), but(described(&send(), "send"), json!({ "amount": amount })))
            .await
            .unwrap()
            .unwrap();
        assert_eq!((info.amount, info.payment()), (None, None), "{amount}");
    }
}

/// A node with these numbers, asked whether it can be relied on for the live network.
async fn health(version: Value, blocks: Value, quorum: Value, telemetry: Value) -> Vec<Finding> {
    let server = Server::start(move |request| match request["action"].as_str() {
        Some("version") => ok(&version),
        Some("block_count") => ok(&blocks),
        Some("confirmation_quorum") => ok(&quorum),
        _ => ok(&telemetry),
    })
    .await;
    server.client().health(Network::Live).await.unwrap().findings
}

#[tokio::test]
async fn edge_15_a_node_that_is_not_synchronised_is_known_by_its_numbers() {
    let live = json!({ "network": "live", "network_identifier": Network::Live.genesis(), "node_vendor": "Nano V28.0" });
    let blocks = json!({ "count": "200000000", "unchecked": "3", "cemented": "199999900" });
    let (quorum, peers) = (json!({ "online_stake_total": "9" }), json!({ "block_count": "200000050" }));
    let refused = json!({ "error": "Action telemetry not allowed" });
    let good = [(quorum.clone(), peers.clone()), (refused.clone(), refused)];
    for (quorum, peers) in good {
        assert_eq!(health(live.clone(), blocks.clone(), quorum, peers).await, []);
    }

    let early = json!({ "count": "150000000", "cemented": "100000000" });
    let findings = health(live.clone(), early, quorum.clone(), peers.clone()).await;
    assert_eq!(
        findings,
        [Finding::Behind { blocks: 50_000_050 }, Finding::Unconfirmed { blocks: 50_000_000 }]
    );
    let deaf =
        health(live.clone(), blocks.clone(), json!({ "online_stake_total": "0" }), peers.clone()).await;
    assert_eq!(deaf, [Finding::NoVotes]);
    for changed in [json!({ "network": "beta" }), json!({ "network_identifier": hash(1) })] {
        let findings =
            health(but(live.clone(), changed), blocks.clone(), quorum.clone(), peers.clone()).await;
        assert!(
            matches!(findings[..], [Finding::WrongNetwork { wanted: Network::Live, .. }]),
            "{findings:?}"
        );
        assert!(findings[0].to_string().contains("name a node of the live network"), "{}", findings[0]);
    }
}

#[tokio::test]
async fn edge_16_what_proxies_add_is_overlooked_and_what_they_cut_is_not_made_up() {
    let extras = json!({ "requestsLimit": "10", "requestsRemaining": 3, "requestLimitReset": null });
    let info = read(&send(), but(described(&send(), "send"), extras.clone())).await.unwrap();
    assert!(info.is_some());
    // The list of hashes was cut: what the answer does not mention is unknown, not missing.
    let answer = but(json!({ "blocks": {}, "blocks_not_found": [hash(1)] }), extras);
    let server = Server::saying(ok(&answer)).await;
    let found = server.client().blocks_info(&[hash(1), hash(2)]).await.unwrap();
    assert_eq!(found[&hash(1)], Lookup::NotFound);
    assert!(matches!(found[&hash(2)], Lookup::Unclear(_)));
    let limited =
        Server::saying(http(429, "Content-Type: text/html\r\n", "You are making requests too fast")).await;
    let error = limited.client().block_info(&hash(1)).await.expect_err("limited");
    assert!(matches!(error.failure, Failure::RateLimited { wait: None }), "{error}");
}

#[tokio::test]
async fn edge_17_html_half_answers_and_silence_are_unknown_and_not_unpaid() {
    for (status, body) in
        [(200, "<!DOCTYPE html>"), (502, "<html>"), (520, ""), (200, ""), (200, "{\"blocks\":{"), (302, "")]
    {
        let server = Server::saying(http(status, "Location: http://127.0.0.1:1/\r\n", body)).await;
        let rpc = server.client();
        assert!(rpc.block_info(&hash(1)).await.is_err(), "{status} {body}");
        assert!(rpc.blocks_info(&[hash(1)]).await.is_err(), "{status} {body}");
        assert!(rpc.receivable_of(&[payee()]).await.is_err(), "{status} {body}");
    }
}

/// A node where `sends` wait for the payee: the n-th of n raw, and one of a million XNO among them.
async fn dusty(sends: u32) -> Server {
    let list = move |threshold: u128| {
        let amount = |index: u32| if index == sends / 2 { 10u128.pow(36) } else { u128::from(index) };
        let entry = |index: u32| {
            let mut bytes = [0x77; 32];
            bytes[..4].copy_from_slice(&index.to_be_bytes());
            let description = json!({ "amount": amount(index).to_string(), "source": payer().account() });
            (BlockHash::from_bytes(bytes).to_string(), description)
        };
        let listed = (1..=sends).filter(move |index| amount(*index) >= threshold);
        Value::Object(listed.map(entry).collect())
    };
    Server::start(move |request| {
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
    let config = nano_currency::rpc::RpcConfig { response_bytes_max: 1 << 20, ..config };
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
async fn edge_20_epoch_and_change_blocks_pay_nobody() {
    for number in ["020", "021", "206", "209"] {
        let entry = recorded(number);
        let server = Server::saying(replay(&entry)).await;
        let hash = entry["request"]["hash"].as_str().unwrap().parse().unwrap();
        let info = server.client().block_info(&hash).await.unwrap().unwrap();
        assert_eq!((info.amount, info.payment()), (Some(Amount::ZERO), None), "{number}");
        assert_eq!(info.is_signed(), info.subtype == Some(Subtype::Change), "{number}");
    }
}

#[tokio::test]
async fn edge_21_a_send_to_oneself_or_to_nobody_is_a_send() {
    let entry = recorded("293");
    let server = Server::saying(replay(&entry)).await;
    let hash = entry["request"]["hash"].as_str().unwrap().parse().unwrap();
    let paid = server.client().block_info(&hash).await.unwrap().unwrap().payment().unwrap();
    assert_eq!(paid.payer, paid.destination);

    let burnt = block([0; 32]);
    let info = read(&burnt, described(&burnt, "send")).await.unwrap().unwrap();
    assert_eq!(info.payment().map(|paid| paid.destination), Some(Account::BURN));
}

#[tokio::test]
async fn edge_22_a_node_need_not_know_when_it_saw_a_block() {
    for (time, wanted) in
        [(json!("0"), Some(0)), (json!(7), Some(7)), (json!(null), None), (json!("soon"), None)]
    {
        let info = read(&send(), but(described(&send(), "send"), json!({ "local_timestamp": time }))).await;
        assert_eq!(info.unwrap().unwrap().local_timestamp, wanted);
    }
}

#[tokio::test]
async fn edge_23_a_block_sent_again_is_not_lost() {
    for (answer, known) in [
        (json!({ "hash": send().hash() }), true),
        (json!({ "error": "Old block" }), true),
        (json!({ "error": "Invalid block balance for given subtype" }), true),
        (json!({ "error": "Fork" }), false),
        (json!({ "error": "Gap previous block" }), false),
        (json!({ "error": "Something new" }), false),
    ] {
        let server = Server::saying(ok(&answer)).await;
        let processed = server.client().process(&send(), Subtype::Send).await.unwrap();
        assert_eq!(processed.may_be_known(), known, "{answer}: {processed:?}");
        assert_eq!(server.requests()[0]["block"]["type"], "state");
    }
    // "started" is said to a fork too, so it promises nothing.
    let server = Server::saying(ok(&json!({ "started": "1" }))).await;
    assert!(server.client().process(&send(), Subtype::Send).await.is_err());
    let server = Server::saying(ok(&json!({ "error": "Something new" }))).await;
    let processed = server.client().process(&send(), Subtype::Send).await.unwrap();
    assert_eq!(processed, Processed::Other("Something new".to_owned()));
}

#[tokio::test]
async fn edge_24_a_vote_can_be_asked_for() {
    let server = Server::saying(ok(&json!({ "started": "1" }))).await;
    assert!(server.client().block_confirm(&hash(1)).await.unwrap());
    let server = Server::saying(ok(&json!({ "error": "Block not found" }))).await;
    assert!(!server.client().block_confirm(&hash(1)).await.unwrap());
}

#[tokio::test]
async fn edge_25_equal_payments_differ_by_their_hashes() {
    let same = json!({ "amount": "70", "source": payer().account() });
    let list = json!({ hash(1).to_string(): same, hash(2).to_string(): same });
    let found = receivable(json!({ payee().to_string(): list })).await.unwrap();
    assert_eq!(found.iter().map(|entry| entry.0).collect::<Vec<_>>(), [hash(1), hash(2)]);
}
