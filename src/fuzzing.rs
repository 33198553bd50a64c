//! What fuzzers feed: one function per kind of bytes that strangers, disks and sellers write. Each
//! panics when a promise of the reader is broken, and returns whatever the bytes are.
//!
//! Not part of any program. `fuzz/` calls these with what it makes up, the test below with what it
//! found once and keeps in `fuzz/corpus/`. The work is done in files called `fuzzing.rs` beside the
//! readers, which are private; what concerns both sides of a line is put together here. The targets
//! of the currency are in `nano::fuzzing`.

use std::path::Path;

use serde_json::json;

use crate::config::Env;
use crate::protocol::signing::Signer;
use crate::{buyer, cli, client, relay, worker};

/// A target: what a fuzzer calls with bytes of its own making.
pub type Target = fn(&[u8]);

/// All targets of this crate by the names of their corpora.
pub const TARGETS: [(&str, Target); 8] = [
    ("answers", answers),
    ("configs", configs),
    ("cursors", cursors),
    ("events", events),
    ("frames", frames),
    ("outputs", outputs),
    ("records", records),
    ("requests", requests),
];

/// A key that a document may refer to.
const SECRET: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

/// A relay's answers: a status, a header's value in the second line, a body.
pub fn answers(data: &[u8]) {
    client::fuzzing::answers(data);
}

/// Requests: a line with method and target, headers, an empty line, a body.
pub fn requests(data: &[u8]) {
    relay::fuzzing::requests(data);
}

/// Messages on the WebSocket: what one side sends the other understands, and nobody is let in, or
/// signs, without a reason.
pub fn frames(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    client::fuzzing::frames(text);
    relay::fuzzing::frames(text, data);
    let signer = Signer::from_seed(&[7; 32]);
    let nonce = text.lines().next().unwrap_or_default();
    let challenge = json!({"type": "auth.challenge", "nonce": nonce});
    let answer = client::fuzzing::answer_challenge(&signer, &challenge);
    let hex = nonce.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert_eq!(answer.is_some(), hex && (16..=128).contains(&nonce.len()));
    if let Some(answer) = answer {
        let answer = answer.to_string();
        assert_eq!(relay::fuzzing::who_answers(&answer, nonce), Some(signer.public_key()));
        assert_eq!(relay::fuzzing::who_answers(&answer, &format!("{nonce}0")), None);
    }
    if let Some((hint, job, event)) = relay::fuzzing::a_hint(data) {
        assert_eq!(client::fuzzing::what_is_hinted(&hint), Some((job, event)));
    }
}

/// Cursors of every kind, the relay's and the worker's.
pub fn cursors(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (cursor, page) = text.split_once('\n').unwrap_or((text, ""));
    relay::fuzzing::cursors(cursor);
    worker::fuzzing::cursors(cursor, page);
}

/// Pages of the event log and the jobs that they carry.
pub fn events(data: &[u8]) {
    client::fuzzing::events(data);
    worker::fuzzing::events(data);
}

/// Configuration files of all programs: every problem is named, in the same way each time, and no
/// secret is repeated.
pub fn configs(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A device or a pipe would be waited for.
    if text.contains("file:") && text.contains("/dev") {
        return;
    }
    let env = Env::from_fn(|name| matches!(name, "KEY" | "SEED").then(|| SECRET.to_owned()));
    let nowhere = Path::new("/nonexistent");
    let worker = || worker::settings::parse(text, nowhere, &env).map_err(|problems| problems.to_string());
    worker::fuzzing::settings(worker().as_ref().ok());
    tells_the_same(text, worker().err(), worker().err());
    let buyer = || cli::fuzzing::buyer_settings(text, nowhere, &env).map_err(|problems| problems.to_string());
    tells_the_same(text, buyer().err(), buyer().err());
    let relay = || relay::config::Settings::resolve(Some((text, nowhere)), |name| env.get(name));
    let relays = |error: relay::config::ConfigError| error.problems.join("\n");
    tells_the_same(text, relay().err().map(relays), relay().err().map(relays));
    assert_eq!(relay(), relay());
}

fn tells_the_same(text: &str, problems: Option<String>, again: Option<String>) {
    assert_eq!(problems, again);
    let Some(problems) = problems else { return };
    assert!(!problems.is_empty() && !problems.contains(SECRET));
    let words = text.split(|character: char| !character.is_ascii_hexdigit());
    for secret in words.filter(|word| word.len() >= 64) {
        assert!(!problems.contains(secret), "{problems}");
    }
}

/// Records of every keyspace of all stores: what can be read is written the same, what a newer version
/// wrote is refused, and a key that is read is the whole key.
pub fn records(data: &[u8]) {
    let Some((&[which, key_bytes], rest)) = data.split_first_chunk::<2>() else { return };
    let (key, value) = rest.split_at(usize::from(key_bytes).min(rest.len()));
    worker::fuzzing::records(which, key, value);
    relay::fuzzing::records(which, key, value);
    buyer::fuzzing::records(which, key, value);
}

/// What handlers print: whatever it is, the relay takes what is made of it.
pub fn outputs(data: &[u8]) {
    if let Some(result) = worker::fuzzing::result_of(data) {
        assert!(!result.is_null());
        let body = json!({ "result_payload": result, "lock_token": 1 });
        assert_eq!(relay::fuzzing::delivered(body.to_string().as_bytes()), Ok(result));
    }
    if let Some(reason) = worker::fuzzing::why_no_price(data) {
        let body = json!({ "reason": reason });
        assert_eq!(relay::fuzzing::refused(body.to_string().as_bytes()), Ok(()), "{reason:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The targets of the currency, whose own tests replay their corpora.
    const NANO: [&str; 5] = ["accounts", "amounts", "blocks", "phrases", "rpc_answers"];

    #[test]
    fn what_fuzzers_found_stays_mended() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
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

    #[test]
    fn every_corpus_has_its_target() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let ours = TARGETS.iter().map(|(name, _)| *name);
        let mut targets: Vec<&str> = ours.chain(NANO).collect();
        targets.sort_unstable();
        for (folder, extension) in [("corpus", ""), ("fuzz_targets", ".rs")] {
            let entries = std::fs::read_dir(root.join(folder)).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> =
                names.map(|name| name.strip_suffix(extension).unwrap().to_owned()).collect();
            names.sort_unstable();
            assert_eq!(names, targets, "{folder}");
        }
    }
}
