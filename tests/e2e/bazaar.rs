//! Whole sales in the dialect of the deployed relays: a worker, a relay, a node, and a bot that buys.

use std::path::PathBuf;
use std::time::Duration;

use nano_worker::client::v0::{BotClient, Key, OffersQuery, PayloadsQuery, PollQuery, Rates};
use nano_worker::edge::{Clock, Entropy};
use nano_worker::nano::{Account, Amount};
use nano_worker::protocol::v0::apply::{PaymentSent, ReissueRequest};
use nano_worker::protocol::v0::lists::Fetched;
use nano_worker::protocol::v0::payload::{Address, Kind, read, write};
use nano_worker::protocol::v0::{
    BotKeys, Job, JobDraft, JobId, News, Offer, OfferCommand, PayloadId, Sealed, Status, charge,
};
use serde_json::Value;

use crate::process::secret;
use crate::world::{OfferText, PRICE, Process, World};

fn bot(world: &World, number: u8) -> BotClient {
    bot_at(world, number, Rates::UNLIMITED)
}

pub(crate) fn bot_at(world: &World, number: u8, rates: Rates) -> BotClient {
    let url = format!("http://{}", world.relay_address);
    let keys = BotKeys::from_seeds(&[number; 32], &[number + 100; 32]);
    BotClient::new(&url, keys, rates, Clock::system(), Entropy::system()).unwrap()
}

/// A world with a seller that is a bot, and a bot that buys.
pub(crate) struct Bazaar {
    pub(crate) world: World,
    pub(crate) buyer: BotClient,
    pub(crate) seller: BotClient,
}

impl Bazaar {
    pub(crate) async fn new() -> Self {
        Self::over(World::new().await).await
    }

    pub(crate) async fn over(world: World) -> Self {
        let (buyer, seller) = (bot(&world, 2), bot(&world, 1));
        buyer.register().await.unwrap();
        Self { world, buyer, seller }
    }

    pub(crate) fn configure(&self, rest: &str, offer: &str) -> PathBuf {
        let text = OfferText {
            offer: format!("price_raw = \"{PRICE}\"\ntags = [\"text\"]\n{offer}"),
            rest: rest.to_owned(),
            ..OfferText::default()
        };
        let config = self.world.configure("bot", &text);
        secret(&self.world.path("sealing.key"), &hex::encode([101; 32]));
        let written = std::fs::read_to_string(&config).unwrap();
        let dialect = "dialect = \"v0\"\nsealing_key = \"file:sealing.key\"\npace = \"unlimited\"\n[nano]";
        std::fs::write(&config, written.replacen("[nano]", dialect, 1)).unwrap();
        config
    }

    pub(crate) fn start(&self, rest: &str) -> Process {
        let config = self.configure(rest, "");
        self.world.run_worker("bot", &config)
    }

    pub(crate) async fn offer(&self) -> Offer {
        self.world
            .eventually("an offer", async || {
                self.buyer.offers(&OffersQuery::default()).await.ok()?.offers.into_iter().next()
            })
            .await
    }

    pub(crate) fn sealed(&self, job: &JobId, body: &str) -> Sealed {
        let (payload_id, recipient_key) =
            (PayloadId::new(format!("pay_{job}")), self.seller.keys().sealing_key());
        let address = Address {
            payload_id: &payload_id,
            job_id: job,
            kind: Kind::Request,
            recipient: self.seller.bot_id(),
            recipient_key: &recipient_key,
        };
        write(self.buyer.keys(), address, body, self.buyer.now(), &Entropy::system().bytes()).unwrap()
    }

    pub(crate) async fn ask(&self, name: &str, body: &str) -> Job {
        let job_id = JobId::new(name);
        self.ask_with(name, self.sealed(&job_id, body)).await
    }

    pub(crate) async fn ask_with(&self, name: &str, request_payload: Sealed) -> Job {
        let offer_id = self.offer().await.offer_id;
        let draft = JobDraft { job_id: JobId::new(name), offer_id, request_payload, job_expires_at: None };
        self.buyer.create_job(&draft).await.unwrap()
    }

    pub(crate) async fn reaches(&self, job: &Job, status: Status) -> Job {
        self.world
            .eventually(status.name(), async || {
                let job = self.buyer.job(&job.job_id).await.ok()?;
                (job.status == status).then_some(job)
            })
            .await
    }

    /// The charged job, once a careful buyer would pay it.
    pub(crate) async fn charged(&self, job: &Job) -> Job {
        let job = self.reaches(job, Status::ChargeCreated).await;
        let key = self.buyer.bot(&job.seller_bot_id).await.unwrap().signing_pubkey_ed25519;
        let payable = charge::verify(&job, self.buyer.bot_id(), &key, self.buyer.now()).unwrap();
        assert_eq!(Amount::from_raw(payable.amount_raw), PRICE);
        job
    }

