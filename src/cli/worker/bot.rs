//! `keys` and `register`: who a seller is on a /v0 relay.

use std::path::Path;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::args::Keys;
use super::exit::{Exit, Failure};
use super::keys::new_hex;
use super::output::Output;
use super::poll::failure;
use super::run::parts;
use super::{block_on, files};
use crate::config::SecretRef;
use crate::protocol::v0::BotKeys;
use crate::worker::poll;
use crate::worker::settings::{Dialect, bot_keys};

/// The two secrets: setting, and where they are unless it says.
const SECRETS: [(&str, &str); 2] = [("key", "seller.key"), ("sealing_key", "sealing.key")];

pub(super) fn keys(config: &Path, verb: &Keys, out: Output) -> Result<Exit, Failure> {
    match verb {
        Keys::New => new(config, out),
        Keys::Show => {
            let keys = read(config)?;
            out.answer(&public(&keys), lines(&public(&keys)));
            Ok(Exit::Done)
        }
    }
}

/// A seller of /v1 has the first one already, and keeps it.
fn new(config: &Path, out: Output) -> Result<Exit, Failure> {
    let mut written = Vec::new();
    for (key, otherwise) in SECRETS {
        let file = files::secret_file(config, "relay", key, otherwise)?;
        if !file.exists() {
            files::write_new(&file, Zeroizing::new(format!("{}\n", *new_hex())).as_bytes())?;
            written.push(file);
        }
    }
    if written.is_empty() {
        return Err(Failure::text(Exit::Exists, "both keys are there already and are not overwritten")
            .hint("`worker keys show` says whose they are"));
    }
    let mut answer = public(&read(config)?);
    answer["written"] = json!(written);
    let files: Vec<String> = written.iter().map(|file| file.display().to_string()).collect();
    let text = format!(
        "written, readable by you only: {}. Keep copies where no fire reaches both.\n{}",
        files.join(", "),
        lines(&answer)
    );
    out.answer(&answer, text);
    Ok(Exit::Done)
}

/// The keys, whatever else is wrong with the configuration, or whether it is there yet.
fn read(config: &Path) -> Result<BotKeys, Failure> {
    if let Ok(Dialect::V0(bot)) = files::settings(config).map(|settings| settings.dialect) {
        return Ok(bot.keys);
    }
    let mut texts = Vec::new();
    for (key, otherwise) in SECRETS {
        let secret = match files::secret(config, "relay", key)? {
            Some(secret) => secret,
            None => SecretRef::File(files::base_of(config)?.join(otherwise)),
        };
        let text = secret.resolve(&crate::cli::vault::env());
        texts.push(text.map_err(|error| {
            let error = anyhow::Error::new(error).context(format!("relay.{key} cannot be read"));
            Failure::new(Exit::Config, error).hint("`worker keys new` makes it")
        })?);
    }
    let [signing, sealing] = texts.as_slice() else { return Err(Failure::text(Exit::Config, "no keys")) };
    bot_keys(signing.expose(), sealing.expose()).map_err(|error| Failure::new(Exit::Config, error))
}

fn public(keys: &BotKeys) -> Value {
    let (signing, sealing) = (keys.signing_key(), keys.sealing_key());
    json!({
        "bot_id": keys.bot_id(),
        "signing_pubkey_ed25519": signing,
        "signing_kid": signing.kid(),
        "encryption_pubkey_x25519": sealing,
        "encryption_kid": sealing.kid(),
    })
}

fn lines(public: &Value) -> String {
    let line = |name: &str| format!("{name:<25} {}", public[name].as_str().unwrap_or_default());
    ["bot_id", "signing_pubkey_ed25519", "signing_kid", "encryption_pubkey_x25519", "encryption_kid"]
        .map(line)
        .join("\n")
}

pub(super) fn register(config: &Path, name: Option<&str>, out: Output) -> Result<Exit, Failure> {
    let settings = files::settings(config)?;
    let bot = block_on(poll::register(&settings, &parts(), name))?.map_err(failure)?;
    let called = bot.bot_name.as_deref().map(|name| format!(" as {name:?}")).unwrap_or_default();
    let text = format!("{} is registered at {}{called}", bot.bot_id, settings.relay_url);
    out.answer(&json!(bot), text);
    Ok(Exit::Done)
}
