//! `poll`: one look at the relay, for sellers without a daemon.

use std::path::Path;

use serde_json::json;

use super::ask::table;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::run::parts;
use super::{block_on, files};
use crate::worker::poll::{PollError, poll_once};

pub(super) fn run(config: &Path, out: Output) -> Result<Exit, Failure> {
    let settings = files::settings(config)?;
    let news = block_on(poll_once(settings, parts()))?.map_err(|error| match error {
        PollError::Start(error) => error.into(),
        error => Failure::new(Exit::Unreachable, error).hint("`worker check` says more"),
    })?;
    let news = json!(news);
    let text = table(&news, &["job_id", "status", "stage", "offer_id"], "nothing is new");
    out.answer(&json!({ "news": news }), text);
    Ok(Exit::Done)
}
