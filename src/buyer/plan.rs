//! What comes next in a purchase, and whether a quote may be paid. Pure.

use std::time::Duration;

use nano_currency::account::AccountError;
use nano_currency::amount::AmountError;
use nano_currency::{Account, Amount};

use super::order::{Agreed, Order};
use crate::protocol::limits::ACCEPT_TTL;
use crate::protocol::{Job, PublicKey, Status, Timestamp};

/// A quote that ends sooner than this is not accepted any more: the answer could come too late.
pub const QUOTE_MARGIN: Duration = Duration::from_secs(2);

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The seller has to name a price.
    AwaitQuote,
    /// Judge the quote and agree to it.
    Accept,
    /// Publish a block, or see what became of the one that was signed, and submit its hash.
    Pay,
    /// The seller has to work.
    AwaitResult,
    /// The job has ended.
    Over,
}

/// What comes next for a job in this state.
#[must_use]
pub fn next(order: &Order, job: &Job) -> Next {
    match job.status {
        Status::Requested => Next::AwaitQuote,
        Status::Quoted => Next::Accept,
        Status::Accepted if job.payment_tx_hash.is_some() => Next::AwaitResult,
        Status::Accepted if order.submission.as_ref().is_some_and(|submission| submission.done) => {
            Next::AwaitResult
        }
        Status::Accepted => Next::Pay,
        Status::Running => Next::AwaitResult,
        Status::Delivered | Status::Failed | Status::Canceled | Status::Expired => Next::Over,
    }
}

/// Why a quote is not accepted, or an accepted one not paid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// Somebody else's job.
    #[error("the job is another buyer's")]
    NotOurs,
    /// No price or no address.
    #[error("the job has no quote yet")]
    Missing,
    /// The price is no amount.
    #[error("the quoted price cannot be read: {0}")]
    Amount(#[from] AmountError),
    /// A block must move something.
    #[error("the quoted price is nothing, and nothing cannot be sent")]
    Nothing,
    /// The address is none.
    #[error("the invoice address cannot be used: {0}")]
    Invoice(#[from] AccountError),
    /// What is sent there is gone.
    #[error("the invoice address is the burn account")]
    Burn,
    /// More than may be paid.
    #[error("the price of {} XNO is above the limit of {} XNO", .price.to_xno(), .max.to_xno())]
    TooExpensive {
        /// What it costs.
        price: Amount,
        /// What it may cost.
        max: Amount,
    },
    /// Too late.
    #[error("the quote has expired")]
    Expired,
    /// The job is another seller's now.
    #[error(
        "the relay now says that {now} sells this, but {agreed} did when the price was agreed to: not paying"
    )]
    OtherSeller {
        /// Who did.
        agreed: PublicKey,
        /// Who does now.
        now: PublicKey,
    },
    /// It is not what was agreed to.
    #[error(
        "the relay now says {} XNO to {}, but {} XNO to {} was agreed to: not paying",
        .now.amount.to_xno(), .now.invoice, .agreed.amount.to_xno(), .agreed.invoice
    )]
    Changed {
        /// What was agreed to.
        agreed: Box<Agreed>,
        /// What the relay says now.
        now: Box<Agreed>,
    },
}

impl QuoteError {
    /// Whether it is about the price: a higher limit, or another seller, would help.
    #[must_use]
    pub const fn is_price(&self) -> bool {
        matches!(self, Self::TooExpensive { .. })
    }
}

/// The quote of a job, if it may be accepted.
///
/// # Errors
/// The first rule that it breaks.
pub fn judge_quote(
    job: &Job,
    us: &PublicKey,
    max: Option<Amount>,
    now: Timestamp,
) -> Result<Agreed, QuoteError> {
    let quote = read_quote(job, us)?;
    if let Some(max) = max
        && quote.amount > max
    {
        return Err(QuoteError::TooExpensive { price: quote.amount, max });
    }
    if job.quote_expires_at.is_some_and(|expiry| now.plus(QUOTE_MARGIN) >= expiry) {
        return Err(QuoteError::Expired);
    }
    Ok(quote)
}

