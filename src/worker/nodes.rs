//! The nodes that decide about payments: which may be asked, and how many must agree.
//!
//! A node of another network answers every question politely, and what is confirmed there may be
//! worth nothing: while one of the nodes is, no payment is judged.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nano_currency::quorum::{Testimony, Word};
use nano_currency::rpc::panel::{Lie, Listed, QuorumError, Round, Trust};
use nano_currency::rpc::{Panel, PanelConfig, Rpc, RpcConfig, RpcSetupError, Wire};
use nano_currency::{Account, Amount, BlockHash, Network};
use serde_json::{Value, json};

use super::settings::Settings;

/// Lies that are remembered: who reads them wants to see the last ones.
const LIES_MAX: usize = 16;

/// Characters of one reason, as it is told: nodes write some of them.
const WHY_CHARS_MAX: usize = 300;

/// How sure the worker wants to be that it was paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certainty {
    /// Whether blocks must prove what nodes say.
    pub trust: Trust,
    /// How many nodes must agree.
    pub quorum: usize,
    /// What dear jobs want beyond that.
    pub demands: Vec<Demand>,
    /// How often each node may be asked.
    pub requests_per_second: Option<NonZeroU32>,
}

/// What a price above a bound wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// The bound.
    pub above: Amount,
    /// How many nodes must agree above it.
    pub quorum: usize,
}

impl Default for Certainty {
    fn default() -> Self {
        Self { trust: Trust::Proof, quorum: 1, demands: Vec::new(), requests_per_second: None }
    }
}

impl Certainty {
    /// How many nodes must agree on a payment of this price: never fewer than for any lower one.
    #[must_use]
    pub fn quorum_for(&self, price: Amount) -> usize {
        let demanded = self.demands.iter().filter(|demand| price > demand.above).map(|demand| demand.quorum);
        demanded.fold(self.quorum, usize::max)
    }
}

