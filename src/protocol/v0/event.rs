//! Events: what happened, who is told, and in which words.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::payload::Kind;
use super::{BotId, Charge, ChargeId, Evidence, Job, JobId, Moment, OfferId, PayloadId, Status};

/// One entry of a bot's log, as it is sent. A reader survives types that it does not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place; grows over the whole relay, with gaps for each bot.
    pub event_id: u64,
    /// What happened.
    pub event_type: String,
    /// The rest of it.
    #[serde(default)]
    pub data: Value,
}

impl Event {
    /// The event at this place.
    #[must_use]
    pub fn new(event_id: u64, news: &News) -> Self {
        Self { event_id, event_type: news.name().to_owned(), data: news.data() }
    }

    /// What it says, if that is known and complete.
    #[must_use]
    pub fn news(&self) -> Option<News> {
        let tagged = serde_json::json!({ "event_type": self.event_type, "data": self.data });
        serde_json::from_value(tagged).ok()
    }
}

/// Something for one bot to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Who is told.
    pub to: BotId,
    /// What.
    pub news: News,
}

/// What can happen. Fields stand in the order in which they are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event_type", content = "data")]
pub enum News {
    /// To the seller: a buyer asked.
    #[serde(rename = "job.requested")]
    Requested {
        /// The job.
        job_id: JobId,
        /// What was asked for.
        offer_id: OfferId,
        /// Who pays.
        buyer_bot_id: BotId,
        /// Who works.
        seller_bot_id: BotId,
        /// The price, in raw.
        price_raw: String,
        /// The promise.
        turnaround_seconds: u64,
        /// Where the order is.
        request_payload_id: PayloadId,
        /// When the job is over at the latest.
        job_expires_at: Moment,
    },
    /// To the buyer: there is something to pay.
    #[serde(rename = "job.charge_created")]
    ChargeCreated {
        /// The job.
        job_id: JobId,
        /// What is to be paid.
        #[serde(flatten)]
        charge: Charge,
    },
    /// To the buyer: there is something else to pay.
    #[serde(rename = "job.charge_reissued")]
    ChargeReissued {
        /// The job.
        job_id: JobId,
        /// What is to be paid.
        #[serde(flatten)]
        charge: Charge,
    },
    /// To the seller: the buyer says that it paid.
    #[serde(rename = "job.payment_sent")]
    PaymentSent {
        /// The job.
        job_id: JobId,
        /// Who pays.
        buyer_bot_id: BotId,
        /// When it says so.
        sent_at: Moment,
        /// By which block.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payment_block_hash: Option<String>,
        /// How much.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        amount_raw_sent: Option<String>,
        /// What else it says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// To the seller: the buyer wants another charge.
    #[serde(rename = "job.charge_reissue_requested")]
    ReissueRequested {
        /// The job.
        job_id: JobId,
        /// Who pays.
        buyer_bot_id: BotId,
        /// When it asked.
        requested_at: Moment,
        /// What else it says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
        /// Until when it would like to have time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        requested_expires_at: Option<String>,
    },
    /// To the buyer: the seller has found the payment.
    #[serde(rename = "job.paid")]
    Paid {
        /// The job.
        job_id: JobId,
        /// When.
        paid_at: Moment,
        /// What it found.
        #[serde(flatten)]
        evidence: Evidence,
    },
    /// To the recipient: there is a payload to fetch.
    #[serde(rename = "job.payload_available")]
    PayloadAvailable {
        /// The job.
        job_id: JobId,
        /// The payload.
        payload_id: PayloadId,
        /// What it is for.
        payload_kind: Kind,
    },
    /// To the other party, or to both: the job was given up.
    #[serde(rename = "job.cancelled")]
    Cancelled {
        /// The job.
        job_id: JobId,
        /// When.
        cancelled_at: Moment,
    },
    /// To both: the job's time is over.
    #[serde(rename = "job.expired")]
    Expired {
        /// The job.
        job_id: JobId,
        /// When.
        expired_at: Moment,
        /// Where it was.
        previous_status: Status,
    },
    /// To the seller: its offer is gone with it.
    #[serde(rename = "offer.cancelled")]
    OfferCancelled {
        /// The offer.
        offer_id: OfferId,
        /// When.
        cancelled_at: Moment,
    },
}

impl News {
    /// The names of all types.
    pub const NAMES: [&'static str; 10] = [
        "job.requested",
        "job.charge_created",
        "job.charge_reissued",
        "job.payment_sent",
        "job.charge_reissue_requested",
        "job.paid",
        "job.payload_available",
        "job.cancelled",
        "job.expired",
        "offer.cancelled",
    ];

