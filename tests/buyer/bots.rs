//! Purchases over /v0 from a relay of ours, and from one that lies.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use mock_nano_rpc::{Config, FaultKind, MockNode};
use nano_worker::buyer::policy::Policy;
use nano_worker::buyer::progress::unwatched;
use nano_worker::buyer::v0::{DealFault, Goods};
use nano_worker::buyer::{BuyError, Buyer, Guard, Manners, Memory, Parts};
use nano_worker::client::v0::{BotClient, PollQuery, Rates};
use nano_worker::client::wire::{Request, Response};
use nano_worker::client::{RelayClient, Wire};
use nano_worker::edge::{Clock, Entropy, monotonic};
use nano_worker::nano::rpc::{Rpc, RpcConfig, WorkSources};
use nano_worker::nano::{Account, Amount, Network, Seed};
use nano_worker::protocol::Timestamp;
use nano_worker::protocol::signing::Signer;
use nano_worker::protocol::v0::{BotKeys, ChargeId, Job, Status, charge};
use nano_worker::relay::model::Horizon;
use nano_worker::relay::storage::Storage;
use nano_worker::relay::storage::embedded::Embedded;
use nano_worker::relay::{Config as RelayConfig, Relay};
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::bot_seller::{BotSeller, PRICE, Received, Sale};
use super::scene::{SEED, payer};

const MAX: Amount = Amount::from_raw(5_000);
const FUNDS: Amount = Amount::from_raw(1_000_000);

/// A ledger, a relay of ours and a seller at it.
struct Market {
    mock: Arc<MockNode>,
    storage: Arc<dyn Storage>,
    url: String,
    seller: BotSeller,
    /// Whether the seller does not look at the ledger.
    blind: Arc<AtomicBool>,
    dir: tempfile::TempDir,
    shutdown: CancellationToken,
}

