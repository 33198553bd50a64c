//! The relay's readers, for `crate::fuzzing`.

pub(crate) use super::http::fuzzing::{cursors, delivered, refused, requests};
pub(crate) use super::storage::embedded::fuzzing::records;
pub(crate) use super::ws::fuzzing::{a_hint, frames, who_answers};
