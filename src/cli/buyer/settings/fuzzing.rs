//! The buyer's document, as a fuzzer makes it up.

use super::*;

/// Resolves a document without any flags.
pub(crate) fn buyer_settings(text: &str, base: &Path, env: &Env) -> Result<(), Problems> {
    let flags = Flags {
        config: None,
        dialect: None,
        relay: None,
        key: None,
        sealing_key: None,
        seed: None,
        rpc: Vec::new(),
        network: None,
        state: None,
        account_index: None,
        json: false,
    };
    let settings = Settings::resolve(text, base, &flags, env)?;
    assert!(!settings.rpc.is_empty() || settings.rpc.is_empty() && text.contains("rpc"));
    Ok(())
}
