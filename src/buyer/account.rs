//! The chain of blocks of an account that pays: its newest block, its money, whose it is.

use std::fmt;
use std::sync::{Arc, PoisonError};

use nano_currency::block::StateFields;
use nano_currency::rpc::Receivable;
use nano_currency::work::Work;
use nano_currency::{Account, Amount, BlockHash, PrivateKey};
use tokio::sync::{Mutex, MutexGuard};

use super::error::BuyError;
use super::order::Signed;
use super::{Buyer, fate};

/// One account that pays.
pub(super) struct Chain {
    pub(super) account: Account,
    key: PrivateKey,
    /// Who holds it may add a block; what it holds is the newest one, if that is known.
    head: Mutex<Option<Head>>,
}

/// The newest block of a chain, as far as the next one depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) previous: BlockHash,
    pub(super) balance: Amount,
    pub(super) representative: Account,
}

/// What an account holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Funds {
    /// Whose.
    pub account: Account,
    /// What it can spend at once.
    pub balance: Amount,
    /// What it can receive.
    pub receivable: Amount,
}

/// The turn to add to a chain.
pub(super) type Turn<'a> = MutexGuard<'a, Option<Head>>;

impl Chain {
    pub(super) async fn turn(&self) -> Turn<'_> {
        self.head.lock().await
    }

    pub(super) fn sign(&self, fields: StateFields, work: Work) -> Signed {
        Signed(fields.sign(&self.key, work))
    }

    /// The block that pays, without its work.
    pub(super) fn send(&self, head: &Head, amount: Amount, to: Account) -> Option<StateFields> {
        Some(StateFields {
            account: self.account,
            previous: head.previous,
            representative: head.representative,
            balance: head.balance.checked_sub(amount)?,
            link: *to.as_bytes(),
        })
    }

    /// The block that takes in what was sent to us.
    pub(super) fn receive(&self, head: &Head, hash: BlockHash, amount: Amount) -> Option<StateFields> {
        Some(StateFields {
            account: self.account,
            previous: head.previous,
            representative: head.representative,
            balance: head.balance.checked_add(amount)?,
            link: *hash.as_bytes(),
        })
    }
}

/// Its address; not its key.
impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({})", self.account)
    }
}

/// Accounts.
impl Buyer {
    /// The account with this index.
    ///
    /// # Errors
    /// If the seed has no such account.
    pub fn account(&self, index: u32) -> Result<Account, BuyError> {
        Ok(self.inner.parts.seed.account(index)?)
    }

    /// What that account holds, as a node says.
    ///
    /// # Errors
    /// If the seed has no such account, or no node answers.
    pub async fn funds(&self, index: u32) -> Result<Funds, BuyError> {
        let account = self.account(index)?;
        let info = self.ask("look at the account", || self.rpc().account_info(&account)).await?;
        let balance = info.map_or(Amount::ZERO, |info| info.balance);
        let receivable = self.receivable(account).await?.iter().map(|(_, amount)| *amount).sum();
        Ok(Funds { account, balance, receivable })
    }

    pub(super) fn chain(&self, index: u32) -> Result<Arc<Chain>, BuyError> {
        let key = self.inner.parts.seed.key(index)?;
        let account = key.account();
        let mut heads = self.inner.heads.lock().unwrap_or_else(PoisonError::into_inner);
        let chain =
            heads.entry(account).or_insert_with(|| Arc::new(Chain { account, key, head: Mutex::default() }));
        Ok(Arc::clone(chain))
    }

    /// The newest block: the one that we published last, or what a node says and the block proves.
    pub(super) async fn head(&self, chain: &Chain, turn: &mut Turn<'_>) -> Result<Head, BuyError> {
        if let Some(head) = **turn {
            return Ok(head);
        }
        let rules = self.inner.parts.network.rules();
        let info = self.ask("look at the account", || self.rpc().head(&chain.account, &rules)).await?;
        let head = match info {
            Some(info) => Head {
                previous: info.frontier,
                balance: info.balance,
                representative: info.representative.unwrap_or(chain.account),
            },
            // Its own account is a representative that nobody else can misuse.
            None => Head { previous: BlockHash::ZERO, balance: Amount::ZERO, representative: chain.account },
        };
        **turn = Some(head);
        Ok(head)
    }

