//! A new job: what a buyer hands in, and what becomes of it.

use serde::{Deserialize, Serialize};

use super::apply::{Change, ensure_ahead, envelope};
use super::job::ensure_canonical;
use super::limits::{JOB_TTL, JOB_TTL_MAX};
use super::payload::{Kind, Sealed};
use super::{Bot, BotId, Docket, Job, JobId, Moment, News, Notice, Offer, OfferId, Refusal, Status};

/// What a buyer hands in. Texts, so that each fault gets its own answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JobDraft {
    /// Its name, which the buyer makes; also the idempotency key.
    pub job_id: JobId,
    /// What is asked for.
    pub offer_id: OfferId,
    /// The sealed order.
    pub request_payload: Sealed,
    /// When it is over at the latest; a canonical moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_expires_at: Option<String>,
}

impl JobDraft {
    /// What can be said before the offer is known.
    ///
    /// # Errors
    /// The 400 that the buyer is to see.
    pub fn check(&self, now: Moment) -> Result<(), Refusal> {
        if self.job_id.as_str().is_empty() || self.offer_id.as_str().is_empty() {
            return Err(Refusal::invalid("missing fields"));
        }
        if !self.job_id.is_valid() {
            return Err(Refusal::invalid("job_id too long"));
        }
        self.request_payload.check(&[Kind::Request])?;
        self.expires_at(now).map(drop)
    }

    fn expires_at(&self, now: Moment) -> Result<Moment, Refusal> {
        let Some(expiry) = ensure_canonical(self.job_expires_at.as_deref(), "invalid job_expires_at")? else {
            return Ok(now.plus(JOB_TTL));
        };
        ensure_ahead(expiry, now, JOB_TTL_MAX, "job_expires_at in past", "job_expires_at too far")?;
        Ok(expiry)
    }

