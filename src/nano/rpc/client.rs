//! The calls, over several nodes: the first that answers is believed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::answer::absent;
use super::blocks::{BLOCK_NOT_FOUND, read_block_info, read_blocks_info};
use super::budget::Budget;
use super::config::Clock;
use super::endpoint::{Endpoint, Request};
use super::process::read_processed;
use super::receivable::read_receivable;
use super::status::{self, ActiveDifficulty, assess};
use super::{
    AccountInfo, Balance, BlockCount, BlockInfo, Failure, Health, Lookup, Node, Processed, Quorum,
    Receivable, RpcConfig, RpcError, RpcSetupError, Subtype, Telemetry, Version, accounts,
};
use crate::block::StateBlock;
use crate::work::{Difficulty, Work};
use crate::{Account, Amount, BlockHash, Network};

/// Accounts or hashes in one call: their answer stays at a megabyte or two, and a proxy's bound
/// on the request's size far away.
pub(super) const BATCH: usize = 1_000;

/// A client of one or more nodes. Clones share the nodes and their records.
///
/// Every call asks the nodes in their order, leaves out those that rest after failures, and
/// returns the first answer. An error is the first node's, and means *unknown*.
#[derive(Clone)]
pub struct Rpc {
    endpoints: Arc<[Arc<Endpoint>]>,
    timeout: Duration,
    work_timeout: Duration,
    clock: Clock,
}

impl Rpc {
    /// A client of the nodes in `config`. Connects to none of them yet.
    ///
    /// # Errors
    /// Without a usable address.
    pub fn new(config: &RpcConfig) -> Result<Self, RpcSetupError> {
        if config.urls.is_empty() {
            return Err(RpcSetupError::NoUrl);
        }
        let way = Node::way(config)?;
        let endpoint = |(index, url): (usize, &String)| {
            let node = Node::new(way.clone(), url, config).ok_or(RpcSetupError::Url { index })?;
            let budget = config.requests_per_second.and_then(|most| Budget::per_second(most.get()));
            Ok(Arc::new(Endpoint::new(node, budget)))
        };
        Ok(Self {
            endpoints: config.urls.iter().enumerate().map(endpoint).collect::<Result<_, RpcSetupError>>()?,
            timeout: config.timeout,
            work_timeout: config.work_timeout,
            clock: Arc::clone(&config.clock),
        })
    }

