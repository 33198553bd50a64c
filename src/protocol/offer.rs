//! The shape of an offer, and what makes one valid.

use serde::{Deserialize, Serialize};

use super::limits::{AMOUNT_CHARS_MAX, DESCRIPTION_CHARS_MAX, TAG_CHARS_MAX, TAGS_MAX, TITLE_CHARS_MAX};
use super::{OfferId, PublicKey, Refusal, Timestamp};

/// How the price of an offer comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PricingMode {
    /// The same for every job.
    Fixed,
    /// Named for each job by its quote.
    Quote,
}

/// Something that a seller does for money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its name.
    pub offer_id: OfferId,
    /// Who offers.
    pub seller_pubkey: PublicKey,
    /// What it says.
    #[serde(flatten)]
    pub terms: OfferTerms,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What the seller says about an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferTerms {
    /// One line, 1 to 120 characters.
    pub title: String,
    /// 1 to 2000 characters.
    pub description: String,
    /// At most 16, each 1 to 32 characters.
    #[serde(default)]
    pub tags: Vec<String>,
    /// How the price comes about.
    pub pricing_mode: PricingMode,
    /// The price in raw of a fixed offer.
    #[serde(default)]
    pub fixed_price_raw: Option<String>,
    /// Whether new jobs are taken.
    #[serde(default = "active_by_default")]
    pub active: bool,
}

const fn active_by_default() -> bool {
    true
}

impl OfferTerms {
    /// Checks lengths, and that a fixed offer has a price and a quoted one has none.
    ///
    /// # Errors
    /// A `validation_error` that names all wrong fields.
    pub fn check(&self) -> Result<(), Refusal> {
        let checks = [
            ensure_chars("title", &self.title, TITLE_CHARS_MAX),
            ensure_chars("description", &self.description, DESCRIPTION_CHARS_MAX),
            self.check_tags(),
            self.check_price(),
        ];
        Refusal::all_of(checks.into_iter().filter_map(Result::err))
    }

    fn check_tags(&self) -> Result<(), Refusal> {
        if self.tags.len() > TAGS_MAX {
            return Err(Refusal::field("tags", format!("at most {TAGS_MAX} tags")));
        }
        self.tags.iter().try_for_each(|tag| ensure_chars("tags", tag, TAG_CHARS_MAX))
    }

    fn check_price(&self) -> Result<(), Refusal> {
        match (self.pricing_mode, &self.fixed_price_raw) {
            (PricingMode::Fixed, Some(price)) => ensure_amount("fixed_price_raw", price),
            (PricingMode::Fixed, None) => {
                Err(Refusal::field("fixed_price_raw", "a fixed offer needs a price"))
            }
            (PricingMode::Quote, Some(_)) => {
                Err(Refusal::field("fixed_price_raw", "an offer with pricing_mode quote has no fixed price"))
            }
            (PricingMode::Quote, None) => Ok(()),
        }
    }
}

/// A text of 1 to `max` characters without NUL.
pub(super) fn ensure_chars(field: &str, text: &str, max: usize) -> Result<(), Refusal> {
    let chars = text.chars().count();
    if chars == 0 || chars > max {
        return Err(Refusal::field(field, format!("1 to {max} characters, not {chars}")));
    }
    if text.contains('\0') {
        return Err(Refusal::field(field, "no NUL characters"));
    }
    Ok(())
}

/// An amount on the wire: 1 to 40 digits.
pub(super) fn ensure_amount(field: &str, text: &str) -> Result<(), Refusal> {
    if text.is_empty() || text.len() > AMOUNT_CHARS_MAX || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::field(field, format!("1 to {AMOUNT_CHARS_MAX} digits, in raw")));
    }
    Ok(())
}

/// Whether two amounts on the wire are the same number.
pub(super) fn same_amount(one: &str, other: &str) -> bool {
    one.trim_start_matches('0') == other.trim_start_matches('0')
}
