//! The environment that operators of the deployed relays know, and the same in the document's `[v0]`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::{BazaarRate, BazaarRates, Settings};
use crate::config::document::readable;

/// Requests that a bucket may hold: more in one go would be no limit.
const BURST_MAX: u32 = 1_000_000;
/// The slowest rate: an empty bucket should fill within a day.
const WINDOW_MAX: Duration = Duration::from_secs(86_400);

/// How often what is over is looked for, when that is wanted: it is kept for days anyway.
const RETENTION_INTERVAL: Duration = Duration::from_secs(1_800);

/// One bucket, by the middle of its variables' names.
const BUCKETS: [(&str, Bucket); 4] = [
    ("POLL", |rates| &mut rates.poll),
    ("OFFER", |rates| &mut rates.offer),
    ("WRITES", |rates| &mut rates.writes),
    ("PAYLOAD", |rates| &mut rates.payload),
];

type Bucket = fn(&mut BazaarRates) -> &mut BazaarRate;

/// Whether what is over is removed.
const ENABLED: &str = "NBR_RETENTION_ENABLED";
/// How often it is looked for.
const INTERVAL: &str = "NBR_RETENTION_INTERVAL";

/// The document's `[v0]`, as written.
pub(super) type Table = BTreeMap<String, toml::Value>;

/// What is `NBR_RL_POLL_RPS` in the environment is `poll_rps` in the document.
fn key_of(name: &str) -> String {
    let name = name.trim_start_matches("NBR_").trim_start_matches("RL_");
    name.to_ascii_lowercase()
}

/// The keys of the document that mean nothing.
pub(super) fn unknown_keys(table: &Table) -> impl Iterator<Item = String> {
    let rates = BUCKETS.iter().flat_map(|(name, _)| [rps_of(name), burst_of(name)]);
    let known: Vec<String> =
        rates.chain([ENABLED.to_owned(), INTERVAL.to_owned()]).map(|name| key_of(&name)).collect();
    let unknown = table.keys().filter(move |key| !known.contains(key));
    unknown.map(|key| readable(&format!("v0.{key}")))
}

fn rps_of(bucket: &str) -> String {
    format!("NBR_RL_{bucket}_RPS")
}

fn burst_of(bucket: &str) -> String {
    format!("NBR_RL_{bucket}_BURST")
}

