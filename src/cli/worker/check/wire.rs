//! What is reached over the network: the relay, the nodes, handlers that are services.

use std::time::Duration;

use super::super::exit::chain;
use super::Finding;
use crate::client::v0::BotClient;
use crate::client::{CallError, Health, JobsQuery, RelayClient, RelayUrlError};
use crate::edge::{self, Clock, Entropy};
use crate::nano::rpc::{Rpc, RpcConfig};
use crate::protocol::Actor;
use crate::protocol::limits::SKEW_MAX;
use crate::worker::Settings;
use crate::worker::settings::Dialect;

/// A person waits for the answer; whoever needs longer would not serve a daemon either.
const PATIENCE: Duration = Duration::from_secs(12);

/// From here on the clocks should be looked at, before the relay refuses what we sign.
const SKEW_WARN_SECONDS: u64 = 5;

/// A relay in the dialect that is configured.
enum Relay {
    V1(RelayClient),
    V0(BotClient),
}

impl Relay {
    fn open(settings: &Settings) -> Result<Self, RelayUrlError> {
        let (url, clock, entropy) = (&settings.relay_url, Clock::system(), Entropy::system());
        Ok(match &settings.dialect {
            Dialect::V1 => Self::V1(RelayClient::new(url, settings.signer.clone(), clock, entropy)?),
            Dialect::V0(bot) => Self::V0(BotClient::new(url, bot.keys.clone(), bot.rates, clock, entropy)?),
        })
    }

    async fn health(&self) -> Result<Health, CallError> {
        match self {
            Self::V1(client) => client.health().await,
            Self::V0(client) => client.health().await,
        }
    }

    async fn identity(&self) -> Finding {
        match self {
            Self::V1(client) => identity(client).await,
            Self::V0(client) => registration(client).await,
        }
    }
}

pub(super) async fn relay(settings: &Settings) -> Vec<Finding> {
    let client = match Relay::open(settings) {
        Ok(client) => client,
        Err(error) => return vec![Finding::fail("relay", chain(&error), "correct relay.url")],
    };
    let health = match tokio::time::timeout(PATIENCE, client.health()).await {
        Ok(Ok(health)) => health,
        Ok(Err(error)) => {
            return vec![Finding::fail("relay", chain(&error), unreachable(&settings.relay_url))];
        }
        Err(_) => return vec![Finding::fail("relay", "no answer in time", unreachable(&settings.relay_url))],
    };
    let mut findings = vec![if health.ok {
        Finding::ok("relay", format!("{} answers in {} ms", settings.relay_url, health.took.as_millis()))
    } else {
        Finding::warn("relay", "it says that it is not well", "wait, or ask whoever runs it")
    }];
    findings.extend(health.skew_seconds.map(skew));
    findings.push(client.identity().await);
    findings
}

fn unreachable(url: &str) -> String {
    format!("see that relay.url is right and that {url} can be reached from here")
}

fn skew(seconds: i64) -> Finding {
    let off = seconds.unsigned_abs();
    let text = format!("the relay's clock is {seconds:+} s off ours");
    if off >= SKEW_MAX.as_secs() {
        Finding::fail(
            "clock",
            text,
            "set this machine's clock (NTP): the relay refuses what is signed with it",
        )
    } else if off >= SKEW_WARN_SECONDS {
        Finding::warn("clock", text, "set this machine's clock (NTP)")
    } else {
        Finding::ok("clock", text)
    }
}

/// Whether the relay takes what the key signs.
async fn identity(client: &RelayClient) -> Finding {
    let query = JobsQuery { role: Some(Actor::Seller), limit: Some(1), ..JobsQuery::default() };
    match tokio::time::timeout(PATIENCE, client.jobs(&query)).await {
        Ok(Ok(_)) => Finding::ok("identity", "the relay takes our signature"),
        Ok(Err(error)) => {
            Finding::fail("identity", chain(&error), "see that relay.key is the right one, and the clock")
        }
        Err(_) => Finding::fail("identity", "no answer in time", "try again"),
    }
}

/// Whether the relay knows the bot by these keys.
async fn registration(client: &BotClient) -> Finding {
    let own = client.bot_id();
    match tokio::time::timeout(PATIENCE, client.bot(&own)).await {
        Ok(Ok(bot)) if bot.revoked => Finding::fail(
            "identity",
            format!("{own} was revoked"),
            "make new keys with `worker keys new` and start with another [state] dir",
        ),
        Ok(Ok(bot)) if bot.encryption_pubkey_x25519 != client.keys().sealing_key() => Finding::fail(
            "identity",
            "the relay knows this bot with another key to seal for",
            "name the first one in relay.sealing_key: a relay never takes another",
        ),
        Ok(Ok(_)) => Finding::ok("identity", format!("the relay knows {own}")),
        Ok(Err(error)) if error.says("unknown bot") || error.status() == Some(404) => Finding::warn(
            "identity",
            format!("the relay does not know {own} yet"),
            "`worker run` and `worker register` make it known",
        ),
        Ok(Err(error)) => {
            Finding::fail("identity", chain(&error), "see that relay.key is the right one, and the clock")
        }
        Err(_) => Finding::fail("identity", "no answer in time", "try again"),
    }
}

/// Every node is judged alone; one good one is enough to work.
pub(super) async fn nodes(settings: &Settings) -> Vec<Finding> {
    let started = edge::monotonic();
    let clock = move || edge::monotonic().saturating_duration_since(started);
    let rpc = match Rpc::new(&RpcConfig::new(settings.rpc.clone(), clock)) {
        Ok(rpc) => rpc,
        Err(error) => return vec![Finding::fail("node", chain(&error), "correct nano.rpc")],
    };
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for alone in rpc.each() {
        let name = alone.nodes().next().map(|node| node.name().to_owned()).unwrap_or_default();
        match tokio::time::timeout(PATIENCE, alone.health(settings.network)).await {
            Ok(Ok(health)) if health.is_good() => good.push(Finding::ok(
                "node",
                format!(
                    "{name}: {} on {}, {} blocks",
                    health.version.vendor, settings.network, health.blocks.count
                ),
            )),
            Ok(Ok(health)) => {
                bad.extend(health.findings.iter().map(|finding| (name.clone(), finding.to_string())))
            }
            Ok(Err(error)) => bad.push((name, chain(&error))),
            Err(_) => bad.push((name, "no answer in time".to_owned())),
        }
    }
    let judge = if good.is_empty() { Finding::fail } else { Finding::warn };
    let todo = "see that nano.rpc is right and the node is up, or name another";
    good.extend(
        bad.into_iter()
            .map(|(name, text)| judge("node".to_owned(), format!("{name}: {text}"), todo.to_owned())),
    );
    good
}

/// A call could do something, so the service is only knocked at.
pub(super) async fn service(offer: &str, url: &str) -> Finding {
    let todo = "start the service, or correct handler.url";
    let Some((host, port)) = address(url) else {
        return Finding::fail("handler", format!("{offer}: its url names no host"), todo);
    };
    let place = format!("{offer}: {host}:{port}");
    let knocked = tokio::net::TcpStream::connect((host.trim_matches(['[', ']']), port));
    match tokio::time::timeout(PATIENCE, knocked).await {
        Ok(Ok(_)) => Finding::ok("handler", format!("{place} listens")),
        Ok(Err(error)) => Finding::fail("handler", format!("{place}: {error}"), todo),
        Err(_) => Finding::fail("handler", format!("{place}: no answer in time"), todo),
    }
}

fn address(url: &str) -> Option<(String, u16)> {
    let url = reqwest::Url::parse(url).ok()?;
    Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
}
