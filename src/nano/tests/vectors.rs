//! Known answers: what independent implementations agree on.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise")]

use nano_currency::account::AccountError;
use nano_currency::amount::AmountError;
use nano_currency::block::{Block, StateBlock, StateFields};
use nano_currency::seed::Signature;
use nano_currency::work::{Difficulty, Work};
use nano_currency::{Account, Amount, BlockHash, Network, PrivateKey, Seed};
use serde_json::{Value, json};

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/nano.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The entries of one list; a list that went missing must not pass as an empty one.
fn entries(list: &Value) -> &Vec<Value> {
    let entries = list.as_array().expect("a list");
    assert!(!entries.is_empty(), "the list is empty");
    entries
}

fn text<'a>(entry: &'a Value, name: &str) -> &'a str {
    entry[name].as_str().unwrap_or_else(|| panic!("no text {name} in {entry}"))
}

fn bytes32(hex_text: &str) -> [u8; 32] {
    *BlockHash::parse(hex_text).unwrap().as_bytes()
}

fn check_key(key: &PrivateKey, entry: &Value) {
    assert_eq!(key.expose(), &bytes32(text(entry, "private")), "{entry}");
    let account = key.account();
    assert_eq!(account.as_bytes(), &bytes32(text(entry, "public")), "{entry}");
    assert_eq!(account.to_string(), text(entry, "address"));
    assert_eq!(text(entry, "address").parse(), Ok(account));
}

#[test]
fn seeds() {
    for entry in entries(&vectors()["seeds"]) {
        let index = u32::try_from(entry["index"].as_u64().unwrap()).unwrap();
        let seed = Seed::parse(text(entry, "seed")).unwrap();
        check_key(&seed.key(index).unwrap(), entry);
        assert_eq!(Account::parse(text(entry, "xrb_address")).unwrap(), seed.account(index).unwrap());
    }
}

#[test]
fn bip39_phrases() {
    for entry in entries(&vectors()["bip39"]) {
        let seed = Seed::from_phrase(text(entry, "mnemonic"), text(entry, "passphrase")).unwrap();
        let Seed::Bip39(bytes) = &seed else { panic!("a phrase makes a BIP-39 seed") };
        assert_eq!(hex::encode(bytes), text(entry, "bip39_seed"));
        for account in entries(&entry["accounts"]) {
            let index = u32::try_from(account["index"].as_u64().unwrap()).unwrap();
            check_key(&seed.key(index).unwrap(), account);
        }
    }
}

fn fields_of(block: &Value) -> StateFields {
    StateFields {
        account: text(block, "account").parse().unwrap(),
        previous: text(block, "previous").parse().unwrap(),
        representative: text(block, "representative").parse().unwrap(),
        balance: text(block, "balance").parse().unwrap(),
        link: bytes32(text(block, "link")),
    }
}

#[test]
fn blocks() {
    for entry in entries(&vectors()["blocks"]) {
        let fields = fields_of(&entry["block"]);
        assert_eq!(fields.hash().to_string(), text(entry, "hash"), "{entry}");
        assert_eq!(Account::from_bytes(fields.link).to_string(), text(&entry["block"], "link_as_account"));

        let signature = Signature::parse(text(entry, "signature")).unwrap();
        let signed = StateBlock { fields, signature, work: Work::new(0) };
        assert!(signed.is_signed(), "{entry}");
        let block = Block::State(signed);
        assert!(block.is_signed_by(&fields.account), "{entry}");
        assert!(!block.is_signed_by(&Account::BURN), "{entry}");
        let first = text(&entry["block"], "previous").bytes().all(|digit| digit == b'0');
        let root =
            if first { *fields.account.as_bytes() } else { bytes32(text(&entry["block"], "previous")) };
        assert_eq!((fields.work_root(), block.work_root()), (&root, &root), "{entry}");
        assert_eq!(Block::from_json(&Value::from(&signed)), Ok(Block::State(signed)));

        if let Some(private) = entry["private"].as_str() {
            let key = PrivateKey::from_bytes(bytes32(private));
            assert_eq!(key.account().as_bytes(), &bytes32(text(entry, "public")));
            assert_eq!(fields.sign(&key, Work::new(0)).signature.to_string(), text(entry, "signature"));
        }
        if entry["docs_printed_hash_matches"] == json!(false) {
            let printed = Signature::parse(text(entry, "docs_printed_signature")).unwrap();
            assert_ne!(fields.hash().to_string(), text(entry, "docs_printed_hash"));
            assert!(!StateBlock { fields, signature: printed, work: Work::new(0) }.is_signed());
        }
    }
}