impl Drop for Market {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn received(mock: &MockNode, account: &Account) -> Vec<Amount> {
    mock.with(|node, _| node.ledger.receivables(account).map(|(_, entry)| entry.amount).collect())
}

impl Market {
    async fn open() -> Self {
        let mock = Arc::new(MockNode::start(Config::default()).await.unwrap());
        mock.fund(&payer(), FUNDS).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut config = RelayConfig::new(dir.path().join("relay"));
        config.rates = None;
        config.sweep_interval = Duration::from_millis(100);
        let storage: Arc<dyn Storage> =
            Arc::new(Embedded::open(&config.data_dir, 8 << 20, &Entropy::system()).unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let relay = Relay::with_parts(Arc::clone(&storage), config, Clock::system(), Entropy::system());
        let shutdown = CancellationToken::new();
        tokio::spawn(relay.serve(listener, shutdown.clone()));
        let blind = Arc::new(AtomicBool::new(false));
        let (ledger, closed) = (Arc::clone(&mock), Arc::clone(&blind));
        let paid: Received = Arc::new(move |account| match closed.load(Ordering::Relaxed) {
            true => Amount::ZERO,
            false => received(&ledger, account).into_iter().sum(),
        });
        let seller = BotSeller::open(&url, BotKeys::from_seeds(&[11; 32], &[12; 32]), paid).await;
        Self { mock, storage, url, seller, blind, dir, shutdown }
    }

    fn keys() -> BotKeys {
        BotKeys::from_seeds(&[7; 32], &[8; 32])
    }

    fn bot(&self) -> BotClient {
        BotClient::new(&self.url, Self::keys(), Rates::UNLIMITED, Clock::system(), Entropy::system()).unwrap()
    }

    fn buyer(&self) -> Buyer {
        self.buyer_with(self.bot(), Guard::default())
    }

    fn buyer_with(&self, bot: BotClient, guard: Guard) -> Buyer {
        let relay =
            RelayClient::new(&self.url, Signer::from_seed(&[7; 32]), Clock::system(), Entropy::system());
        let began = monotonic();
        let mut config = RpcConfig::new([self.mock.rpc_url()], move || monotonic() - began);
        config.timeout = Duration::from_secs(2);
        let rpc = Rpc::new(&config).unwrap();
        let manners = Manners {
            step_patience: Duration::from_millis(700),
            quote_patience: Duration::from_secs(10),
            result_patience: Duration::from_secs(20),
            look_min: Duration::from_millis(5),
            look_max: Duration::from_millis(50),
        };
        let parts = Parts {
            relay: relay.unwrap(),
            work: WorkSources { nodes: Some(rpc.clone()), servers: None, cpu: true },
            rpc,
            seed: Seed::Hex(SEED),
            network: Network::Dev,
            memory: Memory::open(&self.dir.path().join("journal")).unwrap(),
            clock: Clock::system(),
            entropy: Entropy::system(),
            manners,
            guard,
        };
        Buyer::of_bot(parts, bot)
    }

    /// A buyer whose answers somebody on the way changes.
    fn buyer_through(&self, lie: impl Fn(&str, &mut Value) + Send + Sync + 'static) -> Buyer {
        let wire = Liar { url: self.url.clone(), http: reqwest::Client::new(), lie: Arc::new(lie) };
        let bot = BotClient::over(
            Arc::new(wire),
            &self.url,
            Self::keys(),
            Rates::UNLIMITED,
            Clock::system(),
            Entropy::system(),
        );
        self.buyer_with(bot.unwrap(), Guard::default())
    }

    async fn buy(&self, buyer: &Buyer) -> Result<Goods, BuyError> {
        buyer.buy_from_bot(&self.seller.offer.offer_id, "words", MAX, 0, &unwatched).await
    }

    /// The blocks that the seller was told to have been paid by.
    async fn told(&self) -> Vec<String> {
        let all = PollQuery { since: Some(0), ..PollQuery::default() };
        let page = self.seller.client.poll(&all).await.unwrap();
        let sent = page.events.into_iter().filter(|event| event.event_type == "job.payment_sent");
        sent.map(|event| event.data["payment_block_hash"].as_str().unwrap().to_owned()).collect()
    }

    /// Each sale got its price once at one of its addresses, or nothing at any; and how many got it.
    fn paid(&self) -> usize {
        let sales: Vec<Sale> = self.seller.sales();
        let paid = sales.iter().filter(|sale| {
            let got: Vec<Amount> =
                sale.addresses.iter().flat_map(|address| received(&self.mock, address)).collect();
            assert!(got.is_empty() || got == [PRICE], "{} was paid {got:?}", sale.job.job_id);
            !got.is_empty()
        });
        let count = paid.count();
        let left = self.mock.with(|node, _| {
            let waiting: Amount = node.ledger.receivables(&payer()).map(|(_, entry)| entry.amount).sum();
            node.ledger.balance(&payer()).checked_add(waiting).unwrap()
        });
        assert_eq!(left.raw(), FUNDS.raw() - PRICE.raw() * count as u128, "money went elsewhere");
        count
    }
}

type Lie = Arc<dyn Fn(&str, &mut Value) + Send + Sync>;

/// A way to the relay on which answers are changed.
struct Liar {
    url: String,
    http: reqwest::Client,
    lie: Lie,
}

impl std::fmt::Debug for Liar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Liar")
    }
}

