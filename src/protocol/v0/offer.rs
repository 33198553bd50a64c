//! Offers: how one is made, and the four things that can happen to it.

use serde::{Deserialize, Serialize};

use super::charge::is_digits;
use super::limits::{
    DESCRIPTION_BYTES_MAX, HINT_BYTES_MAX, OFFER_TTL, OFFER_TTL_MAX, TAG_BYTES_MAX, TAGS_MAX, TITLE_BYTES_MAX,
};
use super::{BotId, Moment, OfferId, Refusal};

/// Where an offer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum OfferStatus {
    /// It takes jobs.
    Active,
    /// It takes none for now.
    Paused,
    /// Its seller took it back.
    Cancelled,
    /// Its time is over.
    Expired,
}

/// Something that a seller does for a price. The fields stand in the order in which they are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its name, which the relay made.
    pub offer_id: OfferId,
    /// Who offers.
    pub seller_bot_id: BotId,
    /// What the seller calls itself; added when the offer is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seller_bot_name: Option<String>,
    /// One line.
    pub title: String,
    /// Some more.
    pub description: String,
    /// What it is found by.
    pub tags: Vec<String>,
    /// The price in raw.
    pub price_raw: String,
    /// How soon after the payment the result is promised.
    pub turnaround_seconds: u64,
    /// When it was made.
    pub created_at: Moment,
    /// How long it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Moment>,
    /// Where it is.
    pub status: OfferStatus,
    /// When its seller took it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<Moment>,
    /// When the seller was last heard of; added when the offer is shown.
    #[serde(default)]
    pub seller_last_seen_at: Option<Moment>,
}

/// What a seller says about an offer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OfferDraft {
    /// One line.
    pub title: String,
    /// Some more.
    pub description: String,
    /// What it is found by.
    pub tags: Vec<String>,
    /// The price in raw.
    pub price_raw: String,
    /// How soon after the payment the result is promised.
    pub turnaround_seconds: i64,
    /// How long it stands; any RFC 3339 text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// What requests look like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_schema_hint: Option<String>,
}

/// An offer, and what is shown of it in the market only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// What everybody sees.
    pub offer: Offer,
    /// What requests look like.
    pub request_schema_hint: Option<String>,
}

impl OfferDraft {
    /// The offer that it makes. Texts are trimmed first; their limits are in bytes.
    ///
    /// # Errors
    /// The 400 that the seller is to see.
    pub fn offer(&self, offer_id: OfferId, seller: BotId, now: Moment) -> Result<Listing, Refusal> {
        let title = bounded(&self.title, TITLE_BYTES_MAX, "invalid title")?;
        let description = bounded(&self.description, DESCRIPTION_BYTES_MAX, "invalid description")?;
        let tags = self.tags()?;
        let price_raw = self.price_raw.trim().to_owned();
        if !is_digits(&price_raw) {
            return Err(Refusal::invalid("invalid price_raw"));
        }
        let turnaround_seconds = u64::try_from(self.turnaround_seconds)
            .ok()
            .filter(|seconds| *seconds > 0)
            .ok_or_else(|| Refusal::invalid("invalid turnaround_seconds"))?;
        let request_schema_hint = self.hint()?;
        let expires_at = Some(self.expires_at(now)?);
        let offer = Offer {
            offer_id,
            seller_bot_id: seller,
            seller_bot_name: None,
            title,
            description,
            tags,
            price_raw,
            turnaround_seconds,
            created_at: now,
            expires_at,
            status: OfferStatus::Active,
            cancelled_at: None,
            seller_last_seen_at: None,
        };
        Ok(Listing { offer, request_schema_hint })
    }

