//! One account, block by block: what is next, signed, kept, published, until nothing is left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nano_currency::draft::AccountState;
use nano_currency::rpc::{Receivable, RpcError, Subtype};
use nano_currency::work::Work;
use nano_currency::{Account, Amount, BlockHash, PrivateKey};

use super::debts::Debt;
use super::desk::Tell;
use super::goal::{Goal, Next};
use super::journal::{Does, Fate, OwnBlock, Signed};
use super::leave::Leave;
use super::publish::Published;
use super::round::Allowance;
use super::whose::{Claim, Own};
use super::{CoinsError, Purse};
use crate::points::crash_point;
use crate::worker::memory::COINS;

/// Times that one account may be looked at anew in one round: each is a block that was taken up
/// again, or a place that is contested.
const LOOKS_MAX: u32 = 64;

/// How often a call that got no answer, or a block that found no place, is tried again.
pub(super) const TRIES_MAX: u32 = 5;

/// How long until then: elections take about a second.
pub(super) const TRY_AGAIN: Duration = Duration::from_millis(300);

/// How the walk along an account ended.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// The blocks, as they were published.
    pub(super) blocks: Vec<OwnBlock>,
    /// Why it ended before its goal.
    pub(super) problem: Option<String>,
}

/// What became of one block.
enum Settled {
    /// A node has it.
    There,
    /// It will not be there: what comes next is to be thought of anew.
    Again,
    /// Not yet, and why.
    Not(String),
}

