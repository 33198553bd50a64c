//! Trades over /v0 with both roles ours, beside /v1, and as the deployed relays limit them.

use std::fs;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use nano_worker::client::v0::{Key, Rates};
use nano_worker::nano::{Account, Amount, Seed};
use nano_worker::protocol::v0::Status;
use nano_worker::protocol::v0::apply::ReissueRequest;
use serde_json::{Value, json};

use crate::bazaar::{Bazaar, bot_at};
use crate::process::secret;
use crate::world::{OfferText, PRICE, World, text};

impl Bazaar {
    /// Somebody else's bot with some money, as a person would use ours.
    async fn buyer(&self, number: u8, arguments: &[&str]) -> Output {
        let home = self.world.path(&format!("home-{number}"));
        fs::create_dir_all(&home).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_buyer"));
        command
            .args(arguments)
            .args(["--json", "--dialect", "v0"])
            .env("RELAY_URL", format!("http://{}", self.world.relay_address))
            .env("NANO_RPC_URL", self.world.node.rpc_url())
            .env("NANO_NETWORK", "dev")
            .env("NANO_SEED", hex::encode([number; 32]))
            .env("BUYER_PRIVKEY", hex::encode([number; 32]))
            .env("BUYER_SEALING_PRIVKEY", hex::encode([number + 100; 32]))
            .env("HOME", &home)
            .current_dir(&home);
        tokio::process::Command::from(command).kill_on_drop(true).output().await.unwrap()
    }

    async fn bought(&self, number: u8, payload: &str) -> Value {
        let offer = self.offer().await.offer_id.to_string();
        let ended = self.buyer(number, &["buy", &offer, "--payload", payload, "--max-price-xno", "1"]).await;
        assert!(ended.status.success(), "{ended:?}\n{}", self.world.logs());
        serde_json::from_slice(&ended.stdout).unwrap()
    }
}

