//! What an operator may say about a relay: the document, the environment, and the bounds of both.

mod deployed;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::ratelimit::Bucket;
use crate::config::document::{Document, readable};
use crate::protocol::apply::Rules;
use crate::protocol::limits;

/// The defaults, as the document that people start from.
pub const DEFAULTS: &str = include_str!("../../config/relay.toml");

/// Every time limit may be this long at most: a month.
const SECONDS_MAX: u64 = 2_592_000;
/// Time limits under this would expire before a slow client's next request.
const SECONDS_MIN: u64 = 5;
/// The shortest sweep: more often would only burn the processor.
const SWEEP_MS_MIN: u64 = 100;
/// Connections that an operator may allow; each costs a descriptor and some kilobytes.
const CONNECTIONS_MAX: u64 = 65_536;

/// A relay's settings, all of them within their bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the state is kept.
    pub data_dir: PathBuf,
    /// The settings that decide about jobs.
    pub rules: Rules,
    /// How long a nonce is remembered.
    pub nonce_ttl: Duration,
    /// How long an answer is kept for its idempotency key.
    pub idempotency_ttl: Duration,
    /// How long a WebSocket client may take to answer the challenge.
    pub ws_challenge: Duration,
    /// How long events are kept.
    pub event_retention: Duration,
    /// How often what is due is looked for.
    pub sweep_interval: Duration,
    /// How many requests are taken; `None` for any number.
    pub rates: Option<Rates>,
    /// How often payloads, jobs and offers of /v0 that are over are removed; `None` for never.
    pub bazaar_retention: Option<Duration>,
    /// How many requests of /v0 are taken, as long as any are counted.
    pub bazaar_rates: BazaarRates,
    /// Whether `/healthz` and `/readyz` answer other machines, too.
    pub health_public: bool,
    /// Whether `/metrics` is on the relay's own address; if not, the caller serves it elsewhere.
    pub metrics_here: bool,
    /// Whether the last address of `X-Forwarded-For` is the client's: only behind a proxy of one's own.
    pub trust_forwarded_for: bool,
    /// Connections at one time.
    pub connections_max: usize,
    /// Memory for pages of the store, in bytes.
    pub cache_bytes: u64,
}

/// How many requests one source may make in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// The window.
    pub window: Duration,
    /// For one address.
    pub ip_max: u32,
    /// For one key.
    pub pubkey_max: u32,
    /// For one key on the routes that make offers and jobs.
    pub strict_max: u32,
}

/// How many requests a bot may make, for each kind of them; strangers have the same by address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BazaarRates {
    /// Polls, acknowledgements and wake streams.
    pub poll: BazaarRate,
    /// Searches.
    pub offer: BazaarRate,
    /// Everything that changes something.
    pub writes: BazaarRate,
    /// Payloads.
    pub payload: BazaarRate,
}

/// A bucket of so many requests, which fills again in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BazaarRate {
    /// How many in one go.
    pub burst: u32,
    /// How long an empty bucket takes to fill.
    pub window: Duration,
}

/// What clients of the deployed relays pace themselves for: 5 a second and 10 at once, or 2 and 5.
impl Default for BazaarRates {
    fn default() -> Self {
        let fast = BazaarRate { burst: 10, window: Duration::from_secs(2) };
        let slow = BazaarRate { burst: 5, window: Duration::from_millis(2_500) };
        Self { poll: fast, offer: slow, writes: slow, payload: fast }
    }
}

impl BazaarRates {
    pub(super) const fn of(&self, bucket: Bucket) -> BazaarRate {
        match bucket {
            Bucket::Poll => self.poll,
            Bucket::Offer => self.offer,
            Bucket::Writes => self.writes,
            Bucket::Payload => self.payload,
        }
    }

    /// The longest that any bucket takes to fill.
    pub(super) fn longest(&self) -> Duration {
        let Self { poll, offer, writes, payload } = self;
        poll.window.max(offer.window).max(writes.window).max(payload.window)
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self { window: Duration::from_secs(60), ip_max: 120, pubkey_max: 60, strict_max: 30 }
    }
}

