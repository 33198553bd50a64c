//! A whole store, out and in again; what is missing at its end; from version to version.

use super::*;

fn put(store: &Store, number: u64, text: &str) {
    let mut batch = Batch::default();
    OTHERS.put(&mut batch, &number, &text.to_owned()).unwrap();
    store.commit(batch).unwrap();
}

fn rest(view: &mut View<'_>) -> Vec<RawRecord> {
    let mut records = Vec::new();
    loop {
        let piece = view.next_piece().unwrap();
        if piece.is_empty() {
            return records;
        }
        records.extend(piece);
    }
}

fn all(store: &Store) -> Vec<RawRecord> {
    rest(&mut store.view().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is written, changed and removed while it is read, a view is what was there before.
    #[test]
    fn a_view_is_of_one_moment(
        before in proptest::collection::vec(0u64..2_000, 1..900),
        changes in proptest::collection::vec((0usize..8, 0u64..2_000, any::<bool>()), 0..400),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        for number in &before {
            put(&store, *number, "before");
        }
        let expected = all(&store);
        let mut view = store.view().unwrap();
        prop_assert!(matches!(store.view(), Err(StoreError::Busy)));
        let mut found = Vec::new();
        for piece in 0..8 {
            for (_, number, remove) in changes.iter().filter(|(at, ..)| *at == piece) {
                let mut batch = Batch::default();
                match remove {
                    true => OTHERS.remove(&mut batch, number),
                    false => OTHERS.put(&mut batch, number, &"after".to_owned()).unwrap(),
                }
                store.commit(batch).unwrap();
            }
            found.extend(view.next_piece().unwrap());
        }
        found.extend(rest(&mut view));
        drop(view);
        prop_assert_eq!(found, expected);
        prop_assert_eq!(all(&store).len(), OTHERS.all(&store).count());
    }
}

#[test]
fn a_store_is_filled_whole_or_refused() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(from.path());
    for number in 0..300 {
        put(&store, number, &"x".repeat(5_000));
    }
    let records = all(&store);
    {
        let mut filling = Filling::begin(to.path(), OPTIONS).unwrap();
        for (key, value) in &records[..200] {
            filling.put(key.clone(), value.clone()).unwrap();
        }
        assert!(filling.put(vec![0, 1], vec![]).is_err(), "the store's own notes were overwritten");
    }
    let half = Store::open(to.path(), OPTIONS);
    assert!(matches!(&half, Err(error @ OpenError::Incomplete(_)) if error.is_damage()), "{half:?}");
    assert!(matches!(Filling::begin(to.path(), OPTIONS), Err(OpenError::Taken(_))));

    let aside = aside::move_aside(to.path(), "half").unwrap();
    assert!(aside.join("db").exists() && !aside::is_there(to.path()));
    let mut filling = Filling::begin(to.path(), OPTIONS).unwrap();
    for (key, value) in &records {
        filling.put(key.clone(), value.clone()).unwrap();
    }
    filling.finish(|batch| NUMBERS.put(batch, &(1, 1), &"last".to_owned())).unwrap();
    let filled = open(to.path());
    assert_eq!(NUMBERS.get(&filled, &(1, 1)).unwrap().as_deref(), Some("last"));
    assert_eq!(all(&filled).len(), records.len() + 1);
    assert_eq!(aside::move_aside(to.path(), "half").unwrap(), to.path().join("half-2"));
}

#[test]
fn a_store_that_has_lost_its_end_is_not_taken_for_a_whole_one() {
    let dir = tempfile::tempdir().unwrap();
    let copy = {
        let store = open(dir.path());
        put(&store, 1, "one");
        store.durable_blocking().unwrap();
        std::fs::read(dir.path().join("db")).unwrap()
    };
    {
        let store = open(dir.path());
        put(&store, 1, "two");
        store.durable_blocking().unwrap();
    }
    assert_eq!(OTHERS.get(&open(dir.path()), &1).unwrap().as_deref(), Some("two"));
    // As sled leaves it when it takes damaged bytes for the end of its log.
    std::fs::write(dir.path().join("db"), copy).unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let older = Store::open(dir.path(), OPTIONS);
    assert!(matches!(&older, Err(error @ OpenError::Older { .. }) if error.is_damage()), "{older:?}");
    // The file beside it may be lost, as in a power cut: then nothing is known, and nothing refused.
    std::fs::remove_file(dir.path().join("flushed")).unwrap();
    assert_eq!(OTHERS.get(&open(dir.path()), &1).unwrap().as_deref(), Some("one"));
}

