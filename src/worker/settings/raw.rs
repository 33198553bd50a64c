//! The configuration as it is written: leaves that may be of the wrong kind, nothing that must be
//! there.

use serde::Deserialize;

use crate::config::Field;
use crate::protocol::offer::PricingMode;
use crate::worker::terms::Accepts;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Raw {
    pub(super) relay: RawRelay,
    pub(super) nano: RawNano,
    pub(super) state: RawState,
    pub(super) backup: RawBackup,
    pub(super) wallet: RawWallet,
    pub(super) payment: RawPayment,
    pub(super) polling: RawPolling,
    pub(super) lock: RawLock,
    pub(super) quote: RawQuote,
    pub(super) results: RawResults,
    pub(super) shutdown: RawShutdown,
    pub(super) offers: Vec<RawOffer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawRelay {
    pub(super) url: Option<Field<String>>,
    pub(super) key: Option<Field<String>>,
    pub(super) dialect: Option<Field<String>>,
    pub(super) sealing_key: Option<Field<String>>,
    pub(super) pace: Option<Field<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawNano {
    pub(super) network: Option<Field<String>>,
    pub(super) seed: Option<Field<String>>,
    pub(super) seed_passphrase: Option<Field<String>>,
    pub(super) rpc: Option<Field<Vec<String>>>,
    pub(super) account_index_start: Option<Field<u64>>,
    pub(super) index_gap: Option<Field<u64>>,
    pub(super) min_confirmations: Option<Field<u64>>,
    pub(super) verify: Option<Field<Verify>>,
    pub(super) quorum: Option<Field<u64>>,
    pub(super) requests_per_second: Option<Field<u64>>,
    pub(super) policy: Vec<RawPolicy>,
    pub(super) websocket: Option<Field<Vec<String>>>,
}

/// How far nodes are tested, as it is written.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verify {
    Proof,
    Rpc,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawPolicy {
    pub(super) above_xno: Option<Field<String>>,
    pub(super) above_raw: Option<Field<String>>,
    pub(super) quorum: Option<Field<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawState {
    pub(super) dir: Option<Field<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawBackup {
    pub(super) dir: Option<Field<String>>,
    pub(super) every_hours: Option<Field<u64>>,
    pub(super) keep: Option<Field<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawWallet {
    pub(super) sweep_to: Option<Field<String>>,
    pub(super) representative: Option<Field<String>>,
    pub(super) every_hours: Option<Field<u64>>,
    pub(super) work_per_hour_max: Option<Field<u64>>,
    pub(super) receive_min_xno: Option<Field<String>>,
    pub(super) work_servers: Option<Field<Vec<String>>>,
    pub(super) work_here: Option<Field<bool>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawPayment {
    pub(super) tolerance_percent: Option<Field<u64>>,
    pub(super) grace_seconds: Option<Field<u64>>,
    pub(super) overpaid: Option<Field<Excess>>,
    pub(super) failed: Option<Field<Failed>>,
    pub(super) dust_xno: Option<Field<String>>,
    pub(super) late_watch_hours: Option<Field<u64>>,
    pub(super) auto_refund: Option<Field<bool>>,
    pub(super) auto_refund_max_xno: Option<Field<String>>,
    pub(super) auto_refund_day_xno: Option<Field<String>>,
}

impl RawPayment {
    /// What an offer may say too. Flattened, a key that is none would not be noticed.
    pub(super) fn rules(&mut self) -> RawOddRules {
        RawOddRules {
            tolerance_percent: self.tolerance_percent.take(),
            grace_seconds: self.grace_seconds.take(),
            overpaid: self.overpaid.take(),
            failed: self.failed.take(),
            dust_xno: self.dust_xno.take(),
            late_watch_hours: self.late_watch_hours.take(),
        }
    }
}

/// What an offer may say of odd payments.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawOddRules {
    pub(super) tolerance_percent: Option<Field<u64>>,
    pub(super) grace_seconds: Option<Field<u64>>,
    pub(super) overpaid: Option<Field<Excess>>,
    pub(super) failed: Option<Field<Failed>>,
    pub(super) dust_xno: Option<Field<String>>,
    pub(super) late_watch_hours: Option<Field<u64>>,
}

/// What becomes of what is too much, as it is written.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Excess {
    Owe,
    Keep,
}

/// What becomes of the payment for a job that failed, as it is written.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Failed {
    Ask,
    Owe,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawPolling {
    pub(super) min_ms: Option<Field<u64>>,
    pub(super) max_ms: Option<Field<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawLock {
    pub(super) ttl_seconds: Option<Field<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawQuote {
    pub(super) ttl_seconds: Option<Field<u64>>,
    pub(super) payment_window_seconds: Option<Field<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawResults {
    pub(super) dir: Option<Field<String>>,
    pub(super) url: Option<Field<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawShutdown {
    pub(super) drain_seconds: Option<Field<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawOffer {
    pub(super) name: Option<Field<String>>,
    pub(super) title: Option<Field<String>>,
    pub(super) description: Option<Field<String>>,
    pub(super) tags: Option<Field<Vec<String>>>,
    pub(super) pricing_mode: Option<Field<PricingMode>>,
    pub(super) price_xno: Option<Field<String>>,
    pub(super) price_raw: Option<Field<String>>,
    pub(super) active: Option<Field<bool>>,
    pub(super) accepts: Option<Field<Accepts>>,
    pub(super) max_request_bytes: Option<Field<u64>>,
    pub(super) turnaround_seconds: Option<Field<u64>>,
    pub(super) request_hint: Option<Field<String>>,
    pub(super) handler: RawHandler,
    pub(super) payment: RawOddRules,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawHandler {
    pub(super) command: Option<Field<Vec<String>>>,
    pub(super) url: Option<Field<String>>,
    pub(super) timeout_seconds: Option<Field<u64>>,
    pub(super) idempotent: Option<Field<bool>>,
    pub(super) max_parallel: Option<Field<u64>>,
    pub(super) nice: Option<Field<u64>>,
    pub(super) memory_max_mib: Option<Field<u64>>,
    pub(super) cpu_percent: Option<Field<u64>>,
    pub(super) tasks_max: Option<Field<u64>>,
}
