//! Buyers: most are good, some cheat, and all repeat themselves until they are told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mock_nano_rpc::MockNode;
use nano_worker::client::RelayClient;
use nano_worker::edge::{Clock, Entropy};
use nano_worker::nano::{Account, Amount, BlockHash};
use nano_worker::protocol::signing::Signer;
use nano_worker::protocol::{Job, JobId, Offer, PublicKey, Status};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::dice::Dice;

pub(crate) const PRICE: Amount = Amount::from_raw(1_000_000_000_000_000_000_000_000_000);

/// Writes down that it has begun before it does anything else, then does what the request says.
pub(crate) const HANDLER: &str = r#"echo "$JOB_ID $ATTEMPT $$" >> starts
request=$(cat)
case "$request" in
*'"slow"'*) sleep 0.$(( $$ % 9 + 1 )) ;;
*'"long"'*) sleep 12 ;;
*'"crash"'*) exit 3 ;;
*'"die"'*) kill -9 $$ ;;
*'"eat"'*) tail /dev/zero || exit 4 ;;
*'"big"'*) head -c 100000 /dev/zero | tr '\0' x; exit 0 ;;
*'"orphan"'*) sleep 600 & setsid sh -c 'sleep 600 & sleep 600' & ;;
esac
printf '%s' "$request"
"#;

/// How often a buyer looks, and for how long it does nothing else.
pub(crate) const LOOK: Duration = Duration::from_millis(120);
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// How long one call may take before the buyer asks again.
pub(crate) const CALL: Duration = Duration::from_secs(4);

/// What a buyer did about one job.
#[derive(Debug, Clone)]
pub(crate) struct Sale {
    pub(crate) job: JobId,
    pub(crate) seller: PublicKey,
    pub(crate) kind: &'static str,
    pub(crate) idempotent: bool,
    pub(crate) payment: Payment,
    /// Whether the relay was seen to know of it.
    pub(crate) submitted: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) enum Payment {
    /// Nothing yet.
    #[default]
    None,
    /// The whole price, in a block of this job's own.
    Whole(BlockHash),
    /// Too little.
    Short(BlockHash),
    /// The hash of a block that paid for another job.
    Borrowed(BlockHash),
}

/// What all buyers share.
#[derive(Debug)]
pub(crate) struct Market {
    pub(crate) node: Arc<MockNode>,
    pub(crate) relay_url: String,
    pub(crate) offers: Vec<Offer>,
    pub(crate) sales: Mutex<Vec<Sale>>,
    /// Jobs that were paid in full.
    pub(crate) paid: AtomicUsize,
    pub(crate) jobs_max: usize,
    pub(crate) closing: CancellationToken,
}

impl Market {
    pub(crate) fn client(&self, seed: [u8; 32]) -> RelayClient {
        RelayClient::new(&self.relay_url, Signer::from_seed(&seed), Clock::system(), Entropy::system())
            .unwrap()
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.closing.is_cancelled() && self.paid.load(Ordering::Relaxed) < self.jobs_max
    }

    fn note(&self, sale: &Sale) {
        let mut sales = self.sales.lock().unwrap();
        match sales.iter_mut().rev().find(|noted| noted.job == sale.job) {
            Some(noted) => *noted = sale.clone(),
            None => sales.push(sale.clone()),
        }
    }

    fn somebodys_payment(&self, dice: &mut Dice) -> Option<BlockHash> {
        let sales = self.sales.lock().unwrap();
        let hashes: Vec<BlockHash> = sales
            .iter()
            .rev()
            .filter(|sale| sale.submitted)
            .take(50)
            .filter_map(|sale| sale.payment.whole())
            .collect();
        (!hashes.is_empty()).then(|| *dice.pick(&hashes))
    }
}

impl Payment {
    pub(crate) fn whole(&self) -> Option<BlockHash> {
        match self {
            Self::Whole(hash) => Some(*hash),
            _ => None,
        }
    }

    /// Whether something must become of the job: a buyer who cheats is owed an answer once the relay
    /// knows of the cheat, and is not waited for.
    pub(crate) fn is_owed(&self) -> bool {
        self.whole().is_some()
    }

