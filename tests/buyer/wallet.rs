//! The account apart from its purchases: it takes in, it is emptied, and it dies at any point.

use nano_worker::nano::{Account, Amount};
use serde_json::{Value, json};

use super::command::{BUY, json as run_json, program, run};
use super::scene::{Scene, payer};

const HOME: &str = "nano_1111111111111111111111111111111111111111111111111111hifc8npp";

/// 4,000 raw.
const PART: &str = "0.000000000000000000000000004";

fn home() -> Account {
    HOME.parse().unwrap()
}

#[tokio::test]
async fn what_was_sent_is_taken_in_and_the_account_is_emptied() {
    let scene = Scene::set(6_000).await;
    scene.mock.fund(&payer(), Amount::from_raw(4_000)).unwrap();
    let (code, told) = run_json(&scene, &["wallet", "receive"]).await;
    assert_eq!((code, told["received"].as_array().unwrap().len()), (0, 2), "{told}");
    assert_eq!(run(&scene, &["wallet", "receive"]).await.1, "nothing waits\n");
    let (_, balance) = run_json(&scene, &["wallet", "balance"]).await;
    assert_eq!((&balance["balance_raw"], &balance["receivable_raw"]), (&json!("10000"), &json!("0")));
    assert_eq!(run(&scene, &BUY).await.0, 0);
    scene.mock.fund(&payer(), Amount::from_raw(500)).unwrap();
    let (code, told) = run_json(&scene, &["wallet", "sweep", "--to", HOME]).await;
    assert_eq!((code, &told["sent"][0]["amount_raw"]), (0, &json!("9500")), "{told}");
    assert_eq!(scene.sent_to(&home()), [Amount::from_raw(9_500)]);
    assert_eq!(run(&scene, &["wallet", "sweep", "--to", HOME]).await.1, "the account is empty\n");
    let (_, history) = run_json(&scene, &["wallet", "history"]).await;
    let does: Vec<&Value> = history["blocks"].as_array().unwrap().iter().map(|row| &row["does"]).collect();
    assert_eq!(does, ["receive", "receive", "payment", "receive", "withdrawal"], "{history}");
    let (_, table, _) = run(&scene, &["wallet", "export", "--csv"]).await;
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows.len() == 6 && rows[0].starts_with("at,does,job_id,seller,amount_raw"), "{table}");
    assert!(rows[3].contains(",payment,") && rows[3].contains(",1000,"), "{table}");
    assert!(rows[5].contains(",9500,") && rows[5].ends_with(HOME), "{table}");
    let (code, shown, _) = run(&scene, &["wallet", "qr"]).await;
    assert!(code == 0 && shown.trim_end().ends_with(&format!("nano:{}", payer())), "{shown}");
    assert_eq!(run(&scene, &["wallet", "address"]).await.1.trim(), payer().to_string());
}

#[tokio::test]
async fn a_part_is_sent_and_no_more_than_there_is() {
    let scene = Scene::set(10_000).await;
    let (code, told) = run_json(&scene, &["wallet", "send", HOME, "--xno", PART]).await;
    assert_eq!((code, &told["sent"][0]["amount_raw"]), (0, &json!("4000")), "{told}");
    // Told of, so the same again is another one.
    assert_eq!(run_json(&scene, &["wallet", "send", HOME, "--xno", PART]).await.0, 0);
    let (code, told) = run_json(&scene, &["wallet", "send", HOME, "--xno", PART]).await;
    assert_eq!((code, &told["error"]["code"]), (7, &json!("underfunded")));
    assert_eq!(scene.sent_to(&home()).len(), 2);
    assert_eq!(run_json(&scene, &["wallet", "send", HOME, "--xno", "0"]).await.0, 2);
}

#[tokio::test]
async fn whoever_dies_while_sending_sends_once() {
    for (point, passes) in [
        ("buyer/journal/keep", 1),
        ("buyer/journal/kept", 1),
        ("buyer/send/block", 1),
        ("buyer/answer/block", 1),
        ("buyer/journal/keep", 0),
        ("buyer/journal/kept", 0),
        ("buyer/answer/block", 0),
    ] {
        for again in [["wallet", "send", HOME, "--xno", PART], ["wallet", "sweep", "--to", HOME, "--json"]] {
            let scene = Scene::set(10_000).await;
            let mut dying = program(&scene, &["wallet", "send", HOME, "--xno", PART]);
            dying.env(
                "FAILPOINTS",
                match passes {
                    0 => format!("{point}=return"),
                    passes => format!("{point}={passes}*off->return"),
                },
            );
            let died = dying.output().await.unwrap();
            assert_eq!(died.status.code(), None, "it did not die at {point}: {died:?}");
            let (code, _, said) = run(&scene, &again).await;
            assert_eq!(code, 0, "{point}: {said}");
            let sent: u128 = scene.sent_to(&home()).iter().map(|amount| amount.raw()).sum();
            let wanted = if again[1] == "send" { 4_000 } else { 10_000 };
            assert_eq!(sent, wanted, "{point} after {passes}, then {again:?}");
            let left = scene.mock.with(|node, _| node.ledger.balance(&payer()));
            assert_eq!(left, Amount::from_raw(10_000 - wanted));
        }
    }
}

#[tokio::test]
async fn a_journal_is_not_another_seeds() {
    let scene = Scene::set(10_000).await;
    assert_eq!(run(&scene, &["wallet", "receive"]).await.0, 0);
    let mut other = program(&scene, &["wallet", "receive", "--json"]);
    let ended = other.env("NANO_SEED", "04".repeat(32)).output().await.unwrap();
    let told: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!((ended.status.code(), &told["error"]["code"]), (Some(2), &json!("journal.other_seed")));
    let (code, told) = run_json(&scene, &["wallet", "receive", "--network", "live"]).await;
    assert_eq!((code, &told["error"]["code"]), (2, &json!("journal.other_network")));
}

#[tokio::test]
async fn nothing_is_signed_on_another_network() {
    let scene = Scene::set(10_000).await;
    let (code, told) = run_json(&scene, &["wallet", "receive", "--network", "live"]).await;
    assert_eq!((code, &told["error"]["code"]), (2, &json!("node.other_network")), "{told}");
    let buy = [&BUY[..], &["--network", "live"]].concat();
    let (code, told) = run_json(&scene, &buy).await;
    assert_eq!((code, &told["error"]["code"]), (2, &json!("node.other_network")), "{told}");
    assert_eq!(scene.paid_jobs(), 0);
}
