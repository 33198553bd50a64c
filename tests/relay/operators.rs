//! A relay as operators of the deployed ones start it: no arguments, `NBR_*` in the environment.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Relay, exchange};
use crate::traders::{Bot, Market, offer};

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_arguments_it_serves_as_the_environment_says() {
    let dir = tempfile::tempdir().unwrap();
    let (addr, measures) = (free_address(), free_address());
    let child = Command::new(env!("CARGO_BIN_EXE_relay"))
        .current_dir(dir.path())
        .env("NBR_HTTP_ADDR", &addr)
        .env("NBR_DB_PATH", dir.path().join("data/relay.db"))
        .env("NBR_METRICS_ADDR", &measures)
        .env("NBR_RL_OFFER_BURST", "3")
        .env("NBR_RL_OFFER_RPS", "0.01")
        .env("RUST_LOG", "warn")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    let mut lines = BufReader::new(child.0.stderr.take().unwrap()).lines();
    let heard = tokio::task::spawn_blocking(move || {
        lines.find(|line| line.as_ref().unwrap().contains("relay listening")).unwrap().unwrap()
    });
    // As long as those who start the deployed one wait for that line.
    let said = tokio::time::timeout(Duration::from_secs(3), heard).await.unwrap().unwrap();
    assert!(said.contains(&addr), "{said}");
    assert!(dir.path().join("data/relay.store").is_dir());

    let told = exchange(&addr, "GET", "/market/offers", b"", &[]).await;
    assert_eq!(told.header("x-ratelimit-limit"), Some("3"));
    told.expect(200);
    exchange(&addr, "GET", "/readyz", b"", &[]).await.expect(200);
    exchange(&addr, "GET", "/metrics", b"", &[]).await.refused(404, "not_found");
    let told = exchange(&measures, "GET", "/metrics", b"", &[]).await;
    assert!(told.status == 200 && told.text.contains("relay_requests_total"), "{}", told.text);
    assert_eq!(exchange(&measures, "GET", "/market/offers", b"", &[]).await.status, 404);

    kill_process(Pid::from_child(&child.0), Signal::TERM).unwrap();
    assert!(child.0.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_for_the_machine_itself_if_the_operator_wants_that() {
    let relay = Relay::with(|config| {
        config.health_public = false;
        config.trust_forwarded_for = true;
    })
    .await;
    let from = |ip: &str| vec![("X-Forwarded-For".to_owned(), ip.to_owned())];
    for path in ["/healthz", "/readyz"] {
        exchange(&relay.addr, "GET", path, b"", &from("127.0.0.1")).await.expect(200);
        exchange(&relay.addr, "GET", path, b"", &from("::1")).await.expect(200);
        exchange(&relay.addr, "GET", path, b"", &from("203.0.113.7")).await.refused(404, "not_found");
    }
    exchange(&relay.addr, "GET", "/health", b"", &from("203.0.113.7")).await.expect(200);
    let open = Relay::with(|config| config.trust_forwarded_for = true).await;
    exchange(&open.addr, "GET", "/readyz", b"", &from("203.0.113.7")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_market_is_told_in_numbers() {
    let market = Market::open().await;
    let seller = &market.seller;
    let offer = offer().to_string();
    seller.keyed("/v0/offers", &offer, "second").await.expect(200);
    market.charged("job_1", 1).await;
    market.charged("job_2", 2).await;
    seller.post("/v0/jobs/job_1/mark_paid", serde_json::json!({})).await.expect(200);
    let told = exchange(&market.relay.addr, "GET", "/stats", b"", &[]).await.expect(200);
    assert_eq!(
        told.to_string(),
        r#"{"offers":2,"jobs":2,"xno_transferred":"0.000000000000000000000001","agents_online":2}"#
    );
    // Counted once in a while, however often somebody asks.
    market.charged("job_3", 3).await;
    assert_eq!(exchange(&market.relay.addr, "GET", "/stats", b"", &[]).await.expect(200), told);
}

/// Each bot has a rate of its own; who makes bots has only that of his address.
#[tokio::test(flavor = "multi_thread")]
async fn bots_are_not_made_without_end() {
    let relay = Relay::with(|config| config.rates = Some(Default::default())).await;
    let mut refused = 0;
    for number in 1..=12 {
        let bot = Bot::new(&relay, number);
        let told = bot
            .post("/v0/bots", serde_json::json!(nano_worker::protocol::v0::Registration::of(&bot.keys)))
            .await;
        refused += usize::from(told.status == 429);
        assert!(told.status == 200 || told.header("retry-after").is_some(), "{}", told.text);
    }
    assert!(refused >= 3, "{refused}");
}