    fn tags(&self) -> Result<Vec<String>, Refusal> {
        let mut tags: Vec<String> = Vec::new();
        for tag in &self.tags {
            let tag = bounded(tag, TAG_BYTES_MAX, "invalid tags")?;
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        if tags.is_empty() || tags.len() > TAGS_MAX {
            return Err(Refusal::invalid("invalid tags"));
        }
        Ok(tags)
    }

    fn hint(&self) -> Result<Option<String>, Refusal> {
        let hint = self.request_schema_hint.as_deref().map(str::trim).filter(|hint| !hint.is_empty());
        if hint.is_some_and(|hint| hint.len() > HINT_BYTES_MAX) {
            return Err(Refusal::invalid("invalid request_schema_hint"));
        }
        Ok(hint.map(str::to_owned))
    }

    fn expires_at(&self, now: Moment) -> Result<Moment, Refusal> {
        let Some(text) = self.expires_at.as_deref().map(str::trim).filter(|text| !text.is_empty()) else {
            return Ok(now.plus(OFFER_TTL));
        };
        let expiry: Moment = text.parse().map_err(|_| Refusal::invalid("invalid expires_at"))?;
        if expiry <= now {
            return Err(Refusal::invalid("expires_at in past"));
        }
        if expiry > now.plus(OFFER_TTL_MAX) {
            return Err(Refusal::invalid("expires_at exceeds max ttl"));
        }
        Ok(expiry)
    }
}

fn bounded(text: &str, bytes_max: usize, message: &'static str) -> Result<String, Refusal> {
    let text = text.trim();
    if (1..=bytes_max).contains(&text.len()) { Ok(text.to_owned()) } else { Err(Refusal::invalid(message)) }
}

/// What can be done to an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OfferCommand {
    /// Take it back.
    Cancel,
    /// Take no jobs for now.
    Pause,
    /// Take jobs again.
    Resume,
}

impl Offer {
    /// The offer as time has left it: one whose expiry has passed has expired.
    #[must_use]
    pub fn at(&self, now: Moment) -> Self {
        let open = matches!(self.status, OfferStatus::Active | OfferStatus::Paused);
        let status = if open && self.expires_at.is_some_and(|expiry| now > expiry) {
            OfferStatus::Expired
        } else {
            self.status
        };
        Self { status, ..self.clone() }
    }

    /// Whether it takes jobs.
    ///
    /// # Errors
    /// The 409 that the buyer is to see.
    pub fn ensure_active(&self, now: Moment) -> Result<(), Refusal> {
        match self.at(now).status {
            OfferStatus::Active => Ok(()),
            _ => Err(Refusal::conflict("offer not active")),
        }
    }

    /// Decides about a command of `caller`; `None` if there is nothing to change.
    ///
    /// # Errors
    /// The refusal that the caller is to see.
    pub fn apply(&self, caller: BotId, command: OfferCommand, now: Moment) -> Result<Option<Self>, Refusal> {
        if caller != self.seller_bot_id {
            return Err(Refusal::forbidden("not the seller"));
        }
        let offer = self.at(now);
        match (offer.status, command) {
            (OfferStatus::Expired, _) => Err(Refusal::conflict("offer expired")),
            (OfferStatus::Cancelled, OfferCommand::Cancel) => Ok(None),
            (OfferStatus::Cancelled, _) => Err(Refusal::conflict("offer cancelled")),
            (_, OfferCommand::Cancel) => Ok(Some(offer.cancelled(now))),
            (OfferStatus::Active, OfferCommand::Pause) => {
                Ok(Some(Self { status: OfferStatus::Paused, ..offer }))
            }
            (OfferStatus::Paused, OfferCommand::Resume) => {
                Ok(Some(Self { status: OfferStatus::Active, ..offer }))
            }
            (OfferStatus::Paused, OfferCommand::Pause) | (OfferStatus::Active, OfferCommand::Resume) => {
                Ok(None)
            }
        }
    }

    /// What becomes of it when its seller leaves for good; `None` if it was over before.
    #[must_use]
    pub fn revoked(&self, now: Moment) -> Option<Self> {
        let offer = self.at(now);
        matches!(offer.status, OfferStatus::Active | OfferStatus::Paused).then(|| offer.cancelled(now))
    }

