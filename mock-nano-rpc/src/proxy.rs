//! The manners of a public proxy in front of a node: it limits, clamps, cuts and caches.

use std::collections::HashMap;

use crate::tree::Tree;

/// Answers that the cache keeps; emptied when it is full.
const CACHE_ENTRIES_MAX: usize = 10_000;

/// Actions that proxies let through.
const ALLOWED: [&str; 20] = [
    "account_balance",
    "account_history",
    "account_info",
    "accounts_balances",
    "accounts_frontiers",
    "accounts_pending",
    "accounts_receivable",
    "active_difficulty",
    "block_count",
    "block_info",
    "blocks_info",
    "confirmation_quorum",
    "pending",
    "process",
    "receivable",
    "receivable_exists",
    "telemetry",
    "version",
    "work_generate",
    "work_validate",
];

/// How strict the proxy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyRules {
    /// Larger counts are silently made this small.
    pub count_max: u64,
    /// Longer lists of accounts are silently cut here.
    pub accounts_max: usize,
    /// How long an answer is repeated to whoever asks the same.
    pub cache_ms: u64,
    /// Calls in a window.
    pub requests_max: u64,
    /// How long a window is.
    pub window_ms: u64,
}

impl Default for ProxyRules {
    fn default() -> Self {
        Self { count_max: 50, accounts_max: 5, cache_ms: 5_000, requests_max: 5_000, window_ms: 3_600_000 }
    }
}

/// What the proxy remembers.
#[derive(Debug, Default)]
pub struct Proxy {
    /// How strict it is.
    pub rules: ProxyRules,
    window_began_ms: u64,
    requests: u64,
    cache: HashMap<String, (u64, Tree)>,
}

/// What is left of a caller's allowance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Calls in a window.
    pub limit: u64,
    /// Calls left in this one.
    pub remaining: u64,
    /// When the next one begins, in Unix milliseconds.
    pub reset_ms: u64,
}

impl Proxy {
    /// Counts a call; false beside what is left if it is one too many.
    pub fn admit(&mut self, now_ms: u64) -> (Allowance, bool) {
        if now_ms >= self.window_began_ms.saturating_add(self.rules.window_ms) {
            self.window_began_ms = now_ms;
            self.requests = 0;
        }
        self.requests += 1;
        (self.allowance(), self.requests <= self.rules.requests_max)
    }

    /// What is left in this window.
    #[must_use]
    pub const fn allowance(&self) -> Allowance {
        Allowance {
            limit: self.rules.requests_max,
            remaining: self.rules.requests_max.saturating_sub(self.requests),
            reset_ms: self.window_began_ms.saturating_add(self.rules.window_ms),
        }
    }

    /// Whether it lets an action through.
    #[must_use]
    pub fn allows(action: &str) -> bool {
        ALLOWED.contains(&action)
    }

    /// The call as the node gets it: counts clamped, lists cut.
    #[must_use]
    pub fn clamp(&self, mut call: Tree) -> Tree {
        let Tree::Object(entries) = &mut call else { return call };
        for (key, value) in entries.iter_mut() {
            match (key.as_str(), value) {
                ("count", value) => {
                    let asked = value.as_text().parse::<u64>().unwrap_or(u64::MAX);
                    *value = Tree::text(asked.min(self.rules.count_max));
                }
                ("accounts", Tree::Array(accounts)) => accounts.truncate(self.rules.accounts_max),
                _ => {}
            }
        }
        call
    }

    /// An answer given to the same call a moment ago.
    #[must_use]
    pub fn cached(&self, call: &str, now_ms: u64) -> Option<Tree> {
        let (at_ms, answer) = self.cache.get(call)?;
        (now_ms < at_ms.saturating_add(self.rules.cache_ms)).then(|| answer.clone())
    }

    /// Remembers an answer; those of `process` and `work_generate` are never repeated.
    pub fn remember(&mut self, call: String, action: &str, answer: &Tree, now_ms: u64) {
        if matches!(action, "process" | "work_generate") {
            return;
        }
        if self.cache.len() >= CACHE_ENTRIES_MAX {
            self.cache.clear();
        }
        self.cache.insert(call, (now_ms, answer.clone()));
    }
}
