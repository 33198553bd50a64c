//! The process: what it prints first, and how it ends.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::common::post;

#[tokio::test(flavor = "multi_thread")]
async fn it_says_where_it_listens_and_ends_when_told() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mock-nano-rpc"))
        .args(["--listen", "127.0.0.1:0", "--ws-listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let second = lines.next().unwrap().unwrap();
    let address = first.strip_prefix("mock-nano-rpc listening on http://").unwrap();
    assert!(second.starts_with("websocket on ws://127.0.0.1:"), "{second}");
    let version = post(address.parse().unwrap(), "/", r#"{"action":"version"}"#).await;
    assert_eq!(version.text_of("network"), Some("dev"));
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert!(child.wait().unwrap().success());
}
