//! What people write: documents read with every problem named, and references to secrets.
//!
//! Architecture invariant: a secret is never part of a document. A document says where one is, and
//! a text that looks like one is refused without being repeated.

pub mod document;

pub mod secret;

use std::fmt;
use std::sync::Arc;

pub use document::{Document, Field, Problem, Problems};
pub use secret::{Secret, SecretError, SecretRef};

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

/// The names and values that a program was started with.
#[derive(Clone)]
pub struct Env(Arc<Lookup>);

impl Env {
    /// The process's own.
    #[must_use]
    pub fn system() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the one place where the environment is read")]
        Self::from_fn(|name| std::env::var(name).ok())
    }

    /// One that a test chooses.
    pub fn from_fn(get: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(get))
    }

    /// The value of a name; an empty one counts as none.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }
}

/// Shows nothing: values may be secrets.
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Env(..)")
    }
}
