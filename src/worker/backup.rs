//! The worker's memory as text: one record a line, with a checksum at the end.
//!
//! The first line says what it is and whose; the last how many records there are, and the SHA-256
//! of all bytes before it. No secret is in it: of the seed, only the account of index 0.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::memory::{self, Form, KEYSPACES, SCHEMA, fact};
use crate::protocol::Timestamp;
use crate::store::{RECORD_BYTES_MAX, RawRecord, Store, StoreError, View};

/// What the first line names.
const FORMAT: &str = "nano-worker backup";

/// The version of this format.
const VERSION: u32 = 1;

/// The longest line: the largest value, in hex, and its names.
const LINE_BYTES_MAX: u64 = 2 * RECORD_BYTES_MAX as u64 + 4_096;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// What it is.
    pub format: String,
    /// Of which version.
    pub version: u32,
    /// The version of the records.
    pub schema: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// Where the money is.
    pub network: Option<String>,
    /// Of which seed: its account of index 0.
    pub first_account: Option<String>,
    /// Whose key.
    pub seller: Option<String>,
    /// The holder of the locks at that time.
    pub holder: Option<String>,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
struct Trailer {
    records: u64,
    sha256: String,
}

/// What a line of a record says before its value.
#[derive(Debug, Deserialize)]
struct Label {
    keyspace: String,
    key: String,
    #[serde(default)]
    version: Option<u8>,
}

/// Why a backup is not made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store failed, or is too busy.
    #[error("the state cannot be read")]
    Store(#[from] StoreError),
    /// The file cannot be written.
    #[error("{0} cannot be written")]
    Write(PathBuf, #[source] io::Error),
    /// What was written does not read back.
    #[error("{0} was written, and does not read back")]
    Unverified(PathBuf, #[source] ReadError),
}

/// Why a file is not taken as a backup.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it is no backup of a worker's state")]
    Foreign,
    /// It was made by a later program.
    #[error(
        "it was made by a newer version of this program ({what} {found}, known is {known}): upgrade first"
    )]
    Newer {
        /// What is newer.
        what: &'static str,
        /// The version it has.
        found: u32,
        /// The version that is known here.
        known: u32,
    },
    /// It ends too early.
    #[error(
        "its end is missing: it was cut when it was written or copied; take another copy or an older backup"
    )]
    Truncated,
    /// It is not as it was written.
    #[error("it was altered since it was made ({0}); take another copy or an older backup")]
    Altered(&'static str),
    /// It is of another seed.
    #[error("it belongs to another seed: its first account is {found}, this seed's is {ours}")]
    OtherSeed {
        /// The account in the backup.
        found: String,
        /// The account of the configured seed.
        ours: String,
    },
    /// It is of another key.
    #[error("it belongs to the relay key {found}, not to {ours}")]
    OtherSeller {
        /// The key in the backup.
        found: String,
        /// The configured key.
        ours: String,
    },
    /// It is of another network.
    #[error("it was made on the network {found}, not on {ours}")]
    OtherNetwork {
        /// The network in the backup.
        found: String,
        /// The configured one.
        ours: String,
    },
    /// Its records cannot be stored.
    #[error("its records cannot be stored")]
    Store(#[from] StoreError),
}

/// A backup in the making: a consistent view of the store, as text, piece by piece.
#[derive(Debug)]
pub struct Export<'a> {
    view: View<'a>,
    header: Option<Header>,
    hash: Sha256,
    records: u64,
    ended: bool,
}

impl<'a> Export<'a> {
    /// Begins; what is written to the store from here on is not in it.
    ///
    /// # Errors
    /// If the store fails, or another backup is being made.
    pub fn begin(store: &'a Store, now: Timestamp) -> Result<Self, StoreError> {
        let view = store.view()?;
        let header = Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            schema: SCHEMA,
            created_at: now,
            network: memory::fact(store, fact::NETWORK)?,
            first_account: memory::fact(store, fact::WALLET)?,
            seller: memory::fact(store, fact::SELLER)?,
            holder: memory::fact(store, fact::HOLDER)?,
        };
        Ok(Self { view, header: Some(header), hash: Sha256::new(), records: 0, ended: false })
    }

    /// The next lines; `None` behind the last one.
    ///
    /// # Errors
    /// If the store fails.
    pub fn next_lines(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        if let Some(header) = self.header.take() {
            let mut line = serde_json::to_vec(&header).map_err(|error| unfit("facts", &error))?;
            line.push(b'\n');
            self.hash.update(&line);
            return Ok(Some(line));
        }
        let piece = self.view.next_piece()?;
        if piece.is_empty() {
            self.ended = true;
            let sha256 = hex::encode(self.hash.clone().finalize());
            let trailer = Trailer { records: self.records, sha256 };
            let mut line = serde_json::to_vec(&trailer).map_err(|error| unfit("facts", &error))?;
            line.push(b'\n');
            return Ok(Some(line));
        }
        let mut lines = Vec::new();
        for record in piece {
            write_record(&mut lines, &record)?;
            self.records += 1;
        }
        self.hash.update(&lines);
        Ok(Some(lines))
    }
}

/// When a backup was made, by its first line alone.
pub(super) fn made_at(file: &Path) -> Option<Timestamp> {
    let first = next_line(&mut BufReader::new(File::open(file).ok()?)).ok()??;
    Some(read_header(&first).ok()?.created_at)
}

