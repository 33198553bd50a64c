//! Answers that no node should give, and nodes that give none: each is named, bounded, survived.

use std::time::Duration;

use nano_currency::block::StateFields;
use nano_currency::rpc::{Failure, Lookup, Processed, Rpc, RpcConfig, RpcSetupError, Subtype};
use nano_currency::work::{Difficulty, Work};
use nano_currency::{Account, Amount, BlockHash, Network, PrivateKey};
use serde_json::{Value, json};

use crate::edge::{described, payer, send};
use crate::support::{Hand, Reply, Server, client, http, ok};

pub(crate) const HTML: &str = "<html>\n<head><title>502 Bad Gateway</title></head></html>";
pub(crate) const JSON: &str = "Content-Type: application/json\r\n";

pub(crate) fn version() -> Value {
    json!({ "network": "dev", "node_vendor": "Nano V28.0" })
}

/// Asks for the version and expects no answer but this failure.
async fn check(reply: Reply, wanted: &str) {
    let server = Server::saying(reply).await;
    let error = server.client().version().await.expect_err(wanted);
    assert!(error.failure.to_string().starts_with(wanted), "{error}, but wanted: {wanted}");
    assert_eq!(error.node, server.url);
}

#[tokio::test]
async fn what_is_no_answer_is_named() {
    let not_json = "answers with something that is not JSON: ";
    check(http(200, "Content-Type: text/html\r\n", HTML), &format!("{not_json}<html> <head>")).await;
    check(http(200, JSON, ""), &format!("{not_json}(nothing)")).await;
    check(http(200, JSON, "{\"network\": \"dev\", \"node_v"), &format!("{not_json}{{\"network\"")).await;
    check(http(200, JSON, "\u{1}\u{2}"), not_json).await;
    check(http(200, JSON, &"[".repeat(100_000)), &format!("{not_json}[[[")).await;
    for other in ["[]", "null", "5", "\"dev\"", "{}", "{\"network\":{}}", "{\"network\":null}"] {
        check(http(200, JSON, other), "answers without a usable network").await;
    }
}

#[tokio::test]
async fn statuses_of_proxies_and_ports_are_failures() {
    for status in [301, 302, 400, 401, 403, 404, 405, 422, 500, 502, 503, 504, 520] {
        check(
            http(status, "Content-Type: text/html\r\n", HTML),
            &format!("answers with status {status}: <html>"),
        )
        .await;
    }
    let trouble = "{\"error\":\"Node trouble\"}";
    check(http(500, JSON, trouble), &format!("answers with status 500: {trouble}")).await;
    let refused = "{\"error\":\"Action work_generate not allowed\"}";
    check(http(500, JSON, refused), &format!("says: {refused}")).await;
    check(http(204, "", ""), "answers with status 204: (nothing)").await;
}

#[tokio::test]
async fn an_error_with_status_200_is_a_failure() {
    check(ok(&json!({ "error": "RPC control is disabled" })), "says: RPC control is disabled").await;
    check(ok(&json!({ "error": { "code": 7 }, "network": "dev" })), "says: {\"code\":7}").await;
    check(ok(&json!({ "error": "x\u{1b}[31m\n".repeat(1_000) })), "says: x [31m x [31m").await;
}

#[tokio::test]
async fn a_broken_connection_is_a_failure() {
    check(Reply::Bytes(Vec::new()), "cannot be reached").await;
    check(Reply::Bytes(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()), "cannot be reached").await;
    check(Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()), "cannot be reached").await;
    check(
        Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"netw".to_vec()),
        "cannot be reached",
    )
    .await;
}

