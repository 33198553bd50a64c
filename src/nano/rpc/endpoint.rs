//! A node with its record: whether it is asked at all, and in which spelling.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::breaker::Breaker;
use super::budget::{Budget, PATIENCE};
use super::config::Clock;
use super::{Failure, Node};

/// A node and its record.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) node: Node,
    breaker: Mutex<Breaker>,
    budget: Option<Mutex<Budget>>,
}

/// A request, and another spelling of it for nodes that refuse the first.
pub(super) struct Request {
    body: Value,
    timeout: Duration,
    /// Whether running out of time says something about the request rather than about the node.
    slow: bool,
    other: Option<Respelled>,
}

/// The second spelling of a request, and which answer to the first calls for it.
struct Respelled {
    when: fn(&Failure) -> bool,
    body: Value,
}

impl Request {
    pub(super) const fn new(body: Value, timeout: Duration) -> Self {
        Self { body, timeout, slow: false, other: None }
    }

    /// A request that a node in good health may be too slow for.
    pub(super) const fn slow(body: Value, timeout: Duration) -> Self {
        Self { body, timeout, slow: true, other: None }
    }

    /// Sends `body` instead to a node for whose answer `when` holds.
    pub(super) fn or(self, when: fn(&Failure) -> bool, body: Value) -> Self {
        Self { other: Some(Respelled { when, body }), ..self }
    }
}

impl Endpoint {
    pub(super) fn new(node: Node, budget: Option<Budget>) -> Self {
        Self { node, breaker: Mutex::default(), budget: budget.map(Mutex::new) }
    }

    /// One call to this node, or two if it wants the other spelling.
    pub(super) async fn ask(&self, request: &Request, clock: &Clock) -> Result<Value, Failure> {
        let first = self.ask_once(request, &request.body, clock).await;
        match (&first, &request.other) {
            (Err(failure), Some(other)) if (other.when)(failure) => {
                self.ask_once(request, &other.body, clock).await
            }
            _ => first,
        }
    }

    async fn ask_once(&self, request: &Request, body: &Value, clock: &Clock) -> Result<Value, Failure> {
        let now = clock();
        if !self.record(|breaker| breaker.may_ask(now)) {
            return Err(Failure::Resting { wait: self.record(|breaker| breaker.wait(now)) });
        }
        self.wait_for_turn(now).await?;
        let answer = self.node.ask(body, request.timeout).await;
        let now = clock();
        self.record(|breaker| match &answer {
            Err(Failure::RateLimited { wait }) => breaker.limited(now, *wait),
            Err(Failure::Timeout(_)) if request.slow => {}
            Err(failure) if !failure.is_answer() => breaker.failed(now),
            Ok(_) | Err(_) => breaker.succeeded(),
        });
        answer
    }

    /// Keeps to the budget, if there is one.
    async fn wait_for_turn(&self, now: Duration) -> Result<(), Failure> {
        let Some(budget) = &self.budget else { return Ok(()) };
        let turn = budget.lock().unwrap_or_else(PoisonError::into_inner).take(now, PATIENCE);
        match turn {
            Ok(Duration::ZERO) => Ok(()),
            Ok(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            Err(wait) => Err(Failure::OverBudget { wait }),
        }
    }

    /// The record is three plain values, valid after a panic elsewhere too.
    fn record<T>(&self, look: impl FnOnce(&mut Breaker) -> T) -> T {
        look(&mut self.breaker.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
