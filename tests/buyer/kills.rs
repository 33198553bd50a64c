//! The program is killed at random moments, and never pays twice.

use std::time::Duration;

use nano_worker::edge::monotonic;
use nano_worker::nano::Amount;
use nano_worker::protocol::Status;
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::command::program;
use super::scene::{Scene, payer};
use super::shop::OFFER;

/// Purchases that are begun; each is killed up to three times.
const PURCHASES: usize = 30;

#[tokio::test]
async fn killed_anywhere_and_resumed_it_pays_once() {
    let scene = Scene::set(1_000_000).await;
    // Slow enough that every step is hit by some kill.
    scene.shop.shelf().delay = Duration::from_millis(8);
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    // Kills fall anywhere into what a whole purchase takes on this machine now, or a busier one.
    let began = monotonic();
    let buy = ["buy", OFFER, "--payload", "1", "--max-price-xno", "1"];
    assert!(program(&scene, &buy).output().await.unwrap().status.success());
    let whole_ms = (monotonic() - began).as_millis() as u64 + 1;
    for _ in 0..PURCHASES {
        let mut arguments = buy.to_vec();
        for _ in 0..3 {
            let mut child = program(&scene, &arguments);
            let mut child = child
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            tokio::time::sleep(Duration::from_millis(random.next_u64() % (2 * whole_ms))).await;
            child.start_kill().ok();
            child.wait().await.unwrap();
            scene.paid_jobs();
            arguments = vec!["resume"];
        }
    }
    let resumed = program(&scene, &["resume"]).output().await.unwrap();
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    let jobs = scene.shop.invoices();
    assert!(jobs.iter().all(|(job, _)| job.status == Status::Delivered));
    assert!(jobs.len() > PURCHASES / 5, "too few purchases got anywhere: {}", jobs.len());
    assert_eq!(scene.paid_jobs(), jobs.len());
    let spent = 1_000 * jobs.len() as u128;
    let left = scene.mock.with(|node, _| node.ledger.balance(&payer()));
    assert_eq!(left, Amount::from_raw(1_000_000 - spent));
}
