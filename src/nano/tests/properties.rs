//! What holds for every input: round trips, and garbage that is refused instead of panicking.

use nano_currency::block::{Block, StateFields};
use nano_currency::seed::Signature;
use nano_currency::work::{Difficulty, Work};
use nano_currency::{Account, Amount, BlockHash, PrivateKey, Seed};
use proptest::prelude::*;
use serde_json::Value;

prop_compose! {
    fn fields()(
        account in any::<[u8; 32]>(), previous in any::<[u8; 32]>(), representative in any::<[u8; 32]>(),
        balance in any::<u128>(), link in any::<[u8; 32]>(),
    ) -> StateFields {
        StateFields {
            account: Account::from_bytes(account),
            previous: BlockHash::from_bytes(previous),
            representative: Account::from_bytes(representative),
            balance: Amount::from_raw(balance),
            link,
        }
    }
}

/// The same fields with one bit of one of them turned over.
fn tampered(mut fields: StateFields, place: usize) -> StateFields {
    let flip = |bytes: &[u8; 32], bit: usize| {
        let mut bytes = *bytes;
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    match place {
        0..256 => fields.account = Account::from_bytes(flip(fields.account.as_bytes(), place)),
        256..512 => fields.previous = BlockHash::from_bytes(flip(fields.previous.as_bytes(), place - 256)),
        512..768 => {
            fields.representative = Account::from_bytes(flip(fields.representative.as_bytes(), place - 512));
        }
        768..1024 => fields.link = flip(&fields.link, place - 768),
        _ => fields.balance = Amount::from_raw(fields.balance.raw() ^ (1 << (place - 1024))),
    }
    fields
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_address_reads_as_the_account_that_wrote_it(key: [u8; 32]) {
        let account = Account::from_bytes(key);
        let address = account.to_string();
        prop_assert_eq!(address.len(), 65);
        prop_assert_eq!(Account::parse(&address), Ok(account));
        prop_assert_eq!(Account::parse(&address.replacen("nano_", "xrb_", 1)), Ok(account));
    }

    #[test]
    fn an_address_with_one_wrong_character_is_refused(key: [u8; 32], place in 5usize..65, letter in 0usize..32) {
        let mut text = Account::from_bytes(key).to_string().into_bytes();
        let wrong = b"13456789abcdefghijkmnopqrstuwxyz"[letter];
        prop_assume!(text[place] != wrong);
        text[place] = wrong;
        prop_assert!(Account::parse(&String::from_utf8_lossy(&text)).is_err());
    }

    #[test]
    fn an_amount_reads_as_what_wrote_it(raw: u128) {
        let amount = Amount::from_raw(raw);
        prop_assert_eq!(Amount::parse_raw(&amount.to_string()), Ok(amount));
        prop_assert_eq!(Amount::parse_xno(&amount.to_xno()), Ok(amount));
    }

    #[test]
    fn sums_never_wrap(left: u128, right: u128) {
        let (a, b) = (Amount::from_raw(left), Amount::from_raw(right));
        prop_assert_eq!(a.checked_add(b).map(Amount::raw), left.checked_add(right));
        prop_assert_eq!(a.checked_sub(b).map(Amount::raw), left.checked_sub(right));
        prop_assert!(a.saturating_add(b) >= a);
        prop_assert_eq!([a, b].into_iter().sum::<Amount>(), a.saturating_add(b));
    }

    #[test]
    fn garbage_is_refused_without_a_panic(text in any::<String>(), near in "(nano_|xrb_)?[0-9a-z]{0,70}(\\.[0-9]{0,40})?") {
        for text in [text, near] {
            if let Ok(account) = Account::parse(&text) {
                let address = account.to_string();
                prop_assert!(text == address || text == address.replacen("nano_", "xrb_", 1));
            }
            if let Ok(amount) = Amount::parse_raw(&text) {
                prop_assert_eq!(amount.to_string(), text.clone());
            }
            // Whatever these say, they must say it without a panic.
            let _ = (Amount::parse_xno(&text), Seed::parse(&text), BlockHash::parse(&text));
            let _ = (Signature::parse(&text), Work::parse(&text), Difficulty::parse(&text));
            let _ = Block::from_json(&Value::String(text));
        }
    }

    #[test]
    fn a_hash_is_one_key_however_it_is_spelled(bytes: [u8; 32]) {
        let hash = BlockHash::from_bytes(bytes);
        let text = hash.to_string();
        prop_assert_eq!(BlockHash::parse(&text.to_lowercase()), Ok(hash));
        prop_assert!(BlockHash::parse(&text[1..]).is_err());
        prop_assert!(BlockHash::parse(&(text + "0")).is_err());
    }

    #[test]
    fn what_a_key_signs_its_account_verifies(key: [u8; 32], message: Vec<u8>, other: [u8; 32]) {
        let key = PrivateKey::from_bytes(key);
        let signature = key.sign(&message);
        prop_assert_eq!(signature, key.sign(&message));
        prop_assert!(signature.verifies(&key.account(), &message));
        prop_assert_eq!(Signature::parse(&signature.to_string()), Some(signature));
        let stranger = PrivateKey::from_bytes(other);
        prop_assume!(stranger.account() != key.account());
        prop_assert!(!signature.verifies(&stranger.account(), &message));
    }

    #[test]
    fn a_tampered_block_never_verifies(key: [u8; 32], mut fields in fields(), place in 0usize..1152, bit in 0usize..512) {
        let key = PrivateKey::from_bytes(key);
        fields.account = key.account();
        let block = fields.sign(&key, Work::new(7));
        prop_assert!(block.is_signed());
        prop_assert_eq!(Block::from_json(&Value::from(&block)), Ok(Block::State(block)));

        let mut forged = block;
        forged.fields = tampered(fields, place);
        prop_assert_ne!(forged.hash(), block.hash());
        prop_assert!(!forged.is_signed());

        let mut forged = block;
        forged.signature.0[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!forged.is_signed());
    }
}
