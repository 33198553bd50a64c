//! A seller on /v0 that tests script: charges what is asked for, looks at the ledger, hands over.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nano_worker::client::CallError;
use nano_worker::client::v0::{BotClient, Key, PollQuery, Rates};
use nano_worker::edge::{Clock, Entropy};
use nano_worker::nano::{Account, Amount};
use nano_worker::protocol::v0::payload::{Address, Kind, read, write};
use nano_worker::protocol::v0::{
    BotId, Charge, ChargeId, Evidence, Job, JobId, News, Offer, OfferDraft, PayloadId, Sealed, Status, charge,
};
use nano_worker::protocol::v0::{BotKeys, SealingPublicKey};

/// What the seller sells for.
pub(crate) const PRICE: Amount = Amount::from_raw(1_000);

/// Addresses are numbered through all sellers of a test.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// How the seller does it.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    /// How long its first charge stands.
    pub(crate) stands: Duration,
    /// It finds no payment before it was asked for another charge.
    pub(crate) is_late: bool,
    /// It says no.
    pub(crate) refuses: bool,
    /// A result of so many bytes, in letters of so many.
    pub(crate) parts: Option<(usize, usize)>,
}

/// One sale.
#[derive(Clone)]
pub(crate) struct Sale {
    pub(crate) job: Job,
    pub(crate) body: String,
    pub(crate) addresses: Vec<Account>,
    charges: Vec<Charge>,
    buyer_key: SealingPublicKey,
    letters: Vec<Sealed>,
    done: bool,
}

/// What a seller has charged, and how it goes about it.
#[derive(Clone)]
pub(crate) struct Shelf {
    pub(crate) manner: Arc<Mutex<Manner>>,
    pub(crate) sales: Arc<Mutex<BTreeMap<String, Sale>>>,
}

