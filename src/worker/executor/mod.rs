//! Runs the seller's handler: one command or one HTTP call per job, within bounds.

mod cage;
mod command;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod groups;
mod http;
mod strays;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::input::Outcome;
use crate::protocol::job::JobError;
use crate::protocol::limits::{JSON_DEPTH_MAX, RESULT_PAYLOAD_BYTES_MAX};
use crate::protocol::{JobId, OfferId};

pub use cage::{Cage, LAUNCHER, Limits, launch};
pub use strays::{adopt_orphans, kill_strays};

/// Bytes that are read of a handler's output: the largest result as JSON, with room for white space
/// that compact JSON does without.
const OUTPUT_BYTES_MAX: usize = RESULT_PAYLOAD_BYTES_MAX * 2;

/// How the seller's work is done.
#[derive(Debug, Clone)]
pub struct Handler {
    /// A program or a service.
    pub kind: HandlerKind,
    /// How long one run may take.
    pub timeout: Duration,
    /// How much of the machine a program may have.
    pub limits: Limits,
}

/// A program or a service.
#[derive(Debug, Clone)]
pub enum HandlerKind {
    /// A program with its arguments; the request comes on its standard input.
    Command {
        /// An absolute path.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
        /// Where it runs.
        directory: PathBuf,
    },
    /// A service; the request is POSTed to it.
    Url(String),
    /// A function of this process: for tests and simulations.
    Function(Function),
}

type Call = dyn Fn(Run) -> BoxFuture<'static, Option<Vec<u8>>> + Send + Sync;

/// A handler inside this process: its output, or `None` if it fails. It is killed by dropping it.
#[derive(Clone)]
pub struct Function(Arc<Call>);

impl Function {
    /// A handler that is this function.
    pub fn new(call: impl Fn(Run) -> BoxFuture<'static, Option<Vec<u8>>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(call))
    }

    async fn run(&self, timeout: Duration, run: &Run, stop: &CancellationToken) -> Result<Vec<u8>, RunError> {
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(RunError::Stopped),
            output = tokio::time::timeout(timeout, (self.0)(run.clone())) => match output {
                Ok(output) => output.ok_or(RunError::Failed),
                Err(_) => Err(RunError::TimedOut(timeout.as_secs())),
            },
        }
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function(..)")
    }
}

/// One run.
#[derive(Debug, Clone)]
pub struct Run {
    /// For which job.
    pub job_id: JobId,
    /// Of which offer.
    pub offer_id: OfferId,
    /// Which start this is, counted from 1; 0 when a price is asked for.
    pub attempt: u32,
    /// The fencing token of the lock, if there is one.
    pub lock_token: Option<u64>,
    /// What is wanted.
    pub purpose: Purpose,
    /// What the buyer wrote, as compact JSON.
    pub request: Vec<u8>,
}

/// What is wanted of a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The work.
    Execute,
    /// A price for it.
    Quote,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Execute => "execute",
            Self::Quote => "quote",
        }
    }
}

/// Why a run gave no result. The text is for the buyer: it says nothing of the seller's machine.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("the handler could not be started")]
    Start(#[source] std::io::Error),
    #[error("the handler failed")]
    Failed,
    #[error("the handler was killed by signal {0}")]
    Killed(i32),
    #[error("the handler ran out of memory")]
    OutOfMemory,
    #[error("the handler did not finish within {0} seconds")]
    TimedOut(u64),
    #[error("the handler's result is larger than {RESULT_PAYLOAD_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the handler was stopped")]
    Stopped,
    #[error("the handler's service could not be reached")]
    Unreachable(#[source] reqwest::Error),
}

impl RunError {
    /// What programs are told beside the text.
    fn details(&self) -> Value {
        match self {
            Self::Killed(signal) => json!({ "reason": "killed", "signal": signal }),
            Self::OutOfMemory => json!({ "reason": "out_of_memory" }),
            _ => Value::Null,
        }
    }
}

/// Runs the handler and waits until nothing of it is left.
///
/// `stop` kills it. The outcome is what the buyer is to get.
pub async fn run(cage: &Cage, handler: &Handler, run: &Run, stop: &CancellationToken) -> Outcome {
    let output = match &handler.kind {
        HandlerKind::Command { program, arguments, directory } => {
            let start = command::Start { program, arguments, directory, limits: handler.limits };
            command::run(cage, &start, handler.timeout, run, stop).await
        }
        HandlerKind::Url(url) => http::run(url, handler.timeout, run, stop).await,
        HandlerKind::Function(function) => function.run(handler.timeout, run, stop).await,
    };
    match output.and_then(|bytes| to_result(&bytes)) {
        Ok(result) => Outcome::Result(result),
        Err(error) => {
            tracing::warn!(job_id = %run.job_id, error = %chain(&error), "handler failed");
            Outcome::Error(JobError {
                code: "handler_failed".to_owned(),
                message: error.to_string(),
                details: error.details(),
            })
        }
    }
}

/// What parses as JSON is JSON, anything else becomes `{"text": …}`.
///
/// A bare `null` would be no result on the wire, so it is a text too; and so is JSON that no relay
/// would take, for the buyer has paid for it all the same.
fn to_result(output: &[u8]) -> Result<Value, RunError> {
    // A delivery is an object around it.
    let result = match serde_json::from_slice::<Value>(output) {
        Ok(value) if !value.is_null() && is_taken(&value, JSON_DEPTH_MAX - 1) => value,
        _ => json!({ "text": String::from_utf8_lossy(output).replace('\0', "\u{fffd}") }),
    };
    if result.to_string().len() > RESULT_PAYLOAD_BYTES_MAX { Err(RunError::TooLarge) } else { Ok(result) }
}

/// Whether the contract carries it: no NUL characters, not too many levels.
fn is_taken(value: &Value, levels_left: usize) -> bool {
    let below = levels_left.checked_sub(1);
    let taken = |value: &Value| below.is_some_and(|levels| is_taken(value, levels));
    match value {
        Value::String(text) => !text.contains('\0'),
        Value::Array(values) => below.is_some() && values.iter().all(taken),
        Value::Object(fields) => {
            below.is_some() && fields.iter().all(|(key, value)| !key.contains('\0') && taken(value))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