    pub(crate) fn pay(&self, job: &Job, amount: Amount) -> String {
        self.world.node.fund(&account(job), amount).unwrap().to_string()
    }

    /// Everything that the seller has sealed for the buyer about a job, in the order of its names.
    pub(crate) async fn letters(&self, job: &Job) -> Vec<(PayloadId, Kind, String)> {
        let query = PayloadsQuery {
            status: Fetched::All,
            job_id: Some(job.job_id.clone()),
            limit: None,
            cursor: None,
        };
        let (page, _) = self.buyer.payloads(&query).await.unwrap();
        let mut letters = Vec::new();
        for head in page.payloads {
            let payload = self.buyer.payload(&head.payload_id).await.unwrap();
            let letter = read(self.buyer.keys(), &payload, &self.seller.keys().signing_key()).unwrap();
            letters.push((head.payload_id, head.payload_kind, letter.body));
        }
        letters.sort_by(|one, other| one.0.cmp(&other.0));
        letters
    }

    pub(crate) async fn delivered(&self, job: &Job) -> String {
        let job = self.reaches(job, Status::Delivered).await;
        let letters = self.letters(&job).await;
        let [(_, Kind::Deliverable, body)] = letters.as_slice() else { panic!("{letters:?}") };
        body.clone()
    }

    pub(crate) async fn buy(&self, name: &str) -> String {
        let job = self.charged(&self.ask(name, "four words are here").await).await;
        self.pay(&job, PRICE);
        self.delivered(&job).await
    }

    pub(crate) fn total_paid(&self, job: &Job) -> Amount {
        self.world
            .node
            .with(|node, _| node.ledger.receivables(&account(job)).map(|(_, entry)| entry.amount).sum())
    }
}

