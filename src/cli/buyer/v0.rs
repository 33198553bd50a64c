//! The buyer's commands with a relay of /v0.

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::args::{Command, read_payload, read_xno};
use super::progress::Display;
use super::settings::Settings;
use super::{Resumed, fetch, text, unsettled, wallet};
use crate::buyer::v0::{DealFault, Goods};
use crate::buyer::{BuyError, Buyer, Order, Progress};
use crate::cli::{CliError, Exit, Output};
use crate::client::v0::{BotClient, OffersQuery, Rates};
use crate::config::Secret;
use crate::edge::{Clock, Entropy};
use crate::protocol::signing::Signer;
use crate::protocol::v0::identity::decode_base64;
use crate::protocol::v0::{BotKeys, Job, JobId, OfferId};

/// The dialect is none that is spoken here.
#[derive(Debug, thiserror::Error)]
#[error("a dialect is v1 or v0")]
pub(super) struct NoDialect;

pub(super) fn is_v0(name: &str) -> Result<bool, NoDialect> {
    match name {
        "v0" => Ok(true),
        "v1" => Ok(false),
        _ => Err(NoDialect),
    }
}

/// The buyer's name at the relay, as both dialects sign.
pub(super) fn names(
    url: &str,
    key: &Secret,
    sealing: Option<&Secret>,
) -> Result<(Signer, BotClient), CliError> {
    let sealing = sealing.ok_or_else(|| {
        CliError::usage(
            "no key to seal for: run `buyer key new --out sealing.key`, then set relay.sealing_key, \
             BUYER_SEALING_PRIVKEY or --sealing-key",
        )
    })?;
    let (key, sealing) = (seed("relay.key", key)?, seed("relay.sealing_key", sealing)?);
    let keys = BotKeys::from_seeds(&key, &sealing);
    let bot = BotClient::new(url, keys, Rates::DEPLOYED, Clock::system(), Entropy::system());
    let bot = bot.map_err(|error| CliError::usage(format_args!("relay.url: {error}")))?;
    Ok((Signer::from_seed(&key), bot))
}

/// A private key: hex, or base64url as the deployed client writes it.
fn seed(path: &str, secret: &Secret) -> Result<Zeroizing<[u8; 32]>, CliError> {
    let text = secret.expose();
    let bytes = hex::decode(text).ok().or_else(|| decode_base64(text)).map(Zeroizing::new);
    let seed = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
    seed.map(Zeroizing::new).ok_or_else(|| {
        CliError::usage(format_args!("{path}: a private key is 64 hex digits, or 32 bytes in base64url"))
    })
}

pub(super) async fn offers(
    settings: &Settings,
    query: Option<String>,
    tags: Vec<String>,
    limit: u8,
    output: Output,
) -> Result<Exit, CliError> {
    let entropy = Entropy::system();
    // The market is open: the name of whoever asks does not leave this process.
    let nobody = BotKeys::from_seeds(&entropy.bytes(), &entropy.bytes());
    let bot = BotClient::new(&settings.relay_url, nobody, Rates::DEPLOYED, Clock::system(), entropy);
    let bot = bot.map_err(CliError::usage)?;
    let query = OffersQuery { text: query, tags, limit: Some(limit.into()), ..OffersQuery::default() };
    let page = bot.market(&query).await;
    let page = page.map_err(|source| super::failure(BuyError::Relay { doing: "list offers", source }))?;
    output.answer(text::stalls(&page.offers), || json!({ "offers": shown(&page.offers) }));
    Ok(Exit::Ok)
}

fn shown(offers: &[crate::client::v0::MarketOffer]) -> Vec<Value> {
    let one = |offer: &crate::client::v0::MarketOffer| {
        json!({
            "offer_id": offer.offer_id, "seller_bot_name": offer.seller_bot_name, "title": offer.title,
            "description": offer.description, "tags": offer.tags, "price_raw": offer.price_raw,
            "turnaround_seconds": offer.turnaround_seconds, "purchase_count": offer.purchase_count,
            "request_schema_hint": offer.request_schema_hint,
        })
    };
    offers.iter().map(one).collect()
}

