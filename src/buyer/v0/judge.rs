//! Whether a charge may be paid, and what comes next. Pure.

use nano_currency::{Account, Amount};

use super::super::order::{Agreed, Order};
use super::{Deal, DealFault};
use crate::protocol::Timestamp;
use crate::protocol::v0::{BotId, Job, Moment, Status, charge};

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The seller has to charge.
    AwaitCharge,
    /// Judge the charge, pay it, and tell the relay.
    Pay,
    /// The seller has to find the payment, or to work.
    AwaitResult,
    /// The charge is over and the payment was not counted: ask for another charge.
    Wish,
    /// The seller has to charge anew.
    AwaitReissue,
    /// Read the result.
    Collect,
    /// The job has ended.
    Over,
}

/// What comes next for a job in this state.
#[must_use]
pub fn next(order: &Order, deal: &Deal, job: &Job) -> Next {
    let charge = job.charge.as_ref().map(|charge| &charge.charge_id);
    match job.status {
        Status::Requested => Next::AwaitCharge,
        Status::ChargeCreated if deal.told.is_some() && deal.told.as_ref() == charge => Next::AwaitResult,
        Status::ChargeCreated => Next::Pay,
        Status::Paid => Next::AwaitResult,
        Status::Delivered => Next::Collect,
        Status::Expired if order.payment.is_some() && job.paid_at.is_none() && charge.is_some() => {
            if deal.wished.as_ref() == charge { Next::AwaitReissue } else { Next::Wish }
        }
        Status::Cancelled | Status::Expired => Next::Over,
    }
}

/// The job is still what was asked for.
///
/// # Errors
/// What is not.
pub fn ensure_same(deal: &Deal, job: &Job, us: BotId) -> Result<(), DealFault> {
    let checks = [
        (job.job_id == deal.job_id, "another job"),
        (job.buyer_bot_id == us, "another buyer"),
        (job.offer_id == deal.offer_id, "another offer"),
        (job.seller_bot_id == deal.seller, "another seller"),
        (job.price_raw == deal.price.to_string(), "another price"),
    ];
    match checks.into_iter().find(|(same, _)| !same) {
        Some((_, what)) => Err(DealFault::Terms { what }),
        None => Ok(()),
    }
}

