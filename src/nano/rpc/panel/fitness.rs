//! Whether a node's word may count at all.

use futures_util::future::join_all;

use super::{EXAMINE_EVERY, Panel, Seat};
use crate::rpc::status::{BlockCount, Finding, Health, Telemetry, Version, assess};
use crate::rpc::{Rpc, RpcError};
use crate::{BlockHash, Network};

impl Panel {
    /// Looks again at the nodes whose last examination was a while ago.
    pub(super) async fn examine(&self) {
        let now = (self.config.clock)();
        let is_due = |seat: &&Seat| {
            let record = seat.record();
            record.examined.is_none_or(|at| now >= at + EXAMINE_EVERY)
        };
        let due: Vec<&Seat> = self.seats.iter().filter(is_due).collect();
        if due.is_empty() {
            return;
        }
        let (network, genesis) = (self.config.network, self.config.rules.genesis);
        // All are looked at together, because whether one is behind the others show.
        let looks =
            join_all(self.seats.iter().map(|seat| async { look(&seat.rpc, network, genesis).await })).await;
        let tip = tip(&looks, self.config.quorum);
        for (seat, look) in self.seats.iter().zip(looks) {
            let unfit = objections(look, tip, network);
            for why in &unfit {
                tracing::warn!(node = seat.name, why, "a nano node is not asked");
            }
            let mut record = seat.record();
            record.examined = Some(now);
            record.unfit = unfit;
        }
    }
}

/// What an examination found.
enum Look {
    /// The node says how it is, and on which network.
    Told { health: Box<Health>, on_network: bool },
    /// The node does not say, but has the network's first block.
    Silent,
    /// The node cannot be told from one on another network, or not be reached.
    Doubtful(String),
}

async fn look(rpc: &Rpc, network: Network, genesis: Option<BlockHash>) -> Look {
    match rpc.health(network).await {
        Ok(health) => {
            let on_network = is_on(&health.version, network, genesis);
            Look::Told { health: Box::new(health), on_network }
        }
        Err(error) => recognise(rpc, genesis, &error).await,
    }
}

/// By name and, where both are known, by first block. A private network has its own.
fn is_on(version: &Version, network: Network, genesis: Option<BlockHash>) -> bool {
    let same = match (version.genesis, genesis) {
        (Some(theirs), Some(ours)) => theirs == ours,
        _ => true,
    };
    version.network == network.name() && same
}

/// Proxies may not let `version` pass; the first block of a network is on every node of it.
async fn recognise(rpc: &Rpc, genesis: Option<BlockHash>, error: &RpcError) -> Look {
    let Some(genesis) = genesis.filter(|_| error.failure.is_answer()) else {
        return Look::Doubtful(format!("does not say how it is: {}", error.failure));
    };
    match rpc.block_info(&genesis).await {
        Ok(Some(_)) => Look::Silent,
        Ok(None) => Look::Doubtful("does not have the network's first block".to_owned()),
        Err(error) => Look::Doubtful(format!("does not say which network it is on: {}", error.failure)),
    }
}

/// As many blocks as a quorum of the nodes have. One node's word is not enough, or it could make
/// all the others look late.
fn tip(looks: &[Look], quorum: usize) -> Option<u64> {
    let count = |look: &Look| match look {
        Look::Told { health, on_network: true } => Some(health.blocks.count),
        Look::Told { .. } | Look::Silent | Look::Doubtful(_) => None,
    };
    let mut counts: Vec<u64> = looks.iter().filter_map(count).collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    counts.get(quorum.max(1) - 1).copied()
}

fn objections(look: Look, tip: Option<u64>, network: Network) -> Vec<String> {
    let (health, on_network) = match look {
        Look::Told { health, on_network } => (health, on_network),
        Look::Silent => return Vec::new(),
        Look::Doubtful(why) => return vec![why],
    };
    let is_network = |finding: &Finding| matches!(finding, Finding::WrongNetwork { .. });
    let mut findings: Vec<Finding> =
        health.findings.iter().filter(|finding| !is_network(finding)).cloned().collect();
    if !on_network {
        findings.insert(0, Finding::WrongNetwork { wanted: network, found: health.version.network.clone() });
    }
    findings.extend(behind(&health.version, &health.blocks, tip, network).filter(|late| {
        // Its own peers may have said so already.
        !health.findings.iter().any(|finding| std::mem::discriminant(finding) == std::mem::discriminant(late))
    }));
    findings.iter().map(ToString::to_string).collect()
}

/// Late by what the other nodes have; judged as lateness by the peers' word is.
fn behind(
    version: &Version,
    blocks: &BlockCount,
    tip: Option<u64>,
    network: Network,
) -> impl Iterator<Item = Finding> {
    let peers = tip.map(|block_count| Telemetry { block_count, cemented_count: None });
    let findings = assess(network, version, blocks, None, peers.as_ref());
    findings.into_iter().filter(|finding| matches!(finding, Finding::Behind { .. }))
}
