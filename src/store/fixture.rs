//! Stores as released versions wrote them, kept as text: `tests/fixtures/stores/NAME.store` is the
//! directory, and `NAME.records` what is in it.
//!
//! `UPDATE_FIXTURES=1 cargo test --lib fixture` writes those of the current version that are missing.
//! One that is there is never written again: it stands for what users have on their disks.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Batch, Store};

/// Bytes in one line; all-zero lines are left out, and a store is hardly anything else.
const ROW: usize = 64;

fn path(name: &str, kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stores").join(format!("{name}.{kind}"))
}

/// Makes the fixture `name` where it is missing and this is asked for, and lays it out in a directory.
pub(crate) fn lay_out(
    name: &str,
    open: impl Fn(&Path) -> Store,
    fill: impl Fn(&mut Batch),
) -> tempfile::TempDir {
    let file = path(name, "store");
    if !file.exists() && may_write() {
        let dir = tempfile::tempdir().unwrap();
        let records = {
            let store = open(dir.path());
            let mut batch = Batch::default();
            fill(&mut batch);
            store.commit(batch).unwrap();
            store.durable_blocking().unwrap();
            records(&store)
        };
        fs::write(&file, pack(dir.path())).unwrap();
        fs::write(path(name, "records"), records).unwrap();
    }
    let text = fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_FIXTURES=1 makes it", file.display()));
    let dir = tempfile::tempdir().unwrap();
    unpack(&text, dir.path());
    dir
}

/// What is in the fixture, one record a line.
pub(crate) fn written(name: &str) -> String {
    fs::read_to_string(path(name, "records")).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "whether to write or to compare is said by the environment")]
fn may_write() -> bool {
    std::env::var_os("UPDATE_FIXTURES").is_some()
}

/// All records of a store as text.
pub(crate) fn records(store: &Store) -> String {
    let mut text = String::new();
    let mut view = store.view().unwrap();
    loop {
        let piece = view.next_piece().unwrap();
        if piece.is_empty() {
            return text;
        }
        for (key, value) in piece {
            let readable = value.first().is_some_and(|version| *version < b' ')
                && value[1..].iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
            let value = match readable {
                true => format!("v{} {}", value[0], String::from_utf8_lossy(&value[1..])),
                false => format!("hex {}", hex::encode(value)),
            };
            writeln!(text, "{} {value}", hex::encode(key)).unwrap();
        }
    }
}

fn pack(dir: &Path) -> String {
    let mut text = String::new();
    pack_files(dir, "", &mut text);
    text
}

fn pack_files(dir: &Path, prefix: &str, text: &mut String) {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let name = format!("{prefix}{}", file.file_name().unwrap().to_str().unwrap());
        if file.is_dir() {
            writeln!(text, "directory {name}").unwrap();
            pack_files(&file, &format!("{name}/"), text);
            continue;
        }
        let bytes = fs::read(&file).unwrap();
        writeln!(text, "file {name} {}", bytes.len()).unwrap();
        for (number, row) in bytes.chunks(ROW).enumerate() {
            if row.iter().any(|byte| *byte != 0) {
                writeln!(text, "{:x} {}", number * ROW, hex::encode(row)).unwrap();
            }
        }
    }
}

fn unpack(text: &str, dir: &Path) {
    let mut current: Option<(PathBuf, Vec<u8>)> = None;
    let end = |file: Option<(PathBuf, Vec<u8>)>| {
        if let Some((path, bytes)) = file {
            fs::write(path, bytes).unwrap();
        }
    };
    for line in text.lines() {
        let mut words = line.split(' ');
        match words.next().unwrap() {
            "directory" => fs::create_dir(dir.join(words.next().unwrap())).unwrap(),
            "file" => {
                let (name, length) = (words.next().unwrap(), words.next().unwrap());
                end(current.replace((dir.join(name), vec![0; length.parse().unwrap()])));
            }
            offset => {
                let (_, bytes) = current.as_mut().unwrap();
                let offset = usize::from_str_radix(offset, 16).unwrap();
                let row = hex::decode(words.next().unwrap()).unwrap();
                bytes[offset..offset + row.len()].copy_from_slice(&row);
            }
        }
    }
    end(current);
}
