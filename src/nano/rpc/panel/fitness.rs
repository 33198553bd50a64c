//! Whether a node's word may count at all.

use futures_util::future::join_all;

use super::{EXAMINE_AGAIN, EXAMINE_EVERY, Panel, Seat};
use crate::rpc::status::{BlockCount, Finding, Health, Telemetry, Version, assess};
use crate::rpc::{Rpc, RpcError};
use crate::{BlockHash, Network};

impl Panel {
    /// Looks again at the nodes whose last examination was a while ago, or in vain.
    pub async fn examine(&self) {
        let _one_at_a_time = self.examining.lock().await;
        let now = (self.config.clock)();
        let is_due = |seat: &&Seat| seat.record().due.is_none_or(|due| now >= due);
        let due: Vec<&Seat> = self.seats.iter().filter(is_due).collect();
        if due.is_empty() {
            return;
        }
        let (network, genesis) = (self.config.network, self.config.rules.genesis);
        let looks = join_all(due.iter().map(|seat| async { look(&seat.rpc, network, genesis).await })).await;
        for (seat, look) in due.iter().zip(&looks) {
            seat.record().blocks = count(look);
        }
        // Whether one is behind the others show; what those said that are not due is recent enough.
        let counts = self.seats.iter().filter_map(|seat| seat.record().blocks).collect();
        let tip = tip(counts, self.config.quorum);
        for (seat, look) in due.iter().zip(looks) {
            let wait = if matches!(look, Look::Unreachable(_)) { EXAMINE_AGAIN } else { EXAMINE_EVERY };
            let foreign = matches!(look, Look::Foreign | Look::Told { on_network: false, .. });
            let unfit = objections(look, tip, network);
            let mut record = seat.record();
            if record.unfit != unfit {
                for why in &unfit {
                    tracing::warn!(node = seat.name, why, "a nano node is not asked");
                }
                if unfit.is_empty() {
                    tracing::info!(node = seat.name, "a nano node is asked again");
                }
            }
            (record.due, record.unfit, record.foreign) = (Some(now + wait), unfit, foreign);
        }
    }
}

/// What an examination found.
enum Look {
    /// The node says how it is, and on which network.
    Told { health: Box<Health>, on_network: bool },
    /// The node does not say, but has the network's first block.
    Silent,
    /// The node does not have the network's first block, which every node of it has.
    Foreign,
    /// The node cannot be told from one on another network.
    Doubtful(String),
    /// The node cannot be reached.
    Unreachable(String),
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
    let mute = |error: &RpcError| format!("does not say how it is: {}", error.failure);
    if !error.failure.is_answer() {
        return Look::Unreachable(mute(error));
    }
    let Some(genesis) = genesis else { return Look::Doubtful(mute(error)) };
    match rpc.block_info(&genesis).await {
        Ok(Some(_)) => Look::Silent,
        Ok(None) => Look::Foreign,
        Err(error) if !error.failure.is_answer() => Look::Unreachable(mute(&error)),
        Err(error) => Look::Doubtful(format!("does not say which network it is on: {}", error.failure)),
    }
}

/// How many blocks a node has by its own word.
fn count(look: &Look) -> Option<u64> {
    match look {
        Look::Told { health, on_network: true } => Some(health.blocks.count),
        Look::Told { .. } | Look::Silent | Look::Foreign | Look::Doubtful(_) | Look::Unreachable(_) => None,
    }
}

/// As many blocks as a quorum of the nodes have, and two at least. One node's word is not enough,
/// also where it is for payments: it could make all the others look late, and nobody would be
/// asked who contradicts it.
fn tip(mut counts: Vec<u64>, quorum: usize) -> Option<u64> {
    counts.sort_unstable_by(|a, b| b.cmp(a));
    counts.get(quorum.max(2) - 1).copied()
}

fn objections(look: Look, tip: Option<u64>, network: Network) -> Vec<String> {
    let (health, on_network) = match look {
        Look::Told { health, on_network } => (health, on_network),
        Look::Silent => return Vec::new(),
        Look::Foreign => return vec![format!("is not on the network {network}, whose first block it lacks")],
        Look::Doubtful(why) | Look::Unreachable(why) => return vec![why],
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(findings: Vec<Finding>) -> Look {
        let version = Version { vendor: "Nano V28.0".to_owned(), network: "dev".to_owned(), genesis: None };
        let blocks = BlockCount { count: 1_000, cemented: Some(1_000), unchecked: 0 };
        Look::Told { health: Box::new(Health { version, blocks, findings }), on_network: true }
    }

    #[test]
    fn what_its_peers_have_said_is_not_said_again_for_the_other_nodes() {
        let unfit = |findings| objections(told(findings), Some(5_000), Network::Dev).len();
        assert_eq!(unfit(vec![]), 1);
        assert_eq!(unfit(vec![Finding::Behind { blocks: 4_000 }]), 1);
        assert_eq!(unfit(vec![Finding::NoVotes]), 2);
    }
}