pub(super) async fn purchase(
    buyer: &Buyer,
    settings: &Settings,
    command: Command,
    output: Output,
) -> Result<Exit, CliError> {
    let display = Display::new(output);
    let watch = |progress: &Progress| display.show(progress);
    let find = |job: &super::Name| buyer.order_at_bot(&JobId::new(job.text())).map_err(super::failure);
    match command {
        Command::Account => wallet::balance(buyer, settings, output).await,
        Command::Wallet(verb) => wallet::run(buyer, settings, verb, &display, output).await,
        Command::Buy { offer, payload, max_price_xno } => {
            let max = read_xno("--max-price-xno", &max_price_xno)?;
            let body = body(&read_payload(&payload.payload)?);
            let (offer, index) = (OfferId::new(offer.text()), settings.account_index);
            let asked = buyer.ask_bot(&offer, &body, max, index, &watch).await;
            let mut order = asked.map_err(super::failure)?;
            let ended = buyer.pursue_bot(&mut order, &watch).await;
            display.finish();
            Ok(result(&ended.map_err(|error| unsettled(&order, error))?, output))
        }
        Command::Wait { job } => {
            let mut order = find(&job)?;
            let ended = buyer.pursue_bot(&mut order, &watch).await;
            display.finish();
            Ok(result(&ended.map_err(|error| unsettled(&order, error))?, output))
        }
        Command::Show { job } => {
            let mut order = find(&job)?;
            let job = buyer.look_at_bots_job(&mut order).await.map_err(super::failure)?;
            Ok(show(&order, &job, output))
        }
        Command::Fetch { job, out, max_mib } => fetch::run(buyer, &find(&job)?, &out, max_mib, output).await,
        Command::Cancel { job, reason: _ } => {
            let mut order = find(&job)?;
            let job = buyer.cancel_at_bot(&mut order).await.map_err(super::failure)?;
            Ok(show(&order, &job, output))
        }
        Command::Resume => {
            let ended = resume(buyer, output, &display).await;
            display.finish();
            ended
        }
        _ => Err(CliError::usage(
            "/v0 has no such step: an offer's price is known before it is asked for, so `buy`, `wait`, `show`, \
             `fetch`, `cancel` and `resume` are all there is",
        )),
    }
}

/// Goes on with each interrupted purchase; the exit is the worst of theirs.
async fn resume(buyer: &Buyer, output: Output, display: &Display) -> Result<Exit, CliError> {
    let orders = buyer.memory().interrupted().map_err(|error| super::failure(error.into()))?;
    let mut resumed = Resumed::new();
    // Those of the other dialect are for a run in that.
    for mut order in orders.into_iter().filter(|order| order.deal.is_some()) {
        let name = order.deal.as_ref().map(|deal| deal.job_id.to_string()).unwrap_or_default();
        let ended = buyer.resume_bot(&mut order, &|progress| display.show(progress)).await;
        resumed.add(&name, &order, ended, |goods| match goods {
            Some(goods) => (exit_of(&goods), json!({ "order": order, "goods": sold(&goods) }), goods.result),
            None => (Exit::JobOver, json!({ "order": order }), "the job is CANCELLED".to_owned()),
        });
    }
    Ok(resumed.say(output))
}

/// A text is asked for as it is, anything else as JSON.
fn body(payload: &Value) -> String {
    payload.as_str().map_or_else(|| payload.to_string(), str::to_owned)
}

fn show(order: &Order, job: &Job, output: Output) -> Exit {
    output.answer(text::bots_job(job), || json!({ "job": job, "order": order }));
    Exit::Ok
}

fn result(goods: &Goods, output: Output) -> Exit {
    let text = goods.result.strip_suffix('\n').unwrap_or(&goods.result);
    output.answer(text, || sold(goods));
    fetch::hint(goods, output);
    exit_of(goods)
}

fn sold(goods: &Goods) -> Value {
    let messages: Vec<&str> = goods.messages.iter().map(|letter| letter.body.as_str()).collect();
    json!({ "job": goods.job, "result": goods.result, "messages": messages })
}

/// A seller has no other way to say that it tried and failed than a result that is an error.
fn exit_of(goods: &Goods) -> Exit {
    let result: Option<Value> = serde_json::from_str(&goods.result).ok();
    let fields = result.as_ref().and_then(Value::as_object);
    let failed = fields.is_some_and(|fields| fields.len() == 1 && fields.contains_key("error"));
    if failed { Exit::JobFailed } else { Exit::Ok }
}

/// The number and the name of a fault.
pub(super) const fn failure(fault: &DealFault) -> (Exit, &'static str) {
    match fault {
        DealFault::NoBot | DealFault::Unknown | DealFault::TooLong => (Exit::Usage, "usage"),
        DealFault::Closed => (Exit::JobOver, "offer_closed"),
        DealFault::TooExpensive { .. } => (Exit::Quote, "quote.too_expensive"),
        DealFault::Terms { .. } => (Exit::Quote, "quote.changed"),
        DealFault::Price
        | DealFault::Charge(_)
        | DealFault::Address(_)
        | DealFault::Burn
        | DealFault::Impostor { .. } => (Exit::Quote, "quote.invalid"),
        DealFault::OtherCharge { .. } => (Exit::Unsettled, "other_charge"),
        DealFault::Over { paid: Some(_), .. } => (Exit::Unsettled, "paid_but_over"),
        DealFault::Over { paid: None, .. } | DealFault::Refused(_) => (Exit::JobOver, "job_over"),
        DealFault::NotNow { .. } => (Exit::Relay, "not_now"),
        DealFault::Disbelieved(_) => (Exit::JobFailed, "result.disbelieved"),
    }
}
