//! What the store promises, tried on a real directory.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

mod copies;

const NUMBERS: Keyspace<(u8, u64), String> = Keyspace::new(1, "numbers", 1);
const OTHERS: Keyspace<u64, String> = Keyspace::new(2, "others", 1);
const BLOBS: Blobs<u64> = Blobs::new(3, "blobs");
const OPTIONS: Options<'_> = Options { kind: "test", schema: 1, cache_bytes: 1 << 20 };

fn open(dir: &Path) -> Store {
    Store::open(dir, OPTIONS).unwrap()
}

#[tokio::test]
async fn what_is_durable_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(dir.path());
        let mut batch = Batch::default();
        NUMBERS.put(&mut batch, &(1, 7), &"seven".to_owned()).unwrap();
        BLOBS.put(&mut batch, &9, &[5; 200_000]);
        store.commit_durable(batch).await.unwrap();
    }
    let store = open(dir.path());
    assert_eq!(NUMBERS.get(&store, &(1, 7)).unwrap().as_deref(), Some("seven"));
    assert_eq!(BLOBS.get(&store, &9).unwrap(), Some(vec![5; 200_000]));
}

#[tokio::test]
async fn waiters_share_flushes_and_idle_waits_cost_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    let before = store.flushes();
    let tasks: Vec<_> = (0..100u64)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut batch = Batch::default();
                OTHERS.put(&mut batch, &number, &String::new()).unwrap();
                store.commit_durable(batch).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let after = store.flushes();
    assert!(after - before < 100, "{} flushes for 100 commits", after - before);
    store.durable().await.unwrap();
    assert_eq!(store.flushes(), after);
}

#[test]
fn keyspaces_do_not_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut batch = Batch::default();
    for number in [3u64, 1, u64::MAX, 2] {
        NUMBERS.put(&mut batch, &(0, number), &number.to_string()).unwrap();
        OTHERS.put(&mut batch, &number, &"other".to_owned()).unwrap();
    }
    NUMBERS.put(&mut batch, &(1, 0), &"next".to_owned()).unwrap();
    store.commit(batch).unwrap();
    let keys = |scan: Scan<'_, (u8, u64), String>| scan.map(|entry| entry.unwrap().0.1).collect::<Vec<_>>();
    assert_eq!(keys(NUMBERS.prefix(&store, &0u8)), [1, 2, 3, u64::MAX]);
    assert_eq!(keys(NUMBERS.after(&store, &(0, 2))), [3, u64::MAX, 0]);
    assert_eq!(NUMBERS.all(&store).count(), 5);
    assert_eq!(OTHERS.all(&store).next_back().unwrap().unwrap().0, u64::MAX);
}

#[test]
fn a_second_process_a_stranger_and_a_newer_store_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    {
        let _open = open(dir.path());
        let second = Store::open(dir.path(), OPTIONS);
        assert!(matches!(second, Err(OpenError::InUse(_))), "{second:?}");
    }
    let stranger = Store::open(dir.path(), Options { kind: "other", ..OPTIONS });
    assert!(matches!(stranger, Err(OpenError::OtherKind { .. })), "{stranger:?}");
    let known = [Migration { from: 1, change: |_, _| Ok(()) }];
    let unknown = Store::open(dir.path(), Options { schema: 2, ..OPTIONS });
    assert!(matches!(unknown, Err(OpenError::NoWay { found: 1, known: 2, .. })), "{unknown:?}");
    drop(Store::open_and_migrate(dir.path(), Options { schema: 2, ..OPTIONS }, &known).unwrap());
    let older = Store::open(dir.path(), OPTIONS);
    assert!(matches!(older, Err(OpenError::Newer { found: 2, known: 1, .. })), "{older:?}");
}

#[test]
fn a_record_of_a_newer_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let newer: Keyspace<u64, String> = Keyspace::new(2, "others", 9);
    let mut batch = Batch::default();
    newer.put(&mut batch, &1, &"later".to_owned()).unwrap();
    store.commit(batch).unwrap();
    assert!(matches!(OTHERS.get(&store, &1), Err(StoreError::Record { .. })));
}

#[test]
fn a_value_that_sled_would_move_to_a_file_of_its_own_is_refused() {
    let mut batch = Batch::default();
    let large = "x".repeat(VALUE_BYTES_MAX);
    assert!(matches!(OTHERS.put(&mut batch, &1, &large), Err(StoreError::TooLarge { .. })));
    assert!(batch.is_empty());
}

#[test]
fn no_page_of_the_largest_values_is_moved_to_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let large = "x".repeat(VALUE_BYTES_MAX - 3);
    let mut ids = 1u64;
    for round in 0..12 {
        let mut batch = Batch::default();
        for _ in 0..40 {
            ids = ids.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            OTHERS.put(&mut batch, &(ids >> 56), &large).unwrap();
            if round % 3 == 2 {
                OTHERS.remove(&mut batch, &(ids >> 40 & 0xff));
            }
        }
        BLOBS.put(&mut batch, &round, &[7; 300_000]);
        store.commit(batch).unwrap();
    }
    store.durable_blocking().unwrap();
    drop(store);
    drop(open(dir.path()));
    let files: Vec<_> = std::fs::read_dir(dir.path().join("blobs")).unwrap().collect();
    assert!(files.is_empty(), "{files:?}");
}

#[test]
fn a_snapshot_that_a_killed_process_left_half_written_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(dir.path());
        let mut batch = Batch::default();
        OTHERS.put(&mut batch, &1, &"kept".to_owned()).unwrap();
        store.commit(batch).unwrap();
        store.durable_blocking().unwrap();
    }
    for half in [&b""[..], b"half of a snapshot"] {
        let file = dir.path().join("snap.7FFFFFFFFFFFFFFF.generating");
        std::fs::write(&file, half).unwrap();
        let store = open(dir.path());
        assert_eq!(OTHERS.get(&store, &1).unwrap().as_deref(), Some("kept"));
        assert!(!file.exists());
    }
}

#[test]
fn the_directory_is_its_owners() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("state");
    let _store = open(&inner);
    assert_eq!(std::fs::metadata(&inner).unwrap().permissions().mode() & 0o777, 0o700);
}

proptest! {
    #[test]
    fn key_bytes_sort_as_keys_do(a: (u8, u64), b: (u8, u64)) {
        let bytes = |key: &(u8, u64)| { let mut bytes = Vec::new(); key.encode(&mut bytes); bytes };
        prop_assert_eq!(bytes(&a).cmp(&bytes(&b)), a.cmp(&b));
        prop_assert_eq!(<(u8, u64)>::decode(&mut bytes(&a).as_slice()), Some(a));
    }
}

#[test]
fn bytes_that_are_no_key_are_not_read_as_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (long, short): (Keyspace<[u8; 9], u8>, Keyspace<[u8; 8], u8>) =
        (Keyspace::new(1, "long", 1), Keyspace::new(1, "short", 1));
    let mut batch = Batch::default();
    long.put(&mut batch, &[7; 9], &1).unwrap();
    store.commit(batch).unwrap();
    assert!(long.all(&store).all(|entry| entry.is_ok()));
    assert!(short.all(&store).all(|entry| matches!(entry, Err(StoreError::Record { .. }))));
}
