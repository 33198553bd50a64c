//! What a client is told before its first call.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::wire::Wire;

/// A node answers a whole batch within a second; a call that takes ten is stuck.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Reaching another continent takes half a second, with one lost packet less than four.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// Work for a send takes a CPU up to a minute; a node that has to queue it, longer.
pub const WORK_TIMEOUT: Duration = Duration::from_secs(90);

/// The largest answer that is read. 35,000 receivable sends with their sources fit in it, it
/// arrives within the timeout on a slow line, and reading it takes tens of megabytes, not hundreds.
pub const RESPONSE_BYTES_MAX: usize = 8 << 20;

/// Tells the time that has passed since some fixed moment; it never goes back.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// How to ask which nodes.
#[derive(Clone)]
pub struct RpcConfig {
    /// The nodes' addresses, `http://` or `https://`, in the order in which they are preferred.
    pub urls: Vec<String>,
    /// The time that one call to one node may take, its answer's last byte included.
    pub timeout: Duration,
    /// The part of it that may pass until the connection stands.
    pub connect_timeout: Duration,
    /// In place of `timeout`, for `work_generate`.
    pub work_timeout: Duration,
    /// The largest answer that is read.
    pub response_bytes_max: usize,
    /// The most requests per second to each node, on average; no bound if absent.
    pub requests_per_second: Option<NonZeroU32>,
    /// The clock by which nodes that failed are left alone.
    pub clock: Clock,
    /// What carries requests in place of sockets.
    pub wire: Option<Arc<dyn Wire>>,
}

impl RpcConfig {
    /// Asks the nodes at `urls`, with the default bounds. `clock` tells the time that has passed
    /// since some fixed moment.
    #[must_use]
    pub fn new(
        urls: impl IntoIterator<Item = impl Into<String>>,
        clock: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        Self {
            urls: urls.into_iter().map(Into::into).collect(),
            timeout: TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            work_timeout: WORK_TIMEOUT,
            response_bytes_max: RESPONSE_BYTES_MAX,
            requests_per_second: None,
            clock: Arc::new(clock),
            wire: None,
        }
    }
}

/// Without the addresses, which may hold a provider's key.
impl std::fmt::Debug for RpcConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RpcConfig")
            .field("urls", &self.urls.len())
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("work_timeout", &self.work_timeout)
            .field("response_bytes_max", &self.response_bytes_max)
            .field("requests_per_second", &self.requests_per_second)
            .finish_non_exhaustive()
    }
}
