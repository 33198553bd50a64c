//! A store is being made anew, and the process dies between any two steps: the next start goes on with it.

use super::*;

const AT: Timestamp = Timestamp::from_seconds(1_700_000_100);

/// How far the life came that died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    Written,
    HalfMoved,
    AllButSettingsMoved,
    Moved,
    Made,
    HalfFilled,
    Filled,
}

const CUTS: [Cut; 7] = [
    Cut::Written,
    Cut::HalfMoved,
    Cut::AllButSettingsMoved,
    Cut::Moved,
    Cut::Made,
    Cut::HalfFilled,
    Cut::Filled,
];

/// Does what a life does that makes a store anew, up to a cut.
fn live_until(cut: Cut, settings: &Settings, begun: Begun, file: &Path) {
    let dir = &settings.state_dir;
    let begun = Begun::write(dir, begun).unwrap();
    let reaches = |step: Cut| cut >= step;
    if matches!(cut, Cut::HalfMoved | Cut::AllButSettingsMoved) {
        let place = dir.join(name_aside(begun.prefix(), begun.at));
        fs::create_dir(&place).unwrap();
        fs::rename(dir.join("db"), place.join("db")).unwrap();
        if reaches(Cut::AllButSettingsMoved) {
            fs::rename(dir.join("flushed"), place.join("flushed")).unwrap();
        }
        return;
    }
    if reaches(Cut::Moved) {
        put_aside(dir, begun.prefix(), begun.at).unwrap();
    }
    match cut {
        // A store whose first record is not on the disk yet.
        Cut::Made => drop(memory::open(dir).unwrap()),
        Cut::HalfFilled => {
            let mut filling = memory::fill(dir, memory::SCHEMA).unwrap();
            let mut records = Vec::new();
            backup::read(file, |record| {
                records.push(record);
                Ok(())
            })
            .unwrap();
            for (key, value) in records.into_iter().take(3) {
                filling.put(key, value).unwrap();
            }
        }
        Cut::Filled => fill(dir, file, settings, &begun.note(Some(file), None)).unwrap(),
        _ => {}
    }
}

/// A state and its backup, and another file with what was backed up, outside the backups' directory.
fn scene() -> (tempfile::TempDir, Settings, String, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (_, saved) = state(dir.path(), &settings);
    let file = backups::list(&settings.backup.dir).unwrap().remove(0);
    (dir, settings, saved, file)
}

#[test]
fn a_death_between_any_two_steps_loses_no_backup() {
    for cut in CUTS {
        let (_dir, settings, saved, file) = scene();
        let begun = Begun { at: AT, why: "damage".to_owned(), from: None };
        live_until(cut, &settings, begun, &file);
        assert_eq!(diagnose(&settings).unwrap().is_none(), cut == Cut::Filled, "{cut:?}");
        let store = open(&settings, &clock()).unwrap_or_else(|error| panic!("{cut:?}: {error:?}"));
        assert!(records(&store) == saved, "{cut:?}");
        let note = memory::fact(&store, fact::RESTORED).unwrap().unwrap();
        assert!(note.contains(r#""why":"damage""#), "{note}");
        assert!(asides(&settings.state_dir) >= 1, "{cut:?}: what was there is kept");
        drop(store);
        // It has come to its end, and stays there.
        assert!(Begun::read(&settings.state_dir).unwrap().is_none(), "{cut:?}");
        assert!(records(&open(&settings, &clock()).unwrap()) == saved, "{cut:?}");
    }
}

/// The backup that was chosen by hand, and not the newest one.
#[test]
fn what_was_begun_by_hand_is_brought_to_its_end_with_the_backup_that_was_chosen() {
    for cut in CUTS {
        let (dir, settings, saved, file) = scene();
        let chosen = dir.path().join("chosen.backup");
        fs::rename(&file, &chosen).unwrap();
        let newer = memory::open(&dir.path().join("another")).unwrap();
        let mut batch = Batch::default();
        memory::put_fact(&mut batch, fact::WALLET, &settings.accounts.get(0).unwrap().to_string()).unwrap();
        newer.commit(batch).unwrap();
        backups::make(&newer, &settings.backup, AT.plus(std::time::Duration::from_secs(1))).unwrap();
        let begun = Begun { at: AT, why: "by hand".to_owned(), from: Some(chosen.clone()) };
        live_until(cut, &settings, begun, &chosen);
        let store = open(&settings, &clock()).unwrap_or_else(|error| panic!("{cut:?}: {error:?}"));
        assert!(records(&store) == saved, "{cut:?}");
        assert_eq!(asides(&settings.state_dir), 0, "{cut:?}: nothing was damaged");
    }
}

/// Where there is no backup, the new state must say that it is one all the same.
#[test]
fn an_empty_state_that_was_begun_is_known_to_be_made_anew() {
    for cut in CUTS.into_iter().filter(|cut| *cut < Cut::HalfFilled) {
        let (_dir, settings, _, file) = scene();
        fs::remove_file(&file).unwrap();
        live_until(cut, &settings, Begun { at: AT, why: "damage".to_owned(), from: None }, &file);
        let store = open(&settings, &clock()).unwrap_or_else(|error| panic!("{cut:?}: {error:?}"));
        assert_eq!(records(&store), "", "{cut:?}");
        assert!(memory::fact(&store, fact::RESTORED).unwrap().is_some(), "{cut:?}");
    }
}

/// Nothing that was written down is left by what has succeeded, and a file that nobody can read is no
/// reason to lose anything.
#[test]
fn what_is_written_down_ends_with_the_work() {
    let (_dir, settings, saved, file) = scene();
    restore(&settings, &file, true, AT).unwrap();
    assert!(Begun::read(&settings.state_dir).unwrap().is_none());
    fs::write(settings.state_dir.join("db"), b"nothing of a store").unwrap();
    drop(open(&settings, &clock()).unwrap());
    assert!(Begun::read(&settings.state_dir).unwrap().is_none());
    fs::write(settings.state_dir.join("rebuilding"), b"{").unwrap();
    assert!(records(&open(&settings, &clock()).unwrap()) == saved);
    assert_eq!(asides(&settings.state_dir), 2);
}