#[tokio::test]
async fn nobody_there_is_a_failure() {
    let url = Server::saying(ok(&version())).await.url;
    let error = client([url.as_str()]).version().await.expect_err("the server is gone");
    assert!(matches!(error.failure, Failure::Transport(_)), "{error}");
    assert!(std::error::Error::source(&error).is_some(), "the cause is kept");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::saying(ok(&version())).await;
    check(http(307, &format!("Location: {}/\r\n", elsewhere.url), ""), "answers with status 307").await;
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_rate_limit_says_how_long() {
    let cases = [
        ("", None),
        ("Retry-After: 7\r\n", Some(7)),
        ("retry-after:  120 \r\n", Some(120)),
        ("Retry-After: Sat, 21 Nov 2026 07:28:00 GMT\r\n", None),
        ("Retry-After: -1\r\n", None),
        ("X-RateLimit-Limit: 10\r\nX-RateLimit-Reset: Sat Nov 21 2026\r\n", None),
    ];
    for (headers, seconds) in cases {
        let server = Server::saying(http(429, headers, "You are making requests too fast")).await;
        let error = server.client().version().await.expect_err(headers);
        assert!(matches!(error.failure, Failure::RateLimited { .. }), "{error}");
        assert_eq!(error.failure.wait(), seconds.map(Duration::from_secs), "{headers}");
    }
}

/// A client that gives up after 150 ms and one MiB.
fn impatient(server: &Server) -> Rpc {
    let config = Hand::default().config([server.url.as_str()]);
    let timeout = Duration::from_millis(150);
    Rpc::new(&RpcConfig { timeout, connect_timeout: timeout, response_bytes_max: 1 << 20, ..config }).unwrap()
}

#[tokio::test]
async fn a_slow_answer_is_given_up() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n".to_vec();
    let slow = [
        Reply::Stall(Vec::new()),
        Reply::Stall(head.clone()),
        Reply::Stall([head.as_slice(), b"{\"network\":"].concat()),
        Reply::Drip([head.as_slice(), &[b' '; 99]].concat()),
    ];
    for reply in slow {
        let server = Server::saying(reply.clone()).await;
        let rpc = impatient(&server);
        let answer = tokio::time::timeout(Duration::from_secs(2), rpc.version()).await;
        let error = answer.expect("it ends by itself").expect_err("too slow");
        assert!(matches!(error.failure, Failure::Timeout(_)), "{reply:?}: {error}");
    }
}

#[tokio::test]
async fn a_large_answer_is_given_up() {
    let large = [
        Reply::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        Reply::Endless(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec()),
        Reply::Stall(b"HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n".to_vec()),
        http(200, JSON, &" ".repeat((1 << 20) + 1)),
    ];
    for reply in large {
        let error = impatient(&Server::saying(reply).await).version().await.expect_err("too large");
        assert!(matches!(error.failure, Failure::TooLarge { bytes_max: 1_048_576 }), "{error}");
    }
    let fits = version().to_string();
    let padding = " ".repeat((1 << 20) - fits.len());
    let server = Server::saying(http(200, JSON, &(fits + &padding))).await;
    assert_eq!(impatient(&server).version().await.unwrap().network, "dev");
}

#[tokio::test]
async fn of_two_equal_keys_one_is_read() {
    let server = Server::saying(http(200, JSON, "{\"network\":\"beta\",\"network\":\"dev\"}")).await;
    assert_eq!(server.client().version().await.unwrap().network, "dev");
}

#[tokio::test]
async fn an_account_without_a_confirmed_block_has_no_confirmed_frontier() {
    let server = Server::saying(ok(&json!({
        "frontier": BlockHash::from_bytes([1; 32]),
        "balance": "7",
        "block_count": "1",
        "confirmed_height": "0",
        "confirmed_frontier": BlockHash::ZERO,
        "confirmed_balance": "0",
    })))
    .await;
    let info = server.client().account_info(&Account::BURN).await.unwrap().expect("it is opened");
    assert_eq!((info.confirmed_frontier, info.confirmed_height), (None, Some(0)));
    assert_eq!((info.balance, info.confirmed_balance), (Amount::from_raw(7), Some(Amount::ZERO)));
}

#[tokio::test]
async fn an_old_node_is_asked_by_the_old_name() {
    let server = Server::start(|request| match request["action"].as_str() {
        Some("accounts_pending") => ok(&json!({ "blocks": "" })),
        _ => ok(&json!({ "error": "Unknown command" })),
    })
    .await;
    let found = server.client().accounts_receivable(&[Account::BURN], None).await.unwrap();
    assert_eq!(found[&Account::BURN], []);
    let [new, old] = &server.requests()[..] else { panic!("two requests") };
    assert_eq!(new["action"], "accounts_receivable");
    let mut renamed = new.clone();
    renamed["action"] = json!("accounts_pending");
    assert_eq!(*old, renamed);
}

