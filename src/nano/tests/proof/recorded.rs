//! Every block that real nodes described is proven, or refused for what it is.

use std::collections::BTreeMap;

use nano_currency::proof::{Claim, Evidence, ProofError, prove};
use nano_currency::{BlockHash, Network};
use serde_json::Value;

use crate::support::recordings;

/// All descriptions of blocks in a file: hash and what was said.
fn descriptions(file: &str) -> Vec<(BlockHash, Value)> {
    let mut all = Vec::new();
    for entry in recordings(file) {
        let request = &entry["request"];
        let body = entry["raw_body"].as_str().unwrap_or_default();
        let Ok(response) = serde_json::from_str::<Value>(body) else { continue };
        if request["action"] == "block_info"
            && let Some(Ok(hash)) = request["hash"].as_str().map(BlockHash::parse)
        {
            all.push((hash, response.clone()));
        }
        for (hash, info) in response["blocks"].as_object().into_iter().flatten() {
            if let Ok(hash) = hash.parse() {
                all.push((hash, info.clone()));
            }
        }
    }
    all.retain(|(_, info)| info["block_account"].is_string());
    all
}

fn evidence_in(value: &Value, evidence: &mut Evidence) {
    match value {
        Value::Object(map) => {
            if let Ok(block) = nano_currency::block::Block::from_json(value) {
                evidence.add(block);
            }
            map.values().for_each(|value| evidence_in(value, evidence));
        }
        Value::Array(list) => list.iter().for_each(|value| evidence_in(value, evidence)),
        Value::String(text) if text.starts_with('{') => {
            if let Ok(inner) = serde_json::from_str(text) {
                evidence_in(&inner, evidence);
            }
        }
        _ => {}
    }
}

/// Checks all of a file; how often each verdict was given.
fn check(file: &str, expected: &[(&str, usize)]) {
    let mut evidence = Evidence::new();
    recordings(file).iter().for_each(|entry| evidence_in(entry, &mut evidence));
    let rules = Network::Dev.rules();
    let mut verdicts = BTreeMap::new();
    for (hash, info) in descriptions(file) {
        let claim = Claim::read(hash, &info).unwrap();
        let verdict = match prove(&claim, &evidence, &rules) {
            Ok(proven) => {
                assert_eq!(proven.amount.to_string(), info["amount"].as_str().unwrap(), "{hash}");
                assert_eq!(proven.hash, hash);
                "proven".to_owned()
            }
            Err(error) => {
                assert!(!error.is_lie(), "{hash}: {error}");
                match error {
                    ProofError::NotASend(kind) => kind.to_string(),
                    ProofError::Missing(_) => "missing".to_owned(),
                    other => other.to_string(),
                }
            }
        };
        *verdicts.entry(verdict).or_insert(0) += 1;
    }
    let verdicts: Vec<(&str, usize)> = verdicts.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(verdicts, expected, "{file}");
}

#[test]
fn what_the_cpp_node_described() {
    // The recordings do not hold every payer's block before.
    let expected = [("change", 4), ("epoch", 4), ("missing", 26), ("proven", 6), ("receive", 12)];
    check("captures", &expected);
}

#[test]
fn what_rsnano_described() {
    let expected = [("change", 4), ("epoch", 4), ("missing", 19), ("proven", 11), ("receive", 12)];
    check("captures-rsnano", &expected);
}
