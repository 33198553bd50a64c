//! One account, block by block: what is next, signed, kept, published, until nothing is left.

use std::collections::BTreeMap;
use std::time::Duration;

use nano_currency::draft::{AccountState, Unsigned};
use nano_currency::rpc::{Processed, Receivable, RpcError, Subtype};
use nano_currency::work::Work;
use nano_currency::{Account, Amount, BlockHash, PrivateKey};

use super::desk::Tell;
use super::journal::{Does, OwnBlock, Signed};
use super::round::Allowance;
use super::whose::Own;
use super::{CoinsError, Purse};
use crate::points::crash_point;
use crate::store::Batch;
use crate::worker::memory::COINS;

/// Times that one account may be looked at anew in one round: each is a block that was taken up
/// again, or a place that is contested.
const LOOKS_MAX: u32 = 64;

/// How often a call that got no answer, or a block that found no place, is tried again.
const TRIES_MAX: u32 = 5;

/// How long until then: elections take about a second.
const TRY_AGAIN: Duration = Duration::from_millis(300);

/// What an account is to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// To hold all that was sent to it.
    Receive,
    /// To hold nothing.
    Sweep {
        /// Where all of it goes.
        to: Account,
    },
    /// To have sent back what it got.
    Refund {
        /// Where to; each part to whom it came from if absent.
        to: Option<Account>,
    },
}

/// A block that is to be made, before it is signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Next {
    pub(super) block: Unsigned,
    pub(super) does: Does,
    pub(super) counter: Option<Account>,
}

/// How the walk along an account ended.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// The blocks, as they were published.
    pub(super) blocks: Vec<OwnBlock>,
    /// Why it ended before its goal.
    pub(super) problem: Option<String>,
}

/// What publishing came to.
enum Published {
    /// It is the newest block.
    Newest,
    /// The node has it, perhaps with others after it.
    Known,
    /// Not yet, and why.
    NotYet(String),
}

/// The walk along one account.
pub(super) struct Chain<'a> {
    purse: &'a Purse,
    own: Own,
    key: PrivateKey,
    goal: Goal,
    tell: Tell<'a>,
    /// The newest block, if it is known.
    head: Option<AccountState>,
    /// What waits for the account, if it is known.
    waiting: Option<Vec<Receivable>>,
    /// Work for the next block, done while this one was published.
    ahead: Option<(BlockHash, Work)>,
    /// Blocks that were laid out, and not made.
    planned: Vec<OwnBlock>,
}

impl<'a> Chain<'a> {
    pub(super) fn new(
        purse: &'a Purse,
        own: Own,
        goal: Goal,
        waiting: Vec<Receivable>,
        tell: Tell<'a>,
    ) -> Result<Self, CoinsError> {
        let key = purse.seed.key(own.index)?;
        Ok(Self {
            purse,
            own,
            key,
            goal,
            tell,
            head: None,
            waiting: Some(waiting),
            ahead: None,
            planned: Vec::new(),
        })
    }

    /// Walks until the goal is reached, the allowance is used up, or a place is contested.
    pub(super) async fn walk(mut self, allowance: &mut Allowance) -> Result<Walked, CoinsError> {
        let mut walked = Walked::default();
        let mut looks = 0;
        while looks < LOOKS_MAX {
            if self.head.is_none() {
                looks += 1;
            }
            let state = match self.head().await? {
                Ok(state) => state,
                Err(problem) => {
                    walked.problem = Some(problem);
                    return Ok(walked);
                }
            };
            let place = (*state.account.as_bytes(), state.frontier);
            // Whatever was signed for this place goes there, and no other block.
            let (block, made) = match COINS.get(&self.purse.store, &place)? {
                Some(kept) => (kept, false),
                None => match self.make(&state, allowance).await? {
                    Some(block) => (block, true),
                    None => return Ok(walked),
                },
            };
            match self.settle(&block, allowance).await? {
                None => walked.blocks.push(block),
                Some(problem) => {
                    walked.problem = Some(problem);
                    return Ok(walked);
                }
            }
            if !made {
                // It may have been a receive, and there may be others after it.
                self.waiting = None;
            }
        }
        walked.problem = Some("its chain does not come to rest: try again later".to_owned());
        Ok(walked)
    }

    /// What comes next, for whoever only wants to know.
    pub(super) async fn plan(mut self) -> Result<Walked, CoinsError> {
        let mut walked = Walked::default();
        let mut state = match self.head().await? {
            Ok(state) => state,
            Err(problem) => {
                walked.problem = Some(problem);
                return Ok(walked);
            }
        };
        loop {
            let place = (*state.account.as_bytes(), state.frontier);
            let block = match COINS.get(&self.purse.store, &place)? {
                Some(kept) => kept,
                None => match self.next(&state).await? {
                    Some(next) => self.sign(&next, Work::new(0)),
                    None => return Ok(walked),
                },
            };
            state = state.after(&block.block.0.fields);
            self.took(&block);
            self.planned.push(block);
            walked.blocks.push(block);
        }
    }

