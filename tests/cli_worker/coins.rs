//! The wallet's verbs that move coins, and what they refuse.

use std::time::Duration;

use mock_nano_rpc::{Config, MockNode};
use nano_worker::client::RelayClient;
use nano_worker::edge::{Clock, Entropy};
use nano_worker::nano::{Account, Amount};
use nano_worker::protocol::Status;
use nano_worker::protocol::signing::Signer;
use serde_json::json;

use super::bench::Bench;
use super::by_hand::relay;

#[test]
fn wrong_use_is_refused_before_anything_is_opened() {
    let bench = Bench::new();
    bench.set_up("http://127.0.0.1:1", "http://127.0.0.1:1");
    for line in [
        &["wallet", "sweep", "--to", "nano_1"][..],
        &["wallet", "export"],
        &["wallet", "qr", "x"],
        &["wallet", "rescan", "--gap", "5"],
        &["refund", "x"],
    ] {
        assert_eq!(bench.worker(line).code, 2, "{line:?}");
    }
    for line in
        [&["wallet", "sweep"][..], &["wallet", "receive"], &["wallet", "balance"], &["wallet", "history"]]
    {
        let ended = bench.worker(line);
        assert!(ended.code == 5 && ended.err.contains("holds no worker's state"), "{ended:?}");
    }
    let shown = bench.worker(&["wallet", "qr", "7"]);
    let account = bench.worker(&["wallet", "address", "7"]).out;
    assert!(shown.code == 0 && shown.out.ends_with(&format!("nano:{account}")), "{shown:?}");
    bench.edit("worker.toml", "[polling]", "[wallet]\nsweep_to = \"nano_1\"\n[polling]");
    let ended = bench.worker(&["config", "check"]);
    assert!(ended.code == 3 && ended.err.contains("wallet.sweep_to: "), "{ended:?}");
}

/// A new machine with an old seed: the chain says which addresses were used, as far as it is looked.
#[tokio::test(flavor = "multi_thread")]
async fn a_rescan_finds_what_the_seed_has_used_within_the_gap() {
    let bench = Bench::new();
    let node = MockNode::start(Config::default()).await.unwrap();
    let (_relay, url) = relay(&bench);
    bench.set_up(&url, &node.rpc_url());
    for index in ["3", "90", "250"] {
        let account = bench.worker(&["wallet", "address", index]).out;
        node.fund(&account.trim().parse::<Account>().unwrap(), Amount::from_raw(7)).unwrap();
    }
    for (gap, used, last) in [("100", 2, 90_u64), ("200", 3, 250), ("100", 2, 250)] {
        let found = bench.worker(&["wallet", "rescan", "--gap", gap, "--json"]).json();
        assert_eq!(found["used"], used, "{found}");
        assert!(found["next_index"].as_u64().unwrap() > last, "what is known is not forgotten: {found}");
        assert!(found["next_index"].as_u64().unwrap() <= last + 101, "{found}");
    }
    let list = bench.worker(&["wallet", "list", "--json"]).json();
    let indices: Vec<u64> =
        list["invoices"].as_array().unwrap().iter().map(|entry| entry["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, [3, 90, 250], "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_earned_is_brought_home_and_is_in_the_books() {
    let bench = Bench::new();
    let node = MockNode::start(Config::default()).await.unwrap();
    let (_relay, url) = relay(&bench);
    bench.set_up(&url, &node.rpc_url());
    let daemon = bench.daemon();
    let key = Signer::from_seed(&[2; 32]);
    let buyer = RelayClient::new(&url, key, Clock::system(), Entropy::system()).unwrap();
    let mut offers = Vec::new();
    while offers.is_empty() {
        tokio::time::sleep(Duration::from_millis(300)).await;
        offers = buyer.offers(&Default::default()).await.unwrap().offers;
    }
    let job = buyer.create_job(&offers[0].offer_id, &json!("three little words")).await.unwrap().job_id;
    let reach = async |status: Status| loop {
        let found = buyer.job(&job).await.unwrap();
        if found.status == status {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    reach(Status::Quoted).await;
    let quoted = buyer.accept(&job).await.unwrap();
    let invoice: Account = quoted.quote_invoice_address.unwrap().parse().unwrap();
    let amount = Amount::parse_raw(&quoted.quote_amount_raw.unwrap()).unwrap();
    // Half of it: the job stays open, and its coins stay where they are.
    let half = Amount::from_raw(amount.raw() / 2);
    node.fund(&invoice, half).unwrap();
    let home = Account::from_bytes([0x77; 32]);
    let sweep = ["wallet", "sweep", "--json", "--to", &home.to_string()];
    let swept = bench.worker(&sweep).json();
    assert_eq!(
        (&swept["blocks"], &swept["left"][0]["why"]),
        (&json!([]), &json!("its job is open")),
        "{swept}"
    );
    let ended = bench.worker(&["refund", &job.to_string()]);
    assert!(ended.code == 8 && ended.err.contains("is open"), "{ended:?}");
    node.fund(&invoice, amount.checked_sub(half).unwrap()).unwrap();
    reach(Status::Delivered).await;
    bench.eventually("the end of the job", || {
        bench.worker(&["wallet", "balance", "--json"]).out.contains("\"ours\"")
    });

    let ended = bench.worker(&["wallet", "sweep", "--to", &invoice.to_string()]);
    assert!(ended.code == 3 && ended.err.contains("is an invoice account of this very seed"), "{ended:?}");
    assert_eq!(bench.worker(&["wallet", "sweep"]).code, 3, "it is not said where to");
    let swept = bench.worker(&sweep).json();
    assert_eq!(
        (&swept["swept_raw"], swept["blocks"].as_array().unwrap().len()),
        (&json!(amount), 3),
        "{swept}"
    );
    drop(daemon);
    bench.eventually("an end of the daemon", || bench.worker(&["wallet", "history"]).code == 0);
    let again = bench.worker(&sweep).json();
    assert_eq!(again["blocks"], json!([]), "without a daemon it goes on where the daemon was");
    let table = bench.worker(&["wallet", "export", "--csv"]).out;
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 4, "{table}");
    assert!(rows[0].starts_with("at,does,job_id,buyer,amount_raw"), "{table}");
    let last = rows[3];
    assert!(last.contains(&job.to_string()) && last.contains(&amount.to_string()), "{last}");
    assert!(last.contains(",sweep,") && last.ends_with(&home.to_string()), "{last}");
    let ended = bench.worker(&["refund", &job.to_string()]);
    assert!(ended.code == 8 && ended.err.contains("was delivered"), "{ended:?}");
}
