//! The look of a new state, by hand and from the first index: which addresses a seed has used.

use std::sync::Arc;

use super::counterpart::Counterpart;
use super::failure::StartError;
use super::identity::identify;
use super::look::Look;
use super::nodes::Jury;
use super::parts::Parts;
use super::restore;
use super::settings::Settings;
use super::wallet::Wallet;
use crate::edge;
use crate::store::Batch;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rescanned {
    /// Addresses that were used.
    pub used: usize,
    /// The index with which quotes go on.
    pub next_index: u32,
}

/// Looks at relay and chain until both have answered, and notes what it finds. Nothing that is
/// known is forgotten.
///
/// # Errors
/// If the state cannot be used, or another process uses it.
pub async fn rescan(settings: &Settings, parts: &Parts, gap: Option<u32>) -> Result<Rescanned, StartError> {
    let store = Arc::new(restore::open(settings, &parts.clock)?);
    identify(&store, settings, parts)?;
    let mut wallet = Wallet::open(&store, settings.accounts.clone(), settings.account_index_start)?;
    let started = edge::monotonic();
    let clock = move || edge::monotonic().saturating_duration_since(started);
    let wire = parts.wires.as_ref().map(|wires| Arc::clone(&wires.nodes));
    let look = Look {
        relay: Counterpart::open(settings, parts, &store, "")?,
        jury: Jury::open(settings, clock, wire)?,
        accounts: settings.accounts.clone(),
        store: Arc::clone(&store),
        start: settings.account_index_start,
        whole: true,
        gap: gap.unwrap_or(settings.index_gap),
        entropy: parts.entropy.clone(),
    };
    let mut used = 0;
    for page in look.run().await {
        let mut batch = Batch::default();
        wallet.note_looked(&store, &mut batch, &page)?;
        store.commit(batch)?;
        used += page.seen.len();
    }
    store.durable().await?;
    Ok(Rescanned { used, next_index: wallet.next_index() })
}