/// Takes what is set; each problem is named. The environment overrides the document.
pub(super) fn take(
    settings: &mut Settings,
    table: &Table,
    env: impl Fn(&str) -> Option<String>,
    problems: &mut Vec<String>,
) {
    let set = |name: &str| env(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    take_addresses(settings, &set, problems);
    let written = |name: &str| {
        let value = table.get(&key_of(name))?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let said = |name: &str| set(name).or_else(|| written(name));
    let place =
        |name: &str| if set(name).is_some() { name.to_owned() } else { format!("v0.{}", key_of(name)) };
    match read_retention(said(ENABLED), said(INTERVAL)) {
        Some(retention) => settings.config.bazaar_retention = retention,
        None => problems.push(format!(
            "{}, {}: true or false, and a time like 30m",
            place(ENABLED),
            place(INTERVAL)
        )),
    }
    for (name, bucket) in BUCKETS {
        let rate = bucket(&mut settings.config.bazaar_rates);
        let (rps, burst) = (rps_of(name), burst_of(name));
        match read_rate(*rate, said(&rps), said(&burst)) {
            Some(read) => *rate = read,
            None => problems.push(format!(
                "{}, {}: a rate above zero, and a whole number above zero",
                place(&rps),
                place(&burst)
            )),
        }
    }
}

fn take_addresses(
    settings: &mut Settings,
    set: &impl Fn(&str) -> Option<String>,
    problems: &mut Vec<String>,
) {
    match (set("NBR_HTTP_ADDR"), set("PORT")) {
        (Some(addr), _) => settings.listen = listen(&addr),
        (None, Some(port)) => match port.parse::<u16>() {
            Ok(port) => settings.listen = format!("0.0.0.0:{port}"),
            Err(_) => problems.push("PORT: a number from 0 to 65535".to_owned()),
        },
        (None, None) => {}
    }
    if let Some(file) = set("NBR_DB_PATH") {
        // That file is a database of theirs; ours is a directory, and stands beside it.
        settings.config.data_dir = Path::new(&file).with_extension("store");
    }
    if let Some(addr) = set("NBR_METRICS_ADDR") {
        settings.metrics_listen = Some(listen(&addr));
    }
    // Their operators keep health to the machine itself unless they say otherwise.
    let as_theirs = ["NBR_HTTP_ADDR", "PORT", "NBR_DB_PATH"].iter().any(|name| set(name).is_some());
    match set("NBR_HEALTH_PUBLIC").as_deref().map(read_flag) {
        Some(Some(public)) => settings.config.health_public = public,
        Some(None) => problems.push("NBR_HEALTH_PUBLIC: true or false".to_owned()),
        None if as_theirs => settings.config.health_public = false,
        None => {}
    }
}

/// A yes or no, as Go reads one.
fn read_flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// How often to remove what is over, if at all; `None` for a value that says neither.
fn read_retention(enabled: Option<String>, interval: Option<String>) -> Option<Option<Duration>> {
    let interval = interval.map_or(Some(RETENTION_INTERVAL), |text| duration(&text))?;
    let enabled = enabled.map_or(Some(false), |text| read_flag(&text))?;
    Some(enabled.then_some(interval))
}

/// A time in whole hours, minutes and seconds, such as `1h30m`; at least a second.
fn duration(text: &str) -> Option<Duration> {
    let (mut total, mut number) = (0u64, None::<u64>);
    for digit in text.chars() {
        number = match (digit.to_digit(10), number) {
            (Some(digit), number) => Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit.into())?),
            (None, Some(number)) => {
                let unit = match digit {
                    'h' => 3_600,
                    'm' => 60,
                    's' => 1,
                    _ => return None,
                };
                total = total.checked_add(number.checked_mul(unit)?)?;
                None
            }
            (None, None) => return None,
        };
    }
    (number.is_none() && total > 0).then(|| Duration::from_secs(total))
}

/// `:8080` is every address there is.
pub(super) fn listen(addr: &str) -> String {
    if addr.starts_with(':') { format!("0.0.0.0{addr}") } else { addr.to_owned() }
}

