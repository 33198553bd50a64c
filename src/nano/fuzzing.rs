//! What fuzzers feed: one function per kind of text that strangers write. Each panics when a promise
//! of the reader is broken, and returns whatever the bytes are.
//!
//! Not part of any program. `fuzz/` calls these with what it makes up, the tests below with what it
//! found once and keeps in `fuzz/corpus/`.

use serde_json::Value;

use crate::block::{Block, StateBlock, StateFields};
use crate::seed::SeedError;
use crate::work::Work;
use crate::{Account, Amount, BlockHash, PrivateKey, Seed};

pub use crate::rpc::fuzzing::rpc_answers;

/// A target: what a fuzzer calls with bytes of its own making.
pub type Target = fn(&[u8]);

/// All targets of this crate by the names of their corpora.
pub const TARGETS: [(&str, Target); 5] = [
    ("accounts", accounts),
    ("amounts", amounts),
    ("blocks", blocks),
    ("phrases", phrases),
    ("rpc_answers", rpc_answers),
];

/// Addresses: what is read is written the same, whatever the prefix; every key has one address; one
/// changed character makes it no address.
pub fn accounts(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(account) = Account::parse(text)
    {
        let modern = text.strip_prefix("xrb_").map_or_else(|| text.to_owned(), |rest| format!("nano_{rest}"));
        assert_eq!(account.to_string(), modern);
        assert_eq!(Account::parse(&modern), Ok(account));
        same_in_json(&account);
    }
    let Some((key, rest)) = data.split_first_chunk::<32>() else { return };
    let account = Account::from_bytes(*key);
    let text = account.to_string();
    assert_eq!(Account::parse(&text), Ok(account));
    if let &[place, character, ..] = rest {
        let place = 5 + usize::from(place) % 60;
        let mut changed = text.clone().into_bytes();
        changed[place] = character & 0x7f;
        let changed = String::from_utf8_lossy(&changed);
        assert!(changed == text || Account::parse(&changed).is_err(), "{changed} for {text}");
    }
}

/// Amounts: raw is read as the standard library reads a `u128` in its canonical form, XNO as raw with
/// its point moved; what is read is written the same.
pub fn amounts(data: &[u8]) {
    if let Some((raw, _)) = data.split_first_chunk::<16>() {
        let amount = Amount::from_raw(u128::from_be_bytes(*raw));
        assert_eq!(Amount::parse_raw(&amount.to_string()), Ok(amount));
        assert_eq!(Amount::parse_xno(&amount.to_xno()), Ok(amount));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let canonical = text.parse::<u128>().ok().filter(|raw| raw.to_string() == text);
    assert_eq!(Amount::parse_raw(text).ok().map(Amount::raw), canonical);
    let read = Amount::parse_xno(text).ok();
    assert_eq!(read, with_the_point_moved(text), "{text}");
    for amount in read.into_iter().chain(canonical.map(Amount::from_raw)) {
        assert_eq!(Amount::parse_xno(&amount.to_xno()), Ok(amount));
        same_in_json(&amount);
    }
}

/// XNO by moving the point thirty places to the right, which no arithmetic can get wrong.
fn with_the_point_moved(text: &str) -> Option<Amount> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let fits = whole == "0" || !whole.starts_with('0');
    if whole.is_empty() || !fits || fraction.is_empty() || fraction.len() > 30 {
        return None;
    }
    let digits = format!("{whole}{fraction:0<30}");
    let canonical = digits.trim_start_matches('0');
    Amount::parse_raw(if canonical.is_empty() { "0" } else { canonical }).ok()
}

/// Blocks in JSON, from the network and of our own: what is read is written the same, its hash covers
/// every signed field, and only the account's key signs it.
pub fn blocks(data: &[u8]) {
    if let Ok(contents) = serde_json::from_slice::<Value>(data) {
        read_block(&contents);
    }
    let Some((key, rest)) = data.split_first_chunk::<32>() else { return };
    let Some((parts, rest)) = rest.split_first_chunk::<136>() else { return };
    let part = |from: usize| -> [u8; 32] { std::array::from_fn(|index| parts[from + index]) };
    let key = PrivateKey::from_bytes(*key);
    let fields = StateFields {
        account: key.account(),
        previous: BlockHash::from_bytes(part(0)),
        representative: Account::from_bytes(part(32)),
        balance: Amount::from_raw(u128::from_be_bytes(std::array::from_fn(|index| parts[96 + index]))),
        link: part(64),
    };
    let work = Work::new(u64::from_be_bytes(std::array::from_fn(|index| parts[128 + index])));
    let block = fields.sign(&key, work);
    assert!(block.is_signed());
    read_block(&Value::from(&block));
    if let &[which, bit, ..] = rest {
        let changed = flipped(fields, which, bit);
        assert_ne!(changed.hash(), fields.hash());
        assert!(!StateBlock { fields: changed, ..block }.is_signed());
    }
}

