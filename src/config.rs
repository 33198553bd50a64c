//! What people write: documents read with every problem named, and references to secrets.
//!
//! Architecture invariant: a secret is never part of a document. A document says where one is, and
//! a text that looks like one is refused without being repeated.

pub mod document;

pub mod secret;

pub mod sealed;

use std::fmt;
use std::sync::Arc;

pub use document::{Document, Field, Problem, Problems};
pub use secret::{Secret, SecretError, SecretRef};

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

type Ask = dyn Fn(&str) -> Option<Secret> + Send + Sync;

/// The names and values that a program was started with, and the person who started it, if there is
/// one to be asked.
#[derive(Clone)]
pub struct Env {
    lookup: Arc<Lookup>,
    person: Option<Arc<Ask>>,
}

impl Env {
    /// The process's own.
    #[must_use]
    pub fn system() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the one place where the environment is read")]
        Self::from_fn(|name| std::env::var(name).ok())
    }

    /// One that a test chooses.
    pub fn from_fn(get: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { lookup: Arc::new(get), person: None }
    }

    /// The same, with somebody who can be asked for a secret.
    #[must_use]
    pub fn with_person(self, ask: impl Fn(&str) -> Option<Secret> + Send + Sync + 'static) -> Self {
        Self { person: Some(Arc::new(ask)), ..self }
    }

    /// What somebody answers to a question, if somebody is there.
    pub(crate) fn ask(&self, question: &str) -> Option<Secret> {
        self.person.as_ref().and_then(|ask| ask(question)).filter(|secret| !secret.expose().is_empty())
    }

    /// The value of a name; an empty one counts as none.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }
}

/// Shows nothing: values may be secrets.
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Env(..)")
    }
}
