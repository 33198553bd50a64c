//! `config`: write one, check it, show what it comes to.

use std::path::Path;

use serde_json::{Value, json};

use super::args::Config;
use super::exit::{Exit, Failure};
use super::files;
use super::output::Output;
use crate::nano::rpc::panel::Trust;
use crate::nano::rpc::{Rpc, RpcConfig};
use crate::worker::Settings;
use crate::worker::executor::HandlerKind;
use crate::worker::input::Pricing;
use crate::worker::nodes::Demand;
use crate::worker::settings::{DEFAULT, OfferSettings};

pub(super) fn run(path: &Path, verb: Config, out: Output) -> Result<Exit, Failure> {
    match verb {
        Config::Init => init(path, out),
        Config::Check => check(path, out),
        Config::Show => show(path, out),
    }
}

fn init(path: &Path, out: Output) -> Result<Exit, Failure> {
    files::write_new(path, DEFAULT.as_bytes())?;
    out.answer(
        &json!({ "written": path }),
        format_args!(
            "{} is written: say there what you sell.\nThen make its secrets with `worker key new` and `worker wallet new`.",
            path.display()
        ),
    );
    Ok(Exit::Done)
}

fn check(path: &Path, out: Output) -> Result<Exit, Failure> {
    let settings = files::settings(path)?;
    let offers = settings.offers.len();
    out.answer(
        &json!({ "ok": true, "offers": offers }),
        format_args!("{} is fine: {offers} offer{}", path.display(), if offers == 1 { "" } else { "s" }),
    );
    Ok(Exit::Done)
}

fn show(path: &Path, out: Output) -> Result<Exit, Failure> {
    let shown = resolved(&files::settings(path)?)?;
    out.answer(&shown, toml::to_string(&without_nulls(shown.clone())).map_err(Failure::other)?.trim_end());
    Ok(Exit::Done)
}

/// What the configuration comes to. Of keys it shows what everybody may know; of a node's address
/// what cannot be a password.
fn resolved(settings: &Settings) -> Result<Value, Failure> {
    let account = settings.accounts.get(0).map_err(|error| Failure::new(Exit::Config, error))?;
    let offers: Vec<Value> = settings.offers.iter().map(offer).collect();
    Ok(json!({
        "relay": {
            "url": settings.relay_url,
            "public_key": settings.signer.public_key(),
        },
        "nano": {
            "network": settings.network.name(),
            "first_account": account,
            "rpc": node_names(settings)?,
            "verify": if settings.certainty.trust == Trust::Proof { "proof" } else { "rpc" },
            "quorum": settings.certainty.quorum,
            "requests_per_second": settings.certainty.requests_per_second,
            "policy": policy(settings),
            "websockets": settings.websocket.len(),
            "account_index_start": settings.account_index_start,
            "index_gap": settings.index_gap,
        },
        "state": { "dir": settings.state_dir },
        "polling": {
            "min_ms": millis(settings.poll_min),
            "max_ms": millis(settings.poll_max),
        },
        "backup": {
            "dir": settings.backup.dir,
            "every_hours": settings.backup.every.map_or(0, |every| every.as_secs() / 3_600),
            "keep": settings.backup.keep,
        },
        "lock": { "ttl_seconds": settings.lock_ttl.as_secs() },
        "quote": { "ttl_seconds": settings.quote_ttl.map(|ttl| ttl.as_secs()) },
        "shutdown": { "drain_seconds": settings.drain.as_secs() },
        "offers": offers,
    }))
}

fn policy(settings: &Settings) -> Vec<Value> {
    let rule = |demand: &Demand| json!({ "above_raw": demand.above.to_string(), "quorum": demand.quorum });
    settings.certainty.demands.iter().map(rule).collect()
}

fn node_names(settings: &Settings) -> Result<Vec<String>, Failure> {
    let rpc = Rpc::new(&RpcConfig::new(settings.rpc.clone(), || std::time::Duration::ZERO))
        .map_err(|error| Failure::new(Exit::Config, error))?;
    Ok(rpc.nodes().map(|node| node.name().to_owned()).collect())
}

fn offer(offer: &OfferSettings) -> Value {
    let handler = match &offer.handler.kind {
        HandlerKind::Command { program, arguments, .. } => {
            let mut command = vec![json!(program)];
            command.extend(arguments.iter().map(|argument| json!(argument)));
            json!({ "command": command })
        }
        HandlerKind::Url(url) => json!({ "url": url }),
        // No configuration can name one.
        HandlerKind::Function(_) => Value::Null,
    };
    let price = match offer.terms.pricing {
        Pricing::Fixed(price) => json!(price.to_xno()),
        Pricing::Ask => Value::Null,
    };
    json!({
        "name": offer.name,
        "title": offer.public.title,
        "description": offer.public.description,
        "tags": offer.public.tags,
        "pricing_mode": offer.public.pricing_mode,
        "price_xno": price,
        "active": offer.public.active,
        "max_request_bytes": offer.terms.request_bytes_max,
        "payment_window_seconds": offer.terms.payment_window.as_secs(),
        "idempotent": offer.terms.idempotent,
        "timeout_seconds": offer.handler.timeout.as_secs(),
        "max_parallel": offer.max_parallel,
        "handler": handler,
        "nice": offer.handler.limits.nice,
        "memory_max_mib": offer.handler.limits.memory_max.map(|bytes| bytes >> 20),
        "cpu_percent": offer.handler.limits.cpu_percent,
        "tasks_max": offer.handler.limits.tasks_max,
    })
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// TOML has no word for nothing.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        Value::Array(list) => list.into_iter().map(without_nulls).collect(),
        other => other,
    }
}
