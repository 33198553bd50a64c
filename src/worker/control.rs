//! Questions to a running daemon, over a Unix socket in its state directory.
//!
//! One question per connection: a line of JSON in, a line of JSON out. The daemon holds the store,
//! so whoever wants to know asks it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::backup::Export;
use super::report::{self, Question};
use crate::edge::Clock;
use crate::protocol::Timestamp;
use crate::store::{Store, StoreError};

/// A question is a line; a longer one is none.
const QUESTION_BYTES_MAX: u64 = 4_096;

/// The longest answer: a thousand jobs, or all invoices of a busy year.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Pieces of a backup that wait for whoever asked for it: each is a quarter of a megabyte or two.
const PIECES_MAX: usize = 4;

/// How long one exchange may take; of a backup, one piece.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where the socket of a state directory is.
#[must_use]
pub fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join("worker.sock")
}

/// Why a daemon could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// None is running.
    #[error("no worker is running on this state directory")]
    NotRunning,
    /// It did not answer.
    #[error("the running worker did not answer")]
    NoAnswer(#[source] io::Error),
    /// It answered that it could not.
    #[error("the running worker could not answer: {0}")]
    Refused(String),
}

/// Asks the daemon on a state directory.
///
/// # Errors
/// If none is running, or it does not answer.
pub async fn ask(state_dir: &Path, question: &Question) -> Result<Value, AskError> {
    let stream = match UnixStream::connect(socket_path(state_dir)).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Err(AskError::NotRunning);
        }
        Err(error) => return Err(AskError::NoAnswer(error)),
    };
    let answer = tokio::time::timeout(TIMEOUT, exchange(stream, question))
        .await
        .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
        .map_err(AskError::NoAnswer)?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(AskError::Refused(error.to_owned())),
        None => Ok(answer.get("answer").cloned().unwrap_or_default()),
    }
}

/// Asks the daemon for a backup; `take` gets it piece by piece.
///
/// # Errors
/// If none is running, it does not answer, or `take` fails. Whether the backup is whole is for the
/// taker to see: its last line says so.
pub async fn ask_backup(
    state_dir: &Path,
    mut take: impl FnMut(Vec<u8>) -> io::Result<()>,
) -> Result<(), AskError> {
    let mut stream = match UnixStream::connect(socket_path(state_dir)).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Err(AskError::NotRunning);
        }
        Err(error) => return Err(AskError::NoAnswer(error)),
    };
    let mut line = serde_json::to_vec(&Question::Backup).map_err(|error| AskError::NoAnswer(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(AskError::NoAnswer)?;
    let mut first = true;
    loop {
        let mut piece = vec![0; 64 * 1_024];
        let read = tokio::time::timeout(TIMEOUT, stream.read(&mut piece)).await;
        let read =
            read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(AskError::NoAnswer)?;
        piece.truncate(read);
        if piece.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut first)
            && let Ok(Value::Object(answer)) = serde_json::from_slice(&piece)
            && let Some(error) = answer.get("error").and_then(Value::as_str)
        {
            return Err(AskError::Refused(error.to_owned()));
        }
        take(piece).map_err(AskError::NoAnswer)?;
    }
}

async fn exchange(mut stream: UnixStream, question: &Question) -> io::Result<Value> {
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(serde_json::from_slice(&answer)?)
}

/// Where answers come from.
#[derive(Debug)]
pub(super) enum Source {
    /// The store of a daemon that works.
    Store(Arc<Store>),
    /// None that could be believed; why.
    Outage(String),
}

impl Source {
    fn store(&self) -> Option<Arc<Store>> {
        match self {
            Self::Store(store) => Some(Arc::clone(store)),
            Self::Outage(_) => None,
        }
    }

    fn answer(&self, question: &Question) -> Result<Value, String> {
        match (self, question) {
            (Self::Store(store), question) => {
                report::answer(store, question).map_err(|error| error.to_string())
            }
            (Self::Outage(why), Question::Status) => Ok(json!({ "outage": why })),
            (Self::Outage(why), _) => Err(format!("the store cannot be asked: {why}")),
        }
    }
}