/// Why the nodes cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum NodesError {
    /// One of the addresses is none.
    #[error("nano.rpc cannot be used")]
    Rpc(#[from] RpcSetupError),
    /// There are too few.
    #[error("nano.quorum cannot be had")]
    Quorum(#[from] QuorumError),
}

/// The nodes, asked together.
#[derive(Debug)]
pub struct Jury {
    rpc: Rpc,
    panel: Panel,
    network: Network,
    certainty: Certainty,
    book: Mutex<Book>,
}

/// What people are told of the nodes.
#[derive(Debug, Default)]
struct Book {
    lies: VecDeque<Lie>,
    /// What was told last.
    told: Option<Value>,
}

impl Jury {
    /// The nodes of a configuration. `clock` tells the time that has passed since some fixed moment.
    ///
    /// # Errors
    /// If an address is none, or there are fewer different nodes than must agree.
    pub fn open(
        settings: &Settings,
        clock: impl Fn() -> Duration + Clone + Send + Sync + 'static,
        wire: Option<std::sync::Arc<dyn Wire>>,
    ) -> Result<Self, NodesError> {
        let mut config = RpcConfig::new(settings.rpc.clone(), clock.clone());
        config.requests_per_second = settings.certainty.requests_per_second;
        config.wire = wire;
        Self::new(Rpc::new(&config)?, settings.network, settings.certainty.clone(), clock)
    }

    /// The nodes of a client.
    ///
    /// # Errors
    /// If there are fewer different nodes than must agree.
    pub fn new(
        rpc: Rpc,
        network: Network,
        certainty: Certainty,
        clock: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Result<Self, NodesError> {
        let config =
            PanelConfig { trust: certainty.trust, ..PanelConfig::new(network, certainty.quorum, clock) };
        let panel = Panel::new(&rpc, config)?;
        let quorum = certainty.demands.iter().map(|demand| demand.quorum).max().unwrap_or(1);
        if quorum > panel.nodes() {
            return Err(QuorumError { quorum, nodes: panel.nodes() }.into());
        }
        Ok(Self { rpc, panel, network, certainty, book: Mutex::default() })
    }

    /// The nodes, one after the other, for what is no payment.
    pub(super) const fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// How many nodes must agree on a payment of this price.
    #[must_use]
    pub fn quorum_for(&self, price: Amount) -> usize {
        self.certainty.quorum_for(price)
    }

    /// How far nodes are tested.
    #[must_use]
    pub const fn trust(&self) -> Trust {
        self.certainty.trust
    }

    /// Why nothing may be asked now, once the nodes have been looked at. One that cannot be reached
    /// cannot mislead either; [`Panel`] looks at it again.
    pub async fn closed(&self) -> Option<String> {
        self.panel.examine().await;
        let node = self.panel.foreign().into_iter().next()?;
        let network = self.network;
        Some(format!("{node} is not on the network {network}: correct nano.rpc or nano.network"))
    }

    /// What every node that may be asked says about these blocks.
    pub async fn blocks(&self, hashes: &[BlockHash]) -> Round {
        let round = self.panel.blocks(hashes).await;
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        for lie in &round.lies {
            book.lies.truncate(LIES_MAX - 1);
            book.lies.push_front(lie.clone());
        }
        round
    }

    /// What any of them says waits for these accounts.
    pub async fn listed(&self, accounts: &[Account]) -> Listed {
        self.panel.listed(accounts).await
    }

    /// Who is not asked, and why.
    #[must_use]
    pub fn unfit(&self) -> Vec<(String, String)> {
        self.panel.unfit()
    }

    /// What people should know of the nodes.
    #[must_use]
    pub fn report(&self) -> Value {
        let not_asked = |(node, why): (String, String)| json!({ "node": node, "why": bounded(&why) });
        let lie =
            |lie: &Lie| json!({ "node": lie.node, "hash": lie.hash, "evidence": bounded(&lie.evidence) });
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        json!({
            "verify": if self.certainty.trust == Trust::Proof { "proof" } else { "rpc" },
            "quorum": self.certainty.quorum,
            "nodes": self.panel.nodes(),
            "not_asked": self.panel.unfit().into_iter().map(not_asked).collect::<Vec<_>>(),
            "lies": book.lies.iter().map(lie).collect::<Vec<_>>(),
        })
    }

    /// The same, if it has changed since this was called last.
    pub(super) fn news(&self) -> Option<Value> {
        let report = self.report();
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        (book.told.as_ref() != Some(&report)).then(|| {
            book.told = Some(report.clone());
            report
        })
    }
}

/// Who says what, where too few say the same; one line, the same for the same words.
#[must_use]
pub fn disagreement(said: &[Testimony<Word>], quorum: usize) -> String {
    let mut text = match quorum {
        0 | 1 => "the nodes do not agree".to_owned(),
        quorum => format!("{quorum} nodes do not agree"),
    };
    if let [only] = said
        && let Err(why) = &only.said
    {
        return format!("{}: {}", only.node, bounded(why));
    }
    for (place, testimony) in said.iter().enumerate() {
        let sign = if place == 0 { ':' } else { ';' };
        let word = match &testimony.said {
            Ok(word) => tell(word),
            Err(why) => bounded(why),
        };
        // Writing to a text does not fail.
        let _ = write!(text, "{sign} {} says {word}", testimony.node);
    }
    text
}

/// A node's word as people read it.
#[must_use]
pub fn tell(word: &Word) -> String {
    let state = |confirmed: bool| if confirmed { "confirmed" } else { "not confirmed" };
    match word {
        Word::Sent { to, amount, confirmed, .. } => {
            format!("it sends {amount} raw to {to}, {}", state(*confirmed))
        }
        Word::NoPayment { confirmed } => format!("it is no payment, {}", state(*confirmed)),
        Word::NotFound => "there is no such block".to_owned(),
    }
}

fn bounded(text: &str) -> String {
    text.chars().take(WHY_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dear_job_wants_more_and_never_fewer_nodes() {
        let demand = |above, quorum| Demand { above: Amount::from_raw(above), quorum };
        let certainty = Certainty {
            quorum: 2,
            demands: vec![demand(1_000, 4), demand(100, 3), demand(5_000, 1)],
            ..Certainty::default()
        };
        for (price, quorum) in [(1, 2), (100, 2), (101, 3), (1_000, 3), (1_001, 4), (9_000, 4)] {
            assert_eq!(certainty.quorum_for(Amount::from_raw(price)), quorum, "{price}");
        }
    }

    #[test]
    fn a_disagreement_says_who_says_what() {
        let said = |node: &str, said| Testimony { node: node.to_owned(), said };
        let told = disagreement(
            &[
                said("a", Ok(Word::NotFound)),
                said("b", Ok(Word::NoPayment { confirmed: true })),
                said("c", Err("timeout".to_owned())),
            ],
            2,
        );
        assert_eq!(
            told,
            "2 nodes do not agree: a says there is no such block; b says it is no payment, confirmed; c says timeout"
        );
        assert_eq!(disagreement(&[said("a", Err("is down".to_owned()))], 1), "a: is down");
    }
}
