//! Why a block counts for a job, or does not: rule by rule, in words. Pure.

use nano_currency::quorum::{Verdict as Agreement, Word};
use nano_currency::rpc::panel::{Round, Trust};
use nano_currency::{Account, Amount, BlockHash};
use serde::Serialize;

use super::nodes::{disagreement, tell};
use crate::protocol::JobId;

/// One rule, applied to one block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Its name.
    pub rule: &'static str,
    /// Whether it holds; absent where that cannot be told.
    pub holds: Option<bool>,
    /// Why.
    pub why: String,
}

/// Who should have been paid, as the worker's own records have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payee {
    /// The job.
    pub job: JobId,
    /// Its address.
    pub account: Account,
    /// The price, while the worker still needs it.
    pub price: Option<Amount>,
}

/// A block, and all that bears on it.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The block.
    pub hash: BlockHash,
    /// What the nodes said.
    pub round: &'a Round,
    /// How many must agree.
    pub quorum: usize,
    /// How far they are tested.
    pub trust: Trust,
    /// Whose payment it should be.
    pub payee: Option<Payee>,
    /// Which job it was counted for.
    pub claimed_by: Option<JobId>,
}

fn rule(rule: &'static str, holds: impl Into<Option<bool>>, why: impl Into<String>) -> Rule {
    Rule { rule, holds: holds.into(), why: why.into() }
}

/// The rules that one block must pass, in the order in which they are applied.
#[must_use]
pub fn rules(case: &Case<'_>) -> Vec<Rule> {
    let mut rules = vec![truthful(case)];
    let word = match case.round.verdict(&case.hash, case.quorum) {
        Agreement::Agreed { word, dissent } => {
            let beside =
                if dissent.is_empty() { String::new() } else { format!(" ({} do not)", dissent.len()) };
            rules.push(rule("agreed", true, format!("enough nodes say: {}{beside}", tell(&word))));
            word
        }
        Agreement::Unknown { said } => {
            rules.push(rule("agreed", None, disagreement(&said, case.quorum)));
            return rules;
        }
    };
    match word {
        Word::NotFound => rules.push(rule("exists", false, "no node knows it: not yet, or not any more")),
        Word::NoPayment { .. } => rules.push(rule("send", false, "it pays nobody")),
        Word::Sent { from, to, amount, confirmed } => {
            rules.push(rule("send", true, format!("{from} sends {amount} raw")));
            rules.push(destination(case, to));
            rules.push(unclaimed(case));
            rules.push(confirmation(confirmed));
            rules.extend(case.payee.and_then(|payee| payee.price).map(|price| enough(amount, price)));
        }
    }
    rules
}

fn truthful(case: &Case<'_>) -> Rule {
    let lies: Vec<String> =
        case.round.lies.iter().filter(|lie| lie.hash == case.hash).map(ToString::to_string).collect();
    match (case.trust, lies.is_empty()) {
        (Trust::Rpc, _) => rule("proof", None, "not tested: verify = \"rpc\""),
        (Trust::Proof, true) => rule("proof", true, "what the nodes say is what the block itself says"),
        (Trust::Proof, false) => rule("proof", false, lies.join("; ")),
    }
}

fn destination(case: &Case<'_>, to: Account) -> Rule {
    match case.payee {
        Some(payee) if payee.account == to => {
            rule("destination", true, format!("{to} is of job {}", payee.job))
        }
        Some(payee) => {
            rule("destination", false, format!("it pays {to}, and job {} has {}", payee.job, payee.account))
        }
        None => rule("destination", false, format!("{to} is no address of this worker's jobs")),
    }
}

fn unclaimed(case: &Case<'_>) -> Rule {
    match (case.claimed_by, case.payee) {
        (None, _) => rule("unclaimed", true, "it was not counted for any job"),
        (Some(job), Some(payee)) if job == payee.job => {
            rule("unclaimed", true, "it was counted for this job")
        }
        (Some(job), _) => rule("unclaimed", false, format!("it was counted for job {job}")),
    }
}

fn confirmation(confirmed: bool) -> Rule {
    let why =
        if confirmed { "the network has decided for it" } else { "the network has not decided for it yet" };
    rule("confirmed", confirmed, why)
}

/// Less than the price is no fault of a block: parts are summed.
fn enough(amount: Amount, price: Amount) -> Rule {
    let why = match amount.cmp(&price) {
        std::cmp::Ordering::Less => format!("{amount} raw are a part of {price} raw"),
        std::cmp::Ordering::Equal => "it is the price".to_owned(),
        std::cmp::Ordering::Greater => format!("{amount} raw are more than {price} raw"),
    };
    rule("amount", amount >= price, why)
}

#[cfg(test)]
mod tests {
    use nano_currency::quorum::Testimony;

    use super::*;

    const HASH: BlockHash = BlockHash::from_bytes([5; 32]);

    fn account(number: u8) -> Account {
        Account::from_bytes([number; 32])
    }

    fn job(number: u8) -> JobId {
        JobId::from_random([number; 16])
    }

    fn sent(to: u8, amount: u128, confirmed: bool) -> Word {
        Word::Sent { from: account(9), to: account(to), amount: Amount::from_raw(amount), confirmed }
    }

    fn broken(word: Word, claimed_by: Option<JobId>, payee: bool) -> Vec<&'static str> {
        let testimony = Testimony { node: "a".to_owned(), said: Ok(word) };
        let round = Round { said: [(HASH, vec![testimony])].into(), ..Round::default() };
        let payee =
            payee.then(|| Payee { job: job(1), account: account(1), price: Some(Amount::from_raw(100)) });
        let case = Case { hash: HASH, round: &round, quorum: 1, trust: Trust::Proof, payee, claimed_by };
        rules(&case).into_iter().filter(|rule| rule.holds != Some(true)).map(|rule| rule.rule).collect()
    }

    #[test]
    fn each_rule_is_named_where_it_does_not_hold() {
        let none: [&str; 0] = [];
        assert_eq!(broken(sent(1, 100, true), None, true), none);
        assert_eq!(broken(sent(1, 100, true), Some(job(1)), true), none);
        assert_eq!(broken(sent(1, 100, true), Some(job(2)), true), ["unclaimed"]);
        assert_eq!(broken(sent(2, 100, true), None, true), ["destination"]);
        assert_eq!(broken(sent(1, 100, true), None, false), ["destination"]);
        assert_eq!(broken(sent(1, 100, false), None, true), ["confirmed"]);
        assert_eq!(broken(sent(1, 99, true), None, true), ["amount"]);
        assert_eq!(broken(Word::NotFound, None, true), ["exists"]);
        assert_eq!(broken(Word::NoPayment { confirmed: true }, None, true), ["send"]);
    }
}
