//! Work from wherever there is some.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mock_nano_rpc::{Config, Fault, FaultKind, MockNode};
use nano_currency::Network;
use nano_currency::rpc::work::Source;
use nano_currency::rpc::{Rpc, RpcConfig, WorkSources};
use nano_currency::work::{Difficulty, Rate, sample};

async fn node() -> (MockNode, Rpc) {
    let mock = MockNode::start(Config::default()).await.unwrap();
    let rpc = Rpc::new(&RpcConfig::new([mock.rpc_url()], || Duration::ZERO)).unwrap();
    (mock, rpc)
}

fn refuses(mock: &MockNode) {
    mock.with(|node, _| node.settings.control_enabled = false);
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_are_asked_in_their_order() {
    let ((node, nodes), (server, servers)) = (node().await, node().await);
    let sources = WorkSources { nodes: Some(nodes), servers: Some(servers), cpu: true };
    let threshold = Network::Dev.work().send;
    let find = async || {
        let warned = AtomicBool::new(false);
        let found =
            sources.find(&[7; 32], threshold, 1, || warned.store(true, Ordering::Relaxed)).await.unwrap();
        assert!(found.work.difficulty(&[7; 32]) >= threshold);
        assert_eq!(
            warned.load(Ordering::Relaxed),
            found.source == Source::Cpu,
            "said before minutes are spent"
        );
        found.source
    };
    assert_eq!(find().await, Source::Node);
    assert_eq!(server.stats().of("work_generate"), 0);
    refuses(&node);
    assert_eq!(find().await, Source::Server);
    refuses(&server);
    assert_eq!(find().await, Source::Cpu);
    let none = WorkSources { cpu: false, ..sources.clone() };
    let error = none.find(&[7; 32], threshold, 1, || ()).await.unwrap_err();
    assert_eq!(error.failures.len(), 2);
    let text = error.to_string();
    assert!(
        text.starts_with("no work was found: the node: ") && text.contains("; the work servers: "),
        "{text}"
    );
    assert!(text.contains("RPC control is disabled"), "{text}");
    let nobody = WorkSources::default().find(&[7; 32], threshold, 1, || ()).await.unwrap_err();
    assert_eq!(nobody.to_string(), "no work was found: nobody may be asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_waiting_calls_the_search_off() {
    let (node, nodes) = node().await;
    let hang = Fault { kind: FaultKind::Hang, action: Some("work_generate".to_owned()), count: None };
    assert!(node.fault(hang));
    let sources = WorkSources { nodes: Some(nodes), ..WorkSources::default() };
    let search = sources.find(&[7; 32], Network::Dev.work().send, 1, || ());
    assert!(tokio::time::timeout(Duration::from_millis(200), search).await.is_err());
    let told = async {
        while node.stats().of("work_cancel") == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), told).await.expect("the node is told");
}

/// The runtime waits for its blocking threads, so a search that went on would hang this test.
#[test]
fn a_search_on_our_own_cores_ends_with_its_future() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let sources = WorkSources { cpu: true, ..WorkSources::default() };
        let search = sources.find(&[7; 32], Difficulty::new(u64::MAX), 1, || ());
        assert!(tokio::time::timeout(Duration::from_millis(100), search).await.is_err());
    });
}

#[test]
fn an_estimate_follows_from_a_sample() {
    let rate = Rate::measured(1_000_000, Duration::from_secs(1), 2).unwrap();
    // 2^29 tries on average, at two million in a second.
    assert_eq!(rate.expected(Network::Live.work().send).as_secs(), 268);
    assert_eq!(rate.expected(Network::Live.work().receive).as_secs(), 4);
    assert!(Rate::measured(1, Duration::ZERO, 1).is_none());
    assert!(Rate::measured(0, Duration::from_secs(1), 1).is_none());
    assert!(sample(&[7; 32], 10_000, 0) > Difficulty::new(1 << 63));
}
