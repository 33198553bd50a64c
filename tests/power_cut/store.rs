//! The store alone: several writers, and a power cut at any call.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use nano_worker::config::Env;
use nano_worker::store::{Batch, Blobs, Keyspace, OpenError, Options, Store};

use crate::disk::{Cut, Dice, Disk};
use crate::recorder::Recorder;
use crate::tape::{self, Entry};

const COUNTS: Keyspace<(u8, u64), u64> = Keyspace::new(1, "counts", 1);
const LAST: Keyspace<u8, u64> = Keyspace::new(2, "last", 1);
const BLOBS: Blobs<(u8, u64)> = Blobs::new(3, "blobs");

/// Where the child counts, how far, and where it says so; absent in the parent.
const CHILD: &str = "POWER_CUT_CHILD";

/// Writers that share the barrier.
const LANES: u8 = 3;
/// Calls in which a store is opened, and some more.
const OPENING: usize = 70;
/// Numbers that each lane keeps; what goes makes sled use its segments again.
const KEPT: u64 = 6;

fn open(dir: &Path) -> Result<Store, OpenError> {
    Store::open(&dir.join("state"), Options { kind: "test", schema: 1, cache_bytes: 1 << 20 })
}

/// What is written in one run.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// Bytes of sled's segments; `None` leaves them as they are for everybody.
    segment: Option<usize>,
    /// The longest blob.
    blob: usize,
    /// Batches of each lane in one life.
    batches: u64,
    /// Whether the power only goes while the store is opened.
    opening: bool,
}

/// As programs use it.
const USUAL: Shape = Shape { segment: None, blob: 90_000, batches: 25, opening: false };

/// Small segments, so that sled gives many of them up and writes them again within a second.
const BUSY: Shape = Shape { segment: Some(16_384), blob: 120, batches: 200, opening: false };

impl Shape {
    /// Some numbers have a long blob, most have a few bytes.
    fn blob(self, number: u64) -> Vec<u8> {
        let len = usize::try_from(number * 7_919).unwrap() % self.blob;
        vec![number.to_le_bytes()[0]; if number.is_multiple_of(3) { len } else { len % 100 }]
    }

    /// A store keeps the segments that its settings name. Their checksum is not looked at.
    fn prepare(self, root: &Path) {
        if let Some(bytes) = self.segment {
            let settings = format!("segment_size: {bytes}\nuse_compression: false\nversion: 0.34\n0000");
            std::fs::create_dir(root.join("state")).unwrap();
            std::fs::write(root.join("state/conf"), settings).unwrap();
        }
    }

    fn to_text(self) -> String {
        format!("{}:{}", self.blob, self.batches)
    }

    fn parse(text: &str) -> Self {
        let (blob, batches) = text.split_once(':').unwrap();
        Self { segment: None, opening: false, blob: blob.parse().unwrap(), batches: batches.parse().unwrap() }
    }
}

fn count_on(store: &Store, shape: Shape, lane: u8, batches: u64, durable: impl Fn(u64)) {
    let first = LAST.get(store, &lane).unwrap().unwrap_or(0) + 1;
    for number in first..first + batches {
        let mut batch = Batch::default();
        COUNTS.put(&mut batch, &(lane, number), &number).unwrap();
        LAST.put(&mut batch, &lane, &number).unwrap();
        BLOBS.put(&mut batch, &(lane, number), &shape.blob(number));
        if let Some(old) = number.checked_sub(KEPT) {
            COUNTS.remove(&mut batch, &(lane, old));
            BLOBS.remove(store, &mut batch, &(lane, old)).unwrap();
        }
        store.commit(batch).unwrap();
        store.durable_blocking().unwrap();
        durable(number);
    }
}

/// Counts in several lanes, each number in three places by one batch, and marks each that is durable.
#[test]
fn child() {
    let Some(place) = Env::system().get(CHILD) else { return };
    let (dir, rest) = place.split_once(':').unwrap();
    let (mark, shape) = rest.split_once(':').unwrap();
    let shape = Shape::parse(shape);
    let store = open(Path::new(dir)).unwrap();
    let say = |lane: u8, number: u64| {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(mark).unwrap();
        file.write_all(format!("{lane} {number}").as_bytes()).unwrap();
    };
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            let (store, say) = (&store, &say);
            scope.spawn(move || count_on(store, shape, lane, shape.batches, |number| say(lane, number)));
        }
    });
}

fn record(recorder: &Recorder, shape: Shape, blind: bool) -> Vec<Entry> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "store::child"])
        .envs(recorder.env())
        .env(CHILD, format!("{}:{}:{}", recorder.root.display(), recorder.mark.display(), shape.to_text()));
    if blind {
        child.env("POWER_BLIND", "1");
    }
    let output = child.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    tape::read(&recorder.tape)
}

/// What each lane was told is durable.
type Promised = [u64; LANES as usize];

fn hear(promised: &mut Promised, entry: &Entry) {
    if let Entry::Mark { text } = entry {
        let (lane, number) = std::str::from_utf8(text).unwrap().split_once(' ').unwrap();
        promised[lane.parse::<usize>().unwrap()] = number.parse().unwrap();
    }
}

/// Whether the store on an image keeps its promise, and goes on to do so.
fn check(image: &Path, shape: Shape, promised: &Promised) -> Result<(), String> {
    let store = open(image).map_err(|error| format!("it does not open: {error} ({error:?})"))?;
    let found = read(&store, shape)?;
    for (lane, (&found, &promised)) in found.iter().zip(promised).enumerate() {
        if found < promised {
            return Err(format!("lane {lane}: {promised} was durable, and {found} is the last one found"));
        }
    }
    for lane in 0..LANES {
        count_on(&store, shape, lane, 2, |_| ());
    }
    drop(store);
    let store =
        open(image).map_err(|error| format!("it does not open a second time: {error} ({error:?})"))?;
    let later = read(&store, shape)?;
    if later != found.map(|number| number + 2) {
        return Err(format!("{found:?} and two more are {later:?}"));
    }
    Ok(())
}

