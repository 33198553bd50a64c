//! What is remembered of a purchase over /v0, beside what every purchase has.

use nano_currency::Amount;
use serde::{Deserialize, Serialize};

use crate::protocol::PublicKey;
use crate::protocol::v0::{BotId, Charge, ChargeId, JobId, OfferId, PayloadId, SigningPublicKey, Status};

/// A purchase at a bot. The terms are those of the moment at which the offer was read, and nothing that
/// the relay says later changes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deal {
    /// The job's name, made here.
    pub job_id: JobId,
    /// What is bought.
    pub offer_id: OfferId,
    /// Who sells.
    pub seller: BotId,
    /// The seller's key; its hash is the seller's name.
    pub seller_key: SigningPublicKey,
    /// The price.
    pub price: Amount,
    /// Names that a relay has used up without making the job.
    #[serde(default)]
    pub turn: u32,
    /// The charge that was found right, and agreed to.
    #[serde(default)]
    pub charge: Option<Charge>,
    /// The charge for which the relay knows of the payment.
    #[serde(default)]
    pub told: Option<ChargeId>,
    /// The charge in whose place another one was asked for.
    #[serde(default)]
    pub wished: Option<ChargeId>,
    /// Where the job was when last seen.
    #[serde(default)]
    pub status: Option<Status>,
    /// The result that was read and kept.
    #[serde(default)]
    pub result: Option<PayloadId>,
    /// Why a letter of the seller's was not believed.
    #[serde(default)]
    pub disbelieved: Option<String>,
    /// Whether nothing is left to do.
    #[serde(default)]
    pub over: bool,
}

impl Deal {
    /// Who is paid, where policies ask for it: the seller's key.
    #[must_use]
    pub fn payee(&self) -> PublicKey {
        PublicKey::from_bytes(*self.seller_key.as_bytes())
    }

    /// The name of the job of an order on its `turn`th try.
    #[must_use]
    pub fn job_name(order: &super::super::OrderId, turn: u32) -> JobId {
        match turn {
            0 => JobId::new(format!("job_{order}")),
            turn => JobId::new(format!("job_{order}_{turn}")),
        }
    }
}
