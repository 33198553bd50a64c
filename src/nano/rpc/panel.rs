//! Several nodes asked the same question, and those that cannot be relied on left out.
//!
//! Each node is examined before its word counts: it must be on the network, hear votes, and have
//! the blocks that the others have. A node whose claim is disproved by the block itself is put
//! aside for an hour, with the evidence. What the others say is weighed by [`crate::quorum`].
//!
//! A round costs each node one `blocks_info` for a thousand hashes, and one node one more for the
//! blocks before them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;

use super::config::Clock;
use super::{BlockInfo, Lookup, Receivables, Rpc, RpcError};
use crate::block::{Block, Subtype};
use crate::network::Rules;
use crate::proof::{Claim, Evidence, ProofError, Proven, prove, wanted};
use crate::quorum::{Testimony, Verdict, Word, agree, merge};
use crate::{Account, BlockHash, Network};

mod fitness;

/// A node is examined this often: four calls a minute, and one that falls behind misleads for a
/// minute at most, while the others still outvote it.
const EXAMINE_EVERY: Duration = Duration::from_secs(60);

/// One that could not be reached is examined again this soon: it may only have been restarted. The
/// breaker keeps what that costs small.
const EXAMINE_AGAIN: Duration = Duration::from_secs(2);

/// A node that lied is not asked for an hour: long enough to be noticed, and one that was mended
/// comes back by itself.
const ASIDE: Duration = Duration::from_secs(3_600);

/// Rounds of fetching blocks before the payments. The first serves every payment that stands on a
/// state block; a legacy chain takes one for each block back, and is continued the next time.
const EVIDENCE_ROUNDS_MAX: usize = 8;

/// Proofs computed before other tasks of this thread get a turn: some ten milliseconds.
const PROOFS_PER_TURN: usize = 64;

/// How far a node's word is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// The blocks must prove what is said.
    #[default]
    Proof,
    /// The node is believed, as far as its answer does not contradict itself.
    Rpc,
}

/// How to ask several nodes.
#[derive(Clone)]
pub struct PanelConfig {
    /// Which network they must be on.
    pub network: Network,
    /// What that network's blocks are tested by.
    pub rules: Rules,
    /// How many must agree.
    pub quorum: usize,
    /// How far they are tested.
    pub trust: Trust,
    /// The clock by which nodes are examined again.
    pub clock: Clock,
}

impl PanelConfig {
    /// Asks for proofs and a quorum, on this network.
    #[must_use]
    pub fn new(
        network: Network,
        quorum: usize,
        clock: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        let clock: Clock = std::sync::Arc::new(clock);
        Self { network, rules: network.rules(), quorum, trust: Trust::default(), clock }
    }
}

impl fmt::Debug for PanelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PanelConfig")
            .field("network", &self.network)
            .field("rules", &self.rules)
            .field("quorum", &self.quorum)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

/// Why nodes cannot be asked together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a quorum of {quorum} cannot be had from {nodes} nodes")]
pub struct QuorumError {
    /// What was asked for.
    pub quorum: usize,
    /// How many different nodes there are.
    pub nodes: usize,
}

/// A claim that the block itself disproves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lie {
    /// Who made it.
    pub node: String,
    /// About which block.
    pub hash: BlockHash,
    /// What is wrong with it.
    pub evidence: String,
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lied about {}: {}", self.node, self.hash, self.evidence)
    }
}

/// What became of one round of questions.
#[derive(Debug, Clone, Default)]
pub struct Round {
    /// Who said what about each block.
    pub said: BTreeMap<BlockHash, Vec<Testimony<Word>>>,
    /// When a node first saw a block, in Unix seconds, as far as any says; no proof of anything.
    pub seen: BTreeMap<BlockHash, u64>,
    /// What was caught in this round.
    pub lies: Vec<Lie>,
}

impl Round {
    /// What so many nodes agree on: a dear job may want more of them than a cheap one.
    #[must_use]
    pub fn verdict(&self, hash: &BlockHash, quorum: usize) -> Verdict<Word> {
        agree(self.said.get(hash).map_or(&[], Vec::as_slice), quorum)
    }
}