fn read_block(contents: &Value) {
    let read = Block::from_json(contents);
    if contents.is_object() {
        assert_eq!(Block::from_json(&Value::String(contents.to_string())), read);
    }
    let Ok(Block::State(block)) = read else { return };
    assert_eq!(Block::from_json(&Value::from(&block)), Ok(Block::State(block)));
    assert_eq!(Block::State(block).hash(), block.fields.hash());
    assert_eq!(block.is_signed(), StateBlock { work: Work::new(0), ..block }.is_signed());
}

/// The same fields but for one bit of one of them.
fn flipped(fields: StateFields, which: u8, bit: u8) -> StateFields {
    let flip = |mut bytes: [u8; 32]| {
        bytes[usize::from(bit) / 8] ^= 1 << (bit % 8);
        bytes
    };
    match which % 5 {
        0 => StateFields { account: Account::from_bytes(flip(*fields.account.as_bytes())), ..fields },
        1 => StateFields { previous: BlockHash::from_bytes(flip(*fields.previous.as_bytes())), ..fields },
        2 => StateFields {
            representative: Account::from_bytes(flip(*fields.representative.as_bytes())),
            ..fields
        },
        3 => StateFields { balance: Amount::from_raw(fields.balance.raw() ^ 1 << (bit % 128)), ..fields },
        _ => StateFields { link: flip(fields.link), ..fields },
    }
}

/// Seeds: white space and letter case do not matter, every entropy has one phrase, and what is said
/// about a seed that cannot be read repeats none of it.
pub fn phrases(data: &[u8]) {
    if (16..=32).contains(&data.len()) && data.len().is_multiple_of(4) {
        let phrase = Seed::phrase(data).expect("phrases are made of this many bytes");
        assert_eq!(phrase.split(' ').count(), data.len() * 3 / 4);
        assert_same(&Seed::parse(&phrase), &Seed::from_phrase(&phrase, ""));
        assert_ne!(key_of(&Seed::from_phrase(&phrase, "x")), key_of(&Seed::parse(&phrase)));
    } else {
        assert!(Seed::phrase(data).is_err());
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let read = Seed::parse(text);
    assert_same(&Seed::parse(&format!("\n {text}\t")), &read);
    match &read {
        Ok(seed) => {
            assert_same(&Seed::parse(&text.to_ascii_uppercase()), &read);
            assert!(!format!("{seed:?}").contains(text.trim()));
            assert_eq!(seed.key(u32::MAX).is_ok(), matches!(seed, Seed::Hex(_)));
        }
        Err(error) => assert!(text.trim().len() < 64 || !error.to_string().contains(text.trim())),
    }
}

fn key_of(seed: &Result<Seed, SeedError>) -> Option<[u8; 32]> {
    seed.as_ref().ok().and_then(|seed| seed.key(7).ok()).map(|key| *key.expose())
}

fn assert_same(one: &Result<Seed, SeedError>, other: &Result<Seed, SeedError>) {
    assert_eq!(one.as_ref().err(), other.as_ref().err());
    assert!(key_of(one) == key_of(other), "the same seed was read in two ways");
}

fn same_in_json<T>(value: &T)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let text = serde_json::to_string(value).expect("these have a JSON form");
    assert_eq!(&serde_json::from_str::<T>(&text).expect("it was just written"), value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fuzzers_found_stays_mended() {
        let corpora = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        let mut failed = Vec::new();
        for (name, target) in TARGETS {
            let mut inputs = 0;
            for entry in std::fs::read_dir(corpora.join(name)).unwrap() {
                let path = entry.unwrap().path();
                let input = std::fs::read(&path).unwrap();
                inputs += 1;
                if std::panic::catch_unwind(|| target(&input)).is_err() {
                    failed.push(path);
                }
            }
            assert!(inputs > 0, "{name} has no corpus");
        }
        assert!(failed.is_empty(), "{failed:#?}");
    }
}
