//! The poller at the edge of its world.

use std::sync::Arc;

use super::*;
use crate::client::RelayClient;
use crate::edge::Clock;
use crate::protocol::signing::Signer;
use crate::store::{Batch, Keyspace};

/// A worker whose poller has ended would only seem to work.
#[tokio::test]
async fn a_store_that_cannot_be_read_ends_the_worker_and_not_only_the_poller() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(memory::open(dir.path()).unwrap());
    let newer: Keyspace<String, String> = Keyspace::new(memory::FACTS.id(), "newer", 200);
    let mut batch = Batch::default();
    newer.put(&mut batch, &fact::CURSOR.to_owned(), &"7".to_owned()).unwrap();
    store.commit(batch).unwrap();
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let signer = Signer::from_seed(&[1; 32]);
    let client = RelayClient::new("http://127.0.0.1:9", signer, clock, entropy.clone()).unwrap();
    let (pages, mut handed) = mpsc::channel(1);
    let (_hints, hints) = mpsc::channel(1);
    let ingest = Ingest {
        line: Arc::new(Line::new(client, entropy.clone())),
        store,
        pages,
        hints,
        min: Duration::from_millis(1),
        max: Duration::from_millis(1),
        entropy,
        registrar: None,
    };
    let running = tokio::spawn(ingest.run(CancellationToken::new()));
    let page: Page = handed.recv().await.unwrap();
    assert!(matches!(page.heard[..], [Heard::Broken(StoreError::Record { .. })]), "{:?}", page.heard);
    // The loop ends, and with it whoever waits for its word.
    drop(page);
    running.await.unwrap();
}
