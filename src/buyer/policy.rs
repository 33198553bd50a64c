//! What may be spent: limits that whoever runs the program cannot lift by asking for it. Pure.
//!
//! A policy is judged twice. Before a quote is agreed to, so that no seller waits in vain; and once
//! more in the same turn in which a block is signed and its amount written down, so that no two
//! purchases spend the same allowance. What was signed counts, whether it was published or not.

use std::time::Duration;

use nano_currency::{Account, Amount};
use serde::{Deserialize, Serialize};

use super::order::OrderId;
use crate::protocol::PublicKey;

/// How long a payment counts: not a date, which would change at midnight and with the time zone.
pub const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Limits, each absent or in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Where it is written, for whoever is refused.
    pub place: String,
    /// The most for one job.
    pub per_job: Option<Amount>,
    /// The most for one seller within a [`DAY`].
    pub per_seller: Option<Amount>,
    /// The most for all sellers within a [`DAY`].
    pub per_day: Option<Amount>,
    /// The sellers who may be paid; an empty list is nobody.
    pub sellers: Option<Vec<PublicKey>>,
    /// A person has to confirm what costs more.
    pub confirm_above: Option<Amount>,
    /// Where the account may be emptied to; an empty list is nowhere.
    pub withdraw_to: Vec<Account>,
}

/// A payment that is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spend {
    /// For which purchase.
    pub order: OrderId,
    /// Who is paid.
    pub seller: PublicKey,
    /// How much.
    pub amount: Amount,
}

/// A payment that was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Who was paid, where that was written down.
    pub seller: Option<PublicKey>,
    /// How much.
    pub amount: Amount,
}

/// Which rule forbids it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// One job costs too much.
    #[error("{place} allows {} XNO for one job, and this one costs {} XNO", .max.to_xno(), .price.to_xno())]
    Job {
        /// Whose rule.
        place: String,
        /// What it costs.
        price: Amount,
        /// What it may cost.
        max: Amount,
    },
    /// Not somebody who may be paid.
    #[error("{place} does not list the seller {seller}")]
    Seller {
        /// Whose rule.
        place: String,
        /// Who it is.
        seller: PublicKey,
    },
    /// One seller would get too much.
    #[error(
        "{place} allows {} XNO for one seller within 24 hours: {} XNO are spent, and this costs {} XNO",
        .max.to_xno(), .spent.to_xno(), .price.to_xno()
    )]
    SellerDay {
        /// Whose rule.
        place: String,
        /// What the seller got or will get.
        spent: Amount,
        /// What it costs.
        price: Amount,
        /// What all of it may cost.
        max: Amount,
    },
    /// All of them would get too much.
    #[error(
        "{place} allows {} XNO within 24 hours: {} XNO are spent, and this costs {} XNO",
        .max.to_xno(), .spent.to_xno(), .price.to_xno()
    )]
    Day {
        /// Whose rule.
        place: String,
        /// What was paid.
        spent: Amount,
        /// What it costs.
        price: Amount,
        /// What all of it may cost.
        max: Amount,
    },
    /// Nobody is there to be asked.
    #[error(
        "{place} wants a person to confirm what costs more than {} XNO, and there is no terminal to ask on",
        .above.to_xno()
    )]
    NoPerson {
        /// Whose rule.
        place: String,
        /// Above what.
        above: Amount,
    },
    /// A person said no.
    #[error("the payment was not confirmed")]
    Declined,
    /// The account may not be emptied to there.
    #[error("{place} does not list {to} under withdraw_to")]
    Withdrawal {
        /// Whose rule.
        place: String,
        /// Where to.
        to: Account,
    },
}

impl Forbidden {
    /// Its name, for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Job { .. } => "policy.per_job",
            Self::Seller { .. } => "policy.seller",
            Self::SellerDay { .. } => "policy.per_seller",
            Self::Day { .. } => "policy.per_day",
            Self::NoPerson { .. } => "policy.no_person",
            Self::Declined => "policy.declined",
            Self::Withdrawal { .. } => "policy.withdrawal",
        }
    }
}