impl Wire for Liar {
    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, String>> {
        let url = format!("{}{}", self.url, request.target);
        let (http, lie) = (self.http.clone(), Arc::clone(&self.lie));
        Box::pin(async move {
            let sent = http.request(request.method, url).headers(request.headers).body(request.body);
            let answer = sent.send().await.map_err(|error| error.to_string())?;
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            let body = answer.bytes().await.map_err(|error| error.to_string())?;
            let mut value: Value = serde_json::from_slice(&body).unwrap_or_default();
            lie(&request.target, &mut value);
            Ok(Response { status, headers, body: value.to_string().into_bytes() })
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_buys_pays_once_and_keeps_the_result_before_it_acknowledges() {
    let market = Market::open().await;
    let buyer = market.buyer();
    for round in 1..=2 {
        // A seller that finds the payment first need not be told of it; this one waits for that.
        market.blind.store(true, Ordering::Relaxed);
        let is_told = async {
            while market.told().await.len() < round {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            market.blind.store(false, Ordering::Relaxed);
        };
        let (goods, ()) = tokio::join!(market.buy(&buyer), is_told);
        let goods = goods.unwrap();
        assert_eq!((goods.result.as_str(), goods.job.status), ("done: words", Status::Delivered));
        assert_eq!(market.paid(), round);
    }
    assert!(buyer.memory().interrupted().unwrap().is_empty());
    let page = market.bot().poll(&PollQuery::default()).await.unwrap();
    assert!(page.events.is_empty() && page.last_acked_event_id > 0, "{page:?}");
    let told = market.told().await;
    assert!(told.len() == 2 && told.iter().all(|hash| hash.len() == 64), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_result_in_parts_is_joined() {
    let market = Market::open().await;
    market.seller.shelf.manner.lock().unwrap().parts = Some((150_000, 60_000));
    let goods = market.buy(&market.buyer()).await.unwrap();
    assert_eq!((goods.result.len(), goods.messages.len()), (150_000, 0));
    assert!(goods.result.starts_with("wordswords"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_dear_forbidden_or_refused_is_not_paid() {
    let market = Market::open().await;
    let offer = market.seller.offer.offer_id.clone();
    let cheap = Amount::from_raw(999);
    let error = market.buyer().buy_from_bot(&offer, "words", cheap, 0, &unwatched).await.unwrap_err();
    assert!(matches!(error, BuyError::Deal(DealFault::TooExpensive { .. })), "{error}");
    assert!(market.seller.sales().is_empty(), "it was not even asked for");
    // The spending policy holds here, too.
    let policy = Policy { per_job: Some(cheap), ..Policy::default() };
    let guard = Guard { policies: vec![policy], person: None };
    let error = market.buy(&market.buyer_with(market.bot(), guard)).await.unwrap_err();
    assert!(matches!(error, BuyError::Policy(_)), "{error}");
    let nobody = Policy { sellers: Some(Vec::new()), ..Policy::default() };
    let guard = Guard { policies: vec![nobody], person: None };
    let error = market.buy(&market.buyer_with(market.bot(), guard)).await.unwrap_err();
    assert!(matches!(error, BuyError::Policy(_)), "{error}");
    market.seller.shelf.manner.lock().unwrap().refuses = true;
    let error = market.buy(&market.buyer()).await.unwrap_err();
    assert!(error.to_string().contains("words only"), "{error}");
    assert_eq!(market.paid(), 0);
}

/// Whatever a relay changes in what the seller has signed, or in what was agreed to: none of it is paid.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_lies_about_money_gets_none() {
    fn in_charge(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Lie {
        Arc::new(move |target, answer| {
            if target.starts_with("/v0/jobs/") && answer["charge"].is_object() {
                change(answer);
            }
        })
    }
    let thief = BotKeys::from_seeds(&[66; 32], &[67; 32]);
    let address = Account::from_bytes([66; 32]).to_string();
    let resigned = {
        let (thief, address) = (thief.clone(), address.clone());
        move |answer: &mut Value| {
            let job: Job = serde_json::from_value(answer.clone()).unwrap();
            let until = job.charge.as_ref().unwrap().expires_at().unwrap();
            let id = ChargeId::new("chg_thief");
            answer["charge"] =
                json!(charge::sign(&thief, charge::Parties::of(&job), id, &address, &job.price_raw, until));
        }
    };
    let impostor = {
        let key = thief.signing_key();
        let change: Lie = Arc::new(move |target, answer| {
            if target.starts_with("/v0/bots/") {
                answer["signing_pubkey_ed25519"] = json!(key);
            }
        });
        change
    };
    let swapped = address.clone();
    let lies: Vec<(&str, Lie)> = vec![
        ("another address", in_charge(move |answer| answer["charge"]["address"] = json!(swapped))),
        ("another amount", in_charge(|answer| answer["charge"]["amount_raw"] = json!("1001"))),
        (
            "a dearer job",
            in_charge(|answer| {
                answer["price_raw"] = json!("1001");
                answer["charge"]["amount_raw"] = json!("1001");
            }),
        ),
        (
            "a later end",
            in_charge(|answer| answer["charge"]["charge_expires_at"] = json!("2030-01-01T00:00:00Z")),
        ),
        ("no signature", in_charge(|answer| answer["charge"]["charge_sig_ed25519"] = json!("AAAA"))),
        ("another signer", in_charge(resigned.clone())),
        (
            "another seller, who has signed",
            in_charge(move |answer| {
                answer["seller_bot_id"] = json!(thief.bot_id());
                resigned(answer);
            }),
        ),
        ("another offer", in_charge(|answer| answer["offer_id"] = json!("offer_9"))),
        ("another key under the seller's name", impostor),
    ];
    let market = Market::open().await;
    for (what, lie) in lies {
        let buyer = market.buyer_through(move |target, answer| lie(target, answer));
        let error = market.buy(&buyer).await.unwrap_err();
        assert!(matches!(error, BuyError::Deal(_) | BuyError::Relay { .. }), "{what}: {error}");
        assert_eq!(market.paid(), 0, "{what}");
        assert!(received(&market.mock, &Account::from_bytes([66; 32])).is_empty(), "{what}");
    }
    // Told the truth again, the same purchases go on: each is paid once.
    let buyer = market.buyer();
    let mut orders = buyer.memory().interrupted().unwrap();
    assert!(orders.len() >= 7, "{}", orders.len());
    for order in &mut orders {
        let goods = buyer.pursue_bot(order, &unwatched).await.unwrap();
        assert_eq!(goods.result, "done: words");
    }
    assert_eq!(market.paid(), orders.len());
}

/// A payload of another job, another sender, or nobody's is no result, and a later look finds the real one.
#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_payload_is_not_believed() {
    let market = Market::open().await;
    let first = market.buy(&market.buyer()).await.unwrap();
    let other = market.bot().payload(&first_result(&first)).await.unwrap();
    let buyer = market.buyer_through(move |target, answer| {
        if target.starts_with("/v0/payloads/") {
            answer["ciphertext_b64"] = json!(other.ciphertext_b64);
        }
    });
    let error = market.buy(&buyer).await.unwrap_err();
    assert!(
        matches!(&error, BuyError::Deal(DealFault::Disbelieved(why)) if why.contains("names another")),
        "{error}"
    );
    drop(buyer);
    let buyer = market.buyer();
    let mut orders = buyer.memory().interrupted().unwrap();
    assert_eq!(orders.len(), 1);
    assert_eq!(buyer.pursue_bot(&mut orders[0], &unwatched).await.unwrap().result, "done: words");
    assert_eq!(market.paid(), 2);
}

fn first_result(goods: &Goods) -> nano_worker::protocol::v0::PayloadId {
    nano_worker::protocol::v0::PayloadId::new(format!("pay_{}_result", goods.job.job_id))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_is_over_after_the_payment_is_asked_for_anew_and_not_paid_again() {
    let market = Market::open().await;
    {
        let mut manner = market.seller.shelf.manner.lock().unwrap();
        (manner.stands, manner.is_late) = (Duration::from_secs(4), true);
    }
    let goods = market.buy(&market.buyer()).await.unwrap();
    assert_eq!(goods.result, "done: words");
    assert_eq!(market.seller.sales()[0].addresses.len(), 2, "it was charged twice");
    assert_eq!(market.paid(), 1);
}

/// Events that were removed before they were read take no letter along.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_lost_events_finds_the_result_all_the_same() {
    let market = Market::open().await;
    let buyer = market.buyer();
    let max = MAX;
    let mut order = buyer.ask_bot(&market.seller.offer.offer_id, "words", max, 0, &unwatched).await.unwrap();
    // The seller charges, and the buyer is away while the relay forgets that it said so.
    while market
        .seller
        .client
        .poll(&PollQuery { since: Some(0), ..PollQuery::default() })
        .await
        .unwrap()
        .events
        .is_empty()
        || market.seller.sales().first().is_none_or(|sale| sale.addresses.is_empty())
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (never, events) = (Timestamp::default(), Clock::system().now());
    while market.storage.forget(Horizon { nonces: never, answers: never, events }, 100).await.unwrap() {}
    assert!(market.bot().poll(&PollQuery::default()).await.is_err(), "its cursor is too old");
    assert_eq!(buyer.pursue_bot(&mut order, &unwatched).await.unwrap().result, "done: words");
    assert_eq!(market.paid(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_down_makes_a_payment_unknown_and_the_next_run_finishes_it() {
    let market = Market::open().await;
    let fault = |kind, count| mock_nano_rpc::Fault { kind, action: Some("process".to_owned()), count };
    assert!(market.mock.fault(fault(FaultKind::Drop, None)));
    let buyer = market.buyer();
    let error = market.buy(&buyer).await.unwrap_err();
    assert!(matches!(error, BuyError::Unknown { .. } | BuyError::Node { .. }), "{error}");
    market.mock.clear();
    // The node that failed is left alone for a second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut orders = buyer.memory().interrupted().unwrap();
    assert_eq!(buyer.pursue_bot(&mut orders[0], &unwatched).await.unwrap().result, "done: words");
    assert_eq!(market.paid(), 1);
}

fn program(market: &Market, home: &Path, arguments: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_buyer"));
    command
        .args(arguments)
        .args(["--dialect", "v0"])
        .env_clear()
        .env("RELAY_URL", &market.url)
        .env("NANO_RPC_URL", market.mock.rpc_url())
        .env("NANO_NETWORK", "dev")
        .env("NANO_SEED", hex::encode(SEED))
        .env("BUYER_PRIVKEY", "07".repeat(32))
        .env("BUYER_SEALING_PRIVKEY", "08".repeat(32))
        .env("HOME", home)
        .current_dir(home)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn run(market: &Market, arguments: &[&str]) -> (i32, String, String) {
    let output = program(market, market.dir.path(), arguments).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_buys_over_v0() {
    let market = Market::open().await;
    let offer = market.seller.offer.offer_id.to_string();
    let (code, stdout, stderr) = run(&market, &["offers", "echo"]).await;
    assert!(code == 0 && stdout.contains(&offer) && stdout.contains("Echo"), "{stdout} {stderr}");
    let buy = ["buy", &offer, "--payload", "\"words\"", "--max-price-xno", "1"];
    let (code, stdout, stderr) = run(&market, &buy).await;
    assert_eq!((code, stdout.as_str()), (0, "done: words\n"), "{stderr}");
    assert!(stderr.contains("published payment"), "{stderr}");
    let (code, stdout, _) = run(&market, &[&buy[..], &["--json"]].concat()).await;
    let sold: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (code, &sold["result"], &sold["job"]["status"]),
        (0, &json!("done: words"), &json!("DELIVERED"))
    );
    let job = sold["job"]["job_id"].as_str().unwrap();
    assert!(run(&market, &["show", job]).await.1.contains("DELIVERED"));
    assert_eq!(run(&market, &["wait", job]).await.1, "done: words\n");
    assert_eq!(run(&market, &["resume"]).await.1, "nothing was interrupted\n");
    let (code, _, stderr) = run(&market, &["request", &offer, "--payload", "1"]).await;
    assert!(code == 2 && stderr.contains("buy"), "{stderr}");
    let (code, _, stderr) = run(&market, &["show", "job_nobodys"]).await;
    assert!(code == 2 && stderr.contains("no such job"), "{stderr}");
    let dear = ["buy", &offer, "--payload", "1", "--max-price-xno", "0.000000000000000000000000000999"];
    assert_eq!(run(&market, &dear).await.0, 5);
    assert_eq!(market.paid(), 2);
}

/// Purchases that are begun; each is killed up to three times.
const PURCHASES: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_and_resumed_it_pays_once() {
    let market = Market::open().await;
    let offer = market.seller.offer.offer_id.to_string();
    let buy = ["buy", &offer, "--payload", "1", "--max-price-xno", "1"];
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let began = monotonic();
    assert_eq!(run(&market, &buy).await.0, 0);
    let whole_ms = (monotonic() - began).as_millis() as u64 + 1;
    let deaths = Mutex::new(0);
    for _ in 0..PURCHASES {
        let mut arguments = buy.to_vec();
        for _ in 0..3 {
            let mut child = program(&market, market.dir.path(), &arguments);
            let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            tokio::time::sleep(Duration::from_millis(random.next_u64() % whole_ms)).await;
            *deaths.lock().unwrap() += usize::from(child.try_wait().unwrap().is_none());
            child.start_kill().ok();
            child.wait().await.unwrap();
            market.paid();
            arguments = vec!["resume"];
        }
    }
    assert!(*deaths.lock().unwrap() > PURCHASES / 2, "too few were killed");
    let (code, _, stderr) = run(&market, &["resume"]).await;
    assert_eq!(code, 0, "{stderr}");
    let sales = market.seller.sales();
    assert!(sales.len() > PURCHASES / 3, "too few purchases got anywhere: {}", sales.len());
    for sale in &sales {
        assert_eq!(market.bot().job(&sale.job.job_id).await.unwrap().status, Status::Delivered);
    }
    assert_eq!(market.paid(), sales.len());
}