/// The walk along one account.
pub(super) struct Chain<'a> {
    purse: &'a Purse,
    own: Own,
    key: PrivateKey,
    goal: Goal,
    /// What is owed back of this account's coins: to be sent back, or else to be left.
    debts: Vec<Debt>,
    /// Blocks that were refused for good in this walk.
    refused: BTreeSet<BlockHash>,
    /// Debts that are not to be paid back in this walk.
    denied: BTreeSet<BlockHash>,
    /// Debts for which too little is there, and which it was asked about whether they went back.
    short: BTreeMap<BlockHash, bool>,
    /// The payments that may be received: those that were looked at before the walk.
    noticed: BTreeSet<BlockHash>,
    /// Why a debt cannot be paid back.
    obstacle: Option<String>,
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
        debts: Vec<Debt>,
        waiting: Vec<Receivable>,
        tell: Tell<'a>,
    ) -> Result<Self, CoinsError> {
        let key = purse.accounts.key(own.index)?;
        let noticed = waiting.iter().map(|send| send.hash).chain(debts.iter().map(|debt| debt.of)).collect();
        Ok(Self {
            purse,
            own,
            key,
            goal,
            debts,
            refused: BTreeSet::new(),
            denied: BTreeSet::new(),
            short: BTreeMap::new(),
            noticed,
            obstacle: None,
            tell,
            head: None,
            waiting: Some(waiting),
            ahead: None,
            planned: Vec::new(),
        })
    }

    /// Walks until the goal is reached, the allowance is used up, or a place is contested.
    pub(super) async fn walk(mut self, allowance: &mut Allowance) -> Result<Walked, CoinsError> {
        if let Some(problem) = self.purse.look_at_refunds(&self.own).await? {
            return Ok(Walked { problem: Some(problem), ..Walked::default() });
        }
        let mut walked = Walked::default();
        walked.problem = self.walk_on(allowance, &mut walked.blocks).await?;
        if matches!(self.goal, Goal::Refund { .. }) {
            let seen = self.see_refunds(&walked.blocks).await?;
            walked.problem = walked.problem.or(seen);
        }
        Ok(walked)
    }

    /// The walk itself; why it ended before its goal.
    async fn walk_on(
        &mut self,
        allowance: &mut Allowance,
        blocks: &mut Vec<OwnBlock>,
    ) -> Result<Option<String>, CoinsError> {
        let mut looks = 0;
        while looks < LOOKS_MAX {
            if self.head.is_none() {
                looks += 1;
            }
            let state = match self.head().await? {
                Ok(state) => state,
                Err(problem) => return Ok(Some(problem)),
            };
            let place = (*state.account.as_bytes(), state.frontier);
            // Whatever was signed for this place goes there, and no other block.
            let (block, made) = match COINS.get(&self.purse.store, &place)? {
                Some(kept) => (kept, false),
                None => match self.make(&state, allowance).await? {
                    Some(block) => (block, true),
                    None => return Ok(self.obstacle.take()),
                },
            };
            match self.settle(&block, allowance).await? {
                Settled::There => blocks.push(block),
                Settled::Again => {}
                Settled::Not(problem) => return Ok(Some(problem)),
            }
            if !made {
                // It may have been a receive, and there may be others after it.
                self.waiting = None;
            }
        }
        Ok(Some("its chain does not come to rest: try again later".to_owned()))
    }

    /// Waits a little until the network has decided for what was sent back.
    async fn see_refunds(&self, blocks: &[OwnBlock]) -> Result<Option<String>, CoinsError> {
        for tries in 1..=TRIES_MAX {
            if let Some(problem) = self.purse.look_at_refunds(&self.own).await? {
                return Ok(Some(problem));
            }
            let open = blocks.iter().filter(|block| block.does == Does::Refund);
            let fates = open.map(|block| COINS.get(&self.purse.store, &block.place()));
            let kept = fates.collect::<Result<Vec<_>, _>>()?;
            let is_open = |kept: &Option<OwnBlock>| kept.is_some_and(|kept| kept.fate != Fate::Confirmed);
            if tries == TRIES_MAX || !kept.iter().any(is_open) {
                break;
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
        Ok(None)
    }

    /// What comes next, for whoever only wants to know.
    pub(super) async fn plan(mut self) -> Result<Walked, CoinsError> {
        let mut walked = Walked::default();
        if matches!(self.goal, Goal::Refund { .. }) {
            walked.problem = self.purse.strange_send_of(&self.own).await?;
        }
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
                    None => {
                        walked.problem = walked.problem.or(self.obstacle.take());
                        return Ok(walked);
                    }
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
        if let Some(info) = info
            && info.confirmed_frontier != Some(info.frontier)
            && !self.purse.is_ours(&account, &info.frontier)?
        {
            return Ok(Err(format!("its newest block {} is not ours and not confirmed yet", info.frontier)));
        }
        if state.is_opened() {
            match self.purse.signed_state(&account, &state.frontier).await? {
                Ok((balance, votes)) => {
                    state.balance = balance;
                    state.representative = votes.unwrap_or(state.representative);
                }
                Err(problem) => return Ok(Err(problem)),
            }
        }
        state.representative = representative.unwrap_or(state.representative);
        self.head = Some(state);
        Ok(Ok(state))
    }

    async fn waiting(&mut self) -> Result<&mut Vec<Receivable>, CoinsError> {
        let found = match self.waiting.take() {
            Some(found) => found,
            None => {
                let mut all = self.purse.waiting_for(&[self.own.account]).await?;
                let mut found = all.remove(&self.own.account).unwrap_or_default();
                // What has come since is in no book, and would go with the rest.
                found.retain(|send| self.noticed.contains(&send.hash));
                found
            }
        };
        Ok(self.waiting.insert(found))
    }

    /// The next block towards the goal; none if it is reached.
    async fn next(&mut self, state: &AccountState) -> Result<Option<Next>, CoinsError> {
        if let Some(next) = self.next_receive(state).await? {
            return Ok(Some(next));
        }
        match self.goal {
            Goal::Receive => Ok(None),
            Goal::Sweep { to, all } => self.next_sweep(state, to, all).await,
            Goal::Refund { to } => self.next_refund(state, to),
        }
    }

    async fn next_receive(&mut self, state: &AccountState) -> Result<Option<Next>, CoinsError> {
        let (least, goal) = (self.purse.settings.receive_min, self.goal);
        let (debts, refused) = (self.debts.clone(), self.refused.clone());
        let waiting = self.waiting().await?;
        let mut wanted: Vec<&Receivable> = waiting
            .iter()
            .filter(|send| match goal {
                Goal::Receive => send.amount >= Some(least),
                // What is owed back need not be touched to bring home the rest.
                Goal::Sweep { .. } => send.amount >= Some(least) && !owes(&debts, &send.hash),
                Goal::Refund { .. } => owes(&debts, &send.hash),
            })
            .collect();
        // The largest first; by hash where they are equal, so that the same facts make the same block.
        wanted.sort_by(|one, other| other.amount.cmp(&one.amount).then(one.hash.cmp(&other.hash)));
        let next = wanted.into_iter().find_map(|send| {
            // An amount that cannot be true is not taken.
            let block = state.receive(send.hash, send.amount?).ok()?;
            let next = Next { block, does: Does::Receive, counter: send.source, of: None };
            (!refused.contains(&next.block.fields.hash())).then_some(next)
        });
        Ok(next)
    }

    /// All there is, but for what is owed back and has been received; nothing if the chain on which it
    /// would be sent has something that is in no book.
    async fn next_sweep(
        &mut self,
        state: &AccountState,
        to: Account,
        all: bool,
    ) -> Result<Option<Next>, CoinsError> {
        if state.balance.is_zero() {
            return Ok(None);
        }
        let mut owed = Amount::ZERO;
        if !all {
            // What was only laid out is on no chain.
            let end =
                self.head.filter(|_| !self.planned.is_empty()).map_or(state.frontier, |head| head.frontier);
            let line = match self.purse.line_to(&self.own.account, end).await? {
                Ok(line) => line,
                Err(problem) => return Ok(self.not_swept(problem)),
            };
            let waiting = self.waiting.as_deref().unwrap_or_default();
            let doubt = match self.own.claim {
                Claim::Presumed => self.purse.doubt_on(&self.own, &line, waiting)?,
                _ => self.purse.unbooked(&self.own, &line)?,
            };
            if let Some(problem) = doubt {
                return Ok(self.not_swept(problem));
            }
            owed = self.received_and_owed(line.linked)?;
        }
        let Some(free) = state.balance.checked_sub(owed) else { return Ok(None) };
        Ok(state.send(to, free).ok().map(|block| Next {
            block,
            does: Does::Sweep,
            counter: Some(to),
            of: None,
        }))
    }

    fn not_swept(&mut self, problem: String) -> Option<Next> {
        self.obstacle.get_or_insert(problem);
        None
    }

    /// How much of what is owed back is on the chain, or will be. A node that is behind, or lies, calls
    /// waiting what was received long ago.
    fn received_and_owed(&self, mut received: BTreeSet<BlockHash>) -> Result<Amount, CoinsError> {
        let ours = self.purse.journal_of(&self.own.account)?;
        received.extend(ours.iter().map(|block| BlockHash::from_bytes(block.block.0.fields.link)));
        let listed: BTreeSet<BlockHash> = self.waiting.iter().flatten().map(|send| send.hash).collect();
        let waits = |debt: &&Debt| listed.contains(&debt.of) && !received.contains(&debt.of);
        let sent = self.sent_back()?;
        Ok(self.debts.iter().filter(|debt| !waits(debt)).map(|debt| debt.left(&sent)).sum())
    }

    /// The next block that goes back, whole and by itself.
    fn next_refund(&mut self, state: &AccountState, to: Option<Account>) -> Result<Option<Next>, CoinsError> {
        let sent = self.sent_back()?;
        for debt in self.debts.clone() {
            let amount = debt.left(&sent);
            if amount.is_zero() || self.denied.contains(&debt.of) {
                continue;
            }
            let Some(to) = to.or(debt.from) else {
                let why = format!("nobody knows who sent {}: say where to with --to", debt.of);
                self.obstacle.get_or_insert(why);
                continue;
            };
            match state.send(to, amount) {
                Ok(block) => {
                    let next = Next { block, does: Does::Refund, counter: Some(to), of: Some(debt.of) };
                    return Ok(Some(next));
                }
                Err(error) => {
                    let why = format!("{amount} raw of {} cannot go back: {error}", debt.of);
                    self.obstacle.get_or_insert(why);
                    self.short.entry(debt.of).or_default();
                }
            }
        }
        Ok(None)
    }

    /// How much was sent back of which payment, what was only laid out included.
    fn sent_back(&self) -> Result<BTreeMap<BlockHash, Amount>, CoinsError> {
        let mut sent = self.purse.sent_back(&self.own.account)?;
        for block in self.planned.iter().filter(|block| block.does == Does::Refund) {
            // What was laid out first was kept by an earlier life, and is counted.
            if let Some(of) = block.of
                && !self.purse.is_ours(&self.own.account, &block.hash())?
            {
                let sum = sent.entry(of).or_default();
                *sum = sum.saturating_add(block.amount);
            }
        }
        Ok(sent)
    }

    /// Makes the next block and keeps it; none if nothing is left to do or no more may be done.
    async fn make(
        &mut self,
        state: &AccountState,
        allowance: &mut Allowance,
    ) -> Result<Option<OwnBlock>, CoinsError> {
        let Some(next) = self.next_allowed(state).await? else { return Ok(None) };
        let hash = next.block.fields.hash();
        if next.does != Does::Receive && self.purse.is_ours(&self.own.account, &hash)? {
            // The same facts have made the same block before, and it was refused for good.
            self.obstacle = Some(format!("the block {hash} was refused for good: see `wallet history`"));
            return Ok(None);
        }
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

    /// The next block; none either if it would send back what may have gone back, or never came.
    async fn next_allowed(&mut self, state: &AccountState) -> Result<Option<Next>, CoinsError> {
        loop {
            let Some(next) = self.next(state).await? else {
                if self.has_gone_back(state).await? {
                    continue;
                }
                return Ok(None);
            };
            let Some(of) = next.of else { return Ok(Some(next)) };
            match self.purse.leave_to_send_back(&self.own, state.frontier, of).await? {
                Leave::Given => return Ok(Some(next)),
                // Another one is next, since one that is there already was recognised.
                Leave::Anew => {}
                // The others may still go.
                Leave::Denied(why) => {
                    self.obstacle.get_or_insert(why);
                    self.denied.insert(of);
                }
            }
        }
    }

    /// Whether a debt for which too little is there was paid back by a life that is not remembered. Each is
    /// asked about once.
    async fn has_gone_back(&mut self, state: &AccountState) -> Result<bool, CoinsError> {
        while let Some((of, asked)) = self.short.iter_mut().find(|(_, asked)| !**asked) {
            *asked = true;
            match self.purse.leave_to_send_back(&self.own, state.frontier, *of).await? {
                Leave::Given => {}
                Leave::Anew => {
                    self.obstacle = None;
                    return Ok(true);
                }
                // That says more than that there is too little.
                Leave::Denied(why) => self.obstacle = Some(why),
            }
        }
        Ok(false)
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
            of: next.of,
            fate: Fate::Open,
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
    async fn settle(&mut self, block: &OwnBlock, allowance: &mut Allowance) -> Result<Settled, CoinsError> {
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
            Published::Displaced(why) => return self.displaced(block, why).await,
            Published::Refused(why) => return self.refused(block, &why).await,
            Published::NotYet(why) => return Ok(Settled::Not(why)),
        }
        tell(format!("{} {} raw on {}: {}", block.does.name(), block.amount, self.own.account, block.hash()));
        Ok(Settled::There)
    }

    /// Another block has its place, which the chain must show; until it does, nothing can be done.
    async fn displaced(&mut self, block: &OwnBlock, why: String) -> Result<Settled, CoinsError> {
        (self.head, self.waiting) = (None, None);
        tokio::time::sleep(TRY_AGAIN).await;
        if matches!(self.head().await?, Ok(state) if state.frontier == block.block.0.fields.previous) {
            return Ok(Settled::Not(why));
        }
        match self.purse.look_at_refunds(&self.own).await? {
            Some(problem) => Ok(Settled::Not(problem)),
            None => Ok(Settled::Again),
        }
    }

    /// It can never be on the ledger, if its place is still the next one; then it is given up.
    async fn refused(&mut self, block: &OwnBlock, why: &str) -> Result<Settled, CoinsError> {
        (self.head, self.waiting) = (None, None);
        let is_next =
            matches!(self.head().await?, Ok(state) if state.frontier == block.block.0.fields.previous);
        if is_next {
            self.purse.set_aside(block, why).await?;
            self.refused.insert(block.hash());
            (self.tell)(format!("{} was given up for good: {why}", block.hash()));
        }
        Ok(Settled::Again)
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

fn owes(debts: &[Debt], hash: &BlockHash) -> bool {
    debts.iter().any(|debt| debt.of == *hash)
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