/// Judges a payment by all policies. `past` is what was signed within a [`DAY`]; what was signed
/// for the same purchase does not count again, because only one of its blocks ever counts.
///
/// Returns the lowest price above which a person must confirm, with the place that says so.
///
/// # Errors
/// The first rule that forbids it.
pub fn judge<'a>(
    policies: &'a [Policy],
    spend: &Spend,
    past: &[(OrderId, Spent)],
) -> Result<Option<(&'a str, Amount)>, Forbidden> {
    let others = past.iter().filter(|(order, _)| *order != spend.order).map(|(_, spent)| spent);
    let all = others.clone().map(|spent| spent.amount).fold(Amount::ZERO, Amount::saturating_add);
    // A payment whose seller was not written down may have been this one's.
    let theirs = others.filter(|spent| spent.seller.is_none_or(|seller| seller == spend.seller));
    let theirs = theirs.map(|spent| spent.amount).fold(Amount::ZERO, Amount::saturating_add);
    for policy in policies {
        policy.judge(spend, theirs, all)?;
    }
    let asks = policies.iter().filter_map(|policy| Some((policy.place.as_str(), policy.confirm_above?)));
    Ok(asks.filter(|(_, above)| spend.amount > *above).min_by_key(|(_, above)| *above))
}

/// Judges a withdrawal by all policies.
///
/// # Errors
/// If one of them does not name the account.
pub fn judge_withdrawal(policies: &[Policy], to: Account) -> Result<(), Forbidden> {
    match policies.iter().find(|policy| !policy.withdraw_to.contains(&to)) {
        Some(policy) => Err(Forbidden::Withdrawal { place: policy.place.clone(), to }),
        None => Ok(()),
    }
}