fn read(store: &Store, shape: Shape) -> Result<Promised, String> {
    let mut found = Promised::default();
    for lane in 0..LANES {
        let last = LAST.get(store, &lane).map_err(|error| error.to_string())?.unwrap_or(0);
        let kept: Vec<u64> = (last.saturating_sub(KEPT) + 1..=last).collect();
        let counts: Vec<u64> = COUNTS
            .prefix(store, &lane)
            .map(|entry| entry.map(|(_, number)| number))
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        if counts != kept {
            return Err(format!("lane {lane}: {last} is the last one, and {counts:?} are there"));
        }
        for number in kept {
            let bytes = BLOBS.get(store, &(lane, number)).map_err(|error| error.to_string())?;
            if bytes != Some(shape.blob(number)) {
                return Err(format!("lane {lane}: the blob of {number} is not what was stored"));
            }
        }
        found[usize::from(lane)] = last;
    }
    Ok(found)
}

/// Cuts the power in one life after the other, each beginning on what a cut has left of the one before.
fn lives(shape: Shape, seed: u64, lives: usize, cuts_per_life: usize, blind: bool) -> (usize, Vec<String>) {
    let scratch = scratch();
    let mut dice = Dice::new(seed);
    let (mut images, mut broken) = (0, Vec::new());
    let mut promised = Promised::default();
    let mut root = scratch.path().join("root-0");
    std::fs::create_dir(&root).unwrap();
    shape.prepare(&root);
    for life in 0..lives {
        let own = scratch.path().join(format!("life-{life}"));
        std::fs::create_dir(&own).unwrap();
        let mut disk = Disk::of(&root);
        let entries = record(&Recorder::new(&root, &own), shape, blind);
        if let Some(segment) = shape.segment {
            assert!(used_again(&entries, segment) > 5, "sled is to write over what it has given up");
        }
        let share = entries.len().div_ceil(cuts_per_life).max(1);
        let next_life = dice.below(entries.len());
        let mut next = None;
        for (at, entry) in entries.iter().enumerate() {
            hear(&mut promised, entry);
            if !disk.play(entry) {
                continue;
            }
            if shape.opening && at > OPENING && (next.is_some() || at < next_life) {
                continue;
            }
            // All moments just after a sync, and some of the others.
            if !matches!(entry, Entry::SyncEnds { .. }) && dice.below(share) != 0 {
                continue;
            }
            let image = own.join(format!("image-{at}"));
            let cut = Cut::any(&mut dice);
            let after = dice.clone();
            disk.cut(cut, &mut dice, &image);
            images += 1;
            match check(&image, shape, &promised) {
                Ok(()) => {
                    std::fs::remove_dir_all(&image).unwrap();
                    if next.is_none() && at >= next_life {
                        let image = scratch.path().join(format!("root-{}", life + 1));
                        disk.cut(cut, &mut after.clone(), &image);
                        next = Some((image, promised));
                    }
                }
                Err(reason) => {
                    broken.push(format!("life {life}, entry {at} {cut:?}: {reason}"));
                    if blind {
                        return (images, broken);
                    }
                }
            }
        }
        let Some((image, at_cut)) = next else { break };
        (root, promised) = (image, at_cut);
    }
    (images, broken)
}

/// How often a segment was begun where one was before.
fn used_again(entries: &[Entry], segment: usize) -> usize {
    let begun = |entry: &Entry| match entry {
        Entry::Write { offset, data, .. } if data.len() > 20 && offset % segment == 0 => Some(*offset),
        _ => None,
    };
    let begun: Vec<usize> = entries.iter().filter_map(begun).collect();
    let places: std::collections::BTreeSet<usize> = begun.iter().copied().collect();
    begun.len() - places.len()
}

/// In memory where there is such a place: a thousand images are a thousand opened stores.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

#[test]
fn what_was_called_durable_survives_a_power_cut_at_any_call() {
    survives(USUAL, 4, 60);
}

#[test]
fn an_opening_that_clears_segments_survives_a_power_cut_at_any_call() {
    survives(Shape { opening: true, ..BUSY }, 10, 60);
}

#[test]
fn segments_that_are_used_again_survive_a_power_cut_at_any_call() {
    survives(BUSY, 3, 60);
}

/// `POWER_SEED` chooses other cuts than the usual ones, `POWER_LIVES` how many lives follow each other.
fn survives(shape: Shape, usual: usize, cuts_per_life: usize) {
    let started = Instant::now();
    let number = |name: &str| Env::system().get(name).map(|text| text.parse::<u64>().unwrap());
    let seed = number("POWER_SEED").unwrap_or(1);
    let count = number("POWER_LIVES").map_or(usual, |lives| usize::try_from(lives).unwrap());
    let (images, broken) = lives(shape, seed, count, cuts_per_life, false);
    println!("{images} power cuts in {count} lives, {} broken, {:.1?}", broken.len(), started.elapsed());
    assert!(broken.is_empty(), "{} of {images}:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn without_the_sync_of_the_barrier_the_instrument_shows_the_loss() {
    let (_, broken) = lives(USUAL, 1, 1, 400, true);
    assert!(!broken.is_empty(), "syncs were not believed, and nothing was lost");
}
