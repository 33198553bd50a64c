//! The environment that operators of the deployed relays know, for a start without a document.

use std::path::Path;
use std::time::Duration;

use super::{BazaarRate, BazaarRates, Settings};

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

/// Takes what is set; each problem is named.
pub(super) fn take(
    settings: &mut Settings,
    env: impl Fn(&str) -> Option<String>,
    problems: &mut Vec<String>,
) {
    let set = |name: &str| env(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
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
    match read_retention(set("NBR_RETENTION_ENABLED"), set("NBR_RETENTION_INTERVAL")) {
        Some(retention) => settings.config.bazaar_retention = retention,
        None => problems.push(
            "NBR_RETENTION_ENABLED, NBR_RETENTION_INTERVAL: true or false, and a time like 30m".to_owned(),
        ),
    }
    for (name, bucket) in BUCKETS {
        let rate = bucket(&mut settings.config.bazaar_rates);
        let (rps, burst) = (format!("NBR_RL_{name}_RPS"), format!("NBR_RL_{name}_BURST"));
        match read_rate(*rate, set(&rps), set(&burst)) {
            Some(read) => *rate = read,
            None => {
                problems.push(format!("{rps}, {burst}: a rate above zero, and a whole number above zero"))
            }
        }
    }
}

/// How often to remove what is over, if at all; `None` for a value that says neither.
fn read_retention(enabled: Option<String>, interval: Option<String>) -> Option<Option<Duration>> {
    let interval = interval.map_or(Some(RETENTION_INTERVAL), |text| duration(&text))?;
    match enabled.as_deref() {
        None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Some(None),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Some(Some(interval)),
        Some(_) => None,
    }
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
fn listen(addr: &str) -> String {
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
    fn what_makes_no_sense_is_named() {
        for (name, value) in [
            ("PORT", "http"),
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