fn payer(number: u8) -> Account {
    Seed::Hex([number; 32]).account(0).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_roles_are_ours_and_both_dialects_trade_at_once() {
    let bazaar = Bazaar::new().await;
    let world = &bazaar.world;
    let _bot = bazaar.start("");
    // Another seller, who speaks /v1, on the same relay.
    let config = world.configure("one", &OfferText::default());
    secret(&world.path("other-seed"), &hex::encode([4; 32]));
    let written = fs::read_to_string(&config).unwrap();
    fs::write(&config, written.replace("file:seed\"", "file:other-seed\"")).unwrap();
    let _worker = world.run_worker("one", &config);
    world.node.fund(&payer(30), Amount::from_raw(PRICE.raw() * 2)).unwrap();

    let payload = json!({ "text": "over v1" });
    let (sold, delivered) =
        tokio::join!(bazaar.bought(30, "\"over v0\""), async { world.buy(&payload).await });
    assert_eq!((&sold["result"], &sold["job"]["status"]), (&json!("over v0"), &json!("DELIVERED")));
    assert_eq!(delivered.result_payload["text"], text("over v1")["text"], "{delivered:?}");
    assert_eq!(world.runs().into_values().collect::<Vec<_>>(), [1, 1]);
    let left = world.node.with(|node, _| node.ledger.balance(&payer(30)));
    let waits: Amount =
        world.node.with(|node, _| node.ledger.receivables(&payer(30)).map(|(_, entry)| entry.amount).sum());
    assert_eq!(left.checked_add(waits), Some(PRICE), "it was paid for once");
    // Each dialect shows its own offers only.
    assert_eq!(bazaar.buyer.offers(&Default::default()).await.unwrap().offers.len(), 1);
    assert_eq!(world.buyer.offers(&Default::default()).await.unwrap().offers.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_result_goes_from_our_seller_to_our_buyer_in_parts() {
    let bazaar = Bazaar::new().await;
    bazaar.world.handler("head -c 150000 /dev/zero | tr '\\0' x");
    let _worker = bazaar.start("");
    bazaar.world.node.fund(&payer(30), Amount::from_raw(PRICE.raw() * 2)).unwrap();
    let sold = bazaar.bought(30, "1").await;
    assert_eq!(sold["result"].as_str().map(str::len), Some(150_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_result_can_be_a_link() {
    let bazaar = Bazaar::new().await;
    bazaar.world.handler("head -c 150000 /dev/zero | tr '\\0' x");
    fs::create_dir(bazaar.world.path("served")).unwrap();
    let _worker = bazaar.start("[results]\ndir = \"served\"\nurl = \"https://example.org/r/\"");
    let job = bazaar.charged(&bazaar.ask("job_1", "").await).await;
    bazaar.pay(&job, PRICE);
    let told: Value = serde_json::from_str(&bazaar.delivered(&job).await).unwrap();
    let name = told["url"].as_str().unwrap().strip_prefix("https://example.org/r/").unwrap();
    let file = fs::read_to_string(bazaar.world.path("served").join(name)).unwrap();
    assert_eq!((file.len(), &told["bytes"]), (150_000, &json!(150_000)));
    use sha2::Digest as _;
    assert_eq!(told["sha256"], hex::encode(sha2::Sha256::digest(&file)));
    // Where it cannot be written it is split instead.
    fs::remove_dir_all(bazaar.world.path("served")).unwrap();
    let job = bazaar.charged(&bazaar.ask("job_2", "").await).await;
    bazaar.pay(&job, PRICE);
    bazaar.reaches(&job, Status::Delivered).await;
    assert_eq!(bazaar.letters(&job).await.len(), 4);
}

/// A web server of the seller's: what it answers is the file, or what stands in its place.
async fn serve(dir: std::path::PathBuf, instead: Arc<Mutex<Option<Vec<u8>>>>) -> std::net::SocketAddr {
    let file = axum::routing::get(async move |axum::extract::Path(name): axum::extract::Path<String>| {
        let instead = instead.lock().unwrap().clone();
        instead.unwrap_or_else(|| fs::read(dir.join(name)).unwrap_or_default())
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().route("/r/{name}", file);
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_a_link_is_fetched_by_our_buyer() {
    let bazaar = Bazaar::new().await;
    bazaar.world.handler("head -c 150000 /dev/zero | tr '\\0' x");
    let served = bazaar.world.path("served");
    fs::create_dir(&served).unwrap();
    let instead = Arc::new(Mutex::new(None));
    let address = serve(served, Arc::clone(&instead)).await;
    let _worker = bazaar.start(&format!("[results]\ndir = \"served\"\nurl = \"http://{address}/r/\""));
    bazaar.world.node.fund(&payer(30), Amount::from_raw(PRICE.raw() * 2)).unwrap();
    let sold = bazaar.bought(30, "1").await;
    let link: Value = serde_json::from_str(sold["result"].as_str().unwrap()).unwrap();
    assert_eq!(link["bytes"], 150_000);
    let job = sold["job"]["job_id"].as_str().unwrap();
    let home = bazaar.world.path("home-30");
    let fetch = async |more: &[&str]| {
        let ended = bazaar.buyer(30, &[&["fetch", job, "--out", "result"], more].concat()).await;
        let said: Value = serde_json::from_slice(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
        (ended.status.code(), said["error"]["code"].clone(), said)
    };

    // What is not the seller's file is nothing, whoever serves it.
    let whole = vec![b'x'; 150_000];
    let other = [&whole[1..], b"y"].concat();
    for (answer, code) in [
        (other, "link.hash"),
        ([&whole[..], b"x"].concat(), "link.length"),
        (whole[1..].to_vec(), "link.length"),
    ] {
        *instead.lock().unwrap() = Some(answer);
        let (exit, said, whole) = fetch(&[]).await;
        assert_eq!((exit, said), (Some(3), json!(code)), "{whole}");
        assert!(!home.join("result").exists());
    }
    *instead.lock().unwrap() = None;
    let (exit, said, whole) = fetch(&["--max-mib", "0"]).await;
    assert_eq!((exit, said), (Some(2), json!("link.too_large")), "{whole}");

    let (exit, _, said) = fetch(&[]).await;
    assert_eq!((exit, &said["link"]), (Some(0), &link), "{said}");
    assert_eq!(fs::read(home.join("result")).unwrap(), vec![b'x'; 150_000]);
    // Neither is anything overwritten, nor left half done.
    let (exit, said, whole) = fetch(&[]).await;
    assert_eq!((exit, said), (Some(2), json!("file.exists")), "{whole}");
    let unfinished = |name: &str| name.starts_with(".result");
    let names = fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| unfinished(name)).count(), 0);
}

/// What the relay has answered with this status.
async fn answers(world: &World, status: u16) -> Vec<String> {
    let url = format!("http://{}/metrics", world.relay_address);
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    let wanted = format!("status=\"{status}\"");
    let counts =
        text.lines().filter(|line| line.starts_with("relay_requests_total") && line.contains(&wanted));
    counts.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_of_the_deployed_relays_are_never_met() {
    let mut world = World::new().await;
    world.kill_relay();
    world.start_relay_with(&[]);
    let bazaar = Bazaar::over(world).await;
    let config = bazaar.configure("[quote]\nttl_seconds = 20", "");
    let written = fs::read_to_string(&config).unwrap();
    fs::write(&config, written.replace("pace = \"unlimited\"\n", "")).unwrap();
    let mut worker = bazaar.world.run_worker("bot", &config);
    // Those who test it keep to the limits as well.
    let paced = bot_at(&bazaar.world, 2, Rates::DEPLOYED);
    let bazaar = Bazaar { buyer: paced, ..bazaar };
    // More at once than the burst, twice: each job is three writes of the seller's.
    let sell = async |name: String| {
        let job = bazaar.charged(&bazaar.ask(&name, "words").await).await;
        bazaar.pay(&job, PRICE);
        bazaar.delivered(&job).await
    };
    for round in 0..2 {
        let names = (0..6).map(|number| format!("job_{round}_{number}"));
        let delivered = join_all(names.map(&sell)).await;
        assert_eq!(delivered, ["words"; 6]);
        if round == 0 {
            // The next life does not know what the last one has used up.
            worker.kill();
            worker = bazaar.world.run_worker("bot", &config);
        }
    }
    // And one that has to be charged for again.
    let late = bazaar.charged(&bazaar.ask("job_late", "late").await).await;
    bazaar.reaches(&late, Status::Expired).await;
    bazaar.buyer.request_reissue(&late.job_id, &ReissueRequest::default(), &Key::new("again")).await.unwrap();
    let again = bazaar.charged(&late).await;
    bazaar.pay(&again, PRICE);
    assert_eq!(bazaar.delivered(&again).await, "late");
    let refused = answers(&bazaar.world, 429).await;
    assert!(refused.is_empty(), "{refused:?}");
    assert!(!answers(&bazaar.world, 200).await.is_empty(), "nothing was measured");
}
