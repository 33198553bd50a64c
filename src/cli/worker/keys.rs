//! `wallet` and `key`: the two secrets, made and looked at without showing them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::args::{Key, NewSecret, Wallet};
use super::exit::{Exit, Failure};
use super::output::Output;
use super::{ask, coins, files, rescan};
use crate::cli::vault::{self, Sealing, VaultError};
use crate::config::Secret;
use crate::edge::Entropy;
use crate::nano::Seed;
use crate::protocol::signing::Signer;

pub(super) fn wallet(config: &Path, verb: Wallet, out: Output) -> Result<Exit, Failure> {
    match verb {
        Wallet::New { words, new, sealing } => {
            let file = target(config, &new, ("nano", "seed"))?;
            keep_seed(&file, &vault::new_seed(words.as_deref()).map_err(failed)?, new.show, &sealing, out)
        }
        Wallet::Import { from, new, sealing } => {
            let file = target(config, &new, ("nano", "seed"))?;
            keep_seed(&file, &vault::bring(&from).map_err(failed)?, new.show, &sealing, out)
        }
        Wallet::Export { seed: true, out: Some(file), sealing, .. } => {
            keep_seed(&file, &files::seed(config)?, false, &sealing, out)
        }
        Wallet::Address { index } => address(config, index, out),
        Wallet::List => ask::invoices(config, out),
        Wallet::Balance => coins::balance(config, out),
        Wallet::Receive { dry_run } => coins::receive(config, dry_run, out),
        Wallet::Sweep { to, owed } => coins::sweep(config, to, owed, out),
        Wallet::History => coins::history(config, out),
        Wallet::Export { out: file, .. } => coins::export(config, file.as_deref(), out),
        Wallet::Qr { of } => coins::qr(config, of, out),
        Wallet::Rescan { gap } => rescan::run(config, gap, out),
    }
}

pub(super) fn key(config: &Path, verb: Key, out: Output) -> Result<Exit, Failure> {
    match verb {
        Key::New { new } => {
            let file = target(config, &new, ("relay", "key"))?;
            let text = new_hex();
            let public = Signer::parse(&text).map_err(Failure::other)?.public_key();
            let line = Zeroizing::new(format!("{}\n", text.as_str()));
            keep(&file, &line, new.show.then_some(text.as_str()), ("public_key", json!(public)), out)
        }
        Key::Show => {
            let public = files::settings(config)?.signer.public_key();
            out.answer(&json!({ "public_key": public }), public);
            Ok(Exit::Done)
        }
    }
}

fn address(config: &Path, index: u32, out: Output) -> Result<Exit, Failure> {
    let account =
        files::settings(config)?.accounts.get(index).map_err(|error| Failure::new(Exit::Usage, error))?;
    out.answer(&json!({ "index": index, "account": account }), account);
    Ok(Exit::Done)
}

fn target(config: &Path, new: &NewSecret, (table, key): (&str, &str)) -> Result<PathBuf, Failure> {
    let otherwise = if key == "key" { "seller.key" } else { key };
    match &new.out {
        Some(file) => Ok(file.clone()),
        None => files::secret_file(config, table, key, otherwise),
    }
}

fn keep_seed(
    file: &Path,
    seed: &Secret,
    show: bool,
    sealing: &Sealing,
    out: Output,
) -> Result<Exit, Failure> {
    let account = Seed::parse(seed.expose()).and_then(|seed| seed.account(0)).map_err(Failure::other)?;
    let content = vault::content(seed, sealing).map_err(failed)?;
    keep(file, &content, show.then_some(seed.expose()), ("first_account", json!(account)), out)
}

fn failed(error: VaultError) -> Failure {
    Failure::text(Exit::Config, error.text())
}

pub(super) fn new_hex() -> Zeroizing<String> {
    let entropy = Zeroizing::new(Entropy::system().bytes::<32>());
    Zeroizing::new(hex::encode(*entropy))
}

/// The secret itself is shown only to who asks for it.
fn keep(
    file: &Path,
    content: &str,
    shown: Option<&str>,
    (name, public): (&str, Value),
    out: Output,
) -> Result<Exit, Failure> {
    files::write_new(file, content.as_bytes())?;
    let mut answer = json!({ "written": file, name: public });
    if let Some(text) = shown {
        answer["secret"] = json!(text);
    }
    let shown = shown.map(|text| format!("\n{text}")).unwrap_or_default();
    let plain = public_text(&answer[name]);
    let label = name.replace('_', " ");
    out.answer(
        &answer,
        format_args!(
            "{} is written, readable by you only: keep a copy where no fire reaches both.\n{label}: {plain}{shown}",
            file.display()
        ),
    );
    Ok(Exit::Done)
}

fn public_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
