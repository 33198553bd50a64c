//! `buyer key new` and the verbs of `buyer wallet` that are about seeds.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde_json::json;
use zeroize::Zeroizing;

use super::args::{Flags, WalletCommand};
use super::policy;
use super::settings::Settings;
use crate::cli::vault::{self, Sealing, VaultError};
use crate::cli::{CliError, Exit, Output};
use crate::config::{Env, Secret};
use crate::edge::Entropy;
use crate::nano::Seed;
use crate::protocol::signing::Signer;

pub(super) fn run(verb: WalletCommand, flags: &Flags, env: &Env, output: Output) -> Result<Exit, CliError> {
    match verb {
        WalletCommand::New { out, words, sealing } => {
            keep(&out, &vault::new_seed(words.as_deref()).map_err(failed)?, &sealing, output)
        }
        WalletCommand::Import { from, out, sealing } => {
            let seed = vault::bring(&from).map_err(failed)?;
            ensure_free(policy::binds(&seed))?;
            keep(&out, &seed, &sealing, output)
        }
        WalletCommand::Export { secret: true, out: Some(out), sealing, .. } => {
            let settings = Settings::load(flags, env)?;
            ensure_free(settings.is_bound())?;
            let seed =
                settings.seed.ok_or_else(|| CliError::usage("no seed is named that could be written"))?;
            keep(&out, &seed, &sealing, output)
        }
        _ => Err(CliError::usage("this command needs a journal")),
    }
}

/// A copy of a seed lies where its policy does not.
fn ensure_free(bound: bool) -> Result<(), CliError> {
    let why = "a spending policy binds this seed, and would not bind a copy of it: copy the file itself, as \
               whoever owns it";
    if bound { Err(CliError::new(Exit::Policy, "policy.secret", why)) } else { Ok(()) }
}

pub(super) fn new_key(out: &Path, output: Output) -> Result<Exit, CliError> {
    let seed = Zeroizing::new(Entropy::system().bytes::<32>());
    let key = Signer::from_seed(&seed).public_key();
    let text = Zeroizing::new(format!("{}\n", Zeroizing::new(hex::encode(*seed)).as_str()));
    write_new(out, text.as_bytes())?;
    let human = format!("public key {key}\nwritten to {}; refer to it as file:{0}", out.display());
    output.answer(human, || json!({ "public_key": key, "file": out }));
    Ok(Exit::Ok)
}

fn keep(out: &Path, seed: &Secret, sealing: &Sealing, output: Output) -> Result<Exit, CliError> {
    let account = Seed::parse(seed.expose()).and_then(|seed| seed.account(0));
    let account = account.map_err(|error| failed(error.into()))?;
    let content = vault::content(seed, sealing).map_err(failed)?;
    write_new(out, content.as_bytes())?;
    let human = format!(
        "first account {account}\nwritten to {}, readable by you only; refer to it as file:{0}",
        out.display()
    );
    output.answer(human, || json!({ "first_account": account, "file": out, "encrypted": sealing.encrypt }));
    Ok(Exit::Ok)
}

fn write_new(out: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(out);
    let written = file.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|error| CliError::usage(format_args!("cannot write {}: {error}", out.display())))
}

fn failed(error: VaultError) -> CliError {
    CliError::new(Exit::Usage, "seed", error.text())
}