/// What the charge of a job asks for, if it is the seller's, for the price, and in time.
///
/// # Errors
/// The first rule that it breaks.
pub fn judge_charge(
    deal: &Deal,
    job: &Job,
    us: BotId,
    max: Option<Amount>,
    now: Moment,
) -> Result<Agreed, DealFault> {
    ensure_same(deal, job, us)?;
    let payable = charge::verify(job, us, &deal.seller_key, now)?;
    let (amount, invoice) = (Amount::from_raw(payable.amount_raw), Account::parse(&payable.address)?);
    if invoice == Account::BURN {
        return Err(DealFault::Burn);
    }
    if amount != deal.price {
        return Err(DealFault::Terms { what: "another price" });
    }
    if let Some(max) = max
        && amount > max
    {
        return Err(DealFault::TooExpensive { price: amount, max });
    }
    let expires_at = Some(Timestamp::from(payable.expires_at.min(job.job_expires_at)));
    Ok(Agreed { amount, invoice, expires_at, seller: Some(deal.payee()) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::OrderId;
    use super::*;
    use crate::protocol::v0::{BotKeys, Charge, ChargeId, JobId, OfferId};

    const AT: &str = "2026-02-01T12:00:00Z";
    const US: BotId = BotId::from_bytes([7; 32]);

    fn keys() -> BotKeys {
        BotKeys::from_seeds(&[1; 32], &[2; 32])
    }

    fn address(number: u8) -> String {
        Account::from_bytes([number; 32]).to_string()
    }

    fn deal() -> Deal {
        Deal {
            job_id: JobId::new("job_1"),
            offer_id: OfferId::new("offer_1"),
            seller: keys().bot_id(),
            seller_key: keys().signing_key(),
            price: Amount::from_raw(1_000),
            turn: 0,
            charge: None,
            told: None,
            wished: None,
            status: None,
            result: None,
            disbelieved: None,
            over: false,
        }
    }

    fn job(status: Status) -> Job {
        let mut job = Job {
            job_id: deal().job_id,
            offer_id: deal().offer_id,
            buyer_bot_id: US,
            seller_bot_id: deal().seller,
            status,
            price_raw: "1000".to_owned(),
            turnaround_seconds: 60,
            created_at: at(),
            job_expires_at: "2026-02-02T12:00:00Z".parse().unwrap(),
            request_payload_id: None,
            charge: None,
            paid_at: None,
            delivered_at: None,
        };
        job.charge = Some(signed(&job, &address(5), "1000"));
        job
    }

    fn signed(job: &Job, address: &str, amount: &str) -> Charge {
        let expires_at = "2026-02-01T13:00:00Z".parse().unwrap();
        charge::sign(&keys(), charge::Parties::of(job), ChargeId::new("chg_1"), address, amount, expires_at)
    }

    fn at() -> Moment {
        AT.parse().unwrap()
    }

    fn judged(change: impl FnOnce(&mut Job)) -> Result<Agreed, DealFault> {
        let mut job = job(Status::ChargeCreated);
        change(&mut job);
        judge_charge(&deal(), &job, US, Some(Amount::from_raw(1_000)), at())
    }

    #[test]
    fn the_sellers_own_charge_is_paid_and_nothing_else() {
        let agreed = judged(|_| {}).unwrap();
        assert_eq!((agreed.amount, agreed.invoice), (Amount::from_raw(1_000), Account::from_bytes([5; 32])));
        assert_eq!(agreed.expires_at.unwrap().to_string(), "2026-02-01T13:00:00.000000Z");
        let terms = |what| Err(DealFault::Terms { what });
        let charge = |fault| Err(DealFault::Charge(fault));
        use charge::ChargeFault::{NotCharged, NotThePrice, Signature};
        let with = |change: fn(&mut Charge)| judged(move |job| job.charge.iter_mut().for_each(change));
        assert_eq!(with(|charge| charge.address = address(6)), charge(Signature));
        assert_eq!(with(|charge| charge.amount_raw = "1001".to_owned()), charge(NotThePrice));
        assert_eq!(
            with(|charge| charge.charge_expires_at = "2027-02-01T12:00:00Z".to_owned()),
            charge(Signature)
        );
        assert_eq!(judged(|job| job.price_raw = "1001".to_owned()), terms("another price"));
        assert_eq!(judged(|job| job.seller_bot_id = US), terms("another seller"));
        assert_eq!(judged(|job| job.offer_id = OfferId::new("offer_2")), terms("another offer"));
        assert_eq!(judged(|job| job.status = Status::Paid), charge(NotCharged));
        // Signed, but no place to send to: the form alone has no checksum.
        let odd = address(5).replace('1', "3");
        assert!(matches!(
            judged(|job| job.charge = Some(signed(job, &odd, "1000"))),
            Err(DealFault::Address(_))
        ));
        let burn = Account::BURN.to_string();
        assert_eq!(judged(|job| job.charge = Some(signed(job, &burn, "1000"))), Err(DealFault::Burn));
        // A relay that raises price and charge together, with the seller's help, meets the agreed price.
        let dearer = |job: &mut Job| {
            job.price_raw = "2000".to_owned();
            job.charge = Some(signed(job, &address(5), "2000"));
        };
        assert_eq!(judged(dearer), terms("another price"));
    }

    #[test]
    fn each_state_has_its_next_step() {
        let order = Order::new(OrderId::from_bytes([0; 16]), Timestamp::from_seconds(0));
        let block = super::super::super::memory::fixture::signed();
        let paid = Order { payment: Some(block), ..order.clone() };
        let told = Deal { told: Some(ChargeId::new("chg_1")), ..deal() };
        let wished = Deal { wished: Some(ChargeId::new("chg_1")), ..deal() };
        let stale = Deal { told: Some(ChargeId::new("chg_0")), ..deal() };
        for (order, deal, status, expected) in [
            (&order, &deal(), Status::Requested, Next::AwaitCharge),
            (&order, &deal(), Status::ChargeCreated, Next::Pay),
            (&paid, &deal(), Status::ChargeCreated, Next::Pay),
            (&paid, &told, Status::ChargeCreated, Next::AwaitResult),
            (&paid, &stale, Status::ChargeCreated, Next::Pay),
            (&paid, &told, Status::Paid, Next::AwaitResult),
            (&paid, &told, Status::Delivered, Next::Collect),
            (&order, &deal(), Status::Expired, Next::Over),
            (&paid, &deal(), Status::Expired, Next::Wish),
            (&paid, &wished, Status::Expired, Next::AwaitReissue),
            (&paid, &told, Status::Cancelled, Next::Over),
        ] {
            assert_eq!(next(order, deal, &job(status)), expected, "{status}");
        }
    }

    proptest! {
        /// Whatever a relay changes in a charge, it is not paid.
        #[test]
        fn no_changed_text_is_paid(field in 0usize..5, text in "[ -~]{1,70}") {
            let mut job = job(Status::ChargeCreated);
            let charge = job.charge.as_mut().unwrap();
            let before = charge.clone();
            match field {
                0 => charge.address = text,
                1 => charge.amount_raw = text,
                2 => charge.charge_expires_at = text,
                3 => charge.charge_id = ChargeId::new(text),
                _ => charge.charge_sig_ed25519 = text,
            }
            prop_assume!(*charge != before);
            prop_assert!(judge_charge(&deal(), &job, US, None, at()).is_err());
        }
    }
}
