//! The policy where money is spent: asked before anything is agreed to, and again when a block is
//! signed.

use std::fmt;
use std::sync::Arc;

use nano_currency::{Account, Amount};

use super::Buyer;
use super::error::BuyError;
use super::memory::Kept;
use super::order::{Agreed, Order, Signed};
use super::policy::{self, Forbidden, Policy, Spend, Spent};
use crate::protocol::PublicKey;

/// Asks a person whether a payment may be made, and waits for the answer.
pub type Person = Arc<dyn Fn(&Spend) -> bool + Send + Sync>;

/// Who watches over what is spent.
#[derive(Clone, Default)]
pub struct Guard {
    /// What may be spent: all of these.
    pub policies: Vec<Policy>,
    /// Who confirms what a policy wants confirmed; nobody, where no person can be asked.
    pub person: Option<Person>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guard({:?}, {})", self.policies, if self.person.is_some() { "a person" } else { "nobody" })
    }
}

impl Buyer {
    fn guard(&self) -> &Guard {
        &self.inner.parts.guard
    }

    /// Whether this may be agreed to; without asking anybody yet.
    pub(super) fn may_spend(&self, order: &Order, agreed: &Agreed) -> Result<(), BuyError> {
        let asks = self.judge(&spend(order, agreed))?;
        match asks.filter(|_| self.guard().person.is_none()) {
            Some((place, above)) => Err(Forbidden::NoPerson { place: place.to_owned(), above }.into()),
            None => Ok(()),
        }
    }

    /// Whether this may be paid: a person is asked where a policy wants it. Nothing is spent yet.
    pub(super) async fn confirm(&self, order: &Order, agreed: &Agreed) -> Result<(), BuyError> {
        self.may_spend(order, agreed)?;
        let spend = spend(order, agreed);
        if self.judge(&spend)?.is_none() {
            return Ok(());
        }
        let Some(person) = self.guard().person.clone() else { return Err(Forbidden::Declined.into()) };
        // A person takes minutes, and blocks a thread meanwhile.
        let answered = tokio::task::spawn_blocking(move || person(&spend)).await;
        if answered.unwrap_or(false) { Ok(()) } else { Err(Forbidden::Declined.into()) }
    }

    /// Keeps the block that pays and what it spends, if the policies allow it now: one purchase at a
    /// time, so that no two see the same allowance.
    pub(super) async fn keep_payment(
        &self,
        block: &Signed,
        order: &mut Order,
        agreed: &Agreed,
    ) -> Result<(), BuyError> {
        let _turn = self.inner.spending.lock().await;
        self.judge(&spend(order, agreed))?;
        let (at, _) = self.memory().spent(self.clock().now())?;
        order.payment = Some(*block);
        let kept = Kept { order: Some(order.id), ..Kept::new(*block, at, agreed.amount) };
        let spent = Spent { seller: agreed.seller, amount: agreed.amount };
        Ok(self.memory().keep(&kept, Some(order), Some((at, spent))).await?)
    }

    /// Whether the account may be emptied to there.
    pub(super) fn may_withdraw(&self, to: Account) -> Result<(), BuyError> {
        Ok(policy::judge_withdrawal(&self.guard().policies, to)?)
    }

    fn judge(&self, spend: &Spend) -> Result<Option<(&str, Amount)>, BuyError> {
        let (_, past) = self.memory().spent(self.clock().now())?;
        Ok(policy::judge(&self.guard().policies, spend, &past)?)
    }
}

fn spend(order: &Order, agreed: &Agreed) -> Spend {
    // A seller whose name is not known is on no list.
    let seller = agreed.seller.unwrap_or(PublicKey::from_bytes([0; 32]));
    Spend { order: order.id, seller, amount: agreed.amount }
}
