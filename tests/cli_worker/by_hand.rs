//! A sale by a seller who runs no daemon: `poll` hears, `recover` acts and explains.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use mock_nano_rpc::{Config, MockNode};
use nano_worker::client::RelayClient;
use nano_worker::edge::{Clock, Entropy};
use nano_worker::nano::Amount;
use nano_worker::protocol::signing::Signer;
use nano_worker::protocol::{JobId, Status};
use serde_json::{Value, json};

use super::bench::{Bench, Daemon};

/// A relay in the bench's directory, and its address.
pub(crate) fn relay(bench: &Bench) -> (Daemon, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_relay"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(bench.path("relay"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("relay listening on ").unwrap().to_owned();
    (Daemon(child), url)
}

/// The only job of an answer.
fn only(answer: &Value) -> &Value {
    let jobs = answer["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 1, "{answer}");
    &jobs[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn poll_hears_and_recover_acts() {
    let bench = Bench::new();
    let node = MockNode::start(Config::default()).await.unwrap();
    let (relay, url) = relay(&bench);
    bench.set_up(&url, &node.rpc_url());
    assert_eq!(bench.worker(&["check"]).code, 0, "{:?}", bench.worker(&["check"]));

    assert_eq!(bench.worker(&["poll"]).out, "nothing is new\n");
    let key = Signer::from_seed(&[2; 32]);
    let buyer = RelayClient::new(&url, key, Clock::system(), Entropy::system()).unwrap();
    let offer = buyer.offers(&Default::default()).await.unwrap().offers.remove(0);
    let job = buyer.create_job(&offer.offer_id, &json!("three little words")).await.unwrap().job_id;

    let news = bench.worker(&["poll", "--json"]).json();
    assert_eq!(news["news"][0]["job_id"], job.to_string(), "{news}");
    assert_eq!(news["news"][0]["stage"], "quoting");
    assert_eq!(buyer.job(&job).await.unwrap().status, Status::Requested, "a poll acts on nothing");
    assert_eq!(bench.worker(&["poll"]).out, "nothing is new\n", "news were not durable");

    let dry = bench.worker(&["recover", "--dry-run", "--json"]).json();
    assert_eq!(only(&dry)["stage"], "quoting");
    assert!(only(&dry)["does"][0].as_str().unwrap().starts_with("send the quote with nano_"), "{dry}");
    assert_eq!(buyer.job(&job).await.unwrap().status, Status::Requested, "a dry run acts on nothing");
    let real = bench.worker(&["recover", "--json"]);
    assert_eq!((real.code, &only(&real.json())["now"]), (0, &json!("quoted")), "{real:?}");

    let quoted = buyer.accept(&job).await.unwrap();
    let invoice = quoted.quote_invoice_address.unwrap().parse().unwrap();
    let amount = Amount::parse_raw(&quoted.quote_amount_raw.unwrap()).unwrap();
    let hash = node.fund(&invoice, amount).unwrap();
    buyer.payment(&job, &hash.to_string()).await.unwrap();
    let real = bench.worker(&["recover", "--json"]);
    assert_eq!((real.code, &only(&real.json())["now"]), (0, &json!("ended (delivered)")), "{real:?}");
    let done = buyer.job(&job).await.unwrap();
    assert_eq!((done.status, done.result_payload), (Status::Delivered, json!(3)));

    assert_eq!(bench.worker(&["recover"]).out, "there is nothing to recover\n");
    let shown = bench.worker(&["jobs", "show", &job.to_string()]).out;
    assert!(shown.contains("handler succeeded") && shown.contains(&hash.to_string()), "{shown}");
    let used = bench.worker(&["wallet", "list", "--json"]).json();
    assert_eq!(used["invoices"][0]["account"], invoice.to_string());
    let list = bench.worker(&["jobs", "list", "--open", "--json"]).json();
    assert_eq!(list["jobs"], json!([]));

    let another = buyer.create_job(&offer.offer_id, &json!("more words")).await.unwrap().job_id;
    // What became of the first job is news too, and ids have no order in time.
    let news = bench.worker(&["poll", "--json"]).json();
    let told =
        |job: &JobId| news["news"].as_array().unwrap().iter().any(|news| news["job_id"] == job.to_string());
    assert!(told(&another), "{news}");
    drop(relay);
    assert_eq!(bench.worker(&["poll"]).code, 6);
    let stuck = bench.worker(&["recover", "--patience", "1", "--json"]);
    assert_eq!((stuck.code, &only(&stuck.json())["settled"]), (6, &json!(false)), "{stuck:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_may_have_run_needs_a_person() {
    let bench = Bench::new();
    let node = MockNode::start(Config::default()).await.unwrap();
    let (_relay, url) = relay(&bench);
    bench.set_up(&url, &node.rpc_url());
    bench.edit("worker.toml", "[\"wc\", \"-w\"]", "[\"sleep\", \"60\"]");
    let mut daemon = bench.daemon();
    let key = Signer::from_seed(&[2; 32]);
    let buyer = RelayClient::new(&url, key, Clock::system(), Entropy::system()).unwrap();
    bench.eventually("an offer", || {
        bench.worker(&["status"]).out.contains("offer        Word count  ")
            && !bench.worker(&["status"]).out.contains("not registered")
    });
    let offer = buyer.offers(&Default::default()).await.unwrap().offers.remove(0);
    let job = buyer.create_job(&offer.offer_id, &json!("x")).await.unwrap().job_id;
    let stage = |wanted: &str| bench.worker(&["jobs", "list", "--json"]).json()["jobs"][0]["stage"] == wanted;
    bench.eventually("a quote", || stage("quoted"));
    let quoted = buyer.accept(&job).await.unwrap();
    let invoice = quoted.quote_invoice_address.unwrap().parse().unwrap();
    let hash = node.fund(&invoice, Amount::parse_raw(&quoted.quote_amount_raw.unwrap()).unwrap()).unwrap();
    buyer.payment(&job, &hash.to_string()).await.unwrap();
    bench.eventually("a handler that runs", || stage("running"));
    daemon.signal(rustix::process::Signal::KILL);
    daemon.wait();

    for verb in [&["recover", "--dry-run", "--json"][..], &["recover", "--json"]] {
        let ended = bench.worker(verb);
        let answer = ended.json();
        assert_eq!(ended.code, 8, "{ended:?}");
        assert_eq!(only(&answer)["stage"], "running");
        assert!(only(&answer)["why"].as_str().unwrap().contains("must not run twice"), "{answer}");
        assert!(only(&answer)["person"].as_str().unwrap().contains("refund"), "{answer}");
    }
    let failed = buyer.job(&job).await.unwrap();
    assert_eq!((failed.status, &failed.error["code"]), (Status::Failed, &json!("worker_interrupted")));
}