#[test]
fn addresses() {
    for entry in entries(&vectors()["addresses"]) {
        let read = Account::parse(text(entry, "address"));
        if entry["valid"] == json!(true) {
            let account = read.unwrap_or_else(|error| panic!("{entry}: {error}"));
            let body = text(entry, "address").split_once('_').unwrap().1;
            assert_eq!(account.to_string(), format!("nano_{body}"));
            continue;
        }
        let named = match read.expect_err(text(entry, "address")) {
            AccountError::Prefix => "prefix",
            AccountError::Length => "length",
            AccountError::Alphabet(_) => "alphabet",
            AccountError::PaddingBits => "padding",
            AccountError::Checksum => "checksum",
        };
        assert_eq!(named, text(entry, "error"), "{entry}");
    }
}

#[test]
fn amounts() {
    for entry in entries(&vectors()["amounts"]) {
        let xno = text(entry, "nano");
        if entry["valid"] == json!(true) {
            let amount = Amount::parse_xno(xno).unwrap();
            assert_eq!(amount.to_string(), text(entry, "raw"));
            assert_eq!(amount.to_xno(), xno);
            continue;
        }
        let expected = match xno {
            "01" => AmountError::LeadingZero,
            ".1" | "0." => AmountError::Empty,
            "1e3" | "1,5" => AmountError::NotDigits,
            "340282367" | "340282366.920938463463374607431768211456" => AmountError::TooLarge,
            other => panic!("no error is expected by name for {other}"),
        };
        assert_eq!(Amount::parse_xno(xno), Err(expected), "{xno}");
    }
}

/// As a node reads them, but for two: a node takes an empty text as 0 and overlooks a leading
/// space. Whoever writes such an amount has lost something on the way, so both are refused here.
#[test]
fn raw_amounts() {
    for entry in entries(&vectors()["raw_amount_strings"]["items"]) {
        let raw = text(entry, "raw");
        let read = Amount::parse_raw(raw);
        let stricter = ["", " 1"].contains(&raw);
        assert_eq!(read.is_ok(), entry["node_accepts"] == json!(true) && !stricter, "{raw:?}");
        let expected = match raw {
            "" => AmountError::Empty,
            "01" | "00" => AmountError::LeadingZero,
            "340282366920938463463374607431768211456" => AmountError::TooLarge,
            _ => AmountError::NotDigits,
        };
        match read {
            Ok(amount) => assert_eq!(amount.to_string(), raw),
            Err(error) => assert_eq!(error, expected, "{raw:?}"),
        }
    }
}

#[test]
fn work() {
    for entry in entries(&vectors()["work"]) {
        let work = Work::parse(text(entry, "work")).unwrap();
        let value = work.difficulty(&bytes32(text(entry, "root")));
        assert_eq!(value, Difficulty::parse(text(entry, "value")).unwrap(), "{entry}");
        assert_eq!(value.to_string(), text(entry, "value"));
        let enough = value >= Difficulty::parse(text(entry, "threshold")).unwrap();
        assert_eq!(enough, entry["python_ok"].as_bool().unwrap_or(true), "{entry}");
    }
}

#[test]
fn work_thresholds() {
    let vectors = vectors();
    for network in Network::ALL {
        let expected = &vectors["work_thresholds"][network.name()];
        let work = network.work();
        assert_eq!(work.epoch_1.to_string(), text(expected, "epoch_1"), "{network}");
        assert_eq!(work.send.to_string(), text(expected, "epoch_2"), "{network}");
        assert_eq!(work.receive.to_string(), text(expected, "epoch_2_receive"), "{network}");
    }
}

#[test]
fn constants() {
    let vectors = vectors();
    let known = &vectors["constants"];
    assert_eq!(Account::BURN.to_string(), text(known, "burn_account"));
    assert_eq!(Amount::MAX.to_string(), text(known, "max_raw"));
    assert_eq!(nano_currency::amount::RAW_PER_XNO.to_string(), text(known, "raw_per_nano"));
    let dev = PrivateKey::from_bytes(bytes32(text(known, "dev_genesis_private_key")));
    assert_eq!(dev.account().to_string(), text(known, "dev_genesis_account"));
    for (network, name) in [(Network::Live, "live_genesis_block"), (Network::Dev, "dev_genesis_block")] {
        assert_eq!(network.genesis().unwrap().to_string(), text(known, name));
    }
    for epoch in ["epoch_v1", "epoch_v2"] {
        let link = bytes32(text(known, &format!("{epoch}_link")));
        assert_eq!(Account::from_bytes(link).to_string(), text(known, &format!("{epoch}_link_as_account")));
    }
}