    /// The job that it makes. `offer` and `seller` are what the relay found under the names in it.
    ///
    /// # Errors
    /// The refusal that the buyer is to see.
    pub fn job(
        &self,
        buyer: BotId,
        offer: Option<&Offer>,
        seller: Option<&Bot>,
        now: Moment,
    ) -> Result<Change, Refusal> {
        self.check(now)?;
        let offer = offer.ok_or_else(|| Refusal::invalid("offer not found"))?;
        offer.ensure_active(now)?;
        if offer.seller_bot_id == buyer {
            return Err(Refusal::conflict("the offer is your own"));
        }
        // Who leaves for good takes its offers along, so that this is a race at most.
        let seller = seller
            .filter(|seller| seller.bot_id == offer.seller_bot_id && !seller.revoked)
            .ok_or_else(|| Refusal::conflict("offer not active"))?;
        let job = Job {
            job_id: self.job_id.clone(),
            offer_id: offer.offer_id.clone(),
            buyer_bot_id: buyer,
            seller_bot_id: offer.seller_bot_id,
            status: Status::Requested,
            price_raw: offer.price_raw.clone(),
            turnaround_seconds: offer.turnaround_seconds,
            created_at: now,
            job_expires_at: self.expires_at(now)?,
            request_payload_id: Some(self.request_payload.payload_id.clone()),
            charge: None,
            paid_at: None,
            delivered_at: None,
        };
        let payload = envelope(&self.request_payload, Kind::Request, &job, buyer, seller, now)?;
        let news = News::requested(&job, &payload.payload_id);
        Ok(Change {
            notices: vec![Notice { to: job.seller_bot_id, news }],
            docket: Docket { job, revision: 0, ended_at: None, evidence: None },
            payload: Some(payload),
            address: None,
            heard_at: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::sealing::ENC_ALG;
    use super::super::{BotKeys, OfferDraft, OfferStatus, PayloadId, Registration};
    use super::*;

    const AT: &str = "2026-02-01T12:00:00Z";

    fn at(text: &str) -> Moment {
        text.parse().unwrap()
    }

    fn seller() -> Bot {
        let keys = BotKeys::from_seeds(&[2; 32], &[2; 32]);
        Registration::of(&keys).bot(&keys.bot_id().to_string(), at(AT)).unwrap()
    }

    fn buyer() -> BotId {
        BotId::from_bytes([1; 32])
    }

    fn offer() -> Offer {
        let draft = OfferDraft {
            title: "t".to_owned(),
            description: "d".to_owned(),
            tags: vec!["a".to_owned()],
            price_raw: "1000".to_owned(),
            turnaround_seconds: 60,
            ..OfferDraft::default()
        };
        draft.offer(OfferId::new("offer_1"), seller().bot_id, at(AT)).unwrap().offer
    }

    fn draft() -> JobDraft {
        JobDraft {
            job_id: JobId::new("job_1"),
            offer_id: OfferId::new("offer_1"),
            request_payload: Sealed {
                payload_id: PayloadId::new("pay_1"),
                payload_kind: "request".to_owned(),
                enc_alg: ENC_ALG.to_owned(),
                recipient_kid: seller().encryption_kid,
                ciphertext_b64: "AAAA".to_owned(),
            },
            job_expires_at: None,
        }
    }

    fn told(draft: &JobDraft, offer: Option<&Offer>, now: &str) -> Result<Change, (u16, String)> {
        let told = draft.job(buyer(), offer, Some(&seller()), at(now));
        told.map_err(|refusal| (refusal.code.status(), refusal.message.into_owned()))
    }

    #[test]
    fn a_job_takes_its_terms_from_the_offer() {
        let change = told(&draft(), Some(&offer()), AT).unwrap();
        let job = &change.docket.job;
        assert_eq!(
            (job.status, job.price_raw.as_str(), job.turnaround_seconds),
            (Status::Requested, "1000", 60)
        );
        assert_eq!(job.job_expires_at, at("2026-02-08T12:00:00Z"));
        assert_eq!(change.notices[0].to, seller().bot_id);
        assert_eq!(change.payload.unwrap().recipient_bot_id, seller().bot_id);
    }

    #[test]
    fn every_refusal_has_its_status_and_message() {
        let with = |change: fn(&mut JobDraft)| {
            let mut draft = draft();
            change(&mut draft);
            told(&draft, Some(&offer()), AT).map(drop)
        };
        let refused = |status: u16, message: &str| Err((status, message.to_owned()));
        assert_eq!(with(|draft| draft.job_id = JobId::default()), refused(400, "missing fields"));
        assert_eq!(with(|draft| draft.job_id = JobId::new("j".repeat(257))), refused(400, "job_id too long"));
        assert_eq!(with(|draft| draft.request_payload.recipient_kid.clear()), refused(400, "missing fields"));
        assert_eq!(with(|draft| draft.request_payload.enc_alg.push('x')), refused(400, "invalid enc_alg"));
        assert_eq!(
            with(|draft| draft.request_payload.payload_kind = "message".to_owned()),
            refused(400, "invalid payload_kind")
        );
        assert_eq!(
            with(|draft| draft.request_payload.ciphertext_b64.push('=')),
            refused(400, "invalid ciphertext_b64")
        );
        assert_eq!(
            with(|draft| draft.request_payload.recipient_kid.push('a')),
            refused(400, "recipient_kid mismatch")
        );
        let expiry = |text: &str| {
            let draft = JobDraft { job_expires_at: Some(text.to_owned()), ..draft() };
            told(&draft, Some(&offer()), AT).map(drop)
        };
        assert_eq!(expiry("2026-03-03T12:00:00Z"), Ok(()));
        assert_eq!(expiry("2026-02-02T12:00:00.0Z"), refused(400, "invalid job_expires_at"));
        assert_eq!(expiry(AT), refused(400, "job_expires_at in past"));
        assert_eq!(expiry("2026-03-03T12:00:00.1Z"), refused(400, "job_expires_at too far"));
        assert_eq!(told(&draft(), None, AT).map(drop), refused(400, "offer not found"));
        let paused = Offer { status: OfferStatus::Paused, ..offer() };
        assert_eq!(told(&draft(), Some(&paused), AT).map(drop), refused(409, "offer not active"));
        assert_eq!(
            told(&draft(), Some(&offer()), "2026-02-08T12:00:00.1Z").map(drop),
            refused(409, "offer not active")
        );
        let own = Offer { seller_bot_id: buyer(), ..offer() };
        assert_eq!(told(&draft(), Some(&own), AT).map(drop), refused(409, "the offer is your own"));
    }

    #[test]
    fn who_has_left_sells_nothing() {
        let left = seller().left(at(AT));
        let told = draft().job(buyer(), Some(&offer()), Some(&left), at(AT));
        assert_eq!(told.unwrap_err(), Refusal::conflict("offer not active"));
    }

    #[test]
    fn the_names_in_a_draft_are_there_and_bounded() {
        let checked = |job_id: &str, offer_id: &str| {
            let draft = JobDraft { job_id: JobId::new(job_id), offer_id: OfferId::new(offer_id), ..draft() };
            draft.check(at(AT)).map_err(|refusal| refusal.message.into_owned())
        };
        assert_eq!(checked(&"j".repeat(256), "offer_1"), Ok(()));
        for (job_id, offer_id) in [("", "offer_1"), ("job_1", ""), ("", "")] {
            assert_eq!(checked(job_id, offer_id), Err("missing fields".to_owned()));
        }
    }

    #[test]
    fn only_the_offers_own_seller_sells() {
        let keys = BotKeys::from_seeds(&[3; 32], &[2; 32]);
        let other = Registration::of(&keys).bot(&keys.bot_id().to_string(), at(AT)).unwrap();
        for seller in [None, Some(&other)] {
            let told = draft().job(buyer(), Some(&offer()), seller, at(AT));
            assert_eq!(told.unwrap_err(), Refusal::conflict("offer not active"));
        }
    }
}
