//! What came to the invoices, block by block, and what of it is owed back. Pure.
//!
//! Of each confirmed block that paid an invoice of ours there is one [`Piece`], and none is ever
//! forgotten. What is owed back is decided when the job is over, or when the block comes after that;
//! once it is, only its refund ends it.

use nano_currency::{Account, Amount, BlockHash};
use serde::{Deserialize, Serialize};

use super::oddity::{Oddity, Policy};
use super::stage::Ending;
use crate::protocol::{Status, Timestamp};

/// A confirmed block that paid an invoice of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// How much it brought.
    pub amount: Amount,
    /// Who sent it, if that is known.
    pub from: Option<Account>,
    /// The invoice's account.
    pub account: Account,
    /// Which of the seed's accounts that is.
    pub index: u32,
    /// When it was noticed.
    pub at: Timestamp,
    /// Whether the job was over by then.
    pub late: bool,
    /// What is owed back of it.
    pub owed: Option<Owed>,
    /// The last block that sent some of it back, once the network has decided for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<BlockHash>,
    /// How much was sent back by such blocks.
    #[serde(default)]
    pub returned: Amount,
}

impl Piece {
    /// What is owed back and is not known to have been sent back.
    #[must_use]
    pub fn due(&self) -> Amount {
        let owed = self.owed.map_or(Amount::ZERO, |owed| owed.amount);
        owed.checked_sub(self.returned).unwrap_or(Amount::ZERO)
    }
}

/// What is owed back of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// How much: all that the block brought, or what was too much.
    pub amount: Amount,
    /// Why.
    pub why: Oddity,
}

/// How a job ended, and what bears on its money.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// How it ended for this worker.
    pub ending: &'a Ending,
    /// How it ended on the relay, as far as that was seen.
    pub status: Status,
    /// Whether its buyer got nothing that he was to pay for, by the relay's word.
    pub for_nothing: bool,
    /// What was asked.
    pub price: Amount,
    /// The rules of its offer.
    pub policy: &'a Policy,
}

/// A piece, and whether it was counted for its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The block.
    pub hash: BlockHash,
    /// What it brought.
    pub piece: Piece,
    /// Whether the job was paid by it.
    pub counted: bool,
}

/// Decides what of a job's money is owed back. What was decided before stays as it is.
pub fn reckon(end: &End<'_>, parts: &mut [Part]) {
    let counted: Amount = parts.iter().filter(|part| part.counted).map(|part| part.piece.amount).sum();
    let others: Amount = parts.iter().filter(|part| !part.counted).map(|part| part.piece.amount).sum();
    let dust = end.policy.dust_for(end.price);
    for part in parts.iter_mut().filter(|part| !part.counted && part.piece.owed.is_none()) {
        let is_part = !part.piece.late && others < end.price;
        if part.piece.amount >= dust
            && let Some(why) = why_uncounted(end, !counted.is_zero(), is_part)
        {
            part.piece.owed = Some(Owed { amount: part.piece.amount, why });
        }
    }
    match why_all(end) {
        Some(why) => {
            for part in parts.iter_mut().filter(|part| part.counted) {
                owe_all(&mut part.piece, why);
            }
        }
        None if end.policy.owe_excess => owe_excess(end.price, counted, dust, parts),
        None => {}
    }
}

/// Decides that all of a failed job's payment goes back, as the seller wishes.
pub fn give_back(parts: &mut [Part]) {
    for part in parts.iter_mut().filter(|part| part.counted) {
        owe_all(&mut part.piece, Oddity::JobFailed);
    }
}

/// What of it was sent back before, as too much, is a part of this.
fn owe_all(piece: &mut Piece, why: Oddity) {
    if piece.owed.is_none_or(|owed| owed.amount < piece.amount) {
        piece.owed = Some(Owed { amount: piece.amount, why });
    }
}

/// Why a block is owed back that did not pay; none if it may have been counted elsewhere.
fn why_uncounted(end: &End<'_>, paid: bool, is_part: bool) -> Option<Oddity> {
    if paid {
        return Some(Oddity::PaidTwice);
    }
    match (end.ending, end.status) {
        (Ending::Delivered, _) => None,
        // Another worker of the same seller was paid by it, unless the job got to nobody.
        (Ending::Elsewhere, _) if !end.for_nothing => None,
        _ if is_part => Some(Oddity::Underpaid),
        (Ending::Canceled { .. }, _) | (_, Status::Canceled) => Some(Oddity::PaidAfterCancel),
        (Ending::Expired { .. }, _) | (_, Status::Expired) => Some(Oddity::PaidAfterExpiry),
        _ => Some(Oddity::PaidLate),
    }
}

