//! One look at each node when the daemon starts.
//!
//! A node of another network answers every question politely, and no payment will ever be found
//! there: whoever set it up should read so in the log before the first buyer pays.

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
