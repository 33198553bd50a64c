//! Whoever polls by hand over /v1 is woken by `watch`, whatever becomes of the relay meanwhile.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::world::{OfferText, PRICE, Process, World, text};

/// A watch whose command writes a line and fails; the next wake runs it all the same.
fn watch(world: &World, command: &[&str], out: Stdio) -> Process {
    let mut watch = Command::new(env!("CARGO_BIN_EXE_worker"));
    watch.arg("watch").arg("--config").arg(world.path("one.toml")).arg("--json").args(command);
    Process { child: watch.current_dir(world.path("")).stdout(out).spawn().unwrap() }
}

fn lines(world: &World, name: &str) -> usize {
    fs::read_to_string(world.path(name)).unwrap_or_default().lines().count()
}

/// Until both watches have been woken once more; how often by then.
async fn woken(world: &World, before: (usize, usize)) -> (usize, usize) {
    world
        .eventually("a wake-up", async || {
            let now = (lines(world, "woken"), lines(world, "printed"));
            (now.0 > before.0 && now.1 > before.1).then_some(now)
        })
        .await
}

fn by_hand(world: &World, arguments: &[&str]) -> serde_json::Value {
    let (code, out) = world.ask_worker("one", &[arguments, &["--json"]].concat());
    assert_eq!(code, Some(0), "{arguments:?}: {out}\n{}", world.logs());
    serde_json::from_str(&out).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_over_v1_survives_its_relay() {
    let mut world = World::new().await;
    world.configure("one", &OfferText { offer: format!("price_raw = \"{PRICE}\""), ..OfferText::default() });
    // The offer is made; nobody runs.
    by_hand(&world, &["poll"]);
    let printed = fs::File::create(world.path("printed")).unwrap();
    let mut prints = watch(&world, &[], printed.into());
    let mut runs = watch(&world, &["--", "/bin/sh", "-c", "echo woken >> woken; false"], Stdio::null());
    let mut times = woken(&world, (0, 0)).await;
    for round in 0..2 {
        let asked = world.request(&text("wake up")).await;
        times = woken(&world, times).await;
        // Each wake-up is worth a look.
        world
            .eventually("the news", async || {
                by_hand(&world, &["poll"]).to_string().contains(&asked.to_string()).then_some(())
            })
            .await;
        if round == 0 {
            world.kill_relay();
            tokio::time::sleep(Duration::from_millis(500)).await;
            times = (lines(&world, "woken"), lines(&world, "printed"));
            world.start_relay();
            // What was told while the line was down was told to nobody.
            times = woken(&world, times).await;
        }
    }
    let told = fs::read_to_string(world.path("printed")).unwrap();
    assert!(told.lines().all(|line| line.contains("\"event\":\"wake\"")), "{told}");
    assert!(told.contains("\"why\":\"news\""), "{told}");
    for watch in [&mut prints, &mut runs] {
        watch.signal(Signal::TERM);
        assert!(watch.wait().success());
    }
}