impl Policy {
    fn judge(&self, spend: &Spend, theirs: Amount, all: Amount) -> Result<(), Forbidden> {
        let (place, price) = (|| self.place.clone(), spend.amount);
        if let Some(max) = self.per_job.filter(|max| price > *max) {
            return Err(Forbidden::Job { place: place(), price, max });
        }
        if self.sellers.as_ref().is_some_and(|sellers| !sellers.contains(&spend.seller)) {
            return Err(Forbidden::Seller { place: place(), seller: spend.seller });
        }
        // More than fits is above every limit.
        let exceeds = |spent: Amount, max: &Amount| spent.checked_add(price).is_none_or(|sum| sum > *max);
        if let Some(max) = self.per_seller.filter(|max| exceeds(theirs, max)) {
            return Err(Forbidden::SellerDay { place: place(), spent: theirs, price, max });
        }
        if let Some(max) = self.per_day.filter(|max| exceeds(all, max)) {
            return Err(Forbidden::Day { place: place(), spent: all, price, max });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw(amount: u128) -> Amount {
        Amount::from_raw(amount)
    }

    fn seller(number: u8) -> PublicKey {
        PublicKey::from_bytes([number; 32])
    }

    fn order(number: u8) -> OrderId {
        OrderId::from_bytes([number; 16])
    }

    fn spend(who: u8, amount: u128) -> Spend {
        Spend { order: order(0), seller: seller(who), amount: raw(amount) }
    }

    fn past(list: &[(u8, Option<u8>, u128)]) -> Vec<(OrderId, Spent)> {
        let spent = |who: Option<u8>, amount| Spent { seller: who.map(seller), amount: raw(amount) };
        list.iter().map(|&(number, who, amount)| (order(number), spent(who, amount))).collect()
    }

    fn policy() -> Policy {
        Policy {
            place: "the policy".to_owned(),
            per_job: Some(raw(50)),
            per_seller: Some(raw(100)),
            per_day: Some(raw(150)),
            sellers: Some(vec![seller(1), seller(2)]),
            confirm_above: Some(raw(40)),
            withdraw_to: vec![Account::from_bytes([7; 32])],
        }
    }

    #[test]
    fn each_rule_forbids_by_its_name() {
        /// What was spent before (seller, job, raw), what is to be spent, and the rule that forbids it.
        type Row = (&'static [(u8, Option<u8>, u128)], Spend, &'static str);
        let table: &[Row] = &[
            (&[], spend(1, 50), ""),
            (&[], spend(1, 51), "policy.per_job"),
            (&[], spend(3, 1), "policy.seller"),
            (&[(1, Some(1), 60)], spend(1, 40), ""),
            (&[(1, Some(1), 60)], spend(1, 41), "policy.per_seller"),
            (&[(1, Some(2), 60)], spend(1, 50), ""),
            // Nobody knows whom an early payment was for.
            (&[(1, None, 60)], spend(1, 41), "policy.per_seller"),
            (&[(1, Some(1), 60), (2, Some(2), 60)], spend(2, 30), ""),
            (&[(1, Some(1), 60), (2, Some(2), 60)], spend(2, 31), "policy.per_day"),
            // A new block in place of one that never will count.
            (&[(0, Some(1), 50), (1, Some(1), 60)], spend(1, 40), ""),
            (&[(1, Some(2), u128::MAX)], spend(1, 1), "policy.per_day"),
        ];
        let policies = [policy()];
        for (past_list, spend, code) in table {
            let judged = judge(&policies, spend, &past(past_list));
            assert_eq!(judged.as_ref().map_or_else(Forbidden::code, |_| ""), *code, "{spend:?}: {judged:?}");
        }
    }

    #[test]
    fn of_several_policies_the_strictest_counts() {
        let loose = Policy { place: "another".to_owned(), confirm_above: Some(raw(10)), ..Policy::default() };
        let both = [loose.clone(), policy()];
        assert_eq!(judge(&both, &spend(1, 45), &[]), Ok(Some(("another", raw(10)))));
        assert_eq!(judge(&both, &spend(1, 10), &[]), Ok(None));
        assert_eq!(judge(&both, &spend(1, 51), &[]).unwrap_err().code(), "policy.per_job");
        assert_eq!(judge(&[], &spend(9, u128::MAX), &[]), Ok(None));
        let nobody = Policy { sellers: Some(Vec::new()), ..Policy::default() };
        assert_eq!(judge(&[nobody], &spend(1, 1), &[]).unwrap_err().code(), "policy.seller");
        let home = Account::from_bytes([7; 32]);
        assert_eq!(judge_withdrawal(&[], home), Ok(()));
        assert_eq!(judge_withdrawal(&[policy()], home), Ok(()));
        assert_eq!(judge_withdrawal(&[policy()], Account::BURN).unwrap_err().code(), "policy.withdrawal");
        assert_eq!(judge_withdrawal(&both, home).unwrap_err().code(), "policy.withdrawal");
    }

    proptest! {
        /// Whatever is asked for, in whatever order, what is allowed never adds up to more.
        #[test]
        fn a_day_never_exceeds_its_limits(asked in proptest::collection::vec((1u8..5, 0u128..80), 0..40)) {
            let policy = [Policy { sellers: None, ..policy() }];
            let mut signed: Vec<(OrderId, Spent)> = Vec::new();
            for (number, (who, amount)) in (1u8..).zip(asked) {
                let spend = Spend { order: order(number), ..spend(who, amount) };
                if judge(&policy, &spend, &signed).is_ok() {
                    signed.push((spend.order, Spent { seller: Some(spend.seller), amount: spend.amount }));
                }
            }
            let sum = |who: Option<u8>| -> u128 {
                let fits = |spent: &Spent| who.is_none_or(|who| spent.seller == Some(seller(who)));
                signed.iter().filter(|(_, spent)| fits(spent)).map(|(_, spent)| spent.amount.raw()).sum()
            };
            prop_assert!(sum(None) <= 150);
            prop_assert!((1..5).all(|who| sum(Some(who)) <= 100));
        }
    }
}
