//! The client that worker and buyer share, against the relay's /v0.

use std::time::Duration;

use nano_worker::client::v0::{
    BotClient, Class, JobsQuery, Key, OffersQuery, PayloadsQuery, PollQuery, Rates, stream,
};
use nano_worker::client::{CallError, Hint};
use nano_worker::edge::{Clock, Entropy};
use nano_worker::protocol::v0::apply::{PaymentSent, ReissueRequest};
use nano_worker::protocol::v0::lists::{Fetched, Role};
use nano_worker::protocol::v0::payload::{Address, Kind, read, write};
use nano_worker::protocol::v0::{
    BotKeys, Charge, ChargeId, Evidence, Job, JobDraft, JobId, News, Offer, OfferCommand, OfferDraft,
    OfferStatus, PayloadId, Sealed, Status, charge,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::{Relay, address};

const MINUTE: Duration = Duration::from_secs(60);

fn bot(relay: &Relay, number: u8, rates: Rates) -> BotClient {
    let keys = BotKeys::from_seeds(&[number; 32], &[number + 100; 32]);
    let url = format!("http://{}", relay.addr);
    BotClient::new(&url, keys, rates, Clock::system(), Entropy::system()).unwrap()
}

/// A seller with an offer, and a buyer.
struct Shop {
    seller: BotClient,
    buyer: BotClient,
    offer: Offer,
}

impl Shop {
    async fn open(relay: &Relay) -> Self {
        let (seller, buyer) = (bot(relay, 1, Rates::UNLIMITED), bot(relay, 2, Rates::UNLIMITED));
        seller.register().await.unwrap();
        buyer.register().await.unwrap();
        let offer = seller.create_offer(&draft(), &Key::new("offer")).await.unwrap();
        Self { seller, buyer, offer }
    }

    fn sealed(
        &self,
        from: &BotClient,
        to: &BotClient,
        job: &JobId,
        id: &str,
        kind: Kind,
        body: &str,
    ) -> Sealed {
        let (payload_id, recipient_key) = (PayloadId::new(id), to.keys().sealing_key());
        let address = Address {
            payload_id: &payload_id,
            job_id: job,
            kind,
            recipient: to.bot_id(),
            recipient_key: &recipient_key,
        };
        write(from.keys(), address, body, from.now(), &Entropy::system().bytes()).unwrap()
    }

    async fn ask(&self, name: &str) -> Job {
        let job_id = JobId::new(name);
        let payload = format!("pay_{name}");
        let draft = JobDraft {
            offer_id: self.offer.offer_id.clone(),
            request_payload: self.sealed(
                &self.buyer,
                &self.seller,
                &job_id,
                &payload,
                Kind::Request,
                "do it",
            ),
            job_id,
            job_expires_at: None,
        };
        self.buyer.create_job(&draft).await.unwrap()
    }

    fn charge(&self, job: &Job, number: u64) -> Charge {
        let id = ChargeId::new(format!("chg_{number}"));
        let expires_at = self.seller.now().plus(MINUTE);
        charge::sign(
            self.seller.keys(),
            charge::Parties::of(job),
            id,
            &address(number),
            &job.price_raw,
            expires_at,
        )
    }
}

fn draft() -> OfferDraft {
    OfferDraft {
        title: "Nano summary".to_owned(),
        description: "Summarize".to_owned(),
        tags: vec!["nano".to_owned()],
        price_raw: "1000000".to_owned(),
        turnaround_seconds: 3600,
        ..OfferDraft::default()
    }
}

fn key(text: &str) -> Key {
    Key::new(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_trade_by_the_shared_client() {
    let relay = Relay::start().await;
    let shop = Shop::open(&relay).await;
    let (seller, buyer) = (&shop.seller, &shop.buyer);
    assert_eq!(seller.register().await.unwrap().bot_id, seller.bot_id());
    assert_eq!(seller.rename("Ada").await.unwrap().bot_name.as_deref(), Some("Ada"));
    let found = OffersQuery { text: Some("nano summary".to_owned()), ..OffersQuery::default() };
    let page = buyer.offers(&found).await.unwrap();
    assert_eq!((page.offers[0].offer_id.clone(), page.unreadable), (shop.offer.offer_id.clone(), 0));
    assert_eq!(buyer.market(&found).await.unwrap().offers[0].seller_bot_name.as_deref(), Some("Ada"));
    let theirs = buyer.offers(&OffersQuery { mine: true, ..OffersQuery::default() }).await.unwrap();
    assert!(theirs.offers.is_empty());

    let job = shop.ask("job_1").await;
    let id = &job.job_id;
    let page = seller.poll(&PollQuery::default()).await.unwrap();
    let Some(News::Requested { request_payload_id, .. }) = page.events[0].news() else { panic!("{page:?}") };
    let payload = seller.payload(&request_payload_id).await.unwrap();
    let asker = seller.bot(&job.buyer_bot_id).await.unwrap();
    assert_eq!(read(seller.keys(), &payload, &asker.signing_pubkey_ed25519).unwrap().body, "do it");
    let last = page.events[0].event_id;
    assert_eq!(seller.ack(last).await.unwrap(), last);
    assert!(seller.poll(&PollQuery::default()).await.unwrap().events.is_empty());

    let charge = shop.charge(&job, 1);
    let charged = seller.charge(id, &charge, &key("c")).await.unwrap();
    assert_eq!(charged.status, Status::ChargeCreated);
    assert_eq!(
        seller.charge(id, &charge, &key("c")).await.unwrap(),
        charged,
        "the same key, the same answer"
    );
    let again = seller.charge(id, &charge, &key("d")).await.unwrap_err();
    assert!(again.says("charge already attached") && again.class() == Class::Permanent);
    charge::verify(&buyer.job(id).await.unwrap(), buyer.bot_id(), &seller.keys().signing_key(), buyer.now())
        .unwrap();
    let sent = PaymentSent { amount_raw_sent: Some("1000000".to_owned()), ..PaymentSent::default() };
    assert_eq!(buyer.payment_sent(id, &sent, &key("s")).await.unwrap().job_id, *id);
    let wish = ReissueRequest::default();
    assert_eq!(buyer.request_reissue(id, &wish, &key("r")).await.unwrap().job_id, *id);
    assert!(seller.reissue(id, &shop.charge(&job, 2), &key("x")).await.unwrap_err().says("job not expired"));
    let evidence = Evidence { verifier: Some("nano_rpc".to_owned()), ..Evidence::default() };
    assert_eq!(seller.mark_paid(id, &evidence, &key("m")).await.unwrap().status, Status::Paid);

    // As long as the contract lets it be.
    let long = "x".repeat(64_800);
    let letter = shop.sealed(seller, buyer, id, "long", Kind::Message, &long);
    seller.deliver(id, &letter, &key("long")).await.unwrap();
    let payload = buyer.payload(&PayloadId::new("long")).await.unwrap();
    assert_eq!(read(buyer.keys(), &payload, &seller.keys().signing_key()).unwrap().body, long);
    let letter = shop.sealed(seller, buyer, id, "res", Kind::Deliverable, "done");
    let delivered = seller.deliver(id, &letter, &key("res")).await.unwrap();
    assert_eq!(delivered.job_status, Some(Status::Delivered));
    let query = PayloadsQuery { status: Fetched::All, job_id: Some(id.clone()), limit: None, cursor: None };
    let (payloads, _) = buyer.payloads(&query).await.unwrap();
    assert_eq!(payloads.payloads[0].payload_id.as_str(), "res");
    let statuses = vec![Status::Delivered, Status::Paid];
    let query = JobsQuery { role: Role::Seller, statuses, created_since: None, limit: Some(1), cursor: None };
    let (jobs, unreadable) = seller.jobs(&query).await.unwrap();
    assert_eq!((jobs.jobs[0].status, jobs.jobs.len(), unreadable), (Status::Delivered, 1, 0));
    let paused = seller.change_offer(&shop.offer.offer_id, OfferCommand::Pause).await.unwrap();
    assert_eq!(paused.status, OfferStatus::Paused);
    // A name that needs escaping is signed as it is sent; some no address can hold.
    seller.change_offer(&shop.offer.offer_id, OfferCommand::Resume).await.unwrap();
    let odd = shop.ask("job/1 ä?#%2F").await;
    assert_eq!(seller.job(&odd.job_id).await.unwrap(), odd);
    assert!(buyer.job(&JobId::new("..")).await.is_err());
    assert!(buyer.health().await.unwrap().ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pace_meets_no_limit() {
    let relay = Relay::with(|config| config.rates = Some(Default::default())).await;
    let seller = bot(&relay, 1, Rates::DEPLOYED);
    seller.register().await.unwrap();
    let polls = async {
        for _ in 0..12 {
            seller.poll(&PollQuery::default()).await.unwrap();
            seller.ack(0).await.unwrap();
        }
    };
    let writes = async {
        for _ in 0..6 {
            seller.rename("Ada").await.unwrap();
        }
    };
    tokio::join!(polls, writes);
    // Without a pace the same is refused, and whoever is refused keeps quiet as long as was asked.
    let hasty = bot(&relay, 1, Rates::UNLIMITED);
    let mut refused = 0;
    for _ in 0..20 {
        if let Err(error) = hasty.rename("Ada").await {
            assert!(matches!(error.class(), Class::RateLimited { retry_after: Some(_) }), "{error}");
            refused += 1;
        }
    }
    assert!(refused > 10, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_too_old_names_where_the_log_begins() {
    let relay = Relay::with(|config| {
        config.sweep_interval = Duration::from_millis(100);
        config.event_retention = Duration::from_secs(1);
    })
    .await;
    let shop = Shop::open(&relay).await;
    shop.ask("job_1").await;
    let gone = loop {
        match shop.seller.poll(&PollQuery::default()).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => break error,
        }
    };
    let Class::Gone { min_event_id_retained } = gone.class() else { panic!("{gone}") };
    shop.seller.ack(min_event_id_retained - 1).await.unwrap();
    shop.seller.poll(&PollQuery::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wakes_arrive_and_the_stream_comes_back() {
    let relay = Relay::start().await;
    let shop = Shop::open(&relay).await;
    let (sender, mut hints) = mpsc::channel(8);
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(stream::run(shop.seller.clone(), sender, shutdown.clone()));
    let mut next =
        async || tokio::time::timeout(Duration::from_secs(20), hints.recv()).await.unwrap().unwrap();
    assert_eq!(next().await, Hint::Connected);
    shop.ask("job_1").await;
    let wake = Hint::NewJob { job_id: None, event_id: None };
    assert_eq!(next().await, wake);
    let addr = relay.addr.clone();
    let dir = relay.stop().await;
    assert_eq!(next().await, Hint::Lost);
    let relay = Relay::in_dir(dir, |_| {}).await;
    // It listens elsewhere now; what matters is that the stream still tries, and ends when it must.
    assert_ne!(relay.addr, addr);
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_known_is_told() {
    let relay = Relay::start().await;
    let stranger = bot(&relay, 9, Rates::UNLIMITED);
    let told = stranger.poll(&PollQuery::default()).await.unwrap_err();
    assert!(told.says("unknown bot") && told.class() == Class::Permanent, "{told}");
    let nobody = BotClient::new(
        "http://127.0.0.1:1",
        stranger.keys().clone(),
        Rates::UNLIMITED,
        Clock::system(),
        Entropy::system(),
    );
    let lost = nobody.unwrap().poll(&PollQuery::default()).await.unwrap_err();
    assert!(matches!(lost, CallError::Transport { .. }) && lost.class() == Class::Retry, "{lost}");
    assert!(!format!("{stranger:?}").contains(&"09".repeat(8)));
}
