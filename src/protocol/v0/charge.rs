//! Charges: what a seller signs, and what a buyer checks before it pays.

use serde::{Deserialize, Serialize};

use super::identity::decode_signature;
use super::limits::{AMOUNT_BYTES_MAX, FIELD_BYTES_MAX};
use super::{BotId, BotKeys, ChargeId, Job, Moment, Refusal, SigningPublicKey, Status};

/// A charge, as it is attached to a job. Nothing of it is changed on its way, because the
/// signature covers the texts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Charge {
    /// Its name.
    #[serde(default)]
    pub charge_id: ChargeId,
    /// Where to pay.
    #[serde(default)]
    pub address: String,
    /// How much, in raw.
    #[serde(default)]
    pub amount_raw: String,
    /// Until when; a canonical [`Moment`].
    #[serde(default)]
    pub charge_expires_at: String,
    /// The seller's signature over [`canonical`].
    #[serde(default)]
    pub charge_sig_ed25519: String,
}

impl Charge {
    /// Until when it may be paid, if that is a moment.
    #[must_use]
    pub fn expires_at(&self) -> Option<Moment> {
        Moment::canonical(&self.charge_expires_at).ok()
    }

    /// What can be said against it before the job is known: a relay checks no more than this, and
    /// in particular no signature.
    ///
    /// # Errors
    /// The 400 that the seller is to see.
    pub fn check(&self) -> Result<(), Refusal> {
        let Self { charge_id, address, amount_raw, charge_expires_at, charge_sig_ed25519 } = self;
        let texts = [charge_id.as_str(), address, amount_raw, charge_expires_at, charge_sig_ed25519];
        if texts.iter().any(|text| text.is_empty()) {
            return Err(Refusal::invalid("missing fields"));
        }
        if texts.iter().any(|text| text.len() > FIELD_BYTES_MAX) {
            return Err(Refusal::invalid("charge field too long"));
        }
        if !is_digits(amount_raw) {
            return Err(Refusal::invalid("invalid amount_raw"));
        }
        if self.expires_at().is_none() {
            return Err(Refusal::invalid("invalid charge_expires_at"));
        }
        Ok(())
    }
}

/// Whether a text is an amount as a relay takes it: digits, zeros in front allowed.
pub(super) fn is_digits(text: &str) -> bool {
    (1..=AMOUNT_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whose charge it is: the names that the signature binds to it.
#[derive(Debug, Clone, Copy)]
pub struct Parties<'a> {
    /// The job's name.
    pub job_id: &'a str,
    /// The offer's name.
    pub offer_id: &'a str,
    /// Who works.
    pub seller: BotId,
    /// Who pays.
    pub buyer: BotId,
}

impl<'a> Parties<'a> {
    /// Those of a job.
    #[must_use]
    pub fn of(job: &'a Job) -> Self {
        Self {
            job_id: job.job_id.as_str(),
            offer_id: job.offer_id.as_str(),
            seller: job.seller_bot_id,
            buyer: job.buyer_bot_id,
        }
    }
}

/// The text that the seller signs.
#[must_use]
pub fn canonical(parties: Parties<'_>, charge: &Charge) -> String {
    let Parties { job_id, offer_id, seller, buyer } = parties;
    let Charge { charge_id, address, amount_raw, charge_expires_at, .. } = charge;
    format!(
        "NBR1_CHARGE|{job_id}|{offer_id}|{seller}|{buyer}|{charge_id}|{address}|{amount_raw}|{charge_expires_at}"
    )
}

/// A charge with its signature.
#[must_use]
pub fn sign(
    keys: &BotKeys,
    parties: Parties<'_>,
    charge_id: ChargeId,
    address: &str,
    amount_raw: &str,
    expires_at: Moment,
) -> Charge {
    let mut charge = Charge {
        charge_id,
        address: address.to_owned(),
        amount_raw: amount_raw.to_owned(),
        charge_expires_at: expires_at.to_string(),
        charge_sig_ed25519: String::new(),
    };
    charge.charge_sig_ed25519 = keys.sign(&canonical(parties, &charge));
    charge
}

/// Why a buyer does not pay a charge; one for each rule, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ChargeFault {
    /// Rule 1.
    #[error("the job awaits no payment")]
    NotCharged,
    /// Rule 2.
    #[error("the job is another buyer's")]
    NotBuyer,
    /// Rule 3.
    #[error("a name in the charge has an unusual form")]
    Names,
    /// Rule 4; the form only, the checksum is for whoever makes the block.
    #[error("the charge's address is no Nano address")]
    Address,
    /// Rule 5.
    #[error("the charge's amount is not written as raw")]
    Amount,
    /// Rule 6.
    #[error("the charge's amount is not the price")]
    NotThePrice,
    /// Rule 7.
    #[error("the charge has expired")]
    ChargeExpired,
    /// Rule 8.
    #[error("the job has expired")]
    JobExpired,
    /// Rule 9.
    #[error("the key is not the seller's")]
    SellerKey,
    /// Rule 10.
    #[error("the charge's signature is not 64 bytes in base64url")]
    SignatureForm,
    /// Rule 11.
    #[error("the charge's signature is not the seller's")]
    Signature,
}

