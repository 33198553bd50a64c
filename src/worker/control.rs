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
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::report::{self, Question};
use crate::store::Store;

/// A question is a line; a longer one is none.
const QUESTION_BYTES_MAX: u64 = 4_096;

/// The longest answer: a thousand jobs, or all invoices of a busy year.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// How long one exchange may take.
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
    pub(super) fn start(state_dir: &Path, source: Source) -> Self {
        let (source, seen) = watch::channel(source);
        let (path, stop) = (socket_path(state_dir), CancellationToken::new());
        let task = match Control::bind(&path) {
            Ok(control) => Some(tokio::spawn(control.serve(seen, stop.clone()))),
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
    async fn serve(self, source: watch::Receiver<Source>, stop: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            if !matches!(tokio::time::timeout(TIMEOUT, reply(stream, &source)).await, Ok(Ok(()))) {
                tracing::debug!("a question was not answered");
            }
        }
        // Whoever asks now shall hear that nobody is running.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn reply(stream: UnixStream, source: &watch::Receiver<Source>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(QUESTION_BYTES_MAX)).read_line(&mut line).await?;
    let answer = match serde_json::from_str::<Question>(&line) {
        Err(_) => json!({ "error": "the question is not one this version knows" }),
        Ok(question) => match source.borrow().answer(&question) {
            Ok(answer) => json!({ "answer": answer }),
            Err(error) => json!({ "error": error }),
        },
    };
    writer.write_all(answer.to_string().as_bytes()).await?;
    writer.shutdown().await
}