/// Why the whole payment is owed back, if it is.
fn why_all(end: &End<'_>) -> Option<Oddity> {
    match end.ending {
        Ending::Elsewhere if end.for_nothing => Some(Oddity::PaidForNothing),
        Ending::Elsewhere if end.status != Status::Failed => None,
        Ending::Failed | Ending::Elsewhere => end.policy.owe_failed.then_some(Oddity::JobFailed),
        Ending::Delivered | Ending::Refused => None,
        // What counted was paid, also where the error that was to tell the buyer came too late.
        Ending::Canceled { .. } | Ending::Expired { .. } | Ending::Vanished { .. } | Ending::PaidLate => {
            Some(Oddity::PaidForNothing)
        }
    }
}

/// What is too much is taken from the smallest blocks: the payer of a block that was not needed at
/// all gets all of it.
fn owe_excess(price: Amount, counted: Amount, dust: Amount, parts: &mut [Part]) {
    let Some(mut left) = counted.checked_sub(price).filter(|excess| !excess.is_zero() && *excess >= dust)
    else {
        return;
    };
    if parts.iter().any(|part| part.counted && part.piece.owed.is_some()) {
        return;
    }
    let mut order: Vec<&mut Part> = parts.iter_mut().filter(|part| part.counted).collect();
    order.sort_by_key(|part| (part.piece.amount, part.hash));
    for part in order {
        let amount = part.piece.amount.min(left);
        if amount.is_zero() {
            return;
        }
        part.piece.owed = Some(Owed { amount, why: Oddity::Overpaid });
        left = left.checked_sub(amount).unwrap_or(Amount::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PRICE: u128 = 1_000;

    fn part(number: u8, raw: u128, counted: bool, late: bool) -> Part {
        let piece = Piece {
            amount: Amount::from_raw(raw),
            from: Some(Account::from_bytes([number; 32])),
            account: Account::from_bytes([1; 32]),
            index: 1,
            at: Timestamp::from_seconds(1),
            late,
            owed: None,
            back: None,
            returned: Amount::ZERO,
        };
        Part { hash: BlockHash::from_bytes([number; 32]), piece, counted }
    }

    fn owed(ending: &Ending, policy: &Policy, parts: &mut [Part]) -> Vec<(u128, &'static str)> {
        let price = Amount::from_raw(PRICE);
        let end = End { ending, status: Status::Running, for_nothing: false, price, policy };
        reckon(&end, parts);
        let owed = |part: &Part| part.piece.owed.map_or((0, ""), |owed| (owed.amount.raw(), owed.why.name()));
        parts.iter().map(owed).collect()
    }

    #[track_caller]
    fn check(ending: &Ending, mut parts: Vec<Part>, expected: &[(u128, &str)]) {
        let policy = Policy::default();
        for again in [false, true] {
            assert_eq!(owed(ending, &policy, &mut parts), expected, "again: {again}");
        }
    }

    #[test]
    fn what_another_workers_job_brought_is_owed_only_if_that_got_to_nobody() {
        for (status, for_nothing, expected, of_counted) in [
            (Status::Accepted, false, None, None),
            (Status::Delivered, false, None, None),
            (Status::Failed, false, None, Some(Oddity::JobFailed)),
            (Status::Failed, true, Some(Oddity::PaidLate), Some(Oddity::PaidForNothing)),
            (Status::Canceled, true, Some(Oddity::PaidAfterCancel), Some(Oddity::PaidForNothing)),
            (Status::Expired, true, Some(Oddity::PaidAfterExpiry), Some(Oddity::PaidForNothing)),
        ] {
            let (price, policy) =
                (Amount::from_raw(PRICE), &Policy { owe_failed: true, ..Policy::default() });
            for (counted, expected) in [(false, expected), (true, of_counted)] {
                let mut parts = [part(1, 1_000, counted, false)];
                let end = End { ending: &Ending::Elsewhere, status, for_nothing, price, policy };
                reckon(&end, &mut parts);
                assert_eq!(parts[0].piece.owed.map(|owed| owed.why), expected, "{status} {counted}");
            }
        }
    }

    #[test]
    fn what_was_earned_is_not_owed_and_the_rest_is() {
        let nothing = [(0, "")];
        check(&Ending::Delivered, vec![part(1, 1_000, true, false)], &nothing);
        check(&Ending::Failed, vec![part(1, 1_000, true, false)], &nothing);
        check(&Ending::Elsewhere, vec![part(1, 1_000, false, false)], &nothing);
        check(&Ending::Delivered, vec![part(1, 1_005, true, false)], &nothing);
        check(&Ending::Delivered, vec![part(1, 1_300, true, false)], &[(300, "overpaid")]);
        check(
            &Ending::Delivered,
            vec![part(1, 900, true, false), part(2, 400, true, false), part(3, 200, true, false)],
            &[(0, ""), (300, "overpaid"), (200, "overpaid")],
        );
        check(
            &Ending::Delivered,
            vec![part(1, 1_000, true, false), part(2, 500, false, true), part(3, 5, false, true)],
            &[(0, ""), (500, "paid_twice"), (0, "")],
        );
        let canceled = Ending::Canceled { paid: false };
        check(&canceled, vec![part(1, 500, false, false)], &[(500, "underpaid")]);
        check(&canceled, vec![part(1, 500, false, true)], &[(500, "paid_after_cancel")]);
        check(&canceled, vec![part(1, 1_000, false, false)], &[(1_000, "paid_after_cancel")]);
        check(
            &Ending::Expired { paid: false },
            vec![part(1, 1_000, false, true)],
            &[(1_000, "paid_after_expiry")],
        );
        check(&Ending::Failed, vec![part(1, 1_000, false, true)], &[(1_000, "paid_late")]);
        check(
            &Ending::Canceled { paid: true },
            vec![part(1, 900, true, false)],
            &[(900, "paid_for_nothing")],
        );
        check(
            &Ending::Canceled { paid: false },
            vec![part(1, 1_000, true, false)],
            &[(1_000, "paid_for_nothing")],
        );
    }

    #[test]
    fn the_seller_may_keep_more_or_give_more_back() {
        let keep = Policy { owe_excess: false, ..Policy::default() };
        assert_eq!(owed(&Ending::Delivered, &keep, &mut [part(1, 5_000, true, false)]), [(0, "")]);
        let generous = Policy { owe_failed: true, ..Policy::default() };
        assert_eq!(
            owed(&Ending::Failed, &generous, &mut [part(1, 5_000, true, false)]),
            [(5_000, "job_failed")]
        );
        let mut parts = [part(1, 1_300, true, false), part(2, 50, false, true)];
        assert_eq!(
            owed(&Ending::Failed, &Policy::default(), &mut parts),
            [(300, "overpaid"), (50, "paid_twice")]
        );
        give_back(&mut parts);
        assert_eq!(parts[0].piece.owed.unwrap().amount.raw(), 1_300);
        parts[0].piece.owed = Some(Owed { amount: Amount::from_raw(300), why: Oddity::Overpaid });
        parts[0].piece.returned = Amount::from_raw(300);
        assert_eq!(parts[0].piece.due(), Amount::ZERO);
        give_back(&mut parts);
        assert_eq!(parts[0].piece.due().raw(), 1_000, "the rest of it");
    }

    fn ending() -> impl Strategy<Value = Ending> {
        prop_oneof![
            Just(Ending::Delivered),
            Just(Ending::Failed),
            Just(Ending::Elsewhere),
            Just(Ending::PaidLate),
            any::<bool>().prop_map(|paid| Ending::Canceled { paid }),
            any::<bool>().prop_map(|paid| Ending::Expired { paid }),
            any::<bool>().prop_map(|paid| Ending::Vanished { paid }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Nobody gets back more than came, what was earned is kept, and nothing decided is undone.
        #[test]
        fn what_is_owed_and_what_is_kept_is_what_came(
            ending in ending(),
            came in prop::collection::vec((1u128..3_000, any::<bool>(), any::<bool>()), 0..6),
            more in 1u128..3_000,
        ) {
            let mut parts: Vec<Part> = (1..)
                .zip(&came)
                .map(|(number, (raw, counted, late))| part(number, *raw, *counted, *late))
                .collect();
            let policy = Policy::default();
            let first = owed(&ending, &policy, &mut parts);
            for ((raw, ..), (back, _)) in came.iter().zip(&first) {
                prop_assert!(back <= raw);
            }
            let counted: u128 = came.iter().filter(|(_, counted, _)| *counted).map(|(raw, ..)| raw).sum();
            let back: u128 = came.iter().zip(&first).filter(|((_, counted, _), _)| *counted).map(|(_, (back, _))| back).sum();
            if !matches!(ending, Ending::Delivered | Ending::Failed | Ending::Elsewhere) {
                prop_assert_eq!(back, counted);
            } else {
                prop_assert!(counted - back >= counted.min(PRICE));
            }
            parts.push(part(99, more, false, true));
            let second = owed(&ending, &policy, &mut parts);
            prop_assert_eq!(&second[..first.len()], &first[..]);
        }
    }
}
