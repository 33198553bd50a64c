//! What looking at open invoices costs: calls to a node, bytes over the line, and time, with 10, 1,000
//! and 100,000 of them; with nobody having paid, and with one in ten.
//!
//! The watch runs as in the worker, over a ledger in this process instead of a socket. Its clock
//! stands still once everything is due, so that every invoice is looked at once. Time is told twice:
//! in all, and without the ledger's own, which is a node's and not ours. The ceiling beside it is what
//! the answers cannot cost less than: reading their JSON, and for each payment two Blake2b and one
//! verification, which is `cargo bench -p nano-currency --bench proof`.
//!
//! `INVOICES` in the environment is the largest number.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench measures, prints, and stops where it fails"
)]

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mock_nano_rpc::node::{Node, Settings};
use mock_nano_rpc::rpc::{self, Args};
use mock_nano_rpc::tree::{Style, Tree};
use nano_worker::config::Env;
use nano_worker::edge::Clock;
use nano_worker::nano::rpc::{Rpc, RpcConfig};
use nano_worker::nano::{Account, Amount, Network, Seed};
use nano_worker::protocol::{JobId, Timestamp};
use nano_worker::worker::ears::Ears;
use nano_worker::worker::engine::Heard;
use nano_worker::worker::nodes::{Certainty, Jury};
use nano_worker::worker::payment::{Invoice, Submitted};
use nano_worker::worker::watch::{self, Wish};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What each invoice asks for.
const PRICE: Amount = Amount::from_raw(1_000);

/// One in so many has paid, where anybody has.
const PAID_PART: u32 = 10;

/// How often everything is measured; the median is shown.
const ROUNDS: usize = 3;

fn main() {
    let most = Env::system().get("INVOICES").and_then(|text| text.parse().ok()).unwrap_or(100_000);
    // As in the worker: whoever answers is on another thread, and so is nobody here.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for count in [10, 1_000, 100_000u32].map(|count: u32| count.min(most)) {
        for paid in [false, true] {
            let line = Arc::new(Line::new(count, paid));
            let mut looks: Vec<Cost> = (0..ROUNDS).map(|_| runtime.block_on(look(&line, count))).collect();
            looks.sort_by_key(|cost| cost.time);
            show(count, paid, &looks[ROUNDS / 2]);
        }
    }
}

/// What one look at every invoice took.
struct Cost {
    calls: u64,
    asked_bytes: u64,
    told_bytes: u64,
    time: Duration,
    nodes_time: Duration,
    reading: Duration,
    found: usize,
}