impl Config {
    /// The defaults, with the state in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            rules: Rules::default(),
            nonce_ttl: limits::NONCE_TTL,
            idempotency_ttl: limits::IDEMPOTENCY_TTL,
            ws_challenge: limits::WS_CHALLENGE_TTL,
            event_retention: limits::EVENT_RETENTION,
            sweep_interval: limits::SWEEP_INTERVAL,
            rates: Some(Rates::default()),
            bazaar_retention: None,
            bazaar_rates: BazaarRates::default(),
            health_public: true,
            metrics_here: true,
            trust_forwarded_for: false,
            connections_max: 4_096,
            cache_bytes: 64 << 20,
        }
    }
}

/// A document and an environment, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen.
    pub listen: String,
    /// Where measures are, if not there.
    pub metrics_listen: Option<String>,
    /// The relay's own settings.
    pub config: Config,
}

/// Everything that is wrong with the settings, each with its path or name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the settings cannot be used:\n  {}", problems.join("\n  "))]
pub struct ConfigError {
    /// One sentence each.
    pub problems: Vec<String>,
}

/// The document as written; every key may be absent.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Raw {
    server: RawServer,
    storage: RawStorage,
    limits: BTreeMap<String, toml::Value>,
    rate_limit: BTreeMap<String, toml::Value>,
    nano: BTreeMap<String, toml::Value>,
    v0: deployed::Table,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct RawServer {
    listen: Option<String>,
    metrics_listen: Option<String>,
    health_public: Option<toml::Value>,
    connections_max: Option<toml::Value>,
    trust_forwarded_for: Option<toml::Value>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct RawStorage {
    dir: Option<String>,
    cache_mib: Option<toml::Value>,
}

/// One setting with a place in the document and a name in the environment.
struct Number {
    table: &'static str,
    key: &'static str,
    env: &'static str,
    min: u64,
    max: u64,
    set: fn(&mut Config, u64),
}

const fn seconds(key: &'static str, env: &'static str, min: u64, set: fn(&mut Config, u64)) -> Number {
    Number { table: "limits", key, env, min, max: SECONDS_MAX, set }
}

const fn rate(
    key: &'static str,
    env: &'static str,
    (min, max): (u64, u64),
    set: fn(&mut Config, u64),
) -> Number {
    Number { table: "rate_limit", key, env, min, max, set }
}

/// The range of a count of requests: 0 would shut everybody out.
const COUNTS: (u64, u64) = (1, 1_000_000);

const NUMBERS: &[Number] = &[
    seconds("quote_ttl_seconds", "RELAY_QUOTE_TTL_SECONDS", SECONDS_MIN, |c, n| {
        c.rules.quote_ttl = Duration::from_secs(n);
    }),
    seconds("accept_ttl_seconds", "RELAY_ACCEPT_TTL_SECONDS", SECONDS_MIN, |c, n| {
        c.rules.accept_ttl = Duration::from_secs(n);
    }),
    seconds("lock_ttl_seconds", "RELAY_LOCK_TTL_SECONDS", 10, |c, n| {
        c.rules.lock_ttl = Duration::from_secs(n);
    }),
    seconds("nonce_ttl_seconds", "RELAY_NONCE_TTL_SECONDS", SECONDS_MIN, |c, n| {
        c.nonce_ttl = Duration::from_secs(n);
    }),
    seconds("idempotency_ttl_seconds", "RELAY_IDEMPOTENCY_TTL_SECONDS", SECONDS_MIN, |c, n| {
        c.idempotency_ttl = Duration::from_secs(n);
    }),
    seconds("ws_challenge_seconds", "RELAY_WS_CHALLENGE_SECONDS", SECONDS_MIN, |c, n| {
        c.ws_challenge = Duration::from_secs(n);
    }),
    seconds("event_retention_seconds", "RELAY_EVENT_RETENTION_SECONDS", SECONDS_MIN, |c, n| {
        c.event_retention = Duration::from_secs(n);
    }),
    Number {
        table: "limits",
        key: "sweep_interval_ms",
        env: "RELAY_SWEEP_INTERVAL_MS",
        min: SWEEP_MS_MIN,
        max: SECONDS_MAX * 1_000,
        set: |c, n| c.sweep_interval = Duration::from_millis(n),
    },
    rate("window_ms", "RELAY_RATE_LIMIT_WINDOW_MS", (100, 3_600_000), |c, n| {
        rates(c, |r| r.window = Duration::from_millis(n));
    }),
    rate("ip_max", "RELAY_RATE_LIMIT_IP_MAX", COUNTS, |c, n| rates(c, |r| r.ip_max = count(n))),
    rate("pubkey_max", "RELAY_RATE_LIMIT_PUBKEY_MAX", COUNTS, |c, n| rates(c, |r| r.pubkey_max = count(n))),
    rate("strict_max", "RELAY_RATE_LIMIT_STRICT_MAX", COUNTS, |c, n| rates(c, |r| r.strict_max = count(n))),
];

fn rates(config: &mut Config, set: impl FnOnce(&mut Rates)) {
    set(config.rates.get_or_insert_default());
}

fn count(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Settings {
    /// Resolves a document, if there is one, and the environment, which overrides it.
    ///
    /// `dir` is what a relative `storage.dir` is relative to.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn resolve(
        document: Option<(&str, &Path)>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let (text, dir) = document.unwrap_or((DEFAULTS, Path::new("")));
        let raw = parse(text, &mut problems);
        let data_dir = dir.join(raw.storage.dir.as_deref().unwrap_or("relay-data"));
        let mut config = Config::new(data_dir);
        let mut source = Source { raw: &raw, env: &env, problems: &mut problems };
        for number in NUMBERS {
            if let Some(value) = source.number(number) {
                (number.set)(&mut config, value);
            }
        }
        if let Some(value) =
            source.bounded("server.connections_max", &raw.server.connections_max, 16, CONNECTIONS_MAX)
        {
            config.connections_max = usize::try_from(value).unwrap_or(usize::MAX);
        }
        if let Some(value) = source.bounded("storage.cache_mib", &raw.storage.cache_mib, 8, 65_536) {
            config.cache_bytes = value << 20;
        }
        config.trust_forwarded_for = source
            .switch(
                "server.trust_forwarded_for",
                raw.server.trust_forwarded_for.as_ref(),
                "RELAY_TRUST_FORWARDED_FOR",
            )
            .unwrap_or(false);
        config.health_public = source
            .switch("server.health_public", raw.server.health_public.as_ref(), "RELAY_HEALTH_PUBLIC")
            .unwrap_or(true);
        config.rules.nano_checks =
            source.switch("nano.checks", raw.nano.get("checks"), "RELAY_NANO_CHECKS").unwrap_or(true);
        if source.switch("rate_limit.enabled", raw.rate_limit.get("enabled"), "RELAY_RATE_LIMIT_ENABLED")
            == Some(false)
        {
            config.rates = None;
        }
        let listen = raw.server.listen.clone().unwrap_or_else(|| "127.0.0.1:3000".to_owned());
        let metrics_listen = raw.server.metrics_listen.as_deref().filter(|addr| !addr.is_empty());
        let metrics_listen = metrics_listen.map(deployed::listen);
        let mut settings = Self { listen, metrics_listen, config };
        deployed::take(&mut settings, &raw.v0, &env, &mut problems);
        settings.config.metrics_here = settings.metrics_listen.is_none();
        if problems.is_empty() { Ok(settings) } else { Err(ConfigError { problems }) }
    }
}

fn parse(text: &str, problems: &mut Vec<String>) -> Raw {
    let (raw, found) = match Document::<Raw>::parse(text) {
        Ok(Document { raw, problems }) => (raw, problems),
        Err(problems) => (Raw::default(), problems),
    };
    problems.extend(found.list().iter().map(|problem| format!("{}: {}", problem.path, problem.message)));
    let tables = [
        ("limits", &raw.limits, &[][..]),
        ("rate_limit", &raw.rate_limit, &["enabled"][..]),
        ("nano", &raw.nano, &["checks"][..]),
    ];
    for (table, keys, also) in tables {
        let known = |key: &str| {
            also.contains(&key) || NUMBERS.iter().any(|number| number.table == table && number.key == key)
        };
        let unknown = keys.keys().filter(|key| !known(key)).map(|key| readable(&format!("{table}.{key}")));
        problems.extend(unknown.map(|path| format!("{path}: no such setting")));
    }
    problems.extend(deployed::unknown_keys(&raw.v0).map(|path| format!("{path}: no such setting")));
    raw
}

/// Where values come from, and where problems go.
struct Source<'a, E> {
    raw: &'a Raw,
    env: &'a E,
    problems: &'a mut Vec<String>,
}