/// Nodes that are asked together.
#[derive(Debug)]
pub struct Panel {
    seats: Vec<Seat>,
    config: PanelConfig,
    /// Held while nodes are examined, so that rounds that begin together examine them once.
    examining: tokio::sync::Mutex<()>,
}

/// What nodes say waits for accounts.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// For each account; see [`merge`].
    pub lists: BTreeMap<Account, Receivables>,
    /// The nodes that did not list anything, and why.
    pub silent: Vec<(String, String)>,
}

/// A node and what is held against it.
#[derive(Debug)]
struct Seat {
    name: String,
    rpc: Rpc,
    record: Mutex<Record>,
}

#[derive(Debug, Default)]
struct Record {
    /// When it is to be examined again; at once if it never was.
    due: Option<Duration>,
    /// Why it is not asked; empty if it is.
    unfit: Vec<String>,
    /// Whether it answers for another network.
    foreign: bool,
    /// How many blocks it has, as far as it says.
    blocks: Option<u64>,
    aside: Option<(Duration, Lie)>,
}

type Answers = Result<BTreeMap<BlockHash, Lookup>, RpcError>;

impl Panel {
    /// The nodes of a client, asked together. They share their records with it.
    ///
    /// # Errors
    /// If there are fewer different nodes than the quorum, or it is zero.
    pub fn new(rpc: &Rpc, config: PanelConfig) -> Result<Self, QuorumError> {
        let seat = |rpc: Rpc| {
            let name = rpc.nodes().next().map(|node| node.name().to_owned()).unwrap_or_default();
            Seat { name, rpc, record: Mutex::default() }
        };
        let seats: Vec<Seat> = rpc.each().map(seat).collect();
        let nodes = seats.iter().map(|seat| &seat.name).collect::<BTreeSet<_>>().len();
        if config.quorum == 0 || config.quorum > nodes {
            return Err(QuorumError { quorum: config.quorum, nodes });
        }
        Ok(Self { seats, config, examining: tokio::sync::Mutex::default() })
    }

    /// How many must agree, unless a caller wants more.
    #[must_use]
    pub const fn quorum(&self) -> usize {
        self.config.quorum
    }

    /// Who is not asked, and why.
    #[must_use]
    pub fn unfit(&self) -> Vec<(String, String)> {
        let now = (self.config.clock)();
        let why = |seat: &Seat| Some((seat.name.clone(), seat.objection(now)?));
        self.seats.iter().filter_map(why).collect()
    }

