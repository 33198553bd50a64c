//! Whether a block may be added: the checks of a node, in a node's order.

use nano_currency::block::StateBlock;
use nano_currency::work::Difficulty;
use nano_currency::{Account, Amount, BlockHash};

use super::{AccountState, Epoch, Kind, Ledger, Receivable, Stored, dev_genesis_key, epoch_of_link};
use crate::block::Block;

/// Why a block is not added; the text is the node's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not even worth looking at.
    #[error("Block work is less than threshold")]
    WorkBelowEntry,
    /// Known already.
    #[error("Old block")]
    Old,
    /// Not by the account, nor by an epoch's signer.
    #[error("Bad signature")]
    BadSignature,
    /// Nobody has the key of the burn account.
    #[error("Burn account is not allowed to open")]
    OpenedBurnAccount,
    /// The predecessor is unknown.
    #[error("Gap previous block")]
    GapPrevious,
    /// The send to be received is unknown.
    #[error("Gap source block")]
    GapSource,
    /// An unopened account without receivables cannot be upgraded.
    #[error("Gap pending for open epoch block")]
    GapEpochOpenPending,
    /// Another block stands in its place.
    #[error("Fork")]
    Fork,
    /// Not to this account, or received already.
    #[error("Unreceivable")]
    Unreceivable,
    /// The balance is not what the amount makes it.
    #[error("Balance and amount delta do not match")]
    BalanceMismatch,
    /// An epoch block changes nothing but the version.
    #[error("Representative mismatch")]
    RepresentativeMismatch,
    /// A legacy send that would leave more than there was.
    #[error("Negative spend")]
    NegativeSpend,
    /// A legacy block after a state block, or an epoch out of order.
    #[error("This block cannot follow the previous block")]
    BlockPosition,
    /// Enough to be looked at, too little for what it does.
    #[error("Block work is insufficient")]
    InsufficientWork,
}

/// Why a block is not what `subtype` says; the text is the node's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubtypeRefusal {
    /// The block's predecessor is unknown.
    #[error("Gap previous block")]
    GapPrevious,
    /// Not one of send, receive, open, change and epoch.
    #[error("Invalid block subtype")]
    Unknown,
    /// The balance moves the other way, or not at all.
    #[error("Invalid block balance for given subtype")]
    Balance,
    /// An open has no predecessor, a change has one.
    #[error("Invalid previous block for given subtype")]
    Previous,
    /// The link of an epoch block names no epoch.
    #[error("Invalid epoch link")]
    EpochLink,
}

/// What adding a block would do, once every check has passed.
struct Plan {
    account: Account,
    kind: Kind,
    balance: Amount,
    amount: Amount,
    representative: Account,
    epoch: Epoch,
    destination: Option<Account>,
    source: Option<BlockHash>,
}

