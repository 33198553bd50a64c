//! `wallet rescan`: the invoice map of a seed, made anew.

use std::path::Path;

use serde_json::json;

use super::exit::{Exit, Failure};
use super::files;
use super::output::Output;
use super::run::{on_signal, parts};
use crate::worker::rescan::rescan;

pub(super) fn run(config: &Path, gap: Option<u32>, out: Output) -> Result<Exit, Failure> {
    let settings = files::settings(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let found = runtime.map_err(Failure::other)?.block_on(async {
        let (stop, parts) = (on_signal()?, parts());
        tokio::select! {
            found = rescan(&settings, &parts, gap) => Ok(found?),
            () = stop.cancelled() => {
                Err(Failure::text(Exit::Unreachable, "relay and node did not both say what was used before"))
            }
        }
    })?;
    out.answer(
        &json!({ "used": found.used, "next_index": found.next_index }),
        format_args!(
            "{} addresses of this seed were used; quotes go on with index {}.\n\
             `worker run` hears of the jobs they belong to; until then their coins are not touched.",
            found.used, found.next_index
        ),
    );
    Ok(Exit::Done)
}