    /// Its type's name on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        Self::NAMES[match self {
            Self::Requested { .. } => 0,
            Self::ChargeCreated { .. } => 1,
            Self::ChargeReissued { .. } => 2,
            Self::PaymentSent { .. } => 3,
            Self::ReissueRequested { .. } => 4,
            Self::Paid { .. } => 5,
            Self::PayloadAvailable { .. } => 6,
            Self::Cancelled { .. } => 7,
            Self::Expired { .. } => 8,
            Self::OfferCancelled { .. } => 9,
        }]
    }

    /// Which charge it is about, if it is about one.
    #[must_use]
    pub const fn charge_id(&self) -> Option<&ChargeId> {
        match self {
            Self::ChargeCreated { charge, .. } | Self::ChargeReissued { charge, .. } => {
                Some(&charge.charge_id)
            }
            _ => None,
        }
    }

    fn data(&self) -> Value {
        let mut tagged = serde_json::to_value(self).unwrap_or_default();
        tagged.get_mut("data").map(Value::take).unwrap_or_default()
    }

    /// That a job was asked for.
    #[must_use]
    pub(super) fn requested(job: &Job, request_payload_id: &PayloadId) -> Self {
        Self::Requested {
            job_id: job.job_id.clone(),
            offer_id: job.offer_id.clone(),
            buyer_bot_id: job.buyer_bot_id,
            seller_bot_id: job.seller_bot_id,
            price_raw: job.price_raw.clone(),
            turnaround_seconds: job.turnaround_seconds,
            request_payload_id: request_payload_id.clone(),
            job_expires_at: job.job_expires_at,
        }
    }

    /// The same for one or both parties of a job; once if they are one.
    pub(super) fn for_both(self, job: &Job) -> Vec<Notice> {
        let mut notices = vec![Notice { to: job.seller_bot_id, news: self.clone() }];
        if job.buyer_bot_id != job.seller_bot_id {
            notices.push(Notice { to: job.buyer_bot_id, news: self });
        }
        notices
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at() -> Moment {
        "2026-02-01T12:00:00Z".parse().unwrap()
    }

    fn all() -> Vec<(News, &'static str)> {
        let (job_id, bot) =
            (JobId::new("j"), BotId::from_bytes(std::array::from_fn(|index| u8::try_from(index).unwrap())));
        let charge = Charge {
            charge_id: ChargeId::new("c"),
            address: "nano_1".to_owned(),
            amount_raw: "5".to_owned(),
            charge_expires_at: "2026-02-01T12:00:00Z".to_owned(),
            charge_sig_ed25519: "sig".to_owned(),
        };
        let on_wire = r#"{"job_id":"j","charge_id":"c","address":"nano_1","amount_raw":"5","charge_expires_at":"2026-02-01T12:00:00Z","charge_sig_ed25519":"sig"}"#;
        vec![
            (
                News::Requested {
                    job_id: job_id.clone(),
                    offer_id: OfferId::new("o"),
                    buyer_bot_id: bot,
                    seller_bot_id: bot,
                    price_raw: "5".to_owned(),
                    turnaround_seconds: 9,
                    request_payload_id: PayloadId::new("p"),
                    job_expires_at: at(),
                },
                r#"{"job_id":"j","offer_id":"o","buyer_bot_id":"baaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq","seller_bot_id":"baaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq","price_raw":"5","turnaround_seconds":9,"request_payload_id":"p","job_expires_at":"2026-02-01T12:00:00Z"}"#,
            ),
            (News::ChargeCreated { job_id: job_id.clone(), charge: charge.clone() }, on_wire),
            (News::ChargeReissued { job_id: job_id.clone(), charge }, on_wire),
            (
                News::PaymentSent {
                    job_id: job_id.clone(),
                    buyer_bot_id: bot,
                    sent_at: at(),
                    payment_block_hash: Some("AB".to_owned()),
                    amount_raw_sent: None,
                    note: None,
                },
                r#"{"job_id":"j","buyer_bot_id":"baaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq","sent_at":"2026-02-01T12:00:00Z","payment_block_hash":"AB"}"#,
            ),
            (
                News::ReissueRequested {
                    job_id: job_id.clone(),
                    buyer_bot_id: bot,
                    requested_at: at(),
                    note: Some("late".to_owned()),
                    requested_expires_at: None,
                },
                r#"{"job_id":"j","buyer_bot_id":"baaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq","requested_at":"2026-02-01T12:00:00Z","note":"late"}"#,
            ),
            (
                News::Paid {
                    job_id: job_id.clone(),
                    paid_at: at(),
                    evidence: Evidence { verifier: Some("nano_rpc".to_owned()), ..Evidence::default() },
                },
                r#"{"job_id":"j","paid_at":"2026-02-01T12:00:00Z","verifier":"nano_rpc"}"#,
            ),
            (
                News::PayloadAvailable {
                    job_id: job_id.clone(),
                    payload_id: PayloadId::new("p"),
                    payload_kind: Kind::Deliverable,
                },
                r#"{"job_id":"j","payload_id":"p","payload_kind":"deliverable"}"#,
            ),
            (
                News::Cancelled { job_id: job_id.clone(), cancelled_at: at() },
                r#"{"job_id":"j","cancelled_at":"2026-02-01T12:00:00Z"}"#,
            ),
            (
                News::Expired { job_id, expired_at: at(), previous_status: Status::ChargeCreated },
                r#"{"job_id":"j","expired_at":"2026-02-01T12:00:00Z","previous_status":"CHARGE_CREATED"}"#,
            ),
            (
                News::OfferCancelled { offer_id: OfferId::new("o"), cancelled_at: at() },
                r#"{"offer_id":"o","cancelled_at":"2026-02-01T12:00:00Z"}"#,
            ),
        ]
    }

    #[test]
    fn every_types_words_are_pinned() {
        for (index, (news, data)) in all().into_iter().enumerate() {
            let event = Event::new(7, &news);
            assert_eq!(event.event_type, News::NAMES[index]);
            assert_eq!(event.data.to_string(), data);
            let sent = serde_json::to_string(&event).unwrap();
            assert_eq!(
                sent,
                format!(r#"{{"event_id":7,"event_type":"{}","data":{data}}}"#, News::NAMES[index])
            );
            let read: Event = serde_json::from_str(&sent).unwrap();
            assert_eq!(read.news(), Some(news));
        }
        assert_eq!(all().len(), News::NAMES.len());
    }

    #[test]
    fn an_unknown_type_is_an_event_without_news() {
        let event: Event = serde_json::from_str(r#"{"event_id":1,"event_type":"job.praised"}"#).unwrap();
        assert_eq!(event.news(), None);
    }

    #[test]
    fn news_of_a_charge_names_it_and_no_other_news_does() {
        let charge = ChargeId::new("c");
        for (news, _) in all() {
            let named = ["job.charge_created", "job.charge_reissued"].contains(&news.name());
            assert_eq!(news.charge_id(), named.then_some(&charge), "{}", news.name());
        }
    }

    #[test]
    fn both_parties_are_told_and_one_that_is_both_is_told_once() {
        let news = News::Cancelled { job_id: JobId::new("j"), cancelled_at: at() };
        let told = |buyer: u8, seller: u8| {
            let job = Job {
                job_id: JobId::new("j"),
                offer_id: OfferId::new("o"),
                buyer_bot_id: BotId::from_bytes([buyer; 32]),
                seller_bot_id: BotId::from_bytes([seller; 32]),
                status: Status::Cancelled,
                price_raw: "5".to_owned(),
                turnaround_seconds: 9,
                created_at: at(),
                job_expires_at: at(),
                request_payload_id: None,
                charge: None,
                paid_at: None,
                delivered_at: None,
            };
            let notices = news.clone().for_both(&job);
            assert!(notices.iter().all(|notice| notice.news == news));
            let mut told: Vec<u8> = notices.iter().map(|notice| notice.to.as_bytes()[0]).collect();
            told.sort_unstable();
            told
        };
        assert_eq!(told(1, 2), [1, 2]);
        assert_eq!(told(1, 1), [1]);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(kind in prop::sample::select(News::NAMES.to_vec()), key: String, value: String) {
            let data = serde_json::json!({ key: value });
            let event = Event { event_id: 1, event_type: kind.to_owned(), data };
            prop_assert_eq!(event.news(), None);
        }
    }
}
