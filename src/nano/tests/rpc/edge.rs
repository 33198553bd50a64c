//! The cases that a payment's verifier meets, one test each, as far as the client decides them.
//! Those about lists and about nodes are next door; the numbers that are missing everywhere are
//! decisions about jobs, or concern the WebSocket.

use nano_currency::block::{Block, StateBlock, StateFields};
use nano_currency::rpc::{BlockInfo, Failure, Lookup, Payment, Processed, Subtype};
use nano_currency::work::Work;
use nano_currency::{Account, Amount, BlockHash, PrivateKey};
use serde_json::{Value, json};

use crate::support::{Server, ok, recorded, replay};

pub(crate) fn payer() -> PrivateKey {
    PrivateKey::from_bytes([1; 32])
}

pub(crate) fn payee() -> Account {
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

pub(crate) fn send() -> StateBlock {
    block(*payee().as_bytes())
}

/// What a node says about a block of the payer's.
pub(crate) fn described(block: &StateBlock, subtype: &str) -> Value {
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
pub(crate) fn but(mut description: Value, changes: Value) -> Value {
    let fields = description.as_object_mut().unwrap();
    fields.extend(changes.as_object().unwrap().clone());
    fields.retain(|_, value| !value.is_null());
    description
}

/// What the client makes of a description of `block`.
pub(crate) async fn read(block: &StateBlock, description: Value) -> Result<Option<BlockInfo>, Failure> {
    let server = Server::saying(ok(&description)).await;
    server.client().block_info(&block.hash()).await.map_err(|error| error.failure)
}

pub(crate) fn hash(byte: u8) -> BlockHash {
    BlockHash::from_bytes([byte; 32])
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
        assert!(!matches!(info.contents, Block::State(_) | Block::LegacySend(_)), "{legacy}");
        assert_eq!((info.contents.hash(), info.payment()), (info.hash, None), "{legacy}");
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
    assert!(matches!(lie, Err(Failure::Malformed("block_account that is the contents' own"))), "{lie:?}");
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
    let forged = [hash(1), send().hash(), hash(2), hash(3)].map(|hash| found[&hash].is_forged());
    assert_eq!(forged, [true, false, false, false]);
    for unclear in [hash(1), hash(2), hash(3)] {
        assert!(matches!(found[&unclear], Lookup::Unclear(_)), "{:?}", found[&unclear]);
    }
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
