//! A file at an address that a stranger names: written beside its place, held against the hash that
//! came by a better way, and only then given its name.
//!
//! Architecture invariant: under the name that was asked for there is the whole file with that hash, or
//! nothing. Neither address nor server is believed: no other host is asked than the one that was named,
//! nothing is sent along that says who asks, and no more is read than was announced.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::CONTENT_LENGTH;
use reqwest::{Client, Response, Url, redirect};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::rest::{CONNECT_TIMEOUT, TIMEOUT, is_loopback};
use crate::nano::rpc::trusting;

/// Redirects on one host: a slash, a name in capital letters; more is a circle.
const REDIRECTS_MAX: usize = 3;

/// What is to be had.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Where.
    pub url: &'a str,
    /// How long it is.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: &'a str,
}

/// How much, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The longest file.
    pub bytes_max: u64,
    /// From the first question to the last byte.
    pub time: Duration,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// It is not asked.
    #[error("only https is fetched, or http from this machine, and not {0}")]
    Address(String),
    /// It is longer than may be.
    #[error("it has {bytes} bytes, and at most {max} are fetched")]
    TooLarge {
        /// As it was announced.
        bytes: u64,
        /// What is allowed.
        max: u64,
    },
    /// Nothing is overwritten.
    #[error("{0} is there already")]
    Exists(PathBuf),
    /// The disk did not take it.
    #[error("{path} cannot be written: {source}", path = .0.display(), source = .1)]
    File(PathBuf, #[source] io::Error),
    /// There is nobody to trust, or no way to ask.
    #[error("nobody can be asked: {0}")]
    Client(String),
    /// No connection, or a broken one.
    #[error("the server cannot be reached: {0}")]
    Server(String),
    /// The server has it not, or not for us.
    #[error("the server answered with status {0}")]
    Status(u16),
    /// The server named another one.
    #[error("the server sends elsewhere, where nothing is fetched from")]
    Elsewhere,
    /// Another file, by its length.
    #[error("there are {got} bytes or more, and not the {named} that were announced")]
    Longer {
        /// What has come.
        got: u64,
        /// What was announced.
        named: u64,
    },
    /// Another file, or half of one.
    #[error("there are {got} bytes, and not the {named} that were announced")]
    Shorter {
        /// What has come.
        got: u64,
        /// What was announced.
        named: u64,
    },
    /// Another file.
    #[error("its SHA-256 is {got}, and not the {named} that was announced")]
    Hash {
        /// Of what has come.
        got: String,
        /// What was announced.
        named: String,
    },
    /// It took too long.
    #[error("it was not there after {} s", .0.as_secs())]
    Time(Duration),
}

/// Fetches a file to `out`, which must not be there yet. `token` makes the name under which it is
/// unfinished.
///
/// # Errors
/// [`DownloadError`]; then nothing is left.
pub async fn download(
    wanted: Wanted<'_>,
    bounds: Bounds,
    out: &Path,
    token: [u8; 8],
) -> Result<(), DownloadError> {
    let url = address(wanted.url)?;
    if wanted.bytes > bounds.bytes_max {
        return Err(DownloadError::TooLarge { bytes: wanted.bytes, max: bounds.bytes_max });
    }
    if out.symlink_metadata().is_ok() {
        return Err(DownloadError::Exists(out.to_owned()));
    }
    let client = client(&url)?;
    let mut unfinished = Unfinished::beside(out, token)?;
    let streaming = async {
        let response = ask(&client, url).await?;
        unfinished.fill(response, wanted).await
    };
    tokio::time::timeout(bounds.time, streaming).await.map_err(|_| DownloadError::Time(bounds.time))??;
    unfinished.finish(out)
}

/// What may be asked: encrypted, or on this machine; without anybody's name in it.
fn address(text: &str) -> Result<Url, DownloadError> {
    let refused = || DownloadError::Address(super::error::shorten(text));
    let url: Url = text.parse().map_err(|_| refused())?;
    let is_plain = url.username().is_empty() && url.password().is_none();
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    if is_plain && is_safe && url.host_str().is_some() { Ok(url) } else { Err(refused()) }
}