/// Each step leaves a line.
fn step(from: u64) -> impl Fn(&Store, &mut Batch) -> Result<(), StoreError> {
    move |_, batch| OTHERS.put(batch, &from, &format!("{from} to {}", from + 1))
}

const STEPS: [Migration; 2] = [
    Migration { from: 1, change: |store, batch| step(1)(store, batch) },
    Migration { from: 2, change: |store, batch| step(2)(store, batch) },
];

#[test]
fn a_store_goes_from_version_to_version_and_a_step_that_fails_is_taken_again() {
    let dir = tempfile::tempdir().unwrap();
    put(&open(dir.path()), 9, "nine");
    let third = Options { schema: 3, ..OPTIONS };
    let broken = Migration { from: 2, change: |_, _| Err(StoreError::Busy) };
    let failed = Store::open_and_migrate(dir.path(), third, &[STEPS[0], broken]);
    assert!(matches!(failed, Err(OpenError::Prepare(StoreError::Busy))), "{failed:?}");
    // The first step stays taken, and is not taken again.
    let twice = Migration { from: 1, change: |_, _| Err(StoreError::Busy) };
    let store = Store::open_and_migrate(dir.path(), third, &[twice, STEPS[1]]).unwrap();
    let lines: Vec<String> = OTHERS.all(&store).map(|entry| entry.unwrap().1).collect();
    assert_eq!(lines, ["1 to 2", "2 to 3", "nine"]);
    drop(store);
    let again = Store::open_and_migrate(dir.path(), third, &[]).unwrap();
    assert_eq!(OTHERS.all(&again).count(), 3);
}

#[test]
fn damage_in_any_byte_is_an_error_and_never_a_panic_or_another_answer() {
    let dir = tempfile::tempdir().unwrap();
    let records = {
        let store = open(dir.path());
        for number in 0..40 {
            put(&store, number, &format!("{number} ").repeat(40));
            store.durable_blocking().unwrap();
        }
        all(&store)
    };
    let whole = std::fs::read(dir.path().join("db")).unwrap();
    let written = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let (mut refused, mut unharmed) = (0, 0);
    for number in 0..120usize {
        let place = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(dir.path()).unwrap().flatten().filter(|entry| entry.path().is_file()) {
            std::fs::copy(entry.path(), place.path().join(entry.file_name())).unwrap();
        }
        let at = written * number / 120;
        let mut bytes = whole.clone();
        match number % 3 {
            0 => bytes[at] ^= 1 << (number % 8),
            1 => {
                let end = (at + 512).min(bytes.len());
                bytes[at..end].fill(0);
            }
            _ => bytes.truncate(at),
        }
        std::fs::write(place.path().join("db"), bytes).unwrap();
        match Store::open(place.path(), OPTIONS) {
            Err(error) => {
                assert!(error.is_damage(), "{number}: {error:?}");
                refused += 1;
            }
            Ok(store) => {
                let mut view = store.view().unwrap();
                let mut found = Vec::new();
                let read = loop {
                    match view.next_piece() {
                        Ok(piece) if piece.is_empty() => break Ok(()),
                        Ok(piece) => found.extend(piece),
                        Err(error) => break Err(error),
                    }
                };
                match read {
                    Err(error) => assert!(error.is_damage(), "{number}: {error:?}"),
                    Ok(()) => {
                        assert_eq!(found, records, "{number}: another answer");
                        unharmed += 1;
                    }
                }
            }
        }
    }
    assert!(refused > 0, "no harm was noticed");
    assert!(unharmed < 120);
}