    fn cancelled(self, now: Moment) -> Self {
        Self { status: OfferStatus::Cancelled, cancelled_at: Some(now), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "2026-02-01T12:00:00Z";

    fn now() -> Moment {
        AT.parse().unwrap()
    }

    fn draft() -> OfferDraft {
        serde_json::from_str(
            r#"{"title":" Nano summary ","description":"Summarize a Nano paper","tags":["nano"," summary","nano"],"price_raw":"1000000","turnaround_seconds":3600}"#,
        )
        .unwrap()
    }

    fn seller() -> BotId {
        BotId::from_bytes(std::array::from_fn(|index| u8::try_from(index).unwrap()))
    }

    fn offer() -> Offer {
        draft().offer(OfferId::new("offer_1"), seller(), now()).unwrap().offer
    }

    #[test]
    fn the_wire_shape_is_pinned() {
        assert_eq!(
            serde_json::to_string(&offer()).unwrap(),
            concat!(
                r#"{"offer_id":"offer_1","seller_bot_id":"baaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq","#,
                r#""title":"Nano summary","description":"Summarize a Nano paper","tags":["nano","summary"],"#,
                r#""price_raw":"1000000","turnaround_seconds":3600,"created_at":"2026-02-01T12:00:00Z","#,
                r#""expires_at":"2026-02-08T12:00:00Z","status":"ACTIVE","seller_last_seen_at":null}"#
            )
        );
    }

    #[test]
    fn every_limit_has_its_message() {
        let told = |change: &dyn Fn(&mut OfferDraft)| {
            let mut draft = draft();
            change(&mut draft);
            match draft.offer(OfferId::new("offer_1"), seller(), now()) {
                Ok(_) => "fine".to_owned(),
                Err(refusal) => refusal.message.into_owned(),
            }
        };
        assert_eq!(told(&|draft| draft.title = "é".repeat(40)), "fine");
        assert_eq!(told(&|draft| draft.title = "é".repeat(41)), "invalid title");
        assert_eq!(told(&|draft| draft.title = " \n".to_owned()), "invalid title");
        assert_eq!(told(&|draft| draft.description = "x".repeat(801)), "invalid description");
        assert_eq!(told(&|draft| draft.tags.clear()), "invalid tags");
        assert_eq!(told(&|draft| draft.tags = vec!["é".repeat(13)]), "invalid tags");
        assert_eq!(told(&|draft| draft.tags = (0..9).map(|n| n.to_string()).collect()), "invalid tags");
        assert_eq!(told(&|draft| draft.tags = vec!["a".to_owned(); 9]), "fine");
        assert_eq!(told(&|draft| draft.price_raw = "0".to_owned()), "fine");
        assert_eq!(told(&|draft| draft.price_raw = "1.5".to_owned()), "invalid price_raw");
        assert_eq!(told(&|draft| draft.turnaround_seconds = 0), "invalid turnaround_seconds");
        assert_eq!(told(&|draft| draft.turnaround_seconds = -1), "invalid turnaround_seconds");
        assert_eq!(
            told(&|draft| draft.request_schema_hint = Some("x".repeat(4097))),
            "invalid request_schema_hint"
        );
        let expiry = |text: &str| told(&|draft| draft.expires_at = Some(text.to_owned()));
        assert_eq!(expiry("2026-02-02T13:00:00.50+01:00"), "fine");
        assert_eq!(expiry("tomorrow"), "invalid expires_at");
        assert_eq!(expiry(AT), "expires_at in past");
        assert_eq!(expiry("2026-03-03T12:00:00Z"), "fine");
        assert_eq!(expiry("2026-03-03T12:00:00.000000001Z"), "expires_at exceeds max ttl");
    }

    #[test]
    fn every_command_in_every_state() {
        use OfferCommand::{Cancel, Pause, Resume};
        use OfferStatus::{Active, Cancelled, Expired, Paused};
        let told = |status, command| {
            let offer = Offer { status, ..offer() };
            match offer.apply(seller(), command, now()) {
                Ok(None) => "same".to_owned(),
                Ok(Some(offer)) => format!("{:?}", offer.status),
                Err(refusal) => format!("{} {refusal}", refusal.code.status()),
            }
        };
        for (status, cancel, pause, resume) in [
            (Active, "Cancelled", "Paused", "same"),
            (Paused, "Cancelled", "same", "Active"),
            (Cancelled, "same", "409 offer cancelled", "409 offer cancelled"),
            (Expired, "409 offer expired", "409 offer expired", "409 offer expired"),
        ] {
            assert_eq!(
                [told(status, Cancel), told(status, Pause), told(status, Resume)],
                [cancel, pause, resume].map(str::to_owned)
            );
        }
        let stranger = offer().apply(BotId::from_bytes([9; 32]), Cancel, now()).unwrap_err();
        assert_eq!(stranger.code.status(), 403);
    }

    #[test]
    fn time_passes_strictly() {
        let end: Moment = "2026-02-08T12:00:00Z".parse().unwrap();
        let later: Moment = "2026-02-08T12:00:00.000000001Z".parse().unwrap();
        assert!(offer().ensure_active(end).is_ok());
        assert_eq!(offer().ensure_active(later).unwrap_err(), Refusal::conflict("offer not active"));
        assert_eq!(offer().at(later).status, OfferStatus::Expired);
        assert_eq!(offer().revoked(later), None);
        assert_eq!(offer().revoked(now()).unwrap().cancelled_at, Some(now()));
        let paused = Offer { status: OfferStatus::Paused, ..offer() };
        assert_eq!(paused.ensure_active(now()).unwrap_err(), Refusal::conflict("offer not active"));
    }

    #[test]
    fn the_largest_offer_is_as_large_as_the_limits_say() {
        let text = |bytes: usize| "x".repeat(bytes);
        let tags = |count: u8, bytes: usize| {
            (0..count).map(|number| format!("{number}{}", text(bytes - 1))).collect::<Vec<_>>()
        };
        let most = OfferDraft {
            title: text(80),
            description: text(800),
            tags: tags(8, 24),
            price_raw: "9".repeat(40),
            turnaround_seconds: 1,
            expires_at: None,
            request_schema_hint: Some(text(4096)),
        };
        let told = |draft: &OfferDraft| {
            let made = draft.offer(OfferId::new("offer_1"), seller(), now());
            made.map_err(|refusal| refusal.message.into_owned())
        };
        let listing = told(&most).unwrap();
        assert_eq!((listing.offer.tags, listing.request_schema_hint), (tags(8, 24), Some(text(4096))));
        for (draft, message) in [
            (OfferDraft { title: text(81), ..most.clone() }, "invalid title"),
            (OfferDraft { description: text(801), ..most.clone() }, "invalid description"),
            (OfferDraft { tags: tags(9, 24), ..most.clone() }, "invalid tags"),
            (OfferDraft { tags: tags(8, 25), ..most.clone() }, "invalid tags"),
            (OfferDraft { tags: vec![String::new()], ..most.clone() }, "invalid tags"),
            (OfferDraft { price_raw: "9".repeat(41), ..most.clone() }, "invalid price_raw"),
            (OfferDraft { request_schema_hint: Some(text(4097)), ..most }, "invalid request_schema_hint"),
        ] {
            assert_eq!(told(&draft).unwrap_err(), message);
        }
    }

    #[test]
    fn what_is_blank_was_not_said() {
        let draft = OfferDraft {
            expires_at: Some(" ".to_owned()),
            request_schema_hint: Some(" \n".to_owned()),
            ..draft()
        };
        let listing = draft.offer(OfferId::new("offer_1"), seller(), now()).unwrap();
        assert_eq!(listing, Listing { offer: offer(), request_schema_hint: None });
    }
}
