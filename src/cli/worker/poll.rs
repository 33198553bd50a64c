//! `poll`, `ack`, `resync`: single steps, for sellers without a daemon.

use std::path::Path;

use serde_json::{Value, json};

use super::ask::table;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::run::parts;
use super::{block_on, files};
use crate::worker::poll::{self, Ask, PollError, Polled, poll_once};

pub(super) fn run(config: &Path, acknowledge: bool, out: Output) -> Result<Exit, Failure> {
    look(config, Ask::News { acknowledge }, out)
}

pub(super) fn resync(config: &Path, careful: bool, out: Output) -> Result<Exit, Failure> {
    look(config, Ask::Resync { careful }, out)
}

fn look(config: &Path, ask: Ask, out: Output) -> Result<Exit, Failure> {
    let settings = files::settings(config)?;
    let polled = block_on(poll_once(settings, parts(), ask))?.map_err(failure)?;
    out.answer(&json!(polled), text(&polled, ask));
    Ok(Exit::Done)
}

fn text(polled: &Polled, ask: Ask) -> String {
    let news = json!(polled.news);
    let named = polled.news.iter().any(|news| news.name.is_some());
    let job = if named { "name" } else { "job_id" };
    let list = table(&news, &[job, "status", "stage", "offer_id"], "nothing is new");
    match (polled.last_event_id, ask) {
        (Some(last), Ask::News { acknowledge: false }) => {
            format!("{list}\nnot acknowledged: `worker ack --up-to-event-id {last}`")
        }
        _ => list,
    }
}

pub(super) fn acknowledge(config: &Path, up_to: u64, out: Output) -> Result<Exit, Failure> {
    let settings = files::settings(config)?;
    let acked = block_on(poll::acknowledge(settings, parts(), up_to))?.map_err(failure)?;
    let answer: Value = json!({ "last_acked_event_id": acked });
    out.answer(&answer, format_args!("acknowledged up to event {acked}"));
    Ok(Exit::Done)
}

/// What the steps fail with, for all of them.
pub(super) fn failure(error: PollError) -> Failure {
    match error {
        PollError::Start(error) => error.into(),
        PollError::OnlyV0 => Failure::new(Exit::Config, error),
        PollError::Ahead { .. } => Failure::new(Exit::NotFound, error).hint("`worker poll` reads on"),
        error => Failure::new(Exit::Unreachable, error).hint("`worker check` says more"),
    }
}