/// The daemon's side: one socket as long as it lives, an outage included, for a read-only disk
/// takes no new one.
#[derive(Debug)]
pub(super) struct Answering {
    source: watch::Sender<Source>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Answering {
    /// Opens the socket. The job goes on without it; a path over 107 bytes is the usual cause.
    pub(super) fn start(state_dir: &Path, source: Source, clock: Clock) -> Self {
        let (source, seen) = watch::channel(source);
        let (path, stop) = (socket_path(state_dir), CancellationToken::new());
        let task = match Control::bind(&path) {
            Ok(control) => Some(tokio::spawn(control.serve(seen, clock, stop.clone()))),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "no questions can be asked");
                None
            }
        };
        Self { source, stop, task }
    }

    /// From now on, answers come from elsewhere.
    pub(super) fn turn_to(&self, source: Source) {
        self.source.send_replace(source);
    }

    /// Closes the socket.
    pub(super) async fn end(self) {
        self.stop.cancel();
        if let Some(task) = self.task {
            // It was not aborted, and a panic in it has been reported.
            drop(task.await);
        }
    }
}

#[derive(Debug)]
struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// The store's own lock has already made sure that no other daemon is there.
    fn bind(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answers until `stop`, one question at a time: people ask rarely.
    async fn serve(self, source: watch::Receiver<Source>, clock: Clock, stop: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            match tokio::time::timeout(TIMEOUT, reply(stream, &source)).await {
                Ok(Ok(None)) => {}
                // It takes a while, and others have questions meanwhile; the store makes one at a time.
                Ok(Ok(Some((store, writer)))) => {
                    let (now, stop) = (clock.now(), stop.clone());
                    tokio::spawn(async move {
                        tokio::select! {
                            () = send_backup(store, now, writer) => {}
                            () = stop.cancelled() => {}
                        }
                    });
                }
                _ => tracing::debug!("a question was not answered"),
            }
        }
        // Whoever asks now shall hear that nobody is running.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Answers a question; one for a backup is left to be answered.
async fn reply(
    stream: UnixStream,
    source: &watch::Receiver<Source>,
) -> io::Result<Option<(Arc<Store>, OwnedWriteHalf)>> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(QUESTION_BYTES_MAX)).read_line(&mut line).await?;
    let answer = match serde_json::from_str::<Question>(&line) {
        Err(_) => json!({ "error": "the question is not one this version knows" }),
        Ok(question) => match source.borrow().answer(&question) {
            Ok(_) if matches!(question, Question::Backup) => {
                return Ok(source.borrow().store().map(|store| (store, writer)));
            }
            Ok(answer) => json!({ "answer": answer }),
            Err(error) => json!({ "error": error }),
        },
    };
    writer.write_all(answer.to_string().as_bytes()).await?;
    writer.shutdown().await?;
    Ok(None)
}

async fn send_backup(store: Arc<Store>, now: Timestamp, mut writer: OwnedWriteHalf) {
    let (sender, mut pieces) = mpsc::channel(PIECES_MAX);
    let reading = tokio::task::spawn_blocking(move || read_pieces(&store, now, &sender));
    while let Some(piece) = pieces.recv().await {
        let text = match piece {
            Ok(lines) => lines,
            Err(error) => json!({ "error": error.to_string() }).to_string().into_bytes(),
        };
        match tokio::time::timeout(TIMEOUT, writer.write_all(&text)).await {
            Ok(Ok(())) => {}
            _ => break,
        }
    }
    drop(pieces);
    drop(writer.shutdown().await);
    drop(reading.await);
}

/// Reads until nobody wants more.
fn read_pieces(store: &Store, now: Timestamp, to: &mpsc::Sender<Result<Vec<u8>, StoreError>>) {
    let mut export = match Export::begin(store, now) {
        Ok(export) => export,
        Err(error) => return drop(to.blocking_send(Err(error))),
    };
    loop {
        match export.next_lines() {
            Ok(None) => return,
            Ok(Some(lines)) => {
                if to.blocking_send(Ok(lines)).is_err() {
                    return;
                }
            }
            Err(error) => return drop(to.blocking_send(Err(error))),
        }
    }
}