impl Ledger {
    /// Adds a block if it passes every check.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn process(&mut self, block: Block, now_seconds: u64) -> Result<BlockHash, Refusal> {
        let hash = block.hash();
        self.ensure_entry_work(&block)?;
        if self.blocks.contains_key(&hash) {
            return Err(Refusal::Old);
        }
        let plan = match &block {
            Block::State(state) => self.plan_state(state)?,
            legacy => self.plan_legacy(legacy)?,
        };
        ensure_work(&block, self.threshold(&block, &plan))?;
        self.insert(hash, block, plan, now_seconds);
        Ok(hash)
    }

    /// The test a node makes first when `subtype` is given: against the balance as it is now, so
    /// that a block sent twice fails here and not as old.
    ///
    /// # Errors
    /// How block and subtype disagree.
    pub fn ensure_subtype(&self, block: &StateBlock, subtype: &str) -> Result<(), SubtypeRefusal> {
        let fields = &block.fields;
        let is_first = fields.previous == BlockHash::ZERO;
        if !is_first && !self.blocks.contains_key(&fields.previous) {
            return Err(SubtypeRefusal::GapPrevious);
        }
        let balance = self.balance(&fields.account);
        let (balance_fits, previous_fits) = match subtype {
            "send" => (balance > fields.balance, true),
            "receive" => (balance <= fields.balance, true),
            "open" => (true, is_first),
            "change" => (balance == fields.balance, !is_first),
            "epoch" => (balance == fields.balance, true),
            _ => return Err(SubtypeRefusal::Unknown),
        };
        if !balance_fits {
            return Err(SubtypeRefusal::Balance);
        }
        if !previous_fits {
            return Err(SubtypeRefusal::Previous);
        }
        if subtype == "epoch" && epoch_of_link(&fields.link).is_none() {
            return Err(SubtypeRefusal::EpochLink);
        }
        Ok(())
    }

    /// The least work with which a block is looked at.
    fn ensure_entry_work(&self, block: &Block) -> Result<(), Refusal> {
        let thresholds = self.network.work();
        let entry = match block {
            Block::State(_) => thresholds.receive,
            _ => thresholds.epoch_1,
        };
        if block.work().difficulty(block.work_root()) < entry { Err(Refusal::WorkBelowEntry) } else { Ok(()) }
    }

    fn threshold(&self, block: &Block, plan: &Plan) -> Difficulty {
        let thresholds = self.network.work();
        match (block, plan.kind) {
            (Block::State(_), Kind::Receive | Kind::Epoch) if plan.epoch == 2 => thresholds.receive,
            (Block::State(_), Kind::Send | Kind::Change) if plan.epoch == 2 => thresholds.send,
            _ => thresholds.epoch_1,
        }
    }

    fn plan_state(&self, block: &StateBlock) -> Result<Plan, Refusal> {
        if let Some(epoch) = epoch_of_link(&block.fields.link) {
            let previous = block.fields.previous;
            let balance_before = match previous == BlockHash::ZERO {
                true => Amount::ZERO,
                false => self.blocks.get(&previous).ok_or(Refusal::GapPrevious)?.balance,
            };
            // A send to the address that an epoch link spells stays a send.
            if balance_before == block.fields.balance {
                return self.plan_epoch(block, epoch);
            }
        }
        ensure_signed(&Block::State(*block), &block.fields.account)?;
        if block.fields.account == Account::BURN {
            return Err(Refusal::OpenedBurnAccount);
        }
        match self.accounts.get(&block.fields.account) {
            Some(state) => self.plan_next(block, state),
            None => self.plan_first(block),
        }
    }

    fn plan_next(&self, block: &StateBlock, state: &AccountState) -> Result<Plan, Refusal> {
        let fields = &block.fields;
        if fields.previous == BlockHash::ZERO {
            return Err(Refusal::Fork);
        }
        if !self.blocks.contains_key(&fields.previous) {
            return Err(Refusal::GapPrevious);
        }
        let head = self.blocks.get(&state.frontier).ok_or(Refusal::GapPrevious)?;
        if fields.previous != state.frontier {
            return Err(Refusal::Fork);
        }
        if let Some(amount) = head.balance.checked_sub(fields.balance).filter(|amount| !amount.is_zero()) {
            let destination = Some(Account::from_bytes(fields.link));
            return Ok(Plan { amount, destination, ..plan(block, Kind::Send, head.epoch) });
        }
        let amount = fields.balance.checked_sub(head.balance).unwrap_or(Amount::ZERO);
        if fields.link != [0; 32] {
            return self.plan_receive(block, amount, head.epoch);
        }
        if !amount.is_zero() {
            return Err(Refusal::BalanceMismatch);
        }
        Ok(plan(block, Kind::Change, head.epoch))
    }

    fn plan_first(&self, block: &StateBlock) -> Result<Plan, Refusal> {
        if block.fields.previous != BlockHash::ZERO {
            return Err(Refusal::GapPrevious);
        }
        if block.fields.link == [0; 32] {
            return Err(Refusal::GapSource);
        }
        self.plan_receive(block, block.fields.balance, 0)
    }

    fn plan_receive(&self, block: &StateBlock, amount: Amount, epoch: Epoch) -> Result<Plan, Refusal> {
        let source = BlockHash::from_bytes(block.fields.link);
        if !self.blocks.contains_key(&source) {
            return Err(Refusal::GapSource);
        }
        let receivable = self.receivable(&block.fields.account, &source).ok_or(Refusal::Unreceivable)?;
        if receivable.amount != amount {
            return Err(Refusal::BalanceMismatch);
        }
        let epoch = epoch.max(receivable.epoch);
        Ok(Plan { amount, source: Some(source), ..plan(block, Kind::Receive, epoch) })
    }

    fn plan_epoch(&self, block: &StateBlock, epoch: Epoch) -> Result<Plan, Refusal> {
        let fields = &block.fields;
        ensure_signed(&Block::State(*block), &dev_genesis_key().account())?;
        if fields.account == Account::BURN {
            return Err(Refusal::OpenedBurnAccount);
        }
        match self.accounts.get(&fields.account) {
            Some(state) => {
                if fields.previous != state.frontier {
                    return Err(Refusal::Fork);
                }
                let head = self.blocks.get(&state.frontier).ok_or(Refusal::GapPrevious)?;
                if fields.representative != head.representative {
                    return Err(Refusal::RepresentativeMismatch);
                }
                if epoch != head.epoch + 1 {
                    return Err(Refusal::BlockPosition);
                }
            }
            None => {
                if fields.representative != Account::BURN {
                    return Err(Refusal::RepresentativeMismatch);
                }
                if self.receivables(&fields.account).next().is_none() {
                    return Err(Refusal::GapEpochOpenPending);
                }
            }
        }
        Ok(plan(block, Kind::Epoch, epoch))
    }

    fn plan_legacy(&self, block: &Block) -> Result<Plan, Refusal> {
        if let Block::Open(open) = block {
            ensure_signed(block, &open.account)?;
            self.ensure_known_source(&open.source)?;
            if self.accounts.contains_key(&open.account) {
                return Err(Refusal::Fork);
            }
            let receivable = self.legacy_receivable(&open.account, &open.source)?;
            return Ok(Plan {
                amount: receivable.amount,
                source: Some(open.source),
                ..legacy_plan(open.account, Kind::Receive, receivable.amount, open.representative)
            });
        }
        let head = self.blocks.get(&block.previous()).ok_or(Refusal::GapPrevious)?;
        if matches!(head.block, Block::State(_)) {
            return Err(Refusal::BlockPosition);
        }
        if head.successor.is_some() {
            return Err(Refusal::Fork);
        }
        ensure_signed(block, &head.account)?;
        self.plan_legacy_next(block, head)
    }

    fn plan_legacy_next(&self, block: &Block, head: &Stored) -> Result<Plan, Refusal> {
        match block {
            Block::Send(send) => {
                let amount = head.balance.checked_sub(send.balance).ok_or(Refusal::NegativeSpend)?;
                let destination = Some(send.destination);
                let plan = legacy_plan(head.account, Kind::Send, send.balance, head.representative);
                Ok(Plan { amount, destination, ..plan })
            }
            Block::Receive(receive) => {
                self.ensure_known_source(&receive.source)?;
                let receivable = self.legacy_receivable(&head.account, &receive.source)?;
                let balance = head.balance.checked_add(receivable.amount).ok_or(Refusal::BalanceMismatch)?;
                let plan = legacy_plan(head.account, Kind::Receive, balance, head.representative);
                Ok(Plan { amount: receivable.amount, source: Some(receive.source), ..plan })
            }
            Block::Change(change) => {
                Ok(legacy_plan(head.account, Kind::Change, head.balance, change.representative))
            }
            Block::State(_) | Block::Open(_) => Err(Refusal::BlockPosition),
        }
    }

    fn ensure_known_source(&self, source: &BlockHash) -> Result<(), Refusal> {
        if self.blocks.contains_key(source) { Ok(()) } else { Err(Refusal::GapSource) }
    }

    /// Legacy blocks cannot take what an upgraded account sent.
    fn legacy_receivable(&self, account: &Account, source: &BlockHash) -> Result<Receivable, Refusal> {
        self.receivable(account, source)
            .filter(|receivable| receivable.epoch == 0)
            .copied()
            .ok_or(Refusal::Unreceivable)
    }

    fn insert(&mut self, hash: BlockHash, block: Block, plan: Plan, now_seconds: u64) {
        let previous = block.previous();
        let height = match self.blocks.get_mut(&previous) {
            Some(before) => {
                before.successor = Some(hash);
                before.height + 1
            }
            None => 1,
        };
        if let Some(destination) = plan.destination {
            let receivable = Receivable { amount: plan.amount, source: plan.account, epoch: plan.epoch };
            self.receivables.insert((destination, hash), receivable);
        }
        if let Some(source) = plan.source {
            self.receivables.remove(&(plan.account, source));
            if let Some(send) = self.blocks.get_mut(&source) {
                send.received_by = Some(hash);
            }
        }
        self.accounts.entry(plan.account).and_modify(|state| state.frontier = hash).or_insert(AccountState {
            frontier: hash,
            open: hash,
            confirmed_height: 0,
        });
        self.blocks.insert(
            hash,
            Stored {
                block,
                account: plan.account,
                height,
                balance: plan.balance,
                amount: plan.amount,
                kind: plan.kind,
                local_timestamp: now_seconds,
                successor: None,
                epoch: plan.epoch,
                representative: plan.representative,
                destination: plan.destination,
                source: plan.source,
                received_by: None,
                confirmed: false,
            },
        );
    }
}

/// A state block's plan, in which nothing moves.
fn plan(block: &StateBlock, kind: Kind, epoch: Epoch) -> Plan {
    let fields = &block.fields;
    Plan {
        account: fields.account,
        kind,
        balance: fields.balance,
        amount: Amount::ZERO,
        representative: fields.representative,
        epoch,
        destination: None,
        source: None,
    }
}

/// A legacy block's plan, in which nothing moves. Legacy chains have never been upgraded.
fn legacy_plan(account: Account, kind: Kind, balance: Amount, representative: Account) -> Plan {
    Plan {
        account,
        kind,
        balance,
        amount: Amount::ZERO,
        representative,
        epoch: 0,
        destination: None,
        source: None,
    }
}

fn ensure_signed(block: &Block, signer: &Account) -> Result<(), Refusal> {
    if block.signature().verifies(signer, block.hash().as_bytes()) {
        Ok(())
    } else {
        Err(Refusal::BadSignature)
    }
}

fn ensure_work(block: &Block, threshold: Difficulty) -> Result<(), Refusal> {
    if block.work().difficulty(block.work_root()) < threshold {
        Err(Refusal::InsufficientWork)
    } else {
        Ok(())
    }
}