    /// How many different nodes there are.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.seats.iter().map(|seat| &seat.name).collect::<BTreeSet<_>>().len()
    }

    /// The nodes that answer for another network, as of the last examination. Whoever gave such a
    /// node has mistaken one network for another, and may have mistaken the other nodes as well.
    #[must_use]
    pub fn foreign(&self) -> Vec<String> {
        self.seats.iter().filter(|seat| seat.record().foreign).map(|seat| seat.name.clone()).collect()
    }

    /// Asks every fit node about these blocks.
    pub async fn blocks(&self, hashes: &[BlockHash]) -> Round {
        if hashes.is_empty() {
            return Round::default();
        }
        self.examine().await;
        let now = (self.config.clock)();
        let asked = self.seats.iter().map(|seat| async move {
            match seat.objection(now) {
                Some(why) => Err(why),
                None => Ok(seat.rpc.blocks_info(hashes).await),
            }
        });
        let answers: Vec<Result<Answers, String>> = join_all(asked).await;
        let found = |answer: &Result<Answers, String>| match answer {
            Ok(Ok(lookups)) => lookups.values().filter_map(Lookup::found).map(BlockInfo::claim).collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        let claims: Vec<Claim> = answers.iter().flat_map(found).collect();
        let evidence = match self.config.trust {
            Trust::Proof => self.gather(&claims).await,
            Trust::Rpc => Evidence::new(),
        };
        let mut round = Round::default();
        let mut judge = Judge { config: &self.config, evidence, known: BTreeMap::new(), proofs: 0 };
        for (seat, answer) in self.seats.iter().zip(answers) {
            judge.hear(seat, hashes, answer, &mut round).await;
        }
        for lie in &round.lies {
            tracing::warn!(node = lie.node, hash = %lie.hash, evidence = lie.evidence, "payment.proof_failed");
            self.put_aside(lie);
        }
        round
    }

    /// Everything that any fit node says waits for these accounts; see [`merge`].
    pub async fn receivable(&self, accounts: &[Account]) -> BTreeMap<Account, Receivables> {
        self.listed(accounts).await.lists
    }

    /// As [`Panel::receivable`], with the reasons of those that list nothing.
    pub async fn listed(&self, accounts: &[Account]) -> Listed {
        self.examine().await;
        let now = (self.config.clock)();
        let asked = self.seats.iter().map(|seat| async move {
            match seat.objection(now) {
                Some(why) => Err(why),
                None => seat.rpc.receivable_of(accounts).await.map_err(|error| error.failure.to_string()),
            }
        });
        let answers: Vec<Result<BTreeMap<Account, Receivables>, String>> = join_all(asked).await;
        let lists_of = |account: &Account| {
            let list = |(seat, answer): (&Seat, &Result<BTreeMap<Account, Receivables>, String>)| {
                let said = answer
                    .as_ref()
                    .map_err(String::clone)
                    .and_then(|lists| lists.get(account).cloned().ok_or_else(|| "no list".to_owned()));
                Testimony { node: seat.name.clone(), said }
            };
            self.seats.iter().zip(&answers).map(list).collect::<Vec<_>>()
        };
        let lists = accounts
            .iter()
            .map(|account| (*account, merge(&lists_of(account), self.config.quorum)))
            .collect();
        let why = |(seat, answer): (&Seat, &Result<_, String>)| {
            Some((seat.name.clone(), answer.as_ref().err()?.clone()))
        };
        Listed { lists, silent: self.seats.iter().zip(&answers).filter_map(why).collect() }
    }

    /// The blocks that stand before these claims. What a block says is its own, so any node will
    /// do; the next one is asked for what the one before did not have.
    async fn gather(&self, claims: &[Claim]) -> Evidence {
        let mut evidence = Evidence::new();
        for claim in claims {
            evidence.add(claim.block);
        }
        for _ in 0..EVIDENCE_ROUNDS_MAX {
            let missing = wanted(claims, &evidence, &self.config.rules);
            let known = evidence.len();
            self.fetch(missing, &mut evidence).await;
            if evidence.len() == known {
                break;
            }
        }
        evidence
    }

    async fn fetch(&self, mut missing: BTreeSet<BlockHash>, evidence: &mut Evidence) {
        let now = (self.config.clock)();
        for seat in self.seats.iter().filter(|seat| seat.objection(now).is_none()) {
            if missing.is_empty() {
                return;
            }
            let hashes: Vec<BlockHash> = missing.iter().copied().collect();
            // What this node cannot say the next one may.
            let Ok(lookups) = seat.rpc.blocks_info(&hashes).await else { continue };
            for info in lookups.values().filter_map(Lookup::found) {
                missing.remove(&evidence.add(info.contents));
            }
        }
    }

    fn put_aside(&self, lie: &Lie) {
        let until = (self.config.clock)() + ASIDE;
        for seat in self.seats.iter().filter(|seat| seat.name == lie.node) {
            seat.record().aside = Some((until, lie.clone()));
        }
    }
}

impl Seat {
    /// The record is plain values, valid after a panic elsewhere too.
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it is not asked now, if it is not.
    fn objection(&self, now: Duration) -> Option<String> {
        let record = self.record();
        match &record.aside {
            Some((until, lie)) if now < *until => return Some(format!("put aside: {}", lie.evidence)),
            Some(_) | None => {}
        }
        if record.unfit.is_empty() { None } else { Some(record.unfit.join("; ")) }
    }
}

/// Turns answers into words. Nodes that say the same about a block need one proof.
struct Judge<'a> {
    config: &'a PanelConfig,
    evidence: Evidence,
    known: BTreeMap<BlockHash, (Claim, Result<Proven, ProofError>)>,
    proofs: usize,
}

