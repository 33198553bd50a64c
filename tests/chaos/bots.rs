//! Buyers over /v0: they seal what they ask for, believe no charge and no result that they have not
//! checked, acknowledge nothing that they have not read, and repeat themselves until they are told.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nano_worker::client::CallError;
use nano_worker::client::v0::{BotClient, Class, Key, PayloadsQuery, PollQuery, Rates};
use nano_worker::edge::{Clock, Entropy};
use nano_worker::nano::{Account, Amount, BlockHash};
use nano_worker::protocol::v0::apply::{PaymentSent, ReissueRequest};
use nano_worker::protocol::v0::charge::{self, ChargeFault};
use nano_worker::protocol::v0::lists::Fetched;
use nano_worker::protocol::v0::payload::{Address, Kind, read, write};
use nano_worker::protocol::v0::{
    BotKeys, Event, Job, JobDraft, JobId, News, Offer, PayloadId, SealingPublicKey, SigningPublicKey, Status,
};
use serde_json::json;

use crate::dice::Dice;
use crate::shop::{self, CALL, LOOK, Market, PATIENCE, PRICE};

/// How long somebody waits whom nobody hurries: for a seller that hears of one job after the other,
/// and where the price is paid late, for the charge to expire.
const LONG_PATIENCE: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(60)];

/// A job of somebody who is in a hurry is over after this.
const HURRY: Duration = Duration::from_secs(25);

/// How a buyer pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// The price in time, and says so.
    Good,
    /// The price, and says nothing.
    Silent,
    /// The price, and says so again and again, each time anew.
    Repeats,
    /// The price in two blocks.
    Parts,
    /// Too little.
    Short,
    /// Not at all, with the hash of somebody's block.
    Borrows,
    /// The price when the charge is over.
    Late,
}

/// What a buyer asked for, and what it sent for it.
#[derive(Debug, Clone)]
pub(crate) struct Deal {
    pub(crate) job: JobId,
    pub(crate) kind: &'static str,
    pub(crate) manner: Manner,
    pub(crate) idempotent: bool,
    /// Whether the job is over soon, for good.
    pub(crate) hasty: bool,
    pub(crate) request: String,
    pub(crate) sent: Vec<(Account, BlockHash, Amount)>,
    borrowed: Option<BlockHash>,
}

impl Deal {
    pub(crate) fn paid(&self) -> Amount {
        self.sent.iter().map(|(.., amount)| *amount).sum()
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.paid() >= PRICE
    }
}

/// What a seller has sealed, opened and believed.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) job: JobId,
    pub(crate) kind: Kind,
    pub(crate) body: String,
}

/// What all of them share.
#[derive(Debug)]
pub(crate) struct Stand {
    pub(crate) market: Arc<Market>,
    pub(crate) offers: Vec<Offer>,
    pub(crate) seller: (SigningPublicKey, SealingPublicKey),
    pub(crate) deals: Mutex<BTreeMap<JobId, Deal>>,
    /// What no relay and no seller may ever have answered.
    pub(crate) broken: Mutex<Vec<String>>,
}

impl Stand {
    fn note(&self, deal: &Deal) {
        self.deals.lock().unwrap().insert(deal.job.clone(), deal.clone());
    }

    fn complain(&self, what: String) {
        self.broken.lock().unwrap().push(what);
    }

    fn somebodys_payment(&self, dice: &mut Dice) -> Option<BlockHash> {
        let deals = self.deals.lock().unwrap();
        let hashes: Vec<BlockHash> =
            deals.values().filter_map(|deal| deal.sent.first()).map(|(_, hash, _)| *hash).collect();
        (!hashes.is_empty()).then(|| *dice.pick(&hashes))
    }
}

/// The keys of the seller, or of a buyer.
pub(crate) fn keys(byte: u8) -> BotKeys {
    BotKeys::from_seeds(&[byte; 32], &[byte + 100; 32])
}

/// Whose keys a lane has: not those of any seller.
pub(crate) fn byte_of(lane: usize) -> u8 {
    u8::try_from(lane).unwrap() + 10
}

/// Whose keys nobody else has.
pub(crate) const LOOKER: u8 = 99;

pub(crate) fn client(url: &str, byte: u8) -> BotClient {
    BotClient::new(url, keys(byte), Rates::UNLIMITED, Clock::system(), Entropy::system()).unwrap()
}

/// One buyer of many jobs.
pub(crate) struct Bot {
    stand: Arc<Stand>,
    pub(crate) client: BotClient,
    dice: Dice,
    lane: usize,
    pub(crate) letters: BTreeMap<PayloadId, Letter>,
}

/// Asks for one job after the other until the market closes.
pub(crate) async fn lane(stand: Arc<Stand>, lane: usize, seed: u64) -> Bot {
    let client = client(&stand.market.relay_url, byte_of(lane));
    let dice = Dice::of(seed, 10_000 + lane as u64);
    let mut bot = Bot { stand, client, dice, lane, letters: BTreeMap::new() };
    bot.again(|_| bot.client.register()).await;
    let mut number = 0;
    while bot.stand.market.is_open() {
        number += 1;
        if let Some(deal) = bot.ask(number).await {
            bot.follow(deal).await;
        }
    }
    bot
}

