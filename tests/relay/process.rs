//! The real program: its first line, its signals, and what a kill leaves behind.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::support::{Party, exchange, quoted_offer};

struct Program {
    child: Child,
    addr: String,
}

impl Program {
    fn start(dir: &std::path::Path, env: &[(&str, &str)]) -> Self {
        use std::io::BufRead as _;
        let mut child = Command::new(env!("CARGO_BIN_EXE_relay"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(dir)
            .env("RUST_LOG", "warn")
            .env("RELAY_RATE_LIMIT_ENABLED", "false")
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr =
            line.trim().strip_prefix("relay listening on http://").unwrap_or_else(|| panic!("{line:?}"));
        Self { addr: addr.to_owned(), child }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn a_damaged_state_is_refused_with_what_to_do_and_is_left_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = Program::start(dir.path(), &[]);
    let party = Party::new(&program.addr, 1);
    let offer = quoted_offer();
    assert!(attempt(&party, "POST", "/v1/offers", offer).await.is_some_and(|(status, _)| status < 300));
    program.child.kill().unwrap();
    program.child.wait().unwrap();
    let data = dir.path().join("db");
    let whole = std::fs::read(&data).unwrap();
    let written = whole.iter().rposition(|byte| *byte != 0).unwrap();
    for cut in [written / 4, written / 2, written * 3 / 4] {
        // As much of it as a broken disk might leave.
        std::fs::write(&data, &whole[..cut]).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_relay"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{cut}: {said}");
        assert!(said.contains("state is damaged") && said.contains("--data"), "{cut}: {said}");
        assert!(data.exists());
    }
}

/// One request that may be cut off: `None` then.
async fn attempt(party: &Party, method: &str, target: &str, body: Value) -> Option<(u16, Value)> {
    use tokio::io::AsyncWriteExt as _;
    let body = body.to_string();
    let mut stream = tokio::net::TcpStream::connect(&party.addr).await.ok()?;
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: r\r\nConnection: close\r\n");
    for (name, value) in party.signed(method, target, &body) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).ok()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_answered_is_lost_to_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut answered: Vec<Value> = Vec::new();
    let mut rounds_with_work = 0;
    for round in 0..6u64 {
        let program = Program::start(dir.path(), &[]);
        let seller = Party::new(&program.addr, 1);
        let (_, offer) = attempt(&seller, "POST", "/v1/offers", quoted_offer()).await.unwrap();
        let offer = offer["offer"]["offer_id"].clone();
        let buyers: Vec<_> = (0..8u8)
            .map(|number| {
                let (buyer, offer) = (Party::new(&program.addr, 10 + number), offer.clone());
                tokio::spawn(async move {
                    let mut answered = Vec::new();
                    loop {
                        let ask = json!({"offer_id": offer, "request_payload": {"pad": "x".repeat(500)}});
                        let Some((201, made)) = attempt(&buyer, "POST", "/v1/jobs", ask).await else { break };
                        let cancel = format!("/v1/jobs/{}/cancel", made["job"]["job_id"].as_str().unwrap());
                        answered.push(made);
                        let canceled = attempt(&buyer, "POST", &cancel, json!({})).await;
                        let Some((200, canceled)) = canceled else { break };
                        answered.pop();
                        answered.push(canceled);
                    }
                    answered
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(120 + 37 * round)).await;
        program.signal(Signal::KILL);
        let before = answered.len();
        for buyer in buyers {
            answered.extend(buyer.await.unwrap());
        }
        rounds_with_work += usize::from(answered.len() > before);
    }
    assert!(rounds_with_work >= 4, "the kills came before any work in {} rounds", 6 - rounds_with_work);
    let program = Program::start(dir.path(), &[]);
    let seller = Party::new(&program.addr, 1);
    for made in &answered {
        let job = &made["job"];
        let seen = seller.get(&format!("/v1/jobs/{}", job["job_id"].as_str().unwrap())).await.expect(200);
        // What was cut off may have happened; what was answered has.
        let same = &seen["job"] == job;
        assert!(
            same || job["status"] == "requested" && seen["job"]["status"] == "canceled",
            "{made}\n{seen}"
        );
    }
    // The log has an event for every job, in order, without a gap for its seller.
    let (mut since, mut jobs) = (0, std::collections::BTreeSet::new());
    loop {
        let page = seller.get(&format!("/v1/poll?limit=200&since_event_id={since}")).await.expect(200);
        let events = page["events"].as_array().unwrap().clone();
        for event in &events {
            let id = event["event_id"].as_u64().unwrap();
            assert_eq!(id, since + 1);
            since = id;
            jobs.insert(event["job_id"].as_str().unwrap().to_owned());
        }
        if events.is_empty() {
            break;
        }
    }
    assert!(answered.iter().all(|made| jobs.contains(made["job"]["job_id"].as_str().unwrap())));
}

#[tokio::test]
async fn a_signal_drains_and_a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = Program::start(dir.path(), &[]);
    let second = Command::new(env!("CARGO_BIN_EXE_relay"))
        .args(["--listen", "127.0.0.1:0", "--data"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use"), "{second:?}");
    exchange(&program.addr, "GET", "/readyz", b"", &[]).await.expect(200);
    // A request that is half sent keeps the drain waiting, and meanwhile the relay is not ready.
    let slow = half_a_request(&program.addr).await;
    program.signal(Signal::TERM);
    let mut refused = false;
    for _ in 0..100 {
        let answer = exchange(&program.addr, "GET", "/readyz", b"", &[]).await;
        if answer.status == 503 {
            assert!(answer.header("retry-after").is_some());
            answer.refused(503, "unavailable");
            refused = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(refused);
    drop(slow);
    let ended = tokio::task::spawn_blocking(move || program.child.wait().map(|status| (program, status)));
    let (_, status) = tokio::time::timeout(Duration::from_secs(10), ended).await.unwrap().unwrap().unwrap();
    assert!(status.success(), "{status}");
}

/// Known in others: a key that is "in progress" when the server dies stays so for a day, and a signed
/// request that has an idempotency key crashes the server.
#[tokio::test]
async fn a_key_whose_request_was_killed_is_free_or_has_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    let mut cut_off = 0;
    for round in 0..12u64 {
        let mut program = Program::start(dir.path(), &[]);
        let (seller, buyer) = (Party::new(&program.addr, 1), Party::new(&program.addr, 2));
        let offer = seller.post("/v1/offers", quoted_offer()).await.expect(201);
        let ask = json!({"offer_id": offer["offer"]["offer_id"], "request_payload": round}).to_string();
        let keyed = [("Idempotency-Key", format!("round-{round}"))];
        let keyed: Vec<(&str, &str)> = keyed.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let first = async {
            use tokio::io::AsyncWriteExt as _;
            let mut head = "POST /v1/jobs HTTP/1.1\r\nHost: r\r\nConnection: close\r\n".to_owned();
            for (name, value) in buyer.signed("POST", "/v1/jobs", &ask) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            let request =
                format!("{head}Idempotency-Key: round-{round}\r\nContent-Length: {}\r\n\r\n{ask}", ask.len());
            let mut stream = tokio::net::TcpStream::connect(&program.addr).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer).await;
            answer
        };
        let kill = async {
            tokio::time::sleep(Duration::from_micros(500 * round)).await;
            program.signal(Signal::KILL);
        };
        let (answer, ()) = tokio::join!(first, kill);
        program.child.wait().unwrap();
        cut_off += usize::from(!answer.starts_with("HTTP/1.1 201"));
        let program = Program::start(dir.path(), &[]);
        let buyer = Party::new(&program.addr, 2);
        let again = buyer.send("POST", "/v1/jobs", &ask, &keyed).await;
        let job = again.expect(201);
        if let Some((_, body)) = answer.split_once("\r\n\r\n") {
            let told: Option<Value> = serde_json::from_str(body).ok();
            assert!(told.is_none_or(|told| told == job), "two answers for one key: {answer}\n{job}");
        }
        let jobs = buyer.get("/v1/jobs").await.expect(200);
        assert_eq!(jobs["total"], round + 1, "one key, one job");
    }
    assert!(cut_off > 0, "no request was cut off, so this shows nothing");
}

/// A relay that the machine kept from running finds, when it wakes, that the time for first requests
/// is over and that they have come. They have come.
#[tokio::test]
async fn a_drain_answers_what_came_while_the_relay_could_not_run() {
    use tokio::io::AsyncWriteExt as _;
    const CLIENTS: usize = 16;
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path(), &[]);
    // So that the drain has something to wait for.
    let slow = half_a_request(&program.addr).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(tokio::net::TcpStream::connect(&program.addr).await.unwrap());
    }
    // All are taken when a later one has been answered.
    exchange(&program.addr, "GET", "/readyz", b"", &[]).await.expect(200);
    program.signal(Signal::TERM);
    while exchange(&program.addr, "GET", "/readyz", b"", &[]).await.status != 503 {}
    program.signal(Signal::STOP);
    for client in &mut clients {
        client.write_all(b"GET /readyz HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n").await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    program.signal(Signal::CONT);
    for client in &mut clients {
        let mut answer = String::new();
        drop(client.read_to_string(&mut answer).await);
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer:?}");
    }
    drop(slow);
}

async fn half_a_request(addr: &str) -> tokio::net::TcpStream {
    use tokio::io::AsyncWriteExt as _;
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    stream.write_all(b"POST /v1/jobs HTTP/1.1\r\nHost: r\r\nContent-Length: 10\r\n\r\n{").await.unwrap();
    // The head is read when the next request on another connection has been answered.
    exchange(addr, "GET", "/health", b"", &[]).await.expect(200);
    stream
}

#[test]
fn wrong_settings_are_all_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("relay.toml");
    std::fs::write(&file, "[limits]\nlock_ttl_seconds = 5\n[server]\nport = 1\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_relay"))
        .arg("--config")
        .arg(&file)
        .env("RELAY_SWEEP_INTERVAL_MS", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    for part in ["limits.lock_ttl_seconds", "server.port", "RELAY_SWEEP_INTERVAL_MS"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
