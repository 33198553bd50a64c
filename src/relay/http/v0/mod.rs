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

pub(super) use answer::Refused;
