//! `[wallet]`: what is done with the coins.

use std::time::Duration;

use nano_currency::{Account, Amount};

use super::Resolver;
use super::raw::RawWallet;
use crate::config::Field;
use crate::worker::coins::WalletSettings;

/// The longest time between two rounds: a month.
const HOURS_MAX: u64 = 744;

/// Blocks per hour at most: no processor and no node works faster for one seller.
const WORK_PER_HOUR_MAX: u64 = 1_000_000;

impl Resolver<'_> {
    pub(super) fn wallet(&mut self, raw: RawWallet) -> WalletSettings {
        let usual = WalletSettings::default();
        let sweep_to = self.account("wallet.sweep_to", raw.sweep_to);
        let representative = self.account("wallet.representative", raw.representative);
        let hours = self.problems.number("wallet.every_hours", raw.every_hours, 0, 0..=HOURS_MAX);
        let blocks = self.problems.number(
            "wallet.work_per_hour_max",
            raw.work_per_hour_max,
            u64::from(usual.work_per_hour_max),
            1..=WORK_PER_HOUR_MAX,
        );
        let least = self.problems.take("wallet.receive_min_xno", raw.receive_min_xno);
        let least = least
            .and_then(|text| self.problems.check("wallet.receive_min_xno", Amount::parse_xno(&text)))
            .unwrap_or(usual.receive_min);
        let servers = self.problems.take("wallet.work_servers", raw.work_servers).unwrap_or_default();
        let work_servers = servers
            .into_iter()
            .enumerate()
            .filter_map(|(place, url)| self.http_url(&format!("wallet.work_servers[{place}]"), url))
            .collect();
        let work_here = self.problems.take("wallet.work_here", raw.work_here).unwrap_or(usual.work_here);
        WalletSettings {
            sweep_to,
            representative,
            every: (hours > 0).then(|| Duration::from_secs(hours * 3_600)),
            work_per_hour_max: u32::try_from(blocks).unwrap_or(usual.work_per_hour_max),
            receive_min: least,
            work_servers,
            work_here,
            refunds: usual.refunds,
        }
    }

    fn account(&mut self, path: &str, field: Option<Field<String>>) -> Option<Account> {
        let text = self.problems.take(path, field)?;
        self.problems.check(path, text.parse())
    }
}