/// The quote of an accepted job, if it is what was agreed to.
///
/// # Errors
/// The first rule that it breaks.
pub fn judge_payment(
    job: &Job,
    us: &PublicKey,
    agreed: &Agreed,
    max: Option<Amount>,
) -> Result<(), QuoteError> {
    let quote = read_quote(job, us)?;
    if (quote.amount, quote.invoice) != (agreed.amount, agreed.invoice) {
        return Err(QuoteError::Changed { agreed: Box::new(*agreed), now: Box::new(quote) });
    }
    if let Some(seller) = agreed.seller.filter(|seller| *seller != job.seller_pubkey) {
        return Err(QuoteError::OtherSeller { agreed: seller, now: job.seller_pubkey });
    }
    match max {
        Some(max) if quote.amount > max => Err(QuoteError::TooExpensive { price: quote.amount, max }),
        _ => Ok(()),
    }
}

/// Whether a quote may still be paid, whatever the relay says of its job: until it ends, or, if it
/// was agreed to in time, as long after that as relays wait for a payment.
///
/// # Errors
/// If it may not.
pub fn judge_moment(agreed: &Agreed, accepted: bool, now: Timestamp) -> Result<(), QuoteError> {
    let window = if accepted { ACCEPT_TTL } else { Duration::ZERO };
    match agreed.expires_at {
        Some(expiry) if now.plus(QUOTE_MARGIN) >= expiry.plus(window) => Err(QuoteError::Expired),
        _ => Ok(()),
    }
}