fn write_record(lines: &mut Vec<u8>, (key, value): &RawRecord) -> Result<(), StoreError> {
    let (id, key) = key.split_first().ok_or_else(|| unfit("meta", &"a key is empty"))?;
    let found = KEYSPACES.iter().find(|keyspace| keyspace.0 == *id);
    let (_, name, form) = found.ok_or_else(|| unfit("meta", &format!("{id} is no keyspace")))?;
    let text = match form {
        Form::Blob => {
            format!(
                r#"{{"keyspace":"{name}","key":"{}","bytes":"{}"}}"#,
                hex::encode(key),
                hex::encode(value)
            )
        }
        Form::Json => {
            let (version, json) = value.split_first().ok_or_else(|| unfit(name, &"it is empty"))?;
            let json = std::str::from_utf8(json).map_err(|error| unfit(name, &error))?;
            serde_json::from_str::<IgnoredAny>(json).map_err(|error| unfit(name, &error))?;
            format!(
                r#"{{"keyspace":"{name}","key":"{}","version":{version},"value":{json}}}"#,
                hex::encode(key)
            )
        }
    };
    lines.extend_from_slice(text.as_bytes());
    lines.push(b'\n');
    Ok(())
}

fn unfit(keyspace: &'static str, reason: &dyn std::fmt::Display) -> StoreError {
    StoreError::Record { keyspace, reason: reason.to_string() }
}

/// Reads a backup from its first to its last line; `each` gets every record.
///
/// # Errors
/// If it is not whole and as it was written, or `each` fails. What `each` was given must not be
/// relied on then.
pub fn read(
    file: &Path,
    mut each: impl FnMut(RawRecord) -> Result<(), StoreError>,
) -> Result<Header, ReadError> {
    let mut lines = BufReader::new(File::open(file)?);
    let mut hash = Sha256::new();
    let first = next_line(&mut lines)?.ok_or(ReadError::Foreign)?;
    let header = read_header(&first)?;
    hash.update(&first);
    let mut records = 0;
    loop {
        let line = next_line(&mut lines)?.ok_or(ReadError::Truncated)?;
        if line.starts_with(br#"{"records":"#) {
            let trailer: Trailer =
                serde_json::from_slice(&line).map_err(|_| ReadError::Altered("its last line"))?;
            if hex::encode(hash.finalize()) != trailer.sha256 {
                return Err(ReadError::Altered("its checksum differs"));
            }
            if records != trailer.records || next_line(&mut lines)?.is_some() {
                return Err(ReadError::Altered("it has other lines than it says"));
            }
            return Ok(header);
        }
        hash.update(&line);
        records += 1;
        each(read_record(&line).ok_or(ReadError::Altered("a line is no record"))?)?;
    }
}

/// A line with its end; one without is the last of a file that was cut.
fn next_line(lines: &mut BufReader<File>) -> Result<Option<Vec<u8>>, ReadError> {
    let mut line = Vec::new();
    io::Read::take(lines, LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) if line.len() as u64 == LINE_BYTES_MAX => Err(ReadError::Foreign),
        Some(_) => Err(ReadError::Truncated),
    }
}

fn read_header(line: &[u8]) -> Result<Header, ReadError> {
    #[derive(Deserialize)]
    struct Kind {
        format: String,
        version: u32,
    }
    let kind: Kind = serde_json::from_slice(line).map_err(|_| ReadError::Foreign)?;
    if kind.format != FORMAT {
        return Err(ReadError::Foreign);
    }
    let newer = |what, found, known| ReadError::Newer { what, found, known };
    if kind.version > VERSION {
        return Err(newer("format", kind.version, VERSION));
    }
    let header: Header = serde_json::from_slice(line).map_err(|_| ReadError::Altered("its first line"))?;
    if header.schema > SCHEMA {
        return Err(newer("schema", header.schema, SCHEMA));
    }
    Ok(header)
}

fn read_record(line: &[u8]) -> Option<RawRecord> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("}\n")?;
    let (label, value) = match line.split_once(",\"value\":") {
        Some((label, json)) => (label, Ok(json)),
        None => {
            let (label, bytes) = line.split_once(",\"bytes\":")?;
            (label, Err(bytes.strip_prefix('"')?.strip_suffix('"')?))
        }
    };
    let label: Label = serde_json::from_str(&format!("{label}}}")).ok()?;
    let (id, ..) = KEYSPACES.iter().find(|keyspace| keyspace.1 == label.keyspace)?;
    let mut key = vec![*id];
    key.extend(hex::decode(&label.key).ok()?);
    let value = match value {
        Ok(json) => {
            serde_json::from_str::<IgnoredAny>(json).ok()?;
            let mut value = vec![label.version?];
            value.extend_from_slice(json.as_bytes());
            value
        }
        Err(bytes) => hex::decode(bytes).ok()?,
    };
    Some((key, value))
}

/// Writes lines to a file that appears under its name only once it is whole and on the disk, and
/// reads it back.
///
/// # Errors
/// If it cannot be written, or the lines cannot be had.
pub fn write_file(
    file: &Path,
    mut lines: impl FnMut() -> Result<Option<Vec<u8>>, StoreError>,
) -> Result<Header, BackupError> {
    let wrong = |error| BackupError::Write(file.to_owned(), error);
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = file.with_file_name(name);
    let written = (|| {
        let mut out = private_file(&part).map_err(wrong)?;
        while let Some(lines) = lines()? {
            out.write_all(&lines).map_err(wrong)?;
        }
        out.sync_all().map_err(wrong)?;
        read(&part, |_| Ok(())).map_err(|error| BackupError::Unverified(file.to_owned(), error))
    })();
    let header = written.inspect_err(|_| drop(fs::remove_file(&part)))?;
    fs::rename(&part, file).map_err(wrong)?;
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(wrong)?;
    Ok(header)
}

/// Makes a file for its owner only; one that an earlier try left is written over.
fn private_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(file)
}