/// One call, unless it takes too long.
async fn patiently<T>(call: impl Future<Output = Result<T, CallError>>) -> Option<Result<T, CallError>> {
    tokio::time::timeout(CALL, call).await.ok()
}

impl Bot {
    /// Until it is answered or the market closes; under one key for as long as that can be answered.
    async fn again<T, F>(&self, call: impl Fn(Key) -> F) -> Option<Result<T, CallError>>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let mut key = Key::new(format!("{}", Entropy::system().number()));
        loop {
            match patiently(call(key.clone())).await {
                Some(Ok(answer)) => return Some(Ok(answer)),
                Some(Err(error)) if error.class() == Class::Permanent => return Some(Err(error)),
                Some(Err(error)) => key = key.after(&error),
                None => {}
            }
            if !self.stand.market.is_open() {
                return None;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asks for a job: the same sealed bytes each time, so that it is one job.
    async fn ask(&mut self, number: u64) -> Option<Deal> {
        let offer = self.dice.pick(&self.stand.offers).clone();
        let kind = if self.dice.percent(5) { "big" } else { shop::kind(&mut self.dice) };
        let manner = match self.dice.within(0..100) {
            0..15 => Manner::Silent,
            15..30 => Manner::Repeats,
            30..38 => Manner::Parts,
            38..43 => Manner::Short,
            43..47 => Manner::Borrows,
            47..52 => Manner::Late,
            _ => Manner::Good,
        };
        let job = JobId::new(format!("job_{}_{number}", self.lane));
        let deal = Deal {
            job: job.clone(),
            kind,
            manner,
            idempotent: offer.title == "again",
            hasty: self.dice.percent(12),
            request: json!({ "kind": kind, "lane": self.lane, "number": number }).to_string(),
            sent: Vec::new(),
            borrowed: None,
        };
        let expires_at = deal.hasty.then(|| self.client.now().plus(HURRY).to_string());
        let request_payload = self.sealed(&offer, &deal);
        let draft =
            JobDraft { job_id: job, offer_id: offer.offer_id, request_payload, job_expires_at: expires_at };
        match self.again(|_| self.client.create_job(&draft)).await? {
            Ok(_) => {
                self.stand.note(&deal);
                Some(deal)
            }
            Err(error) => {
                // Whoever is in a hurry may have been too slow to ask.
                if !deal.hasty {
                    self.stand.complain(format!("the relay does not take {}: {error}", deal.job));
                }
                None
            }
        }
    }

    fn sealed(&self, offer: &Offer, deal: &Deal) -> nano_worker::protocol::v0::Sealed {
        let payload_id = PayloadId::new(format!("pay_{}", deal.job));
        let address = Address {
            payload_id: &payload_id,
            job_id: &deal.job,
            kind: Kind::Request,
            recipient: offer.seller_bot_id,
            recipient_key: &self.stand.seller.1,
        };
        let secret = Entropy::system().bytes();
        write(self.client.keys(), address, &deal.request, self.client.now(), &secret).unwrap()
    }

    /// Does what the job's status asks for, until the result is read or patience has ended.
    async fn follow(&mut self, mut deal: Deal) {
        let began = Instant::now();
        let is_late = deal.manner == Manner::Late;
        loop {
            let is_open = self.stand.market.is_open();
            let patience = if is_open { LONG_PATIENCE[usize::from(is_late)] } else { PATIENCE };
            if began.elapsed() > patience || (is_late && deal.sent.is_empty() && !is_open) {
                return;
            }
            tokio::time::sleep(LOOK).await;
            self.news().await;
            let Some(Ok(job)) = patiently(self.client.job(&deal.job)).await else { continue };
            match job.status {
                Status::Requested if self.dice.percent(1) => {
                    let key = Key::new(format!("cancel:{}", deal.job));
                    drop(patiently(self.client.cancel_job(&deal.job, &key)).await);
                }
                Status::ChargeCreated if !is_late => self.charged(&job, &mut deal).await,
                Status::Expired if is_late && deal.sent.is_empty() => self.too_late(&job, &mut deal).await,
                Status::Requested | Status::ChargeCreated | Status::Paid => {}
                Status::Delivered if !self.has_result(&deal.job) => {}
                Status::Delivered | Status::Cancelled | Status::Expired => return,
            }
        }
    }

    fn has_result(&self, job: &JobId) -> bool {
        self.letters.values().any(|letter| letter.job == *job && letter.kind == Kind::Deliverable)
    }

    async fn charged(&mut self, job: &Job, deal: &mut Deal) {
        let (me, key, now) = (self.client.bot_id(), &self.stand.seller.0, self.client.now());
        let payable = match charge::verify(job, me, key, now) {
            Ok(payable) => payable,
            // A moment later the relay will say so, too; by whatever it takes for the time.
            Err(ChargeFault::ChargeExpired | ChargeFault::JobExpired) => return,
            Err(fault) => return self.stand.complain(format!("a charge that is none: {fault}, {job:?}")),
        };
        if payable.amount_raw != PRICE.raw() {
            return self.stand.complain(format!("a charge over another price: {job:?}"));
        }
        let account: Account = payable.address.parse().unwrap();
        let first = deal.sent.is_empty() && deal.borrowed.is_none();
        if first {
            match deal.manner {
                Manner::Short => self.pay(deal, account, PRICE.raw() - PRICE.raw() / 4),
                Manner::Borrows => deal.borrowed = self.stand.somebodys_payment(&mut self.dice),
                Manner::Parts => {
                    self.pay(deal, account, PRICE.raw() / 3);
                    self.pay(deal, account, PRICE.raw() - PRICE.raw() / 3);
                }
                _ => self.pay(deal, account, PRICE.raw()),
            }
            self.stand.note(deal);
        }
        let again = deal.manner == Manner::Repeats && self.dice.percent(25);
        if deal.manner != Manner::Silent && (first || again) {
            self.tell(deal).await;
        }
    }

    /// Pays what is charged no longer; sometimes it asks for another charge as well.
    async fn too_late(&mut self, job: &Job, deal: &mut Deal) {
        let charged = job.charge.as_ref().and_then(|charge| charge.address.parse().ok());
        let Some(account) = charged else { return };
        self.pay(deal, account, PRICE.raw());
        self.stand.note(deal);
        if self.dice.percent(50) {
            let (client, id) = (&self.client, &deal.job);
            let wish =
                |key| async move { client.request_reissue(id, &ReissueRequest::default(), &key).await };
            // It may be over for good, or charged anew already.
            drop(self.again(wish).await);
        }
    }

    fn pay(&self, deal: &mut Deal, account: Account, raw: u128) {
        let amount = Amount::from_raw(raw);
        let hash = self.stand.market.node.fund(&account, amount).unwrap();
        deal.sent.push((account, hash, amount));
        if deal.is_whole() {
            self.stand.market.paid.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What is said of a payment counts for nothing, so that a refusal does not either.
    async fn tell(&self, deal: &Deal) {
        let hash = deal.sent.first().map(|(_, hash, _)| *hash).or(deal.borrowed);
        let Some(hash) = hash else { return };
        let sent = PaymentSent { payment_block_hash: Some(hash.to_string()), ..PaymentSent::default() };
        let key = Key::new(format!("sent:{}", Entropy::system().number()));
        drop(patiently(self.client.payment_sent(&deal.job, &sent, &key)).await);
    }
}

/// News and letters.
impl Bot {
    /// Reads one page, and acknowledges it if all of it was read; whether there was nothing.
    pub(crate) async fn news(&mut self) -> bool {
        let page = match patiently(self.client.poll(&PollQuery::default())).await {
            Some(Ok(page)) => page,
            Some(Err(error)) => {
                if let Class::Gone { min_event_id_retained } = error.class() {
                    self.resync(min_event_id_retained).await;
                }
                return false;
            }
            None => return false,
        };
        for event in &page.events {
            if !self.hear(event).await {
                return false;
            }
        }
        let Some(last) = page.events.last() else { return true };
        drop(patiently(self.client.ack(last.event_id)).await);
        false
    }

    async fn hear(&mut self, event: &Event) -> bool {
        match event.news() {
            Some(News::PayloadAvailable { payload_id, .. }) => self.fetch(&payload_id).await,
            Some(_) => true,
            None => {
                self.stand.complain(format!("an event that says nothing: {event:?}"));
                true
            }
        }
    }

    /// Whether it is there, opened and believed.
    async fn fetch(&mut self, id: &PayloadId) -> bool {
        if self.letters.contains_key(id) {
            return true;
        }
        let Some(Ok(payload)) = patiently(self.client.payload(id)).await else { return false };
        match read(self.client.keys(), &payload, &self.stand.seller.0) {
            Ok(letter) => {
                let (job, kind) = (payload.job_id, payload.payload_kind);
                self.letters.insert(id.clone(), Letter { job, kind, body: letter.body });
            }
            Err(fault) => self.stand.complain(format!("{id} of {} is not believed: {fault}", payload.job_id)),
        }
        true
    }

    /// The log has lost its beginning: everything is looked at, and only then is it gone on with.
    async fn resync(&mut self, minimum: u64) {
        let mut query = PayloadsQuery { status: Fetched::All, job_id: None, limit: Some(200), cursor: None };
        loop {
            let Some(Ok((page, _))) = patiently(self.client.payloads(&query)).await else { return };
            for head in page.payloads {
                if !self.fetch(&head.payload_id).await {
                    return;
                }
            }
            match page.next_cursor {
                Some(next) => query.cursor = Some(next),
                None => break,
            }
        }
        drop(patiently(self.client.ack(minimum.saturating_sub(1))).await);
    }
}
