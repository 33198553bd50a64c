//! What a buyer reads.

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets};
use nano_currency::Amount;
use serde_json::Value;

use crate::buyer::order::Order;
use crate::client::v0::MarketOffer;
use crate::protocol::{Job, Offer, Status, v0};

/// The offers of a page.
pub(super) fn offers(offers: &[Offer]) -> String {
    if offers.is_empty() {
        return "no offers".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["OFFER", "TITLE", "PRICE", "TAGS"]);
    for offer in offers {
        let price = offer.terms.fixed_price_raw.as_deref().map_or_else(|| "by quote".to_owned(), xno);
        let row = [
            offer.offer_id.to_string(),
            printable(&offer.terms.title),
            price,
            printable(&offer.terms.tags.join(", ")),
        ];
        table.add_row(row);
    }
    table.trim_fmt()
}

/// The offers of a market of bots.
pub(super) fn stalls(offers: &[MarketOffer]) -> String {
    if offers.is_empty() {
        return "no offers".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["OFFER", "TITLE", "PRICE", "TAGS", "SOLD"]);
    for offer in offers {
        let row = [
            printable(offer.offer_id.as_str()),
            printable(&offer.title),
            xno(&offer.price_raw),
            printable(&offer.tags.join(", ")),
            offer.purchase_count.to_string(),
        ];
        table.add_row(row);
    }
    table.trim_fmt()
}

/// A bot's job.
pub(super) fn bots_job(job: &v0::Job) -> String {
    let mut text = format!("job      {}\nstatus   {}", printable(job.job_id.as_str()), job.status);
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = write!(text, "\n{name:<8} {}", printable(&value));
        }
    };
    add("offer", Some(job.offer_id.to_string()));
    add("price", Some(xno(&job.price_raw)));
    add("charge", job.charge.as_ref().map(|charge| charge.address.clone()));
    add("until", job.charge.as_ref().map(|charge| charge.charge_expires_at.clone()));
    text
}

/// A job and what the journal knows of it.
pub(super) fn job(order: &Order, job: &Job) -> String {
    let mut text = format!("job      {}\nstatus   {}", job.job_id, job.status);
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = write!(text, "\n{name:<8} {}", printable(&value));
        }
    };
    add("offer", Some(job.offer_id.to_string()));
    add("price", job.quote_amount_raw.as_deref().map(xno));
    add("invoice", job.quote_invoice_address.clone());
    let open = job.status == Status::Quoted;
    add("until", job.quote_expires_at.filter(|_| open).map(|expiry| expiry.to_string()));
    let block = order.payment.map(|block| block.0.hash().to_string());
    add("payment", job.payment_tx_hash.clone().or(block));
    add("reason", job.cancel_reason.clone());
    if job.status.is_final() {
        let _ = write!(text, "\n{}", outcome(job));
    }
    text
}

/// How a job ended, or where it is.
pub(super) fn outcome(job: &Job) -> String {
    match job.status {
        Status::Delivered => result(job),
        Status::Failed => {
            let field = |name| job.error.get(name).and_then(Value::as_str);
            let message = field("message").map_or_else(|| job.error.to_string(), str::to_owned);
            format!(
                "the job failed: {} ({})",
                printable(&message),
                printable(field("code").unwrap_or("no code"))
            )
        }
        status => match &job.cancel_reason {
            Some(reason) => format!("the job is {status}: {}", printable(reason)),
            None => format!("the job is {status}"),
        },
    }
}

/// The result: a text as it is, anything else as JSON.
pub(super) fn result(job: &Job) -> String {
    if let Some(url) = job.result_url.as_ref().filter(|_| job.result_payload.is_null()) {
        return printable(url);
    }
    match job.result_payload.get("text").and_then(Value::as_str) {
        Some(text) if job.result_payload.as_object().is_some_and(|fields| fields.len() == 1) => {
            text.strip_suffix('\n').unwrap_or(text).to_owned()
        }
        _ => job.result_payload.to_string(),
    }
}

fn xno(raw: &str) -> String {
    Amount::parse_raw(raw).map_or_else(|_| printable(raw), |amount| format!("{} XNO", amount.to_xno()))
}

/// A stranger's words, without what could move the terminal's cursor.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn done(status: &str, fields: Value) -> Job {
        let key = crate::protocol::PublicKey::from_bytes([2; 32]);
        let id = "7f0c2b0e-4a51-4d0e-9e0b-1c1f6a3b2d10";
        let mut job = json!({
            "job_id": id, "offer_id": id, "seller_pubkey": key, "buyer_pubkey": key, "status": status,
            "created_at": "2026-01-29T10:00:00Z", "updated_at": "2026-01-29T10:00:00Z",
        });
        job.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(job).unwrap()
    }

    #[test]
    fn a_text_is_printed_as_it_is_and_all_else_as_json() {
        let shown = |payload: Value| result(&done("delivered", json!({ "result_payload": payload })));
        assert_eq!(shown(json!({"text": "two\nlines\n"})), "two\nlines");
        assert_eq!(shown(json!({"more": 1, "text": "t"})), r#"{"more":1,"text":"t"}"#);
        assert_eq!(shown(json!(7)), "7");
    }

    #[test]
    fn an_error_is_named_and_cannot_move_the_cursor() {
        let error = json!({ "error": {"code": "handler_failed", "message": "exit \u{1b}[2J 1"} });
        let text = outcome(&done("failed", error));
        assert!(text.contains("handler_failed") && !text.contains('\u{1b}'), "{text}");
        let text = outcome(&done("canceled", json!({ "cancel_reason": "too long" })));
        assert_eq!(text, "the job is canceled: too long");
    }
}
