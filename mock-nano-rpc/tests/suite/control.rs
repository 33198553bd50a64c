//! The script's side: what can be made to happen, over HTTP and in Rust.

use std::time::Duration;

use mock_nano_rpc::tree::Tree;
use mock_nano_rpc::{Config, MockNode, Mode};
use nano_currency::{Account, PrivateKey};

use crate::common::{call, post};

fn account(number: u8) -> Account {
    PrivateKey::from_bytes([number; 32]).account()
}

async fn mock() -> MockNode {
    MockNode::start(Config::default()).await.unwrap()
}

async fn control(mock: &MockNode, body: &str) -> Tree {
    post(mock.rpc_address(), "/_control", body).await
}

async fn rpc(mock: &MockNode, body: &str) -> Tree {
    post(mock.rpc_address(), "/", body).await
}

async fn fund(mock: &MockNode, number: u8, amount: &str) -> String {
    let body = format!(r#"{{"action":"fund","account":"{}","amount_raw":"{amount}"}}"#, account(number));
    control(mock, &body).await.text_of("hash").unwrap().to_owned()
}

async fn info(mock: &MockNode, hash: &str) -> Tree {
    rpc(mock, &format!(r#"{{"action":"block_info","hash":"{hash}","json_block":"true"}}"#)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_funded_account_can_be_paid_late_or_not_at_all() {
    let mock = mock().await;
    let hash = fund(&mock, 1, "7").await;
    assert_eq!(info(&mock, &hash).await.text_of("confirmed"), Some("true"));
    control(&mock, r#"{"action":"hold_confirmations"}"#).await;
    let held = fund(&mock, 1, "7").await;
    assert_eq!(info(&mock, &held).await.text_of("confirmed"), Some("false"));
    control(&mock, &format!(r#"{{"action":"confirm","hash":"{held}"}}"#)).await;
    assert_eq!(info(&mock, &held).await.text_of("confirmed"), Some("true"));
    control(&mock, r#"{"action":"hold_confirmations","hold":false}"#).await;
    control(&mock, r#"{"action":"confirmation_delay","delay_ms":120}"#).await;
    let late = fund(&mock, 1, "7").await;
    assert_eq!(info(&mock, &late).await.text_of("confirmed"), Some("false"));
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(info(&mock, &late).await.text_of("confirmed"), Some("true"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_payment_is_not_found() {
    let mock = mock().await;
    let hash = fund(&mock, 1, "7").await;
    let after = fund(&mock, 2, "7").await;
    let gone = control(&mock, &format!(r#"{{"action":"rollback","hash":"{hash}"}}"#)).await;
    assert_eq!(gone.get("rolled_back").unwrap().items().len(), 2);
    for hash in [hash, after] {
        assert_eq!(info(&mock, &hash).await.text_of("error"), Some("Block not found"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_takes_the_place_of_an_unconfirmed_payment() {
    let mock = mock().await;
    control(&mock, r#"{"action":"hold_confirmations"}"#).await;
    let loser = fund(&mock, 1, "7").await;
    let body = format!(r#"{{"action":"fork","hash":"{loser}","account":"{}"}}"#, account(2));
    let winner = control(&mock, &body).await.text_of("hash").unwrap().to_owned();
    assert_eq!(info(&mock, &loser).await.text_of("error"), Some("Block not found"));
    assert_eq!(info(&mock, &winner).await.text_of("amount"), Some("7"));
    control(&mock, &format!(r#"{{"action":"confirm","hash":"{winner}"}}"#)).await;
    let body = format!(r#"{{"action":"fork","hash":"{winner}","account":"{}"}}"#, account(1));
    let refused = control(&mock, &body).await;
    assert!(refused.text_of("error").unwrap().contains("is confirmed"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_are_told_everywhere_until_cleared() {
    let mock = mock().await;
    let hash = fund(&mock, 1, "7").await;
    let body = format!(
        r#"{{"action":"lie","hash":"{hash}","amount_raw":"9","destination":"{}","subtype":"receive","confirmed":false}}"#,
        account(2)
    );
    control(&mock, &body).await;
    let told = info(&mock, &hash).await;
    let contents = told.get("contents").unwrap();
    assert_eq!(told.text_of("amount"), Some("9"));
    assert_eq!(told.text_of("confirmed"), Some("false"));
    assert_eq!(told.text_of("subtype"), Some("receive"));
    assert_eq!(contents.text_of("link_as_account"), Some(account(2).to_string().as_str()));
    let list = format!(r#"{{"action":"receivable","account":"{}"}}"#, account(1));
    assert_eq!(rpc(&mock, &list).await.text_of("blocks"), Some(""));
    control(&mock, r#"{"action":"clear"}"#).await;
    assert_eq!(info(&mock, &hash).await.text_of("amount"), Some("7"));
    control(&mock, &format!(r#"{{"action":"forget","hash":"{hash}"}}"#)).await;
    assert_eq!(info(&mock, &hash).await.text_of("error"), Some("Block not found"));
    assert_eq!(rpc(&mock, &list).await.text_of("blocks"), Some(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsynced_node_misses_payments_and_catches_up() {
    let mock = mock().await;
    control(&mock, r#"{"action":"unsynced"}"#).await;
    let first = fund(&mock, 1, "7").await;
    let second = fund(&mock, 1, "7").await;
    assert_ne!(first, second);
    assert_eq!(info(&mock, &second).await.text_of("error"), Some("Block not found"));
    let quorum = rpc(&mock, r#"{"action":"confirmation_quorum"}"#).await;
    assert_eq!(quorum.text_of("online_stake_total"), Some("0"));
    control(&mock, r#"{"action":"unsynced","unsynced":"false"}"#).await;
    assert_eq!(info(&mock, &second).await.text_of("confirmed"), Some("true"));
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_hit_the_calls_they_are_meant_for() {
    let mock = mock().await;
    let version = r#"{"action":"version"}"#;
    let cases: [(&str, u16, &str); 6] = [
        (r#""kind":"429","retry_after":7"#, 429, "text/html; charset=utf-8"),
        (r#""kind":"500""#, 500, "application/json; charset=utf-8"),
        (r#""kind":"502""#, 502, "text/html"),
        (r#""kind":"not_allowed""#, 500, "application/json; charset=utf-8"),
        (r#""kind":"garbage""#, 200, "application/json"),
        (r#""kind":"empty""#, 200, "application/json"),
    ];
    for (fault, status, content_type) in cases {
        control(&mock, &format!(r#"{{"action":"fault",{fault},"count":1,"for_action":"version"}}"#)).await;
        assert!(rpc(&mock, r#"{"action":"block_count"}"#).await.get("count").is_some());
        let (found, headers, body) = call(mock.rpc_address(), "POST", "/", "", version.as_bytes()).await;
        assert_eq!(found, status, "{fault}");
        let named = |name: &str| headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        assert_eq!(named("content-type").unwrap().1, content_type, "{fault}");
        assert_eq!(named("retry-after").is_some(), status == 429, "{fault}");
        assert!(Tree::parse(body.as_bytes()).is_err() || status == 500, "{fault}");
        assert!(rpc(&mock, version).await.get("rpc_version").is_some(), "once only");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_can_break_off_hang_or_come_late() {
    let mock = mock().await;
    let version = br#"{"action":"version"}"#;
    control(&mock, r#"{"action":"fault","kind":"half","count":"1"}"#).await;
    let (_, headers, body) = call(mock.rpc_address(), "POST", "/", "", version).await;
    let promised: usize =
        headers.iter().find(|(name, _)| name == "Content-Length").unwrap().1.parse().unwrap();
    assert_eq!(body.len(), promised / 2);
    control(&mock, r#"{"action":"fault","kind":"drop","count":"1"}"#).await;
    assert_eq!(crate::common::exchange(mock.rpc_address(), &request(version)).await, b"");
    control(&mock, r#"{"action":"fault","kind":"hang","count":"1"}"#).await;
    let asked = request(version);
    let hanging = crate::common::exchange(mock.rpc_address(), &asked);
    assert!(tokio::time::timeout(Duration::from_millis(200), hanging).await.is_err());
    control(&mock, r#"{"action":"slow","delay_ms":"150","count":"1"}"#).await;
    let began = std::time::Instant::now();
    call(mock.rpc_address(), "POST", "/", "", version).await;
    assert!(began.elapsed() >= Duration::from_millis(150));
}

fn request(body: &[u8]) -> Vec<u8> {
    let mut request = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    request.extend_from_slice(body);
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted() {
    let mock = mock().await;
    for _ in 0..3 {
        rpc(&mock, r#"{"action":"version"}"#).await;
    }
    let stats = control(&mock, r#"{"action":"stats"}"#).await;
    assert_eq!(stats.get("calls").unwrap().text_of("version"), Some("3"));
    assert_eq!(mock.stats().total(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_errors_say_what_is_wrong() {
    let mock = mock().await;
    let cases = [
        ("", "JSON object"),
        ("[]", "JSON object"),
        (r#"{"action":"explode"}"#, "unknown control action \"explode\""),
        (r#"{"action":"fund"}"#, "account is missing"),
        (r#"{"action":"fund","account":"nano_1","amount_raw":"1"}"#, "account cannot be read"),
        (r#"{"action":"confirm","hash":"AB"}"#, "64 hex digits"),
        (r#"{"action":"fault","kind":"flood"}"#, "kind must be one of"),
        (r#"{"action":"mode","mode":"go"}"#, "cpp, rsnano, proxy and v22"),
        (r#"{"action":"unsynced","unsynced":"maybe"}"#, "true or false"),
    ];
    for (body, expected) in cases {
        let answer = control(&mock, body).await;
        let error = answer.text_of("error").unwrap_or_default();
        assert!(error.contains(expected), "{body}: {error}");
    }
    let body = format!(r#"{{"action":"fund","account":"{}","amount_raw":"0"}}"#, account(1));
    assert!(control(&mock, &body).await.text_of("error").unwrap().contains("at least 1 raw"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_limits_clamps_cuts_and_caches() {
    let mock = mock().await;
    mock.dust(&account(1), nano_currency::Amount::from_raw(1), 4).unwrap();
    mock.mode(Mode::Proxy);
    control(
        &mock,
        r#"{"action":"proxy","count_max":"3","accounts_max":"1","cache_ms":"60000","requests_max":"5"}"#,
    )
    .await;
    let body = format!(
        r#"{{"action":"accounts_receivable","accounts":["{}","{}"],"count":"100"}}"#,
        account(1),
        account(2)
    );
    let answer = rpc_keep(&mock, &body).await;
    let blocks = answer.get("blocks").unwrap();
    assert_eq!(blocks.get(&account(1).to_string()).unwrap().items().len(), 3);
    assert_eq!(answer.text_of("requestsLimit"), Some("5"));
    let count = rpc_keep(&mock, r#"{"action":"block_count"}"#).await;
    mock.fund(&account(1), nano_currency::Amount::from_raw(1)).unwrap();
    let again = rpc_keep(&mock, r#"{"action":"block_count"}"#).await;
    assert_eq!(count.text_of("count"), again.text_of("count"), "a cached answer is an old one");
    let refused = rpc_keep(&mock, r#"{"action":"wallet_create"}"#).await;
    assert_eq!(refused.text_of("error"), Some("Action wallet_create not allowed"));
    rpc_keep(&mock, r#"{"action":"version"}"#).await;
    let (status, headers, body) =
        call(mock.rpc_address(), "POST", "/", "Connection: close\r\n", br#"{"action":"version"}"#).await;
    assert_eq!(status, 429);
    assert!(body.starts_with("Max allowed requests of 5 reached. Time left: "), "{body}");
    assert!(headers.iter().any(|(name, value)| name == "x-ratelimit-remaining" && value == "0"));
}

async fn rpc_keep(mock: &MockNode, body: &str) -> Tree {
    let (_, _, body) = call(mock.rpc_address(), "POST", "/", "Connection: close\r\n", body.as_bytes()).await;
    Tree::parse(body.as_bytes()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_node_names_empty_accounts() {
    let mock = mock().await;
    mock.mode(Mode::V22);
    let body = format!(r#"{{"action":"accounts_receivable","accounts":["{}"]}}"#, account(1));
    let answer = rpc(&mock, &body).await;
    assert_eq!(answer.get("blocks").unwrap().text_of(&account(1).to_string()), Some(""));
}
