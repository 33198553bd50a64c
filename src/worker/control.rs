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
use super::coins::{Errand, Purse};
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

/// Lines that wait for whoever asked for an errand: each is a block, so these are some seconds' worth.
const LINES_MAX: usize = 1_024;

/// Between two signs of life while an errand is run: searching for work can take minutes.
const SIGN: Duration = Duration::from_secs(3);

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

/// Has the daemon run an errand; `tell` hears what it does meanwhile. What it refuses comes with the
/// kind of its error.
///
/// # Errors
/// If none is running, it does not answer, or the connection breaks: then the errand is broken off.
pub async fn ask_errand(
    state_dir: &Path,
    errand: &Errand,
    tell: impl Fn(String),
) -> Result<Result<Value, (String, String)>, AskError> {
    let mut stream = match UnixStream::connect(socket_path(state_dir)).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Err(AskError::NotRunning);
        }
        Err(error) => return Err(AskError::NoAnswer(error)),
    };
    let question = json!(Question::Coins(errand.clone()));
    stream.write_all(format!("{question}\n").as_bytes()).await.map_err(AskError::NoAnswer)?;
    let mut lines = BufReader::new(stream.take(ANSWER_BYTES_MAX)).lines();
    loop {
        let line = tokio::time::timeout(TIMEOUT, lines.next_line()).await;
        let line =
            line.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(AskError::NoAnswer)?;
        let line = line.ok_or_else(|| AskError::NoAnswer(io::ErrorKind::UnexpectedEof.into()))?;
        let mut line: Value =
            serde_json::from_str(&line).map_err(|error| AskError::NoAnswer(error.into()))?;
        if let Some(error) = line["error"].as_str() {
            let kind = line["kind"].as_str().unwrap_or("failed");
            return Ok(Err((kind.to_owned(), error.to_owned())));
        }
        if line.get("answer").is_some() {
            return Ok(Ok(line["answer"].take()));
        }
        if let Some(doing) = line["doing"].as_str() {
            tell(doing.to_owned());
        }
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
    /// The store of a daemon that works, and its purse if it is this seed's.
    Store(Arc<Store>, Option<Arc<Purse>>),
    /// None that could be believed; why.
    Outage(String),
}

impl Source {
    /// What answers a question that takes longer, if it is one.
    fn later(&self, question: &Question) -> Option<Later> {
        match (self, question) {
            (Self::Store(store, _), Question::Backup) => Some(Later::Backup(Arc::clone(store))),
            (Self::Store(_, Some(purse)), Question::Coins(errand)) => {
                Some(Later::Errand(Arc::clone(purse), errand.clone()))
            }
            _ => None,
        }
    }

    fn answer(&self, question: &Question) -> Result<Value, String> {
        match (self, question) {
            (Self::Store(_, None), Question::Coins(_)) => Err("its wallet cannot be used".to_owned()),
            (Self::Store(store, _), question) => {
                report::answer(store, question).map_err(|error| error.to_string())
            }
            (Self::Outage(why), Question::Status) => Ok(json!({ "outage": why })),
            (Self::Outage(why), _) => Err(format!("the store cannot be asked: {why}")),
        }
    }
}

/// A question that takes a while.
#[derive(Debug)]
enum Later {
    Backup(Arc<Store>),
    Errand(Arc<Purse>, Errand),
}

impl Later {
    async fn answer(self, now: Timestamp, writer: OwnedWriteHalf) {
        match self {
            Self::Backup(store) => send_backup(store, now, writer).await,
            Self::Errand(purse, errand) => run_errand(&purse, &errand, writer).await,
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
                // It takes a while, and others have questions meanwhile; store and purse do one at a time.
                Ok(Ok(Some((later, writer)))) => {
                    let (now, stop) = (clock.now(), stop.clone());
                    tokio::spawn(async move {
                        tokio::select! {
                            () = later.answer(now, writer) => {}
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

/// Answers a question; one that takes a while is left to be answered.
async fn reply(
    stream: UnixStream,
    source: &watch::Receiver<Source>,
) -> io::Result<Option<(Later, OwnedWriteHalf)>> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(QUESTION_BYTES_MAX)).read_line(&mut line).await?;
    let answer = match serde_json::from_str::<Question>(&line) {
        Err(_) => json!({ "error": "the question is not one this version knows" }),
        Ok(question) => {
            if let Some(later) = source.borrow().later(&question) {
                return Ok(Some((later, writer)));
            }
            match source.borrow().answer(&question) {
                Ok(answer) => json!({ "answer": answer }),
                Err(error) => json!({ "error": error }),
            }
        }
    };
    writer.write_all(answer.to_string().as_bytes()).await?;
    writer.shutdown().await?;
    Ok(None)
}

/// Runs an errand as long as the asker listens.
async fn run_errand(purse: &Purse, errand: &Errand, mut writer: OwnedWriteHalf) {
    let (sender, mut lines) = mpsc::channel(LINES_MAX);
    // An asker who reads too slowly misses lines, and not the answer.
    let tell = move |line: String| drop(sender.try_send(line));
    let mut running = std::pin::pin!(purse.run(errand, &tell));
    let answer = loop {
        let line = tokio::select! {
            biased;
            answer = &mut running => break answer,
            Some(line) = lines.recv() => json!({ "doing": line }),
            () = tokio::time::sleep(SIGN) => json!({ "doing": null }),
        };
        if write_line(&mut writer, &line).await.is_err() {
            return;
        }
    };
    while let Ok(line) = lines.try_recv() {
        drop(write_line(&mut writer, &json!({ "doing": line })).await);
    }
    let line = match answer {
        Ok(answer) => json!({ "answer": answer }),
        Err(error) => json!({ "error": chain(&error), "kind": error.kind() }),
    };
    drop(write_line(&mut writer, &line).await);
    drop(writer.shutdown().await);
}

async fn write_line(writer: &mut OwnedWriteHalf, line: &Value) -> io::Result<()> {
    let text = format!("{line}\n");
    match tokio::time::timeout(TIMEOUT, writer.write_all(text.as_bytes())).await {
        Ok(written) => written,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
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
