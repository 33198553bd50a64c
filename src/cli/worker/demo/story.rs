//! The sale, step by step. Every step is a process that a person could have started.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::exit::{Exit, Failure};
use super::cast::Cast;
use super::parts::Part;
use super::place::Place;
use super::telling::Telling;
use crate::nano::Amount;
use crate::nano::rpc::{Rpc, RpcConfig};
use crate::protocol::Timestamp;
use crate::worker::control;
use crate::worker::report::Question;

/// What the buyer has the words of counted.
const WORDS: &str = "the whole of a sale in nine honest words";

/// What the faucet gives the buyer.
const FUNDS_XNO: &str = "1";

/// How often the demo looks whether somebody has got on.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How often it looks at most: far longer than anything takes here.
const LOOKS_MAX: u32 = 500;

/// How it ended.
#[derive(Debug)]
pub(super) struct Sale {
    pub(super) job: Value,
    pub(super) result: String,
    /// By the relay's clock: from the payment's hash to the delivery, both its last change.
    pub(super) paid_to_delivered: Duration,
}

pub(super) async fn play(place: &Place, cast: &mut Cast, telling: &mut Telling) -> Result<Sale, Failure> {
    open(place, cast, telling).await?;
    let job = order(cast, telling).await?;
    let paid_at = pay(cast, telling, &job).await?;
    telling.moment(Part::Buyer, format!("$ buyer wait {job}"));
    let done = cast.ask(Part::Buyer, &["wait", &job, "--json"]).await?["job"].take();
    telling.moment(Part::Buyer, "has the result");
    recall(cast, telling, &job).await?;
    let took = changed_at(&done)?.since(paid_at);
    let result = match &done["result_payload"]["text"] {
        Value::String(text) => text.clone(),
        _ => done["result_payload"].to_string(),
    };
    Ok(Sale { job: done, result, paid_to_delivered: took })
}

/// Everybody takes their place.
async fn open(place: &Place, cast: &mut Cast, telling: &mut Telling) -> Result<(), Failure> {
    let node = cast.start(Part::Node, &[]).await?;
    telling.moment(Part::Node, format!("a ledger answers at {node}"));
    let relay =
        cast.start(Part::Relay, &["serve", "--listen", "127.0.0.1:0", "--data", "relay-state"]).await?;
    telling.moment(Part::Relay, format!("open at {relay}"));
    place.configure(&relay, &node)?;
    fund(place, &node).await?;
    telling.moment(Part::Buyer, format!("has {FUNDS_XNO} XNO waiting, from the faucet"));
    cast.start_silent(Part::Worker, &["run", "--config", "worker.toml"])?;
    let offer = registered(place).await?;
    telling.moment(Part::Worker, format!("sells \"Word count\" for 0.001 XNO, as offer {offer}"));
    Ok(())
}

async fn fund(place: &Place, node: &str) -> Result<(), Failure> {
    let amount = Amount::parse_xno(FUNDS_XNO).map_err(Failure::other)?;
    let order = json!({ "action": "fund", "account": place.buyer, "amount_raw": amount.to_string() });
    let rpc = RpcConfig::new(vec![format!("{node}/_control")], || Duration::ZERO);
    let rpc = Rpc::new(&rpc).map_err(Failure::other)?;
    let Some(faucet) = rpc.nodes().next() else { return Ok(()) };
    let answer = faucet.ask(&order, Duration::from_secs(10)).await.map_err(Failure::other)?;
    match answer["hash"].as_str() {
        Some(_) => Ok(()),
        None => Err(Failure::text(Exit::Other, format!("the faucet gave nothing: {answer}"))),
    }
}

/// Waits until the worker's offer is on the relay.
async fn registered(place: &Place) -> Result<String, Failure> {
    for _ in 0..LOOKS_MAX {
        if let Ok(status) = control::ask(&place.worker_state(), &Question::Status).await
            && let Some(id) = status["offers"][0]["offer_id"].as_str()
        {
            return Ok(id.to_owned());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Err(Failure::text(Exit::Other, "the worker did not register its offer"))
}

/// The buyer finds the offer and asks for a job.
async fn order(cast: &Cast, telling: &mut Telling) -> Result<String, Failure> {
    telling.moment(Part::Buyer, "$ buyer offers word");
    let page = cast.ask(Part::Buyer, &["offers", "word", "--json"]).await?;
    let offer = text(&page["offers"][0]["offer_id"], "the buyer found no offer")?;
    let payload = json!(WORDS).to_string();
    telling.moment(Part::Buyer, format!("$ buyer request {offer} --payload '{payload}'"));
    let asked = cast.ask(Part::Buyer, &["request", &offer, "--payload", &payload, "--json"]).await?;
    text(&asked["job"]["job_id"], "there is no job")
}

/// The buyer waits for the quote, agrees and pays; returns when the payment's hash was with the relay.
async fn pay(cast: &Cast, telling: &mut Telling, job: &str) -> Result<Timestamp, Failure> {
    telling.moment(Part::Buyer, format!("$ buyer show {job}"));
    let quoted = quoted(cast, job).await?;
    let raw = text(&quoted["quote_amount_raw"], "the quote has no price")?;
    let address = text(&quoted["quote_invoice_address"], "the quote has no invoice")?;
    let price = Amount::parse_raw(&raw).map_err(Failure::other)?;
    telling.invoice(&address, &raw, &price.to_xno());
    let accept = ["accept", job, "--max-price-xno", "0.001", "--json"];
    let pay = ["pay", job, "--max-price-xno", "0.001", "--json"];
    telling.moment(Part::Buyer, format!("$ buyer accept {job} --max-price-xno 0.001"));
    cast.ask(Part::Buyer, &accept).await?;
    telling.moment(Part::Buyer, format!("$ buyer pay {job} --max-price-xno 0.001"));
    let paid = cast.ask(Part::Buyer, &pay).await?["job"].take();
    let hash = text(&paid["payment_tx_hash"], "nothing was paid")?;
    telling.moment(Part::Buyer, format!("has paid with block {hash}"));
    changed_at(&paid)
}

fn changed_at(job: &Value) -> Result<Timestamp, Failure> {
    serde_json::from_value(job["updated_at"].clone()).map_err(Failure::other)
}

async fn quoted(cast: &Cast, job: &str) -> Result<Value, Failure> {
    for _ in 0..LOOKS_MAX {
        let shown = cast.ask(Part::Buyer, &["show", job, "--json"]).await?["job"].take();
        match shown["status"].as_str() {
            Some("requested") => tokio::time::sleep(LOOK_AGAIN).await,
            Some("quoted") => return Ok(shown),
            _ => return Err(Failure::text(Exit::Other, format!("there is no quote: {shown}"))),
        }
    }
    Err(Failure::text(Exit::Other, "the worker sent no quote"))
}

/// What the worker wrote down about the job.
async fn recall(cast: &Cast, telling: &mut Telling, job: &str) -> Result<(), Failure> {
    let known = cast.ask(Part::Worker, &["jobs", "show", job, "--json"]).await?;
    for entry in known["history"].as_array().into_iter().flatten() {
        if let Ok(at) = serde_json::from_value(entry["at"].clone()) {
            let (what, stage) = (entry["what"].as_str().unwrap_or(""), entry["stage"].as_str().unwrap_or(""));
            telling.recall(at, format!("{what} -> {stage}"));
        }
    }
    Ok(())
}

fn text(value: &Value, otherwise: &str) -> Result<String, Failure> {
    value.as_str().map(str::to_owned).ok_or_else(|| Failure::text(Exit::Other, otherwise))
}