impl<E: Fn(&str) -> Option<String>> Source<'_, E> {
    fn number(&mut self, number: &Number) -> Option<u64> {
        let Number { table, key, env, min, max, .. } = *number;
        if let Some(text) = (self.env)(env) {
            return self.in_range(env, u64::from_str(text.trim()).ok(), min, max);
        }
        let table_of = if table == "limits" { &self.raw.limits } else { &self.raw.rate_limit };
        let value = table_of.get(key)?;
        let value = value.as_integer().and_then(|value| u64::try_from(value).ok());
        self.in_range(&format!("{table}.{key}"), value, min, max)
    }

    fn bounded(&mut self, path: &str, value: &Option<toml::Value>, min: u64, max: u64) -> Option<u64> {
        let value = value.as_ref()?.as_integer().and_then(|value| u64::try_from(value).ok());
        self.in_range(path, value, min, max)
    }

    fn in_range(&mut self, name: &str, value: Option<u64>, min: u64, max: u64) -> Option<u64> {
        let value = value.filter(|value| (min..=max).contains(value));
        if value.is_none() {
            self.problems.push(format!("{name}: a whole number from {min} to {max}"));
        }
        value
    }

    fn switch(&mut self, path: &str, value: Option<&toml::Value>, env: &str) -> Option<bool> {
        let (name, text) = match (self.env)(env) {
            Some(text) => (env, text),
            None => (
                path,
                value?
                    .as_str()
                    .map_or_else(|| value.map(ToString::to_string).unwrap_or_default(), str::to_owned),
            ),
        };
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "on" | "1" | "yes" => Some(true),
            "false" | "off" | "0" | "no" => Some(false),
            _ => {
                self.problems.push(format!("{name}: on or off"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn the_document_of_defaults_says_what_the_code_does() {
        let settings = Settings::resolve(None, nothing).unwrap();
        assert_eq!(settings.config, Config::new("relay-data"));
        assert_eq!(settings.listen, "127.0.0.1:3000");
        assert_eq!(Settings::resolve(Some(("", Path::new(""))), nothing).unwrap(), settings);
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let text = "[limits]\nquote_ttl_seconds = 4\nqote = 1\n[sever]\nx = 1\n[server]\nlisen = \"\"\n";
        let env = |name: &str| (name == "RELAY_LOCK_TTL_SECONDS").then(|| "9".to_owned());
        let problems = Settings::resolve(Some((text, Path::new(""))), env).unwrap_err().problems.join("|");
        for part in
            ["limits.quote_ttl_seconds", "limits.qote", "sever", "server.lisen", "RELAY_LOCK_TTL_SECONDS"]
        {
            assert!(problems.contains(part), "{part} in {problems}");
        }
    }

    /// Somebody may hand it the worker's document by mistake.
    #[test]
    fn what_looks_like_a_secret_is_not_repeated() {
        let secret = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        for text in [
            format!("[relay]\nkey = '{secret}\n"),
            format!("[relay]\nk ey = '{secret}'\n"),
            format!("[server]\nlisten = {secret}\n"),
            format!("server = '{secret}'\n"),
            format!("[limits]\n{secret} = 1\n"),
            format!("{secret} = 1\n"),
        ] {
            let error = Settings::resolve(Some((&text, Path::new(""))), nothing).unwrap_err();
            assert!(!error.problems.is_empty() && !error.to_string().contains(secret), "{error}");
        }
    }

    #[test]
    fn the_environment_overrides_the_document() {
        let text = "[rate_limit]\nenabled = true\n[storage]\ndir = \"there\"\n";
        let env = |name: &str| match name {
            "RELAY_RATE_LIMIT_ENABLED" => Some("false".to_owned()),
            "RELAY_NANO_CHECKS" => Some("off".to_owned()),
            "RELAY_SWEEP_INTERVAL_MS" => Some("100".to_owned()),
            _ => None,
        };
        let config = Settings::resolve(Some((text, Path::new("/etc"))), env).unwrap().config;
        assert_eq!(config.rates, None);
        assert!(!config.rules.nano_checks);
        assert_eq!(config.sweep_interval, Duration::from_millis(100));
        assert_eq!(config.data_dir, Path::new("/etc/there"));
    }
}