/// The quote as it stands, if it names money and somebody to send it to.
///
/// # Errors
/// What is wrong with it.
pub fn read_quote(job: &Job, us: &PublicKey) -> Result<Agreed, QuoteError> {
    if job.buyer_pubkey != *us {
        return Err(QuoteError::NotOurs);
    }
    let amount = job.quote_amount_raw.as_deref().ok_or(QuoteError::Missing)?;
    let invoice = job.quote_invoice_address.as_deref().ok_or(QuoteError::Missing)?;
    let amount = Amount::parse_raw(amount)?;
    let invoice = Account::parse(invoice)?;
    if amount.is_zero() {
        return Err(QuoteError::Nothing);
    }
    if invoice == Account::BURN {
        return Err(QuoteError::Burn);
    }
    Ok(Agreed { amount, invoice, expires_at: job.quote_expires_at, seller: Some(job.seller_pubkey) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::order::{OrderId, Submission};
    use super::*;

    const BUYER: PublicKey = PublicKey::from_bytes([1; 32]);
    const INVOICE: Account = Account::from_bytes([5; 32]);

    fn job(status: Status) -> Job {
        let key = PublicKey::from_bytes([2; 32]);
        serde_json::from_value(json!({
            "job_id": "7f0c2b0e-4a51-4d0e-9e0b-1c1f6a3b2d10", "offer_id": "7f0c2b0e-4a51-4d0e-9e0b-1c1f6a3b2d10",
            "seller_pubkey": key, "buyer_pubkey": BUYER, "status": status,
            "quote_amount_raw": "1000", "quote_invoice_address": INVOICE,
            "quote_expires_at": "2026-01-29T10:15:00Z",
            "created_at": "2026-01-29T10:00:00Z", "updated_at": "2026-01-29T10:00:00Z",
        }))
        .unwrap()
    }

    fn agreed() -> Agreed {
        Agreed {
            amount: Amount::from_raw(1_000),
            invoice: INVOICE,
            expires_at: Some(at("2026-01-29T10:15:00Z")),
            seller: Some(PublicKey::from_bytes([2; 32])),
        }
    }

    fn order() -> Order {
        Order::new(OrderId::from_bytes([0; 16]), Timestamp::from_seconds(0))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn quote(change: impl FnOnce(&mut Job), max: u128, now: &str) -> Result<Agreed, QuoteError> {
        let mut job = job(Status::Quoted);
        change(&mut job);
        judge_quote(&job, &BUYER, Some(Amount::from_raw(max)), at(now))
    }

    #[test]
    fn a_fair_quote_is_accepted() {
        let agreed = quote(|_| {}, 1_000, "2026-01-29T10:14:00Z").unwrap();
        assert_eq!(agreed, self::agreed());
    }

    #[test]
    fn a_quote_is_paid_in_time_or_not_at_all() {
        let early = Agreed { expires_at: None, ..agreed() };
        let table = [
            (agreed(), false, "2026-01-29T10:14:57Z", Ok(())),
            (agreed(), false, "2026-01-29T10:14:58Z", Err(QuoteError::Expired)),
            (agreed(), true, "2026-01-29T10:14:58Z", Ok(())),
            (agreed(), true, "2026-01-29T10:44:57Z", Ok(())),
            (agreed(), true, "2026-01-29T10:44:58Z", Err(QuoteError::Expired)),
            (early, false, "2026-01-29T10:44:58Z", Ok(())),
        ];
        for (agreed, accepted, now, judged) in table {
            assert_eq!(judge_moment(&agreed, accepted, at(now)), judged, "{accepted} {now}");
        }
    }

    #[test]
    fn each_rule_is_named() {
        let early = "2026-01-29T10:00:00Z";
        let refused = |change: fn(&mut Job)| quote(change, 1_000, early).unwrap_err();
        assert!(quote(|_| {}, 999, early).unwrap_err().is_price());
        assert_eq!(quote(|_| {}, 1_000, "2026-01-29T10:14:59Z"), Err(QuoteError::Expired));
        assert_eq!(refused(|job| job.buyer_pubkey = job.seller_pubkey), QuoteError::NotOurs);
        assert_eq!(refused(|job| job.quote_amount_raw = None), QuoteError::Missing);
        assert_eq!(refused(|job| job.quote_amount_raw = Some("0".to_owned())), QuoteError::Nothing);
        assert_eq!(
            refused(|job| job.quote_amount_raw = Some("1e3".to_owned())),
            QuoteError::Amount(AmountError::NotDigits)
        );
        assert_eq!(
            refused(|job| job.quote_invoice_address = Some("nano_1x".to_owned())),
            QuoteError::Invoice(AccountError::Length)
        );
        assert_eq!(
            refused(|job| job.quote_invoice_address = Some(Account::BURN.to_string())),
            QuoteError::Burn
        );
    }

    #[test]
    fn another_price_or_address_after_the_agreement_is_not_paid() {
        let agreed = agreed();
        let judge = |job: &Job| judge_payment(job, &BUYER, &agreed, None);
        let mut job = job(Status::Accepted);
        assert_eq!(judge(&job), Ok(()));
        job.quote_amount_raw = Some("1001".to_owned());
        assert!(matches!(judge(&job), Err(QuoteError::Changed { .. })));
        job.quote_amount_raw = Some("1000".to_owned());
        job.quote_invoice_address = Some(Account::from_bytes([6; 32]).to_string());
        assert!(matches!(judge(&job), Err(QuoteError::Changed { .. })));
        job.quote_invoice_address = Some(INVOICE.to_string());
        job.seller_pubkey = BUYER;
        assert!(matches!(judge(&job), Err(QuoteError::OtherSeller { .. })));
    }

    #[test]
    fn each_state_has_its_next_step() {
        let table = [
            (Status::Requested, Next::AwaitQuote),
            (Status::Quoted, Next::Accept),
            (Status::Accepted, Next::Pay),
            (Status::Running, Next::AwaitResult),
            (Status::Delivered, Next::Over),
            (Status::Failed, Next::Over),
            (Status::Canceled, Next::Over),
            (Status::Expired, Next::Over),
        ];
        for (status, step) in table {
            assert_eq!(next(&order(), &job(status)), step, "{status}");
        }
        let mut submitted = order();
        submitted.submission = Some(Submission { hash: "A".to_owned(), done: true });
        assert_eq!(next(&submitted, &job(Status::Accepted)), Next::AwaitResult);
        submitted.submission = Some(Submission { hash: "A".to_owned(), done: false });
        assert_eq!(next(&submitted, &job(Status::Accepted)), Next::Pay);
        let mut elsewhere = job(Status::Accepted);
        elsewhere.payment_tx_hash = Some("B".to_owned());
        assert_eq!(next(&order(), &elsewhere), Next::AwaitResult);
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit(price: u128, max: u128) {
            let mut job = job(Status::Quoted);
            job.quote_amount_raw = Some(price.to_string());
            let judged = judge_quote(&job, &BUYER, Some(Amount::from_raw(max)), at("2026-01-29T10:00:00Z"));
            prop_assert_eq!(judged.is_ok(), price <= max && price > 0);
        }

        #[test]
        fn garbage_never_panics(amount: String, invoice: String) {
            let mut job = job(Status::Quoted);
            job.quote_amount_raw = Some(amount);
            job.quote_invoice_address = Some(invoice);
            let _ = judge_quote(&job, &BUYER, None, Timestamp::from_seconds(0));
        }
    }
}
