//! The client's readers, for `crate::fuzzing`.

pub(crate) use super::calls::fuzzing::{answers, events, job_page};
pub(crate) use super::socket::fuzzing::{answer_challenge, frames, what_is_hinted};
