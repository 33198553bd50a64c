//! How a call can fail. Every failure means *unknown*: nothing was learned about the ledger.

use std::fmt;
use std::time::Duration;

/// A call that brought no usable answer, and the node that was asked.
#[derive(Debug)]
pub struct RpcError {
    /// The node's scheme, host and port; never its path, which may hold a key.
    pub node: String,
    /// What happened.
    pub failure: Failure,
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nano node {}: {}", self.node, self.failure)
    }
}

/// The failure is part of the message, so the source is what lies behind the failure.
impl std::error::Error for RpcError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.failure)
    }
}

/// What can happen instead of an answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection, or it broke.
    #[error("cannot be reached")]
    Transport(#[source] reqwest::Error),
    /// The same where there are no sockets.
    #[error("the connection broke")]
    Broken,
    /// The time was over before the answer was whole.
    #[error("did not answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// Our own bound on requests per second is used up for longer than a call waits.
    #[error("is asked too often already; the next turn is in {} s", .wait.as_secs_f32())]
    OverBudget {
        /// Until the next turn.
        wait: Duration,
    },
    /// Status 429.
    #[error("asks to be asked less often")]
    RateLimited {
        /// How long it wants to be left alone, if it said so.
        wait: Option<Duration>,
    },
    /// A status that no node gives to a call it carries out: a proxy's, or a refused argument.
    #[error("answers with status {status}: {text}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The beginning of the body, printable.
        text: String,
    },
    /// Status 200, but HTML, half an answer, or nothing.
    #[error("answers with something that is not JSON: {text}")]
    NotJson {
        /// The beginning of the body, printable.
        text: String,
    },
    /// The answer is larger than we read.
    #[error("answers with more than {bytes_max} bytes")]
    TooLarge {
        /// The bound that it broke.
        bytes_max: usize,
    },
    /// The node's own words, from `error`.
    #[error("says: {0}")]
    Node(String),
    /// JSON, but not what was asked for.
    #[error("answers without a usable {0}")]
    Malformed(&'static str),
    /// It failed too often, so it was not asked.
    #[error("failed repeatedly and is not asked for another {} s", .wait.as_secs_f32())]
    Resting {
        /// Until it may be asked again.
        wait: Duration,
    },
}

impl Failure {
    /// Whether the node itself is well and has answered, if only with a refusal. Such a node is
    /// not left alone; asking it again for the same thing is useless all the same.
    #[must_use]
    pub const fn is_answer(&self) -> bool {
        match self {
            Self::Node(_)
            | Self::Malformed(_)
            | Self::TooLarge { .. }
            | Self::Status { status: 400 | 422, .. } => true,
            Self::Transport(_)
            | Self::Broken
            | Self::Timeout(_)
            | Self::OverBudget { .. }
            | Self::RateLimited { .. }
            | Self::Status { .. }
            | Self::NotJson { .. }
            | Self::Resting { .. } => false,
        }
    }

    /// How long to wait before asking again, if the node or its record says so.
    #[must_use]
    pub const fn wait(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { wait } => *wait,
            Self::Resting { wait } | Self::OverBudget { wait } => Some(*wait),
            _ => None,
        }
    }

    /// Whether the node does not know the command: a name from before or after its time.
    pub(crate) fn is_unknown_command(&self) -> bool {
        match self {
            Self::Node(text) => text == "Unknown command",
            Self::Status { status: 422, text } => text.contains("unknown variant"),
            _ => false,
        }
    }
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RpcSetupError {
    /// Nobody to ask.
    #[error("at least one address of a Nano node is needed")]
    NoUrl,
    /// The address with this place in the list, from 0, cannot be used.
    #[error("address {index} of the Nano nodes is not an http:// or https:// URL")]
    Url {
        /// Its place.
        index: usize,
    },
    /// There is nobody to trust.
    #[error(transparent)]
    NoCertificates(#[from] super::NoCertificates),
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}
