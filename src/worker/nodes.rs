//! Whether the nodes are on the right network.
//!
//! A node of another network answers every question politely, and what is confirmed there may be
//! worth nothing: while one of the nodes is, no payment is judged.

use std::sync::atomic::{AtomicBool, Ordering};

use nano_currency::Network;
use nano_currency::rpc::Rpc;
use tokio_util::sync::CancellationToken;

/// Warns of nodes that are down, behind, or on another network. Decides nothing.
pub(super) async fn look(rpc: Rpc, network: Network, stop: CancellationToken) {
    let look = async {
        for alone in rpc.each() {
            warn_of(&alone, network).await;
        }
    };
    tokio::select! {
        biased;
        () = look => {}
        () = stop.cancelled() => {}
    }
}

async fn warn_of(alone: &Rpc, network: Network) {
    let node = alone.nodes().next().map(|node| node.name().to_owned()).unwrap_or_default();
    match alone.health(network).await {
        Ok(health) => {
            for finding in &health.findings {
                tracing::warn!(node, "{finding}");
            }
        }
        Err(error) => tracing::warn!(%error, "a node does not say how it is"),
    }
}

/// Lets questions through once no node that answers is on another network.
#[derive(Debug)]
pub(super) struct Gate {
    network: Network,
    nodes: Vec<(Rpc, AtomicBool)>,
}

impl Gate {
    pub(super) fn new(rpc: &Rpc, network: Network) -> Self {
        Self { network, nodes: rpc.each().map(|alone| (alone, AtomicBool::new(false))).collect() }
    }

    /// Why nothing may be asked now. Each node is asked for its network until it has said it once;
    /// one that cannot be reached cannot mislead either, and is asked again the next time.
    pub(super) async fn closed(&self) -> Option<String> {
        for (alone, known) in &self.nodes {
            if known.load(Ordering::Relaxed) {
                continue;
            }
            match alone.version().await {
                Ok(version) if version.is_on(self.network) => known.store(true, Ordering::Relaxed),
                Ok(_) => {
                    let node = alone.nodes().next().map(|node| node.name().to_owned()).unwrap_or_default();
                    let network = self.network;
                    let why =
                        format!("{node} is not on the network {network}: correct nano.rpc or nano.network");
                    tracing::error!("{why}");
                    return Some(why);
                }
                Err(error) if error.failure.is_answer() => {
                    tracing::warn!(%error, "the node does not say which network it is on: it is believed");
                    known.store(true, Ordering::Relaxed);
                }
                Err(_) => {}
            }
        }
        None
    }
}
