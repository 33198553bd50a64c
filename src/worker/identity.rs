//! Whose state this is.

use super::failure::StartError;
use super::memory::{self, fact};
use super::parts::Parts;
use super::settings::{Dialect, Settings};
use crate::store::{Batch, Store};

/// The lasting id of this state directory, which makes a restarted worker keep its locks.
pub(super) fn identify(store: &Store, settings: &Settings, parts: &Parts) -> Result<String, StartError> {
    let ours = name(settings);
    let mut batch = Batch::default();
    let network = settings.network.name();
    match memory::fact(store, fact::NETWORK)? {
        Some(found) if found != network => {
            return Err(StartError::OtherNetwork { found, ours: network.to_owned() });
        }
        Some(_) => {}
        None => memory::put_fact(&mut batch, fact::NETWORK, network)?,
    }
    match memory::fact(store, fact::SELLER)? {
        Some(found) if found != ours => return Err(StartError::OtherSeller { found, ours }),
        Some(_) => {}
        None => memory::put_fact(&mut batch, fact::SELLER, &ours)?,
    }
    let holder = match memory::fact(store, fact::HOLDER)? {
        Some(holder) => holder,
        None => {
            let holder = format!("worker-{}", hex::encode(parts.entropy.bytes::<16>()));
            memory::put_fact(&mut batch, fact::HOLDER, &holder)?;
            holder
        }
    };
    store.commit(batch)?;
    Ok(holder)
}

/// Whom the relay knows us as, and so whose a backup is: a key, or in /v0 the name of a bot.
pub(super) fn name(settings: &Settings) -> String {
    match &settings.dialect {
        Dialect::V1 => settings.signer.public_key().to_string(),
        Dialect::V0(bot) => bot.keys.bot_id().to_string(),
    }
}
