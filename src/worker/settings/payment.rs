//! `[payment]` and `[offers.payment]`: what becomes of payments that are odd.

use std::time::Duration;

use nano_currency::Amount;

use super::Resolver;
use super::raw::{Excess, Failed, RawOddRules, RawPayment};
use crate::config::Field;
use crate::worker::coins::RefundSettings;
use crate::worker::oddity::Policy;

/// Less than half of a price is no payment of it.
const TOLERANCE_PERCENT_MAX: u64 = 50;

/// The longest grace: a day, as long as the payment window may be.
const GRACE_SECONDS_MAX: u64 = 86_400;

/// The grace unless it is said otherwise, and never longer than the window itself: an exchange that
/// is slow is some minutes late.
const GRACE_SECONDS: u64 = 600;

/// The longest that addresses of jobs that are over are looked at: a year.
const LATE_WATCH_HOURS_MAX: u64 = 8_784;

impl Resolver<'_> {
    /// The rules for all offers, and what is sent back without anybody's doing.
    pub(super) fn payment(&mut self, mut raw: RawPayment, window: Duration) -> (Policy, RefundSettings) {
        let grace = GRACE_SECONDS.min(window.as_secs());
        let usual = Policy { grace: Duration::from_secs(grace), ..Policy::default() };
        let policy = self.odd_rules("payment", raw.rules(), usual);
        let usual = RefundSettings::default();
        let refunds = RefundSettings {
            auto: self.problems.take("payment.auto_refund", raw.auto_refund).unwrap_or(usual.auto),
            each_max: self.xno("payment.auto_refund_max_xno", raw.auto_refund_max_xno, usual.each_max),
            day_max: self.xno("payment.auto_refund_day_xno", raw.auto_refund_day_xno, usual.day_max),
        };
        (policy, refunds)
    }

    /// The rules of one table, and of the table above it where this one says nothing.
    pub(super) fn odd_rules(&mut self, path: &str, raw: RawOddRules, above: Policy) -> Policy {
        let at = |name: &str| format!("{path}.{name}");
        let tolerance = self.problems.number(
            &at("tolerance_percent"),
            raw.tolerance_percent,
            u64::from(above.tolerance_percent),
            0..=TOLERANCE_PERCENT_MAX,
        );
        let grace = self.problems.number(
            &at("grace_seconds"),
            raw.grace_seconds,
            above.grace.as_secs(),
            0..=GRACE_SECONDS_MAX,
        );
        let hours = self.problems.number(
            &at("late_watch_hours"),
            raw.late_watch_hours,
            above.late_watch.as_secs() / 3_600,
            1..=LATE_WATCH_HOURS_MAX,
        );
        let overpaid = self.problems.take(&at("overpaid"), raw.overpaid);
        let failed = self.problems.take(&at("failed"), raw.failed);
        Policy {
            tolerance_percent: u8::try_from(tolerance).unwrap_or(0),
            grace: Duration::from_secs(grace),
            owe_excess: overpaid.map_or(above.owe_excess, |rule| matches!(rule, Excess::Owe)),
            owe_failed: failed.map_or(above.owe_failed, |rule| matches!(rule, Failed::Owe)),
            dust: self.xno(&at("dust_xno"), raw.dust_xno, above.dust),
            late_watch: Duration::from_secs(hours * 3_600),
        }
    }

    fn xno(&mut self, path: &str, field: Option<Field<String>>, usual: Amount) -> Amount {
        let text = self.problems.take(path, field);
        text.and_then(|text| self.problems.check(path, Amount::parse_xno(&text))).unwrap_or(usual)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{WHOLE, check, read};
    use super::*;
    use crate::nano::Amount;

    #[test]
    fn an_offer_says_what_the_seller_does_not() {
        let settings = read(WHOLE, &[]).unwrap();
        let usual = Policy { grace: Duration::from_secs(600), ..Policy::default() };
        assert_eq!(settings.offers[0].terms.payment, usual);
        assert_eq!(settings.wallet.refunds, RefundSettings::default());
        let text = format!(
            "{WHOLE}[offers.payment]\nfailed = \"owe\"\ngrace_seconds = 5\n\
             [payment]\noverpaid = \"keep\"\ngrace_seconds = 7\ndust_xno = \"0.5\"\nlate_watch_hours = 1\n\
             auto_refund = true\nauto_refund_max_xno = \"2\"\nauto_refund_day_xno = \"3\"\n"
        );
        let settings = read(&text, &[]).unwrap();
        let xno = |text| Amount::parse_xno(text).unwrap();
        let expected = Policy {
            tolerance_percent: 0,
            grace: Duration::from_secs(5),
            owe_excess: false,
            owe_failed: true,
            dust: xno("0.5"),
            late_watch: Duration::from_secs(3_600),
        };
        assert_eq!(settings.offers[0].terms.payment, expected);
        let refunds = RefundSettings { auto: true, each_max: xno("2"), day_max: xno("3") };
        assert_eq!(settings.wallet.refunds, refunds);
    }

    #[test]
    fn what_is_no_rule_is_named() {
        for (line, path) in [
            ("tolerance_percent = 51", "tolerance_percent"),
            ("overpaid = \"burn\"", "overpaid"),
            ("failed = 1", "failed"),
            ("late_watch_hours = 0", "late_watch_hours"),
            ("dust_xno = \"x\"", "dust_xno"),
            ("auto_refund_max_xno = \"-1\"", "auto_refund_max_xno"),
        ] {
            check("[[offers]]", &format!("[payment]\n{line}\n[[offers]]"), &format!("payment.{path}"));
        }
        check(
            "[offers.handler]",
            "[offers.payment]\ngrace_seconds = 86401\n[offers.handler]",
            "offers[0].payment.grace_seconds",
        );
    }
}