impl Judge<'_> {
    /// Takes down what one node said about every block. Who lied about one is believed about none.
    async fn hear(
        &mut self,
        seat: &Seat,
        hashes: &[BlockHash],
        answer: Result<Answers, String>,
        round: &mut Round,
    ) {
        let lies = round.lies.len();
        let mut words = BTreeMap::new();
        match answer.and_then(|answers| answers.map_err(|error| error.failure.to_string())) {
            Ok(lookups) => {
                for hash in hashes {
                    let word = self.word(*hash, lookups.get(hash));
                    if let Err(Objection::Lie(evidence)) = &word {
                        let (node, evidence) = (seat.name.clone(), evidence.clone());
                        round.lies.push(Lie { node, hash: *hash, evidence });
                    }
                    let seen =
                        lookups.get(hash).and_then(Lookup::found).and_then(|info| info.local_timestamp);
                    if let Some(seen) = seen.filter(|seen| *seen > 0) {
                        let earliest = round.seen.entry(*hash).or_insert(seen);
                        *earliest = seen.min(*earliest);
                    }
                    words.insert(*hash, word.map_err(|objection| objection.text()));
                    if self.proofs >= PROOFS_PER_TURN {
                        self.proofs = 0;
                        tokio::task::yield_now().await;
                    }
                }
            }
            Err(why) => words.extend(hashes.iter().map(|hash| (*hash, Err(why.clone())))),
        }
        let lied = round.lies.len() > lies;
        for (hash, said) in words {
            let said = if lied { said.and(Err("lied in this answer".to_owned())) } else { said };
            round.said.entry(hash).or_default().push(Testimony { node: seat.name.clone(), said });
        }
    }

    fn word(&mut self, hash: BlockHash, lookup: Option<&Lookup>) -> Result<Word, Objection> {
        match lookup {
            Some(Lookup::Found(info)) if self.config.trust == Trust::Proof => self.proven(info),
            Some(Lookup::Found(info)) => believed(info),
            Some(Lookup::NotFound) => Ok(Word::NotFound),
            Some(forged) if forged.is_forged() => {
                Err(Objection::Lie(format!("what it gives for {hash} is another block, or another's")))
            }
            Some(Lookup::Unclear(what)) => Err(Objection::Unclear(format!("no usable {what}"))),
            None => Err(Objection::Unclear("left out".to_owned())),
        }
    }

    fn proven(&mut self, info: &BlockInfo) -> Result<Word, Objection> {
        let claim = info.claim();
        let known = self.known.get(&claim.hash).filter(|(same, _)| *same == claim);
        let verdict = match known {
            Some((_, verdict)) => verdict.clone(),
            None => {
                self.proofs += 1;
                let verdict = prove(&claim, &self.evidence, &self.config.rules);
                self.known.insert(claim.hash, (claim, verdict.clone()));
                verdict
            }
        };
        let confirmed = info.confirmed;
        match verdict {
            Ok(Proven { from, to, amount, .. }) => Ok(Word::Sent { from, to, amount, confirmed }),
            Err(ProofError::NotASend(_) | ProofError::NothingMoved) => Ok(Word::NoPayment { confirmed }),
            Err(error) if error.is_lie() => Err(Objection::Lie(error.to_string())),
            Err(error) => Err(Objection::Unclear(error.to_string())),
        }
    }
}

/// Why a node's answer is no word.
enum Objection {
    Lie(String),
    Unclear(String),
}

impl Objection {
    fn text(self) -> String {
        match self {
            Self::Lie(evidence) => format!("a lie: {evidence}"),
            Self::Unclear(why) => why,
        }
    }
}

/// What a node says, taken at its word.
fn believed(info: &BlockInfo) -> Result<Word, Objection> {
    let confirmed = info.confirmed;
    match info.payment() {
        Some(paid) => {
            Ok(Word::Sent { from: paid.payer, to: paid.destination, amount: paid.amount, confirmed })
        }
        None if matches!(info.contents, Block::LegacySend(_)) || info.subtype == Some(Subtype::Send) => {
            Err(Objection::Unclear("does not know the amount of a send".to_owned()))
        }
        None => Ok(Word::NoPayment { confirmed }),
    }
}

#[cfg(test)]
mod tests;
