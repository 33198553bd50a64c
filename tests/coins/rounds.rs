//! When coins are brought home by themselves, and who works for it.

use std::time::Duration;

use nano_worker::worker::coins::on_schedule;
use tokio_util::sync::CancellationToken;

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

impl Bench {
    /// A worker runs for so long, by both clocks.
    async fn run_for(&self, hours: u32) {
        let stop = CancellationToken::new();
        let running = tokio::spawn(on_schedule(Some(Arc::new(self.purse())), stop.clone()));
        // It looks now and then, by the clock that people set.
        for _ in 0..hours * 6 {
            tokio::time::sleep(HOUR / 6).await;
            *self.line.now_ms.lock().unwrap() += u64::try_from((HOUR / 6).as_millis()).unwrap();
        }
        stop.cancel();
        running.await.unwrap();
        self.disk.crash(0);
    }

    fn at_home(&self) -> usize {
        self.sums().1.len()
    }
}

#[tokio::test(start_paused = true)]
async fn coins_come_home_on_the_schedule_whoever_was_restarted_meanwhile() {
    let mut bench = Bench::new(5);
    bench.extra = "every_hours = 24";
    bench.fund(0, COIN);
    bench.run_for(1).await;
    assert_eq!(bench.at_home(), 1, "there was no round yet");
    bench.fund(1, COIN);
    for _ in 0..5 {
        bench.run_for(4).await;
    }
    assert_eq!(bench.at_home(), 1, "21 hours later it is not time yet");
    bench.run_for(4).await;
    assert_eq!(bench.at_home(), 2, "25 hours later it was");
    bench.fund(2, COIN);
    *bench.line.now_ms.lock().unwrap() += 72 * 3_600_000;
    bench.run_for(1).await;
    assert_eq!(bench.at_home(), 3, "nobody ran when it was time");

    bench.extra = "every_hours = 0";
    bench.fund(3, COIN);
    bench.run_for(100).await;
    assert_eq!(bench.at_home(), 3, "it is not wanted");
}

#[tokio::test(start_paused = true)]
async fn work_is_asked_of_the_nodes_then_of_the_servers_then_of_this_machine() {
    let (node, server) = ("http://node/", "http://work/");
    let both = "work_servers = [\"http://work\"]";
    let alone = "work_servers = [\"http://work\"]\nwork_here = false";
    for (extra, refuses, asked, is_swept) in [
        (both, &[][..], &[node, node][..], true),
        (alone, &[node], &[node, server, node, server], true),
        (both, &[node, server], &[node, server, node, server], true),
        ("", &[node], &[node, node], true),
    ] {
        check_work(extra, refuses, asked, is_swept).await;
    }
    check_work(alone, &[node, server], &[node, server], false).await;
}

/// One coin is brought home: who was asked for work, in which order.
async fn check_work(extra: &'static str, refuses: &[&'static str], asked: &[&str], is_swept: bool) {
    let mut bench = Bench::new(1);
    bench.extra = extra;
    bench.line.idle.lock().unwrap().extend(refuses);
    bench.fund(0, COIN);
    let report = bench.sweep().await;
    let mut found = bench.line.asked_for_work.lock().unwrap().clone();
    found.truncate(asked.len());
    assert_eq!(
        (found, bench.at_home() == 1),
        (asked.iter().map(ToString::to_string).collect(), is_swept),
        "{report}"
    );
    if !is_swept {
        assert_eq!(report["failed"], "unreachable", "{report}");
        assert_eq!(bench.sums(), (COIN, vec![]), "without work nothing moves");
    }
}
