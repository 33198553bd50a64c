//! The seller's rules for odd payments, in words: one row for each. Pure.

use std::fmt::Write as _;

use super::Oddity;

/// What is said about one kind of odd payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What happened.
    pub happened: &'static str,
    /// What becomes of it unless it is set otherwise.
    pub becomes: &'static str,
    /// What bears on that in `[payment]` and `[offers.payment]`.
    pub settings: &'static [&'static str],
    /// What the buyer is told by the relay, which carries an outcome only with a job's error.
    pub buyer: &'static str,
}

const NOTHING: &str = "–";

impl Oddity {
    /// Its row.
    #[must_use]
    pub const fn row(self) -> Row {
        match self {
            Self::Underpaid => Row {
                happened: "Less than the price has come",
                becomes: "awaited until the window closes; then the job fails and the money is owed back. \
                          Within the tolerance it pays",
                settings: &["tolerance_percent"],
                buyer: "error `payment.amount_mismatch`, with `outcome`, `paid_raw` and `price_raw`",
            },
            Self::PaidInParts => Row {
                happened: "Several sends came to one invoice",
                becomes: "summed once each is confirmed",
                settings: &[],
                buyer: NOTHING,
            },
            Self::Overpaid => Row {
                happened: "More than the price has come",
                becomes: "the job is done, the rest is owed back",
                settings: &["overpaid", "dust_xno"],
                buyer: NOTHING,
            },
            Self::PaidTwice => Row {
                happened: "A send came beside those that had paid",
                becomes: "owed back, whole",
                settings: &["late_watch_hours", "dust_xno"],
                buyer: NOTHING,
            },
            Self::PaidLate => Row {
                happened: "It came after its time",
                becomes: "within the grace the job is done; after that it is owed back",
                settings: &["grace_seconds", "late_watch_hours"],
                buyer: "after the grace: the error that the window's end has led to",
            },
            Self::PaidAfterCancel => Row {
                happened: "It came when the buyer had cancelled",
                becomes: "owed back",
                settings: &["late_watch_hours", "dust_xno"],
                buyer: NOTHING,
            },
            Self::PaidAfterExpiry => Row {
                happened: "It came when the job had expired",
                becomes: "owed back",
                settings: &["late_watch_hours", "dust_xno"],
                buyer: NOTHING,
            },
            Self::PaidWithoutHash => Row {
                happened: "The buyer submitted no hash",
                becomes: "found on the invoice's address; the lock tells the relay the hash",
                settings: &[],
                buyer: "the hash, with the job",
            },
            Self::HashOfOtherInvoice => Row {
                happened: "The submitted hash pays another invoice of this seller's",
                becomes: "it does not count here, and counts there; the job awaits its own payment",
                settings: &[],
                buyer: "error `payment.address_mismatch`, with `outcome`, when the window closes",
            },
            Self::Dust => Row {
                happened: "So little has come that nothing is done about it",
                becomes: "summed with the rest where it completes a price, else kept and never owed back",
                settings: &["dust_xno"],
                buyer: NOTHING,
            },
            Self::RolledBack => Row {
                happened: "A block vanished before it was confirmed",
                becomes: "not paid yet: its hash is not forgotten, and another block may pay",
                settings: &[],
                buyer: NOTHING,
            },
            Self::AlreadyReceived => Row {
                happened: "A wallet with the same seed had received it before it was looked at",
                becomes: "found by its hash, and pays",
                settings: &[],
                buyer: NOTHING,
            },
            Self::JobFailed => Row {
                happened: "It was paid, and the buyer got an error",
                becomes: "the seller's, until he gives it back with `worker refund`",
                settings: &["failed"],
                buyer: "the error itself",
            },
            Self::PaidForNothing => Row {
                happened: "It was paid, and the job ended without any outcome",
                becomes: "owed back, whole",
                settings: &[],
                buyer: NOTHING,
            },
        }
    }
}

/// All rows, as a table for people.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "| name | what happened | what becomes of it | settings | what the buyer is told |\n|---|---|---|---|---|\n",
    );
    for oddity in Oddity::ALL {
        let Row { happened, becomes, settings, buyer } = oddity.row();
        let settings: Vec<String> = settings.iter().map(|name| format!("`{name}`")).collect();
        let settings = if settings.is_empty() { NOTHING.to_owned() } else { settings.join(", ") };
        // Writing to a text cannot fail.
        let _ = writeln!(text, "| `{}` | {happened} | {becomes} | {settings} | {buyer} |", oddity.name());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_that_is_named_is_in_the_document_of_defaults() {
        let document = include_str!("../../../config/worker.toml");
        let section = document.split("[payment]").nth(1).unwrap();
        for oddity in Oddity::ALL {
            for name in oddity.row().settings {
                assert!(section.contains(&format!("\n{name} = ")), "{name}");
            }
        }
    }
}