pub(crate) fn account(job: &Job) -> Account {
    job.charge.as_ref().unwrap().address.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_sale_between_bots() {
    let bazaar = Bazaar::new().await;
    let _worker = bazaar.start("");
    let job = bazaar.ask("job_1", "four words are here").await;
    let charged = bazaar.charged(&job).await;
    let hash = bazaar.pay(&charged, PRICE);
    let sent = PaymentSent { payment_block_hash: Some(hash.clone()), ..PaymentSent::default() };
    bazaar.buyer.payment_sent(&job.job_id, &sent, &Key::new("sent")).await.unwrap();
    assert_eq!(bazaar.delivered(&job).await, "four words are here");
    assert_eq!(bazaar.world.runs().into_values().collect::<Vec<_>>(), [1]);

    // The buyer can read what the seller saw of the payment.
    let events = bazaar.buyer.poll(&PollQuery::default()).await.unwrap().events;
    let paid = events.iter().find_map(|event| match event.news() {
        Some(News::Paid { evidence, .. }) => Some(evidence),
        _ => None,
    });
    let evidence = paid.unwrap();
    assert_eq!(evidence.payment_block_hash.as_deref(), Some(hash.as_str()));
    assert_eq!(evidence.amount_raw_received, Some(PRICE.to_string()));
    assert!(evidence.verifier.is_some() && evidence.observed_at.is_some(), "{evidence:?}");

    // Everything heard was acknowledged, once it was durable.
    bazaar
        .world
        .eventually("acknowledgement", async || {
            bazaar.seller.poll(&PollQuery::default()).await.ok()?.events.is_empty().then_some(())
        })
        .await;
    // A second sale has another address.
    let second = bazaar.charged(&bazaar.ask("job_2", "[1, 2]").await).await;
    assert_ne!(account(&second), account(&charged));
    bazaar.pay(&second, PRICE);
    let body: Value = serde_json::from_str(&bazaar.delivered(&second).await).unwrap();
    assert_eq!(body, serde_json::json!([1, 2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paid_after_the_expiry_is_charged_anew_and_counted() {
    let bazaar = Bazaar::new().await;
    let _worker = bazaar.start("[quote]\nttl_seconds = 5");
    let job = bazaar.ask("job_1", "late").await;
    let charged = bazaar.charged(&job).await;
    bazaar.reaches(&job, Status::Expired).await;
    bazaar.pay(&charged, PRICE);
    assert_eq!(bazaar.delivered(&job).await, "late");
    assert_eq!(bazaar.total_paid(&charged), PRICE, "nothing was asked for twice");
    assert_eq!(account(&bazaar.reaches(&job, Status::Delivered).await), account(&charged));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_who_asks_gets_another_charge() {
    let bazaar = Bazaar::new().await;
    let _worker = bazaar.start("[quote]\nttl_seconds = 5");
    let job = bazaar.ask("job_1", "again").await;
    let first = bazaar.charged(&job).await;
    // Half of it comes in time, and counts later.
    let half = Amount::from_raw(PRICE.raw() / 2);
    bazaar.pay(&first, half);
    bazaar.reaches(&job, Status::Expired).await;
    let wish = ReissueRequest::default();
    bazaar.buyer.request_reissue(&job.job_id, &wish, &Key::new("wish")).await.unwrap();
    let second = bazaar.charged(&job).await;
    assert_ne!(second.charge.as_ref().unwrap().charge_id, first.charge.as_ref().unwrap().charge_id);
    bazaar.pay(&second, PRICE.checked_sub(half).unwrap());
    assert_eq!(bazaar.delivered(&job).await, "again");
    assert_eq!(bazaar.total_paid(&first), PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_is_not_charged_for() {
    let bazaar = Bazaar::new().await;
    let _worker = bazaar.start("");
    // Signed for another job: a replay.
    let other =
        Sealed { payload_id: PayloadId::new("pay_x"), ..bazaar.sealed(&JobId::new("job_0"), "do it") };
    let job = bazaar.ask_with("job_1", other).await;
    let told = bazaar.world.eventually("a message", async || bazaar.letters(&job).await.pop()).await;
    assert_eq!(told.1, Kind::Message);
    assert!(told.2.contains("another payload"), "{told:?}");
    let job = bazaar.buyer.job(&job.job_id).await.unwrap();
    assert_eq!((job.status, job.charge), (Status::Requested, None));
    assert_eq!(bazaar.buy("job_2").await, "four words are here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_result_comes_in_parts() {
    let bazaar = Bazaar::new().await;
    bazaar.world.handler("head -c 150000 /dev/zero | tr '\\0' x");
    let _worker = bazaar.start("");
    let job = bazaar.charged(&bazaar.ask("job_1", "").await).await;
    bazaar.pay(&job, PRICE);
    bazaar.reaches(&job, Status::Delivered).await;
    let letters = bazaar.letters(&job).await;
    let (list, parts): (Vec<_>, Vec<_>) =
        letters.into_iter().partition(|(_, kind, _)| *kind == Kind::Deliverable);
    let list: Value = serde_json::from_str(&list[0].2).unwrap();
    let mut whole = String::new();
    for id in list["parts"].as_array().unwrap() {
        whole += &parts.iter().find(|(part, ..)| part.as_str() == id.as_str().unwrap()).unwrap().2;
    }
    assert_eq!((whole.len(), &list["bytes"]), (150_000, &serde_json::json!(150_000)));
    assert!(whole.bytes().all(|byte| byte == b'x'));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_lost_finds_its_job_again() {
    let bazaar = Bazaar::new().await;
    let mut worker = bazaar.start("");
    let charged = bazaar.charged(&bazaar.ask("job_1", "remember me").await).await;
    worker.kill();
    std::fs::remove_dir_all(bazaar.world.path("state-bot")).unwrap();
    let _worker = bazaar.start("");
    bazaar.pay(&charged, PRICE);
    assert_eq!(bazaar.delivered(&charged).await, "remember me");
    let second = bazaar.charged(&bazaar.ask("job_2", "x").await).await;
    assert_ne!(account(&second), account(&charged), "an address was given twice");
    // The offer of the earlier life was found, and none was made beside it.
    assert_eq!(bazaar.buyer.offers(&OffersQuery::default()).await.unwrap().offers.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_has_forgotten_everything_is_told_again() {
    let mut bazaar = Bazaar::new().await;
    let _worker = bazaar.start("[quote]\nttl_seconds = 5");
    assert_eq!(bazaar.buy("job_1").await, "four words are here");
    bazaar.charged(&bazaar.ask("job_2", "forgotten").await).await;
    bazaar.world.kill_relay();
    std::fs::remove_dir_all(bazaar.world.path("relay")).unwrap();
    bazaar.world.start_relay();
    bazaar.buyer.register().await.unwrap();
    // Both the bot and what it offers.
    assert_eq!(bazaar.buy("job_3").await, "four words are here");
    // What the relay knows no longer is not waited for.
    bazaar
        .world
        .eventually("end of the forgotten job", async || {
            let (_, shown) = bazaar.world.ask_worker("bot", &["jobs", "show", "job_2", "--json"]);
            shown.contains("\"vanished\"").then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_that_changed_is_another_one_and_its_jobs_are_done_all_the_same() {
    let bazaar = Bazaar::new().await;
    let mut worker = bazaar.start("");
    let charged = bazaar.charged(&bazaar.ask("job_1", "old price").await).await;
    let asked = bazaar.ask("job_2", "old price too").await;
    bazaar.charged(&asked).await;
    worker.kill();
    let config = bazaar.configure("", "turnaround_seconds = 60");
    let _worker = bazaar.world.run_worker("bot", &config);
    bazaar
        .world
        .eventually("the other offer", async || {
            let offers = bazaar.buyer.offers(&OffersQuery::default()).await.ok()?.offers;
            (offers.len() == 1 && offers[0].turnaround_seconds == 60).then_some(())
        })
        .await;
    bazaar.pay(&charged, PRICE);
    assert_eq!(bazaar.delivered(&charged).await, "old price");
    assert_eq!(bazaar.buy("job_3").await, "four words are here");
}

impl Bazaar {
    /// Another life without a state, whose offer says something else; the relay has it, and no other.
    async fn begin_anew(&self) -> Process {
        std::fs::remove_dir_all(self.world.path("state-bot")).unwrap();
        let config = self.configure("", "turnaround_seconds = 60");
        let worker = self.world.run_worker("bot", &config);
        self.world
            .eventually("the other offer alone", async || {
                let offers = self.buyer.offers(&OffersQuery::default()).await.ok()?.offers;
                (offers.len() == 1 && offers[0].turnaround_seconds == 60).then_some(())
            })
            .await;
        worker
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_lost_does_the_jobs_of_an_offer_that_has_changed() {
    for is_taken_back in [false, true] {
        let bazaar = Bazaar::new().await;
        let mut worker = bazaar.start("");
        let charged = bazaar.charged(&bazaar.ask("job_1", "charged").await).await;
        worker.kill();
        let asked = bazaar.ask("job_2", "asked").await;
        if is_taken_back {
            bazaar.seller.change_offer(&charged.offer_id, OfferCommand::Cancel).await.unwrap();
        }
        let mut worker = bazaar.begin_anew().await;
        bazaar.pay(&charged, PRICE);
        assert_eq!(bazaar.delivered(&charged).await, "charged");
        // A later life knows it from the state.
        worker.kill();
        let _worker = bazaar.world.run_worker("bot", &bazaar.world.path("bot.toml"));
        let asked = bazaar.charged(&asked).await;
        bazaar.pay(&asked, PRICE);
        assert_eq!(bazaar.delivered(&asked).await, "asked");
        assert_eq!(bazaar.world.runs().into_values().collect::<Vec<_>>(), [1, 1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_on_is_heard_of_when_its_offer_has_left_the_configuration() {
    let bazaar = Bazaar::new().await;
    let mut worker = bazaar.start("[quote]\nttl_seconds = 5");
    let charged = bazaar.charged(&bazaar.ask("job_1", "charged").await).await;
    worker.kill();
    let config = bazaar.configure("", "");
    let written = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, written.replace("title = \"Echo\"", "title = \"Other\"")).unwrap();
    let _worker = bazaar.world.run_worker("bot", &config);
    let stage = async |wanted: &str| {
        bazaar
            .world
            .eventually(wanted, async || {
                let (_, shown) = bazaar.world.ask_worker("bot", &["jobs", "show", "job_1", "--json"]);
                let shown: Value = serde_json::from_str(&shown).ok()?;
                (shown["stage"] == wanted).then_some(shown)
            })
            .await
    };
    stage("lapsed").await;
    // What comes for it now is owed back, and not lost sight of.
    bazaar.pay(&charged, PRICE);
    let shown = stage("ended").await;
    assert!(shown.to_string().contains("paid_late"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_lost_ends_what_was_paid_under_an_offer_that_has_changed() {
    let bazaar = Bazaar::new().await;
    bazaar.world.handler("sleep 600");
    let mut worker = bazaar.start("");
    let charged = bazaar.charged(&bazaar.ask("job_1", "paid").await).await;
    bazaar.pay(&charged, PRICE);
    bazaar.reaches(&charged, Status::Paid).await;
    worker.kill();
    let _worker = bazaar.begin_anew().await;
    // It may have run, and nobody knows.
    let body = bazaar.delivered(&charged).await;
    assert!(body.contains("worker_interrupted"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_again_and_again_sells_once() {
    let bazaar = Bazaar::new().await;
    let config = bazaar.configure("", "");
    let mut worker = bazaar.world.run_worker("bot", &config);
    let job = bazaar.charged(&bazaar.ask("job_1", "once").await).await;
    worker.kill();
    bazaar.pay(&job, PRICE);
    for life in 0..6 {
        let mut worker = bazaar.world.run_worker("bot", &config);
        tokio::time::sleep(Duration::from_millis(150 + 150 * life)).await;
        worker.kill();
    }
    let _worker = bazaar.world.run_worker("bot", &config);
    let body = bazaar.delivered(&job).await;
    assert!(body == "once" || body.contains("worker_interrupted"), "{body}");
    assert!(bazaar.world.runs().into_values().all(|runs| runs == 1));
}