fn show(count: u32, paid: bool, cost: &Cost) {
    let ours = cost.time.saturating_sub(cost.nodes_time);
    println!(
        "{count:>7} open, {:>6} paid: {:>4} calls, {:>9} bytes asked, {:>9} told, {:>8.1} ms, of them {:>8.1} ms ours \
         ({:.1} µs each), {:>7.1} ms for the JSON alone",
        cost.found,
        cost.calls,
        cost.asked_bytes,
        cost.told_bytes,
        millis(cost.time),
        millis(ours),
        ours.as_secs_f64() * 1e6 / f64::from(count),
        millis(cost.reading),
    );
    assert_eq!(cost.found, if paid { (count / PAID_PART) as usize } else { 0 });
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Looks at every invoice once.
async fn look(line: &Arc<Line>, count: u32) -> Cost {
    line.forget();
    let began = Instant::now();
    let passed = move || began.elapsed();
    let mut config = RpcConfig::new(["http://node"], passed);
    config.wire = Some(Arc::new(Way(Arc::clone(line))));
    let certainty = Certainty::default();
    let jury = Jury::new(Rpc::new(&config).unwrap(), Network::Dev, certainty, passed).unwrap();
    // Examined before, as in a worker that runs.
    assert!(jury.closed().await.is_none());
    let all_due = Arc::new(AtomicBool::new(false));
    let clock = Clock::from_fn({
        let all_due = Arc::clone(&all_due);
        move || Timestamp::from_micros(if all_due.load(Ordering::SeqCst) { 2_000_000 } else { 1_000_000 })
    });
    let (wishes, wished) = mpsc::channel(count as usize + 1);
    let (tells, mut heard) = mpsc::channel(count as usize + 16);
    for (index, account) in (0..).zip(&line.invoices) {
        let invoice = Invoice { index, account: *account, price: PRICE };
        let watch = Wish::Watch { job: job(index), invoice, submitted: None, lapsed: false, over: false };
        wishes.try_send(watch).unwrap();
    }
    let stop = CancellationToken::new();
    let watching = watch::run(Arc::new(jury), Ears::deaf(), clock, wished, tells, stop.clone());
    let watching = tokio::spawn(watching);
    // The wishes come first, and nothing is due before all of them are granted.
    while wishes.capacity() < wishes.max_capacity() {
        tokio::task::yield_now().await;
    }
    line.forget();
    all_due.store(true, Ordering::SeqCst);
    let started = Instant::now();
    // Whoever waits looks at the clock again when a wish comes.
    wishes.send(Wish::Unwatch(job(u32::MAX))).await.unwrap();
    let (mut answered, mut found) = (0, 0);
    while answered < count {
        match heard.recv().await.unwrap() {
            Heard::Facts(_, facts) => {
                assert!(facts.unknown.is_none() && facts.submitted == Submitted::None, "{:?}", facts.unknown);
                answered += 1;
                found += facts.found.len();
            }
            _ => continue,
        }
    }
    let time = started.elapsed();
    stop.cancel();
    watching.await.unwrap();
    let tally = line.tally.lock().unwrap();
    let started = Instant::now();
    for answer in &tally.answers {
        std::hint::black_box(serde_json::from_slice::<serde_json::Value>(answer).unwrap());
    }
    Cost {
        calls: tally.answers.len() as u64,
        asked_bytes: tally.asked_bytes,
        told_bytes: tally.answers.iter().map(|answer| answer.len() as u64).sum(),
        time,
        nodes_time: tally.time,
        reading: started.elapsed(),
        found,
    }
}

fn job(number: u32) -> JobId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    JobId::from_random(bytes)
}

/// A node, and what was said to it and by it.
struct Line {
    node: Mutex<Node>,
    invoices: Vec<Account>,
    tally: Mutex<Tally>,
    now_ms: AtomicU64,
}

#[derive(Default)]
struct Tally {
    asked_bytes: u64,
    answers: Vec<Vec<u8>>,
    /// What the node took for them.
    time: Duration,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

impl Line {
    fn new(count: u32, paid: bool) -> Self {
        let seed = Seed::parse(&"3".repeat(64)).unwrap();
        let invoices: Vec<Account> = (0..count).map(|index| seed.account(index).unwrap()).collect();
        let mut node = Node::new(Settings::default(), 1_000);
        let paying = invoices.iter().step_by(PAID_PART as usize).filter(|_| paid);
        for (now, account) in (1_001..).zip(paying) {
            node.pay(account, PRICE, 1, now).unwrap();
            node.tick(now);
        }
        node.tick(1_000_000);
        Self { node: Mutex::new(node), invoices, tally: Mutex::default(), now_ms: AtomicU64::new(1_000_000) }
    }

    fn forget(&self) {
        *self.tally.lock().unwrap() = Tally::default();
    }

    fn answer(&self, body: &str) -> (u16, Vec<u8>) {
        let began = Instant::now();
        let call = Tree::parse(body.as_bytes()).unwrap();
        let action = call.text_of("action").unwrap_or_default().to_owned();
        let now = self.now_ms.fetch_add(1, Ordering::Relaxed);
        let answer = rpc::answer(&mut self.node.lock().unwrap(), &action, &Args(&call), now);
        // As the reference node writes it: spaces cost bytes, too.
        let text = answer.unwrap_or_else(|error| error.to_tree()).write(Style::Pretty);
        let mut tally = self.tally.lock().unwrap();
        tally.asked_bytes += body.len() as u64;
        tally.answers.push(text.clone().into_bytes());
        tally.time += began.elapsed();
        (200, text.into_bytes())
    }
}

#[derive(Debug)]
struct Way(Arc<Line>);

impl nano_worker::nano::rpc::Wire for Way {
    fn call(&self, _: &str, body: String) -> Pin<Box<dyn Future<Output = Option<(u16, Vec<u8>)>> + Send>> {
        let answer = self.0.answer(&body);
        Box::pin(async move { Some(answer) })
    }
}