#[tokio::test]
async fn a_node_that_refuses_by_the_new_name_is_not_asked_by_the_old_one() {
    let server = Server::start(|_| ok(&json!({ "error": "Bad account number" }))).await;
    let refused = server.client().accounts_receivable(&[Account::BURN], None).await.unwrap_err();
    assert!(matches!(&refused.failure, Failure::Node(text) if text == "Bad account number"), "{refused}");
    assert_eq!(server.requests().len(), 1);
}

/// Before `include_not_found` one missing block spoiled the answer about all others.
#[tokio::test]
async fn an_old_node_is_asked_in_smaller_batches() {
    let missing: Vec<BlockHash> = [3, 7].map(|byte| BlockHash::from_bytes([byte; 32])).into();
    let gone = missing.clone();
    let server = Server::start(move |request| {
        let asked = request["hashes"].as_array().unwrap();
        if asked.iter().any(|hash| gone.iter().any(|gone| *hash == json!(gone))) {
            return ok(&json!({ "error": "Block not found" }));
        }
        let blocks = asked.iter().map(|hash| (hash.as_str().unwrap().to_owned(), json!("")));
        ok(&json!({ "blocks": Value::Object(blocks.collect()) }))
    })
    .await;
    let hashes: Vec<BlockHash> = (0..10).map(|byte| BlockHash::from_bytes([byte; 32])).collect();
    let found = server.client().blocks_info(&hashes).await.unwrap();
    let not_found: Vec<_> = found.iter().filter(|(_, lookup)| **lookup == Lookup::NotFound).collect();
    assert_eq!(not_found.iter().map(|(hash, _)| **hash).collect::<Vec<_>>(), missing);
    assert_eq!(found.len(), hashes.len());
    assert!(server.requests().len() < 20);
    // What a smaller batch does not cure is asked once.
    let server = Server::saying(http(400, JSON, "{}")).await;
    assert!(server.client().blocks_info(&hashes).await.is_err());
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn every_node_is_told_that_nobody_waits_for_work() {
    let (refuses, takes) =
        (Server::saying(http(400, JSON, "{}")).await, Server::saying(ok(&json!({}))).await);
    let rpc = Rpc::new(&Hand::default().config([refuses.url.as_str(), takes.url.as_str()])).unwrap();
    rpc.work_cancel(&[0x11; 32]).await;
    let wanted = json!({ "action": "work_cancel", "hash": "11".repeat(32) });
    assert_eq!((refuses.requests(), takes.requests()), (vec![wanted.clone()], vec![wanted]));
}

/// Also when nobody speaks TLS at the other end; and every call can be given to another task.
#[tokio::test]
async fn https_needs_no_preparation() {
    let server = Server::saying(ok(&version())).await;
    let config = Hand::default().config([server.url.replace("http://", "https://").as_str()]);
    let rpc = Rpc::new(&RpcConfig { timeout: Duration::from_millis(100), ..config }).unwrap();
    let task = tokio::spawn(async move {
        let lost = rpc.blocks_info(&[BlockHash::ZERO]).await.is_err();
        (lost, rpc.receivable_of(&[Account::BURN]).await.is_err(), rpc.health(Network::Live).await.is_err())
    });
    assert_eq!(task.await.unwrap(), (true, true, true));
    assert!(server.requests().is_empty());
    nano_currency::rpc::install_crypto();
    nano_currency::rpc::install_crypto();
}

#[tokio::test]
async fn work_is_asked_for_in_both_spellings_and_checked() {
    let root = [0x11; 32];
    let threshold = Network::Dev.work().send;
    let server = Server::start(|request| match request["difficulty"].as_str() {
        Some("18428729675200069632") => ok(&json!({ "work": "32BD43A9BEC1B680", "difficulty": "18434854" })),
        _ => http(422, "Content-Type: text/plain\r\n", "Failed to deserialize the JSON body"),
    })
    .await;
    let work = server.client().work_generate(&root, threshold).await.unwrap();
    assert_eq!(work, Work::new(0x32bd_43a9_bec1_b680));
    assert_eq!(server.requests()[0]["difficulty"], "ffc0000000000000");

    let lying =
        Server::saying(ok(&json!({ "work": "0000000000000000", "difficulty": "ffffffffffffffff" }))).await;
    let error = lying.client().work_generate(&root, threshold).await.expect_err("worth nothing");
    assert!(matches!(error.failure, Failure::Malformed("work")), "{error}");
}

/// RsNano refuses numbers and booleans for most arguments, the C++ node takes strings for all.
#[tokio::test]
async fn every_argument_is_a_string() {
    fn all_strings(value: &Value) -> bool {
        match value {
            Value::String(_) => true,
            Value::Array(list) => list.iter().all(all_strings),
            Value::Object(map) => map.values().all(all_strings),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }
    let server = Server::saying(ok(&json!({ "hash": BlockHash::ZERO }))).await;
    let rpc = server.client();
    let key = PrivateKey::from_bytes([1; 32]);
    let fields = StateFields {
        account: key.account(),
        previous: BlockHash::ZERO,
        representative: Account::BURN,
        balance: Amount::MAX,
        link: [7; 32],
    };
    let processed = rpc.process(&fields.sign(&key, Work::new(1)), Subtype::Receive).await;
    assert_eq!(processed.unwrap(), Processed::Accepted(BlockHash::ZERO));
    let (account, hash) = (Account::BURN, BlockHash::ZERO);
    // Only what was asked matters here, not that the server has no answer to it.
    let _ = rpc.block_info(&hash).await;
    let _ = rpc.block_confirm(&hash).await;
    let _ = rpc.blocks_info(&[hash]).await;
    let _ = rpc.accounts_receivable(&[account], Some(Amount::from_raw(1))).await;
    let _ = rpc.accounts_balances(&[account]).await;
    let _ = rpc.account_info(&account).await;
    let _ = rpc.work_generate(&[0; 32], Difficulty::new(1)).await;
    let _ = rpc.version().await;
    let _ = rpc.block_count().await;
    let _ = rpc.confirmation_quorum().await;
    let _ = rpc.telemetry().await;
    let _ = rpc.active_difficulty().await;
    let requests = server.requests();
    assert_eq!(requests.len(), 13);
    for request in requests {
        assert!(all_strings(&request), "{request}");
        // A node counts every bracket in the text, and refuses more than twenty.
        assert!(request.to_string().matches(['[', '{']).count() <= 3, "{request}");
    }
}

#[tokio::test]
async fn addresses_that_cannot_be_asked_are_refused() {
    let new = |urls: &[&str]| Rpc::new(&Hand::default().config(urls.iter().copied()));
    assert!(matches!(new(&[]), Err(RpcSetupError::NoUrl)));
    for bad in ["", "localhost:7076", "ftp://node", "http://", "unix:/run/node", "http://[::1"] {
        let made = new(&["http://127.0.0.1:7076", bad]);
        assert!(matches!(made, Err(RpcSetupError::Url { index: 1 })), "{bad}: {made:?}");
    }
}

#[tokio::test]
async fn an_address_never_shows_its_secrets() {
    let server = Server::saying(http(500, "", "no")).await;
    let secret = server.url.replace("http://", "http://user:hunter2@") + "/hunter2?key=hunter2";
    let config = Hand::default().config([secret.as_str()]);
    let rpc = Rpc::new(&config).unwrap();
    let answered = rpc.version().await.expect_err("status 500");
    drop(server);
    let lost = rpc.version().await.expect_err("gone");
    let shown = format!("{config:?} {rpc:?} {answered} {answered:?} {lost} {lost:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

/// Whoever signs the next block with what a node says gives away the votes of the account's balance.
#[tokio::test]
async fn who_votes_for_an_account_is_what_its_newest_block_says() {
    let (newest, liar) = (send(), PrivateKey::from_bytes([9; 32]).account());
    let server = Server::start(move |request| match request["action"].as_str() {
        Some("account_info") => ok(&json!({
            "frontier": newest.hash(),
            "balance": newest.fields.balance,
            "block_count": "2",
            "representative": liar,
        })),
        _ => ok(&json!({ "blocks": { (newest.hash().to_string()): described(&newest, "send") } })),
    })
    .await;
    let head = server.client().head(&payer().account(), &Network::Dev.rules()).await.unwrap().unwrap();
    assert_eq!((head.frontier, head.representative), (newest.hash(), Some(Account::BURN)));
}