    /// The newest block. One that is not confirmed, and not ours, may still lose its place to one
    /// of ours: nothing is built on it.
    async fn head(&mut self) -> Result<Result<AccountState, String>, CoinsError> {
        if let Some(state) = self.head {
            return Ok(Ok(state));
        }
        let (account, rpc) = (self.own.account, &self.purse.rpc);
        let representative = self.purse.settings.representative;
        let rules = self.purse.network.rules();
        let info = again(|| rpc.head(&account, &rules)).await?;
        let mut state = match &info {
            Some(info) => info.state(account, account),
            // Its own vote is one that nobody else can misuse.
            None => AccountState::unopened(account, account),
        };
        state.representative = representative.unwrap_or(state.representative);
        if let Some(info) = info
            && info.confirmed_frontier != Some(info.frontier)
            && !self.purse.is_ours(&account, &info.frontier)?
        {
            return Ok(Err(format!("its newest block {} is not ours and not confirmed yet", info.frontier)));
        }
        self.head = Some(state);
        Ok(Ok(state))
    }

    async fn waiting(&mut self) -> Result<&mut Vec<Receivable>, CoinsError> {
        let found = match self.waiting.take() {
            Some(found) => found,
            None => self
                .purse
                .waiting_for(&[self.own.account])
                .await?
                .remove(&self.own.account)
                .unwrap_or_default(),
        };
        Ok(self.waiting.insert(found))
    }

    /// The next block towards the goal; none if it is reached.
    async fn next(&mut self, state: &AccountState) -> Result<Option<Next>, CoinsError> {
        let least = self.purse.settings.receive_min;
        let waiting = self.waiting().await?;
        waiting.retain(|send| send.amount.is_some_and(|amount| !amount.is_zero() && amount >= least));
        // The largest first; by hash where they are equal, so that the same facts make the same block.
        waiting.sort_by(|one, other| one.amount.cmp(&other.amount).then(other.hash.cmp(&one.hash)));
        while let Some(send) = waiting.last() {
            // An amount that cannot be true is not taken.
            if let Some(Ok(block)) = send.amount.map(|amount| state.receive(send.hash, amount)) {
                return Ok(Some(Next { block, does: Does::Receive, counter: send.source }));
            }
            waiting.pop();
        }
        match self.goal {
            Goal::Receive => Ok(None),
            Goal::Sweep { to } => Ok(state.send(to, state.balance).ok().map(|block| Next {
                block,
                does: Does::Sweep,
                counter: Some(to),
            })),
            Goal::Refund { to } => {
                let journal = self.purse.journal_of(&self.own.account)?;
                Ok(refund(state, to, journal.iter().chain(&self.planned)))
            }
        }
    }

    /// Makes the next block and keeps it; none if nothing is left to do or no more may be done.
    async fn make(
        &mut self,
        state: &AccountState,
        allowance: &mut Allowance,
    ) -> Result<Option<OwnBlock>, CoinsError> {
        let Some(next) = self.next(state).await? else { return Ok(None) };
        if !allowance.take() {
            return Ok(None);
        }
        let work = self.work(&next).await?;
        let block = self.sign(&next, work);
        crash_point!("worker/coins/signed");
        self.purse.keep(&block).await?;
        crash_point!("worker/coins/kept");
        Ok(Some(block))
    }

    fn sign(&self, next: &Next, work: Work) -> OwnBlock {
        OwnBlock {
            block: Signed(next.block.sign(&self.key, work)),
            does: next.does,
            amount: next.block.amount,
            counter: next.counter,
            index: self.own.index,
            job: self.own.job,
            at: self.purse.clock.now(),
        }
    }

    async fn work(&mut self, next: &Next) -> Result<Work, CoinsError> {
        let threshold = next.block.threshold(&self.purse.network.work());
        if let Some((root, work)) = self.ahead.take()
            && root == next.block.fields.previous
            && work.difficulty(next.block.fields.work_root()) >= threshold
        {
            return Ok(work);
        }
        self.purse.work_for(next.block.fields.work_root(), threshold, self.tell).await
    }

    /// Publishes a kept block until a node has it, and works for the one after it meanwhile; why
    /// not, if none takes it.
    async fn settle(
        &mut self,
        block: &OwnBlock,
        allowance: &mut Allowance,
    ) -> Result<Option<String>, CoinsError> {
        self.took(block);
        let state = AccountState::after(
            &self.head.unwrap_or(AccountState::unopened(self.own.account, self.own.account)),
            &block.block.0.fields,
        );
        let after = match self.next(&state).await? {
            Some(next) if allowance.is_left() => Some((block.hash(), next.block.subtype)),
            _ => None,
        };
        let (purse, tell) = (self.purse, self.tell);
        let publishing = purse.publish_again(block, tell);
        let working = async {
            let (root, subtype) = after?;
            let thresholds = purse.network.work();
            let threshold = if subtype == Subtype::Send { thresholds.send } else { thresholds.receive };
            // Without it the work is asked for once more, when the block is made.
            let work = purse.work_for(root.as_bytes(), threshold, tell).await.ok()?;
            Some((root, work))
        };
        let (published, ahead) = tokio::join!(publishing, working);
        self.ahead = ahead;
        match published? {
            Published::Newest => self.head = Some(state),
            Published::Known => self.head = None,
            Published::NotYet(why) => return Ok(Some(why)),
        }
        tell(format!("{} {} raw on {}: {}", block.does.name(), block.amount, self.own.account, block.hash()));
        Ok(None)
    }

