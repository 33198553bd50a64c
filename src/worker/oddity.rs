//! Every odd way in which money comes, by a name that never changes, and the seller's rules for it.
//! Pure.

mod rows;

use std::time::Duration;

use nano_currency::Amount;
use serde::{Deserialize, Serialize};

pub use self::rows::{Row, markdown};

/// What is smaller is dust unless it is said otherwise: a millionth of an XNO.
const DUST: Amount = Amount::from_raw(1_000_000_000_000_000_000_000_000);

/// A block of less than one in so many parts of a price is dust, one of more is a payment, however
/// cheap the job is.
const DUST_PART: u128 = 100;

/// How long the address of a job that is over is looked at: slow exchanges take days.
const LATE_WATCH: Duration = Duration::from_secs(7 * 86_400);

/// How a payment was odd. A payment of the price, in one block, by the hash that the buyer
/// submitted, in time, has none of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Oddity {
    /// Less than the price came.
    Underpaid,
    /// Several blocks were summed.
    PaidInParts,
    /// More than the price came.
    Overpaid,
    /// A block came beside those that had paid.
    PaidTwice,
    /// It came after its time: within the grace it is accepted, after that it is owed back.
    PaidLate,
    /// It came when the buyer had cancelled.
    PaidAfterCancel,
    /// It came when the job had expired.
    PaidAfterExpiry,
    /// The buyer submitted no hash; the payment was found on its address.
    PaidWithoutHash,
    /// The submitted hash pays another invoice of this worker's.
    HashOfOtherInvoice,
    /// So little came that nothing is done about it.
    Dust,
    /// A block vanished before it was confirmed.
    RolledBack,
    /// The buyer's block was received before it was looked at.
    AlreadyReceived,
    /// It was paid, and the buyer got an error.
    JobFailed,
    /// It was paid, and the job ended without any outcome.
    PaidForNothing,
}

impl Oddity {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Underpaid,
        Self::PaidInParts,
        Self::Overpaid,
        Self::PaidTwice,
        Self::PaidLate,
        Self::PaidAfterCancel,
        Self::PaidAfterExpiry,
        Self::PaidWithoutHash,
        Self::HashOfOtherInvoice,
        Self::Dust,
        Self::RolledBack,
        Self::AlreadyReceived,
        Self::JobFailed,
        Self::PaidForNothing,
    ];

    /// Its name, as it is stored and printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Underpaid => "underpaid",
            Self::PaidInParts => "paid_in_parts",
            Self::Overpaid => "overpaid",
            Self::PaidTwice => "paid_twice",
            Self::PaidLate => "paid_late",
            Self::PaidAfterCancel => "paid_after_cancel",
            Self::PaidAfterExpiry => "paid_after_expiry",
            Self::PaidWithoutHash => "paid_without_hash",
            Self::HashOfOtherInvoice => "hash_of_other_invoice",
            Self::Dust => "dust",
            Self::RolledBack => "rolled_back",
            Self::AlreadyReceived => "already_received",
            Self::JobFailed => "job_failed",
            Self::PaidForNothing => "paid_for_nothing",
        }
    }
}

/// The rules of one offer for payments that are odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How much of the price may be missing, in hundredths of it.
    pub tolerance_percent: u8,
    /// How long after its time a payment is still accepted, while the job is open.
    pub grace: Duration,
    /// Whether what is more than the price is owed back.
    pub owe_excess: bool,
    /// Whether the payment for a job that failed is owed back without anybody's decision.
    pub owe_failed: bool,
    /// What is smaller is never owed back.
    pub dust: Amount,
    /// How long the address of a job that is over is looked at.
    pub late_watch: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self::withdrawn()
    }
}

impl Policy {
    /// The rules unless it is said otherwise, and for offers that are gone.
    #[must_use]
    pub const fn withdrawn() -> Self {
        Self {
            tolerance_percent: 0,
            grace: Duration::ZERO,
            owe_excess: true,
            owe_failed: false,
            dust: DUST,
            late_watch: LATE_WATCH,
        }
    }

    /// The least that pays for a price: never nothing.
    #[must_use]
    pub fn least(&self, price: Amount) -> Amount {
        // In this order a price near the largest amount does not overflow.
        let missing = price.raw() / 100 * u128::from(self.tolerance_percent.min(99));
        Amount::from_raw((price.raw() - missing).max(1))
    }

    /// What is less is dust, to a job of this price.
    #[must_use]
    pub fn dust_for(&self, price: Amount) -> Amount {
        self.dust.min(Amount::from_raw(price.raw() / DUST_PART))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_is_printed_is_the_one_that_is_stored() {
        for oddity in Oddity::ALL {
            assert_eq!(serde_json::json!(oddity), oddity.name());
        }
    }

    #[test]
    fn a_tolerance_is_a_part_of_the_price_and_never_all_of_it() {
        let policy = |percent| Policy { tolerance_percent: percent, ..Policy::default() };
        for (percent, price, least) in [
            (0, 1_000, 1_000),
            (1, 1_000, 990),
            (10, 1_000, 900),
            (10, 99, 99),
            (255, 1, 1),
            (0, u128::MAX, u128::MAX),
        ] {
            assert_eq!(policy(percent).least(Amount::from_raw(price)).raw(), least, "{percent} {price}");
        }
        assert!(policy(100).least(Amount::MAX) > Amount::ZERO);
        let dust = |price| Policy::default().dust_for(Amount::from_raw(price)).raw();
        assert_eq!((dust(10_u128.pow(30)), dust(1_000), dust(1)), (10_u128.pow(24), 10, 0));
    }
}