fn client(url: &Url) -> Result<Client, DownloadError> {
    let failed = |error: &dyn std::fmt::Display| DownloadError::Client(error.to_string());
    let origin = url.origin();
    let policy = redirect::Policy::custom(move |attempt| {
        if attempt.url().origin() == origin && attempt.previous().len() <= REDIRECTS_MAX {
            attempt.follow()
        } else {
            attempt.stop()
        }
    });
    let http = trusting(Client::builder(), url.scheme() == "https").map_err(|error| failed(&error))?;
    let http = http.connect_timeout(CONNECT_TIMEOUT).read_timeout(TIMEOUT).redirect(policy).referer(false);
    let http = if is_loopback(url) { http.no_proxy() } else { http };
    http.build().map_err(|error| failed(&error))
}

async fn ask(client: &Client, url: Url) -> Result<Response, DownloadError> {
    let response = client.get(url).send().await.map_err(server)?;
    match response.status() {
        status if status.is_redirection() => Err(DownloadError::Elsewhere),
        status if status.as_u16() == 200 => Ok(response),
        status => Err(DownloadError::Status(status.as_u16())),
    }
}

fn server(error: reqwest::Error) -> DownloadError {
    let error = super::CallError::transport(error);
    match error {
        super::CallError::Transport { reason, .. } => DownloadError::Server(reason),
        other => DownloadError::Server(other.to_string()),
    }
}

/// A file that is not yet what it is to be; gone again unless it is finished.
struct Unfinished {
    path: PathBuf,
    file: File,
}

impl Unfinished {
    fn beside(out: &Path, token: [u8; 8]) -> Result<Self, DownloadError> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let name = out.file_name().unwrap_or_default().to_string_lossy();
        let path = out.with_file_name(format!(".{name}.{}", hex::encode(token)));
        let opened = File::options().write(true).create_new(true).mode(0o600).open(&path);
        match opened {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(DownloadError::File(out.to_owned(), error)),
        }
    }

    async fn fill(&mut self, mut response: Response, wanted: Wanted<'_>) -> Result<(), DownloadError> {
        let named = wanted.bytes;
        let longer = |got| DownloadError::Longer { got, named };
        let announced =
            response.headers().get(CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse().ok());
        if let Some(got) = announced.filter(|announced| *announced > named) {
            return Err(longer(got));
        }
        let (mut got, mut hash) = (0_u64, Sha256::new());
        while let Some(chunk) = response.chunk().await.map_err(server)? {
            got = got.saturating_add(chunk.len() as u64);
            if got > named {
                return Err(longer(got));
            }
            hash.update(&chunk);
            self.file.write_all(&chunk).map_err(|error| self.failed(error))?;
        }
        if got < named {
            return Err(DownloadError::Shorter { got, named });
        }
        let hash = hex::encode(hash.finalize());
        if hash != wanted.sha256 {
            return Err(DownloadError::Hash { got: hash, named: super::error::shorten(wanted.sha256) });
        }
        Ok(())
    }

    /// Durable under its own name, which nobody may have taken meanwhile.
    fn finish(self, out: &Path) -> Result<(), DownloadError> {
        let failed = |error| DownloadError::File(out.to_owned(), error);
        self.file.sync_all().map_err(failed)?;
        match renameat_with(CWD, &self.path, CWD, out, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(DownloadError::Exists(out.to_owned())),
            // Not every file system can promise that; that there was nothing was looked at.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                fs::rename(&self.path, out).map_err(failed)?
            }
            Err(error) => return Err(failed(error.into())),
        }
        let dir = out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
    }

    fn failed(&self, error: io::Error) -> DownloadError {
        DownloadError::File(self.path.clone(), error)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It has another name by now, or is of no use.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests;
