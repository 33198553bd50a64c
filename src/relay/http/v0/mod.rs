//! The routes of /v0, one file per resource. Checked, limited and answered as its clients expect.

mod answer;
pub(super) mod bots;
pub(super) mod jobs;
pub(super) mod market;
pub(super) mod offers;
mod once;
pub(super) mod payloads;
pub(super) mod poll;
mod request;

pub(super) use crate::protocol::v0::Refusal;
pub(super) use crate::protocol::v0::refusal::Code;
pub(super) use answer::Refused;

/// Whether a path is one that this dialect's clients ask for.
pub(super) fn is_its(path: &str) -> bool {
    ["/v0", "/market"]
        .iter()
        .any(|part| path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}
