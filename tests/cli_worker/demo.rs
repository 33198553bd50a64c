//! The demo runs to its end, and leaves nothing behind however it ends.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use super::bench::{Bench, Daemon};

/// What the demo left in its directory for temporary files.
fn left_behind(bench: &Bench) -> Vec<String> {
    let names = fs::read_dir(bench.path("")).unwrap().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with("worker-demo-")).collect()
}

/// Processes that live in the bench's directory.
fn processes(bench: &Bench) -> usize {
    let dir = bench.path("").canonicalize().unwrap();
    let cwds = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path().join("cwd")).ok());
    cwds.filter(|cwd| cwd.starts_with(&dir)).count()
}

#[test]
fn the_sale_happens() {
    let bench = Bench::new();
    // Whoever has real money named in the environment must not see it spent by a demo.
    let mut command = bench.command(&["demo"]);
    command.env("RELAY_URL", "http://127.0.0.1:1").env("NANO_SEED", "11".repeat(32));
    let ended = super::bench::ended(&mut command);
    assert_eq!(ended.code, 0, "{ended:?}");
    for said in [
        "nano:nano_",
        "█",
        "$ buyer pay ",
        "result    9\n",
        "timeline\n",
        "handler succeeded",
        "paid to delivered in",
    ] {
        assert!(ended.out.contains(said), "{said:?} is not in\n{}", ended.out);
    }
    assert_eq!((left_behind(&bench), processes(&bench)), (Vec::new(), 0));
}

#[test]
fn machines_get_one_document() {
    let bench = Bench::new();
    let ended = bench.worker(&["demo", "--json"]);
    let sale = ended.json();
    assert_eq!((ended.code, &sale["result"]), (0, &serde_json::json!("9")));
    assert_eq!(sale["job"]["status"], "delivered");
    let moments = sale["timeline"].as_array().unwrap();
    let times: Vec<f64> = moments.iter().map(|moment| moment["ms"].as_f64().unwrap()).collect();
    assert!(times.len() > 10 && times.is_sorted(), "{times:?}");
}

#[test]
fn ctrl_c_ends_everything() {
    let bench = Bench::new();
    let mut demo =
        Daemon(bench.command(&["demo"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    bench.eventually("a demo", || processes(&bench) >= 3);
    demo.signal(Signal::INT);
    assert_eq!(demo.wait(), 130);
    assert_eq!((left_behind(&bench), processes(&bench)), (Vec::new(), 0));
}

#[test]
fn even_a_killed_demo_leaves_no_process() {
    let bench = Bench::new();
    let mut demo =
        Daemon(bench.command(&["demo"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    bench.eventually("a demo", || processes(&bench) >= 3);
    demo.signal(Signal::KILL);
    demo.wait();
    bench.eventually("an end of all processes", || processes(&bench) == 0);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(processes(&bench), 0);
}