/// What a buyer has found right: where to pay, and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payable {
    /// Where to pay.
    pub address: String,
    /// How much.
    pub amount_raw: u128,
    /// Until when.
    pub expires_at: Moment,
}

/// The rule book of a buyer, before it pays. `key` is the seller's, as the relay says.
///
/// # Errors
/// The first rule that is broken.
pub fn verify(job: &Job, caller: BotId, key: &SigningPublicKey, now: Moment) -> Result<Payable, ChargeFault> {
    let charge = job.charge.as_ref().filter(|_| job.status == Status::ChargeCreated);
    let charge = charge.ok_or(ChargeFault::NotCharged)?;
    ensure(job.buyer_bot_id == caller, ChargeFault::NotBuyer)?;
    ensure(
        job.job_id.is_plain() && job.offer_id.is_plain() && charge.charge_id.is_plain(),
        ChargeFault::Names,
    )?;
    ensure(is_address(&charge.address), ChargeFault::Address)?;
    let amount_raw = canonical_amount(&charge.amount_raw).ok_or(ChargeFault::Amount)?;
    ensure(canonical_amount(&job.price_raw) == Some(amount_raw), ChargeFault::NotThePrice)?;
    let expires_at = charge.expires_at().filter(|expiry| now < *expiry).ok_or(ChargeFault::ChargeExpired)?;
    ensure(now < job.job_expires_at, ChargeFault::JobExpired)?;
    ensure(BotId::of(key) == job.seller_bot_id, ChargeFault::SellerKey)?;
    ensure(decode_signature(&charge.charge_sig_ed25519).is_some(), ChargeFault::SignatureForm)?;
    let text = canonical(Parties::of(job), charge);
    ensure(key.verifies(&text, &charge.charge_sig_ed25519), ChargeFault::Signature)?;
    Ok(Payable { address: charge.address.clone(), amount_raw, expires_at })
}

fn ensure(holds: bool, fault: ChargeFault) -> Result<(), ChargeFault> {
    if holds { Ok(()) } else { Err(fault) }
}

/// An amount above zero, written the one way.
fn canonical_amount(text: &str) -> Option<u128> {
    let plain = !text.starts_with('0') && is_digits(text);
    plain.then(|| text.parse().ok()).flatten()
}

