//! The shape of a /v0 job: what its parties see, and what a relay keeps besides.

use serde::{Deserialize, Serialize};

use super::limits::{DELIVERY_GRACE, FIELD_BYTES_MAX};
use super::{BotId, Charge, JobId, Moment, OfferId, PayloadId, Refusal, Status};

/// A job, as both parties see it. The fields stand in the order in which they are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its name, which the buyer made.
    pub job_id: JobId,
    /// What was asked for.
    pub offer_id: OfferId,
    /// Who pays.
    pub buyer_bot_id: BotId,
    /// Who works.
    pub seller_bot_id: BotId,
    /// Where it is.
    pub status: Status,
    /// The offer's price when the job was made, in raw.
    pub price_raw: String,
    /// The offer's promise when the job was made.
    pub turnaround_seconds: u64,
    /// When it was asked for.
    pub created_at: Moment,
    /// When it is over at the latest.
    pub job_expires_at: Moment,
    /// Where the sealed order is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_payload_id: Option<PayloadId>,
    /// What is to be paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge: Option<Charge>,
    /// When the seller declared it paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid_at: Option<Moment>,
    /// When the result was handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Moment>,
}

impl Job {
    /// Whether `bot` is one of the two parties.
    #[must_use]
    pub fn has_party(&self, bot: &BotId) -> bool {
        self.buyer_bot_id == *bot || self.seller_bot_id == *bot
    }

    /// After which moment it expires unless somebody moves it; exactly then it still stands.
    #[must_use]
    pub fn stands_until(&self) -> Option<Moment> {
        let limit = match self.status {
            Status::Requested => None,
            Status::ChargeCreated => self.charge.as_ref().and_then(Charge::expires_at),
            Status::Paid => self.paid_at.map(|paid_at| {
                paid_at.plus(std::time::Duration::from_secs(self.turnaround_seconds)).plus(DELIVERY_GRACE)
            }),
            Status::Delivered | Status::Cancelled | Status::Expired => return None,
        };
        Some(limit.map_or(self.job_expires_at, |limit| limit.min(self.job_expires_at)))
    }
}

/// A job with what its parties do not see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Docket {
    /// What they do see.
    pub job: Job,
    /// How often it was moved: a commit names the revision that it was decided on.
    pub revision: u64,
    /// Since when it is over, if it is.
    pub ended_at: Option<Moment>,
    /// What the seller said about the payment.
    pub evidence: Option<Evidence>,
}

/// What a seller says about a payment; nobody checks it, and the buyer gets to read it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// By what it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verifier: Option<String>,
    /// The block that paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_block_hash: Option<String>,
    /// When it was seen; a canonical moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<String>,
    /// How much it brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_raw_received: Option<String>,
}

impl Evidence {
    /// Checks the moment's form, and that nothing is out of bounds.
    ///
    /// # Errors
    /// The 400 that the seller is to see.
    pub fn check(&self) -> Result<(), Refusal> {
        let Self { verifier, payment_block_hash, observed_at, amount_raw_received } = self;
        ensure_short([verifier, payment_block_hash, amount_raw_received])?;
        ensure_canonical(observed_at.as_deref(), "invalid observed_at").map(drop)
    }
}

pub(super) fn ensure_short<'a>(texts: impl IntoIterator<Item = &'a Option<String>>) -> Result<(), Refusal> {
    let long = texts.into_iter().flatten().any(|text| text.len() > FIELD_BYTES_MAX);
    if long { Err(Refusal::invalid("field too long")) } else { Ok(()) }
}

pub(super) fn ensure_canonical(text: Option<&str>, message: &'static str) -> Result<Option<Moment>, Refusal> {
    text.map(|text| Moment::canonical(text).map_err(|_| Refusal::invalid(message))).transpose()
}

/// A page of jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPage {
    /// Newest first.
    pub jobs: Vec<Job>,
    /// Where the next page begins, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = concat!(
        r#"{"job_id":"job_1","offer_id":"offer_1","#,
        r#""buyer_bot_id":"beaqseizeeutcokbjfivsyljof4ydcmrtgq2tmnzyhe5dwpb5hy7q","#,
        r#""seller_bot_id":"baaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq","#,
        r#""status":"CHARGE_CREATED","price_raw":"1000000","turnaround_seconds":3600,"#,
        r#""created_at":"2026-02-01T12:00:00Z","job_expires_at":"2026-02-08T12:00:00.5Z","#,
        r#""request_payload_id":"pay_1","charge":{"charge_id":"chg_1","address":"nano_1","#,
        r#""amount_raw":"1000000","charge_expires_at":"2026-02-01T14:00:00.000000001Z","#,
        r#""charge_sig_ed25519":"c2ln"}}"#
    );

    #[test]
    fn the_wire_shape_is_pinned() {
        let job: Job = serde_json::from_str(SENT).unwrap();
        assert_eq!(serde_json::to_string(&job).unwrap(), SENT);
        assert_eq!(job.stands_until().unwrap().to_string(), "2026-02-01T14:00:00.000000001Z");
    }

    #[test]
    fn a_job_has_a_buyer_and_a_seller_and_nobody_else() {
        let job: Job = serde_json::from_str(SENT).unwrap();
        let counted =
            |from: u8| BotId::from_bytes(std::array::from_fn(|index| from + u8::try_from(index).unwrap()));
        for (bot, party) in [(counted(0), true), (counted(32), true), (counted(64), false)] {
            assert_eq!(job.has_party(&bot), party, "{bot}");
        }
    }

    #[test]
    fn evidence_is_bounded_field_by_field_and_its_moment_is_canonical() {
        let told = |evidence: &Evidence| evidence.check().map_err(|refusal| refusal.message.into_owned());
        let text = |bytes: usize| Some("x".repeat(bytes));
        let long = Err("field too long".to_owned());
        assert_eq!(told(&Evidence::default()), Ok(()));
        for (bytes, expected) in [(0, Ok(())), (256, Ok(())), (257, long.clone()), (300, long)] {
            for evidence in [
                Evidence { verifier: text(bytes), ..Evidence::default() },
                Evidence { payment_block_hash: text(bytes), ..Evidence::default() },
                Evidence { amount_raw_received: text(bytes), ..Evidence::default() },
            ] {
                assert_eq!(told(&evidence), expected, "{bytes} bytes");
            }
        }
        for (observed_at, canonical) in [
            ("2026-02-01T12:05:00Z", true),
            ("2026-02-01T12:05:00.5Z", true),
            ("2026-02-01T12:05:00.50Z", false),
            ("2026-02-01T13:05:00+01:00", false),
            ("", false),
        ] {
            let evidence = Evidence { observed_at: Some(observed_at.to_owned()), ..Evidence::default() };
            let expected = if canonical { Ok(()) } else { Err("invalid observed_at".to_owned()) };
            assert_eq!(told(&evidence), expected, "{observed_at}");
        }
    }
}