    fn hash(&self) -> Option<BlockHash> {
        match self {
            Self::None => None,
            Self::Whole(hash) | Self::Short(hash) | Self::Borrowed(hash) => Some(*hash),
        }
    }
}

/// One buyer after another, until the market closes.
pub(crate) async fn lane(market: Arc<Market>, lane: u64, seed: u64) {
    let mut dice = Dice::of(seed, lane + 1);
    let mut key = [0; 32];
    key[..8].copy_from_slice(&(lane + 1).to_be_bytes());
    let client = market.client(key);
    let mut number = 0;
    while market.is_open() {
        number += 1;
        if let Some(sale) = ask(&market, &client, &mut dice, number).await {
            follow(&market, &client, &mut dice, sale).await;
        }
    }
}

/// Asks for a job, again and again with one key, so that it is one job.
async fn ask(market: &Market, client: &RelayClient, dice: &mut Dice, number: u64) -> Option<Sale> {
    let offer = dice.pick(&market.offers).clone();
    let kind = kind(dice);
    let request = json!({ "kind": kind, "number": number });
    let keyed = client.with_key(format!("ask-{number}"));
    loop {
        match tokio::time::timeout(CALL, keyed.create_job(&offer.offer_id, &request)).await {
            Ok(Ok(job)) => {
                let idempotent = offer.terms.title == "again";
                return Some(Sale {
                    job: job.job_id,
                    seller: job.seller_pubkey,
                    kind,
                    idempotent,
                    payment: Payment::None,
                    submitted: false,
                });
            }
            Ok(Err(_)) | Err(_) if market.is_open() => tokio::time::sleep(LOOK).await,
            _ => return None,
        }
    }
}

/// What the handler is to do.
pub(crate) const fn kind(dice: &mut Dice) -> &'static str {
    match dice.within(0..100) {
        0..10 => "slow",
        10..12 => "long",
        12..16 => "crash",
        16..18 => "die",
        18..20 => "eat",
        20..24 => "orphan",
        _ => "echo",
    }
}

/// Does what the job's status asks for, until it has ended or patience has.
async fn follow(market: &Market, client: &RelayClient, dice: &mut Dice, mut sale: Sale) {
    let forgets_to_submit = dice.percent(4);
    let began = Instant::now();
    market.note(&sale);
    while began.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK).await;
        let Ok(Ok(job)) = tokio::time::timeout(CALL, client.job(&sale.job)).await else { continue };
        if job.payment_tx_hash.is_some() && !sale.submitted {
            sale.submitted = true;
            market.note(&sale);
        }
        match job.status {
            Status::Requested | Status::Running => {}
            Status::Quoted => {
                if dice.percent(2) {
                    drop(tokio::time::timeout(CALL, client.cancel(&sale.job, None)).await);
                    return;
                }
                drop(tokio::time::timeout(CALL, client.accept(&sale.job)).await);
            }
            Status::Accepted => {
                if matches!(sale.payment, Payment::None) {
                    pay(market, dice, &job, &mut sale);
                }
                if let Some(hash) = sale.payment.hash().filter(|_| !forgets_to_submit)
                    && job.payment_tx_hash.is_none()
                {
                    drop(tokio::time::timeout(CALL, client.payment(&sale.job, &hash.to_string())).await);
                }
            }
            _ => return,
        }
    }
}

/// Publishes a block, or does as if; never twice.
fn pay(market: &Market, dice: &mut Dice, job: &Job, sale: &mut Sale) {
    let Some(account) = job.quote_invoice_address.as_deref().and_then(|text| text.parse::<Account>().ok())
    else {
        return;
    };
    sale.payment = match dice.within(0..100) {
        0..2 => Payment::Short(market.node.fund(&account, Amount::from_raw(PRICE.raw() - 1)).unwrap()),
        2..4 => market.somebodys_payment(dice).map_or(Payment::None, Payment::Borrowed),
        _ => {
            market.paid.fetch_add(1, Ordering::Relaxed);
            Payment::Whole(market.node.fund(&account, PRICE).unwrap())
        }
    };
    market.note(sale);
}