    /// A client of each node alone: to ask every one of them, or to compare what they say.
    pub fn each(&self) -> impl Iterator<Item = Self> + '_ {
        self.endpoints
            .iter()
            .map(|endpoint| Self { endpoints: Arc::new([Arc::clone(endpoint)]), ..self.clone() })
    }

    /// The nodes, in order.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.endpoints.iter().map(|endpoint| &endpoint.node)
    }

    /// The block with this hash; `None` if the node does not know it, which is not final.
    ///
    /// # Errors
    /// If no node gives a usable answer.
    pub async fn block_info(&self, hash: &BlockHash) -> Result<Option<BlockInfo>, RpcError> {
        let request = self.request(json!({ "action": "block_info", "json_block": "true", "hash": hash }));
        self.ask(&request, |answer| read_block_info(*hash, answer)).await
    }

    /// The blocks with these hashes: an entry for each of them.
    ///
    /// # Errors
    /// If no node gives a usable answer. A single unusable entry is [`Lookup::Unclear`] instead.
    pub async fn blocks_info(&self, hashes: &[BlockHash]) -> Result<BTreeMap<BlockHash, Lookup>, RpcError> {
        let mut lookups = BTreeMap::new();
        let mut batches: Vec<&[BlockHash]> = hashes.chunks(BATCH).collect();
        while let Some(batch) = batches.pop() {
            match self.blocks_info_once(batch).await {
                Ok(part) => lookups.extend(part),
                Err(error) if batch.len() > 1 && is_for_smaller_batch(&error.failure) => {
                    batches.extend(<[_; 2]>::from(batch.split_at(batch.len() / 2)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(lookups)
    }

    async fn blocks_info_once(&self, hashes: &[BlockHash]) -> Result<BTreeMap<BlockHash, Lookup>, RpcError> {
        let request = self.request(json!({
            "action": "blocks_info",
            "json_block": "true",
            "include_not_found": "true",
            "hashes": hashes,
        }));
        self.ask(&request, |answer| match answer {
            Err(Failure::Node(text)) if text == BLOCK_NOT_FOUND && hashes.len() == 1 => {
                Ok(hashes.iter().map(|hash| (*hash, Lookup::NotFound)).collect())
            }
            answer => read_blocks_info(hashes, answer),
        })
        .await
    }

    /// The confirmed sends that wait for these accounts, each of at least `threshold`, if given.
    ///
    /// Without a `count`: it would cut by hash, and dust would hide what matters. A threshold
    /// looks at each send alone, so it hides payments in parts.
    ///
    /// # Errors
    /// If no node gives a usable answer.
    pub async fn accounts_receivable(
        &self,
        accounts: &[Account],
        threshold: Option<Amount>,
    ) -> Result<BTreeMap<Account, Vec<Receivable>>, RpcError> {
        let mut body = json!({
            "action": "accounts_receivable",
            "accounts": accounts,
            "source": "true",
            // The default was another one before version 22.
            "include_only_confirmed": "true",
        });
        if let Some(threshold) = threshold {
            body["threshold"] = json!(threshold);
        }
        let mut before_v23 = body.clone();
        before_v23["action"] = json!("accounts_pending");
        let request = self.request(body).or(Failure::is_unknown_command, before_v23);
        self.ask(&request, |answer| read_receivable(accounts, answer)).await
    }

    /// The balances of these accounts. An account that the node does not mention has no entry.
    ///
    /// # Errors
    /// If no node gives a usable answer.
    pub async fn accounts_balances(
        &self,
        accounts: &[Account],
    ) -> Result<BTreeMap<Account, Balance>, RpcError> {
        let mut balances = BTreeMap::new();
        for batch in accounts.chunks(BATCH) {
            let request = self.request(json!({
                "action": "accounts_balances",
                "accounts": batch,
                "include_only_confirmed": "true",
            }));
            balances.extend(self.ask(&request, accounts::read_balances).await?);
        }
        Ok(balances)
    }

    /// The head of an account's chain; `None` if it has no block yet.
    ///
    /// # Errors
    /// If no node gives a usable answer.
    pub async fn account_info(&self, account: &Account) -> Result<Option<AccountInfo>, RpcError> {
        let request = self.request(json!({
            "action": "account_info",
            "account": account,
            "representative": "true",
            "include_confirmed": "true",
        }));
        self.ask(&request, accounts::read_account_info).await
    }

    /// Publishes a block.
    ///
    /// Safe to repeat: a block is its own identity. After an error the block may be on its way
    /// all the same.
    ///
    /// # Errors
    /// If no node gives a usable answer. A node's refusal of the block is a value.
    pub async fn process(&self, block: &StateBlock, subtype: Subtype) -> Result<Processed, RpcError> {
        let request = self.request(json!({
            "action": "process",
            "json_block": "true",
            "subtype": subtype.name(),
            "block": Value::from(block),
        }));
        self.ask(&request, read_processed).await
    }

    /// Asks a node to hold a vote on a block that stays unconfirmed; `false` if the node does not
    /// know the block.
    ///
    /// # Errors
    /// If no node gives a usable answer.
    pub async fn block_confirm(&self, hash: &BlockHash) -> Result<bool, RpcError> {
        let request = self.request(json!({ "action": "block_confirm", "hash": hash }));
        self.ask(&request, |answer| Ok(absent(answer, BLOCK_NOT_FOUND)?.is_some())).await
    }

    /// Has a node search for work, and checks what it found.
    ///
    /// # Errors
    /// If no node gives work that is worth `difficulty`; most nodes refuse to.
    pub async fn work_generate(&self, root: &[u8; 32], difficulty: Difficulty) -> Result<Work, RpcError> {
        let body = |difficulty: String| json!({ "action": "work_generate", "hash": BlockHash::from_bytes(*root), "difficulty": difficulty });
        let refused: fn(&Failure) -> bool = |failure| matches!(failure, Failure::Status { status: 422, .. });
        // RsNano reads a decimal number where the C++ node reads hex.
        let request = Request::slow(body(difficulty.to_string()), self.work_timeout)
            .or(refused, body(difficulty.get().to_string()));
        self.ask(&request, |answer| {
            let work = answer?.get("work").and_then(Value::as_str).and_then(Work::parse);
            work.filter(|work| work.difficulty(root) >= difficulty).ok_or(Failure::Malformed("work"))
        })
        .await
    }

    /// Tells every node that nobody waits for this work any more. A wish: most nodes refuse it,
    /// and nothing depends on it.
    pub async fn work_cancel(&self, root: &[u8; 32]) {
        let body = json!({ "action": "work_cancel", "hash": BlockHash::from_bytes(*root) });
        let request = self.request(body);
        for endpoint in self.endpoints.iter() {
            // Refused or lost, the work ends by itself.
            let _ = endpoint.ask(&request, &self.clock).await;
        }
    }

    /// What program the node is, and on which network.
    ///
    /// # Errors
    /// If no node gives a usable answer.
    pub async fn version(&self) -> Result<Version, RpcError> {
        self.ask(&self.request(json!({ "action": "version" })), status::read_version).await
    }

    /// How many blocks the node has.
    ///
    /// # Errors
    /// If no node gives a usable answer.
    pub async fn block_count(&self) -> Result<BlockCount, RpcError> {
        self.ask(&self.request(json!({ "action": "block_count" })), status::read_block_count).await
    }

    /// The votes that the node hears.
    ///
    /// # Errors
    /// If no node gives a usable answer.
    pub async fn confirmation_quorum(&self) -> Result<Quorum, RpcError> {
        self.ask(&self.request(json!({ "action": "confirmation_quorum" })), status::read_quorum).await
    }

    /// What the node's peers say about the ledger.
    ///
    /// # Errors
    /// If no node gives a usable answer.
    pub async fn telemetry(&self) -> Result<Telemetry, RpcError> {
        self.ask(&self.request(json!({ "action": "telemetry" })), status::read_telemetry).await
    }

    /// The work that the node asks for.
    ///
    /// # Errors
    /// If no node gives a usable answer.
    pub async fn active_difficulty(&self) -> Result<ActiveDifficulty, RpcError> {
        self.ask(&self.request(json!({ "action": "active_difficulty" })), status::read_active_difficulty)
            .await
    }

    /// Whether the first node that answers is synchronised and on `network`; use [`Rpc::each`] to
    /// judge every one.
    ///
    /// # Errors
    /// If no node gives a usable answer.
    pub async fn health(&self, network: Network) -> Result<Health, RpcError> {
        let version = self.version().await?;
        let blocks = self.block_count().await?;
        // Many public nodes do not allow these two.
        let quorum = self.confirmation_quorum().await.ok();
        let telemetry = self.telemetry().await.ok();
        let findings = assess(network, &version, &blocks, quorum.as_ref(), telemetry.as_ref());
        Ok(Health { version, blocks, findings })
    }

    pub(super) const fn request(&self, body: Value) -> Request {
        Request::new(body, self.timeout)
    }

    pub(super) async fn ask<T>(
        &self,
        request: &Request,
        read: impl Fn(Result<Value, Failure>) -> Result<T, Failure>,
    ) -> Result<T, RpcError> {
        let mut reported: Option<RpcError> = None;
        for endpoint in self.endpoints.iter() {
            let failure = match read(endpoint.ask(request, &self.clock).await) {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            tracing::debug!(node = endpoint.node.name(), %failure, "a nano node gave no usable answer");
            let resting = |error: &RpcError| {
                matches!(error.failure, Failure::Resting { .. } | Failure::OverBudget { .. })
            };
            if reported.as_ref().is_none_or(resting) {
                reported = Some(RpcError { node: endpoint.node.name().to_owned(), failure });
            }
        }
        // `new` refuses an empty list, so the loop has run.
        Err(reported.unwrap_or_else(|| RpcError {
            node: String::new(),
            failure: Failure::Resting { wait: Duration::ZERO },
        }))
    }
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rpc")
            .field("endpoints", &self.endpoints)
            .field("timeout", &self.timeout)
            .field("work_timeout", &self.work_timeout)
            .finish_non_exhaustive()
    }
}

/// Whether a smaller batch can succeed: the answer was too large, or the node is too old for
/// `include_not_found` and one missing block spoils the others.
fn is_for_smaller_batch(failure: &Failure) -> bool {
    match failure {
        Failure::TooLarge { .. } => true,
        Failure::Node(text) => text == BLOCK_NOT_FOUND,
        _ => false,
    }
}
