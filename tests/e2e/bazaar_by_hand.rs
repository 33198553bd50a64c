//! A seller of /v0 who goes step by step: woken by `watch`, looking with `poll`, acting with `recover`.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use nano_worker::client::v0::PollQuery;
use nano_worker::protocol::v0::{Job, JobId, Status};
use serde_json::{Value, json};

use crate::bazaar::Bazaar;
use crate::world::{PRICE, Process, World};

impl Bazaar {
    /// A verb that has to end well.
    fn verb(&self, arguments: &[&str]) -> Value {
        let (code, out) = self.try_verb(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {out}\n{}", self.world.logs());
        out
    }

    fn try_verb(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let (code, out) = self.world.ask_worker("bot", &[arguments, &["--json"]].concat());
        (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}")))
    }

    async fn acked(&self) -> u64 {
        self.seller.poll(&PollQuery::default()).await.unwrap().last_acked_event_id
    }

    async fn job(&self, name: &str) -> Job {
        self.buyer.job(&JobId::new(name)).await.unwrap()
    }
}

fn names(polled: &Value) -> Vec<&str> {
    polled["news"].as_array().unwrap().iter().map(|news| news["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_has_keys_and_a_name() {
    let bazaar = Bazaar::new().await;
    bazaar.configure("", "");
    for file in ["seller.key", "sealing.key"] {
        fs::remove_file(bazaar.world.path(file)).unwrap();
    }
    // It says what to do, and doing it is enough.
    let (code, missing) = bazaar.try_verb(&["keys", "show"]);
    assert!(code == Some(3) && missing.to_string().contains("keys new"), "{missing}");
    let made = bazaar.verb(&["keys", "new"]);
    assert_eq!(made["written"].as_array().unwrap().len(), 2, "{made}");
    assert_eq!(bazaar.try_verb(&["keys", "new"]).0, Some(10));
    let shown = bazaar.verb(&["keys", "show"]);
    assert_eq!(shown["bot_id"], made["bot_id"]);
    // The other half of a pair is made beside what is there.
    fs::remove_file(bazaar.world.path("sealing.key")).unwrap();
    let other = bazaar.verb(&["keys", "new"]);
    assert_eq!((other["written"].as_array().unwrap().len(), &other["bot_id"]), (1, &made["bot_id"]));
    assert_ne!(other["encryption_kid"], made["encryption_kid"]);

    let unknown = bazaar.verb(&["check"]).to_string();
    assert!(unknown.contains("worker register"), "{unknown}");
    let bot = bazaar.verb(&["register", "--name", "Word shop"]);
    assert_eq!((&bot["bot_id"], &bot["bot_name"]), (&made["bot_id"], &json!("Word shop")));
    let known = bazaar.verb(&["check"]).to_string();
    assert!(known.contains("the relay knows b"), "{known}");
    // A relay takes no second key to seal for.
    fs::remove_file(bazaar.world.path("sealing.key")).unwrap();
    bazaar.verb(&["keys", "new"]);
    let (code, refused) = bazaar.try_verb(&["register"]);
    assert!(code != Some(0), "{refused}");
    let (code, checked) = bazaar.try_verb(&["check"]);
    assert!(code == Some(7) && checked.to_string().contains("another key to seal for"), "{checked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_sale_step_by_step() {
    let bazaar = Bazaar::new().await;
    bazaar.configure("", "");
    assert_eq!(names(&bazaar.verb(&["poll"])), [""; 0]);
    bazaar.ask("job_1", "four words are here").await;

    // Until it is acknowledged it is told again.
    let polled = bazaar.verb(&["poll", "--no-ack"]);
    assert_eq!(names(&polled), ["job_1"]);
    let last = polled["last_event_id"].as_u64().unwrap();
    assert!(bazaar.acked().await < last);
    assert_eq!(names(&bazaar.verb(&["poll", "--no-ack"])), ["job_1"]);
    let ahead = (last + 1).to_string();
    let (code, refused) = bazaar.try_verb(&["ack", "--up-to-event-id", &ahead]);
    assert!(code == Some(9) && refused.to_string().contains("durable"), "{refused}");
    let acked = bazaar.verb(&["ack", "--up-to-event-id", &last.to_string()]);
    assert_eq!((acked["last_acked_event_id"].as_u64(), bazaar.acked().await), (Some(last), last));
    assert_eq!(names(&bazaar.verb(&["poll"])), [""; 0]);

    bazaar.verb(&["recover", "--patience", "20"]);
    let charged = bazaar.charged(&bazaar.job("job_1").await).await;
    let shown = bazaar.verb(&["jobs", "show", "job_1"]);
    assert_eq!((&shown["name"], &shown["stage"]), (&json!("job_1"), &json!("awaiting")));
    bazaar.pay(&charged, PRICE);
    bazaar.verb(&["recover", "--patience", "20"]);
    assert_eq!(bazaar.delivered(&charged).await, "four words are here");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_is_woken_again_and_again() {
    let mut bazaar = Bazaar::new().await;
    let config = bazaar.configure("", "");
    bazaar.verb(&["poll"]);
    let watch = |command: &[&str], out: Stdio| {
        let mut watch = Command::new(env!("CARGO_BIN_EXE_worker"));
        watch.arg("watch").arg("--config").arg(&config).arg("--json").args(command);
        Process { child: watch.current_dir(config.parent().unwrap()).stdout(out).spawn().unwrap() }
    };
    let printed = fs::File::create(bazaar.world.path("printed")).unwrap();
    let _prints = watch(&[], printed.into());
    let mut runs = watch(&["--", "/bin/sh", "-c", "echo woken >> woken; false"], Stdio::null());
    let lines =
        |world: &World, name: &str| fs::read_to_string(world.path(name)).unwrap_or_default().lines().count();
    let more = async |world: &World, than: usize| {
        world
            .eventually("a wake-up", async || {
                (lines(world, "woken") > than && lines(world, "printed") > than).then_some(())
            })
            .await;
    };
    more(&bazaar.world, 0).await;
    bazaar.ask("job_1", "one").await;
    more(&bazaar.world, 1).await;
    bazaar.world.kill_relay();
    tokio::time::sleep(Duration::from_millis(300)).await;
    bazaar.world.start_relay();
    more(&bazaar.world, 2).await;
    bazaar.ask("job_2", "two").await;
    more(&bazaar.world, 3).await;
    let told = fs::read_to_string(bazaar.world.path("printed")).unwrap();
    assert!(told.lines().all(|line| line.contains("\"event\":\"wake\"")), "{told}");
    runs.signal(rustix::process::Signal::TERM);
    assert!(runs.wait().success());
    // It has polled nothing.
    assert_eq!(bazaar.seller.poll(&PollQuery::default()).await.unwrap().events.len(), 2);
}

/// A log that forgets what is older than this.
const SHORT: &[(&str, &str)] =
    &[("RELAY_RATE_LIMIT_ENABLED", "false"), ("RELAY_EVENT_RETENTION_SECONDS", "5")];

impl Bazaar {
    /// Until the seller's cursor is too old.
    async fn forgotten(&self) {
        self.world
            .eventually("410", async || {
                let error = self.seller.poll(&PollQuery::default()).await.err()?;
                (error.status() == Some(410)).then_some(())
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_is_too_old_loses_no_job() {
    let mut world = World::new().await;
    world.kill_relay();
    world.start_relay_with(SHORT);
    let bazaar = Bazaar::over(world).await;
    let mut worker = bazaar.start("");
    assert_eq!(bazaar.buy("job_1").await, "four words are here");
    worker.kill();

    // By hand, fast: what was asked meanwhile is not heard of.
    bazaar.ask("job_2", "two").await;
    bazaar.forgotten().await;
    assert_eq!(names(&bazaar.verb(&["resync", "--fast"])), [""; 0]);
    assert!(bazaar.seller.poll(&PollQuery::default()).await.is_ok(), "the cursor holds again");
    assert_eq!(names(&bazaar.verb(&["poll"])), [""; 0]);
    // Careful: it is.
    assert!(names(&bazaar.verb(&["resync", "--careful"])).contains(&"job_2"));

    // The daemon does it by itself.
    bazaar.ask("job_3", "three").await;
    bazaar.forgotten().await;
    let _worker = bazaar.start("");
    for (name, text) in [("job_2", "two"), ("job_3", "three")] {
        let job = bazaar.charged(&bazaar.job(name).await).await;
        bazaar.pay(&job, PRICE);
        assert_eq!(bazaar.delivered(&job).await, text);
    }
    bazaar
        .world
        .eventually("a good cursor", async || {
            bazaar.seller.poll(&PollQuery::default()).await.ok()?.events.is_empty().then_some(())
        })
        .await;
    assert_eq!(bazaar.world.runs().into_values().collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(bazaar.job("job_1").await.status, Status::Delivered);
}