    /// What can be received, the largest first.
    pub(super) async fn receivable(&self, account: Account) -> Result<Vec<(BlockHash, Amount)>, BuyError> {
        let accounts = [account];
        let lists = self.ask("look for money to receive", || self.rpc().receivable_of(&accounts)).await?;
        let list = lists.into_values().flat_map(|list| list.blocks);
        let amount = |entry: Receivable| entry.amount.map(|amount| (entry.hash, amount));
        let mut list: Vec<_> = list.filter_map(amount).filter(|(_, amount)| !amount.is_zero()).collect();
        list.sort_by_key(|(_, amount)| std::cmp::Reverse(*amount));
        Ok(list)
    }

    /// The journal is this seed's and network's, and no node is on another network. A node that
    /// does not say where it is cannot be told apart; one that cannot be reached cannot mislead.
    pub(super) async fn ensure_ours(&self) -> Result<(), BuyError> {
        let check = async {
            let network = self.inner.parts.network;
            let first = self.account(0)?;
            self.memory().ensure_ours(&first, network)?;
            for node in self.rpc().each() {
                match node.version().await {
                    Ok(version) if !version.is_on(network) => {
                        let found = crate::client::error::shorten(&version.network);
                        return Err(BuyError::OtherNetwork { found, ours: network });
                    }
                    Ok(_) => {}
                    Err(error) => tracing::debug!(%error, "a node does not say which network it is on"),
                }
            }
            Ok(self.memory().own(&first, network)?)
        };
        self.inner.ours.get_or_try_init(|| check).await.copied()
    }

    /// What nodes say about a signed block. One node that knows it outweighs all that do not.
    pub(super) async fn facts(&self, block: &Signed) -> Result<fate::Facts, BuyError> {
        let (hash, previous) = (block.0.hash(), block.0.fields.previous);
        let account = block.0.fields.account;
        let known = self.known(&hash).await?;
        let info = self.ask("look at the account", || self.rpc().account_info(&account)).await?;
        let previous_height = if previous == BlockHash::ZERO {
            Some(0)
        } else {
            let before = self.ask("look at a block", || self.rpc().block_info(&previous)).await?;
            before.filter(|block| block.block_account == account).map(|block| block.height)
        };
        Ok(fate::Facts {
            previous,
            known,
            previous_height,
            frontier: info.map_or(BlockHash::ZERO, |info| info.frontier),
            confirmed_height: info.and_then(|info| info.confirmed_height),
        })
    }

    /// Whether any node knows a block; asked again while none answers.
    pub(super) async fn known(&self, hash: &BlockHash) -> Result<fate::Known, BuyError> {
        let mut tries = self.tries();
        loop {
            let error = match self.known_now(hash).await {
                Err(BuyError::Node { doing, source }) => (doing, source),
                answer => return answer,
            };
            if !tries.again(error.1.failure.wait()).await {
                return Err(BuyError::node(error.0)(error.1));
            }
        }
    }

    async fn known_now(&self, hash: &BlockHash) -> Result<fate::Known, BuyError> {
        let mut known = None;
        let mut failure = None;
        for node in self.rpc().each() {
            match node.block_info(hash).await {
                Ok(Some(info)) if info.confirmed => return Ok(fate::Known::Confirmed),
                Ok(Some(_)) => known = Some(fate::Known::Unconfirmed),
                Ok(None) => known = known.or(Some(fate::Known::No)),
                Err(error) => failure = Some(error),
            }
        }
        match (known, failure) {
            (Some(known), _) => Ok(known),
            (None, Some(error)) => Err(BuyError::node("look at a block")(error)),
            // A client has at least one node.
            (None, None) => Ok(fate::Known::No),
        }
    }
}