fn read_rate(usual: BazaarRate, rps: Option<String>, burst: Option<String>) -> Option<BazaarRate> {
    let rps = match rps {
        Some(text) => text.parse::<f64>().ok()?,
        None => f64::from(usual.burst) / usual.window.as_secs_f64(),
    };
    let burst = match burst {
        Some(text) => text.parse::<u32>().ok()?,
        None => usual.burst,
    };
    if !(1..=BURST_MAX).contains(&burst) || !rps.is_finite() || rps <= 0.0 {
        return None;
    }
    let window = Duration::try_from_secs_f64(f64::from(burst) / rps).ok()?;
    (window <= WINDOW_MAX).then_some(BazaarRate { burst, window })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(env: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        let find =
            |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Settings::resolve(None, find).map_err(|error| error.problems)
    }

    #[test]
    fn a_deployed_relays_environment_is_understood() {
        let listen = |env: &[(&str, &str)]| resolved(env).unwrap().listen;
        assert_eq!(listen(&[("NBR_HTTP_ADDR", "127.0.0.1:9000"), ("PORT", "1")]), "127.0.0.1:9000");
        assert_eq!(listen(&[("NBR_HTTP_ADDR", ":9000")]), "0.0.0.0:9000");
        assert_eq!(listen(&[("PORT", "9000")]), "0.0.0.0:9000");
        let settings = resolved(&[
            ("NBR_DB_PATH", "./data/relay.db"),
            ("NBR_RL_POLL_RPS", "0.5"),
            ("NBR_RL_POLL_BURST", "3"),
            ("NBR_RL_WRITES_BURST", "50"),
            ("NBR_RETENTION_ENABLED", "true"),
            ("NBR_RETENTION_INTERVAL", "1h30m"),
        ])
        .unwrap();
        assert_eq!(settings.config.data_dir, Path::new("./data/relay.store"));
        assert_eq!(settings.config.bazaar_retention, Some(Duration::from_secs(5_400)));
        let usual = resolved(&[("NBR_RETENTION_ENABLED", "1")]).unwrap();
        assert_eq!(usual.config.bazaar_retention, Some(Duration::from_secs(1_800)));
        let rates = settings.config.bazaar_rates;
        assert_eq!(rates.poll, BazaarRate { burst: 3, window: Duration::from_secs(6) });
        assert_eq!(rates.writes, BazaarRate { burst: 50, window: Duration::from_secs(25) });
        assert_eq!(rates.offer, BazaarRates::default().offer);
    }

    #[test]
    fn measures_and_health_are_where_the_operator_wants_them() {
        let plain = resolved(&[]).unwrap();
        assert_eq!((plain.metrics_listen, plain.config.health_public), (None, true));
        let theirs = resolved(&[("NBR_HTTP_ADDR", ":80"), ("NBR_METRICS_ADDR", ":9090")]).unwrap();
        assert_eq!(theirs.metrics_listen.as_deref(), Some("0.0.0.0:9090"));
        assert!(!theirs.config.health_public);
        let open = [("NBR_DB_PATH", "x.db"), ("NBR_HEALTH_PUBLIC", "true")];
        assert!(resolved(&open).unwrap().config.health_public);
        assert!(!resolved(&[("NBR_HEALTH_PUBLIC", "0")]).unwrap().config.health_public);
    }

    #[test]
    fn the_document_says_the_same_and_the_environment_overrides_it() {
        let text = "[v0]\nretention_enabled = true\nretention_interval = \"1m\"\npoll_rps = 0.5\npoll_burst = 3\n\
                    offer_burst = 7\n[server]\nmetrics_listen = \":9\"\nhealth_public = false\n";
        let env = |name: &str| (name == "NBR_RL_OFFER_BURST").then(|| "9".to_owned());
        let settings = Settings::resolve(Some((text, Path::new(""))), env).unwrap();
        assert_eq!(settings.metrics_listen.as_deref(), Some("0.0.0.0:9"));
        let config = settings.config;
        assert_eq!(config.bazaar_retention, Some(Duration::from_secs(60)));
        assert_eq!(config.bazaar_rates.poll, BazaarRate { burst: 3, window: Duration::from_secs(6) });
        assert_eq!(config.bazaar_rates.offer.burst, 9);
        assert!(!config.health_public);
        for (text, part) in [("[v0]\npoll_rps = 0\n", "v0.poll_rps"), ("[v0]\npol = 1\n", "v0.pol: no such")]
        {
            let problems = Settings::resolve(Some((text, Path::new(""))), |_| None).unwrap_err().problems;
            assert!(problems.len() == 1 && problems[0].contains(part), "{problems:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (name, value) in [
            ("PORT", "http"),
            ("NBR_HEALTH_PUBLIC", "perhaps"),
            ("NBR_RETENTION_ENABLED", "perhaps"),
            ("NBR_RETENTION_INTERVAL", "30"),
            ("NBR_RETENTION_INTERVAL", "0s"),
            ("NBR_RETENTION_INTERVAL", "m"),
            ("NBR_RL_POLL_RPS", "0"),
            ("NBR_RL_POLL_RPS", "NaN"),
            ("NBR_RL_OFFER_BURST", "0"),
            ("NBR_RL_PAYLOAD_RPS", "1e-300"),
        ] {
            let problems = resolved(&[(name, value)]).unwrap_err();
            assert!(problems.len() == 1 && problems[0].contains(name), "{problems:?}");
        }
    }
}