/// The form of a Nano address, without its checksum.
fn is_address(text: &str) -> bool {
    let Some(digits) = text.strip_prefix("nano_") else { return false };
    digits.len() == 60
        && digits.starts_with(['1', '3'])
        && digits.bytes().all(|byte| b"13456789abcdefghijkmnopqrstuwxyz".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: &str = "2026-02-01T12:00:00Z";
    const ADDRESS: &str = "nano_3t6k35gi95xu6tergt6p69ck76ogmitsa8mnijtpxm9fkcm736xtoncuohr3";

    fn known() -> BotKeys {
        let seed = std::array::from_fn(|index| u8::try_from(index).unwrap());
        BotKeys::from_seeds(&seed, &seed)
    }

    fn charged() -> Job {
        let (seller, buyer) = (known(), BotId::from_bytes([7; 32]));
        let mut job = Job {
            job_id: super::super::JobId::new("job_1"),
            offer_id: super::super::OfferId::new("offer_1"),
            buyer_bot_id: buyer,
            seller_bot_id: seller.bot_id(),
            status: Status::ChargeCreated,
            price_raw: "1000".to_owned(),
            turnaround_seconds: 60,
            created_at: AT.parse().unwrap(),
            job_expires_at: "2026-02-02T12:00:00Z".parse().unwrap(),
            request_payload_id: None,
            charge: None,
            paid_at: None,
            delivered_at: None,
        };
        let expires_at = "2026-02-01T14:00:00.000000001Z".parse().unwrap();
        job.charge =
            Some(sign(&seller, Parties::of(&job), ChargeId::new("chg_1"), ADDRESS, "1000", expires_at));
        job
    }

    #[test]
    fn the_known_charge() {
        let name =
            |from: u8| BotId::from_bytes(std::array::from_fn(|index| from + u8::try_from(index).unwrap()));
        let parties = Parties {
            job_id: "job_01HXJOB123",
            offer_id: "offer_01HXOFF123",
            seller: name(0),
            buyer: name(32),
        };
        let charge = sign(
            &known(),
            parties,
            ChargeId::new("chg_01HXCHG123"),
            "nano_3rz4c9wq8b1r8b1r8b1r8b1r8b1r8b1r8b1r8b1r8b1r8b1r8b1r",
            "1000000",
            "2026-02-01T14:00:00Z".parse().unwrap(),
        );
        assert_eq!(
            canonical(parties, &charge),
            "NBR1_CHARGE|job_01HXJOB123|offer_01HXOFF123|baaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq|\
             beaqseizeeutcokbjfivsyljof4ydcmrtgq2tmnzyhe5dwpb5hy7q|chg_01HXCHG123|\
             nano_3rz4c9wq8b1r8b1r8b1r8b1r8b1r8b1r8b1r8b1r8b1r8b1r8b1r|1000000|2026-02-01T14:00:00Z"
        );
        assert_eq!(
            charge.charge_sig_ed25519,
            "RiNUxujlXB-eVWr3uZH89T8piNRexvg5oDzpV8ePkXAS16zrWCfFN3LhoZ9oi20cZ1UslbLr21L5o9X24aXCDQ"
        );
        assert!(!is_address(&charge.address), "the vector's address is a dummy");
    }

    #[test]
    fn a_good_charge_is_payable() {
        let job = charged();
        let payable = verify(&job, job.buyer_bot_id, &known().signing_key(), AT.parse().unwrap()).unwrap();
        assert_eq!((payable.address.as_str(), payable.amount_raw), (ADDRESS, 1000));
        assert_eq!(payable.expires_at.to_string(), "2026-02-01T14:00:00.000000001Z");
    }

    /// Changes the charge and signs it anew, so that only the one rule is broken.
    fn resigned(change: impl Fn(&mut Charge)) -> Job {
        let mut job = charged();
        let mut charge = job.charge.take().unwrap();
        change(&mut charge);
        charge.charge_sig_ed25519 = known().sign(&canonical(Parties::of(&job), &charge));
        job.charge = Some(charge);
        job
    }

    #[test]
    fn each_rule_is_broken_alone() {
        let check = |job: &Job, fault: ChargeFault| {
            let told = verify(job, BotId::from_bytes([7; 32]), &known().signing_key(), AT.parse().unwrap());
            assert_eq!(told, Err(fault));
        };
        check(&Job { status: Status::Paid, ..charged() }, ChargeFault::NotCharged);
        check(&Job { charge: None, ..charged() }, ChargeFault::NotCharged);
        check(&Job { buyer_bot_id: BotId::from_bytes([8; 32]), ..charged() }, ChargeFault::NotBuyer);
        check(&resigned(|charge| charge.charge_id = ChargeId::new("a|b")), ChargeFault::Names);
        for address in
            ["", "xrb_1", &ADDRESS[..64], &ADDRESS.replace("nano_3", "nano_2"), &ADDRESS.replace('t', "l")]
        {
            check(&resigned(|charge| charge.address = address.to_owned()), ChargeFault::Address);
        }
        for amount in ["", "0", "01000", "1e3", "+1000", "340282366920938463463374607431768211456"] {
            check(&resigned(|charge| charge.amount_raw = amount.to_owned()), ChargeFault::Amount);
        }
        check(&resigned(|charge| charge.amount_raw = "1001".to_owned()), ChargeFault::NotThePrice);
        for expiry in [AT, "2026-02-01T14:00:00.0Z", "soon"] {
            check(
                &resigned(|charge| charge.charge_expires_at = expiry.to_owned()),
                ChargeFault::ChargeExpired,
            );
        }
        check(&Job { job_expires_at: AT.parse().unwrap(), ..charged() }, ChargeFault::JobExpired);
        check(&Job { seller_bot_id: BotId::from_bytes([9; 32]), ..charged() }, ChargeFault::SellerKey);
        let signed = |signature: &str| {
            let mut job = charged();
            if let Some(charge) = &mut job.charge {
                charge.charge_sig_ed25519 = signature.to_owned();
            }
            job
        };
        check(&signed("AAAA"), ChargeFault::SignatureForm);
        check(&signed(&known().sign("something else")), ChargeFault::Signature);
        check(
            &Job { price_raw: "1000".to_owned(), offer_id: super::super::OfferId::new("other"), ..charged() },
            ChargeFault::Signature,
        );
    }

    #[test]
    fn a_relay_checks_only_the_form() {
        let told = |change: fn(&mut Charge)| {
            let mut charge = charged().charge.unwrap();
            change(&mut charge);
            charge.check().map_err(|refusal| refusal.message.into_owned())
        };
        assert_eq!(told(|charge| charge.charge_sig_ed25519 = "x".to_owned()), Ok(()));
        assert_eq!(told(|charge| charge.address = String::new()), Err("missing fields".to_owned()));
        assert_eq!(told(|charge| charge.amount_raw = "-1".to_owned()), Err("invalid amount_raw".to_owned()));
        assert_eq!(
            told(|charge| charge.charge_expires_at = "2026-02-01T14:00:00.0Z".to_owned()),
            Err("invalid charge_expires_at".to_owned())
        );
    }

    #[test]
    fn every_field_of_a_charge_is_bounded_at_the_byte() {
        let checked = |charge: Charge| charge.check().map_err(|refusal| refusal.message.into_owned());
        let good = || charged().charge.unwrap();
        let text = |bytes: usize| "x".repeat(bytes);
        for (bytes, expected) in [
            (256, Ok(())),
            (257, Err("charge field too long".to_owned())),
            (300, Err("charge field too long".to_owned())),
        ] {
            for charge in [
                Charge { charge_id: ChargeId::new(text(bytes)), ..good() },
                Charge { address: text(bytes), ..good() },
                Charge { charge_sig_ed25519: text(bytes), ..good() },
            ] {
                assert_eq!(checked(charge), expected, "{bytes} bytes");
            }
        }
        for charge in [
            Charge { charge_id: ChargeId::default(), ..good() },
            Charge { amount_raw: String::new(), ..good() },
            Charge { charge_expires_at: String::new(), ..good() },
            Charge { charge_sig_ed25519: String::new(), ..good() },
        ] {
            assert_eq!(checked(charge), Err("missing fields".to_owned()));
        }
        for (amount, fits) in [("0", true), ("007", true), (&"9".repeat(40), true), (&"9".repeat(41), false)]
        {
            let told = checked(Charge { amount_raw: amount.to_owned(), ..good() });
            let expected = if fits { Ok(()) } else { Err("invalid amount_raw".to_owned()) };
            assert_eq!(told, expected, "{amount}");
        }
    }

    /// A bar in a name would move the borders of the text that is signed.
    #[test]
    fn each_name_that_is_signed_is_plain() {
        let told = |job_id: &str, offer_id: &str, charge_id: &str| {
            let (job_id, offer_id) = (super::super::JobId::new(job_id), super::super::OfferId::new(offer_id));
            let mut job = Job { job_id, offer_id, ..charged() };
            let mut charge = Charge { charge_id: ChargeId::new(charge_id), ..job.charge.take().unwrap() };
            charge.charge_sig_ed25519 = known().sign(&canonical(Parties::of(&job), &charge));
            job.charge = Some(charge);
            verify(&job, job.buyer_bot_id, &known().signing_key(), AT.parse().unwrap()).map(drop)
        };
        assert_eq!(told("j", "o", "c"), Ok(()));
        for (job_id, offer_id, charge_id) in [("a|b", "o", "c"), ("j", "a|b", "c"), ("j", "o", "a|b")] {
            assert_eq!(told(job_id, offer_id, charge_id), Err(ChargeFault::Names));
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(address: String, amount: String, expiry: String, signature: String, id: String) {
            let mut job = charged();
            job.charge = Some(Charge {
                charge_id: ChargeId::new(id),
                address,
                amount_raw: amount,
                charge_expires_at: expiry,
                charge_sig_ed25519: signature,
            });
            prop_assert!(verify(&job, job.buyer_bot_id, &known().signing_key(), AT.parse().unwrap()).is_err());
        }
    }
}