pub(crate) struct BotSeller {
    pub(crate) client: BotClient,
    pub(crate) offer: Offer,
    pub(crate) shelf: Shelf,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for BotSeller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What an account has received, as the ledger knows.
pub(crate) type Received = Arc<dyn Fn(&Account) -> Amount + Send + Sync>;

async fn again<T>(call: impl AsyncFn() -> Result<T, CallError>) -> T {
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl BotSeller {
    pub(crate) async fn open(url: &str, keys: BotKeys, received: Received) -> Self {
        let client = BotClient::new(url, keys, Rates::UNLIMITED, Clock::system(), Entropy::system()).unwrap();
        again(async || client.register().await).await;
        let draft = OfferDraft {
            title: "Echo".to_owned(),
            description: "Says it again".to_owned(),
            tags: vec!["echo".to_owned()],
            price_raw: PRICE.to_string(),
            turnaround_seconds: 60,
            ..OfferDraft::default()
        };
        let offer = again(async || client.create_offer(&draft, &Key::new("offer")).await).await;
        let manner = Manner { stands: Duration::from_secs(600), is_late: false, refuses: false, parts: None };
        let shelf = Shelf { manner: Arc::new(Mutex::new(manner)), sales: Arc::default() };
        let hand = Hand { client: client.clone(), shelf: shelf.clone(), received };
        let task = tokio::spawn(async move {
            loop {
                // What fails now is done in the next round: the relay may be away.
                drop(hand.round().await);
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        });
        Self { client, offer, shelf, task }
    }

    pub(crate) fn sales(&self) -> Vec<Sale> {
        self.shelf.sales.lock().unwrap().values().cloned().collect()
    }
}

struct Hand {
    client: BotClient,
    shelf: Shelf,
    received: Received,
}

impl Hand {
    async fn round(&self) -> Result<(), CallError> {
        let page = self.client.poll(&PollQuery::default()).await?;
        for event in &page.events {
            match event.news() {
                Some(News::Requested { job_id, request_payload_id, buyer_bot_id, .. }) => {
                    self.take(&job_id, &request_payload_id, &buyer_bot_id).await?;
                }
                Some(News::ReissueRequested { job_id, .. }) => self.charge(&job_id, true).await?,
                _ => {}
            }
        }
        if let Some(last) = page.events.last() {
            self.client.ack(last.event_id).await?;
        }
        let open: Vec<Sale> = {
            let sales = self.shelf.sales.lock().unwrap();
            sales.values().filter(|sale| !sale.done).cloned().collect()
        };
        for sale in open {
            // One that cannot be served now must not keep the others waiting.
            drop(self.serve(sale).await);
        }
        Ok(())
    }

    async fn take(&self, job_id: &JobId, payload: &PayloadId, buyer: &BotId) -> Result<(), CallError> {
        if self.shelf.sales.lock().unwrap().contains_key(job_id.as_str()) {
            return Ok(());
        }
        let job = self.client.job(job_id).await?;
        let (payload, buyer) = (self.client.payload(payload).await?, self.client.bot(buyer).await?);
        let letter = read(self.client.keys(), &payload, &buyer.signing_pubkey_ed25519).unwrap();
        let sale = Sale {
            job,
            body: letter.body,
            addresses: Vec::new(),
            charges: Vec::new(),
            buyer_key: buyer.encryption_pubkey_x25519,
            letters: Vec::new(),
            done: false,
        };
        self.shelf.sales.lock().unwrap().insert(job_id.to_string(), sale);
        Ok(())
    }

    fn change(&self, job_id: &JobId, change: impl FnOnce(&mut Sale)) {
        self.shelf.sales.lock().unwrap().get_mut(job_id.as_str()).map(change);
    }

    async fn charge(&self, job_id: &JobId, anew: bool) -> Result<(), CallError> {
        let Some(sale) = self.shelf.sales.lock().unwrap().get(job_id.as_str()).cloned() else {
            return Ok(());
        };
        let manner = self.shelf.manner.lock().unwrap().clone();
        let wanted = if anew { 2 } else { 1 };
        if sale.charges.len() < wanted {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let mut bytes = [0x51; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            let address = Account::from_bytes(bytes);
            let stands = if anew { Duration::from_secs(600) } else { manner.stands };
            let (parties, until) = (charge::Parties::of(&sale.job), self.client.now().plus(stands));
            let id = ChargeId::new(format!("chg_{number}"));
            let price = &sale.job.price_raw;
            let charge = charge::sign(self.client.keys(), parties, id, &address.to_string(), price, until);
            self.change(job_id, |sale| {
                sale.addresses.push(address);
                sale.charges.push(charge);
            });
        }
        let sale = self.shelf.sales.lock().unwrap()[job_id.as_str()].clone();
        let charge = sale.charges.last().unwrap();
        let key = Key::new(charge.charge_id.as_str());
        let done = match anew {
            false => self.client.charge(job_id, charge, &key).await,
            true => self.client.reissue(job_id, charge, &key).await,
        };
        match done {
            Err(error) if error.is_retryable() => Err(error),
            _ => Ok(()),
        }
    }

    async fn serve(&self, sale: Sale) -> Result<(), CallError> {
        let job_id = sale.job.job_id.clone();
        let manner = self.shelf.manner.lock().unwrap().clone();
        let job = self.client.job(&job_id).await?;
        self.change(&job_id, |sale| sale.job = job.clone());
        match job.status {
            Status::Requested if manner.refuses => {
                let refusal = self.sealed(&sale, "no", Kind::Message, r#"{"refused":"words only"}"#);
                drop(self.client.deliver(&job_id, &refusal, &Key::new(format!("no:{job_id}"))).await);
                self.change(&job_id, |sale| sale.done = true);
                Ok(())
            }
            Status::Requested => self.charge(&job_id, false).await,
            Status::ChargeCreated => {
                let got: Amount = sale.addresses.iter().map(|address| (self.received)(address)).sum();
                let in_time = !manner.is_late || sale.charges.len() > 1;
                if got < PRICE || !in_time {
                    return Ok(());
                }
                self.client
                    .mark_paid(&job_id, &Evidence::default(), &Key::new(format!("paid:{job_id}")))
                    .await?;
                self.hand_over(&sale, &manner).await
            }
            Status::Paid => self.hand_over(&sale, &manner).await,
            Status::Delivered | Status::Cancelled => {
                self.change(&job_id, |sale| sale.done = true);
                Ok(())
            }
            Status::Expired => Ok(()),
        }
    }

    async fn hand_over(&self, sale: &Sale, manner: &Manner) -> Result<(), CallError> {
        let job_id = &sale.job.job_id;
        let mut letters = self.shelf.sales.lock().unwrap()[job_id.as_str()].letters.clone();
        if letters.is_empty() {
            // Sealed once: a box has other bytes each time.
            letters = self.letters(sale, manner);
            self.change(job_id, |sale| sale.letters.clone_from(&letters));
        }
        for letter in &letters {
            self.client.deliver(job_id, letter, &Key::new(letter.payload_id.as_str())).await?;
        }
        self.change(job_id, |sale| sale.done = true);
        Ok(())
    }

    fn letters(&self, sale: &Sale, manner: &Manner) -> Vec<Sealed> {
        use sha2::{Digest as _, Sha256};
        let Some((bytes, each)) = manner.parts else {
            let body = format!("done: {}", sale.body);
            return vec![self.sealed(sale, "result", Kind::Deliverable, &body)];
        };
        let text: String = sale.body.chars().cycle().take(bytes).collect();
        let pieces: Vec<String> =
            text.as_bytes().chunks(each).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect();
        let names: Vec<String> = (0..pieces.len()).map(|number| format!("part{number}")).collect();
        let mut letters: Vec<Sealed> = names
            .iter()
            .zip(&pieces)
            .map(|(name, piece)| self.sealed(sale, name, Kind::Message, piece))
            .collect();
        let ids: Vec<String> = letters.iter().map(|letter| letter.payload_id.to_string()).collect();
        let list = serde_json::json!({
            "parts": ids, "bytes": text.len(), "sha256": hex::encode(Sha256::digest(&text))
        });
        letters.push(self.sealed(sale, "result", Kind::Deliverable, &list.to_string()));
        letters
    }

    fn sealed(&self, sale: &Sale, name: &str, kind: Kind, body: &str) -> Sealed {
        let payload_id = PayloadId::new(format!("pay_{}_{name}", sale.job.job_id));
        let address = Address {
            payload_id: &payload_id,
            job_id: &sale.job.job_id,
            kind,
            recipient: sale.job.buyer_bot_id,
            recipient_key: &sale.buyer_key,
        };
        write(self.client.keys(), address, body, self.client.now(), &Entropy::system().bytes()).unwrap()
    }
}