    /// What a block has received waits no longer.
    fn took(&mut self, block: &OwnBlock) {
        if let Some(waiting) = &mut self.waiting
            && block.does == Does::Receive
        {
            waiting.retain(|send| send.hash.as_bytes() != &block.block.0.fields.link);
        }
    }
}

/// The journal and the nodes.
impl Purse {
    /// All blocks of an account that were signed here.
    pub(super) fn journal_of(&self, account: &Account) -> Result<Vec<OwnBlock>, CoinsError> {
        let kept = COINS.prefix(&self.store, account.as_bytes()).map(|entry| Ok(entry?.1));
        kept.collect()
    }

    fn is_ours(&self, account: &Account, hash: &BlockHash) -> Result<bool, CoinsError> {
        Ok(self.journal_of(account)?.iter().any(|kept| kept.hash() == *hash))
    }

    /// Makes a block durable. It must be the first one for its place, or the same with other work.
    async fn keep(&self, block: &OwnBlock) -> Result<(), CoinsError> {
        let mut batch = Batch::default();
        COINS.put(&mut batch, &block.place(), block)?;
        Ok(self.store.commit_durable(batch).await?)
    }

    async fn publish_again(&self, block: &OwnBlock, tell: Tell<'_>) -> Result<Published, CoinsError> {
        let mut block = *block;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.publish(&mut block, tell).await {
                // It may be on its way all the same; to publish it again does no harm.
                Err(CoinsError::Node(_)) | Ok(Published::NotYet(_)) if tries < TRIES_MAX => {}
                published => return published,
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    async fn publish(&self, block: &mut OwnBlock, tell: Tell<'_>) -> Result<Published, CoinsError> {
        let processed = self.rpc.process(&block.block.0, block.subtype()).await?;
        crash_point!("worker/coins/published");
        let not_yet = |why: &str| Ok(Published::NotYet(format!("block {}: {why}", block.hash())));
        match processed {
            Processed::Accepted(_) => Ok(Published::Newest),
            Processed::Old => Ok(Published::Known),
            Processed::LowWork => {
                // The same block: its hash does not depend on its work. A receive needs as much as a
                // send where the sender's account was never upgraded.
                let fields = block.block.0.fields;
                let thresholds = self.network.work();
                let threshold = thresholds.send.max(thresholds.receive);
                block.block.0.work = self.work_for(fields.work_root(), threshold, tell).await?;
                self.keep(block).await?;
                Ok(Published::NotYet(format!("block {} needs more work", block.hash())))
            }
            Processed::Fork => self.unless_known(block, "another block has its place").await,
            Processed::GapPrevious => not_yet("the node does not know the block before it yet"),
            Processed::GapSource => not_yet("the node does not know the send that it receives yet"),
            refused => self.unless_known(block, &format!("the node refuses it: {refused:?}")).await,
        }
    }

    /// Some refusals are also given to a block that is there already.
    async fn unless_known(&self, block: &OwnBlock, why: &str) -> Result<Published, CoinsError> {
        match self.rpc.block_info(&block.hash()).await? {
            Some(_) => Ok(Published::Known),
            None => Ok(Published::NotYet(format!("block {}: {why}", block.hash()))),
        }
    }
}

/// The next part that goes back: to `to` all there is, or to each payer what he paid and has not got
/// back. What is kept counts as sent back, whether the ledger has it yet or not.
fn refund<'a>(
    state: &AccountState,
    to: Option<Account>,
    journal: impl Iterator<Item = &'a OwnBlock>,
) -> Option<Next> {
    let send = |to: Account, amount: Amount| {
        let block = state.send(to, amount).ok()?;
        Some(Next { block, does: Does::Refund, counter: Some(to) })
    };
    if let Some(to) = to {
        return send(to, state.balance);
    }
    let mut owed: BTreeMap<Account, (Amount, Amount)> = BTreeMap::new();
    for kept in journal {
        let Some(payer) = kept.counter else { continue };
        let (paid, back) = owed.entry(payer).or_default();
        match kept.does {
            Does::Receive => *paid = paid.saturating_add(kept.amount),
            Does::Refund => *back = back.saturating_add(kept.amount),
            Does::Sweep => {}
        }
    }
    owed.into_iter().find_map(|(payer, (paid, back))| {
        let left = paid.checked_sub(back)?.min(state.balance);
        send(payer, left)
    })
}

/// Asks again while no node answers.
pub(super) async fn again<T, F: Future<Output = Result<T, RpcError>>>(
    ask: impl Fn() -> F,
) -> Result<T, CoinsError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match ask().await {
            Err(_) if tries < TRIES_MAX => tokio::time::sleep(TRY_AGAIN).await,
            answer => return Ok(answer?),
        }
    }
}
